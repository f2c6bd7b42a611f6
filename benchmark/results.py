"""Records and raw scores → one tidy table, one figure a row.

Everything here is recomputed from what the nodes stored; nothing is measured anew. A row has a seed, or none where it
sums up all seeds. Rows of cells without a figure carry their status and its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from benchmark.contracts import Access
from benchmark.controls import Run, Verdict, judge, void_reasons
from benchmark.figures import (
    Trial,
    exact,
    load_trial,
    load_utility,
    mean_over_seeds,
    trial_figures,
    trials_figure,
)
from benchmark.plan import Cell, Plan, ResolvedPlugin
from benchmark.statistics import Estimate, one_run_epsilon_from_scores, roc, worst_case
from benchmark.store import Record, Store

__all__ = ["COLUMNS", "CURVE_COLUMNS", "Results", "cell_status", "collect"]

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
    "metric": "string",
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
"""Columns of ``results.parquet`` and their pandas types."""

CURVE_COLUMNS = (
    *("dataset", "features", "method", "method_params", "attack", "attack_params"),
    *("seed", "fpr", "tpr"),
)

VIOLATION_ERROR = 0.05
"""Chance, at most, that a sound guarantee is called violated anywhere in a run's row (Bonferroni)."""

_SHARES = (
    *("auc", "tpr@", "advantage", "flag_rate", "reidentification_rate", "p_value"),
    *("accuracy", "balanced_accuracy", "macro_auroc"),
)

_WORST_METRICS = ("auc", "tpr@0.1", "tpr@0.01", "tpr@0.001", "epsilon_lower")


@dataclass(frozen=True, kw_only=True)
class Results:
    """``frame``: the tidy table; ``curves``: ROC points; ``verdicts``: the controls."""

    frame: pd.DataFrame
    curves: pd.DataFrame
    verdicts: list[Verdict]


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
    collector.fits()
    frame = pd.DataFrame(collector.rows, columns=list(COLUMNS)).astype(dict(COLUMNS))
    return Results(
        frame=frame, curves=_curves(collector.places, collector.runs), verdicts=collector.verdicts
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
                "method_control": bool(method and method.plugin and method.plugin.info.control),
                "access": cell.access,
                "attack": attack.name if attack else "",
                "attack_params": attack.parameters_text if attack else "",
                "attack_label": attack.label if attack else "",
                "utility": cell.utility.label if cell.utility else "",
                "perturbation": "",
                "severity": 0,
                "seed": cell.seed,
                "metric": "",
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
            bounds = (0.0, 1.0) if _is_share(metric) else (-np.inf, np.inf)
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
        self.verdicts = judge(self.runs, self.confidence)
        known_answers = [d.label for d in self.plan.resolved.datasets if d.controls is not None]
        void = void_reasons(self.verdicts, known_answers)
        for cells, run in zip(places, self.runs, strict=True):
            self._attack_rows(cells, run, _void_reason(void, run))
        self._worst_cases(places, void)

    def _run(self, cells: Sequence[Cell]) -> Run:
        """All seeds of one attack on one method in one place."""
        trials: dict[int, Trial | str] = {}
        statuses, n_members = {}, {}
        dimension = 0
        for cell in cells:
            status, reason = cell_status(self.plan, self.records, cell)
            if status == "ok":
                trial = load_trial(self.store, cell)
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
            fit = self.records.get(cell.fit)
            if fit is not None and fit.status == "ok":
                n_members[cell.seed] = fit.values["n_members"]
                dimension = fit.values["dimension"]
        first = cells[0]
        return Run(
            dataset=first.dataset,
            features=first.features,
            method=first.method.label if first.method else "",
            method_name=first.method.name if first.method else "",
            attack=first.attack or ResolvedPlugin(kind="attacks", name="", label=""),
            known_answer=any(
                d.label == first.dataset and d.controls is not None
                for d in self.plan.resolved.datasets
            ),
            trials=trials,
            statuses=statuses,
            n_members=n_members,
            dimension=dimension,
        )

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
            for metric, figure in figures.items():
                by_metric.setdefault(metric, []).append(figure)
                self.figure_row(cell, metric, figure, **sizes, **status)
        for metric, estimates in by_metric.items():
            if metric != "p_value":
                summary = None
                if metric == "epsilon_lower":
                    summary = trials_figure(run.good, metric, self.confidence)
                self.summary_row(cells[0], metric, estimates, summary, **status)

    def _guarantee(self, cell: Cell) -> Mapping[str, Any] | None:
        record = self.records.get(cell.fit)
        return record.values["guarantee"] if record and record.status == "ok" else None

    def _linkage_bound(self, cell: Cell) -> Estimate | None:
        claim = self._guarantee(cell)
        if claim is None or claim["kind"] != "KAnonymity":
            return None
        return exact(1 / claim["k"], f"claimed: 1/k, k = {claim['k']}")

    # -- worst cases and violations

    def _worst_cases(
        self, places: Sequence[Sequence[Cell]], void: Mapping[tuple[str, str, str], str]
    ) -> None:
        by_method: dict[tuple[str, str, str], list[tuple[Sequence[Cell], Run]]] = {}
        for cells, run in zip(places, self.runs, strict=True):
            if run.method and not run.known_answer and not _void_reason(void, run):
                by_method.setdefault((run.dataset, run.features, run.method), []).append(
                    (cells, run)
                )
        for attacked in by_method.values():
            scored = [(c, r) for c, r in attacked if r.good and r.good[0].scores is not None]
            levels = sorted({Access[c[0].access.upper()] for c, _ in scored})
            for level in levels:
                allowed = [(c, r) for c, r in scored if Access[c[0].access.upper()] <= level]
                self._worst_case_rows(str(level), allowed)
            self._violations(attacked)

    def _worst_case_rows(self, access: str, attacked: Sequence[tuple[Sequence[Cell], Run]]) -> None:
        """The worst case over attacks of each metric, all seeds taken together."""
        cell = attacked[0][0][0]
        trials = {run.attack.label: run.good for _, run in attacked}
        for metric in _WORST_METRICS:

            def interval_at(name: str, confidence: float, metric: str = metric) -> Estimate:
                return trials_figure(trials[name], metric, confidence)

            worst = worst_case(list(trials), interval_at, self.confidence)
            self.figure_row(
                cell,
                metric,
                worst.estimate,
                attack="worst_case",
                attack_label="worst_case",
                attack_params="",
                access=access,
                seed=pd.NA,
                key="",
                duration_s=np.nan,
                reason=worst.name or worst.estimate.reason,
            )

    def _violations(self, attacked: Sequence[tuple[Sequence[Cell], Run]]) -> None:
        """A row for each claim that the attacks refute."""
        claims = [(c, r, self._guarantee(c)) for cells, r in attacked for c in cells]
        tests = []
        for cell, run, claim in claims:
            trial = run.trials[cell.seed]
            if claim is not None and isinstance(trial, Trial):
                tests.append((cell, trial, claim))
        if not tests:
            return
        confidence = 1 - VIOLATION_ERROR / len(tests)
        for cell, trial, claim in tests:
            evidence = _refutes(trial, claim, confidence)
            if evidence:
                label = cell.attack.label if cell.attack else ""
                self.row(
                    cell,
                    metric="violation",
                    value=1.0,
                    ci_method=f"Bonferroni over {len(tests)} tests",
                    reason=f"{label}, seed {cell.seed}: {evidence}",
                )

    # -- utilities and fits

    def utilities(self) -> None:
        """Rows of all utility cells, absolute and relative to training on the real members."""
        places = _grouped(c for c in self.plan.cells if c.kind == "utility")
        figures = {cell.key: self._utility(cell) for cells in places for cell in cells if cell.key}
        reference = {
            (c.dataset, c.features, c.seed, c.utility.label if c.utility else ""): figures[c.key]
            for cells in places
            for c in cells
            if c.method is not None and c.method.name == "identity" and c.key in figures
        }
        for cells in places:
            self._utility_rows(cells, figures, reference)

    def _utility(self, cell: Cell) -> dict[tuple[str, int], dict[str, Estimate]]:
        """(perturbation, severity) → metric → estimate; empty where the cell has no figures."""
        if cell_status(self.plan, self.records, cell)[0] != "ok":
            return {}
        names = {"clean": ("", 0), **cell.conditions}
        found = load_utility(self.store, cell, self.confidence)
        return {names[condition]: dict(f) for condition, f in found.items()}

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
            self.summary_row(cells[0], metric, estimates, perturbation=name, severity=severity)

    def fits(self) -> None:
        """Rows of what each fit cost and claims."""
        for cells in _grouped(c for c in self.plan.cells if c.kind == "fit"):
            durations = []
            for cell in cells:
                status, reason = cell_status(self.plan, self.records, cell)
                if status != "ok":
                    self.row(cell, status=status, reason=reason)
                    continue
                record = self.records[cell.key]
                durations.append(exact(record.duration_s, "wall clock"))
                self.figure_row(cell, "fit_duration_s", durations[-1])
                for metric, claim in _claims(record.values["guarantee"]).items():
                    self.figure_row(cell, metric, claim)
            if durations:
                self.summary_row(cells[0], "fit_duration_s", durations)
                claims = _claims(self._guarantee(cells[0]))
                for metric, claim in claims.items():
                    self.summary_row(cells[0], metric, [claim])


# ---------------------------------------------------------------- pure helpers


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


def _is_share(metric: str) -> bool:
    """Whether a metric's range is 0 to 1. Figures of utilities may have any range, so shares are named."""
    return metric.startswith(_SHARES)


def _with_relative(
    metrics: Mapping[str, Estimate], real: Mapping[str, Estimate]
) -> Iterable[tuple[str, Estimate]]:
    """Each figure, and of shares their ratio to the figure of training on the real members."""
    for metric, figure in metrics.items():
        yield metric, figure
        base = real.get(metric)
        if base is not None and base.value > 0 and _is_share(metric):
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


def _claims(guarantee: Mapping[str, Any] | None) -> dict[str, Estimate]:
    if guarantee is None:
        return {}
    if guarantee["kind"] == "KAnonymity":
        return {"k_anonymity": exact(guarantee["k"], "claimed by the method")}
    source = f"claimed: {guarantee['accountant']}, per {guarantee['unit']}"
    return {
        "claimed_epsilon": exact(guarantee["epsilon"], source),
        "claimed_delta": exact(guarantee["delta"], source),
    }


def _refutes(trial: Trial, claim: Mapping[str, Any], confidence: float) -> str:
    """The evidence against a claim; empty where there is none."""
    if claim["kind"] == "KAnonymity":
        if trial.linked is None:
            return ""
        figure = trial_figures(trial, confidence)["reidentification_rate"]
        if figure.low <= 1 / claim["k"]:
            return ""
        return (
            f"re-identification rate {figure.value:.3g} (at least {figure.low:.3g}) "
            f"exceeds 1/k = {1 / claim['k']:.3g}"
        )
    if trial.scores is None:
        return ""
    bound = one_run_epsilon_from_scores(
        trial.scores, trial.coins, delta=claim["delta"], confidence=confidence
    )
    if not bound.resolved or bound.value <= claim["epsilon"]:
        return ""
    return (
        f"ε ≥ {bound.value:.3g} measured (δ = {claim['delta']:g}, confidence {confidence:.4g}), "
        f"ε = {claim['epsilon']:g} claimed"
    )


def _curves(places: Sequence[Sequence[Cell]], runs: Sequence[Run]) -> pd.DataFrame:
    """ROC points of every trial with scores."""
    parts = []
    for cells, run in zip(places, runs, strict=True):
        method, attack = cells[0].method, run.attack
        if method is None:
            continue
        place = (run.dataset, run.features, method.name, method.parameters_text, attack.name)
        for seed, trial in run.trials.items():
            if isinstance(trial, Trial) and trial.scores is not None:
                fpr, tpr, _ = roc(trial.scores, trial.coins)
                values = (*place, attack.parameters_text, seed)
                part = dict(zip(CURVE_COLUMNS, values, strict=False))
                parts.append(pd.DataFrame({**part, "fpr": fpr, "tpr": tpr}))
    if not parts:
        return pd.DataFrame(columns=list(CURVE_COLUMNS))
    return pd.concat(parts, ignore_index=True)
