"""The flow method: what it learns, the way to disk and back, and what it refuses."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from benchmark.contracts import Access, Context, LeakboardError, Records, Saved
from methods.flow import Flow, HoldoutFlow

TINY = {"steps": 2, "width": 8, "batch_size": 4, "integration_steps": 2}


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
    method = Flow(steps=300, width=16, batch_size=64, lr=8e-3, average=0.98, integration_steps=4)
    return digits(900), method, method.fit(digits(900), Context(seed=1))


def test_what_is_learned_from_made_digits_holds_for_real_ones(fitted):
    members, _, release = fitted
    others = digits(800, 900)
    drawn = release.records
    assert drawn.kind == "image" and drawn.data.shape == members.data.shape
    assert np.bincount(drawn.labels).tolist() == np.bincount(members.labels).tolist()
    real, made = (
        LogisticRegression(max_iter=200).fit(r.flat(), r.labels) for r in (members, drawn)
    )
    reached = made.score(others.flat(), others.labels) / real.score(others.flat(), others.labels)
    assert reached > 0.85
    assert real.score(drawn.flat(), drawn.labels) > 0.6


def test_releases_are_restored_bit_for_bit(fitted):
    _, method, release = fitted
    assert Flow.info.offers is Access.WEIGHTS
    restored = method.restore(saved(release), Context(seed=9))
    draws = [r.sample(300, None, np.random.default_rng(7)) for r in (release, restored)]
    assert draws[0] == draws[1]
    z, labels = torch.randn(7, 64), torch.arange(7)
    x, t, noise = z.view(7, 1, 8, 8), torch.linspace(0, 1, 7), torch.randn(7, 1, 8, 8)
    own, again = release.weights, restored.weights
    assert torch.equal(own(z, labels), again(z, labels))
    assert torch.equal(own.velocity(x, t, labels), again.velocity(x, t, labels))
    assert torch.equal(own.loss(x, labels, t, noise), again.loss(x, labels, t, noise))


def test_sample_is_the_generator_rounded(fitted):
    *_, release = fitted
    labels = np.array([3, 0, 9])
    drawn = release.sample(3, labels, np.random.default_rng(7))
    z = torch.from_numpy(np.random.default_rng(7).standard_normal((3, 64), dtype=np.float32))
    with torch.no_grad():
        made = release.weights(z, torch.from_numpy(labels)).numpy()
    assert (drawn.data.reshape(3, -1) == np.rint(made)).all()
    assert drawn.labels.tolist() == labels.tolist()


def test_same_seed_same_bits_and_nothing_else_is_touched():
    members = pictures()
    digest, state = members.digest(), torch.get_rng_state()
    first, second, other = (Flow(**TINY).fit(members, Context(seed=s)) for s in (1, 1, 2))
    assert first.records == second.records != other.records
    assert {k: v.tobytes() for k, v in first.state.items()} == {
        k: v.tobytes() for k, v in second.state.items()
    }
    assert first.notes == second.notes
    assert members.digest() == digest and torch.equal(torch.get_rng_state(), state)


def test_classes_without_members_are_neither_released_nor_drawn():
    release = Flow(**TINY, release_size=1.5).fit(pictures(), Context(seed=1))
    assert np.bincount(release.records.labels).tolist() == [15, 0, 15]
    assert set(release.sample(50, None, np.random.default_rng(0)).labels) == {0, 2}
    with pytest.raises(LeakboardError, match=r"members' classes, \[0, 2\]"):
        release.sample(1, np.array([1]), np.random.default_rng(0))
    assert len(release.sample(0, None, np.random.default_rng(0))) == 0
    assert len(Flow(**TINY).fit(pictures(1), Context(seed=1)).records) == 1


def test_the_control_is_fitted_to_fresh_records_alone():
    fresh = pictures(30, seed=5)
    context = Context(seed=1, holdout=fresh)
    of_some, of_others = (HoldoutFlow(**TINY).fit(pictures(20, seed=s), context) for s in (0, 9))
    assert of_some.records == of_others.records
    assert of_some.state["class_counts"].sum() == 20
    of_all = HoldoutFlow(**TINY).fit(pictures(50), context)
    assert of_all.records == Flow(**TINY).fit(fresh, Context(seed=1)).records
    with pytest.raises(LeakboardError, match=r"holdout_flow.*not candidates"):
        HoldoutFlow(**TINY).fit(pictures(), Context(seed=1))


def test_divergence_is_an_error_that_says_what_to_change():
    with pytest.raises(LeakboardError, match=r"'flow' diverged.*lr=1e\+38"):
        Flow(**TINY, lr=1e38).fit(pictures(), Context(seed=1))


@pytest.mark.parametrize(
    "parameters", [{"steps": 0}, {"average": 1.0}, {"width": 12}, {"patch": 0}, {"channels": 3}]
)
def test_wrong_parameters_are_refused_by_name(parameters):
    with pytest.raises(ValidationError, match=next(iter(parameters))):
        Flow(**parameters)
