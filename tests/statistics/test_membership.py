import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from benchmark.statistics import (
    advantage,
    auc,
    auc_interval,
    clopper_pearson,
    delong_variance,
    gaussian_mean_auc,
    gaussian_pair_advantage,
    gaussian_pair_auc,
    gaussian_pair_tpr,
    newcombe_auc_limits,
    pooled_tpr_at_fpr,
    roc,
    roc_band,
    tpr_at_fpr,
)

DRAWS = 500
WITHIN = 3 * np.sqrt(0.05 * 0.95 / DRAWS)  # binomial error of a miss rate of 5 %


def game(seed=0, m=400, mu=0.0, digits=None):
    rng = np.random.default_rng([seed, m, int(10 * mu)])
    coins = rng.random(m) < 0.5
    scores = rng.normal(size=m) + mu * coins
    return (scores if digits is None else np.round(scores, digits)), coins


def holds(estimate, theory):
    return bool(estimate.low <= theory <= estimate.high)


@st.composite
def games(draw):
    m = draw(st.integers(4, 60))
    scores = draw(st.lists(st.integers(-6, 6), min_size=m, max_size=m))
    coins = draw(st.lists(st.booleans(), min_size=m, max_size=m).filter(lambda c: 0 < sum(c) < m))
    return np.array(scores, float), np.array(coins)


# --- AUC


def test_auc_by_hand():
    # Pairs (member, non-member): (3,2) (3,1) (1,2) (1,1): right, right, wrong, tied.
    assert auc([3, 1, 2, 1], [True, True, False, False]) == 2.5 / 4


@settings(deadline=None)
@given(games())
def test_auc_counts_pairs_and_agrees_with_sklearn(game):
    scores, coins = game
    above = scores[coins][:, None] - scores[~coins]
    assert auc(scores, coins) == pytest.approx((above > 0).mean() + (above == 0).mean() / 2)
    assert auc(scores, coins) == pytest.approx(roc_auc_score(coins, scores))


@settings(deadline=None)
@given(games())
def test_delong_variance_by_its_definition(game):
    scores, coins = game
    if min(coins.sum(), (~coins).sum()) < 2:
        assert np.isnan(delong_variance(scores, coins))
        return
    kernel = (np.sign(scores[coins][:, None] - scores[~coins]) + 1) / 2
    v10, v01 = kernel.mean(axis=1), kernel.mean(axis=0)
    expected = v10.var(ddof=1) / v10.size + v01.var(ddof=1) / v01.size
    assert delong_variance(scores, coins) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(games())
def test_monotone_transformation_changes_nothing(game):
    scores, coins = game
    for metric in (
        auc_interval,
        advantage,
        lambda s, c: tpr_at_fpr(s, c, 0.3),
        lambda s, c: tpr_at_fpr(s, c, 0.3, threshold="given"),
    ):
        once, twice = metric(scores, coins), metric(np.exp(scores) * 3 - 1, coins)
        assert (once.method, once.reason) == (twice.method, twice.reason)
        figures = [(e.value, e.low, e.high) for e in (once, twice)]
        np.testing.assert_array_equal(*figures)


@settings(deadline=None)
@given(games())
def test_swapping_members_and_nonmembers_mirrors_the_auc(game):
    scores, coins = game
    here, there = auc_interval(scores, coins), auc_interval(scores, ~coins)
    assert there.value == pytest.approx(1 - here.value)
    assert there.low == pytest.approx(1 - here.high, abs=1e-9)
    assert there.high == pytest.approx(1 - here.low, abs=1e-9)


@settings(deadline=None)
@given(games(), st.sampled_from([0.8, 0.95, 0.999]))
def test_intervals_are_ordered_and_in_range(game, confidence):
    for metric in (auc_interval, advantage, lambda *a: tpr_at_fpr(a[0], a[1], 0.4, a[2])):
        estimate = metric(*game, confidence)
        if estimate.resolved:
            assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


@pytest.mark.parametrize("n", [1, 5, 50, 500])
def test_perfect_separation_is_not_certainty(n):
    scores, coins = np.arange(2 * n, dtype=float), np.arange(2 * n) >= n
    estimate = auc_interval(scores, coins)
    assert estimate.value == estimate.high == 1.0
    # A rule of three: an AUC of 1 from n + n records does not exclude 1 - 1/(n + 1).
    assert estimate.low < 1 - 1 / (n + 1)
    assert "Newcombe" in estimate.method
    assert auc_interval(-scores, coins).high == pytest.approx(1 - estimate.low)


def test_tied_scores_say_nothing():
    estimate = auc_interval(np.zeros(100), np.arange(100) < 50)
    assert estimate.value == 0.5 and estimate.low < 0.4 and estimate.high > 0.6


def test_newcombe_limits_solve_their_equation():
    for value in (0.5, 0.9, 1.0):
        low, _ = newcombe_auc_limits(value, 40, 70)
        star = 54.0
        spread = 1 + star * (1 - low) / (2 - low) + star * low / (1 + low)
        deviation = np.sqrt(low * (1 - low) * spread / (40 * 70))
        assert (value - low) / deviation == pytest.approx(1.959964, rel=1e-4)


@pytest.mark.parametrize("m", [200, 1000])
@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
def test_auc_interval_covers_theory(m, mu):
    """94.7 % to 96.4 % in 6,000 draws at each of these and at m = 500."""
    theory = norm.cdf(mu / np.sqrt(2))
    held = [holds(auc_interval(*game(s, m, mu)), theory) for s in range(2 * DRAWS)]
    assert np.mean(held[:DRAWS]) >= 0.93 and np.mean(held) >= 0.935


@pytest.mark.parametrize(("m", "digits"), [(200, None), (500, 0), (1000, None)])
def test_auc_interval_misses_chance_in_one_of_twenty(m, digits):
    missed = [not holds(auc_interval(*game(s, m, 0, digits)), 0.5) for s in range(DRAWS)]
    assert 0.05 - WITHIN <= np.mean(missed) <= 0.05 + WITHIN


@pytest.mark.parametrize("mu", [3.0, 4.0, 6.0])
def test_auc_interval_covers_near_one(mu):
    """Where few or no records are misordered, the plain DeLong interval often is a point."""
    theory = norm.cdf(mu / np.sqrt(2))
    held = [holds(auc_interval(*game(s, 200, mu)), theory) for s in range(200)]
    assert np.mean(held) >= 0.93


# --- ROC


def test_roc_groups_ties_by_hand():
    scores = [4, 3, 3, 3, 1, 1]
    coins = [True, True, False, False, True, False]
    fpr, tpr, thresholds = roc(scores, coins)
    np.testing.assert_allclose(fpr, [0, 0, 2 / 3, 1])
    np.testing.assert_allclose(tpr, [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_array_equal(thresholds, [np.inf, 4, 3, 1])


@settings(deadline=None)
@given(games())
def test_roc_agrees_with_sklearn(game):
    scores, coins = game
    expected = roc_curve(coins, scores, drop_intermediate=False)
    for ours, theirs in zip(roc(scores, coins), expected, strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_roc_refuses_a_single_kind():
    with pytest.raises(ValueError, match="1 member and 1 non-member, got 3 and 0"):
        roc([1.0, 2.0, 3.0], [True, True, True])


@pytest.mark.parametrize("mu", [0.0, 1.0, 2.0])
def test_roc_band_contains_the_whole_true_curve(mu):
    held = []
    for seed in range(200):
        band = roc_band(*game(seed, 300, mu))
        theory = norm.cdf(norm.ppf(band.fpr) + mu)
        held.append(np.all((band.low <= theory + 1e-12) & (theory <= band.high + 1e-12)))
    assert np.mean(held) >= 0.93


def test_roc_band_is_ordered_and_narrow_at_small_fpr():
    band = roc_band(*game(1, 4000, 0.0))
    assert np.all(band.low <= band.tpr) and np.all(band.tpr <= band.high)
    assert np.all(np.diff(band.low) >= 0) and np.all(np.diff(band.high) >= 0)
    # Campbell's Kolmogorov band cannot get below 1.5 / sqrt(2000) = 0.033 on either axis.
    assert band.high[np.searchsorted(band.fpr, 0.001)] < 0.02


def test_roc_band_tells_identity_from_chance():
    band = roc_band(np.arange(400.0), np.arange(400) >= 200)
    assert band.low[np.searchsorted(band.fpr, 0.05)] > 0.95


# --- TPR at FPR


def test_tpr_at_fpr_takes_tied_groups_whole():
    #        members at 9, 7, 7, 1; non-members at 8, 7, 2, 0
    scores, coins = [9, 7, 7, 1, 8, 7, 2, 0], [True] * 4 + [False] * 4
    assert tpr_at_fpr(scores, coins, 0.25).value == 0.25  # the tie at 7 would cost a second false
    assert tpr_at_fpr(scores, coins, 0.49).value == 0.25
    assert tpr_at_fpr(scores, coins, 0.5).value == 0.75
    given = tpr_at_fpr(scores, coins, 0.5, threshold="given")
    assert (given.low, given.high) == clopper_pearson(3, 4)


def test_tpr_at_fpr_is_exact_at_the_resolution_limit():
    scores, coins = np.arange(200.0), np.arange(200) >= 100
    assert tpr_at_fpr(scores, coins, 0.01).value == 1.0  # 1 of 100
    refused = tpr_at_fpr(scores, coins, 0.001)
    assert np.isnan([refused.value, refused.low, refused.high]).all()
    assert refused.reason == (
        "not resolvable: a FPR of 0.001 needs at least 1000 non-members, got 100"
    )


@pytest.mark.parametrize("fpr", [0.1, 0.01])
@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
def test_tpr_at_fpr_covers_theory(mu, fpr):
    theory = norm.cdf(norm.ppf(fpr) + mu)
    held = [holds(tpr_at_fpr(*game(s, 600, mu), fpr), theory) for s in range(DRAWS)]
    assert np.mean(held) >= 0.93


def test_a_given_threshold_is_another_question():
    """Plain Clopper-Pearson forgets that the threshold was estimated."""
    theory = gaussian_pair_tpr(1.0, 0.01)
    held = [
        holds(tpr_at_fpr(*game(s, 1000, 1.0), 0.01, threshold="given"), theory) for s in range(300)
    ]
    assert np.mean(held) < 0.8


def test_tpr_at_fpr_refuses_nonsense():
    with pytest.raises(ValueError, match=r"fpr must be strictly between 0 and 1\. Got 1"):
        tpr_at_fpr(*game(), 1)
    with pytest.raises(ValueError, match=r'"estimated" or "given"\. Got .free'):
        tpr_at_fpr(*game(), 0.1, threshold="free")


# --- Advantage


@settings(deadline=None)
@given(games())
def test_advantage_is_the_largest_gap(game):
    scores, coins = game
    gaps = [(scores[coins] >= t).mean() - (scores[~coins] >= t).mean() for t in scores]
    assert advantage(scores, coins).value == pytest.approx(max(0.0, *gaps))


@pytest.mark.parametrize("m", [200, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mu", [0.0, 0.5, 1.0, 2.0])
def test_advantage_interval_covers_theory(m, mu):
    theory = 2 * norm.cdf(mu / 2) - 1
    estimates = [advantage(*game(s, m, mu)) for s in range(DRAWS)]
    assert np.mean([holds(e, theory) for e in estimates]) >= 0.93
    # The lower limit is what a claim of leakage rests on: half of the error at most.
    below = np.mean([e.low > theory for e in estimates])
    assert below <= 0.025 + 3 * np.sqrt(0.025 / DRAWS)


# --- Closed forms and bad input


def test_closed_forms_against_golden_values_and_simulation():
    assert gaussian_pair_auc(1.0) == pytest.approx(0.7602, abs=5e-5)
    assert gaussian_pair_advantage(1.0) == pytest.approx(0.3829, abs=5e-5)
    assert gaussian_pair_tpr(1.0, 0.01) == pytest.approx(0.0924, abs=5e-5)
    assert gaussian_mean_auc(100, 100) == gaussian_pair_auc(1.0)
    scores, coins = game(0, 60_000, 1.5)
    assert auc(scores, coins) == pytest.approx(gaussian_pair_auc(1.5), abs=0.006)
    assert advantage(scores, coins).value == pytest.approx(gaussian_pair_advantage(1.5), abs=0.012)
    assert tpr_at_fpr(scores, coins, 0.01).value == pytest.approx(
        gaussian_pair_tpr(1.5, 0.01), abs=0.03
    )


@pytest.mark.parametrize("ratio", [0.25, 1.0, 4.0])
def test_the_mean_of_gaussian_records_leaks_as_the_closed_form_says(ratio):
    """Play the game with the correlation attack, of which the closed form speaks."""
    rng, n, results = np.random.default_rng(2), 400, []
    dimension = int(ratio * n)
    for _ in range(12):
        records = rng.normal(size=(2 * n, dimension))
        coins = rng.permutation(2 * n) < n
        results.append(auc(records @ records[coins].mean(axis=0), coins))
    assert np.mean(results) == pytest.approx(gaussian_mean_auc(dimension, n), abs=0.012)


@pytest.mark.parametrize(
    ("scores", "coins", "message"),
    [
        ([1.0, np.nan], [True, False], "scores must be finite. Got 1 NaN or infinite of 2"),
        ([1.0, np.inf], [True, False], "scores must be finite"),
        ([1.0, 2.0], [True], r"same length. Got shapes \(2,\) and \(1,\)"),
        ([[1.0, 2.0]], [[True, False]], "one-dimensional"),
        ([1.0, 2.0], [0.5, 1.0], "coins must be booleans"),
    ],
)
def test_bad_input_is_refused(scores, coins, message):
    for metric in (auc, auc_interval, advantage, roc):
        with pytest.raises(ValueError, match=message):
            metric(scores, coins)


def test_missing_kind_is_a_reason_not_a_crash():
    for metric in (auc_interval, advantage, lambda s, c: tpr_at_fpr(s, c, 0.1)):
        estimate = metric(np.arange(5.0), np.zeros(5, bool))
        assert not estimate.resolved and "got 0 and 5" in estimate.reason


@pytest.mark.parametrize("games, mu", [(3, 1.0), (4, 2.5)])
def test_pooled_tpr_covers_theory_and_resolves_what_one_game_does_not(games, mu):
    theory, missed, resolved = gaussian_pair_tpr(mu, 0.01), 0, 0
    for seed in range(60):
        played = [game(100 * seed + k, 700, mu) for k in range(games)]
        figure = pooled_tpr_at_fpr(played, 0.01)
        missed += not holds(figure, theory)
        resolved += figure.low > 0
    assert missed <= 8  # Pr[Bin(60, 0.05) > 8] = 0.5 %
    assert resolved >= 50
    assert "not resolvable below" in tpr_at_fpr(*played[0], 0.01).reason


def test_one_false_positive_in_a_hundred_takes_that_many_nonmembers():
    """In closed form for one game: (1 - 0.01)^n <= error / 2; 574 where eight attacks share the error."""
    for confidence, needed in ((0.95, 368), (1 - 0.05 / 8, 574)):
        for others, some in ((needed, False), (needed - 1, True)):
            coins = np.arange(others + 50) < 50
            figure = pooled_tpr_at_fpr([(coins + 0.0, coins)], 0.01, confidence)
            assert bool(figure.reason) is some
            assert (figure.low > 0) is not some
    assert f"below {needed} non-members, got {needed - 1}" in figure.reason
