"""Reconstruction of training batches from the gradients that federated participants share.

A server sees, from each participant, the gradient of the loss on its batch (FedSGD), or the sum of the gradients along
several local steps (FedAvg: the update divided by the local learning rate). It seeks the batch that gives it:
in closed form (a linear layer behind the input), by L-BFGS on the squared distance of gradients with the labels
optimised too (DLG) or inferred before (iDLG), or by signed Adam on their cosine distance with total variation
(Inverting Gradients). All participants and restarts are attacked at once: gradients of gradients come from
``torch.func`` with ``vmap`` over them, on one path for CPU and GPU.

**Batch normalisation** is in evaluation mode, as in nearly all published figures, unless ``Victim.make`` is told to use
the statistics of the batch itself. **Local steps** take the participant's whole batch each.

References
----------
.. [1] Zhu, Liu & Han (2019). Deep leakage from gradients. NeurIPS (DLG).
.. [2] Zhao, Mopuri & Bilen (2020). iDLG: Improved deep leakage from gradients. arXiv:2001.02610.
.. [3] Geiping, Bauermeister, Dröge & Moeller (2020). Inverting gradients. NeurIPS.
.. [4] Yin et al. (2021). See through gradients: image batch recovery via GradInversion. CVPR.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call, grad, replace_all_batch_norm_modules_, vmap

from attacks.gradient_matching.lbfgs import minimise
from benchmark.learning.training import in_parallel

__all__ = [
    "LABEL_STRATEGIES",
    "Recovered",
    "Shared",
    "Victim",
    "assign",
    "closed_form",
    "infer_labels",
    "label_accuracy",
    "match_cosine",
    "match_squared",
    "total_variation",
]

LABEL_STRATEGIES = ("auto", "sign", "counts", "minima")

Strategy = Literal["auto", "sign", "counts", "minima"]
Shared = dict[str, torch.Tensor]
"""What T participants shared: by name of the parameter, ``(T, …)``."""

# Bytes of gradients held at once, which bounds memory; each copy of a problem's gradient is counted eight times.
_MEMORY = 512 << 20
_COPIES = 8
# On a CPU parts are no larger than what makes the interpreter's share of the time small, and run side by side: by
# numbers in the gradients, times records in a batch, that make up a part, and by batches, at least.
_CPU_SIZE = 1_600_000
_FEW = 16


@dataclass(frozen=True, eq=False)
class Victim:
    """The model under training, as server and participants know it, and what participants do with it.

    Parameters
    ----------
    network : nn.Module
        From inputs ``(B, …)`` to logits ``(B, C)``; its last linear layer gives the logits. In evaluation mode.
    parameters : dict of str to Tensor
        Detached. With ``stacked`` each has a first axis of T: one model for each participant.
    local_steps : int
        1 for FedSGD.
    local_lr : float
        Of the participants' SGD; only matters with several steps.
    stacked : bool
    """

    network: nn.Module
    parameters: dict[str, torch.Tensor]
    local_steps: int = 1
    local_lr: float = 0.1
    stacked: bool = False

    @classmethod
    def make(
        cls,
        network: nn.Module,
        *,
        local_steps: int = 1,
        local_lr: float = 0.1,
        batch_norm: Literal["eval", "batch"] = "eval",
    ) -> Victim:
        """The victim with the network's present parameters; the network itself is left alone.

        ``batch_norm="batch"`` normalises by the statistics of the batch, as participants in training mode do.
        """
        network = copy.deepcopy(network)
        if batch_norm == "batch":
            network = replace_all_batch_norm_modules_(network)
        network.train(batch_norm == "batch").requires_grad_(False)
        parameters = {name: p.detach() for name, p in network.named_parameters()}
        return cls(network, parameters, local_steps, local_lr)

    @property
    def head(self) -> tuple[str, str | None]:
        """Names of the weight and the bias of the last linear layer."""
        names = [n for n, m in self.network.named_modules() if isinstance(m, nn.Linear)]
        if not names:
            raise ValueError("the network has no linear layer, whose gradient tells the labels.")
        prefix = f"{names[-1]}." if names[-1] else ""
        bias = f"{prefix}bias"
        return f"{prefix}weight", bias if bias in self.parameters else None

    @property
    def n_classes(self) -> int:
        """Number of logits."""
        return int(self.parameters[self.head[0]].shape[-2])

    @property
    def size(self) -> int:
        """Number of parameters of one model."""
        total = sum(p.numel() for p in self.parameters.values())
        first = next(iter(self.parameters.values()))
        return total // len(first) if self.stacked else total

    def take(self, rows: torch.Tensor) -> Victim:
        """The victim of participants ``rows`` alone: itself, unless each participant has a model of its own."""
        if not self.stacked:
            return self
        return replace(self, parameters={name: p[rows] for name, p in self.parameters.items()})

    def share(self, x: torch.Tensor, y: torch.Tensor) -> Shared:
        """What participants share; differentiable in ``x`` and ``y``.

        Parameters
        ----------
        x : Tensor of shape (T, b, …)
            Batches.
        y : Tensor of shape (T, b, C)
            Class probabilities.
        """
        shared: Shared = vmap(self._share, in_dims=(0 if self.stacked else None, 0, 0))(
            self.parameters, x, y
        )
        return shared

    def _loss(
        self, parameters: Mapping[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor
    ) -> torch.Tensor:
        logits = functional_call(self.network, dict(parameters), (x,))
        return -(y * torch.log_softmax(logits, dim=-1)).sum(-1).mean()

    def _share(
        self, parameters: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor
    ) -> Shared:
        """One participant's gradient, or the sum of gradients along its local steps."""
        gradient = grad(self._loss)
        total: Shared = gradient(parameters, x, y)
        step = total
        for _ in range(self.local_steps - 1):
            parameters = {n: p - self.local_lr * step[n] for n, p in parameters.items()}
            step = gradient(parameters, x, y)
            total = {n: total[n] + step[n] for n in total}
        return total


@dataclass(frozen=True, eq=False)
class Recovered:
    """The best reconstruction of each of T batches; tensors on the CPU.

    Parameters
    ----------
    x : Tensor of shape (T, b, …)
    labels : Tensor of shape (T, b), int64
        The labels with which they were matched.
    losses : Tensor of shape (T,)
        The matching loss (without priors) reached, relative to the gradient's own size: 0 for the same gradient, about
        1 for nothing found.
    restarts : Tensor of shape (T,), int64
        Starts that were tried.
    diverged : Tensor of shape (T,), bool
        Whether every start diverged.
    divergence_rate : float
        Share of all starts that diverged.
    """

    x: torch.Tensor
    labels: torch.Tensor
    losses: torch.Tensor
    restarts: torch.Tensor
    diverged: torch.Tensor
    divergence_rate: float

    @classmethod
    def joined(cls, parts: Sequence[Recovered]) -> Recovered:
        """Several as one; batches must be of one size."""
        names = ("x", "labels", "losses", "restarts", "diverged")
        tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        starts = [float(part.restarts.sum()) for part in parts]
        rates = [part.divergence_rate for part in parts]
        return cls(**tensors, divergence_rate=float(np.average(rates, weights=starts)))


# ---------------------------------------------------------------- labels


def infer_labels(
    victim: Victim,
    shared: Shared,
    batch_size: int,
    strategy: Strategy = "auto",
    prior: torch.Tensor | None = None,
) -> torch.Tensor:
    """Labels of each batch from the gradient of the last layer, ``(T, b) int64``, ascending in a batch.

    Parameters
    ----------
    victim : Victim
    shared : Shared
    batch_size : int
    strategy : {"auto", "sign", "counts", "minima"}
        ``sign`` [2]_, batches of one: the class whose bias gradient ``p_c − [c = y]`` is the lowest, the only negative
        one. ``counts``: b·(p̄_c − g_c) is the number of records of class c, where p̄ is the mean prediction, taken to be
        ``prior``; the b labels are handed out one at a time to the class with the most left. ``minima`` [4]_: the b
        classes whose row of the weight gradient has the lowest entry, for inputs of the layer that are not negative;
        each class once. ``auto``: sign for one record, counts for more. Without a bias, sums over the rows of the
        weight gradient stand in for its gradient.
    prior : Tensor of shape (C,), optional
        Mean predicted probabilities on inputs such as the participants'; 1/C by default.

    Raises
    ------
    ValueError
        For ``sign`` with several records a batch, or ``minima`` with more records than classes.
    """
    weight, bias = victim.head
    rows = shared[weight]
    signal = rows.sum(-1) if bias is None else shared[bias]
    signal = signal / victim.local_steps
    n_classes = signal.shape[-1]
    if strategy == "auto":
        strategy = "sign" if batch_size == 1 else "counts"
    if strategy == "sign":
        if batch_size != 1:
            raise ValueError(
                f"labels by sign are for batches of one record. Got {batch_size}; use 'counts'."
            )
        return signal.argmin(-1, keepdim=True)
    if strategy == "minima":
        if batch_size > n_classes:
            raise ValueError(
                f"labels by minima are for at most one record a class, {n_classes} here. "
                f"Got {batch_size} records; use 'counts'."
            )
        lowest = rows.amin(-1).argsort(dim=-1)[:, :batch_size]
        return lowest.sort(dim=-1).values
    expected = torch.full((n_classes,), 1 / n_classes) if prior is None else prior
    left = batch_size * (expected.to(signal) - signal)
    labels = []
    for _ in range(batch_size):
        labels.append(left.argmax(-1))
        left = left - nn.functional.one_hot(labels[-1], n_classes)
    return torch.stack(labels, dim=-1).sort(dim=-1).values


def label_accuracy(inferred: torch.Tensor, true: torch.Tensor, n_classes: int) -> float:
    """Share of the labels ``(T, b)`` that are right, in any order within a batch."""
    one_hot = nn.functional.one_hot
    counts = (one_hot(labels.cpu(), n_classes).sum(1) for labels in (inferred, true))
    return float(torch.minimum(*counts).sum() / true.numel())


# ---------------------------------------------------------------- closed form


def closed_form(victim: Victim, shared: Shared, batch_size: int, labels: torch.Tensor) -> Recovered:
    """Inputs of a linear model: for each record, the row of its class, ∂W_c / ∂b_c.

    Exact for batches of one, whatever the number of local steps: every row is a multiple of the input, and the row with
    the largest bias gradient loses the fewest digits. In larger batches a row is a mixture of all inputs in which those
    of its own class weigh the most.

    Parameters
    ----------
    victim : Victim
        Whose network is one linear layer with a bias.
    shared : Shared
    batch_size : int
    labels : Tensor of shape (T, b)

    Raises
    ------
    ValueError
        For a network that is not one linear layer with a bias.
    """
    weight, bias = victim.head
    if set(victim.parameters) != {weight, bias} or bias is None:
        raise ValueError("the closed form is for a network of one linear layer with a bias.")
    rows, offsets = shared[weight], shared[bias]
    chosen = labels.to(rows.device)
    if batch_size == 1:
        chosen = offsets.abs().argmax(-1, keepdim=True)
    at = torch.arange(len(rows), device=rows.device)[:, None]
    scale = offsets[at, chosen][..., None]
    safe = torch.where(scale.abs() > 1e-30, scale, torch.ones_like(scale))
    x = rows[at, chosen] / safe
    one = torch.ones(len(rows), dtype=torch.int64)
    nothing = torch.zeros(len(rows), dtype=torch.bool)
    y = nn.functional.one_hot(labels.to(rows.device), victim.n_classes).to(rows)
    again = victim.share(x, y)
    losses = _squared(again, shared) / _squares(shared).clamp(min=1e-30)
    return Recovered(x.cpu(), labels.cpu(), losses.cpu(), one, nothing, 0.0)


# ---------------------------------------------------------------- squared distance, by L-BFGS


def match_squared(
    victim: Victim,
    shared: Shared,
    shape: tuple[int, ...],
    batch_size: int,
    *,
    labels: torch.Tensor | None = None,
    restarts: int = 4,
    iterations: int = 6000,
    history: int = 100,
    line_search: Literal["backtracking"] | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    solved: float = 1e-7,
    patience: int = 200,
    generator: torch.Generator,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Recovered:
    """DLG [1]_, or iDLG [2]_ with ``labels``: minimise ‖∇ − ∇*‖² over inputs and, in DLG, soft labels.

    All batches are attacked at once; those whose gradient was not matched are started again, together, until it is or
    the restarts are used up. Of several starts the one with the lowest loss counts.

    Parameters
    ----------
    victim : Victim
        With smooth activations: second derivatives of ReLU networks vanish, and the search fails.
    shared : Shared
    shape : tuple of int
        Of one input.
    batch_size : int
    labels : Tensor of shape (T, b), int64, optional
        Known or inferred labels; None to find soft labels too, as logits that start from N(0, 1).
    restarts : int, default=4
        Starts of each batch, at most.
    iterations, history, line_search
        Of :func:`attacks.gradient_matching.lbfgs.minimise`.
    bounds : pair of float, optional
        Range of the inputs: starts are uniform in it and answers clamped to it. None: starts from N(0, 1).
    solved : float, default=1e-7
        Loss relative to ‖∇*‖² below which a batch is solved.
    patience : int, default=200
        Iterations without an improvement by 1 % after which a start is given up.
    generator : torch.Generator
        On the CPU.
    """
    targets = _Targets(victim, shared)
    count, n = len(targets.squares), batch_size * math.prod(shape)
    extra = 0 if labels is not None else batch_size * victim.n_classes
    best = _Best(count, n + extra, targets.squares)
    for restart in range(restarts):
        rows = (best.losses > solved).nonzero().flatten()
        if len(rows) == 0:
            break
        # Drawn for all, so that a batch's start does not depend on the others' success.
        start = _starts(count, n, extra, bounds, generator).to(targets.squares.device)[rows]
        for part in rows.split(targets.at_once(batch_size)):
            objective = _SquaredDistance(targets, part, shape, batch_size, labels)
            found = minimise(
                objective,
                start[: len(part)],
                iterations=iterations,
                history=history,
                line_search=line_search,
                tolerance_gradient=0.0,
                tolerance_change=0.0,
                target=solved,
                divergence=1e4,
                patience=patience,
            )
            start = start[len(part) :]
            best.note(part, found.x, found.losses, found.diverged)
        progress((restart + 1) / restarts)
    x, y = _parts(best.x, shape, batch_size, labels, victim.n_classes)
    if bounds is not None:
        x = x.clamp(*bounds)
    return best.answer(x, y.argmax(-1))


@dataclass(frozen=True)
class _SquaredDistance:
    """‖∇ − ∇*‖² / ‖∇*‖² of batches ``part`` and its gradient, for :func:`minimise`."""

    targets: _Targets
    part: torch.Tensor
    shape: tuple[int, ...]
    batch_size: int
    labels: torch.Tensor | None

    def __call__(self, v: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        v = v.detach().requires_grad_()
        which = self.part[rows]
        labels = None if self.labels is None else self.labels.to(v.device)[which]
        x, y = _parts(v, self.shape, self.batch_size, labels, self.targets.victim.n_classes)
        loss = self.targets.take(which).squared(x, y)
        (gradient,) = torch.autograd.grad(loss.sum(), v)
        return loss.detach(), gradient


def _starts(
    count: int,
    n: int,
    extra: int,
    bounds: tuple[float, float] | None,
    generator: torch.Generator,
) -> torch.Tensor:
    """Random starts: inputs, and logits of soft labels behind them."""
    if bounds is None:
        x = torch.randn(count, n, generator=generator)
    else:
        low, high = bounds
        x = torch.rand(count, n, generator=generator) * (high - low) + low
    return torch.cat([x, torch.randn(count, extra, generator=generator)], dim=1)


def _parts(
    v: torch.Tensor,
    shape: tuple[int, ...],
    batch_size: int,
    labels: torch.Tensor | None,
    n_classes: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs ``(A, b, *shape)`` and class probabilities ``(A, b, C)`` of vectors ``(A, n)``."""
    n = batch_size * math.prod(shape)
    x = v[:, :n].unflatten(1, (batch_size, *shape))
    if labels is not None:
        return x, nn.functional.one_hot(labels.to(v.device), n_classes).to(v)
    return x, torch.softmax(v[:, n:].unflatten(1, (batch_size, n_classes)), dim=-1)


# ---------------------------------------------------------------- cosine distance, by signed Adam


def match_cosine(
    victim: Victim,
    shared: Shared,
    shape: tuple[int, ...],
    labels: torch.Tensor,
    *,
    tv: float = 1e-4,
    restarts: int = 1,
    iterations: int = 1000,
    lr: float = 0.1,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    generator: torch.Generator,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Recovered:
    """Inverting Gradients [3]_: minimise 1 − cos(∇, ∇*) + ``tv`` · total variation, with labels given.

    Adam on the sign of the gradient, its rate × 0.1 after 3/8, 5/8 and 7/8 of the iterations, inputs projected into
    their range after each. All batches and restarts run at once; a batch's answer is that of its restart with the
    lowest total loss.

    Parameters
    ----------
    victim : Victim
    shared : Shared
    shape : tuple of int
        Of one input; total variation is for images ``(C, H, W)``, and 0 for others.
    labels : Tensor of shape (T, b), int64
    tv : float, default=1e-4
        Weight of the mean absolute difference of neighbouring pixels: from 1e-6 (untrained networks) to 1e-2.
    restarts : int, default=1
    iterations : int, default=1000
    lr : float, default=0.1
        First step, in the inputs' units.
    bounds : pair of float, optional
        Range of the inputs; starts are uniform in it. None: no range, and starts from N(0, 1).
    generator : torch.Generator
        On the CPU.
    """
    targets = _Targets(victim, shared)
    count, batch_size = labels.shape
    n = batch_size * math.prod(shape)
    best = _Best(count, n, targets.squares)
    start = torch.cat([_starts(count, n, 0, bounds, generator) for _ in range(restarts)])
    which = torch.arange(count).repeat(restarts)
    at_once = targets.at_once(batch_size)
    parts = list(zip(start.split(at_once), which.split(at_once), strict=True))
    done = [0]

    def run(part: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        v, rows = part
        own = targets.take(rows).with_own_network()
        found = _CosineSearch(own, shape, labels[rows], tv, bounds).run(v, iterations, lr)
        done[0] += 1
        progress(done[0] / len(parts))
        return found

    for (_, part), (x, total, loss) in zip(
        parts, in_parallel(run, parts, targets.squares.device), strict=True
    ):
        # A part may hold several restarts of a batch.
        for rows, at in _without_repeats(part):
            best.note(rows.to(total.device), x[at], total[at], ~total[at].isfinite(), loss[at])
    x = best.x.unflatten(1, (batch_size, *shape))
    return best.answer(x, labels)


@dataclass(frozen=True)
class _CosineSearch:
    """Signed Adam on all of ``targets``, of these labels."""

    targets: _Targets
    shape: tuple[int, ...]
    labels: torch.Tensor
    tv: float
    bounds: tuple[float, float] | None

    def run(
        self, start: torch.Tensor, iterations: int, lr: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Where it ends, ``(A, n)``, its total loss and its matching loss ``(A,)``."""
        device = self.targets.squares.device
        labels = self.labels.to(device)
        y = nn.functional.one_hot(labels, self.targets.victim.n_classes).to(torch.float32)
        v = start.to(device).clone().requires_grad_()
        optimiser = torch.optim.Adam([v], lr=lr)
        marks = [int(iterations * share) for share in (3 / 8, 5 / 8, 7 / 8)]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, marks, 0.1)
        for _ in range(iterations):
            total, _ = self._losses(v, y)
            (gradient,) = torch.autograd.grad(total.sum(), v)
            v.grad = gradient.sign()
            optimiser.step()
            schedule.step()
            if self.bounds is not None:
                with torch.no_grad():
                    v.clamp_(*self.bounds)
        total, loss = self._losses(v, y)
        return v.detach(), total.detach(), loss.detach()

    def _losses(self, v: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = v.unflatten(1, (self.labels.shape[1], *self.shape))
        loss = self.targets.cosine(x, y)
        prior = self.tv * total_variation(x) if self.tv and len(self.shape) == 3 else 0
        return loss + prior, loss


def total_variation(x: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of vertical plus that of horizontal neighbours, ``(A,)`` of ``(A, …, H, W)``."""
    down = (x[..., 1:, :] - x[..., :-1, :]).abs().flatten(1).mean(1)
    along = (x[..., 1:] - x[..., :-1]).abs().flatten(1).mean(1)
    return down + along


def _without_repeats(part: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches and their places in a chunk, in groups that hold each batch once."""
    seen: dict[int, int] = {}
    groups: dict[int, list[int]] = {}
    for at, row in enumerate(part.tolist()):
        seen[row] = seen.get(row, -1) + 1
        groups.setdefault(seen[row], []).append(at)
    return [(part[at], torch.tensor(at)) for at in groups.values()]


# ---------------------------------------------------------------- what both share


class _Targets:
    """The gradients to be matched."""

    def __init__(self, victim: Victim, shared: Shared, squares: torch.Tensor | None = None) -> None:
        self.victim = victim
        self.shared = {name: value.detach() for name, value in shared.items()}
        self.squares = _squares(self.shared).clamp(min=1e-30) if squares is None else squares

    def at_once(self, batch_size: int) -> int:
        """How many to attack together."""
        most = max(1, _MEMORY // (4 * _COPIES * self.victim.size))
        if self.squares.device.type != "cpu":
            return most
        return min(most, max(_FEW, _CPU_SIZE // (batch_size * self.victim.size)))

    def take(self, rows: torch.Tensor) -> _Targets:
        """Those of participants ``rows``, in that order, which may name one several times."""
        rows = rows.to(self.squares.device)
        shared = {name: value[rows] for name, value in self.shared.items()}
        return _Targets(self.victim.take(rows), shared, self.squares[rows])

    def with_own_network(self) -> _Targets:
        """The same for another thread: ``functional_call`` puts parameters into the network while it runs."""
        victim = replace(self.victim, network=copy.deepcopy(self.victim.network))
        return _Targets(victim, self.shared, self.squares)

    def squared(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """‖∇ − ∇*‖² / ‖∇*‖², ``(A,)``."""
        return _squared(self.victim.share(x, y), self.shared) / self.squares

    def cosine(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """1 − cos(∇, ∇*), ``(A,)``."""
        made = self.victim.share(x, y)
        product, square = _Products.apply(tuple(self.shared[name] for name in made), *made.values())
        loss: torch.Tensor = 1 - product / (square.clamp(min=1e-30) * self.squares).sqrt()
        return loss


class _Products(torch.autograd.Function):
    """⟨a, b⟩ and ‖a‖² of stacks of vectors that are held in pieces: pieces of b, then those of a, each ``(A, …)``.

    One operation, so that its derivative reads and writes each piece once.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, b: tuple[torch.Tensor, ...], *a: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.save_for_backward(*a, *b)
        pairs = [(u.flatten(1), v.flatten(1)) for u, v in zip(a, b, strict=True)]
        product = torch.stack([torch.linalg.vecdot(u, v) for u, v in pairs]).sum(0)
        norm = torch.stack([torch.linalg.vector_norm(u, dim=1) for u, _ in pairs])
        return product, norm.square().sum(0)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, by_product: torch.Tensor, by_square: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        saved = ctx.saved_tensors
        pieces = zip(saved[: len(saved) // 2], saved[len(saved) // 2 :], strict=True)
        gradients = []
        for a, b in pieces:
            shape = (-1,) + (1,) * (a.dim() - 1)
            scaled = a * (2 * by_square).view(shape)
            gradients.append(scaled.addcmul_(b, by_product.view(shape)))
        return None, *gradients


def _squares(shared: Shared) -> torch.Tensor:
    return torch.stack([v.square().flatten(1).sum(1) for v in shared.values()]).sum(0)


def _squared(a: Shared, b: Shared) -> torch.Tensor:
    return torch.stack([(a[n] - b[n]).square().flatten(1).sum(1) for n in a]).sum(0)


class _Best:
    """The best start of each batch so far."""

    def __init__(self, count: int, n: int, like: torch.Tensor) -> None:
        self.x = like.new_zeros(count, n)
        self.losses = like.new_full((count,), math.inf)
        self.matching = like.new_full((count,), math.inf)
        self.restarts = torch.zeros(count, dtype=torch.int64, device=like.device)
        self.diverged = torch.zeros(count, dtype=torch.int64, device=like.device)

    def note(
        self,
        rows: torch.Tensor,
        x: torch.Tensor,
        losses: torch.Tensor,
        diverged: torch.Tensor,
        matching: torch.Tensor | None = None,
    ) -> None:
        """One start of each of the batches ``rows``, all different."""
        better = losses < self.losses[rows]
        self.x[rows[better]] = x[better]
        self.losses[rows[better]] = losses[better]
        self.matching[rows[better]] = (losses if matching is None else matching)[better]
        self.restarts[rows] += 1
        self.diverged[rows] += diverged.long()

    def answer(self, x: torch.Tensor, labels: torch.Tensor) -> Recovered:
        """As a :class:`Recovered`."""
        return Recovered(
            x=x.detach().cpu(),
            labels=labels.cpu(),
            losses=self.matching.cpu(),
            restarts=self.restarts.cpu(),
            diverged=(self.diverged == self.restarts).cpu(),
            divergence_rate=float(self.diverged.sum() / self.restarts.sum()),
        )


# ---------------------------------------------------------------- which is which


def assign(made: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Which record of its batch each reconstruction is taken to be: the assignment with the least squared error.

    Parameters
    ----------
    made, true : ndarray of shape (T, b, …)

    Returns
    -------
    ndarray of shape (T, b), int64
        Place in ``true[t]`` of ``made[t, i]``; a permutation in each row.
    """
    places = np.empty(made.shape[:2], dtype=np.int64)
    for t, (a, b) in enumerate(zip(made, true, strict=True)):
        a, b = a.reshape(len(a), -1).astype(np.float64), b.reshape(len(b), -1).astype(np.float64)
        cost = np.square(a[:, None] - b[None]).mean(axis=2)
        rows, columns = linear_sum_assignment(np.nan_to_num(cost, nan=1e30, posinf=1e30))
        places[t, rows] = columns
    return places
