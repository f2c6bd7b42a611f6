from math import exp, inf, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.stats import binom, norm

from benchmark.statistics import (
    epsilon_ceiling,
    gaussian_dp_epsilon,
    gaussian_dp_mu,
    gdp_delta,
    gdp_mu_to_epsilon,
    guess_counts,
    many_run_epsilon,
    many_run_epsilon_from_counts,
    one_run_ceiling,
    one_run_epsilon,
    one_run_epsilon_from_scores,
    one_run_fdp_epsilon,
    one_run_fdp_epsilon_from_scores,
    one_run_fdp_mu,
    one_run_p_value,
    right_guesses,
)

NULL_DRAWS = 200


def at_most(level, draws=NULL_DRAWS):
    """Share of null draws that a bound of this level may exceed 0 in, with binomial error."""
    return binom.isf(0.001, draws, level) / draws


def game(seed, m=500, mu=0.0, digits=None):
    rng = np.random.default_rng([seed, m])
    coins = rng.random(m) < 0.5
    scores = rng.normal(size=m) + mu * coins
    return (scores if digits is None else np.round(scores, digits)), coins


# --- One run


@pytest.mark.parametrize(
    ("right", "made", "coins", "delta", "expected"),
    [
        (100, 100, 100, 0.0, 3.4930),
        (100, 100, 100, 1e-5, 3.4902),
        (90, 100, 100, 0.0, 1.6308),
        (95, 100, 1000, 0.0, 2.1724),
    ],
)
def test_golden_values(right, made, coins, delta, expected):
    assert one_run_epsilon(right, made, coins, delta) == pytest.approx(expected, abs=5e-5)


def p_value_by_definition(epsilon, right, made, coins, delta):
    q = exp(epsilon) / (1 + exp(epsilon))
    law = binom.pmf(np.arange(made + 1), made, q)
    windows = [law[right - i : right].sum() / i for i in range(1, right + 1)]
    return min(1.0, law[right:].sum() + 2 * coins * delta * max(windows, default=0.0))


@pytest.mark.parametrize("delta", [0.0, 1e-6, 1e-3])
@pytest.mark.parametrize(("right", "made", "coins"), [(7, 9, 20), (60, 60, 200), (41, 77, 77)])
def test_p_value_by_definition(right, made, coins, delta):
    for epsilon in (0.0, 0.3, 2.0, 7.0):
        expected = p_value_by_definition(epsilon, right, made, coins, delta)
        assert one_run_p_value(epsilon, right, made, coins, delta) == pytest.approx(expected)


@settings(deadline=None)
@given(st.data(), st.sampled_from([0.0, 1e-7, 1e-4, 0.01]), st.sampled_from([0.5, 0.95, 0.999]))
def test_bound_is_where_the_p_value_crosses_the_level(data, delta, confidence):
    coins = data.draw(st.integers(1, 300))
    made = data.draw(st.integers(1, coins))
    right = data.draw(st.integers(0, made))
    bound = one_run_epsilon(right, made, coins, delta, confidence)
    level = 1 - confidence
    assert one_run_p_value(bound + 1e-6, right, made, coins, delta) > level * (1 - 1e-6)
    if bound:
        below = [one_run_p_value(e, right, made, coins, delta) for e in np.linspace(0, bound, 9)]
        assert np.all(np.diff(below) >= -1e-12)  # so that no smaller epsilon is left in
        assert below[-1] == pytest.approx(level, rel=1e-4)


@settings(deadline=None)
@given(st.data(), st.sampled_from([0.0, 1e-5, 1e-3]))
def test_more_right_guesses_never_lower_epsilon(data, delta):
    coins = data.draw(st.integers(2, 200))
    made = data.draw(st.integers(1, coins))
    right = data.draw(st.integers(0, made - 1))
    counts = made, coins
    assert one_run_epsilon(right + 1, *counts, delta) >= one_run_epsilon(right, *counts, delta)
    assert one_run_fdp_mu(right + 1, *counts) >= one_run_fdp_mu(right, *counts)


def test_delta_and_idle_coins_only_weaken_the_bound():
    bounds = [one_run_epsilon(95, 100, m, d) for m, d in [(100, 0), (100, 1e-5), (10**5, 1e-5)]]
    assert bounds[0] > bounds[1] > bounds[2]
    assert one_run_epsilon(95, 100, 10**6, 1e-3) == 0.0


def test_ceiling_is_a_perfect_score():
    assert one_run_ceiling(50, 80) == pytest.approx(log(0.05 ** (1 / 50) / (1 - 0.05 ** (1 / 50))))
    assert one_run_ceiling(50, 80, 1e-4, 0.99) == one_run_epsilon(50, 50, 80, 1e-4, 0.99)
    assert one_run_ceiling(4, 4) == 0.0  # 1/16 exceeds 5 %


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((5, 4, 10), "guesses_right must be an integer of at least 0 and at most 4. Got 5"),
        ((5, 11, 10), "guesses_made must be an integer of at least 0 and at most 10. Got 11"),
        ((2.5, 4, 10), "guesses_right must be an integer"),
    ],
)
def test_impossible_counts_are_refused(counts, message):
    for bound in (one_run_epsilon, one_run_fdp_epsilon):
        with pytest.raises(ValueError, match=message):
            bound(*counts)


def test_right_guesses_by_hand():
    scores = [9, 8, 7, 6, 5, 4]
    coins = [True, False, True, False, True, False]
    # Two-sided: 9+ | 9+ 4- | 9+ 8+ 4- | all; one-sided: the highest are called members.
    assert right_guesses(scores, coins, [1, 2, 3, 6]) == [1, 2, 2, 4]
    assert right_guesses(scores, coins, [1, 2, 3, 6], sides="one") == [1, 1, 2, 3]
    with pytest.raises(ValueError, match='sides must be "two" or "one"'):
        right_guesses(scores, coins, [1], sides="three")


def test_the_order_of_the_candidates_does_not_leak():
    """With all scores tied, members listed first must not be guessed for that."""
    coins = np.arange(1000) < 500
    assert one_run_epsilon_from_scores(np.zeros(1000), coins).value == 0.0
    assert one_run_epsilon_from_scores(np.zeros(1000), coins, sides="one").value == 0.0


def test_guess_counts_do_not_depend_on_scores_and_pay_only_for_useful_ones():
    assert guess_counts(1000) == [10, 20, 50, 100, 200, 500, 1000]
    assert guess_counts(100) == [10, 20, 50, 100]  # 1, 2 and 5 guesses could never certify
    assert guess_counts(4) == []
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\]. Got \(0.5, 2\)"):
        guess_counts(100, (0.5, 2))


def test_bound_from_scores_is_the_best_corrected_count():
    scores, coins = game(0, 1000, 2.0)
    estimate = one_run_epsilon_from_scores(scores, coins, 1e-5)
    counts = guess_counts(1000)
    right = right_guesses(scores, coins, counts)
    each = 1 - 0.05 / 7
    expected = max(
        one_run_epsilon(v, r, 1000, 1e-5, each) for v, r in zip(right, counts, strict=True)
    )
    assert (estimate.value, estimate.low, estimate.high) == (expected, expected, inf)
    assert "Bonferroni over 7" in estimate.method and "two-sided" in estimate.method
    coins = np.arange(1000) % 2 == 0
    perfect = one_run_epsilon_from_scores(coins.astype(float), coins)
    assert perfect.value == pytest.approx(one_run_ceiling(1000, 1000, 0, each))


def test_too_few_coins_say_so():
    estimate = one_run_epsilon_from_scores([1.0, 0.0], [True, False])
    assert not estimate.resolved and "2 coins cannot certify" in estimate.reason


@pytest.mark.parametrize("sides", ["two", "one"])
@pytest.mark.parametrize(("m", "digits", "delta"), [(500, None, 0.0), (200, 0, 1e-5)])
def test_one_run_is_seldom_above_zero_on_null_scores(sides, m, digits, delta):
    above = [
        one_run_epsilon_from_scores(*game(s, m, 0, digits), delta, sides=sides).value > 0
        for s in range(NULL_DRAWS)
    ]
    assert np.mean(above) <= at_most(0.05)


def test_uncorrected_maximum_is_what_the_correction_is_for():
    """The trap: the best of all guess counts, uncorrected, is above zero on much pure noise."""
    counts = list(range(10, 501, 10))
    above = 0
    for s in range(100):
        right = right_guesses(*game(s), counts)
        above += any(one_run_epsilon(v, r, 500) > 0 for v, r in zip(right, counts, strict=True))
    assert above > 20


def test_one_run_holds_for_randomised_response():
    """Each score is the coin told truthfully with probability q: exactly epsilon-DP."""
    epsilon, q = 1.0, exp(1.0) / (1 + exp(1.0))
    above = []
    for s in range(NULL_DRAWS):
        rng = np.random.default_rng(s)
        coins = rng.random(400) < 0.5
        told = np.where(rng.random(400) < q, coins, ~coins)
        above.append(one_run_epsilon_from_scores(told.astype(float), coins).value > epsilon)
        fixed = one_run_epsilon(int((told == coins).sum()), 400, 400)
        assert fixed < 2.0  # tight: it stays near epsilon
    assert np.mean(above) <= at_most(0.05)


# --- One run, f-DP


def largest_tail(mu, right, made, coins):
    """Solve for the largest Pr[at least v right] that the theorem's constraints allow.

    Gaussian trade-off curves bound sum_{c>=i} (c/m) p_c by every tangent of 1 - f; with a dense
    set of tangents it is a linear program, independent of the recursion.
    """
    c = np.arange(made + 1)
    rows, limits = [], []
    tangents = norm.cdf(np.linspace(-9, 9, 1500))
    tangents = tangents[(tangents > 0) & (tangents < 1)]
    value = norm.cdf(norm.ppf(tangents) + mu)
    slope = np.exp(-mu * norm.ppf(tangents) - mu * mu / 2)
    keep = slope < 1e6
    for i in range(1, made + 1):
        left = np.where(c >= i, c / coins, 0.0)
        shifted = np.where(c >= i - 1, (made - c) / coins, 0.0)
        rows.append(left[None] - slope[keep, None] * shifted[None])
        limits.append(value[keep] - slope[keep] * tangents[keep])
    solution = linprog(
        -np.where(c >= right, 1.0, 0.0),
        A_ub=np.vstack(rows),
        b_ub=np.concatenate(limits),
        A_eq=np.ones((1, made + 1)),
        b_eq=[1.0],
        method="highs",
    )
    return -solution.fun


@pytest.mark.parametrize(
    ("right", "made", "coins"), [(6, 6, 6), (8, 8, 12), (11, 12, 12), (9, 10, 30)]
)
def test_recursion_agrees_with_the_linear_program(right, made, coins):
    confidence = 0.95
    mu = one_run_fdp_mu(right, made, coins, confidence)
    assert mu > 0.05
    assert largest_tail(mu, right, made, coins) == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize(
    ("right", "made", "coins", "mu"),
    [
        (80, 100, 100, 0.530689),
        (95, 100, 1000, 0.786811),
        (150, 200, 1000, 0.339466),
        (600, 1000, 1000, 0.163850),
        (30, 30, 500, 0.792493),
    ],
)
def test_recursion_agrees_with_an_independent_implementation(right, made, coins, mu):
    """Figures by the audit of PrivacyGuard (Meta), bisected over its noise of the Gaussian mechanism, 1/μ."""
    assert one_run_fdp_mu(right, made, coins) == pytest.approx(mu, rel=3e-6)


def test_fdp_at_mu_zero_respects_the_binomial_tail():
    """At mu = 0 the guesses are fair coins; the recursion may only be a little too careful."""
    for right in range(50, 75):
        refuted, tail = one_run_fdp_mu(right, 100, 100) > 0, binom.sf(right - 1, 100, 0.5)
        assert not (refuted and tail > 0.05)
        assert refuted or tail > 0.03


def test_fdp_is_tighter_for_gaussian_guesses_and_still_holds():
    mu, m, tighter, above = 1.0, 1000, 0, 0
    for s in range(NULL_DRAWS):
        scores, coins = game(s, m, mu)
        right = right_guesses(scores, coins, [m // 5])[0]
        fdp = one_run_fdp_mu(right, m // 5, m)
        above += fdp > mu
        tighter += gdp_mu_to_epsilon(fdp, 1e-5) > one_run_epsilon(right, m // 5, m, 1e-5)
    assert above / NULL_DRAWS <= at_most(0.05)
    assert tighter > 0.95 * NULL_DRAWS


@pytest.mark.parametrize("digits", [None, 0])
def test_one_run_fdp_is_seldom_above_zero_on_null_scores(digits):
    above = [
        one_run_fdp_epsilon_from_scores(*game(s, 300, 0, digits)).value > 0
        for s in range(NULL_DRAWS)
    ]
    assert np.mean(above) <= at_most(0.05)
    assert "assuming a Gaussian" in one_run_fdp_epsilon_from_scores(*game(0)).method


# --- Many runs


def test_many_run_golden_ceiling():
    assert epsilon_ceiling(500, 0.99) == pytest.approx(4.542, abs=5e-4)
    p = 0.005 ** (1 / 500)
    assert epsilon_ceiling(500, 0.99) == pytest.approx(log(p / (1 - p)))
    assert epsilon_ceiling(500, 0.99, delta=0.01) == pytest.approx(log((p - 0.01) / (1 - p)))
    assert epsilon_ceiling(1) == 0.0


def test_many_run_takes_the_better_direction():
    # 40 of 100 caught without a false alarm, and its mirror image.
    forward = many_run_epsilon_from_counts(40, 100, 0, 100)
    assert forward == pytest.approx(log(0.30330 / 0.03622), abs=1e-3)
    assert many_run_epsilon_from_counts(100, 100, 60, 100) == pytest.approx(forward)
    assert many_run_epsilon_from_counts(50, 100, 50, 100) == 0.0


@settings(deadline=None)
@given(st.integers(0, 49), st.integers(1, 50), st.sampled_from([0.0, 1e-3, 0.2]))
def test_better_tests_never_lower_the_many_run_bounds(tp, fp, delta):
    for bound in (many_run_epsilon_from_counts, lambda *a: gaussian_dp_epsilon(*a[:4], 1e-5)):
        assert bound(tp + 1, 50, fp, 50, delta) >= bound(tp, 50, fp, 50, delta) - 1e-9
        if 2 * tp > 50 > 2 * fp:
            assert bound(tp, 50, fp - 1, 50, delta) >= bound(tp, 50, fp, 50, delta) - 1e-9


@pytest.mark.parametrize("thresholds", [None, (0.0,), (-1.0, 0.0, 1.0, 2.0)])
@pytest.mark.parametrize("assume", [None, "gaussian"])
def test_many_run_is_seldom_above_zero_on_null_scores(thresholds, assume):
    above = [
        many_run_epsilon(*game(s, 120), 1e-5, thresholds=thresholds, assume=assume).value > 0
        for s in range(NULL_DRAWS)
    ]
    assert np.mean(above) <= at_most(0.05)


def test_many_run_holds_for_a_gaussian_mechanism():
    truth = gdp_mu_to_epsilon(1.0, 1e-5)
    bounds = [many_run_epsilon(*game(s, 2000, 1.0), 1e-5).value for s in range(40)]
    assert 0.3 < np.median(bounds) < truth and max(bounds) < truth
    gaussian = [
        many_run_epsilon(*game(s, 2000, 1.0), 1e-5, thresholds=[0.5], assume="gaussian").value
        for s in range(NULL_DRAWS)
    ]
    assert np.mean(np.array(gaussian) > truth) <= at_most(0.05)
    assert np.median(gaussian) > 3.0  # what the assumption buys


def test_many_run_names_its_method_and_its_needs():
    scores, coins = game(1, 200, 2.0)
    assert "other half" in many_run_epsilon(scores, coins).method
    assert "Bonferroni over 2" in many_run_epsilon(scores, coins, thresholds=(0.0, 1.0)).method
    gaussian = many_run_epsilon(scores, coins, 1e-5, assume="gaussian")
    assert "assuming a Gaussian" in gaussian.method
    short = many_run_epsilon([1.0, 2.0, 3.0], [True, False, False])
    assert not short.resolved and "1 with and 2 without" in short.reason


# --- Gaussian DP


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 1e-2])
def test_gdp_conversion_inverts(mu, delta):
    epsilon = gdp_mu_to_epsilon(mu, delta)
    if epsilon > 0:
        assert gdp_delta(epsilon, mu) == pytest.approx(delta, rel=1e-5)
    assert gdp_mu_to_epsilon(mu * 1.1, delta) >= epsilon


def test_gdp_golden_and_limits():
    assert gdp_mu_to_epsilon(1.0, 1e-5) == pytest.approx(4.377, abs=5e-4)
    assert gdp_mu_to_epsilon(0.0, 0.0) == 0.0 and gdp_mu_to_epsilon(1.0, 0.0) == inf
    # delta is the largest gap between one law and e^epsilon times the other.
    x = np.linspace(-12, 14, 400_001)
    gap = np.maximum(norm.pdf(x, 1.5) - exp(0.7) * norm.pdf(x), 0).sum() * (x[1] - x[0])
    assert gdp_delta(0.7, 1.5) == pytest.approx(gap, rel=1e-6)
    with pytest.raises(ValueError, match="mu must be at least 0"):
        gdp_mu_to_epsilon(-1.0, 1e-5)


def test_gaussian_dp_mu_by_hand():
    p = 0.025 ** (1 / 100)
    assert gaussian_dp_mu(100, 100, 0, 100) == pytest.approx(norm.ppf(p) - norm.ppf(1 - p))
    assert gaussian_dp_mu(50, 100, 50, 100) == 0.0
