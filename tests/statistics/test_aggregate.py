from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm, rankdata
from scipy.stats import t as student

from benchmark.statistics import (
    Estimate,
    Rank,
    auc_interval,
    auc_p_value,
    count_interval,
    estimate_draws,
    gate_p_threshold,
    gaussian_pair_auc,
    lower_bound,
    over_seeds,
    pareto_frequency,
    pareto_front,
    ranks,
    unresolved,
)

Z = norm.ppf(0.975)


def around(value, error=1.0):
    return Estimate(value, value - Z * error, value + Z * error, "known error")


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


# --- Ranks and fronts


def test_ranks_by_hand():
    """Of five methods the first beats the third and fourth, the second the fourth; the fifth has no figure."""
    beats = np.zeros((5, 5), bool)
    beats[[0, 0, 1, 4], [2, 3, 3, 0]] = True
    assert ranks(beats, [True, True, True, True, False]) == [
        Rank(1, 1, 2),
        Rank(1, 1, 3),
        Rank(2, 2, 4),
        Rank(3, 3, 4),
        Rank(None, None, None),
    ]
    assert ranks(np.zeros((0, 0), bool)) == []


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_ranks_of_exact_values_are_competition_ranks(values):
    column = np.array(values)
    found = ranks(column[:, None] > column[None, :])
    assert [r.best for r in found] == list(rankdata(-column, method="min"))
    assert [r.worst for r in found] == list(rankdata(-column, method="max"))


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


# --- How many of several events


@pytest.mark.parametrize(("n", "p"), [(1, 0.5), (5, 0.3), (12, 0.9), (40, 0.02)])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_count_interval_of_equal_probabilities_is_binomial(n, p, confidence):
    tail = (1 - confidence) / 2
    expected = binom.ppf(tail, n, p), binom.isf(tail, n, p)
    assert count_interval([p] * n, confidence) == expected


def test_count_interval_by_hand():
    """P(0) = 0.1 × 0.5 = 0.05 is more than a tail of 2.5 %, and less than one of 10 %."""
    assert count_interval([0.9, 0.5]) == (0, 2)
    assert count_interval([0.9, 0.5], confidence=0.8) == (1, 2)
    assert count_interval([1.0, 1.0, 0.0]) == (2, 2)
    assert count_interval([]) == (0, 0)


def test_count_interval_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match=r"in \[0, 1\]. Got \[0.5, 1.2\]"):
        count_interval([0.5, 1.2])
