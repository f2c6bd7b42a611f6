"""The walk against closed forms, an optimiser of another library, and an obstacle in the plane."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from methods.latent.walk import energy, exposure, straight, walk

POINTS = torch.tensor([[0.0, 0.3], [0.0, -4.0]])


def same(codes):
    """A generator whose pictures are its codes."""
    return codes


def nearest_known(x):
    """Logits of an identity classifier: two known people in the plane, one of them almost on the way."""
    return -2 * (x[:, None] - POINTS).square().sum(dim=2)


def side(x):
    """Logits of a class classifier: class 1 lies above the line, class 0 below."""
    return torch.stack((-x[:, 1], x[:, 1]), dim=1)


def ends(n=1):
    rng = torch.Generator().manual_seed(0)
    noise = 0.2 * torch.randn(2, n, 2, generator=rng)
    return torch.tensor([[-2.0, 0.0]]) + noise[0], torch.tensor([[2.0, 0.0]]) + noise[1]


def zeros(n):
    return torch.zeros(n, dtype=torch.int64)


def test_energy_of_straight_lines_and_of_a_detour_by_hand():
    a, b = torch.zeros(2, 3), torch.tensor([[2.0, 0.0, 0.0], [6.0, 0.0, 8.0]])
    for points in (2, 3, 9):
        torch.testing.assert_close(energy(straight(a, b, points), 4.0), torch.tensor([1.0, 25.0]))
    corner = torch.tensor([[[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    # Two unit steps: 4 · mean(1, 1) / 2 = 2, where the diagonal of squared length 2 has 1.
    torch.testing.assert_close(energy(corner, 2.0), torch.tensor([2.0]))


def test_exposure_is_zero_where_nobody_stands_out_and_log_cosh_for_two():
    assert float(exposure(torch.full((7,), 3.0))) == pytest.approx(0, abs=1e-6)
    u = torch.tensor([0.0, 1.0, 5.0])
    torch.testing.assert_close(
        exposure(torch.stack((u, torch.zeros(3)), dim=1)), torch.log(torch.cosh(u / 2))
    )


@pytest.mark.parametrize("keep", ["best", "last"])
def test_without_identities_the_bent_path_becomes_the_straight_line(keep):
    a, b = ends(3)
    bent = straight(a, b, 9) + torch.randn(3, 9, 2, generator=torch.Generator().manual_seed(1))
    found = walk(
        same, a, b, zeros(3), points=9, steps=600, decay=True, identity_weight=0, class_weight=0,
        start=bent, keep=keep, scale=8.0,
    )  # fmt: skip
    torch.testing.assert_close(found.codes, straight(a, b, 9), atol=5e-3, rtol=0)
    torch.testing.assert_close(found.energies, (a - b).square().sum(dim=1) / 8.0)
    assert (found.starts > found.losses + 0.1).all()


def test_without_identities_the_straight_line_stays():
    a, b = ends(3)
    found = walk(same, a, b, zeros(3), points=9, steps=20, identity_weight=0, class_weight=0)
    # Rounding may find a step of the last bit "better"; none may go farther.
    torch.testing.assert_close(found.codes, straight(a, b, 9), atol=1e-5, rtol=0)
    assert (found.exposures == 0).all() and (found.class_errors == 0).all()


def test_the_walk_goes_round_an_obstacle_and_its_ends_stay():
    a, b = ends(4)
    found = walk(
        same, a, b, zeros(4), points=17, steps=300, identity_weight=1.0, class_weight=0,
        identities=nearest_known,
    )  # fmt: skip
    line = straight(a, b, 17)
    before, after = (torch.cdist(p, POINTS[:1]).amin(dim=(1, 2)) for p in (line, found.codes))
    assert (before < 0.6).all() and (after > 1.2).all()
    # The ends lie on the known person's side and stay there; by the middle the two are as likely.
    middle = slice(6, 11)
    named = torch.softmax(nearest_known(found.codes[:, middle].flatten(0, 1)), dim=1).amax(dim=1)
    assert torch.softmax(nearest_known(line[:, middle].flatten(0, 1)), dim=1).amax(1).min() > 0.999
    assert named.max() < 0.9
    assert torch.equal(found.codes[:, 0], a) and torch.equal(found.codes[:, -1], b)
    assert (found.losses < found.starts).all()


def test_the_class_decides_on_which_side_the_obstacle_is_passed():
    a, b = (end.repeat(2, 1) for end in ends(1))
    ring = torch.tensor([[0.0, 0.0], [0.0, 3.0], [0.0, -3.0]])
    found = walk(
        same, a, b, torch.tensor([0, 1]), points=17, steps=300, identity_weight=1.0,
        distance_weight=0.3, class_weight=1.0, classes=side,
        identities=lambda x: -2 * (x[:, None] - ring).square().sum(dim=2),
    )  # fmt: skip
    below, above = found.codes[:, 8, 1]
    assert below < -0.6 and above > 0.6


def reference_loss(inside, a, b, scale, weights):
    """The objective for one walk of class 0, written again with NumPy."""
    path = np.concatenate((a[None], inside.reshape(-1, 2), b[None]))
    steps = np.diff(path, axis=0)
    energy = len(steps) ** 2 * (steps**2).sum(axis=1).mean() / scale
    points = POINTS.numpy().astype(float)
    log_p = log_softmax(-2 * ((path[1:-1, None] - points) ** 2).sum(axis=2), axis=1)
    exposed = (-np.log(len(points)) - log_p.mean(axis=1)).mean()
    wrong = np.logaddexp(0, 2 * path[1:-1, 1]).mean()
    return weights[0] * energy + weights[1] * exposed + weights[2] * wrong


def test_the_minimum_is_that_of_another_optimiser():
    a, b = ends(1)
    weights, scale = (0.7, 0.3, 0.2), 10.0
    found = walk(
        same, a, b, zeros(1), points=7, steps=1500, decay=True, distance_weight=weights[0],
        identity_weight=weights[1], class_weight=weights[2], identities=nearest_known,
        classes=side, scale=scale,
    )  # fmt: skip
    line = straight(a, b, 7)[0, 1:-1].numpy().astype(float)
    known = (a[0].numpy().astype(float), b[0].numpy().astype(float), scale, weights)
    assert float(found.starts[0]) == pytest.approx(reference_loss(line, *known), rel=1e-5)
    best = minimize(reference_loss, line.ravel(), args=known, options={"gtol": 1e-9})
    assert float(found.losses[0]) == pytest.approx(best.fun, rel=1e-4)
    np.testing.assert_allclose(found.codes[0, 1:-1].numpy().ravel(), best.x, atol=2e-2)
    again = weights[0] * found.energies + weights[1] * found.exposures
    torch.testing.assert_close(again + weights[2] * found.class_errors, found.losses)


@pytest.mark.parametrize("batch", [1, 20, 256])
def test_a_walk_does_not_depend_on_the_others_in_its_batch(batch):
    a, b = ends(5)
    options = {"points": 9, "steps": 60, "identity_weight": 1.0, "class_weight": 0.0, "scale": 16.0}
    together = walk(same, a, b, zeros(5), identities=nearest_known, batch=batch, **options)
    for i in range(5):
        rows = slice(i, i + 1)
        alone = walk(same, a[rows], b[rows], zeros(1), identities=nearest_known, **options)
        torch.testing.assert_close(together.codes[rows], alone.codes, atol=1e-5, rtol=0)
        torch.testing.assert_close(together.losses[rows], alone.losses)


def test_the_best_iterate_is_never_worse_than_the_last_or_the_first():
    a, b = ends(4)
    options = {
        "points": 9,
        "steps": 15,
        "lr": 2.0,
        "class_weight": 0.0,
        "identities": nearest_known,
    }
    best, last = (walk(same, a, b, zeros(4), keep=keep, **options) for keep in ("best", "last"))
    assert (best.losses <= last.losses).all() and (best.losses <= best.starts).all()
    assert (best.losses < last.losses - 1e-3).any(), "steps this large overshoot"


@pytest.mark.parametrize("dimension", [2, 50])
def test_weights_keep_their_meaning_in_a_stretched_space(dimension):
    """Codes ten times as large, with classifiers to match, are walked ten times as far."""
    rng = torch.Generator().manual_seed(3)
    a, b = (torch.randn(3, dimension, generator=rng) for _ in range(2))
    known = torch.randn(4, dimension, generator=rng) / 3

    def logits(x):
        return -(x[:, None] - known).square().sum(dim=2)

    options = {"points": 8, "steps": 50, "class_weight": 0.0, "identity_weight": 0.5}
    near = walk(same, a, b, zeros(3), identities=logits, **options)
    far = walk(same, 10 * a, 10 * b, zeros(3), identities=lambda x: logits(x / 10), **options)
    torch.testing.assert_close(far.codes / 10, near.codes, atol=2e-3, rtol=0)
    torch.testing.assert_close(far.losses, near.losses, atol=1e-4, rtol=1e-4)


def test_a_weight_without_its_classifier_is_refused():
    a, b = ends(1)
    with pytest.raises(ValueError, match="needs identities"):
        walk(same, a, b, zeros(1), class_weight=0)


def test_two_points_are_the_ends():
    a, b = ends(2)
    found = walk(same, a, b, zeros(2), points=2, steps=3, identities=nearest_known, classes=side)
    assert torch.equal(found.codes, torch.stack((a, b), dim=1))
