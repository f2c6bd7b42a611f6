"""k-Same's time and memory; run with ``pytest --benchmark-only tests/benchmarks/test_bench_k_same.py``.

Points are 768 numbers each, as DINOv2 gives them; standard normal ones are the hard case, since the sums of
distances that the rule compares are then nearly equal. ``extra_info`` has the peak of the memory allocated
during the call (``peak_mb``, the points themselves not counted) and, as processor time, what other processes
on the machine do not add to (``cpu_s``).
"""

import time
import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from benchmark.learning.grouping import BLOCK, farthest_groups, mdav_groups, swap_groups

K, D = 5, 768


def points(n):
    return np.random.default_rng(0).standard_normal((n, D))


def naive_groups(x, k):
    """The published rule as it reads: the whole distance matrix, summed anew for every group."""
    distances = cdist(x, x)
    left, groups = np.arange(len(x)), []
    while len(left) >= 2 * k:
        among = distances[np.ix_(left, left)]
        start = int(among.sum(axis=1).argmax())
        nearest = among[start].argsort(kind="stable")[:k]
        groups.append(left[nearest])
        left = np.delete(left, nearest)
    return [*groups, left]


def measure(benchmark, rule, x, rounds=1):
    """Time ``rule`` and note its peak memory and processor time; the groups."""

    def call():
        tracemalloc.start()
        began = time.process_time()
        groups = rule(x, K)
        benchmark.extra_info["cpu_s"] = time.process_time() - began
        benchmark.extra_info["peak_mb"] = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        return groups

    groups = benchmark.pedantic(call, rounds=rounds)
    assert min(map(len, groups)) == K and sum(map(len, groups)) == len(x)
    return groups


@pytest.mark.parametrize("rule", [farthest_groups, mdav_groups, swap_groups])
@pytest.mark.parametrize("n", [1000, 4000, pytest.param(16_000, marks=pytest.mark.slow)])
def test_scaling(benchmark, rule, n):
    measure(benchmark, rule, points(n), rounds=3 if n == 1000 else 1)
    # A few copies of the points and of one block of distances, never n² distances.
    assert benchmark.extra_info["peak_mb"] * 1e6 <= 8 * (4 * n * D + 4 * BLOCK)


@pytest.mark.slow
def test_twenty_thousand(benchmark):
    """The goal: under two minutes on two cores."""
    measure(benchmark, farthest_groups, points(20_000))
    assert benchmark.extra_info["peak_mb"] <= 700, "the distances alone would be 3,200"


@pytest.mark.parametrize("rule", [farthest_groups, naive_groups])
@pytest.mark.parametrize("n", [2000, pytest.param(8000, marks=pytest.mark.slow)])
def test_against_the_naive_rule(benchmark, rule, n):
    x = points(n)
    groups = measure(benchmark, rule, x)
    if n == 2000 and rule is farthest_groups:
        assert [set(g) for g in groups] == [set(g) for g in naive_groups(x, K)]
