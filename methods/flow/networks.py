"""Flow matching: the velocity network, a small U-Net, its training, and draws by integration.

Noise ε ~ N(0, I) and a record x are joined by the straight line x_t = (1 − t)·ε + t·x, t in [0, 1], and a network
learns the velocity x − ε from (x_t, t, class) by least squares [1]_ [2]_. Its minimum is the mean velocity at that
point, and integrating it from t = 0 to 1 takes noise to records.

The network works on *patches*: ``patch`` × ``patch`` pixels become channels, so that convolutions run on a grid of a
quarter of the pixels or less. On the grid stands a U-Net [3]_ of residual blocks with a self-attention at its coarsest
level; time and class scale and shift the maps of every block. All layers but the attention are 3 × 3 convolutions.

References
----------
.. [1] Lipman, Chen, Ben-Hamu, Nickel & Le, "Flow matching for generative modeling", ICLR 2023, arXiv 2210.02747.
.. [2] Liu, Gong & Liu, "Flow straight and fast: learning to generate and transfer data with rectified flow", ICLR 2023,
   arXiv 2209.03003.
.. [3] Ho, Jain & Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020, appendix B.
.. [4] Esser et al., "Scaling rectified flow transformers for high-resolution image synthesis", ICML 2024, section 3.1
   (times from a logit-normal distribution).
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["TrainingSummary", "VelocityNetwork", "patch_for", "train_flow"]

# The coarsest level has at most so many cells a side; attention runs there.
COARSEST = 8
# Frequencies of the embedding of time.
FREQUENCIES = 16


def patch_for(height: int, width: int) -> int:
    """Side of a patch that suits an image: 1 up to 16 pixels, 2 up to 64, 4 up to 128, and so on."""
    patch = 1
    while max(height, width) > 32 * patch - 16 * (patch == 1):
        patch *= 2
    return patch


class Residual(nn.Module):
    """Two convolutions after normalisation and SiLU, with a shortcut; the second is steered by time and class."""

    def __init__(self, inside: int, outside: int, condition: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, padding=1)
        self.second = nn.Conv2d(outside, outside, 3, padding=1)
        self.style = nn.Linear(condition, 2 * outside)
        self.shortcut = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, maps: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        scale, shift = self.style(condition)[:, :, None, None].chunk(2, dim=1)
        made = normalised(self.first(F.silu(normalised(maps))))
        made = self.second(F.silu(torch.addcmul(shift, made, 1 + scale)))
        shortcut: torch.Tensor = self.shortcut(maps)
        return shortcut + made


class Attention(nn.Module):
    """Self-attention with one head over all cells of the maps, added to them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.queries_keys_values = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        cells = self.queries_keys_values(normalised(maps)).flatten(2).transpose(1, 2)
        q, k, v = (part.contiguous() for part in cells.chunk(3, dim=2))
        found = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        found = found.transpose(1, 2).unflatten(2, maps.shape[2:])
        added: torch.Tensor = maps + self.out(found)
        return added


def normalised(maps: torch.Tensor) -> torch.Tensor:
    """Each group of eight channels (or all, where there are fewer) to mean 0 and variance 1 over the image."""
    return F.group_norm(maps, max(1, maps.shape[1] // 8))


class VelocityNetwork(nn.Module):
    """The velocity of a class-conditional flow of images, and the generator that integrates it.

    As a generator it keeps the contract of :class:`benchmark.contracts.Release`: ``latent`` = H·W·C, ``n_classes``, and
    ``forward(z, labels)``. White-box attacks have :meth:`velocity` and :meth:`loss` beside.

    Parameters
    ----------
    shape : (height, width, channels)
    n_classes : int
    width : int, default=32
        Channels of the finest level; coarser ones have twice as many.
    patch : int, optional
        Side of a patch in pixels; :func:`patch_for` the size by default.
    steps : int, default=8
        Steps of the integration.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        n_classes: int,
        *,
        width: int = 32,
        patch: int | None = None,
        steps: int = 8,
    ) -> None:
        super().__init__()
        self.shape, self.n_classes, self.steps = tuple(shape), n_classes, steps
        height, wide, colours = shape
        self.latent = height * wide * colours
        self.patch = patch or patch_for(height, wide)
        sides = [-(-max(height, wide) // self.patch)]
        while sides[-1] > COARSEST:
            sides.append(-(-sides[-1] // 2))
        self.levels = len(sides)
        self.unit = self.patch * 2 ** (self.levels - 1)
        maps = [width * (1 if level == 0 else 2) for level in range(self.levels)]
        pixels, condition = colours * self.patch**2, 4 * width
        self.time = nn.Linear(2 * FREQUENCIES, condition)
        self.label = nn.Linear(n_classes, condition)
        self.enter = nn.Conv2d(pixels, maps[0], 3, padding=1)
        self.fall = nn.ModuleList(Residual(m, m, condition) for m in maps[:-1])
        self.shrink = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(maps)
        )
        self.bottom = nn.ModuleList(Residual(maps[-1], maps[-1], condition) for _ in range(2))
        self.attention = Attention(maps[-1])
        self.enlarge = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in itertools.pairwise(maps))
        self.rise = nn.ModuleList(Residual(2 * m, m, condition) for m in maps[:-1])
        self.leave = nn.Conv2d(maps[0], pixels, 3, padding=1)

    def reset_(self) -> VelocityNetwork:
        """Start as a flow that stands still: the last layer of each block, and of all, gives zeros."""
        last = [m.second for m in self.modules() if isinstance(m, Residual)]
        for layer in (*last, self.attention.out, self.leave):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
        return self

    # ------------------------------------------------------------ the flow

    def velocity(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Estimate E[record − noise | x_t = x, class].

        Parameters
        ----------
        x : Tensor of shape (B, C, H, W)
            Points x_t of the flow; records are in [−1, 1].
        t : Tensor of shape (B,)
            Times in [0, 1]: 0 is noise, 1 the record.
        labels : Tensor of shape (B,), int64

        Returns
        -------
        Tensor of shape (B, C, H, W)
        """
        condition = F.silu(self.time(waves(t)) + self._label(labels))
        height, width = x.shape[2:]
        right, below = -width % self.unit, -height % self.unit
        if right or below:
            x = F.pad(x, (0, right, 0, below), mode="replicate")
        maps = self.enter(F.pixel_unshuffle(x, self.patch) if self.patch > 1 else x)
        kept = []
        for block, shrink in zip(self.fall, self.shrink, strict=True):
            maps = block(maps, condition)
            kept.append(maps)
            maps = shrink(maps)
        maps = self.bottom[1](self.attention(self.bottom[0](maps, condition)), condition)
        for level in reversed(range(self.levels - 1)):
            maps = F.interpolate(self.enlarge[level](maps), scale_factor=2.0, mode="nearest")
            maps = self.rise[level](torch.cat((maps, kept[level]), dim=1), condition)
        made = self.leave(F.silu(normalised(maps)))
        if self.patch > 1:
            made = F.pixel_shuffle(made, self.patch)
        return made[:, :, :height, :width]

    def _label(self, labels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.label(
            F.one_hot(labels, self.n_classes).to(self.label.weight.dtype)
        )
        return found

    def loss(
        self, x: torch.Tensor, labels: torch.Tensor, t: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """Squared error of the velocity at x_t = (1 − t)·noise + t·x, the mean over pixels: ``(B,)``.

        It is what training minimises; times (1 − t)² it is the squared error of the record as guessed from x_t.

        Parameters
        ----------
        x, noise : Tensor of shape (B, C, H, W)
            Records in [−1, 1], and standard normal noise.
        labels : Tensor of shape (B,), int64
        t : Tensor of shape (B,)
            In [0, 1].
        """
        made = self.velocity(torch.lerp(noise, x, t[:, None, None, None]), t, labels)
        return (made.float() - (x - noise)).square().flatten(1).mean(1)

    def integrate(self, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Follow the velocity from noise at t = 0 to records at t = 1, both ``(B, C, H, W)``.

        Midpoint rule; the last step goes straight to the record that is guessed from where it starts.
        """
        x, n = noise, len(noise)
        length = 1 / self.steps
        for step in range(self.steps):
            slope = self.velocity(x, x.new_full((n,), step * length), labels)
            if step + 1 < self.steps:
                middle = x.new_full((n,), (step + 0.5) * length)
                slope = self.velocity(x + length / 2 * slope, middle, labels)
            x = x + length * slope
        return x

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Pixels ``(B, H·W·C)`` of 0 … 255, channel fastest, from normal ``z (B, H·W·C)`` in the same order."""
        noise = z.unflatten(1, self.shape).movedim(3, 1)
        noise = noise.contiguous(memory_format=torch.channels_last)
        made = self.integrate(noise, labels).clamp(-1, 1)
        return ((made + 1) * 127.5).movedim(1, 3).flatten(1)


def waves(t: torch.Tensor) -> torch.Tensor:
    """Cosines and sines of time ``(B,)`` at frequencies of ½ … 64 half-turns, ``(B, 2·16)``."""
    rates = math.pi * torch.logspace(-1, 6, FREQUENCIES, base=2, device=t.device)
    angles = t[:, None] * rates
    return torch.cat((angles.cos(), angles.sin()), dim=1)


# ---------------------------------------------------------------- training


@dataclass(frozen=True)
class TrainingSummary:
    """Mean loss over the last tenth of the steps, before averaging of weights."""

    loss: float


def train_flow(
    network: VelocityNetwork,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    steps: int,
    batch_size: int = 64,
    lr: float = 3e-3,
    average: float = 0.995,
    rng: torch.Generator,
    progress: Callable[[float], None] = lambda fraction: None,
) -> TrainingSummary:
    """Train in place by Adam; the network ends as the moving average of its weights.

    Times are from a logit-normal distribution [4]_, one in each of ``batch_size`` equal parts of it. The step rises
    over the first twentieth and falls to 0 along a cosine. On CUDA products are taken in bfloat16.

    Parameters
    ----------
    network : VelocityNetwork
        On one device with the data.
    images : Tensor of shape (N, C, H, W), float32
        In [−1, 1].
    labels : Tensor of shape (N,), int64
    steps : int
    batch_size : int, default=64
        Records a step, in passes over all in random order; fewer where there are fewer records, with several draws of
        noise for each.
    lr : float, default=3e-3
        Greatest step of Adam, with decay rates (0.9, 0.99).
    average : float, default=0.995
        Decay of the moving average; smaller during the first steps.
    rng : torch.Generator
        On the CPU; all randomness is drawn there.
    """
    device = images.device
    averaged = copy.deepcopy(network).requires_grad_(False)
    adam = torch.optim.Adam(network.parameters(), lr=lr, betas=(0.9, 0.99), fused=True)
    means: list[torch.Tensor] = list(averaged.parameters())
    weights = [p.detach() for p in network.parameters()]
    rows = _rows(len(images), batch_size, rng)
    tail: list[torch.Tensor] = []
    for step in range(steps):
        adam.param_groups[0]["lr"] = lr * _share(step, steps)
        chosen = next(rows).to(device)
        noise = torch.randn(len(chosen), *images.shape[1:], generator=rng).to(device)
        noise = noise.contiguous(memory_format=torch.channels_last)
        t = logit_normal(len(chosen), rng).to(device)
        with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
            loss = network.loss(images[chosen], labels[chosen], t, noise).mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        torch._foreach_lerp_(means, weights, 1 - min(average, (1 + step) / (10 + step)))
        if step >= steps - max(1, steps // 10):
            tail.append(loss.detach())
        progress((step + 1) / steps)
    network.load_state_dict(averaged.state_dict())
    return TrainingSummary(float(torch.stack(tail).mean()))


def _rows(n: int, size: int, rng: torch.Generator) -> Iterator[torch.Tensor]:
    """Rows ``(size,)`` of batches without end: pass after pass, cut without regard to where a pass ends."""
    rest = torch.empty(0, dtype=torch.int64)
    while True:
        while len(rest) < size:
            rest = torch.cat((rest, torch.randperm(n, generator=rng)))
        yield rest[:size]
        rest = rest[size:]


def _share(step: int, steps: int) -> float:
    """Of the greatest step: up over a twentieth, then down along a cosine."""
    rise = max(1, steps // 20)
    if step < rise:
        return (step + 1) / rise
    return 0.5 + 0.5 * math.cos(math.pi * (step - rise) / max(1, steps - rise))


def logit_normal(n: int, rng: torch.Generator) -> torch.Tensor:
    """Times ``(n,)`` in (0, 1) whose log odds are standard normal, one in each of ``n`` equal parts of it."""
    shares = (torch.randperm(n, generator=rng) + torch.rand(n, generator=rng)) / n
    return torch.special.ndtri(shares.clamp(1e-6, 1 - 1e-6)).sigmoid()
