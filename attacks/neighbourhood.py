"""Membership from distances to the release, against distances to other records of the population."""

from __future__ import annotations

from typing import ClassVar

from benchmark.contracts import (
    Attack,
    AttackInfo,
    Context,
    Field,
    NotApplicable,
    PositiveControl,
    Records,
    Scores,
    View,
)
from benchmark.learning import scores

__all__ = ["CalibratedDistance", "LocalNeighbourhood"]


class CalibratedDistance(Attack):
    """Score a candidate by how much nearer the release comes to it than the population does.

    The calibration of GAN-Leaks with auxiliary records in the place of a reference generator's
    draws: it removes how isolated a candidate is, but not how well the method reproduces it. For
    the latter, see the attacks with shadow releases.

    References
    ----------
    Chen, Yu, Zhang, Fritz (2020). GAN-Leaks. ACM CCS, section 4.5 (the idea of calibration).
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="calibrated_distance",
        version="1",
        summary="Nearest distance to auxiliary records minus that to the release.",
        citation="after Chen et al. (2020), GAN-Leaks, ACM CCS, arXiv:1909.03935",
        positive_controls=(PositiveControl(method="identity", metric="auc", at_least=0.95),),
        auxiliary="its records, as the population that distances are compared with",
    )

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate.

        Raises
        ------
        NotApplicable
            Without auxiliary records.
        """
        assert view.records is not None  # granted, as info.needs asks for it
        _require(auxiliary, self.info.name)
        values = scores.calibrated_distance(
            view.records.flat(), candidates.flat(), auxiliary.flat(), device=context.device
        )
        return Scores(values=values)


class LocalNeighbourhood(Attack):
    """Score a candidate by the log ratio of its neighbours' distances: population over release.

    A density ratio by nearest neighbours, at several numbers of neighbours at once: the first sees
    copies, the later ones a release that is denser around members.

    Parameters
    ----------
    neighbours : tuple of int, default=(1, 2, 5, 10)
        Which neighbours are looked at; those beyond the number of records are left out.

    References
    ----------
    Loftsgaarden and Quesenberry (1965), Annals of Mathematical Statistics 36 (the estimator); van
    Breugel et al. (2023), DOMIAS, AISTATS (the ratio).
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="local_neighbourhood",
        version="1",
        summary="Log ratio of neighbours' distances, population over release, at several ranks.",
        citation="after van Breugel et al. (2023), DOMIAS, AISTATS, arXiv:2302.12580",
        positive_controls=(PositiveControl(method="identity", metric="auc", at_least=0.99),),
        auxiliary="its records, as the population that distances are compared with",
    )

    neighbours: tuple[int, ...] = Field(
        (1, 2, 5, 10), min_length=1, strict=False, description="which neighbours are looked at"
    )

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate.

        Raises
        ------
        NotApplicable
            Without auxiliary records.
        """
        assert view.records is not None  # granted, as info.needs asks for it
        _require(auxiliary, self.info.name)
        values = scores.local_neighbourhood(
            view.records.flat(),
            candidates.flat(),
            auxiliary.flat(),
            neighbours=self.neighbours,
            device=context.device,
        )
        return Scores(values=values)


def _require(auxiliary: Records, name: str) -> None:
    if len(auxiliary) == 0:
        raise NotApplicable(
            f"{name} compares with auxiliary records. Got none; raise the suite's share of "
            "auxiliary records."
        )
