"""The picture most like a given one, where copies may have been flipped, cropped, brightened or compressed.

Three measures, each a distance that is 0 for a copy:

- *aligned*: the distance between pixels after the best flip, shift and zoom, and after brightness and contrast are
  taken out; exact over that group, as matrix products over transformed pictures;
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
    "nearest_hash",
    "nearest_ssim",
    "perceptual_hash",
]

HASH_BITS = 64
"""Length of a perceptual hash."""

_LARGEST_SIDE = 64
_BLANK = 1.0  # grey levels: a window whose deviation is below this has nothing to be aligned by
_MOST_IN_BLOCK = 1024
_SHORT_LIST = 8
_HASH_SIDE, _HASHED = 8, 32


# ---------------------------------------------------------------- aligned pixels


def nearest_aligned(
    queries: np.ndarray,
    gallery: np.ndarray,
    *,
    shift: int = 2,
    altered: Literal["gallery", "queries"] = "gallery",
    device: str = "cpu",
    block_bytes: int = 128 << 20,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the gallery's nearest picture to each query after the best alignment of the two.

    One side is the original, the other may have been altered. Of the original every flip (left-right, upside down,
    both) and every central crop by 0 … ``shift`` pixels a side, enlarged to the full size again, is taken; its window
    that leaves out ``shift`` pixels a side is compared with the windows of that size at every place of the altered
    picture. Windows are compared after subtracting their mean and dividing by their norm, over all channels together:
    a change of brightness and contrast, in range, changes nothing. So a copy that was flipped and moved by up to
    ``shift`` pixels is at distance 0, whatever was put in at its edges; one that was cropped and enlarged by some other
    interpolation is near 0. The search is exact over this group.

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
    4 (shift + 1) (2 shift + 1)² products of d = H·W·C multiplications a pair: 300 for the default. 2,000 × 1,000
    pictures of 28 × 28 take about as long as a search of 600,000 × 1,000 vectors of 577 features.
    """
    import torch

    _check(queries, gallery)
    queries, gallery = _reduced(queries), _reduced(gallery)
    reach = _reach(queries, shift)
    best = torch.full((len(queries),), -torch.inf)
    found = torch.zeros(len(queries), dtype=torch.int64)
    size = _block_size(queries, reach, block_bytes)
    for q in _slices(len(queries), size):
        for g in _slices(len(gallery), size):
            pair = (queries[q], gallery[g]) if altered == "gallery" else (gallery[g], queries[q])
            likeness = _aligned_likeness(*pair, reach, device)
            values, at = (likeness if altered == "gallery" else likeness.T).max(dim=1)
            better = values.cpu() > best[q]
            best[q] = torch.where(better, values.cpu(), best[q])
            found[q] = torch.where(better, at.cpu() + g.start, found[q])
    indices = found.numpy()
    twins = gallery[indices]
    originals, copies = (queries, twins) if altered == "gallery" else (twins, queries)
    return _aligned_distances(originals, copies, reach), indices


def _reach(images: np.ndarray, shift: int) -> int:
    return min(shift, min(images.shape[1:3]) // 8)


def _block_size(images: np.ndarray, reach: int, block_bytes: int) -> int:
    """Pictures of either side in a block: their windows, and the products between two blocks."""
    window = 4 * (int(np.prod(images.shape[1:])) + 1)
    variants = 4 * (reach + 1)
    for size in (_MOST_IN_BLOCK, 512, 256, 128, 64, 32):
        if 2 * (variants + 2) * size * window + 8 * variants * size**2 <= block_bytes:
            return size
    return 16


def _aligned_likeness(
    originals: np.ndarray, copies: np.ndarray, reach: int, device: str
) -> torch.Tensor:
    """Largest correlation over the group, ``(n_originals, n_copies)``."""
    import torch

    variants = np.concatenate(list(_variants(originals, reach, np.float32)))
    stacked = torch.from_numpy(variants).to(device)
    n, m = len(originals), len(copies)
    best = torch.full((n, m), -torch.inf, device=device)
    products = torch.empty((len(stacked), m), device=device)
    for window in _windows(copies, reach, np.float32):
        torch.mm(stacked, torch.from_numpy(window).to(device).T, out=products)
        torch.maximum(best, products.view(-1, n, m).amax(0), out=best)
    return best


def _aligned_distances(originals: np.ndarray, copies: np.ndarray, reach: int) -> np.ndarray:
    """Distance of pairs over the group, ``(n,) float64``; exactly 0 where a transformed copy is one."""
    distances = np.empty(len(originals))
    for rows in _slices(len(originals), 16):
        a = np.stack(list(_variants(originals[rows], reach, np.float64)), axis=1)
        b = np.stack(list(_windows(copies[rows], reach, np.float64)), axis=1)
        likeness = a @ b.transpose(0, 2, 1)
        best = likeness.reshape(len(a), -1).argmax(axis=1)
        pair = np.arange(len(a))
        gap = a[pair, best // b.shape[1]] - b[pair, best % b.shape[1]]
        distances[rows] = np.sqrt(np.einsum("ij,ij->i", gap, gap))
    return distances


def _variants(images: np.ndarray, reach: int, dtype: type) -> Iterator[np.ndarray]:
    """Normalised central windows ``(n, d + 1)`` of every flip and zoom of originals."""
    height, width = images.shape[1:3]
    for cut in range(reach + 1):
        down, along = (_zoom(side, cut)[reach : side - reach] for side in (height, width))
        zoomed = images.astype(dtype) if cut == 0 else _resampled(images, down, along, dtype)
        if cut == 0:
            zoomed = zoomed[:, reach : height - reach, reach : width - reach]
        for rows, columns in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            yield _normalised(zoomed[:, ::rows, ::columns])


def _windows(images: np.ndarray, reach: int, dtype: type) -> Iterator[np.ndarray]:
    """Normalised windows ``(n, d + 1)`` of copies, at every place that the shifts lead to."""
    height, width = (side - 2 * reach for side in images.shape[1:3])
    for top in range(2 * reach + 1):
        for left in range(2 * reach + 1):
            window = images[:, top : top + height, left : left + width]
            yield _normalised(window.astype(dtype))


def _normalised(windows: np.ndarray) -> np.ndarray:
    """Vectors of unit norm about their own mean; blank ones point along an axis of their own."""
    flat = windows.reshape(len(windows), -1)
    vectors = np.zeros((len(flat), flat.shape[1] + 1), flat.dtype)
    centred = vectors[:, :-1]
    np.subtract(flat, flat.mean(axis=1, keepdims=True), out=centred)
    norms = np.sqrt(np.einsum("ij,ij->i", centred, centred))
    blank = norms < _BLANK * np.sqrt(flat.shape[1])
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
    for flip in range(4):
        turned = np.ascontiguousarray(queries[:, :: (1, 1, -1, -1)[flip], :: (1, -1, 1, -1)[flip]])
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
