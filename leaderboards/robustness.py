"""What a page shows of perturbed test records: severity curves and the table of perturbation × method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from leaderboards import charts
from leaderboards.board import Figure, Group, Row
from leaderboards.charts import Curve
from leaderboards.ranking import CLEAN_ERROR, MEAN_ERROR
from leaderboards.rows import RowView

__all__ = [
    "ClaimHere",
    "Condition",
    "CurveChart",
    "Robustness",
    "claims_here",
    "curve_charts",
    "mean_errors",
    "perturbations",
    "robustness_tables",
    "severities",
]

Condition = tuple[str, float, str, str]
"""What a column of a table shows: (perturbation, severity, utility, metric)."""


@dataclass
class CurveChart:
    """The curves of one metric under one perturbation; ``told`` are the perturbation's parameters, as text."""

    perturbation: str
    metric: str
    svg: str
    description: str
    told: str = ""


@dataclass
class Robustness:
    """The table of perturbation × method for one utility."""

    utility: str
    perturbations: list[str]


@dataclass
class ClaimHere:
    """A claim of the suite about figures of perturbed records, with its rows of this place."""

    text: str
    margin: float
    rows: list[dict[str, Any]]


def claims_here(group: Group, utility: str, info: Mapping[str, Any]) -> list[ClaimHere]:
    """The claims about this group's figures under perturbation, to stand beside the curves."""
    names = perturbations(group, utility)
    found = []
    for claim in info.get("claims", []):
        rows = [
            row
            for row in claim.get("rows", [])
            if (row.get("dataset"), row.get("features")) == (group.dataset, group.features)
            and any(f", under {name} (" in row.get("figure", "") for name in names)
        ]
        if rows:
            found.append(ClaimHere(claim.get("text", ""), claim.get("margin", 0.0), rows))
    return found


def perturbations(group: Group, utility: str) -> list[str]:
    """The perturbations under which a utility was measured, in the order of the results."""
    keys = (key for row in group.rows for key in row.utilities)
    return list(dict.fromkeys(name for of, name, _ in keys if of == utility and name))


def severities(group: Group, utility: str, metrics: Sequence[str]) -> list[Condition]:
    """Every perturbation and severity with a figure, for each of the metrics."""
    keys = {key for row in group.rows for key in row.utilities if key[0] == utility}
    return [
        (name, severity, utility, metric)
        for metric in metrics
        for name in perturbations(group, utility)
        for severity in sorted(s for _, n, s in keys if n == name and s > 0)
        if any(_figure(row, utility, name, severity, metric) for row in group.rows)
    ]


def robustness_tables(group: Group) -> list[Robustness]:
    """One table for each utility that has errors under perturbation."""
    utilities = dict.fromkeys(key[0] for row in group.rows for key in row.utilities)
    return [
        Robustness(name, perturbations(group, name))
        for name in utilities
        if any(_figure(row, name, "", 0.0, MEAN_ERROR) for row in group.rows)
    ]


def mean_errors(row: Row, table: Robustness) -> list[Figure | None]:
    """The clean error, the mean error under each perturbation, and the mean over all of them."""
    each = [_figure(row, table.utility, name, 0.0, MEAN_ERROR) for name in table.perturbations]
    clean = _figure(row, table.utility, "", 0.0, CLEAN_ERROR)
    return [clean, *each, _figure(row, table.utility, "", 0.0, MEAN_ERROR)]


def _figure(
    row: Row, utility: str, perturbation: str, severity: float, metric: str
) -> Figure | None:
    cell = row.utilities.get((utility, perturbation, severity))
    figure = cell.figure(metric) if cell else None
    return figure if figure is not None and figure.known else None


# ---------------------------------------------------------------- curves


def curve_charts(
    group: Group,
    rows: Sequence[RowView],
    utility: str,
    metrics: Sequence[str],
    names: Mapping[str, str],
    info: Mapping[str, Any],
) -> list[list[CurveChart]]:
    """For each metric the charts of all perturbations; ``names`` are the metrics' titles."""
    said = {p.get("label") or p.get("name"): p for p in info.get("perturbations", [])}
    found = []
    for metric in metrics:
        charts_of = []
        for name in perturbations(group, utility):
            curves = [_curve(view, utility, name, metric) for view in rows]
            drawn = [c for c in curves if c is not None]
            if drawn:
                told = _told(said.get(name, {}))
                charts_of.append(_chart(drawn, name, metric, names.get(metric, metric), told))
        found.append(charts_of)
    return found


def _curve(view: RowView, utility: str, perturbation: str, metric: str) -> Curve | None:
    """A row's curve from the clean figure (severity 0) on; None without a figure under the perturbation."""
    clean = _figure(view.row, utility, "", 0.0, metric)
    own = sorted(s for u, n, s in view.row.utilities if (u, n) == (utility, perturbation) and s > 0)
    points = [(0.0, clean)] + [
        (s, _figure(view.row, utility, perturbation, s, metric)) for s in own
    ]
    known = [(s, f.value, f.low, f.high) for s, f in points if f is not None]
    if not any(s > 0 for s, *_ in known):
        return None
    return Curve(view.label, view.style, *np.array(known, dtype=float).T)


def _chart(
    curves: Sequence[Curve], perturbation: str, metric: str, title: str, told: str
) -> CurveChart:
    ends = "; ".join(f"{c.name} {c.value[0]:.3g} to {c.value[-1]:.3g}" for c in curves)
    last = max(c.severity[-1] for c in curves)
    description = (
        f"{title} against the severity of {perturbation}, from clean records to severity {last:g}: {ends}. "
        "All figures are in the table below."
    )
    return CurveChart(perturbation, metric, charts.severity(curves, title), description, told)


def _told(perturbation: Mapping[str, Any]) -> str:
    """The strengths of a perturbation's severities: its parameters that have one value for each."""
    steps = perturbation.get("n_severities")
    found = [
        f"{name} {', '.join(f'{v:g}' for v in values)}"
        for name, values in (perturbation.get("params") or {}).items()
        if isinstance(values, list | tuple) and len(values) == steps
    ]
    return "; ".join(found)
