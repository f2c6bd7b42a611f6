"""Draws of records, from any generator of codes and labels or from the hold-out, and the size of a release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.contracts import Context, LeakboardError, Records

if TYPE_CHECKING:
    import torch

__all__ = [
    "GeneratorSampler",
    "apportioned",
    "as_images",
    "fresh_records",
    "labels_to_draw",
    "scaled_counts",
]

# Records made at once, which bounds memory.
FEATURES_AT_ONCE = 8192
IMAGES_AT_ONCE = 256


class GeneratorSampler:
    """Draws records from a generator: ``sampler(n, labels, rng)``, as a release offers it.

    Parameters
    ----------
    generator : torch.nn.Module
        With ``latent``, the dimension of its code, and ``generator(z, labels)`` that gives features ``(B, D)``, or
        pixels ``(B, H·W·C)`` of 0 … 255.
    class_counts : ndarray of shape (C,), int64
        Labels are drawn from their shares where none are given.
    shape : (dimension,) or (height, width, channels)
        Of one record: features or an image.
    scale : float, default=1.0
        Standard deviation of the codes.
    noise : ndarray of shape (D,), optional
        Features only: standard deviation of normal noise that is added to what the generator gives.
    extractor : str, optional
        Features only: the name of the extractor that they stand for.
    """

    def __init__(
        self,
        generator: torch.nn.Module,
        class_counts: np.ndarray,
        shape: tuple[int, ...],
        *,
        scale: float = 1.0,
        noise: np.ndarray | None = None,
        extractor: str | None = None,
    ) -> None:
        self.generator = generator
        self.class_counts = class_counts
        self.shape = tuple(shape)
        self.scale = scale
        self.noise = noise
        self.extractor = extractor

    def __call__(self, n: int, labels: np.ndarray | None, rng: np.random.Generator) -> Records:
        """``n`` fresh records of the given ``labels (n,) int64``, or of drawn ones.

        Raises
        ------
        LeakboardError
            For a label that no member has.
        """
        labels = labels_to_draw(n, labels, self.class_counts, rng)
        module: Any = self.generator
        codes = rng.standard_normal((n, module.latent), dtype=np.float32)
        data = self._decode(codes * np.float32(self.scale), labels)
        if self.noise is not None:
            for start in range(0, n, FEATURES_AT_ONCE):
                rows = data[start : start + FEATURES_AT_ONCE]
                rows += rng.standard_normal(rows.shape, dtype=np.float32) * self.noise
        return Records(data, labels, extractor=self.extractor)

    def _decode(self, codes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        import torch

        images = len(self.shape) == 3
        step = IMAGES_AT_ONCE if images else FEATURES_AT_ONCE
        device = next(self.generator.parameters()).device
        data = np.empty((len(codes), *self.shape), dtype=np.uint8 if images else np.float32)
        with torch.no_grad():
            for start in range(0, len(codes), step):
                rows = slice(start, start + step)
                z = torch.from_numpy(codes[rows]).to(device)
                y = torch.from_numpy(labels[rows]).to(device)
                made = self.generator(z, y).cpu().numpy()
                data[rows] = as_images(made, self.shape) if images else made
        return data


def labels_to_draw(
    n: int, labels: np.ndarray | None, class_counts: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The given labels ``(n,) int64``, or as many drawn from the shares of ``class_counts (C,)`` where there are none.

    Raises
    ------
    LeakboardError
        For another number of labels, or one that no member has.
    """
    if labels is None:
        labels = rng.choice(len(class_counts), size=n, p=class_counts / class_counts.sum())
    labels = np.asarray(labels, dtype=np.int64)
    known = np.flatnonzero(class_counts)
    if labels.shape != (n,) or not np.isin(labels, known).all():
        raise LeakboardError(
            f"labels must be of shape ({n},) and among the members' classes, {known.tolist()}. "
            f"Got shape {labels.shape} with {np.unique(labels).tolist()}."
        )
    return labels


def as_images(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Vectors of pixels ``(N, H·W·C)`` as images ``(N, H, W, C) uint8``: rounded, cut to 0 … 255."""
    return np.rint(pixels).clip(0, 255).astype(np.uint8).reshape(-1, *shape)


def scaled_counts(counts: np.ndarray, factor: float) -> np.ndarray:
    """Records to release of each class: rounded, and at least one where there are members."""
    return np.maximum(np.rint(counts * factor).astype(np.int64), (counts > 0).astype(np.int64))


def fresh_records(n: int, context: Context, control: str, *, stream: str = "holdout") -> Records:
    """``n`` records of the hold-out, or all where it is smaller, without identities.

    Drawn without replacement, in the order of the hold-out; they depend on ``n`` alone, not on the members.

    Parameters
    ----------
    n : int
        ≥ 0; for most controls the number of members.
    context : Context
        With a hold-out.
    control : str
        Name of the control that releases or learns them, for the error.
    stream : str, default="holdout"
        They are drawn from ``context.rng(stream)``.

    Raises
    ------
    LeakboardError
        Where the context holds no hold-out.
    """
    holdout = context.holdout
    if holdout is None or len(holdout) == 0:
        raise LeakboardError(
            f"the '{control}' control needs real records that are not candidates. Got none in "
            "context.holdout; lower the number of candidates, or use a larger dataset."
        )
    size = min(n, len(holdout))
    chosen = context.rng(stream).choice(len(holdout), size=size, replace=False)
    return holdout.take(np.sort(chosen)).replace(groups=None)


def apportioned(shares: np.ndarray, total: int) -> np.ndarray:
    """``total`` records in proportion to ``shares``, as whole numbers (largest remainders)."""
    exact = shares / shares.sum() * total
    counts = np.floor(exact).astype(np.int64)
    most = np.argsort(counts - exact, kind="stable")[: total - counts.sum()]
    counts[most] += 1
    return counts
