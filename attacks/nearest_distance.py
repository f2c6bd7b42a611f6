"""Membership from the distance to the nearest released record."""

from __future__ import annotations

from typing import ClassVar

from benchmark.contracts import Attack, AttackInfo, Context, PositiveControl, Records, Scores, View
from benchmark.learning.neighbours import nearest

__all__ = ["NearestDistance"]


class NearestDistance(Attack):
    """Score a candidate by minus its Euclidean distance to the nearest released record.

    The black-box attack of GAN-Leaks without calibration: a generator that reproduces what it was
    fitted on comes nearer to members than to other records of the population.

    References
    ----------
    Chen, Yu, Zhang, Fritz (2020). GAN-Leaks. ACM CCS (the full black-box attack).
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="nearest_distance",
        version="1",
        summary="Minus the distance to the nearest released record.",
        citation="Chen et al. (2020), GAN-Leaks, ACM CCS, arXiv:1909.03935",
        positive_controls=(PositiveControl(method="identity", metric="auc", at_least=0.99),),
    )

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate; 0 is the highest score, of a record released as it is."""
        assert view.records is not None  # granted, as info.needs asks for it
        distances, _ = nearest(candidates.flat(), view.records.flat(), device=context.device)
        return Scores(values=-distances[:, 0])
