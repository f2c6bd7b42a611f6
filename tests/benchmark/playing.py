"""Playing a plan within the test's own process, with the coins of the tests."""

import time
from pathlib import Path

from benchmark.coins import find_secret, keep_secret, read_secret
from benchmark.engines.worker import (
    Answer,
    carry_out,
    read_answer,
    store_answer,
    write_answer,
)
from benchmark.node import Outcome
from benchmark.nodes import prepare

SECRET = read_secret(Path(__file__).parents[1] / "coins.json")


def play(nodes, store):
    """Execute ``nodes`` in their order, each well; their records by key. Their games are planned for ``SECRET``."""
    if find_secret(store.root) is None:
        keep_secret(store.root, SECRET)
    records = {}
    for node in nodes:
        record = _play(node, store, store.root / "scratch" / node.key)
        assert record.status == "ok", record.reason + record.traceback
        records[node.key] = record
    return records


def _play(node, store, folder):
    """One node, with its two halves in this process; its record."""
    context = {"device": "cpu", "scratch": folder, "progress": lambda *a: None}
    folder.mkdir(parents=True)
    started = time.perf_counter()
    task = prepare(node, store)
    if task.kept is not None:
        write_answer(folder / "kept", Answer(task.kept), node)
    answer = Answer(Outcome()) if task.run is None else carry_out(node, task.run, context)
    write_answer(folder / "answer", answer, node)
    said = read_answer(folder / "answer")
    took = time.perf_counter() - started
    return store_answer(store, node, said, folder / "answer", folder / "kept", duration_s=took)
