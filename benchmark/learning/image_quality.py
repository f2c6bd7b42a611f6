"""How alike two pictures are, for many pairs at once: structural similarity, at one scale or at several, peak
signal-to-noise ratio, and the distance of what a network sees in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["PSNR_OF_A_COPY", "feature_distance", "ms_ssim", "n_scales", "psnr", "ssim"]

PSNR_OF_A_COPY = float(10 * np.log10(255**2 * 12))
"""PSNR, in dB, of pictures that differ by rounding to levels alone (variance 1/12): 58.9. More is not told apart."""

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales of MS-SSIM, the finest first (Wang, Simoncelli, Bovik 2003, section 3.2)."""

_WINDOW = 11

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


def ms_ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Structural similarity of pairs of images over several scales.

    The product over scales of contrast and structure, and of luminance at the coarsest one, each averaged over the
    image and raised to ``SCALE_WEIGHTS``; from scale to scale squares of 2 × 2 pixels are averaged, and an odd last row
    or column is left out. Five scales need a side of 176 pixels. Smaller images have fewer (:func:`n_scales`): the
    exponents of those, divided by their sum. Contrast and structure below 0 count as 0.

    Parameters
    ----------
    a, b : ndarray of shape (n, H, W, C), uint8
        Row i of the one is compared with row i of the other.

    Returns
    -------
    ndarray of shape (n,), float64
        In [0, 1]; 1 for copies. With one scale it is that of :func:`ssim`, or 0 where that is negative.

    References
    ----------
    Wang, Simoncelli, Bovik (2003). Multiscale structural similarity for image quality assessment. Asilomar Conference
    on Signals, Systems and Computers, equation 7.
    """
    _check(a, b)
    found = np.empty(len(a))
    scales = n_scales(a.shape[1:3])
    weights = np.array(SCALE_WEIGHTS[:scales]) / sum(SCALE_WEIGHTS[:scales])
    for rows in _blocks(a):
        x, y = _planes(a[rows]), _planes(b[rows])
        product = np.ones(len(x))
        for scale, weight in enumerate(weights):
            if scale:
                x, y = _halved(x), _halved(y)
            similarity, structure = _terms(x, y)
            term = similarity if scale == scales - 1 else structure
            product *= np.maximum(term, 0) ** weight
        found[rows] = product
    return found


def n_scales(size: Sequence[int]) -> int:
    """Scales of :func:`ms_ssim` for images of this height and width: the window fits into the coarsest; 1 to 5.

    Examples
    --------
    >>> n_scales((28, 28)), n_scales((64, 64)), n_scales((224, 224)), n_scales((8, 8))
    (2, 3, 5, 1)
    """
    side, scales = min(size) // 2, 1
    while side >= _WINDOW and scales < len(SCALE_WEIGHTS):
        side, scales = side // 2, scales + 1
    return scales


def _halved(planes: np.ndarray) -> np.ndarray:
    height, width = (n // 2 * 2 for n in planes.shape[2:])
    even = planes[:, :, :height, :width]
    halved: np.ndarray = even.reshape(*planes.shape[:2], height // 2, 2, width // 2, 2).mean((3, 5))
    return halved


def _ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of planes ``(n, C, H, W)`` in [0, 1]."""
    return _terms(x, y)[0]


def _terms(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SSIM, and its factor of contrast and structure alone, of planes ``(n, C, H, W)`` in [0, 1]."""
    side = min(_WINDOW, *x.shape[2:])
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
    structure = (2 * vxy + c2) / (vx + vy + c2)
    luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
    return (luminance * structure).mean(axis=(1, 2, 3)), structure.mean(axis=(1, 2, 3))


def feature_distance(
    a: np.ndarray, b: np.ndarray, stages: Callable[[np.ndarray], Sequence[torch.Tensor]]
) -> np.ndarray:
    """Distance of pairs of images in the layers of a network: the unweighted form of LPIPS.

    In each layer the channels of each place are scaled to a vector of length 1; the squared distance between the two
    images' vectors is averaged over places, then over layers. This is *not* the LPIPS of Zhang et al., who weight the
    channels by what people judged alike, in other networks: figures of the two do not compare.

    Parameters
    ----------
    a, b : ndarray of shape (n, H, W, C), uint8
        Row i of the one is compared with row i of the other.
    stages : callable
        Images ``(k, H, W, C) uint8`` → what the layers answer, each ``(k, channels, height, width)``.

    Returns
    -------
    ndarray of shape (n,), float64
        In [0, 4]; 0 for copies, at most 2 where activations are never negative.

    References
    ----------
    Zhang, Isola, Efros, Shechtman, Wang (2018). The unreasonable effectiveness of deep features as a perceptual metric.
    arXiv:1801.03924, equation 1, with all weights 1 and layers averaged.
    """
    _check(a, b)
    found = np.empty(len(a))
    for start in range(0, len(a), 128):
        rows = slice(start, start + 128)
        pairs = zip(stages(a[rows]), stages(b[rows]), strict=True)
        layers = [_layer_distance(x, y) for x, y in pairs]
        found[rows] = np.mean(layers, axis=0)
    return found


def _layer_distance(x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    """Mean over places of the squared distance of unit vectors of channels, ``(k,) float64``."""
    import torch

    x, y = (
        z.double() / (torch.linalg.vector_norm(z.double(), dim=1, keepdim=True) + 1e-10)
        for z in (x, y)
    )
    gaps: np.ndarray = (x - y).square().sum(1).mean((1, 2)).cpu().numpy()
    return gaps


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
