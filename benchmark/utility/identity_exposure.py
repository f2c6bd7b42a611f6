"""How surely an identity network that no method has seen names members in released pictures: a proxy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from benchmark.contracts import (
    Context,
    Field,
    NotApplicable,
    Records,
    Resources,
    UtilityInfo,
)
from benchmark.learning.repeats import duplicates
from benchmark.utility.comparison import Comparison, Figure, cluster_mean, normal_limits

if TYPE_CHECKING:
    from benchmark.statistics import Estimate

__all__ = ["IdentityExposure", "recognised"]

BEYOND = 0.05
"""Share of fresh people who count as recognised by definition."""


class IdentityExposure(Comparison):
    """The largest probability of any member's identity in a released picture, by a held-out network.

    The network learns to name the members' identities (patients, where there are any) from the members alone. Methods
    that steer by an identity network of their own, such as ``latent_walk``, are judged by another one here. Figures
    under the clean condition:

    - ``identity_probability``: the largest probability of any identity, mean over released records;
    - ``identity_probability_real``: the same over fresh real records (the test set): what a network is sure of without
      reason;
    - ``recognised``: share of distinct released pictures with a larger probability than 95 % of fresh people's. 0.05
      for fresh records, 1 for copies of members. Left out where the test set has fewer than 20 identities.

    A network is one attacker of many: no privacy score. Identical released records count as one observation in the
    intervals, and so do test records of one identity, of which ``recognised`` takes the first. Its interval pays for
    the threshold, which is measured too. Records of one path are taken as independent, since a release does not say
    which they are.
    """

    info: ClassVar[UtilityInfo] = UtilityInfo(
        name="identity_exposure",
        version="3",
        summary="Proxy: how surely a held-out identity network names members in released pictures.",
        citation="after Pennisi et al. 2023, arXiv 2307.02984",
        kinds=frozenset({"image"}),
        labelled=False,
        needs_members=True,
        resources=Resources(gpu=True),
    )

    epochs: int | None = Field(
        None, ge=1, description="of the network; by default 30 or enough for 400 steps"
    )
    width: int = Field(24, ge=1, description="channels of the network's first layer")

    def compare(self, release: Records, test: Records, context: Context) -> Mapping[str, Figure]:
        """The figures that the class names.

        Raises
        ------
        LeakboardError
            Without ``context.members``.
        NotApplicable
            Where the members are of one identity.
        """
        from benchmark.learning.identity import fit_namer, log_probabilities, number_identities

        members = self.members_of(context)
        known = number_identities(members)
        if known.max() < 1:
            raise NotApplicable("identity_exposure tells identities apart. Got members of one.")
        namer = fit_namer(
            members.data,
            known,
            int(known.max()) + 1,
            width=self.width,
            epochs=self.epochs,
            weights_rng=context.torch_generator("weights"),
            training_rng=context.torch_generator("training"),
            device=context.device,
            progress=context.progress,
        )
        released, fresh = (
            np.exp(log_probabilities(namer, records.data, context.device).max(axis=1))
            for records in (release, test)
        )
        copies = duplicates(release.flat())
        figures: dict[str, Figure] = {
            "identity_probability": normal_limits(
                *cluster_mean(released, copies),
                "normal, identical records as one",
                least=0.0,
                most=1.0,
            ),
            "identity_probability_real": normal_limits(
                *cluster_mean(fresh, test.groups),
                "normal, by identity",
                least=0.0,
                most=1.0,
            ),
        }
        found = recognised(released[_first_of(copies)], fresh[_first_of(number_identities(test))])
        if found.resolved:
            figures["recognised"] = (found.value, found.low, found.high, found.method)
        return figures


def recognised(released: np.ndarray, fresh: np.ndarray) -> Estimate:
    """Share of ``released (n,)`` sureness above that of all but :data:`BEYOND` of ``fresh (m,)`` people, with a 95 %
    interval.

    A true-positive rate at a false-positive rate, and so its interval pays for a threshold that was found on ``fresh``.
    Unresolved for m < 20.
    """
    from benchmark.statistics import tpr_at_fpr

    sure = np.concatenate([released, fresh])
    return tpr_at_fpr(sure, np.arange(len(sure)) < len(released), BEYOND, 0.95)


def _first_of(groups: np.ndarray) -> np.ndarray:
    """Row of the first record of each group."""
    return np.unique(groups, return_index=True)[1]
