"""How records spread about their mean: principal axes and the variances along them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Spread"]

# Relative to the largest; what is below is rounding.
_LEAST_SINGULAR_VALUE = 1e-6


@dataclass(frozen=True)
class Spread:
    """Mean and principal axes of records.

    Attributes
    ----------
    mean : ndarray of shape (D,), float64
    axes : ndarray of shape (r, D), float64
        Orthonormal, of falling variance; r is the rank of the records about their mean, at most n − 1.
    variances : ndarray of shape (r,), float64
        Along the axes, divided by n − 1, all above 0.
    """

    mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray

    @classmethod
    def of(cls, records: np.ndarray) -> Spread:
        """The spread of ``records (n, D)``, n ≥ 1; one record, or equal ones, have no axes."""
        values = np.asarray(records, np.float64)
        mean = values.mean(axis=0)
        _, singular, axes = np.linalg.svd(values - mean, full_matrices=False)
        # An overall size, too: equal records differ from their computed mean by rounding.
        floor = np.abs(values).max(initial=0.0) * 1e-12 * np.sqrt(values.size)
        kept = singular > max(_LEAST_SINGULAR_VALUE * singular.max(initial=0.0), floor)
        return cls(mean, axes[kept], singular[kept] ** 2 / max(len(values) - 1, 1))

    @property
    def total(self) -> float:
        """Variance summed over all features."""
        return float(self.variances.sum())

    def squared_distances(self, queries: np.ndarray, ridge: float) -> np.ndarray:
        """Squared Mahalanobis distances ``(m,)`` of ``(m, D)`` under the covariance plus ``ridge``·I, ridge > 0."""
        centred = np.asarray(queries, np.float64) - self.mean
        along = centred @ self.axes.T
        outside = centred - along @ self.axes
        return (along**2 / (self.variances + ridge)).sum(1) + (outside**2).sum(1) / ridge
