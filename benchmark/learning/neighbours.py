"""Exact nearest neighbours by blocked matrix products, within a bounded amount of memory.

Most attacks on a released dataset start from the distance between a candidate and the released
record nearest to it, and the case that matters most, a copy, is the one where the usual expansion
‖a − b‖² = ‖a‖² + ‖b‖² − 2⟨a, b⟩ loses every digit. So the expansion, in double precision on centred
records, only draws up a short list; the distances that are returned are those of the listed pairs,
taken directly. A copy is at distance exactly 0.
"""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["nearest"]

# How many neighbours beyond the k asked for are measured directly, so that rounding in the
# expansion cannot push a true neighbour off the list.
_SPARE = 2


def nearest(
    queries: np.ndarray,
    gallery: np.ndarray,
    k: int = 1,
    *,
    device: str = "cpu",
    block_bytes: int = 128 << 20,
    exclude_self: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the ``k`` records of a gallery that are nearest to each query, in Euclidean distance.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, n_features)
        Finite, of any real type.
    gallery : ndarray of shape (n_gallery, n_features)
        Finite, of any real type.
    k : int, default=1
        In [1, n_gallery], or [1, n_gallery − 1] with ``exclude_self``.
    device : str, default="cpu"
        The torch device that computes the matrix products. The returned distances are computed on
        the host from the pairs found, so they do not depend on it.
    block_bytes : int, default=128 MiB
        Approximate limit of the working memory.
    exclude_self : bool, default=False
        ``queries`` and ``gallery`` are the same records, and record i is no neighbour of record i.
        Other records equal to it still are, at distance 0.

    Returns
    -------
    distances : ndarray of shape (n_queries, k), float64
        In ascending order; exactly 0 for a copy.
    indices : ndarray of shape (n_queries, k), int64
        Rows of the gallery. Between equal distances there is no promised order.

    Raises
    ------
    ValueError
        If shapes do not fit each other or ``k`` is out of range.

    Examples
    --------
    >>> gallery = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]])
    >>> distances, indices = nearest(np.array([[0.0, 1.0]]), gallery)
    >>> float(distances[0, 0]), int(indices[0, 0])
    (1.0, 0)
    """
    _check(queries, gallery, k, exclude_self)
    n_list = min(k + _SPARE, len(gallery) - exclude_self)
    block = _block_size(gallery.shape[1], n_list, block_bytes)
    centre = gallery.mean(axis=0, dtype=np.float64)
    distances = np.empty((len(queries), k))
    indices = np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        own = start if exclude_self else None
        listed = _short_list(queries[rows], gallery, centre, n_list, block, device, own)
        found = _measure(queries[rows], gallery, listed)
        order = np.lexsort((listed, found), axis=1)[:, :k]
        distances[rows] = np.take_along_axis(found, order, axis=1)
        indices[rows] = np.take_along_axis(listed, order, axis=1)
    return distances, indices


def _check(queries: np.ndarray, gallery: np.ndarray, k: int, exclude_self: bool) -> None:
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(
            "queries and gallery must be of shapes (n, d) and (m, d) with the same d. "
            f"Got {queries.shape} and {gallery.shape} instead."
        )
    if exclude_self and len(queries) != len(gallery):
        raise ValueError(
            "exclude_self needs the gallery itself as queries. "
            f"Got {len(queries)} queries and {len(gallery)} gallery records."
        )
    most = len(gallery) - exclude_self
    if not 1 <= k <= most:
        raise ValueError(
            f"k must be at least 1 and at most {most}, the number of gallery records that a query "
            f"may have as neighbours. Got {k} instead."
        )


def _block_size(n_features: int, n_list: int, block_bytes: int) -> int:
    """The largest b such that two blocks of b records, their b × b products and lists fit.

    That is 8 (2 b (n_features + n_list) + 3 b²) ≤ block_bytes; at least one record.
    """
    width = n_features + n_list
    return max(1, (isqrt(width * width + 3 * (block_bytes // 8)) - width) // 3)


def _short_list(
    queries: np.ndarray,
    gallery: np.ndarray,
    centre: np.ndarray,
    n_list: int,
    block: int,
    device: str,
    own: int | None,
) -> np.ndarray:
    """Rows of the ``n_list`` gallery records with the smallest expanded distances, ``(n, n_list)``.

    ``own`` is the gallery row of the first query, where queries are no neighbours of themselves.
    """
    import torch

    query = _centred(queries, centre, device)
    best = torch.empty((len(query), 0), dtype=torch.float64, device=device)
    rows = torch.empty((len(query), 0), dtype=torch.int64, device=device)
    for start in range(0, len(gallery), block):
        part = _centred(gallery[start : start + block], centre, device)
        # ‖query‖² is the same along a row and changes no order.
        partial = torch.addmm(part.square().sum(1), query, part.T, alpha=-2)
        if own is not None:
            _exclude_own(partial, own - start)
        values, at = partial.topk(min(n_list, partial.shape[1]), dim=1, largest=False)
        best, rows = torch.cat([best, values], 1), torch.cat([rows, at + start], 1)
        best, at = best.topk(min(n_list, best.shape[1]), dim=1, largest=False)
        rows = rows.gather(1, at)
    return rows.cpu().numpy()


def _centred(records: np.ndarray, centre: np.ndarray, device: str) -> torch.Tensor:
    import torch

    return torch.from_numpy(records - centre).to(device)


def _exclude_own(partial: torch.Tensor, offset: int) -> None:
    """Put infinity where query i meets gallery record i; ``offset`` is the column of query 0."""
    import torch

    columns = torch.arange(len(partial), device=partial.device) + offset
    inside = (columns >= 0) & (columns < partial.shape[1])
    partial[inside.nonzero()[:, 0], columns[inside]] = torch.inf


def _measure(queries: np.ndarray, gallery: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """Distances ``(n, n_list) float64`` of each query to its listed gallery records, directly."""
    found = np.empty(listed.shape)
    for rank in range(listed.shape[1]):
        gap = np.subtract(queries, gallery[listed[:, rank]], dtype=np.float64)
        found[:, rank] = np.sqrt(np.einsum("ij,ij->i", gap, gap))
    return found
