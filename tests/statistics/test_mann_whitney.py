from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, rankdata

from benchmark.statistics import auc_p_value, mann_whitney


def brute_force(scores, coins):
    """Two-sided p-value by listing every choice of members."""
    ranks, n = rankdata(scores), int(coins.sum())
    sums = np.array([ranks[list(c)].sum() for c in combinations(range(len(ranks)), n)])
    seen = ranks[coins].sum()
    return min(1.0, 2 * min((sums <= seen + 1e-9).mean(), (sums >= seen - 1e-9).mean()))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=11).filter(
        lambda pairs: 0 < sum(c for _, c in pairs) < len(pairs)
    )
)
def test_small_samples_are_exact_with_any_ties(pairs):
    scores, coins = np.array([s for s, _ in pairs], float), np.array([c for _, c in pairs])
    assert auc_p_value(scores, coins) == pytest.approx(brute_force(scores, coins))


@pytest.mark.parametrize(("members", "nonmembers"), [(10, 10), (30, 40), (8, 200), (90, 60)])
@pytest.mark.parametrize("shift", [0.0, 0.7, 1.5, 10.0])
def test_saddlepoint_matches_scipy_exact_into_the_tail(monkeypatch, members, nonmembers, shift):
    monkeypatch.setattr(mann_whitney, "EXACT_WORK", 0)
    rng = np.random.default_rng(members)
    scores = np.r_[rng.normal(size=members) + shift, rng.normal(size=nonmembers)]
    coins = np.arange(members + nonmembers) < members
    exact = mannwhitneyu(scores[coins], scores[~coins], method="exact").pvalue
    assert auc_p_value(scores, coins) == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("tie", [np.round, lambda s: np.maximum(s, 0), lambda s: np.round(s * 5)])
@pytest.mark.parametrize("shift", [0.0, 0.7, 1.2])
def test_saddlepoint_matches_exact_computation_with_ties(monkeypatch, tie, shift):
    rng = np.random.default_rng(3)
    scores = tie(np.r_[rng.normal(size=30) + shift, rng.normal(size=60)])
    coins = np.arange(90) < 30
    exact = auc_p_value(scores, coins)
    monkeypatch.setattr(mann_whitney, "EXACT_WORK", 0)
    assert auc_p_value(scores, coins) == pytest.approx(exact, rel=0.1)


def test_one_record_in_a_thousand_is_no_evidence():
    """The usual tie-corrected normal approximation gives 1e-23 here; a fair draw gives 0.02."""
    coins = np.arange(1000) < 10
    scores = (np.arange(1000) == 0).astype(float)
    assert auc_p_value(scores, coins) == pytest.approx(0.02)
    assert mannwhitneyu(scores[coins], scores[~coins], method="asymptotic").pvalue < 1e-20


def test_null_p_values_are_uniform_also_in_the_tail():
    rng = np.random.default_rng(5)
    p = []
    for _ in range(2000):
        coins = rng.random(300) < 0.5
        p.append(auc_p_value(np.maximum(rng.normal(size=300), -0.5), coins))
    for level in (0.005, 0.05, 0.3):
        assert np.mean(np.array(p) <= level) == pytest.approx(
            level, abs=3.5 * np.sqrt(level / 2000)
        )


def test_degenerate_scores():
    assert auc_p_value(np.zeros(6), np.arange(6) < 3) == 1.0
    assert np.isnan(auc_p_value(np.arange(3.0), np.ones(3, bool)))
    # Perfect separation of many: 2 / C(2000, 1000), far below the smallest float, is not zero.
    assert 0 < auc_p_value(np.arange(2000.0), np.arange(2000) >= 1000) < 1e-290


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_symmetric_in_members_and_nonmembers_and_in_sign(seed):
    rng = np.random.default_rng(seed)
    scores, coins = np.round(rng.normal(size=150), 1), rng.random(150) < 0.3
    p = auc_p_value(scores, coins)
    assert auc_p_value(scores, ~coins) == pytest.approx(p, rel=1e-6)
    assert auc_p_value(-scores, coins) == pytest.approx(p, rel=1e-6)
