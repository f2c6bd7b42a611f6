"""Conditional variational autoencoder for feature vectors (Di Salvo et al. 2024) and for images.

Encoder Linear(D+C→H) ReLU Linear(H→2·L), decoder Linear(L+C→H) ReLU Linear(H→D) Sigmoid; the one-hot
label is concatenated to both inputs and features are scaled to [0, 1]. For images convolutions come
before and after. Everything accepts leading axes, so that a stack of networks runs the same code, and
all randomness enters as an argument.

References
----------
.. [1] Di Salvo, Tafler, Doerrich & Ledig, "Privacy-preserving datasets by capturing feature
   distributions with Conditional VAEs", BMVC 2024, arXiv 2408.00639.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmark.learning.fleet import Trainee, TrainingSummary, train_fleet

__all__ = [
    "CVAENetwork",
    "FeatureGenerator",
    "ImageCVAENetwork",
    "TrainingSummary",
    "cvae_loss",
    "cvae_losses",
    "make_network",
    "record_loss",
    "train_cvae",
    "train_cvaes",
]


class CVAENetwork(nn.Module):
    """Encoder and decoder.

    Parameters
    ----------
    dimension : int
        D, number of features.
    n_classes : int
        C.
    hidden : int, default=256
        H, width of the hidden layers.
    latent : int, default=50
        L, dimension of the latent code.
    """

    def __init__(self, dimension: int, n_classes: int, hidden: int = 256, latent: int = 50) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.latent = latent
        self.encoder = nn.Sequential(
            nn.Linear(dimension + n_classes, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent + n_classes, hidden),
            nn.ReLU(),
            nn.Linear(hidden, dimension),
            nn.Sigmoid(),
        )

    def encode(self, x: torch.Tensor, onehot: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log standard deviation of the code, both ``(B, L)``, of ``x (B, D)``."""
        mean, log_std = self.encoder(torch.cat((x, onehot), dim=-1)).chunk(2, dim=-1)
        return mean, log_std

    def decode(self, z: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
        """Features in [0, 1], ``(B, D)``, of codes ``(B, L)`` and one-hot labels ``(B, C)``."""
        return self.decoder(torch.cat((z, onehot), dim=-1))

    def forward(
        self, x: torch.Tensor, onehot: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Reconstruction, mean and log standard deviation; ``noise (B, L)`` is standard normal."""
        mean, log_std = self.encode(x, onehot)
        return self.decode(mean + log_std.exp() * noise, onehot), mean, log_std


class Maps(nn.Module):
    """``(…, H·W·C)`` with the channel fastest → ``(…, C, H, W)``."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reshape."""
        return x.unflatten(-1, self.shape).movedim(-1, -3).contiguous()


class Vector(nn.Module):
    """``(…, C, H, W)`` → ``(…, H·W·C)`` with the channel fastest."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reshape."""
        return x.movedim(-3, -1).flatten(-3)


class Enlarge(nn.Module):
    """``(…, H, W)`` to the given height and width by repeating the nearest pixel."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Enlarge."""
        large = F.interpolate(x.flatten(0, -4), size=self.size)
        return large.unflatten(0, x.shape[:-3])


class ImageCVAENetwork(CVAENetwork):
    """The same with convolutions around it; images are vectors, pixels with the channel fastest.

    The encoder halves height and width by 3 × 3 convolutions of stride 2, doubling the channels up to
    four times ``channels``, until neither exceeds 7; the decoder undoes the sizes by enlarging and 3 × 3
    convolutions. No batch norm: a record's loss is its own.

    Parameters
    ----------
    shape : (height, width, channels of the image)
    n_classes, hidden, latent
        As for features.
    channels : int, default=32
        Maps after the first convolution.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        n_classes: int,
        hidden: int = 256,
        latent: int = 50,
        channels: int = 32,
    ) -> None:
        height, width, colours = shape
        sizes, maps = [(height, width)], [colours]
        while len(sizes) == 1 or max(sizes[-1]) > 7:
            sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
            maps.append(channels * min(2 ** (len(sizes) - 2), 4))
        smallest = maps[-1] * sizes[-1][0] * sizes[-1][1]
        super().__init__(smallest, n_classes, hidden, latent)
        self.look = nn.Sequential(Maps(shape))
        for before, after in itertools.pairwise(maps):
            self.look.append(nn.Conv2d(before, after, 3, stride=2, padding=1))
            self.look.append(nn.ReLU())
        self.look.append(Vector())
        self.decoder[-1] = nn.ReLU()
        self.paint = nn.Sequential(Maps((*sizes[-1], maps[-1])))
        for level in range(len(maps) - 1, 0, -1):
            self.paint.append(Enlarge(sizes[level - 1]))
            self.paint.append(nn.Conv2d(maps[level], maps[level - 1], 3, padding=1))
            self.paint.append(nn.ReLU() if level > 1 else nn.Sigmoid())
        self.paint.append(Vector())

    def encode(self, x: torch.Tensor, onehot: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log standard deviation of the code of images ``x (…, B, H·W·C)`` in [0, 1]."""
        return super().encode(self.look(x), onehot)

    def decode(self, z: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
        """Pixels in [0, 1], ``(…, B, H·W·C)``."""
        return self.paint(super().decode(z, onehot))


def make_network(
    shape: tuple[int, ...], n_classes: int, hidden: int, latent: int, channels: int
) -> CVAENetwork:
    """The network for records of a shape: ``(D,)`` for features, ``(H, W, C)`` for images."""
    if len(shape) == 3:
        return ImageCVAENetwork(shape, n_classes, hidden, latent, channels)
    (dimension,) = shape
    return CVAENetwork(dimension, n_classes, hidden, latent)


def cvae_loss(
    reconstruction: torch.Tensor,
    x: torch.Tensor,
    mean: torch.Tensor,
    log_std: torch.Tensor,
    beta: float,
    published_kl: bool = False,
) -> torch.Tensor:
    """Summed squared error + β · KL, averaged over the batch.

    The textbook penalty is KL(N(μ, σ²) ‖ N(0, 1)) = ½(σ² + μ² − 1) − log σ. The authors' public code
    has σ² + μ² − log σ − ½, which is least at σ² = ½: it trains codes towards N(0, ½·I), while the
    release draws them from N(0, I), over-dispersed by √2.

    Parameters
    ----------
    reconstruction, x : Tensor of shape (B, D)
    mean, log_std : Tensor of shape (B, L)
    beta : float
        Weight of the penalty.
    published_kl : bool, default=False
        Use the public code's penalty.

    Returns
    -------
    Tensor
        Scalar.
    """
    return cvae_losses(reconstruction, x, mean, log_std, beta, published_kl).mean()


def cvae_losses(
    reconstruction: torch.Tensor,
    x: torch.Tensor,
    mean: torch.Tensor,
    log_std: torch.Tensor,
    beta: float,
    published_kl: bool = False,
) -> torch.Tensor:
    """The same of each record: ``(…, B)`` of arguments ``(…, B, D)`` and ``(…, B, L)``."""
    error = (reconstruction - x).square().sum(dim=-1)
    spread = (2 * log_std).exp() + mean.square()
    if published_kl:
        penalty = spread - log_std - 0.5
    else:
        penalty = 0.5 * (spread - 1) - log_std
    return error + beta * penalty.sum(dim=-1)


class FeatureGenerator(nn.Module):
    """A trained network with its scaling: from codes and labels to features in their own units.

    This is what an attacker with access to the weights gets. It is differentiable in ``z`` and in
    its parameters.

    Parameters
    ----------
    network : CVAENetwork
    minimum, width : Tensor of shape (D,)
        Features are ``minimum + width · decoder(z, label)``; a width of 0 makes a feature constant.
        For images 0 and 255: they are vectors of pixels, channel fastest, neither rounded nor cut.
    axes : Tensor of shape (D, F), optional
        Where the network works on principal components: features are ``centre + (minimum + width · decoder) · axes``.
    centre : Tensor of shape (F,), optional
        Goes with ``axes``.
    """

    minimum: torch.Tensor
    width: torch.Tensor
    axes: torch.Tensor | None
    centre: torch.Tensor | None

    def __init__(
        self,
        network: CVAENetwork,
        minimum: torch.Tensor,
        width: torch.Tensor,
        axes: torch.Tensor | None = None,
        centre: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("minimum", minimum)
        self.register_buffer("width", width)
        self.register_buffer("axes", axes)
        self.register_buffer("centre", centre)

    @property
    def latent(self) -> int:
        """Dimension of the code."""
        return self.network.latent

    @property
    def n_classes(self) -> int:
        """Labels are in ``range(n_classes)``."""
        return self.network.n_classes

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Features ``(B, F)`` of codes ``z (B, L)`` and labels ``(B,) int64``; F = D without ``axes``."""
        decoded = self.minimum + self.width * self.network.decode(z, self._onehot(labels, z))
        if self.axes is None or self.centre is None:
            return decoded
        return self.centre + decoded @ self.axes

    def encode(self, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log standard deviation of the codes of features ``x (B, F)``."""
        if self.axes is not None and self.centre is not None:
            x = (x - self.centre) @ self.axes.T
        width = self.width.where(self.width > 0, torch.ones_like(self.width))
        return self.network.encode((x - self.minimum) / width, self._onehot(labels, x))

    def _onehot(self, labels: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return F.one_hot(labels, self.n_classes).to(like.dtype)


def record_loss(
    beta: float, published_kl: bool
) -> Callable[[CVAENetwork, tuple[torch.Tensor, ...], torch.Tensor], torch.Tensor]:
    """Each record's loss, as :func:`~benchmark.learning.fleet.train_fleet` wants it."""

    def loss(
        network: CVAENetwork, batch: tuple[torch.Tensor, ...], noise: torch.Tensor
    ) -> torch.Tensor:
        x, onehot = batch
        reconstruction, mean, log_std = network(x, onehot, noise)
        return cvae_losses(reconstruction, x, mean, log_std, beta, published_kl)

    return loss


def train_cvae(
    network: CVAENetwork,
    training: tuple[torch.Tensor, torch.Tensor],
    validation: tuple[torch.Tensor, torch.Tensor],
    *,
    beta: float,
    published_kl: bool,
    lr: float,
    batch_size: int,
    epochs: int,
    patience: int,
    generator: torch.Generator,
    progress: Callable[[float], None] = lambda fraction: None,
) -> TrainingSummary:
    """Train one network in place by Adam with early stopping: a fleet of one.

    Parameters
    ----------
    network : CVAENetwork
        On the device of the data.
    training, validation : pairs of Tensors
        Features ``(N, D) float32`` in [0, 1] and one-hot labels ``(N, C) float32``; N ≥ 1.
    beta, published_kl
        See :func:`cvae_loss`.
    lr, batch_size, epochs, patience, progress
        See :func:`~benchmark.learning.fleet.train_fleet`.
    generator : torch.Generator
        On the CPU; order of records and noise are drawn there.
    """
    (summary,) = train_cvaes(
        [Trainee(network, training, validation, generator)],
        beta=beta,
        published_kl=published_kl,
        lr=lr,
        batch_size=batch_size,
        epochs=epochs,
        patience=patience,
        progress=progress,
    )
    return summary


def train_cvaes(
    trainees: Sequence[Trainee], *, beta: float, published_kl: bool, **options: Any
) -> list[TrainingSummary]:
    """Train a fleet in place; ``options`` are those of :func:`~benchmark.learning.fleet.train_fleet`."""
    if not trainees:
        return []
    latent = trainees[0].network.latent
    assert isinstance(latent, int)
    return train_fleet(trainees, record_loss(beta, published_kl), noise=latent, **options)
