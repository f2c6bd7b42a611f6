"""Tidy results → the board: groups (dataset × features) of rows (methods) with cells (attacks, utilities)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

ACCESS_ORDER = ("none", "records", "sampler", "weights", "trainer")
"""Access levels, weakest first. A level that is not listed counts as stronger than all of them."""

ACCESS_WORDS = {
    "none": "nothing of the release",
    "records": "the released records alone",
    "sampler": "also as many new draws from the generator as it likes",
    "weights": "also the trained generator itself",
    "trainer": "takes part in the training of a model on the release, which every release allows",
}
"""What an attacker with each access may use."""

ACCESS_SHORT = {
    "none": "no release",
    "records": "the released records",
    "sampler": "and new draws",
    "weights": "and the generator",
    "trainer": "and training on it",
}
"""The same in a few words, each with all that comes before it."""

ABSENT = ("failed", "crashed", "timeout", "out of memory", "blocked", "unavailable", "missing")
"""Statuses of a cell that should have a figure and has none."""

WORST_CASE = "worst_case"

WEAKEST = {
    "claimed_epsilon": max,
    "claimed_delta": max,
    "recomputed_epsilon": max,
    "k_anonymity": min,
}
"""Claims, and which of several promises least."""

REQUIRED_COLUMNS = (
    *("dataset", "features", "method", "method_params", "method_control", "access", "attack"),
    *("attack_params", "utility", "perturbation", "severity", "seed", "metric", "value"),
    *("ci_low", "ci_high", "ci_method", "n_members", "n_nonmembers", "status", "reason"),
)


@dataclass(frozen=True)
class Figure:
    """A value with its interval, as it stands in the results. What is unknown is NaN or ``""``."""

    value: float
    low: float = math.nan
    high: float = math.nan
    interval: str = ""
    seed_min: float = math.nan
    seed_max: float = math.nan
    n_members: float = math.nan
    n_nonmembers: float = math.nan
    status: str = "ok"
    reason: str = ""
    direction: str = ""

    @property
    def known(self) -> bool:
        """Whether there is a value (a true positive rate that cannot be resolved has none)."""
        return not math.isnan(self.value)


@dataclass(frozen=True)
class Problem:
    """A cell, or one seed of it, that has no figure: its status and why."""

    what: str
    status: str
    reason: str
    seed: int | None = None
    key: str = ""


@dataclass
class Cell:
    """All that is known of one attack or utility on one row."""

    aggregated: dict[str, Figure] = field(default_factory=dict)
    by_seed: dict[str, list[Figure]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    subgroups: dict[tuple[str, str], Figure] = field(default_factory=dict)
    """Figures over all seeds of part of the units, by (subgroup, metric)."""

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics that have a figure."""
        return list(dict.fromkeys([*self.aggregated, *self.by_seed]))

    def figure(self, metric: str) -> Figure | None:
        """The figure over all seeds, or of the only seed. Nothing is averaged here."""
        if metric in self.aggregated:
            return self.aggregated[metric]
        seeds = self.by_seed.get(metric, [])
        return seeds[0] if len(seeds) == 1 else None

    @property
    def status(self) -> str:
        """``ok``, ``void``, a status of :data:`ABSENT`, ``not applicable`` or ``no record``."""
        figures = [*self.aggregated.values(), *(f for fs in self.by_seed.values() for f in fs)]
        statuses = {p.status for p in self.problems} | {f.status for f in figures}
        for status in ("void", *ABSENT):
            if status in statuses:
                return status
        if figures:
            return "ok"
        return "not applicable" if self.problems else "no record"

    @property
    def why_void(self) -> str:
        """The reason that its void figures give; empty where none is void."""
        figures = [*self.aggregated.values(), *(f for fs in self.by_seed.values() for f in fs)]
        return next((f.reason for f in figures if f.status == "void" and f.reason), "")


@dataclass
class Row:
    """One method with its parameters on one dataset and feature space; ``label`` has those that the suite gives."""

    method: str
    params: str
    control: bool = False
    label: str = ""
    attacks: dict[tuple[str, str], Cell] = field(default_factory=dict)
    utilities: dict[tuple[str, str, float], Cell] = field(default_factory=dict)
    worst: dict[str, dict[str, Figure]] = field(default_factory=dict)
    differences: dict[str, dict[str, Figure]] = field(default_factory=dict)
    """Of worst cases, by access level and the label of the other method: above 0 where this row leaks more."""
    useful: dict[str, dict[str, Figure]] = field(default_factory=dict)
    """Of utilities, by the utility and the label of the other method: above 0 where this row is more useful."""
    facts: Cell = field(default_factory=Cell)
    violations: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    bar: tuple[str, str] | None = None
    """The verdict that it gets whatever its figures are, and why."""
    problems: list[Problem] = field(default_factory=list)
    durations: dict[str, dict[str, float]] = field(default_factory=dict)
    """Seconds of each record that its figures come from, by what it did and by the record's key."""

    def worst_at(self, access: str) -> dict[str, Figure]:
        """Worst-case figures by metric, at the strongest level that is known and within ``access``."""
        return self.worst.get(self._level(access), {})

    def difference_at(self, access: str, other: Row) -> Figure | None:
        """How much worse its worst case is than that of another row; None where they were not compared."""
        level, theirs = self._level(access), other._level(access)
        level = max(level, theirs, key=access_rank)
        here, there = self.differences.get(level, {}), other.differences.get(level, {})
        return _either_way(here.get(other.label), there.get(self.label))

    def useful_difference(self, utility: str, other: Row) -> Figure | None:
        """How much more useful it is than another row, on the same test records; None where they were not compared."""
        here, there = self.useful.get(utility, {}), other.useful.get(utility, {})
        return _either_way(here.get(other.label), there.get(self.label))

    def _level(self, access: str) -> str:
        """The strongest level with a worst case that is within ``access``."""
        within = [level for level in self.worst if access_rank(level) <= access_rank(access)]
        return max(within, key=access_rank) if within else ""

    def fact(self, metric: str) -> Figure | None:
        """A figure of the row itself: a claim holds for all seeds (the weakest is shown)."""
        figures = [f for f in self.facts.by_seed.get(metric, []) if f.known]
        if metric in WEAKEST and figures:
            return WEAKEST[metric](figures, key=lambda f: f.value)
        return self.facts.figure(metric)


def _either_way(mine: Figure | None, theirs: Figure | None) -> Figure | None:
    """A difference, from this side or turned round from the other."""
    if mine is not None or theirs is None:
        return mine
    return replace(theirs, value=-theirs.value, low=-theirs.high, high=-theirs.low)


@dataclass
class Column:
    """An attack of a group, with the access that it uses."""

    attack: str
    params: str
    access: str = ""
    label: str = ""

    def called(self, name: str) -> bool:
        """Whether a worst case that names its attack so may mean this one."""
        return bool(name) and name in (self.attack, self.label)

    @property
    def key(self) -> tuple[str, str]:
        """What cells are found by."""
        return (self.attack, self.params)

    @property
    def given(self) -> list[str]:
        """What its label adds to the name: the parameters that the suite gives, and the space that it asks for."""
        added = self.label.removeprefix(self.attack)
        found = re.fullmatch(r"(?:\((.*)\))?(@\w+)?", added, re.DOTALL)
        return [text for text in (found.groups() if found else (added,)) if text]


@dataclass
class Group:
    """A dataset in one feature space: what one table shows."""

    dataset: str
    features: str
    rows: list[Row] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def column_statuses(self, column: Column) -> set[str]:
        """The statuses of all cells below an attack."""
        return {row.attacks[column.key].status for row in self.rows if column.key in row.attacks}

    def void(self, column: Column) -> bool:
        """Whether a control voids this attack here: on every row, and not on one whose shadows are untrue."""
        statuses = self.column_statuses(column)
        return "void" in statuses and "ok" not in statuses


@dataclass
class Board:
    """All groups, and the access levels for which there is a worst case, weakest first."""

    groups: list[Group]
    levels: list[str]


def access_rank(access: str) -> int:
    """The place of an access level on the ladder; ``""`` (not said) comes first."""
    if not access:
        return -1
    return ACCESS_ORDER.index(access) if access in ACCESS_ORDER else len(ACCESS_ORDER)


def variant(name: str, params: str) -> str:
    """A name with its parameters, such as ``k_same (k=5)``."""
    shown = ", ".join(parameter_texts(params))
    return f"{name} ({shown})" if shown else name


def parameter_texts(params: str) -> list[str]:
    """``'{"k": 5}'`` → ``["k=5"]``; text that is no JSON object is kept as it is."""
    if not params:
        return []
    try:
        values = json.loads(params)
    except json.JSONDecodeError:
        return [params]
    if not isinstance(values, dict):
        return [params]
    return [f"{name}={_plain(value)}" for name, value in values.items()]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def read_board(results: pd.DataFrame) -> Board:
    """Sort tidy results into groups, rows and cells, in the order in which they first appear.

    Parameters
    ----------
    results : DataFrame
        One figure a row, with at least :data:`REQUIRED_COLUMNS`; ``seed`` is missing where the figure is over all
        seeds.

    Raises
    ------
    ValueError
        When columns are missing; the message names them.
    """
    groups: dict[tuple[str, str], Group] = {}
    rows: dict[tuple[str, str, str, str], Row] = {}
    columns: dict[tuple[str, str, str, str], Column] = {}
    for record in _records(results):
        place = (record["dataset"], record["features"])
        if place not in groups:
            groups[place] = Group(*place)
        group = groups[place]
        if not record["method"]:
            if record["status"] != "ok" and not record["metric"]:
                group.problems.append(_problem(record))
            continue
        key = (*place, record["method"], record["method_params"])
        if key not in rows:
            label = record.get("method_label", "")
            rows[key] = Row(record["method"], record["method_params"], label=label)
            group.rows.append(rows[key])
        _file(rows[key], record)
        attack = (*place, record["attack"], record["attack_params"])
        if record["attack"] and record["attack"] != WORST_CASE:
            if attack not in columns:
                columns[attack] = Column(
                    record["attack"],
                    record["attack_params"],
                    label=record.get("attack_label", ""),
                )
                group.columns.append(columns[attack])
            columns[attack].access = columns[attack].access or record["access"]
    levels = {level for row in rows.values() for level in row.worst}
    return Board(list(groups.values()), sorted(levels, key=access_rank) or [""])


def _file(row: Row, record: dict[str, Any]) -> None:
    """Put one record where it belongs in its row."""
    row.control = row.control or bool(record["method_control"])
    _note_duration(row, record)
    metric, figure = record["metric"], _figure(record)
    if metric == "violation":
        row.violations.append(record["reason"])
    elif metric == "warning":
        row.warnings.append(record["reason"])
    elif metric == "bar":
        row.bar = (record["status"], record["reason"])
    elif record.get("versus") and record["utility"]:
        row.useful.setdefault(record["utility"], {})[record["versus"]] = figure
    elif record.get("versus"):
        row.differences.setdefault(record["access"], {})[record["versus"]] = figure
    elif record["attack"] == WORST_CASE:
        row.worst.setdefault(record["access"], {})[metric] = figure
    elif record["attack"]:
        _fill(row.attacks.setdefault((record["attack"], record["attack_params"]), Cell()), record)
    elif record["utility"]:
        where = (record["utility"], record["perturbation"], record["severity"])
        _fill(row.utilities.setdefault(where, Cell()), record)
    elif metric:
        _fill(row.facts, record)
    elif record["status"] != "ok":
        row.problems.append(_problem(record))


def _note_duration(row: Row, record: dict[str, Any]) -> None:
    """Keep how long the record took that a figure comes from; several figures come from one record."""
    key, seconds = record.get("key", ""), _seconds(record.get("duration_s"))
    if not key or math.isnan(seconds) or record["attack"] == WORST_CASE or record["seed"] is None:
        return
    what = record["attack"] or record["utility"] or "fit"
    if record["attack"]:
        what = record.get("attack_label") or variant(what, record["attack_params"])
    elif record["perturbation"]:
        what = f"{what} under {record['perturbation']}"
    row.durations.setdefault(what, {})[key] = seconds


def _seconds(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _fill(cell: Cell, record: dict[str, Any]) -> None:
    subgroup = record.get("subgroup", "")
    if subgroup:
        if record["seed"] is None:
            cell.subgroups[subgroup, record["metric"]] = _figure(record)
    elif not record["metric"]:
        cell.problems.append(_problem(record))
    elif record["seed"] is None:
        cell.aggregated[record["metric"]] = _figure(record)
    else:
        cell.by_seed.setdefault(record["metric"], []).append(_figure(record))


def _figure(record: dict[str, Any]) -> Figure:
    return Figure(
        value=record["value"],
        low=record["ci_low"],
        high=record["ci_high"],
        interval=record["ci_method"],
        seed_min=record.get("seed_min", math.nan),
        seed_max=record.get("seed_max", math.nan),
        n_members=record["n_members"],
        n_nonmembers=record["n_nonmembers"],
        status=record["status"],
        reason=record["reason"],
        direction=record.get("direction", ""),
    )


def _problem(record: dict[str, Any]) -> Problem:
    what = record["attack"] or record["utility"]
    if record["attack"]:
        what = record.get("attack_label") or variant(what, record["attack_params"])
    elif record["perturbation"]:
        what = f"{what} under {record['perturbation']} {record['severity']:g}"
    return Problem(
        what=what or ("fit" if record["method"] else "dataset"),
        status=record["status"],
        reason=record["reason"],
        seed=record["seed"],
        key=record.get("key", ""),
    )


def _records(results: pd.DataFrame) -> Iterable[dict[str, Any]]:
    """The rows as plain dictionaries: texts are never missing, figures are floats, a seed is an int or None."""
    missing = [name for name in REQUIRED_COLUMNS if name not in results.columns]
    if missing:
        raise ValueError(
            f"results must have the columns {', '.join(REQUIRED_COLUMNS)}. Missing: {', '.join(missing)}."
        )
    numbers = ("value", "ci_low", "ci_high", "n_members", "n_nonmembers", "seed_min", "seed_max")
    columns: dict[str, list[Any]] = {}
    for name in results.columns:
        series = results[name]
        if name in numbers or name == "severity":
            columns[name] = (
                pd.to_numeric(series).astype("Float64").to_numpy(float, na_value=math.nan).tolist()
            )
        elif name == "seed":
            columns[name] = [None if pd.isna(s) else int(s) for s in series]
        elif name == "method_control":
            columns[name] = [not pd.isna(c) and bool(c) for c in series]
        else:
            columns[name] = [str(text) for text in series.astype(object).where(series.notna(), "")]
    columns["severity"] = [0.0 if math.isnan(s) else s for s in columns["severity"]]
    columns["status"] = [status or "ok" for status in columns["status"]]
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))
