"""The schedule against the definition: needs first, the longest chain first, everything exactly once."""

from __future__ import annotations

import random

import pytest

from benchmark.engines.schedule import Schedule
from benchmark.node import Node


def node(key, *needs, time_s=1.0, gpu=0.0):
    return Node(key=key, kind="t", label=key, spec={}, needs=needs, time_s=time_s, gpu=gpu)


def order(schedule):
    taken = []
    while (n := schedule.take()) is not None:
        taken.append(n.key)
        schedule.finish(n.key, "ok")
    return taken


def test_hand_computed_order():
    """Chains from each node: a 1+5=6 (through d), b 2, c 3 alone, d 5, e 1 after b."""
    nodes = [
        node("a"),
        node("b"),
        node("c", time_s=3),
        node("d", "a", time_s=5),
        node("e", "b"),
    ]
    assert order(Schedule(nodes, {})) == ["a", "d", "c", "b", "e"]


def test_ties_go_by_the_order_given():
    assert order(Schedule([node(k) for k in "zyx"], {})) == ["z", "y", "x"]


def test_nothing_is_handed_out_before_its_needs_have_finished():
    schedule = Schedule([node("c", "a", "b", "a"), node("a"), node("b")], {})
    assert {schedule.take().key, schedule.take().key} == {"a", "b"}
    assert schedule.take() is None
    assert not schedule
    schedule.finish("a", "ok")
    assert schedule.take() is None
    schedule.finish("b", "ok")
    assert schedule
    assert schedule.take().key == "c"
    assert schedule.take() is None


@pytest.mark.parametrize("status", ["failed", "not applicable", "timeout"])
def test_dependents_of_what_is_not_ok_never_run(status):
    nodes = [node("a"), node("b", "a"), node("c", "b"), node("d")]
    schedule = Schedule(nodes, {})
    assert schedule.take().key == "a"
    schedule.finish("a", status)
    assert order(schedule) == ["d"]
    assert order(Schedule(nodes, {"a": status})) == ["d"]


def test_what_is_done_is_not_handed_out_again():
    nodes = [node("a"), node("b", "a"), node("c", "b")]
    assert order(Schedule(nodes, {"a": "ok"})) == ["b", "c"]
    assert order(Schedule(nodes, {"b": "ok"})) == ["a", "c"]
    assert order(Schedule(nodes[1:], {"a": "ok", "b": "failed"})) == []
    assert not Schedule(nodes, dict.fromkeys("abc", "ok"))


def test_gpu_nodes_wait_for_their_share_and_let_others_pass():
    nodes = [node("g", gpu=0.5, time_s=9), node("h", gpu=1 / 3, time_s=8), node("c")]
    schedule = Schedule(nodes, {})
    assert schedule.take(0.4).key == "c"
    assert schedule.take(0.4) is None
    assert schedule
    assert schedule.take(1.0).key == "g"
    assert schedule.take(1 - 2 / 3).key == "h"  # rounding of thirds is no obstacle


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("a", "z")], "a needs z, which is neither planned nor done"),
        ([node("a"), node("a")], "every key must occur once"),
        ([node("a", "b"), node("b", "a"), node("c")], "need each other: a, b"),
        ([node("a", "a")], "need each other: a"),
    ],
)
def test_impossible_plans_are_refused(nodes, message):
    with pytest.raises(ValueError, match=message):
        Schedule(nodes, {})


def _longest(nodes):
    """Longest chain of dependents, by recursion straight from the definition."""
    by_need = {n.key: [m for m in nodes if n.key in m.needs] for n in nodes}

    def chain(n):
        return n.time_s + max((chain(m) for m in by_need[n.key]), default=0)

    return {n.key: chain(n) for n in nodes}


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_against_the_definition(seed):
    """At each step the node handed out is, of all that are ready, one with the longest chain."""
    rng = random.Random(seed)
    keys = [f"{i:02d}" for i in range(25)]
    nodes = []
    for i, key in enumerate(keys):
        needs = rng.sample(keys[:i], min(i, rng.randint(0, 3)))
        nodes.append(node(key, *needs, time_s=rng.choice([1, 2, 5])))
    longest = _longest(nodes)
    shuffled = rng.sample(nodes, len(nodes))
    failing = set(rng.sample(keys, 2))
    schedule = Schedule(shuffled, {})
    status, running = {}, []
    while schedule or running:
        ready = {
            n.key
            for n in nodes
            if n.key not in status
            and n.key not in running
            and all(status.get(need) == "ok" for need in n.needs)
        }
        if ready and len(running) < 3:
            taken = schedule.take().key
            assert taken in ready
            assert longest[taken] == max(longest[k] for k in ready)
            running.append(taken)
        else:
            key = running.pop(rng.randrange(len(running)))
            status[key] = "failed" if key in failing else "ok"
            schedule.finish(key, status[key])
    never = {n.key for n in nodes} - status.keys()
    for n in nodes:
        assert (n.key in never) == any(m in never or status[m] != "ok" for m in n.needs)
