"""Which records a utility looks at, where all would be too many, and which of them are one observation."""

from __future__ import annotations

import numpy as np

__all__ = ["at_most", "duplicates"]


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


def duplicates(vectors: np.ndarray) -> np.ndarray:
    """For each row the number of its group of identical rows, from 0; ``(n,) int64``."""
    rows = np.ascontiguousarray(vectors + 0.0)  # −0 and 0 are one value
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    inverse: np.ndarray = np.unique(keys, return_inverse=True)[1].ravel()
    return inverse
