"""One audit from what it is given to its answer: deal, run what is missing, judge."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.audit.columns import ATTACK, ColumnGuess, guess_columns, without_missing
from benchmark.audit.copies import copied_for_sure, of_one_person, released_as_they_are
from benchmark.audit.exchange import ColumnTest, exchangeability
from benchmark.audit.given import Cohort, Keys, Known, Maker, commit_given, deal, plan_audit
from benchmark.audit.inputs import AuditInputs, Grade, Private, spoken
from benchmark.audit.result import (
    Answer,
    AuditResult,
    Evidence,
    ExposedPerson,
    GateResult,
    GivenRecords,
    NotTried,
    Power,
    Quality,
    ReleaseResult,
)
from benchmark.audit.seal import AuditError
from benchmark.audit.verdict import (
    Counts,
    chance_seen,
    counts_of,
    excess_p_value,
    fewest_controls,
    least_auc_seen,
    least_exposed,
    least_share_seen,
    level_of,
)
from benchmark.audit.words import DOES_NOT_COUNT, without_names
from benchmark.contracts import Access, Kind, Records
from benchmark.engines import Event
from benchmark.environment import environment
from benchmark.judge.controls import Verdict
from benchmark.judge.figures import Trial, load_trial, trial_figure
from benchmark.judge.results import Results, cell_status, collect
from benchmark.learning.neighbours import nearest
from benchmark.nodes import load_records
from benchmark.plan import Cell, Plan, shadows_of, wants_reference
from benchmark.registry import Registry, default_registry
from benchmark.resolve import label_of
from benchmark.runs import Coins, OpenRun, execute_plan
from benchmark.statistics import auc_p_value
from benchmark.store import Record, Store
from benchmark.suite import PluginEntry, Suite

__all__ = ["ERROR", "Options", "Performed", "perform"]

ERROR = 0.05
"""Chance, at most, that a release which leaks nothing is called leaking, over all tests on it (weighted Bonferroni)."""

POWER = 0.8

SHARES = (0.01, 0.02, 0.05, 0.1)
"""Shares of copied members for which the chance of being found is told."""

RISKS: Mapping[str, str] = {
    "identity_reidentification": "linkability",
    "linkage": "linkability",
    "attribute_inference": "inference",
}
"""What attacks try, by name; all others single people out."""

Variants = tuple[tuple[Mapping[str, Any], Kind | None], ...]

VARIANTS: Mapping[Kind, Mapping[str, Variants]] = {
    "image": {
        # Also copies that were flipped, shifted, cropped or brightened.
        "near_duplicate": (({}, None), ({"measure": "aligned"}, "image")),
        # Half of a picture is what an attacker may know of it; half of its features is not.
        "attribute_inference": (({}, "image"), ({"secret": "rest"}, "image")),
    },
    "feature": {"attribute_inference": (({}, None), ({"secret": "rest"}, None))},
}
"""Parameters that an attack is run with, and the space that it looks in; those not named with their own, everywhere."""

UTILITIES: Mapping[Kind, tuple[str, ...]] = {
    "image": ("linear_probe", "fidelity", "visual_privacy"),
    "feature": ("linear_probe", "fidelity"),
}

QUALITIES = (
    ("linear_probe", "balanced_accuracy"),
    ("fidelity", "precision"),
    ("fidelity", "coverage"),
    ("visual_privacy", "ssim_to_members"),
)
"""Utilities and their figures that a report shows, each beside that of a release of the members themselves …"""

FRESH: Mapping[str, str] = {"ssim_to_members": "ssim_real"}
"""… or beside that of fresh real records, by a figure of its own."""

ONE_CLASS = "needs two classes or more that all records name, released ones too"

UNCONTROLLED = "without controls, what a release teaches of everybody cannot be told from what it tells of members"

MOST_DRAWS = 50_000
"""Of a generator that an attack looks at."""

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
    attacks : tuple of PluginEntry or str
        By default all that are installed and need no more than there is.
    makers : mapping of str to Maker
        The method that a release is of, by its label: attacks that learn from models of it take part. Where no such
        release is given, the method makes it here, of the members among the candidates.
    utilities : tuple of str, optional
        Names; by default :data:`UTILITIES`.
    seed : int
        Of who is set aside for the attacks to learn from, and of the attacks' own randomness.
    jobs, device
        As for a run.
    """

    name: str = "audit"
    accept: float = 0.5
    features: tuple[str, ...] = ()
    attacks: tuple[PluginEntry | str, ...] = ()
    makers: Mapping[str, Maker] = field(default_factory=dict)
    utilities: tuple[str, ...] | None = None
    seed: int = 0
    jobs: int | None = None
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Performed:
    """The result; and for the custodian alone who is exposed, and which rows of a release copy somebody, by label.

    ``made`` are the releases that were made here, with the names of their ``classes``.
    """

    result: AuditResult
    exposed: tuple[ExposedPerson, ...]
    copying: Mapping[str, np.ndarray] = field(default_factory=dict)
    made: Mapping[str, Records] = field(default_factory=dict)
    classes: tuple[str, ...] = ()


def perform(
    inputs: AuditInputs,
    root: Path,
    options: Options,
    on_event: Callable[[Event], None] = lambda event: None,
    prepare: Callable[[], object] = lambda: None,
    draw: Callable[[AuditInputs], AuditInputs] | None = None,
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
    draw : callable, optional
        Called after that, where generators are to draw: the inputs with their draws.
    known : Known, optional
        A run's game, in place of one dealt here.
    """
    if inputs.grade is Grade.NO_CONTROLS:
        if draw is not None or options.makers:
            raise AuditError(
                "what a generator draws, and models of its method, tell members from controls, and there are none. "
                "Give --controls, or leave the generator out."
            )
        prepare()
        return _without_controls(inputs, options)
    cohort = known.cohort if known else deal(inputs, options.seed)
    plan, keys, not_tried = _planned(inputs, options, known)
    prepare()
    if draw is not None:
        inputs = draw(inputs)
        plan, keys, not_tried = _planned(inputs, options, known)
    store = Store(root)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    commit_given(store, plan, keys, inputs, cohort)
    records = _executed(root, plan, store, options, on_event)
    made = frozenset(options.makers.keys() - inputs.releases.keys())
    inputs = _with_made(inputs, plan, store, records, options.makers)
    results = collect(plan, store, records, 1 - ERROR)
    columns = exchangeability(inputs, np.random.default_rng(int(inputs.content[:16], 16)))
    guesses = {label: _guesses(inputs, cohort, options, label) for label in inputs.releases}
    case = _Case(inputs, cohort, plan, store, records, results, options, columns, made, guesses)
    return case.performed(not_tried)


def _planned(
    inputs: AuditInputs, options: Options, known: Known | None
) -> tuple[Plan, Keys, list[NotTried]]:
    """The plan, which of its nodes are given, and the attacks that cannot be run."""
    registry = default_registry()
    attacks, not_tried = _attacks(inputs, options, registry)
    plan, keys = plan_audit(
        inputs,
        registry,
        name=options.name,
        seed=options.seed,
        features=options.features,
        attacks=attacks,
        utilities=[(name, {}, None) for name in _utilities(inputs, options)],
        makers=options.makers,
        known=known,
    )
    return plan, keys, not_tried


def _with_made(
    inputs: AuditInputs,
    plan: Plan,
    store: Store,
    records: Mapping[str, Record],
    makers: Mapping[str, Maker],
) -> AuditInputs:
    """The inputs with the releases that were made here, as if they had been given.

    Raises
    ------
    AuditError
        When a method failed, so that there is nothing to judge.
    """
    fits = {c.method.label: c for c in plan.cells if c.kind == "fit" and c.method}
    for label in makers.keys() - inputs.releases.keys():
        status, reason = cell_status(plan, records, fits[label])
        if status != "ok":
            raise AuditError(f"{makers[label].name} made no release. {status}: {reason}")
        made = load_records(store, fits[label].key, "release")
        name, rows = f"release {label}", tuple(f"row {i}" for i in range(len(made)))
        inputs = replace(
            inputs,
            releases={**inputs.releases, label: made},
            private={**inputs.private, name: Private(names=rows)},
            digests={**inputs.digests, name: made.digest()},
            notes={
                **inputs.notes,
                name: ("made by this audit of the members among the candidates",),
            },
        )
    return inputs


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
    not_tried = [
        NotTried(what=f"draws of the generator of {label}", why=why)
        for label, why in inputs.undrawn.items()
    ]
    asked: dict[str, list[tuple[Mapping[str, Any], Kind | None]]] = {}
    for named in options.attacks:
        wanted = PluginEntry(name=named) if isinstance(named, str) else named
        for parameters in wanted.combinations():
            registry.make(
                "attacks", wanted.name, parameters
            )  # says what there is, and what it allows
            own = asked.setdefault(wanted.name, [])
            own += [(parameters, wanted.space)] if parameters or wanted.space else []
    for entry in registry.entries("attacks"):
        name, obstacles = entry.name, set()
        for own_parameters, space in asked.get(name) or _variants(name, inputs):
            parameters = dict(own_parameters)
            why = _obstacle(entry, parameters, inputs, options, registry)
            if not why and asked and name not in asked:
                why = "was left out by whoever made this audit"
            if (
                not why
                and name == "attribute_inference"
                and not parameters
                and len(inputs.classes) < 2
            ):
                not_tried.append(NotTried(what="attribute inference of the class", why=ONE_CLASS))
            elif not why:
                chosen.append((name, parameters, space))
            elif why != "gate":
                obstacles.add(why)
        not_tried += [NotTried(what=name, why=why) for why in sorted(obstacles)]
    return chosen, not_tried


def _variants(name: str, inputs: AuditInputs) -> Variants:
    """The parameters and spaces that an attack is run with unless the audit says others."""
    if name == "sampled" and inputs.draws:
        least = min(len(draws) for draws in inputs.draws.values())
        return (({"reference": False, "draws": max(100, min(MOST_DRAWS, least))}, None),)
    return VARIANTS[inputs.kind].get(name, (({}, None),))


def _obstacle(
    entry: Any,
    parameters: Mapping[str, Any],
    inputs: AuditInputs,
    options: Options,
    registry: Registry,
) -> str:
    """Why an attack is not run; ``gate`` for what is no attack."""
    if entry.reason:
        return f"not available here: {entry.reason}"
    info = entry.plugin.info
    if info.needs is Access.NONE:
        return "gate"
    made = options.makers.keys() - inputs.releases.keys()
    makers: list[Any] = [registry.entry("methods", options.makers[m].name).plugin for m in made]
    access = max(
        Access.SAMPLER if inputs.draws else Access.RECORDS,
        *(m.info.offers for m in makers),
        Access.RECORDS,
    )
    if info.needs > access:
        only = "its records alone" if access is Access.RECORDS else f"no more than access {access}"
        hint = (
            "; more of its draws would do (--draws, --sampler)"
            if info.needs is Access.SAMPLER
            else ""
        )
        return f"needs access {info.needs}; a finished release gives {only}{hint}"
    plugin = entry.plugin(**parameters)
    if wants_reference(plugin) and not made:
        return "compares with a generator of the same kind, which is not given"
    if shadows_of(plugin) and not options.makers:
        return "trains models of the generator, which is not named (--method)"
    if inputs.kind not in info.kinds:
        return f"works on {', '.join(sorted(info.kinds))} records"
    if entry.name == "identity_reidentification" and not _several_each(inputs.members):
        return "needs people with several images"
    if entry.name == "linkage" and not made:
        return "needs to know which member each released record stands for"
    return ""


def _several_each(records: Records) -> bool:
    return records.groups is not None and len(np.unique(records.groups)) < len(records)


def _utilities(inputs: AuditInputs, options: Options) -> Sequence[str]:
    return UTILITIES[inputs.kind] if options.utilities is None else options.utilities


def _guesses(
    inputs: AuditInputs, cohort: Cohort, options: Options, label: str
) -> tuple[ColumnGuess, ...]:
    """Columns of the metadata, guessed from a release; none where that was left out."""
    names = {a if isinstance(a, str) else a.name for a in options.attacks}
    if names and ATTACK not in names:
        return ()
    device = "cpu" if options.device == "auto" else options.device
    return tuple(guess_columns(inputs, cohort, label, default_registry(), device))


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
    made: frozenset[str]
    guesses: Mapping[str, tuple[ColumnGuess, ...]]

    def performed(self, not_tried: Sequence[NotTried]) -> Performed:
        gates = self.gates()
        missing = [*not_tried, *self.failed(), *self.unguessed()]
        judged, exposed, copying = [], [], {}
        for label in self.inputs.releases:
            tests = list(self.tests(label))
            judged.append(self.release(label, tests, gates))
            found = [t for t, e in zip(tests, judged[-1].evidence, strict=True) if e.found]
            exposed += self.exposed(label, tests, found)
            copying[label] = self.copying(label, found)
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
            not_tried=tuple(missing),
            people_are_known=self.inputs.identified,
            n_members=counts.n_members,
            n_controls=counts.n_controls,
            commitment=self.inputs.seal.commitment if self.inputs.seal else "",
            versions=_versions(self.plan),
            notes=(*self.inputs.notes.get("all", ()), *self.cohort.notes),
        )
        return Performed(
            result=result,
            exposed=tuple(exposed),
            copying=copying,
            made={label: self.inputs.releases[label] for label in sorted(self.made)},
            classes=self.inputs.classes,
        )

    def copying(self, label: str, found: Sequence[_Test]) -> np.ndarray:
        """Rows of a release that equal a real record, or that a test which found a leak takes for a copy.

        Whether of a member or of a control makes no difference: what is missing must not tell who was a member.
        """
        copies = released_as_they_are(self.inputs.releases[label], self.cohort.pool)
        for test in found:
            if test.copies is not None:
                copies |= test.copies >= 0
        return np.flatnonzero(copies)

    def gates(self) -> tuple[GateResult, ...]:
        """The judge's verdict on whether members and controls differ without any release."""
        return tuple(
            GateResult(
                features=v.features,
                value=v.measured,
                low=v.low,
                high=v.high,
                passed=v.passed,
                reason="" if v.passed else f"required: {v.required}",
            )
            for v in self.results.verdicts
            if v.kind == "gate"
        )

    def failed(self) -> list[NotTried]:
        """Attacks without a figure, or whose controls failed."""
        found = {}
        for cell in self.cells():
            status, reason = cell_status(self.plan, self.records, cell)
            if cell.attack is None:
                continue
            why = self.void(cell)
            if status != "ok":
                why = why_none(status, reason, cell.attack.built_in)
            if why:
                found[f"{cell.attack.label} in {cell.features}"] = why
        for cell in self.plan.cells:
            status, reason = cell_status(self.plan, self.records, cell)
            if cell.kind == "utility" and cell.utility is not None and status != "ok":
                why = why_none(status, reason, cell.utility.built_in)
                found[f"{cell.utility.label} in {cell.features}"] = why
        return [NotTried(what=what, why=why) for what, why in found.items()]

    def unguessed(self) -> list[NotTried]:
        """Columns that were not guessed, and why."""
        found = {
            guess.column: guess.why
            for label in self.inputs.releases
            for guess in self.guesses[label]
            if guess.why
        }
        return [NotTried(what=f"attribute inference of {c}", why=why) for c, why in found.items()]

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
        label = cell.attack.label if cell.attack else ""
        for v in self.results.verdicts:
            if (
                not v.passed
                and v.kind != "gate"
                and (v.features, v.attack) == (cell.features, label)
            ):
                return _why_void(v)
        return ""

    def tests(self, label: str) -> Iterator[_Test]:
        """Everything that is tested on one release."""
        yield self.verbatim(label)
        if label in self.inputs.draws:
            equal = released_as_they_are(self.cohort.pool, self.inputs.draws[label])
            yield self.pointing("equal draws", "as given", "flags", equal[self.cohort.candidates])
        for cell in self.cells(label):
            if cell_status(self.plan, self.records, cell)[0] != "ok" or self.void(cell):
                continue
            trial = load_trial(self.store, cell)
            if trial is not None and trial.scores is not None and cell.attack is not None:
                yield from self.attack_tests(cell, trial)
        for guess in self.guesses[label]:
            if guess.scores is not None and guess.right is not None:
                yield from self.column_tests(guess)

    def column_tests(self, guess: ColumnGuess) -> Iterator[_Test]:
        """The AUC of a column's guesses, and of whom they are right."""
        assert guess.scores is not None and guess.right is not None
        name = f"{ATTACK}(column={guess.column})"
        coins, scores = without_missing(guess.scores, self.cohort.units, self.cohort.coins)
        if coins.all() or not coins.any():
            return
        trial = Trial(coins=coins, scores=scores)
        p_value = auc_p_value(trial.scores, trial.coins)
        yield _Test(name, "as given", "auc", p_value, trial=trial, scores=guess.scores)
        yield self.pointing(name, "as given", "flags", guess.right)

    def verbatim(self, label: str) -> _Test:
        """People with a record that is released as it is: all of them; the candidates among them are compared."""
        cohort = self.cohort
        equal = released_as_they_are(cohort.pool, self.inputs.releases[label])
        test = self.pointing("equal records", "as given", "verbatim", equal[cohort.candidates])
        given = np.isin(cohort.origin, ("members", "controls"))
        groups = cohort.pool.groups
        people = np.arange(len(equal)) if groups is None else groups
        people = np.unique(people[given], return_inverse=True)[1]
        members, alone = cohort.origin[given] == "members", of_one_person(cohort.pool)[given]
        return replace(
            test,
            copied=equal & (cohort.origin == "members"),
            whole=counts_of(equal[given], people, members),
            counted=copied_for_sure(equal[given], alone, people, members),
        )

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
            yield replace(self.pointing(label, features, "copies", pointed), copies=taken)

    def release(
        self, label: str, tests: Sequence[_Test], gates: Sequence[GateResult]
    ) -> ReleaseResult:
        """The answer on one release, and why."""
        kinds = [t.test for t in tests]
        refuted = self.refuted(gates)
        evidence = tuple(
            _evidence(t, level_of(t.test, kinds, ERROR), self.options.accept, bool(refuted))
            for t in tests
        )
        answer, reasons = Answer.NO_LEAK_FOUND, refuted
        if any(e.found for e in evidence):
            answer = Answer.LEAK
        elif refuted:
            answer = Answer.CANNOT_BE_JUDGED
        elif not any(e.test == "auc" for e in evidence):
            answer, reasons = Answer.CANNOT_BE_JUDGED, ["no attack gave a figure that counts"]
        return ReleaseResult(
            label=label,
            n_records=len(self.inputs.releases[label]),
            answer=answer,
            reasons=tuple(reasons),
            evidence=evidence,
            n_exposed=max(e.surely_exposed for e in evidence),
            power=_power(self.cohort, evidence),
            access=str(self.access(label)),
            maker=self.maker(label),
            made_here=label in self.made,
            quality=tuple(_quality(self.results, label)),
            figures=tuple(_figures(self.results, label)),
        )

    def access(self, label: str) -> Access:
        """What the attacks on a release could use of its generator."""
        method = next(m for m in self.plan.resolved.methods if m.label == label)
        offers: Access = method.plugin.info.offers
        return offers

    def maker(self, label: str) -> str:
        """The method that has made a release, or is said to have, with its parameters; empty where none is named."""
        maker = self.options.makers.get(label)
        return label_of(maker.name, maker.parameters) if maker else ""

    def refuted(self, gates: Sequence[GateResult]) -> list[str]:
        """What shows that members and controls differ by more than the training; empty where nothing does."""
        reasons = []
        failed = [g for g in gates if not g.passed]
        if any(np.isnan(g.value) for g in failed):
            reasons.append("whether the controls are like the members could not be tested")
        elif failed:
            worst = max(failed, key=lambda g: abs(g.value - 0.5))
            reasons.append(
                "the controls differ from the members even without the release (a classifier that never saw it tells "
                f"them apart with AUC {worst.value:.3f}, where 0.5 is guessing)"
            )
        columns = [c.column for c in self.columns if not c.passed]
        return reasons + [f"members and controls differ by {column}" for column in columns]

    def exposed(
        self, label: str, tests: Sequence[_Test], found: Sequence[_Test]
    ) -> list[ExposedPerson]:
        """The members that a test points at which found more than is accepted, with all scores."""
        cohort = self.cohort
        pointed = [(t, self.over_pool(t)) for t in found if t.pointed is not None]
        members = cohort.origin == "members"
        rows = np.flatnonzero(np.any([by for _, by in pointed], axis=0) & members)
        if len(rows) == 0:
            return []
        released, private = self.inputs.releases[label], self.inputs.private
        distances, at = nearest(cohort.pool.take(rows).flat(), released.flat())
        place = np.full(len(cohort.origin), -1)
        place[cohort.candidates] = np.arange(len(cohort.candidates))
        names = private["members"]
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
                    f"{t.attack} in {t.features}": float(t.scores[place[row]])
                    for t in tests
                    if t.scores is not None and place[row] >= 0
                },
            )
            for k, (row, i) in enumerate(zip(rows, cohort.rows[rows], strict=True))
        ]

    def over_pool(self, test: _Test) -> np.ndarray:
        """Records of the pool that a test points at, of members who are no candidates too where it looks at them."""
        pointed = np.zeros(len(self.cohort.origin), dtype=bool)
        pointed[self.cohort.candidates] = test.pointed
        return pointed if test.copied is None else pointed | test.copied


@dataclass(frozen=True, eq=False)
class _Test:
    """One test on one release; ``counts`` and ``pointed`` of those that point at people, the others of an AUC.

    ``copied`` are the records of the pool, and ``whole`` the people of all that were given, who are pointed at whether
    they are candidates or not; ``counted`` members are exposed for sure, whatever the controls are like. ``copies``
    names the candidate that each released record is taken for a copy of, or -1.
    """

    attack: str
    features: str
    test: str
    p_value: float
    counts: Counts | None = None
    pointed: np.ndarray | None = None
    trial: Trial | None = None
    scores: np.ndarray | None = None
    copies: np.ndarray | None = None
    copied: np.ndarray | None = None
    whole: Counts | None = None
    counted: int = 0


def _evidence(test: _Test, level: float, accept: float, refuted: bool) -> Evidence:
    """The figure of a test, held against what is accepted with its share of the error.

    Where controls are ``refuted``, nothing is shown but what is counted without them.
    """
    nan = float("nan")
    plain = Evidence(
        risk=RISKS.get(re.split(r"[(@]", test.attack)[0], "singling out"),
        attack=test.attack,
        features=test.features,
        test=test.test,
        value=nan,
        low=nan,
        high=nan,
        share_of_controls=nan,
        p_value=test.p_value,
        adjusted=min(1.0, test.p_value * ERROR / level),
        surely_exposed=test.counted,
        found=test.counted > 0 or (test.p_value <= level and not refuted),
    )
    if test.counts is not None:
        exposed = 0 if refuted else least_exposed(test.counts, level)
        shown = test.whole or test.counts
        return replace(
            plain,
            value=shown.k_members / shown.n_members,
            share_of_controls=shown.k_controls / shown.n_controls,
            surely_exposed=max(exposed, test.counted),
        )
    assert test.trial is not None
    figure = trial_figure(test.trial, "auc", 1 - level)
    beyond = figure.low > accept or figure.high < 1 - accept
    found = plain.found if accept == 0.5 else beyond and not refuted
    return replace(plain, value=figure.value, low=figure.low, high=figure.high, found=found)


def _power(cohort: Cohort, evidence: Sequence[Evidence]) -> Power:
    """What would have been seen of a leak of all together, and of copies that are altered but recognised."""
    counts = counts_of(cohort.coins, cohort.units, cohort.coins)
    n_members, n_controls = counts.n_members, counts.n_controls
    kinds = [e.test for e in evidence]
    auc = least_auc_seen(n_members, n_controls, level_of("auc", kinds, ERROR), POWER)
    by_chance = [e.share_of_controls for e in evidence if e.test == "copies"]
    if not by_chance:
        return Power(power=POWER, auc=auc)
    level, chance = level_of("copies", kinds, ERROR), max(by_chance)
    return Power(
        power=POWER,
        auc=auc,
        copied_share=least_share_seen(n_members, n_controls, level, POWER, chance),
        controls_for_one_percent=fewest_controls(n_members, level, 0.01, POWER, chance),
        copies_seen={
            share: chance_seen(n_members, n_controls, level, share, chance) for share in SHARES
        },
    )


def _quality(results: Results, label: str) -> Iterator[Quality]:
    """How useful and how like real records a release is, beside the same of real records."""
    frame = results.frame[
        results.frame["seed"].notna()
        & (results.frame["status"] == "ok")
        & (results.frame["perturbation"] == "")
    ]
    for utility, metric in QUALITIES:
        for features in dict.fromkeys(frame["features"]):
            here = frame[(frame["utility"] == utility) & (frame["features"] == features)]
            own = here[here["method_label"] == label].set_index("metric")
            members = here[here["method_label"] == "identity"].set_index("metric")
            if metric not in own.index:
                continue
            row = own.loc[metric]
            real = own if metric in FRESH else members
            named = FRESH.get(metric, metric)
            yield Quality(
                measure=metric,
                features=features,
                value=float(row["value"]),
                low=float(row["ci_low"]),
                high=float(row["ci_high"]),
                real=float(real.loc[named, "value"]) if named in real.index else float("nan"),
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
        told = {"ci_method": str(row["ci_method"]), "status": str(row["status"])}
        yield figure | told | {"reason": why_none(told["status"], str(row["reason"]))}


def why_none(status: str, reason: str, built_in: bool = False) -> str:
    """Why there is no figure, without what a plugin may say of the records that it was at.

    What our own plugins say where they do not apply is kept, less what looks like a name of a file. Of an error its
    kind is.
    """
    if status in ("", "ok"):
        return ""
    if status == "void":
        return reason.partition(" (")[0]  # less the note, which may quote a plugin
    if built_in and status in ("not applicable", "unavailable"):
        return without_names(f"{status}: {reason}")
    kind = re.match(r"[A-Za-z_][A-Za-z_.]*(Error|Exception|Warning|Interrupt)\b", reason)
    return f"{status}{f' ({kind[0]})' if kind else ''}; what it said is kept in private/nodes"


def _why_void(verdict: Verdict) -> str:
    """What a control says against an attack, for a reader who knows neither; by how much, the figures' reasons say."""
    if np.isnan(verdict.measured):
        return f"{DOES_NOT_COUNT}: what must show that it works gave no figure"
    what = {
        "negative": "it tells members from controls by a release that cannot know them",
        "positive": "it does not find members who are released as they are as surely as it must",
    }
    return f"{DOES_NOT_COUNT}: {what.get(verdict.kind, 'its control failed')}"


def _worst(answers: Iterator[Answer]) -> Answer:
    order = [Answer.NO_LEAK_FOUND, Answer.CANNOT_BE_JUDGED, Answer.LEAK]
    return max(answers, key=order.index)


def _given(inputs: AuditInputs) -> tuple[GivenRecords, ...]:
    sizes = {role: len(records) for role, records in inputs.real.items()}
    sizes |= {f"release {label}": len(r) for label, r in inputs.releases.items()}
    sizes |= {f"draws of {label}": len(d) for label, d in inputs.draws.items()}
    return tuple(
        GivenRecords(
            role=spoken(name),
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
            NotTried(what="linkability", why=UNCONTROLLED),
            NotTried(what="attribute inference", why=UNCONTROLLED),
        ),
        people_are_known=inputs.identified,
        n_members=inputs.n_people("members"),
        n_controls=0,
        versions=environment(),
        notes=inputs.notes.get("all", ()),
    )
    copying = {
        label: np.flatnonzero(released_as_they_are(released, inputs.members))
        for label, released in inputs.releases.items()
    }
    return Performed(result=result, exposed=(), copying=copying)


def _copies_alone(inputs: AuditInputs, label: str) -> ReleaseResult:
    members, released = inputs.members, inputs.releases[label]
    equal = released_as_they_are(members, released)
    groups = np.arange(len(members)) if members.groups is None else members.groups
    n_equal = len(np.unique(groups[equal]))
    n_copied = len(np.unique(groups[equal & of_one_person(members)]))
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
        value=n_equal / inputs.n_people("members"),
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
