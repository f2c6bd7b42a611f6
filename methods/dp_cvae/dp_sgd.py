"""DP-SGD [1]_ through Opacus: Poisson sampling, clipping of each record's gradient, noise, accounting.

:func:`train_private` is Opacus' own machinery for one network. :func:`train_private_fleet` does the same
for many networks of linear layers at once and never forms a record's gradient: its norm follows from the
inputs and output gradients of each layer [2]_, and the clipped sum is one matrix product. Given the same
generators, both take the same batches and the same noise, and agree up to rounding.

What neighbouring datasets differ in decides what the same noise is worth (:func:`spent`). Under add/remove nothing but
the batches may depend on the number of records: sample rate, steps and the divisor of the noisy sum are constants that
the caller gives. Noise is drawn by torch's generators in
floating point, which the theorems do not cover: a measure for audits, not for releases to adversaries who
see all bits.

References
----------
.. [1] Abadi et al., "Deep Learning with Differential Privacy", CCS 2016, arXiv 1607.00133.
.. [2] Goodfellow, "Efficient Per-Example Gradient Computations", 2015, arXiv 1510.01799.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from scipy.optimize import brentq
from torch import nn

from benchmark.learning.fleet import (
    CPU_STACK,
    GPU_STACK,
    Loss,
    StackedLinear,
    Tensors,
    stack,
    unstack_,
)
from benchmark.learning.training import in_parallel, single_thread
from benchmark.statistics import RDP_ORDERS, dp_sgd_rdp, gdp_mu_to_epsilon, rdp_to_epsilon

__all__ = [
    "Accountant",
    "PrivateTrainee",
    "least_noise",
    "poisson_batches",
    "spent",
    "train_private",
    "train_private_fleet",
]

Accountant = Literal["prv", "rdp"]
Neighbours = Literal["add_remove", "replace"]
Mechanism = tuple[float, float, int]
"""Noise multiplier, sample rate and steps of a Poisson-sampled Gaussian mechanism: noise over the largest norm of what
one record adds, whatever the adjacency."""

# Numbers that the records' gradients of one part of a batch may take: 256 MB.
GRADIENTS = 1 << 26
ORDERS = list(RDP_ORDERS)


# ---------------------------------------------------------------- accounting


def spent(
    mechanisms: Sequence[Mechanism],
    delta: float,
    accountant: Accountant,
    adjacency: Neighbours = "add_remove",
) -> float:
    """ε of a composition at ``delta``; infinite without noise.

    Under add/remove by Opacus' accountant. ``"rdp"``: Rényi-DP with the improved conversion (Canonne et al.
    2020). ``"prv"``: the distribution of the privacy loss (Gopi et al. 2021), the upper end of an estimate
    that is exact to 0.0025. Opacus does not account for replacements: ``"replace"`` is by Rényi-DP of our own
    (:func:`~benchmark.statistics.dp_sgd_rdp`), whatever ``accountant`` says.
    """
    from opacus.accountants import PRVAccountant, RDPAccountant

    if any(noise == 0 and rate > 0 and steps > 0 for noise, rate, steps in mechanisms):
        return math.inf
    history = [m for m in mechanisms if m[1] > 0 and m[2] > 0]
    if not history:
        return 0.0
    if adjacency == "replace":
        divergences = [dp_sgd_rdp(*m, ORDERS, "replace") for m in history]
        return rdp_to_epsilon(np.sum(divergences, axis=0), ORDERS, delta)[0]
    counted = RDPAccountant() if accountant == "rdp" else PRVAccountant()
    counted.history = history
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if accountant == "rdp":
            return float(counted.get_epsilon(delta, alphas=ORDERS))
        return float(counted.get_epsilon(delta, eps_error=0.0025))


@lru_cache(maxsize=1024)
def least_noise(
    epsilon: float,
    delta: float,
    accountant: Accountant,
    rate: float = 1.0,
    steps: int = 1,
    before: tuple[Mechanism, ...] = (),
    adjacency: Neighbours = "add_remove",
) -> float:
    """The least noise multiplier, to 0.1 %, that keeps a mechanism composed after others within ``epsilon``.

    Raises
    ------
    ValueError
        Where ``before`` spends it all.
    """

    def excess(log_noise: float) -> float:
        mechanisms = [*before, (math.exp(log_noise), rate, steps)]
        return math.log(max(spent(mechanisms, delta, accountant, adjacency), 1e-12) / epsilon)

    if spent(before, delta, accountant, adjacency) >= epsilon:
        raise ValueError(f"epsilon = {epsilon:g} is spent already; ask for a larger one.")
    # ε is nearly a power of the noise, so secants in logarithms need few of the slow evaluations. They
    # aim at the middle of what is accepted: up to 0.1 % less than ε.
    here, value = math.log(_first_guess(epsilon, delta, rate, steps)), math.inf
    here += math.log(2) * (adjacency == "replace")
    step, slope = 0.0, -1.0
    for _ in range(50):
        last, value = value, excess(here)
        if -1e-3 <= value <= 0:
            return math.exp(here)
        if math.isfinite(last) and value != last:
            slope = min((value - last) / step, -0.05)
        step = max(-2.0, min(2.0, (-5e-4 - value) / slope))
        here += step
    raise ValueError(f"no noise multiplier was found for epsilon = {epsilon:g}; give one instead.")


def _first_guess(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """Noise at which μ = q·√(T·(e^(1/σ²) − 1)) is that of ε (Bu et al. 2020, the central limit of DP-SGD)."""
    mu = brentq(lambda m: gdp_mu_to_epsilon(m, delta) - epsilon, 1e-6, 1e3)
    return 1 / math.sqrt(math.log1p((mu / rate) ** 2 / steps))


# ---------------------------------------------------------------- training


@dataclass(frozen=True, eq=False)
class PrivateTrainee:
    """A network with its records, its schedule and its sources of randomness.

    Parameters
    ----------
    network : nn.Module
        Trained in place. No layer may mix records (no batch norm).
    data : tuple of Tensors
        Each ``(N, …)``, on the network's device.
    sample_rate : float in (0, 1]
        Probability that a record takes part in a step.
    steps : int
    divisor : float
        What the noisy sum of gradients is divided by: records of a step on average. A constant of the caller's, since
        one that follows the number of records would tell it.
    noise_multiplier : float
        Standard deviation of the noise on the sum of gradients, over ``clip_norm``.
    clip_norm : float
        Largest norm of a record's gradient; infinite for no clipping, which goes without noise only.
    sampling, latent, noise : torch.Generator
        Of the batches and of the codes' noise (on the CPU), and of the gradients' noise (on the device).
    """

    network: nn.Module
    data: Tensors
    sample_rate: float
    steps: int
    divisor: float
    noise_multiplier: float
    clip_norm: float
    sampling: torch.Generator
    latent: torch.Generator
    noise: torch.Generator

    @property
    def bound(self) -> float:
        """``clip_norm``, finite: without clipping a number that no gradient reaches."""
        return min(self.clip_norm, 1e30)


def poisson_batches(
    n: int, rate: float, steps: int, generator: torch.Generator
) -> Iterable[list[int]]:
    """Opacus' sampler: lists of indices of ``steps`` batches, each record in each with ``rate``."""
    from opacus.utils.uniform_sampler import UniformWithReplacementSampler

    sampler: Iterable[list[int]] = UniformWithReplacementSampler(
        num_samples=n, sample_rate=rate, generator=generator, steps=steps
    )
    return sampler


def train_private(
    trainee: PrivateTrainee,
    loss: Loss,
    *,
    noise: int,
    lr: float,
    progress: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Train one network in place by Adam on private gradients, through Opacus.

    Parameters
    ----------
    trainee : PrivateTrainee
    loss : callable
        ``loss(network, batch, noise) -> (B,)``, as for :func:`~benchmark.learning.fleet.train_fleet`.
    noise : int
        Length of the standard normal noise that a record's loss takes.
    lr : float
        Adam's step.
    progress : callable
        Told the share of the steps done.
    """
    with single_thread(), warnings.catch_warnings():
        # Opacus' hooks warn that inputs need no gradient, which is so here.
        warnings.simplefilter("ignore")
        _train_through_opacus(trainee, loss, noise, lr, progress)


def _train_through_opacus(
    trainee: PrivateTrainee,
    loss: Loss,
    noise: int,
    lr: float,
    progress: Callable[[float], None],
) -> None:
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    wrapped = GradSampleModule(trainee.network, loss_reduction="sum")
    optimiser = DPOptimizer(
        torch.optim.Adam(trainee.network.parameters(), lr=lr, fused=True),
        noise_multiplier=trainee.noise_multiplier,
        max_grad_norm=trainee.bound,
        expected_batch_size=trainee.divisor,
        loss_reduction="mean",
        generator=trainee.noise,
    )
    size = max(1, GRADIENTS // sum(p.numel() for p in trainee.network.parameters()))
    for step, (batch, codes) in enumerate(_batches(trainee, noise)):
        parts = list(zip(*(x.split(size) for x in (*batch, codes)), strict=True))
        for i, (*part, part_codes) in enumerate(parts):
            optimiser.zero_grad()
            loss(wrapped, tuple(part), part_codes).sum().backward()
            optimiser.signal_skip_step(do_skip=i + 1 < len(parts))
            optimiser.step()
        optimiser.zero_grad()
        progress((step + 1) / trainee.steps)
    wrapped.to_standard_module()


def _batches(trainee: PrivateTrainee, noise: int) -> Iterator[tuple[Tensors, torch.Tensor]]:
    """The records and codes of every step."""
    n, device = len(trainee.data[0]), trainee.data[0].device
    batches = poisson_batches(n, trainee.sample_rate, trainee.steps, trainee.sampling)
    for indices in batches:
        index = torch.tensor(indices, dtype=torch.int64)
        codes = torch.randn(len(index), noise, generator=trainee.latent).to(device)
        yield tuple(x[index.to(device)] for x in trainee.data), codes


# ---------------------------------------------------------------- fleets


def train_private_fleet(
    trainees: Sequence[PrivateTrainee],
    loss: Loss,
    *,
    noise: int,
    lr: float,
    progress: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Train many networks of linear layers in place, each as :func:`train_private` would.

    Parameters are those of :func:`train_private`; ``loss`` gets stacked tensors and gives ``(M, B)``.
    Numbers of records and steps may differ.
    """
    if not trainees:
        return
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for i, trainee in enumerate(trainees):
        shapes = tuple(tuple(p.shape) for p in trainee.network.parameters())
        groups.setdefault(shapes, []).append(i)
    device = trainees[0].data[0].device
    size = CPU_STACK if device.type == "cpu" else GPU_STACK
    # Those with the most steps first, so that the ones that are done are always the last rows.
    ordered = [sorted(g, key=lambda i: -trainees[i].steps) for g in groups.values()]
    parts = [group[i : i + size] for group in ordered for i in range(0, len(group), size)]
    done = [0]

    def run(part: list[int]) -> None:
        _PrivateStack([trainees[i] for i in part], loss, noise, lr).train()
        done[0] += len(part)
        progress(done[0] / len(trainees))

    in_parallel(run, parts, device)


class _PrivateStack:
    """Networks of one shape, the most steps first."""

    def __init__(
        self, trainees: Sequence[PrivateTrainee], loss: Loss, noise: int, lr: float
    ) -> None:
        self.trainees = list(trainees)
        self.loss = loss
        self.noise = noise
        self.network = stack([t.network for t in trainees])
        self.parameters = list(self.network.parameters())
        self.layers = [m for m in self.network.modules() if isinstance(m, StackedLinear)]
        self.optimiser = torch.optim.Adam(self.parameters, lr=lr, fused=True)
        bounds = torch.tensor([t.bound for t in trainees], device=self.parameters[0].device)
        self.bounds = bounds[:, None]

    def train(self) -> None:
        """All steps of all networks."""
        sources = [iter(_batches(t, self.noise)) for t in self.trainees]
        for step in range(self.trainees[0].steps):
            going = sum(t.steps > step for t in self.trainees)
            if going < len(self.trainees):
                self._finish(going)
                sources = sources[:going]
            self._step([next(source) for source in sources])
        self._finish(0)

    def _step(self, drawn: Sequence[tuple[Tensors, torch.Tensor]]) -> None:
        sizes = torch.tensor([len(codes) for _, codes in drawn], device=self.bounds.device)
        pad = nn.utils.rnn.pad_sequence
        parts = [[*batch, codes] for batch, codes in drawn]
        *batch, codes = (pad(list(x), batch_first=True) for x in zip(*parts, strict=True))
        taken = torch.arange(codes.shape[1], device=self.bounds.device) < sizes[:, None]
        inputs, gradients = self._layer_gradients(tuple(batch), codes)
        norm = sum(
            (a.square().sum(-1) + 1) * g.square().sum(-1)
            for a, g in zip(inputs, gradients, strict=True)
        )
        assert isinstance(norm, torch.Tensor)
        # Opacus' factor, with its 1e-6.
        factor = (self.bounds / (norm.sqrt() + 1e-6)).clamp(max=1.0) * taken
        self._set_gradients(inputs, [g * factor[..., None] for g in gradients])
        self.optimiser.step()

    def _layer_gradients(
        self, batch: Tensors, codes: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Inputs ``(M, B, in)`` of each layer, and the loss's gradients in its outputs ``(M, B, out)``."""
        inputs: dict[int, torch.Tensor] = {}
        outputs: dict[int, torch.Tensor] = {}

        def keep(layer: nn.Module, args: Tensors, output: torch.Tensor) -> None:
            inputs[id(layer)], outputs[id(layer)] = args[0].detach(), output

        hooks = [layer.register_forward_hook(keep) for layer in self.layers]
        try:
            total = self.loss(self.network, batch, codes).sum()
        finally:
            for hook in hooks:
                hook.remove()
        order = [id(layer) for layer in self.layers]
        gradients = torch.autograd.grad(total, [outputs[i] for i in order])
        return [inputs[i] for i in order], list(gradients)

    def _set_gradients(
        self, inputs: Sequence[torch.Tensor], clipped: Sequence[torch.Tensor]
    ) -> None:
        for layer, a, g in zip(self.layers, inputs, clipped, strict=True):
            layer.weight.grad = torch.bmm(g.mT, a)
            layer.bias.grad = g.sum(dim=-2)
        for parameter in self.parameters:
            assert parameter.grad is not None
            for row, trainee in zip(parameter.grad, self.trainees, strict=True):
                self._add_noise(row, trainee)

    @staticmethod
    def _add_noise(row: torch.Tensor, trainee: PrivateTrainee) -> None:
        std = trainee.noise_multiplier * trainee.bound
        if std > 0:
            row += torch.normal(0, std, row.shape, generator=trainee.noise, device=row.device)
        row /= trainee.divisor

    @torch.no_grad()
    def _finish(self, going: int) -> None:
        """Hand all rows from ``going`` on back to their networks, and drop them."""
        for i in range(going, len(self.trainees)):
            unstack_(self.trainees[i].network, [p.data for p in self.parameters], i)
        self.trainees = self.trainees[:going]
        self.bounds = self.bounds[:going]
        for parameter in self.parameters:
            state = self.optimiser.state.get(parameter, {})
            for name in ("exp_avg", "exp_avg_sq"):
                if name in state:
                    state[name] = state[name][:going].clone()
            parameter.data = parameter.data[:going].clone()
            parameter.grad = None
