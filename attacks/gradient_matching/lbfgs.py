"""L-BFGS on many independent problems at once.

Every problem has its own history, step and end; one evaluation of the objective serves all that are still running. The
iterates are those that ``torch.optim.LBFGS`` gives on each problem alone, up to rounding.

References
----------
Nocedal & Wright (2006). Numerical optimization, 2nd edition, algorithms 7.4 and 7.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

__all__ = ["Minimum", "minimise"]

Objective = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""``objective(x (A, n), rows (A,)) -> losses (A,), gradients (A, n)`` of the problems ``rows``."""

# A pair of differences with less curvature than this is left out of the history, as torch does.
CURVATURE = 1e-10
# Backtracking: sufficient decrease (Armijo) and the most halvings of a step.
DECREASE, HALVINGS = 1e-4, 12


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where the problems ended; tensors of the starts' type and device.

    Parameters
    ----------
    x : Tensor of shape (P, n)
        The iterate with the lowest loss.
    losses : Tensor of shape (P,)
        Its loss; infinite where not even the start had a finite one.
    iterations : Tensor of shape (P,), int64
    diverged : Tensor of shape (P,), bool
        Whether the search ended because the loss was not finite or far above the start's.
    """

    x: torch.Tensor
    losses: torch.Tensor
    iterations: torch.Tensor
    diverged: torch.Tensor


def minimise(
    objective: Objective,
    start: torch.Tensor,
    *,
    iterations: int = 300,
    lr: float = 1.0,
    history: int = 100,
    line_search: Literal["backtracking"] | None = None,
    tolerance_gradient: float = 1e-7,
    tolerance_change: float = 1e-9,
    target: torch.Tensor | float = -math.inf,
    divergence: float = math.inf,
    patience: int | None = None,
) -> Minimum:
    """Minimise ``P`` functions of ``n`` variables, each on its own.

    Parameters
    ----------
    objective : callable
        ``objective(x (A, n), rows (A,)) -> losses (A,), gradients (A, n)`` for the problems ``rows``, which are those
        still running; a problem's answer must not depend on the others.
    start : Tensor of shape (P, n)
    iterations : int, default=300
        Most of each problem. DLG's 300 steps of at most 20 inner iterations are 6000 here: torch keeps its history from
        step to step.
    lr : float, default=1
        Step along the direction; the first one is ``lr · min(1, 1/‖gradient‖₁)``.
    history : int, default=100
        Most recent iterations whose differences are remembered. Those without positive curvature are left out and
        still count, where torch goes further back.
    line_search : {"backtracking"}, optional
        Halve the step until the loss decreases sufficiently. None takes every step as it is, as DLG does, and may
        diverge.
    tolerance_gradient, tolerance_change : float
        A problem ends when no component of its gradient exceeds the first, or when neither its variables nor its loss
        move by more than the second.
    target : float or Tensor of shape (P,)
        A loss at which a problem is solved.
    divergence : float, default=inf
        A problem whose loss exceeds this multiple of its first loss has diverged.
    patience : int, optional
        Iterations after which a problem ends that did not lower its best loss by 1 % meanwhile.
    """
    state = _State(objective, start, min(history, iterations), target, divergence)
    running = state.finite() & (state.gradient.abs().amax(1) > tolerance_gradient)
    running &= state.loss > state.target
    for iteration in range(1, iterations + 1):
        if not running.any():
            break
        if int(running.sum()) <= 0.75 * len(running):  # not each time, for copies cost too
            state.keep(running)
            running = torch.ones(len(state.rows), dtype=torch.bool, device=start.device)
        before = state.loss
        moved = state.step(running, iteration, lr, line_search, tolerance_change)
        lost = state.note(running, iteration)
        done = (moved <= tolerance_change) | ((state.loss - before).abs() < tolerance_change)
        done |= state.gradient.abs().amax(1) <= tolerance_gradient
        done |= state.loss <= state.target
        if patience is not None:
            done |= iteration - state.improved >= patience
        running = running & ~lost & ~done
    return state.best


class _State:
    """The problems still at hand, A of P: where they are and what they remember."""

    def __init__(
        self,
        objective: Objective,
        start: torch.Tensor,
        history: int,
        target: torch.Tensor | float,
        divergence: float,
    ) -> None:
        problems, n = start.shape
        self.objective = objective
        self.rows = torch.arange(problems, device=start.device)
        self.x = start.clone()
        self.loss, self.gradient = objective(start, self.rows)
        self.target = torch.ones_like(self.loss) * target
        self.limit = self.loss * divergence
        self.steps = start.new_zeros(history, problems, n)
        self.changes = start.new_zeros(history, problems, n)
        self.inverse = start.new_zeros(history, problems)  # 1/⟨step, change⟩; 0 for no pair
        self.scale = torch.ones_like(self.loss)  # first guess of the inverse curvature
        self.direction = torch.zeros_like(start)
        self.improved = torch.zeros_like(self.rows)
        self.mark = self.loss.clone()
        self.best = Minimum(
            x=start.clone(),
            losses=torch.where(self.finite(), self.loss, math.inf),
            iterations=torch.zeros_like(self.rows),
            diverged=~self.finite(),
        )

    def finite(self) -> torch.Tensor:
        """Whether loss and gradient ``(A,)`` are finite."""
        return self.loss.isfinite() & self.gradient.isfinite().all(1)

    def keep(self, mask: torch.Tensor) -> None:
        """Drop the problems that are done."""
        for name in ("rows", "x", "loss", "gradient", "target", "limit", "scale", "direction"):
            setattr(self, name, getattr(self, name)[mask])
        for name in ("improved", "mark"):
            setattr(self, name, getattr(self, name)[mask])
        for name in ("steps", "changes", "inverse"):
            setattr(self, name, getattr(self, name)[:, mask])

    def step(
        self,
        running: torch.Tensor,
        iteration: int,
        lr: float,
        line_search: str | None,
        tolerance: float,
    ) -> torch.Tensor:
        """Move the running problems; the largest move of a variable ``(A,)``."""
        self._direction(iteration)
        slope = (self.gradient * self.direction).sum(1)
        size = torch.full_like(slope, lr)
        if iteration == 1:  # nothing is known of the curvature
            size = size * (1 / self.gradient.abs().sum(1).clamp(min=1e-30)).clamp(max=1.0)
        going = running & (slope <= -tolerance)
        size = torch.where(going, size, torch.zeros_like(size))
        x, loss, gradient = self._moved(size, slope, line_search)
        changed = (x - self.x).abs().amax(1)
        self._remember(x - self.x, gradient - self.gradient, going, iteration)
        self.x = torch.where(going[:, None], x, self.x)
        self.loss = torch.where(going, loss, self.loss)
        self.gradient = torch.where(going[:, None], gradient, self.gradient)
        return torch.where(going, changed, torch.zeros_like(changed))

    def _direction(self, iteration: int) -> None:
        """Set the direction by the two-loop recursion, newest pairs first."""
        history = len(self.steps)
        known = min(iteration - 1, history)
        newest_first = [(iteration - 2 - i) % history for i in range(known)]
        q = -self.gradient
        weights: dict[int, torch.Tensor] = {}
        for slot in newest_first:
            weights[slot] = (self.steps[slot] * q).sum(1) * self.inverse[slot]
            q = q - weights[slot][:, None] * self.changes[slot]
        q = q * self.scale[:, None]
        for slot in reversed(newest_first):
            back = (self.changes[slot] * q).sum(1) * self.inverse[slot]
            q = q + self.steps[slot] * (weights[slot] - back)[:, None]
        self.direction = q

    def _moved(
        self, size: torch.Tensor, slope: torch.Tensor, line_search: str | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Points, losses and gradients after steps of ``size`` along the directions, halved where asked for."""
        x = self.x + size[:, None] * self.direction
        loss, gradient = self.objective(x, self.rows)
        if line_search is None:
            return x, loss, gradient
        for _ in range(HALVINGS):
            enough = self.loss + DECREASE * size * slope
            short = ~(loss <= enough) & (size > 0)
            if not short.any():
                break
            size = torch.where(short, size / 2, size)
            x[short] = self.x[short] + size[short, None] * self.direction[short]
            loss[short], gradient[short] = self.objective(x[short], self.rows[short])
        stuck = ~(loss <= self.loss)
        x[stuck], loss[stuck], gradient[stuck] = (
            self.x[stuck],
            self.loss[stuck],
            self.gradient[stuck],
        )
        return x, loss, gradient

    def _remember(
        self, step: torch.Tensor, change: torch.Tensor, going: torch.Tensor, iteration: int
    ) -> None:
        """Put the last differences into the ring, where their curvature is positive."""
        slot = (iteration - 1) % len(self.steps)
        curvature = (step * change).sum(1)
        useful = going & (curvature > CURVATURE)
        zero = torch.zeros_like(curvature)
        self.inverse[slot] = torch.where(useful, 1 / curvature, zero)
        self.steps[slot] = torch.where(useful[:, None], step, zero[:, None])
        self.changes[slot] = torch.where(useful[:, None], change, zero[:, None])
        newest = curvature / change.square().sum(1)
        self.scale = torch.where(useful, newest, self.scale)

    def note(self, running: torch.Tensor, iteration: int) -> torch.Tensor:
        """Update the best of each running problem; returns which of them diverged."""
        lost = running & (~self.finite() | (self.loss > self.limit))
        rows = self.rows[running]
        self.best.iterations[rows] = iteration
        self.best.diverged[self.rows[lost]] = True
        better = running & ~lost & (self.loss < self.best.losses[self.rows])
        self.best.losses[self.rows[better]] = self.loss[better]
        self.best.x[self.rows[better]] = self.x[better]
        progress = self.loss < 0.99 * self.mark
        self.mark = torch.where(progress, self.loss, self.mark)
        self.improved = torch.where(progress, iteration, self.improved)
        return lost
