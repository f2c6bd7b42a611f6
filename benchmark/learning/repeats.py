"""Which records of a set are equal: releases repeat themselves, and a record that stands twice is one observation."""

from __future__ import annotations

import numpy as np

__all__ = ["duplicates"]


def duplicates(vectors: np.ndarray) -> np.ndarray:
    """For each row the number of its group of identical rows, from 0; ``(n,) int64``.

    Parameters
    ----------
    vectors : ndarray of shape (n, …)
        Numbers; 0 and −0 are equal.

    Examples
    --------
    >>> groups = duplicates(np.array([[2.0, 0.0], [1.0, 1.0], [2.0, -0.0]]))
    >>> bool(groups[0] == groups[2] != groups[1])
    True
    """
    # Adding 0 turns −0 into 0.
    rows = np.ascontiguousarray(vectors + 0).reshape(len(vectors), -1)
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    inverse: np.ndarray = np.unique(keys, return_inverse=True)[1].ravel()
    return inverse
