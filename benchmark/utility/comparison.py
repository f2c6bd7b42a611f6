"""What the utilities share that compare a release with the members: who gets them, and means with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmark.contracts import Context, Figures, LeakboardError, Records

__all__ = ["Z", "cluster_mean", "members_of", "normal_limits", "quantile_limits", "under_clean"]

Z = 1.959963984540054
"""Standard errors from the value to the limits of a 95 % interval."""


def members_of(context: Context, utility: str) -> Records:
    """The members that ``utility`` compares with.

    Raises
    ------
    LeakboardError
        Without ``context.members``.
    """
    if context.members is None:
        raise LeakboardError(
            f"{utility} compares with the members. Got a context without them; the harness "
            "gives them to utilities with `needs_members=True` in their info."
        )
    return context.members


def under_clean(figures: Mapping[str, Any], test: Mapping[str, Records]) -> dict[str, Figures]:
    """``figures`` for the clean condition; perturbed test records do not concern them: none for the others."""
    return {name: Figures(values=figures if name == "clean" else {}) for name in test}


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
) -> float | tuple[float, float, float, str]:
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
