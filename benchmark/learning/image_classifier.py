"""Training image classifiers from scratch, with hard or soft labels, and their predictions.

One path for CPU and GPU. The order of records, crops and flips are drawn on the CPU from the given generator, so that
the same numbers are used on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.learning.networks import to_unit
from benchmark.learning.training import EarlyStopping, batches

__all__ = ["Recipe", "Summary", "accuracy", "augment", "fit_classifier", "probabilities"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a classifier is trained; by default as ResNet-20 from scratch, but for 30 epochs.

    Parameters
    ----------
    epochs : int
    batch_size : int
    optimiser : {"sgd", "adam"}
        SGD with Nesterov momentum 0.9, or Adam.
    lr : float
        The highest learning rate of the schedule.
    weight_decay : float
        L2 penalty, of SGD and Adam alike.
    schedule : {"cosine", "one_cycle", "constant"}
        From ``lr`` down to 0 along a cosine; up to ``lr`` within the first 30 % of steps and then down; ``lr``.
    crop : int
        Images are padded by as many zero pixels on each side and cropped at random; 0 for none.
    flip : bool
        Half of the images are mirrored left to right, anew in each epoch.
    patience : int, optional
        With validation data: epochs without a lower loss there after which training stops. None: all epochs are run.
        With validation data the state of the epoch with the lowest loss is kept in either case.
    """

    epochs: int = 30
    batch_size: int = 128
    optimiser: Literal["sgd", "adam"] = "sgd"
    lr: float = 0.1
    weight_decay: float = 1e-4
    schedule: Literal["cosine", "one_cycle", "constant"] = "cosine"
    crop: int = 0
    flip: bool = False
    patience: int | None = None

    @classmethod
    def usual(cls, optimiser: Literal["sgd", "adam"], **more: Any) -> Recipe:
        """The rate and schedule that go with an optimiser: Adam 0.01 one-cycle, or SGD 0.1 cosine."""
        if optimiser == "adam":
            return cls(optimiser="adam", lr=0.01, schedule="one_cycle", **more)
        return cls(optimiser="sgd", lr=0.1, schedule="cosine", **more)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Losses in nats by epoch (training: mean over the epoch's batches) and the epoch that was kept, from 1."""

    losses: tuple[float, ...]
    validation_losses: tuple[float, ...]
    best_epoch: int

    @property
    def epochs(self) -> int:
        """Epochs run."""
        return len(self.losses)


def fit_classifier(
    network: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    recipe: Recipe,
    generator: torch.Generator,
    device: str = "cpu",
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    n_classes: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Summary:
    """Train ``network`` in place by cross-entropy; it is left in eval mode.

    Parameters
    ----------
    network : nn.Module
        From images ``(B, C, H, W)`` in [0, 1] to logits ``(B, n_classes)``, on ``device``.
    images : ndarray of shape (N, H, W, C), uint8
        N ≥ 2.
    labels : ndarray of shape (N,), integers, or of shape (N, n_classes), float
        Classes, or their probabilities.
    recipe : Recipe
    generator : torch.Generator
        A CPU generator.
    device : str, default="cpu"
    validation : pair of ndarrays, optional
        Images and labels of the same kinds, by which the best epoch is chosen.
    n_classes : int, optional
        Number of logits; by default that of the network's last linear layer.
    progress : callable, optional
        Called with the share of epochs done.
    """
    n_classes = n_classes or _n_outputs(network)
    inputs, targets = to_unit(images, device), _targets(labels, n_classes, device)
    if len(inputs) < 2:
        raise ValueError(f"a classifier needs at least 2 images to train on. Got {len(inputs)}.")
    step = _stepper(network, recipe, _n_batches(len(inputs), recipe.batch_size))
    stopping = EarlyStopping(network, recipe.patience or recipe.epochs + 1)
    losses, validation_losses = [], []
    for epoch in range(recipe.epochs):
        network.train()
        total, seen = torch.zeros((), device=device), 0
        for index in _batches_of_two(len(inputs), recipe.batch_size, generator, device):
            batch = augment(inputs[index], recipe.crop, recipe.flip, generator)
            loss = F.cross_entropy(network(batch), targets[index])
            step(loss)
            total, seen = total + loss.detach() * len(index), seen + len(index)
        losses.append(float(total) / seen)
        network.eval()
        if progress is not None:
            progress((epoch + 1) / recipe.epochs)
        if validation is not None and len(validation[0]):
            validation_losses.append(_loss(network, *validation, n_classes, device))
            if stopping.update(validation_losses[-1]):
                break
    if stopping.best_epoch:
        stopping.restore_best()
    network.eval()
    return Summary(
        losses=tuple(losses),
        validation_losses=tuple(validation_losses),
        best_epoch=stopping.best_epoch or len(losses),
    )


@torch.no_grad()
def probabilities(
    network: nn.Module, images: np.ndarray, *, device: str = "cpu", batch_size: int = 500
) -> np.ndarray:
    """Class probabilities ``(N, n_classes) float64`` of images ``(N, H, W, C) uint8``; rows sum to 1.

    The network is put into eval mode.
    """
    network.eval()
    logits = [
        network(to_unit(images[i : i + batch_size], device)).cpu()
        for i in range(0, len(images), batch_size)
    ]
    shares: np.ndarray = torch.softmax(torch.cat(logits).double(), dim=1).numpy()
    return shares


def accuracy(
    network: nn.Module, images: np.ndarray, labels: np.ndarray, *, device: str = "cpu"
) -> float:
    """Share of images whose most likely class is their label."""
    predicted = probabilities(network, images, device=device).argmax(axis=1)
    return float((predicted == labels).mean())


def augment(
    images: torch.Tensor, crop: int, flip: bool, generator: torch.Generator
) -> torch.Tensor:
    """Shift each image by up to ``crop`` pixels in each direction, zeros moving in, and mirror half of them.

    Parameters
    ----------
    images : Tensor of shape (B, C, H, W)
    crop : int
    flip : bool
    generator : torch.Generator
        A CPU generator; nothing is drawn where nothing is asked for.
    """
    n, _, height, width = images.shape
    device = images.device
    if crop:
        shifts = torch.randint(0, 2 * crop + 1, (2, n), generator=generator).to(device)
        rows = shifts[0][:, None] + torch.arange(height, device=device)
        columns = shifts[1][:, None] + torch.arange(width, device=device)
        padded = F.pad(images, (crop,) * 4).permute(0, 2, 3, 1)
        which = torch.arange(n, device=device)[:, None, None]
        images = padded[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if flip:
        mirrored = (torch.rand(n, generator=generator) < 0.5).to(device)
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images


# ---------------------------------------------------------------- steps


def _n_outputs(network: nn.Module) -> int:
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError("the network has no linear layer: give n_classes.")
    return linear[-1].out_features


def _targets(labels: np.ndarray, n_classes: int, device: str) -> torch.Tensor:
    """Class probabilities ``(N, n_classes) float32``: hard labels become 0 and 1, so that both take one path."""
    given = torch.as_tensor(labels).to(device)
    if given.ndim == 1:
        return F.one_hot(given.long(), n_classes).float()
    if given.shape[1] != n_classes:
        raise ValueError(
            f"soft labels must have {n_classes} columns. Got {given.shape[1]} instead."
        )
    return given.float()


def _n_batches(n: int, size: int) -> int:
    full, rest = divmod(n, size)
    return full + (rest > 1)


def _batches_of_two(
    n: int, size: int, generator: torch.Generator, device: str
) -> Iterator[torch.Tensor]:
    """Batches of an epoch, without one of a single image: its batch statistics would say nothing."""
    for index in batches(n, size, generator, device):
        if len(index) > 1:
            yield index


def _stepper(network: nn.Module, recipe: Recipe, n_batches: int) -> Callable[[torch.Tensor], None]:
    """One step of the recipe's optimiser and schedule for a loss."""
    optimiser = _optimiser(network, recipe)
    steps = max(1, recipe.epochs * n_batches)
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None
    if recipe.schedule == "cosine":
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    elif recipe.schedule == "one_cycle":
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.lr, total_steps=steps)

    def step(loss: torch.Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if schedule is not None:
            schedule.step()

    return step


def _optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimiser == "adam":
        return torch.optim.Adam(
            network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
        )
    return torch.optim.SGD(
        network.parameters(),
        lr=recipe.lr,
        momentum=0.9,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )


@torch.no_grad()
def _loss(
    network: nn.Module, images: np.ndarray, labels: np.ndarray, n_classes: int, device: str
) -> float:
    """Mean cross-entropy in nats, in eval mode."""
    total = 0.0
    for i in range(0, len(images), 500):
        logits = network(to_unit(images[i : i + 500], device))
        targets = _targets(labels[i : i + 500], n_classes, device)
        total += float(F.cross_entropy(logits, targets, reduction="sum"))
    return total / len(images)
