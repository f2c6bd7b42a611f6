"""Records and raw scores → one tidy table, one figure a row.

Everything here is recomputed from what the nodes stored; nothing is measured anew. A row has a seed, or none where it
sums up all seeds. Rows of cells without a figure carry their status and its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from benchmark.contracts import Access
from benchmark.judge.controls import (
    FAMILY_ERROR,
    Run,
    Verdict,
    count_looks,
    judge,
    void_reasons,
)
from benchmark.judge.copies import PAIR_COLUMNS, worst_pairs
from benchmark.judge.exposure import (
    EXPOSED_COLUMNS,
    SUBGROUP_METRICS,
    UnitLoader,
    exposure,
    exposure_frame,
    exposure_summary,
    subgroup_figures,
    subgroup_masks,
)
from benchmark.judge.figures import (
    BOUNDS,
    Trial,
    exact,
    load_right,
    load_robustness,
    load_test_groups,
    load_trial,
    load_utility,
    mean_over_seeds,
    mean_roc_band,
    overlap,
    trial_figures,
    trials_figure,
)
from benchmark.judge.fleets import FLEET_LOOKS, Fleet, judge_fleet, load_fleets
from benchmark.judge.guarantees import (
    Contest,
    can_refute,
    claim_figures,
    contest,
    implied,
    measured_bound,
    miscounted,
    refuted,
)
from benchmark.judge.provenance import (
    ALL_MEMBERS,
    NOT_JUDGED,
    Bar,
    Origin,
    load_origins,
    unmoved,
    unseen_copies,
)
from benchmark.judge.worst import (
    Attacked,
    compare,
    direction_of,
    judged,
    resolved_limits,
    worst_figures,
)
from benchmark.plan import Cell, Plan, shadows_of
from benchmark.resolve import ResolvedPlugin
from benchmark.statistics import (
    FARTHER,
    Estimate,
    Pair,
    SharedTest,
    compare_utilities,
    estimate_draws,
    gate_p_threshold,
    pareto_frequency,
    roc,
)
from benchmark.store import Record, Store

__all__ = ["COLUMNS", "CURVE_COLUMNS", "Results", "cell_status", "collect", "is_share"]

COLUMNS: Mapping[str, str] = {
    "suite": "string",
    "dataset": "string",
    "features": "string",
    "method": "string",
    "method_params": "string",
    "method_label": "string",
    "method_control": "bool",
    "access": "string",
    "attack": "string",
    "attack_params": "string",
    "attack_label": "string",
    "utility": "string",
    "perturbation": "string",
    "severity": "int64",
    "seed": "Int64",
    "subgroup": "string",
    "metric": "string",
    "direction": "string",
    "versus": "string",
    "value": "float64",
    "ci_low": "float64",
    "ci_high": "float64",
    "ci_method": "string",
    "seed_min": "float64",
    "seed_max": "float64",
    "n_members": "Int64",
    "n_nonmembers": "Int64",
    "status": "string",
    "reason": "string",
    "duration_s": "float64",
    "key": "string",
}
"""Columns of ``results.parquet`` and their pandas types. ``subgroup`` is empty for figures of all units;
``direction`` says which way an AUC points (``nearer``: members score higher; ``farther``: they score lower), empty
where chance is not ruled out; ``versus`` names the other method of a difference."""

CURVE_COLUMNS = (
    *("dataset", "features", "method", "method_params", "attack", "attack_params"),
    *("seed", "fpr", "tpr", "low", "high"),
)
"""Columns of ``curves.parquet``: a seed's ROC points, or, without a seed, the mean curve of the attack that is worst
on its method, with a simultaneous band (``low``, ``high``)."""

PARETO_DRAWS = 2000

VIOLATION_ERROR = 0.05
"""Chance, at most, that a sound guarantee is called violated anywhere in a run's row (Bonferroni)."""

_SHARES = (
    *("auc", "tpr@", "advantage", "flag_rate", "copy_rate", "reidentification_rate", "p_value"),
    "recovered_share",
    *("accuracy", "balanced_accuracy", "macro_auroc"),
)

_ERRORS = ("balanced_error", "mean_balanced_error")
"""Shares of which no ratio to training on the real members is taken: it divides by a number near 0."""

PAIRED_METRIC = "balanced_accuracy"
"""What methods are compared by on the same test records."""

RANKING_METRICS = (PAIRED_METRIC, "macro_auroc", "accuracy")
"""What utility is judged by: the first of these that the suite's first utility has."""

GONE = ("failed", "crashed", "timeout", "out of memory", "blocked", "missing")
"""Statuses of a cell for want of which a method cannot be compared with others."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What a run's scores come to.

    ``frame``: the tidy table; ``curves``: ROC points; ``verdicts``: the controls; ``exposed``: how exposed each record
    is to each attack; ``exposures``: what the board says of it, for each method under its worst attack; ``pairs``: the
    released records nearest to candidates, of the attacks that name them; ``paired``: the differences that a suite's
    claims are about, on the same test records (:mod:`benchmark.judge.paired`).
    """

    frame: pd.DataFrame
    curves: pd.DataFrame
    verdicts: list[Verdict]
    exposed: pd.DataFrame
    exposures: list[dict[str, Any]]
    pairs: pd.DataFrame
    paired: pd.DataFrame | None = None


def _notes(record: Record) -> dict[str, Estimate]:
    """What a plugin notes of its own work, as ``note:<name>``; figures that are judged by nobody."""
    return {
        f"note:{name}": exact(float(value), "noted by the plugin; not judged")
        for name, value in record.values.get("notes", {}).items()
        if isinstance(value, int | float) and np.isfinite(value)
    }


def cell_status(plan: Plan, records: Mapping[str, Record], cell: Cell) -> tuple[str, str]:
    """Status of a cell and the reason, with ``blocked`` and ``missing`` told apart."""
    if cell.status:
        return cell.status, cell.reason
    record = records.get(cell.key)
    if record is not None:
        return record.status, record.reason
    culprit = _blocked_by(plan, records, cell.key)
    if culprit is not None:
        return "blocked", f"{culprit.label}: {culprit.status}: {culprit.reason}"
    return "missing", "not run yet"


def _blocked_by(plan: Plan, records: Mapping[str, Record], key: str) -> Record | None:
    """The nearest node upstream that did not finish well."""
    for need in plan.nodes[key].needs:
        record = records.get(need)
        if record is not None and record.status != "ok":
            return record
        if record is None:
            found = _blocked_by(plan, records, need)
            if found is not None:
                return found
    return None


def collect(
    plan: Plan, store: Store, records: Mapping[str, Record], confidence: float = 0.95
) -> Results:
    """All figures of a run.

    Parameters
    ----------
    plan : Plan
    store : Store
        With the artifacts.
    records : mapping of str to Record
        Records of the plan's nodes by key.
    confidence : float in (0.5, 1)
        Of every interval.
    """
    collector = _Collector(plan, store, records, confidence)
    collector.attacks()
    collector.utilities()
    collector.surprises()
    collector.fits()
    collector.comparisons()
    collector.useful_pairs()
    collector.pareto()
    frame = pd.DataFrame(collector.rows, columns=list(COLUMNS)).astype(dict(COLUMNS))
    curves = _curves(collector.places, collector.runs, collector.strongest, confidence)
    return Results(
        frame=frame,
        curves=curves,
        verdicts=collector.verdicts,
        exposed=_joined(collector.exposed, EXPOSED_COLUMNS),
        exposures=collector.exposures,
        pairs=_joined(collector.pairs, PAIR_COLUMNS),
    )


# ---------------------------------------------------------------- collecting


@dataclass
class _Collector:
    """Gathers rows; the steps are called in the order of :func:`collect`."""

    plan: Plan
    store: Store
    records: Mapping[str, Record]
    confidence: float
    rows: list[dict[str, Any]] = field(default_factory=list)
    places: list[list[Cell]] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    strongest: dict[tuple[str, str, str], dict[str, str]] = field(default_factory=dict)
    leaks: dict[tuple[str, str, str], list[tuple[Cell, str, Estimate]]] = field(
        default_factory=dict
    )
    gains: dict[tuple[str, str], dict[str, dict[tuple[str, str], Estimate]]] = field(
        default_factory=dict
    )
    exposed: list[pd.DataFrame] = field(default_factory=list)
    exposures: list[dict[str, Any]] = field(default_factory=list)
    pairs: list[pd.DataFrame] = field(default_factory=list)
    voided: list[str] = field(default_factory=list)
    barred: dict[tuple[str, str, str], Bar] = field(default_factory=dict)
    untrue: dict[tuple[str, str, str], str] = field(default_factory=dict)
    test_groups: dict[str, np.ndarray | None] = field(default_factory=dict)
    overlaps: dict[tuple[tuple[str, ...], str], float] = field(default_factory=dict)
    attacked: dict[tuple[str, str], dict[str, tuple[Cell, Attacked]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.loader = UnitLoader(self.store)

    # -- rows

    def row(self, cell: Cell, **more: Any) -> None:
        """Add a row for a cell; ``more`` overrides what the cell says."""
        method, attack = cell.method, cell.attack
        record = self.records.get(cell.key)
        self.rows.append(
            {
                "suite": self.plan.resolved.suite,
                "dataset": cell.dataset,
                "features": cell.features,
                "method": method.name if method else "",
                "method_params": method.parameters_text if method else "",
                "method_label": method.label if method else "",
                "method_control": _is_control(method),
                "access": cell.access,
                "attack": attack.name if attack else "",
                "attack_params": attack.parameters_text if attack else "",
                "attack_label": attack.label if attack else "",
                "utility": cell.utility.label if cell.utility else "",
                "perturbation": "",
                "severity": 0,
                "seed": cell.seed,
                "subgroup": "",
                "metric": "",
                "direction": "",
                "versus": "",
                "value": np.nan,
                "ci_low": np.nan,
                "ci_high": np.nan,
                "ci_method": "",
                "seed_min": np.nan,
                "seed_max": np.nan,
                "n_members": pd.NA,
                "n_nonmembers": pd.NA,
                "status": "ok",
                "reason": "",
                "duration_s": record.duration_s if record else np.nan,
                "key": cell.key,
                **more,
            }
        )

    def figure_row(self, cell: Cell, metric: str, figure: Estimate, **more: Any) -> None:
        """Add a row for one estimate."""
        figure = resolved_limits(figure)
        self.row(
            cell,
            **{
                "metric": metric,
                "value": figure.value,
                "ci_low": figure.low,
                "ci_high": figure.high if np.isfinite(figure.high) else np.nan,
                "ci_method": figure.method,
                "reason": figure.reason,
                **more,
            },
        )

    def summary_row(
        self,
        cell: Cell,
        metric: str,
        figures: Sequence[Estimate],
        summary: Estimate | None = None,
        **more: Any,
    ) -> None:
        """Add the row that sums a figure up over the seeds (``summary``, or the mean) with its spread."""
        if summary is None:
            bounds = (0.0, 1.0) if is_share(metric) else (-np.inf, np.inf)
            summary = mean_over_seeds(figures, self.confidence, bounds)
        known = [f.value for f in figures if f.resolved]
        spread = {"seed_min": min(known), "seed_max": max(known)} if known else {}
        whole = {"seed": pd.NA, "key": "", "duration_s": np.nan}
        self.figure_row(cell, metric, summary, **{**whole, **spread, **more})

    # -- attacks

    def attacks(self) -> None:
        """Rows of all attack cells, their summaries, controls, worst cases and violations."""
        places = self.places = _grouped(c for c in self.plan.cells if c.kind == "attack")
        self.runs = [self._run(cells) for cells in places]
        origins = load_origins(self.plan, self.store, self.records)
        decoys = _grouped(c for c in self.plan.cells if c.kind == "decoy")
        self.judged = [
            *self.runs,
            *(r for cells in decoys if (r := self._decoy(cells)) is not None),
        ]
        fleets = load_fleets(self.plan, self.store, self.records)
        more_looks = len(origins) + FLEET_LOOKS * len(fleets)
        looks = max(count_looks(self.judged) + more_looks, 1)
        level = gate_p_threshold(looks, FAMILY_ERROR)
        self.verdicts = judge(self.judged, self.confidence, more_looks)
        self._bar(origins, level)
        known_answers = [d.label for d in self.plan.resolved.datasets if d.controls is not None]
        void = void_reasons(self.verdicts, known_answers)
        self._compare_fleets(fleets, level, looks)
        self.voided = [_void_reason(void, run) or self._untaught(run) for run in self.runs]
        for cells, run, reason in zip(places, self.runs, self.voided, strict=True):
            self._attack_rows(cells, run, reason)
        self._worst_cases(places)

    def _compare_fleets(self, fleets: Sequence[Fleet], level: float, looks: int) -> None:
        """Verdicts on shadows, and the rows whose attacks have nothing to learn from."""
        for fleet in fleets:
            verdict = judge_fleet(fleet, level, looks)
            self.verdicts.append(verdict)
            if not verdict.passed:
                self.untrue[fleet.row] = verdict.reason

    def _untaught(self, run: Run) -> str:
        """Why an attack with shadows has learnt what is not so of this method; empty where it has not."""
        shadows = run.attack.plugin is not None and shadows_of(run.attack.plugin)
        row = (run.dataset, run.features, run.method)
        return self.untrue.get(row, "") if shadows and not run.known_answer else ""

    def _bar(self, origins: Sequence[Origin], level: float) -> None:
        """Rows of what releases hold that their methods cannot have seen, and which methods are not judged for it."""
        for cell in self.plan.cells:
            status, reason = cell_status(self.plan, self.records, cell)
            fit = self.records.get(cell.fit)
            if cell.kind == "provenance" and status != "ok" and fit and fit.status == "ok":
                self.row(cell, status=status, reason=f"provenance of its records: {reason}")
        for origin in origins:
            found = exact(float(origin.total("copies")), "near-copies of unseen records, all seeds")
            self._fact_row(origin.cells[0], f"unseen_{origin.space}_copies", found)
            bars = [b for b in (unmoved(origin), unseen_copies(origin, level)) if b is not None]
            known = self.barred.get(origin.row)
            if bars and (known is None or known.status != NOT_JUDGED):
                self.barred[origin.row] = bars[0]
        cells = {origin.row: origin.cells[0] for origin in origins}
        for cell in self._all_members():
            row = cell.dataset, cell.features, cell.method.label if cell.method else ""
            cells[row], self.barred[row] = cell, Bar(status=NOT_JUDGED, reason=ALL_MEMBERS)
        for row, bar in self.barred.items():
            cell = cells[row]
            said = {"status": bar.status, "reason": bar.reason}
            self._fact_row(cell, "bar", exact(1.0, "provenance of the released records"), **said)

    def _all_members(self) -> list[Cell]:
        """A cell of each method that was fitted where no coins were tossed, of its last seed."""
        without = {d.label for d in self.plan.resolved.datasets if d.all_members}
        fits = [c for c in self.plan.cells if c.kind == "fit" and c.dataset in without and c.key]
        return list({(c.dataset, c.features, c.method.label): c for c in fits if c.method}.values())

    def _run(self, cells: Sequence[Cell], decoy: bool = False) -> Run:
        """All seeds of one attack on one method in one place."""
        trials: dict[int, Trial | str] = {}
        statuses, expected = {}, {}
        for cell in cells:
            status, reason = cell_status(self.plan, self.records, cell)
            if status == "ok":
                trial = load_trial(self.store, cell) if decoy else self._trial(cell)
                if trial is None:
                    status = "not applicable"
                    reason = (
                        "the release keeps no correspondence between its records and the members"
                    )
                else:
                    trials[cell.seed] = trial
            if status != "ok":
                trials[cell.seed] = f"{status}: {reason}"
            statuses[cell.seed] = status
            record = self.records.get(cell.key)
            if status == "ok" and record is not None and "expected" in record.values:
                expected[cell.seed] = record.values["expected"]
        first = cells[0]
        return Run(
            dataset=first.dataset,
            features=first.features,
            method=first.method.label if first.method else "",
            method_name=_name_for_controls(first.method),
            attack=first.attack or ResolvedPlugin(kind="attacks", name="", label=""),
            known_answer=any(
                d.label == first.dataset and d.controls is not None
                for d in self.plan.resolved.datasets
            ),
            trials=trials,
            statuses=statuses,
            expected=expected,
        )

    def _decoy(self, cells: Sequence[Cell]) -> Run | None:
        """An attack on a decoy, with the coins of the run; None where it gave no scores, which says nothing."""
        records = [self.records.get(cell.key) for cell in cells]
        if any(r is None or r.status != "ok" or r.values["answer"] == "Links" for r in records):
            return None
        return replace(self._run(cells, decoy=True), decoy=True)

    def _trial(self, cell: Cell) -> Trial | None:
        """The trial of a finished cell; with its units where exposure is of interest."""
        trial = load_trial(self.store, cell)
        method = cell.method
        if trial is not None and trial.copies is not None:
            source = self.plan.nodes[cell.key].needs[0]
            self.pairs.append(worst_pairs(self.store, cell, source))
        if trial is None or trial.scores is None or method is None or _is_control(method):
            return trial
        source = self.plan.nodes[cell.key].needs[0]
        return replace(trial, units=self.loader.units(source, cell.game))

    def _attack_rows(self, cells: Sequence[Cell], run: Run, void: str) -> None:
        by_metric: dict[str, list[Estimate]] = {}
        status = {"status": "void", "reason": void} if void else {}
        for cell in cells:
            trial = run.trials[cell.seed]
            if isinstance(trial, str):
                reason = trial.partition(": ")[2]
                self.row(cell, status=run.statuses[cell.seed], reason=reason)
                continue
            sizes = {
                "n_members": int(trial.coins.sum()),
                "n_nonmembers": int((~trial.coins).sum()),
            }
            figures = trial_figures(trial, self.confidence)
            bound = self._linkage_bound(cell)
            if bound is not None and "reidentification_rate" in figures:
                figures["reidentification_bound"] = bound
            figures |= _notes(self.records[cell.key])
            for metric, figure in figures.items():
                by_metric.setdefault(metric, []).append(figure)
                self.figure_row(cell, metric, figure, **sizes, **status)
        for metric, estimates in by_metric.items():
            if metric == "p_value":
                self.summary_row(cells[0], metric, estimates, least_p_value(estimates), **status)
                continue
            summary, more = None, {}
            if metric in ("auc", "advantage"):
                shared = self._shared_candidates(cells)
                summary = trials_figure(run.good, metric, self.confidence, shared)
            elif metric in {*BOUNDS, *BOUNDS.values()} or metric.startswith("tpr@"):
                summary = trials_figure(run.good, metric, self.confidence)
            if metric == "auc":
                more["direction"] = direction_of(run.scored, self.confidence)
            self.summary_row(cells[0], metric, estimates, summary, **more, **status)

    def _shared_candidates(self, cells: Sequence[Cell]) -> float:
        """How much of the error within seeds these seeds have in common through their candidates.

        At most half of their overlap: with new coins a record that scores high is as good for the AUC as a member as it
        is bad as a non-member.
        """
        return 0.5 * self._overlap(cells, "candidates")

    def _overlap(self, cells: Sequence[Cell], name: str) -> float:
        games = tuple(c.game for c in cells if c.game in self.records)
        if (games, name) not in self.overlaps:
            self.overlaps[games, name] = overlap(self.store, games, name)
        return self.overlaps[games, name]

    def _guarantee(self, cell: Cell) -> Mapping[str, Any] | None:
        record = self.records.get(cell.fit)
        return record.values["guarantee"] if record and record.status == "ok" else None

    def _linkage_bound(self, cell: Cell) -> Estimate | None:
        claim = self._guarantee(cell)
        if claim is None or claim["kind"] != "KAnonymity":
            return None
        return exact(1 / claim["k"], f"claimed: 1/k, k = {claim['k']}")

    # -- worst cases and violations

    def _worst_cases(self, places: Sequence[Sequence[Cell]]) -> None:
        by_method: dict[tuple[str, str, str], list[tuple[Sequence[Cell], Run]]] = {}
        for cells, run, void in zip(places, self.runs, self.voided, strict=True):
            if run.method and not run.known_answer and not void:
                by_method.setdefault((run.dataset, run.features, run.method), []).append(
                    (cells, run)
                )
        for attacked in by_method.values():
            scored = [(c, r) for c, r in attacked if r.good and r.good[0].scores is not None]
            if scored:
                self._worst_of_method(scored)
            self._violations(attacked)
            if scored and not _is_control(scored[0][0][0].method):
                self._subgroup_rows(scored)
                self._exposures(scored)

    def _worst_of_method(self, scored: Sequence[tuple[Sequence[Cell], Run]]) -> None:
        """The worst cases of one method at each access level, all seeds taken together."""
        cell, method = scored[0][0][0], scored[0][1].method
        attacked = {run.attack.label: run.scored for _, run in scored}
        self.attacked.setdefault((cell.dataset, cell.features), {})[method] = cell, attacked
        leaks = judged(attacked, self.confidence)
        for level in _levels(c for c, _ in scored):
            within = [r.attack.label for c, r in scored if _access(c) <= level]
            asked = self._asked(cell, level)
            for worst in worst_figures(attacked, leaks, within, asked, self.confidence):
                self._worst_row(cell, str(level), *worst)
                if worst.metric == "auc" and worst.figure.resolved:
                    place = (cell.dataset, cell.features)
                    self.strongest.setdefault((*place, method), {})[worst.named] = worst.direction
                    here = self.leaks.setdefault((*place, str(level)), [])
                    here.append((cell, method, worst.figure))

    def _asked(self, cell: Cell, level: Access) -> int:
        """How many attacks within an access level have scores on some row here, or were to have them.

        One that does not apply to a row counts there too: its worst case is over fewer attacks than that of others.
        """
        here = [
            run
            for cells, run in zip(self.places, self.runs, strict=True)
            if (run.dataset, run.features) == (cell.dataset, cell.features)
            and run.method
            and _access(cells) <= level
            and run.applicable
        ]
        linking = {r.attack.label for r in here if r.good and r.good[0].scores is None}
        return len({r.attack.label for r in here} - linking)

    # -- methods compared

    def comparisons(self) -> None:
        """Rows of the differences of all pairs of methods that can be ranked, under each access level."""
        gone = self._incomplete()
        for place, methods in self.attacked.items():
            ranked = {
                label: attacked
                for label, (cell, attacked) in methods.items()
                if not _is_control(cell.method) and (*place, label) not in gone
            }
            here = [
                (cells, run)
                for cells, run in zip(self.places, self.runs, strict=True)
                if (run.dataset, run.features) == place and run.method in ranked
            ]
            if len(ranked) < 2:
                continue
            shared = max(self._shared_candidates(cells) for cells, _ in here)
            for level in _levels(c for c, r in here if r.attack.label in ranked[r.method]):
                within = {r.attack.label for c, r in here if _access(c) <= level}
                for pair in compare(ranked, within, self.confidence, shared):
                    cell = methods[str(pair.left)][0]
                    more = {"versus": str(pair.right)}
                    self._worst_row(cell, str(level), "auc_difference", pair.difference, **more)

    def _worst_row(
        self,
        cell: Cell,
        access: str,
        metric: str,
        figure: Estimate,
        named: str = "",
        direction: str = "",
        versus: str = "",
    ) -> None:
        """Add a row of the worst case; its reason names the attack."""
        bar = self.barred.get(
            (cell.dataset, cell.features, cell.method.label if cell.method else "")
        )
        self.figure_row(
            cell,
            metric,
            figure,
            status=bar.status if bar else "ok",
            attack="worst_case",
            attack_label="worst_case",
            attack_params="",
            access=access,
            seed=pd.NA,
            key="",
            duration_s=np.nan,
            reason=named or figure.reason,
            direction=direction,
            versus=versus,
        )

    def _violations(self, attacked: Sequence[tuple[Sequence[Cell], Run]]) -> None:
        """A row for each claim that the attacks refute, and the best bound that was measured against it."""
        tests: list[tuple[Cell, Trial, Mapping[str, Any]]] = []
        for cells, run in attacked:
            for cell in cells:
                claim, trial = self._guarantee(cell), run.trials[cell.seed]
                if claim is not None and isinstance(trial, Trial) and can_refute(trial, claim):
                    tests.append((cell, trial, claim))
        confidence = 1 - VIOLATION_ERROR / max(len(tests), 1)
        for cell, trial, claim in tests:
            evidence = refuted(trial, claim, confidence)
            if evidence:
                label = cell.attack.label if cell.attack else ""
                self.row(
                    cell,
                    metric="violation",
                    value=1.0,
                    ci_method=f"Bonferroni over {len(tests)} tests",
                    reason=f"{label}, seed {cell.seed}: {evidence}",
                )
        formal = [test for test in tests if test[2]["kind"] == "DifferentialPrivacy"]
        if formal:
            self._measured_row(formal, confidence)

    def _measured_row(
        self, tests: Sequence[tuple[Cell, Trial, Mapping[str, Any]]], confidence: float
    ) -> None:
        """The best lower bound on ε at the claimed δ, over attacks and seeds."""
        bounds = [measured_bound(trial, claim, confidence) for _, trial, claim in tests]
        at = max(range(len(tests)), key=lambda i: bounds[i].value if bounds[i].resolved else -1.0)
        (cell, trial, claim), best = tests[at], bounds[at]
        game = contest(trial, claim)
        where = f"{cell.attack.label if cell.attack else ''}, seed {cell.seed}"
        if isinstance(game, Contest) and game.steps > 1:
            where += f"; against {implied(game)}"
        method = f"best of {len(tests)} attacks and seeds, Bonferroni; {best.method}"
        figure = Estimate(best.value, best.low, best.high, method, best.reason or where)
        self._fact_row(cell, "measured_epsilon", figure)

    def _fact_row(self, cell: Cell, metric: str, figure: Estimate, **more: Any) -> None:
        """Add a row about a method that belongs to no attack, over all seeds."""
        nowhere = {"attack": "", "attack_params": "", "attack_label": "", "access": ""}
        whole = {"seed": pd.NA, "key": "", "duration_s": np.nan}
        self.figure_row(cell, metric, figure, **{**nowhere, **whole, **more})

    # -- who is exposed

    def _subgroup_rows(self, scored: Sequence[tuple[Sequence[Cell], Run]]) -> None:
        """Rows of each subgroup under each attack, per seed and over the seeds.

        All intervals of one metric hold together over the method's attacks and subgroups (Bonferroni), since the reader
        will look for the worst.
        """
        masks = {id(run): self._masks(run) for _, run in scored}
        count = sum(len(m) for m in masks.values())
        each = 1 - (1 - self.confidence) / max(count, 1)
        for cells, run in scored:
            ordered = sorted(cells, key=lambda c: c.seed)  # as the run's good trials are
            seeded = [(c, t) for c in ordered if isinstance(t := run.trials[c.seed], Trial)]
            for name, members in masks[id(run)].items():
                for metric in SUBGROUP_METRICS:
                    figures, summary = subgroup_figures(run.good, members, metric, each)
                    self._subgroup_metric(seeded, name, members, metric, figures, summary, count)

    def _masks(self, run: Run) -> dict[str, list[np.ndarray]]:
        units = [t.units for t in run.good if t.units is not None]
        record = self.records.get(self.plan.datasets[run.dataset])
        classes = record.values.get("classes", []) if record is not None else []
        return subgroup_masks(units, classes)

    def _subgroup_metric(
        self,
        seeded: Sequence[tuple[Cell, Trial]],
        name: str,
        masks: Sequence[np.ndarray],
        metric: str,
        figures: Sequence[Estimate],
        summary: Estimate,
        count: int,
    ) -> None:
        """The rows of one figure of one subgroup; a seed that does not resolve it has none."""
        pairs = list(zip(seeded, masks, strict=True))
        sizes = [(int((t.coins & m).sum()), int((~t.coins & m).sum())) for (_, t), m in pairs]
        for (cell, _), figure, (members, others) in zip(seeded, figures, sizes, strict=True):
            if figure.resolved:
                more = {"subgroup": name, "n_members": members, "n_nonmembers": others}
                self.figure_row(cell, metric, figure, **more)
        said = replace(summary, method=f"{summary.method}; Bonferroni over {count} subgroups")
        self.summary_row(
            seeded[0][0],
            metric,
            figures,
            said,
            subgroup=name,
            n_members=sum(s[0] for s in sizes),
            n_nonmembers=sum(s[1] for s in sizes),
        )

    def _exposures(self, scored: Sequence[tuple[Sequence[Cell], Run]]) -> None:
        """Each record's exposure to each attack, and the most exposed ones under the worst attack."""
        cell = scored[0][0][0]
        assert cell.method is not None
        public, identities = self._about(cell.dataset)
        named = self.strongest.get((cell.dataset, cell.features, cell.method.label), {})
        place = {
            "dataset": cell.dataset,
            "features": cell.features,
            "method": cell.method.name,
            "method_params": cell.method.parameters_text,
        }
        for _, run in scored:
            farther = direction_of(run.scored, self.confidence) == FARTHER
            keys, result = exposure([t.turned if farther else t for t in run.good])
            where = {
                **place,
                "attack": run.attack.name,
                "attack_params": run.attack.parameters_text,
                "unit": "identity" if identities else "row",
            }
            self.exposed.append(exposure_frame(where, keys, result))
            if run.attack.label in named:
                summary = exposure_summary(keys, result, public=public)
                about = {"method_label": cell.method.label, "attack_label": run.attack.label}
                self.exposures.append({**where, **about, **summary})

    def _about(self, dataset: str) -> tuple[bool, bool]:
        """Whether a dataset is public, and whether it has identities."""
        found = next(d for d in self.plan.resolved.datasets if d.label == dataset)
        record = self.records.get(self.plan.datasets[dataset])
        identities = record.values.get("n_identities") if record is not None else None
        return bool(found.source.plugin.public), bool(identities)

    # -- utilities and fits

    def utilities(self) -> None:
        """Rows of all utility cells, absolute and relative to training on the real members."""
        places = _grouped(c for c in self.plan.cells if c.kind == "utility")
        figures = {cell.key: self._utility(cell) for cells in places for cell in cells if cell.key}
        reference = {
            (c.dataset, c.features, c.seed, c.utility.label if c.utility else ""): figures[c.key]
            for cells in places
            for c in cells
            if _name_for_controls(c.method) == "identity" and c.key in figures
        }
        for cells in places:
            self._utility_rows(cells, figures, reference)

    def _utility(self, cell: Cell) -> dict[tuple[str, int], dict[str, Estimate]]:
        """(perturbation, severity) → metric → estimate; empty where the cell has no figures.

        Severity 0 of a perturbation has the mean over its severities; of ``""``, the clean figures and the mean over
        all perturbations.
        """
        if cell_status(self.plan, self.records, cell)[0] != "ok":
            return {}
        names = {"clean": ("", 0), **cell.conditions}
        groups = self._test_groups(cell)
        found = load_utility(self.store, cell, self.confidence, groups)
        figures = {names[condition]: dict(f) for condition, f in found.items()}
        for name, errors in load_robustness(self.store, cell, self.confidence, groups).items():
            figures.setdefault((name, 0), {}).update(errors)
        return figures

    def _test_groups(self, cell: Cell) -> np.ndarray | None:
        """Units of the cell's test records, each game's read once; None where each is one of its own."""
        if cell.game not in self.test_groups:
            self.test_groups[cell.game] = load_test_groups(self.store, cell)
        return self.test_groups[cell.game]

    def _utility_rows(
        self,
        cells: Sequence[Cell],
        figures: Mapping[str, Mapping[tuple[str, int], dict[str, Estimate]]],
        reference: Mapping[
            tuple[str, str, int, str], Mapping[tuple[str, int], dict[str, Estimate]]
        ],
    ) -> None:
        summary: dict[tuple[str, int, str], list[Estimate]] = {}
        for cell in cells:
            own = figures.get(cell.key, {})
            if not own:
                status, reason = cell_status(self.plan, self.records, cell)
                self.row(cell, status=status, reason=reason)
                continue
            label = cell.utility.label if cell.utility else ""
            real = reference.get((cell.dataset, cell.features, cell.seed, label), {})
            for (name, severity), metrics in own.items():
                for metric, figure in _with_relative(metrics, real.get((name, severity), {})):
                    self.figure_row(cell, metric, figure, perturbation=name, severity=severity)
                    summary.setdefault((name, severity, metric), []).append(figure)
        for (name, severity, metric), estimates in summary.items():
            bounds = (0.0, 1.0) if is_share(metric) else (-np.inf, np.inf)
            shared = self._overlap(cells, "test")
            mean = mean_over_seeds(estimates, self.confidence, bounds, shared)
            self.summary_row(
                cells[0], metric, estimates, mean, perturbation=name, severity=severity
            )
            method, utility = cells[0].method, cells[0].utility
            if not name and method is not None and utility is not None:
                here = self.gains.setdefault((cells[0].dataset, cells[0].features), {})
                here.setdefault(method.label, {})[utility.label, metric] = mean

    def useful_pairs(self) -> None:
        """Rows of the differences of all pairs of methods that can be ranked, by the utility that ranks."""
        gone = self._incomplete()
        for place, gains in self.gains.items():
            utility = (ranking_utility(gains) or ("", ""))[0]
            fits = self._fits_of(place)
            ranked = [m for m, c in fits.items() if not _is_control(c.method)]
            ranked = [m for m in ranked if (*place, m) not in gone]
            for pair in self._compared(place, ranked):
                more = {"utility": utility, "versus": str(pair.right)}
                self._fact_row(fits[pair.left], "utility_difference", pair.difference, **more)

    def surprises(self) -> None:
        """A warning on each release that is clearly more useful than the members themselves, as ``identity`` is.

        By the utility that ranks, on the same test records, paid for by all methods that are looked at.
        """
        real = [m.label for m in self.plan.resolved.methods if _name_for_controls(m) == "identity"]
        for place, gains in self.gains.items() if real else ():
            chosen = ranking_utility(gains)
            fits = self._fits_of(place)
            looked = [m for m, c in fits.items() if not _is_control(c.method)]
            for pair in self._compared(place, [*looked, real[0]], against=real[0]):
                said = more_useful(pair)
                if said and chosen is not None:
                    figure = exact(1.0, pair.difference.method)
                    cell = fits[pair.left]
                    self._fact_row(cell, "warning", figure, reason=f"{said} ({' '.join(chosen)})")

    def _fits_of(self, place: tuple[str, str]) -> dict[str, Cell]:
        """The first cell of every method's fit in a dataset and feature space, by the method's label."""
        cells = [c for c in self.plan.cells if c.kind == "fit" and c.method is not None]
        here = [c for c in cells if (c.dataset, c.features) == place]
        return {c.method.label: c for c in reversed(here) if c.method is not None}

    def _compared(
        self, place: tuple[str, str], methods: Sequence[str], against: str | None = None
    ) -> list[Pair]:
        """Pairs of these methods, by what their classifiers got right; none where the utility makes no predictions."""
        chosen = ranking_utility(self.gains[place])
        if chosen is None or chosen[1] != PAIRED_METRIC:
            return []
        tests: dict[tuple[int, str], SharedTest] = {}
        cells = []
        for cell in self.plan.cells:
            if cell.kind != "utility" or (cell.dataset, cell.features) != place:
                continue
            label = cell.method.label if cell.method else ""
            if label not in methods or cell.utility is None or cell.utility.label != chosen[0]:
                continue
            if cell_status(self.plan, self.records, cell)[0] != "ok":
                continue
            answers = load_right(self.store, cell)
            if answers is not None:
                empty = SharedTest(answers[0], {}, self._test_groups(cell))
                test = tests.setdefault((cell.seed, cell.game), empty)
                right = {**test.right, label: answers[1]}
                tests[cell.seed, cell.game] = replace(test, right=right)
                cells.append(cell)
        shared = self._overlap(cells, "test")
        found: list[Pair] = compare_utilities(
            list(tests.values()), self.confidence, shared, against
        )
        return found

    def fits(self) -> None:
        """Rows of what each fit cost and claims."""
        for cells in _grouped(c for c in self.plan.cells if c.kind == "fit"):
            durations = []
            noted: dict[str, list[Estimate]] = {}
            for cell in cells:
                status, reason = cell_status(self.plan, self.records, cell)
                if status != "ok":
                    self.row(cell, status=status, reason=reason)
                    continue
                record = self.records[cell.key]
                durations.append(exact(self._fit_duration(cell, record), "wall clock"))
                self.figure_row(cell, "fit_duration_s", durations[-1])
                for metric, note in _notes(record).items():
                    self.figure_row(cell, metric, note)
                    noted.setdefault(metric, []).append(note)
                guarantee = record.values["guarantee"]
                for metric, claim in claim_figures(guarantee).items():
                    self.figure_row(cell, metric, claim)
                evidence = miscounted(guarantee) if guarantee else ""
                if evidence:
                    self.row(cell, metric="violation", value=1.0, reason=evidence)
            if durations:
                self.summary_row(cells[0], "fit_duration_s", durations)
                for metric, notes in noted.items():
                    self.summary_row(cells[0], metric, notes)
                claims = claim_figures(self._guarantee(cells[0]))
                for metric, claim in claims.items():
                    self.summary_row(cells[0], metric, [claim])

    def _fit_duration(self, cell: Cell, record: Record) -> float:
        """Seconds of a fit; of a publication with those of the fit that it perturbs."""
        node = self.plan.nodes[cell.key]
        fit = self.records.get(node.needs[0]) if node.kind == "publish" else None
        return record.duration_s + (fit.duration_s if fit is not None else 0.0)

    # -- the Pareto front

    def pareto(self) -> None:
        """Rows of how often each method is on the front of utility and worst-case AUC, when both are drawn anew.

        Among the methods that are no controls and miss no cell, under each access level.
        """
        gone = self._incomplete()
        for (dataset, features, access), leaks in self.leaks.items():
            gains = self.gains.get((dataset, features), {})
            chosen = ranking_utility(gains)
            if chosen is None:
                continue
            lines = [
                (cell, leak, gains[label][chosen])
                for cell, label, leak in leaks
                if not _is_control(cell.method)
                and (dataset, features, label) not in gone
                and chosen in gains.get(label, {})
            ]
            if lines:
                self._pareto_rows(lines, access, " ".join(chosen))

    def _pareto_rows(
        self, lines: Sequence[tuple[Cell, Estimate, Estimate]], access: str, chosen: str
    ) -> None:
        """One row a method; figures are drawn from their intervals, utility and leakage apart."""
        drawn = [
            estimate_draws([_without_nan(f) for f in figures], PARETO_DRAWS, i, self.confidence)
            for i, figures in enumerate(([u for _, _, u in lines], [x for _, x, _ in lines]))
        ]
        shares = pareto_frequency(*drawn)
        method = f"share of {PARETO_DRAWS} draws from the intervals of utility and worst-case AUC"
        for (cell, _, _), share in zip(lines, shares, strict=True):
            self._worst_row(cell, access, "pareto_frequency", exact(share, method), chosen)

    def _incomplete(self) -> set[tuple[str, str, str]]:
        """(dataset, features, method) of which a cell is missing that is not void for all, or that are not judged."""
        void = {
            (r.dataset, r.features, r.attack.label)
            for r, reason in zip(self.runs, self.voided, strict=True)
            if reason and reason != self._untaught(r)
        }
        found = {*self.barred, *self.untrue}
        for cell in self.plan.cells:
            if cell.method is None or cell.kind == "decoy":
                continue
            if cell_status(self.plan, self.records, cell)[0] not in GONE:
                continue
            attack = cell.attack.label if cell.attack else ""
            if (cell.dataset, cell.features, attack) not in void:
                found.add((cell.dataset, cell.features, cell.method.label))
        return found


# ---------------------------------------------------------------- pure helpers


def _joined(parts: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """One table of all parts that have rows; an empty one with these columns where none has."""
    known = [part for part in parts if len(part)]
    return pd.concat(known, ignore_index=True) if known else pd.DataFrame(columns=list(columns))


def _grouped(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Cells that differ in their seed only, together, in order of first appearance."""
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        names = tuple(p.label if p else "" for p in (cell.method, cell.attack, cell.utility))
        groups.setdefault((cell.dataset, cell.features, *names), []).append(cell)
    return list(groups.values())


def _void_reason(void: Mapping[tuple[str, str, str], str], run: Run) -> str:
    """Why a run's figures do not count; empty when they do. Controls keep theirs: they are the evidence."""
    label = run.attack.label
    for place in (
        ("*", "*", label),
        (run.dataset, run.features, "*"),
        (run.dataset, run.features, label),
    ):
        if place in void:
            return void[place]
    return ""


def is_share(metric: str) -> bool:
    """Whether a metric's range is 0 to 1. Figures of utilities may have any range, so shares are named."""
    return metric.startswith(_SHARES) or metric in _ERRORS


def _with_relative(
    metrics: Mapping[str, Estimate], real: Mapping[str, Estimate]
) -> Iterable[tuple[str, Estimate]]:
    """Each figure, and of shares their ratio to the figure of training on the real members."""
    for metric, figure in metrics.items():
        yield metric, figure
        base = real.get(metric)
        if base is not None and base.value > 0 and is_share(metric) and metric not in _ERRORS:
            yield (
                f"relative_{metric}",
                Estimate(
                    figure.value / base.value,
                    figure.low / base.value,
                    figure.high / base.value,
                    f"{figure.method}; divided by training on the real members, taken as fixed",
                    figure.reason,
                ),
            )


def _name_for_controls(method: ResolvedPlugin | None) -> str:
    """The name under which controls find a method; a perturbed publication is no control's release any more."""
    if method is None:
        return ""
    return method.name if method.publication is None else method.label


def _is_control(method: ResolvedPlugin | None) -> bool:
    return bool(method and method.control)


def _access(cells: Sequence[Cell]) -> Access:
    """What an attack needs; of one that is unavailable nothing is known, and it is missed at every level."""
    return Access[cells[0].access.upper()] if cells[0].access else Access.NONE


def _levels(places: Iterable[Sequence[Cell]]) -> list[Access]:
    """The access levels of these attacks, weakest first."""
    return sorted({_access(cells) for cells in places})


def least_p_value(figures: Sequence[Estimate]) -> Estimate:
    """The least p-value of several seeds, times their number: a mean of p-values is none."""
    least = min(f.value for f in figures)
    method = f"least of {len(figures)} seeds, Bonferroni; {figures[0].method}"
    return exact(min(1.0, len(figures) * least), method if len(figures) > 1 else figures[0].method)


def more_useful(pair: Pair) -> str:
    """What to say of a release whose utility is clearly above that of the members; empty where it is not."""
    apart = pair.difference
    if not apart.low > 0:
        return ""
    return (
        "more useful than the members themselves: look at what it was trained on. "
        f"On the same test records by {apart.value:.3f} [{apart.low:.3f}, {apart.high:.3f}]"
    )


def ranking_utility(
    gains: Mapping[str, Mapping[tuple[str, str], Estimate]],
) -> tuple[str, str] | None:
    """The (utility, metric) by which the methods of a place are compared; None where there is none."""
    found = dict.fromkeys(key for figures in gains.values() for key in figures)
    for utility in dict.fromkeys(u for u, _ in found):
        for metric in RANKING_METRICS:
            if (utility, metric) in found:
                return utility, metric
    return None


def _without_nan(figure: Estimate) -> Estimate:
    """A figure whose missing limits are the value itself."""
    low = figure.value if np.isnan(figure.low) else figure.low
    high = figure.value if np.isnan(figure.high) else figure.high
    return replace(figure, low=low, high=high)


def _curves(
    places: Sequence[Sequence[Cell]],
    runs: Sequence[Run],
    strongest: Mapping[tuple[str, str, str], Mapping[str, str]],
    confidence: float,
) -> pd.DataFrame:
    """ROC points of every trial with scores, and the bands of the worst attacks."""
    parts = []
    scored: dict[tuple[str, str, str], int] = {}
    for run in runs:
        key = (run.dataset, run.features, run.method)
        scored[key] = scored.get(key, 0) + bool(run.good and run.good[0].scores is not None)
    for cells, run in zip(places, runs, strict=True):
        method, attack = cells[0].method, run.attack
        if method is None:
            continue
        place = (run.dataset, run.features, method.name, method.parameters_text, attack.name)
        part = dict(zip(CURVE_COLUMNS, (*place, attack.parameters_text), strict=False))
        for seed, trial in run.trials.items():
            if isinstance(trial, Trial) and trial.scores is not None:
                fpr, tpr, _ = roc(trial.scores, trial.coins)
                limits = {"low": np.nan, "high": np.nan}
                parts.append(pd.DataFrame({**part, "seed": seed, "fpr": fpr, "tpr": tpr, **limits}))
        key = (run.dataset, run.features, run.method)
        if attack.label in strongest.get(key, {}):
            # The attack and its direction were chosen by looking: its band pays for that.
            farther = strongest[key][attack.label] == FARTHER
            trials = [t.turned if farther else t for t in run.good]
            band = mean_roc_band(trials, 1 - (1 - confidence) / (2 * scored[key]))
            figures = {name: getattr(band, name) for name in ("fpr", "tpr", "low", "high")}
            parts.append(pd.DataFrame({**part, "seed": pd.NA, **figures}))
    if not parts:
        return pd.DataFrame(columns=list(CURVE_COLUMNS))
    for part in parts:
        part["seed"] = part["seed"].astype("Int64")
    return pd.concat(parts, ignore_index=True)
