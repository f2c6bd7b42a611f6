"""DP-SGD: clipping by hand, Poisson batches, the noise's scale, accountants, and fleets against Opacus."""

import math

import numpy as np
import pytest
import torch
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from dp_accounting.privacy_accountant import NeighboringRelation
from dp_accounting.rdp import RdpAccountant
from scipy.stats import chisquare
from torch import nn

from benchmark.learning.cvae import CVAENetwork, record_loss
from benchmark.learning.training import build
from benchmark.statistics import gaussian_epsilon
from methods.dp_cvae.dp_sgd import (
    PrivateTrainee,
    least_noise,
    poisson_batches,
    spent,
    train_private,
    train_private_fleet,
)

SCHEDULES = [(1.0, 0.1, 50), (5.0, 0.7, 140), (0.8, 0.02, 400), (3.0, 1.0, 20)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Linear(nn.Module):
    """One weight for each feature, no bias worth the name: the gradient of a record's loss is known."""

    def __init__(self, d):
        super().__init__()
        self.layer = nn.Linear(d, 1)

    def forward(self, x):
        return self.layer(x)


def inner_product(network, batch, noise):
    """Loss w·x + b: a record's gradient is (x, 1)."""
    return network(batch[0])[..., 0]


def trainee(network, data, *, noise=0.0, clip=1.0, rate=1.0, steps=1, seed=0, divisor=None):
    return PrivateTrainee(
        network,
        data,
        sample_rate=rate,
        steps=steps,
        divisor=rate * len(data[0]) if divisor is None else divisor,
        noise_multiplier=noise,
        clip_norm=clip,
        sampling=generator(seed),
        latent=generator(seed + 1),
        noise=generator(seed + 2),
    )


def first_gradients(monkeypatch, one, *, fleet):
    """What Adam was given at its first step."""
    seen = {}
    step = torch.optim.Adam.step

    def spy(self, *args, **more):
        for i, p in enumerate(self.param_groups[0]["params"]):
            seen.setdefault(i, p.grad.detach().clone().flatten())
        return step(self, *args, **more)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    if fleet:
        train_private_fleet([one], inner_product, noise=1, lr=1e-3)
    else:
        train_private(one, inner_product, noise=1, lr=1e-3)
    return torch.cat([seen[i] for i in sorted(seen)]).numpy()


@pytest.mark.parametrize("fleet", [False, True])
def test_each_records_gradient_is_clipped_by_hand(monkeypatch, fleet):
    """Gradients (x, 1): one of norm 5 is scaled to 2, one of norm √2 stays; divided by both records."""
    x = torch.tensor([[2.0, math.sqrt(20.0)], [1.0, 0.0]])
    network = build(lambda: Linear(2), generator(), "cpu")
    got = first_gradients(monkeypatch, trainee(network, (x,), clip=2.0), fleet=fleet)
    clipped = np.array([2.0, math.sqrt(20.0), 1.0]) * 2 / 5
    assert got == pytest.approx((clipped + np.array([1.0, 0.0, 1.0])) / 2, rel=1e-5)


@pytest.mark.parametrize("fleet", [False, True])
def test_noise_has_the_standard_deviation_that_is_claimed(monkeypatch, fleet):
    """Noise multiplier × clip_norm, over the expected batch, on top of the clipped sum."""
    d, n = 4000, 8
    network = build(lambda: Linear(d), generator(), "cpu")
    one = trainee(network, (torch.zeros(n, d),), noise=3.0, clip=0.5, rate=1.0)
    got = first_gradients(monkeypatch, one, fleet=fleet)[:-1] * n
    assert got.std() == pytest.approx(1.5, rel=5 / math.sqrt(2 * d))
    assert got.mean() == pytest.approx(0, abs=5 * 1.5 / math.sqrt(d))


def test_batches_are_poisson_samples():
    """Sizes are binomial; each record is in a batch independently, from the generator alone."""
    n, rate, steps = 20, 0.3, 4000
    torch.manual_seed(1)
    state = torch.get_rng_state()
    batches = list(poisson_batches(n, rate, steps, generator()))
    assert torch.equal(state, torch.get_rng_state())
    assert batches == list(poisson_batches(n, rate, steps, generator()))
    assert batches != list(poisson_batches(n, rate, steps, generator(1)))
    sizes = np.bincount([len(b) for b in batches], minlength=n + 1)
    law = np.array([math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(n + 1)])
    bins = [slice(0, 4), *(slice(k, k + 1) for k in range(4, 9)), slice(9, None)]
    test = chisquare([sizes[b].sum() for b in bins], [law[b].sum() * steps for b in bins])
    assert test.pvalue > 1e-4
    taken = np.bincount(np.concatenate(batches).astype(int), minlength=n) / steps
    assert taken == pytest.approx(rate, abs=5 * math.sqrt(rate * (1 - rate) / steps))


def test_empty_batches_are_steps_of_noise_alone():
    """Skipping them would tell that nobody was sampled."""
    nets = [build(lambda: Linear(3), generator(), "cpu") for _ in range(3)]
    before = nets[0].layer.weight.detach().clone()
    options = {"noise": 1.0, "rate": 1e-9, "steps": 3}
    train_private(trainee(nets[0], (torch.ones(5, 3),), **options), inner_product, noise=1, lr=0.1)
    train_private_fleet(
        [trainee(nets[1], (torch.ones(5, 3),), **options)], inner_product, noise=1, lr=0.1
    )
    assert (nets[0].layer.weight - before).abs().max() > 1e-2
    assert torch.allclose(nets[0].layer.weight, nets[1].layer.weight, atol=1e-6)


# ---------------------------------------------------------------- accounting


def event(noise, rate, steps):
    step = dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(noise))
    return dp_event.SelfComposedDpEvent(step, steps)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_epsilon_is_that_of_dp_accounting(schedule):
    """Rényi-DP to 1 % of the same accountant elsewhere; the privacy loss distribution just above it."""
    theirs = RdpAccountant().compose(event(*schedule)).get_epsilon(1e-5)
    assert spent([schedule], 1e-5, "rdp") == pytest.approx(theirs, rel=0.01)
    tight = PLDAccountant().compose(event(*schedule)).get_epsilon(1e-5)
    ours = spent([schedule], 1e-5, "prv")
    assert tight * 0.999 <= ours <= tight * 1.01 + 0.005
    assert ours < theirs


def test_epsilon_of_a_composition_with_counts():
    theirs = PLDAccountant().compose(event(5.0, 0.7, 140)).compose(event(10.0, 1.0, 1))
    ours = spent([(5.0, 0.7, 140), (10.0, 1.0, 1)], 1e-5, "prv")
    assert ours == pytest.approx(theirs.get_epsilon(1e-5), abs=0.006)
    assert spent([(20.0, 1.0, 100)], 1e-5, "prv") == pytest.approx(
        gaussian_epsilon(20.0, 100, 1e-5), abs=0.003
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_replacements_cost_what_dp_accounting_says_and_a_little_more(schedule):
    """Rényi-DP, so above the privacy loss; and above what adding or removing costs."""
    theirs = PLDAccountant(NeighboringRelation.REPLACE_ONE).compose(event(*schedule))
    ours = spent([schedule], 1e-5, "prv", "replace")
    assert theirs.get_epsilon(1e-5) < ours < 1.3 * theirs.get_epsilon(1e-5)
    assert ours > spent([schedule], 1e-5, "rdp")
    assert spent([schedule] * 2, 1e-5, "rdp", "replace") > ours


def test_no_noise_is_infinite_and_no_step_is_nothing():
    assert spent([(0.0, 0.1, 5)], 1e-5, "prv") == math.inf
    assert spent([(0.0, 0.1, 0)], 1e-5, "rdp") == 0


@pytest.mark.parametrize(("accountant", "epsilon"), [("prv", 8.0), ("rdp", 0.5), ("rdp", 8.0)])
def test_noise_is_the_least_that_keeps_within_epsilon(accountant, epsilon):
    noise = least_noise(epsilon, 1e-5, accountant, 0.5, 100)
    assert spent([(noise, 0.5, 100)], 1e-5, accountant) <= epsilon
    assert spent([(noise * 0.995, 0.5, 100)], 1e-5, accountant) > epsilon


def test_what_was_spent_before_takes_its_share():
    alone = least_noise(1.0, 1e-5, "rdp", 0.5, 100)
    assert least_noise(1.0, 1e-5, "rdp", 0.5, 100, ((8.0, 1.0, 1),)) > 1.02 * alone
    with pytest.raises(ValueError, match="is spent already"):
        least_noise(0.1, 1e-5, "rdp", 0.5, 100, ((1.0, 1.0, 1),))


# ---------------------------------------------------------------- fleets


def cvae_trainees(noise, clip):
    """Different numbers of records and of steps."""
    made = []
    for i, (n, steps) in enumerate([(30, 6), (40, 9), (30, 6)]):
        network = build(lambda: CVAENetwork(6, 3, 8, 2), generator(i), "cpu")
        x = torch.rand(n, 6, generator=generator(10 + i))
        onehot = torch.eye(3)[torch.arange(n) % 3]
        made.append(
            trainee(
                network, (x, onehot), noise=noise, clip=clip, rate=0.3, steps=steps, seed=100 * i
            )
        )
    return made


@pytest.mark.parametrize(("noise", "clip"), [(1.3, 0.7), (0.0, math.inf)])
def test_a_fleet_is_what_opacus_does_one_by_one(noise, clip):
    loss = record_loss(0.1, False)
    together, alone = cvae_trainees(noise, clip), cvae_trainees(noise, clip)
    train_private_fleet(together, loss, noise=2, lr=1e-2)
    for one in alone:
        train_private(one, loss, noise=2, lr=1e-2)
    for ours, theirs in zip(together, alone, strict=True):
        for a, b in zip(ours.network.parameters(), theirs.network.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-5)
        assert type(theirs.network) is CVAENetwork


def test_large_batches_in_parts_are_the_same(monkeypatch):
    loss = record_loss(0.1, False)
    whole, parts = cvae_trainees(1.3, 0.7)[0], cvae_trainees(1.3, 0.7)[0]
    train_private(whole, loss, noise=2, lr=1e-2)
    size = sum(p.numel() for p in parts.network.parameters())
    monkeypatch.setattr("methods.dp_cvae.dp_sgd.GRADIENTS", 3 * size)
    train_private(parts, loss, noise=2, lr=1e-2)
    for a, b in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
