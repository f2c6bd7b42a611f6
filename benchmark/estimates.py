"""How long a run will take, told from what earlier nodes took.

A node is expected to take what the same work took on other seeds; where there is no such record, what the same plugins
took with other parameters or on other datasets. Each is the median of the records that ended well. A node whose
plugins have no record is counted apart: nothing is guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmark.node import Node

__all__ = ["Cost", "Estimate", "earlier_costs", "estimate"]

RUNS_BESIDE = 8
"""How many other runs beside a folder are looked at, the latest first."""

_SEED = re.compile(r", seed \d+")


@dataclass(frozen=True)
class Cost:
    """What one earlier node took: wall-clock and processor time in seconds, by the work and by its plugins."""

    work: str
    plugins: str
    duration_s: float
    cpu_s: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Expected cost of some nodes.

    Parameters
    ----------
    nodes, unknown : int
        Nodes asked about, and those among them without an earlier record.
    work_s, cpu_s : float
        Sums over the others, in seconds: of wall-clock time one after another, and of processor time.
    longest_s : float
        Wall-clock time of the longest chain of nodes that wait for one another.
    """

    nodes: int
    unknown: int
    work_s: float
    cpu_s: float
    longest_s: float

    def wall_s(self, jobs: int) -> float:
        """Expected wall-clock seconds with ``jobs`` nodes at a time: no less than the longest chain."""
        return max(self.work_s / jobs, self.longest_s)


def earlier_costs(root: Path) -> list[Cost]:
    """What nodes took in the run in ``root``; where it has none, in other runs in the folder that holds it."""
    own = list(_costs(root))
    if own or not root.parent.is_dir():
        return own
    beside = [p for p in root.parent.iterdir() if p != root and (p / "run.json").is_file()]
    latest = sorted(beside, key=lambda p: (p / "run.json").stat().st_mtime, reverse=True)
    return [cost for run in latest[:RUNS_BESIDE] for cost in _costs(run)]


def estimate(nodes: Sequence[Node], costs: Iterable[Cost]) -> Estimate:
    """Expected cost of ``nodes``, which come in an order in which each follows those that it needs."""
    known = _medians(costs)
    unknown, work, cpu = 0, 0.0, 0.0
    ends: dict[str, float] = {}
    for node in nodes:
        cost = known.get(_work(node.label)) or known.get(_plugins(node.kind, node.spec))
        unknown += cost is None
        duration, busy = cost or (0.0, 0.0)
        work, cpu = work + duration, cpu + busy
        ends[node.key] = duration + max((ends.get(need, 0.0) for need in node.needs), default=0.0)
    return Estimate(
        nodes=len(nodes),
        unknown=unknown,
        work_s=work,
        cpu_s=cpu,
        longest_s=max(ends.values(), default=0.0),
    )


def _medians(costs: Iterable[Cost]) -> dict[str, tuple[float, float]]:
    """Median wall-clock and processor time by the work, and by the plugins."""
    found: dict[str, list[Cost]] = {}
    for cost in costs:
        for name in (cost.work, cost.plugins):
            found.setdefault(name, []).append(cost)
    return {
        name: (median(c.duration_s for c in group), median(c.cpu_s for c in group))
        for name, group in found.items()
    }


def _work(label: str) -> str:
    """A node's label without its seed. Labels name kind, plugins, the parameters of the suite, and dataset."""
    return f"work: {_SEED.sub('', label)}"


def _plugins(kind: str, spec: Mapping[str, Any]) -> str:
    """The node's kind and the names of its plugins by role, without the dataset."""
    named = {role: v["name"] for role, v in spec.items() if isinstance(v, Mapping) and "name" in v}
    return f"plugins: {kind} {sorted(named.items())}"


def _costs(root: Path) -> Iterator[Cost]:
    """The records of a run that ended well, read without judging them: another run's folder is left as it is."""
    for path in sorted((root / "records").glob("*.json")):
        try:
            record = json.loads(path.read_bytes())
            if record["status"] == "ok":
                yield Cost(
                    work=_work(record["label"]),
                    plugins=_plugins(record["kind"], record["spec"]),
                    duration_s=float(record["duration_s"]),
                    cpu_s=float(record["cpu_s"]),
                )
        except (OSError, ValueError, KeyError, TypeError):
            continue
