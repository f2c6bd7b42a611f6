"""Draws of records from any generator of codes and labels, and the size of a release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.contracts import LeakboardError, Records

if TYPE_CHECKING:
    import torch

__all__ = ["GeneratorSampler", "as_images", "scaled_counts"]

# Images made at once, which bounds memory.
CHUNK = 256


class GeneratorSampler:
    """Draws images from a generator: ``sampler(n, labels, rng)``, as a release offers it.

    Parameters
    ----------
    generator : torch.nn.Module
        With ``latent``, and ``generator(z, labels)`` that gives pixels ``(B, D)`` of 0 … 255.
    class_counts : ndarray of shape (C,), int64
        Labels are drawn from their shares where none are given.
    shape : (height, width, channels)
    """

    def __init__(
        self,
        generator: torch.nn.Module,
        class_counts: np.ndarray,
        shape: tuple[int, int, int],
    ) -> None:
        self.generator = generator
        self.class_counts = class_counts
        self.shape = shape

    def __call__(self, n: int, labels: np.ndarray | None, rng: np.random.Generator) -> Records:
        """``n`` fresh images of the given ``labels (n,) int64``, or of drawn ones.

        Raises
        ------
        LeakboardError
            For a label that no member has.
        """
        if labels is None:
            shares = self.class_counts / self.class_counts.sum()
            labels = rng.choice(len(shares), size=n, p=shares)
        labels = np.asarray(labels, dtype=np.int64)
        self._check(n, labels)
        module: Any = self.generator
        codes = rng.standard_normal((n, module.latent), dtype=np.float32)
        return Records(self._images(codes, labels), labels)

    def _check(self, n: int, labels: np.ndarray) -> None:
        known = np.flatnonzero(self.class_counts)
        if labels.shape != (n,) or not np.isin(labels, known).all():
            raise LeakboardError(
                f"labels must be of shape ({n},) and among the members' classes, {known.tolist()}. "
                f"Got shape {labels.shape} with {np.unique(labels).tolist()}."
            )

    def _images(self, codes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        import torch

        device = next(self.generator.parameters()).device
        images = np.empty((len(codes), *self.shape), dtype=np.uint8)
        with torch.no_grad():
            for start in range(0, len(codes), CHUNK):
                rows = slice(start, start + CHUNK)
                z = torch.from_numpy(codes[rows]).to(device)
                y = torch.from_numpy(labels[rows]).to(device)
                images[rows] = as_images(self.generator(z, y).cpu().numpy(), self.shape)
        return images


def as_images(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Vectors of pixels ``(N, H·W·C)`` as images ``(N, H, W, C) uint8``: rounded, cut to 0 … 255."""
    return np.rint(pixels).clip(0, 255).astype(np.uint8).reshape(-1, *shape)


def scaled_counts(counts: np.ndarray, factor: float) -> np.ndarray:
    """Records to release of each class: rounded, and at least one where there are members."""
    return np.maximum(np.rint(counts * factor).astype(np.int64), (counts > 0).astype(np.int64))
