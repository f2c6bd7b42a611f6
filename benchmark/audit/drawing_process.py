"""The process that runs a sampler (:mod:`benchmark.audit.drawing`): it is shut in before it runs foreign code."""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.engines.confine import Fence

__all__ = ["main"]

_RECORDS = ("images", "features")


def main(asked: Mapping[str, Any]) -> None:
    """Draw, and leave ``draws.npz``, or ``failure.json`` and a status that is not 0."""
    scratch = Path(asked["scratch"])
    os.environ.update(HOME=str(scratch), TMPDIR=str(scratch))
    with suppress(ValueError, OSError):
        size = asked["memory_mb"] * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    Fence([Path(p) for p in asked["hidden"]]).shut_in(scratch, may_write=False)
    try:
        function = _function(asked["module"], asked["function"])
    except BaseException as error:  # whatever foreign code raises, sys.exit too
        _fail(scratch, _brief(error), status=4)
    try:
        _save(scratch / "draws.npz", _drawn(function, asked))
    except MemoryError:
        _fail(scratch, f"it took more than {asked['memory_mb']} MB of memory")
    except BaseException as error:
        _fail(scratch, _brief(error))
    os._exit(0)  # whatever foreign code registered to run at exit


def _function(module: str, name: str) -> Callable[[int, int], Any]:
    found = getattr(importlib.import_module(module), name)
    if not callable(found):
        raise TypeError(f"{name} is a {type(found).__name__} and cannot be called")
    return found


def _drawn(function: Callable[[int, int], Any], asked: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """All draws, in the arrays of the first answer."""
    parts: dict[str, list[np.ndarray]] = {}
    left, calls = asked["n"], 0
    while left > 0:
        n = min(left, asked["at_once"])
        arrays = _arrays(function(n, asked["seed"] + calls), n)
        if not parts:
            whole = sum(a.nbytes for a in arrays.values()) / n * asked["n"]
            if whole > asked["max_bytes"]:
                raise ValueError(
                    f"{asked['n']:,} draws take {whole / 1e9:.1f} GB, more than --max-gb"
                )
            parts = {name: [] for name in arrays}
        first = {name: given[0] for name, given in parts.items() if given}
        for name, array in arrays.items():
            if name not in parts or (name in first and array.shape[1:] != first[name].shape[1:]):
                raise ValueError(f"its calls give different arrays: {name} of shape {array.shape}")
            parts[name].append(array)
        left, calls = left - n, calls + 1
    if len({len(given) for given in parts.values()}) > 1:
        raise ValueError(f"its calls give different arrays: not every one gives {', '.join(parts)}")
    return {name: np.concatenate(given) for name, given in parts.items()}


def _arrays(answer: Any, n: int) -> dict[str, np.ndarray]:
    """What a call answered, as named arrays of ``n`` records."""
    if not isinstance(answer, Mapping):
        data = np.asarray(answer)
        answer = {"features" if data.ndim == 2 else "images": data}
    arrays = {str(name): np.asarray(value) for name, value in answer.items()}
    if not any(name in arrays for name in _RECORDS):
        raise ValueError(
            f"it must give {' or '.join(_RECORDS)}. Got {', '.join(arrays) or 'nothing'}"
        )
    arrays.pop("classes", None)  # they are those of the release
    for name, array in arrays.items():
        if array.dtype == object or array.ndim == 0 or len(array) != n:
            raise ValueError(
                f"{name} must be an array of {n} numbers or texts, one for each draw. "
                f"Got {array.dtype} of shape {array.shape}"
            )
    return arrays


def _save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _fail(scratch: Path, said: str, status: int = 1) -> None:
    (scratch / "failure.json").write_text(json.dumps({"said": said}), encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
