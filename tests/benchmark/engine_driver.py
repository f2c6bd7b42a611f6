"""A run in a process of its own, for tests that kill it: ``engine_driver.py ROOT LOG PLAN``."""

from __future__ import annotations

import sys

import engine_cases

from benchmark.engines.local import LocalEngine
from benchmark.store import Store


def plan(log: str) -> list:
    """Seven layers of five nodes, each of which needs two of the layer before it."""
    layers = [
        [
            engine_cases.node("marks", may_write=True, log=log, name=f"0.{i}", sleep=0.04)
            for i in range(5)
        ]
    ]
    for layer in range(1, 7):
        above = layers[-1]
        layers.append(
            [
                engine_cases.node(
                    "marks",
                    may_write=True,
                    log=log,
                    name=f"{layer}.{i}",
                    sleep=0.04,
                    needs=(above[i], above[(i + 1) % 5]),
                )
                for i in range(5)
            ]
        )
    return [n for layer in layers for n in layer]


def sleepers(log: str) -> list:
    """Two that end at once, two that sleep and one that does not mind SIGTERM."""
    quick = [engine_cases.node("numbers", name=str(i)) for i in range(2)]
    slow = [engine_cases.node("sleeps", name=str(i), needs=quick) for i in range(2)]
    return [*quick, *slow, engine_cases.node("stubborn", needs=quick)]


def main(root: str, log: str, which: str) -> None:
    store = Store(root)
    with store.lock():
        store.sweep()
        done = {key: record.status for key, record in store.read_all().items()}
        engine = LocalEngine(
            root, jobs=3, threads=1, prepare="engine_cases:prepare", preload=(), grace_s=0.5
        )
        engine.run(
            {"plan": plan, "sleepers": sleepers}[which](log),
            store,
            done=done,
            on_event=lambda e: print(e.kind, e.node.label, flush=True),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
