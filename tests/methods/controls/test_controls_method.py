"""The controls: what each of them gives away is known."""

import numpy as np
import pytest
from scipy.stats import norm

from benchmark.contracts import Context, LeakboardError, NotApplicable, Records
from methods.controls import GaussianMean, Holdout, Identity


def features(n, d=4, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return Records(
        rng.standard_normal((n, d)).astype(np.float32),
        rng.integers(0, classes, n),
        groups=rng.integers(0, 5, n),
        extractor="made-up",
    )


def images(n, seed=0):
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (n, 5, 6, 3)).astype(np.uint8)
    return Records(data, rng.integers(0, 2, n))


def rows_of(records):
    return {row.tobytes() for row in records.data}


@pytest.mark.parametrize("make", [features, images])
def test_identity_releases_a_copy_of_the_members_without_identities(make):
    members = make(20)
    release = Identity().fit(members, Context(seed=1))
    assert release.records == members.replace(groups=None)
    assert release.origin.tolist() == list(range(20))
    assert not np.shares_memory(release.records.data, members.data)


@pytest.mark.parametrize("make", [features, images])
def test_holdout_releases_as_many_fresh_records_as_there_are_members(make):
    members, holdout = make(20), make(50, seed=1)
    release = Holdout().fit(members, Context(seed=1, holdout=holdout))
    assert len(release.records) == 20
    assert len(rows_of(release.records)) == 20, "drawn without replacement"
    assert rows_of(release.records) <= rows_of(holdout)
    assert release.records.groups is None
    assert release.records.extractor == holdout.extractor
    assert release.origin is None and release.guarantee is None


def test_holdout_keeps_each_record_with_its_label():
    holdout = features(50, seed=1)
    released = Holdout().fit(features(20), Context(seed=1, holdout=holdout)).records
    label_of = {
        row.tobytes(): label for row, label in zip(holdout.data, holdout.labels, strict=True)
    }
    assert [label_of[row.tobytes()] for row in released.data] == released.labels.tolist()


def test_holdout_releases_all_of_a_hold_out_that_is_smaller_than_the_members():
    holdout = features(7, seed=1)
    release = Holdout().fit(features(20), Context(seed=1, holdout=holdout))
    assert release.records == holdout.replace(groups=None)


def test_holdout_does_not_depend_on_the_members():
    holdout = features(50, seed=1)
    context = Context(seed=1, holdout=holdout)
    first = Holdout().fit(features(20, seed=2), context).records
    assert first == Holdout().fit(features(20, seed=3), context).records
    assert first != Holdout().fit(features(20), Context(seed=2, holdout=holdout)).records


def test_holdout_without_one_says_what_to_do():
    with pytest.raises(LeakboardError, match="lower the number of candidates"):
        Holdout().fit(features(20), Context(seed=1))


def test_gaussian_mean_of_a_hand_computed_case():
    data = np.array([[1, 10], [2, 20], [6, 60], [5, 0]], dtype=np.float32)
    members = Records(data, np.array([0, 0, 0, 4]), extractor="made-up")
    released = GaussianMean().fit(members, Context(seed=1)).records
    assert released.data.tolist() == [[3, 30], [5, 0]]
    assert released.labels.tolist() == [0, 4]
    assert released.extractor == "made-up"


def test_gaussian_mean_adds_up_in_double_precision():
    data = np.full((3_000_000, 1), 0.1, dtype=np.float32)
    members = Records(data, np.zeros(len(data), dtype=np.int64))
    released = GaussianMean().fit(members, Context(seed=1)).records
    assert released.data[0, 0] == np.float32(0.1)


@pytest.mark.parametrize(("d", "n"), [(100, 400), (200, 200), (400, 100)])
def test_gaussian_mean_leaks_what_the_closed_form_says(d, n):
    """AUC of the inner product with the mean is Φ(√(d/n)/√2) (Azize & Basu 2024)."""
    rng = np.random.default_rng(d)
    aucs = []
    for seed in range(60):
        x = rng.standard_normal((2 * n, d)).astype(np.float32)
        members = Records(x[:n], np.zeros(n, dtype=np.int64))
        mean = GaussianMean().fit(members, Context(seed=seed)).records.data[0]
        scores = x @ mean
        aucs.append((scores[:n, None] > scores[None, n:]).mean())
    expected = norm.cdf(np.sqrt(d / n) / np.sqrt(2))
    standard_error = np.std(aucs) / np.sqrt(len(aucs))
    assert np.mean(aucs) == pytest.approx(expected, abs=4 * standard_error + 0.01)


def test_gaussian_mean_refuses_images():
    with pytest.raises(NotApplicable, match="features"):
        GaussianMean().fit(images(4), Context(seed=1))
