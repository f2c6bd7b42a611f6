"""One audit from what it is given to its answer: deal, run what is missing, judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.audit.exchange import ColumnTest, exchangeability
from benchmark.audit.given import Cohort, Known, commit_given, deal, plan_audit
from benchmark.audit.inputs import AuditInputs, Grade
from benchmark.audit.result import (
    Answer,
    AuditResult,
    Evidence,
    ExposedPerson,
    GateResult,
    GivenRecords,
    NotTried,
    Power,
    ReleaseResult,
)
from benchmark.audit.verdict import (
    Counts,
    counts_of,
    excess_p_value,
    least_auc_seen,
    least_exposed,
    least_share_seen,
    level_of,
)
from benchmark.audit.words import without_names
from benchmark.contracts import Access, Kind, Records
from benchmark.engines import Event
from benchmark.environment import environment
from benchmark.judge.controls import void_reasons
from benchmark.judge.figures import Trial, load_trial, trial_figure
from benchmark.judge.results import Results, cell_status, collect
from benchmark.learning.neighbours import nearest
from benchmark.learning.repeats import duplicates
from benchmark.node import digest
from benchmark.plan import Cell, Plan, shadows_of, wants_reference
from benchmark.registry import Registry, default_registry
from benchmark.runs import Coins, OpenRun, execute_plan
from benchmark.statistics import auc_p_value
from benchmark.store import Record, Store
from benchmark.suite import Suite

__all__ = ["ERROR", "Options", "Performed", "perform"]

ERROR = 0.05
"""Chance, at most, that a release which leaks nothing is called leaking, over all tests on it (weighted Bonferroni)."""

POWER = 0.8

LINKING = ("identity_reidentification", "linkage")
"""Attacks on linkability; all others single people out."""

VARIANTS: Mapping[str, tuple[tuple[Mapping[str, Any], Kind], ...]] = {
    "near_duplicate": (({"measure": "aligned"}, "image"),)
}
"""Further parameters that an attack is run with on images: copies that were flipped, shifted, cropped or brightened."""

UTILITIES: Mapping[Kind, tuple[str, ...]] = {
    "image": ("linear_probe", "fidelity", "visual_privacy"),
    "feature": ("linear_probe", "fidelity"),
}

NEAR_BY_CHANCE = 0.01
"""Without controls: share of released records that may be as near to a member as population records hardly ever are."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an audit is made.

    Parameters
    ----------
    name : str
        On the report.
    accept : float in [0.5, 1), default=0.5
        The largest AUC that is accepted. The default accepts no leak that the tests can show: whoever is told from the
        controls at all is told by what the release says of them, and no share of people is small enough to be nobody.
        Copies that single people out are never accepted.
    features : tuple of str
        Extractors that images are looked at in; by default their pixels.
    attacks : tuple of str
        Names; by default all that are installed and need no more than the released records.
    utilities : tuple of str, optional
        Names; by default :data:`UTILITIES`.
    jobs, device
        As for a run.
    """

    name: str = "audit"
    accept: float = 0.5
    features: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()
    utilities: tuple[str, ...] | None = None
    jobs: int | None = None
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Performed:
    """The result, and who is exposed, which is for the custodian alone."""

    result: AuditResult
    exposed: tuple[ExposedPerson, ...]


def perform(
    inputs: AuditInputs,
    root: Path,
    options: Options,
    on_event: Callable[[Event], None] = lambda event: None,
    prepare: Callable[[], object] = lambda: None,
    known: Known | None = None,
) -> Performed:
    """Audit releases.

    Parameters
    ----------
    inputs : AuditInputs
    root : Path
        Folder of the nodes' records, which hold private records; an audit that was stopped goes on in it.
    options : Options
    on_event : callable
        Told of each node that starts, progresses and finishes.
    prepare : callable
        Called once everything was found to be usable, before the first thing is written.
    known : Known, optional
        A run's game, in place of one dealt here.
    """
    if inputs.grade is Grade.NO_CONTROLS:
        prepare()
        return _without_controls(inputs, options)
    registry = default_registry()
    cohort = known.cohort if known else deal(inputs)
    attacks, not_tried = _attacks(inputs, options, registry)
    plan, keys = plan_audit(
        inputs,
        registry,
        name=options.name,
        features=options.features,
        attacks=attacks,
        utilities=[(name, {}, None) for name in _utilities(inputs, options)],
        known=known,
    )
    prepare()
    store = Store(root)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    commit_given(store, plan, keys, inputs, cohort)
    records = _executed(root, plan, store, options, on_event)
    results = collect(plan, store, records, 1 - ERROR)
    columns = exchangeability(
        inputs, np.random.default_rng(int(digest(dict(inputs.digests))[:16], 16))
    )
    case = _Case(inputs, cohort, plan, store, records, results, options, columns)
    return case.performed(not_tried)


def _executed(
    root: Path,
    plan: Plan,
    store: Store,
    options: Options,
    on_event: Callable[[Event], None],
) -> dict[str, Record]:
    suite = Suite(name="audit", seeds=[0], datasets=[{"name": "given"}])  # type: ignore[list-item]
    opened = OpenRun(root=root, suite=suite, plan=plan, store=store, only={}, coins=Coins())
    return execute_plan(
        opened, jobs=options.jobs, device=options.device, rerun="failed", on_event=on_event
    )


def _attacks(
    inputs: AuditInputs, options: Options, registry: Registry
) -> tuple[list[tuple[str, Mapping[str, Any], Kind | None]], list[NotTried]]:
    """The attacks to run, and those that cannot be, with the reason."""
    chosen: list[tuple[str, Mapping[str, Any], Kind | None]] = []
    not_tried = []
    entries = {e.name: e for e in registry.entries("attacks")}
    for name in options.attacks or entries:
        if name not in entries:
            registry.make("attacks", name, {})  # says what there is
        entry = entries[name]
        why = _obstacle(entry, inputs)
        if why == "gate":
            continue
        if why:
            not_tried.append(NotTried(what=name, why=why))
            continue
        chosen.append((name, {}, None))
        if inputs.kind == "image":
            chosen += [(name, parameters, space) for parameters, space in VARIANTS.get(name, ())]
    return chosen, not_tried


def _obstacle(entry: Any, inputs: AuditInputs) -> str:
    """Why an attack is not run; ``gate`` for what is no attack."""
    if entry.reason:
        return f"not available here: {entry.reason}"
    info = entry.plugin.info
    if info.needs is Access.NONE:
        return "gate"
    if info.needs is not Access.RECORDS:
        return f"needs access {info.needs}; a finished release gives its records alone"
    plugin = entry.plugin()
    if shadows_of(plugin) or wants_reference(plugin):
        return "trains models of the generator, which is not given"
    if inputs.kind not in info.kinds:
        return f"works on {', '.join(sorted(info.kinds))} records"
    if entry.name == "identity_reidentification" and not _several_each(inputs.members):
        return "needs people with several images"
    if entry.name == "linkage":
        return "needs to know which member each released record stands for"
    return ""


def _several_each(records: Records) -> bool:
    return records.groups is not None and len(np.unique(records.groups)) < len(records)


def _utilities(inputs: AuditInputs, options: Options) -> Sequence[str]:
    return UTILITIES[inputs.kind] if options.utilities is None else options.utilities


# ---------------------------------------------------------------- judging


@dataclass(frozen=True)
class _Case:
    """All that is known once the nodes have run."""

    inputs: AuditInputs
    cohort: Cohort
    plan: Plan
    store: Store
    records: Mapping[str, Record]
    results: Results
    options: Options
    columns: tuple[ColumnTest, ...]

    def performed(self, not_tried: Sequence[NotTried]) -> Performed:
        gates = self.gates()
        missing = [*not_tried, *self.failed()]
        judged, exposed = [], []
        for label in self.inputs.releases:
            tests = list(self.tests(label))
            judged.append(self.release(label, tests, gates))
            found = [t for t, e in zip(tests, judged[-1].evidence, strict=True) if e.found]
            exposed += self.exposed(label, tests, found)
        counts = counts_of(self.cohort.coins, self.cohort.units, self.cohort.coins)
        result = AuditResult(
            name=self.options.name,
            grade=self.inputs.grade,
            answer=_worst(r.answer for r in judged),
            accepted_auc=self.options.accept,
            confidence=1 - ERROR,
            releases=tuple(judged),
            columns=self.columns,
            gates=gates,
            given=_given(self.inputs),
            not_tried=(*missing, *_NEVER_TRIED),
            people_are_known=self.inputs.identified,
            n_members=counts.n_members,
            n_controls=counts.n_controls,
            commitment=self.inputs.seal.commitment if self.inputs.seal else "",
            versions=_versions(self.plan),
            notes=(*self.inputs.notes.get("all", ()), *self.cohort.notes),
        )
        return Performed(result=result, exposed=tuple(exposed))

    def gates(self) -> tuple[GateResult, ...]:
        """The judge's verdict on whether members and controls differ without any release."""
        return tuple(
            GateResult(
                features=v.features,
                value=v.measured,
                low=v.low,
                high=v.high,
                passed=v.passed,
                reason="" if v.passed else v.reason,
            )
            for v in self.results.verdicts
            if v.kind == "gate"
        )

    def failed(self) -> list[NotTried]:
        """Attacks without a figure, or whose controls failed."""
        found = {}
        for cell in self.cells():
            status, reason = cell_status(self.plan, self.records, cell)
            why = f"{status}: {reason}" if status != "ok" else self.void(cell)
            if why and cell.attack is not None:
                found[f"{cell.attack.label} in {cell.features}"] = why
        return [NotTried(what=what, why=without_names(why)) for what, why in found.items()]

    def cells(self, label: str | None = None) -> Iterator[Cell]:
        """Cells of attacks on a release, or on any, each node once."""
        seen = set()
        for cell in self.plan.cells:
            method = cell.method
            if cell.kind != "attack" or method is None or method.label not in self.inputs.releases:
                continue
            if label is not None and method.label != label:
                continue
            identity = cell.key or (cell.features, cell.attack.label if cell.attack else "")
            if identity not in seen:
                seen.add(identity)
                yield cell

    def void(self, cell: Cell) -> str:
        """Why an attack's controls say that it counts for nothing here; a failed gate is said once, for all."""
        own = [v for v in self.results.verdicts if v.kind != "gate"]
        reasons = void_reasons(own, ())
        label = cell.attack.label if cell.attack else ""
        return reasons.get((cell.dataset, cell.features, label), "")

    def tests(self, label: str) -> Iterator[_Test]:
        """Everything that is tested on one release."""
        yield self.verbatim(label)
        for cell in self.cells(label):
            if cell_status(self.plan, self.records, cell)[0] != "ok" or self.void(cell):
                continue
            trial = load_trial(self.store, cell)
            if trial is not None and trial.scores is not None and cell.attack is not None:
                yield from self.attack_tests(cell, trial)

    def verbatim(self, label: str) -> _Test:
        """People with a record that is released as it is."""
        candidates = self.cohort.pool.take(self.cohort.candidates)
        released = self.inputs.releases[label]
        same = duplicates(np.concatenate([candidates.data, released.data]))
        pointed = np.isin(same[: len(candidates)], same[len(candidates) :])
        return self.pointing("equal records", "as given", "verbatim", pointed)

    def pointing(self, attack: str, features: str, test: str, pointed: np.ndarray) -> _Test:
        counts = counts_of(pointed, self.cohort.units, self.cohort.coins)
        return _Test(
            attack=attack,
            features=features,
            test=test,
            p_value=excess_p_value(counts),
            counts=counts,
            pointed=pointed,
        )

    def attack_tests(self, cell: Cell, trial: Trial) -> Iterator[_Test]:
        """The AUC of an attack, and whom it points at where it does."""
        assert cell.attack is not None
        label, features = cell.attack.label, cell.features
        p_value = auc_p_value(trial.scores, trial.coins)
        values = self.store.arrays(cell.key, "scores")
        yield _Test(label, features, "auc", p_value, trial=trial, scores=values["values"])
        if "decisions" in values:
            yield self.pointing(label, features, "flags", values["decisions"])
        if trial.copies is not None:
            taken = self.store.arrays(cell.key, "copies")["candidates"]
            pointed = np.zeros(len(self.cohort.candidates), dtype=bool)
            pointed[taken[taken >= 0]] = True
            yield self.pointing(label, features, "copies", pointed)

    def release(
        self, label: str, tests: Sequence[_Test], gates: Sequence[GateResult]
    ) -> ReleaseResult:
        """The answer on one release, and why."""
        accept = self.options.accept
        evidence = tuple(_evidence(t, level_of(t.test, len(tests), ERROR), accept) for t in tests)
        failed = [g.reason for g in gates if not g.passed]
        failed += [
            f"members and controls differ by {c.column}" for c in self.columns if not c.passed
        ]
        found = any(e.found for e in evidence)
        answer, reasons = Answer.NO_LEAK_FOUND, []
        if failed:
            answer, reasons = Answer.CANNOT_BE_JUDGED, failed
        elif found:
            answer = Answer.LEAK
        elif not any(e.test == "auc" for e in evidence):
            answer, reasons = Answer.CANNOT_BE_JUDGED, ["no attack gave a figure that counts"]
        return ReleaseResult(
            label=label,
            n_records=len(self.inputs.releases[label]),
            answer=answer,
            reasons=tuple(reasons),
            evidence=evidence,
            n_exposed=0 if failed else max(e.surely_exposed for e in evidence),
            power=_power(self.cohort, len(tests)),
            figures=tuple(_figures(self.results, label)),
        )

    def exposed(
        self, label: str, tests: Sequence[_Test], found: Sequence[_Test]
    ) -> list[ExposedPerson]:
        """The members that a test points at which found more than is accepted, with all scores."""
        pointed = [(t, t.pointed) for t in found if t.pointed is not None]
        cohort = self.cohort
        if not pointed:
            return []
        everyone = np.any([by for _, by in pointed], axis=0) & cohort.coins
        rows = np.flatnonzero(everyone)
        if len(rows) == 0:
            return []
        released, private = self.inputs.releases[label], self.inputs.private
        distances, at = nearest(cohort.pool.take(cohort.candidates[rows]).flat(), released.flat())
        names = private["members"]
        own = cohort.rows[cohort.candidates[rows]]
        return [
            ExposedPerson(
                release=label,
                record=names.names[i],
                patient="" if names.patients is None else str(names.patients[i]),
                pointed_at=tuple(
                    f"{t.attack} in {t.features}: {t.test}" for t, by in pointed if by[row]
                ),
                nearest=private[f"release {label}"].names[int(at[k, 0])],
                distance=float(distances[k, 0]),
                scores={
                    f"{t.attack} in {t.features}": float(t.scores[row])
                    for t in tests
                    if t.scores is not None
                },
            )
            for k, (row, i) in enumerate(zip(rows, own, strict=True))
        ]


@dataclass(frozen=True, eq=False)
class _Test:
    """One test on one release; ``counts`` and ``pointed`` of those that point at people, the others of an AUC."""

    attack: str
    features: str
    test: str
    p_value: float
    counts: Counts | None = None
    pointed: np.ndarray | None = None
    trial: Trial | None = None
    scores: np.ndarray | None = None


def _evidence(test: _Test, level: float, accept: float) -> Evidence:
    """The figure of a test, held against what is accepted with its share of the error."""
    nan = float("nan")
    plain = Evidence(
        risk="linkability" if test.attack.startswith(LINKING) else "singling out",
        attack=test.attack,
        features=test.features,
        test=test.test,
        value=nan,
        low=nan,
        high=nan,
        share_of_controls=nan,
        p_value=test.p_value,
        adjusted=min(1.0, test.p_value * ERROR / level),
        surely_exposed=0,
        found=test.p_value <= level,
    )
    if test.counts is not None:
        counts = test.counts
        return replace(
            plain,
            value=counts.k_members / counts.n_members,
            share_of_controls=counts.k_controls / counts.n_controls,
            surely_exposed=least_exposed(counts, level),
        )
    assert test.trial is not None
    figure = trial_figure(test.trial, "auc", 1 - level)
    beyond = figure.low > accept or figure.high < 1 - accept
    found = plain.found if accept == 0.5 else beyond
    return replace(plain, value=figure.value, low=figure.low, high=figure.high, found=found)


def _power(cohort: Cohort, n_tests: int) -> Power:
    counts = counts_of(cohort.coins, cohort.units, cohort.coins)
    level, copies = (level_of(test, n_tests, ERROR) for test in ("auc", "verbatim"))
    n_members, n_controls = counts.n_members, counts.n_controls
    enough = None
    for size in (2**k for k in range(4, 24)):
        if least_share_seen(n_members, size, copies, POWER) <= 0.01:
            enough = size
            break
    return Power(
        power=POWER,
        auc=least_auc_seen(n_members, n_controls, level, POWER),
        copied_share=least_share_seen(n_members, n_controls, copies, POWER),
        controls_for_one_percent=enough,
    )


def _figures(results: Results, label: str) -> Iterator[dict[str, Any]]:
    """The judge's figures of one release, as plain values."""
    names = ("features", "attack_label", "utility", "metric", "value", "ci_low", "ci_high")
    own = results.frame[
        (results.frame["method_label"] == label)
        & results.frame["seed"].notna()
        & (results.frame["subgroup"] == "")
    ]
    for row in own.to_dict("records"):
        figure = {name.removesuffix("_label"): row[name] for name in names}
        yield figure | {name: str(row[name]) for name in ("ci_method", "status", "reason")}


_NEVER_TRIED = (
    NotTried(
        what="attribute inference",
        why="what a release lets be inferred of a member is not measured",
    ),
)


def _worst(answers: Iterator[Answer]) -> Answer:
    order = [Answer.NO_LEAK_FOUND, Answer.CANNOT_BE_JUDGED, Answer.LEAK]
    return max(answers, key=order.index)


def _given(inputs: AuditInputs) -> tuple[GivenRecords, ...]:
    sizes = {role: len(records) for role, records in inputs.real.items()}
    sizes |= {f"release {label}": len(r) for label, r in inputs.releases.items()}
    return tuple(
        GivenRecords(
            role=name,
            n_records=n,
            n_people=inputs.n_people(name) if name in inputs.real else None,
            digest=inputs.digests[name],
            notes=tuple(inputs.notes.get(name, ())),
        )
        for name, n in sizes.items()
    )


def _versions(plan: Plan) -> dict[str, str]:
    plugins = (
        *plan.resolved.attacks,
        *plan.resolved.utilities,
        *plan.resolved.datasets[0].features,
    )
    return environment() | {p.label: p.plugin.info.version for p in plugins if p.plugin}


# ---------------------------------------------------------------- without controls


def _without_controls(inputs: AuditInputs, options: Options) -> Performed:
    """Copies alone: released records that equal a member's, or lie nearer to one than the population does."""
    judged = tuple(_copies_alone(inputs, label) for label in inputs.releases)
    result = AuditResult(
        name=options.name,
        grade=inputs.grade,
        answer=_worst(r.answer for r in judged),
        accepted_auc=options.accept,
        confidence=1 - ERROR,
        releases=judged,
        columns=(),
        gates=(),
        given=_given(inputs),
        not_tried=(
            NotTried(what="membership", why="it cannot be judged without controls"),
            *_NEVER_TRIED,
        ),
        people_are_known=inputs.identified,
        n_members=inputs.n_people("members"),
        n_controls=0,
        versions=environment(),
        notes=inputs.notes.get("all", ()),
    )
    return Performed(result=result, exposed=())


def _copies_alone(inputs: AuditInputs, label: str) -> ReleaseResult:
    members, released = inputs.members, inputs.releases[label]
    same = duplicates(np.concatenate([members.data, released.data]))
    equal = np.isin(same[: len(members)], same[len(members) :])
    groups = np.arange(len(members)) if members.groups is None else members.groups
    n_copied = len(np.unique(groups[equal]))
    reasons = ["membership cannot be judged without controls"]
    if n_copied:
        reasons.insert(0, f"records of {n_copied:,} members are released as they are")
    near = _nearer_than_the_population(inputs, released)
    if near is not None and near[1] <= ERROR:
        reasons.insert(
            0,
            f"{near[0]:.1%} of the released records lie nearer to a member than {NEAR_BY_CHANCE:.0%} of the "
            "population does",
        )
    leaks = len(reasons) > 1
    nan = float("nan")
    evidence = Evidence(
        risk="singling out",
        attack="equal records",
        features="as given",
        test="verbatim",
        value=n_copied / inputs.n_people("members"),
        low=nan,
        high=nan,
        share_of_controls=nan,
        p_value=nan,
        adjusted=nan,
        surely_exposed=n_copied,
        found=n_copied > 0,
    )
    return ReleaseResult(
        label=label,
        n_records=len(released),
        answer=Answer.LEAK if leaks else Answer.CANNOT_BE_JUDGED,
        reasons=tuple(reasons),
        evidence=(evidence,),
        n_exposed=n_copied,
        power=None,
    )


def _nearer_than_the_population(
    inputs: AuditInputs, released: Records
) -> tuple[float, float] | None:
    """Share of released records nearer to a member than a hundredth of the population, and the p-value of as many.

    Fisher's exact test of the released records against the population's, at the threshold that the population's
    quantile gives; None without a population.
    """
    if "population" not in inputs.real:
        return None
    members = inputs.members.flat()
    theirs = nearest(inputs.real["population"].flat(), members)[0][:, 0]
    ours = nearest(released.flat(), members)[0][:, 0]
    limit = float(np.quantile(theirs, NEAR_BY_CHANCE, method="weibull"))
    counts = Counts(
        k_members=int((ours <= limit).sum()),
        n_members=len(ours),
        k_controls=int((theirs <= limit).sum()),
        n_controls=len(theirs),
    )
    return counts.k_members / counts.n_members, excess_p_value(counts)
