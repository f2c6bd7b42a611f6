"""Inversion of a generator: the latent code whose picture is nearest to a given record.

Codes of all targets are optimised together by Adam. Every target has its own loss and every number of a code its own
moments, so that a target's answer does not depend on the others in its batch. Random starts are drawn once and shared
by all targets, for the same reason.

A generator is any module of the contract of :attr:`benchmark.contracts.Release.weights`: ``latent``, ``n_classes`` and
``forward(z, labels) -> (B, D)`` give the space *z*; with ``w_dim``, ``map(z, labels)`` and ``synthesise(w)`` there is
also the space *w*, and *w+*, one code for each layer, where the generator has ``w_layers`` and ``synthesise`` takes
``(B, w_layers, w_dim)``.

References
----------
.. [1] Zhu, Krähenbühl, Shechtman & Efros, "Generative visual manipulation on the natural image manifold", ECCV 2016.
.. [2] Abdal, Qin & Wonka, "Image2StyleGAN: how to embed images into the StyleGAN latent space?", ICCV 2019 (W+).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from benchmark.contracts import LeakboardError

__all__ = ["Inversion", "LatentStatistics", "OnImages", "invert", "latent_statistics", "spaces"]

Space = Literal["z", "w", "w+"]
Start = Literal["class mean", "nearest", "random", "encoder"]
STARTS = ("class mean", "nearest", "random", "encoder")

# Added to the covariance of w before it is inverted, in shares of its mean variance: a mapping network may leave
# directions without any spread, along which a code would be forbidden to move.
RIDGE = 1e-2


@dataclass(frozen=True, eq=False)
class Inversion:
    """The best codes found, one for each of ``N`` targets; tensors on the CPU, without gradient.

    Parameters
    ----------
    space : {"z", "w", "w+"}
    codes : Tensor of shape (N, L) or (N, layers, L), float32
    reconstructions : Tensor of shape (N, D), float32
        What the generator makes of them, in the records' units.
    errors : Tensor of shape (N,)
        Mean squared difference from the target, in squares of ``unit``.
    perceptual_errors : Tensor of shape (N,)
        Mean squared difference of the perceptual features; zeros without such features.
    priors : Tensor of shape (N,)
        Mean squared standardised code: about 1 for codes as the generator draws them.
    losses : Tensor of shape (N,)
        The weighted sum of the three.
    restart_losses : Tensor of shape (restarts, N)
        The best loss of each restart; infinite where it diverged.
    starts : Tensor of shape (N,)
        Loss at the best of the target's starts, before any step.
    """

    space: Space
    codes: torch.Tensor
    reconstructions: torch.Tensor
    errors: torch.Tensor
    perceptual_errors: torch.Tensor
    priors: torch.Tensor
    losses: torch.Tensor
    restart_losses: torch.Tensor
    starts: torch.Tensor


@dataclass(frozen=True, eq=False)
class LatentStatistics:
    """Where a generator's own codes lie.

    Parameters
    ----------
    mean : Tensor of shape (C, L)
        Mean code of each class.
    deviation : float
        Root mean square of the codes' distance from their class mean, per dimension: the unit of step sizes.
    whitening : Tensor of shape (L, L)
        ``(w − mean) @ whitening`` has about the identity as its covariance within a class.
    codes : Tensor of shape (C, S, L)
        The draws behind it; the same z for every class.
    """

    mean: torch.Tensor
    deviation: float
    whitening: torch.Tensor
    codes: torch.Tensor

    def standardise(self, codes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Whitened offsets from the class mean, of codes ``(B, L)`` or ``(B, layers, L)``."""
        mean = self.mean[labels]
        return (codes - (mean if codes.ndim == 2 else mean[:, None])) @ self.whitening


class OnImages(nn.Module):
    """A network of images as a function of the vectors that generators put out.

    Parameters
    ----------
    network : nn.Module
        Takes images ``(B, C, H, W)`` in [0, 1].
    shape : (height, width, channels)
    """

    def __init__(self, network: nn.Module, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.network = network
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The network's answer for pixels ``x (B, H·W·C)`` of 0 … 255, channel fastest."""
        return self.network(x.unflatten(-1, self.shape).movedim(-1, -3) / 255)


def spaces(generator: nn.Module) -> tuple[Space, ...]:
    """The latent spaces of a generator, the best for inversion first: of w and z, or z alone; w+ is the last."""
    if not (hasattr(generator, "map") and hasattr(generator, "synthesise")):
        return ("z",)
    return ("w", "z", "w+") if hasattr(generator, "w_layers") else ("w", "z")


@torch.no_grad()
def latent_statistics(
    generator: nn.Module,
    space: Space,
    *,
    samples: int = 512,
    rng: torch.Generator,
    device: str | torch.device | None = None,
) -> LatentStatistics:
    """Class means and common within-class covariance of codes drawn as the generator draws them.

    In z they are known: mean 0, covariance I. In w they are estimated from ``samples`` draws a class, and the
    covariance, common to all classes, is made invertible by a ridge of 1 % of its mean variance.

    Parameters
    ----------
    generator : nn.Module
    space : {"z", "w", "w+"}
        The statistics of w+ are those of w, for every layer alike.
    samples : int, default=512
        Draws for each class, ≥ 2.
    rng : torch.Generator
        On the CPU.
    device : str or torch.device, optional
        Where the generator is, by default where its parameters are.
    """
    device = _device_of(generator) if device is None else device
    latent, n_classes = _sizes(generator)
    z = torch.randn(samples, latent, generator=rng).to(device)
    if space == "z":
        mean = torch.zeros(n_classes, latent, device=device)
        return LatentStatistics(
            mean, 1.0, torch.eye(latent, device=device), z.expand(n_classes, -1, -1)
        )
    _check_space(generator, space)
    labels = torch.arange(n_classes, device=device)
    mapping: Any = generator
    with frozen(generator):
        codes = torch.stack([mapping.map(z, label.expand(samples)) for label in labels])
    mean = codes.mean(dim=1)
    offsets = (codes - mean[:, None]).flatten(0, 1).double()
    covariance = offsets.T @ offsets / (n_classes * (samples - 1))
    variance = covariance.diagonal().mean().clamp(min=1e-12)
    eye = torch.eye(len(covariance), device=device, dtype=torch.float64)
    factor = torch.linalg.cholesky(covariance + RIDGE * variance * eye)
    whitening = torch.linalg.solve_triangular(factor, eye, upper=False).T
    return LatentStatistics(mean, float(variance.sqrt()), whitening.to(mean.dtype), codes)


def invert(
    generator: nn.Module,
    targets: np.ndarray | torch.Tensor,
    labels: np.ndarray | torch.Tensor,
    *,
    space: Space | None = None,
    steps: int = 100,
    lr: float = 0.1,
    decay: bool = True,
    restarts: int = 1,
    pixel_weight: float = 1.0,
    unit: float | torch.Tensor = 255.0,
    perceptual: Callable[[torch.Tensor], torch.Tensor] | None = None,
    perceptual_weight: float = 0.0,
    prior_weight: float = 0.0,
    init: Start | torch.Tensor = "class mean",
    samples: int = 512,
    statistics: LatentStatistics | None = None,
    batch: int = 256,
    rng: torch.Generator,
    device: str | torch.device | None = None,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Inversion:
    """Find codes whose pictures are nearest to the targets.

    Minimises, for each target on its own,

    ``pixel_weight · mean((G(c) − x)² / unit²) + perceptual_weight · mean((P(G(c)) − P(x))²) + prior_weight · prior(c)``

    where ``prior`` is ‖z‖² / L in z, and in w the squared Mahalanobis distance from the class mean over L. The best
    iterate is kept, and of several restarts the best. Means, not sums: weights keep their meaning at another size.

    Parameters
    ----------
    generator : nn.Module
        Left as it was; run in evaluation mode.
    targets : array of shape (N, D) or (N, H, W, C)
        Records in the generator's units, of any number type.
    labels : array of shape (N,), int64
        Class under which each target is sought.
    space : {"w", "z", "w+"}, optional
        By default w where the generator has it, otherwise z.
    steps : int, default=100
        Steps of Adam; 0 evaluates the starts.
    lr : float, default=0.1
        First step size, in standard deviations of the codes within a class.
    decay : bool, default=True
        Let the step size fall to 0 along half a cosine; otherwise it stays.
    restarts : int, default=1
        Starts of each target.
    pixel_weight, perceptual_weight, prior_weight : float ≥ 0
    unit : float or Tensor of shape (D,), default=255
        What differences are divided by: 255 for pixels; for features, say, their standard deviations.
    perceptual : callable, optional
        Features ``(B, …)`` of vectors ``(B, D)``, differentiable; see :class:`OnImages` for networks of images. A
        module is run as it is: put it into evaluation mode.
    init : {"class mean", "nearest", "random", "encoder"} or Tensor
        The first start: the mean code of the class; the nearest, in pixels, of ``samples`` draws of the class; a draw;
        or the generator's own encoder (space z). Further restarts take draws of the class (of "nearest" the next
        nearest, of "encoder" draws around the encoder's mean). A tensor of codes ``(N, L)`` or ``(restarts, N, L)``
        is taken as it is.
    samples : int, default=512
        Draws for each class behind statistics and starts.
    statistics : LatentStatistics, optional
        Those of this space, where they are at hand already.
    batch : int, default=256
        Codes optimised at once, which bounds memory.
    rng : torch.Generator
        On the CPU; all randomness is drawn there.
    device : str or torch.device, optional
        By default where the generator's parameters are.
    progress : callable
        ``progress(fraction)``.

    Raises
    ------
    LeakboardError
        For a space or a start that the generator does not have, for targets of another size, or if no start of some
        target gave a finite loss.
    """
    space = spaces(generator)[0] if space is None else space
    _check_space(generator, space)
    device = torch.device(_device_of(generator) if device is None else device)
    x = torch.as_tensor(targets).flatten(1).to(torch.float32)
    y = torch.as_tensor(labels)
    if statistics is None:
        statistics = latent_statistics(generator, space, samples=samples, rng=rng, device=device)
    objective = _Objective(
        generator,
        space,
        statistics,
        pixel_weight,
        unit,
        perceptual,
        perceptual_weight,
        prior_weight,
    )
    with frozen(generator):
        _check_targets(objective, x, y, device)
        start = _starts(objective, x, y, init, restarts, batch, rng, device)
        codes, losses, first = _search(
            objective, x, y, start, steps, lr, decay, batch, device, progress
        )
        return _answer(objective, x, y, codes, losses, first, batch, device)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no gradients for the parameters, within the block."""
    training = {name: part.training for name, part in module.named_modules()}
    wanted = {name: value.requires_grad for name, value in module.named_parameters()}
    module.eval().requires_grad_(False)
    try:
        yield
    finally:
        for name, part in module.named_modules():
            part.training = training[name]
        for name, value in module.named_parameters():
            value.requires_grad_(wanted[name])


# ---------------------------------------------------------------- the objective


@dataclass(frozen=True)
class _Objective:
    """The three terms of each code's own loss."""

    generator: nn.Module
    space: Space
    statistics: LatentStatistics
    pixel_weight: float
    unit: float | torch.Tensor
    perceptual: Callable[[torch.Tensor], torch.Tensor] | None
    perceptual_weight: float
    prior_weight: float

    def for_layers(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes ``(…, L)`` as the space wants them: in w+ the same for every layer."""
        if self.space != "w+":
            return codes
        module: Any = self.generator
        return codes[..., None, :].expand(*codes.shape[:-1], int(module.w_layers), -1)

    def picture(self, codes: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Records ``(B, D)`` of codes."""
        module: Any = self.generator
        made: torch.Tensor = module(codes, y) if self.space == "z" else module.synthesise(codes)
        return made

    def pixels(self, made: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Mean squared difference ``(B,)``."""
        unit = self.unit.to(x) if isinstance(self.unit, torch.Tensor) else self.unit
        return ((made - x) / unit).square().mean(dim=1)

    def prior(self, codes: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Mean squared standardised code ``(B,)``."""
        return self.statistics.standardise(codes, y).square().flatten(1).mean(dim=1)

    def features(self, x: torch.Tensor) -> torch.Tensor | None:
        """Perceptual features ``(B, F)`` of records, None where they do not count."""
        if self.perceptual is None or self.perceptual_weight == 0:
            return None
        return self.perceptual(x).flatten(1)

    def terms(
        self, codes: torch.Tensor, x: torch.Tensor, y: torch.Tensor, wanted: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pixel, perceptual and prior term ``(B,)`` each, unweighted, and the records ``(B, D)``."""
        made = self.picture(codes, y)
        seen = torch.zeros(len(x), device=x.device)
        if wanted is not None:
            features = self.features(made)
            assert features is not None
            seen = (features - wanted).square().mean(dim=1)
        return self.pixels(made, x), seen, self.prior(codes, y), made

    def total(self, pixels: torch.Tensor, seen: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        """The weighted sum ``(B,)``."""
        return (
            self.pixel_weight * pixels + self.perceptual_weight * seen + self.prior_weight * prior
        )


# ---------------------------------------------------------------- the search


def _search(
    objective: _Objective,
    x: torch.Tensor,
    y: torch.Tensor,
    start: torch.Tensor,
    steps: int,
    lr: float,
    decay: bool,
    batch: int,
    device: torch.device,
    progress: Callable[[float], None],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Best codes ``(R, N, …)``, their losses and those of the starts ``(R, N)``, on the CPU."""
    restarts, n = start.shape[:2]
    target = torch.arange(n).repeat(restarts)
    rows, best = start.flatten(0, 1), torch.empty_like(start).flatten(0, 1)
    losses, first = torch.empty(len(rows)), torch.empty(len(rows))
    chunks = torch.arange(len(rows)).split(batch)
    for i, chunk in enumerate(chunks):
        found = _descend(
            objective,
            x[target[chunk]].to(device),
            y[target[chunk]].to(device),
            rows[chunk].to(device),
            lr * objective.statistics.deviation,
            steps,
            decay,
            lambda fraction, i=i: progress((i + fraction) / len(chunks)),  # type: ignore[misc]
        )
        best[chunk], losses[chunk], first[chunk] = (part.cpu() for part in found)
    return best.view_as(start), losses.view(restarts, n), first.view(restarts, n)


def _descend(
    objective: _Objective,
    x: torch.Tensor,
    y: torch.Tensor,
    codes: torch.Tensor,
    lr: float,
    steps: int,
    decay: bool,
    progress: Callable[[float], None],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Best codes of one batch, their losses and those of the starts."""
    with torch.no_grad():
        wanted = objective.features(x)
    codes = codes.clone().requires_grad_(True)
    adam = torch.optim.Adam([codes], lr=lr)
    best, least = codes.detach().clone(), torch.full((len(x),), math.inf, device=x.device)
    first = least
    for step in range(steps + 1):
        if decay:
            adam.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / max(steps, 1))) / 2
        with torch.set_grad_enabled(step < steps):
            pixels, seen, prior, _ = objective.terms(codes, x, y, wanted)
            loss = objective.total(pixels, seen, prior)
        with torch.no_grad():
            better = loss < least  # false for NaN
            best[better], least = codes[better], torch.where(better, loss, least)
        if step == 0:
            first = least.clone()
        if step < steps:
            # The sum keeps every row's gradient its own; only the codes get one.
            (codes.grad,) = torch.autograd.grad(loss.sum(), [codes])
            adam.step()
        progress((step + 1) / (steps + 1))
    return best, least, first


@torch.no_grad()
def _answer(
    objective: _Objective,
    x: torch.Tensor,
    y: torch.Tensor,
    codes: torch.Tensor,
    losses: torch.Tensor,
    first: torch.Tensor,
    batch: int,
    device: torch.device,
) -> Inversion:
    """The best restart of each target, with its terms."""
    chosen = losses.argmin(dim=0)
    if not torch.isfinite(losses.amin(dim=0)).all():
        bad = int((~torch.isfinite(losses.amin(dim=0))).sum())
        raise LeakboardError(
            f"inversion found no finite loss for {bad} of {len(x)} targets. "
            "Check the generator's weights, or try a smaller lr."
        )
    codes = codes[chosen, torch.arange(len(x))]
    parts: list[tuple[torch.Tensor, ...]] = []
    for rows in torch.arange(len(x)).split(batch):
        some = x[rows].to(device)
        wanted = objective.features(some)
        found = objective.terms(codes[rows].to(device), some, y[rows].to(device), wanted)
        parts.append(tuple(part.cpu() for part in found))
    pixels, seen, prior, made = (torch.cat(column) for column in zip(*parts, strict=True))
    total = objective.total(pixels, seen, prior)
    return Inversion(
        objective.space, codes, made, pixels, seen, prior, total, losses, first.amin(dim=0)
    )


# ---------------------------------------------------------------- starts


def _starts(
    objective: _Objective,
    x: torch.Tensor,
    y: torch.Tensor,
    init: Start | torch.Tensor,
    restarts: int,
    batch: int,
    rng: torch.Generator,
    device: torch.device,
) -> torch.Tensor:
    """Codes ``(restarts, N, …)`` on the CPU; a target's own do not depend on the other targets."""
    if isinstance(init, torch.Tensor):
        start = init.detach().float().cpu()
        alone = 3 if objective.space == "w+" else 2
        return start.expand(restarts, *start.shape) if start.ndim == alone else start
    draws, mean = objective.statistics.codes.cpu(), objective.statistics.mean.cpu()
    if restarts > draws.shape[1]:
        raise LeakboardError(
            f"restarts must be at most samples, {draws.shape[1]}. Got {restarts} instead."
        )
    if init == "encoder":
        start = _encoded(objective, x, y, restarts, batch, rng, device)
    elif init == "nearest":
        ranks = _nearest_draws(objective, x, y, restarts, batch, device)
        start = draws[y[None], ranks]
    elif init == "random":
        start = draws[y, :restarts].movedim(1, 0)
    elif init == "class mean":
        start = torch.cat((mean[y][None], draws[y, : restarts - 1].movedim(1, 0)))
    else:
        raise LeakboardError(f"init must be one of {', '.join(STARTS)}, or codes. Got {init!r}.")
    return objective.for_layers(start).contiguous()


@torch.no_grad()
def _nearest_draws(
    objective: _Objective,
    x: torch.Tensor,
    y: torch.Tensor,
    restarts: int,
    batch: int,
    device: torch.device,
) -> torch.Tensor:
    """Numbers ``(restarts, N)`` of the draws of the target's class whose pictures are nearest to it."""
    ranks = torch.empty(restarts, len(x), dtype=torch.int64)
    unit = objective.unit.to(device) if isinstance(objective.unit, torch.Tensor) else objective.unit
    for label in torch.unique(y).tolist():
        draws = objective.for_layers(objective.statistics.codes[label].to(device))
        pictures = torch.cat(
            [
                objective.picture(c, torch.full((len(c),), label, device=device))
                for c in draws.split(batch)
            ]
        )
        rows = torch.nonzero(y == label)[:, 0]
        for part in rows.split(batch):
            distance = torch.cdist(x[part].to(device) / unit, pictures / unit)
            ranks[:, part] = distance.topk(restarts, largest=False).indices.T.cpu()
    return ranks


@torch.no_grad()
def _encoded(
    objective: _Objective,
    x: torch.Tensor,
    y: torch.Tensor,
    restarts: int,
    batch: int,
    rng: torch.Generator,
    device: torch.device,
) -> torch.Tensor:
    """The encoder's mean, then draws around it with noise that all targets share."""
    encoder: Any = objective.generator
    if objective.space != "z" or not hasattr(encoder, "encode"):
        raise LeakboardError(
            "init 'encoder' needs a generator with encode(x, labels) and the space z. "
            f"Got {type(encoder).__name__} and {objective.space!r}; use init='class mean'."
        )
    coded = [
        encoder.encode(a.to(device), b.to(device))
        for a, b in zip(x.split(batch), y.split(batch), strict=True)
    ]
    mean, log_std = (torch.cat(column).cpu() for column in zip(*coded, strict=True))
    noise = torch.randn(restarts, 1, mean.shape[1], generator=rng)
    noise[0] = 0
    return mean + noise * log_std.exp()


# ---------------------------------------------------------------- checks


def _device_of(generator: nn.Module) -> torch.device:
    for tensor in (*generator.parameters(), *generator.buffers()):
        return tensor.device
    return torch.device("cpu")


def _sizes(generator: nn.Module) -> tuple[int, int]:
    module: Any = generator
    return int(module.latent), int(module.n_classes)


def _check_space(generator: nn.Module, space: str) -> None:
    if space not in spaces(generator):
        raise LeakboardError(
            f"space must be one of {', '.join(spaces(generator))} for a {type(generator).__name__}. "
            f"Got {space!r} instead."
        )


@torch.no_grad()
def _check_targets(
    objective: _Objective, x: torch.Tensor, y: torch.Tensor, device: torch.device
) -> None:
    n_classes = _sizes(objective.generator)[1]
    if y.shape != (len(x),) or (len(y) and not (int(y.min()) >= 0 and int(y.max()) < n_classes)):
        raise LeakboardError(
            f"labels must be of shape ({len(x)},) and in range({n_classes}). "
            f"Got shape {tuple(y.shape)} with {torch.unique(y).tolist()}."
        )
    code = objective.for_layers(objective.statistics.codes[0, :1].to(device))
    made = objective.picture(code, torch.zeros(1, dtype=torch.int64, device=device))
    if made.shape[1:] != x.shape[1:]:
        raise LeakboardError(
            f"targets must have {made.shape[1]} values, as the generator's records. Got {x.shape[1]}."
        )
