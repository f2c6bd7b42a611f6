"""Executing one node in this process: call, catch, store. What a local child and a remote task have in common."""

from __future__ import annotations

import random
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from benchmark.contracts import LeakboardError, NotApplicable, Unavailable
from benchmark.node import Node, Outcome
from benchmark.store import Record, Status, Store, StoreError

__all__ = ["Execute", "Usage", "failure", "one_line", "perform", "utc_now"]

Execute = Callable[[Node, Store, Mapping[str, Any]], Outcome]

_OWN_STATUSES = ("ok", "failed", "not applicable", "unavailable")
_OUT_OF_MEMORY = ("can't allocate memory", "cannot allocate memory", "out of memory")
_LONGEST_REASON, _LONGEST_TRACEBACK = 500, 20_000


@dataclass(frozen=True)
class Usage:
    """What a node has used so far: processor seconds, and MiB at the highest."""

    cpu_s: float
    peak_memory_mb: float


def perform(
    node: Node,
    store: Store,
    execute: Execute,
    context: Mapping[str, Any],
    *,
    environment: Mapping[str, Any],
    usage: Callable[[], Usage],
    before_commit: Callable[[], None] = lambda: None,
    output: Callable[[], str] = lambda: "",
) -> Record:
    """Execute ``node`` and commit its record, whatever ``execute`` does short of ending the process.

    Parameters
    ----------
    execute : callable
        ``execute(node, store, context) -> Outcome``.
    context : mapping
        ``device``, ``scratch`` and ``progress``, handed to ``execute``.
    environment : mapping
        Kept in the record.
    usage : callable
        What this process has used for the node.
    before_commit : callable
        Called between executing and storing, say to lift a memory limit.
    output : callable
        The end of what the node printed; kept when it failed.

    Returns
    -------
    Record
        As stored.
    """
    _seed_global_generators(node, context["device"])
    started_at, started = utc_now(), time.perf_counter()
    trace = ""
    try:
        outcome = execute(node, store, context)
        _check(outcome)
    except (Exception, SystemExit) as error:
        status, reason, trace = failure(error, node)
        outcome = Outcome(status=status, reason=reason)
    before_commit()
    used = usage()

    def commit(outcome: Outcome, trace: str) -> Record:
        record = Record(
            key=node.key,
            kind=node.kind,
            label=node.label,
            status=cast("Status", outcome.status),
            reason=one_line(outcome.reason),
            traceback=trace + (_printed(output()) if trace else ""),
            spec=dict(node.spec),
            needs=node.needs,
            values=dict(outcome.values),
            duration_s=time.perf_counter() - started,
            cpu_s=used.cpu_s,
            peak_memory_mb=used.peak_memory_mb,
            started_at=started_at,
            environment=dict(environment),
        )
        return store.commit(record, outcome.arrays, outcome.tensors)

    try:
        return commit(outcome, trace)
    except StoreError as error:  # what it returned cannot be stored: its own failure
        status, reason, trace = failure(error, node)
        return commit(Outcome(status=status, reason=reason), trace)


def failure(error: BaseException, node: Node) -> tuple[str, str, str]:
    """Status, one-line reason and traceback of what ``execute`` raised."""
    trace = "".join(traceback.format_exception(error))[-_LONGEST_TRACEBACK:]
    if isinstance(error, SystemExit):
        return "crashed", f"called sys.exit({error.code!r})", trace
    if isinstance(error, NotApplicable):
        return "not applicable", str(error), trace
    if isinstance(error, Unavailable):
        return "unavailable", str(error), trace
    if isinstance(error, LeakboardError):
        return "failed", str(error), trace
    if _is_out_of_memory(error):
        return "out of memory", f"{str(error) or 'memory ran out'}. {memory_advice(node)}", trace
    return "failed", f"{type(error).__name__}: {error}", trace


def memory_advice(node: Node) -> str:
    """What to do about a node that ran out of memory."""
    return (
        f"Its limit is {node.memory_mb} MiB: raise limits.memory_mb in the suite, or give it less."
    )


def one_line(text: str) -> str:
    """``text`` as one line of at most 500 characters that any encoding can take."""
    text = " ".join(text.split()).encode("utf-8", "replace").decode()
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"


def utc_now() -> str:
    """The time, as records keep it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _check(outcome: Any) -> None:
    if not isinstance(outcome, Outcome):
        raise TypeError(f"execute must return an Outcome. Got {type(outcome).__name__} instead.")
    if outcome.status not in _OWN_STATUSES:
        raise ValueError(
            f"the status of an Outcome must be one of {', '.join(_OWN_STATUSES)}. "
            f"Got {outcome.status!r} instead."
        )


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, (RuntimeError, OSError)) and any(s in text for s in _OUT_OF_MEMORY)


def _printed(text: str) -> str:
    return f"\nThe end of what it printed:\n{text}" if text.strip() else ""


def _seed_global_generators(node: Node, device: str) -> None:
    """Seed what libraries draw from when nobody gave them a generator: same node, same answer.

    Plugins draw from their context and need none of this.
    """
    seed = int(node.key[:8], 16)
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        torch.default_generator.manual_seed(seed)
        if device != "cpu":
            torch.cuda.manual_seed_all(seed)
