"""Differences that a claim speaks of, paired on the same test records: from stored predictions to a table.

Two figures of one seed are measured on the same records. Their own intervals do not say how much of their error they
have in common; the predictions do. So wherever a claim compares two methods by what a classifier that learned from
their releases is worth, the difference is computed from both classifiers' answers (:func:`paired_difference
<benchmark.statistics.paired_difference>`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from benchmark.judge.claims import Comparison, judge_claims
from benchmark.judge.figures import load_test_groups, overlap
from benchmark.judge.results import cell_status
from benchmark.plan import Cell, Plan
from benchmark.statistics import Estimate, paired_difference
from benchmark.store import Record, Store
from benchmark.suite import Claim, ClaimFigure

__all__ = ["PAIRED_COLUMNS", "PAIRED_METRICS", "paired_differences"]

PAIRED_METRICS = ("macro_auroc", "balanced_accuracy", "accuracy")

PAIRED_COLUMNS = (
    *("dataset", "features", "metric", "utility", "perturbation", "severity", "seed"),
    *("left", "right", "value", "ci_low", "ci_high", "ci_method", "shared"),
)
"""Columns of ``differences.parquet``; ``shared`` is the share of test records that two seeds have in common."""


def paired_differences(
    plan: Plan,
    store: Store,
    records: Mapping[str, Record],
    frame: pd.DataFrame,
    claims: Sequence[Claim],
    confidence: float,
) -> pd.DataFrame:
    """One row for each pair of methods that a claim compares, seed and severity, with :data:`PAIRED_COLUMNS`."""
    rows: dict[tuple[object, ...], dict[str, object]] = {}
    shared: dict[tuple[str, str], float] = {}
    for c in judge_claims(frame, claims, confidence):
        for left, right, condition in _cells(plan, records, c):
            place = left.dataset, left.features
            if place not in shared:
                games = [x.game for x in plan.cells if (x.dataset, x.features) == place]
                done = [g for g in dict.fromkeys(games) if g in records]
                shared[place] = overlap(store, done, "test")
            name, severity = condition[1]
            row = {
                "dataset": c.dataset,
                "features": c.features,
                "metric": c.claim.left.metric,
                "utility": c.utility,
                "perturbation": name,
                "severity": severity,
                "seed": left.seed,
                "left": c.left,
                "right": c.right,
            }
            key = tuple(row.values())
            if key not in rows:
                found = _difference(
                    store, left, right, condition[0], c.claim.left.metric, confidence
                )
                limits = {"ci_low": found.low, "ci_high": found.high, "ci_method": found.method}
                rows[key] = {**row, "value": found.value, **limits, "shared": shared[place]}
    return pd.DataFrame(list(rows.values()), columns=list(PAIRED_COLUMNS))


def _cells(
    plan: Plan, records: Mapping[str, Record], c: Comparison
) -> Iterator[tuple[Cell, Cell, tuple[str, tuple[str, int]]]]:
    """The two utilities of each seed that a comparison is of, with each condition: its artifact, name and severity."""
    claim = c.claim
    right = claim.right
    if not (isinstance(right, ClaimFigure) and c.n_seeds and c.utility):
        return
    asked = (claim.left.metric, claim.left.perturbation, claim.left.severities)
    if asked[0] not in PAIRED_METRICS or asked != (
        right.metric,
        right.perturbation,
        right.severities,
    ):
        return
    cells: dict[str, dict[int, Cell]] = {c.left: {}, c.right: {}}
    for cell in plan.cells:
        if (
            cell.kind == "utility"
            and cell.method is not None
            and cell.method.label in cells
            and (cell.dataset, cell.features) == (c.dataset, c.features)
            and cell.utility is not None
            and cell.utility.label == c.utility
            and cell_status(plan, records, cell)[0] == "ok"
        ):
            cells[cell.method.label][cell.seed] = cell
    for seed, one in cells[c.left].items():
        other = cells[c.right].get(seed)
        if other is None or other.game != one.game:
            continue
        for artifact, (name, severity) in {"clean": ("", 0), **one.conditions}.items():
            wanted = not claim.left.severities or severity in claim.left.severities
            if (
                name == c.perturbation
                and wanted
                and f"{artifact}.npz" in records[one.key].artifacts
            ):
                yield one, other, (artifact, (name, severity))


def _difference(
    store: Store, left: Cell, right: Cell, condition: str, metric: str, confidence: float
) -> Estimate:
    ours, theirs = (store.arrays(cell.key, condition) for cell in (left, right))
    found: Estimate = paired_difference(
        metric,
        ours["probabilities"],
        theirs["probabilities"],
        ours["labels"],
        confidence,
        load_test_groups(store, left),
    )
    return found
