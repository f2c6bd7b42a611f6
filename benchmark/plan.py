"""What a suite resolves to → graph of nodes, and the cells of the board that they fill.

Pure: equal input gives equal keys, on any host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmark.coins import UNSET
from benchmark.contracts import Access, Kind, Plugin
from benchmark.node import Node, canonical_json, digest
from benchmark.resolve import NATIVE, Resolved, ResolvedDataset, ResolvedPlugin

__all__ = ["SHADOW_CHUNK", "Cell", "Plan", "make_plan", "shadows_of", "wants_reference"]

HARNESS_VERSION = "2"
"""Part of every key of a game: raised when the referee would draw or judge differently."""

UNITS_VERSION = "1"
"""Part of every key of a dataset's units: raised when other records would count as equal."""

SHADOW_CHUNK = 16
"""Shadows fitted by one node. The first 16 of 64 are the 16 of an attack that asks for as many."""

REFERENCE_VERSION = "2"
"""Part of every key of a reference release: raised when it would be fitted on other records."""

PUBLISH_VERSION = "1"
"""Part of every key of a publication: raised when releases would be perturbed otherwise."""

PROVENANCE_VERSION = "1"
"""Part of every key of a yardstick or a provenance: raised when copies would be counted differently."""

SHADOWS_VERSION = "2"
"""Part of every key of shadows: raised when they would be drawn or fitted differently."""

FLEET_VERSION = "1"
"""Part of every key of a comparison of shadows with single fits: raised when they would be compared otherwise."""

WITHOUT_HOLDOUT = "it needs a hold-out, and here every record is a member"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A place on the board, and the node that fills it or the reason why none can.

    ``kind`` is ``fit``, ``provenance``, ``fleet``, ``attack``, ``utility`` or ``decoy``, an attack on a release that
    was fitted on other coins: it fills no place, but is judged. ``game``, ``fit`` and ``key`` are keys of nodes.
    ``key`` is empty where ``status`` is ``not applicable`` or ``unavailable``.
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
    """Nodes by key, each after those that it needs, and the cells of the board.

    ``datasets`` and ``units``: keys of the nodes with the records and the units of each dataset, by its label.
    """

    resolved: Resolved
    nodes: Mapping[str, Node]
    cells: tuple[Cell, ...]
    datasets: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)

    def downstream(self, keys: Iterable[str]) -> set[str]:
        """``keys`` and all nodes that need them, directly or not."""
        reached = set(keys)
        for key, node in self.nodes.items():
            if reached.intersection(node.needs):
                reached.add(key)
        return reached


def make_plan(
    resolved: Resolved, commitment: str = UNSET, known: Mapping[str, str] | None = None
) -> Plan:
    """The graph of nodes and the cells that they fill. Pure.

    ``commitment`` is that of the secret which the games' coins come from, and so part of the keys of the games and of
    all that follows from them. ``known`` gives nodes the keys that they have elsewhere, by their label: what is
    downstream of them is then what it is there, with the same keys and the same randomness.
    """
    builder = _Builder(resolved, commitment, known or {})
    for dataset in resolved.datasets:
        builder.add_dataset(dataset)
    return Plan(
        resolved=resolved,
        nodes=builder.nodes,
        cells=tuple(builder.cells),
        datasets=builder.datasets,
        units=builder.units,
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

    def __init__(self, resolved: Resolved, commitment: str, known: Mapping[str, str]) -> None:
        self.resolved = resolved
        self.commitment = commitment
        self.known = known
        self.nodes: dict[str, Node] = {}
        self.cells: list[Cell] = []
        self.datasets: dict[str, str] = {}
        self.units: dict[str, str] = {}
        self.embedded: dict[tuple[str, str], str] = {}
        self.shadowed: dict[str, list[str]] = {}
        controls = [m for d in resolved.datasets for m, _ in d.controls or ()]
        self.bases = {_name_of(b) for m in (*resolved.methods, *controls) for b in m.bases()}

    def node(
        self,
        kind: str,
        label: str,
        spec: dict[str, Any],
        needs: Sequence[str],
        plugin: Plugin | None = None,
        identity: dict[str, Any] | None = None,
        work: int = 1,
        sources: Mapping[str, str] | None = None,
    ) -> str:
        """Add a node unless it is there; its key. The limit on its time counts ``work`` times."""
        key = digest([kind, spec if identity is None else identity, list(needs)])
        key = self.known.get(f"{kind} {label}", key)
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
                sources=sources or {},
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
        grants: Sequence[str] = (),
        limits: Mapping[str, float] | None = None,
    ) -> str:
        """Add a node whose spec names plugins by role; limits on time and memory are those of the first.

        ``grants`` names what the plugin gets that few may see; it follows from the plugin's version. ``limits`` are
        other limits of the suite, which are no part of the key either.
        """
        granted = {"grants": list(grants)} if grants else {}
        return self.node(
            kind,
            label,
            {
                **{role: p.spec() for role, p in plugins.items()},
                **more,
                **granted,
                **(limits or {}),
            },
            needs,
            next(iter(plugins.values())).plugin,
            {**{role: p.identity() for role, p in plugins.items()}, **more},
            work,
            {role: p.source for role, p in plugins.items()},
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
        units = self.node("units", dataset.label, {"version": UNITS_VERSION}, (images,))
        self.units[dataset.label] = units
        games = {seed: self._game(dataset, images, units, seed) for seed in self.resolved.seeds}
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

    def _game(self, dataset: ResolvedDataset, images: str, units: str, seed: int) -> str:
        rules = dataset.rules.model_dump()
        if not dataset.all_members:
            rules.pop("members")  # it was not always there, and keys are to stay
        spec = {
            "rules": rules,
            "seed": seed,
            "version": HARNESS_VERSION,
            "coins": self.commitment,
        }
        return self.node("game", f"{dataset.label}, seed {seed}", spec, (images, units))

    def _add_place(self, place: _Place) -> None:
        if place.dataset.controls is not None:
            for method, attack in place.dataset.controls:
                fit = self._add_fit(place, method)
                self._add_attack(place, method, fit, attack)
            return
        if place.dataset.all_members:
            for method in self.resolved.methods:
                fit = self._add_fit(place, method)
                for utility in self.resolved.utilities:
                    self._add_utility(place, method, fit, utility)
            return
        place = replace(
            place,
            conditions=self._conditions(place, "feature"),
            image_conditions=self._conditions(place, "image"),
        )
        for attack in self.resolved.attacks:
            if _is_gate(attack):
                self._add_attack(place, None, "", attack)
        if self.resolved.decoys and place.seed == self.resolved.seeds[0]:
            self._add_decoys(place)
        for method in (*self.resolved.methods, *self.resolved.published):
            fit = self._add_fit(place, method)
            for attack in self.resolved.attacks:
                if not _is_gate(attack):
                    self._add_attack(place, method, fit, attack)
            for utility in self.resolved.utilities:
                self._add_utility(place, method, fit, utility)
            if fit and not (method.calibrates and method.plugin.info.needs_holdout):
                self._add_provenance(place, method, fit)
                self._add_fleet(place, method, fit)

    def _add_decoys(self, place: _Place) -> None:
        """One decoy for each attack: the suite's first method that it applies to, fitted on other coins.

        An attack cannot tell it from a cell of the board, so it cannot be honest there alone. One seed keeps it cheap.
        """
        own = [m for m in self.resolved.methods if not m.control]
        controls = [m for m in self.resolved.methods if m.name == "identity"]
        for attack in self.resolved.attacks:
            if attack.plugin is None or _is_gate(attack):
                continue
            for method in (*own, *controls):
                fitted, why = _method_space(method, place.dataset.kind)
                if not why and not self._obstacle(place, method, attack, fitted):
                    fit = self._fit(place, method, fitted, "decoy")
                    self._add_attack(place, method, fit, attack, "decoy")
                    break

    def _obstacle(
        self, place: _Place, method: ResolvedPlugin | None, attack: ResolvedPlugin, fitted: str
    ) -> str:
        """Why an attack does not apply to a method whose release is of the kind ``fitted``; empty when it does."""
        return _attack_obstacle(attack, method, attack.works_on, fitted, place.dataset.kind)

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
        return any(utility.works_on == "image" for utility in plugins)

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
        if not why and place.dataset.all_members and method.plugin.info.needs_holdout:
            why = WITHOUT_HOLDOUT
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

        ``kind`` says on what it is fitted: ``fit`` on the members, ``decoy`` on those of other coins, ``reference`` on
        auxiliary records, ``shadows`` on random halves of the candidates, on the same ones for all methods of a game.
        The shadows of a base also keep what it is restored from. ``more`` goes into the spec of each of these nodes.
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
        info = method.plugin.info
        grants = ("holdout",) if info.needs_holdout and method.calibrates else ()
        limits = {"release_size": self.resolved.limits.release_size}
        plugins = _with_base(method)
        return self.plugin_node(kind, label, plugins, spec, needs, work, grants, limits)

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
        key = self.plugin_node(
            "embed", f"{method.label} on {place.text}", {"features": place.features}, {}, (fit,)
        )
        self.embedded[fit, place.features.label] = key
        return key

    def _shadows(
        self, place: _Place, method: ResolvedPlugin, fit: str, space: str, n: int
    ) -> list[str]:
        """Keys of the nodes that hold the first ``n`` shadow releases, in this space; notes those that made them."""
        fitted = self.nodes[fit].spec["space"]
        method = method.maker or method
        more: dict[str, int | str] = {"size": SHADOW_CHUNK, "version": SHADOWS_VERSION}
        keys, made = [], []
        for chunk in range(-(-n // SHADOW_CHUNK)):
            key = self._fit(place, method, fitted, "shadows", chunk=chunk, **more)
            made.append(key)
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
        self.shadowed[fit] = max(self.shadowed.get(fit, []), made, key=len)
        return keys

    def _add_attack(
        self,
        place: _Place,
        method: ResolvedPlugin | None,
        fit: str,
        attack: ResolvedPlugin,
        kind: str = "attack",
    ) -> None:
        common: dict[str, Any] = {"method": method, "attack": attack, "fit": fit}
        if attack.plugin is None:
            self._cell(place, kind, status="unavailable", reason=attack.unavailable, **common)
            return
        needs: Access = attack.plugin.info.needs
        common["access"] = str(needs)
        if method is not None and not fit:
            _, why = _method_space(method, place.dataset.kind)
            status = "unavailable" if method.unavailable else "not applicable"
            self._cell(place, kind, status=status, reason=why, **common)
            return
        release_space = self.nodes[fit].spec["space"] if fit else "feature"
        space = attack.works_on
        why = self._obstacle(place, method, attack, release_space)
        if why:
            self._cell(place, kind, status="not applicable", reason=why, **common)
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
        label += ", decoy" if kind == "decoy" else ""
        more: dict[str, Any] = {"seed": place.seed, "space": space, "access": str(needs)}
        if n_shadows:
            more["shadows"] = n_shadows
        if reference:
            more["reference"] = True
        closed = any(c.expected for c in attack.plugin.positive_controls())
        grants = ("sizes",) if closed and place.dataset.controls is not None else ()
        key = self.plugin_node("attack", label, plugins, more, upstream, 1 + n_shadows, grants)
        self._cell(place, kind, key=key, **common)

    def _add_provenance(self, place: _Place, method: ResolvedPlugin, fit: str) -> None:
        """Add the search for records that the method cannot have seen, in each space that its release is had in."""
        own = self.nodes[fit].spec["space"]
        for space in ("image", "feature"):
            release = fit if space == own else self.embedded.get((fit, place.features.label), "")
            if not release:
                continue
            source = place.records(space)
            where = (source, self.units[place.dataset.label], place.game)
            version = {"version": PROVENANCE_VERSION}
            yardstick = self.node("yardstick", _where(place, space), version, where)
            key = self.node(
                "provenance",
                f"{method.label} on {_where(place, space)}",
                {**version, "space": space},
                (*where, yardstick, release),
            )
            self._cell(place, "provenance", method=method, fit=fit, key=key)

    def _add_fleet(self, place: _Place, method: ResolvedPlugin, fit: str) -> None:
        """Add the comparison of a method's shadows with what its ``fit`` makes, where attacks learn from them.

        Which shadow ``fit`` makes again follows from the coins. All are compared before they are published.
        """
        shadows = self.shadowed.get(fit)
        if not shadows or method.given:  # whether a maker is the true one, shadows do not tell
            return
        space = self.nodes[fit].spec["space"]
        alone = self.nodes[fit].needs[0] if method.publication is not None else fit
        label = f"{_unpublished(method)} on {_where(place, space)}"
        version = {"version": FLEET_VERSION}
        refit = self.plugin_node(
            "refit",
            label,
            _with_base(method),
            version,
            (shadows[0], place.game),
            limits={"release_size": self.resolved.limits.release_size},
        )
        needs = (place.records(space), place.game, alone, refit, *shadows)
        key = self.node("fleet", label, {**version, "space": space}, needs)
        self._cell(place, "fleet", method=method, fit=fit, key=key)

    def _add_utility(
        self, place: _Place, method: ResolvedPlugin, fit: str, utility: ResolvedPlugin
    ) -> None:
        common: dict[str, Any] = {"method": method, "utility": utility, "fit": fit}
        if utility.plugin is None or not fit:
            why = (
                utility.unavailable
                or _method_space(method, place.dataset.kind)[1]
                or WITHOUT_HOLDOUT
            )
            status = (
                "unavailable" if utility.unavailable or method.unavailable else "not applicable"
            )
            self._cell(place, "utility", status=status, reason=why, **common)
            return
        release_space = self.nodes[fit].spec["space"]
        space = utility.works_on
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
            grants=("members",) if utility.plugin.info.needs_members else (),
        )
        self._cell(place, "utility", key=key, conditions=conditions, **common)


def shadows_of(attack: Plugin) -> int:
    """How many shadow models an attack asks for: its parameter ``shadows``, else ``info.shadows``."""
    return int(getattr(attack, "shadows", getattr(attack.info, "shadows", 0)))


def wants_reference(attack: Plugin) -> bool:
    """Whether an attack asks for a reference release: its parameter ``reference``, else ``info.reference``."""
    return bool(getattr(attack, "reference", getattr(attack.info, "reference", False)))


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


def _is_gate(attack: ResolvedPlugin) -> bool:
    return attack.plugin is not None and attack.plugin.info.needs is Access.NONE


def _method_space(method: ResolvedPlugin, dataset_kind: str) -> tuple[str, str]:
    """Kind of records that a method is to work on, and why it cannot (empty when it can)."""
    if method.plugin is None or method.unavailable:
        return "", method.unavailable
    space = method.works_on
    if space == "image" and dataset_kind != "image":
        return "", f"{method.name} works on images; the dataset holds features"
    for base in method.bases():
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
    if method.given and wants_reference(attack.plugin):
        return f"{attack.name} compares with a generator of the same kind, which is not given"
    if method.given and shadows_of(attack.plugin) and method.maker is None:
        return f"{attack.name} trains models of the generator, which is not named"
    needs, offers = attack.plugin.info.needs, method.plugin.info.offers
    if method.publication is not None and needs in (Access.SAMPLER, Access.WEIGHTS):
        return f"{attack.name} needs access {needs}; what is published are perturbed records alone"
    if needs is not Access.TRAINER and needs > offers:
        return f"{attack.name} needs access {needs}; {method.name} offers {offers}"
    if needs in (Access.SAMPLER, Access.WEIGHTS) and space != release_space:
        return f"{attack.name} needs a generator of {space} records; {method.label} generates {release_space}s"
    return ""
