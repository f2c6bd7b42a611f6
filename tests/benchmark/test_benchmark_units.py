"""Equal and near-equal records are one unit, and so is whatever hangs together through them."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from benchmark.contracts import Records
from benchmark.game import GameError, draw_game
from benchmark.suite import GameRules
from benchmark.units import NEAR_EQUAL, find_units


def features(data, groups=None, labels=None):
    data = np.asarray(data, dtype=np.float32)
    labels = np.zeros(len(data), dtype=np.int64) if labels is None else labels
    return Records(data, labels, None if groups is None else np.asarray(groups), "t")


def blobs(n, d=20, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_ordinary_records_are_units_of_their_own():
    units = find_units(features(blobs(300)))
    assert units.pool.tolist() == list(range(300))
    assert (units.n_equal, units.n_near_equal) == (0, 0)


def test_identities_keep_their_names():
    groups = np.repeat(np.arange(50) * 7 + 5, 3)
    assert find_units(features(blobs(150), groups)).pool.tolist() == groups.tolist()


def test_equal_records_are_one_unit_whatever_their_labels():
    data = blobs(100)
    data[40] = data[7]
    data[90] = data[7]
    units = find_units(features(data, labels=np.arange(100) % 3))
    assert units.pool[[7, 40, 90]].tolist() == [7, 7, 7]
    assert len(np.unique(units.pool)) == 98
    assert units.n_equal == 3


def test_copies_join_identities():
    data = blobs(12)
    data[11] = data[0]  # identity 0 and 5 share a scan
    data[4] = data[10]  # and so do 2 and 5: all three hang together
    units = find_units(features(data, np.repeat(np.arange(6), 2)))
    assert units.pool.tolist() == [0, 0, 1, 1, 0, 0, 3, 3, 4, 4, 0, 0]


def test_near_equal_pairs_are_those_of_a_full_search():
    rng = np.random.default_rng(3)
    data = blobs(400, 30)
    data[200:260] = data[:60] + 0.08 * rng.normal(size=(60, 30)).astype(np.float32)
    units = find_units(features(data))
    distances = squareform(pdist(data.astype(np.float64)))
    np.fill_diagonal(distances, np.inf)
    assert units.threshold == pytest.approx(NEAR_EQUAL * np.median(distances.min(axis=1)), rel=0.1)
    near = distances < units.threshold
    assert 5 < near.any(axis=1).sum() < 120  # the threshold cuts through the copies
    assert units.n_near_equal == near.any(axis=1).sum()
    assert all(units.pool[a] == units.pool[b] for a, b in zip(*np.nonzero(near), strict=True))
    assert len(np.unique(units.pool)) == 400 - near.any(axis=1).sum() // 2


def test_images_are_compared_as_pixels():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (80, 8, 8, 1), dtype=np.uint8)
    images[9] = images[2] ^ 1  # the last bit of each pixel, as a lossy format may change it
    units = find_units(Records(images, np.zeros(80, dtype=np.int64)))
    assert units.pool[9] == 2
    assert (units.n_equal, units.n_near_equal) == (0, 2)


def test_test_records_with_a_copy_in_the_pool_are_not_kept():
    pool, test = blobs(60), blobs(20, seed=1)
    test[[3, 8]] = pool[[50, 51]]
    test[9] = test[10]
    units = find_units(features(pool), features(test))
    assert units.test_kept.tolist() == [i for i in range(20) if i not in (3, 8)]
    assert units.test[9] == units.test[10] == 9
    assert units.pool.tolist() == list(range(60))


def test_constant_and_single_records_make_one_unit():
    assert find_units(features(np.zeros((10, 3)))).pool.tolist() == [0] * 10
    assert find_units(features(np.ones((1, 3)))).pool.tolist() == [0]


def test_a_game_keeps_copies_together_and_draws_from_the_kept_test_records():
    data = blobs(400)
    data[200:300] = data[:100]
    units = find_units(features(data))
    rng, secret = np.random.default_rng(0), np.random.default_rng(1)
    rules, kept = GameRules(), np.arange(10, 50)
    game = draw_game(units.pool, 400, 50, rules, rng, secret, np.arange(50), kept)
    owners = units.pool[game.candidates]
    for owner in np.unique(owners):
        assert len(set(game.coins[owners == owner])) == 1
    sets = [set(units.pool[getattr(game, s)]) for s in ("candidates", "auxiliary", "holdout")]
    assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
    assert sorted(game.test) == list(range(10, 50))
    with pytest.raises(GameError, match="all 50 records of the official test split have equals"):
        draw_game(units.pool, 400, 50, rules, rng, secret, None, kept[:0])
