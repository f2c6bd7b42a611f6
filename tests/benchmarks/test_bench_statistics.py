"""Times that the statistics must keep; run with ``pytest --benchmark-only tests/benchmarks``."""

import numpy as np
import pytest

from benchmark.statistics import (
    Game,
    advantage,
    auc_interval,
    auc_p_value,
    judge_leaks,
    one_run_epsilon,
    one_run_epsilon_from_scores,
    one_run_fdp_epsilon,
    roc_band,
)


@pytest.fixture(scope="module")
def game():
    rng = np.random.default_rng(0)
    coins = rng.random(5000) < 0.5
    return rng.normal(size=(10, 5000)) + 0.3 * coins, coins


@pytest.mark.parametrize("delta", [0.0, 1e-5])
def test_one_run_bound_of_ten_thousand_guesses(benchmark, delta):
    epsilon = benchmark(one_run_epsilon, 6000, 10_000, 10_000, delta)
    assert 0.36 < epsilon < 0.41
    assert benchmark.stats["min"] < 0.05


def test_joint_permutation_of_ten_attacks(benchmark, game):
    scores, coins = game
    played = [Game(coins, dict(enumerate(scores)))]
    found = benchmark.pedantic(judge_leaks, args=(played,), rounds=2)
    assert len(found) == 10
    assert benchmark.stats["min"] < 5.0


@pytest.mark.parametrize(
    "figure", [auc_interval, auc_p_value, advantage, roc_band, one_run_epsilon_from_scores]
)
def test_figures_of_five_thousand_candidates(benchmark, game, figure):
    benchmark(figure, game[0][0], game[1])
    assert benchmark.stats["min"] < 1.0


def test_one_run_fdp_bound_of_ten_thousand_guesses(benchmark):
    assert benchmark(one_run_fdp_epsilon, 6000, 10_000, 10_000) > 0.5
    assert benchmark.stats["min"] < 1.0
