"""Who is in the picture: networks that name identities, and classes, in images.

An identity is a patient where records have groups, otherwise every record is one by itself. A network trained on a few
pictures of each names them in other pictures: in those that a walk passes (:mod:`methods.latent.walk`), or
in those that were released.

>>> import numpy as np
>>> from benchmark.contracts import Records
>>> images = np.zeros((3, 8, 8, 1), np.uint8)
>>> number_identities(Records(images, np.zeros(3, np.int64), np.array([7, 2, 7])))
array([1, 0, 1])
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.contracts import Records
from benchmark.learning.image_classifier import Recipe, fit_classifier
from benchmark.learning.networks import Network, Shape, make_network, to_unit
from benchmark.learning.training import build

__all__ = [
    "RECIPE",
    "Namer",
    "fit_namer",
    "log_probabilities",
    "number_identities",
    "unit_embeddings",
]

RECIPE = Recipe(
    epochs=30, batch_size=32, optimiser="adam", lr=2e-3, schedule="one_cycle", weight_decay=0.0
)
"""How networks are trained here. With one picture or two of each class there is nothing to hold out for validation."""

LEAST_STEPS = 400
"""Gradient steps below which a network has not learned a few dozen identities; small sets get more epochs."""

LARGEST = 64
"""Sides beyond this are halved, by averaging, until they fit."""


def number_identities(records: Records) -> np.ndarray:
    """Identity of each record, ``(N,) int64``, numbered from 0; every record its own where there are no groups."""
    if records.groups is None:
        return np.arange(len(records), dtype=np.int64)
    numbers: np.ndarray = np.unique(records.groups, return_inverse=True)[1]
    return numbers.astype(np.int64)


class Namer(nn.Module):
    """A classifier of images of any size.

    Parameters
    ----------
    shape : (height, width, channels)
    n_classes : int
    network : str, default="convnet_bn"
        See :func:`benchmark.learning.networks.make_network`.
    width : int, optional
    """

    def __init__(
        self,
        shape: Shape,
        n_classes: int,
        network: Network = "convnet_bn",
        width: int | None = None,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.factor = 1
        while max(shape[:2]) > LARGEST * self.factor:
            self.factor *= 2
        height, wide, channels = shape
        small = (-(-height // self.factor), -(-wide // self.factor), channels)
        self.network = make_network(network, small, n_classes, width=width)

    def shrink(self, images: torch.Tensor) -> torch.Tensor:
        """Images ``(B, C, H, W)`` of at most 64 pixels a side."""
        if self.factor == 1:
            return images
        return F.avg_pool2d(images, self.factor, ceil_mode=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, n_classes)`` of images ``(B, C, H, W)`` in [0, 1]."""
        logits: torch.Tensor = self.network(self.shrink(images))
        return logits

    def of_vectors(self, x: torch.Tensor) -> torch.Tensor:
        """The same of pixels ``(B, H·W·C)`` of 0 … 255, channel fastest, as generators put them out."""
        return self(self.planes(x))

    def planes(self, x: torch.Tensor) -> torch.Tensor:
        """Pixels ``(B, H·W·C)`` of 0 … 255 as images ``(B, C, H, W)`` in [0, 1]."""
        return x.unflatten(-1, self.shape).movedim(-1, -3) / 255

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the last layer sees ``(B, F)``, of images in [0, 1]."""
        seen: list[torch.Tensor] = []
        head = [layer for layer in self.network.modules() if isinstance(layer, nn.Linear)][-1]
        hook = head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        try:
            self(images)
        finally:
            hook.remove()
        return seen[0]

    def early(self, images: torch.Tensor) -> torch.Tensor:
        """Maps ``(B, M, h, w)`` of the first convolution, of images in [0, 1] of any size."""
        first = next(layer for layer in self.network.modules() if isinstance(layer, nn.Conv2d))
        maps: torch.Tensor = F.relu(first(images))
        return maps


def fit_namer(
    images: np.ndarray,
    targets: np.ndarray,
    n_classes: int,
    *,
    network: Network = "convnet_bn",
    width: int | None = 16,
    recipe: Recipe = RECIPE,
    epochs: int | None = None,
    flip: bool = False,
    weights_rng: torch.Generator,
    training_rng: torch.Generator,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> Namer:
    """Train a network to name identities or classes; in evaluation mode, without gradients for its weights.

    Images are shifted by up to a sixteenth of their side, anew in each epoch.

    Parameters
    ----------
    images : ndarray of shape (N, H, W, C), uint8
        N ≥ 2.
    targets : ndarray of shape (N,), int64
        In ``range(n_classes)``.
    network, width
        See :class:`Namer`.
    recipe : Recipe
    epochs : int, optional
        By default the recipe's, or as many as give 400 steps.
    flip : bool, default=False
        Mirror half of the images, which is no augmentation where left and right tell people apart.
    weights_rng, training_rng : torch.Generator
        On the CPU.
    """
    shape: Shape = (images.shape[1], images.shape[2], images.shape[3])
    recipe = replace(
        recipe,
        epochs=_enough(recipe, len(images)) if epochs is None else epochs,
        crop=max(1, min(shape[:2]) // 16),
        flip=flip,
    )
    namer = build(lambda: Namer(shape, n_classes, network, width), weights_rng, device)
    fit_classifier(
        namer,
        images,
        targets,
        recipe=recipe,
        generator=training_rng,
        device=device,
        n_classes=n_classes,
        progress=progress,
    )
    return namer.eval().requires_grad_(False)


def _enough(recipe: Recipe, n: int) -> int:
    """Epochs over ``n`` images: the recipe's, or as many as give :data:`LEAST_STEPS`."""
    return max(recipe.epochs, -(-LEAST_STEPS // -(-n // recipe.batch_size)))


@torch.no_grad()
def log_probabilities(namer: Namer, images: np.ndarray, device: str = "cpu") -> np.ndarray:
    """Log probabilities ``(N, K) float64`` of images ``(N, H, W, C) uint8``; they do not saturate at 1."""
    parts = [
        F.log_softmax(namer(to_unit(images[i : i + 256], device)).double(), dim=1).cpu()
        for i in range(0, len(images), 256)
    ]
    return torch.cat(parts).numpy()


@torch.no_grad()
def unit_embeddings(namer: Namer, images: np.ndarray, device: str = "cpu") -> np.ndarray:
    """What the network's last layer sees, scaled to length 1, ``(N, F) float64``."""
    parts = [
        F.normalize(namer.features(to_unit(images[i : i + 256], device)).double(), dim=1).cpu()
        for i in range(0, len(images), 256)
    ]
    return torch.cat(parts).numpy()
