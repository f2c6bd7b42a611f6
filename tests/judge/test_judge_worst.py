"""The worst case of a method at each access level, and methods compared by it."""

import numpy as np
import pytest
from scipy.special import ndtri

from benchmark.judge.figures import Trial
from benchmark.judge.worst import (
    compare,
    direction_of,
    judged,
    resolved_limits,
    worst_figures,
)
from benchmark.statistics import Estimate


def attacked(areas, seeds=2, m=400, start=0):
    """Trials by attack and seed, one AUC for each attack, all on the same coins of a seed."""
    found = {name: {} for name in areas}
    for seed in range(seeds):
        rng = np.random.default_rng(start + seed)
        coins = np.random.default_rng(seed).random(m) < 0.5
        for name, area in areas.items():
            scores = rng.standard_normal(m) + np.sqrt(2) * ndtri(area) * coins
            found[name][seed] = Trial(coins=coins, scores=scores)
    return found


def figures(trials, within, asked=None, confidence=0.95):
    leaks = judged(trials, confidence)
    rows = worst_figures(trials, leaks, within, asked or len(within), confidence)
    return {row.metric: row for row in rows}


def test_a_leak_the_other_way_is_one_and_says_so():
    found = figures(attacked({"near": 0.5, "far": 0.2}), ["near", "far"])
    assert found["auc"].named == "far" and found["auc"].direction == "farther"
    assert 0.75 < found["auc"].figure.value < 0.85 and found["auc"].figure.low > 0.7
    assert found["epsilon_lower"].figure.value > 0.5
    assert found["epsilon_lower"].figure.value < found["epsilon_ceiling"].figure.value
    assert found["tpr@0.1"].named == "far" and found["tpr@0.1"].direction == "farther"


def test_more_access_never_shows_less():
    for start in range(4):
        trials = attacked({"a": 0.55, "b": 0.5, "c": 0.6, "d": 0.5}, start=10 * start)
        less, more = figures(trials, ["a", "b"]), figures(trials, ["a", "b", "c", "d"])
        for metric in ("auc", "tpr@0.1", "tpr@0.01", "epsilon_lower"):
            one, other = less[metric].figure, more[metric].figure
            assert one.value <= other.value and one.low <= other.low and one.high <= other.high
        assert less["epsilon_ceiling"].figure.value == more["epsilon_ceiling"].figure.value


def test_counts_and_what_would_have_been_found():
    found = figures(attacked({"a": 0.5, "b": 0.5}), ["a", "b"], asked=3)
    assert (found["attacks_judged"].figure.value, found["attacks_asked"].figure.value) == (2, 3)
    assert found["auc"].figure.low == 0.5 < found["detectable_auc"].figure.value < 0.65
    more = figures(attacked({"a": 0.5, "b": 0.5}, seeds=6), ["a", "b"])
    assert more["detectable_auc"].figure.value < found["detectable_auc"].figure.value


def test_a_method_without_scores_has_no_figures():
    found = figures({}, [], asked=0)
    assert not found["auc"].figure.resolved and not found["tpr@0.1"].figure.resolved


def test_attacks_with_other_coins_or_seeds_are_judged_too():
    trials = attacked({"a": 0.7, "b": 0.5})
    del trials["b"][0]
    one = trials["b"][1]
    trials["b"][1] = Trial(coins=~one.coins, scores=one.scores)
    found = figures(trials, ["a", "b"])
    assert found["auc"].named == "a" and found["auc"].figure.low > 0.5


def test_direction_of_one_attack():
    trials = attacked({"near": 0.65, "far": 0.35, "blind": 0.5}, seeds=3, start=7)
    assert [direction_of(t, 0.95) for t in trials.values()] == ["nearer", "farther", ""]
    assert direction_of({}, 0.95) == ""


def test_limits_that_say_nothing_are_left_out():
    reason = "lower limit not resolvable below 368 non-members, got 90"
    shown = resolved_limits(Estimate(1.0, 0.0, 1.0, "m", reason))
    assert shown.value == 1.0 and np.isnan(shown.low) and np.isnan(shown.high)
    assert reason in shown.method
    assert resolved_limits(Estimate(0.0, 0.0, 0.1, "m", reason)).high == 0.1
    kept = Estimate(0.5, 0.4, 0.6, "m")
    assert resolved_limits(kept) == kept


def test_methods_are_compared_within_an_access_level():
    methods = {
        "good": attacked({"weak": 0.5, "strong": 0.75}, seeds=3, start=20),
        "bad": attacked({"weak": 0.72, "strong": 0.75}, seeds=3, start=40),
    }
    (little,) = compare(methods, {"weak"}, 0.95, 0.1)
    (much,) = compare(methods, {"weak", "strong"}, 0.95, 0.1)
    assert (little.left, little.right) == ("good", "bad")
    assert little.difference.high < 0 and little.difference.value == pytest.approx(-0.22, abs=0.08)
    assert much.difference.low < 0 < much.difference.high
