"""How long shadows take: the aim is 64 of the feature CVAE on 1,000 candidates in 3 minutes on two cores."""

import shutil

import numpy as np
import pytest
import yaml

from benchmark.learning.membership import lira, rmia, stacked_lira, standardised_log_likelihood
from benchmark.runs import execute_plan, open_run
from benchmark.suite import Suite, load_suite

M, SHADOWS, POPULATION = 1000, 64, 500


@pytest.fixture(scope="module")
def scores():
    rng = np.random.default_rng(0)
    half = np.array([rng.permutation(M) < M // 2 for _ in range(SHADOWS // 2)])
    included = np.concatenate([half, ~half])
    return rng.normal(size=M), rng.normal(size=(SHADOWS, M)) + included, included


def test_lira_of_1000_records_and_64_shadows(benchmark, scores):
    benchmark(lira, *scores, estimates="shrunk")


def test_rmia_of_1000_records_and_64_shadows(benchmark, scores):
    target, shadows, included = scores
    population = np.random.default_rng(1).normal(size=(SHADOWS + 1, POPULATION))
    out = np.zeros((SHADOWS, POPULATION), dtype=bool)

    def attack():
        logs, of_shadows = standardised_log_likelihood(
            np.append(target, population[0]),
            np.hstack([shadows, population[1:]]),
            np.hstack([included, out]),
        )
        return rmia(logs[:M], of_shadows[:, :M], included, logs[M:], of_shadows[:, M:])

    benchmark(attack)


def test_stacked_lira_of_four_scores(benchmark, scores):
    target, shadows, included = scores
    benchmark(stacked_lira, np.stack([target] * 4), np.stack([shadows] * 4), included)


def test_suite_shadows_from_nothing(benchmark, tmp_path):
    suite = load_suite("shadows")

    def run():
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        execute_plan(open_run(tmp_path / "run", suite), jobs=2)

    benchmark.pedantic(run, rounds=1)


def test_suite_shadows_from_the_store(benchmark, tmp_path):
    """Cached: a cheap method in place of the CVAE, as the fits are what the store saves."""
    suite = Suite(**{**yaml.safe_load(load_suite("shadows").text()), "methods": ["noise"]})
    execute_plan(open_run(tmp_path / "run", suite), jobs=2)
    benchmark.pedantic(lambda: execute_plan(open_run(tmp_path / "run", suite)), rounds=3)
