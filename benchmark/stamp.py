"""Whether a run's figures and board are still those that its records come to: nothing is then computed or drawn again.

``stamp.json``, beside the tables, names by digests all that they were made of (records, plan, suite, coins, this code
and the libraries that it counts and draws with) and every file that was written. It holds the controls too, which stand
in no table. Where anything differs it counts for nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmark.coins import PRIVATE
from benchmark.judge.controls import Verdict
from benchmark.node import canonical_json
from benchmark.planfile import plan_text
from benchmark.runs import OpenRun, write_atomically
from benchmark.store import Record

__all__ = ["STAMP", "keep_stamp", "stamped_verdicts"]

STAMP = "stamp.json"

_LIBRARIES = ("numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "pillow", "jinja2")
_ROOT = Path(__file__).parents[1]
_CODE = ("benchmark", "leaderboards")
"""The packages that count and draw. Plugins take no part in it: what is said of them stands in the plan."""


def keep_stamp(run: OpenRun, records: Mapping[str, Record], verdicts: list[Verdict]) -> None:
    """Say what the tables and the board, which have just been written, were made of."""
    files = {str(p.relative_to(run.root)): _digest(p) for p in sorted(_written(run.root))}
    content = {
        "of": _origin(run, records),
        "files": files,
        "controls": [asdict(v) for v in verdicts],
    }
    write_atomically(run.root / STAMP, json.dumps(content, indent=1, default=_plain))


def stamped_verdicts(run: OpenRun, records: Mapping[str, Record]) -> list[Verdict] | None:
    """The controls of figures and a board that are up to date, which then also look it; None where they are not."""
    try:
        content = json.loads((run.root / STAMP).read_text(encoding="utf-8"))
        if content["of"] != _origin(run, records):
            return None
        if any(_digest(run.root / name) != said for name, said in content["files"].items()):
            return None
        verdicts = [Verdict(**row) for row in content["controls"]]
        for name in content["files"]:
            os.utime(run.root / name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return verdicts


def _written(root: Path) -> Iterator[Path]:
    for folder in (root, root / PRIVATE):
        yield from folder.glob("[!.]*.parquet")
    yield from (path for path in (root / "site").rglob("*") if path.is_file())


def _origin(run: OpenRun, records: Mapping[str, Record]) -> str:
    """Digest of all that figures and board follow from."""
    parts = [
        *(records[key].model_dump_json() for key in sorted(records)),
        plan_text(run.plan),
        run.suite.text(),
        canonical_json({k: list(v) for k, v in run.only.items()}),
        canonical_json(asdict(run.coins)),
        f"{run.root.name} {Path(sys.executable).name}",  # in the command that the board names
        _code(),
    ]
    whole = hashlib.sha256()
    for part in parts:
        whole.update(f"{len(part)}\n{part}".encode("utf-8", "replace"))
    return whole.hexdigest()


@lru_cache(maxsize=1)
def _code() -> str:
    """Digest of the code that counts and draws, with the versions of what it does that with."""
    files = (p for name in _CODE for p in (_ROOT / name).rglob("*") if p.is_file())
    kept = sorted(p for p in files if "__pycache__" not in p.parts)
    said = [f"{p.relative_to(_ROOT)} {_digest(p)}" for p in kept]
    said += [f"{name} {_version(name)}" for name in _LIBRARIES]
    return hashlib.sha256("\n".join([platform.python_version(), *said]).encode()).hexdigest()


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _plain(value: Any) -> Any:
    """NumPy's scalars as numbers."""
    return value.item()
