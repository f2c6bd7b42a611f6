"""A label-conditional image GAN with a mapping network, for small sets of small or large images.

The generator maps a normal code and the class to an intermediate code w, which steers every layer of a stack of
convolutions, from a learned constant of about 4 × 4 to the image (a light StyleGAN [1]_). The discriminator has
spectral normalisation [2]_, a projection head for the class [3]_ and the standard deviation over the batch as a
feature. Both networks are trained with the hinge loss and differentiable augmentation [4]_; the moving average of the
generator is kept.

A third, small network may read the code from made images, and the generator is rewarded where it can (the mutual
information of InfoGAN [5]_): images of a class then differ more. The reader is no head of the discriminator and sees
images before augmentation and their class: a head on the discriminator's features learned nothing of z on
Fashion-MNIST (an error of 1.03 of the variance of z, the reader .65) and little on drawn eye backgrounds (.87, the
reader .38).

The reader may also serve as an encoder: the generator then repeats real images from the codes read from them, as in
the hybrids of GAN and autoencoder [6]_ [7]_. So every image of a small set has its place among the codes, which a few
hundred adversarial steps alone do not reach.

Convolutions run in the channels-last layout: two to four times as fast on a CPU as the other at these sizes.

References
----------
.. [1] Karras, Laine & Aila, "A style-based generator architecture for generative adversarial networks", CVPR 2019.
.. [2] Miyato, Kataoka, Koyama & Yoshida, "Spectral normalization for generative adversarial networks", ICLR 2018.
.. [3] Miyato & Koyama, "cGANs with projection discriminator", ICLR 2018.
.. [4] Zhao, Liu, Lin, Zhu & Han, "Differentiable augmentation for data-efficient GAN training", NeurIPS 2020.
.. [5] Chen, Duan, Houthooft, Schulman, Sutskever & Abbeel, "InfoGAN: interpretable representation learning by
   information maximizing generative adversarial nets", NeurIPS 2016.
.. [6] Larsen, Sønderby, Larochelle & Winther, "Autoencoding beyond pixels using a learned similarity metric", ICML
   2016.
.. [7] Zhu, Zhang, Pathak, Darrell, Efros, Wang & Shechtman, "Toward multimodal image-to-image translation", NeurIPS
   2017 (codes recovered from made images and images from encoded ones, together).
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional as F

__all__ = [
    "Augmentation",
    "CodeReader",
    "Discriminator",
    "ImageGenerator",
    "TrainingSummary",
    "build",
    "empty",
    "train_gan",
]

# The side of the smallest maps is at most this.
SMALLEST = 7
SLOPE = 0.2

Network = TypeVar("Network", bound=nn.Module)


# ---------------------------------------------------------------- sizes


def pyramid(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes of the maps, each twice the one before; the last is the first that covers the image.

    The first has sides of at most 7.

    >>> pyramid(28, 28), pyramid(32, 32), pyramid(50, 20)
    ([(7, 7), (14, 14), (28, 28)], [(4, 4), (8, 8), (16, 16), (32, 32)], [(7, 3), (14, 6), (28, 12), (56, 24)])
    """
    doublings = max(0, math.ceil(math.log2(max(height, width) / SMALLEST)))
    first = [math.ceil(side / 2**doublings) for side in (height, width)]
    return [(first[0] * 2**i, first[1] * 2**i) for i in range(doublings + 1)]


def maps_of(levels: int, channels: int, most: int) -> list[int]:
    """Number of maps at each level from the smallest: ``channels`` at the last, doubled before it, up to ``most``."""
    return [min(most, channels * 2 ** (levels - 1 - i)) for i in range(levels)]


# ---------------------------------------------------------------- generator


class Styled(nn.Module):
    """Convolution, features of unit length, scale and shift by w, leaky ReLU.

    Parameters
    ----------
    before, after : int
        Maps.
    w_dim : int
    enlarge : bool
        Double height and width on the way.
    """

    def __init__(self, before: int, after: int, w_dim: int, enlarge: bool) -> None:
        super().__init__()
        self.convolution: nn.Conv2d | nn.ConvTranspose2d
        if enlarge:
            self.convolution = nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)
        else:
            self.convolution = nn.Conv2d(before, after, 3, padding=1)
        self.style = nn.Linear(w_dim, 2 * after)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Maps ``(B, before, H, W)`` and codes ``(B, w_dim)`` to maps ``(B, after, …)``."""
        x = self.convolution(x)
        x = x * (x.square().mean(dim=1, keepdim=True) + 1e-6).rsqrt()
        scale, shift = self.style(w)[:, :, None, None].chunk(2, dim=1)
        return F.leaky_relu(x * (1 + scale) + shift, SLOPE)


class ImageGenerator(nn.Module):
    """From codes and classes to images: what is released, and what an attacker with the weights gets.

    Parameters
    ----------
    shape : (height, width, channels of the image)
    n_classes : int
    latent : int, default=32
        Dimension of z, which is standard normal.
    w_dim : int, default=64
        Dimension of w.
    channels : int, default=16
        Maps at the image's own size; twice as many at each halving.
    most_channels : int, default=128
        But no more than these.

    Attributes
    ----------
    w_layers : int
        Layers that take a w; :meth:`synthesise` takes one for all, or one for each.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        n_classes: int,
        latent: int = 32,
        w_dim: int = 64,
        channels: int = 16,
        most_channels: int = 128,
    ) -> None:
        super().__init__()
        self.shape, self.n_classes, self.latent, self.w_dim = shape, n_classes, latent, w_dim
        sizes = pyramid(*shape[:2])
        maps = maps_of(len(sizes), channels, most_channels)
        self.mapping = nn.Sequential(
            nn.Linear(latent + n_classes, w_dim),
            nn.LeakyReLU(SLOPE),
            nn.Linear(w_dim, w_dim),
            nn.LeakyReLU(SLOPE),
            nn.Linear(w_dim, w_dim),
        )
        self.constant = nn.Parameter(torch.empty(1, maps[0], *sizes[0]))
        self.blocks = nn.ModuleList([Styled(maps[0], maps[0], w_dim, enlarge=False)])
        for before, after in itertools.pairwise(maps):
            self.blocks.append(Styled(before, after, w_dim, enlarge=True))
        self.blocks.append(Styled(maps[-1], maps[-1], w_dim, enlarge=False))
        self.colours = nn.Conv2d(maps[-1], shape[2], 3, padding=1)

    @property
    def w_layers(self) -> int:
        """Layers that take a w."""
        return len(self.blocks)

    def map(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Intermediate codes ``(B, w_dim)`` of ``z (B, latent)`` and ``labels (B,) int64``."""
        # Scaled to the norm of z, or the class would hardly be heard at first.
        onehot = F.one_hot(labels, self.n_classes).to(z.dtype) * math.sqrt(self.latent)
        return self.mapping(torch.cat((z, onehot), dim=1))

    def paint(self, w: torch.Tensor) -> torch.Tensor:
        """Images ``(B, C, H, W)`` in [−1, 1] of codes ``(B, w_dim)`` or ``(B, w_layers, w_dim)``."""
        layers = w.unbind(dim=1) if w.ndim == 3 else (w,) * len(self.blocks)
        x = self.constant.expand(len(w), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        for block, code in zip(self.blocks, layers, strict=True):
            x = block(x, code)
        height, width, _ = self.shape
        top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
        return torch.tanh(self.colours(x))[:, :, top : top + height, left : left + width]

    def synthesise(self, w: torch.Tensor) -> torch.Tensor:
        """Pixels ``(B, H·W·C)`` in [0, 255], channel fastest, neither rounded nor cut; ``w`` as in :meth:`paint`."""
        return (self.paint(w).movedim(1, -1).flatten(1) + 1) * 127.5

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The same of ``z (B, latent)`` and ``labels (B,) int64``."""
        return self.synthesise(self.map(z, labels))


# ---------------------------------------------------------------- discriminator


class SpectralNorm(nn.Module):
    """A layer whose weight is divided by its largest singular value, by one power iteration a call.

    The iteration runs in training mode only; its vector is initialised with the weights. (Torch's own draws it from
    the global random state.)
    """

    direction: torch.Tensor

    def __init__(self, layer: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("direction", torch.empty(layer.weight.shape[0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's answer."""
        matrix = self.layer.weight.flatten(1)
        with torch.no_grad():
            right = F.normalize(matrix.T @ self.direction, dim=0)
            left = F.normalize(matrix @ right, dim=0)
            if self.training:
                self.direction.copy_(left)
        weight = self.layer.weight / (left @ (matrix @ right))
        if isinstance(self.layer, nn.Conv2d):
            return F.conv2d(x, weight, self.layer.bias, self.layer.stride, self.layer.padding)
        return F.linear(x, weight, self.layer.bias)


class Discriminator(nn.Module):
    """Scores how real images of a class look.

    Parameters
    ----------
    shape, n_classes, channels, most_channels
        As for the generator.
    hidden : int, default=128
        Features before the score.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        n_classes: int,
        channels: int = 16,
        most_channels: int = 128,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        sizes = pyramid(*shape[:2])
        self.padding = (0, sizes[-1][1] - shape[1], 0, sizes[-1][0] - shape[0])
        maps = [shape[2], *reversed(maps_of(len(sizes), channels, most_channels)[:-1])]
        self.look = nn.Sequential()
        for before, after in itertools.pairwise(maps):
            self.look.append(SpectralNorm(nn.Conv2d(before, after, 4, stride=2, padding=1)))
            self.look.append(nn.LeakyReLU(SLOPE))
        self.look.append(SpectralNorm(nn.Conv2d(maps[-1], maps[-1], 3, padding=1)))
        self.look.append(nn.LeakyReLU(SLOPE))
        self.join = SpectralNorm(nn.Linear((maps[-1] + 1) * math.prod(sizes[0]), hidden))
        self.score = SpectralNorm(nn.Linear(hidden, 1))
        self.classes = SpectralNorm(nn.Linear(n_classes, hidden, bias=False))
        self.n_classes = n_classes

    def forward(self, images: torch.Tensor, labels: torch.Tensor, sets: int = 1) -> torch.Tensor:
        """Scores ``(B,)`` of images ``(B, C, H, W)`` in [−1, 1].

        ``sets`` of equal size, one after another, see the spread over their own images only.
        """
        x = self.look(F.pad(images, self.padding))
        spread = _deviation(x, sets).flatten(1).mean(dim=1).repeat_interleave(len(x) // sets)
        x = torch.cat((x, spread[:, None, None, None].expand(-1, 1, *x.shape[2:])), dim=1)
        x = F.leaky_relu(self.join(x.flatten(1)), SLOPE)
        onehot = F.one_hot(labels, self.n_classes).to(x.dtype)
        score: torch.Tensor = self.score(x)[:, 0] + (self.classes(onehot) * x).sum(dim=1)
        return score


def _deviation(x: torch.Tensor, sets: int) -> torch.Tensor:
    """Standard deviation over the rows of each set, ``(sets, …)``."""
    parts = x.unflatten(0, (sets, -1))
    offsets = parts - parts.mean(dim=1, keepdim=True)
    return (offsets.square().mean(dim=1) + 1e-6).sqrt()


class CodeReader(nn.Module):
    """Guesses the code behind an image of a known class.

    Parameters
    ----------
    shape, n_classes, latent
        As for the generator.
    channels : int, default=16
        Maps after the first halving, doubled at the next ones.
    most_channels : int, default=64
    hidden : int, default=128
        Features before the guess.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        n_classes: int,
        latent: int = 32,
        channels: int = 16,
        most_channels: int = 64,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        sizes = pyramid(*shape[:2])
        self.padding = (0, sizes[-1][1] - shape[1], 0, sizes[-1][0] - shape[0])
        halvings = range(len(sizes) - 1)
        maps = [shape[2], *(min(most_channels, channels * 2**i) for i in halvings)]
        self.look = nn.Sequential()
        for before, after in itertools.pairwise(maps):
            self.look.append(nn.Conv2d(before, after, 4, stride=2, padding=1))
            self.look.append(nn.LeakyReLU(SLOPE))
        self.join = nn.Linear(maps[-1] * math.prod(sizes[0]) + n_classes, hidden)
        self.guess = nn.Linear(hidden, latent)
        self.n_classes = n_classes

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Codes ``(B, latent)`` of images ``(B, C, H, W)`` in [−1, 1]."""
        x = self.look(F.pad(images, self.padding)).flatten(1)
        # Scaled to about unit variance, or the class would hardly be heard.
        onehot = F.one_hot(labels, self.n_classes).to(x.dtype) * math.sqrt(self.n_classes)
        x = F.leaky_relu(self.join(torch.cat((x, onehot), dim=1)), SLOPE)
        code: torch.Tensor = self.guess(x)
        return code


# ---------------------------------------------------------------- augmentation


@dataclass(frozen=True)
class Augmentation:
    """Random changes of images in [−1, 1] that gradients pass through; black is −1 and what moves in is 0.

    Parameters
    ----------
    shift : float, default=0.125
        Largest translation, in shares of the side; whole pixels.
    cutout : float, default=0.375
        Side of the square that is set to 0, in shares of the side.
    brightness, contrast : float, default=0.2, 0.25
        Largest additive change, and largest relative change of the distance from the mean.
    """

    shift: float = 0.125
    cutout: float = 0.375
    brightness: float = 0.2
    contrast: float = 0.25

    def __call__(self, images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Changed images ``(B, C, H, W)``; drawn on the CPU from ``rng``."""
        u = torch.rand(6, len(images), generator=rng).to(images.device)
        offset = (u[0] * 2 - 1) * self.brightness
        factor = 1 + (u[1] * 2 - 1) * self.contrast
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = (images - mean) * factor[:, None, None, None] + mean + offset[:, None, None, None]
        height, width = images.shape[2:]
        rows = shift_matrix(height, u[2], self.shift)
        columns = shift_matrix(width, u[3], self.shift)
        images = rows[:, None] @ images @ columns[:, None].transpose(2, 3)
        hole = (
            _window(height, u[4], self.cutout)[:, :, None]
            * _window(width, u[5], self.cutout)[:, None]
        )
        return images * (1 - hole[:, None])


def shift_matrix(side: int, u: torch.Tensor, share: float) -> torch.Tensor:
    """Matrices ``(B, side, side)`` that shift by whole pixels, up to ``share · side``, and move in zeros.

    ``u (B,)`` is uniform in [0, 1). A product with them is faster, forwards and backwards, than to sample a grid.
    """
    most = int(share * side + 0.5)
    step = (u * (2 * most + 1)).floor().clamp(max=2 * most) - most
    place = torch.arange(side, device=u.device)
    return (place[None, :, None] - step[:, None, None] == place[None, None, :]).to(torch.float32)


def _window(side: int, u: torch.Tensor, share: float) -> torch.Tensor:
    """``(B, side)``: 1 within an interval of ``share · side`` pixels around a uniform centre, else 0."""
    size = int(share * side + 0.5)
    start = (u * (side + (1 - size % 2))).floor() - size // 2
    place = torch.arange(side, device=u.device)
    inside = (place[None] >= start[:, None]) & (place[None] < start[:, None] + size)
    return inside.to(torch.float32)


# ---------------------------------------------------------------- training


def initialise_(network: Network, rng: torch.Generator) -> Network:
    """Fill all parameters and power-iteration vectors in place from ``rng``, a CPU generator.

    He's normal weights for leaky ReLU, zero biases, a normal constant; styles begin near "no change".
    """
    gain = math.sqrt(2 / (1 + SLOPE**2))
    with torch.no_grad():
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            if name.endswith("bias"):
                value.zero_()
            elif name.endswith(("constant", "direction")):
                value.normal_(generator=rng)
            else:
                scale = 0.5 if name.endswith("style.weight") else gain
                value.normal_(generator=rng).mul_(scale / math.sqrt(value[0].numel()))
    return network


def build(make: Callable[[], Network], rng: torch.Generator, device: str) -> Network:
    """A network made without the global random state: initialised on the CPU, then moved."""
    return initialise_(empty(make), rng).to(device)


def empty(make: Callable[[], Network]) -> Network:
    """A network with its memory laid out channels last, its numbers still undefined."""
    with torch.device("meta"):
        network = make()
    return network.to_empty(device="cpu").to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class TrainingSummary:
    """Mean losses of the last tenth of the steps.

    Parameters
    ----------
    discriminator_loss, generator_loss : float
        Of the two players.
    recovery_loss : float or None
        Mean squared error of the recovered z; None without a reader.
    repetition_loss : float or None
        Mean absolute difference of repeated real images, in the units of [−1, 1]; None where none are repeated.
    """

    discriminator_loss: float
    generator_loss: float
    recovery_loss: float | None
    repetition_loss: float | None


def train_gan(
    generator: ImageGenerator,
    discriminator: Discriminator,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    steps: int,
    batch_size: int = 32,
    lr_generator: float = 6e-4,
    lr_discriminator: float = 1.2e-3,
    average: float = 0.99,
    reader: CodeReader | None = None,
    recovery_weight: float = 1.0,
    repetition_weight: float = 0.0,
    lr_reader: float = 1e-3,
    augmentation: Augmentation | None = None,
    rng: torch.Generator,
    progress: Callable[[float], None] = lambda fraction: None,
) -> TrainingSummary:
    """Train both networks in place; the generator ends as the moving average of its weights.

    Parameters
    ----------
    generator, discriminator
        On one device, with the data.
    images : Tensor of shape (N, C, H, W), float32
        In [−1, 1].
    labels : Tensor of shape (N,), int64
    steps : int
        Steps of each player, which take turns.
    batch_size : int, default=32
        Real images a step, drawn with replacement; as many are made, of the same classes.
    lr_generator, lr_discriminator : float
        Steps of Adam, with decay rates (0, 0.9).
    average : float, default=0.99
        Decay of the moving average; smaller during the first steps.
    reader : CodeReader, optional
        Trained in place to recover z from made images and, with ``repetition_weight``, to encode real ones; it sees
        both without augmentation. On the same device.
    recovery_weight : float, default=1.0
        Weight of the mean squared error of the recovered z in the generator's loss.
    repetition_weight : float, default=0.0
        Weight of the mean absolute difference between real images and those made from the codes that the reader finds
        in them, in the loss of both. Above 0 these images are judged by the discriminator beside those of fresh codes,
        and a reader is needed.
    lr_reader : float, default=1e-3
        Step of Adam of the reader, with decay rates (0.5, 0.99).
    augmentation : Augmentation, optional
        Applied to what the discriminator sees, real or made.
    rng : torch.Generator
        On the CPU; all randomness is drawn there.

    Raises
    ------
    ValueError
        For a weight of repetition without a reader.
    """
    if repetition_weight > 0 and reader is None:
        raise ValueError(
            f"repetition_weight={repetition_weight} needs a reader, which finds the codes. Got None; give one, or set "
            "the weight to 0."
        )
    weights = recovery_weight, repetition_weight
    players = _Players(generator, discriminator, reader, augmentation, *weights, rng)
    averaged = copy.deepcopy(generator).requires_grad_(False)
    adams = [
        torch.optim.Adam(network.parameters(), lr=lr, betas=(0.0, 0.9), fused=True)
        for network, lr in ((discriminator, lr_discriminator), (generator, lr_generator))
    ]
    if reader is not None:
        reading = torch.optim.Adam(reader.parameters(), lr=lr_reader, betas=(0.5, 0.99), fused=True)
        adams.append(reading)
    tail: list[torch.Tensor] = []
    for step in range(steps):
        chosen = torch.randint(len(images), (batch_size,), generator=rng).to(images.device)
        first = players.train_discriminator(adams[0], images[chosen], labels[chosen])
        rest = players.train_generator(adams[1:], images[chosen], labels[chosen])
        decay = min(average, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(averaged.parameters()), [p.detach() for p in generator.parameters()], 1 - decay
        )
        if step >= steps - max(1, steps // 10):
            tail.append(torch.stack((first, *rest)))
        progress((step + 1) / steps)
    generator.load_state_dict(averaged.state_dict())
    first_loss, second_loss, recovery_loss, repetition_loss = torch.stack(tail).mean(dim=0).tolist()
    return TrainingSummary(
        first_loss,
        second_loss,
        None if reader is None else recovery_loss,
        None if repetition_weight == 0 else repetition_loss,
    )


@dataclass(frozen=True)
class _Players:
    """The networks and what they share in a step."""

    generator: ImageGenerator
    discriminator: Discriminator
    reader: CodeReader | None
    augmentation: Augmentation | None
    recovery_weight: float
    repetition_weight: float
    rng: torch.Generator

    def train_discriminator(
        self, adam: torch.optim.Optimizer, real: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """One step against made images of the same classes; the hinge loss."""
        z = self._codes(labels)
        with torch.no_grad():
            made = self.generator.paint(self.generator.map(z, labels))
        shown = self._shown(torch.cat((real, made)))
        on_real, on_made = self.discriminator(shown, labels.repeat(2), sets=2).chunk(2)
        hinge = F.relu(1 - on_real).mean() + F.relu(1 + on_made).mean()
        _step([adam], hinge)
        return hinge.detach()

    def train_generator(
        self, adams: Sequence[torch.optim.Optimizer], real: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One step of the generator and the reader.

        Returns the adversarial loss, that of the recovered codes, and that of the repeated images; NaN for none.
        """
        z = self._codes(labels)
        recovery, repetition = torch.full((2,), math.nan, device=z.device)
        codes, shown = z, labels
        repeating = self.reader is not None and self.repetition_weight > 0
        if repeating:
            assert self.reader is not None
            codes, shown = torch.cat((z, self.reader(real, labels))), labels.repeat(2)
        made = self.generator.paint(self.generator.map(codes, shown))
        self.discriminator.requires_grad_(False)
        sets = len(made) // len(labels)
        adversarial = -self.discriminator(self._shown(made), shown, sets=sets).mean()
        loss = adversarial
        if self.reader is not None:
            recovery = F.mse_loss(self.reader(made[: len(z)], labels), z)
            loss = loss + self.recovery_weight * recovery
        if repeating:
            repetition = F.l1_loss(made[len(z) :], real)
            loss = loss + self.repetition_weight * repetition
        _step(adams, loss)
        self.discriminator.requires_grad_(True)
        return adversarial.detach(), recovery.detach(), repetition.detach()

    def _codes(self, labels: torch.Tensor) -> torch.Tensor:
        z = torch.randn(len(labels), self.generator.latent, generator=self.rng)
        return z.to(labels.device)

    def _shown(self, images: torch.Tensor) -> torch.Tensor:
        if self.augmentation is None:
            return images
        return self.augmentation(images, self.rng)


def _step(adams: Sequence[torch.optim.Optimizer], loss: torch.Tensor) -> None:
    for adam in adams:
        adam.zero_grad(set_to_none=True)
    loss.backward()
    for adam in adams:
        adam.step()
