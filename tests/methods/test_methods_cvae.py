"""CVAE: determinism, what it learns, what it keeps from training, and the way to disk and back."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from benchmark.contracts import Access, Context, LeakboardError, Records, Saved
from methods.cvae import CVAE, split_by_identity

QUICK = {"hidden": 16, "latent": 4, "epochs": 20, "batch_size": 32}


def records(n=120, d=6, classes=3, identities=None, seed=0):
    """Classes around distinct means in ranges far from [0, 1]; class 1 has no members."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([c for c in range(classes) if c != 1], n)
    means = 20 * np.eye(classes, d) + 100
    groups = None if identities is None else rng.integers(0, identities, n)
    data = (means[labels] + rng.standard_normal((n, d))).astype(np.float32)
    return Records(data, labels, groups, extractor="made-up")


@pytest.fixture(scope="module")
def members():
    return records()


@pytest.fixture(scope="module")
def release(members):
    return CVAE(**QUICK).fit(members, Context(seed=1))


def saved(release):
    return Saved(records=release.records, state=release.state, guarantee=release.guarantee)


def test_release_has_the_class_counts_and_stays_in_the_members_range(members, release):
    records = release.records
    assert np.bincount(records.labels).tolist() == np.bincount(members.labels).tolist()
    slack = 1e-4 * np.ptp(members.data, axis=0)
    assert (records.data >= members.data.min(axis=0) - slack).all()
    assert (records.data <= members.data.max(axis=0) + slack).all()
    assert records.extractor == "made-up" and records.groups is None
    assert release.guarantee is None and release.origin is None


@pytest.mark.parametrize(("size", "counts"), [(2.0, [20, 0, 6]), (0.1, [1, 0, 1])])
def test_release_size_multiplies_the_class_counts(size, counts):
    members = records().take(np.arange(13))
    members = members.replace(labels=np.array([0] * 10 + [2] * 3))
    released = CVAE(**QUICK, release_size=size).fit(members, Context(seed=1)).records
    assert np.bincount(released.labels).tolist() == counts


def test_each_class_is_learnt():
    """The mean of the released records of a class is near that of its members."""
    members = records(400)
    release = CVAE(hidden=64, latent=8, lr=5e-3).fit(members, Context(seed=1))
    for label in (0, 2):
        ours = release.records.data[release.records.labels == label].mean(axis=0)
        assert ours == pytest.approx(members.data[members.labels == label].mean(axis=0), abs=1.0)


def test_same_seed_same_bits_and_nothing_else_is_touched(members, release):
    digest, state = members.digest(), torch.get_rng_state()
    again = CVAE(**QUICK).fit(members, Context(seed=1))
    other = CVAE(**QUICK).fit(members, Context(seed=2))
    assert again.records == release.records
    assert {k: v.tobytes() for k, v in again.state.items()} == {
        k: v.tobytes() for k, v in release.state.items()
    }
    assert again.notes == release.notes
    assert other.records != release.records
    assert members.digest() == digest
    assert torch.equal(torch.get_rng_state(), state)


def test_restore_gives_the_same_draws_and_weights_bit_for_bit(members, release):
    assert CVAE.info.offers is Access.WEIGHTS
    assert all(isinstance(value, np.ndarray) for value in release.state.values())
    restored = CVAE(**QUICK).restore(saved(release), Context(seed=99))
    assert restored.records == release.records
    for labels in (None, np.array([2, 0, 0, 2, 2])):
        draws = [r.sample(5, labels, np.random.default_rng(7)) for r in (release, restored)]
        assert draws[0] == draws[1]
        assert draws[0].extractor == "made-up"
    ours, theirs = release.weights.state_dict(), restored.weights.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_state_is_a_copy_that_later_changes_to_the_weights_do_not_reach(members):
    release = CVAE(**QUICK).fit(members, Context(seed=1))
    before = {name: value.copy() for name, value in release.state.items()}
    with torch.no_grad():
        for parameter in release.weights.parameters():
            parameter.zero_()
    assert all((release.state[name] == value).all() for name, value in before.items())


def test_sample_is_the_decoder_in_the_members_units(release):
    labels = np.array([0, 2, 2])
    drawn = release.sample(3, labels, np.random.default_rng(7))
    z = torch.from_numpy(np.random.default_rng(7).standard_normal((3, 4), dtype=np.float32))
    expected = release.weights(z, torch.from_numpy(labels)).detach().numpy()
    assert (drawn.data == expected).all()
    assert drawn.labels.tolist() == [0, 2, 2]


def test_labels_are_drawn_from_the_members_class_shares(members, release):
    labels = release.sample(4000, None, np.random.default_rng(7)).labels
    shares = np.bincount(members.labels) / len(members)
    assert np.bincount(labels) / 4000 == pytest.approx(shares, abs=4 * 0.5 / np.sqrt(4000))
    assert not (labels == 1).any()


def test_sample_scale_stretches_the_codes(members):
    still = CVAE(**QUICK, sample_scale=0.0).fit(members, Context(seed=1)).records
    for label in (0, 2):
        assert len(np.unique(still.data[still.labels == label], axis=0)) == 1
    fits = [CVAE(**QUICK, sample_scale=s).fit(members, Context(seed=1)) for s in (1.0, 3.0)]
    spread = [fit.records.data[fit.records.labels == 0].std(axis=0).mean() for fit in fits]
    assert spread[1] > 2 * spread[0] > 0


def test_many_draws_are_those_of_smaller_chunks(release, monkeypatch):
    whole = release.sample(50, None, np.random.default_rng(7))
    monkeypatch.setattr("benchmark.learning.sampling.FEATURES_AT_ONCE", 8)
    chunked = release.sample(50, None, np.random.default_rng(7))
    assert whole.labels.tolist() == chunked.labels.tolist()
    assert whole.data == pytest.approx(chunked.data, rel=1e-6)
    assert len(release.sample(0, None, np.random.default_rng(7))) == 0


@pytest.mark.parametrize("labels", [np.array([1, 0]), np.array([3, 0]), np.array([0, 0, 0])])
def test_labels_that_no_member_has_are_refused(release, labels):
    with pytest.raises(LeakboardError, match=r"among the members' classes, \[0, 2\]"):
        release.sample(2, labels, np.random.default_rng(7))


def test_constant_features_keep_their_value():
    members = records()
    members.data[:, 3] = 4.25
    release = CVAE(**QUICK).fit(members, Context(seed=1))
    assert (release.records.data[:, 3] == np.float32(4.25)).all()
    codes = release.weights.encode(torch.from_numpy(members.data), torch.from_numpy(members.labels))
    assert all(torch.isfinite(part).all() for part in codes)


def test_published_penalty_changes_the_fit(members, release):
    other = CVAE(**QUICK, published_kl=True).fit(members, Context(seed=1))
    assert other.records != release.records


def test_notes_tell_the_epochs_and_the_best_validation_loss(release):
    notes = release.notes
    assert 1 <= notes["best_epoch"] <= notes["epochs"] <= 20
    assert 0 < notes["best_validation_loss"] < np.inf


def test_one_record_can_be_fitted():
    members = records(1)
    assert len(CVAE(**QUICK).fit(members, Context(seed=1)).records) == 1


# ---------------------------------------------------------------- fleets


def fleet():
    """Sets of several sizes and numbers of batches, one of them with fewer classes."""
    sets = [records(n, seed=n) for n in (120, 90, 120, 64, 30)]
    return [*sets, records(50, classes=1)], [Context(seed=s) for s in range(6)]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_fleet_is_the_same_as_one_by_one(threads):
    """Also where models stop at different epochs."""
    method = CVAE(hidden=16, latent=4, epochs=60, batch_size=32, patience=3, lr=5e-3)
    members, contexts = fleet()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        together = method.fit_many(members, contexts)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    alone = [method.fit(m, c) for m, c in zip(members, contexts, strict=True)]
    assert len({one.notes["epochs"] for one in alone}) > 1
    for one, other in zip(alone, together, strict=True):
        assert one.notes["epochs"] == other.notes["epochs"]
        assert one.notes["best_epoch"] == other.notes["best_epoch"]
        loss = pytest.approx(one.notes["best_validation_loss"], rel=1e-4)
        assert other.notes["best_validation_loss"] == loss
        assert other.records.labels.tolist() == one.records.labels.tolist()
        assert other.records.data == pytest.approx(one.records.data, rel=1e-4, abs=1e-4)
        assert other.state.keys() == one.state.keys()


def test_a_fleet_of_none_and_one_context_too_few():
    assert CVAE(**QUICK).fit_many([], []) == []
    with pytest.raises(LeakboardError, match="one context for each"):
        CVAE(**QUICK).fit_many([records()], [])


def test_divergence_in_a_fleet_is_an_error():
    members, contexts = fleet()
    with pytest.raises(LeakboardError, match=r"Got lr=1e\+30"):
        CVAE(**{**QUICK, "epochs": 3}, lr=1e30).fit_many(members, contexts)


# ---------------------------------------------------------------- images


def digits(n, start=0):
    data = load_digits()
    images = (data.images[start : start + n, :, :, None] * 255 / 16).round().astype(np.uint8)
    return Records(images, data.target[start : start + n].astype(np.int64))


@pytest.fixture(scope="module")
def pictures():
    """Members, other images and a release."""
    members = digits(900)
    method = CVAE(hidden=64, latent=10, channels=8, epochs=60, batch_size=64)
    return members, digits(400, 900), method, method.fit(members, Context(seed=1))


def test_images_are_reconstructed_better_than_by_the_mean_of_their_class(pictures):
    members, others, _, release = pictures
    x = torch.from_numpy(others.data.reshape(len(others), -1)).float()
    labels = torch.from_numpy(others.labels)
    with torch.no_grad():
        ours = release.weights(release.weights.encode(x, labels)[0], labels)
    means = np.stack([members.data[members.labels == c].mean(axis=0) for c in range(10)])
    theirs = torch.from_numpy(means[others.labels].reshape(len(others), -1)).float()
    assert (ours - x).square().mean() < 0.8 * (theirs - x).square().mean()


def test_a_classifier_of_real_digits_recognises_the_sampled_ones(pictures):
    members, others, _, release = pictures
    judge = LogisticRegression(max_iter=200).fit(members.flat(), members.labels)
    assert judge.score(others.flat(), others.labels) > 0.85
    drawn = release.records
    assert drawn.kind == "image" and drawn.data.shape[1:] == (8, 8, 1)
    assert judge.score(drawn.flat(), drawn.labels) > 0.85
    spread = [drawn.flat()[drawn.labels == c].std(axis=0).mean() for c in range(10)]
    real = [members.flat()[members.labels == c].std(axis=0).mean() for c in range(10)]
    assert np.mean(spread) > 0.4 * np.mean(real)


def test_image_releases_are_restored_bit_for_bit(pictures):
    *_, method, release = pictures
    restored = method.restore(saved(release), Context(seed=9))
    draws = [r.sample(300, None, np.random.default_rng(7)) for r in (release, restored)]
    assert draws[0] == draws[1]


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 3), (33, 20, 1), (64, 64, 1), (1, 5, 1)])
def test_a_fleet_on_images_of_any_size_is_the_same_as_one_by_one(shape):
    rng = np.random.default_rng(0)
    members = [
        Records(rng.integers(0, 256, (n, *shape), dtype=np.uint8), np.arange(n) % 2)
        for n in (9, 12)
    ]
    contexts = [Context(seed=s) for s in (1, 2)]
    method = CVAE(hidden=8, latent=3, channels=2, epochs=3, batch_size=8)
    together = method.fit_many(members, contexts)
    for one, m, c in zip(together, members, contexts, strict=True):
        alone = method.fit(m, c)
        assert one.notes["best_validation_loss"] == pytest.approx(
            alone.notes["best_validation_loss"], rel=1e-4
        )
        assert one.records.data.shape == (len(m), *shape)
        gap = np.abs(one.records.data.astype(int) - alone.records.data)
        assert gap.max() <= 1


def test_divergence_is_an_error_that_says_what_to_change(members):
    with pytest.raises(LeakboardError, match=r"Got lr=1e\+30; try a smaller one"):
        CVAE(**{**QUICK, "epochs": 3}, lr=1e30).fit(members, Context(seed=1))


@pytest.mark.parametrize(
    "parameters", [{"beta": -1.0}, {"validation_fraction": 1.0}, {"latents": 3}, {"lr": 0.0}]
)
def test_wrong_parameters_are_refused_by_name(parameters):
    with pytest.raises(ValidationError, match=next(iter(parameters))):
        CVAE(**parameters)


# ---------------------------------------------------------------- validation split


def test_validation_share_is_about_what_was_asked_for():
    for fraction in (0.05, 0.15, 0.5):
        chosen = split_by_identity(records(400), fraction, np.random.default_rng(1))
        assert chosen.sum() == np.ceil(400 * fraction)


def test_identities_are_not_split_between_training_and_validation():
    members = records(200, identities=25)
    chosen = split_by_identity(members, 0.2, np.random.default_rng(1))
    assert 40 <= chosen.sum() < 40 + 20
    assert not set(members.groups[chosen]) & set(members.groups[~chosen])


def test_no_class_loses_its_last_training_record():
    labels = np.array([0] * 30 + [1] * 2 + [2])
    members = Records(np.zeros((33, 1), dtype=np.float32), labels)
    for seed in range(50):
        chosen = split_by_identity(members, 0.9, np.random.default_rng(seed))
        assert set(labels[~chosen]) == {0, 1, 2}
        assert not chosen[-1]


def test_no_validation_where_no_identity_can_be_spared():
    members = records(10).replace(groups=np.zeros(10, dtype=np.int64))
    assert not split_by_identity(members, 0.5, np.random.default_rng(1)).any()


# ---------------------------------------------------------------- components and noise


def test_all_components_lose_nothing():
    """A network on all six principal components learns the classes, and restores."""
    members = records(400)
    method = CVAE(hidden=64, latent=8, lr=5e-3, components=99)
    release = method.fit(members, Context(seed=1))
    assert release.state["axes"].shape == (6, 6)
    for label in (0, 2):
        ours = release.records.data[release.records.labels == label].mean(axis=0)
        assert ours == pytest.approx(members.data[members.labels == label].mean(axis=0), abs=1.0)
    restored = method.restore(saved(release), Context(seed=9))
    draws = [r.sample(5, None, np.random.default_rng(7)) for r in (release, restored)]
    assert draws[0] == draws[1]


def test_released_records_lie_in_the_span_of_the_components():
    members = records(200)
    release = CVAE(**QUICK, components=2).fit(members, Context(seed=1))
    axes = np.linalg.svd(members.data - members.data.mean(0), full_matrices=False)[2][:2]
    centred = release.records.data.astype(np.float64) - members.data.mean(0)
    assert np.abs(centred - centred @ axes.T @ axes).max() < 1e-3
    assert np.linalg.matrix_rank(centred, tol=0.1) == 2


def test_codes_of_components_are_those_of_their_coordinates():
    """Encoding features is encoding their coordinates along the axes by the same network."""
    members = records(200)
    generator = CVAE(**QUICK, components=2).fit(members, Context(seed=1)).weights
    x, y = torch.from_numpy(members.data[:7]), torch.from_numpy(members.labels[:7])
    along = (x - generator.centre) @ generator.axes.T
    onehot = torch.nn.functional.one_hot(y, 3).float()
    expected = generator.network.encode((along - generator.minimum) / generator.width, onehot)
    for ours, theirs in zip(generator.encode(x, y), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_fewer_members_than_components_still_make_a_fleet():
    few, many = records(5, d=8), records(40, d=8, seed=1)
    method = CVAE(**QUICK, components=7)
    contexts = [Context(seed=1), Context(seed=2)]
    releases = method.fit_many([few, many], contexts)
    assert [r.state["axes"].shape for r in releases] == [(7, 8), (7, 8)]
    assert all(np.isfinite(r.records.data).all() for r in releases)


def test_noise_is_what_reconstructions_leave_of_records_kept_from_training():
    members = records(600)
    method = CVAE(hidden=64, latent=2, lr=5e-3, decoder_noise="diagonal")
    release = method.fit(members, Context(seed=1))
    kept = split_by_identity(members, 0.15, Context(seed=1).rng("split"))
    x, y = torch.from_numpy(members.data[kept]), torch.from_numpy(members.labels[kept])
    with torch.no_grad():
        left = (x - release.weights(release.weights.encode(x, y)[0], y)).numpy()
    assert release.state["noise"] == pytest.approx(np.sqrt((left**2).mean(axis=0)), rel=1e-5)


def test_noise_brings_back_the_spread_that_no_code_tells():
    """Two codes cannot tell six independent features: the decoder's mean varies too little without noise."""
    members = records(600)
    spread = members.data[members.labels == 0].std(axis=0)
    found = {}
    for noise in ("none", "diagonal"):
        release = CVAE(hidden=64, latent=2, lr=5e-3, decoder_noise=noise).fit(
            members, Context(seed=1)
        )
        found[noise] = release.records.data[release.records.labels == 0].std(axis=0) / spread
    assert (found["none"] < 0.8).all()
    assert (abs(found["diagonal"] - 1) < 0.35).all()
    assert (abs(found["diagonal"] - 1) < 1 - found["none"]).all()


def test_noise_is_drawn_about_the_decoded_mean_and_restored():
    members = records()
    method = CVAE(**QUICK, decoder_noise="diagonal")
    release = method.fit(members, Context(seed=1))
    labels = np.zeros(4000, dtype=np.int64)
    drawn = release.sample(4000, labels, np.random.default_rng(7))
    z = np.random.default_rng(7).standard_normal((4000, 4), dtype=np.float32)
    with torch.no_grad():
        mean = release.weights(torch.from_numpy(z), torch.from_numpy(labels)).numpy()
    noise = (drawn.data - mean) / release.state["noise"]
    assert noise.mean(axis=0) == pytest.approx(np.zeros(6), abs=0.08)
    assert noise.std(axis=0) == pytest.approx(np.ones(6), abs=0.06)
    restored = method.restore(saved(release), Context(seed=9))
    assert restored.sample(4000, labels, np.random.default_rng(7)) == drawn


def test_without_them_the_release_is_what_it_was(members, release):
    assert set(release.state) == {
        *(f"network.{name}" for name in release.weights.network.state_dict()),
        *("minimum", "width", "class_counts"),
    }


@pytest.mark.parametrize("asked", [{"components": 4}, {"decoder_noise": "diagonal"}])
def test_images_have_neither(asked):
    images = Records(np.zeros((6, 8, 8, 1), np.uint8), np.array([0, 1] * 3))
    with pytest.raises(LeakboardError, match="are for features, and these are images"):
        CVAE(**QUICK, **asked).fit(images, Context(seed=1))
