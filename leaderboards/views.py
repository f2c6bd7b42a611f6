"""The board as the page shows it: labels, marks, charts and lists, ready for the templates."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from leaderboards import charts, figures
from leaderboards.board import (
    ABSENT,
    Board,
    Cell,
    Column,
    Figure,
    Group,
    Row,
    access_rank,
    parameter_texts,
)
from leaderboards.charts import Line, Point, Style
from leaderboards.ranking import (
    MEAN_ERROR,
    TPR_METRIC,
    UTILITY_METRICS,
    VERDICTS,
    FrontShare,
    Standing,
    front_share,
    standings,
    utility_columns,
    utility_metric,
)
from leaderboards.robustness import (
    ClaimHere,
    Condition,
    CurveChart,
    Robustness,
    claims_here,
    curve_charts,
    robustness_tables,
    severities,
)
from leaderboards.rows import PUBLISH, RowView

OWN = "files"
"""How own records are called that the suite gives no label."""

SLUG = 60
"""Longest part of a fragment or of a file's name that comes from a name."""

METRIC_NAMES = {
    "auc": "AUC",
    "balanced_accuracy": "Balanced accuracy",
    "macro_auroc": "Macro AUROC",
    "accuracy": "Accuracy",
    "balanced_error": "Balanced error",
    "mean_balanced_error": "Balanced error when perturbed",
    "expected_calibration_error": "Calibration error",
    "tpr@0.1": "TPR at 10 % FPR",
    "tpr@0.01": "TPR at 1 % FPR",
    "tpr@0.001": "TPR at 0.1 % FPR",
    "advantage": "Advantage",
    "detectable_auc": "Least AUC found with 80 % power",
    "attacks_judged": "Attacks with a figure",
    "attacks_asked": "Attacks with scores on some row",
    "epsilon_lower": "ε lower bound",
    "epsilon_ceiling": "ε ceiling",
    "epsilon_lower_gdp": "ε lower bound if Gaussian",
    "epsilon_ceiling_gdp": "ε ceiling if Gaussian",
    "p_value": "p (AUC = 0.5)",
    "miss_rate": "Missed",
    "fit_duration_s": "Time to fit, s",
    "claimed_epsilon": "Claimed ε",
    "claimed_delta": "Claimed δ",
    "recomputed_epsilon": "Recomputed ε",
    "measured_epsilon": "Measured ε, at the claimed δ",
    "k_anonymity": "k of k-anonymity",
    "fleet_nearness": "Nearness to own members (AUC)",
    "fleet_lesson": "What shadows teach (AUC)",
    "fleet_distance": "Distance to candidates",
    "reidentification_rate": "Re-identified",
    "reidentification_bound": "Re-identification bound",
    "flag_rate_members": "Members flagged",
    "flag_rate_nonmembers": "Non-members flagged",
    "copy_rate_members": "Released copies of members",
    "copy_rate_nonmembers": "Released copies of non-members",
    "recovered_share": "Recovered of what was released (MSE < 1e-3)",
    "fidelity_mse": "MSE to the target, median",
    "fidelity_psnr": "PSNR to the target, dB",
    "fidelity_ssim": "SSIM to the target",
    "fidelity_cosine": "Cosine to the target",
    **{
        f"{figure}_to_{side}": f"{name} to the nearest {text}"
        for figure, name in (
            ("mse", "MSE"),
            ("psnr", "PSNR (dB)"),
            ("ssim", "SSIM"),
            ("cosine", "Cosine"),
        )
        for side, text in (("member", "member"), ("nonmember", "non-member"))
    },
}


@dataclass
class AttackColumn:
    """The head of an attack's column; ``apart`` tells it from its namesakes here, and names the space it asks for."""

    column: Column
    params: list[str]
    apart: list[str]
    needs: str
    beyond: list[int]
    void: bool
    why_void: str


@dataclass
class Chart:
    """A chart with its text for those who do not see it."""

    svg: str
    description: str
    rows: list[RowView]
    notes: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)


@dataclass
class GroupView:
    """One section of the page."""

    anchor: str
    title: str
    group: Group
    about: dict[str, Any]
    columns: list[AttackColumn]
    families: list[tuple[str, list[AttackColumn]]]
    answers: list[dict[str, int]]
    interval_methods: list[tuple[str, list[str]]]
    attack_metrics: list[str]
    own_metrics: list[str]
    utility: str
    metrics: list[str]
    utility_start: float
    conditions: list[Condition]
    severities: list[Condition]
    robust: bool
    robustness: list[Robustness]
    curves: list[list[CurveChart]]
    claims: list[ClaimHere]
    controls: list[RowView]
    methods: list[RowView]
    planes: list[list[Chart | None]]
    rocs: list[Chart | None]
    exposed: list[list[Exposed]]
    records: list[tuple[RowView, dict[str, Any]]]
    pairs: list[tuple[RowView, str, dict[str, Any]]]
    pictures: list[tuple[RowView, str, dict[str, Any]]]
    absent: list[dict[str, Any]]
    not_applicable: list[dict[str, Any]]

    @property
    def rows(self) -> list[RowView]:
        """Methods, best first; then controls."""
        return [*self.methods, *self.controls]

    def brief(self, attack: str) -> str:
        """An attack's name with no more than what tells it from its namesakes here, of its whole label."""
        for a in self.columns:
            if attack == (a.column.label or a.column.attack):
                return a.column.attack + (f" ({', '.join(a.apart)})" if a.apart else "")
        return attack


def view_groups(
    board: Board, index: Curves, info: dict[str, Any], *, draw: bool = True
) -> list[GroupView]:
    """All sections of the page, in the board's order; without charts unless ``draw``.

    ``index`` is what :func:`index_curves` makes of the curves.
    """
    styles = row_styles(board)
    anchors: set[str] = set()
    found = []
    for group in board.groups:
        anchor = _anchor(f"{group.dataset}-{group.features}", anchors)
        found.append(
            _view_group(group, board.levels, styles, index if draw else None, info, anchor)
        )
    return found


def row_styles(board: Board) -> dict[tuple[str, str], Style]:
    """A style for each (method, parameters), the same in every section."""
    styles: dict[tuple[str, str], Style] = {}
    counts = {True: 0, False: 0}
    for group in board.groups:
        for row in group.rows:
            if (row.method, row.params) not in styles:
                styles[row.method, row.params] = Style(counts[row.control], row.control)
                counts[row.control] += 1
    return styles


def _view_group(group, levels, styles, index, info, anchor) -> GroupView:
    by_level = [standings(group, level) for level in levels]
    rows: list[RowView] = []
    ids: set[str] = set()
    for standing in by_level[-1]:
        row = standing.row
        apart, params = _parameters(group, row)
        views = [next(s for s in level if s.row is row) for level in by_level]
        view = RowView(row, styles[row.method, row.params], apart, params, views)
        view.id = _unused(f"row-{anchor.removeprefix('on-')}--{_slug(view.label)}", ids)
        view.page = f"rows/{view.id.removeprefix('row-')}.html"
        rows.append(view)
    chosen = utility_metric(group)
    absent, not_applicable = _problems(group, rows)
    common, own = _attack_metrics(group)
    drawn = [] if index is None else range(len(levels))
    utility, metrics = chosen[0] if chosen else "", _utility_metrics(group, chosen)
    axes = ["utility"] + ["robustness"] * any(v.views[-1].robustness for v in rows)
    columns = [_attack_column(group, c, levels, info) for c in group.columns]
    methods = [r for r in rows if not r.row.control]
    return GroupView(
        anchor=anchor,
        title=_title(group, info),
        group=group,
        about=_dataset_of(group, info),
        columns=columns,
        families=_families(columns),
        answers=[_answer(methods, i) for i in range(len(levels))],
        interval_methods=_interval_methods(rows, chosen),
        attack_metrics=common,
        own_metrics=own,
        utility=utility,
        metrics=metrics,
        utility_start=_utility_start(group, chosen),
        conditions=_conditions(group, chosen),
        severities=severities(group, utility, metrics),
        robust=len(axes) > 1,
        robustness=robustness_tables(group),
        curves=curve_charts(group, rows, utility, metrics, METRIC_NAMES, info) if drawn else [],
        claims=claims_here(group, utility, info),
        controls=[r for r in rows if r.row.control],
        methods=methods,
        planes=[[_plane(rows, i, chosen, axis) for i in drawn] for axis in axes if drawn],
        rocs=[_roc(group, rows, i, index) for i in drawn],
        exposed=[exposed_at(group, rows, level) for level in levels],
        records=exposed_records(group, rows, info),
        pairs=copied_pairs(group, rows, info),
        pictures=picture_sheets(group, rows, info),
        absent=absent,
        not_applicable=not_applicable,
    )


def _dataset_of(group: Group, info: dict[str, Any]) -> dict[str, Any]:
    """What the run says of a group's dataset; nothing where it says nothing."""
    return next((d for d in info.get("datasets", []) if d.get("name") == group.dataset), {})


def _title(group: Group, info: dict[str, Any]) -> str:
    """What a dataset is called: own records that the suite gives no label, after the suite."""
    suite = (info.get("suite") or {}).get("name")
    return suite if group.dataset == OWN and suite else group.dataset


def _anchor(text: str, taken: set[str]) -> str:
    return _unused(f"on-{_slug(text)}", taken)


def _slug(text: str) -> str:
    """Letters, digits and dashes alone, for fragments and names of files."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:SLUG].strip("-") or "section"


def _unused(name: str, taken: set[str]) -> str:
    """The name, with a number behind it where it is taken; it is taken from then on."""
    found, n = name, 1
    while found in taken:
        n += 1
        found = f"{name}-{n}"
    taken.add(found)
    return found


def _families(columns: list[AttackColumn]) -> list[tuple[str, list[AttackColumn]]]:
    """Attacks by the access that they need, weakest first; namesakes stand together."""
    needs = sorted({a.needs for a in columns}, key=access_rank)
    order = list(dict.fromkeys(a.column.attack for a in columns))
    return [
        (
            n,
            sorted(
                (a for a in columns if a.needs == n), key=lambda a: order.index(a.column.attack)
            ),
        )
        for n in needs
    ]


def _answer(methods: list[RowView], level: int) -> dict[str, int]:
    """How many methods have which verdict."""
    found = [view.views[level].verdict for view in methods]
    return {name: found.count(name) for name in VERDICTS if name in found}


def _interval_methods(
    rows: list[RowView], chosen: tuple[str, str] | None
) -> list[tuple[str, list[str]]]:
    """How the intervals of the table's columns were made; where it differs between rows, each way."""
    found: dict[str, dict[str, None]] = {}
    named = {"auc": "Worst-case leak", TPR_METRIC: "TPR at 1 % FPR", "epsilon_lower": "ε"}
    for view in rows:
        utility = [s.utility for s in view.views[-1:] if s.utility is not None]
        for figure in utility:
            found.setdefault("Utility", {})[figure.interval] = None
        for standing in view.views:
            for metric, name in named.items():
                if metric in standing.worst:
                    # What belongs to one row alone stands on its own page.
                    text = standing.worst[metric].interval.partition("; best with")[0]
                    found.setdefault(name, {})[text] = None
    return [(name, texts) for name, t in found.items() if (texts := [x for x in t if x])]


def _parameters(group: Group, row: Row) -> tuple[list[str], list[str]]:
    """The parameters that the suite gives or in which a row differs from its namesakes, and all of them."""
    texts = parameter_texts(row.params)
    label = row.label.partition(" + ")[0]
    given = f", {label.partition('(')[2].rpartition(')')[0]}, "
    namesakes = [set(parameter_texts(r.params)) for r in group.rows if r.method == row.method]
    shared = set.intersection(*namesakes)
    return [
        text
        for text in texts
        if text not in shared or f", {text}, " in given or text.startswith(PUBLISH)
    ], texts


def _attack_column(group: Group, column: Column, levels: list[str], info: dict) -> AttackColumn:
    namesakes = [c for c in group.columns if c.attack == column.attack]
    beyond = [
        i
        for i, level in enumerate(levels)
        if level and access_rank(column.access) > access_rank(level)
    ]
    void = group.void(column)
    why = (
        "; ".join(
            control_text(c) for c in failed_controls(group, column.label or column.attack, info)
        )
        if void
        else ""
    )
    if void and not why:
        why = next(iter(_void_reasons(group, column)), "its control failed")
    several = len(namesakes) > 1
    params = parameter_texts(column.params) if several and not column.label else column.given
    apart = _told_apart(column, namesakes)
    return AttackColumn(column, params, apart, column.access, beyond, void, why)


def _told_apart(column: Column, namesakes: list[Column]) -> list[str]:
    """As few parameters as tell all namesakes apart, those of them that the suite gives; and the space asked for."""
    parts = {
        c.key: {text.partition("=")[0]: text for text in parameter_texts(c.params)}
        for c in namesakes
    }
    alike = list(itertools.combinations(namesakes, 2))
    names = list(dict.fromkeys(n for own in parts.values() for n in own if n != "space"))
    chosen: list[str] = []
    while alike and names:
        left = {
            name: [p for p in alike if len({parts[c.key].get(name) for c in p}) == 1]
            for name in names
        }
        _, name = min((len(pairs), name) for name, pairs in left.items())
        if left[name] == alike:
            break
        chosen.append(name)
        alike = left[name]
    own = [parts[column.key][name] for name in chosen if name in parts[column.key]]
    given = f", {', '.join(column.given)}, "
    own = [text for text in own if f", {text}, " in given] or own
    return own + [text for text in column.given if text.startswith("@")]


def _void_reasons(group: Group, column: Column) -> list[str]:
    """What the void cells below an attack give as their reason."""
    cells = [row.attacks[column.key] for row in group.rows if column.key in row.attacks]
    return [cell.why_void for cell in cells if cell.why_void]


def failed_controls(group: Group, attack: str, info: dict) -> list[dict]:
    """The controls that failed here of the attack with this label; its namesakes have their own."""
    return [
        c
        for c in info.get("controls", [])
        if not c.get("passed", True)
        and c.get("attack") == attack
        and c.get("dataset", group.dataset) == group.dataset
        and c.get("features", group.features) in (group.features, "")
    ]


def control_text(control: dict) -> str:
    """``identity: AUC 0.710, required ≥ 0.99``."""
    metric = METRIC_NAMES.get(control.get("metric", ""), control.get("metric", ""))
    measured = number_or_text(control.get("measured"))
    return f"{control.get('control', '')}: {metric} {measured}, required {number_or_text(control.get('required'))}"


def number_or_text(value: Any) -> str:
    """A count as it is, a number with three digits, anything else as one line of text."""
    if value is None:
        return figures.NO_FIGURE
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return f"{value:,}"
    return figures.number(float(value)) if isinstance(value, (float, np.floating)) else plain(value)


def plain(value: Any) -> str:
    """Any value of ``info`` as one line of text."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value))
    return json.dumps(value, ensure_ascii=False, default=str)


def _utility_metrics(group: Group, chosen: tuple[str, str] | None) -> list[str]:
    """The metrics of the ranking utility that are columns of the table, the ranking one first."""
    if chosen is None:
        return []
    key = (chosen[0], "", 0.0)
    found = {m for row in group.rows if key in row.utilities for m in row.utilities[key].metrics}
    return [m for m in UTILITY_METRICS[:2] if m in found] or [chosen[1]]


def _utility_start(group: Group, chosen: tuple[str, str] | None) -> float:
    """Where the axis of the utility column starts: a tenth at or below all of its figures."""
    key = (chosen[0] if chosen else "", "", 0.0)
    cells = [row.utilities[key] for row in group.rows if key in row.utilities]
    found = [cell.figure(metric) for cell in cells for metric in _utility_metrics(group, chosen)]
    lows = [v for f in found if f is not None for v in (f.value, f.low) if not math.isnan(v)]
    return max(0.0, min(0.9, math.floor(10 * min(lows, default=0.0)) / 10))


def _attack_metrics(group: Group) -> tuple[list[str], list[str]]:
    """The metrics that most attacks have, and those of a few alone; as :data:`METRIC_NAMES` has them, then others."""
    attacks: dict[str, set[tuple[str, str]]] = {}
    for row in group.rows:
        for attack, cell in row.attacks.items():
            for metric in cell.metrics:
                attacks.setdefault(metric, set()).add(attack)
    found = [
        *(m for m in METRIC_NAMES if m in attacks),
        *(m for m in attacks if m not in METRIC_NAMES),
    ]
    most = len(set().union(*attacks.values())) / 2
    common = [m for m in found if len(attacks[m]) > most]
    return common, [m for m in found if m not in common]


def _conditions(group: Group, chosen: tuple[str, str] | None) -> list[Condition]:
    """What the second utility table shows: the clean figures of the other utilities."""
    found = []
    for utility, perturbation, severity in utility_columns(group):
        if perturbation or (chosen is not None and utility == chosen[0]):
            continue
        key = (utility, perturbation, severity)
        cells = [row.utilities[key] for row in group.rows if key in row.utilities]
        metrics = dict.fromkeys(m for cell in cells for m in cell.metrics)
        errors = ("balanced_error", MEAN_ERROR)  # those have a table of their own
        found += [("", severity, utility, metric) for metric in metrics if metric not in errors]
    return found


# ---------------------------------------------------------------- cells without a figure


def _problems(group: Group, rows: list[RowView]) -> tuple[list[dict], list[dict]]:
    """Cells without a figure, one entry for each cause: (should have one, cannot have one)."""
    merged: dict[tuple, dict[str, Any]] = {}
    for label, problem in _all_problems(group, rows):
        key = (label, problem.what, problem.status, problem.reason)
        entry = merged.setdefault(key, {"row": label, "problem": problem, "seeds": [], "keys": []})
        if problem.seed is not None and problem.seed not in entry["seeds"]:
            entry["seeds"].append(problem.seed)
        if problem.key and problem.key not in entry["keys"]:
            entry["keys"].append(problem.key)
    entries = list(merged.values())
    absent = [e for e in entries if e["problem"].status in ABSENT]
    return absent, [e for e in entries if e["problem"].status not in (*ABSENT, "void")]


def _all_problems(group: Group, rows: list[RowView]):
    for problem in group.problems:
        yield "", problem
    for view in rows:
        cells = [*view.row.attacks.values(), *view.row.utilities.values()]
        for problem in [*view.row.problems, *(p for cell in cells for p in cell.problems)]:
            yield view.label, problem


# ---------------------------------------------------------------- charts


def _plane(
    rows: list[RowView], level: int, chosen: tuple[str, str] | None, axis: str
) -> Chart | None:
    """Worst-case AUC against utility, or against robustness: one minus the mean error on perturbed records."""
    points, shown = [], []
    for view in rows:
        standing = view.views[level]
        worst = standing.worst.get("auc")
        useful = standing.utility if axis == "utility" else standing.robustness
        if worst is None or useful is None or not (worst.known and useful.known):
            continue
        x = (useful.value, useful.low, useful.high)
        if axis == "robustness":
            x = (1 - useful.value, 1 - useful.high, 1 - useful.low)
        best = standing.pareto if axis == "utility" else standing.robust_pareto
        points.append(Point(view.label, view.style, x, (worst.value, worst.low, worst.high), best))
        shown.append(view)
    if not points or chosen is None:
        return None
    front = [p.name for p in sorted(points, key=lambda p: p.x[0]) if p.front]
    measure = METRIC_NAMES.get(chosen[1], chosen[1]).lower()
    title = f"Utility: {measure}"
    if axis == "robustness":
        measure, title = "one minus the mean balanced error", "Robustness: 1 − mean balanced error"
    svg = charts.plane(points, title, "Leak (worst-case AUC)", x_name=axis)
    description = (
        f"{axis.capitalize()}–privacy plane of {len(points)} releases: {measure} against worst-case AUC, lower right "
        f"is better; the figures are in the table above. On the Pareto front, from least to most "
        f"{'useful' if axis == 'utility' else 'robust'}: {', '.join(front) or 'none'}."
    )
    return Chart(svg, description, shown, {name: "Pareto front" for name in front})


def _roc(group: Group, rows: list[RowView], level: int, index: dict) -> Chart | None:
    resolution = _resolution(group)
    lines: list[Line] = []
    shown, notes = [], {}
    for view in rows:
        standing = view.views[level]
        worst = standing.worst.get("auc")
        attack = worst.reason if worst is not None and worst.known else ""
        curve = _curve_of(group, view.row, attack, index)
        if curve is None:
            continue
        lines.append(Line(view.label, view.style, *curve))
        shown.append(view)
        notes[view.label] = attack
    if not lines:
        return None
    text = "; ".join(f"{line.name}: TPR {tpr_at(line, 0.01)} at 1 % FPR" for line in lines)
    description = f"ROC curves of the worst attack on each release, both axes logarithmic. {text}."
    return Chart(charts.roc(lines, resolution), description, shown, notes, lines)


def figure_at(line: Line, fpr: float) -> Figure:
    """The mean TPR of a curve at an FPR, with the limits of its band; without a value where none can be resolved."""
    if line.fpr[0] > fpr:
        reason = f"the curve resolves no FPR finer than {figures.number(float(line.fpr[0]))}"
        return Figure(math.nan, reason=reason)
    place = np.searchsorted(line.fpr, fpr * (1 + 1e-9), side="right") - 1
    value, low, high = (float(curve[place]) for curve in (line.tpr, line.low, line.high))
    return Figure(value, low, high)


def tpr_at(line: Line, fpr: float) -> str:
    """The mean TPR of a curve at an FPR, as text."""
    figure = figure_at(line, fpr)
    return figures.number(figure.value) if figure.known else "not resolvable"


def _resolution(group: Group) -> float:
    """The finest FPR of the group: one over the non-members of the smallest seed."""
    counts = [
        f.n_nonmembers
        for row in group.rows
        for cell in row.attacks.values()
        for fs in ([*cell.by_seed.values()] or [[*cell.aggregated.values()]])
        for f in fs
        if not math.isnan(f.n_nonmembers) and f.n_nonmembers > 1
    ]
    return 1 / min(counts) if counts else 1e-3


Band = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""A curve as (fpr, tpr, low, high)."""

Curves = dict[tuple, dict[tuple[str, str], Band]]
"""Curves by (dataset, features, method, parameters), then by attack and its parameters."""


def index_curves(curves: pd.DataFrame | None) -> Curves:
    """The curves over all seeds by (dataset, features, method, parameters), then by attack and its parameters."""
    index: Curves = {}
    if curves is None or curves.empty or "low" not in curves:
        return index
    whole = curves[curves["seed"].isna()]
    names = ["dataset", "features", "method", "method_params", "attack", "attack_params"]
    texts = {
        name: whole.get(name, pd.Series("", whole.index)).fillna("").astype(str) for name in names
    }
    for key, part in whole.assign(**texts).groupby(names, sort=False):
        fpr, tpr, low, high = (part[n].to_numpy(float) for n in ("fpr", "tpr", "low", "high"))
        index.setdefault(key[:4], {})[key[4:6]] = (fpr, tpr, low, high)
    return index


def attack_curves(view: GroupView, row: RowView, index: Curves) -> Chart | None:
    """The ROC curves of every attack on one row that has one, void ones apart."""
    place = (view.group.dataset, view.group.features, row.row.method, row.row.params)
    here = index.get(place, {})
    lines: list[Line] = []
    for number, a in enumerate(view.columns):
        curve = next((here[k] for k in (a.column.key, (a.column.attack, "")) if k in here), None)
        if curve is not None and cell_of(row.row, a.column).status == "ok":
            name = view.brief(a.column.label or a.column.attack)
            lines.append(Line(name, Style(number), *curve))
    if not lines:
        return None
    text = "; ".join(f"{line.name}: TPR {tpr_at(line, 0.01)} at 1 % FPR" for line in lines)
    description = f"ROC curves of the attacks on {row.label}, both axes logarithmic. {text}."
    return Chart(charts.roc(lines, _resolution(view.group)), description, [row], lines=lines)


def _curve_of(group: Group, row: Row, name: str, index: dict) -> Band | None:
    """The curve of the attack that a worst case names, by its label where several bear the name."""
    here = index.get((group.dataset, group.features, row.method, row.params), {})
    columns = [column for column in group.columns if column.called(name)]
    columns.sort(key=lambda column: column.label != name)
    for column in columns:
        for key in (column.key, (column.attack, "")):
            if key in here:
                return here[key]
    return None


# ---------------------------------------------------------------- who is exposed


@dataclass
class Exposed:
    """The subgroup of a row's units with the highest AUC under any attack of an access level."""

    row: RowView
    subgroup: str
    attack: str
    auc: Figure
    tpr: Figure | None
    everybody: Figure | None
    n_subgroups: int


def exposed_at(group: Group, rows: list[RowView], level: str) -> list[Exposed]:
    """One entry for each row that has figures of subgroups; void attacks do not count."""
    found = []
    for view in rows:
        figures = {
            (column.label or column.attack, name): (figure, cell)
            for column in group.columns
            if access_rank(column.access) <= access_rank(level) or not level
            for cell in [view.row.attacks.get(column.key)]
            if cell is not None and cell.status != "void"
            for (name, metric), figure in cell.subgroups.items()
            if metric == "auc" and figure.known
        }
        if figures:
            attack, name = max(figures, key=lambda key: figures[key][0].value)
            figure, cell = figures[attack, name]
            names = {name for _, name in figures}
            tpr = cell.subgroups.get((name, TPR_METRIC))
            found.append(Exposed(view, name, attack, figure, tpr, cell.figure("auc"), len(names)))
    return found


def exposed_records(group: Group, rows: list[RowView], info: dict) -> list[tuple[RowView, dict]]:
    """What the run says of the most exposed records of each row."""
    here = [
        e
        for e in info.get("exposed", [])
        if (e.get("dataset"), e.get("features")) == (group.dataset, group.features)
    ]
    return [
        (view, e)
        for view in rows
        for e in here
        if (e.get("method"), e.get("method_params")) == (view.row.method, view.row.params)
    ]


def copied_pairs(
    group: Group, rows: list[RowView], info: dict
) -> list[tuple[RowView, str, dict[str, Any]]]:
    """What the run says of released records that are copies of candidates: row of a method, attack, entry.

    Controls are left out, and attacks that are void here.
    """
    return [found for found in _answers("pairs", group, rows, info) if not found[0].row.control]


def picture_sheets(
    group: Group, rows: list[RowView], info: dict
) -> list[tuple[RowView, str, dict[str, Any]]]:
    """What the run shows of pictures that attacks grew or recovered: row of a method, attack, entry.

    Controls are shown too, since what an attack makes of the members themselves says what it can do. Of a dataset that
    is not declared public there are none, whatever the run hands over.
    """
    about: dict[str, Any] = _dataset_of(group, info)
    return _answers("pictures", group, rows, info) if about.get("public") is True else []


def _answers(
    kind: str, group: Group, rows: list[RowView], info: dict
) -> list[tuple[RowView, str, dict[str, Any]]]:
    """Entries of a list of the run, by the rows and by attacks that are not void there."""
    labels = {c.key: c.label or c.attack for c in group.columns}
    return [
        (view, labels[e["attack"], e["attack_params"]], e)
        for view in rows
        for e in info.get(kind, [])
        if (e["dataset"], e["features"]) == (group.dataset, group.features)
        and (e["method"], e["method_params"]) == (view.row.method, view.row.params)
        and (e["attack"], e["attack_params"]) in labels
        and not _is_void(view.row, (e["attack"], e["attack_params"]))
    ]


def _is_void(row: Row, attack: tuple[str, str]) -> bool:
    return attack in row.attacks and row.attacks[attack].status == "void"


# ---------------------------------------------------------------- the overview


def overview(groups: list[GroupView], confidence: float = 0.95) -> list[dict[str, Any]]:
    """One entry for each method: its row in every section, None where it did not take part; best first.

    ``shares`` says for each access level on how many of its datasets it is on the Pareto front. Controls are left out.
    """
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    for place, view in enumerate(groups):
        for row in view.methods:
            key = (row.row.method, row.row.params)
            entry = entries.setdefault(key, {"row": row, "cells": [None] * len(groups)})
            entry["cells"][place] = row
    for entry in entries.values():
        views = [row.views for row in entry["cells"] if row is not None]
        entry["shares"] = [
            front_share(list(level), confidence) for level in zip(*views, strict=True)
        ]
    return sorted(entries.values(), key=_overview_order)


def _overview_order(entry: dict[str, Any]) -> tuple:
    """By the share of datasets on whose front a row is, then by that of datasets on which nothing was found."""
    share: FrontShare = entry["shares"][-1]
    last: list[Standing] = [row.views[-1] for row in entry["cells"] if row is not None]
    quiet = sum(standing.verdict == "no leak found" for standing in last)
    return (-share.on / share.n if share.n else 1, -quiet / len(last))


def cell_of(row: Row, column: Column) -> Cell:
    """A row's cell below an attack; an empty one where there is no record."""
    return row.attacks.get(column.key, Cell())
