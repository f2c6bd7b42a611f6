"""The normal distribution of each class: its moments, its draws, and what it does not release."""

import numpy as np
import pytest

from benchmark.contracts import Context, LeakboardError, Records, Saved
from methods.class_gaussian import ClassGaussian


def members(n=400, d=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.r_[np.zeros(n // 2, int), np.full(n - n // 2, 2)]
    mixing = rng.standard_normal((3, d, d))
    data = (
        np.einsum("nd,nde->ne", rng.standard_normal((n, d)), mixing[labels]) + 3 * labels[:, None]
    )
    return Records(data.astype(np.float32), labels, extractor="made-up")


def moments(records, label):
    rows = records.flat()[records.labels == label]
    return rows.mean(0), np.cov(rows.T)


@pytest.mark.parametrize("components", [0, 2, 6])
def test_draws_have_the_mean_and_the_variances_of_their_class(components):
    private = members()
    release = ClassGaussian(components=components, release_size=100.0).fit(private, Context(seed=1))
    for label in (0, 2):
        (mean, covariance), (asked_mean, asked) = (
            moments(r, label) for r in (release.records, private)
        )
        scale = np.sqrt(np.diag(asked))
        np.testing.assert_allclose((mean - asked_mean) / scale, 0, atol=0.04)
        np.testing.assert_allclose(np.diag(covariance) / np.diag(asked), 1, atol=0.05)


def test_the_covariance_is_that_of_the_leading_components_and_a_diagonal():
    private = members()
    release = ClassGaussian(components=2, release_size=200.0).fit(private, Context(seed=1))
    for label in (0, 2):
        _, covariance = moments(release.records, label)
        _, own = moments(private, label)
        values, vectors = np.linalg.eigh(own)
        leading = (vectors[:, -2:] * values[-2:]) @ vectors[:, -2:].T
        expected = leading + np.diag(np.diag(own - leading))
        np.testing.assert_allclose(covariance, expected, atol=0.03 * np.diag(own).max())


def test_all_components_give_the_members_covariance_and_none_a_diagonal():
    private = members()
    full, diagonal = (
        ClassGaussian(components=q, release_size=200.0).fit(private, Context(seed=1)).records
        for q in (6, 0)
    )
    _, own = moments(private, 0)
    np.testing.assert_allclose(moments(full, 0)[1], own, atol=0.03 * np.diag(own).max())
    np.testing.assert_allclose(
        moments(diagonal, 0)[1], np.diag(np.diag(own)), atol=0.03 * np.diag(own).max()
    )


def test_class_counts_are_the_members_times_the_size():
    release = ClassGaussian(release_size=1.5).fit(members(40), Context(seed=0)).records
    assert np.bincount(release.labels).tolist() == [30, 0, 30]
    assert release.extractor == "made-up" and release.groups is None


def test_a_class_of_one_member_is_not_released_as_it_is():
    private = members(41)
    labels = private.labels.copy()
    labels[0] = 1
    private = private.replace(labels=labels)
    release = ClassGaussian(release_size=2000.0).fit(private, Context(seed=0)).records
    drawn = release.flat()[release.labels == 1]
    about = private.flat().astype(float)
    for label in (0, 1, 2):
        about[labels == label] -= about[labels == label].mean(0)
    pooled = (about**2).sum(0) / (41 - 3)
    np.testing.assert_allclose(
        drawn.mean(0), private.flat()[0], atol=5 * np.sqrt(pooled.max() / 2000)
    )
    np.testing.assert_allclose(drawn.var(0) / pooled, 1, atol=0.2)


def test_pictures_are_rounded_and_cut():
    rng = np.random.default_rng(3)
    private = Records(rng.choice([0, 255], (60, 4, 5, 3)).astype(np.uint8), rng.integers(0, 2, 60))
    release = ClassGaussian(components=3).fit(private, Context(seed=0)).records
    assert release.data.shape == (60, 4, 5, 3) and release.data.dtype == np.uint8
    assert release.data.min() == 0 and release.data.max() == 255


def test_a_restored_release_draws_the_same_and_refuses_a_class_without_members():
    method, private = ClassGaussian(), members(60)
    release = method.fit(private, Context(seed=4))
    again = method.restore(
        Saved(records=release.records, state=release.state, guarantee=None), Context(seed=4)
    )
    drawn = [r.sample(50, None, np.random.default_rng(9)) for r in (release, again)]
    np.testing.assert_array_equal(drawn[0].data, drawn[1].data)
    assert set(drawn[0].labels) == {0, 2}
    with pytest.raises(LeakboardError, match=r"\[0, 2\]. Got shape \(1,\) with \[1\]"):
        release.sample(1, np.array([1]), np.random.default_rng(0))
