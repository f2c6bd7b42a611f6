"""Entry points → plugins. The project's own are registered in the same way as anybody's.

Nothing is imported until a plugin is asked for. A plugin that cannot be imported stays listed, with the reason.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any

from pydantic import ValidationError

from benchmark.contracts import (
    Attack,
    Dataset,
    FeatureExtractor,
    Info,
    LeakboardError,
    Method,
    Perturbation,
    Plugin,
    Unavailable,
    Utility,
)
from benchmark.sources import source_digest

__all__ = ["KINDS", "Entry", "Registry", "RegistryError", "default_registry", "installed_source"]

KINDS: Mapping[str, type[Plugin]] = {
    "datasets": Dataset,
    "features": FeatureExtractor,
    "perturbations": Perturbation,
    "methods": Method,
    "attacks": Attack,
    "utilities": Utility,
}
"""Kind of plugin → the contract it must fulfil. The entry-point group of a kind is ``benchmark.<kind>``."""


class RegistryError(LeakboardError):
    """An unknown name, a name clash, or parameters that a plugin refuses."""


@dataclass(frozen=True)
class Entry:
    """A registered plugin, not yet imported."""

    kind: str
    name: str
    point: EntryPoint

    @property
    def distribution(self) -> str:
        """The distribution that registered it, with its version."""
        return _named(self.point.dist)

    @property
    def built_in(self) -> bool:
        """Whether it is the project's own: registered by its distribution, from one of its packages."""
        own = _named(self.point.dist).split(" ")[0] == "leakboard"
        return own and self._top in ("benchmark", "methods", "attacks")

    @property
    def _top(self) -> str:
        return self.point.module.partition(".")[0]

    @cached_property
    def source(self) -> str:
        """Digest of its module and of what that imports of its own distribution, as the files were when first asked."""
        return source_digest(self.point.module, {self._top, *_packages(self.point.dist)})

    @cached_property
    def _loaded(self) -> type[Plugin] | str:
        try:
            plugin = self.point.load()
        except Exception as error:  # whatever a third party's module raises must not end a listing
            return f"cannot import {self.point.value}: {type(error).__name__}: {error}"
        contract = KINDS[self.kind]
        if not (isinstance(plugin, type) and issubclass(plugin, contract)):
            return (
                f"{self.point.value} must be a subclass of benchmark.contracts.{contract.__name__}"
            )
        if not isinstance(getattr(plugin, "info", None), Info):
            return f"{self.point.value} must have a class attribute `info`, an Info"
        if plugin.info.name != self.name:
            return f"{self.point.value} calls itself {plugin.info.name!r} but is registered as {self.name!r}"
        return plugin

    @property
    def reason(self) -> str:
        """Why it is unavailable; empty when it is available."""
        return self._loaded if isinstance(self._loaded, str) else ""

    @property
    def plugin(self) -> type[Plugin]:
        """The plugin's class.

        Raises
        ------
        Unavailable
            With the reason and where the plugin comes from.
        """
        if isinstance(self._loaded, str):
            raise Unavailable(
                f"{self.kind[:-1]} {self.name!r} of {self.distribution}: {self._loaded}"
            )
        return self._loaded


@lru_cache(maxsize=256)
def _named(distribution: Distribution | None) -> str:
    """Name and version; each is a parse of the whole metadata, so they are kept."""
    return f"{distribution.name} {distribution.version}" if distribution else "unknown"


@lru_cache(maxsize=256)
def _packages(distribution: Distribution | None) -> frozenset[str]:
    """The top-level packages and modules of a distribution, as far as its metadata says."""
    if distribution is None:
        return frozenset()
    listed = (distribution.read_text("top_level.txt") or "").split()  # not every builder writes one
    laid = [f.parts[0].removesuffix(".py") for f in distribution.files or () if f.suffix == ".py"]
    plugins = [p for p in distribution.entry_points if p.group.startswith("benchmark.")]
    found = [*listed, *laid, *(p.module.partition(".")[0] for p in plugins)]
    return frozenset(name for name in found if name.isidentifier())


class Registry:
    """All plugins by kind and name.

    Parameters
    ----------
    points : iterable of EntryPoint
        Those of the groups ``benchmark.<kind>``.

    Raises
    ------
    RegistryError
        When two distributions register one name; names both.
    """

    def __init__(self, points: Iterable[EntryPoint]) -> None:
        self._entries: dict[tuple[str, str], Entry] = {}
        for point in points:
            kind = point.group.removeprefix("benchmark.")
            if kind not in KINDS:
                continue
            entry = Entry(kind, point.name, point)
            other = self._entries.setdefault((kind, point.name), entry)
            if other.point.value != point.value:
                raise RegistryError(
                    f"two distributions register the {_singular(kind)} {point.name!r}: "
                    f"{other.distribution} ({other.point.value}) and {entry.distribution} ({point.value}). "
                    "Uninstall one of them or ask its author for another name."
                )

    def entries(self, kind: str | None = None) -> list[Entry]:
        """Entries of one kind (or all), by kind and name."""
        order = list(KINDS)
        chosen = [e for e in self._entries.values() if kind in (None, e.kind)]
        return sorted(chosen, key=lambda e: (order.index(e.kind), e.name))

    def entry(self, kind: str, name: str) -> Entry:
        """The entry called ``name``, without its variant.

        Raises
        ------
        RegistryError
            For an unknown name; suggests near ones and says how to list them all.
        """
        found = self._entries.get((kind, name))
        if found is None:
            names = [e.name for e in self.entries(kind)]
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise RegistryError(
                f"unknown {_singular(kind)} {name!r}. {hint}Known: {', '.join(names)}. "
                f"See `python -m benchmark list {kind}`."
            )
        return found

    def make(self, kind: str, name: str, parameters: Mapping[str, Any] | None = None) -> Plugin:
        """The plugin ``name`` (or ``name/variant``) with these parameters, validated.

        Raises
        ------
        RegistryError
            Unknown name, unknown parameter, wrong type or value; says what is allowed.
        Unavailable
            When the plugin cannot be imported.
        """
        base, _, variant = name.partition("/")
        plugin = self.entry(kind, base).plugin
        try:
            given = {**(plugin.from_variant(variant) if variant else {}), **(parameters or {})}
            return plugin(**given)
        except ValidationError as error:
            raise RegistryError(_explain(kind, plugin, error)) from error
        except ValueError as error:
            raise RegistryError(f"{_singular(kind)} {name!r}: {error}") from error


def _singular(kind: str) -> str:
    return {"utilities": "utility", "features": "feature extractor"}.get(kind, kind[:-1])


def _explain(kind: str, plugin: type[Plugin], error: ValidationError) -> str:
    """One line for each refused parameter."""
    allowed = ", ".join(plugin.model_fields) or "none"
    lines = []
    for problem in error.errors():
        where = ".".join(map(str, problem["loc"])) or "parameters"
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(where, plugin.model_fields, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            lines.append(f"unknown parameter {where!r}.{hint} Allowed: {allowed}.")
        else:
            message = problem["msg"][:1].lower() + problem["msg"][1:]
            lines.append(f"parameter {where!r}: {message}. Got {problem['input']!r}.")
    return f"{_singular(kind)} {plugin.info.name!r}: " + " ".join(lines)


def installed_source(kind: str, name: str) -> str | None:
    """Digest of a plugin's code as its files are now, without importing it; None for one that is not installed.

    ``kind`` is the word for one plugin, as in ``--rerun method=NAME``.
    """
    plural = next(k for k in KINDS if _singular(k).startswith(kind.removesuffix("s")))
    try:
        entry = default_registry().entry(plural, name)
    except RegistryError:
        return None
    return replace(entry).source  # an entry remembers the digest that it was first asked for


@lru_cache(maxsize=1)
def default_registry() -> Registry:
    """The registry of everything installed here."""
    installed = (
        entry_points()
    )  # one reading of all metadata, whose points share their distributions
    return Registry(
        point for kind in KINDS for point in installed.select(group=f"benchmark.{kind}")
    )
