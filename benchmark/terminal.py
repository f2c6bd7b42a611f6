"""The terminal: foreign text that cannot command it, and readers that go away."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.segment import Segment

__all__ = ["TerminalConsole", "steady_streams"]

_SHOWN = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
}
"""Control characters, each as a sign of one column: names of files and messages of plugins may hold them."""


class TerminalConsole(Console):
    """A console that prints what it is given as text: no markup, no emoji, and control characters as visible signs."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=True, markup=False, emoji=False, highlight=False)

    def render(self, *arguments: Any, **more: Any) -> Iterable[Segment]:
        """As Rich does, with control characters of the text made visible; its own codes are no text."""
        for segment in super().render(*arguments, **more):
            text, style, control = segment
            yield segment if control else Segment(text.translate(_SHOWN), style)


class _Steady:
    """A stream whose reader may go away, as ``head`` does: what is still written is then nobody's."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except BrokenPipeError:
            self._let_go()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._let_go()

    def _let_go(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)


@contextmanager
def steady_streams() -> Iterator[None]:
    """Within, a closed pipe ends nothing, and what an encoding cannot say is replaced: the work is what counts."""
    before = sys.stdout, sys.stderr
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed
            continue
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
        setattr(sys, name, _Steady(stream))
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before
