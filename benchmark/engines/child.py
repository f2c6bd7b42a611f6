"""What a forked process does for its one node: load its inputs, shut itself in, and only then run code of plugins.

The first half is the referee's: it reads from the run's folder what the node may know, and sets aside what the node may
not decide. Then it returns through all its callers, so that no frame, argument or object is left that leads there, and
the second half (:func:`run_shut_in`) begins with the inputs and a scratch folder.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.engines.confine import Fence
from benchmark.engines.family import LIBC, adopt_orphans, status_bytes
from benchmark.engines.worker import Answer, Prepare, Run, carry_out, failed, write_answer
from benchmark.node import Node, Outcome
from benchmark.store import Store

__all__ = [
    "NodePaths",
    "Prepared",
    "Settings",
    "prepare_node",
    "run_shut_in",
    "tail",
]

MIB = 2**20
_PR_SET_PDEATHSIG = 1
_PROGRESS_EVERY_S = 0.1

Settings = dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """All that a node's process still needs once its inputs are loaded; nothing of it leads to the run's folder."""

    node: Node
    run: Run
    may_write: bool
    paths: NodePaths
    device: str
    progress_fd: int


def prepare_node(
    node: Node,
    settings: Settings,
    prepare: Prepare,
    *,
    parent: int,
    progress_fd: int,
    limit_threads: Callable[[int], None],
) -> Prepared | None:
    """Load the inputs of ``node`` in this freshly forked process; None when there is nothing left to run.

    Parameters
    ----------
    prepare : callable
        ``prepare(node, store) -> Task``; runs no code of plugins.
    parent : int
        Process id of the server that forked this one.
    progress_fd : int
        Where progress is written to, a line of JSON each.
    limit_threads : callable
        Sets the number of threads of the libraries that the server has loaded.
    """
    die_with(parent)
    adopt_orphans()
    paths = NodePaths(Path(settings["scratch"]), node.key)
    _redirect_output(paths.log)
    faulthandler.enable()
    faulthandler.register(signal.SIGTERM, chain=True)  # a time-out shows where it was
    device = settings["device"] if node.gpu > 0 else "cpu"
    if device == "cpu":  # a CUDA context reserves far more addresses than it will ever use
        limit_memory(node.memory_mb * MIB)
    limit_threads(settings["threads"])
    paths.scratch.mkdir(parents=True)
    try:
        task = prepare(node, Store(settings["store"]))
    except (Exception, SystemExit) as error:
        lift_memory_limit()
        write_answer(paths.given, failed(error, node), node)
        return None
    # Also where there is nothing to keep: a folder that is missing later on has been removed.
    kept = Answer(task.kept or Outcome())
    write_answer(kept_folder(Path(settings["store"]), node.key), kept, node)
    if task.run is None:
        write_answer(paths.given, Answer(Outcome()), node)
        return None
    # The label may tell what an attack must not know, as whether it sees a decoy.
    unnamed = replace(node, label="")
    return Prepared(unnamed, task.run, task.may_write, paths, device, progress_fd)


def run_shut_in(prepared: Prepared, fence: Fence) -> None:
    """Shut this process in, run the node and write its answer."""
    node, paths = prepared.node, prepared.paths
    os.environ["TMPDIR"] = str(paths.scratch)
    tempfile.tempdir = None
    try:
        fence.shut_in(paths.own, may_write=prepared.may_write)
    except OSError as error:
        answer = failed(error, node)
    else:
        context = {
            "device": prepared.device,
            "scratch": paths.scratch,
            "progress": _reporter(prepared.progress_fd, node.key),
        }
        answer = carry_out(node, prepared.run, context)
    lift_memory_limit()
    write_answer(paths.given, answer, node)


class NodePaths:
    """Where a running node keeps its scratch files, its answer, and what it prints."""

    def __init__(self, folder: Path, key: str) -> None:
        self.own = folder / key[:16]
        self.scratch = self.own / "scratch"
        self.given = self.own / "answer"
        self.log = folder / f"{key[:16]}.log"

    def clear(self) -> None:
        """Delete all of it."""
        shutil.rmtree(self.own, ignore_errors=True)
        self.log.unlink(missing_ok=True)


def kept_folder(root: Path, key: str) -> Path:
    """Where the referee sets aside what a node may not decide: in the run's folder, out of the node's reach."""
    return root / "tmp" / key[:16]


def die_with(parent: int) -> None:
    """Have the kernel kill this process as soon as its parent is gone (Linux)."""
    if sys.platform == "linux":
        LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        with suppress(OSError):  # if memory runs out, the kernel is to end the node, not the run
            Path("/proc/self/oom_score_adj").write_text("500")
    if os.getppid() != parent:
        os._exit(1)


def limit_memory(extra: int) -> None:
    """Allow ``extra`` bytes of private memory beyond what this process has now (Linux)."""
    size = status_bytes("self", "VmData")
    if size is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (size + extra, hard))


def lift_memory_limit() -> None:
    """Undo :func:`limit_memory`."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def tail(path: Path, size: int = 8000) -> str:
    """The last ``size`` bytes of a file as text; empty when there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _redirect_output(log: Path) -> None:
    """Nothing to read from; what is printed goes to ``log``, native libraries' words included."""
    log.parent.mkdir(parents=True, exist_ok=True)  # whatever cleans temporary folders in mid-run
    null = os.open(os.devnull, os.O_RDONLY)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(null)
    os.close(file)


def peak_mb(maxrss: int, baseline: int) -> float:
    """MiB beyond ``baseline`` bytes, of ``ru_maxrss`` (KiB; bytes on macOS)."""
    size = maxrss if sys.platform == "darwin" else maxrss * 1024
    return max(0.0, (size - baseline) / MIB)


def _reporter(descriptor: int, key: str) -> Callable[..., None]:
    """A progress callback that writes at most ten lines a second and never waits for a reader."""
    last = [0.0]

    def progress(fraction: float, message: str = "") -> None:
        now = time.monotonic()
        if now - last[0] < _PROGRESS_EVERY_S and fraction < 1:
            return
        last[0] = now
        line = json.dumps([key, min(1.0, max(0.0, float(fraction))), str(message)[:200]])
        with suppress(OSError):  # a full pipe: the next one will tell
            os.write(descriptor, line.encode() + b"\n")  # below PIPE_BUF, hence whole

    return progress
