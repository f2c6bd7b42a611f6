"""Which node may run next. Pure bookkeeping, shared by the engines; the work is linear in nodes and edges."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from benchmark.node import Node

__all__ = ["Schedule"]

_SLACK = 1e-9  # three thirds of a GPU are one GPU


class Schedule:
    """Hands out nodes whose needs are met, those with the longest chain of dependents first.

    The length of a chain is the sum of its nodes' time limits. Ties go by the order of ``nodes``.

    Parameters
    ----------
    nodes : sequence of Node
        In any order.
    done : mapping of str to str
        Key → status of what has finished before; such nodes are never handed out.

    Raises
    ------
    ValueError
        For an unknown need, a key that occurs twice, or nodes that need each other.
    """

    def __init__(self, nodes: Sequence[Node], done: Mapping[str, str]) -> None:
        self._nodes = {n.key: n for n in nodes if n.key not in done}
        _check_keys(nodes, done)
        self._dependents: dict[str, list[Node]] = {}
        self._unmet: dict[str, int] = {}
        self._rank: dict[str, tuple[float, int]] = {}
        self._cpu: list[tuple[float, int, str]] = []
        self._gpu: list[tuple[float, int, str]] = []
        for node in self._nodes.values():
            for need in set(node.needs):
                if need in self._nodes:
                    self._dependents.setdefault(need, []).append(node)
        self._rank_all(nodes)
        for node in self._nodes.values():
            if any(done.get(need, "ok") != "ok" for need in node.needs):
                continue  # a need has failed before: it never becomes ready
            self._unmet[node.key] = sum(need in self._nodes for need in set(node.needs))
            if not self._unmet[node.key]:
                self._push(node)

    def __bool__(self) -> bool:
        """Whether any node is ready now."""
        return bool(self._cpu or self._gpu)

    def take(self, gpu_free: float = 1.0) -> Node | None:
        """The next ready node that fits into ``gpu_free`` of a GPU, or None. It is handed out once."""
        heaps = [self._cpu] if self._cpu else []
        if self._gpu and self._nodes[self._gpu[0][2]].gpu <= gpu_free + _SLACK:
            heaps.append(self._gpu)
        if not heaps:
            return None
        return self._nodes[heapq.heappop(min(heaps, key=lambda h: h[0]))[2]]

    def finish(self, key: str, status: str) -> None:
        """A node that was handed out ended with ``status``; only ``ok`` lets its dependents run."""
        if status != "ok":
            return
        for node in self._dependents.get(key, ()):
            if node.key in self._unmet:
                self._unmet[node.key] -= 1
                if not self._unmet[node.key]:
                    self._push(node)

    def _push(self, node: Node) -> None:
        heapq.heappush(self._gpu if node.gpu > 0 else self._cpu, (*self._rank[node.key], node.key))

    def _rank_all(self, nodes: Sequence[Node]) -> None:
        """Rank every node by minus the length of its longest chain, from the last nodes backwards."""
        order = {n.key: i for i, n in enumerate(nodes)}
        waiting = {key: len(self._dependents.get(key, ())) for key in self._nodes}
        last = [key for key, n in waiting.items() if n == 0]
        longest = dict.fromkeys(self._nodes, 0.0)
        while last:
            node = self._nodes[last.pop()]
            length = longest[node.key] + node.time_s
            self._rank[node.key] = (-length, order[node.key])
            for need in set(node.needs):
                if need in self._nodes:
                    longest[need] = max(longest[need], length)
                    waiting[need] -= 1
                    if waiting[need] == 0:
                        last.append(need)
        circle = [self._nodes[key].label for key in self._nodes if key not in self._rank]
        if circle:
            raise ValueError(f"these nodes need each other: {', '.join(circle[:5])}.")


def _check_keys(nodes: Sequence[Node], done: Mapping[str, str]) -> None:
    keys = {n.key for n in nodes}
    if len(keys) < len(nodes):
        raise ValueError(
            f"every key must occur once. Got {len(nodes)} nodes with {len(keys)} keys."
        )
    for node in nodes:
        for need in node.needs:
            if need not in keys and need not in done:
                raise ValueError(
                    f"{node.label} needs {need[:12]}, which is neither planned nor done."
                )
