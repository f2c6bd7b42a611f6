"""Images through a network, batch by batch: what the extractors with weights share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from benchmark.contracts import Context

if TYPE_CHECKING:
    import torch

__all__ = ["Interpolation", "Preparation", "run_network"]

Interpolation = Literal["bilinear", "bicubic"]

PIXELS_PER_BATCH = 2**18
"""Size of a batch in pixels of network input: 64 images at 64×64, which processors' caches hold."""

LEAST_PER_BATCH = 16
"""Images in a batch of large ones."""


@dataclass(frozen=True)
class Preparation:
    """How images become network input.

    Parameters
    ----------
    resolution : int
        Side of the square that the whole image is resized to, in pixels.
    mean, std : tuple of float
        Subtracted from, and divided into, pixels in [0, 1]; one for each of red, green and blue.
    interpolation : {"bilinear", "bicubic"}
        Antialiased when it shrinks.
    """

    resolution: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation = "bilinear"

    def apply(self, images: np.ndarray, device: str) -> torch.Tensor:
        """Input ``(N, 3, resolution, resolution) float32`` of images ``(N, H, W, C) uint8``, C of 1 or 3."""
        import torch

        pixels = torch.tensor(images, device=device).permute(0, 3, 1, 2)
        pixels = pixels.expand(-1, 3, -1, -1).to(torch.float32) / 255
        size = (self.resolution, self.resolution)
        if pixels.shape[2:] != size:
            resize = torch.nn.functional.interpolate
            pixels = resize(pixels, size, mode=self.interpolation, antialias=True).clamp(0, 1)
        mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (self.mean, self.std))
        # One memory layout whatever the channels, so that gray and RGB copies get the same bits; the faster one.
        return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)


def run_network(
    network: torch.nn.Module, images: np.ndarray, preparation: Preparation, context: Context
) -> np.ndarray:
    """What ``network`` answers to each image, ``(N, D) float32``.

    The network is put into evaluation mode and on ``context.device``. Arithmetic is 32 bits on
    every device (TensorFloat-32 is off), with deterministic convolutions; memory is bounded by the
    batch, not by N. All batches have one size, the last is filled up with blank images: the order of
    sums depends on the size, and the features of a copy must be those of its original to the last bit."""
    import torch

    network = network.eval().to(context.device)
    size = max(LEAST_PER_BATCH, PIXELS_PER_BATCH // preparation.resolution**2)
    exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    features = None
    with torch.inference_mode(), exact:
        for start in range(0, max(1, len(images)), size):
            part = images[start : start + size]
            batch = np.zeros((size, *images.shape[1:]), dtype=np.uint8)
            batch[: len(part)] = part
            answer = network(preparation.apply(batch, context.device)).cpu().numpy()
            if features is None:
                features = np.empty((len(images), answer.shape[1]), dtype=np.float32)
            features[start : start + size] = answer[: len(part)]
            context.progress(min(1.0, (start + size) / max(1, len(images))), "features")
    assert features is not None  # the loop runs once at least
    return features
