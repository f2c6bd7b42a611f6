"""A plan as a file: made where plugins are, in a process of its own, and read where none is.

What a board says of plugins (labels, parameters, versions, citations, licences, the figures of positive controls) is in
the file. Who executes, judges and renders a run reads it from there, and imports no plugin: nothing that a plugin does
when it is imported can reach the engine or the referee.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from benchmark.coins import UNSET
from benchmark.contracts import Access, LeakboardError, PositiveControl
from benchmark.node import Node
from benchmark.plan import Cell, Plan, make_plan, shadows_of
from benchmark.registry import Registry, default_registry
from benchmark.resolve import Publication, Resolved, ResolvedDataset, ResolvedPlugin, resolve
from benchmark.suite import GameRules, Limits, Suite, SuiteError

__all__ = ["Described", "plan_apart", "plan_from_text", "plan_suite", "plan_text"]

_FORMAT = 1


def plan_suite(
    suite: Suite,
    only: Mapping[str, Sequence[str]] | None = None,
    registry: Registry | None = None,
    commitment: str = UNSET,
) -> Plan:
    """The plan of a suite, with the plugins that are installed here; of no run, unless a commitment is given.

    Imports the plugins into this process.
    """
    return make_plan(resolve(suite, registry or default_registry(), only), commitment)


def plan_apart(
    suite: Suite, only: Mapping[str, Sequence[str]] | None = None, commitment: str = UNSET
) -> Plan:
    """The same, made in a process of its own and read from a file: no plugin is imported here.

    Raises
    ------
    SuiteError
        As :func:`plan_suite`; also when that process ends without an answer.
    """
    path = [os.path.abspath(p) for p in sys.path]
    with TemporaryDirectory(prefix="leakboard-plan-") as folder:
        asked, answer = Path(folder, "asked.json"), Path(folder, "plan.json")
        said = {"suite": suite.model_dump(mode="json", exclude_defaults=True), "only": only or {}}
        asked.write_text(json.dumps({**said, "commitment": commitment}), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", _START, json.dumps(path), str(asked), str(answer)],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno() if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
        )
        if done.returncode or not answer.exists():
            raise SuiteError(
                f"suite {suite.name}: planning it ended with status {done.returncode} and no plan; "
                "what it printed stands above. `python -m benchmark list` says which plugins can be imported."
            )
        content = json.loads(answer.read_text(encoding="utf-8"))
    if "refused" in content:
        raise SuiteError(content["refused"])
    return _plan_of(content)


_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from benchmark.planfile import _answer; _answer(sys.argv[2], sys.argv[3])"
)


def _has_descriptor(stream: Any) -> bool:
    try:
        return isinstance(stream.fileno(), int)
    except (AttributeError, OSError, ValueError):
        return False


def _answer(asked: str, answer: str) -> None:
    """Plan what ``asked`` says, into ``answer``."""
    said = json.loads(Path(asked).read_text(encoding="utf-8"))
    try:
        plan = plan_suite(Suite(**said["suite"]), said["only"], commitment=said["commitment"])
        text = plan_text(plan)
    except LeakboardError as error:
        text = json.dumps({"refused": str(error)})
    except (OSError, RecursionError) as error:
        text = json.dumps({"refused": f"{type(error).__name__}: {error}"})
    Path(answer).write_text(text, encoding="utf-8")


# ---------------------------------------------------------------- what is kept of a plugin


@dataclass(frozen=True)
class Described:
    """What a plan's file keeps of a plugin, under the names that the plugin itself has."""

    info: Any
    controls: tuple[PositiveControl, ...] = ()
    public: bool = False
    kind: str = ""
    licence: str = ""
    shadows: int = 0

    def positive_controls(self) -> tuple[PositiveControl, ...]:
        """As declared. A closed form is not kept: the attack's own node has worked it out."""
        return self.controls


def _describe(plugin: Any) -> dict[str, Any] | None:
    if plugin is None:
        return None
    controls = plugin.positive_controls() if hasattr(plugin, "positive_controls") else ()
    return {
        "info": {name: _say(value) for name, value in vars(plugin.info).items()},
        "controls": [
            {**{f.name: getattr(c, f.name) for f in fields(c)}, "expected": c.expected is not None}
            for c in controls
        ],
        "public": bool(getattr(plugin, "public", False)),
        "kind": str(getattr(plugin, "kind", "")),
        "licence": str(getattr(plugin, "licence", "")),
        "shadows": shadows_of(plugin),
    }


def _say(value: Any) -> Any:
    """A fact of an info as JSON; None for what no board says."""
    if isinstance(value, Access):
        return {"access": int(value)}
    if isinstance(value, frozenset):
        return {"set": sorted(value)}
    return value if isinstance(value, (str, int, float, bool)) else None


def _hear(value: Any) -> Any:
    if isinstance(value, dict):
        return Access(value["access"]) if "access" in value else frozenset(value["set"])
    return value


def _described(said: Mapping[str, Any] | None) -> Described | None:
    if said is None:
        return None
    controls = [
        PositiveControl(**{**c, "expected": _not_here if c["expected"] else None})
        for c in said["controls"]
    ]
    info = SimpleNamespace(**{k: _hear(v) for k, v in said["info"].items()})
    return Described(**{**said, "info": info, "controls": tuple(controls)})


def _not_here(dimension: int, n_members: int) -> float:
    raise LeakboardError(
        "a closed form is worked out where its attack runs, not from a plan's file"
    )


# ---------------------------------------------------------------- writing and reading


def plan_text(plan: Plan) -> str:
    """The plan as JSON, with what a board says of its plugins."""
    table = _Table()
    resolved = plan.resolved
    content = {
        "format": _FORMAT,
        "nodes": [asdict(n) for n in plan.nodes.values()],
        "cells": [table.object_of(c, ("method", "attack", "utility")) for c in plan.cells],
        "keys": {name: dict(getattr(plan, name)) for name in _KEYS},
        "resolved": {
            "suite": resolved.suite,
            "seeds": list(resolved.seeds),
            "limits": resolved.limits.model_dump(mode="json"),
            "left_out": dict(resolved.left_out),
            "datasets": [table.dataset(d) for d in resolved.datasets],
            **{kind: [table.number(p) for p in getattr(resolved, kind)] for kind in _LISTS},
        },
    }
    return json.dumps({**content, "plugins": table.rows}, ensure_ascii=False)


_KEYS = ("datasets", "units")
_LISTS = ("methods", "attacks", "utilities", "perturbations", "published")


class _Table:
    """Resolved plugins, each written once; others name them by number."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._numbers: dict[int, int] = {}

    def number(self, plugin: ResolvedPlugin | None) -> int | None:
        if plugin is None:
            return None
        if id(plugin) not in self._numbers:
            row = self.object_of(plugin, ("base", "maker"), leave=("plugin", "publication"))
            row["plugin"] = _describe(plugin.plugin)
            if plugin.publication is not None:
                row["publication"] = self.object_of(plugin.publication, ("perturbation",))
            self.rows.append(row)
            self._numbers[id(plugin)] = len(self.rows) - 1
        return self._numbers[id(plugin)]

    def object_of(
        self, value: Any, plugins: Sequence[str], leave: Sequence[str] = ()
    ) -> dict[str, Any]:
        """The fields of a dataclass, those that name plugins by number."""
        said = {}
        for f in fields(value):
            if f.name not in leave:
                one = getattr(value, f.name)
                said[f.name] = self.number(one) if f.name in plugins else one
        return said

    def dataset(self, dataset: ResolvedDataset) -> dict[str, Any]:
        controls = dataset.controls
        return {
            "source": self.number(dataset.source),
            "label": dataset.label,
            "features": [self.number(f) for f in dataset.features],
            "rules": dataset.rules.model_dump(mode="json"),
            "subset": dict(dataset.subset),
            "controls": controls and [[self.number(m), self.number(a)] for m, a in controls],
        }


def plan_from_text(text: str) -> Plan:
    """The plan that :func:`plan_text` has written. Its plugins are :class:`Described`.

    Raises
    ------
    LeakboardError
        When it is none, or of another version.
    """
    try:
        content = json.loads(text)
        if content["format"] != _FORMAT:
            raise ValueError(f"its format is {content['format']}, not {_FORMAT}")
        return _plan_of(content)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise LeakboardError(f"it is no plan ({type(error).__name__}: {error})") from error


def _plan_of(content: Mapping[str, Any]) -> Plan:
    plugins: list[ResolvedPlugin] = []
    for row in content["plugins"]:  # those that a row names stand before it
        plugins.append(_resolved_plugin(row, plugins))
    named: Callable[[int | None], Any] = lambda i: None if i is None else plugins[i]  # noqa: E731
    said = content["resolved"]
    lists: dict[str, Any] = {kind: tuple(map(named, said[kind])) for kind in _LISTS}
    resolved = Resolved(
        suite=said["suite"],
        seeds=tuple(said["seeds"]),
        limits=Limits(**said["limits"]),
        left_out=said.get("left_out", {}),
        datasets=tuple(_resolved_dataset(d, named) for d in said["datasets"]),
        **lists,
    )
    nodes = [Node(**{**n, "needs": tuple(n["needs"])}) for n in content["nodes"]]
    return Plan(
        resolved=resolved,
        nodes={n.key: n for n in nodes},
        cells=tuple(_cell(c, named) for c in content["cells"]),
        **{name: content["keys"][name] for name in _KEYS},
    )


def _cell(said: Mapping[str, Any], named: Callable[[int | None], Any]) -> Cell:
    plugins = {k: named(said[k]) for k in ("method", "attack", "utility")}
    conditions = {k: (label, severity) for k, (label, severity) in said["conditions"].items()}
    return Cell(**{**said, **plugins, "conditions": conditions})


def _resolved_plugin(row: Mapping[str, Any], plugins: Sequence[ResolvedPlugin]) -> ResolvedPlugin:
    named = {k: None if row.get(k) is None else plugins[row[k]] for k in ("base", "maker")}
    plugin = ResolvedPlugin(
        **{
            **{k: v for k, v in row.items() if k != "publication"},
            "plugin": _described(row["plugin"]),
            **named,
            "severities": tuple(row["severities"]),
        }
    )
    if "publication" not in row:
        return plugin
    perturbation = plugins[row["publication"]["perturbation"]]
    publication = Publication(perturbation=perturbation, severity=row["publication"]["severity"])
    return replace(plugin, publication=publication)


def _resolved_dataset(
    said: Mapping[str, Any], named: Callable[[int | None], Any]
) -> ResolvedDataset:
    controls = said["controls"]
    return ResolvedDataset(
        source=named(said["source"]),
        label=said["label"],
        features=tuple(map(named, said["features"])),
        rules=GameRules(**said["rules"]),
        subset=said["subset"],
        controls=None
        if controls is None
        else tuple((named(method), named(attack)) for method, attack in controls),
    )
