"""What a figure's last bits may depend on: versions, the processor, the device of each node.

Seeds are the same everywhere, but a processor with wider vectors adds up in another order, and a long training can then
come out differently. So every record keeps where it was made, and the board says it.
"""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.store import Record

__all__ = ["environment", "environments"]

PACKAGES = ("leakboard", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "timm", "opacus")


@lru_cache(maxsize=1)
def environment() -> dict[str, str]:
    """Versions that results may depend on, and the machine in words."""
    found = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    found["cores"] = str(os.cpu_count())
    found["processor"] = _processor()
    gpus = _gpus(Path("/proc/driver/nvidia/gpus"))
    return {**found, "gpu": gpus} if gpus else found


def environments(records: Iterable[Record]) -> dict[str, str]:
    """What the nodes of a run say of where they were made, in words.

    Where they differ, every value with the number of its nodes, the most frequent first. Nodes that say nothing of a
    fact, as those of an earlier version may, count as ``not recorded`` where others do.
    """
    known = [r.environment for r in records if r.environment]
    names = dict.fromkeys(name for facts in known for name in facts)
    return {name: _told([facts.get(name, "not recorded") for facts in known]) for name in names}


def _told(values: Iterable[Any]) -> str:
    counts = Counter(map(str, values)).most_common()
    if len(counts) == 1:
        return counts[0][0]
    return "; ".join(f"{value} ({n:,} node{'' if n == 1 else 's'})" for value, n in counts)


def _processor() -> str:
    """Model of the processor, and the widest vector instructions that NumPy finds it to have."""
    name = _model(Path("/proc/cpuinfo")) or platform.processor() or platform.machine()
    config: Any = np.show_config(mode="dicts")
    extensions = config.get("SIMD Extensions", {})
    vectors = [*extensions.get("baseline", ()), *extensions.get("found", ())]
    return f"{name}, {vectors[-1]}" if vectors else name


def _model(cpuinfo: Path) -> str:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return _value_of("model name", lines)


def _gpus(folder: Path) -> str:
    """Models of the NVIDIA GPUs that the driver lists in ``folder``, each once."""
    found = []
    for file in sorted(folder.glob("*/information")):
        try:
            found.append(_value_of("model", file.read_text(errors="replace").splitlines()))
        except OSError:
            continue
    return ", ".join(dict.fromkeys(name for name in found if name))


def _value_of(name: str, lines: Iterable[str]) -> str:
    """The value of the first line ``name: value``, whatever its case."""
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return ""
