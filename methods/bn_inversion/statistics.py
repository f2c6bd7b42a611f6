"""Batch-norm statistics of images by class, and images optimised from noise to have them.

A network with batch normalisation is looked at in eval mode: every image passes through it alone. The statistics of a
layer are mean and biased variance, over images and pixels, of the *input* of the batch normalisation, one number per
channel [1]_. Images of many groups (classes) are optimised in one forward pass, since a group's statistics are sums
over its own images; a group's loss does not depend on who else is in the batch.

References
----------
.. [1] Yin et al. (2020). Dreaming to distill: data-free knowledge transfer via DeepInversion. CVPR.
.. [2] Soufleri, Saha, Roy (2022). Synthetic dataset generation for privacy-preserving machine learning.
   arXiv:2210.03205.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.learning.networks import to_unit

__all__ = [
    "Statistics",
    "Synthesis",
    "Weights",
    "class_statistics",
    "group_statistics",
    "pooled",
    "synthesise",
    "total_variation",
    "watched_inputs",
]

# Under square roots, whose slope is infinite at 0.
TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and biased variance of the input of each batch normalisation, for each of ``G`` groups.

    Parameters
    ----------
    means, variances : tuple of Tensor of shape (G, C_l)
        One pair for each layer ``l`` with ``C_l`` channels, in the order of the forward pass.
    counts : Tensor of shape (G,)
        Images in each group.
    """

    means: tuple[torch.Tensor, ...]
    variances: tuple[torch.Tensor, ...]
    counts: torch.Tensor

    def rows(self, index: torch.Tensor) -> Statistics:
        """The statistics of the groups at ``index``."""
        return Statistics(
            means=tuple(m[index] for m in self.means),
            variances=tuple(v[index] for v in self.variances),
            counts=self.counts[index],
        )


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights of the four terms of a group's loss.

    ``bn``: sum over layers of ‖mean − target‖₂ + ‖variance − target‖₂, norms over channels. ``ce``: the group's *mean*
    cross-entropy, in nats. ``tv``: :func:`total_variation`, and ``l2``: Euclidean norm; both of all pixels of a
    group at once, in standard units, and so growing with the root of the number of images: 2.5e-5 and 3e-8 belong to
    such sums, not to means.
    """

    bn: float = 10.0
    ce: float = 1.0
    tv: float = 2.5e-5
    l2: float = 0.0


@dataclass(frozen=True, eq=False)
class Synthesis:
    """Images ``(B, C, H, W)`` in [0, 1], on the CPU, and the loss of each group in the state that was kept.

    ``terms`` has the unweighted ``bn``, ``ce``, ``tv`` and ``l2`` in that state, ``(G,)`` each.
    """

    images: torch.Tensor
    losses: torch.Tensor
    first_losses: torch.Tensor
    terms: dict[str, torch.Tensor] = field(default_factory=dict)


# ---------------------------------------------------------------- statistics


@contextmanager
def watched_inputs(network: nn.Module) -> Iterator[list[torch.Tensor]]:
    """The inputs of all batch normalisations of the forward pass within the block; hooks are gone after it.

    The list is emptied by its user between passes.
    """
    seen: list[torch.Tensor] = []
    layers = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    hooks = [m.register_forward_pre_hook(lambda _, args: seen.append(args[0])) for m in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def group_statistics(
    inputs: torch.Tensor, shares: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and biased variance per channel of each group, over its images and their pixels.

    Parameters
    ----------
    inputs : Tensor of shape (B, C, H, W)
    shares : Tensor of shape (G, B)
        1 over the group's size for its images, 0 elsewhere.

    Returns
    -------
    pair of Tensor of shape (G, C)
    """
    variances, means = torch.var_mean(inputs, dim=(2, 3), correction=0)
    mean = shares @ means
    # Variance within images plus that of their means: nothing is cancelled.
    owner = (shares > 0).to(shares.dtype)
    spread = (means - owner.T @ mean) ** 2
    return mean, shares @ (variances + spread)


@torch.no_grad()
def class_statistics(
    network: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[int],
    *,
    device: str = "cpu",
    batch_size: int = 256,
) -> Statistics:
    """Statistics of each class, one pass over its images in eval mode.

    Parameters
    ----------
    network : nn.Module
    images : ndarray of shape (N, H, W, C), uint8
    labels : ndarray of shape (N,), int64
    classes : sequence of int
        One group for each, in this order; each must have an image.
    device : str, default="cpu"
    batch_size : int, default=256
    """
    network.eval()
    counts, parts = [], []
    with watched_inputs(network) as seen:
        for label in classes:
            rows = np.flatnonzero(labels == label)
            counts.append(len(rows))
            parts.append(_moments(network, images[rows], seen, device, batch_size))
    layers = list(zip(*parts, strict=True))
    means = [
        torch.stack([first / n for (first, _), n in zip(p, counts, strict=True)]) for p in layers
    ]
    squares = [
        torch.stack([second / n for (_, second), n in zip(p, counts, strict=True)]) for p in layers
    ]
    return Statistics(
        means=tuple(m.float() for m in means),
        variances=tuple(
            (s - m * m).clamp_min(0).float() for s, m in zip(squares, means, strict=True)
        ),
        counts=torch.tensor(counts, device=device),
    )


def _moments(
    network: nn.Module, images: np.ndarray, seen: list[torch.Tensor], device: str, batch_size: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For each layer, sums over images of the mean and the mean square over pixels, ``(C,) float64``."""
    sums: list[tuple[torch.Tensor, torch.Tensor]] = []
    for i in range(0, len(images), batch_size):
        seen.clear()
        network(to_unit(images[i : i + batch_size], device))
        new = []
        for inputs in seen:
            variance, mean = torch.var_mean(inputs.double(), dim=(2, 3), correction=0)
            new.append((mean.sum(0), (variance + mean * mean).sum(0)))
        sums = [(a + c, b + d) for (a, b), (c, d) in zip(sums, new, strict=True)] if sums else new
    seen.clear()
    return sums


def pooled(statistics: Statistics) -> Statistics:
    """The statistics of all groups taken together, as one group.

    >>> parts = Statistics((torch.tensor([[0.0], [2.0]]),), (torch.tensor([[1.0], [1.0]]),), torch.tensor([1, 1]))
    >>> pooled(parts).means[0].item(), pooled(parts).variances[0].item()
    (1.0, 2.0)
    """
    shares = (statistics.counts / statistics.counts.sum()).double()
    means = tuple(shares @ m.double() for m in statistics.means)
    variances = tuple(
        shares @ (v.double() + (m.double() - mean) ** 2)
        for m, v, mean in zip(statistics.means, statistics.variances, means, strict=True)
    )
    return Statistics(
        means=tuple(m.float()[None] for m in means),
        variances=tuple(v.float()[None] for v in variances),
        counts=statistics.counts.sum()[None],
    )


# ---------------------------------------------------------------- images from statistics


def total_variation(images: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Total variation of each group ``(G,)``: Euclidean norms of four differences, added.

    Neighbours are the next pixel to the right, below, and on both diagonals; each norm is over all images and channels
    of the group.

    Parameters
    ----------
    images : Tensor of shape (B, C, H, W)
    groups : Tensor of shape (G, B)
        1 for the group's images, 0 elsewhere.
    """
    differences = (
        images[:, :, :, 1:] - images[:, :, :, :-1],
        images[:, :, 1:] - images[:, :, :-1],
        images[:, :, 1:, 1:] - images[:, :, :-1, :-1],
        images[:, :, 1:, :-1] - images[:, :, :-1, 1:],
    )
    norms = [_group_norm(d, groups) for d in differences]
    return torch.stack(norms).sum(0)


def _group_norm(values: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    return torch.sqrt(groups @ values.square().sum(dim=(1, 2, 3)) + TINY)


def synthesise(
    network: nn.Module,
    labels: torch.Tensor,
    groups: torch.Tensor,
    targets: Statistics | None,
    *,
    shape: tuple[int, int, int],
    steps: int,
    generator: torch.Generator,
    weights: Weights = Weights(),
    lr: float = 0.1,
    roll: int = 2,
    flip: bool = True,
    scale: tuple[np.ndarray, np.ndarray] | None = None,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> Synthesis:
    """Optimise images from noise, by Adam (0.5, 0.99), so that the network takes them for its own training data.

    Each step sees all images rolled by the same random shift and, half of the time, mirrored. Pixels are optimised in
    standard units (``scale``) and clamped to the valid range after each step. Of every group the state with the lowest
    loss is kept, as a copy.

    Parameters
    ----------
    network : nn.Module
        In eval mode; images in [0, 1] to logits. Its parameters are left without gradient.
    labels : Tensor of shape (B,), int64
        The class that each image is to be taken for.
    groups : Tensor of shape (B,), int64
        The group of each image: 0 … G − 1.
    targets : Statistics, optional
        Of the groups, G rows. Without them the term of batch normalisation is left out.
    shape : tuple of int
        Height, width, channels.
    steps : int
        Adam's steps, ≥ 0.
    generator : torch.Generator
        A CPU generator.
    weights : Weights
    lr : float, default=0.1
        In standard units of the pixels.
    roll : int, default=2
        Largest shift, in pixels; those that leave at one side come in at the other.
    flip : bool, default=True
    scale : pair of ndarray of shape (C,), optional
        Mean and standard deviation of each channel in [0, 1], by default ½ and ¼.
    device : str, default="cpu"
    progress : callable, optional
        Called with the share of steps done.
    """
    height, width, channels = shape
    members = F.one_hot(groups).T.float().to(device)
    labels = labels.to(device)
    centre, spread = _scale(scale, channels, device)
    low, high = (0 - centre) / spread, (1 - centre) / spread
    noise = torch.randn((len(labels), channels, height, width), generator=generator)
    pixels = torch.clamp(noise.to(device), low, high)
    pixels = pixels.contiguous(memory_format=torch.channels_last).requires_grad_(True)
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam([pixels], lr=lr, betas=(0.5, 0.99))
    best = _Best(pixels, groups.to(device), len(members))
    with watched_inputs(network) as seen:
        for step in range(steps + 1):
            seen.clear()
            moved = _moved(pixels, roll, flip, generator)
            logits = network(moved * spread + centre)
            terms = {
                "bn": _distance(seen, members, targets),
                "ce": _mean_of(F.cross_entropy(logits, labels, reduction="none"), members),
                "tv": total_variation(moved, members),
                "l2": _group_norm(moved, members),
            }
            losses = sum(getattr(weights, name) * term for name, term in terms.items())
            assert isinstance(losses, torch.Tensor)
            best.update(pixels, losses, terms)
            if step == steps:
                break
            optimiser.zero_grad(set_to_none=True)
            losses.sum().backward()
            optimiser.step()
            with torch.no_grad():
                pixels.copy_(torch.clamp(pixels, low, high))
            if progress is not None:
                progress((step + 1) / steps)
        seen.clear()
    return best.result(lambda kept: (kept * spread + centre).clamp(0, 1).cpu())


class _Best:
    """The best state of each group so far, held as copies: the images go on changing."""

    def __init__(self, pixels: torch.Tensor, groups: torch.Tensor, n_groups: int) -> None:
        self.groups = groups
        self.pixels = pixels.detach().clone()
        self.losses = torch.full((n_groups,), torch.inf, device=pixels.device)
        self.first: torch.Tensor | None = None
        self.terms: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def update(
        self, pixels: torch.Tensor, losses: torch.Tensor, terms: dict[str, torch.Tensor]
    ) -> None:
        if self.first is None:
            self.first = losses.clone()
            self.terms = {name: term.clone() for name, term in terms.items()}
        better = losses < self.losses
        self.losses = torch.where(better, losses, self.losses)
        for name, term in terms.items():
            self.terms[name] = torch.where(better, term, self.terms[name])
        rows = better[self.groups][:, None, None, None]
        self.pixels = torch.where(rows, pixels, self.pixels)

    def result(self, finished: Callable[[torch.Tensor], torch.Tensor]) -> Synthesis:
        assert self.first is not None
        return Synthesis(
            images=finished(self.pixels),
            losses=self.losses.cpu(),
            first_losses=self.first.cpu(),
            terms={name: term.cpu() for name, term in self.terms.items()},
        )


def _scale(
    scale: tuple[np.ndarray, np.ndarray] | None, channels: int, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and spread as ``(1, C, 1, 1)``; a channel without any spread counts as if it had a little."""
    mean, spread = scale or (np.full(channels, 0.5), np.full(channels, 0.25))
    both = (torch.as_tensor(a, dtype=torch.float32, device=device) for a in (mean, spread))
    centre, width = (a.reshape(1, -1, 1, 1) for a in both)
    return centre, width.clamp_min(1e-2)


def _moved(pixels: torch.Tensor, roll: int, flip: bool, generator: torch.Generator) -> torch.Tensor:
    """All images rolled by one random shift and mirrored by one random coin."""
    down, right = torch.randint(-roll, roll + 1, (2,), generator=generator).tolist()
    mirrored = bool(torch.rand((), generator=generator) < 0.5)
    moved = torch.roll(pixels, (down, right), (2, 3)) if down or right else pixels
    return moved.flip(3) if flip and mirrored else moved


def _distance(
    seen: Sequence[torch.Tensor], members: torch.Tensor, targets: Statistics | None
) -> torch.Tensor:
    """The batch-norm term of each group, ``(G,)``; zeros without targets."""
    total = torch.zeros(len(members), device=members.device)
    if targets is None:
        return total
    shares = members / members.sum(1, keepdim=True)
    for inputs, mean, variance in zip(seen, targets.means, targets.variances, strict=True):
        own_mean, own_variance = group_statistics(inputs, shares)
        total = total + torch.linalg.vector_norm(own_mean - mean, dim=1)
        total = total + torch.linalg.vector_norm(own_variance - variance, dim=1)
    return total


def _mean_of(values: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """Mean over each group's images of ``values (B,)``."""
    return members @ values / members.sum(1)
