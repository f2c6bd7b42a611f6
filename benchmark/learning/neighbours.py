"""Exact nearest neighbours by blocked matrix products, within a bounded amount of memory.

Most attacks on a released dataset start from the distance between a candidate and the released
record nearest to it, and the case that matters most, a copy, is the one where the usual expansion
‖a − b‖² = ‖a‖² + ‖b‖² − 2⟨a, b⟩ loses every digit. So the expansion only draws up a short list; the
distances that are returned are those of the listed pairs, taken directly. A copy is at distance
exactly 0.

The list is drawn up in single precision on centred records, twice as fast as in double, and is kept
only where it is certain: where the k-th distance found lies below the last expanded distance on the
list by more than rounding can amount to. The other queries, such as those between many near copies,
are searched again in double precision.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import frexp
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["nearest", "nearest_in_parts"]

# How many neighbours beyond the k asked for are measured directly, so that rounding in the
# expansion cannot push a true neighbour off the list.
_SPARE = 4
_MOST_QUERIES, _MOST_GALLERY = 4096, 4096
_GROUP = 32
_MEASURED = 64
_UNIT = 2.0**-24
_SMALLEST_NORMAL = 2.0**-126


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
    distances = np.empty((len(queries), k))
    indices = np.empty((len(queries), k), dtype=np.int64)
    n_list = min(k + _SPARE, len(gallery) - exclude_self)
    search = _Search(gallery, n_list, device, block_bytes)
    for start in range(0, len(queries), search.query_block):
        rows = np.arange(start, min(start + search.query_block, len(queries)))
        found, listed, certain = search(queries[rows], rows if exclude_self else None, k)
        distances[rows], indices[rows] = found, listed
        uncertain = rows[~certain]
        for at in range(0, len(uncertain), -(-search.query_block // 2)):
            again = uncertain[at : at + -(-search.query_block // 2)]
            found, listed, _ = search(
                queries[again], again if exclude_self else None, k, double=True
            )
            distances[again], indices[again] = found, listed
    return distances, indices


def nearest_in_parts(
    queries: np.ndarray, parts: Iterable[np.ndarray], k: int = 1, *, device: str = "cpu"
) -> np.ndarray:
    """Distances to the ``k`` nearest records of a gallery that comes in parts, none of which is kept.

    Parameters
    ----------
    queries : ndarray of shape (n, d)
    parts : iterable of ndarrays of shape (any, d)
        One after another; draws from a generator, say, of any number.
    k : int, default=1

    Returns
    -------
    ndarray of shape (n, min(k, records in all parts)), float64
        In ascending order.
    """
    found = np.empty((len(queries), 0))
    for part in parts:
        if len(part):
            own, _ = nearest(queries, part, min(k, len(part)), device=device)
            found = np.sort(np.concatenate([found, own], axis=1), axis=1)[:, :k]
    return found


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


def _block_sizes(n_features: int, n_list: int, block_bytes: int) -> tuple[int, int]:
    """Queries and gallery records of a block, each at least 1.

    Of each half of the memory: a gallery record takes itself in double and single precision; a
    query the same, a row of products with its groups' minima, and its lists.
    """
    half = block_bytes // 2
    n_gallery = max(1, min(_MOST_GALLERY, half // (12 * n_features)))
    n_queries = half // (12 * n_features + 5 * n_gallery + 48 * n_list)
    return max(1, min(_MOST_QUERIES, n_queries)), n_gallery


@dataclass(frozen=True)
class _Frame:
    """Where records are moved and scaled to before they are multiplied: ``(records − centre) · scale``.

    The centre has single precision, so that its difference to a record in single precision is
    rounded but once. The scale is a power of two that brings the gallery's largest deviation to
    about 1, so that squares neither overflow nor vanish in single precision.
    """

    centre: np.ndarray
    scale: float

    @classmethod
    def of(cls, gallery: np.ndarray) -> _Frame:
        centre = gallery.mean(axis=0, dtype=np.float64)
        if gallery.dtype == np.float32:
            centre = centre.astype(np.float32)
        reach = max(np.abs(gallery.max(0) - centre).max(), np.abs(gallery.min(0) - centre).max())
        _, exponent = frexp(float(reach))
        return cls(centre, 2.0 ** -max(min(exponent, 120), -120))

    def apply(self, records: np.ndarray, dtype: type) -> np.ndarray:
        """``records`` in the frame, as ``dtype``."""
        exact = np.float64 if dtype is np.float64 or records.dtype != np.float32 else np.float32
        moved = np.subtract(records, self.centre, dtype=exact)
        moved *= exact(self.scale)
        return moved.astype(dtype, copy=False)


class _Search:
    """Searches of one gallery, block by block."""

    def __init__(self, gallery: np.ndarray, n_list: int, device: str, block_bytes: int) -> None:
        self.gallery, self.n_list, self.device = gallery, n_list, device
        self.frame = _Frame.of(gallery)
        self.query_block, self.gallery_block = _block_sizes(gallery.shape[1], n_list, block_bytes)

    def __call__(
        self, queries: np.ndarray, own: np.ndarray | None, k: int, double: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distances ``(n, k)``, rows ``(n, k)`` and whether they are certain ``(n,)``.

        ``own`` is the gallery row of each query, where queries are no neighbours of themselves.
        """
        double = double or not _single_is_single()
        moved = self.frame.apply(queries, np.float64)
        last, listed, longest = self._short_list(moved, own, np.float64 if double else np.float32)
        found = _measure(queries, self.gallery, listed)
        order = np.lexsort((listed, found), axis=1)[:, :k]
        distances = np.take_along_axis(found, order, axis=1)
        everything = self.n_list == len(self.gallery) - (own is not None)
        certain = np.full(len(queries), double or everything)
        if not certain.all():
            squares = np.einsum("ij,ij->i", moved, moved)
            bound = last - _rounding(np.sqrt(squares), longest, queries.shape[1]) + squares
            certain = np.isfinite(last) & ((distances[:, -1] * self.frame.scale) ** 2 <= bound)
        return distances, np.take_along_axis(listed, order, axis=1), certain

    def _short_list(
        self, moved: np.ndarray, own: np.ndarray | None, dtype: type
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """The ``n_list`` smallest of ‖g‖² − 2⟨q, g⟩ for each query q, computed in ``dtype``.

        Returns
        -------
        last : ndarray of shape (n,)
            The largest on each list.
        rows : ndarray of shape (n, n_list)
        longest : float
            The largest ‖g‖.
        """
        import torch

        query = torch.from_numpy(moved.astype(dtype)).mul_(-2).to(self.device)
        most = len(query) * min(self.gallery_block, len(self.gallery))
        products = torch.empty(most, dtype=query.dtype, device=self.device)
        best = query.new_empty((len(query), 0))
        rows = torch.empty((len(query), 0), dtype=torch.int64, device=self.device)
        longest = 0.0
        for start in range(0, len(self.gallery), self.gallery_block):
            part = self.frame.apply(self.gallery[start : start + self.gallery_block], dtype)
            block = torch.from_numpy(part).to(self.device)
            squares = block.square().sum(1)
            longest = max(longest, float(squares.max()) ** 0.5)
            partial = products[: len(query) * len(block)].view(len(query), len(block))
            # ‖query‖² is the same along a row and changes no order.
            torch.addmm(squares, query, block.T, out=partial)
            if own is not None:
                _exclude_own(partial, own - start)
            values, at = _smallest(partial, min(self.n_list, len(block)))
            best, rows = torch.cat([best, values], 1), torch.cat([rows, at + start], 1)
            best, at = best.topk(min(self.n_list, best.shape[1]), dim=1, largest=False)
            rows = rows.gather(1, at)
        return best[:, -1].double().cpu().numpy(), rows.cpu().numpy(), longest


def _single_is_single() -> bool:
    """Whether products of float32 matrices are computed in float32, and not in fewer bits."""
    import torch

    return torch.get_float32_matmul_precision() == "highest"


def _rounding(query_norms: np.ndarray, longest: float, n_features: int) -> np.ndarray:
    """How far an expanded distance in single precision can be off, for each query ``(n,)``.

    With unit roundoff u, for sums in any order: rounding the inputs shifts 2⟨q, g⟩ by at most
    4u‖q‖‖g‖ and ‖g‖² by 2u‖g‖², adding up the d squares by du‖g‖², and the final sum of d + 1 terms
    the whole by (d + 1)u (2‖q‖‖g‖ + ‖g‖²), to first order in u (Higham 2002, Accuracy and Stability
    of Numerical Algorithms, section 3.1). Each term may be lost to underflow.
    """
    d = n_features
    relative = (2 * d + 6) * query_norms * longest + (2 * d + 4) * longest**2
    return 1.02 * _UNIT * relative + (2 * d + 2) * _SMALLEST_NORMAL


def _smallest(values: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``n`` smallest of each row and their columns, both ``(rows, n)``, in ascending order.

    The n smallest lie in the n groups with the smallest minima, and minima of groups are much faster
    to take than a partial sort of a whole row. Group j holds columns j, j + g, j + 2g …
    """
    n_rows, n_columns = values.shape
    n_groups = n_columns // _GROUP
    if n_columns % _GROUP or n_groups < 2 * n:
        return values.topk(n, dim=1, largest=False)
    groups = values.view(n_rows, _GROUP, n_groups)
    _, chosen = groups.amin(1).topk(n, dim=1, largest=False)
    spread = chosen[:, None, :].expand(-1, _GROUP, -1)
    best, at = groups.gather(2, spread).reshape(n_rows, -1).topk(n, dim=1, largest=False)
    columns = at // n * n_groups + chosen.gather(1, at % n)
    return best, columns


def _exclude_own(partial: torch.Tensor, columns: np.ndarray) -> None:
    """Put infinity where query i meets itself, in column ``columns[i]`` if that is in the block."""
    import torch

    inside = np.flatnonzero((columns >= 0) & (columns < partial.shape[1]))
    partial[torch.from_numpy(inside), torch.from_numpy(columns[inside])] = torch.inf


def _measure(queries: np.ndarray, gallery: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """Distances ``(n, n_list) float64`` of each query to its listed gallery records, directly."""
    found = np.empty(listed.shape)
    for start in range(0, len(queries), _MEASURED):
        rows = slice(start, start + _MEASURED)
        for rank in range(listed.shape[1]):
            gap = np.subtract(queries[rows], gallery[listed[rows, rank]], dtype=np.float64)
            found[rows, rank] = np.sqrt(np.einsum("ij,ij->i", gap, gap))
    return found
