"""Nodes as processes of this machine: one for each, forked from a server that has imported the heavy modules.

A crash, a leak or an out-of-memory kill takes one node with it. The main process stays light: it hands out nodes, keeps
the time, watches memory, and stores what nodes leave in their folders. No code of plugins runs in it, and what has run
such code cannot reach the store.

Limits are the main process's, which signals nodes itself, and hold for all that descends from a node
(:mod:`benchmark.engines.family`). It watches the server, too: one that is stopped is told to go on, and one that says
nothing is replaced.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import psutil

from benchmark.engines import EngineError, Event, family
from benchmark.engines.child import (
    MIB,
    NodePaths,
    kept_folder,
    peak_mb,
    tail,
)
from benchmark.engines.forkserver import THREAD_VARIABLES
from benchmark.engines.schedule import Schedule
from benchmark.engines.worker import (
    memory_advice,
    one_line,
    read_answer,
    record_of,
    store_answer,
    utc_now,
)
from benchmark.node import Node
from benchmark.store import Record, Store

__all__ = ["PRELOAD", "LocalEngine", "cores"]

PRELOAD = (
    "torch",
    "torchvision",
    "sklearn.linear_model",
    "sklearn.neighbors",
    "sklearn.decomposition",
    "sklearn.preprocessing",
    "sklearn.metrics",
    "timm",
    "pandas",
)
_LOOK_EVERY_S = 0.25
_SILENCE_S = 30.0  # what a server that has begun to serve may take to fork, or to tell of a node that was killed
_BEGINNING_S = 600.0  # and before it serves: the heavy modules may lie on a slow disk
_OUT_OF_MEMORY = re.compile(r"bad_alloc|allocate memory|Memory allocation|MemoryError", re.I)


class LocalEngine:
    """Runs each node in a process of its own on this machine.

    Parameters
    ----------
    root : Path
        The run's folder, which nodes cannot reach where the kernel has Landlock. Scratch files go to a folder of their
        own, in ``TMPDIR`` or where temporary files go here.
    jobs : int, optional
        Nodes at a time; by default the number of processors.
    threads : int, optional
        Threads of each node; by default the processors shared out among ``jobs``.
    device : str, default="cpu"
        Torch device of the nodes that ask for a GPU; the others get ``"cpu"``.
    prepare : str
        ``module:function`` of ``prepare(node, store) -> Task``, which loads a node's inputs and runs no code of
        plugins; the task's own ``run`` may.
    hidden : sequence of Path
        Files and folders besides ``root`` that nodes are not to reach.
    preload : sequence of str
        Modules imported once, in the server; those that are not installed are passed over.
    environment : mapping, optional
        Kept in every record.
    grace_s : float
        Seconds between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        jobs: int | None = None,
        threads: int | None = None,
        device: str = "cpu",
        prepare: str = "benchmark.nodes:prepare",
        hidden: Sequence[Path] = (),
        preload: Sequence[str] = PRELOAD,
        environment: Mapping[str, Any] | None = None,
        grace_s: float = 2.0,
    ) -> None:
        for name, value in (("jobs", jobs), ("threads", threads)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1. Got {value} instead.")
        processors = cores()
        self.root = Path(root)
        self.jobs = jobs or processors
        self.threads = threads or max(1, processors // self.jobs)
        self.device = device
        self.prepare = prepare
        self.hidden = tuple(hidden)
        self.preload = tuple(preload)
        self.environment = dict(environment or {})
        self.grace_s = grace_s

    def run(
        self,
        nodes: Sequence[Node],
        store: Store,
        *,
        done: Mapping[str, str],
        on_event: Callable[[Event], None],
    ) -> None:
        """Execute what is missing; see :class:`benchmark.engines.Engine`."""
        schedule = Schedule(nodes, done)
        if not schedule:
            return
        with (
            _empty_folder(self.root / "tmp"),
            _scratch_folder() as scratch,
            ThreadPoolExecutor(self.jobs) as clerks,
        ):
            try:
                _Run(self, schedule, store, scratch, clerks, on_event).work(
                    sum(n.key not in done for n in nodes)
                )
            finally:
                clerks.shutdown()
                store.sweep()

    def settings(self, store: Store, scratch: Path, nodes: int) -> dict[str, Any]:
        """What the server has to know, as JSON."""
        return {
            "prepare": self.prepare,
            "hidden": [str(Path(p).resolve()) for p in (store.root, scratch, *self.hidden)],
            "preload": list(self.preload),
            "store": str(store.root.resolve()),
            "scratch": str(scratch),
            "device": self.device,
            "threads": self.threads,
            "nodes": nodes,
            "environment": self.environment,
        }


@dataclass
class _Running:
    """A node that was handed to the server."""

    node: Node
    pid: int = 0
    baseline: int = 0
    started_at: str = field(default_factory=utc_now)
    started: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    verdict: str = ""  # why it was told to end: "timeout" or "out of memory"
    reason: str = ""
    answered: bool = False  # whether it had left an answer by then, which counts
    kill_at: float = float("inf")
    killed_at: float = float("inf")
    asked_at: float = field(default_factory=time.monotonic)  # when the server was told to start it
    peak_mb: float = 0.0
    oom_kills: int = 0
    retried: bool = False  # its temporary files were removed by somebody, and it runs once more
    stored: Future[Record | None] | None = None  # it has ended, and its answer is being stored

    @property
    def runs(self) -> bool:
        """Whether its process has begun and not ended."""
        return bool(self.pid) and self.stored is None

    @property
    def next_deadline(self) -> float:
        if not self.runs:
            return float("inf")
        return self.kill_at if self.verdict else self.started + self.node.time_s


class _Run:
    """One call of ``LocalEngine.run``: the event loop."""

    def __init__(
        self,
        engine: LocalEngine,
        schedule: Schedule,
        store: Store,
        scratch: Path,
        clerks: ThreadPoolExecutor,
        on_event: Callable[[Event], None],
    ) -> None:
        self._engine = engine
        self._schedule = schedule
        self._store = store
        self._scratch = scratch
        self._clerks = clerks
        self._bell = _Bell()
        self._isolation = ""
        self._on_event = on_event
        self._running: dict[str, _Running] = {}
        self._next_look = 0.0
        self._ready = False
        self._replaced = False

    def work(self, nodes: int) -> None:
        """Run all that can run; ``nodes`` says about how many that are."""
        settings = self._engine.settings(self._store, self._scratch, nodes)
        while self._schedule or self._running:
            with _ServerProcess(settings, self._engine.grace_s) as self._server:
                try:
                    self._serve()
                except _ServerLost as lost:
                    self._bury(lost)

    def _serve(self) -> None:
        self._ready = False
        for running in self._running.values():  # what an earlier server had not begun
            if running.stored is None:
                self._start(running)
        self._hand_out()
        while self._running:
            for message in self._server.messages(self._patience(), self._bell.end):
                self._handle(message)
            self._collect()
            self._enforce_limits()
            self._watch_server()
            self._hand_out()

    def _bury(self, lost: _ServerLost) -> None:
        """Without its server, what was running is over too; a new server takes the rest."""
        begun = [r for r in self._running.values() if r.runs]
        if not begun and (self._replaced or not lost.silent):
            raise EngineError(f"{lost}. Run again to resume.") from None
        self._replaced = not begun
        for running in begun:
            _kill_and_wait(running.pid)
            self._end(running, {"event": "not started", "reason": str(lost)})

    def _hand_out(self) -> None:
        """Give the server as many nodes as there is room for."""
        while len(self._running) < self._engine.jobs:
            node = self._schedule.take(self._gpu_free())
            if node is None:
                return
            self._running[node.key] = _Running(node)
            self._start(self._running[node.key])

    def _start(self, running: _Running) -> None:
        self._store.remove(running.node.key)
        running.asked_at = time.monotonic()
        self._server.send(do="start", node=asdict(running.node))

    def _gpu_free(self) -> float:
        """Share of the GPU that nobody has; without limit where there is no GPU to share."""
        if self._engine.device == "cpu":
            return float("inf")
        return 1.0 - sum(r.node.gpu for r in self._running.values())

    def _handle(self, message: dict[str, Any]) -> None:
        event = message["event"]
        if event == "ready":
            self._isolation = message["isolation"]
            self._ready = True
            for running in self._running.values():
                running.asked_at = time.monotonic()
            if message["threads"]:
                warnings.warn(
                    f"preloaded modules have started threads ({', '.join(message['threads'])}); "
                    "forked nodes may hang.",
                    RuntimeWarning,
                    stacklevel=2,
                )
        elif event == "fatal":
            raise EngineError(f"the fork server could not start:\n{message['text']}")
        elif message["key"] in self._running:
            running = self._running[message["key"]]
            if event == "started":
                running.pid, running.baseline = message["pid"], message["baseline"]
                running.started, running.started_at = time.monotonic(), utc_now()
                running.oom_kills = _oom_kills()
                self._on_event(Event(kind="started", node=running.node))
            elif event == "progress":
                if running.runs:
                    report = {k: message[k] for k in ("fraction", "message")}
                    self._on_event(Event(kind="progress", node=running.node, **report))
            else:
                self._end(running, message)

    def _end(self, running: _Running, message: dict[str, Any]) -> None:
        """Have what an ended node has left stored, beside the work of the others."""
        running.ended = time.monotonic()
        running.stored = self._clerks.submit(self._store_record, running, message)
        running.stored.add_done_callback(lambda _: self._bell.ring())

    def _collect(self) -> None:
        """Tell of the nodes whose records are stored."""
        self._bell.quiet()
        stored = [(r.node, r.stored) for r in self._running.values() if r.stored is not None]
        for node, future in stored:
            if not future.done():
                continue
            record = future.result()
            if record is None:
                self._running[node.key] = _Running(node, retried=True)
                self._start(self._running[node.key])
                continue
            del self._running[node.key]
            self._schedule.finish(node.key, record.status)
            self._on_event(Event(kind="finished", node=node, record=record))

    def _store_record(self, running: _Running, message: dict[str, Any]) -> Record | None:
        """Store the record of a node that has ended, by its own words if it has left any.

        None where its files were removed meanwhile, the first time: it is to run once more.
        """
        node = running.node
        paths, kept = NodePaths(self._scratch, node.key), kept_folder(self._store.root, node.key)
        printed = tail(paths.log)
        cost = self._cost(running, message)
        said = read_answer(paths.given)
        if running.verdict and not running.answered:
            said = None  # it did not end within its limits, whatever it says
        removed = not running.verdict and _removed(message, said, paths.own, kept)
        if removed and not running.retried:
            record = None
        elif removed:
            record = self._store.commit(record_of(node, "crashed", removed, printed, **cost))
        elif said is not None:
            record = store_answer(self._store, node, said, paths.given, kept, printed, **cost)
        else:
            status, reason = running.verdict, running.reason
            if not status:
                status, reason = _cause(running, message, printed)
            record = self._store.commit(record_of(node, status, reason, printed, **cost))
        paths.clear()
        shutil.rmtree(kept, ignore_errors=True)
        return record

    def _cost(self, running: _Running, message: dict[str, Any]) -> dict[str, Any]:
        """What a node took and where, as its record keeps it."""
        device = self._engine.device if running.node.gpu > 0 else "cpu"
        return {
            "duration_s": running.ended - running.started,
            "cpu_s": message.get("cpu_s", 0.0),
            "peak_memory_mb": max(
                running.peak_mb, peak_mb(message.get("maxrss", 0), running.baseline)
            ),
            "started_at": running.started_at,
            "environment": {
                **self._engine.environment,
                "device": device,
                "isolation": self._isolation,
            },
        }

    # ------------------------------------------------------------ limits

    def _patience(self) -> float | None:
        """Seconds until something has to be looked at although nothing was reported."""
        now = time.monotonic()
        until = min(r.next_deadline for r in self._running.values())
        if any(r.stored is None for r in self._running.values()):
            until = min(until, max(self._next_look, now + 0.001))
        return None if until == float("inf") else max(0.0, until - now)

    def _enforce_limits(self) -> None:
        now = time.monotonic()
        for running in self._running.values():
            if now < running.next_deadline:
                continue
            if running.verdict:
                running.kill_at, running.killed_at = float("inf"), now
                family.kill_family(running.pid)
            else:
                limit = running.node.time_s
                self._stop(
                    running,
                    "timeout",
                    f"stopped at its time limit of {limit:g} s. Raise limits.time_s in the suite, or give it less.",
                )
        if now >= self._next_look:
            self._next_look = now + _LOOK_EVERY_S
            self._look_at_memory()
            self._server.wake()

    def _look_at_memory(self) -> None:
        for running in self._running.values():
            if not running.runs or running.verdict:
                continue
            limit = running.node.memory_mb * MIB
            used = family.memory(running.pid, running.baseline, self._server.pid, limit) / MIB
            running.peak_mb = max(running.peak_mb, used)
            if used > running.node.memory_mb:
                self._stop(
                    running,
                    "out of memory",
                    f"stopped when it used {used:.0f} MiB. {memory_advice(running.node)}",
                )

    def _stop(self, running: _Running, verdict: str, reason: str) -> None:
        running.verdict, running.reason = verdict, reason
        running.answered = read_answer(NodePaths(self._scratch, running.node.key).given) is not None
        running.kill_at = time.monotonic() + self._engine.grace_s
        _ask_to_end(running.pid)

    def _watch_server(self) -> None:
        """Give up a server that does not do what it was told to.

        Raises
        ------
        _ServerLost
        """
        now = time.monotonic()
        patience = _SILENCE_S if self._ready else _BEGINNING_S
        for running in self._running.values():
            if running.stored is not None:
                continue
            waits = now - (running.killed_at if running.pid else running.asked_at)
            if waits > (_SILENCE_S if running.pid else patience) and not self._server.speaks():
                raise self._server.give_up(waits)


def _ask_to_end(pid: int) -> None:
    """SIGTERM to a node's process and its group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGTERM)
    with suppress(ProcessLookupError, PermissionError):
        if os.getpgid(pid) != pid:  # it has left its group
            os.kill(pid, signal.SIGTERM)


def _removed(message: dict[str, Any], said: dict[str, Any] | None, own: Path, kept: Path) -> str:
    """Why a node that ended by itself cannot be stored, where its files were removed while it ran; else nothing."""
    if said is not None:
        gone = "what was set aside for it" if said["status"] == "ok" and not kept.is_dir() else ""
    else:
        gone = "its scratch folder" if message.get("code", -1) >= 0 and not own.is_dir() else ""
    return gone and (
        f"{gone} was removed while it ran, twice: by a plugin, or by what cleans temporary files here. "
        "Set TMPDIR to a folder that nothing cleans, and run again with --rerun failed."
    )


def _cause(running: _Running, message: dict[str, Any], printed: str) -> tuple[str, str]:
    """Status and reason of a node that nobody stopped and that yet left no record."""
    if message["event"] == "not started":
        return "crashed", message["reason"]
    code = message["code"]
    if code < 0:
        name = _signal_name(-code)
        if code == -signal.SIGKILL and _oom_kills() > running.oom_kills:
            return "out of memory", (
                "killed by the kernel, which ran out of memory. Run fewer nodes at a time (--jobs)."
            )
        how = f"killed by {name}"
    elif code == 0:
        how = "ended before it had finished"
    else:
        how = f"ended with exit status {code} before it had finished"
        if printed.strip():
            how += f": {printed.strip().splitlines()[-1]}"
    if _OUT_OF_MEMORY.search(printed):
        return "out of memory", f"{how} when memory ran out. {memory_advice(running.node)}"
    return "crashed", how


def _kill_and_wait(pid: int, patience_s: float = 5.0) -> None:
    """Kill a node that is not our child, and wait until it is gone."""
    family.kill_family(pid)
    until = time.monotonic() + patience_s
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.01)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _oom_kills() -> int:
    """How many processes the kernel has killed for want of memory so far (Linux)."""
    with (
        suppress(OSError, ValueError, StopIteration),
        open("/proc/vmstat", encoding="ascii") as file,
    ):
        return int(next(line.split()[1] for line in file if line.startswith("oom_kill ")))
    return 0


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Bell:
    """Wakes the event loop from another thread."""

    def __init__(self) -> None:
        end, self._rope = os.pipe()
        self.end = Connection(end, writable=False)
        os.set_blocking(end, False)
        os.set_blocking(self._rope, False)

    def ring(self) -> None:
        """From any thread."""
        with suppress(OSError):  # full, so it rings already; or the run is over
            os.write(self._rope, b"1")

    def quiet(self) -> None:
        """Before looking at what it rang for."""
        with suppress(OSError):
            while os.read(self.end.fileno(), 4096):
                pass

    def __del__(self) -> None:
        os.close(self._rope)


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """A folder for temporary files, its owner's alone, where nothing leads to the run; and none of killed runs."""
    base = Path(tempfile.gettempdir())
    for old in base.glob(f"{_SCRATCH}*"):
        with suppress(OSError):
            about = old.stat()
            if about.st_uid == os.getuid() and time.time() - about.st_mtime > _ABANDONED_S:
                shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=base))
    try:
        yield folder.resolve()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_SCRATCH = "leakboard-"
_ABANDONED_S = 7 * 86400.0  # the fork server removes it when the main process is killed: both were


@contextmanager
def _empty_folder(path: Path) -> Iterator[Path]:
    """A folder that is empty at first and gone at the end."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path.resolve()
    finally:
        shutil.rmtree(path, ignore_errors=True)


# ---------------------------------------------------------------- the server, seen from here


_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from benchmark.engines.forkserver import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)


class _ServerLost(Exception):
    """The fork server is gone, and with it the nodes that it had forked.

    ``silent`` is whether it was given up because it said nothing.
    """

    def __init__(self, what: str, *, silent: bool = False) -> None:
        super().__init__(what)
        self.silent = silent


class _ServerProcess:
    """The fork server's process and the two ways in which it, and what it forked, speak."""

    def __init__(self, settings: Mapping[str, Any], grace_s: float) -> None:
        self._settings = settings
        self._grace_s = grace_s
        self._log = Path(settings["scratch"]) / "server.log"
        self._mark = uuid.uuid4().hex
        self._unread = b""

    def __enter__(self) -> _ServerProcess:
        ours, theirs = socket.socketpair()
        progress, progress_end = os.pipe()
        os.set_blocking(progress_end, False)
        descriptors = (theirs.fileno(), progress_end)
        path = [os.path.abspath(p) for p in sys.path]
        self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, json.dumps(path), *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=descriptors,
                env={**_server_environment(), _MARK: self._mark},
                start_new_session=True,  # the terminal's Ctrl-C is for the main process alone
            )
        theirs.close()
        os.close(progress_end)
        self.pid = self._process.pid
        self._control = Connection(ours.detach())
        self._progress = Connection(progress, writable=False)
        self._sources: list[Any] = [self._control, self._progress]
        self.send(**self._settings)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it and all that it forked: politely, then not."""
        try:
            self.wake()
            with suppress(_ServerLost):
                self.send(do="stop", grace_s=self._grace_s)
            self._control.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(self._grace_s + 5)
        finally:
            self._process.kill()  # its children go with it
            if (
                self._process.wait() != 0
            ):  # but not what these had started, which it would have ended
                for one in family.marked(_MARK, self._mark):
                    with suppress(psutil.Error):
                        one.kill()
            self._progress.close()

    def wake(self) -> None:
        """Have it go on if somebody has stopped it."""
        if self._process.poll() is None and family.is_stopped(self.pid):
            self._process.send_signal(signal.SIGCONT)

    def speaks(self) -> bool:
        """Whether it has said something that was not listened to yet, or has ended."""
        return self._control.poll()

    def give_up(self, waited_s: float) -> _ServerLost:
        """End it; what to raise then."""
        self._process.kill()
        self._process.wait()
        what = f"the fork server did not answer for {waited_s:.0f} s and was ended"
        return _ServerLost(what, silent=True)

    def send(self, **message: Any) -> None:
        try:
            self._control.send_bytes(json.dumps(message).encode())
        except OSError:
            raise self._lost() from None

    def messages(self, timeout: float | None, bell: Connection) -> list[dict[str, Any]]:
        """What was reported, waiting until there is something, the bell rings, or ``timeout`` seconds are over."""
        ready = wait([*self._sources, bell], timeout)
        found: list[dict[str, Any]] = []
        if self._progress in ready:
            found += self._read_progress()
        if self._control in ready:
            try:
                found.append(json.loads(self._control.recv_bytes()))
            except (EOFError, OSError):
                raise self._lost() from None
        return found

    def _lost(self) -> _ServerLost:
        code = self._process.wait()
        how = f"killed by {_signal_name(-code)}" if code < 0 else f"exit status {code}"
        said = one_line(tail(self._log, 400))
        return _ServerLost(
            f"the fork server ended ({how})" + (f", having said: {said}" if said else "")
        )

    def _read_progress(self) -> list[dict[str, Any]]:
        data = os.read(self._progress.fileno(), 65536)
        if not data:
            self._sources.remove(self._progress)
        *lines, unread = (self._unread + data).split(b"\n")
        self._unread = unread[-_LONGEST_LINE:]
        return [report for line in lines if (report := _progress_report(line)) is not None]


_MARK = "LEAKBOARD_SERVER"
"""In the environment of the server and of all that descends from it, to be found by when it can end them no longer."""

_LONGEST_LINE = 4096  # of a pipe whose writes are whole up to here


def _progress_report(line: bytes) -> dict[str, Any] | None:
    """What a node says of its progress; None for a line that says something else: nodes run foreign code."""
    try:
        key, fraction, message = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return None
    known = isinstance(key, str) and isinstance(message, str) and isinstance(fraction, (int, float))
    if not known or not 0 <= fraction <= 1:
        return None
    return {
        "event": "progress",
        "key": key,
        "fraction": float(fraction),
        "message": one_line(message)[:200],
    }


def _server_environment() -> dict[str, str]:
    """This process's environment, with what keeps the server without threads and its nodes repeatable."""
    return {
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, "1"),
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        "PYTHONHASHSEED": "0",
    }
