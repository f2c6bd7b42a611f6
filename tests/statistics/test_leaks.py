"""The joint test of several attacks over seeds: against closed forms, scipy's and plain permutation tests."""

from itertools import combinations

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import mannwhitneyu

from benchmark.statistics import auc, delong_variance
from benchmark.statistics.epsilon import (
    fewest_right,
    guess_looks,
    guesses_of,
    one_run_epsilon,
    one_run_epsilon_from_scores,
    pooled_ceiling,
    pooled_epsilon,
    right_guesses,
    right_of,
    surest,
)
from benchmark.statistics.leaks import (
    Game,
    judge_leaks,
    pooled_auc,
    pooling_weights,
    worst_leak,
)


def game(seed, m=200, areas=(0.5,), digits=None, turn=1.0):
    """A game of normal scores with these AUCs, one attack each; rounded to ``digits``, which makes ties."""
    rng = np.random.default_rng(seed)
    coins = rng.random(m) < 0.5
    scores = rng.standard_normal((len(areas), m))
    scores = turn * (scores + np.sqrt(2) * ndtri(np.array(areas))[:, None] * coins)
    if digits is not None:
        scores = np.round(scores, digits)
    return Game(coins, dict(enumerate(scores)))


def test_pooled_auc_is_the_weighted_mean_and_its_variances_add_up():
    games = [(g.scores[0], g.coins) for g in (game(0, 60, (0.7,)), game(1, 150, (0.6,)))]
    weights = pooling_weights([coins for _, coins in games])
    pooled = pooled_auc(games)
    assert pooled.value == pytest.approx(
        sum(w * auc(*g) for w, g in zip(weights, games, strict=True))
    )
    expected = sum(w**2 * delong_variance(*g) for w, g in zip(weights, games, strict=True))
    assert pooled.variance == pytest.approx(expected)
    sizes = [(c.sum(), (~c).sum()) for _, c in games]
    null = sum(w**2 * (a + b + 1) / (12 * a * b) for w, (a, b) in zip(weights, sizes, strict=True))
    assert pooled.null_variance == pytest.approx(null)  # Mann-Whitney's, without ties


def test_null_variance_is_that_of_all_choices_of_members():
    scores = np.array([1.0, 1, 2, 3, 3, 3, 5])
    areas = []
    for chosen in combinations(range(7), 3):
        coins = np.isin(np.arange(7), chosen)
        areas.append(auc(scores, coins))
    assert pooled_auc([(scores, coins)]).null_variance == pytest.approx(np.var(areas))


@pytest.mark.parametrize("seed", range(6))
def test_one_attack_in_one_game_is_the_mann_whitney_test(seed):
    played = game(seed, 300, (0.56,))
    scores, coins = played.scores[0], played.coins
    p = mannwhitneyu(scores[coins], scores[~coins]).pvalue
    low = judge_leaks([played])[0].auc.low
    # The guesses take part of the 5 %: what Mann-Whitney rejects at 2 % is rejected, what it does not at 5 % is not.
    assert (low > 0.5) >= (p < 0.02)
    assert (low > 0.5) <= (p < 0.056)


def test_the_mirror_image_shows_the_same_leak_the_other_way():
    for seed in range(5):
        there = worst_leak(
            judge_leaks([game(seed, 300, (0.6, 0.5)), game(seed + 50, 300, (0.6, 0.5))])
        )
        mirrored = [
            game(seed, 300, (0.6, 0.5), turn=-1.0),
            game(seed + 50, 300, (0.6, 0.5), turn=-1.0),
        ]
        back = worst_leak(judge_leaks(mirrored))
        assert (there.direction, back.direction) == ("nearer", "farther")
        assert back.auc.value == pytest.approx(there.auc.value)
        assert back.auc.low == pytest.approx(there.auc.low, abs=2e-3)  # odd counts of guesses
        assert back.epsilon.value == pytest.approx(there.epsilon.value, abs=0.4)


def test_more_seeds_show_more():
    lows = [
        worst_leak(judge_leaks([game(s, 700, (0.6, 0.5)) for s in range(n)])).auc.low
        for n in (1, 3, 9)
    ]
    assert lows[0] < lows[1] < lows[2] < 0.6


def test_a_useless_attack_never_tightens_and_a_subset_is_never_worse():
    games = [game(s, 300, (0.6, 0.5, 0.5, 0.5)) for s in range(2)]
    leaks = judge_leaks(games)
    alone = judge_leaks([Game(g.coins, {0: g.scores[0]}) for g in games])
    assert leaks[0].auc.low <= alone[0].auc.low
    assert leaks[0].epsilon.value <= alone[0].epsilon.value
    part = worst_leak({k: leaks[k] for k in (1, 2)})
    whole = worst_leak(leaks)
    assert part.auc.value <= whole.auc.value
    assert part.auc.low <= whole.auc.low
    assert part.auc.high <= whole.auc.high
    assert part.epsilon.value <= whole.epsilon.value


def test_separation_and_ties_keep_an_interval():
    coins = np.arange(100) % 2 == 0
    perfect = judge_leaks([Game(coins, {"sees": coins.astype(float), "blind": np.zeros(100)})])
    assert 0.85 < perfect["sees"].auc.low < 1 and perfect["sees"].auc.high == 1
    assert perfect["blind"].auc.value == 0.5 and perfect["blind"].auc.low == 0.5
    assert perfect["blind"].epsilon.value == 0
    assert judge_leaks([]) == {} and worst_leak({}).name is None
    with pytest.raises(ValueError, match="1 non-member"):
        judge_leaks([Game(np.ones(4, bool), {"a": np.zeros(4)})])


def test_interval_covers_the_true_area():
    """Of one attack, over two games: the limits of the turned AUC miss the truth about once in twenty."""
    for area in (0.5, 0.52, 0.8):
        missed = 0
        for seed in range(120):
            found = judge_leaks(
                [game(1000 * k + seed, 120, (area,)) for k in (1, 2)], replicates=399
            )
            missed += not found[0].auc.low <= area <= found[0].auc.high
        assert missed <= 13, area  # binomial(120, .05): 13 or more in 1 %


def test_detectable_is_found_four_times_in_five():
    """The least AUC said to be found with 80 % power is found as often, through the whole test."""
    said = judge_leaks([game(0, 400, (0.5, 0.5)) for _ in range(2)])[0].detectable
    found = 0
    for seed in range(150):
        games = [game(10 * seed + k, 400, (said, 0.5)) for k in range(2)]
        found += judge_leaks(games, replicates=399)[0].auc.low > 0.5
    assert 0.7 < found / 150 < 0.9


# --- Guesses over several games


def test_right_guesses_are_counted_as_before_and_turned_round():
    played = game(3, 100, (0.7,), digits=0)
    scores, coins = played.scores[0], played.coins
    counts = guesses_of(100)
    assert right_of(surest(scores), coins).tolist() == right_guesses(scores, coins, counts)
    wrong = counts - right_of(surest(scores), coins)
    assert wrong.tolist() == right_of(-surest(scores), coins).tolist()


def test_one_game_is_the_one_run_bound_at_half_the_error():
    """Two directions cost what a halved error costs in one."""
    played = game(4, 200, (0.9,))
    scores, coins = played.scores[0], played.coins
    right = right_of(surest(scores), coins)[None]
    one = one_run_epsilon_from_scores(scores, coins, confidence=0.975).value
    assert pooled_epsilon(right, [200]).value == pytest.approx(one)
    assert pooled_epsilon(guesses_of(200) - right, [200]).value == pytest.approx(one)
    assert pooled_epsilon(right, [200], 0.9, attacks=2).value == pytest.approx(one)


def test_games_add_up_and_one_by_one_is_not_lost():
    right = guesses_of(400)[None] * np.array([[1], [1], [1]])
    alike = pooled_epsilon(right, [400] * 3)
    looks = guess_looks((400,) * 3)
    pooled = max((k for k in looks if len(k.games) == 3), key=lambda k: k.made)
    assert alike.value == one_run_epsilon(1200, 1200, 1200, 0.0, 1 - pooled.level)
    assert alike.value == pooled_ceiling([400] * 3).value > pooled_ceiling([400]).value
    half = right.copy()
    half[1:] //= 2  # two games at chance
    single = max((k for k in looks if k.games == (0,)), key=lambda k: k.made)
    assert pooled_epsilon(half, [400] * 3).value == one_run_epsilon(
        400, 400, 400, 0.0, 1 - single.level
    )
    assert sum(2 * k.level for k in looks) == pytest.approx(0.05)


def test_fewest_right_is_where_the_bound_begins():
    for look in guess_looks((300, 200), 0.9, 3):
        least = fewest_right(look)
        for v, certain in ((least, True), (least - 1, False)):
            assert (one_run_epsilon(v, look.made, look.coins, 0.0, 1 - look.level) > 0) is certain


def test_gaussian_bound_is_above_the_plain_one():
    right = right_of(surest(game(5, 500, (0.95,)).scores[0]), game(5, 500, (0.95,)).coins)[None]
    plain, gaussian = (
        pooled_epsilon(right, [500]),
        pooled_epsilon(right, [500], gaussian_delta=1e-5),
    )
    assert gaussian.value > plain.value > 0
    assert pooled_epsilon(right * 0, [2]).reason.startswith("not resolvable: 2 coins")
