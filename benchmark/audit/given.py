"""A finished release in the audit game: what was given takes the place of the nodes that a run computes.

A run draws candidates, tosses coins and fits methods; an audit is given members, controls and releases. Their nodes
(dataset, units, game, fit) are written to the store as they are, under the keys of a plan that is made as any other.
Everything downstream is the same code as in a run: attacks, utilities, controls and the judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from benchmark.audit.inputs import AuditInputs, Grade
from benchmark.audit.seal import AuditError
from benchmark.bank import GIVEN
from benchmark.contracts import (
    Access,
    Context,
    Dataset,
    DatasetContent,
    DatasetInfo,
    Kind,
    LeakboardError,
    Method,
    MethodInfo,
    Records,
    Release,
)
from benchmark.game import reveal_coins
from benchmark.node import Outcome, digest
from benchmark.nodes import records_arrays
from benchmark.plan import Plan, make_plan
from benchmark.registry import Registry
from benchmark.resolve import (
    NATIVE,
    Resolved,
    ResolvedDataset,
    ResolvedPlugin,
    label_of,
    resolve_method,
)
from benchmark.store import Record, Store
from benchmark.suite import GameRules, Limits
from benchmark.units import find_units

__all__ = ["Cohort", "Keys", "Known", "Maker", "commit_given", "deal", "plan_audit"]

ASIDE = 1 / 3
"""Share of the controls' people that is set aside for the attacks where there is no other population."""

SHARES: Mapping[str, float] = {"auxiliary": 0.6, "holdout": 0.3, "validation": 0.1}
"""Of the people who are no candidates: what attacks may know, what the negative control releases, early stopping."""

AUDIT_VERSION = "3"
"""Part of every key of an audit's game: raised when candidates would be dealt differently."""


class GivenDataset(Dataset):
    """The real records of an audit. They are written to the store, never loaded."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name=GIVEN,
        version=AUDIT_VERSION,
        summary="The records of an audit",
        licence="as stated by whoever audits",
        public=False,
    )
    records: Kind

    @property
    def kind(self) -> Kind:
        """What was given."""
        return self.records

    def fingerprint(self) -> str:
        """Unused: an audit states the digest of what it was given."""
        return ""

    def load(self, context: Context) -> DatasetContent:
        """Never called: the node of an audit's dataset is there before anything runs."""
        raise LeakboardError("the records of an audit are given. Run the audit again.")


class GivenRelease(Method):
    """A finished release. It is written to the store, never fitted."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name=GIVEN, version=AUDIT_VERSION, summary="A finished release", offers=Access.RECORDS
    )
    label: str

    def fit(self, members: Records, context: Context) -> Release:
        """Never called: the node of a given release is there before anything runs."""
        raise LeakboardError(f"the release {self.label} is given. Run the audit again.")


class GivenDraws(GivenRelease):
    """A finished release with more draws of its generator, which stand for the generator (:mod:`benchmark.bank`)."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name=GIVEN, version=AUDIT_VERSION, summary="A release and draws", offers=Access.SAMPLER
    )


@dataclass(frozen=True, kw_only=True)
class Maker:
    """A method, by its name and parameters, that is said to have made a release, or that is to make it here."""

    name: str
    parameters: Mapping[str, Any]


# ---------------------------------------------------------------- the game on given records


@dataclass(frozen=True, kw_only=True, eq=False)
class Cohort:
    """The records of an audit as a pool, and who is what in it.

    Parameters
    ----------
    pool : Records
        In an order that says nothing of who is a member; ``groups`` where people are known.
    origin : ndarray of shape (N,), str
        Role of each record of the pool: ``members``, ``controls``, ``population`` or ``test``.
    rows : ndarray of shape (N,), int64
        Its row in that role.
    owners : ndarray of shape (N,), int64
        The unit of each record, which a coin is tossed for (:mod:`benchmark.units`).
    candidates, auxiliary, holdout, validation, test : ndarray, int64
        Rows of the pool.
    units : ndarray of shape (m,), int64
        Number of each candidate's unit, from 0.
    coins : ndarray of shape (m,), bool
        Whether a candidate is a member.
    known_coins : ndarray of shape (m,), float64
        What the gate is told.
    notes : tuple of str
        What was left out, in sentences without names.
    """

    pool: Records
    origin: np.ndarray
    rows: np.ndarray
    owners: np.ndarray
    candidates: np.ndarray
    auxiliary: np.ndarray
    holdout: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    units: np.ndarray
    coins: np.ndarray
    known_coins: np.ndarray
    notes: tuple[str, ...] = ()


def deal(inputs: AuditInputs, seed: int = 0) -> Cohort:
    """Who is a candidate, and who is set aside.

    Candidates are the members and the controls; of members whose coin was never tossed, none. People who are no
    candidates come from the population, or else are a third of the controls' (:data:`ASIDE`). Records that are nearly
    equal are one unit; a unit with a member and a control in it tells nothing, and is left out. Utilities are measured
    on the test records, or else on the controls among the candidates, which no generator saw.

    Raises
    ------
    AuditError
        Without controls, or when too few people are left.
    """
    if inputs.grade is Grade.NO_CONTROLS:
        raise AuditError("without controls there is no game. Give --controls.")
    rng = np.random.default_rng(int(digest([AUDIT_VERSION, inputs.content, seed])[:16], 16))
    pool, origin, rows = _pool(inputs, rng)
    owners = find_units(pool).pool
    is_member, is_control = origin == "members", origin == "controls"
    mixed = np.intersect1d(owners[is_member], owners[is_control])
    usable = ~np.isin(owners, mixed)
    aside = _aside(owners, origin, usable, rng)
    chosen = usable & (is_member | (is_control & ~aside))
    if inputs.at_stake is not None:
        chosen[is_member] &= inputs.at_stake[rows[is_member]]
    candidates = rng.permutation(np.flatnonzero(chosen))
    _, units = np.unique(owners[candidates], return_inverse=True)
    units = rng.permutation(units.max() + 1)[units].astype(np.int64)
    sets = _shares(owners, np.flatnonzero(aside), rng)
    coins = is_member[candidates]
    test = np.flatnonzero((origin == "test") & ~np.isin(owners, owners[is_member]))
    cohort = Cohort(
        pool=pool,
        origin=origin,
        rows=rows,
        owners=owners,
        candidates=candidates,
        **sets,
        test=test if len(test) else candidates[~coins],
        units=units,
        coins=coins,
        known_coins=reveal_coins(units, coins, rng),
        notes=_notes(inputs, len(mixed), has_test=len(test) > 0, seed=seed),
    )
    _check_cohort(cohort)
    return cohort


def _pool(inputs: AuditInputs, rng: np.random.Generator) -> tuple[Records, np.ndarray, np.ndarray]:
    """All real records in random order, with the role and the row that each comes from."""
    roles = list(inputs.real)
    records = [inputs.real[role] for role in roles]
    sizes = [len(r) for r in records]
    origin = np.repeat(roles, sizes)
    rows = np.concatenate([np.arange(n) for n in sizes])
    groups = None
    if all(r.groups is not None for r in records):
        groups = np.concatenate([r.groups for r in records if r.groups is not None])
    whole = Records(
        np.concatenate([r.data for r in records]),
        np.concatenate([r.labels for r in records]),
        groups,
        records[0].extractor,
    )
    order = rng.permutation(len(origin))
    return whole.take(order), origin[order], rows[order]


def _aside(
    owners: np.ndarray, origin: np.ndarray, usable: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Which records of the pool belong to people who are set aside, and so are no candidates."""
    if (origin == "population").any():
        candidates = owners[(origin == "members") | (origin == "controls")]
        return np.asarray((origin == "population") & ~np.isin(owners, candidates))
    controls = usable & (origin == "controls")
    people = rng.permutation(np.unique(owners[controls]))
    return np.asarray(np.isin(owners, people[: round(ASIDE * len(people))]) & controls)


def _shares(
    owners: np.ndarray, rows: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Rows of each of the sets of :data:`SHARES`, whole units in each."""
    people = rng.permutation(np.unique(owners[rows]))
    ends = np.rint(np.cumsum(list(SHARES.values())) * len(people)).astype(int)
    ends[1] = min(
        ends[1], len(people) - 2
    )  # the least number of controls that is read leaves two to each
    parts = np.split(people, ends[:-1])
    return {
        name: rng.permutation(rows[np.isin(owners[rows], part)])
        for name, part in zip(SHARES, parts, strict=True)
    }


def _notes(inputs: AuditInputs, n_mixed: int, *, has_test: bool, seed: int) -> tuple[str, ...]:
    notes = [f"the attacks' randomness is of seed {seed}, not of 0"] if seed else []
    if n_mixed:
        notes.append(f"{n_mixed:,} units hold both a member and a control, nearly equal: left out")
    if "population" not in inputs.real:
        notes.append("a third of the controls' people is set aside for the attacks to learn from")
    if not has_test:
        notes.append("utility is measured on the controls")
    if inputs.at_stake is not None and not inputs.at_stake.all():
        n = int((~inputs.at_stake).sum())
        notes.append(f"{n:,} members whose coins were not tossed are no candidates")
    return tuple(notes)


def _check_cohort(cohort: Cohort) -> None:
    for name in ("auxiliary", "holdout", "validation"):
        if len(getattr(cohort, name)) < 2:
            raise AuditError(
                f"too few people are left for the attacks to learn from ({name}). Give more controls, or a "
                "`--population`."
            )
    if cohort.coins.all() or not cohort.coins.any():
        raise AuditError("no candidate is left on one side. Give more members and controls.")


# ---------------------------------------------------------------- the plan


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The nodes of the plan that are given."""

    dataset: str
    units: str
    game: str
    releases: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """A game that a run has played, to be played again on its releases as files: its figures are then the run's bits.

    ``cohort`` is who was what in it, ``seed`` the run's, ``keys`` those of the run's nodes that are given here.
    """

    cohort: Cohort
    seed: int
    keys: Keys


def plan_audit(
    inputs: AuditInputs,
    registry: Registry,
    *,
    name: str,
    seed: int = 0,
    features: Sequence[str] = (),
    attacks: Sequence[tuple[str, Mapping[str, Any], Kind | None]],
    utilities: Sequence[tuple[str, Mapping[str, Any], Kind | None]] = (),
    makers: Mapping[str, Maker] | None = None,
    known: Known | None = None,
) -> tuple[Plan, Keys]:
    """The plan of an audit, and which of its nodes are given. Attacks that need more than there is have no figure.

    Parameters
    ----------
    inputs : AuditInputs
    registry : Registry
        Finds attacks, utilities, extractors and the controls.
    name : str
        Of the audit.
    seed : int
        Of the attacks' own randomness.
    features : sequence of str
        Extractors that images are looked at in.
    attacks, utilities : sequence of (name, parameters, space)
    makers : mapping of str to Maker, optional
        Who has made a release, by its label; who is to make it here, where no such release is given.
    known : Known, optional
        A run's game.

    Raises
    ------
    AuditError
        For a maker that cannot be had, or does not make records of this kind.
    """
    makers = makers or {}
    source = ResolvedPlugin(
        kind="datasets",
        name=GIVEN,
        label=name,
        plugin=GivenDataset(records=inputs.kind),
        parameters={"records": inputs.kind},
        fingerprint=inputs.content,
    )
    dataset = ResolvedDataset(
        source=source,
        label=name,
        features=_extractors(inputs.kind, features, registry),
        rules=GameRules(),
        subset={"pool": None, "test": None},
    )
    controls = [_plugin(registry, "methods", m, {}, inputs.kind) for m in ("holdout", "identity")]
    releases = [
        _release(inputs, label, makers.get(label), registry)
        for label in dict.fromkeys((*inputs.releases, *makers))
    ]
    resolved = Resolved(
        suite=name,
        seeds=(known.seed if known else seed,),
        datasets=(dataset,),
        methods=(*controls, *releases),
        attacks=tuple(_plugin(registry, "attacks", *a) for a in (*attacks, ("blind", {}, None))),
        utilities=tuple(_plugin(registry, "utilities", *u) for u in utilities),
        perturbations=(),
        limits=Limits(),
        decoys=False,
    )
    commitment = inputs.seal.commitment if inputs.seal else digest([AUDIT_VERSION, "not sealed"])
    plan = make_plan(resolved, commitment)
    keys = _given_keys(plan, name, list(inputs.releases))
    if known is not None:
        theirs = (known.keys.dataset, known.keys.units, known.keys.game)
        ours = (keys.dataset, keys.units, keys.game)
        named = {plan.nodes[o].label: t for o, t in zip(ours, theirs, strict=True)}
        named |= {
            plan.nodes[keys.releases[label]].label: key
            for label, key in known.keys.releases.items()
        }
        plan, keys = make_plan(resolved, commitment, named), known.keys
    return plan, keys


def _given_keys(plan: Plan, name: str, labels: Sequence[str]) -> Keys:
    fits = {c.method.label: c.key for c in plan.cells if c.kind == "fit" and c.method}
    return Keys(
        dataset=plan.datasets[name],
        units=plan.units[name],
        game=plan.cells[0].game,
        releases={label: fits[label] for label in labels},
    )


def _extractors(
    kind: Kind, features: Sequence[str], registry: Registry
) -> tuple[ResolvedPlugin, ...]:
    if kind == "feature":
        return (ResolvedPlugin(kind="features", name=NATIVE, label=NATIVE),)
    return tuple(_plugin(registry, "features", name, {}) for name in features or ("pixels",))


def _plugin(
    registry: Registry,
    kind: str,
    name: str,
    parameters: Mapping[str, Any],
    space: Kind | None = None,
) -> ResolvedPlugin:
    plugin: Any = registry.make(kind, name, parameters)
    label = label_of(name, parameters)
    return ResolvedPlugin(
        kind=kind,
        name=plugin.info.name,
        label=f"{label}@{space}" if space and kind == "attacks" else label,
        plugin=plugin,
        parameters=plugin.parameters(),
        fingerprint=plugin.fingerprint() if kind == "features" else "",
        space=space,
        built_in=registry.entry(kind, name.partition("/")[0]).built_in,
    )


def _release(
    inputs: AuditInputs, label: str, maker: Maker | None, registry: Registry
) -> ResolvedPlugin:
    method = None if maker is None else _maker(inputs, maker, registry)
    if label not in inputs.releases:
        assert method is not None
        return replace(method, label=label)
    fingerprint = inputs.releases[label].digest()
    plugin: GivenRelease = GivenRelease(label=label)
    if label in inputs.draws:
        plugin = GivenDraws(label=label)
        fingerprint = digest([fingerprint, inputs.draws[label].digest()])
    return ResolvedPlugin(
        kind="methods",
        name=GIVEN,
        label=label,
        plugin=plugin,
        parameters={"label": label},
        fingerprint=fingerprint,
        space=inputs.kind,
        given=True,
        maker=method,
    )


def _maker(inputs: AuditInputs, maker: Maker, registry: Registry) -> ResolvedPlugin:
    """The method, fitted to records as they are in this audit."""
    try:
        method = resolve_method(registry, maker.name, maker.parameters, inputs.kind)
    except LeakboardError as error:
        raise AuditError(f"the method cannot be used: {error}") from error
    if method.unavailable:
        raise AuditError(f"the method {maker.name} cannot be used: {method.unavailable}")
    if method.calibrates:
        raise AuditError(f"{maker.name} is a control and generates nothing. Name the generator.")
    return method


# ---------------------------------------------------------------- the store


def commit_given(store: Store, plan: Plan, keys: Keys, inputs: AuditInputs, cohort: Cohort) -> None:
    """Write the nodes that are given, unless they are there."""
    outcomes = {
        keys.dataset: _dataset(inputs, cohort),
        keys.units: _units(cohort),
        keys.game: _game(cohort),
    }
    n_members = int(cohort.coins.sum())
    for label, key in keys.releases.items():
        draws = inputs.draws.get(label)
        outcomes[key] = _fit(inputs.releases[label], n_members, cohort.pool, draws)
    for key, outcome in outcomes.items():
        if store.read(key) is None:
            node = plan.nodes[key]
            record = Record(
                key=key,
                kind=node.kind,
                label=node.label,
                status="ok",
                spec=dict(node.spec),
                needs=node.needs,
                values=dict(outcome.values),
            )
            store.commit(record, outcome.arrays, outcome.tensors)


def _dataset(inputs: AuditInputs, cohort: Cohort) -> Outcome:
    pool = cohort.pool
    return Outcome(
        values={
            "digest": pool.digest(),
            "kind": pool.kind,
            "extractor": pool.extractor,
            "shape": list(pool.data.shape[1:]),
            "classes": list(inputs.classes),
            "n_classes": len(inputs.classes),
            "n_pool": len(pool),
            "n_test": 0,
            "n_identities": None if pool.groups is None else len(np.unique(pool.groups)),
        },
        arrays={"pool": records_arrays(pool)},
    )


def _units(cohort: Cohort) -> Outcome:
    none = np.zeros(0, dtype=np.int64)
    return Outcome(
        values={"n_units": len(np.unique(cohort.owners)), "n_test_dropped": 0},
        arrays={"units": {"pool": cohort.owners, "test": none, "test_kept": none}},
    )


def _game(cohort: Cohort) -> Outcome:
    owners = cohort.owners
    public = {
        name: getattr(cohort, name) for name in ("candidates", "auxiliary", "validation", "test")
    }
    public |= {
        "units": cohort.units,
        "owners": owners[cohort.candidates],
        "auxiliary_owners": owners[cohort.auxiliary],
        "test_owners": owners[cohort.test],
    }
    return Outcome(
        values={
            "n_candidates": len(cohort.candidates),
            "n_units": int(cohort.units.max()) + 1,
            "n_members": int(cohort.coins.sum()),
            "n_auxiliary": len(cohort.auxiliary),
            "n_holdout": len(cohort.holdout),
            "n_validation": len(cohort.validation),
            "n_test": len(cohort.test),
            "test_is_official": False,
        },
        arrays={
            "public": public,
            "secret": {"coins": cohort.coins, "holdout": cohort.holdout},
            "gate": {"known_coins": cohort.known_coins},
        },
    )


def _fit(release: Records, n_members: int, pool: Records, draws: Records | None) -> Outcome:
    """A given release in the order in which it is published, which whoever gets it sees; with its draws, if any."""
    state = {} if draws is None else {"draws": draws.data, "draw_labels": draws.labels}
    return Outcome(
        values={
            "extractor": release.extractor,
            "n_released": len(release),
            "n_members": n_members,
            "dimension": int(np.prod(pool.data.shape[1:])),
            "guarantee": None,
            "notes": {},
        },
        arrays={"release": records_arrays(release.replace(groups=None))},
        tensors={"state": state} if state else {},
    )
