"""Trials become figures; seeds are summed up as the board says."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmark.figures import (
    Trial,
    mean_over_seeds,
    prediction_figures,
    trial_figure,
    trial_figures,
    trials_figure,
)
from benchmark.statistics import Estimate, one_run_epsilon_from_scores


def trial(seed, mu=1.0, m=400):
    rng = np.random.default_rng(seed)
    coins = rng.random(m) < 0.5
    return Trial(coins=coins, scores=rng.normal(size=m) + mu * coins)


def test_figures_of_scores():
    one = trial(0)
    figures = trial_figures(one, 0.95)
    assert figures["auc"].value == pytest.approx(roc_auc_score(one.coins, one.scores))
    assert set(figures) >= {
        "tpr@0.1",
        "tpr@0.01",
        "tpr@0.001",
        "advantage",
        "epsilon_lower",
        "epsilon_ceiling",
    }
    assert not figures["tpr@0.001"].resolved
    assert "1000" in figures["tpr@0.001"].reason
    assert figures["epsilon_lower"].value <= figures["epsilon_ceiling"].value


def test_figures_of_decisions_and_links_by_hand():
    coins = np.array([True] * 4 + [False] * 6)
    decisions = np.array([True, True, True, False] + [True] + [False] * 5)
    figures = trial_figures(Trial(coins=coins, scores=np.arange(10.0), decisions=decisions), 0.95)
    assert figures["flag_rate_members"].value == 0.75
    assert figures["flag_rate_nonmembers"].value == pytest.approx(1 / 6)
    linked = trial_figures(Trial(coins=coins, linked=np.array([True, False, False, False])), 0.95)
    assert linked["reidentification_rate"].value == 0.25
    assert "auc" not in linked


def test_the_bound_over_seeds_is_the_best_and_pays_for_the_choice():
    trials = [trial(s, mu) for s, mu in ((0, 0.5), (1, 3.0), (2, 0.5))]
    combined = trials_figure(trials, "epsilon_lower", 0.95)
    corrected = [
        one_run_epsilon_from_scores(t.scores, t.coins, confidence=1 - 0.05 / 3).value
        for t in trials
    ]
    assert combined.value == max(corrected)
    assert combined.value < trial_figure(trials[1], "epsilon_lower", 0.95).value
    assert "best of 3 seeds, Bonferroni" in combined.method


def test_means_over_seeds():
    figures = [Estimate(v, v - 0.1, v + 0.1, "m") for v in (0.5, 0.6, 0.7)]
    mean = mean_over_seeds(figures, 0.95, (0.0, 1.0))
    assert mean.value == pytest.approx(0.6)
    assert mean.low < 0.55 < 0.65 < mean.high
    assert mean_over_seeds(figures[:1], 0.95) == figures[0]
    plain = mean_over_seeds([Estimate(v, np.nan, np.nan, "cost") for v in (1.0, 3.0)], 0.95)
    assert plain.value == 2.0
    assert np.isnan(plain.low)


def test_predictions_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    figures = prediction_figures(probabilities, np.array([0, 1, 1, 1]), 0.95)
    assert figures["accuracy"].value == 0.75
    assert figures["balanced_accuracy"].value == pytest.approx((1 + 2 / 3) / 2)
    assert figures["macro_auroc"].value == 1.0
