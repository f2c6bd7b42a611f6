"""The process that nodes are forked from.

It imports the heavy modules once and then only forks, waits and tells. It starts no thread, so that forking it is safe;
it runs no plugin, so that it does not crash; what a node leaves behind becomes its child and is killed; and when the
main process goes away it kills what it has forked and ends.

The standard library's fork server would do, but for this: it imports the caller's ``__main__`` again in every child
(here the whole command line), ignores modules that it could not preload, is one per process for good, and does not tell
what a killed child has used.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import re
import shutil
import signal
import sys
import time
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmark.engines import child, family
from benchmark.engines.confine import Fence
from benchmark.engines.worker import Prepare
from benchmark.node import Node

__all__ = ["main"]


def main(control_fd: int, progress_fd: int) -> None:
    """Serve the process at the other end of ``control_fd`` until it says stop or goes away."""
    control = Connection(control_fd)
    settings = json.loads(control.recv_bytes())
    try:
        prepare = _preload(settings["preload"], settings["prepare"])
        fence = Fence(Path(p) for p in settings["hidden"])
        if settings["nodes"] >= _MANY:
            _join_pages()
    except BaseException:
        control.send_bytes(json.dumps({"event": "fatal", "text": traceback.format_exc()}).encode())
        return
    code = 0
    prepared = _Server(control, progress_fd, settings, prepare, fence.isolation).serve()
    if prepared is not None:  # this is a forked process that has loaded its node's inputs
        settings.clear()
        del control, settings, prepare
        code = _run_and_say(prepared, fence)
    else:  # the main process may be gone
        shutil.rmtree(settings["scratch"], ignore_errors=True)
    os._exit(code)  # taking down all that was imported would take longer than some runs


def _run_and_say(prepared: child.Prepared, fence: Fence) -> int:
    """Run a node's second half; the exit status. What goes wrong outside the node's own code is printed."""
    code = 1
    try:
        child.run_shut_in(prepared, fence)
        code = 0
    except BaseException:
        traceback.print_exc()
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def _preload(modules: list[str], target: str) -> Prepare:
    """Import what nodes will need; what is not installed is left to the nodes that miss it.

    A ``warm()`` beside the target is called once, for what every node would otherwise find out by itself.
    """
    name, _, function = target.partition(":")
    room = importlib.import_module(name)
    prepare = getattr(room, function)
    getattr(room, "warm", lambda: None)()
    for module in (*_OWN_MODULES, *modules):
        with suppress(Exception):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # the collector would write to, and so copy, every page that children share
    return prepare


def _join_pages() -> None:
    """Ask for huge pages where this process has many small ones (Linux ≥ 6.1; elsewhere nothing happens).

    Fork copies a table entry for every page: some 120,000 once torch is imported. Joining them takes about half a
    second, once, and halves what a fork costs.
    """
    with suppress(OSError, AttributeError), open("/proc/self/maps", encoding="utf-8") as file:
        madvise = family.LIBC.madvise
        madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        for span in re.findall(
            r"^(\w+)-(\w+) rw-p 00000000 00:00 0 *(?:\[heap\])?$", file.read(), re.M
        ):
            start, end = (int(address, 16) for address in span)
            start, end = -(-start // _HUGE) * _HUGE, end // _HUGE * _HUGE
            if start < end:
                madvise(start, end - start, _MADV_COLLAPSE)


_MANY = 50  # forks from which on joining pages has paid for itself
_HUGE = 2**21
_MADV_COLLAPSE = 25
_OWN_MODULES = ("numpy.random", "safetensors.numpy")  # what storing a node takes


class _Server:
    def __init__(
        self,
        control: Connection,
        progress_fd: int,
        settings: child.Settings,
        prepare: Prepare,
        isolation: str,
    ) -> None:
        self._control = control
        self._progress_fd = progress_fd
        self._settings = settings
        self._prepare = prepare
        self._isolation = isolation
        self._limit_threads = _thread_limiter()
        self._children: dict[int, str] = {}
        self._baseline = 0
        self._wakeup, self._alarm = os.pipe()

    def serve(self) -> child.Prepared | None:
        """Obey until told to stop. In a forked process, what it has prepared."""
        for descriptor in (self._wakeup, self._alarm):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._alarm, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        family.adopt_orphans()
        self._tell(event="ready", threads=_thread_names(), isolation=self._isolation)
        while True:
            ready = wait([self._control, self._wakeup])
            if self._wakeup in ready:
                self._reap()
            if self._control in ready:
                order = self._receive()
                if order["do"] == "start":
                    node = Node(**{**order["node"], "needs": tuple(order["node"]["needs"])})
                    if (prepared := self._fork(node)) is not None:
                        return prepared
                else:
                    self._end(order["grace_s"])
                    return None

    def _receive(self) -> dict[str, Any]:
        try:
            return json.loads(self._control.recv_bytes())
        except (EOFError, OSError):  # the main process is gone
            return {"do": "stop", "grace_s": 0.0}

    def _tell(self, **message: Any) -> None:
        with suppress(OSError):  # gone: the next read says so
            self._control.send_bytes(json.dumps(message).encode())

    def _fork(self, node: Node) -> child.Prepared | None:
        """Fork a process for ``node``. In that process: what it has prepared; in this one: nothing."""
        self._baseline = family.private_memory()
        server = os.getpid()
        gate, opener = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(gate)
            os.close(opener)
            self._tell(event="not started", key=node.key, reason=f"cannot fork: {error}")
            return None
        if pid == 0:
            os.close(opener)
            return self._be_child(node, server, gate)
        os.close(gate)
        with suppress(OSError):  # both sides do it, so that neither can be too late
            os.setpgid(pid, pid)
        self._children[pid] = node.key
        self._tell(event="started", key=node.key, pid=pid, baseline=self._baseline)
        with suppress(OSError):  # killed already
            os.write(opener, b"1")
        os.close(opener)
        return None

    def _be_child(self, node: Node, server: int, gate: int) -> child.Prepared:
        """Prepare ``node``; ends the process unless something is left to run."""
        code = 1
        try:
            # Not before the main process can know of it: what ends the server meanwhile would else be a loss without a
            # culprit, which ends the run.
            if not os.read(gate, 1):
                os._exit(code)
            os.close(gate)
            os.setpgid(0, 0)  # out of reach of the terminal's Ctrl-C; killed as a group
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            self._control.close()
            for descriptor in (self._wakeup, self._alarm):
                os.close(descriptor)
            prepared = child.prepare_node(
                node,
                self._settings,
                self._prepare,
                parent=server,
                progress_fd=self._progress_fd,
                limit_threads=self._limit_threads,
            )
            if prepared is not None:
                return prepared
            code = 0
        except BaseException:
            traceback.print_exc()
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)

    def _reap(self) -> None:
        """Tell of every child that has ended, and end what it has left behind."""
        with suppress(BlockingIOError):
            os.read(self._wakeup, 4096)
        for pid in list(self._children):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            _signal_group(pid, signal.SIGKILL)  # before the id is free for others
            family.kill_all(set(self._children))
            _, status, usage = os.wait4(pid, 0)
            self._tell(
                event="ended",
                key=self._children.pop(pid),
                code=os.waitstatus_to_exitcode(status),
                cpu_s=usage.ru_utime + usage.ru_stime,
                maxrss=usage.ru_maxrss,
            )

    def _end(self, grace_s: float) -> None:
        """End all children, politely for ``grace_s`` seconds."""
        until = time.monotonic() + grace_s
        for pid in self._children:
            _signal_group(pid, signal.SIGTERM)
        while self._children and (left := until - time.monotonic()) > 0:
            wait([self._wakeup], left)
            self._reap()
        for pid in self._children:
            family.kill_family(pid)
        while self._children:
            wait([self._wakeup], 1.0)
            self._reap()


def _signal_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _thread_names() -> list[str]:
    """Names of this process's threads but the first (Linux)."""
    try:
        tasks = [t for t in os.listdir("/proc/self/task") if int(t) != os.getpid()]
    except OSError:
        return []
    names = []
    for task in tasks:
        with suppress(OSError), open(f"/proc/self/task/{task}/comm", encoding="utf-8") as file:
            names.append(file.read().strip())
    return names


def _thread_limiter() -> Any:
    """A function that sets the number of threads; the search for libraries is done here, once."""
    from threadpoolctl import ThreadpoolController

    controller = ThreadpoolController()

    def limit(threads: int) -> None:
        for name in THREAD_VARIABLES:  # for libraries loaded later, and for child processes
            os.environ[name] = str(threads)
        controller.limit(limits=threads)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)

    return limit


THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
