"""Membership from a release's spread: who lies within the span and scale of its classes?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

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
from benchmark.learning.spread import Spread

__all__ = ["Mahalanobis", "in_sample_auc"]

_DIMENSION, _CANDIDATES = 32, 200  # of the Gaussian records that the attack is held to


def in_sample_auc(dimension: int, n: int) -> float:
    """AUC with which Mahalanobis distances tell n Gaussian records, whose covariance they define, from fresh ones.

    With the sample's mean and covariance (divided by n − 1), n > ``dimension`` + 1, a record of the sample has
    the squared distance (n − 1)²/n · Beta(d/2, (n − d − 1)/2), a fresh one d(n² − 1)/(n(n − d)) · F(d, n − d). The AUC
    is the probability that the first is smaller, here by the trapezoidal rule over the quantiles of the second.

    References
    ----------
    Gnanadesikan & Kettenring (1972), Biometrics 28, for the first; Hotelling (1931) for the second.
    """
    from scipy.stats import beta, f

    d = dimension
    quantiles = (np.arange(20_000) + 0.5) / 20_000
    fresh = d * (n * n - 1) / (n * (n - d)) * f.ppf(quantiles, d, n - d)
    return float(beta.cdf(fresh * n / (n - 1) ** 2, d / 2, (n - d - 1) / 2).mean())


class Mahalanobis(Attack):
    """Score a candidate by how near it lies to the release's distribution of its class, in that distribution's units.

    A generator that keeps its members' covariance gives them away without any released record near one of them: in
    more dimensions than members, the members span the directions in which released records vary, and a non-member
    sticks out of that span; in fewer, members are nearer to their own mean in units of their own spread. The
    distance is that of Mahalanobis, with a ridge for directions in which the release does not vary, and is divided by
    its median over auxiliary records of the class, since classes differ in number and spread.

    A class with fewer than two released or no auxiliary records is compared with all of them.

    Parameters
    ----------
    ridge : float > 0, default=1e-3
        Added to the variance along every direction, in units of the mean variance of a feature. A small one lets
        the residual outside the span decide, a large one approaches the distance to the class's mean.

    References
    ----------
    Mahalanobis (1936). What overfitted covariances reveal: the distances of a sample to its own mean are shorter than
    those of fresh records (:func:`in_sample_auc`).
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="mahalanobis",
        version="1",
        summary="Distance under the release's class means and covariances: who lies within its span?",
        citation="Mahalanobis (1936), On the generalised distance in statistics",
        positive_controls=(
            PositiveControl(
                method="identity",
                dataset="gaussian",
                dataset_parameters={"dimension": _DIMENSION, "records": 1500 + _CANDIDATES},
                candidates=_CANDIDATES,
                metric="auc",
                # Half of what theory says above chance: .86.
                at_least=0.68,
            ),
        ),
        auxiliary="the median distance of its records",
    )

    ridge: float = Field(
        1e-3, gt=0, allow_inf_nan=False, description="ridge, in units of a feature's mean variance"
    )

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate by minus the logarithm of its relative squared distance.

        Raises
        ------
        NotApplicable
            Without auxiliary records, or where all released records are equal.
        """
        assert view.records is not None  # granted, as info.needs asks for it
        if len(auxiliary) == 0:
            raise NotApplicable(
                "mahalanobis compares with auxiliary records and got none. Raise the suite's share "
                "of auxiliary records."
            )
        released = view.records
        everywhere = Spread.of(released.flat())
        if everywhere.total == 0:
            raise NotApplicable(
                "mahalanobis measures by the spread of the released records, and all of them are equal."
            )
        values = np.empty(len(candidates))
        for label in np.unique(candidates.labels):
            rows = candidates.labels == label
            own = released.flat()[released.labels == label]
            real = auxiliary.flat()[auxiliary.labels == label]
            spread = Spread.of(own) if len(own) > 1 else everywhere
            if spread.total == 0:
                spread = everywhere
            reference = real if len(real) else auxiliary.flat()
            values[rows] = self._relative(spread, candidates.flat()[rows], reference)
        return Scores(values=values)

    def _relative(self, spread: Spread, queries: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """Minus the logarithm of squared distances over their median in ``reference``."""
        ridge = self.ridge * spread.total / len(spread.mean)
        typical = float(np.median(spread.squared_distances(reference, ridge)))
        tiny = np.finfo(float).tiny
        distances = spread.squared_distances(queries, ridge)
        return -np.log(np.maximum(distances, tiny) / max(typical, tiny))
