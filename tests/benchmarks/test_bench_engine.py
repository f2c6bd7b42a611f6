"""What the harness costs beyond the nodes' own work. Run with ``pytest --benchmark-only tests/benchmarks``.

The figures to look at are in ``extra_info``, for nodes that do nothing but store a small array and tensor: milliseconds
per node from the first start to the last end, and of processor time, imports left out of both.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmark"))

import engine_cases

from benchmark.engines.local import PRELOAD, LocalEngine
from benchmark.engines.schedule import Schedule
from benchmark.node import Node
from benchmark.store import Record, Store

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("preload", ["nothing", "everything"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_overhead_of_a_node(benchmark, tmp_path, preload, jobs):
    """Fork, limits, commit to disk, collect."""
    modules = PRELOAD if preload == "everything" else ()
    engine = LocalEngine(
        tmp_path, jobs=jobs, threads=1, prepare="engine_cases:prepare", preload=modules
    )
    figures = []

    def run(n):
        nodes = [engine_cases.node("numbers", name=str(i), memory_mb=2048) for i in range(n)]
        times = []
        before = os.times()
        engine.run(
            nodes,
            Store(tmp_path),
            done={},
            on_event=lambda event: times.append((time.perf_counter(), event.record)),
        )
        assert all(record.status == "ok" for _, record in times if record)
        cpu = sum(os.times()[:4]) - sum(before[:4])
        return times[-1][0] - times[0][0], cpu, sum(r.duration_s for _, r in times if r)

    _, idle_cpu, _ = run(1)

    def run_many():
        span, cpu, own = run(100)
        figures.append([span * 10, (span - own / jobs) * 10, (cpu - idle_cpu) * 1e3 / 99])

    benchmark.pedantic(run_many, rounds=2)
    names = ("ms_per_node", "ms_beyond_the_node", "cpu_ms_per_node")
    benchmark.extra_info |= dict(zip(names, np.min(figures, axis=0).round(1).tolist(), strict=True))


def _key(i):
    return hashlib.sha256(str(i).encode()).hexdigest()


def test_schedule_of_10_000_nodes(benchmark):
    nodes = [
        Node(
            key=_key(i),
            kind="t",
            label=str(i),
            spec={},
            needs=tuple({_key(i // 7), _key(i // 3)}) if i else (),
        )
        for i in range(10_000)
    ]

    def run():
        schedule = Schedule(nodes, {})
        n = 0
        while (node := schedule.take()) is not None:
            schedule.finish(node.key, "ok")
            n += 1
        return n

    assert benchmark(run) == 10_000


def test_reading_10_000_records(benchmark, tmp_path):
    store = Store(tmp_path)
    record = Record(
        key=_key(0),
        kind="attack",
        label="nearest_distance on k_same(k=5) on digits/pixels, seed 0",
        status="ok",
        spec={"plugin": "nearest_distance", "version": "1", "parameters": {"k": 5}, "seed": 0},
        needs=(_key(1), _key(2)),
        artifacts={"scores.npz": _key(3)},
        environment={"python": "3.11", "torch": "2.9", "numpy": "2.3"},
    )
    (tmp_path / "records").mkdir()
    text = record.model_dump_json(indent=1)
    for i in range(10_000):
        path = tmp_path / "records" / f"{_key(i)}.json"
        path.write_text(text.replace(_key(0), _key(i)))
    assert len(benchmark.pedantic(store.read_all, rounds=3)) == 10_000


@pytest.mark.parametrize("size_mb", [0.01, 100])
def test_commit_and_read_back(benchmark, tmp_path, size_mb):
    """To disk, synchronized, with its digest; and back with the digest checked."""
    store = Store(tmp_path)
    record = Record(key=_key(0), kind="fit", label="x", status="ok")
    x = np.random.default_rng(0).random(int(size_mb * 2**20 / 4), dtype=np.float32)

    def run():
        store.commit(record, {"records": {"data": x}})
        return store.arrays(record.key, "records")["data"]

    assert np.array_equal(benchmark.pedantic(run, rounds=5), x)
