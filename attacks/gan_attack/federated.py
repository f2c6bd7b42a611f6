"""Federated averaging between two participants, one of whom trains a generator against the shared model.

Both train one classifier of images: each round they start from the shared weights, train on records of their own and
hand the weights back to be averaged. Some of the victim's classes the adversary owns no record of; it trains a
generator for each, with the shared model as the discriminator, and teaches the model that the fakes are an extra class
of their own. The victim's next update then has to tell its records from them better, and so shows more of
what they look like.

Images are floats in [−1, 1], ``(N, C, H, W)``.

References
----------
.. [1] Hitaj, Ateniese & Perez-Cruz, "Deep models under the GAN: information leakage from collaborative deep learning",
   CCS 2017, arXiv:1702.07464.
.. [2] McMahan, Moore, Ramage, Hampson & Agüera y Arcas, "Communication-efficient learning of deep networks from
   decentralized data", AISTATS 2017 (federated averaging).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from benchmark.learning.training import batches, build

__all__ = [
    "Federation",
    "Generator",
    "Participant",
    "SharedModel",
    "average_",
    "generate",
    "train_federation",
]

Shape = tuple[int, int, int]
"""Channels, height, width."""


class SharedModel(nn.Module):
    """Two 5 × 5 convolutions of 32 and 64 channels with tanh and pooling, 200 hidden units with tanh, as in [1]_.

    Images with a side below 16 pixels are padded with zeros at each convolution, or nothing would be left of them.

    Parameters
    ----------
    shape : tuple of int
        Channels, height, width; sides ≥ 4.
    n_outputs : int
        Classes, with the extra one.
    """

    def __init__(self, shape: Shape, n_outputs: int) -> None:
        super().__init__()
        channels, height, width = shape
        padding = 2 if min(height, width) < 16 else 0
        rows, columns = (_after_convolutions(side, padding) for side in (height, width))
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 5, padding=padding),
            nn.Tanh(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, padding=padding),
            nn.Tanh(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * rows * columns, 200),
            nn.Tanh(),
            nn.Linear(200, n_outputs),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, n_outputs)``."""
        logits: torch.Tensor = self.body(images)
        return logits


class Generator(nn.Module):
    """Codes to images by two transposed convolutions that double the size, after DCGAN.

    Parameters
    ----------
    shape : tuple of int
        Channels, height, width.
    latent : int, default=100
    width : int, default=32
        Channels at half the size; twice as many at a quarter of it.
    """

    def __init__(self, shape: Shape, latent: int = 100, width: int = 32) -> None:
        super().__init__()
        channels, self.height, self.wide = shape
        rows, columns = -(-self.height // 4), -(-self.wide // 4)
        self.latent = latent
        self.body = nn.Sequential(
            nn.Linear(latent, 2 * width * rows * columns),
            nn.Unflatten(1, (2 * width, rows, columns)),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Images ``(B, C, H, W)`` of codes ``(B, latent)``."""
        images: torch.Tensor = self.body(codes)
        return images[:, :, : self.height, : self.wide]


def _after_convolutions(side: int, padding: int) -> int:
    """A side after two 5 × 5 convolutions, each followed by pooling to one half."""
    for _ in range(2):
        side = (side + 2 * padding - 4) // 2
    return side


@dataclass(frozen=True, eq=False)
class Participant:
    """Records that one side trains on: images ``(N, C, H, W)`` in [−1, 1] and labels ``(N,) int64``; N may be 0."""

    images: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Federation:
    """How the participants train.

    Parameters
    ----------
    rounds : int
        Of federated averaging.
    local_records : int
        Records that each participant trains on in a round, drawn anew from its own; all, if it has no more.
    lr, momentum, batch_size
        Of their SGD, whose momentum starts anew in each round.
    generator_steps : int
        Adam steps (1e-3, betas 0.5 and 0.999) of each generator in a round.
    generator_batch : int
        Codes a step.
    fakes : int
        Images of each generator that the adversary trains on in a round too, where it injects.
    inject : bool
        Whether it does; without, generators are only fitted to the shared model.
    """

    rounds: int = 30
    local_records: int = 250
    lr: float = 0.1
    momentum: float = 0.5
    batch_size: int = 32
    generator_steps: int = 10
    generator_batch: int = 16
    fakes: int = 32
    inject: bool = True


@torch.no_grad()
def average_(shared: nn.Module, local: Sequence[nn.Module], shares: Sequence[float]) -> None:
    """Set the shared weights to the mean of the participants', weighted by ``shares``, in place."""
    total = sum(shares)
    states = [network.state_dict() for network in local]
    for name, value in shared.state_dict().items():
        mean = sum(share / total * state[name] for share, state in zip(shares, states, strict=True))
        value.copy_(mean)


def train_federation(
    victim: Participant,
    adversary: Participant,
    targets: Sequence[int],
    n_classes: int,
    settings: Federation,
    generator: torch.Generator,
    progress: Callable[[float], None] | None = None,
    start: nn.Module | None = None,
) -> tuple[nn.Module, dict[int, Generator]]:
    """Train the shared model and, against it, one generator for each target class.

    Parameters
    ----------
    victim, adversary : Participant
        On one device; the victim's has records of the target classes.
    targets : sequence of int
        Classes that the adversary wants to see; none for training without an attack.
    n_classes : int
        Real classes; fakes are labelled ``n_classes``.
    settings : Federation
    generator : torch.Generator
        On the CPU; weights, order of records and codes are drawn there.
    progress : callable, optional
        Called with the share of rounds done.
    start : nn.Module, optional
        Shared model to go on from, which is left as it is; a new one by default.

    Returns
    -------
    shared : nn.Module
        The model after the last round.
    generators : dict of int to Generator
        By class, in training mode: batch normalisation takes its statistics from the batch.
    """
    device = str(victim.images.device)
    channels, height, width = victim.images.shape[1:]
    shape = (int(channels), int(height), int(width))
    shared = (
        build(lambda: SharedModel(shape, n_classes + 1), generator, device)
        if start is None
        else copy.deepcopy(start)
    )
    makers = {t: build(lambda: Generator(shape), generator, device) for t in targets}
    optimisers = {
        t: torch.optim.Adam(g.parameters(), lr=1e-3, betas=(0.5, 0.999), fused=True)
        for t, g in makers.items()
    }
    for round_ in range(settings.rounds):
        for target, maker in makers.items():
            _fit_generator_(maker, optimisers[target], shared, target, settings, generator)
        honest, own = (_some(p, settings.local_records, generator) for p in (victim, adversary))
        poisoned = _with_fakes(own, makers, n_classes, settings, generator)
        _round_(shared, (honest, poisoned), settings, generator)
        if progress is not None:
            progress((round_ + 1) / settings.rounds)
    return shared, makers


def _some(participant: Participant, n: int, generator: torch.Generator) -> Participant:
    """At most ``n`` of the records, drawn on the CPU without replacement."""
    rows = torch.randperm(len(participant.labels), generator=generator)[:n]
    rows = rows.to(participant.images.device)
    return Participant(participant.images[rows], participant.labels[rows])


def _round_(
    shared: nn.Module,
    participants: Sequence[Participant],
    settings: Federation,
    generator: torch.Generator,
) -> None:
    """One round of federated averaging, in place; participants without records take no part."""
    local, shares = [], []
    for participant in participants:
        if len(participant.labels) == 0:
            continue
        network = copy.deepcopy(shared)
        _fit_local_(network, participant, settings, generator)
        local.append(network)
        shares.append(float(len(participant.labels)))
    average_(shared, local, shares)


def _fit_local_(
    network: nn.Module, data: Participant, settings: Federation, generator: torch.Generator
) -> None:
    optimiser = torch.optim.SGD(
        network.parameters(), lr=settings.lr, momentum=settings.momentum, fused=True
    )
    for rows in batches(len(data.labels), settings.batch_size, generator, data.images.device):
        loss = F.cross_entropy(network(data.images[rows]), data.labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _fit_generator_(
    maker: Generator,
    optimiser: torch.optim.Optimizer,
    shared: nn.Module,
    target: int,
    settings: Federation,
    generator: torch.Generator,
) -> None:
    """Make the shared model, which is left as it is, take the fakes for the target class."""
    shared.requires_grad_(False)
    for _ in range(settings.generator_steps):
        logits = shared(generate(maker, settings.generator_batch, generator))
        wanted = torch.full((len(logits),), target, device=logits.device)
        loss = F.cross_entropy(logits, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    shared.requires_grad_(True)


def generate(maker: Generator, n: int, generator: torch.Generator) -> torch.Tensor:
    """``n`` images of codes drawn on the CPU, ``(n, C, H, W)`` in [−1, 1]."""
    device = next(maker.parameters()).device
    codes = torch.randn(n, maker.latent, generator=generator).to(device)
    images: torch.Tensor = maker(codes)
    return images


@torch.no_grad()
def _with_fakes(
    adversary: Participant,
    makers: Mapping[int, Generator],
    n_classes: int,
    settings: Federation,
    generator: torch.Generator,
) -> Participant:
    """The adversary's records and, where it injects, fakes labelled as the extra class."""
    if not settings.inject or not makers:
        return adversary
    fakes = torch.cat([generate(maker, settings.fakes, generator) for maker in makers.values()])
    labels = torch.full((len(fakes),), n_classes, device=fakes.device)
    return Participant(torch.cat([adversary.images, fakes]), torch.cat([adversary.labels, labels]))
