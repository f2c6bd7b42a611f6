"""Which records a utility looks at, where all would be too many."""

from __future__ import annotations

import numpy as np

__all__ = ["at_most"]


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
