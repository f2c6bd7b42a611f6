"""Exact tests over people: against counting by hand, and against simulation."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.stats import binom

from benchmark.audit.verdict import (
    Counts,
    chance_seen,
    counts_of,
    excess_p_value,
    fewest_controls,
    least_auc_seen,
    least_exposed,
    least_share_seen,
    level_of,
)
from benchmark.statistics import auc_p_value


def counts(k_members, n_members, k_controls, n_controls):
    return Counts(
        k_members=k_members, n_members=n_members, k_controls=k_controls, n_controls=n_controls
    )


def test_people_are_counted_not_records():
    units = np.array([0, 0, 1, 2, 2, 3])
    coins = np.array([True, True, False, True, True, False])
    pointed = np.array([True, True, False, False, True, True])
    assert counts_of(pointed, units, coins) == counts(2, 2, 1, 2)


def test_the_p_value_by_counting_all_tosses():
    pointed = {0, 1, 2, 6}  # people 0 … 3 are members
    tosses = list(combinations(range(8), 4))
    as_many = sum(len(pointed & set(toss)) >= 3 for toss in tosses)
    assert excess_p_value(counts(3, 4, 1, 4)) == pytest.approx(as_many / len(tosses))
    assert excess_p_value(counts(0, 4, 0, 4)) == 1


def test_the_bound_on_the_exposed_holds():
    """Of 200 members 12 are always pointed at, everybody else with probability 0.1."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(2000):
        found = counts(12 + rng.binomial(188, 0.1), 200, rng.binomial(150, 0.1), 150)
        wrong += least_exposed(found, 0.05) > 12
    assert binom.sf(wrong - 1, 2000, 0.05) > 0.001


def test_the_bound_by_hand():
    assert least_exposed(counts(5, 10, 5, 10), 0.05) == 0
    # Without any control among them, e can go until the last few could all be members by chance.
    rest = next(r for r in range(20, -1, -1) if comb(80 + r, r) / comb(180 + r, r) > 0.05)
    assert least_exposed(counts(20, 100, 0, 100), 0.05) == 20 - rest


def share_found(n_members, n_controls, level, share, by_chance, rng, audits=4000):
    """How many of simulated audits find it, person by person: the exposed are pointed at, others by chance."""
    coins = np.repeat([True, False], [n_members, n_controls])
    units = np.arange(len(coins))
    exposed = (rng.random((audits, len(coins))) < share) & coins
    pointed = exposed | (rng.random(exposed.shape) < by_chance)
    found = [counts_of(p, units, coins) for p in pointed]
    return np.mean([excess_p_value(c) <= level for c in found])


@pytest.mark.parametrize("by_chance", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("share", [0.02, 0.05])
def test_the_stated_chance_is_had(share, by_chance):
    """Copies of a share of 300 patients are found in as many audits with 200 controls as is said."""
    stated = chance_seen(300, 200, 0.0083, share, by_chance)
    found = share_found(300, 200, 0.0083, share, by_chance, np.random.default_rng(1))
    assert abs(found - stated) < 4 * np.sqrt(0.25 / 4000) + 0.005


@pytest.mark.parametrize("by_chance", [0.0, 0.02])
def test_the_stated_power_is_had(by_chance):
    rng = np.random.default_rng(1)
    share = least_share_seen(300, 200, 0.005, 0.8, by_chance)
    assert 0.78 < share_found(300, 200, 0.005, share, by_chance, rng) < 0.88
    less = share - 1 / 300
    assert share_found(300, 200, 0.005, less, by_chance, rng) < 0.82
    assert np.isnan(least_share_seen(3, 3, 0.001))


@pytest.mark.parametrize("by_chance", [0.0, 0.002])
def test_as_many_controls_as_it_is_said_to_take_suffice(by_chance):
    """To see copies of 1 % of 2,000 patients."""
    rng = np.random.default_rng(2)
    enough = fewest_controls(2000, 0.0083, 0.01, 0.8, by_chance)
    assert share_found(2000, enough, 0.0083, 0.01, by_chance, rng, 1000) > 0.8 - 4 * 0.0127
    fewer = round(0.8 * enough)
    assert share_found(2000, fewer, 0.0083, 0.01, by_chance, rng, 1000) < 0.8
    assert fewest_controls(100, 0.0083, 0.01) is None  # one member: never seen


def test_the_stated_auc_is_found_with_the_stated_power():
    rng = np.random.default_rng(2)
    wanted = least_auc_seen(300, 200, 0.005)
    from scipy.stats import norm

    shift = np.sqrt(2) * norm.ppf(wanted)
    coins = np.repeat([True, False], [300, 200])
    found = [auc_p_value(rng.normal(size=500) + shift * coins, coins) <= 0.005 for _ in range(400)]
    assert 0.74 < np.mean(found) < 0.86


def test_all_tests_share_one_error():
    tests = ["verbatim", *["auc"] * 9, *["flags"] * 3, "copies"]
    assert sum(level_of(t, tests, 0.05) for t in tests) == pytest.approx(0.05)
    assert level_of("copies", tests, 0.05) == 0.05 / 4
    assert level_of("verbatim", ["verbatim"], 0.05) == level_of("auc", ["auc"], 0.05) == 0.05


def test_few_copies_are_found_beside_many_attacks():
    tests = ["verbatim", "copies", "copies", *["auc"] * 12]
    copied = counts(10, 283, 0, 206)  # 3.5 % of the members
    by_hand = np.prod([(283 - i) / (489 - i) for i in range(10)])
    assert excess_p_value(copied) == pytest.approx(by_hand)
    assert 0.05 / 15 < by_hand <= level_of("copies", tests, 0.05)
