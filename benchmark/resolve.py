"""Suite → plugins with validated parameters, the controls, and the fingerprints of datasets.

What can be wrong with a suite is found here, before anything has run: unknown names, refused parameters, missing files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmark.contracts import (
    Dataset,
    DatasetMissing,
    FeatureExtractor,
    Kind,
    LeakboardError,
    Method,
    PositiveControl,
    Unavailable,
)
from benchmark.node import canonical_json
from benchmark.registry import Registry
from benchmark.suite import (
    DatasetEntry,
    GameRules,
    Limits,
    PluginEntry,
    PublishEntry,
    Suite,
    SuiteError,
)

__all__ = [
    "NATIVE",
    "Publication",
    "Resolved",
    "ResolvedDataset",
    "ResolvedPlugin",
    "label_of",
    "place_of",
    "resolve",
    "resolve_method",
]

NATIVE = "native"
"""Name of the feature space of datasets that are features already."""

CONTROLS = ("holdout", "identity")
"""Methods that run in every suite; the gate ``blind`` is their counterpart among attacks."""

GATE = "blind"


@dataclass(frozen=True, kw_only=True)
class Publication:
    """How the records of a release are perturbed before they are published."""

    perturbation: ResolvedPlugin
    severity: int

    @property
    def label(self) -> str:
        """As in ``gaussian_noise 3``."""
        return f"{self.perturbation.label} {self.severity}"


@dataclass(frozen=True, kw_only=True)
class ResolvedPlugin:
    """A plugin with validated parameters, or the reason why it cannot be had.

    ``label`` names it with the parameters that the suite gives; ``space`` is the kind of records that the suite wants
    it to work on, if it says so. ``base`` is the method that a method works from, if it names one; ``publication`` says
    how a method's release is perturbed before it is published, where it is; ``built_in``, that it is the project's own;
    ``source`` is the digest of its code; ``named``, that the suite names it a control. A release that is ``given`` is
    not fitted; ``maker`` is then the method that is said to have made it, whose shadows stand for its own.
    """

    kind: str
    name: str
    label: str
    plugin: Any = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    space: Kind | None = None
    base: ResolvedPlugin | None = None
    publication: Publication | None = None
    severities: tuple[int, ...] = ()
    unavailable: str = ""
    built_in: bool = False
    source: str = ""
    named: bool = False
    given: bool = False
    maker: ResolvedPlugin | None = None

    @property
    def parameters_text(self) -> str:
        """All parameters as canonical JSON, with the ``space`` that the suite asks for and ``publish``, if any."""
        space = {"space": self.space} if self.space else {}
        publish = {"publish": self.publication.label} if self.publication else {}
        return canonical_json({**self.parameters, **space, **publish})

    @property
    def calibrates(self) -> bool:
        """Whether it is a control: a method of the project's own that says so. Others may say what they like."""
        info = self.plugin.info if self.plugin is not None else None
        return self.built_in and bool(getattr(info, "control", False))

    @property
    def control(self) -> bool:
        """Whether it is a method that the others are looked at beside: it calibrates, or the suite names it so.

        A perturbed control calibrates nothing any more.
        """
        return (self.calibrates or self.named) and self.publication is None

    @property
    def works_on(self) -> Kind:
        """Kind of records that a method, attack or utility is to work on: features where it can, unless told."""
        return self.space or ("feature" if "feature" in self.plugin.info.kinds else "image")

    def bases(self) -> Iterator[ResolvedPlugin]:
        """The method that a method works from, the one that that works from, and so on."""
        if self.base is not None:
            yield self.base
            yield from self.base.bases()

    def published(self, publication: Publication) -> ResolvedPlugin:
        """The method whose releases are perturbed before they are published."""
        label = f"{self.label} + {publication.label}"
        return replace(self, label=label, publication=publication)

    def spec(self) -> dict[str, Any]:
        """How a node names this plugin."""
        return {
            "name": self.name,
            "version": self.plugin.info.version,
            "parameters": dict(self.parameters),
            "fingerprint": self.fingerprint,
        }

    def identity(self) -> dict[str, Any]:
        """The spec without the parameters that only say where files lie: what keys are made of."""
        places = self.plugin.info.places
        return {
            **self.spec(),
            "parameters": {k: v for k, v in self.parameters.items() if k not in places},
        }


@dataclass(frozen=True, kw_only=True)
class ResolvedDataset:
    """A dataset as the suite uses it. ``controls`` is set for those that only serve known answers."""

    source: ResolvedPlugin
    label: str
    features: tuple[ResolvedPlugin, ...]
    rules: GameRules
    subset: Mapping[str, int | None]
    controls: tuple[tuple[ResolvedPlugin, ResolvedPlugin], ...] | None = None

    @property
    def kind(self) -> Kind:
        """What its records are."""
        kind: Kind = self.source.plugin.kind
        return kind

    @property
    def all_members(self) -> bool:
        """Whether every candidate is a member, so that nothing is said of privacy."""
        return self.rules.members == "all"


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """All that a plan is made from.

    Without ``decoys`` where methods cannot be fitted on other coins: in an audit. ``left_out``: the optional datasets
    whose files are not there, by label, with what was looked for.
    """

    suite: str
    seeds: tuple[int, ...]
    datasets: tuple[ResolvedDataset, ...]
    methods: tuple[ResolvedPlugin, ...]
    attacks: tuple[ResolvedPlugin, ...]
    utilities: tuple[ResolvedPlugin, ...]
    perturbations: tuple[ResolvedPlugin, ...]
    limits: Limits
    published: tuple[ResolvedPlugin, ...] = ()
    decoys: bool = True
    left_out: Mapping[str, str] = field(default_factory=dict)


def resolve(
    suite: Suite, registry: Registry, only: Mapping[str, Sequence[str]] | None = None
) -> Resolved:
    """Look up every plugin of a suite and add the controls.

    Parameters
    ----------
    suite : Suite
    registry : Registry
    only : mapping of str to sequence of str, optional
        For ``dataset``, ``method`` or ``attack``: the names or labels to keep. Controls always stay.

    Raises
    ------
    SuiteError
        For unknown names, refused parameters, missing dataset files, or an ``only`` that matches nothing.
    """
    only = only or {}
    methods = _resolve_all(suite, registry, "methods", suite.methods)
    attacks = _resolve_all(suite, registry, "attacks", suite.attacks)
    methods = _select("method", methods, only.get("method"))
    attacks = _select("attack", attacks, only.get("attack"))
    methods = _with_defaults(registry, "methods", CONTROLS, methods, first=True)
    attacks = _with_defaults(registry, "attacks", (GATE,), attacks, first=False)
    entries = _select_datasets(suite.datasets, only.get("dataset"))
    datasets, left_out = _resolve_datasets(suite, registry, entries)
    labels = [d.label for d in datasets]
    twice = sorted({x for x in labels if labels.count(x) > 1})
    if twice:
        raise SuiteError(
            f"suite {suite.name}: datasets: two entries are called {twice[0]!r}. Give one of them a `label:`."
        )
    return Resolved(
        suite=suite.name,
        seeds=tuple(suite.seeds),
        datasets=(*datasets, *_known_answers(registry, attacks, suite)),
        methods=tuple(methods),
        attacks=tuple(attacks),
        utilities=tuple(_resolve_all(suite, registry, "utilities", suite.utilities)),
        perturbations=tuple(_resolve_all(suite, registry, "perturbations", suite.perturbations)),
        published=tuple(_publications(suite, registry, methods)),
        limits=suite.limits,
        left_out=left_out,
    )


def _resolve_all(
    suite: Suite,
    registry: Registry,
    kind: str,
    entries: Sequence[PluginEntry],
    section: str = "",
) -> list[ResolvedPlugin]:
    """The plugins of the entries; ``section`` is where a single entry stands in the suite, if not in ``kind``."""
    found = []
    for i, entry in enumerate(entries):
        where = section or f"{kind}.{i}"
        for parameters in entry.combinations():
            try:
                resolved = _resolve_one(registry, kind, entry.name, parameters, entry.space)
            except LeakboardError as error:
                raise SuiteError(f"suite {suite.name}: {where}: {error}") from error
            severities = getattr(entry, "severities", None)
            if kind == "perturbations" and resolved.plugin is not None:
                resolved = _with_severities(suite, where, resolved, severities)
            resolved = replace(resolved, named=getattr(entry, "control", False))
            found.append(resolved)
    identities = [(p.name, p.parameters_text, p.space) for p in found]
    for i, one in enumerate(identities):
        if one in identities[:i]:
            raise SuiteError(f"suite {suite.name}: {kind}: {found[i].label} is listed twice.")
    return found


def _publications(
    suite: Suite, registry: Registry, methods: Sequence[ResolvedPlugin]
) -> list[ResolvedPlugin]:
    """The methods as they are published perturbed: each perturbation and severity of those asked for."""
    found: list[ResolvedPlugin] = []
    perturbations = [
        (entry, perturbation)
        for i, entry in enumerate(suite.publish)
        for perturbation in _resolve_all(
            suite, registry, "perturbations", [entry], section=f"publish.{i}"
        )
    ]
    for entry, perturbation in perturbations:
        if perturbation.plugin is None:
            raise SuiteError(f"suite {suite.name}: publish: {perturbation.unavailable}")
        for severity in perturbation.severities:
            publication = Publication(perturbation=perturbation, severity=severity)
            chosen = _to_publish(suite, entry, methods)
            found += [method.published(publication) for method in chosen]
    labels = [method.label for method in found]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise SuiteError(f"suite {suite.name}: publish: {twice[0]} is listed twice.")
    return found


def _to_publish(
    suite: Suite, entry: PublishEntry, methods: Sequence[ResolvedPlugin]
) -> list[ResolvedPlugin]:
    if entry.methods is None:
        return [m for m in methods if m.name != "holdout"]
    named = {e.name for e in suite.methods} | {m.name for m in methods}
    known = named | {m.label for m in methods} | set(CONTROLS)
    for name in entry.methods:
        if name not in known and name.partition("(")[0] not in named:
            raise SuiteError(
                f"suite {suite.name}: publish: methods: {name!r} is no method of this suite. "
                f"Allowed: {', '.join(sorted(known))}."
            )
    return [m for m in methods if m.name in entry.methods or m.label in entry.methods]


def _with_severities(
    suite: Suite, section: str, resolved: ResolvedPlugin, severities: list[int] | None
) -> ResolvedPlugin:
    most = resolved.plugin.info.severities
    chosen = severities or list(range(1, most + 1))
    if not all(1 <= s <= most for s in chosen):
        raise SuiteError(
            f"suite {suite.name}: {section}.severities: must be in 1 … {most}. Got {chosen}."
        )
    return replace(resolved, severities=tuple(chosen))


def resolve_method(
    registry: Registry, name: str, parameters: Mapping[str, Any], space: Kind
) -> ResolvedPlugin:
    """A method by name, to work on records of a kind.

    Raises
    ------
    LeakboardError
        When there is none, its parameters are refused, or it does not work on such records.
    """
    return _resolve_one(registry, "methods", name, parameters, space)


def _resolve_one(
    registry: Registry,
    kind: str,
    name: str,
    parameters: Mapping[str, Any],
    space: Kind | None = None,
    above: tuple[str, ...] = (),
) -> ResolvedPlugin:
    """A plugin by name; ``above`` are the methods that work from it, the nearest last."""
    label = label_of(name, parameters)
    if space:
        label = f"{label}@{space}"
    try:
        plugin = registry.make(kind, name, parameters)
    except Unavailable as error:
        return ResolvedPlugin(
            kind=kind,
            name=name,
            label=label,
            parameters=dict(parameters),
            space=space,
            unavailable=str(error),
        )
    kinds = getattr(plugin.info, "kinds", None)
    if space and kinds is not None and space not in kinds:
        raise SuiteError(
            f"{name!r} does not work on {space} records. Allowed: {', '.join(sorted(kinds))}."
        )
    fingerprint = plugin.fingerprint() if isinstance(plugin, Dataset | FeatureExtractor) else ""
    entry = registry.entry(kind, name.partition("/")[0])
    built_in = entry.built_in
    base = _resolve_base(registry, plugin, space, above) if isinstance(plugin, Method) else None
    return ResolvedPlugin(
        kind=kind,
        name=plugin.info.name,
        label=label,
        plugin=plugin,
        parameters=plugin.parameters(),
        fingerprint=fingerprint,
        space=space,
        base=base,
        unavailable=_why_refused(plugin, built_in) or (base.unavailable if base else ""),
        built_in=built_in,
        source=entry.source,
    )


def _why_refused(plugin: Any, built_in: bool) -> str:
    """Why a plugin that could be made gets no node; empty where it does."""
    if built_in or not getattr(plugin.info, "needs_holdout", False):
        return ""
    return (
        f"{plugin.info.name} asks for the hold-out records, which only the project's own controls may see. "
        "Do without `needs_holdout`."
    )


def _resolve_base(
    registry: Registry, method: Method, space: Kind | None, above: tuple[str, ...]
) -> ResolvedPlugin | None:
    """The method that ``method`` works from, in the same space."""
    named = method.base()
    if named is None:
        return None
    name, parameters = named
    chain = (*above, method.info.name)
    if name in chain:
        raise SuiteError(
            f"{chain[0]!r} works from itself: {' → '.join((*chain, name))}. Let base() name another method."
        )
    try:
        return _resolve_one(registry, "methods", name, parameters, space, chain)
    except SuiteError:
        raise
    except LeakboardError as error:
        raise SuiteError(f"the base of {method.info.name!r}: {error}") from error


def label_of(name: str, parameters: Mapping[str, Any]) -> str:
    """A plugin's name with the parameters given to it, as in ``k_same(k=5)``."""
    inside = ", ".join(f"{k}={_short(v)}" for k, v in parameters.items())
    return f"{name}({inside})" if inside else name


def place_of(control: PositiveControl) -> str:
    """Label of the dataset that a control names, with the size of the game if it names one.

    The size tells it from a dataset of the suite, and from another attack's control on other candidates.
    """
    label = label_of(control.dataset or "", control.dataset_parameters)
    return label if control.candidates is None else f"{label} of {control.candidates} candidates"


def _short(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)


def _select(
    kind: str, plugins: list[ResolvedPlugin], wanted: Sequence[str] | None
) -> list[ResolvedPlugin]:
    if not wanted:
        return plugins
    known = {p.name for p in plugins} | {p.label for p in plugins}
    for name in wanted:
        if name not in known and name not in (*CONTROLS, GATE):
            raise SuiteError(
                f"--only {kind}={name} matches nothing. Allowed: {', '.join(sorted(known)) or 'none'}."
            )
    return [p for p in plugins if p.name in wanted or p.label in wanted]


def _select_datasets(
    entries: Sequence[DatasetEntry], wanted: Sequence[str] | None
) -> list[tuple[int, DatasetEntry]]:
    numbered = list(enumerate(entries))
    if not wanted:
        return numbered
    known = {e.label or e.name for e in entries} | {e.name for e in entries}
    for name in wanted:
        if name not in known:
            raise SuiteError(
                f"--only dataset={name} matches nothing. Allowed: {', '.join(sorted(known))}."
            )
    return [(i, e) for i, e in numbered if e.name in wanted or e.label in wanted]


def _with_defaults(
    registry: Registry,
    kind: str,
    names: Sequence[str],
    plugins: list[ResolvedPlugin],
    *,
    first: bool,
) -> list[ResolvedPlugin]:
    listed = {p.name for p in plugins}
    added = [_resolve_one(registry, kind, n, {}) for n in names if n not in listed]
    return [*added, *plugins] if first else [*plugins, *added]


def _resolve_datasets(
    suite: Suite, registry: Registry, entries: Sequence[tuple[int, DatasetEntry]]
) -> tuple[list[ResolvedDataset], dict[str, str]]:
    """The datasets that are there, and why the optional ones that are not are left out, by label."""
    found: list[ResolvedDataset] = []
    left_out: dict[str, str] = {}
    for i, entry in entries:
        try:
            found.append(_resolve_dataset(suite, registry, i, entry))
        except SuiteError as error:
            missing = isinstance(error.__cause__, DatasetMissing)
            if not (entry.optional and missing) or len(entries) == len(left_out) + 1:
                raise
            left_out[entry.label or entry.name] = str(error.__cause__)
    return found, left_out


def _resolve_dataset(
    suite: Suite, registry: Registry, i: int, entry: DatasetEntry
) -> ResolvedDataset:
    where = f"suite {suite.name}: datasets.{i}"
    try:
        source = _resolve_one(registry, "datasets", entry.name, entry.params)
        if source.plugin is None:
            raise SuiteError(source.unavailable)
        features = _resolve_features(registry, entry, source.plugin)
    except LeakboardError as error:
        raise SuiteError(f"{where}: {error}") from error
    asked = (
        suite.game.model_dump(exclude_defaults=True),
        entry.game.model_dump(exclude_defaults=True),
    )
    rules = GameRules(**{**asked[0], **asked[1]})
    if rules.members == "all":
        _refuse_privacy(suite, where)
    return ResolvedDataset(
        source=source,
        label=entry.label or entry.name,
        features=features,
        rules=rules,
        subset=entry.subset.model_dump() if entry.subset else {"pool": None, "test": None},
    )


def _refuse_privacy(suite: Suite, where: str) -> None:
    """Where every candidate is a member there are no records to tell them from, or to take scales of noise from."""
    for kind in ("attacks", "perturbations", "publish"):
        if getattr(suite, kind):
            raise SuiteError(
                f"{where}: game: members: all tosses no coins and draws no auxiliary records, which {kind} need. "
                f"Leave {kind} out of the suite, or leave `members: all` out."
            )


def _resolve_features(
    registry: Registry, entry: DatasetEntry, dataset: Dataset
) -> tuple[ResolvedPlugin, ...]:
    if dataset.kind == "feature":
        if entry.features and [f.name for f in entry.features] != [NATIVE]:
            raise SuiteError(
                f"features: {entry.name!r} holds features already. Leave `features:` out."
            )
        return (ResolvedPlugin(kind="features", name=NATIVE, label=NATIVE),)
    wanted = entry.features or [PluginEntry(name="pixels")]
    found = []
    for feature in wanted:
        for parameters in feature.combinations():
            resolved = _resolve_one(registry, "features", feature.name, parameters)
            if resolved.plugin is None:
                raise SuiteError(resolved.unavailable)
            found.append(resolved)
    return tuple(found)


def _known_answers(
    registry: Registry, attacks: Sequence[ResolvedPlugin], suite: Suite
) -> list[ResolvedDataset]:
    """The datasets that attacks name in their positive controls, with the pairs to run there."""
    added = []
    for attack in attacks:
        controls = attack.plugin.positive_controls() if attack.plugin else ()
        for control in controls:
            if control.dataset is not None:
                added.append(_known_answer(registry, attack, control))
    return _merge_known_answers(added)


def _known_answer(
    registry: Registry, attack: ResolvedPlugin, control: PositiveControl
) -> ResolvedDataset:
    assert control.dataset is not None
    source = _resolve_one(registry, "datasets", control.dataset, control.dataset_parameters)
    # An attack that is to work on images needs a release of images; its control is still the method that it names.
    pictures = source.plugin is not None and source.plugin.kind == "image"
    images: Kind | None = "image" if pictures and attack.works_on == "image" else None
    method = _resolve_one(registry, "methods", control.method, control.method_parameters, images)
    method = replace(method, label=label_of(control.method, control.method_parameters))
    m = control.candidates or 400
    return ResolvedDataset(
        source=source,
        label=place_of(control),
        features=(ResolvedPlugin(kind="features", name=NATIVE, label=NATIVE),),
        rules=GameRules(candidates=m, holdout=2, validation=1, test=2),
        subset={"pool": None, "test": None},
        controls=((method, attack),),
    )


def _merge_known_answers(datasets: Sequence[ResolvedDataset]) -> list[ResolvedDataset]:
    """One entry for each known-answer dataset, with the pairs of all attacks that use it."""
    merged: dict[str, ResolvedDataset] = {}
    for dataset in datasets:
        other = merged.get(dataset.label)
        pairs = dataset.controls or ()
        if other is not None:
            pairs = (
                *(other.controls or ()),
                *(p for p in pairs if p not in (other.controls or ())),
            )
        merged[dataset.label] = replace(dataset, controls=pairs)
    return list(merged.values())
