"""Training of many small networks at once by batched matrix products.

The parameters of M networks of one shape are stacked along a first axis; one batched product then does
the work of M small ones, on the CPU and on a GPU alike. Each network keeps its own records, order of
batches, noise and early stopping; one that is done leaves the stack. A fleet of one is the ordinary
training loop, so that a network trained alone and one trained in a fleet differ by rounding only.

Networks whose numbers of batches an epoch differ are trained in different stacks, since they take
different numbers of steps; within a stack the last batch is padded and the padding has weight 0.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmark.learning.training import in_parallel

__all__ = [
    "StackedConv2d",
    "StackedLinear",
    "Trainee",
    "TrainingSummary",
    "stack",
    "stacks",
    "train_fleet",
    "unstack_",
]

# On a CPU, networks in one stack: parameters and the optimiser's moments should stay in the cache.
CPU_STACK = 8
# On a GPU, networks in one stack: bounds the memory that padded copies of the records take.
GPU_STACK = 256

Tensors = tuple[torch.Tensor, ...]
# Any network and, where noise is asked for, always noise: a loss may be more particular about them.
Loss = Callable[[Any, Tensors, Any], torch.Tensor]


@dataclass(frozen=True)
class TrainingSummary:
    """``epochs`` run, the ``best_epoch`` whose weights were kept, and its ``validation_loss``."""

    epochs: int
    best_epoch: int
    validation_loss: float


@dataclass(frozen=True, eq=False)
class Trainee:
    """A network with its records and its source of randomness.

    Parameters
    ----------
    network : nn.Module
        Of ``nn.Linear``, ``nn.Conv2d`` and layers without parameters that accept any number of leading
        axes. Trained in place.
    training, validation : tuples of Tensors
        Each of shape ``(N, …)``, N ≥ 1, on the network's device.
    generator : torch.Generator
        On the CPU; order of records and noise are drawn there.
    """

    network: nn.Module
    training: Tensors
    validation: Tensors
    generator: torch.Generator

    @property
    def device(self) -> torch.device:
        """Where it is trained."""
        return self.training[0].device


# ---------------------------------------------------------------- stacked layers


class StackedLinear(nn.Module):
    """M linear layers: ``(M, B, in) → (M, B, out)``."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = _stacked(layer.weight for layer in layers)
        self.bias = _stacked(layer.bias for layer in layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply layer i to ``x[i]``."""
        return torch.baddbmm(self.bias.unsqueeze(-2), x, self.weight.mT)


class StackedConv2d(nn.Module):
    """M convolutions as one of M groups: ``(M, B, C, H, W) → (M, B, C', H', W')``."""

    def __init__(self, layers: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        self.weight = _stacked(layer.weight for layer in layers)
        self.bias = _stacked(layer.bias for layer in layers)
        self.stride, self.padding = layers[0].stride, layers[0].padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply layer i to ``x[i]``."""
        models = len(x)
        grouped = x.transpose(0, 1).flatten(1, 2)
        answer = F.conv2d(
            grouped,
            self.weight.flatten(0, 1),
            self.bias.flatten(),
            self.stride,
            self.padding,
            groups=models,
        )
        return answer.unflatten(1, (models, -1)).transpose(0, 1)


STACKED: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.Linear: StackedLinear,
    nn.Conv2d: StackedConv2d,
}


def _stacked(parameters: Any) -> nn.Parameter:
    return nn.Parameter(torch.stack([p.detach() for p in parameters]))


def stack(networks: Sequence[nn.Module]) -> nn.Module:
    """One network that applies ``networks[i]`` to the i-th entry of its arguments' first axis.

    Names of parameters stay; each has a first axis of length M.

    Raises
    ------
    TypeError
        For layers with parameters other than ``nn.Linear`` and ``nn.Conv2d``.
    """
    together = copy.deepcopy(networks[0])
    for name, layer in networks[0].named_modules():
        if type(layer) in STACKED:
            layers = [network.get_submodule(name) for network in networks]
            replacement = STACKED[type(layer)](layers)
            if not name:
                return replacement
            parent, _, last = name.rpartition(".")
            setattr(together.get_submodule(parent), last, replacement)
        elif next(layer.parameters(recurse=False), None) is not None:
            allowed = ", ".join(kind.__name__ for kind in STACKED)
            raise TypeError(f"can stack {allowed} only. Got {type(layer).__name__} instead.")
    return together


@torch.no_grad()
def unstack_(network: nn.Module, parameters: Sequence[torch.Tensor], row: int) -> None:
    """Copy row ``row`` of stacked ``parameters``, in the network's order, into ``network``."""
    for own, stacked in zip(network.parameters(), parameters, strict=True):
        own.copy_(stacked[row])


# ---------------------------------------------------------------- training


def train_fleet(
    trainees: Sequence[Trainee],
    loss: Loss,
    *,
    noise: int,
    lr: float,
    batch_size: int,
    epochs: int,
    patience: int,
    progress: Callable[[float], None] = lambda fraction: None,
) -> list[TrainingSummary]:
    """Train all networks in place by Adam with early stopping; each keeps its best weights.

    The validation loss uses one draw of noise for all epochs, so that epochs compare. On a CPU, every
    stack runs on one thread and stacks run in parallel on as many as torch may use: no bit depends on
    their number.

    Parameters
    ----------
    trainees : sequence of Trainee
        On one device; shapes and numbers of records may differ.
    loss : callable
        ``loss(network, batch, noise) -> (M, B)``, each record's loss, where the network and the tensors
        of the batch, ``(M, B, …)``, are stacked and noise is ``(M, B, noise)`` or None.
    noise : int
        Length of the standard normal noise that a record takes; 0 for none.
    lr, batch_size, epochs, patience
        Adam's step, records a step, most epochs, epochs without progress before stopping.
    progress : callable
        Told the share of the most epochs that were run, of all networks together.

    Returns
    -------
    list of TrainingSummary
    """
    summaries: dict[int, TrainingSummary] = {}
    if not trainees:
        return []
    tell = _Progress(progress, len(trainees) * epochs)

    def run(members: list[int]) -> None:
        fleet = _Stack([trainees[i] for i in members], loss, noise, lr, batch_size, patience)
        for row, summary in fleet.train(epochs, tell):
            summaries[members[row]] = summary

    in_parallel(run, stacks(trainees, batch_size), trainees[0].device)
    return [summaries[i] for i in range(len(trainees))]


def stacks(trainees: Sequence[Trainee], batch_size: int) -> list[list[int]]:
    """Indices of the trainees that are stacked together: of one shape and number of batches."""
    groups: dict[Hashable, list[int]] = {}
    for i, trainee in enumerate(trainees):
        shapes = tuple(tuple(p.shape) for p in trainee.network.parameters())
        steps = math.ceil(len(trainee.training[0]) / batch_size)
        groups.setdefault((shapes, steps), []).append(i)
    size = CPU_STACK if trainees[0].device.type == "cpu" else GPU_STACK
    return [group[i : i + size] for group in groups.values() for i in range(0, len(group), size)]


class _Progress:
    """Adds up epochs of many networks."""

    def __init__(self, progress: Callable[[float], None], total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def add(self, epochs: int) -> None:
        self._done += epochs
        self._progress(min(self._done / self._total, 1.0))


class _Stack:
    """Networks of one shape and number of batches, trained together."""

    def __init__(
        self,
        trainees: Sequence[Trainee],
        loss: Loss,
        noise: int,
        lr: float,
        batch_size: int,
        patience: int,
    ) -> None:
        self.trainees = list(trainees)
        self.rows = list(range(len(trainees)))
        self.loss = loss
        self.noise = noise
        self.batch_size = batch_size
        self.patience = patience
        self.device = trainees[0].device
        self.network = stack([t.network for t in trainees])
        self.parameters = list(self.network.parameters())
        self.optimiser = torch.optim.Adam(self.parameters, lr=lr, fused=True)
        self.data = _pad([t.training for t in trainees])
        self.sizes = [len(t.training[0]) for t in trainees]
        self.checks = _pad([t.validation for t in trainees])
        self.check_weights = _weights([len(t.validation[0]) for t in trainees], self.device)
        self.check_noise = self._draw_noise([len(t.validation[0]) for t in trainees])
        self.best = [p.detach().clone() for p in self.parameters]
        self.best_loss = torch.full((len(trainees),), math.inf, dtype=torch.float64)
        self.best_epoch = torch.zeros(len(trainees), dtype=torch.int64)

    def train(self, epochs: int, tell: _Progress) -> list[tuple[int, TrainingSummary]]:
        """Row and summary of every network, in the order in which they were done."""
        done: list[tuple[int, TrainingSummary]] = []
        for epoch in range(1, epochs + 1):
            self._train_epoch()
            self._note(self._validate(), epoch)
            tell.add(len(self.rows))
            stop = (epoch - self.best_epoch >= self.patience) | (epoch == epochs)
            if stop.any():
                tell.add(int(stop.sum()) * (epochs - epoch))
                done += [self._finish(i, epoch) for i in stop.nonzero().flatten().tolist()]
                self._keep((~stop).nonzero().flatten())
                if not self.rows:
                    break
        return done

    # ------------------------------------------------ one epoch

    def _train_epoch(self) -> None:
        n, size = max(self.sizes), self.batch_size
        order, noise = self._draw_order(n), self._draw_noise(self.sizes)
        for start in range(0, n, size):
            part = slice(start, min(start + size, n))
            batch = self.data if order is None else self._gather(order[:, part])
            losses = self.loss(self.network, batch, None if noise is None else noise[:, part])
            weights = _weights([min(s - start, size) for s in self.sizes], self.device)
            self.optimiser.zero_grad()
            # Networks share no parameter: the gradient of the sum is the gradient of each.
            _mean(losses, weights).sum().backward()
            self.optimiser.step()

    def _gather(self, index: torch.Tensor) -> Tensors:
        rows = torch.arange(len(index), device=self.device)[:, None]
        return tuple(x[rows, index] for x in self.data)

    def _draw_order(self, n: int) -> torch.Tensor | None:
        """A random order for each network; None where an epoch is one batch, which has no order."""
        if n <= self.batch_size:
            return None
        order = torch.zeros(len(self.rows), n, dtype=torch.int64)
        for i, (row, size) in enumerate(zip(self.rows, self.sizes, strict=True)):
            order[i, :size] = torch.randperm(size, generator=self.trainees[row].generator)
        return order.to(self.device)

    def _draw_noise(self, sizes: Sequence[int]) -> torch.Tensor | None:
        if self.noise == 0:
            return None
        noise = torch.zeros(len(self.rows), max(sizes), self.noise)
        for i, (row, size) in enumerate(zip(self.rows, sizes, strict=True)):
            generator = self.trainees[row].generator
            noise[i, :size] = torch.randn(size, self.noise, generator=generator)
        return noise.to(self.device)

    @torch.no_grad()
    def _validate(self) -> torch.Tensor:
        losses = self.loss(self.network, self.checks, self.check_noise)
        return _mean(losses, self.check_weights).cpu().double()

    # ------------------------------------------------ early stopping

    @torch.no_grad()
    def _note(self, losses: torch.Tensor, epoch: int) -> None:
        """Keep the parameters of the networks that got better; a loss that is NaN is no progress."""
        better = losses < self.best_loss
        self.best_loss = torch.where(better, losses, self.best_loss)
        self.best_epoch[better] = epoch
        if better.all():
            for kept, now in zip(self.best, self.parameters, strict=True):
                kept.copy_(now)
        else:
            for i in better.nonzero().flatten().tolist():
                for kept, now in zip(self.best, self.parameters, strict=True):
                    kept[i].copy_(now[i])

    def _finish(self, i: int, epoch: int) -> tuple[int, TrainingSummary]:
        row = self.rows[i]
        unstack_(self.trainees[row].network, self.best, i)
        summary = TrainingSummary(epoch, int(self.best_epoch[i]), float(self.best_loss[i]))
        return row, summary

    @torch.no_grad()
    def _keep(self, rows: torch.Tensor) -> None:
        """Drop all other networks: their parameters, moments, records and noise."""
        here = rows.to(self.device)
        self.rows = [self.rows[i] for i in rows.tolist()]
        self.sizes = [self.sizes[i] for i in rows.tolist()]
        self.best_loss, self.best_epoch = self.best_loss[rows], self.best_epoch[rows]
        if not self.rows:
            return
        for parameter in self.parameters:
            state = self.optimiser.state[parameter]
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = state[name][here]
            parameter.data = parameter.data[here]
            parameter.grad = None
        self.best = [kept[here] for kept in self.best]
        self.data = tuple(x[here, : max(self.sizes)] for x in self.data)
        self.checks = tuple(x[here] for x in self.checks)
        if self.check_weights is not None:
            self.check_weights = self.check_weights[here]
        if self.check_noise is not None:
            self.check_noise = self.check_noise[here]


# ---------------------------------------------------------------- padding


def _pad(sets: Sequence[Tensors]) -> Tensors:
    """Stack tensors ``(Nᵢ, …)`` to ``(M, max N, …)``, padded by zeros."""
    return tuple(
        nn.utils.rnn.pad_sequence(list(tensors), batch_first=True)
        for tensors in zip(*sets, strict=True)
    )


def _weights(sizes: Sequence[int], device: torch.device) -> torch.Tensor | None:
    """``(M, max size)`` with 1 for records and 0 for padding; None where there is no padding."""
    if min(sizes) == max(sizes):
        return None
    counts = torch.tensor(sizes, device=device)
    return (torch.arange(max(sizes), device=device) < counts[:, None]).float()


def _mean(losses: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Mean over records, ``(M, B) → (M,)``; padding does not count."""
    if weights is None:
        return losses.mean(dim=-1)
    return (losses * weights).sum(dim=-1) / weights.sum(dim=-1)
