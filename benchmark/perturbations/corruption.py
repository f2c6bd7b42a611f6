"""Corruptions of images: what cameras, scanners, coders and laboratories do to pictures, in five severities.

One plugin serves all: the suite says of what kind the pictures are (``modality``) and which ``family`` of corruptions
is wanted. Without a family, every image gets one of those that its modality has, drawn at random: one condition in
place of a dozen.

.. code-block:: yaml

    perturbations:
      - corruption/retina            # all that happens to retinal photographs, mixed
      - name: corruption/natural     # one curve for each of these
        grid: {family: [jpeg, defocus_blur, gaussian_noise]}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import ValidationInfo, field_validator

from benchmark.contracts import Field, InvalidRecords, Perturbation, PerturbationInfo, Records
from benchmark.perturbations import overlays, resolution, tone
from benchmark.perturbations.severities import (
    FAMILIES,
    MODALITIES,
    SEVERITIES,
    Family,
    Modality,
    Strength,
    at_severity,
)

__all__ = ["COLOUR_ONLY", "Corruption", "corrupt", "corrupted_blocks", "families_of"]

COLOUR_ONLY = frozenset({"saturate"})
"""Families that leave images of one channel as they are."""

BLOCK_BYTES = 1 << 18
"""About this many bytes of pixels are corrupted at a time; working memory is some twenty times as much."""

_Function = Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]

_FUNCTIONS: Mapping[Family, _Function] = {
    "pixelate": lambda x, factor, _: resolution.pixelate(x, factor),
    "jpeg": lambda x, quality, _: resolution.jpeg(x, quality),
    "gaussian_noise": tone.gaussian_noise,
    "speckle_noise": tone.speckle_noise,
    "impulse_noise": tone.impulse_noise,
    "shot_noise": tone.shot_noise,
    "defocus_blur": lambda x, disc, _: resolution.defocus_blur(x, disc[0], disc[1]),
    "motion_blur": lambda x, trail, rng: resolution.motion_blur(x, trail[0], trail[1], rng),
    "gaussian_blur": lambda x, size, _: resolution.gaussian_blur(x, size),
    "zoom": lambda x, factor, _: resolution.zoom(x, factor),
    "brightness_up": lambda x, factor, _: tone.brightness(x, factor),
    "brightness_down": lambda x, factor, _: tone.brightness(x, factor),
    "contrast_up": lambda x, factor, _: tone.contrast(x, factor),
    "contrast_down": lambda x, factor, _: tone.contrast(x, factor),
    "gamma_up": lambda x, exponent, _: tone.gamma(x, exponent),
    "gamma_down": lambda x, exponent, _: tone.gamma(x, exponent),
    "saturate": lambda x, shift, _: tone.saturate(x, shift),
    "stain": overlays.stain,
    "bubble": overlays.bubble,
    "black_corner": overlays.black_corner,
    "characters": overlays.characters,
}


def families_of(modality: Modality, channels: int = 3) -> tuple[Family, ...]:
    """The corruptions of a kind of pictures, in the order of ``FAMILIES``; of those that change grey ones, if grey."""
    return tuple(
        f for f in FAMILIES if f in SEVERITIES[modality] and (channels == 3 or f not in COLOUR_ONLY)
    )


def corrupt(
    images: np.ndarray, family: Family, strength: Strength, rng: np.random.Generator
) -> np.ndarray:
    """Corrupt some images at once.

    Parameters
    ----------
    images : ndarray of shape (n, H, W, C), uint8
    family : str
        One of ``FAMILIES``.
    strength : float or pair of float
        As in the tables of :mod:`benchmark.perturbations.severities`.
    rng : numpy.random.Generator
        What is random is drawn image after image: a second call goes on where the first one stopped.

    Returns
    -------
    ndarray of shape (n, H, W, C), uint8
    """
    return _FUNCTIONS[family](images, strength, rng)


def corrupted_blocks(
    images: np.ndarray,
    families: tuple[Family, ...],
    modality: Modality,
    severity: int,
    rng: np.random.Generator,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[np.ndarray]:
    """The images, each with one of the ``families`` drawn at random, a block at a time.

    Neither the size of the blocks nor how many images follow changes what an image becomes: each family has its own
    stream of random numbers, from which its images are served in order.

    Yields
    ------
    ndarray of shape (b, H, W, C), uint8
    """
    seeds = rng.integers(2**63, size=1 + len(FAMILIES)).tolist()
    choice = np.random.default_rng(seeds[0])
    streams = {f: np.random.default_rng(seeds[1 + FAMILIES.index(f)]) for f in families}
    size = max(1, block_bytes // max(1, images[0].nbytes)) if len(images) else 1
    for start in range(0, len(images), size):
        block = images[start : start + size]
        chosen = choice.integers(len(families), size=len(block))
        corrupted = np.empty_like(block)
        for i, family in enumerate(families):
            rows = np.flatnonzero(chosen == i)
            if len(rows):
                strength = SEVERITIES[modality][family][severity - 1]
                corrupted[rows] = corrupt(block[rows], family, strength, streams[family])
        yield corrupted


class Corruption(Perturbation):
    """A family of image corruptions, at the severities of a kind of pictures.

    Parameters
    ----------
    modality : str, default="natural"
        Kind of the pictures: a medical one of MedMNIST-C, or ``natural`` for ImageNet-C's severities. Also given after
        a slash: ``corruption/retina``.
    family : str, default="mixed"
        A family that the modality has (see :func:`families_of`), or ``mixed``: one of them for each image, at random.

    References
    ----------
    Di Salvo, Doerrich, Ledig (2024). MedMNIST-C. arXiv:2406.17536.
    Hendrycks, Dietterich (2019). Benchmarking neural network robustness. arXiv:1903.12261.

    Examples
    --------
    >>> images = np.full((2, 28, 28, 1), 100, dtype=np.uint8)
    >>> records = Records(images, np.zeros(2, dtype=np.int64))
    >>> darker = Corruption(modality="retina", family="brightness_down")
    >>> int(darker.apply(records, 5, np.random.default_rng(0), records).data.max())
    50
    """

    info: ClassVar[PerturbationInfo] = PerturbationInfo(
        name="corruption",
        version="2",
        summary="Noise, blur, tone, coding and artefacts, at the severities of a kind of pictures",
        citation="Di Salvo, Doerrich, Ledig (2024), arXiv:2406.17536; Hendrycks, Dietterich (2019), arXiv:1903.12261",
        kind="image",
        severities=5,
    )
    modality: Modality = Field("natural", description="kind of the pictures")
    family: Literal["mixed"] | Family = Field(
        "mixed", description="a corruption of that kind of pictures, or one of them for each image"
    )

    @classmethod
    def from_variant(cls, variant: str) -> dict[str, Any]:
        """``corruption/retina`` stands for ``modality: retina``."""
        if variant not in MODALITIES:
            raise ValueError(
                f"{variant!r} is no kind of pictures of 'corruption'. Allowed: {', '.join(MODALITIES)}."
            )
        return {"modality": variant}

    @field_validator("family")
    @classmethod
    def _is_of_the_modality(cls, family: str, info: ValidationInfo) -> str:
        modality = info.data.get("modality")
        if modality is not None and family != "mixed" and family not in SEVERITIES[modality]:
            raise ValueError(
                f"pictures of kind {modality!r} have no corruption {family!r}. Allowed: mixed, "
                f"{', '.join(families_of(modality))}."
            )
        return family

    def families(self, channels: int) -> tuple[Family, ...]:
        """The families that images of so many channels may get."""
        if self.family == "mixed":
            return families_of(self.modality, channels)
        return (self.family,)

    def apply(
        self, records: Records, severity: int, rng: np.random.Generator, reference: Records
    ) -> Records:
        """``records`` with corrupted images, block by block.

        Parameters
        ----------
        records : Records
            Images of any size, of one channel or three.
        severity : int
            In 1 … 5.
        rng : numpy.random.Generator
        reference : Records
            Not used.

        Raises
        ------
        ValueError
            For a severity that is not in 1 … 5.
        InvalidRecords
            For features.
        """
        at_severity(range(1, self.info.severities + 1), severity, self.info.name)
        if records.kind != "image":
            raise InvalidRecords("corruption works on images. Got features; use 'gaussian_noise'.")
        corrupted = np.empty_like(records.data)
        families = self.families(records.data.shape[3])
        done = 0
        for block in corrupted_blocks(records.data, families, self.modality, severity, rng):
            corrupted[done : done + len(block)] = block
            done += len(block)
        return records.replace(data=corrupted)
