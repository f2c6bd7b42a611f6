"""What every training loop here needs: seeded initialisation, batches and early stopping.

Nothing here touches torch's global random state.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

if TYPE_CHECKING:
    from benchmark.contracts import Records, View

__all__ = [
    "EarlyStopping",
    "against_training",
    "batches",
    "build",
    "in_parallel",
    "initialise_",
    "single_thread",
]

Network = TypeVar("Network", bound=nn.Module)
Answer = TypeVar("Answer")
Part = TypeVar("Part")

# Threads that torch had before the outermost block on a single one.
_threads: ContextVar[int | None] = ContextVar("threads", default=None)


def build(make: Callable[[], Network], generator: torch.Generator, device: str) -> Network:
    """Construct a network without drawing from the global random state, and initialise it.

    Parameters
    ----------
    make : callable
        Returns the network; called once, under the meta device.
    generator : torch.Generator
        A CPU generator.
    device : str
        Where the network ends up; the numbers are the same on every device.
    """
    with torch.device("meta"):
        module = make()
    return initialise_(module.to_empty(device="cpu"), generator).to(device)


def initialise_(module: Network, generator: torch.Generator) -> Network:
    """Fill linear layers and convolutions in place as torch does: U(−1/√fan_in, 1/√fan_in).

    Batch normalisation of images starts as the identity, with running mean 0 and variance 1.

    Raises
    ------
    TypeError
        Where a parameter belongs to a layer of another kind, which would stay uninitialised.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            with torch.no_grad():
                for parameter in layer.parameters(recurse=False):
                    parameter.uniform_(-bound, bound, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif next(layer.parameters(recurse=False), None) is not None:
            raise TypeError(
                "can initialise nn.Linear, nn.Conv2d, nn.ConvTranspose2d and nn.BatchNorm2d only. "
                f"Got {type(layer).__name__} instead."
            )
    return module


def batches(
    n: int, size: int, generator: torch.Generator, device: str | torch.device
) -> Iterator[torch.Tensor]:
    """Indices ``(b,) int64`` of one epoch over ``n`` records in random order; the last may be small.

    The order is drawn on the CPU from ``generator`` and moved to ``device``.
    """
    yield from torch.randperm(n, generator=generator).to(device).split(size)


@contextmanager
def single_thread() -> Iterator[None]:
    """Run torch on one CPU thread within the block.

    For small networks, where more threads save no time: how many there are decides the order of
    summation, and so the last bits of the answer. :func:`in_parallel` may still use the threads there were.
    """
    before = torch.get_num_threads()
    token = _threads.set(_threads.get() or before)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _threads.reset(token)


def in_parallel(
    run: Callable[[Part], Answer], parts: Sequence[Part], device: torch.device
) -> list[Answer]:
    """``run`` of each part, in their order: on a GPU in turn, on a CPU on one thread each, as many as torch may use.

    What a part comes to does not depend on how many threads there are, so long as ``run`` changes nothing that parts
    share: each needs modules of its own, for one. The first error of a part is raised.
    """
    if device.type != "cpu":
        return [run(part) for part in parts]
    workers = min(_threads.get() or torch.get_num_threads(), len(parts))
    with single_thread():
        if workers <= 1:
            return [run(part) for part in parts]
        # New threads take over torch's number of threads, which is one here.
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(run, parts))


def against_training(view: View, play: Callable[[Records], Answer]) -> Answer:
    """Play an attack on training with a release: ``play(released)``, on one CPU thread but for :func:`in_parallel`.

    Parameters
    ----------
    view : View
        Of access ``trainer``, which every release grants and which holds its records.
    play : callable
        Trains on the released records and answers.
    """
    assert view.records is not None
    with single_thread():
        return play(view.records)


class EarlyStopping:
    """Keeps the best state of a network by a loss, and says when patience is over.

    Parameters
    ----------
    module : nn.Module
    patience : int
        Epochs without improvement after which :meth:`update` returns True.

    Attributes
    ----------
    best_loss : float
        Lowest loss so far; infinite before the first update.
    best_epoch : int
        Its number, from 1; 0 before the first update.
    epochs : int
        Number of updates so far.
    """

    def __init__(self, module: nn.Module, patience: int) -> None:
        self.patience = patience
        self.best_loss = math.inf
        self.best_epoch = 0
        self.epochs = 0
        self._module = module
        self._best = copy.deepcopy(module.state_dict())

    def update(self, loss: float) -> bool:
        """Note the loss after an epoch; returns whether to stop. A loss that is NaN is no progress."""
        self.epochs += 1
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, self.epochs
            self._store()
        return self.epochs - self.best_epoch >= self.patience

    @torch.no_grad()
    def _store(self) -> None:
        for name, value in self._module.state_dict().items():
            self._best[name].copy_(value)

    def restore_best(self) -> None:
        """Load the best state into the network."""
        self._module.load_state_dict(self._best)
