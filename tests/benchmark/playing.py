"""Playing a plan within the test's own process, with the coins of the tests."""

from pathlib import Path

from benchmark.coins import find_secret, keep_secret, read_secret
from benchmark.engines.worker import Usage, perform
from benchmark.nodes import execute

SECRET = read_secret(Path(__file__).parents[1] / "coins.json")


def play(nodes, store):
    """Execute ``nodes`` in their order, each well; their records by key. Their games are planned for ``SECRET``."""
    if find_secret(store.root) is None:
        keep_secret(store.root, SECRET)
    records = {}
    for node in nodes:
        scratch = store.root / "scratch" / node.key
        scratch.mkdir(parents=True)
        given = {"device": "cpu", "scratch": scratch, "progress": lambda *a: None}
        record = perform(node, store, execute, given, environment={}, usage=lambda: Usage(0.0, 0.0))
        assert record.status == "ok", record.reason + record.traceback
        records[node.key] = record
    return records
