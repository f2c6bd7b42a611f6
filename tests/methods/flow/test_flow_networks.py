"""The flow's parts against closed forms: the integral, the loss, what training learns, times and batches."""

import itertools

import numpy as np
import pytest
import scipy.stats
import torch

from benchmark.learning.training import build
from methods.controls.lookup import LookupGenerator
from methods.flow.networks import (
    VelocityNetwork,
    _rows,
    _share,
    logit_normal,
    patch_for,
    train_flow,
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def network(shape=(8, 8, 1), n_classes=2, **sizes):
    return build(lambda: VelocityNetwork(shape, n_classes, **{"width": 8, **sizes}), rng(), "cpu")


class OfNormals(VelocityNetwork):
    """The exact velocity where every pixel of a record is N(m, s²): E[record − noise | x_t] is linear in x_t."""

    mean, spread = 0.3, 0.2

    def velocity(self, x, t, labels):
        t = t[:, None, None, None]
        variance = (1 - t) ** 2 + (t * self.spread) ** 2
        slope = (t * self.spread**2 - (1 - t)) / variance
        return self.mean + slope * (x - t * self.mean)


def test_integration_takes_noise_to_where_the_closed_form_says():
    """The flow between two normal distributions is the map z → m + s·z; halving the steps' size costs a quarter."""
    z = torch.randn(50, 64, generator=rng())
    wanted = (0.3 + 0.2 * z + 1) * 127.5
    off = []
    for steps in (10, 20, 40):
        made = OfNormals((8, 8, 1), 2, width=8, steps=steps)(z, torch.zeros(50, dtype=torch.int64))
        off.append((made - wanted).abs().mean().item())
    assert off[0] < 4 and off[2] < 0.7
    assert all(b < 0.6 * a for a, b in itertools.pairwise(off))


def test_one_step_is_the_record_that_is_guessed_from_noise():
    net = network(steps=1)
    noise, labels = torch.randn(3, 1, 8, 8, generator=rng(1)), torch.tensor([0, 1, 0])
    made = net.integrate(noise, labels)
    assert torch.equal(made, noise + net.velocity(noise, torch.zeros(3), labels))


def test_a_flow_that_stands_still_errs_by_all_of_the_velocity():
    net = network().reset_()
    x, noise = torch.rand(4, 1, 8, 8, generator=rng(1)), torch.randn(4, 1, 8, 8, generator=rng(2))
    labels = torch.tensor([0, 1, 0, 1])
    loss = net.loss(x, labels, torch.rand(4, generator=rng(3)), noise)
    assert loss.tolist() == pytest.approx((x - noise).square().mean(dim=(1, 2, 3)).tolist())


@pytest.mark.parametrize(
    ("shape", "patch"),
    [((28, 28, 1), None), ((33, 20, 3), None), ((8, 8, 1), None), ((1, 9, 1), 2), ((30, 31, 3), 4)],
)
def test_every_size_keeps_the_contract(shape, patch):
    net = network(shape, 3, patch=patch, steps=2)
    z, labels = torch.randn(2, net.latent, generator=rng(1)), torch.tensor([0, 2])
    made = net(z, labels)
    assert (net.latent, net.n_classes) == (np.prod(shape), 3)
    assert made.shape == (2, np.prod(shape)) and 0 <= made.min() < made.max() <= 255
    assert not torch.equal(net(z, torch.tensor([1, 2]))[0], made[0])
    z.requires_grad_()
    net(z, labels).sum().backward()
    assert z.grad.abs().sum() > 0


def test_pixels_are_in_the_order_height_width_channel():
    """A flow that stands still makes of noise, cut to [−1, 1], the pixels in the same places."""
    net = network((6, 5, 3)).reset_()
    z = torch.randn(2, 90, generator=rng(1))
    expected = (z.clamp(-1, 1) + 1) * 127.5
    assert torch.allclose(net(z, torch.zeros(2, dtype=torch.int64)), expected)


def test_patches_keep_the_grid_at_sixteen_to_thirty_two_cells():
    assert [patch_for(s, s) for s in (8, 16, 17, 28, 64, 65, 128, 256)] == [1, 1, 2, 2, 2, 4, 4, 8]
    assert patch_for(20, 100) == 4


def test_training_learns_the_closed_form_of_two_images():
    """Away from t = 1, where the network must be least wrong, it is near the velocity of a flow that knows them."""
    x = torch.full((2, 1, 8, 8), -0.6)
    x[0, :, :4], x[1, :, :, :4] = 0.6, 0.6
    labels = torch.tensor([0, 0])
    net = network(width=16).reset_()
    summary = train_flow(net, x, labels, steps=300, batch_size=32, lr=3e-3, average=0.98, rng=rng())
    points = ((x + 1) * 127.5).movedim(1, 3).flatten(1).numpy()
    exact = LookupGenerator(points, labels.numpy())
    noise, t = torch.randn(200, 1, 8, 8, generator=rng(5)), torch.full((200,), 0.5)
    many, drawn = labels.repeat(100), x.repeat(100, 1, 1, 1)
    where = torch.lerp(noise, drawn, 0.5)
    with torch.no_grad():
        off = (net.velocity(where, t, many) - exact.velocity(where, t, many)).square().mean().item()
        scale = exact.velocity(where, t, many).square().mean().item()
        made = net(torch.randn(50, 64, generator=rng(6)), many[:50])
    assert off < 0.1 * scale
    assert summary.loss < 0.3
    distance = torch.cdist(made, torch.from_numpy(points)).min(dim=1).values
    assert (distance < 0.15 * 255 * 8).float().mean() > 0.8


def test_times_are_logit_normal_and_one_in_each_part():
    t = logit_normal(500, rng())
    parts = scipy.stats.norm.cdf(scipy.special.logit(t.double().numpy()))
    assert sorted((parts * 500).astype(int)) == list(range(500))


def test_batches_show_every_record_equally_often():
    rows = torch.cat(list(itertools.islice(_rows(7, 4, rng()), 14)))
    assert torch.bincount(rows).tolist() == [8] * 7
    assert sorted(rows[:7].tolist()) == list(range(7))


def test_steps_rise_and_fall_to_nothing():
    shares = [_share(step, 100) for step in range(100)]
    assert shares[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0]) and shares[5] == 1
    assert all(a >= b for a, b in itertools.pairwise(shares[5:])) and 0 < shares[-1] < 1e-3
