"""How a run goes, told while it goes: a bar on a terminal, a line every ten seconds in a log.

A listener is called with the engine's events, and is a context within which it may draw. Labels and reasons are
foreign text and are printed as they are.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Literal, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from benchmark.engines import Event

__all__ = ["EVERY_S", "Listener", "Telling", "listener_for"]

Telling = Literal["quiet", "normal", "verbose"]
"""How much is told: nothing, how far the run is and what fails, or every node."""

EVERY_S = 10.0
"""Seconds between two lines of progress where there is no terminal."""


def listener_for(console: Console, total: int, telling: Telling = "normal") -> Listener:
    """A listener for a run of ``total`` nodes that prints on ``console``."""
    if telling == "quiet":
        return Listener(console, total)
    if console.is_terminal:
        return _Bar(console, total, verbose=telling == "verbose")
    return _Nodes(console, total) if telling == "verbose" else _Beats(console, total)


class Listener:
    """Counts what happens, and says nothing of it."""

    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self.total = total
        self.executed = 0
        self.failed = 0
        self.running: dict[str, str] = {}
        self.started_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, event: Event) -> None:
        key, label = event.node.key, event.node.label
        if event.kind == "started":
            self.running[key] = label
        elif event.kind == "progress":
            self.running[key] = f"{label} {event.fraction:.0%} {event.message}".rstrip()
        else:
            self.running.pop(key, None)
            self.executed += 1
            self.failed += _has_failed(event.record)
            self.tell_finished(event.record)

    def tell_finished(self, record: Any) -> None:
        """Called with the record of each node that has finished."""

    def tell_node(self, record: Any) -> None:
        """Print a line for a node."""
        reason = f": {record.reason}" if record.reason else ""
        seconds = f"{record.duration_s:7.2f} s"
        self._print(f"[{self.executed}] {record.status:<4} {seconds}  {record.label}{reason}")

    def tell_failure(self, record: Any) -> None:
        """Print a failed node at once."""
        if _has_failed(record):
            self._print(Text.assemble((record.status, "red"), f" {record.label}: {record.reason}"))

    def summary(self) -> str:
        """What was executed, in one line."""
        seconds = time.monotonic() - self.started_at
        return (
            f"{self.total} nodes: {self.executed} executed, {self.failed} failed, "
            f"{self.total - self.executed} from before or not to be had; {seconds:.1f} s"
        )

    def state(self) -> str:
        """How far the run is: nodes executed, failed and running."""
        names = "; ".join(list(self.running.values())[:2])
        failed = f"{self.failed} failed  " if self.failed else ""
        return f"{failed}{len(self.running)} running{': ' if names else ''}{names}"

    def _print(self, text: str | Text) -> None:
        self.console.print(text, markup=False, emoji=False, highlight=False)


class _Nodes(Listener):
    """A line for each node."""

    tell_finished = Listener.tell_node


class _Beats(Listener):
    """A line every :data:`EVERY_S` seconds, whatever happens or does not, and each failure at once."""

    def __init__(self, console: Console, total: int) -> None:
        super().__init__(console, total)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(EVERY_S):
            minutes, seconds = divmod(int(time.monotonic() - self.started_at), 60)
            clock = f"{minutes}:{seconds:02}"
            self._print(f"{clock}  {self.executed} executed of {self.total}  {self.state()}")

    tell_finished = Listener.tell_failure


class _Bar(Listener):
    """A bar: nodes done, running and failed, and the time left; failures above it, or every node with ``verbose``."""

    def __init__(self, console: Console, total: int, verbose: bool = False) -> None:
        super().__init__(console, total)
        self.bar = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=total)
        self._tell = self.tell_node if verbose else self.tell_failure

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        self.bar.update(self.task, description=self.state())

    def tell_finished(self, record: Any) -> None:
        self.bar.advance(self.task)
        self._tell(record)


def _has_failed(record: Any) -> bool:
    return record.status not in ("ok", "not applicable")
