"""What sums up attacks and methods: the worst case of one seed, and what utility is judged by."""

import numpy as np
import pytest

from benchmark.judge.figures import Trial
from benchmark.judge.results import COLUMNS, _joint_worst_case, least_p_value, ranking_utility
from benchmark.statistics import Estimate, auc_interval, worst_case_auc


def trials(seed, *shifts, m=300):
    rng = np.random.default_rng(seed)
    coins = rng.random(m) < 0.5
    noise = rng.normal(size=m)
    return [Trial(coins=coins, scores=noise + mu * coins + 0.1 * i) for i, mu in enumerate(shifts)]


def test_one_seed_is_resampled_jointly_and_pays_less_than_bonferroni():
    weak, strong = trials(0, 0.5, 0.6)  # the same noise: two attacks that are nearly one
    worst = _joint_worst_case({"weak": [weak], "strong": [strong]}, 0.95)
    expected = worst_case_auc(
        {"weak": weak.scores, "strong": strong.scores}, weak.coins, confidence=0.95
    )
    assert worst == expected and worst.name == "strong"
    assert "joint bootstrap" in worst.estimate.method
    bonferroni = auc_interval(strong.scores, strong.coins, 1 - 0.05 / 2)
    assert worst.estimate.low >= bonferroni.low and worst.estimate.high <= bonferroni.high


def test_several_seeds_or_different_coins_have_no_joint_bootstrap():
    (first,), (second,) = trials(0, 1.0), trials(1, 1.0)
    assert _joint_worst_case({"a": [first, second]}, 0.95) is None
    assert _joint_worst_case({"a": [first], "b": [second]}, 0.95) is None
    one_sided = Trial(coins=np.ones(5, dtype=bool), scores=np.arange(5.0))
    assert _joint_worst_case({"a": [one_sided]}, 0.95) is None


def test_utility_is_judged_by_the_first_metric_of_the_first_utility_that_has_one():
    figure = Estimate(0.8, 0.7, 0.9, "m")
    gains = {
        "a": {("z", "balanced_accuracy"): figure, ("b", "fid"): figure},
        "c": {("p", "accuracy"): figure, ("p", "macro_auroc"): figure},
    }
    assert ranking_utility(gains) == ("z", "balanced_accuracy")
    assert ranking_utility(dict(reversed(gains.items()))) == ("p", "macro_auroc")
    assert ranking_utility({"a": {("b", "fid"): figure}}) is None
    assert ranking_utility({}) is None


def test_p_values_of_seeds_are_not_averaged():
    figures = [Estimate(p, np.nan, np.nan, "Mann-Whitney") for p in (0.02, 0.5, 0.9)]
    assert least_p_value(figures).value == pytest.approx(0.06)
    assert "least of 3 seeds, Bonferroni" in least_p_value(figures).method
    assert least_p_value(figures[1:]).value == 1.0
    assert least_p_value(figures[:1]).value == 0.02


def test_the_columns_name_subgroups():
    assert COLUMNS["subgroup"] == "string"


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_the_joint_worst_case_covers_the_truth(shift):
    from scipy.stats import norm

    truth, missed = norm.cdf(shift / np.sqrt(2)), 0
    for seed in range(60):
        rng = np.random.default_rng(100 + seed)
        coins = rng.random(200) < 0.5
        scores = rng.normal(size=(4, 200)) + shift * coins
        attacks = {str(i): [Trial(coins=coins, scores=s)] for i, s in enumerate(scores)}
        worst = _joint_worst_case(attacks, 0.95).estimate
        missed += not worst.low <= truth <= worst.high
    assert missed <= 8  # Pr[Bin(60, 0.05) > 8] = 0.5 %
