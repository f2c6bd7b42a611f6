"""Who comes before whom, and how sure that is.

A rank is an interval. Row *i* is *better* than row *j* when their intervals do not overlap and *i*'s lies on the
better side; with *b* rows better than *i* and *w* rows worse, among *n* ranked rows, *i* has a rank from ``1 + b`` to
``n − w``. Rows whose intervals overlap tie: none of them is better than the other.

Controls are references and are not ranked. A row with a missing cell is not ranked either, since a worst case over
fewer attacks looks more private than it is. Attacks voided by their control, attacks that do not apply to a release,
and attacks that could not run on any row for want of an optional package, demand nothing of a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from leaderboards.board import (
    ABSENT,
    Board,
    Cell,
    Column,
    Figure,
    Group,
    Row,
    access_rank,
    read_board,
    variant,
)

PRIVACY_METRIC = "auc"
UTILITY_METRICS = ("balanced_accuracy", "macro_auroc", "accuracy")
"""What utility is ranked by: the first of these that a group has."""

TPR_METRIC = "tpr@0.01"

VERDICTS = {
    "violation": "the measured ε lower bound lies above the ε that the method claims",
    "leak": "the interval of the worst case lies above chance (AUC 0.5): members can be told from non-members",
    "no leak found": "the interval of the worst case reaches chance: these attacks, at this sample size, showed "
    "nothing, which is not a proof of privacy",
    "incomplete": "no leak shown, but cells are missing, so nothing can be said",
}
"""What a row's verdict can be, in order of precedence, and what it means."""


@dataclass
class Standing:
    """A row under one access level: its ranks as (from, to), its verdict, and why it is not ranked."""

    row: Row
    worst: dict[str, Figure]
    utility: Figure | None = None
    missing: list[str] = field(default_factory=list)
    unranked: str = ""
    privacy_rank: tuple[int, int] | None = None
    utility_rank: tuple[int, int] | None = None
    verdict: str = "incomplete"
    pareto: bool = False

    @property
    def ranked(self) -> bool:
        """Whether the row takes part in the ranking."""
        return not self.unranked


def rank_intervals(
    lows: Sequence[float], highs: Sequence[float], *, higher_is_better: bool
) -> list[tuple[int, int]]:
    """Ranks, as (from, to), of intervals compared in pairs; intervals that touch overlap.

    >>> rank_intervals([0.1, 0.2, 0.6], [0.3, 0.4, 0.7], higher_is_better=False)
    [(1, 2), (1, 2), (3, 3)]
    """
    if higher_is_better:
        lows, highs = [-high for high in highs], [-low for low in lows]
    n = len(lows)
    better = [sum(highs[j] < lows[i] for j in range(n)) for i in range(n)]
    worse = [sum(lows[j] > highs[i] for j in range(n)) for i in range(n)]
    return [(1 + b, n - w) for b, w in zip(better, worse, strict=True)]


def pareto_front(costs: Sequence[float], gains: Sequence[float]) -> list[bool]:
    """Which points no other point beats: none has at most its cost and at least its gain, and differs.

    >>> pareto_front([0.5, 0.6, 0.6], [0.7, 0.9, 0.8])
    [True, True, False]
    """
    points = list(zip(costs, gains, strict=True))
    return [
        not any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in points)
        for cost, gain in points
    ]


def demanded(group: Group, access: str) -> list[Column]:
    """The attacks within ``access`` of which a ranked row must have a figure, unless they do not apply to it."""
    excused = {"unavailable", "not applicable", "no record"}
    return [
        column
        for column in group.columns
        if access_rank(column.access) <= access_rank(access) or not access
        if not group.void(column) and not group.column_statuses(column) <= excused
    ]


def utility_columns(group: Group) -> list[tuple[str, str, float]]:
    """The (utility, perturbation, severity) of a group that have a figure on some row, clean ones first."""
    keys = {key: None for row in group.rows for key, cell in row.utilities.items() if cell.metrics}
    return sorted(keys, key=lambda key: (bool(key[1]), key))


def utility_metric(group: Group) -> tuple[str, str] | None:
    """The (utility, metric) that ranks a group, or None where no utility has such a figure."""
    for utility, perturbation, severity in utility_columns(group):
        if perturbation:
            continue
        key = (utility, perturbation, severity)
        found = {
            m for row in group.rows if key in row.utilities for m in row.utilities[key].metrics
        }
        for metric in UTILITY_METRICS:
            if metric in found:
                return utility, metric
    return None


def missing_cells(group: Group, row: Row, access: str) -> list[str]:
    """What a row lacks under ``access``: one text a cell, with the reason."""
    if row.problems:
        return [f"fit {p.status}: {p.reason}" for p in row.problems]
    found = []
    for column in demanded(group, access):
        cell = row.attacks.get(column.key, Cell())
        found += _absences(variant(column.attack, _params_of_note(group, column)), cell)
    for utility, perturbation, severity in utility_columns(group):
        cell = row.utilities.get((utility, perturbation, severity), Cell())
        where = f" under {perturbation} {severity:g}" if perturbation else ""
        found += _absences(utility + where, cell)
    return found


def _params_of_note(group: Group, column: Column) -> str:
    """An attack's parameters, where it takes part more than once."""
    return column.params if sum(c.attack == column.attack for c in group.columns) > 1 else ""


def _absences(name: str, cell: Cell) -> list[str]:
    if cell.status == "no record":
        return [f"{name}: no record"]
    return [
        f"{name}{'' if p.seed is None else f', seed {p.seed}'}: {p.status}, {p.reason}"
        for p in cell.problems
        if p.status in ABSENT
    ]


def standings(group: Group, access: str) -> list[Standing]:
    """All rows of a group under an access level: controls first, then by privacy rank, unranked rows last."""
    chosen = utility_metric(group)
    found = []
    for row in group.rows:
        standing = Standing(row, row.worst_at(access), missing=missing_cells(group, row, access))
        if chosen is not None:
            cell = row.utilities.get((chosen[0], "", 0.0))
            standing.utility = cell.figure(chosen[1]) if cell else None
        standing.unranked = _why_unranked(group, standing)
        standing.verdict = verdict(group, standing)
        found.append(standing)
    _give_ranks([s for s in found if s.ranked])
    return sorted(found, key=_order)


def _worst_is_sound(group: Group, worst: Figure | None) -> bool:
    """Whether there is a worst case, and some attack of its name passed its controls."""
    if worst is None or not worst.known or worst.status == "void":
        return False
    named = [column for column in group.columns if column.called(worst.reason)]
    return not named or not all(group.void(column) for column in named)


def _why_unranked(group: Group, standing: Standing) -> str:
    worst = standing.worst.get(PRIVACY_METRIC)
    if standing.row.control:
        return "control"
    if standing.missing:
        return "; ".join(standing.missing)
    if worst is None or not worst.known:
        return "no worst case: no attack whose controls passed has scores on this row"
    if not _worst_is_sound(group, worst):
        return f"its worst case rests on {worst.reason}, whose control failed"
    return ""


def verdict(group: Group, standing: Standing) -> str:
    """One of :data:`VERDICTS`. A leak that was shown stands, whatever else is missing."""
    worst = standing.worst.get(PRIVACY_METRIC)
    if standing.row.violations:
        return "violation"
    if worst is None or not _worst_is_sound(group, worst):
        return "incomplete"
    if worst.low > 0.5:
        return "leak"
    return "incomplete" if standing.missing else "no leak found"


def _give_ranks(ranked: list[Standing]) -> None:
    worst = [_bounds(s.worst[PRIVACY_METRIC]) for s in ranked]
    spans = rank_intervals(*_unzip(worst), higher_is_better=False)
    for standing, span in zip(ranked, spans, strict=True):
        standing.privacy_rank = span
    useful = [s for s in ranked if s.utility is not None and s.utility.known]
    utilities = [s.utility for s in useful if s.utility is not None]
    spans = rank_intervals(*_unzip([_bounds(u) for u in utilities]), higher_is_better=True)
    for standing, span in zip(useful, spans, strict=True):
        standing.utility_rank = span
    costs = [s.worst[PRIVACY_METRIC].value for s in useful]
    front = pareto_front(costs, [u.value for u in utilities])
    for standing, best in zip(useful, front, strict=True):
        standing.pareto = best


def _bounds(figure: Figure) -> tuple[float, float]:
    """The interval of a figure; a figure without one is a point."""
    low = figure.value if math.isnan(figure.low) else figure.low
    high = figure.value if math.isnan(figure.high) else figure.high
    return low, high


def _unzip(pairs: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [low for low, _ in pairs], [high for _, high in pairs]


def _order(standing: Standing) -> tuple:
    worst = standing.worst.get(PRIVACY_METRIC)
    value = worst.value if worst is not None and worst.known else math.inf
    group = 0 if standing.row.control else (1 if standing.ranked else 2)
    span = standing.privacy_rank or (0, 0)
    return (group, span if group == 1 else (0, 0), value, standing.row.method, standing.row.params)


def rank(results: pd.DataFrame, access: str | None = None) -> pd.DataFrame:
    """The ranked table: one row for each (dataset, features, method, parameters).

    Parameters
    ----------
    results : DataFrame
        Tidy results, one figure a row.
    access : str, optional
        The strongest access that the attacker may have; by default the strongest that has a worst case.

    Returns
    -------
    DataFrame
        Within a dataset and feature space, controls come first, then rows by privacy rank, then unranked rows.
        ``privacy_rank`` and ``privacy_rank_to`` (likewise for utility) are the ends of the rank interval, missing
        where a row is not ranked; ``unranked`` says why. Figures come with ``_low`` and ``_high``. ``pareto`` marks
        rows that no ranked row beats on both utility and worst-case AUC.
    """
    return rank_board(read_board(results), access)


def rank_board(board: Board, access: str | None = None) -> pd.DataFrame:
    """The ranked table of a board that was read already; see :func:`rank`."""
    level = board.levels[-1] if access is None else access
    records = [
        _record(group, standing, level)
        for group in board.groups
        for standing in standings(group, level)
    ]
    frame = pd.DataFrame.from_records(records, columns=_COLUMNS)
    spans = [name for name in frame.columns if "_rank" in name]
    return frame.astype(dict.fromkeys(spans, "Int64"))


_COLUMNS = [
    *("dataset", "features", "method", "method_params", "method_label", "control", "access"),
    *("ranked", "unranked"),
    *("privacy_rank", "privacy_rank_to", "utility_rank", "utility_rank_to", "pareto", "verdict"),
    *("worst_attack", "worst_auc", "worst_auc_low", "worst_auc_high"),
    *("worst_tpr_attack", "worst_tpr@0.01", "worst_tpr@0.01_low", "worst_tpr@0.01_high"),
    *("epsilon_attack", "epsilon_lower", "epsilon_ceiling"),
    *("utility", "utility_metric", "utility_value", "utility_low", "utility_high"),
    *(
        "claimed_epsilon",
        "claimed_delta",
        "accountant",
        "k_anonymity",
        "violation",
        "fit_duration_s",
    ),
]

_NOTHING = Figure(math.nan)


def _record(group: Group, standing: Standing, access: str) -> dict:
    row, worst = standing.row, standing.worst
    auc, tpr = worst.get("auc", _NOTHING), worst.get(TPR_METRIC, _NOTHING)
    epsilon, utility = worst.get("epsilon_lower", _NOTHING), standing.utility or _NOTHING
    claim = row.fact("claimed_epsilon") or _NOTHING
    chosen = utility_metric(group) or ("", "")
    values = (
        *(group.dataset, group.features, row.method, row.params, row.label or row.method),
        *(row.control, access),
        *(standing.ranked, standing.unranked),
        *(standing.privacy_rank or (None, None)),
        *(standing.utility_rank or (None, None)),
        *(standing.pareto, standing.verdict),
        *(auc.reason, auc.value, auc.low, auc.high),
        *(tpr.reason if tpr.known else "", tpr.value, tpr.low, tpr.high),
        *(epsilon.reason, epsilon.value, epsilon_ceiling(group, row, worst).value),
        *(*chosen, utility.value, utility.low, utility.high),
        *(claim.value, (row.fact("claimed_delta") or _NOTHING).value, claim.interval),
        (row.fact("k_anonymity") or _NOTHING).value,
        "; ".join(dict.fromkeys(row.violations)),
        (row.fact("fit_duration_s") or _NOTHING).value,
    )
    return dict(zip(_COLUMNS, values, strict=True))


def epsilon_ceiling(group: Group, row: Row, worst: dict[str, Figure]) -> Figure:
    """The greatest ε that could have been certified: of the worst case, or of the attack that it names."""
    if "epsilon_ceiling" in worst:
        return worst["epsilon_ceiling"]
    named = worst.get("epsilon_lower", _NOTHING).reason
    cells = [row.attacks[c.key] for c in group.columns if c.called(named) and c.key in row.attacks]
    figures = [cell.figure("epsilon_ceiling") for cell in cells]
    known = [figure for figure in figures if figure is not None and figure.known]
    return max(known, key=lambda figure: figure.value) if known else _NOTHING
