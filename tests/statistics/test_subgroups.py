import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from benchmark.statistics import (
    auc_interval,
    by_group,
    most_exposed,
    neighbour_distance,
    outlier_decile,
    vulnerability,
)


def test_groups_are_compared_with_their_own_nonmembers():
    """A group that scores higher, members and non-members alike, is not taken to leak."""
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 2, 4000)
    coins = rng.random(4000) < np.where(groups == 1, 0.7, 0.3)
    scores = rng.normal(size=4000) + 3 * groups
    assert auc_interval(scores, coins).low > 0.6  # pooled, it looks like a leak
    for estimate in by_group(auc_interval, scores, coins, groups).values():
        assert estimate.low <= 0.5 <= estimate.high


def test_groups_pay_for_being_many_and_keep_the_hopeless():
    rng = np.random.default_rng(1)
    groups = np.array(["a", "b", "c"])[rng.integers(0, 3, 300)]
    scores, coins = rng.normal(size=300), (rng.random(300) < 0.5) & (groups != "c")
    corrected = by_group(auc_interval, scores, coins, groups)
    assert list(corrected) == ["a", "b", "c"]
    here = groups == "a"
    assert corrected["a"] == auc_interval(scores[here], coins[here], 1 - 0.05 / 3)
    plain = by_group(auc_interval, scores, coins, groups, simultaneous=False)
    assert plain["a"] == auc_interval(scores[here], coins[here])
    assert not corrected["c"].resolved
    with pytest.raises(ValueError, match=r"groups must have shape \(300,\). Got \(2,\)"):
        by_group(auc_interval, scores, coins, groups[:2])


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_neighbour_distance_agrees_with_sklearn(offset):
    features = np.random.default_rng(2).normal(size=(700, 12)) + offset
    finder = NearestNeighbors(n_neighbors=6).fit(features)
    expected = finder.kneighbors(features)[0][:, 1:].mean(axis=1)
    np.testing.assert_allclose(neighbour_distance(features), expected, rtol=1e-6)


def test_last_decile_holds_the_outliers():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(200, 8))
    features[:20] *= 30
    decile = outlier_decile(features)
    np.testing.assert_array_equal(np.bincount(decile), [20] * 10)
    assert np.all(decile[:20] == 9)
    assert list(outlier_decile(np.array([[0.0], [0.1], [0.3], [50.0]]), 1)) == [0, 2, 5, 7]
    assert list(outlier_decile(np.ones((1, 3)))) == [0]


def test_vulnerability_by_hand():
    #            record 0      1      2      3
    scores = [[5.0, 1.0, 2.0, 2.0], [0.0, 7.0, 3.0, 4.0]]
    coins = [[True, False, False, False], [False, True, False, False]]
    result = vulnerability(scores, coins)
    # Record 0: in, above all of (1, 2, 2); out, below both others of (3, 4).
    assert (result.exposure[0], result.baseline[0]) == (1.0, 0.0)
    assert result.lift[0] == 1.0 and result.auc[0] == 1.0
    # Record 2 never was in; out it ties with one of (1, 2) and beats the other, then beats 1 of 2.
    assert np.isnan(result.exposure[2]) and np.isnan(result.auc[2])
    assert result.baseline[2] == pytest.approx((0.75 + 0.5) / 2)
    assert list(result.runs_in) == [1, 1, 0, 0]
    np.testing.assert_array_equal(most_exposed(result, 5), [0, 1])


def test_vulnerability_finds_the_leaking_record_not_the_loud_one():
    rng = np.random.default_rng(4)
    coins = rng.random((60, 200)) < 0.5
    scores = rng.normal(size=(60, 200)) * rng.uniform(1, 100, size=(60, 1))  # any scale per run
    spread = scores.std(axis=1)
    scores[:, 7] += 3 * spread * coins[:, 7]
    scores[:, 9] += 5 * spread  # scores high whether in or out
    result = vulnerability(scores, coins)
    assert most_exposed(result, 1)[0] == 7 and result.auc[7] > 0.9
    assert result.exposure[9] > 0.99 and abs(result.lift[9]) < 0.02
    others = np.delete(result.lift, [7])
    assert abs(others.mean()) < 0.02


def test_vulnerability_is_zero_on_average_when_nothing_leaks():
    rng = np.random.default_rng(5)
    coins = rng.random((30, 500)) < 0.5
    scores = np.round(rng.normal(size=(30, 500)) + rng.normal(size=500), 1)
    lift = vulnerability(scores, coins).lift
    assert abs(lift.mean()) < 4 * lift.std() / np.sqrt(lift.size)


def test_vulnerability_refuses_bad_input():
    with pytest.raises(ValueError, match="at least 2 non-members"):
        vulnerability(np.zeros((1, 3)), [[True, True, False]])
    with pytest.raises(ValueError, match=r"shape \(n_runs, m\). Got \(3,\) and \(3,\)"):
        vulnerability(np.zeros(3), np.zeros(3, bool))
