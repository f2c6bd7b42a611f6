"""Fitted decoders as releases: scaling of records, draws, and numbers to and from NumPy.

What the methods share that release draws of a :class:`~benchmark.learning.cvae.FeatureGenerator`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from benchmark.contracts import Context, Records, Release, Saved
from benchmark.learning.sampling import GeneratorSampler

if TYPE_CHECKING:
    from benchmark.learning.cvae import CVAENetwork, FeatureGenerator

__all__ = ["constant_scaling", "restored", "sampler", "scale", "to_numpy"]


def constant_scaling(records: Records, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """The same minimum and width ``(D,) float32`` for every feature or pixel."""
    dimension = math.prod(records.data.shape[1:])
    return np.full(dimension, low, np.float32), np.full(dimension, high - low, np.float32)


def scale(records: Records, minimum: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Records as vectors ``(N, D) float32``, minimum at 0 and maximum at 1; constant features at 0."""
    flat = records.data.reshape(len(records), len(minimum)).astype(np.float32)
    return (flat - minimum) / np.where(width > 0, width, np.float32(1))


def sampler(
    generator: FeatureGenerator,
    class_counts: np.ndarray,
    like: Records,
    scale: float = 1.0,
    noise: np.ndarray | None = None,
) -> GeneratorSampler:
    """Draws of records of the shape, kind and extractor of ``like``."""
    shape = like.data.shape[1:]
    return GeneratorSampler(
        generator, class_counts, shape, scale=scale, noise=noise, extractor=like.extractor
    )


def to_numpy(generator: FeatureGenerator) -> dict[str, np.ndarray]:
    """The generator's numbers, copied."""
    return {name: value.cpu().numpy().copy() for name, value in generator.state_dict().items()}


def restored(
    saved: Saved,
    network: Callable[[tuple[int, ...], int], CVAENetwork],
    context: Context,
    scale: float = 1.0,
) -> Release:
    """The release whose numbers were saved; ``network(shape, n_classes)`` makes one of its shape.

    ``scale`` is the standard deviation of the codes that it draws. The state may hold ``noise (D,)``, that of the
    noise about what is decoded, and the ``axes`` of principal components, whose number is then the network's shape.
    """
    counts = saved.state["class_counts"]
    axes = saved.state.get("axes")
    shape = saved.records.data.shape[1:] if axes is None else axes.shape[:1]
    generator = _from_numpy(saved.state, lambda: network(shape, len(counts)))
    generator.to(context.device)
    return Release(
        records=saved.records,
        state=saved.state,
        sample=sampler(generator, counts, saved.records, scale, saved.state.get("noise")),
        weights=generator,
        guarantee=saved.guarantee,
    )


def _from_numpy(
    state: Mapping[str, np.ndarray], network: Callable[[], CVAENetwork]
) -> FeatureGenerator:
    """The generator of a state, on the CPU; ``network`` makes one of its shape."""
    import torch

    from benchmark.learning.cvae import FeatureGenerator

    numbers = [
        torch.empty(state[k].shape) for k in ("minimum", "width", "axes", "centre") if k in state
    ]
    with torch.device("meta"):
        generator = FeatureGenerator(network(), *numbers)
    generator = generator.to_empty(device="cpu")
    names = generator.state_dict().keys()
    generator.load_state_dict({name: torch.from_numpy(np.array(state[name])) for name in names})
    return generator
