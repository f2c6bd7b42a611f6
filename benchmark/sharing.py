"""What may be handed on of a run says nothing of where it was made, and nothing that foreign code says of private data.

A node's reason is an exception's message: a path, the name of a patient's file, a row of the data. The run's owner
reads it in the terminal and in the node's record. Of a public dataset the board has the message, without places, host
and user; of a private one the kind of error alone.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["Sharing", "kind_of_failure"]

HIDDEN = "…"
"""What stands for what is not said."""

TOLD_IN_FULL = frozenset({"ok", "", "timeout", "not applicable", "missing", "void", "not judged"})
"""Statuses whose reasons are the harness's own words, or a plugin's about itself, before it has seen a record."""

_PATH = re.compile(r"""(?<![\w/:.~…])(?:file:/{1,3}|~[\w.-]*/|[A-Za-z]:[\\/]|/)[^\s'"`,;:()<>|]+""")
_KIND = re.compile(
    r"(?:killed by \w+|ended (?:before it had finished|with exit status \d+)|called sys\.exit"
    r"|\b[A-Za-z_][\w.]*(?:Error|Exception|Warning|Interrupt|Exit|Missing)\b)"
)
_COMMON = frozenset({"root", "user", "admin", "test", "ubuntu", "runner", "data", "build"})


class Sharing:
    """What is taken out of text before it is written where others read it.

    Parameters
    ----------
    places : iterable of str or Path
        Files and folders that the run was given; spaces and all.
    names : iterable of str
        Labels of plugins, which stay as they are: figures are found by them.
    """

    def __init__(self, places: Iterable[str | Path] = (), names: Iterable[str] = ()) -> None:
        self._labels = frozenset(names)
        known = {os.path.expanduser(str(p)) for p in places} | {str(p) for p in places}
        known |= {os.path.abspath(p) for p in known} | {os.path.realpath(p) for p in known}
        names = {Path(p).name for p in known}
        home = os.path.expanduser("~")
        words = {name for name in (socket.gethostname(), _user()) if len(name) > 3} - _COMMON
        # Nothing of where the process runs: a run that was moved says the same of itself.
        texts = {t for t in (*known, *names, home) if len(t) > 3}
        ordered = sorted(texts, key=len, reverse=True)
        self._texts = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._words = (
            re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(words)))})(?!\w)")
            if words
            else None
        )

    def text(self, said: str) -> str:
        """``said`` without paths, host and user; a label as it is."""
        if said in self._labels:
            return said
        if self._texts is not None:
            said = self._texts.sub(HIDDEN, said)
        said = _PATH.sub(HIDDEN, said)
        return said if self._words is None else self._words.sub(HIDDEN, said)

    def everywhere(self, value: Any) -> Any:
        """A JSON-like value with :meth:`text` done to every text in it, keys apart."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {k: self.everywhere(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.everywhere(v) for v in value]
        return value

    def reason(self, status: str, reason: str, private: bool) -> str:
        """A cell's reason: of private data the kind of error alone, where foreign code has said it."""
        if private and reason and status not in TOLD_IN_FULL:
            return f"{kind_of_failure(reason)} (its message stays in the run: `show RUN KEY`)"
        return self.text(reason)


def kind_of_failure(reason: str) -> str:
    """The kind of error in a reason: its exception's class, or how its process ended.

    >>> kind_of_failure("ValueError: row 3 of anna.png is odd"), kind_of_failure("killed by SIGSEGV")
    ('ValueError', 'killed by SIGSEGV')
    """
    found = _KIND.search(reason)
    return found[0] if found else "an error"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return ""
