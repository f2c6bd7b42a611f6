"""Shutting a node's process in before it runs code of plugins (Linux ≥ 5.13, by Landlock; elsewhere not at all).

A shut-in process can neither read nor write the run's folder, by whatever path, and no other process's memory or open
files. It reads the rest of the file system, and writes to its own scratch folder alone: what a method knows of its
members cannot be left somewhere for an attack to find. Nodes that load data may write elsewhere too, since they fill
caches and know no coins. Names and sizes of files stay visible, as Landlock rules on content alone.

Landlock only ever allows. So what is hidden is left out of what is allowed: beside each step of the way to a hidden
place, everything is allowed that leads to none. References: landlock(7); the kernel's documentation of userspace APIs.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

__all__ = ["Fence", "isolation"]

_LIBC = ctypes.CDLL(None, use_errno=True)
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_PR_SET_NO_NEW_PRIVS = 38
_VERSION_FLAG, _PATH_BENEATH = 1, 1

_EXECUTE, _WRITE_FILE, _READ_FILE = 1 << 0, 1 << 1, 1 << 2
_TRUNCATE = 1 << 14
_MAKE_AND_REMOVE = sum(1 << bit for bit in range(4, 13))
_MAKE_DEVICES = 1 << 6 | 1 << 11
_REFER = 1 << 13
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_SIGNALS_AND_ABSTRACT_SOCKETS = 3

_NOT_EVEN_ROOT = (16, 17, 18, 19, 21, 27, 38, 39, 40)
"""Capabilities that would see past the fence: modules, raw devices, chroot, ptrace, administration, mknod, perfmon,
BPF and checkpoints, by their numbers in capability.h."""


def isolation() -> str:
    """How processes are shut in here, in words: ``Landlock 7``, or ``none`` and why."""
    if sys.platform != "linux":
        return f"none: Landlock is Linux's, and this is {sys.platform}"
    version = _LIBC.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    if version < 1:
        why = os.strerror(ctypes.get_errno())
        return f"none: this kernel has no Landlock, or does not let it be used ({why})"
    return f"Landlock {version}"


class Fence:
    """What shut-in processes may reach; made once, in a process that has run no plugin, for all that it forks.

    Parameters
    ----------
    hidden : iterable of Path
        Folders and files that no shut-in process may reach. Files that are made beside the way to one of them later on
        cannot be reached either.
    """

    def __init__(self, hidden: Iterable[Path]) -> None:
        self.isolation = isolation()
        self._allowed: list[tuple[int, bool, bool]] = []
        if not self.isolation.startswith("none"):
            for path, is_folder in _beside({p.resolve() for p in hidden}):
                with suppress(OSError):  # gone, or not ours to open: nobody misses it
                    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
                    device = path == "/dev" or path.startswith("/dev/") or path == "/proc"
                    self._allowed.append((descriptor, is_folder, device))

    def shut_in(self, scratch: Path, *, may_write: bool) -> None:
        """Shut this process, and all that it starts, in for good; nothing happens where there is no Landlock.

        Parameters
        ----------
        scratch : Path
            The folder that it may read and write in any case.
        may_write : bool
            Whether it may also write where nothing is hidden.

        Raises
        ------
        OSError
            When the kernel refuses; the process is then not shut in.
        """
        if self.isolation.startswith("none"):
            return
        version = int(self.isolation.split()[-1])
        writing = _WRITE_FILE | _MAKE_AND_REMOVE | (_REFER if version >= 2 else 0)
        writing |= _TRUNCATE if version >= 3 else 0
        everything = _EXECUTE | _READ_FILE | writing
        scoped = _SIGNALS_AND_ABSTRACT_SOCKETS if version >= 6 else 0
        attributes = struct.pack("=QQQ", everything, 0, scoped)[: 24 if version >= 6 else 8]
        ruleset = _checked(
            _LIBC.syscall(
                _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0)
            )
        )
        for descriptor, is_folder, device in self._allowed:
            rights = everything & ~_MAKE_DEVICES if may_write or device else _EXECUTE | _READ_FILE
            _allow(ruleset, descriptor, rights if is_folder else rights & _OF_FILES)
        own = os.open(scratch, os.O_PATH)
        _allow(ruleset, own, everything & ~_MAKE_DEVICES)
        _drop_capabilities()
        _checked(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(_LIBC.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint(0)))
        for descriptor in (ruleset, own, *(d for d, _, _ in self._allowed)):
            os.close(descriptor)
        self._allowed.clear()


def _beside(hidden: set[Path]) -> list[tuple[str, bool]]:
    """The largest folders, and files, that lead to nothing hidden; each with whether it is a folder."""
    ways = {str(p) for way in hidden for p in way.parents}
    blocked = {str(p) for p in hidden} | {"/dev/shm", "/dev/mem", "/dev/kmem", "/dev/port"}
    ways |= {"/dev"}
    found = []
    folders = ["/"]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            if entry.path in blocked or entry.is_symlink():  # what a link leads to is judged there
                continue
            if folder == "/dev" and stat.S_ISBLK(entry.stat().st_mode):  # the disk has all files
                continue
            if entry.path in ways:
                folders.append(entry.path)
            else:
                found.append((entry.path, entry.is_dir(follow_symlinks=False)))
    return found


def _drop_capabilities() -> None:
    """Give up, for good, what would let root see past the fence; others have none of it."""
    header = struct.pack("=Ii", 0x20080522, 0)
    data = ctypes.create_string_buffer(24)
    _checked(_LIBC.capget(header, data))
    words = list(
        struct.unpack("=6I", data.raw)
    )  # effective, permitted, inheritable; then their upper halves
    for number in _NOT_EVEN_ROOT:
        half, bit = divmod(number, 32)
        for i in range(3):
            words[3 * half + i] &= ~(1 << bit)
    _checked(_LIBC.capset(header, struct.pack("=6I", *words)))


def _allow(ruleset: int, descriptor: int, rights: int) -> None:
    rule = struct.pack("=Qi", rights, descriptor)
    _checked(_LIBC.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, ctypes.c_uint(0)))


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"Landlock: {os.strerror(error)}")
    return result
