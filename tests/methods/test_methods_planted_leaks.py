"""Planted leaks give away the members that they say, and nobody else."""

import numpy as np
import pytest

from benchmark.contracts import Context, LeakboardError, Records
from benchmark.learning.neighbours import nearest
from methods.planted_leaks import (
    ConfidentLabels,
    DistanceFiltered,
    FullCovariance,
    OutlierMemoriser,
    PartialCopies,
)

METHODS = (PartialCopies, OutlierMemoriser)


def features(n, seed=0, d=16):
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((n, d)).astype(np.float32)
    return Records(data, rng.integers(0, 3, n), groups=rng.integers(0, 9, n), extractor="made-up")


def images(n, seed=0):
    rng = np.random.default_rng(seed)
    return Records(rng.integers(0, 256, (n, 6, 8, 3)).astype(np.uint8), rng.integers(0, 2, n))


def fit(method, members, holdout, seed=1):
    return method.fit(members, Context(seed=seed, holdout=holdout)).records


def copied(release, originals):
    """Rows of originals that are in the release to the last bit."""
    there = {row.tobytes() for row in release.data}
    return [i for i, row in enumerate(originals.data) if row.tobytes() in there]


@pytest.mark.parametrize("make", [features, images])
@pytest.mark.parametrize("method", METHODS)
def test_as_many_members_are_copied_as_were_asked_for_and_the_rest_is_fresh(method, make):
    members, holdout = make(200), make(300, seed=1)
    release = fit(method(share=0.05, noise=0), members, holdout)
    rows = copied(release, members)
    assert len(release) == 200 and len(rows) == 10
    assert len(copied(release, holdout)) == 190, "drawn without replacement"
    assert release.groups is None and release.extractor == members.extractor
    labels = {
        r.tobytes(): y for s in (members, holdout) for r, y in zip(s.data, s.labels, strict=True)
    }
    assert [labels[row.tobytes()] for row in release.data] == release.labels.tolist()


@pytest.mark.parametrize("method", METHODS)
def test_noise_is_in_deviations_of_each_feature(method):
    members = features(400)
    members = members.replace(data=members.data * np.geomspace(0.01, 100, 16, dtype=np.float32))
    exact, noisy = (
        fit(method(share=0.5, noise=noise), members, features(300, seed=1)) for noise in (0, 0.1)
    )
    gap = (noisy.data - exact.data)[:200] / members.data.std(axis=0)
    np.testing.assert_allclose(gap.std(axis=0), 0.1, rtol=0.25)
    np.testing.assert_array_equal(noisy.data[200:], exact.data[200:])


def test_the_copied_outliers_are_those_farthest_from_the_others():
    members = features(100)
    data = members.data.copy()
    data[[7, 42, 63]] += np.float32(20) * np.eye(16, dtype=np.float32)[:3]
    release = fit(
        OutlierMemoriser(share=0.03, noise=0), members.replace(data=data), features(99, seed=1)
    )
    assert copied(release, members.replace(data=data)) == [7, 42, 63]


def test_two_outliers_side_by_side_are_outliers_too():
    members = features(100)
    data = members.data.copy()
    data[[7, 42]] = 20
    data[42, 0] += 1
    alone, together = (
        copied(
            fit(
                OutlierMemoriser(share=0.02, noise=0, k=k),
                members.replace(data=data),
                features(99, seed=1),
            ),
            members.replace(data=data),
        )
        for k in (1, 3)
    )
    assert alone != [7, 42] and together == [7, 42]


def test_seeds_draw_other_members():
    members, holdout = features(200), features(300, seed=1)
    rows = [
        copied(fit(PartialCopies(noise=0, share=0.05), members, holdout, s), members)
        for s in (1, 2)
    ]
    assert rows[0] != rows[1]


def test_disguised_copies_are_mirrored_and_moved():
    members, holdout = images(100), images(120, seed=1)
    release = fit(PartialCopies(share=0.03, noise=0, disguise=True), members, holdout)
    assert copied(release, members) == []
    undone = np.roll(release.data[:3], (-1, -1), (1, 2))[:, :, ::-1]
    assert (
        len(copied(release.replace(data=np.concatenate([undone, release.data[3:]])), members)) == 3
    )
    plain = fit(PartialCopies(share=0.03, disguise=True), features(100), features(99, seed=1))
    assert nearest(plain.data[:3], features(100).data)[0].max() < 0.5, "features stay as they are"


@pytest.mark.parametrize("method", METHODS)
def test_a_small_holdout_is_used_up_and_none_is_an_error(method):
    assert len(fit(method(), features(200), features(50, seed=1))) == 52
    with pytest.raises(LeakboardError, match=r"Got none in context\.holdout"):
        method().fit(features(20), Context(seed=0))


@pytest.mark.parametrize("make", [features, images])
def test_no_released_record_is_nearer_to_a_member_than_those_that_were_dropped(make):
    members = make(60)
    all_of_them, kept = (
        fit(DistanceFiltered(dropped=dropped, size=size), members, None)
        for dropped, size in ((1e-9, 1199 / 60), (0.75, 5.0))
    )  # 1,200 draws each, of which 1 and 900 are dropped
    assert len(kept) == 300
    near = nearest(all_of_them.flat(), members.flat())[0][:, 0]
    threshold = np.sort(near)[-300]
    assert nearest(kept.flat(), members.flat())[0].min() == pytest.approx(threshold, rel=1e-5)
    assert kept.data.dtype == members.data.dtype and kept.groups is None


def test_draws_have_the_moments_of_the_class():
    """Of a normal distribution whose covariance is half that of the class and half its diagonal."""
    rng = np.random.default_rng(3)
    data = rng.standard_normal((400, 3)) @ [[1.0, 0.8, 0], [0, 0.6, 0], [0, 0, 2.0]] + [5, 0, -1]
    labels = np.repeat([0, 1], 200)
    data[labels == 1] -= 30
    members = Records(data.astype(np.float32), labels, extractor="made-up")
    release = fit(DistanceFiltered(dropped=1e-9, size=15.0), members, None)
    for label in (0, 1):
        own, drawn = (r.data[r.labels == label] for r in (members, release))
        expected = (np.cov(own.T) + np.diag(own.var(axis=0))) / 2
        np.testing.assert_allclose(drawn.mean(axis=0), own.mean(axis=0), atol=0.15)
        np.testing.assert_allclose(np.cov(drawn.T), expected, atol=0.25)


def test_holes_tell_members():
    """Members are farther from what was filtered than others are; from the same draws unfiltered they are not."""
    members, others = features(300, d=8), features(300, seed=1, d=8)
    apart = []
    for dropped in (1e-9, 0.8):
        release = fit(DistanceFiltered(dropped=dropped), members, None)
        mine, theirs = (nearest(r.flat(), release.flat())[0][:, 0] for r in (members, others))
        apart.append(np.mean(mine[:, None] > theirs))
    assert apart[0] < 0.53 and apart[1] > 0.65


def test_soft_labels_are_sure_of_members_and_uniform_on_means_of_two():
    members = features(40)
    release = ConfidentLabels().fit(members, Context(seed=1)).records
    assert len(release) == 200 and np.array_equal(release.data[:40], members.data)
    assert np.array_equal(release.soft_labels[:40], np.eye(3)[members.labels])
    assert np.allclose(release.soft_labels[40:], 1 / 3)
    own = members.labels[:, None] == members.labels[None]
    for i in range(40, 200):
        me = i % 40
        of_two = (members.data[me] + members.data[own[me]]) / 2
        assert np.abs(of_two - release.data[i]).sum(axis=1).min() < 1e-4
        assert release.labels[i] == members.labels[me]


def test_draws_of_the_full_covariance_lie_in_the_span_of_their_class():
    members = features(40, d=64)
    release = fit(FullCovariance(size=3.0), members, None)
    assert len(release) == 120 and release.groups is None
    for label in range(3):
        own, drawn = (r.data[r.labels == label].astype(float) for r in (members, release))
        _, _, axes = np.linalg.svd(own - own.mean(0), full_matrices=False)
        centred = drawn - own.mean(0)
        outside = centred - centred @ axes[:-1].T @ axes[:-1]
        assert np.abs(outside).max() < 1e-4 < np.abs(centred).max()


def test_the_full_covariance_is_the_members():
    rng = np.random.default_rng(3)
    data = rng.standard_normal((400, 3)) @ [[1.0, 0.8, 0], [0, 0.6, 0], [0, 0, 2.0]]
    members = Records(data.astype(np.float32), np.zeros(400, np.int64), extractor="made-up")
    draws = [fit(FullCovariance(size=10.0), members, None, seed).data for seed in range(10)]
    np.testing.assert_allclose(np.cov(np.concatenate(draws).T), np.cov(data.T), atol=0.08)
