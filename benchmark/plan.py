"""Suite → graph of nodes and the cells of the board that they fill.

:func:`resolve` looks plugins up, validates their parameters and takes the fingerprints of datasets: it may fail, before
anything has run. :func:`make_plan` then is pure: equal input gives equal keys, on any host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmark.contracts import (
    Access,
    Dataset,
    FeatureExtractor,
    Kind,
    LeakboardError,
    Method,
    Plugin,
    PositiveControl,
    Unavailable,
)
from benchmark.node import Node, canonical_json, digest
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
    "SHADOW_CHUNK",
    "Cell",
    "Plan",
    "Publication",
    "Resolved",
    "ResolvedDataset",
    "ResolvedPlugin",
    "label_of",
    "make_plan",
    "place_of",
    "resolve",
    "shadows_of",
    "wants_reference",
]

NATIVE = "native"
"""Name of the feature space of datasets that are features already."""

CONTROLS = ("holdout", "identity")
"""Methods that run in every suite; the gate ``blind`` is their counterpart among attacks."""

GATE = "blind"

HARNESS_VERSION = "1"
"""Part of every key of a game: raised when the referee would draw or judge differently."""

SHADOW_CHUNK = 16
"""Shadows fitted by one node. The first 16 of 64 are the 16 of an attack that asks for as many."""

REFERENCE_VERSION = "2"
"""Part of every key of a reference release: raised when it would be fitted on other records."""

PUBLISH_VERSION = "1"
"""Part of every key of a publication: raised when releases would be perturbed otherwise."""

SHADOWS_VERSION = "2"
"""Part of every key of shadows: raised when they would be drawn or fitted differently."""


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
    how a method's release is perturbed before it is published, where it is.
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

    @property
    def parameters_text(self) -> str:
        """All parameters as canonical JSON, with the ``space`` that the suite asks for and ``publish``, if any."""
        space = {"space": self.space} if self.space else {}
        publish = {"publish": self.publication.label} if self.publication else {}
        return canonical_json({**self.parameters, **space, **publish})

    @property
    def control(self) -> bool:
        """Whether it is a method that only calibrates the board. A perturbed control calibrates nothing any more."""
        info = self.plugin.info if self.plugin is not None else None
        return bool(getattr(info, "control", False)) and self.publication is None

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


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """All that a plan is made from."""

    suite: str
    seeds: tuple[int, ...]
    datasets: tuple[ResolvedDataset, ...]
    methods: tuple[ResolvedPlugin, ...]
    attacks: tuple[ResolvedPlugin, ...]
    utilities: tuple[ResolvedPlugin, ...]
    perturbations: tuple[ResolvedPlugin, ...]
    limits: Limits
    published: tuple[ResolvedPlugin, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A place on the board, and the node that fills it or the reason why none can.

    ``kind`` is ``fit``, ``attack`` or ``utility``; ``game``, ``fit`` and ``key`` are keys of nodes. ``key`` is empty
    where ``status`` is ``not applicable`` or ``unavailable``.
    """

    kind: str
    dataset: str
    features: str
    seed: int
    method: ResolvedPlugin | None = None
    attack: ResolvedPlugin | None = None
    utility: ResolvedPlugin | None = None
    access: str = ""
    game: str = ""
    fit: str = ""
    key: str = ""
    conditions: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    status: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Nodes by key, each after those that it needs, and the cells of the board."""

    resolved: Resolved
    nodes: Mapping[str, Node]
    cells: tuple[Cell, ...]
    datasets: Mapping[str, str] = field(default_factory=dict)

    def downstream(self, keys: Iterable[str]) -> set[str]:
        """``keys`` and all nodes that need them, directly or not."""
        reached = set(keys)
        for key, node in self.nodes.items():
            if reached.intersection(node.needs):
                reached.add(key)
        return reached


# ---------------------------------------------------------------- resolving


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
    datasets = [_resolve_dataset(suite, registry, i, e) for i, e in entries]
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
    return ResolvedPlugin(**{**resolved.__dict__, "severities": tuple(chosen)})


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
        unavailable=base.unavailable if base else "",
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
    merged = {
        **suite.game.model_dump(exclude_none=True),
        **entry.game.model_dump(exclude_none=True),
    }
    return ResolvedDataset(
        source=source,
        label=entry.label or entry.name,
        features=features,
        rules=GameRules(**merged),
        subset=entry.subset.model_dump() if entry.subset else {"pool": None, "test": None},
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
    space = _attack_space(attack) if source.plugin and source.plugin.kind == "image" else None
    images: Kind | None = "image" if space == "image" else None
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
        merged[dataset.label] = ResolvedDataset(**{**dataset.__dict__, "controls": pairs})
    return list(merged.values())


# ---------------------------------------------------------------- planning


def make_plan(resolved: Resolved) -> Plan:
    """The graph of nodes and the cells that they fill. Pure."""
    builder = _Builder(resolved)
    for dataset in resolved.datasets:
        builder.add_dataset(dataset)
    return Plan(
        resolved=resolved,
        nodes=builder.nodes,
        cells=tuple(builder.cells),
        datasets=builder.datasets,
    )


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where the cells being added lie: one dataset, feature space and seed, and the nodes they share."""

    dataset: ResolvedDataset
    features: ResolvedPlugin
    seed: int
    images: str
    vectors: str
    game: str
    conditions: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    image_conditions: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    def records(self, space: str) -> str:
        """Key of the node whose records are of this kind."""
        return self.images if space == "image" else self.vectors

    @property
    def text(self) -> str:
        return f"{self.dataset.label}/{self.features.label}, seed {self.seed}"


class _Builder:
    """Collects nodes (each once) and cells."""

    def __init__(self, resolved: Resolved) -> None:
        self.resolved = resolved
        self.nodes: dict[str, Node] = {}
        self.cells: list[Cell] = []
        self.datasets: dict[str, str] = {}
        controls = [m for d in resolved.datasets for m, _ in d.controls or ()]
        self.bases = {_name_of(b) for m in (*resolved.methods, *controls) for b in _bases_of(m)}

    def node(
        self,
        kind: str,
        label: str,
        spec: dict[str, Any],
        needs: Sequence[str],
        plugin: Plugin | None = None,
        identity: dict[str, Any] | None = None,
        work: int = 1,
    ) -> str:
        """Add a node unless it is there; its key. The limit on its time counts ``work`` times."""
        key = digest([kind, spec if identity is None else identity, list(needs)])
        if key not in self.nodes:
            limits, own = self.resolved.limits, plugin.info.resources if plugin else None
            self.nodes[key] = Node(
                key=key,
                kind=kind,
                label=f"{kind} {label}",
                spec=spec,
                needs=tuple(needs),
                time_s=work * (limits.time_s or (own.time_s if own else 600.0)),
                memory_mb=limits.memory_mb or (own.memory_mb if own else 4096),
                gpu=1.0 if own and own.gpu else 0.0,
            )
        return key

    def plugin_node(
        self,
        kind: str,
        label: str,
        plugins: Mapping[str, ResolvedPlugin],
        more: Mapping[str, Any],
        needs: Sequence[str],
        work: int = 1,
    ) -> str:
        """Add a node whose spec names plugins by role; limits are those of the first."""
        return self.node(
            kind,
            label,
            {**{role: p.spec() for role, p in plugins.items()}, **more},
            needs,
            next(iter(plugins.values())).plugin,
            {**{role: p.identity() for role, p in plugins.items()}, **more},
            work,
        )

    # -- datasets and games

    def add_dataset(self, dataset: ResolvedDataset) -> None:
        images = self.plugin_node(
            "dataset",
            dataset.label,
            {"dataset": dataset.source},
            {"subset": dict(dataset.subset)},
            (),
        )
        self.datasets[dataset.label] = images
        games = {seed: self._game(dataset, images, seed) for seed in self.resolved.seeds}
        for features in dataset.features:
            vectors = images
            if features.name != NATIVE:
                label = f"{features.label} of {dataset.label}"
                vectors = self.plugin_node("features", label, {"features": features}, {}, (images,))
            for seed in self.resolved.seeds:
                place = _Place(
                    dataset=dataset,
                    features=features,
                    seed=seed,
                    images=images,
                    vectors=vectors,
                    game=games[seed],
                )
                self._add_place(place)

    def _game(self, dataset: ResolvedDataset, images: str, seed: int) -> str:
        rules = dataset.rules.model_dump()
        spec = {"rules": rules, "seed": seed, "version": HARNESS_VERSION}
        return self.node("game", f"{dataset.label}, seed {seed}", spec, (images,))

    def _add_place(self, place: _Place) -> None:
        if place.dataset.controls is not None:
            for method, attack in place.dataset.controls:
                fit = self._add_fit(place, method)
                self._add_attack(place, method, fit, attack)
            return
        place = _Place(
            **{
                **place.__dict__,
                "conditions": self._conditions(place, "feature"),
                "image_conditions": self._conditions(place, "image"),
            }
        )
        for attack in self.resolved.attacks:
            if _is_gate(attack):
                self._add_attack(place, None, "", attack)
        for method in (*self.resolved.methods, *self.resolved.published):
            fit = self._add_fit(place, method)
            for attack in self.resolved.attacks:
                if not _is_gate(attack):
                    self._add_attack(place, method, fit, attack)
            for utility in self.resolved.utilities:
                self._add_utility(place, method, fit, utility)

    def _conditions(self, place: _Place, space: Kind) -> dict[str, tuple[str, int]]:
        """Nodes of the perturbed test sets in this space, with the perturbation's label and severity.

        Images are perturbed as such, and then embedded where features are asked for.
        """
        conditions: dict[str, tuple[str, int]] = {}
        if space == "image" and not self._image_utilities():
            return conditions
        for perturbation in self.resolved.perturbations:
            if perturbation.plugin is None:
                continue
            kind = perturbation.plugin.info.kind
            if "image" in (kind, space) and place.dataset.kind != "image":
                continue
            if kind == "feature" and space == "image":
                continue
            plugins = {"perturbation": perturbation}
            if kind == "image" and space == "feature":
                plugins["features"] = place.features
            needs = (place.images if kind == "image" else place.vectors, place.game)
            for severity in perturbation.severities:
                key = self.plugin_node(
                    "perturb",
                    f"{perturbation.label}, severity {severity}, on {_where(place, space)}",
                    plugins,
                    {"severity": severity, "seed": place.seed},
                    needs,
                )
                conditions[key] = (perturbation.label, severity)
        return conditions

    def _image_utilities(self) -> bool:
        """Whether any utility is to work on images."""
        plugins = [u for u in self.resolved.utilities if u.plugin is not None]
        return any(_utility_space(utility) == "image" for utility in plugins)

    # -- cells

    def _cell(self, place: _Place, kind: str, **more: Any) -> None:
        self.cells.append(
            Cell(
                kind=kind,
                dataset=place.dataset.label,
                features=place.features.label,
                seed=place.seed,
                game=place.game,
                **more,
            )
        )

    def _add_fit(self, place: _Place, method: ResolvedPlugin) -> str:
        """Add the fit and its cell; the key of the fit, or nothing where it cannot be.

        Of a method that is published perturbed it is the key of the publication, which stands in for the fit.
        """
        space, why = _method_space(method, place.dataset.kind)
        if why:
            status = "unavailable" if method.unavailable else "not applicable"
            self._cell(place, "fit", method=method, status=status, reason=why)
            return ""
        key = self._publish(place, method, self._fit(place, method, space), space)
        self._cell(place, "fit", method=method, key=key, fit=key)
        return key

    def _publish(self, place: _Place, method: ResolvedPlugin, release: str, space: str) -> str:
        """Key of the node with this release, or these shadow releases, as they are published, in their own space."""
        if method.publication is None:
            return release
        shadows = self.nodes[release].kind == "shadows"
        return self.plugin_node(
            "publish shadows" if shadows else "publish",
            f"{method.publication.label} on {self.nodes[release].label}",
            {"perturbation": method.publication.perturbation},
            {
                "severity": method.publication.severity,
                "seed": place.seed,
                "space": space,
                "version": PUBLISH_VERSION,
            },
            (release, place.records(space), place.game),
            work=SHADOW_CHUNK if shadows else 1,
        )

    def _fit(
        self,
        place: _Place,
        method: ResolvedPlugin,
        space: str,
        kind: str = "fit",
        **more: int | str,
    ) -> str:
        """Key of the node that fits a method, after the node of the same kind for what it works from.

        ``kind`` says on what it is fitted: ``fit`` on the members, ``reference`` on auxiliary records, ``shadows`` on
        random halves of the candidates, on the same ones for all methods of a game. The shadows of a base also keep
        what it is restored from. ``more`` goes into the spec of each of these nodes.
        """
        needs = [place.records(space), place.game]
        if method.base is not None:
            needs.append(self._fit(place, method.base, space, kind, **more))
        spec: dict[str, Any] = {"seed": place.seed, "space": space, **more}
        label, work = f"{_unpublished(method)} on {_where(place, space)}", 1
        if kind == "shadows":
            label, work = f"{spec['chunk'] * SHADOW_CHUNK} … of {label}", SHADOW_CHUNK
            if _name_of(method) in self.bases:
                spec["states"] = True
        return self.plugin_node(kind, label, _with_base(method), spec, needs, work)

    def _reference(self, place: _Place, method: ResolvedPlugin, fit: str, space: str) -> str:
        """Key of the node that holds a release fitted on auxiliary records, in this space."""
        fitted = self.nodes[fit].spec["space"]
        key = self._fit(place, method, fitted, "reference", version=REFERENCE_VERSION)
        key = self._publish(place, method, key, fitted)
        if fitted == space:
            return key
        label = f"reference of {method.label} on {place.text}"
        return self.plugin_node("embed", label, {"features": place.features}, {}, (key,))

    def _release(self, place: _Place, method: ResolvedPlugin, fit: str, space: str) -> str:
        """Key of the node that holds the release in this space."""
        if self.nodes[fit].spec["space"] == space:
            return fit
        return self.plugin_node(
            "embed", f"{method.label} on {place.text}", {"features": place.features}, {}, (fit,)
        )

    def _shadows(
        self, place: _Place, method: ResolvedPlugin, fit: str, space: str, n: int
    ) -> list[str]:
        """Keys of the nodes that hold the first ``n`` shadow releases, in this space."""
        fitted = self.nodes[fit].spec["space"]
        more: dict[str, int | str] = {"size": SHADOW_CHUNK, "version": SHADOWS_VERSION}
        keys = []
        for chunk in range(-(-n // SHADOW_CHUNK)):
            key = self._fit(place, method, fitted, "shadows", chunk=chunk, **more)
            key = self._publish(place, method, key, fitted)
            if fitted != space:
                key = self.plugin_node(
                    "embed shadows",
                    f"{chunk * SHADOW_CHUNK} … of {method.label} on {place.text}",
                    {"features": place.features},
                    {},
                    (key,),
                    work=SHADOW_CHUNK,
                )
            keys.append(key)
        return keys

    def _add_attack(
        self, place: _Place, method: ResolvedPlugin | None, fit: str, attack: ResolvedPlugin
    ) -> None:
        common: dict[str, Any] = {"method": method, "attack": attack, "fit": fit}
        if attack.plugin is None:
            self._cell(place, "attack", status="unavailable", reason=attack.unavailable, **common)
            return
        needs: Access = attack.plugin.info.needs
        common["access"] = str(needs)
        if method is not None and not fit:
            _, why = _method_space(method, place.dataset.kind)
            status = "unavailable" if method.unavailable else "not applicable"
            self._cell(place, "attack", status=status, reason=why, **common)
            return
        release_space = self.nodes[fit].spec["space"] if fit else "feature"
        space = _attack_space(attack)
        why = _attack_obstacle(attack, method, space, release_space, place.dataset.kind)
        if why:
            self._cell(place, "attack", status="not applicable", reason=why, **common)
            return
        upstream = [place.records(space), place.game]
        plugins = {"attack": attack}
        n_shadows = shadows_of(attack.plugin) if method is not None else 0
        reference = method is not None and wants_reference(attack.plugin)
        if method is not None:
            upstream.append(self._release(place, method, fit, space))
            if reference:
                upstream.append(self._reference(place, method, fit, space))
            upstream += self._shadows(place, method, fit, space, n_shadows)
            if needs in (Access.SAMPLER, Access.WEIGHTS):
                plugins["method"] = method
        label = f"{attack.label} on {method.label + ', ' if method else ''}{place.text}"
        more: dict[str, Any] = {"seed": place.seed, "space": space, "access": str(needs)}
        if n_shadows:
            more["shadows"] = n_shadows
        if reference:
            more["reference"] = True
        key = self.plugin_node("attack", label, plugins, more, upstream, work=1 + n_shadows)
        self._cell(place, "attack", key=key, **common)

    def _add_utility(
        self, place: _Place, method: ResolvedPlugin, fit: str, utility: ResolvedPlugin
    ) -> None:
        common: dict[str, Any] = {"method": method, "utility": utility, "fit": fit}
        if utility.plugin is None or not fit:
            why = utility.unavailable or _method_space(method, place.dataset.kind)[1]
            status = (
                "unavailable" if utility.unavailable or method.unavailable else "not applicable"
            )
            self._cell(place, "utility", status=status, reason=why, **common)
            return
        release_space = self.nodes[fit].spec["space"]
        space = _utility_space(utility)
        if space == "image" and release_space != "image":
            why = f"{utility.name} works on images; {method.label} releases features"
            self._cell(place, "utility", status="not applicable", reason=why, **common)
            return
        conditions = dict(place.conditions if space == "feature" else place.image_conditions)
        key = self.plugin_node(
            "utility",
            f"{utility.label} of {method.label} on {place.text}",
            {"utility": utility},
            {"seed": place.seed, "space": space},
            (
                place.records(space),
                place.game,
                self._release(place, method, fit, space),
                place.images,
                *conditions,
            ),
        )
        self._cell(place, "utility", key=key, conditions=conditions, **common)


def shadows_of(attack: Plugin) -> int:
    """How many shadow models an attack asks for: its parameter ``shadows``, else ``info.shadows``."""
    return int(getattr(attack, "shadows", getattr(attack.info, "shadows", 0)))


def wants_reference(attack: Plugin) -> bool:
    """Whether an attack asks for a reference release: its parameter ``reference``, else ``info.reference``."""
    return bool(getattr(attack, "reference", getattr(attack.info, "reference", False)))


def _bases_of(method: ResolvedPlugin) -> Iterator[ResolvedPlugin]:
    """The method that a method works from, the one that that works from, and so on."""
    while method.base is not None:
        method = method.base
        yield method


def _name_of(method: ResolvedPlugin) -> tuple[str, str]:
    """What makes two methods fit alike, however they are published and wherever they are listed."""
    return method.name, canonical_json(method.parameters)


def _with_base(method: ResolvedPlugin) -> dict[str, ResolvedPlugin]:
    """The plugins of a node that fits a method."""
    return {"method": method} if method.base is None else {"method": method, "base": method.base}


def _unpublished(method: ResolvedPlugin) -> str:
    """The method's label without how it is published: its fit is shared by all publications."""
    if method.publication is None:
        return method.label
    return method.label.removesuffix(f" + {method.publication.label}")


def _where(place: _Place, space: str) -> str:
    if space == "image":
        return f"{place.dataset.label}/images, seed {place.seed}"
    return place.text


def _utility_space(utility: ResolvedPlugin) -> Kind:
    """Kind of records that a utility is to work on."""
    return utility.space or ("feature" if "feature" in utility.plugin.info.kinds else "image")


def _attack_space(attack: ResolvedPlugin) -> Kind:
    """Kind of records that an attack is to work on."""
    return attack.space or ("feature" if "feature" in attack.plugin.info.kinds else "image")


def _is_gate(attack: ResolvedPlugin) -> bool:
    return attack.plugin is not None and attack.plugin.info.needs is Access.NONE


def _method_space(method: ResolvedPlugin, dataset_kind: str) -> tuple[str, str]:
    """Kind of records that a method is to work on, and why it cannot (empty when it can)."""
    if method.plugin is None or method.unavailable:
        return "", method.unavailable
    kinds = method.plugin.info.kinds
    space = method.space or ("feature" if "feature" in kinds else "image")
    if space == "image" and dataset_kind != "image":
        return "", f"{method.name} works on images; the dataset holds features"
    for base in _bases_of(method):
        if space not in base.plugin.info.kinds:
            return "", f"{method.name} works on {space} records; {base.name}, its base, does not"
    if method.publication is not None:
        perturbation = method.publication.perturbation
        if perturbation.plugin.info.kind != space:
            perturbed = perturbation.plugin.info.kind
            return "", f"{perturbation.name} perturbs {perturbed}s; {method.name} releases {space}s"
    return space, ""


def _attack_obstacle(
    attack: ResolvedPlugin,
    method: ResolvedPlugin | None,
    space: str,
    release_space: str,
    dataset_kind: str,
) -> str:
    """Why an attack does not apply to a method's release; empty when it does."""
    if space == "image" and dataset_kind != "image":
        return f"{attack.name} works on images; the dataset holds features"
    if method is None:
        return ""
    if space == "image" and release_space != "image":
        return f"{attack.name} works on images; {method.label} releases features"
    needs, offers = attack.plugin.info.needs, method.plugin.info.offers
    if method.publication is not None and needs in (Access.SAMPLER, Access.WEIGHTS):
        return f"{attack.name} needs access {needs}; what is published are perturbed records alone"
    if needs is not Access.TRAINER and needs > offers:
        return f"{attack.name} needs access {needs}; {method.name} offers {offers}"
    if needs in (Access.SAMPLER, Access.WEIGHTS) and space != release_space:
        return f"{attack.name} needs a generator of {space} records; {method.label} generates {release_space}s"
    return ""
