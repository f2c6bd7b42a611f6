"""DP-MERF: its kernel, its sensitivity, the noise that the claim needs, and what the generator learns."""

import math

import numpy as np
import pytest
import torch
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from dp_accounting.privacy_accountant import NeighboringRelation
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from benchmark.contracts import Context, LeakboardError, Records, Saved
from benchmark.statistics import one_run_epsilon_from_scores
from methods.dp_merf import DPMERF, embedding_sum, fourier_features, least_noise_multiplier

QUICK = {"hidden": 16, "frequencies": 20, "steps": 20}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def digits(start, stop):
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.data))[start:stop]
    x = (data.data[order] / 16).astype(np.float32)
    return Records(x, data.target[order].astype(np.int64), extractor="pixels")


def test_features_estimate_the_gaussian_kernel_and_have_norm_one():
    x = torch.rand(6, 4, generator=generator())
    length = 0.7
    waves = torch.randn(4, 40_000, generator=generator(1)) / length
    features = fourier_features(x, waves)
    expected = torch.exp(-torch.cdist(x, x).square() / (2 * length**2))
    assert torch.allclose(features @ features.T, expected, atol=5 / math.sqrt(40_000))
    assert torch.allclose(features.norm(dim=1), torch.ones(6))


def test_embedding_by_hand():
    """One frequency of 1: cos and sin of each record, summed by class."""
    x, labels = torch.tensor([[0.0], [math.pi / 2], [math.pi]]), torch.tensor([0, 1, 1])
    got = embedding_sum(x, labels, 3, torch.ones(1, 1))
    expected = torch.tensor([[1.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
    assert torch.allclose(got, expected, atol=1e-6)


def test_a_record_moves_the_sum_by_one_and_its_replacement_by_at_most_two():
    """The bound is reached by opposite features of one class."""
    rng = np.random.default_rng(1)
    waves = torch.randn(3, 8, generator=generator())
    moves = []
    for _ in range(200):
        x = torch.from_numpy(rng.random((5, 3)).astype(np.float32))
        labels = torch.from_numpy(rng.integers(0, 2, 5))
        other, other_labels = x.clone(), labels.clone()
        other[0] = torch.from_numpy(rng.random(3).astype(np.float32)) * 10
        other_labels[0] = int(rng.integers(0, 2))
        pair = embedding_sum(x, labels, 2, waves), embedding_sum(other, other_labels, 2, waves)
        moves.append((pair[0] - pair[1]).norm().item())
        without = embedding_sum(x[1:], labels[1:], 2, waves)
        assert (pair[0] - without).norm().item() == pytest.approx(1, abs=1e-5)
    assert max(moves) <= 2 + 1e-5
    x, one = torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64)
    far = embedding_sum(x, one, 1, torch.ones(1, 1)) - embedding_sum(
        x + math.pi, one, 1, torch.ones(1, 1)
    )
    assert far.norm().item() == pytest.approx(2)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 8.0])
def test_noise_is_the_least_that_the_analytic_gaussian_mechanism_allows(epsilon):
    """δ(ε) = Φ(1/2σ − εσ) − e^ε Φ(−1/2σ − εσ), Balle & Wang (2018), theorem 8."""

    def delta(sigma):
        ours = norm.cdf(1 / (2 * sigma) - epsilon * sigma)
        return ours - math.exp(epsilon) * norm.cdf(-1 / (2 * sigma) - epsilon * sigma)

    noise = least_noise_multiplier(epsilon, 1e-5)
    assert delta(noise) <= 1e-5 * (1 + 1e-9) < delta(noise * 0.999)


@pytest.mark.parametrize(
    ("adjacency", "public_size", "relation"),
    [
        ("replace", None, NeighboringRelation.REPLACE_ONE),
        ("add_remove", 50, NeighboringRelation.ADD_OR_REMOVE_ONE),
    ],
)
@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_claimed_epsilon_is_that_of_an_independent_accountant(
    epsilon, adjacency, public_size, relation
):
    method = DPMERF(**QUICK, epsilon=epsilon, public_size=public_size)
    claim = method.fit(digits(0, 60), Context(seed=1)).guarantee
    event = dp_event.GaussianDpEvent(claim.details["noise_multiplier"])
    expected = PLDAccountant(relation).compose(event).get_epsilon(claim.delta)
    assert claim.epsilon == pytest.approx(expected, rel=0.01)
    assert claim.epsilon == pytest.approx(epsilon, rel=1e-4) and claim.epsilon <= epsilon
    assert claim.adjacency == adjacency and ("size" in claim.public) == (public_size is None)


@pytest.mark.parametrize(("public_size", "step"), [(None, 2 / 50), (40, 1 / 40)])
def test_noise_on_the_embedding_is_the_multiplier_times_what_a_record_moves(
    monkeypatch, public_size, step
):
    """Told from what the generator is trained on, with and without noise."""
    seen = []
    monkeypatch.setattr(
        DPMERF, "_train", lambda self, network, embedding, *rest: seen.append(embedding) or 0.0
    )
    members = digits(0, 50)
    for epsilon in (1.0, None):
        method = DPMERF(frequencies=2000, epsilon=epsilon, public_size=public_size)
        method.fit(members, Context(seed=1))
    noise = (seen[0] - seen[1]).numpy()
    expected = step * least_noise_multiplier(1.0, 1e-5)
    assert noise.std() == pytest.approx(expected, rel=5 / math.sqrt(2 * noise.size))
    assert noise.mean() == pytest.approx(0, abs=5 * expected / math.sqrt(noise.size))


def test_with_a_public_size_nothing_follows_the_number_of_members(monkeypatch):
    """The embedding over a constant, and the same guarantee and sizes for one record more."""
    seen = []
    monkeypatch.setattr(
        DPMERF, "_train", lambda self, network, embedding, *rest: seen.append(embedding) or 0.0
    )
    method = DPMERF(**QUICK, public_size=50, classes=10)
    found = [method.fit(digits(0, n), Context(seed=1)) for n in (60, 61, 30)]
    assert {len(f.records) for f in found} == {50}
    assert found[0].guarantee == found[1].guarantee == found[2].guarantee
    assert found[0].guarantee.public == ()
    # The same seeds and so the same noise: one record of norm 1, over 50.
    assert (seen[0] - seen[1]).norm().item() == pytest.approx(1 / 50, rel=1e-3)


def test_members_enter_by_the_embedding_alone():
    """Two sets of members with one embedding: values outside of the bounds do not differ from them."""
    members = digits(0, 60)
    far = members.replace(data=np.where(members.data == 1, np.float32(7), members.data))
    one, other = (DPMERF(**QUICK).fit(m, Context(seed=1)) for m in (members, far))
    assert one.records == other.records and not (far.data == members.data).all()


def test_without_noise_the_generator_learns_the_classes():
    members, others = digits(0, 800), digits(900, 1700)
    release = DPMERF(epsilon=None, steps=600).fit(members, Context(seed=1))
    assert release.guarantee is None
    judge = LogisticRegression(max_iter=300).fit(release.records.data, release.records.labels)
    assert judge.score(others.data, others.labels) > 0.75


def test_same_seed_same_bits_and_restored_draws():
    method, members = DPMERF(**QUICK), digits(0, 60)
    first, again, other = (method.fit(members, Context(seed=s)) for s in (1, 1, 2))
    assert first.records == again.records and first.records != other.records
    stored = Saved(records=first.records, state=first.state, guarantee=first.guarantee)
    restored = method.restore(stored, Context(seed=5))
    draws = [r.sample(9, None, np.random.default_rng(3)) for r in (first, restored)]
    assert draws[0] == draws[1] and restored.guarantee == first.guarantee


def test_a_guarantee_for_identities_uses_one_record_of_each():
    members = digits(0, 60).replace(groups=np.arange(60) // 3)
    release = DPMERF(**QUICK, unit="group").fit(members, Context(seed=1))
    assert len(release.records) == 20 and release.guarantee.unit == "group"
    with pytest.raises(LeakboardError, match="needs identities"):
        DPMERF(**QUICK, unit="group").fit(digits(0, 60), Context(seed=1))


@pytest.mark.slow
def test_measured_epsilon_stays_below_the_claim():
    everybody = digits(0, 400)
    for seed in range(3):
        coins = np.random.default_rng(seed).random(400) < 0.5
        release = DPMERF(steps=300).fit(everybody.take(coins), Context(seed=seed))
        distance = torch.cdist(
            torch.from_numpy(everybody.data), torch.from_numpy(release.records.data)
        )
        scores = -distance.min(dim=1).values.double().numpy()
        bound = one_run_epsilon_from_scores(scores, coins, delta=1e-5)
        assert not bound.low > release.guarantee.epsilon
