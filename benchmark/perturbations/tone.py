"""Noise and tone: corruptions of a pixel by itself, or by its picture's mean.

Every function takes images ``(n, H, W, C) uint8`` and gives new ones of the same shape and type. Noise is drawn image
after image, so that what an image gets does not depend on how many are handled at once.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "brightness",
    "contrast",
    "gamma",
    "gaussian_noise",
    "impulse_noise",
    "saturate",
    "shot_noise",
    "speckle_noise",
    "to_pixels",
    "to_unit",
]

_LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in the luminance of ITU-R BT.601."""


def to_unit(images: np.ndarray) -> np.ndarray:
    """Pixels in 0 … 255 as float32 in [0, 1]."""
    return images * np.float32(1 / 255)


def to_pixels(values: np.ndarray) -> np.ndarray:
    """Values, nominally in [0, 1], clipped and rounded to pixels in 0 … 255. Overwrites ``values``."""
    values *= 255
    np.clip(values, 0, 255, out=values)
    return np.rint(values, out=values).astype(np.uint8)


def gaussian_noise(images: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """x + N(0, σ²), each channel on its own; σ in units of full scale."""
    noise = rng.standard_normal(images.shape, dtype=np.float32)
    noise *= np.float32(sigma)
    noise += to_unit(images)
    return to_pixels(noise)


def speckle_noise(images: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """x · (1 + N(0, σ²)), each channel on its own."""
    noise = rng.standard_normal(images.shape, dtype=np.float32)
    noise *= np.float32(sigma)
    noise += 1
    noise *= to_unit(images)
    return to_pixels(noise)


def impulse_noise(images: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """A share ``amount`` of the values becomes 0 or 255, half of it each."""
    drawn = rng.random(images.shape, dtype=np.float32)
    noisy = images.copy()
    noisy[drawn < amount / 2] = 0
    noisy[drawn >= 1 - amount / 2] = 255
    return noisy


def shot_noise(images: np.ndarray, photons: float, rng: np.random.Generator) -> np.ndarray:
    """Poisson(x · photons) / photons: full scale is ``photons`` counts."""
    counts = rng.poisson(np.arange(256)[images] * (photons / 255))
    return to_pixels(counts / np.float32(photons))


def brightness(images: np.ndarray, factor: float) -> np.ndarray:
    """x · factor, clipped."""
    return to_pixels(np.arange(256) / 255 * factor)[images]


def gamma(images: np.ndarray, exponent: float) -> np.ndarray:
    """x ** exponent on [0, 1]: above 1 darkens."""
    return to_pixels((np.arange(256) / 255) ** exponent)[images]


def contrast(images: np.ndarray, factor: float) -> np.ndarray:
    """Distance from the image's mean luminance, times ``factor``."""
    channels = images.mean(axis=(1, 2), dtype=np.float64)
    mean = channels @ _LUMA if images.shape[3] == 3 else channels[:, 0]
    offset = (mean * (1 - factor) / 255).astype(np.float32)
    values = images * np.float32(factor / 255)
    values += offset[:, None, None, None]
    return to_pixels(values)


def saturate(images: np.ndarray, shift: float) -> np.ndarray:
    """Adds ``shift`` to the saturation of HSV, at most to 1; value and hue stay.

    With M the largest channel and S the saturation, that is M − (M − x) · min(1, S + shift) / S. Pixels without colour
    have no hue to deepen and stay as they are, and so do images of one channel.
    """
    if images.shape[3] == 1:
        return images.copy()
    values = to_unit(images)
    red, green, blue = values[..., 0], values[..., 1], values[..., 2]
    largest = np.maximum(np.maximum(red, green), blue)
    range_ = largest - np.minimum(np.minimum(red, green), blue)
    coloured = range_ > 0
    saturation = np.divide(range_, largest, out=np.ones_like(range_), where=coloured)
    wanted = np.minimum(saturation + np.float32(shift), 1)
    gain = (wanted / saturation)[..., None]
    largest = largest[..., None]
    return to_pixels(largest - (largest - values) * gain)
