"""Blur, pixelation, zoom and compression: corruptions that mix a pixel with its neighbours.

Every function takes images ``(n, H, W, C) uint8`` and gives new ones of the same shape and type; ``side`` is the
shorter side of the images.

Kernels at other sizes than the tables'
---------------------------------------
A kernel ``K`` is defined on the pixels of a picture of 224 pixels a side. On a smaller picture it acts as if every
pixel were enlarged to a square of 224/side pixels, blurred, and averaged again: the weight of the pixel at distance k
becomes Σ_u K(u) · Λ(u · side/224 − k), with the triangle Λ(t) = max(0, 1 − |t|) in each axis. At 224 pixels this is
``K``. Borders are mirrored about the edge of the image.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np

from benchmark.perturbations.severities import REFERENCE_SIDE

__all__ = ["defocus_blur", "gaussian_blur", "jpeg", "motion_blur", "pixelate", "zoom"]

MOTION_ANGLES = np.deg2rad(np.arange(-45, 46, 3))
"""Directions of motion, in radians: one of 31, so that images that share one are blurred together."""

_MANY_TERMS = 8  # above, the Fourier transform is faster than as many products of matrices


def jpeg(images: np.ndarray, quality: float) -> np.ndarray:
    """Written as JPEG of this quality (1 … 95) by Pillow and read again."""
    from PIL import Image

    read = np.empty_like(images)
    grey = images.shape[3] == 1
    for image, out in zip(images, read, strict=True):
        buffer = io.BytesIO()
        pixels = image[..., 0] if grey else image
        Image.fromarray(pixels).save(buffer, "JPEG", quality=int(quality))
        with Image.open(buffer) as coded:
            out[...] = np.asarray(coded).reshape(out.shape)
    return read


def pixelate(images: np.ndarray, factor: float) -> np.ndarray:
    """Shrunk to ``factor`` of the side by averaging areas, enlarged again by the nearest pixel."""
    height, width = images.shape[1:3]
    return _separable(images, _pixelation(height, factor), _pixelation(width, factor))


def zoom(images: np.ndarray, factor: float) -> np.ndarray:
    """Enlarged by ``factor`` about the centre, bilinearly; what leaves the frame is lost."""
    height, width = images.shape[1:3]
    return _separable(images, _enlargement(height, factor), _enlargement(width, factor))


def gaussian_blur(images: np.ndarray, size: float) -> np.ndarray:
    """A Gaussian kernel of ``size`` × ``size`` pixels (odd), of OpenCV's deviation for that size."""
    height, width = images.shape[1:3]
    kernel = _gaussian_kernel(int(size), _default_sigma(size))
    taps = _scaled_line(kernel, min(height, width))
    return _separable(images, _mirrored_matrix(taps, height), _mirrored_matrix(taps, width))


def defocus_blur(images: np.ndarray, radius: float, alias: float) -> np.ndarray:
    """A disc of ``radius`` pixels whose edge is softened by a Gaussian of deviation ``alias``."""
    kernel = _disc_kernel(radius, alias, min(images.shape[1:3]))
    return _convolve(images, kernel)


def motion_blur(
    images: np.ndarray, radius: float, sigma: float, rng: np.random.Generator
) -> np.ndarray:
    """A trail of 2 · radius + 1 pixels that fades as a Gaussian of deviation ``sigma``, as ImageMagick's.

    The direction is drawn for each image, within 45° of the horizontal.
    """
    chosen = rng.integers(len(MOTION_ANGLES), size=len(images))
    blurred = np.empty_like(images)
    for i in np.unique(chosen):
        rows = np.flatnonzero(chosen == i)
        kernel = _trail_kernel(radius, sigma, int(i), min(images.shape[1:3]))
        blurred[rows] = _convolve(images[rows], kernel)
    return blurred


# ---------------------------------------------------------------- along one axis


def _separable(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """``rows @ plane @ columns.T`` for every channel of every image."""
    return _from_planes(rows @ _to_planes(images) @ columns.T)


def _to_planes(images: np.ndarray) -> np.ndarray:
    """One contiguous plane ``(n, C, H, W) float64`` for each channel, in levels of 0 … 255."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float64)


def _from_planes(planes: np.ndarray) -> np.ndarray:
    """Planes as images again."""
    return np.ascontiguousarray(_to_levels(planes).transpose(0, 2, 3, 1))


def _to_levels(values: np.ndarray) -> np.ndarray:
    """Rounded to levels, halves up; overwrites ``values``.

    In double precision and with a little added, so that the last bits, which depend on how many threads a product was
    computed by, never decide.
    """
    values += 0.5 + 1e-7
    np.floor(values, out=values)
    return np.clip(values, 0, 255, out=values).astype(np.uint8)


@lru_cache(maxsize=64)
def _pixelation(side: int, factor: float) -> np.ndarray:
    small = max(1, round(side * factor))
    edges = np.arange(small + 1) * (side / small)
    left, right = edges[:-1, None], edges[1:, None]
    at = np.arange(side)
    overlap = np.clip(np.minimum(right, at + 1) - np.maximum(left, at), 0, None)
    nearest = np.floor((at + 0.5) * (small / side)).astype(int)
    return (overlap / overlap.sum(axis=1, keepdims=True))[nearest]


@lru_cache(maxsize=64)
def _enlargement(side: int, factor: float) -> np.ndarray:
    centre = (side - 1) / 2
    source = centre + (np.arange(side) - centre) / factor
    return np.clip(1 - np.abs(source[:, None] - np.arange(side)), 0, None)


def _default_sigma(size: float) -> float:
    return 0.3 * ((size - 1) * 0.5 - 1) + 0.8


def _gaussian_kernel(size: int, sigma: float) -> np.ndarray:
    kernel = np.exp(-0.5 * ((np.arange(size) - size // 2) / sigma) ** 2)
    return kernel / kernel.sum()


def _mirrored_matrix(taps: np.ndarray, side: int) -> np.ndarray:
    """The matrix of a convolution with an odd number of ``taps`` and mirrored borders."""
    reach = len(taps) // 2
    source = _mirrored(np.arange(-reach, side + reach), side)
    matrix = np.zeros((side, side))
    for k, weight in enumerate(taps[::-1]):
        np.add.at(matrix, (np.arange(side), source[k : k + side]), weight)
    return matrix


def _mirrored(at: np.ndarray, side: int) -> np.ndarray:
    """Pixels −1, −2, … as 0, 1, …, and likewise at the other end, as often as it takes."""
    at = at % (2 * side)
    return np.minimum(at, 2 * side - 1 - at)


# ---------------------------------------------------------------- kernels


def _scaled_line(kernel: np.ndarray, side: int) -> np.ndarray:
    """An odd, centred kernel of 224-pixel pictures for pictures of this side."""
    reach = len(kernel) // 2
    weights = _shares(np.arange(-reach, reach + 1), side)
    return kernel @ weights


def _shares(offsets: np.ndarray, side: int) -> np.ndarray:
    """How 224-pixel offsets ``(u,)`` fall on the pixels −r … r of a picture of this side, ``(u, 2r + 1)``."""
    scale = side / REFERENCE_SIDE
    width = max(1.0, scale)
    reach = int(np.ceil(np.abs(offsets).max() * scale + width - 1e-9)) - 1 if offsets.any() else 0
    reach = max(reach, int(np.ceil(width)) - 1)
    pixels = np.arange(-reach, reach + 1)
    shares = np.clip(1 - np.abs(offsets[:, None] * scale - pixels) / width, 0, None)
    return shares / shares.sum(axis=1, keepdims=True)


def _scaled_points(y: np.ndarray, x: np.ndarray, weights: np.ndarray, side: int) -> np.ndarray:
    """A kernel of 224-pixel pictures, given as points, for pictures of this side; ``(2r + 1, 2r + 1)``."""
    both = _shares(np.concatenate([y, x, -y, -x]), side)
    rows, columns = both[: len(y)], both[len(y) : 2 * len(y)]
    kernel = rows.T @ (weights[:, None] * columns)
    return kernel / kernel.sum()


@lru_cache(maxsize=64)
def _disc_kernel(radius: float, alias: float, side: int) -> np.ndarray:
    soft = _gaussian_kernel(3 if radius <= 8 else 5, alias)
    reach = int(radius) + len(soft) // 2
    at = np.arange(-reach, reach + 1)
    y, x = np.meshgrid(at, at, indexing="ij")
    disc = (y**2 + x**2 <= radius**2).astype(float)
    for axis in (0, 1):
        disc = np.apply_along_axis(np.convolve, axis, disc, soft, mode="same")
    kept = disc > 0
    return _scaled_points(y[kept], x[kept], disc[kept] / disc.sum(), side)


@lru_cache(maxsize=512)
def _trail_kernel(radius: float, sigma: float, angle: int, side: int) -> np.ndarray:
    step = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-0.5 * (step / sigma) ** 2)
    y = np.rint(step * np.sin(MOTION_ANGLES[angle]))
    x = np.rint(step * np.cos(MOTION_ANGLES[angle]))
    return _scaled_points(y, x, weights / weights.sum(), side)


# ---------------------------------------------------------------- in two dimensions


def _convolve(images: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Each channel of each image convolved with ``kernel (2r + 1, 2r + 1)``, borders mirrored."""
    left, values, right = np.linalg.svd(kernel)
    terms = int(np.count_nonzero(values > 1e-10 * values[0]))
    if terms > _MANY_TERMS:
        return _by_fourier(images, kernel)
    return _by_terms(images, left[:, :terms].T * values[:terms, None], right[:terms])


def _by_terms(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """With the kernel Σ_t outer(rows[t], columns[t]): two products for each plane, as in :func:`_separable`."""
    height, width = images.shape[1:3]
    down = np.hstack([_mirrored_matrix(t, height) for t in rows])
    along = np.stack([_mirrored_matrix(t, width).T for t in columns])
    planes = _to_planes(images)
    mixed = (planes[:, :, None] @ along).reshape(*planes.shape[:2], -1, width)
    return _from_planes(down @ mixed)


def _by_fourier(images: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    from scipy import fft

    height, width = images.shape[1:3]
    reach = len(kernel) // 2
    rows = _mirrored(np.arange(-reach, height + reach), height)
    columns = _mirrored(np.arange(-reach, width + reach), width)
    padded = images[:, rows][:, :, columns].astype(np.float64)
    size = [fft.next_fast_len(n, real=True) for n in padded.shape[1:3]]
    spectrum = fft.rfft2(padded, size, axes=(1, 2)) * fft.rfft2(kernel, size)[None, :, :, None]
    full = fft.irfft2(spectrum, size, axes=(1, 2))
    return _to_levels(full[:, 2 * reach :, 2 * reach :][:, :height, :width])
