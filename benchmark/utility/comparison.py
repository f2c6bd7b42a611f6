"""The frame of the utilities that compare a release with real records: figures, draws, means with intervals."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np

from benchmark.contracts import Context, Figures, LeakboardError, Records, Utility

__all__ = [
    "Comparison",
    "Figure",
    "Z",
    "at_most",
    "cluster_mean",
    "normal_limits",
    "quantile_limits",
]

Figure = float | tuple[float, float, float, str]
"""A value, or a value with the limits of its 95 % interval and how that was made."""

Z = 1.959963984540054
"""Standard errors from the value to the limits of a 95 % interval."""


class Comparison(Utility):
    """Figures that compare a release with clean real records; none under conditions that perturb those."""

    def evaluate(
        self,
        release: Records,
        validation: Records,
        test: Mapping[str, Records],
        n_classes: int,
        context: Context,
    ) -> Mapping[str, Figures]:
        """Figures under ``"clean"``, none under other conditions."""
        figures = self.compare(release, test["clean"], context)
        return {name: Figures(values=figures if name == "clean" else {}) for name in test}

    @abstractmethod
    def compare(self, release: Records, test: Records, context: Context) -> Mapping[str, Figure]:
        """Figures of ``release`` by name, with the clean records of ``test``, real ones, beside it."""

    def members_of(self, context: Context) -> Records:
        """The members to compare with.

        Raises
        ------
        LeakboardError
            Without ``context.members``.
        """
        if context.members is None:
            raise LeakboardError(
                f"{self.info.name} compares with the members. Got a context without them; the harness "
                "gives them to utilities with `needs_members=True` in their info."
            )
        return context.members


def at_most(n: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of ``most`` of ``n`` records, drawn without replacement, in their order; all rows where there are no more.

    Examples
    --------
    >>> at_most(3, 5, np.random.default_rng(0))
    array([0, 1, 2])
    >>> len(set(at_most(9, 4, np.random.default_rng(0))))
    4
    """
    if n <= most:
        return np.arange(n)
    return np.sort(rng.choice(n, most, replace=False))


def cluster_mean(values: np.ndarray, clusters: np.ndarray | None = None) -> tuple[float, float]:
    """Mean of ``values (n,)`` and its standard error, where values of one cluster are not independent.

    The error is the cluster-robust one: residuals are summed within clusters ``(n,)`` first. NaN with a
    single cluster.
    """
    mean = float(values.mean())
    inverse = np.arange(len(values))
    if clusters is not None:
        inverse = np.unique(clusters, return_inverse=True)[1].ravel()
    residuals = np.bincount(inverse, weights=values - mean)
    n = len(residuals)
    if n < 2:
        return mean, float("nan")
    return mean, float(np.sqrt(n / (n - 1) * (residuals**2).sum()) / len(values))


def normal_limits(
    value: float, error: float, method: str, *, least: float = -np.inf, most: float = np.inf
) -> Figure:
    """A figure with its normal 95 % interval, cut to [least, most]; the value alone where the error is NaN."""
    if np.isnan(error):
        return value
    return value, max(value - Z * error, least), min(value + Z * error, most), method


def quantile_limits(
    values: np.ndarray, share: float, method: str, *, least: float = -np.inf
) -> tuple[float, float, float, str]:
    """A quantile of independent ``values (n,)`` with the 95 % interval between two of their order statistics.

    The quantile is the smallest value that at least ``share`` of them do not exceed. How many lie below the true one is
    binomial, whatever the distribution; where ``n`` is too small for an order statistic on one side, the limit there is
    ``least``, or the largest value.
    """
    from scipy.stats import binom

    ordered = np.sort(values)
    n = len(ordered)
    low, high = (int(rank) for rank in binom.ppf([0.025, 0.975], n, share))
    return (
        float(ordered[max(0, int(np.ceil(n * share)) - 1)]),
        float(ordered[low - 1]) if low >= 1 else least,
        float(ordered[min(high, n - 1)]),
        method,
    )
