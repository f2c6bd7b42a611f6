"""The picture most like a given one, where copies may have been flipped, cropped, brightened or compressed.

Three measures, each a distance that is 0 for a copy:

- *aligned*: the distance between pixels after the best flip, shift and zoom, and after brightness and contrast are
  taken out; exact over that group, among a short list by matrix products over coarse transformed pictures;
- *perceptual hash*: the number of differing bits of a 64-bit hash of the low frequencies;
- *structural similarity*, 1 − SSIM, among a short list of the most alike.

Pictures with sides over 64 pixels are reduced to at most 64 first, by averaging, except for the hash.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from benchmark.learning.image_quality import ssim
from benchmark.learning.neighbours import nearest

if TYPE_CHECKING:
    import torch

__all__ = [
    "HASH_BITS",
    "hash_distances",
    "nearest_aligned",
    "nearest_aligned_both_ways",
    "nearest_hash",
    "nearest_ssim",
    "perceptual_hash",
]

HASH_BITS = 64
"""Length of a perceptual hash."""

_LARGEST_SIDE = 64
_BLANK = 1.0  # grey levels: a window whose deviation is below this has nothing to be aligned by
# Of the shorter side, about, of the windows that a short list is drawn up from; in pixels.
_COARSE_SIDE = 12
_SINGLE = 1e-5  # by how much, at most, a correlation in single precision is off
_FLIPS = ((1, 1), (1, -1), (-1, 1), (-1, -1))  # steps down and along
_ALIGNED_LIST = 4
_MOST_IN_BLOCK = 1024
_SHORT_LIST = 8
_HASH_SIDE, _HASHED = 8, 32


# ---------------------------------------------------------------- aligned pixels


_Found = tuple[np.ndarray, np.ndarray]
_Parts = tuple[np.ndarray, np.ndarray]


def nearest_aligned(
    queries: np.ndarray,
    gallery: np.ndarray,
    *,
    shift: int = 2,
    altered: Literal["gallery", "queries"] = "gallery",
    device: str = "cpu",
    block_bytes: int = 128 << 20,
) -> _Found:
    """Find the gallery's nearest picture to each query after the best alignment of the two.

    One side is the original, the other may have been altered. Of the original every flip (left-right, upside down,
    both) and every central crop by 0 … ``shift`` pixels a side, enlarged to the full size again, is taken; its window
    that leaves out ``shift`` pixels a side is compared with the windows of that size at every place of the altered
    picture. Windows are compared after subtracting their mean and dividing by their norm, over all channels together:
    a change of brightness and contrast, in range, changes nothing. So a copy that was flipped and moved by up to
    ``shift`` pixels is at distance 0, whatever was put in at its edges; one that was cropped and enlarged by some other
    interpolation is near 0.

    Windows of 24 pixels a side or more are first compared as averages over equal parts, about 12 a side, over the whole
    group; the 4 pictures that are most alike then are compared in full. A copy is as near by the averages as it is in
    full, so it is not missed; of pictures that are no copies, a slightly farther one may be found. The search among
    smaller windows is exact.

    Parameters
    ----------
    queries, gallery : ndarray of shape (n, H, W, C), uint8
    shift : int, default=2
        Pixels (of the reduced picture, where it was reduced), at most an eighth of the shorter side.
    altered : {"gallery", "queries"}
        Which side holds the altered copies.
    device : str, default="cpu"
        Where matrix products are computed, in single precision; the distances returned are those of the pairs found,
        in double precision, on the host.
    block_bytes : int, default=128 MiB
        Approximate limit of the working memory.

    Returns
    -------
    distances : ndarray of shape (n_queries,), float64
        In [0, 2]: √(2 − 2r) for a correlation r. A blank window, of a deviation below one grey level, is at distance 0
        from another blank one and √2 from any other.
    indices : ndarray of shape (n_queries,), int64

    Notes
    -----
    4 (shift + 1) (2 shift + 1)² products of about 144 C multiplications a pair: 300 for the default.
    """
    _check(queries, gallery)
    queries, gallery = _reduced(queries), _reduced(gallery)
    reach = _reach(queries, shift)
    rows = _ShortList(len(queries), _n_listed(gallery, reach))
    if altered == "gallery":
        _list_alike(queries, gallery, reach, (rows, None), device, block_bytes)
        return _nearest_listed(queries, gallery, rows, reach)
    _list_alike(gallery, queries, reach, (None, rows), device, block_bytes)
    return _nearest_listed(gallery, queries, rows, reach, of_copies=True)


def nearest_aligned_both_ways(
    originals: np.ndarray,
    copies: np.ndarray,
    *,
    shift: int = 2,
    device: str = "cpu",
    block_bytes: int = 128 << 20,
) -> tuple[_Found, _Found]:
    """The copy nearest to each original, and the original nearest to each copy, in one search.

    The same as :func:`nearest_aligned` of the originals in the altered copies, and of the altered copies as queries in
    the originals.

    Returns
    -------
    of_originals, of_copies : (distances, indices)
    """
    _check(originals, copies)
    originals, copies = _reduced(originals), _reduced(copies)
    reach = _reach(originals, shift)
    lists = (
        _ShortList(len(originals), _n_listed(copies, reach)),
        _ShortList(len(copies), _n_listed(originals, reach)),
    )
    _list_alike(originals, copies, reach, lists, device, block_bytes)
    return (
        _nearest_listed(originals, copies, lists[0], reach),
        _nearest_listed(originals, copies, lists[1], reach, of_copies=True),
    )


class _ShortList:
    """The ``k`` most alike to each of ``n`` pictures among those met so far: ``rows (n, k) int64``."""

    def __init__(self, n: int, k: int) -> None:
        import torch

        self.likeness = torch.full((n, k), -torch.inf)
        self.rows = torch.zeros((n, k), dtype=torch.int64)

    def meet(self, own: slice, start: int, likeness: torch.Tensor) -> None:
        """Meet the pictures from ``start`` on, of which ``likeness (own, any)`` is told."""
        import torch

        k = self.rows.shape[1]
        values, at = likeness.topk(min(k, likeness.shape[1]), dim=1)
        values = torch.cat([self.likeness[own], values.cpu()], dim=1)
        rows = torch.cat([self.rows[own], at.cpu() + start], dim=1)
        self.likeness[own], order = values.topk(k, dim=1)
        self.rows[own] = rows.gather(1, order)


def _list_alike(
    originals: np.ndarray,
    copies: np.ndarray,
    reach: int,
    lists: tuple[_ShortList | None, _ShortList | None],
    device: str,
    block_bytes: int,
) -> None:
    """Have the short lists of the originals and of the copies meet the other side, by coarse windows."""
    parts = _coarse(originals, reach)
    of_originals, of_copies = lists
    size = _block_size(originals, parts, reach, block_bytes)
    for a in _slices(len(originals), size):
        variants = np.concatenate(list(_variants(originals[a], reach, np.float32, parts)))
        for b in _slices(len(copies), size):
            windows = _windows(copies[b], reach, np.float32, parts)
            likeness = _largest_products(variants, windows, a.stop - a.start, device)
            if of_originals is not None:
                of_originals.meet(a, b.start, likeness)
            if of_copies is not None:
                of_copies.meet(b, a.start, likeness.T)


def _largest_products(
    variants: np.ndarray, windows: Iterator[np.ndarray], n: int, device: str
) -> torch.Tensor:
    """Largest product over the group, ``(n_originals, n_copies)``, of stacked variants with windows one by one."""
    import torch

    stacked = torch.from_numpy(variants).to(device)
    best: torch.Tensor | None = None
    for window in windows:
        moved = torch.from_numpy(window).to(device)
        if best is None:
            best = torch.full((n, len(moved)), -torch.inf, device=device)
            products = torch.empty((len(stacked), len(moved)), device=device)
        torch.mm(stacked, moved.T, out=products)
        torch.maximum(best, products.view(-1, n, len(moved)).amax(0), out=best)
    assert best is not None  # a shift of 0 has one window
    return best


def _nearest_listed(
    originals: np.ndarray,
    copies: np.ndarray,
    listed: _ShortList,
    reach: int,
    *,
    of_copies: bool = False,
) -> _Found:
    """Of the copies listed for each original, or the originals listed for each copy, the nearest in full."""
    rows = listed.rows.numpy()
    apart = np.empty(rows.shape)
    for rank in range(rows.shape[1]):
        theirs = rows[:, rank]
        ours, others = (originals[theirs], copies) if of_copies else (originals, copies[theirs])
        apart[:, rank] = _aligned_distances(ours, others, reach)
    best = apart.argmin(axis=1)[:, None]
    return (
        np.take_along_axis(apart, best, axis=1)[:, 0],
        np.take_along_axis(rows, best, axis=1)[:, 0],
    )


def _coarse(images: np.ndarray, reach: int) -> _Parts | None:
    """What averages windows over equal parts, down and along; None where they are small already."""
    sides = [side - 2 * reach for side in images.shape[1:3]]
    factor = min(sides) // _COARSE_SIDE
    if factor < 2:
        return None
    down, along = (_parts(side, -(-side // factor)) for side in sides)
    return down, along


def _n_listed(gallery: np.ndarray, reach: int) -> int:
    """How many are compared in full: one where the short list is exact itself."""
    return 1 if _coarse(gallery, reach) is None else min(_ALIGNED_LIST, len(gallery))


def _reach(images: np.ndarray, shift: int) -> int:
    return min(shift, min(images.shape[1:3]) // 8)


def _block_size(images: np.ndarray, parts: _Parts | None, reach: int, block_bytes: int) -> int:
    """Pictures of either side in a block: their windows, and the products between two blocks."""
    height, width = images.shape[1:3] if parts is None else (len(parts[0]), len(parts[1]))
    window = 4 * (height * width * images.shape[3] + 1)
    variants = 4 * (reach + 1)
    for size in (_MOST_IN_BLOCK, 512, 256, 128, 64, 32):
        if 2 * (variants + 2) * size * window + 8 * variants * size**2 <= block_bytes:
            return size
    return 16


def _aligned_distances(originals: np.ndarray, copies: np.ndarray, reach: int) -> np.ndarray:
    """Distance of pairs over the group, ``(n,) float64``; exactly 0 where a transformed copy is one."""
    distances = np.empty(len(originals))
    for rows in _slices(len(originals), 32):
        likeness = _likeness_of_pairs(originals[rows], copies[rows], reach)
        distances[rows] = _least_distances(originals[rows], copies[rows], likeness, reach)
    return distances


def _likeness_of_pairs(originals: np.ndarray, copies: np.ndarray, reach: int) -> np.ndarray:
    """Correlation of every variant of an original with every window of its copy, ``(n, variants, windows) float32``."""
    n = len(originals)
    variants = np.stack(list(_variants(originals, reach, np.float32)), axis=1)
    moved = copies.astype(np.float32) - copies.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float32)
    windows = np.moveaxis(_every_window(moved, reach), 3, -1).reshape(n, -1, variants.shape[2] - 1)
    size = windows.shape[2]
    # Variants have a mean of 0, so that the windows' own need not be taken away from them.
    squares = np.einsum("nij,nij->ni", windows, windows) - windows.sum(axis=2) ** 2 / size
    norms = np.sqrt(np.maximum(squares, 0))[:, None]
    blank = norms < _BLANK * np.sqrt(size)
    likeness = variants[..., :-1] @ windows.transpose(0, 2, 1) / np.where(blank, 1, norms)
    return np.where(blank, variants[..., -1:], likeness)


def _least_distances(
    originals: np.ndarray, copies: np.ndarray, likeness: np.ndarray, reach: int
) -> np.ndarray:
    """The least distance of pairs, in double precision, over the variants and windows that may be the most alike."""
    best = likeness.max(axis=(1, 2), keepdims=True)
    pairs, variants, windows = np.nonzero(likeness >= best - _SINGLE)
    tops, lefts = np.divmod(windows, 2 * reach + 1)
    every = _every_window(copies, reach)
    least = np.full(len(originals), np.inf)
    for variant in np.unique(variants):
        own = variants == variant
        chosen = np.moveaxis(every[pairs[own], tops[own], lefts[own]], 1, -1).astype(np.float64)
        cut, flip = divmod(int(variant), len(_FLIPS))
        zoomed = _zoomed(originals[pairs[own]], cut, reach, np.float64)
        gap = _normalised(_flipped(zoomed, flip)) - _normalised(chosen)
        np.minimum.at(least, pairs[own], np.sqrt(np.einsum("ij,ij->i", gap, gap)))
    return least


def _every_window(images: np.ndarray, reach: int) -> np.ndarray:
    """A view of the windows of pictures ``(n, H, W, C)`` by place, ``(n, places down, along, C, h, w)``."""
    height, width = (side - 2 * reach for side in images.shape[1:3])
    return np.lib.stride_tricks.sliding_window_view(images, (height, width), axis=(1, 2))


def _variants(
    images: np.ndarray, reach: int, dtype: type, parts: _Parts | None = None
) -> Iterator[np.ndarray]:
    """Normalised central windows ``(n, d + 1)`` of every flip and zoom of originals, coarse with ``parts``."""
    for cut in range(reach + 1):
        averaged = _averaged(_zoomed(images, cut, reach, dtype), parts)
        for flip in range(len(_FLIPS)):
            yield _normalised(_flipped(averaged, flip), _least_deviation(parts))


def _zoomed(images: np.ndarray, cut: int, reach: int, dtype: type) -> np.ndarray:
    """Central windows of pictures of which ``cut`` pixels a side were cut off and the rest enlarged."""
    height, width = images.shape[1:3]
    if cut == 0:
        return images[:, reach : height - reach, reach : width - reach].astype(dtype)
    down, along = (_zoom(side, cut)[reach : side - reach] for side in (height, width))
    return _resampled(images, down, along, dtype)


def _flipped(images: np.ndarray, flip: int) -> np.ndarray:
    rows, columns = _FLIPS[flip]
    return images[:, ::rows, ::columns]


def _windows(
    images: np.ndarray, reach: int, dtype: type, parts: _Parts | None = None
) -> Iterator[np.ndarray]:
    """Normalised windows ``(n, d + 1)`` of copies, at every place that the shifts lead to, coarse with ``parts``."""
    height, width = (side - 2 * reach for side in images.shape[1:3])
    for top in range(2 * reach + 1):
        for left in range(2 * reach + 1):
            window: np.ndarray = images[:, top : top + height, left : left + width].astype(dtype)
            yield _normalised(_averaged(window, parts), _least_deviation(parts))


def _averaged(windows: np.ndarray, parts: _Parts | None) -> np.ndarray:
    return windows if parts is None else _resampled(windows, *parts, windows.dtype.type)


def _least_deviation(parts: _Parts | None) -> float:
    """Below which a window is blank; averages of noise deviate less than the noise."""
    if parts is None:
        return _BLANK
    return _BLANK * float(np.sqrt(np.prod([len(p) / p.shape[1] for p in parts])))


def _normalised(windows: np.ndarray, blank_below: float = _BLANK) -> np.ndarray:
    """Vectors of unit norm about their own mean; blank ones point along an axis of their own."""
    flat = windows.reshape(len(windows), -1)
    vectors = np.zeros((len(flat), flat.shape[1] + 1), flat.dtype)
    centred = vectors[:, :-1]
    np.subtract(flat, flat.mean(axis=1, keepdims=True), out=centred)
    norms = np.sqrt(np.einsum("ij,ij->i", centred, centred))
    blank = norms < blank_below * np.sqrt(flat.shape[1])
    centred /= np.where(blank, 1, norms)[:, None]
    vectors[blank] = 0
    vectors[blank, -1] = 1
    return vectors


def _zoom(side: int, cut: int) -> np.ndarray:
    """The matrix ``(side, side)`` that cuts ``cut`` pixels off both ends of a line and enlarges the rest, linearly."""
    kept = side - 2 * cut
    at = np.clip((np.arange(side) + 0.5) * kept / side - 0.5, 0, kept - 1)
    low = np.minimum(at.astype(int), max(kept - 2, 0))
    matrix = np.zeros((side, side))
    rows = np.arange(side)
    matrix[rows, cut + low] = 1 - (at - low)
    matrix[rows, cut + np.minimum(low + 1, kept - 1)] += at - low
    return matrix


def _reduced(images: np.ndarray) -> np.ndarray:
    """Pictures of at most ``_LARGEST_SIDE`` pixels a side, uint8: means over equal parts of the sides."""
    height, width = images.shape[1:3]
    if max(height, width) <= _LARGEST_SIDE:
        return images
    factor = -(-max(height, width) // _LARGEST_SIDE)
    down, along = (_parts(side, -(-side // factor)) for side in (height, width))
    out = np.empty((len(images), len(down), len(along), images.shape[3]), np.uint8)
    for rows in _slices(len(images), 64):
        out[rows] = np.rint(_resampled(images[rows], down, along, np.float32))
    return out


def _parts(side: int, n: int) -> np.ndarray:
    """The matrix ``(n, side)`` that averages a line over ``n`` equal parts."""
    edges = np.arange(n + 1) * side / n
    starts, ends = edges[:-1, None], edges[1:, None]
    pixels = np.arange(side)
    overlap = np.minimum(ends, pixels + 1) - np.maximum(starts, pixels)
    return np.clip(overlap, 0, None) * n / side


def _resampled(images: np.ndarray, down: np.ndarray, along: np.ndarray, dtype: type) -> np.ndarray:
    """``down @ image @ alongᵀ`` for each channel of pictures ``(n, H, W, C)``."""
    planes: np.ndarray = images.transpose(0, 3, 1, 2).astype(dtype)
    moved = down.astype(dtype) @ planes @ along.T.astype(dtype)
    return moved.transpose(0, 2, 3, 1)


# ---------------------------------------------------------------- perceptual hash


def perceptual_hash(images: np.ndarray) -> np.ndarray:
    """The DCT hash of pictures and of their flips.

    The picture in grey levels is resized to 32 × 32 (Lanczos), transformed by the cosine transform along both sides,
    and of the 8 × 8 lowest frequencies each gives a bit: whether it is above their median. Flipping a picture changes
    the signs of its odd frequencies, so the flips cost no further transform.

    Parameters
    ----------
    images : ndarray of shape (n, H, W, C), uint8

    Returns
    -------
    ndarray of shape (n, 4, 64), bool
        Of the picture, its left-right flip, its upside-down flip and both.

    References
    ----------
    Zauner (2010), Implementation and benchmarking of perceptual image hash functions, section 3.2.1; with the details
    of the ``phash`` of the package ImageHash.
    """
    from scipy.fft import dct

    bits = np.empty((len(images), 4, HASH_BITS), bool)
    odd = np.where(np.arange(_HASH_SIDE) % 2, -1.0, 1.0)
    none = np.ones(_HASH_SIDE)
    for rows in _slices(len(images), 256):
        grey = np.stack([_hashed_pixels(image) for image in images[rows]]).astype(np.float64)
        low = dct(dct(grey, axis=1), axis=2)[:, :_HASH_SIDE, :_HASH_SIDE]
        for f, (down, along) in enumerate(((none, none), (none, odd), (odd, none), (odd, odd))):
            flat = (low * np.outer(down, along)).reshape(len(low), HASH_BITS)
            bits[rows, f] = flat > np.median(flat, axis=1, keepdims=True)
    return bits


def _hashed_pixels(image: np.ndarray) -> np.ndarray:
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).convert("L")
    return np.asarray(picture.resize((_HASHED, _HASHED), Image.Resampling.LANCZOS))


def hash_distances(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Least number of differing bits between any flip of each query and each picture of the gallery.

    Parameters
    ----------
    queries, gallery : ndarray of shape (n, 4, 64), bool
        See :func:`perceptual_hash`; of the gallery only the pictures as they are.

    Returns
    -------
    ndarray of shape (n_queries, n_gallery), int64
    """
    signs = np.where(queries, np.float32(1), np.float32(-1))
    theirs = np.where(gallery[:, 0], np.float32(1), np.float32(-1)).T
    agreement = (signs.reshape(-1, HASH_BITS) @ theirs).reshape(len(queries), 4, -1).max(axis=1)
    return ((HASH_BITS - agreement) / 2).astype(np.int64)


def nearest_hash(queries: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the gallery's picture with the least number of differing bits, up to flips.

    Parameters
    ----------
    queries, gallery : ndarray of shape (n, 4, 64), bool
        See :func:`perceptual_hash`.

    Returns
    -------
    distances : ndarray of shape (n_queries,), float64
        Whole numbers, 0 … 64.
    indices : ndarray of shape (n_queries,), int64
        The first of those at the least distance.
    """
    best = np.full(len(queries), np.inf)
    found = np.zeros(len(queries), np.int64)
    for q in _slices(len(queries), 512):
        for g in _slices(len(gallery), 4096):
            bits = hash_distances(queries[q], gallery[g])
            at = bits.argmin(axis=1)
            values = bits[np.arange(len(bits)), at]
            better = values < best[q]
            best[q] = np.where(better, values, best[q])
            found[q] = np.where(better, at + g.start, found[q])
    return best, found


# ---------------------------------------------------------------- structural similarity


def nearest_ssim(
    queries: np.ndarray, gallery: np.ndarray, *, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """Find the gallery's picture of the largest structural similarity to any flip of each query.

    SSIM is taken with the 8 pictures that come nearest in pixels after brightness and contrast are taken out, over the
    query's flips; with all of them where there are no more. The maximum is that of the short list.

    Parameters
    ----------
    queries, gallery : ndarray of shape (n, H, W, C), uint8
    device : str, default="cpu"

    Returns
    -------
    distances : ndarray of shape (n_queries,), float64
        1 − SSIM, in [0, 2].
    indices : ndarray of shape (n_queries,), int64
    """
    _check(queries, gallery)
    queries, gallery = _reduced(queries), _reduced(gallery)
    flat = _normalised(gallery.astype(np.float32))
    k = min(_SHORT_LIST, len(gallery))
    flips, listed, far = [], [], []
    for flip in range(len(_FLIPS)):
        turned = np.ascontiguousarray(_flipped(queries, flip))
        apart, rows = nearest(_normalised(turned.astype(np.float32)), flat, k, device=device)
        flips.append(turned)
        listed.append(rows)
        far.append(apart)
    kept = np.argsort(np.concatenate(far, axis=1), axis=1, kind="stable")
    kept = kept if k == len(gallery) else kept[:, :k]
    rows = np.take_along_axis(np.concatenate(listed, axis=1), kept, axis=1)
    similar = np.empty(kept.shape)
    everyone = np.arange(len(queries))
    turns = np.stack(flips)
    for rank in range(kept.shape[1]):
        turned = turns[kept[:, rank] // k, everyone]
        similar[:, rank] = ssim(turned, gallery[rows[:, rank]])
    best = similar.argmax(axis=1)
    return np.maximum(1 - similar[everyone, best], 0.0), rows[everyone, best].astype(np.int64)


# ---------------------------------------------------------------- helpers


def _slices(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _check(queries: np.ndarray, gallery: np.ndarray) -> None:
    if queries.ndim != 4 or queries.shape[1:] != gallery.shape[1:] or len(gallery) == 0:
        raise ValueError(
            "queries and gallery must be images of one shape (n, H, W, C), with one or more in the gallery. "
            f"Got {queries.shape} and {gallery.shape} instead."
        )
    if queries.dtype != np.uint8 or gallery.dtype != np.uint8:
        raise ValueError(f"images must be uint8. Got {queries.dtype} and {gallery.dtype}.")
