"""The referee deals disjoint sets and fair coins, and judges answers."""

import numpy as np
import pytest
from scipy import stats

from benchmark.contracts import Links, Reconstructions, Records, Scores
from benchmark.game import (
    GameError,
    InvalidAnswer,
    check_answer,
    draw_game,
    link_outcomes,
    probes,
    reconstruction_scores,
    reveal_coins,
    subset_rows,
    unit_means,
)
from benchmark.suite import GameRules

SETS = ("candidates", "auxiliary", "holdout", "validation", "test")


def rng(seed=0):
    return np.random.default_rng(seed)


def coins(seed=0):
    return np.random.default_rng([seed, 1])


def patients(n=300, visits=3):
    return np.repeat(np.arange(n) * 7 + 5, visits)


def test_sets_are_disjoint_and_of_the_size_asked_for():
    rules = GameRules(candidates=400, auxiliary=200, holdout=230, validation=50, test=100)
    game = draw_game(None, 1000, 0, rules, rng(), coins())
    rows = np.concatenate([getattr(game, s) for s in SETS])
    assert len(np.unique(rows)) == len(rows) == 980
    assert [len(getattr(game, s)) for s in SETS] == [400, 200, 230, 50, 100]


def test_without_coins_all_candidates_are_members_and_no_set_serves_privacy():
    rules = GameRules(members="all", validation=50, test=100)
    game = draw_game(None, 1000, 0, rules, rng(), coins())
    assert (len(game.candidates), len(game.validation), len(game.test)) == (850, 50, 100)
    assert game.coins.all() and game.members.tolist() == game.candidates.tolist()
    assert len(game.auxiliary) == len(game.holdout) == 0


def test_default_sizes_leave_enough_holdout_for_the_members():
    game = draw_game(None, 1797, 0, GameRules(), rng(), coins())
    rows = np.concatenate([getattr(game, s) for s in SETS])
    assert len(np.unique(rows)) == len(rows) <= 1797
    assert len(game.holdout) > game.coins.sum()


def test_sizes_left_out_share_what_is_left():
    game = draw_game(None, 1000, 0, GameRules(candidates=100), rng(), coins())
    assert len(game.candidates) == 100
    assert 890 <= sum(len(getattr(game, s)) for s in SETS[1:]) <= 900


def test_an_official_test_split_is_used_and_the_pool_is_not():
    game = draw_game(None, 500, 80, GameRules(test=50), rng(), coins())
    assert game.test_is_official
    assert len(game.test) == 50
    assert game.test.max() < 80


def test_identities_are_never_split_and_share_a_coin():
    groups = patients()
    game = draw_game(groups, len(groups), 0, GameRules(), rng(), coins())
    owners = [set(groups[getattr(game, s)]) for s in SETS]
    for i, one in enumerate(owners):
        for other in owners[i + 1 :]:
            assert not one & other
    for unit in range(game.units.max() + 1):
        rows = game.units == unit
        assert len(set(groups[game.candidates[rows]])) == 1
        assert len(set(game.coins[rows])) == 1
        assert rows.sum() == 3


def test_coins_are_fair_and_independent_of_order_and_identity():
    heads, by_position, by_unit = [], [], []
    for seed in range(400):
        game = draw_game(patients(60, 2), 120, 0, GameRules(candidates=80), rng(seed), coins(seed))
        unit_coins = game.coins[probes(game.units)]
        heads.append(unit_coins.sum())
        by_position.append(
            game.coins[: len(game.coins) // 2].mean() - game.coins[len(game.coins) // 2 :].mean()
        )
        by_unit.append(np.corrcoef(np.arange(len(unit_coins)), unit_coins)[0, 1])
    n = len(unit_coins)
    assert stats.binomtest(int(np.sum(heads)), 400 * n, 0.5).pvalue > 1e-3
    # Heads of each draw are binomial: their variance is n/4, which a balanced draw would not have.
    assert 0.8 < np.var(heads) / (n / 4) < 1.2
    for effect in (by_position, by_unit):
        assert abs(np.mean(effect)) < 4 * np.std(effect) / np.sqrt(len(effect))


def test_the_same_seed_deals_the_same_game_and_another_does_not():
    games = [draw_game(None, 500, 0, GameRules(), rng(s), coins(s)) for s in (1, 1, 2)]
    assert np.array_equal(games[0].candidates, games[1].candidates)
    assert np.array_equal(games[0].coins, games[1].coins)
    assert not np.array_equal(games[0].candidates, games[2].candidates)


def test_coins_come_from_the_secret_alone_and_nothing_else_does():
    one, other = (draw_game(patients(), 900, 0, GameRules(), rng(), coins(s)) for s in (0, 1))
    for name in (*SETS, "units"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    units = probes(one.units)
    agree = (one.coins[units] == other.coins[units]).mean()
    assert abs(agree - 0.5) < 4 * 0.5 / np.sqrt(len(units))


def test_a_pool_too_small_is_refused_with_the_sizes():
    with pytest.raises(
        GameError, match=r"400 candidates \+ 200 auxiliary = 600 records, but the pool has 500"
    ):
        draw_game(None, 500, 0, GameRules(candidates=400, auxiliary=200), rng(), coins())
    with pytest.raises(GameError, match="no record left for"):
        draw_game(None, 100, 0, GameRules(candidates=100), rng(), coins())
    with pytest.raises(GameError, match="the subset asks for 20 records, but the dataset has 10"):
        subset_rows(None, 10, 20, rng())


def test_coins_that_all_fall_on_one_side_are_refused():
    one_patient = np.zeros(40, dtype=np.int64)
    with pytest.raises(GameError, match=r"(fell on one side|no record left)"):
        draw_game(one_patient, 40, 0, GameRules(candidates=20), rng(), coins())


def test_subsets_keep_identities_whole():
    groups = patients(50, 4)
    rows = subset_rows(groups, 200, 100, rng())
    assert np.array_equal(rows, np.sort(rows))
    assert len(rows) == 100
    assert all((groups[rows] == g).sum() == 4 for g in set(groups[rows]))


def test_half_of_the_units_are_revealed_and_truly():
    units = np.repeat(np.arange(50), 2)
    coins = np.repeat(rng().random(50) < 0.5, 2)
    told = reveal_coins(units, coins, rng(1))
    hidden = np.isnan(told)
    assert hidden.sum() == 50
    assert np.array_equal(told[~hidden], coins[~hidden].astype(float))
    assert np.array_equal(hidden[0::2], hidden[1::2])


def test_unit_means_by_hand():
    values = np.array([1.0, 3.0, 10.0, np.nan, np.nan])
    means = unit_means(values, np.array([1, 1, 0, 0, 2]))
    assert means[:2].tolist() == [10.0, 2.0]
    assert np.isnan(means[2])


def test_link_outcomes_by_hand():
    # Three units with two candidates each; units 0 and 2 are members. Members, in order: rows 0 1 4 5.
    units = np.array([0, 0, 1, 1, 2, 2])
    coins = np.array([True, True, False, False, True, True])
    origin = np.array([3, 2, 1, 0])  # released rows stand for members 3 2 1 0, hence units 2 2 0 0
    links = np.array(
        [3, 0, 0, 0, 2, 1]
    )  # probes are candidates 0 (→ unit 0: right), 4 (→ unit 0: wrong)
    assert link_outcomes(links, origin, units, coins).tolist() == [True, False]


def records(data):
    data = np.asarray(data, dtype=np.float32)
    return Records(data, np.zeros(len(data), dtype=np.int64), None, "t")


def test_reconstructions_near_a_candidate_raise_its_score():
    candidates = records([[0, 0], [5, 5], [9, 9]])
    auxiliary = records([[0, 1], [5, 6], [9, 8]])
    scores = reconstruction_scores(records([[5, 5.1]]), candidates, auxiliary)
    assert np.argmax(scores) == 1
    assert scores[1] == pytest.approx(np.log(1 / 0.1), rel=1e-3)
    assert (scores[[0, 2]] < 0).all()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros(4), "must return Scores, Links or Reconstructions. Got ndarray"),
        (
            Scores(values=np.zeros(3)),
            r"scores.values must be floating of shape \(4,\).*Got float64 \(3,\)",
        ),
        (Scores(values=np.zeros(4, dtype=np.int64)), "scores.values must be floating"),
        (
            Scores(values=np.array([0, np.nan, np.inf, 1.0])),
            "must be finite. Got NaN or infinity for 2 of 4",
        ),
        (Scores(values=np.zeros(4), decisions=np.zeros(4)), "scores.decisions must be bool"),
        (Links(released=np.array([0, 1, 2, 5])), r"rows of the release, in 0 … 4"),
        (Links(released=np.array([0.0, 1, 2, 3])), "links.released must be integer"),
        (Reconstructions(records=records(np.zeros((0, 2)))), "at least one record"),
    ],
)
def test_answers_of_the_wrong_form_are_refused(answer, message):
    with pytest.raises(InvalidAnswer, match=message):
        check_answer(answer, 4, 5)
