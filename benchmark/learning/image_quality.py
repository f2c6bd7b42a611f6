"""How alike two pictures are: structural similarity and peak signal-to-noise ratio, for many pairs at once."""

from __future__ import annotations

import numpy as np

__all__ = ["PSNR_OF_A_COPY", "psnr", "ssim"]

PSNR_OF_A_COPY = float(10 * np.log10(255**2 * 12))
"""PSNR, in dB, of pictures that differ by rounding to levels alone (variance 1/12): 58.9. More is not told apart."""

_BLOCK_BYTES = 4 << 20


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of pairs of images, in dB.

    Parameters
    ----------
    a, b : ndarray of shape (n, H, W, C), uint8
        Row i of the one is compared with row i of the other.

    Returns
    -------
    ndarray of shape (n,), float64
        10 log₁₀(255²/mean squared difference), at most ``PSNR_OF_A_COPY``, which copies get.

    Examples
    --------
    >>> dark, bright = np.zeros((1, 2, 2, 1), np.uint8), np.full((1, 2, 2, 1), 255, np.uint8)
    >>> psnr(dark, bright)
    array([0.])
    """
    _check(a, b)
    error = np.empty(len(a))
    for rows in _blocks(a):
        gap = a[rows].astype(np.float32) - b[rows]
        error[rows] = np.square(gap).mean(axis=(1, 2, 3), dtype=np.float64)
    return 10 * np.log10(255**2 / np.maximum(error, 1 / 12))


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Structural similarity of pairs of images.

    Means, variances and covariance are taken in a Gaussian window of deviation 1.5 and 11 × 11 pixels, or the largest
    odd side that the images have; the map is averaged over windows inside the images, and over channels.

    Parameters
    ----------
    a, b : ndarray of shape (n, H, W, C), uint8
        Row i of the one is compared with row i of the other.

    Returns
    -------
    ndarray of shape (n,), float64
        In [−1, 1]; 1 for copies.

    References
    ----------
    Wang, Bovik, Sheikh, Simoncelli (2004). Image quality assessment: from error visibility to structural similarity.
    IEEE Transactions on Image Processing 13:600, equation 13, with K₁ = 0.01 and K₂ = 0.03.
    """
    _check(a, b)
    found = np.empty(len(a))
    for rows in _blocks(a):
        found[rows] = _ssim(_planes(a[rows]), _planes(b[rows]))
    return found


def _ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of planes ``(n, C, H, W)`` in [0, 1]."""
    side = min(11, *x.shape[2:])
    reach = (side - 1) // 2
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / 1.5) ** 2)
    down = _windows(weights / weights.sum(), x.shape[2])
    along = _windows(weights / weights.sum(), x.shape[3]).T

    def mean(values: np.ndarray) -> np.ndarray:
        filtered: np.ndarray = down @ values @ along
        return filtered

    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return similarity.mean(axis=(1, 2, 3))


def _windows(weights: np.ndarray, side: int) -> np.ndarray:
    """The matrix that takes weighted means over the windows inside a line, ``(side − w + 1, side)``."""
    n = side - len(weights) + 1
    matrix = np.zeros((n, side))
    for k, weight in enumerate(weights):
        matrix[np.arange(n), np.arange(n) + k] = weight
    return matrix


def _planes(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) / 255


def _blocks(images: np.ndarray) -> list[slice]:
    size = max(1, _BLOCK_BYTES // max(1, 8 * int(np.prod(images.shape[1:]))))
    return [slice(start, start + size) for start in range(0, len(images), size)]


def _check(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape or a.ndim != 4 or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(
            "a and b must be uint8 images of one shape (n, H, W, C). "
            f"Got {a.dtype} {a.shape} and {b.dtype} {b.shape} instead."
        )
