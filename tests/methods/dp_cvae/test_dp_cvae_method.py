"""DP-CVAE: what it claims, what it spends, what it may look at, and what it learns without noise."""

import math

import numpy as np
import pytest
import torch
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from dp_accounting.privacy_accountant import NeighboringRelation
from dp_accounting.rdp import RdpAccountant
from pydantic import ValidationError
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from benchmark.contracts import Context, LeakboardError, Records, Saved
from benchmark.learning.private import bounds_of, one_of_each_identity
from benchmark.learning.sampling import apportioned
from benchmark.statistics import one_run_epsilon_from_scores
from methods.cvae import CVAE
from methods.dp_cvae.method import DPCVAE, _Fit, private_counts

QUICK = {"hidden": 16, "latent": 4, "epochs": 4, "batch_size": 32, "accountant": "rdp"}
"""With the quicker accountant."""
CONSTANT = {"public_size": 120, "classes": 3}
"""What makes it a guarantee for adding or removing a record."""
NO_PRIVACY = {"epsilon": None, "noise_multiplier": 0.0, "clip_norm": None}


def records(n=120, d=6, classes=3, identities=None, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    groups = None if identities is None else rng.integers(0, identities, n)
    data = np.eye(classes, d)[labels] * 2 + 0.3 * rng.standard_normal((n, d))
    return Records(data.astype(np.float32), labels, groups, extractor="made-up")


def digits(start, stop):
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.data))[start:stop]
    x = (data.data[order] / 16).astype(np.float32)
    return Records(x, data.target[order].astype(np.int64), extractor="pixels")


def mechanisms(guarantee):
    """What the details say was done, as an independent accountant's events."""
    details = guarantee.details
    step = dp_event.GaussianDpEvent(details["noise_multiplier"])
    step = dp_event.PoissonSampledDpEvent(details["sample_rate"], step)
    events = [dp_event.SelfComposedDpEvent(step, details["steps"])]
    if "label_noise" in details:
        # dp-accounting doubles what it takes for one record's under replacement; a count moves by √2 then.
        doubled = math.sqrt(2) if guarantee.adjacency == "replace" else 1.0
        events.append(dp_event.GaussianDpEvent(details["label_noise"] * doubled))
    return dp_event.ComposedDpEvent(events)


@pytest.mark.parametrize(
    "parameters",
    [
        {"epsilon": 1.0, "accountant": "prv"},
        {"epsilon": 8.0},
        {"epsilon": 2.0, "labels": "noisy", "label_share": 0.3, "accountant": "prv"},
        {"epsilon": None, "noise_multiplier": 3.0, "delta": 1e-4},
    ],
)
def test_claimed_epsilon_is_that_of_an_independent_accountant(parameters):
    release = DPCVAE(**{**QUICK, **CONSTANT, **parameters}).fit(records(), Context(seed=1))
    claim = release.guarantee
    assert claim.delta == parameters.get("delta", 1e-5) and claim.unit == "record"
    assert claim.adjacency == "add_remove" and claim.public == ()
    theirs = PLDAccountant() if "prv" in parameters.values() else RdpAccountant()
    expected = theirs.compose(mechanisms(claim)).get_epsilon(claim.delta)
    assert claim.epsilon == pytest.approx(expected, rel=0.01)
    target = parameters["epsilon"]
    if target is not None:
        assert 0.995 * target <= claim.epsilon <= target


@pytest.mark.parametrize("parameters", [{}, {"labels": "noisy", "label_share": 0.3}])
def test_where_the_number_is_public_the_claim_is_for_replacing_one(parameters):
    """dp-accounting's privacy loss of replacements lies below the Rényi bound that is claimed, and not far."""
    release = DPCVAE(**QUICK, **parameters, epsilon=2.0).fit(records(), Context(seed=1))
    claim = release.guarantee
    assert claim.adjacency == "replace" and claim.public == ("size", "classes")
    theirs = PLDAccountant(NeighboringRelation.REPLACE_ONE)
    tight = theirs.compose(mechanisms(claim)).get_epsilon(claim.delta)
    assert 0.85 * claim.epsilon < tight < claim.epsilon <= 2.0
    constant = DPCVAE(**QUICK, **parameters, **CONSTANT, epsilon=2.0)
    less = constant.fit(records(), Context(seed=1)).guarantee.details["noise_multiplier"]
    # A replacement moves up to twice as far; where gradients are sampled, by less.
    assert 1.2 < claim.details["noise_multiplier"] / less < 2.05


def test_every_step_is_accounted(monkeypatch):
    """As many Poisson batches are drawn, and steps of Adam made, as the claim says."""
    steps = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self, *a, **k: steps.append(1) or step(self, *a, **k)
    )
    claim = DPCVAE(**QUICK).fit(records(), Context(seed=1)).guarantee
    assert claim.details["sample_rate"] == 32 / 120
    assert len(steps) == claim.details["steps"] == math.ceil(4 * 120 / 32)


def test_without_noise_there_is_no_guarantee():
    assert DPCVAE(**QUICK, **NO_PRIVACY).fit(records(), Context(seed=1)).guarantee is None
    parameters = {**NO_PRIVACY, "clip_norm": 1.0}
    assert DPCVAE(**QUICK, **parameters).fit(records(), Context(seed=1)).guarantee is None


# ---------------------------------------------------------------- what it may look at


def test_scaling_does_not_look_at_the_members():
    """Members within the bounds or not: the generator's box is that of the bounds."""
    members = records()
    release = DPCVAE(**QUICK, low=-1.0, high=3.0).fit(members, Context(seed=1))
    assert (release.state["minimum"] == -1).all() and (release.state["width"] == 4).all()
    cut = members.replace(data=members.data.clip(-1, 3))
    again = DPCVAE(**QUICK, low=-1.0, high=3.0).fit(cut, Context(seed=1))
    assert again.records == release.records and not (cut.data == members.data).all()


def test_bounds_are_those_of_the_extractor_unless_given():
    features = records(3)
    assert bounds_of(features, None, None) == (-4, 4)
    assert bounds_of(features.replace(extractor="pixels"), None, None) == (0, 1)
    assert bounds_of(features.replace(extractor="efficientnet_lite0"), None, 2.0) == (0, 2)
    images = Records(np.zeros((1, 2, 2, 1), dtype=np.uint8), np.zeros(1, dtype=np.int64))
    assert bounds_of(images, None, None) == (0, 255)
    with pytest.raises(LeakboardError, match="low must be below high"):
        bounds_of(features, 5.0, None)


def test_with_a_public_size_nothing_follows_the_number_of_members():
    """One member more or fewer, or many: the same constants, guarantee and sizes of all that is released."""
    method = DPCVAE(**QUICK, **CONSTANT, release_size=0.5)
    seen = []
    for n in (119, 120, 121, 60):
        release = method.fit(records(n), Context(seed=1))
        fit = _Fit(method, records(n), Context(seed=1))
        shapes = {name: value.shape for name, value in release.state.items()}
        schedule = (fit.trainee.divisor, fit.trainee.steps, fit.trainee.sample_rate)
        counts = release.state["class_counts"].tolist()
        assert schedule == (32, 15, 32 / 120) and len(release.records) == 60
        seen.append((release.guarantee, release.notes, shapes, counts))
    assert seen[0] == seen[1] == seen[2] == seen[3]


def test_without_it_what_follows_the_number_is_public():
    found = [DPCVAE(**QUICK).fit(records(n), Context(seed=1)) for n in (120, 130)]
    assert [len(f.records) for f in found] == [120, 130]
    assert all("size" in f.guarantee.public for f in found)


def test_a_declared_number_of_classes_is_kept():
    members = records(120, classes=2)
    release = DPCVAE(**QUICK, classes=3, public_size=120).fit(members, Context(seed=1))
    assert np.bincount(release.records.labels).tolist() == [40, 40, 40]
    with pytest.raises(LeakboardError, match="classes = 1 was declared, but there is a record of"):
        DPCVAE(**QUICK, classes=1).fit(members, Context(seed=1))


def test_class_counts_of_the_release_do_not_tell_those_of_the_members():
    members = records()
    skewed = members.replace(labels=np.where(np.arange(120) < 100, 0, members.labels))
    for one in (members, skewed):
        release = DPCVAE(**QUICK).fit(one, Context(seed=1))
        assert np.bincount(release.records.labels).tolist() == [40, 40, 40]
    paid = DPCVAE(**QUICK, epsilon=50.0, labels="noisy", label_share=0.5)
    counts = np.bincount(paid.fit(skewed, Context(seed=1)).records.labels, minlength=3)
    assert counts == pytest.approx(np.bincount(skewed.labels), abs=6)
    assert "noisy counts, 0.5" in paid.fit(skewed, Context(seed=1)).guarantee.details["labels"]


def test_noise_on_the_counts_has_its_standard_deviation():
    labels = np.repeat(np.arange(500), 100)
    counts = private_counts(labels, 500, 7.0, np.random.default_rng(1))
    assert counts.std() == pytest.approx(7, rel=5 / math.sqrt(1000))
    assert (private_counts(labels[:1], 2, 0.0, np.random.default_rng(1)) == [1, 0]).all()


def test_apportioning_by_largest_remainders_by_hand():
    assert apportioned(np.array([1.0, 1.0, 1.0]), 10).tolist() == [4, 3, 3]
    assert apportioned(np.array([0.6, 0.0, 1.9]), 5).tolist() == [1, 0, 4]


def test_a_guarantee_for_identities_uses_one_record_of_each():
    members = records(identities=30)
    present = len(np.unique(members.groups))
    chosen = one_of_each_identity(members, np.random.default_rng(1))
    assert sorted(chosen.groups) == sorted(set(members.groups.tolist()))
    release = DPCVAE(**QUICK, unit="group").fit(members, Context(seed=1))
    assert release.guarantee.unit == "group"
    assert len(release.records) == pytest.approx(present, abs=1)
    assert release.guarantee.details["sample_rate"] == min(1.0, 32 / present)
    with pytest.raises(LeakboardError, match="needs identities"):
        DPCVAE(unit="group").fit(records(), Context(seed=1))


def test_each_record_of_an_identity_may_be_the_one():
    members = records(6).replace(groups=np.array([0, 0, 0, 1, 1, 1]))
    picks = [one_of_each_identity(members, np.random.default_rng(s)).data[0, 0] for s in range(60)]
    assert len(set(picks)) == 3


# ---------------------------------------------------------------- fitting


def test_same_seed_same_bits_and_restored_draws():
    method = DPCVAE(**QUICK)
    first, again, other = (method.fit(records(), Context(seed=s)) for s in (1, 1, 2))
    assert first.records == again.records and first.records != other.records
    stored = Saved(records=first.records, state=first.state, guarantee=first.guarantee)
    restored = method.restore(stored, Context(seed=5))
    draws = [r.sample(9, None, np.random.default_rng(3)) for r in (first, restored)]
    assert draws[0] == draws[1] and restored.guarantee == first.guarantee


def test_a_fleet_is_the_same_as_one_by_one():
    members = [records(n, seed=n) for n in (120, 90, 40)]
    contexts = [Context(seed=s) for s in range(3)]
    method = DPCVAE(**QUICK, epsilon=4.0, labels="noisy")
    for one, m, c in zip(method.fit_many(members, contexts), members, contexts, strict=True):
        alone = method.fit(m, c)
        assert one.records.labels.tolist() == alone.records.labels.tolist()
        assert one.records.data == pytest.approx(alone.records.data, abs=1e-4)
        assert one.guarantee == alone.guarantee


def test_images_are_fitted_and_fleets_of_them_go_one_by_one():
    rng = np.random.default_rng(0)
    images = Records(rng.integers(0, 256, (40, 8, 8, 1), dtype=np.uint8), np.arange(40) % 2)
    method = DPCVAE(**{**QUICK, "channels": 2, "epochs": 2})
    release = method.fit(images, Context(seed=1))
    assert release.records.kind == "image" and release.guarantee.epsilon <= 1
    assert method.fit_many([images], [Context(seed=1)])[0].records == release.records


@pytest.mark.slow
def test_at_infinite_epsilon_it_is_the_cvae_within_the_spread_of_seeds():
    """Accuracy of a classifier trained on the release, on other digits, over five seeds of each."""
    members, others = digits(0, 400), digits(900, 1700)

    def scores(method):
        found = []
        for seed in range(5):
            drawn = method.fit(members, Context(seed=seed)).records
            judge = LogisticRegression(max_iter=300).fit(drawn.data, drawn.labels)
            found.append(judge.score(others.data, others.labels))
        return np.array(found)

    common = {"hidden": 64, "latent": 10, "batch_size": 128}
    plain = scores(CVAE(**common))
    private = scores(DPCVAE(**common, **NO_PRIVACY, epochs=300))
    spread = math.sqrt(plain.var(ddof=1) + private.var(ddof=1))
    assert abs(plain.mean() - private.mean()) < 2 * max(spread, 0.01)
    assert private.mean() > 0.8


@pytest.mark.slow
def test_measured_epsilon_stays_below_the_claim():
    """One-run bounds of an attacker with the weights, who scores by the error of reconstruction."""
    everybody = digits(0, 400)
    claims, measured = [], []
    for seed in range(3):
        coins = np.random.default_rng(seed).random(400) < 0.5
        release = DPCVAE(hidden=64, latent=10, batch_size=64, epochs=30).fit(
            everybody.take(coins), Context(seed=seed)
        )
        claims.append(release.guarantee.epsilon)
        with torch.no_grad():
            x, y = torch.from_numpy(everybody.data), torch.from_numpy(everybody.labels)
            mean, _ = release.weights.encode(x, y)
            scores = -(release.weights(mean, y) - x).square().sum(dim=1).double().numpy()
        bound = one_run_epsilon_from_scores(scores, coins, delta=1e-5)
        measured.append(bound.low if np.isfinite(bound.low) else 0.0)
    assert max(measured) <= min(claims) <= 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"noise_multiplier": 1.0}, "either epsilon or noise_multiplier"),
        ({"epsilon": None}, "either epsilon or noise_multiplier"),
        ({"clip_norm": None}, "allows no guarantee"),
        ({**NO_PRIVACY, "labels": "noisy"}, "give epsilon"),
        ({"low": 2.0, "high": 1.0}, "low must be below high"),
        ({"epsilon": -1.0}, "epsilon"),
    ],
)
def test_wrong_parameters_are_refused(parameters, message):
    with pytest.raises(ValidationError, match=message):
        DPCVAE(**parameters)


def test_divergence_is_an_error_that_says_what_to_change():
    with pytest.raises(LeakboardError, match=r"Got lr=1e\+30; try a smaller one"):
        DPCVAE(**QUICK, **NO_PRIVACY, lr=1e30).fit(records(), Context(seed=1))
