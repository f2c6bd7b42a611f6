"""Membership from the share of a release that lies around a candidate."""

from __future__ import annotations

from typing import ClassVar

from benchmark.contracts import (
    Attack,
    AttackInfo,
    Context,
    Field,
    PositiveControl,
    Records,
    Scores,
    View,
)
from benchmark.learning import scores

__all__ = ["MonteCarlo"]


class MonteCarlo(Attack):
    """Score a candidate by the share of released records within a radius, the nearer the more.

    The radius is the median over candidates of the distance to the nearest released record. At
    most ``k`` neighbours are counted.

    Parameters
    ----------
    k : int, default=50
        Most neighbours that count. With 1, only the nearest does.

    References
    ----------
    Hilprecht, Härterich, Bernau (2019). Monte Carlo and Reconstruction Membership Inference
    Attacks against Generative Models. PoPETs 2019(4), sections 4.1 and 4.2.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="monte_carlo",
        version="1",
        summary="Share of the release within the median nearest distance.",
        citation="Hilprecht, Härterich, Bernau (2019), PoPETs 2019(4)",
        positive_controls=(PositiveControl(method="identity", metric="auc", at_least=0.95),),
    )

    k: int = Field(50, ge=1, description="most neighbours that count")

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate, in [0, 1]; 0 with no released record within the radius."""
        assert view.records is not None  # granted, as info.needs asks for it
        released, points = view.records.flat(), candidates.flat()
        return Scores(values=scores.monte_carlo(released, points, k=self.k, device=context.device))
