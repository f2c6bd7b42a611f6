"""Batched L-BFGS against torch's on each problem alone, and where it must and must not end."""

import math

import pytest
import torch

from attacks.gradient_matching.lbfgs import minimise

N = 8


def problems(count, seed=0):
    """Smooth functions of eight variables that differ from problem to problem, some of them not convex."""
    g = torch.Generator().manual_seed(seed)
    draw = {"generator": g, "dtype": torch.float64}
    scale = torch.rand(count, N, **draw) * 3 + 0.3
    mix = torch.randn(count, N, N, **draw) / 3
    start = torch.randn(count, N, **draw)
    return scale, mix, start


def values(x, scale, mix):
    """A bowl with ripples along mixed directions, (A,)."""
    y = torch.einsum("aij,aj->ai", mix, x) + x
    return (scale * y.square()).sum(-1) + 0.5 * torch.sin(2 * y).sum(-1)


def batched(scale, mix):
    def objective(x, rows):
        x = x.detach().requires_grad_()
        loss = values(x, scale[rows], mix[rows])
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        return loss.detach(), gradient

    return objective


def alone(i, start, scale, mix, iterations, history=100, **more):
    x = start[i].clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [x], lr=1, max_iter=iterations, max_eval=10**9, history_size=history, **more
    )

    def closure():
        optimiser.zero_grad()
        loss = values(x[None], scale[i : i + 1], mix[i : i + 1])[0]
        loss.backward()
        return loss

    optimiser.step(closure)
    return x.detach()


@pytest.mark.parametrize(("history", "ripples"), [(100, 0.5), (100, 0.0), (3, 0.0)])
@pytest.mark.parametrize("iterations", [1, 2, 5, 12])
def test_iterates_are_those_of_torch_on_each_problem_alone(iterations, history, ripples):
    scale, mix, start = problems(6)
    scale = scale + (0 if ripples else 4)  # without negative curvature, so that no pair is left out
    ends = {}

    def objective(x, rows):
        ends.update({int(r): x[j] for j, r in enumerate(rows)})
        return batched(scale, mix)(x, rows)

    minimise(objective, start, iterations=iterations, history=history)
    for i in range(6):
        expected = alone(i, start, scale, mix, iterations, history)
        torch.testing.assert_close(ends[i], expected, rtol=1e-7, atol=1e-9)


def test_all_problems_end_at_a_minimum_of_their_own():
    scale, mix, start = problems(40, seed=1)
    found = minimise(batched(scale, mix), start, iterations=400, tolerance_change=1e-14)
    _, gradient = batched(scale, mix)(found.x, torch.arange(40))
    assert gradient.abs().max() < 1e-5
    assert not found.diverged.any()
    # They end at different times, so that some were dropped while others went on.
    assert found.iterations.min() < 0.7 * found.iterations.max()


def test_a_problem_does_not_depend_on_the_others():
    scale, mix, start = problems(30, seed=2)
    whole = minimise(batched(scale, mix), start, iterations=50)
    part = minimise(batched(scale[7:9], mix[7:9]), start[7:9], iterations=50)
    torch.testing.assert_close(whole.x[7:9], part.x, rtol=1e-9, atol=1e-12)
    assert whole.iterations[7:9].tolist() == part.iterations.tolist()


def quartic(x, rows):
    """‖x‖⁴ / 4, whose full steps from afar overshoot."""
    square = x.square().sum(1)
    return square.square() / 4, square[:, None] * x


def test_backtracking_never_climbs_and_still_arrives():
    losses = []

    def objective(x, rows):
        loss, gradient = quartic(x, rows)
        losses.append(float(loss[0]))
        return loss, gradient

    start = torch.full((1, 3), 30.0, dtype=torch.float64)
    found = minimise(
        objective, start, iterations=200, line_search="backtracking", tolerance_change=1e-16
    )
    assert found.losses[0] < 1e-6 * losses[0]


def test_loss_that_blows_up_is_called_diverged_and_the_best_point_is_kept():
    def objective(x, rows):
        # Row 1 is a cliff: minus a fourth power, which runs away to minus infinity and then to NaN.
        loss = torch.where(rows == 1, -(x**4).sum(1), (x**2).sum(1))
        gradient = torch.where((rows == 1)[:, None], -4 * x**3, 2 * x)
        loss = torch.where(loss < -1e6, math.nan, loss)
        return loss, gradient

    found = minimise(objective, torch.tensor([[1.0, 2.0], [1.0, 2.0]]), iterations=60)
    assert found.diverged.tolist() == [False, True]
    assert found.losses[0] < 1e-8
    assert math.isfinite(found.losses[1]) and found.losses[1] <= -17


def test_a_loss_far_above_the_first_is_divergence():
    def objective(x, rows):
        return (x**2).sum(1), torch.where(rows[:, None] == 0, 2 * x, -2 * x)  # row 1: a wrong slope

    found = minimise(objective, torch.ones(2, 2), iterations=200, divergence=100.0)
    assert found.diverged.tolist() == [False, True]
    assert found.losses[1] == 2  # the start


def test_a_start_that_is_not_finite_has_diverged_before_any_step():
    found = minimise(quartic, torch.tensor([[1.0, 1.0], [math.nan, 1.0]]), iterations=5)
    assert found.diverged.tolist() == [False, True]
    assert found.iterations[1] == 0 and math.isinf(found.losses[1])


def test_solved_and_stalled_problems_end():
    scale, mix, start = problems(4, seed=3)
    first, _ = batched(scale, mix)(start, torch.arange(4))
    target = torch.where(torch.arange(4) < 2, first * 0.5, torch.full_like(first, -math.inf))
    found = minimise(batched(scale, mix), start, iterations=100, target=target)
    assert (found.losses[:2] <= target[:2]).all()
    assert found.iterations[:2].max() < found.iterations[2:].min()

    def flat(x, rows):
        return 1 + 1e-3 * x[:, 0], torch.tensor([[1e-3, 0.0]]).expand(len(x), 2)

    stalled = minimise(flat, torch.zeros(1, 2), iterations=500, patience=10, tolerance_change=0)
    assert stalled.iterations[0] < 30
