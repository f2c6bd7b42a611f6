"""One noisy step of DP-SGD, made thousands of times on n records and on n + 1: what can be told, and what is claimed.

The first Adam step is given the noisy mean gradient, which is all that a step releases. Every record's gradient is +1
or −1 (clipped), so that the mechanism is a sampled Gaussian in one dimension, and a threshold on it the best test.
"""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from benchmark.statistics import many_run_epsilon, privacy_loss_epsilon
from methods.dp_cvae.dp_sgd import PrivateTrainee, spent, train_private_fleet

NOISE, DELTA, N = 1.0, 0.01, 4
"""Little noise, few records and a large δ: a step then tells enough to be measured closely in some thousand runs."""


class Weight(nn.Module):
    """One weight."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x):
        return self.layer(x)


def product(network, batch, noise):
    """Loss w·x + b: a record's gradient is (x, 1), and ±(1, 0) once clipped if x = ±10⁶."""
    return network(batch[0])[..., 0]


def steps(monkeypatch, signs, *, rate, divisor, runs, seed):
    """The weight's noisy mean gradient in as many runs on records of these signs, ``(runs,)``."""
    seen = []

    def spy(self, *args, **more):
        seen.append(self.param_groups[0]["params"][0].grad.detach().clone().flatten())

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    network, x = Weight(), 1e6 * torch.tensor(signs, dtype=torch.float32)[:, None]

    def source(run, what):
        return torch.Generator().manual_seed((seed * runs + run) * 3 + what)

    trainees = [
        PrivateTrainee(
            network,
            (x,),
            sample_rate=rate,
            steps=1,
            divisor=divisor,
            noise_multiplier=NOISE,
            clip_norm=1.0,
            sampling=source(run, 0),
            latent=source(run, 1),
            noise=source(run, 2),
        )
        for run in range(runs)
    ]
    train_private_fleet(trainees, product, noise=1, lr=1e-3)
    return torch.cat(seen).double().numpy()


def measured(one, other, confidence=0.999):
    """Lower bound on ε from a threshold between the runs on two datasets (Clopper–Pearson, both directions)."""
    coins = np.arange(len(one) + len(other)) < len(one)
    scores = np.concatenate([one, other])
    bounds = [
        many_run_epsilon(sign * scores, coins, delta=DELTA, confidence=confidence)
        for sign in (1, -1)
    ]
    return max(b.value for b in bounds)


SAME, MORE = [1] * N, [1] * N + [-1]


@pytest.fixture
def audit(monkeypatch):
    """``audit(first, second, runs)``: bound from runs of two ``(signs, rate, divisor)``."""

    def measure(first, second, runs):
        found = [
            steps(monkeypatch, signs, rate=rate, divisor=divisor, runs=runs, seed=seed)
            for seed, (signs, rate, divisor) in enumerate((first, second))
        ]
        return measured(*found), found

    return measure


@pytest.mark.parametrize(
    ("rate", "runs"), [(1.0, 1500), pytest.param(0.5, 20_000, marks=pytest.mark.slow)]
)
def test_with_constants_one_record_more_tells_no_more_than_is_claimed(audit, rate, runs):
    """And the step is the sampled Gaussian that is accounted for, not one with more noise."""
    bound, (without, with_it) = audit((SAME, rate, rate * N), (MORE, rate, rate * N), runs)
    claimed = spent([(NOISE, rate, 1)], DELTA, "prv")
    assert claimed == pytest.approx(privacy_loss_epsilon(NOISE, rate, 1, DELTA), abs=0.01)
    assert 0.4 * claimed < bound <= claimed
    # Means and deviations by hand: sums of rate·(±1), of variance rate·(1 − rate) each, and the noise.
    for found, mean, n in ((without, N, N), (with_it, N - 1, N + 1)):
        deviation = np.sqrt(n * rate * (1 - rate) + NOISE**2) / (rate * N)
        assert found.mean() == pytest.approx(mean / N, abs=4 * deviation / np.sqrt(runs))
        assert found.std() == pytest.approx(deviation, rel=4 / np.sqrt(2 * runs))


def test_a_divisor_that_follows_the_number_of_records_is_caught(audit):
    """What ``dp_cvae`` 1 did where a batch is everybody: means of 1 and 3/5 where noise was made for a quarter."""
    bound, (without, with_it) = audit((SAME, 1.0, N), (MORE, 1.0, N + 1), 1500)
    claimed = spent([(NOISE, 1.0, 1)], DELTA, "prv")
    assert bound > claimed
    assert without.mean() == pytest.approx(1.0, abs=0.03)
    assert with_it.mean() == pytest.approx(3 / 5, abs=0.03)
    # By hand, at the best threshold: no sampling error can be the reason.
    at = np.linspace(0.4, 1.1, 701)
    caught = norm.sf(at, 1.0, NOISE / N) - DELTA
    falsely = norm.sf(at, 3 / 5, NOISE / (N + 1))
    assert np.log(np.max(caught / falsely)) > 1.5 * claimed


@pytest.mark.slow
def test_a_sample_rate_that_follows_the_number_of_records_is_caught(audit):
    """As ``batch_size``/n does: the other records weigh less as soon as there is one more."""
    bound, _ = audit((SAME, 3 / 4, 3), (MORE, 3 / 5, 3), 40_000)
    assert bound > spent([(NOISE, 3 / 4, 1)], DELTA, "prv")


def test_a_replacement_tells_what_is_claimed_for_it_and_more_than_an_addition(audit):
    bound, _ = audit((SAME, 1.0, N), ([*SAME[1:], -1], 1.0, N), 1500)
    assert bound <= spent([(NOISE, 1.0, 1)], DELTA, "prv", "replace")
    assert bound > spent([(NOISE, 1.0, 1)], DELTA, "prv")
