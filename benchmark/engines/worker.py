"""What a node's process does with its work: call, catch, and write down the answer for the main process to store."""

from __future__ import annotations

import json
import os
import random
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from benchmark.contracts import LeakboardError, NotApplicable, Unavailable
from benchmark.node import Node, Outcome, Task
from benchmark.nodes import guarantee_of
from benchmark.store import Record, Status, Store, StoreError, plain, write_artifacts

__all__ = [
    "Answer",
    "Prepare",
    "Run",
    "carry_out",
    "failed",
    "one_line",
    "read_answer",
    "record_of",
    "store_answer",
    "utc_now",
    "write_answer",
]

Prepare = Callable[[Node, Store], Task]
Run = Callable[[Mapping[str, Any]], Outcome]

_OWN_STATUSES = ("ok", "failed", "not applicable", "unavailable")
_STATUSES = (*_OWN_STATUSES, "crashed", "out of memory")
_OUT_OF_MEMORY = ("can't allocate memory", "cannot allocate memory", "out of memory")
_LONGEST_REASON, _LONGEST_TRACEBACK, _LONGEST_ANSWER = 500, 20_000, 2**26
_FILE = "answer.json"


@dataclass(frozen=True)
class Answer:
    """An outcome, with the traceback of what went wrong."""

    outcome: Outcome
    traceback: str = ""


def carry_out(node: Node, run: Run, context: Mapping[str, Any]) -> Answer:
    """What ``run`` gives, whatever it does short of ending the process.

    Parameters
    ----------
    node : Node
    run : callable
        ``run(context) -> Outcome``.
    context : mapping
        ``device``, ``scratch`` and ``progress``.
    """
    _seed_global_generators(node, context["device"])
    try:
        outcome = run(context)
        _check(outcome)
    except (Exception, SystemExit) as error:
        return failed(error, node)
    return Answer(outcome)


def failed(error: BaseException, node: Node) -> Answer:
    """The answer of a node that raised ``error``."""
    status, reason = _failure(error, node)
    trace = "".join(traceback.format_exception(error))[-_LONGEST_TRACEBACK:]
    return Answer(Outcome(status=status, reason=one_line(reason)), trace)


def _failure(error: BaseException, node: Node) -> tuple[str, str]:
    if isinstance(error, SystemExit):
        return "crashed", f"called sys.exit({error.code!r})"
    if isinstance(error, NotApplicable):
        return "not applicable", str(error)
    if isinstance(error, Unavailable):
        return "unavailable", str(error)
    if isinstance(error, LeakboardError):
        return "failed", str(error)
    if _is_out_of_memory(error):
        return "out of memory", f"{str(error) or 'memory ran out'}. {memory_advice(node)}"
    return "failed", f"{type(error).__name__}: {error}"


# ---------------------------------------------------------------- from one process to the other


def write_answer(folder: Path, answer: Answer, node: Node) -> None:
    """Write an answer into a new folder, its last file last; one that cannot be stored is a failure of the node."""
    outcome = answer.outcome
    try:
        values = {k: plain(v, f"values[{k!r}]") for k, v in outcome.values.items()}
        write_artifacts(folder, outcome.arrays, outcome.tensors, sync=False)
    except StoreError as error:
        answer, values = failed(error, node), {}
        outcome = answer.outcome
    folder.mkdir(parents=True, exist_ok=True)
    said = {
        "status": outcome.status,
        "reason": outcome.reason,
        "traceback": answer.traceback,
        "values": values,
    }
    temporary = folder / f".{_FILE}"
    temporary.write_bytes(json.dumps(said, ensure_ascii=False).encode("utf-8", "replace"))
    os.replace(temporary, folder / _FILE)


def read_answer(folder: Path) -> dict[str, Any] | None:
    """What a node has written of itself, without its arrays; None where it wrote nothing that can be understood.

    It comes from a process that has run code of plugins, and is not trusted to be what :func:`write_answer` writes.
    """
    try:
        descriptor = os.open(folder / _FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            said = json.loads(file.read(_LONGEST_ANSWER))
        if said["status"] not in _STATUSES or not isinstance(said["values"], dict):
            return None
        return {
            "status": said["status"],
            "reason": one_line(str(said["reason"])),
            "traceback": str(said["traceback"])[-_LONGEST_TRACEBACK:],
            "values": said["values"],
        }
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def store_answer(
    store: Store,
    node: Node,
    said: Mapping[str, Any],
    given: Path,
    kept: Path,
    printed: str = "",
    **cost: Any,
) -> Record:
    """Store a node's answer as its record, with what the referee has set aside for it.

    Parameters
    ----------
    said : mapping
        Of :func:`read_answer`.
    given, kept : Path
        Folders of the node's own answer, and of what was set aside before any plugin's code ran: of two values or
        arrays of one name the latter counts.
    printed : str
        The end of what it printed; kept when it failed.
    **cost
        Of the record: ``duration_s``, ``cpu_s``, ``peak_memory_mb``, ``started_at``, ``environment``.
    """
    trusted = read_answer(kept)
    if said["status"] != "ok":
        trace = said["traceback"]
        trace += _printed(printed) if trace else ""
        return store.commit(record_of(node, said["status"], said["reason"], trace, **cost))
    record = record_of(node, "ok", said["reason"], "", **cost)
    values = {**said["values"], **(trusted["values"] if trusted else {})}
    try:
        _check_said(values)
        return store.adopt(record.model_copy(update={"values": values}), given, kept)
    except StoreError as error:  # nothing that an honest node writes
        return store.commit(record_of(node, "failed", str(error), _printed(printed), **cost))


def _check_said(values: Mapping[str, Any]) -> None:
    """Refuse a guarantee or notes that the judge could not read: the process that said so has run foreign code."""
    notes, claim = values.get("notes", {}), values.get("guarantee")
    if not isinstance(notes, Mapping) or not all(isinstance(v, _NOTED) for v in notes.values()):
        raise StoreError("notes must be a mapping of names to numbers or text")
    try:
        guarantee_of(claim)
    except (LeakboardError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise StoreError(f"its guarantee is none: {type(error).__name__}: {error}") from error


_NOTED = (str, int, float, type(None))


def record_of(node: Node, status: str, reason: str, trace: str, **cost: Any) -> Record:
    """A record of ``node``, without values and artifacts."""
    return Record(
        key=node.key,
        kind=node.kind,
        label=node.label,
        status=cast("Status", status),
        reason=one_line(reason),
        traceback=trace,
        spec=dict(node.spec),
        sources=dict(node.sources),
        needs=node.needs,
        **cost,
    )


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
