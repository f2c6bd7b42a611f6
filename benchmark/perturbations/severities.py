"""How strong each corruption is at severities 1 … 5, for each kind of picture.

Medical kinds follow MedMNIST-C; where its paper gives the ends of a range, the steps are equal. ``natural`` follows
ImageNet-C where its definition is ours; its brightness, contrast, gamma, saturation and zoom are in the units of this
package. What is placed in the picture (bubbles, corners, characters) has one table of our own for every kind.

A strength is what the function of that family takes (see :mod:`~benchmark.perturbations.tone`,
:mod:`~benchmark.perturbations.resolution` and :mod:`~benchmark.perturbations.overlays`). Radii, kernels and
deviations are in pixels of a picture of 224 pixels a side, and are scaled to the side of the picture at hand.

References
----------
Di Salvo, Doerrich, Ledig (2024). MedMNIST-C. arXiv:2406.17536.
Hendrycks, Dietterich (2019). Benchmarking neural network robustness to common corruptions and perturbations.
arXiv:1903.12261.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar, get_args

from benchmark.contracts import Field

__all__ = [
    "FAMILIES",
    "MODALITIES",
    "REFERENCE_SIDE",
    "SEVERITIES",
    "Family",
    "Modality",
    "Strength",
    "at_severity",
    "for_each_severity",
]

REFERENCE_SIDE = 224
"""Side, in pixels, of the pictures that radii, kernels and deviations are given for."""

Strength = float | tuple[float, float]
Table = tuple[Strength, Strength, Strength, Strength, Strength]

Family = Literal[
    "pixelate",
    "jpeg",
    "gaussian_noise",
    "speckle_noise",
    "impulse_noise",
    "shot_noise",
    "defocus_blur",
    "motion_blur",
    "gaussian_blur",
    "zoom",
    "brightness_up",
    "brightness_down",
    "contrast_up",
    "contrast_down",
    "gamma_up",
    "gamma_down",
    "saturate",
    "stain",
    "bubble",
    "black_corner",
    "characters",
]
FAMILIES: tuple[Family, ...] = get_args(Family)

Modality = Literal[
    "path",
    "blood",
    "derma",
    "retina",
    "oct",
    "breast",
    "chest",
    "pneumonia",
    "organ",
    "tissue",
    "natural",
]
MODALITIES: tuple[Modality, ...] = get_args(Modality)


def _steps(first: float, last: float) -> Table:
    """Five equal steps from ``first`` to ``last``."""
    a, b, c, d, e = (round(first + (last - first) * i / 4, 6) for i in range(5))
    return a, b, c, d, e


# The sets that many kinds share.
_JPEG: Table = (50, 30, 15, 10, 7)
_BRIGHTER = _steps(1.1, 1.5)
_DARKER = _steps(0.9, 0.5)
_UP: Table = (1.1, 1.2, 1.3, 1.4, 1.6)
_DOWN: Table = (0.9, 0.8, 0.7, 0.6, 0.4)
_KERNELS: Table = (3, 5, 7, 9, 11)
_DISCS: Table = ((4, 0.1), (5, 0.2), (6, 0.3), (7, 0.4), (8, 0.5))
_NOISES: dict[Family, Table] = {
    "gaussian_noise": (0.04, 0.08, 0.12, 0.18, 0.26),
    "speckle_noise": (0.05, 0.15, 0.2, 0.35, 0.45),
    "impulse_noise": (0.01, 0.03, 0.06, 0.09, 0.17),
    "shot_noise": (60, 25, 18, 10, 5),
}
_TONES: dict[Family, Table] = {
    "brightness_up": _BRIGHTER,
    "brightness_down": _DARKER,
    "contrast_up": _UP,
    "contrast_down": _DOWN,
    "gamma_up": _UP,
    "gamma_down": _DOWN,
}

# Ours: deposits and characters are counted; radii are in units of the side (bubble) and of half the side (corner).
_STAIN: Table = (1, 2, 3, 4, 5)
_BUBBLE: Table = (0.12, 0.17, 0.22, 0.27, 0.32)
_BLACK_CORNER: Table = (1.3, 1.2, 1.1, 1.0, 0.9)
_CHARACTERS: Table = (2, 4, 6, 8, 10)

SEVERITIES: dict[Modality, dict[Family, Table]] = {
    "path": {
        "pixelate": (0.8, 0.6, 0.4, 0.3, 0.25),
        "jpeg": _JPEG,
        "defocus_blur": ((3, 0.1), (4, 0.1), (5, 0.2), (6, 0.2), (7, 0.3)),
        "motion_blur": ((5, 5), (10, 5), (15, 5), (15, 8), (15, 12)),
        "brightness_up": (1.1, 1.15, 1.2, 1.22, 1.25),
        "brightness_down": (0.85, 0.8, 0.75, 0.72, 0.7),
        "contrast_up": _UP,
        "contrast_down": (0.8, 0.7, 0.6, 0.55, 0.5),
        "saturate": _steps(0.05, 0.25),
        "stain": _STAIN,
        "bubble": _BUBBLE,
    },
    "blood": {
        "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
        "jpeg": _JPEG,
        "defocus_blur": ((2, 0.01), (3, 0.1), (4, 0.1), (5, 0.1), (6, 0.1)),
        "motion_blur": ((3, 3), (5, 5), (10, 5), (10, 7), (10, 9)),
        "brightness_up": (1.1, 1.2, 1.3, 1.35, 1.4),
        "brightness_down": _DARKER,
        "contrast_up": _steps(1.1, 1.3),
        "contrast_down": _steps(0.9, 0.5),
        "saturate": (0.05, 0.1, 0.15, 0.17, 0.2),
    },
    "derma": {
        "pixelate": (0.7, 0.5, 0.4, 0.3, 0.25),
        "jpeg": (30, 20, 15, 10, 7),
        **_NOISES,
        "defocus_blur": _DISCS,
        "motion_blur": ((10, 5), (15, 5), (15, 8), (15, 12), (20, 15)),
        "zoom": _steps(1.1, 1.3),
        "brightness_up": _BRIGHTER,
        "brightness_down": _DARKER,
        "contrast_up": _UP,
        "contrast_down": _steps(0.8, 0.4),
        "black_corner": _BLACK_CORNER,
        "characters": _CHARACTERS,
    },
    "retina": {
        "pixelate": (0.8, 0.6, 0.5, 0.4, 0.35),
        "jpeg": (30, 25, 20, 10, 5),
        "gaussian_noise": _steps(0.04, 0.2),
        "speckle_noise": _steps(0.1, 0.3),
        "defocus_blur": _DISCS,
        "motion_blur": ((8, 5), (15, 5), (15, 8), (15, 12), (20, 15)),
        "brightness_down": _DARKER,
        "contrast_down": _DOWN,
    },
    "oct": {
        "pixelate": _steps(0.3, 0.1),
        "jpeg": (30, 15, 10, 7, 5),
        "speckle_noise": (0.15, 0.3, 0.4, 0.5, 0.6),
        "defocus_blur": ((0.5, 0.6), (1, 0.5), (1.5, 0.1), (2, 0.5), (2.5, 0.1)),
        "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "contrast_down": (0.6, 0.4, 0.3, 0.2, 0.15),
    },
    "breast": {
        "pixelate": _steps(0.3, 0.1),
        "jpeg": _JPEG,
        "speckle_noise": _steps(0.1, 0.3),
        "motion_blur": ((5, 5), (9, 7), (9, 10), (13, 10), (17, 12)),
        "brightness_up": (1.4, 1.5, 1.6, 1.8, 2.0),
        "brightness_down": (0.55, 0.5, 0.45, 0.4, 0.3),
        "contrast_down": _DOWN,
    },
    "chest": {
        "pixelate": _steps(0.3, 0.1),
        "jpeg": _JPEG,
        **_NOISES,
        "gaussian_blur": _KERNELS,
        **_TONES,
    },
    "pneumonia": {
        "pixelate": _steps(0.8, 0.4),
        "jpeg": _JPEG,
        "gaussian_noise": _steps(0.04, 0.08),
        "speckle_noise": (0.05, 0.07, 0.1, 0.15, 0.2),
        "impulse_noise": (0.005, 0.01, 0.013, 0.017, 0.02),
        "shot_noise": (300, 200, 150, 100, 80),
        "gaussian_blur": _KERNELS,
        **_TONES,
    },
    "organ": {
        "pixelate": (0.7, 0.6, 0.5, 0.4, 0.35),
        "jpeg": _JPEG,
        "gaussian_noise": _steps(0.04, 0.2),
        "speckle_noise": (0.05, 0.1, 0.2, 0.3, 0.4),
        "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.08),
        "shot_noise": (200, 100, 50, 25, 15),
        "gaussian_blur": (11, 13, 15, 17, 21),
        "brightness_up": _steps(1.2, 1.6),
        "brightness_down": _steps(0.8, 0.6),
        "contrast_up": _steps(1.3, 1.8),
        "contrast_down": _steps(0.8, 0.5),
        "gamma_up": _steps(1.3, 2.0),
        "gamma_down": _steps(0.9, 0.4),
    },
    "tissue": {
        "pixelate": _steps(0.4, 0.1),
        "jpeg": (25, 20, 15, 10, 7),
        "impulse_noise": _steps(0.01, 0.03),
        "gaussian_blur": (13, 15, 17, 21, 25),
        "brightness_up": _steps(1.3, 1.7),
        "brightness_down": _steps(0.8, 0.4),
        "contrast_up": _UP,
        "contrast_down": _DOWN,
    },
    "natural": {
        "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
        "jpeg": (25, 18, 15, 10, 7),
        "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
        "speckle_noise": (0.15, 0.2, 0.35, 0.45, 0.6),
        "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
        "shot_noise": (60, 25, 12, 5, 3),
        "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "gaussian_blur": (5, 11, 17, 25, 37),  # deviations near 1, 2, 3, 4, 6
        "zoom": (1.11, 1.16, 1.21, 1.26, 1.31),
        "brightness_up": _BRIGHTER,
        "brightness_down": _DARKER,
        "contrast_up": _UP,
        "contrast_down": (0.4, 0.3, 0.2, 0.1, 0.05),
        "gamma_up": _UP,
        "gamma_down": _DOWN,
        "saturate": _steps(0.1, 0.5),
    },
}


T = TypeVar("T")


def for_each_severity(values: tuple[float, float, float, float, float], description: str) -> Any:
    """A plugin's field of five numbers, ``values`` by default; a list in a suite file is as good as a tuple."""
    return Field(values, strict=False, min_length=5, max_length=5, description=description)


def at_severity(values: Sequence[T], severity: int, name: str) -> T:
    """What a perturbation called ``name`` has for a severity, of ``values`` for severities 1, 2, …

    Raises
    ------
    ValueError
        For a severity that there is no value for.

    Examples
    --------
    >>> at_severity((0.1, 0.2), 2, "blur")
    0.2
    """
    if not 1 <= severity <= len(values):
        raise ValueError(
            f"severity must be in 1 … {len(values)} for {name}. Got {severity} instead."
        )
    return values[severity - 1]
