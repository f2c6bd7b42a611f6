"""Who comes before whom, and how sure that is.

A rank is an interval. With *b* rows surely better than row *i* and *w* surely worse, among *n* ranked rows, *i* has a
rank from ``1 + b`` to ``n − w``; where none is surely better rows tie. Where the results compare two rows on the same
candidates and coins, or on the same test records, the row with the smaller worst case, or the larger utility, is
*better* when the interval of the difference leaves out 0; where they do not (tables of other runs, and utilities that
make no predictions), when the two rows' own intervals do not overlap.

Controls are references and are not ranked. A row with a missing cell, or one that is void on this row alone, is not
ranked either, since a worst case over fewer attacks looks more private than it is. Attacks voided by their control,
attacks that do not apply to a release, and attacks that could not run on any row for want of an optional package,
demand nothing of a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pandas as pd

from benchmark.statistics import Estimate, Rank, count_interval, pareto_front, ranks
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
from leaderboards.figures import number

PRIVACY_METRIC = "auc"
UTILITY_METRICS = ("balanced_accuracy", "macro_auroc", "accuracy")
"""What utility is ranked by: the first of these that a group has."""

TPR_METRIC = "tpr@0.01"

CLEAN_ERROR, MEAN_ERROR = "balanced_error", "mean_balanced_error"
"""Errors on clean test records, and on perturbed ones: the mean over severities, then over perturbations."""

VERDICTS = {
    "not judged": "the method does not respond to its members: releases for different members are the same, so that "
    "no attack could tell members from non-members, whatever the release holds; or every record was a member, and no "
    "coins were tossed",
    "void": "the release holds near-copies of records that the method cannot have seen, more than chance gives: it was "
    "not made from the members alone, and its figures say nothing",
    "violation": "a claim of the method is refuted: by an attack, or by its own parameters",
    "leak": "the interval of the worst case lies above chance (AUC 0.5), or a lower bound on ε above 0 that holds "
    "together with it: members can be told from non-members, all of them a little or a few of them surely, because "
    "they are nearer to the release than chance, or because they are farther",
    "no leak found": "the worst case reaches chance, and so does ε: these attacks, at this sample size, showed "
    "nothing, which is not a proof of privacy; beside it stands the least AUC that would have been found with 80 % "
    "power",
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
    shown_by: list[str] = field(default_factory=list)
    pareto: bool = False
    clean_error: Figure | None = None
    robustness: Figure | None = None
    robust_pareto: bool = False

    @property
    def pareto_frequency(self) -> float:
        """Share of draws in which a ranked row is on the Pareto front; NaN where it is not known."""
        share = self.worst.get("pareto_frequency")
        return math.nan if share is None or self.utility_rank is None else share.value

    @property
    def ranked(self) -> bool:
        """Whether the row takes part in the ranking."""
        return not self.unranked


@dataclass(frozen=True)
class FrontShare:
    """On how many of the datasets on which a row is ranked it is on the Pareto front, with an interval."""

    on: int
    n: int
    low: float
    high: float
    unranked: int


def front_share(found: list[Standing], confidence: float = 0.95) -> FrontShare:
    """How often a row is on the Pareto front, over its standings on several datasets.

    The interval says what the uncertainty of the figures leaves: on each dataset the row is on the front in a share of
    the draws from the intervals of its figures, independently of the others. It is about these datasets alone and no
    others like them. NaN where a share is not known.
    """
    ranked = [s for s in found if s.ranked and s.utility_rank is not None]
    shares = [s.pareto_frequency for s in ranked]
    low, high = (math.nan, math.nan)
    if shares and not any(map(math.isnan, shares)):
        low, high = count_interval(shares, confidence)
    return FrontShare(
        sum(s.pareto for s in ranked), len(ranked), low, high, len(found) - len(ranked)
    )


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
    """The (utility, perturbation, severity) with a figure on some row; clean ones first, in the suite's order."""
    keys = {key: None for row in group.rows for key, cell in row.utilities.items() if cell.metrics}
    return [*(k for k in keys if not k[1]), *sorted(k for k in keys if k[1])]


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
        found += _absences(_name_of(group, column), cell)
    for utility, perturbation, severity in utility_columns(group):
        if perturbation and not severity:  # a mean over severities
            continue
        cell = row.utilities.get((utility, perturbation, severity), Cell())
        where = f" under {perturbation} {severity:g}" if perturbation else ""
        clean = row.utilities.get((utility, "", 0.0), Cell())
        if not (perturbation and clean.problems):  # said once, of the clean records
            found += _absences(utility + where, cell)
    return found


def _name_of(group: Group, column: Column) -> str:
    """An attack's label; without one its name, with its parameters where it takes part more than once."""
    several = sum(c.attack == column.attack for c in group.columns) > 1
    return column.label or variant(column.attack, column.params if several else "")


def _absences(name: str, cell: Cell) -> list[str]:
    if cell.status == "no record":
        return [f"{name}: no record"]
    if cell.status == "void":  # on this row alone
        return [f"{name}: void, {cell.why_void}"]
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
            standing.clean_error = cell.figure(CLEAN_ERROR) if cell else None
            standing.robustness = cell.figure(MEAN_ERROR) if cell else None
        standing.unranked = _why_unranked(group, standing)
        standing.shown_by = leaks(group, standing)
        standing.verdict = verdict(group, standing)
        found.append(standing)
    _give_ranks([s for s in found if s.ranked], access, chosen[0] if chosen else "")
    return sorted(found, key=_order)


def _worst_is_sound(group: Group, worst: Figure | None) -> bool:
    """Whether there is a worst case, and some attack of its name passed its controls."""
    if worst is None or not worst.known or worst.status != "ok":
        return False
    named = [column for column in group.columns if column.called(worst.reason)]
    return not named or not all(group.void(column) for column in named)


def _why_unranked(group: Group, standing: Standing) -> str:
    worst = standing.worst.get(PRIVACY_METRIC)
    if standing.row.control:
        return "control"
    if standing.row.bar:
        return ": ".join(standing.row.bar)
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
    if standing.row.bar:
        return standing.row.bar[0]
    if standing.row.violations:
        return "violation"
    if worst is None or not _worst_is_sound(group, worst):
        return "incomplete"
    if leaks(group, standing):
        return "leak"
    return "incomplete" if standing.missing else "no leak found"


def leaks(group: Group, standing: Standing) -> list[str]:
    """The figures of the worst case that show a leak: ``AUC``, ``ε`` or both.

    Copies of one member in a hundred move no AUC, yet certify an ε. The bound on ε is the one that holds together with
    the interval of AUC, so that to look at both costs no more errors than to look at one.
    """
    auc = standing.worst.get(PRIVACY_METRIC)
    epsilon = standing.worst.get("epsilon_lower")
    shown = {
        "AUC": auc is not None and auc.low > 0.5 and _worst_is_sound(group, auc),
        "ε": epsilon is not None and epsilon.value > 0 and _worst_is_sound(group, epsilon),
    }
    return [name for name, so in shown.items() if so]


def _safer(one: Standing, other: Standing, access: str) -> bool:
    """Whether the worst case of one row is surely the smaller."""
    difference = one.row.difference_at(access, other.row)
    if difference is not None:
        return difference.high < 0
    mine, theirs = (_estimate(s.worst[PRIVACY_METRIC]) for s in (one, other))
    return bool(mine.high < theirs.low)


def found_words(standing: Standing) -> str:
    """Which way the members of a leak stand out, or the least leak that would have been found where none was."""
    worst = standing.worst.get(PRIVACY_METRIC)
    if standing.verdict == "leak" and worst is not None and worst.direction:
        return f"members are {worst.direction} than chance" if worst.low > 0.5 else ""
    least = standing.worst.get("detectable_auc")
    if standing.verdict != "no leak found" or least is None:
        return ""
    if not least.known:
        return "no AUC would have been found with 80 % power: too few candidates"
    return f"an AUC of {number(least.value)} would have been found with 80 % power"


def _more_useful(one: Standing, other: Standing, utility: str) -> bool:
    """Whether the utility of one row is surely the larger."""
    difference = one.row.useful_difference(utility, other.row)
    if difference is not None:
        return difference.low > 0
    mine, theirs = (_estimate(s.utility or _NOTHING) for s in (one, other))
    return bool(mine.low > theirs.high)


def _give_ranks(ranked: list[Standing], access: str, utility: str) -> None:
    spans = ranks([[_safer(one, other, access) for other in ranked] for one in ranked])
    for standing, span in zip(ranked, spans, strict=True):
        standing.privacy_rank = _ends(span)
    useful = [s for s in ranked if s.utility is not None and s.utility.known]
    utilities = [_estimate(s.utility) for s in useful if s.utility is not None]
    beats = [[_more_useful(one, other, utility) for other in useful] for one in useful]
    for standing, span in zip(useful, ranks(beats), strict=True):
        standing.utility_rank = _ends(span)
    costs = [s.worst[PRIVACY_METRIC].value for s in useful]
    front = pareto_front([u.value for u in utilities], costs)
    for standing, best in zip(useful, front, strict=True):
        standing.pareto = bool(best)
    robust = [(s, s.robustness.value) for s in ranked if s.robustness and s.robustness.known]
    costs = [s.worst[PRIVACY_METRIC].value for s, _ in robust]
    front = pareto_front([-error for _, error in robust], costs)
    for (standing, _), best in zip(robust, front, strict=True):
        standing.robust_pareto = bool(best)


def _ends(span: Rank) -> tuple[int, int] | None:
    return None if span.best is None or span.worst is None else (span.best, span.worst)


def _estimate(figure: Figure) -> Estimate:
    """The figure for statistics; one without an interval is a point."""
    low = figure.value if math.isnan(figure.low) else figure.low
    high = figure.value if math.isnan(figure.high) else figure.high
    return Estimate(figure.value, low, high, figure.interval, figure.reason)


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
        rows that no ranked row beats on both utility and worst-case AUC; ``pareto_frequency`` is the share of draws
        from the intervals in which that is so. ``robustness_error`` is the balanced error of the ranking utility on
        perturbed records (mean over severities, then over perturbations), beside the ``clean_error``; ``robust_pareto``
        marks rows that no ranked row beats on both that and worst-case AUC.
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
    *("privacy_rank", "privacy_rank_to", "utility_rank", "utility_rank_to", "pareto"),
    *("pareto_frequency", "verdict"),
    *("worst_attack", "worst_auc", "worst_auc_low", "worst_auc_high"),
    *("worst_tpr_attack", "worst_tpr@0.01", "worst_tpr@0.01_low", "worst_tpr@0.01_high"),
    *("epsilon_attack", "epsilon_lower", "epsilon_ceiling", "epsilon_lower_gdp"),
    *("utility", "utility_metric", "utility_value", "utility_low", "utility_high"),
    *("clean_error", "robustness_error", "robustness_error_low", "robustness_error_high"),
    "robust_pareto",
    *(
        "claimed_epsilon",
        "claimed_delta",
        "accountant",
        "recomputed_epsilon",
        "measured_epsilon",
        "k_anonymity",
        "violation",
        "warning",
        "fit_duration_s",
    ),
]

_NOTHING = Figure(math.nan)


def _record(group: Group, standing: Standing, access: str) -> dict:
    row, worst = standing.row, standing.worst
    auc, tpr = worst.get("auc", _NOTHING), worst.get(TPR_METRIC, _NOTHING)
    epsilon, utility = worst.get("epsilon_lower", _NOTHING), standing.utility or _NOTHING
    claim, robust = row.fact("claimed_epsilon") or _NOTHING, standing.robustness or _NOTHING
    chosen = utility_metric(group) or ("", "")
    values = (
        *(group.dataset, group.features, row.method, row.params, row.label or row.method),
        *(row.control, access),
        *(standing.ranked, standing.unranked),
        *(standing.privacy_rank or (None, None)),
        *(standing.utility_rank or (None, None)),
        *(standing.pareto, standing.pareto_frequency, standing.verdict),
        *(auc.reason, auc.value, auc.low, auc.high),
        *(tpr.reason if tpr.known else "", tpr.value, tpr.low, tpr.high),
        *(epsilon.reason, epsilon.value, epsilon_ceiling(group, row, worst).value),
        worst.get("epsilon_lower_gdp", _NOTHING).value,
        *(*chosen, utility.value, utility.low, utility.high),
        *((standing.clean_error or _NOTHING).value, robust.value, robust.low, robust.high),
        standing.robust_pareto,
        *(claim.value, (row.fact("claimed_delta") or _NOTHING).value, claim.interval),
        *(
            (row.fact(name) or _NOTHING).value
            for name in ("recomputed_epsilon", "measured_epsilon")
        ),
        (row.fact("k_anonymity") or _NOTHING).value,
        "; ".join(dict.fromkeys(row.violations)),
        "; ".join(dict.fromkeys(row.warnings)),
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
