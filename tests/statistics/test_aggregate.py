from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata
from scipy.stats import t as student

from benchmark.statistics import (
    Estimate,
    Rank,
    auc,
    auc_interval,
    auc_p_value,
    bootstrap_auc,
    delong_variance,
    estimate_draws,
    gate_p_threshold,
    gaussian_pair_auc,
    lower_bound,
    one_run_epsilon_from_scores,
    over_seeds,
    pareto_frequency,
    pareto_front,
    rank_intervals,
    unresolved,
    worst_case,
    worst_case_auc,
)

Z = norm.ppf(0.975)


def around(value, error=1.0):
    return Estimate(value, value - Z * error, value + Z * error, "known error")


def attacks(seed, m=600, mus=(0.0, 0.3, 0.6), noise=0.5):
    """Scores of several correlated attacks: one common signal and own noise."""
    rng = np.random.default_rng(seed)
    coins = rng.random(m) < 0.5
    common = rng.normal(size=m) * np.sqrt(1 - noise)
    own = rng.normal(size=(len(mus), m)) * np.sqrt(noise)
    return common + own + np.array(mus)[:, None] * coins, coins


# --- Over seeds


def test_over_seeds_gives_the_mean_and_the_spread():
    summary = over_seeds([around(0.5, 0.1), around(0.6, 0.1), around(0.7, 0.1)])
    assert summary.estimate.value == pytest.approx(0.6)
    assert (summary.minimum, summary.maximum, summary.n_seeds) == (0.5, 0.7, 3)
    assert summary.sd == pytest.approx(0.1)


def test_over_seeds_lies_between_its_two_levels():
    """Never below the error of the candidates alone; with equal seeds close to it."""
    equal = over_seeds([around(0.0)] * 5, shared=0.5).estimate
    floor = Z * np.sqrt(0.5 + 0.5 / 5)
    assert floor < equal.high < 1.25 * floor
    apart = over_seeds([around(-20.0), around(0.0), around(20.0)]).estimate
    seeds_alone = student.ppf(0.975, 2) * 20 / np.sqrt(3)
    assert 0.5 * seeds_alone < apart.high < 1.1 * seeds_alone


def test_over_seeds_without_own_error_is_the_t_interval():
    estimate = over_seeds([Estimate(v, v, v, "exact") for v in (1.0, 2.0, 4.0)]).estimate
    half = student.ppf(0.975, 2) * np.std([1, 2, 4], ddof=1) / np.sqrt(3)
    assert estimate.high - estimate.value == pytest.approx(half)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_over_seeds_covers_the_mean(seeds, spread, shared):
    """Where the seeds' own spread is up to twice the error within a seed."""
    rng = np.random.default_rng(seeds)
    held = []
    for _ in range(400):
        values = rng.normal() * np.sqrt(shared) + rng.normal(size=seeds) * np.sqrt(1 - shared)
        values += spread * rng.normal(size=seeds)
        estimate = over_seeds([around(v) for v in values]).estimate
        held.append(estimate.low <= 0 <= estimate.high)
    assert np.mean(held) >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 400)


def test_over_seeds_covers_when_coins_are_tossed_again_for_the_same_candidates():
    """The case of the board: one pool of candidates, new coins and a new release per seed."""
    rng, held, mu = np.random.default_rng(3), [], 1.0
    for _ in range(300):
        record = rng.normal(size=300)  # what makes a record score high by itself
        runs = []
        for _ in range(3):
            coins = rng.random(300) < 0.5
            runs.append(auc_interval(record + mu * coins, coins))
        estimate = over_seeds(runs, bounds=(0, 1)).estimate
        held.append(estimate.low <= gaussian_pair_auc(mu) <= estimate.high)
    assert np.mean(held) >= 0.93


def test_over_seeds_keeps_to_its_range():
    perfect = auc_interval(np.arange(100.0), np.arange(100) >= 50)
    estimate = over_seeds([perfect] * 3, bounds=(0, 1)).estimate
    assert estimate.value == estimate.high == 1.0 and perfect.low - 0.02 < estimate.low < 1.0


def test_over_seeds_counts_seeds_without_a_figure():
    seeds = [around(0.0), unresolved("m", "too few"), around(1.0)]
    summary = over_seeds(seeds)
    assert summary.n_seeds == 2 and summary.estimate.reason == "1 of 3 seeds without a figure"
    nothing = over_seeds([unresolved("m", "too few")])
    assert not nothing.estimate.resolved and "too few" in nothing.estimate.reason
    single = over_seeds([around(0.3)])
    assert single.estimate.low == around(0.3).low and "one seed" in single.estimate.reason
    assert np.isnan(single.sd)


def test_over_seeds_of_lower_bounds_keeps_the_smallest():
    estimate = over_seeds([lower_bound(v, "one-run") for v in (1.0, 2.0, 3.0)]).estimate
    assert (estimate.value, estimate.low, estimate.high) == (2.0, 1.0, inf)


# --- Worst case


def test_worst_case_asks_for_the_corrected_confidence():
    asked = []

    def interval_at(name, confidence):
        asked.append(confidence)
        return {"a": Estimate(0.6, 0.5, 0.9, "m"), "b": Estimate(0.7, 0.4, 0.8, "m")}[name]

    worst = worst_case(["a", "b"], interval_at, 0.95)
    assert asked == pytest.approx([0.975, 0.975])
    assert worst.name == "b"
    assert (worst.estimate.value, worst.estimate.low, worst.estimate.high) == (0.7, 0.5, 0.9)


def test_worst_case_of_lower_bounds_and_of_nothing():
    bounds = {"a": lower_bound(1.0, "m"), "b": lower_bound(2.0, "m"), "c": unresolved("m", "few")}
    worst = worst_case(bounds, lambda name, _: bounds[name])
    assert (worst.name, worst.estimate.value, worst.estimate.high) == ("b", 2.0, inf)
    assert worst.estimate.reason == "1 of 3 attacks without a figure"
    assert worst_case([], None).name is None
    assert not worst_case(["c"], lambda *_: bounds["c"]).estimate.resolved


USELESS = {
    "noise": lambda m: np.random.default_rng(8).normal(size=m),
    "constant": lambda m: np.zeros(m),
}


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(sorted(USELESS)))
def test_a_useless_attack_never_tightens_the_worst_case(seed, useless):
    scores, coins = attacks(seed, 200)
    more = np.vstack([scores, USELESS[useless](coins.size)])

    def bonferroni(rows):
        return worst_case(range(len(rows)), lambda i, level: auc_interval(rows[i], coins, level))

    def epsilon(rows):
        return worst_case(
            range(len(rows)),
            lambda i, level: one_run_epsilon_from_scores(rows[i], coins, confidence=level),
        )

    for take in (bonferroni, epsilon, lambda rows: worst_case_auc(rows, coins, replicates=200)):
        few, many = take(scores).estimate, take(more).estimate
        assert many.low <= few.low or many.value > few.value
        assert many.high >= few.high


@pytest.mark.parametrize("mus", [(0.0,) * 8, (0.0, 0.3, 0.6), (0.5,) * 5])
@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_worst_case_intervals_cover_the_worst(mus, noise):
    theory, held, narrower = gaussian_pair_auc(max(mus)), [], []
    for seed in range(200):
        scores, coins = attacks(seed, 300, mus, noise)
        joint = worst_case_auc(scores, coins, replicates=300, seed=seed).estimate
        apart = worst_case(
            range(len(mus)), lambda i, c, s=scores, t=coins: auc_interval(s[i], t, c)
        ).estimate
        held.append([e.low <= theory <= e.high for e in (joint, apart)])
        narrower.append(joint.low >= apart.low and joint.high <= apart.high)
    assert np.all(np.mean(held, axis=0) >= 0.93)
    assert all(narrower)


def test_uncorrected_worst_case_misses_what_the_correction_is_for():
    missed = 0
    for seed in range(100):
        scores, coins = attacks(seed, 300, (0.0,) * 20, 1.0)
        missed += max(auc_interval(s, coins).low for s in scores) > 0.5
    assert missed > 15


def test_worst_case_auc_names_the_attack():
    scores, coins = attacks(0, 400, (0.0, 1.0))
    worst = worst_case_auc({"weak": scores[0], "strong": scores[1]}, coins, replicates=50)
    assert worst.name == "strong" and worst.estimate.value == auc(scores[1], coins)


# --- Bootstrap


def test_bootstrap_resamples_like_a_naive_loop():
    """Replicates have the law of the AUC of resampled members and non-members, ties and all."""
    scores, coins = attacks(1, 120, (0.0, 0.8))
    scores = np.round(scores, 1)
    draws = bootstrap_auc(scores, coins, 4000)
    rng = np.random.default_rng(5)
    naive = []
    for _ in range(2000):
        members = rng.choice(np.flatnonzero(coins), coins.sum())
        others = rng.choice(np.flatnonzero(~coins), (~coins).sum())
        chosen = np.r_[members, others]
        naive.append([auc(s[chosen], coins[chosen]) for s in scores])
    naive = np.array(naive)
    np.testing.assert_allclose(draws.mean(axis=0), naive.mean(axis=0), atol=0.004)
    np.testing.assert_allclose(draws.std(axis=0), naive.std(axis=0), rtol=0.08)
    assert np.corrcoef(draws.T)[0, 1] == pytest.approx(np.corrcoef(naive.T)[0, 1], abs=0.06)


def test_bootstrap_agrees_with_delong_and_is_seeded():
    scores, coins = attacks(2, 1000)
    draws = bootstrap_auc(scores, coins, 2000)
    expected = [np.sqrt(delong_variance(s, coins)) for s in scores]
    np.testing.assert_allclose(draws.std(axis=0), expected, rtol=0.07)
    np.testing.assert_array_equal(draws, bootstrap_auc(scores, coins, 2000))
    np.testing.assert_array_equal(draws[:, 1:2], bootstrap_auc(scores[1:2], coins, 2000))
    assert not np.array_equal(draws, bootstrap_auc(scores, coins, 2000, seed=1))


def test_bootstrap_refuses_bad_input():
    with pytest.raises(ValueError, match=r"Got \(5,\) and \(5,\)"):
        bootstrap_auc(np.zeros(5), np.zeros(5, bool))
    with pytest.raises(ValueError, match="at least 1 member and 1 non-member"):
        bootstrap_auc(np.zeros((2, 5)), np.zeros(5, bool))


# --- Ranks and fronts


def test_ranks_by_hand():
    estimates = [
        Estimate(0.9, 0.85, 0.95, "m"),  # surely better than the last two
        Estimate(0.8, 0.70, 0.90, "m"),  # overlaps with the first
        Estimate(0.6, 0.50, 0.69, "m"),
        Estimate(0.5, 0.40, 0.60, "m"),
        unresolved("m", "nothing"),
    ]
    assert rank_intervals(estimates) == [
        Rank(1, 1, 2),
        Rank(1, 1, 2),
        Rank(3, 3, 4),
        Rank(3, 3, 4),
        Rank(None, None, None),
    ]
    lower = rank_intervals(estimates, higher_is_better=False)
    assert [r.rank for r in lower] == [3, 3, 1, 1, None]
    assert rank_intervals([]) == []


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.booleans())
def test_ranks_of_exact_values_are_competition_ranks(values, higher):
    ranks = rank_intervals([Estimate(v, v, v, "exact") for v in values], higher)
    expected = rankdata(-np.array(values) if higher else values, method="min")
    last = rankdata(-np.array(values) if higher else values, method="max")
    assert [r.best for r in ranks] == list(expected)
    assert [r.worst for r in ranks] == list(last)


def test_pareto_front_by_hand():
    utility = [0.9, 0.8, 0.8, 0.7, 0.9, nan]
    leakage = [0.9, 0.5, 0.6, 0.5, 0.9, 0.1]
    np.testing.assert_array_equal(
        pareto_front(utility, leakage), [True, True, False, False, True, False]
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=10))
def test_pareto_front_by_definition(points):
    utility, leakage = np.array(points, float).T
    front = pareto_front(utility, leakage)
    assert front.any()
    for i, (u, v) in enumerate(points):
        beaten = any(a >= u and b <= v and (a, b) != (u, v) for a, b in points)
        assert front[i] == (not beaten)


def test_pareto_frequency_reflects_the_uncertainty():
    utility = [Estimate(0.8, 0.79, 0.81, "m"), Estimate(0.8, 0.79, 0.81, "m"), around(0.5, 0.01)]
    leakage = [Estimate(0.6, 0.59, 0.61, "m"), Estimate(0.6, 0.59, 0.61, "m"), around(0.9, 0.01)]
    frequency = pareto_frequency(
        estimate_draws(utility, 4000, seed=0), estimate_draws(leakage, 4000, seed=1)
    )
    # Two equal points: each is dominated when it is worse in both, one time in four.
    assert frequency[:2] == pytest.approx([0.75, 0.75], abs=0.03) and frequency[2] == 0.0


def test_estimate_draws_put_the_limits_at_their_quantiles():
    draws = estimate_draws([Estimate(0.9, 0.7, 0.95, "m"), lower_bound(2.0, "m")], 40_000)
    assert np.mean(draws[:, 0] < 0.7) == pytest.approx(0.025, abs=0.003)
    assert np.mean(draws[:, 0] > 0.95) == pytest.approx(0.025, abs=0.003)
    assert np.all(draws[:, 1] == 2.0)


# --- Gate


def test_gate_voids_a_sound_run_once_in_a_hundred():
    """Twenty looks per run at null scores, among them heavily tied ones."""
    assert gate_p_threshold(20) == 0.0005
    rng, voided, runs = np.random.default_rng(4), 0, 150
    for _ in range(runs):
        p = []
        for look in range(20):
            coins, scores = rng.random(100) < 0.5, rng.normal(size=100)
            p.append(auc_p_value(np.maximum(scores, 1.5) if look % 2 else scores, coins))
        voided += min(p) < gate_p_threshold(20)
    assert voided / runs <= 0.01 + 3.5 * np.sqrt(0.01 / runs)


def test_gate_refuses_nonsense():
    with pytest.raises(ValueError, match=r"n_looks must be an integer of at least 1\. Got 0"):
        gate_p_threshold(0)
