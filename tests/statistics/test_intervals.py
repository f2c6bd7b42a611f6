from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from benchmark.statistics import (
    acceptance_range,
    clopper_pearson,
    local_level,
    proportion,
    rate_excess_p_value,
    wilson,
)


@pytest.mark.parametrize(("k", "n"), [(0, 7), (7, 7), (3, 7), (1, 1000), (500, 1000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_intervals_agree_with_scipy(k, n, confidence):
    exact = binomtest(k, n).proportion_ci(confidence, method="exact")
    assert clopper_pearson(k, n, confidence) == pytest.approx(tuple(exact), abs=1e-10)
    score = binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert np.array(wilson(k, n, confidence)) == pytest.approx(tuple(score), abs=1e-10)


def test_clopper_pearson_by_hand_and_vectorised():
    # All of n right: the lower limit is the p with p^n = 2.5 %.
    assert clopper_pearson(20, 20)[0] == pytest.approx(0.025 ** (1 / 20))
    low, high = clopper_pearson(np.arange(6), 5 + np.zeros(6, int))
    assert low.shape == high.shape == (6,)
    assert np.all(low[1:] > low[:-1]) and low[0] == 0 and high[-1] == 1
    assert clopper_pearson(0, 0) == (0.0, 1.0)


def test_clopper_pearson_covers_every_proportion_exactly():
    n, k = 30, np.arange(31)
    low, high = clopper_pearson(k, n)
    for p in np.linspace(0.01, 0.99, 25):
        assert binom.pmf(k, n, p)[(low <= p) & (p <= high)].sum() >= 0.95


def test_proportion_says_what_is_missing():
    assert proportion(3, 4).value == 0.75
    assert "at least 1 trial, got 0" in proportion(0, 0).reason
    with pytest.raises(ValueError, match=r"successes must be an integer .* at most 4. Got 5"):
        proportion(5, 4)
    with pytest.raises(ValueError, match=r"confidence must be strictly between 0 and 1. Got 95"):
        proportion(3, 4, 95)


@pytest.mark.parametrize(("n", "confidence"), [(1, 0.95), (15, 0.9), (150, 0.95)])
def test_intervals_at_the_local_level_hold_at_every_threshold(n, confidence):
    """The band misses the uniform law in the stated share of fresh simulations."""
    rng = np.random.default_rng(7)
    low, high = clopper_pearson(np.arange(n + 1), n, 1 - local_level(n, confidence))
    draws = np.sort(rng.random((4000, n)), axis=1)
    # Between the k-th and the next order statistic the empirical law is k/n.
    held = np.all(draws >= low[1:], axis=1) & np.all(draws <= high[:-1], axis=1)
    assert held.mean() == pytest.approx(confidence, abs=4 * np.sqrt(0.05 / 4000) + 0.004)


def test_local_level_falls_with_size_and_rises_with_error():
    levels = [local_level(n) for n in (1, 3, 30, 300, 3000, 30_000, 300_000)]
    assert levels[0] == pytest.approx(0.05, rel=0.05)
    assert all(a > b > 0 for a, b in pairwise(levels))
    errors = [local_level(200, c) for c in (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)]
    assert all(a > b > 0 for a, b in pairwise(errors))


@pytest.mark.parametrize(
    ("n", "p", "error"), [(40, 0.05, 0.01), (1000, 0.05, 1e-4), (20, 0.5, 0.05)]
)
def test_the_acceptance_range_is_the_widest_whose_tails_are_small(n, p, error):
    fewest, most = acceptance_range(n, p, error)
    k = np.arange(n + 1)
    mass = binom.pmf(k, n, p)
    assert mass[k < fewest].sum() <= error / 2 and mass[k > most].sum() <= error / 2
    assert mass[k <= fewest].sum() > error / 2 and mass[k >= most].sum() > error / 2


@pytest.mark.parametrize("counts", [(0, 0), (0, 4), (1, 0), (7, 2), (40, 13), (3, 90)])
@pytest.mark.parametrize("exposures", [(1.0, 1.0), (396e3, 255e3), (1.0, 20.0)])
def test_the_excess_of_a_rate_is_a_binomial_tail(counts, exposures):
    (k, other), (t, u) = counts, exposures
    found = rate_excess_p_value(k, t, other, u)
    exact = binomtest(k, k + other, t / (t + u), "greater").pvalue if k + other else 1.0
    assert found == pytest.approx(exact, rel=1e-9)


def test_rates_need_exposure():
    with pytest.raises(ValueError, match=r"exposures above 0\. Got 1 in 0 and 0 in 1"):
        rate_excess_p_value(1, 0, 0, 1)
