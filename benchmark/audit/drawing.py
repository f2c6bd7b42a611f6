"""Draws of a generator that can be called, made by its own code in a process of its own.

The code is a function ``draw(n, seed)`` of somebody's module. It answers with ``n`` records, as an ``.npz`` of them
would hold: an array of images ``(n, H, W[, C]) uint8`` or of features ``(n, D)``, or a mapping of such an array under
``images`` or ``features`` with ``labels (n,)`` and whatever else. It is called again, with another seed, until there
are enough. Nothing that is audited is given to it, and where the system can shut processes in, it cannot read it
either. What it has drawn is a file that is read as any other release is: not trusted.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmark.audit.seal import AuditError

__all__ = ["FEWEST_DRAWS", "SamplerFailed", "draw", "parsed"]

FEWEST_DRAWS = 1000
"""Fewer draws than these show no more than the release."""

AT_ONCE = 1000
TIME_S, MEMORY_MB = 3600.0, 16384

NOT_TO_BE_HAD = 4
"""Exit status of the process that finds no such function."""


class SamplerFailed(Exception):
    """Why a sampler gave no draws, in words without any name of a file."""


def parsed(sampler: str) -> tuple[str, str]:
    """The module and the function of ``module:function``.

    Raises
    ------
    AuditError
        For any other text.
    """
    found = re.fullmatch(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)", sampler)
    if found is None:
        raise AuditError(
            f"a sampler is given as module:function, such as my_generator:draw. Got {sampler!r}."
        )
    return found[1], found[2]


def draw(
    sampler: str,
    target: Path,
    *,
    n: int,
    seed: int,
    max_gb: float,
    hidden: Iterable[Path] = (),
    time_s: float = TIME_S,
    memory_mb: int = MEMORY_MB,
) -> None:
    """Write ``n`` draws to ``target``, an ``.npz``; what the code prints goes beside it, to ``<target>.log``.

    Parameters
    ----------
    sampler : str
        ``module:function``, importable from here or installed.
    n, seed : int
    max_gb : float
        The draws may take so much memory.
    hidden : iterable of Path
        What the process may not reach.
    time_s, memory_mb
        Its limits.

    Raises
    ------
    AuditError
        When there is no such function.
    SamplerFailed
        When it gives no draws.
    """
    module, function = parsed(sampler)
    with TemporaryDirectory(prefix="draws-") as folder:
        scratch = Path(folder)
        asked = {
            "path": [*sys.path, os.getcwd()],
            "module": module,
            "function": function,
            "n": n,
            "at_once": AT_ONCE,
            "seed": seed,
            "max_bytes": int(max_gb * 1e9),
            "memory_mb": memory_mb,
            "scratch": folder,
            "hidden": [str(path.absolute()) for path in hidden],
        }
        log = target.with_name(f"{target.name}.log")
        with open(log, "wb", opener=_own) as said:
            process = subprocess.Popen(
                [sys.executable, "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            try:
                process.communicate(json.dumps(asked).encode(), timeout=time_s)
            except subprocess.TimeoutExpired:
                raise SamplerFailed(f"it took longer than {time_s:g} s") from None
            finally:
                with suppress(ProcessLookupError):  # with all that it has started
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        _raise_failure(sampler, process.returncode, scratch / "failure.json")
        os.replace(_regular(scratch / "draws.npz"), target)
        target.chmod(0o600)


_CHILD = (
    "import json, sys; asked = json.load(sys.stdin); sys.path[:] = asked['path']; "
    "from benchmark.audit.drawing_process import main; main(asked)"
)


def _own(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _raise_failure(sampler: str, status: int, failure: Path) -> None:
    if status == 0:
        return
    said = ""
    with suppress(OSError, ValueError, TypeError, KeyError):
        said = str(json.loads(_regular(failure).read_bytes()[:2000])["said"])
    if status == NOT_TO_BE_HAD:
        raise AuditError(
            f"the sampler {sampler} cannot be had: {said}. Run where it can be imported."
        )
    raise SamplerFailed(said or f"its process ended with status {status}")


def _regular(path: Path) -> Path:
    """The path, if it is a file and no link to one: what a process leaves may be anything."""
    if path.is_symlink() or not path.is_file():
        raise SamplerFailed("its process left no draws")
    return path
