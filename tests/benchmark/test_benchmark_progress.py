"""What a run tells while it goes: little, failures at once, and foreign text as it is."""

import io
import time

import pytest
from rich.console import Console

from benchmark import progress
from benchmark.engines import Event
from benchmark.node import Node
from benchmark.store import Record

STRANGE = "[bold]my_leak.nope:x:"


def events(n, status="ok", reason=""):
    for i in range(n):
        key = f"{i:064x}"
        node = Node(key=key, kind="fit", label=f"fit {STRANGE} {i}", spec={})
        yield Event(kind="started", node=node)
        yield Event(kind="progress", node=node, fraction=0.5, message="halfway")
        record = Record(key=key, kind="fit", label=node.label, status=status, reason=reason)
        yield Event(kind="finished", node=node, record=record)


def told(telling, happened, terminal=False, wait_s=0.0):
    console = Console(file=io.StringIO(), width=300, force_terminal=terminal, color_system=None)
    with progress.listener_for(console, 10, telling) as listener:
        for event in happened:
            listener(event)
        time.sleep(wait_s)
    return console.file.getvalue(), listener.summary()


@pytest.mark.parametrize("telling", ["quiet", "normal"])
def test_nodes_that_end_well_take_no_line(telling):
    text, summary = told(telling, events(3))
    assert text == ""
    assert summary.startswith("10 nodes: 3 executed, 0 failed, 7 from before")


def test_every_node_takes_a_line_where_asked_for():
    text, _ = told("verbose", events(3))
    assert len(text.splitlines()) == 3
    assert all(STRANGE in line for line in text.splitlines())


@pytest.mark.parametrize("terminal", [False, True])
def test_a_failure_is_told_at_once_and_as_it_is(terminal):
    text, summary = told("normal", events(2, "failed", "no [/red] :x:"), terminal)
    assert text.count(f"failed fit {STRANGE} 0: no [/red] :x:") == 1
    assert "❌" not in text
    assert "2 executed, 2 failed" in summary


def test_what_does_not_apply_is_no_failure():
    text, summary = told("normal", events(2, "not applicable", "features only"))
    assert text == "" and "0 failed" in summary


def test_without_a_terminal_a_line_comes_from_time_to_time(monkeypatch):
    monkeypatch.setattr(progress, "EVERY_S", 0.05)
    happened = list(events(2))[:-1]  # the second one is still running
    text, _ = told("normal", happened, wait_s=0.4)
    lines = text.splitlines()
    assert 2 <= len(lines) <= 9
    assert f"1 executed of 10  1 running: fit {STRANGE} 1 50% halfway" in lines[-1]
