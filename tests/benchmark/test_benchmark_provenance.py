"""Near-copies of unseen records are counted by hand-made distances; equal sets are equal whatever their order."""

import numpy as np
import pytest

from benchmark.contracts import Records
from benchmark.provenance import (
    NEAR_COPY,
    count_copies,
    fingerprints,
    multiset_digest,
    scales,
)


def features(data, labels=None):
    data = np.asarray(data, dtype=np.float32)
    labels = np.zeros(len(data), dtype=np.int64) if labels is None else np.asarray(labels)
    return Records(data, labels, None, "t")


def test_scales_are_distances_to_the_nearest_known_record():
    found = scales(features([[0.0], [5.0]]), features([[1.0], [9.0]]))
    assert found.tolist() == [1.0, 4.0]


def test_a_near_copy_is_nearer_than_the_fraction_says():
    unseen, scale = features([[0.0], [100.0]]), np.array([10.0, 10.0])
    just, beyond = NEAR_COPY * 10 - 0.01, NEAR_COPY * 10 + 0.01
    assert count_copies(features([[just]]), unseen, np.arange(2), scale).copies == 1
    assert count_copies(features([[beyond]]), unseen, np.arange(2), scale).copies == 0


def test_neither_repeats_nor_a_units_records_count_twice():
    unseen, scale = features([[0.0], [0.1], [50.0]]), np.ones(3)
    found = count_copies(features([[0.0], [0.0], [0.1]]), unseen, np.array([7, 7, 9]), scale)
    assert (found.copies, found.exact, found.pairs) == (1, 1, 2 * 2)
    found = count_copies(features([[0.05]]), unseen, np.arange(3), scale)
    assert (found.copies, found.exact) == (1, 0)


@pytest.mark.parametrize("n", [30, 400])
def test_members_averages_and_noise_are_no_near_copies(n):
    rng = np.random.default_rng(n)
    known, unseen = (features(rng.normal(size=(n, 30))) for _ in range(2))
    scale, units = scales(unseen, known), np.arange(n)
    averages = known.data[rng.integers(n, size=(n, 3))].mean(axis=1)
    collapsed = np.repeat(known.data.mean(axis=0, keepdims=True), n, axis=0)
    for made in (known.data, averages, collapsed, known.data + rng.normal(size=(n, 30))):
        assert count_copies(features(made), unseen, units, scale).copies == 0


def test_fresh_records_are_as_near_as_the_dimension_says():
    # In m dimensions a fresh record of n is within a share of the distance to the nearest of n with about share^m.
    rng, n = np.random.default_rng(0), 4000
    known, unseen, fresh = (features(rng.random((n, 2))) for _ in range(3))
    found = count_copies(fresh, unseen, np.arange(n), scales(unseen, known))
    share = NEAR_COPY**2 / (
        1 + NEAR_COPY**2
    )  # of two Poisson processes, the nearest in the smaller disc
    assert found.copies <= share * n * 1.05
    assert found.copies > 0.7 * share * n


def test_sets_are_equal_whatever_their_order():
    a = features([[1.0], [2.0], [2.0]], [0, 1, 1])
    assert multiset_digest(a) == multiset_digest(a.take(np.array([2, 0, 1])))
    assert multiset_digest(a) != multiset_digest(a.take(np.array([0, 1])))
    assert multiset_digest(a) != multiset_digest(features(a.data, [1, 0, 1]))
    assert len(fingerprints(a)) == 2
    assert np.array_equal(fingerprints(features([[0.0]])), fingerprints(features([[-0.0]])))
