"""Where nodes execute. An engine runs the missing nodes within their limits and tells what became of them.

An engine knows nothing of methods or attacks: it calls a function ``prepare(node, store) -> Task``, shuts the process
in, calls the task's ``run(context)``, and stores what that returns, or why it returned nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from benchmark.contracts import LeakboardError
from benchmark.node import Node
from benchmark.store import Record, Store

__all__ = ["Engine", "EngineError", "Event"]


class EngineError(LeakboardError):
    """The engine itself cannot go on (a node that fails is a record, never this)."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something happened to a node.

    Parameters
    ----------
    kind : str
        ``started``; ``progress``, any number of times; ``finished``, with the record.
    node : Node
    record : Record, optional
        What became of it, as stored.
    fraction : float
        Of a progress event: in [0, 1].
    message : str
        Of a progress event.
    """

    kind: Literal["started", "finished", "progress"]
    node: Node
    record: Record | None = None
    fraction: float = 0.0
    message: str = ""


class Engine(Protocol):
    """What every engine can do."""

    def run(
        self,
        nodes: Sequence[Node],
        store: Store,
        *,
        done: Mapping[str, str],
        on_event: Callable[[Event], None],
    ) -> None:
        """Execute every node that is not in ``done`` and whose needs are all ``ok``; store a record of each.

        A node whose need did not end ``ok`` is not executed and gets no record.

        Parameters
        ----------
        nodes : sequence of Node
            The plan, in any order; every need is one of them or in ``done``.
        store : Store
            Where records and artifacts go. The caller holds its lock.
        done : mapping of str to str
            Key → status of the nodes that have finished before and are not to run again.
        on_event : callable
            Called in this process, one event at a time; what it raises ends the run.

        Raises
        ------
        ValueError
            When a need is neither in ``nodes`` nor in ``done``, or nodes need each other.
        EngineError
            When the engine cannot go on.
        KeyboardInterrupt
            On Ctrl-C, after everything that ran has been stopped; what had finished is in the store.
        """
        ...
