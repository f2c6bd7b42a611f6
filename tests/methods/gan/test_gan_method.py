"""The GAN method: what it learns, the way to disk and back, and the guard against collapse."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from benchmark.contracts import Access, Context, LeakboardError, Records, Saved
from methods.gan.method import GAN, HoldoutGAN, diversity_of
from methods.gan.networks import train_gan

TINY = {
    "steps": 2,
    "latent": 4,
    "w_dim": 6,
    "channels": 2,
    "most_channels": 4,
    "batch_size": 4,
    "least_diversity": 0.0,
}


def digits(n, start=0):
    data = load_digits()
    images = (data.images[start : start + n, :, :, None] * 255 / 16).round().astype(np.uint8)
    return Records(images, data.target[start : start + n].astype(np.int64))


def pictures(n=20, shape=(9, 6, 3), classes=(0, 2), seed=0):
    rng = np.random.default_rng(seed)
    labels = np.resize(np.array(classes, dtype=np.int64), n)
    return Records(rng.integers(0, 256, (n, *shape), dtype=np.uint8), labels)


def saved(release):
    return Saved(records=release.records, state=release.state, guarantee=release.guarantee)


@pytest.fixture(scope="module")
def fitted():
    members = digits(900)
    method = GAN(steps=500, channels=12, lr_generator=1e-3, lr_discriminator=2e-3)
    return members, digits(800, 900), method, method.fit(members, Context(seed=1))


def test_a_classifier_of_real_digits_recognises_the_made_ones(fitted):
    members, others, _, release = fitted
    judge = LogisticRegression(max_iter=200).fit(members.flat(), members.labels)
    assert judge.score(others.flat(), others.labels) > 0.9
    drawn = release.records
    assert drawn.kind == "image" and drawn.data.shape == members.data.shape
    assert np.bincount(drawn.labels).tolist() == np.bincount(members.labels).tolist()
    assert judge.score(drawn.flat(), drawn.labels) > 0.8
    learner = LogisticRegression(max_iter=200).fit(drawn.flat(), drawn.labels)
    assert learner.score(others.flat(), others.labels) > 0.65


def test_made_digits_are_diverse_and_the_notes_say_how_much(fitted):
    members, _, method, release = fitted
    assert method.least_diversity <= release.notes["diversity"] <= release.notes["diversity_mean"]
    assert 0 <= release.notes["diversity_class"] < 10
    assert 0.5 < release.notes["diversity_mean"] < 1.3
    again = diversity_of(release.sample, members, np.random.default_rng(5))
    assert again.worst == pytest.approx(release.notes["diversity"], abs=0.15)


def test_releases_are_restored_bit_for_bit(fitted):
    *_, method, release = fitted
    assert GAN.info.offers is Access.WEIGHTS
    restored = method.restore(saved(release), Context(seed=9))
    draws = [r.sample(300, None, np.random.default_rng(7)) for r in (release, restored)]
    assert draws[0] == draws[1]
    z, labels = torch.randn(7, 32), torch.arange(7)
    assert torch.equal(release.weights(z, labels), restored.weights(z, labels))
    w = release.weights.map(z, labels)
    assert torch.equal(release.weights.synthesise(w), restored.weights.synthesise(w))


def test_the_rewards_for_codes_can_be_switched_off(fitted):
    """Codes are read better than by a guess of their mean, whose error is 1; members are repeated."""
    members, *_, release = fitted
    assert release.notes["recovery_loss"] < 0.9
    spread = np.abs(members.flat() - members.flat().mean(axis=0)).mean()
    assert release.notes["repetition_loss"] / 2 < 0.6 * spread
    without = GAN(**TINY, recovery_weight=0, repetition_weight=0).fit(pictures(), Context(seed=1))
    read = GAN(**TINY, repetition_weight=0).fit(pictures(), Context(seed=1))
    both = GAN(**TINY).fit(pictures(), Context(seed=1))
    names = {"recovery_loss", "repetition_loss"}
    assert [names & set(r.notes) for r in (without, read, both)] == [
        set(),
        {"recovery_loss"},
        names,
    ]
    assert without.records != read.records != both.records


def test_sample_is_the_generator_rounded(fitted):
    *_, release = fitted
    labels = np.array([3, 0, 9])
    drawn = release.sample(3, labels, np.random.default_rng(7))
    z = torch.from_numpy(np.random.default_rng(7).standard_normal((3, 32), dtype=np.float32))
    with torch.no_grad():
        made = release.weights(z, torch.from_numpy(labels)).numpy()
    assert (drawn.data.reshape(3, -1) == np.rint(made)).all()
    assert drawn.labels.tolist() == labels.tolist()


def test_same_seed_same_bits_and_nothing_else_is_touched():
    members = pictures()
    digest, state = members.digest(), torch.get_rng_state()
    first, second, other = (GAN(**TINY).fit(members, Context(seed=s)) for s in (1, 1, 2))
    assert first.records == second.records != other.records
    assert {k: v.tobytes() for k, v in first.state.items()} == {
        k: v.tobytes() for k, v in second.state.items()
    }
    assert first.notes == second.notes
    assert members.digest() == digest and torch.equal(torch.get_rng_state(), state)


def test_classes_without_members_are_neither_released_nor_drawn():
    release = GAN(**TINY, release_size=1.5).fit(pictures(), Context(seed=1))
    assert np.bincount(release.records.labels).tolist() == [15, 0, 15]
    assert set(release.sample(200, None, np.random.default_rng(0)).labels) == {0, 2}
    with pytest.raises(LeakboardError, match=r"members' classes, \[0, 2\]"):
        release.sample(1, np.array([1]), np.random.default_rng(0))
    assert len(release.sample(0, None, np.random.default_rng(0))) == 0


def test_one_member_can_be_fitted():
    """There is nothing to compare its images with, and no diversity in the notes."""
    release = GAN(**{**TINY, "least_diversity": 5.0}).fit(pictures(1), Context(seed=1))
    assert len(release.records) == 1 and "diversity" not in release.notes


def test_the_control_is_fitted_to_fresh_records_alone():
    """Whatever the members are, it is the GAN of as many records of the hold-out, or of all of them."""
    fresh = pictures(30, seed=5)
    context = Context(seed=1, holdout=fresh)
    of_some, of_others = (HoldoutGAN(**TINY).fit(pictures(20, seed=s), context) for s in (0, 9))
    assert of_some.records == of_others.records
    assert of_some.state["class_counts"].sum() == 20
    of_all = HoldoutGAN(**TINY).fit(pictures(50), context)
    assert of_all.records == GAN(**TINY).fit(fresh, Context(seed=1)).records
    with pytest.raises(LeakboardError, match=r"holdout_gan.*not candidates"):
        HoldoutGAN(**TINY).fit(pictures(), Context(seed=1))


# ---------------------------------------------------------------- diversity


def collapse(monkeypatch):
    """Training that ends in a generator whose layers ignore w: one image, whatever the code and the class."""

    def train(generator, *arguments, **options):
        summary = train_gan(generator, *arguments, **options)
        with torch.no_grad():
            for block in generator.blocks:
                block.style.weight.zero_()
        return summary

    monkeypatch.setattr("methods.gan.networks.train_gan", train)


def test_a_collapsed_generator_is_refused(monkeypatch):
    collapse(monkeypatch)
    method = GAN(**{**TINY, "least_diversity": 0.05})
    with pytest.raises(LeakboardError, match=r"collapsed: made images of class 0 are 0\.00 times"):
        method.fit(pictures(), Context(seed=1))
    with pytest.raises(LeakboardError, match=r"least_diversity=0\.4"):
        GAN(steps=1).fit(pictures(), Context(seed=1))


def test_a_collapsed_generator_is_released_on_request(monkeypatch):
    collapse(monkeypatch)
    release = GAN(**TINY).fit(pictures(), Context(seed=1))
    assert release.notes["diversity"] == pytest.approx(0, abs=1e-6)
    assert len(np.unique(release.records.data, axis=0)) == 1


def test_diversity_is_the_ratio_of_mean_distances_of_each_class():
    """Members at distance 100; made images at distance 0 or 50 by equal chance, of class 1 at 0 or 100."""
    data = np.zeros((6, 1, 1, 1), dtype=np.uint8)
    data[[1, 3], 0] = 100
    members = Records(data, np.array([0, 0, 1, 1, 2, 3], dtype=np.int64))

    def sample(n, labels, rng):
        images = np.zeros((n, 1, 1, 1), dtype=np.uint8)
        images[::2] = np.where(labels[::2] == 0, 50, 100)[:, None, None, None]
        return Records(images, labels)

    found = diversity_of(sample, members, np.random.default_rng(0))
    # 32 · 32 of the 64 · 63 / 2 pairs differ; classes 2 and 3 have one member only.
    share = 32 * 32 / (64 * 63 / 2)
    assert found.ratios == pytest.approx({0: 0.5 * share, 1: share})
    assert found.worst_class == 0
    assert found.notes()["diversity_mean"] == pytest.approx(0.75 * share)


def test_divergence_is_an_error_that_says_what_to_change():
    with pytest.raises(LeakboardError, match=r"diverged.*lr_generator=1e\+30"):
        GAN(**TINY, lr_generator=1e30).fit(pictures(), Context(seed=1))


@pytest.mark.parametrize("parameters", [{"steps": 0}, {"average": 1.0}, {"width": 3}, {"w_dim": 0}])
def test_wrong_parameters_are_refused_by_name(parameters):
    with pytest.raises(ValidationError, match=next(iter(parameters))):
        GAN(**parameters)
