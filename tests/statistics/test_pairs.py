"""Methods compared in pairs: variances by bootstrap, closed cases, and who is told apart."""

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import multivariate_normal, norm

from benchmark.statistics import auc
from benchmark.statistics.pairs import (
    ASSUMED_SPREAD,
    UTILITY_SPREAD,
    SharedGame,
    SharedTest,
    _accuracies_apart,
    _any_of,
    _areas,
    bivariate_normal,
    compare_leaks,
    compare_utilities,
    holm,
)


def shared(seed, areas, m=400, common=0.5, spread=0.0):
    """A game of several methods, ``{method: AUC of each attack}``, whose scores have a part in common."""
    rng = np.random.default_rng(seed)
    coins = rng.random(m) < 0.5
    base = rng.standard_normal(m)
    scores = {}
    for method, own in areas.items():
        effect = spread * rng.standard_normal()
        noise = rng.standard_normal((len(own), m))
        mu = np.sqrt(2) * ndtri(np.clip(np.array(own) + effect, 0.01, 0.99))
        rows = np.sqrt(common) * base + np.sqrt(1 - common) * noise + mu[:, None] * coins
        scores[method] = dict(enumerate(rows))
    return SharedGame(coins, scores)


def told_apart(pair):
    return pair.difference.low > 0 or pair.difference.high < 0


def test_covariances_are_those_of_a_bootstrap():
    game = shared(0, {"a": [0.7], "b": [0.6]}, m=300)
    areas = _areas(game)
    rng = np.random.default_rng(1)
    members, others = np.flatnonzero(game.coins), np.flatnonzero(~game.coins)
    draws = []
    for _ in range(1500):
        rows = np.concatenate([rng.choice(members, members.size), rng.choice(others, others.size)])
        draws.append([auc(game.scores[x][0][rows], game.coins[rows]) for x in "ab"])
    np.testing.assert_allclose(areas.covariance, np.cov(np.array(draws).T), rtol=0.15)
    assert areas.values[0] + 0.5 == pytest.approx(auc(game.scores["a"][0], game.coins))


def test_one_seed_one_attack_is_delongs_paired_test_with_an_assumed_spread():
    game = shared(2, {"a": [0.7], "b": [0.57]}, m=300)
    areas = _areas(game)
    (pair,) = compare_leaks([game])
    c = areas.covariance
    error = np.sqrt(c[0, 0] + c[1, 1] - 2 * c[0, 1])
    z = np.linspace(-10, 10, 200_001)
    seen = np.sqrt(2) * ASSUMED_SPREAD * z - (areas.values[0] - areas.values[1])
    either_way = np.minimum(1, 2 * ndtr(seen / error))  # the attack may point in two directions
    expected = 2 * np.trapezoid(either_way * norm.pdf(z), z)
    assert pair.p == pytest.approx(expected, rel=1e-6)
    assert told_apart(pair) == (pair.p <= 0.05)
    assert "a spread of 0.03 between seeds is assumed" in pair.difference.method


@pytest.mark.parametrize("correlation", [-0.99, -0.4, 0.0, 0.7])
@pytest.mark.parametrize(("h", "k"), [(0.0, 0.0), (1.2, -3.0), (-2.0, 0.0), (-1.0, -1.5), (8, 2)])
def test_bivariate_normal_is_that_of_scipy(h, k, correlation):
    law = multivariate_normal([0, 0], [[1, correlation], [correlation, 1]])
    assert bivariate_normal(h, k, correlation) == pytest.approx(law.cdf([h, k]), abs=1e-8)


@pytest.mark.parametrize("effect", [0.01, 0.5, 3.0])
@pytest.mark.parametrize(("choices", "distance"), [(2, -1.0), (2, 3.0), (16, 4.0), (64, 9.0)])
def test_choices_of_an_attack_share_the_effect_of_a_seed(choices, distance, effect):
    z = np.linspace(-12, 12, 400_001)
    each = np.minimum(1, choices * ndtr((effect * z - distance) / 0.7)) * norm.pdf(z)
    found = _any_of(choices, distance, 0.7, np.array([effect]))
    assert found[0] == pytest.approx(np.trapezoid(each, z), rel=1e-6, abs=1e-14)


def test_a_difference_resolves_and_the_mirror_image_does_too():
    games = [shared(s, {"a": [0.6] * 8, "b": [0.7] * 8}, m=700) for s in range(3)]
    (pair,) = compare_leaks(games)
    assert (pair.left, pair.right, pair.n_seeds) == ("a", "b", 3)
    assert pair.difference.high < 0 and pair.p < 0.05
    turned = [
        SharedGame(g.coins, {"a": g.scores["a"], "b": {k: -v for k, v in g.scores["b"].items()}})
        for g in games
    ]
    assert compare_leaks(turned)[0].difference.high < 0


def test_unequal_sets_of_attacks_and_missing_seeds():
    games = [shared(s, {"a": [0.6, 0.5], "b": [0.8], "c": [0.6]}) for s in range(3)]
    del games[0].scores["c"]
    pairs = {(p.left, p.right): p for p in compare_leaks(games)}
    assert pairs["a", "b"].n_seeds == 3 and pairs["a", "c"].n_seeds == 2
    assert told_apart(pairs["a", "b"]) and not told_apart(pairs["a", "c"])
    assert compare_leaks([]) == []


def test_the_same_release_twice_ties():
    games = [shared(s, {"a": [0.7]}) for s in range(3)]
    for g in games:
        g.scores["b"] = g.scores["a"]
    (pair,) = compare_leaks(games)
    assert pair.p == 1 and not told_apart(pair) and pair.difference.value == 0


def test_perfect_separation_has_an_error_too():
    coins = np.arange(60) % 2 == 0
    near = coins.astype(float)
    near[1] = 1.0
    (pair,) = compare_leaks([SharedGame(coins, {"a": {0: coins.astype(float)}, "b": {0: near}})])
    assert not told_apart(pair)


def test_interval_leaves_out_zero_just_where_p_is_small():
    for seed in range(12):
        areas = {"a": [0.6], "b": [0.66], "c": [0.72]}
        for pair in compare_leaks([shared(10 * seed + k, areas, m=300) for k in range(3)]):
            assert told_apart(pair) == (pair.p <= 0.05)
            assert pair.difference.low <= pair.difference.value <= pair.difference.high


def test_holm():
    adjusted, level = holm(np.array([0.2, 0.001, 0.02]), 0.05)
    np.testing.assert_allclose(adjusted, [0.2, 0.003, 0.04])
    np.testing.assert_allclose(level, [0.05, 0.05 / 3, 0.025])
    adjusted, level = holm(np.array([0.04, 0.03]), 0.05)
    np.testing.assert_allclose(adjusted, [0.06, 0.06])
    np.testing.assert_allclose(level, [0.025, 0.025])


def test_paired_accuracies_by_hand():
    # One class: 6 records that a alone gets right, 1 that b alone does, 13 alike; two more that disagree.
    left = np.arange(20) != 6
    right = np.arange(20) >= 6
    test = SharedTest(np.zeros(20, int), {"a": left, "b": right})
    value, variance = _accuracies_apart(test, "a", "b")
    assert value == pytest.approx(5 / 20)
    assert variance == pytest.approx((7 - 5**2 / 20 + 2) / 20**2)
    twice = SharedTest(
        np.zeros(40, int), {"a": np.tile(left, 2), "b": np.tile(right, 2)}, np.arange(40) % 20
    )
    plain = SharedTest(twice.labels, twice.right)
    # pairs of equal records are one: twice the variance, by 20 / 19 as the identities are a sample
    assert _accuracies_apart(twice, "a", "b")[1] == pytest.approx(
        2 * 20 / 19 * _accuracies_apart(plain, "a", "b")[1]
    )


def test_classes_count_alike_in_paired_accuracies():
    # Three of four records of class 0 and one of two of class 2: (3/4 + 1/2) / 2; class 1 has no records.
    labels = np.array([0, 0, 0, 0, 2, 2])
    right = {"a": np.array([1, 1, 1, 0, 1, 0], bool), "b": np.zeros(6, bool)}
    value, variance = _accuracies_apart(SharedTest(labels, right), "a", "b")
    assert value == pytest.approx(0.625)
    spread = 4 * (3 / 16) / 8**2 + 2 * (1 / 4) / 4**2
    added = 2 * (4 / 8**2 + 2 / 4**2) / 6
    assert variance == pytest.approx(spread + added)


def test_one_seed_of_utilities_allows_for_an_assumed_spread():
    right = {"a": np.ones(100, bool), "b": np.arange(100) >= 20}
    (pair,) = compare_utilities([SharedTest(np.zeros(100, int), right)])
    error = np.sqrt((20 - 20**2 / 100 + 2) / 100**2 + 2 * UTILITY_SPREAD**2)
    assert pair.p == pytest.approx(2 * ndtr(-0.2 / error))
    assert "on the same test records, one seed: a spread of 0.02" in pair.difference.method


def test_utilities_whose_intervals_overlap_are_told_apart_and_equal_ones_are_not():
    rng = np.random.default_rng(5)
    labels = np.arange(500) % 10
    hard = rng.random(500)
    tests = [
        SharedTest(labels, {k: hard + 0.02 * rng.standard_normal(500) < p for k, p in rates})
        for rates in [(("a", 0.84), ("b", 0.78), ("c", 0.78))] * 3
    ]
    pairs = {(p.left, p.right): p for p in compare_utilities(tests)}
    assert told_apart(pairs["a", "b"]) and told_apart(pairs["a", "c"])
    assert not told_apart(pairs["b", "c"])
    against = compare_utilities(tests, against="b")
    assert [(p.left, p.right) for p in against] == [("a", "b"), ("c", "b")]
    assert compare_utilities([]) == [] and compare_utilities(tests[:1], against="d") == []
