"""A process and all that descends from it: who they are, what memory they take, and ending them.

A node may start processes, and these may leave its process group or session, or outlive whoever started them. On Linux
a *subreaper* (prctl(2), ``PR_SET_CHILD_SUBREAPER``) inherits the orphans below it, so that nobody gets out of the tree:
each node is one for what it starts, and the fork server for what a node leaves behind. Elsewhere (macOS) there is no
such thing: what leaves both its group and its parents there is beyond any limit.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

__all__ = [
    "LIBC",
    "adopt_orphans",
    "descendants",
    "is_stopped",
    "kill_all",
    "kill_family",
    "marked",
    "memory",
    "private_memory",
    "status_bytes",
]

LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE_S = 5.0


def adopt_orphans() -> None:
    """Make this process the parent of every orphan among its descendants (Linux)."""
    if sys.platform == "linux":
        LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(pid: int) -> list[int]:
    """Ids of the children of a process, those that wait to be collected included; none when it is gone."""
    if not _LISTED:
        try:
            return [p.pid for p in psutil.Process(pid).children()]
        except psutil.Error:
            return []
    found: list[int] = []
    with suppress(OSError):  # gone
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):  # a thread that has just ended: its children are another's now
                found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_bytes().split())
    return found


_LISTED = Path(f"/proc/self/task/{os.getpid()}/children").exists()
"""Whether the kernel lists them (``CONFIG_PROC_CHILDREN``); else all processes have to be looked through."""


def descendants(pid: int) -> list[int]:
    """Ids of all that descends from a process, parents before their children."""
    found = children(pid)
    for one in found:  # grows meanwhile
        found += [p for p in children(one) if p not in found]
    return found


def memory(pid: int, baseline: int, server: int, limit: int) -> int:
    """Private memory that a node and its descendants have taken beyond what was there before, in bytes.

    The sum of what each of them has. Only where that is above the limit, pages that they share are counted once, since
    looking for these takes long.

    Parameters
    ----------
    pid : int
        The node's process.
    baseline : int
        Private memory of the fork server when it forked the node, in bytes; it is shared until it is written to.
    server : int
        The fork server's process.
    limit : int
        What the node may take, in bytes.
    """
    own = max(0, private_memory(pid) - baseline)
    others = descendants(pid)
    most = own + sum(private_memory(p) for p in others)
    if most <= limit or not others:
        return most
    shares = [_share(p) for p in (pid, *others)]
    return max(own, sum(shares) - min(baseline, _share(server) * len(shares)))


def _share(pid: int) -> int:
    """Private memory with each shared page divided among those who share it; all of it where that cannot be seen."""
    share = status_bytes(pid, "Pss_Anon", "Pss_Shmem", file="smaps_rollup")
    return private_memory(pid) if share is None else share


def private_memory(pid: int | str = "self") -> int:
    """Resident memory of a process without what it maps from files, in bytes; 0 when it is gone."""
    anonymous = status_bytes(pid, "RssAnon", "RssShmem")
    if anonymous is not None:
        return anonymous
    try:
        return psutil.Process(None if pid == "self" else int(pid)).memory_info().rss
    except psutil.Error:
        return 0


def status_bytes(pid: int | str, *fields: str, file: str = "status") -> int | None:
    """Sum of fields of ``/proc/<pid>/status``, or another such file, in bytes; None where there is no such thing."""
    try:
        with open(f"/proc/{pid}/{file}", encoding="ascii") as opened:
            lines = dict(line.split(":", 1) for line in opened if ":" in line)
        return sum(int(lines[f].split()[0]) * 1024 for f in fields)
    except (OSError, KeyError, ValueError):
        return None


def is_stopped(pid: int) -> bool:
    """Whether a process has been stopped (SIGSTOP) and not been told to go on."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


def kill_family(pid: int) -> None:
    """Kill a process, its group and its descendants, whatever group or session these are in."""
    everybody = descendants(pid)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for one in (pid, *everybody):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(one, signal.SIGKILL)


def kill_all(spare: set[int]) -> None:
    """Kill and collect every child of this process that is not to be spared, and what descends from it.

    What a killed child leaves behind becomes a child of this process where it adopts orphans.
    """
    until = time.monotonic() + _PATIENCE_S
    while strays := [p for p in children(os.getpid()) if p not in spare]:
        for pid in strays:
            kill_family(pid)
        for pid in strays:
            with suppress(ChildProcessError):
                while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < until:
                    time.sleep(0.001)
        if time.monotonic() > until:  # one that even SIGKILL does not end yet: the kernel has it
            return


def marked(name: str, value: str) -> list[psutil.Process]:
    """Processes, started by whomever, whose environment has a variable of this name and value: a look at all."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(name) == value:
                found.append(process)
    return found
