"""Suite files: what to run, in one YAML file that is validated before anything runs.

A plugin is named by a string or by a mapping with ``name`` and, where wanted, ``params`` (fixed values), ``grid``
(lists of values, all combinations of which are run) and ``space`` (``image`` or ``feature``, the records it is to work
on). A method's entry may name it a ``control``. A dataset's entry also says which ``features`` it is looked at in, how
large the ``game`` is, and which ``subset`` of a large dataset to use. ``perturbations`` are of the test records; those
of ``publish`` are of the releases, each of which is a row of its own beside the release as it was. ``claims`` are what
a paper says of the figures; the run judges them.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from benchmark.contracts import Kind, LeakboardError

__all__ = [
    "Claim",
    "ClaimFigure",
    "DatasetEntry",
    "GameRules",
    "MethodEntry",
    "PerturbationEntry",
    "PluginEntry",
    "PublishEntry",
    "StrictLoader",
    "Suite",
    "SuiteError",
    "built_in_suites",
    "load_suite",
    "read_yaml",
]

MOST_SEEDS = 10_000
MOST_ENTRIES = 1_000
"""Entries of one list, each combination of a grid counted."""
MOST_CELLS = 1_000_000
"""Seeds × datasets × methods × attacks and utilities."""
_MOST_BYTES, _MOST_VALUES, _LONGEST_QUOTE = 2**20, 100_000, 200


class SuiteError(LeakboardError):
    """A suite file that cannot be used; the message names file, key and what is allowed."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _named(value: Any) -> Any:
    """A bare string stands for a plugin with default parameters."""
    return {"name": value} if isinstance(value, str) else value


class PluginEntry(_Model):
    """A plugin, its parameters and, with ``grid``, the combinations of parameters to run."""

    name: str = Field(min_length=1, description="The plugin, as `list` prints it.")
    params: dict[str, Any] = Field(
        default={}, description="Fixed values of its parameters; others keep their defaults."
    )
    grid: dict[str, list[Any]] = Field(
        default={}, description="Lists of values of parameters, all combinations of which are run."
    )
    space: Kind | None = Field(
        default=None,
        description="The records that it is to work on, where it can work on both; default: those that it takes.",
    )

    @model_validator(mode="after")
    def _grid_has_combinations(self) -> PluginEntry:
        empty = [name for name, values in self.grid.items() if not values]
        if empty:
            raise ValueError(
                f"grid: {empty[0]} has no values, so that nothing of {self.name} would run; "
                "give at least one, or leave it out"
            )
        return self

    @property
    def n_combinations(self) -> int:
        """How many plugins the entry stands for."""
        return math.prod(map(len, self.grid.values()))

    def combinations(self) -> list[dict[str, Any]]:
        """Parameters of each run: ``params`` with every combination of ``grid``."""
        values = itertools.product(*self.grid.values())
        return [{**self.params, **dict(zip(self.grid, v, strict=True))} for v in values]


class MethodEntry(PluginEntry):
    """A method; with ``control`` one that the others are looked at beside, and that is not ranked.

    Controls are the suite's to name. What a plugin says of itself counts for the project's own alone.
    """

    control: bool = Field(
        default=False, description="Whether it is shown with the controls and not ranked."
    )


class PerturbationEntry(PluginEntry):
    """A perturbation of the test records, at some severities (default: all)."""

    severities: list[int] | None = Field(
        default=None, description="The severities to run, from 1; default: all that it has."
    )


class PublishEntry(PerturbationEntry):
    """A perturbation of released records before they are published, and of which ``methods``.

    ``methods`` are names, which stand for every variant in the suite, or labels, such as ``k_same(k=5)``; by default
    all methods but the control ``holdout``.
    """

    methods: list[Annotated[str, Field(min_length=1)]] | None = Field(
        default=None,
        description="The methods whose releases are perturbed, by name or label; default: all but `holdout`.",
    )


class GameRules(_Model):
    """Sizes of the sets that the game draws, in records; None for the default share of the pool.

    ``test`` is drawn from the dataset's official test split where there is one. Where the dataset has identities, whole
    identities are drawn until the size is reached. With ``members: all`` no coins are tossed: every candidate is a
    member, there is no auxiliary set and no hold-out, and nothing is said of privacy. Published tables of utility are
    made so.
    """

    members: Literal["coins", "all"] = Field(
        default="coins",
        description="`coins`: a fair coin makes each candidate a member or not. `all`: all are members.",
    )

    candidates: int | None = Field(
        default=None, ge=8, description="Records that the coins are tossed for."
    )
    auxiliary: int | None = Field(
        default=None, ge=2, description="Records of the same population that attackers have."
    )
    holdout: int | None = Field(
        default=None, ge=2, description="Fresh records that the control `holdout` releases."
    )
    validation: int | None = Field(
        default=None, ge=1, description="Records for early stopping of the utilities."
    )
    test: int | None = Field(
        default=None, ge=2, description="Records that utilities are measured on."
    )


class Subset(_Model):
    """How many records of a large dataset to use, drawn at random (whole identities where there are any)."""

    pool: int | None = Field(
        default=None,
        ge=16,
        description="Records to keep of the pool that candidates and others are drawn from.",
    )
    test: int | None = Field(
        default=None, ge=2, description="Records to keep of the official test split."
    )


Entry = Annotated[PluginEntry, BeforeValidator(_named)]


class DatasetEntry(_Model):
    """A dataset and how it is used; one that is ``optional`` is left out, and said, where its files are not there."""

    name: str = Field(
        min_length=1,
        description="The plugin, as `list datasets` prints it; `files` reads your own.",
    )
    params: dict[str, Any] = Field(
        default={}, description="Values of its parameters, such as `path`."
    )
    label: str | None = Field(
        default=None, description="What the board calls it; needed where two entries have one name."
    )
    features: list[Entry] | None = Field(
        default=None,
        description="Names or entries of extractors, each a board of its own; default: as it is.",
    )
    game: GameRules = Field(
        default=GameRules(),
        description="Sizes of the sets that are drawn of it, in place of the suite's `game`.",
    )
    subset: Subset | None = Field(
        default=None, description="How much of a large dataset to use; default: all."
    )
    optional: bool = Field(
        default=False,
        description="Whether it is left out, and said, where its files are not there.",
    )


class ClaimFigure(_Model):
    """A figure that a claim speaks of: a metric of a utility or an attack, under the clean or a perturbed condition.

    ``method``, ``attack`` and ``utility`` are a label, such as ``k_same(k=5)``; a name, which stands for every variant
    in the suite; or either with ``*`` for anything. With ``perturbation`` the figure is the mean over ``severities``
    (default: all). The attack ``worst_case`` is the worst of all that were judged, with whatever access.
    """

    method: str = Field(
        min_length=1,
        description="Whose figure: a label, a name for every variant, or either with `*` for anything.",
    )
    metric: str = Field(
        min_length=1,
        description="Which figure, by its name in the results, such as `auc` or `macro_auroc`.",
    )
    utility: str | None = Field(default=None, description="The utility that has it.")
    attack: str | None = Field(
        default=None, description="The attack that has it; `worst_case` is the worst of all."
    )
    perturbation: str | None = Field(
        default=None,
        description="The perturbation under which it is measured; default: clean records.",
    )
    severities: list[Annotated[int, Field(ge=1)]] = Field(
        default=[], description="The severities that it is the mean over; default: all."
    )

    @model_validator(mode="after")
    def _severities_are_of_a_perturbation(self) -> ClaimFigure:
        if self.severities and self.perturbation is None:
            raise ValueError("severities need a perturbation: name it, or leave severities out")
        return self


ClaimSide = Annotated[
    Annotated[ClaimFigure, Tag("figure")] | Annotated[float, Tag("number")],
    Discriminator(lambda v: "number" if isinstance(v, int | float) else "figure"),
]


class ClaimCondition(_Model):
    """Which rows a claim is about: those whose figure is not above the left side's by more than ``margin``.

    So methods are compared at equal leakage: ``among: {metric: auc, attack: worst_case}``.
    """

    metric: str = Field(min_length=1, description="The figure that is compared.")
    utility: str | None = Field(default=None, description="The utility that has it.")
    attack: str | None = Field(default=None, description="The attack that has it.")
    margin: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="How far above the left side's it may be.",
    )


class Claim(_Model):
    """What a paper says of two figures, to be judged by this run (see :mod:`benchmark.judge.claims`).

    ``left relation right``: with ``>=`` the left may fall behind by up to ``margin``, with ``>`` it must be ahead by
    more than that; likewise for ``<=`` and ``<``; ``within`` says that they differ by at most ``margin``, as from a
    published figure. Judged in every place that has the figures, or in ``dataset`` and ``features`` alone; with
    ``among`` only against right sides that meet the condition. ``paper`` is what the paper itself measured and
    ``differs`` what is other here, both in words, for the board.
    """

    id: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        description="A short name: small letters, digits, `-` and `_`.",
    )
    text: str = Field(min_length=1, description="The claim in words.")
    source: str = Field(default="", description="Who makes it, and where.")
    paper: str = Field(default="", description="What the paper itself measured, in words.")
    differs: str = Field(default="", description="What is other here, in words.")
    left: ClaimFigure = Field(description="The figure on the left.")
    right: ClaimSide = Field(description="The figure on the right, or a number.")
    relation: Literal[">=", ">", "<=", "<", "within"] = Field(
        description="How left must stand to right."
    )
    margin: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="How far they may lie apart, or must: see above.",
    )
    among: ClaimCondition | None = Field(
        default=None, description="Which right sides it is about; default: all."
    )
    dataset: str | None = Field(
        default=None, description="The dataset it is about; default: every one."
    )
    features: str | None = Field(
        default=None, description="The space it is about; default: every one."
    )

    @model_validator(mode="after")
    def _can_be_judged(self) -> Claim:
        if self.relation == "within" and not self.margin:
            raise ValueError("'within' needs a margin above 0: how far may the two lie apart?")
        if self.among is not None and not isinstance(self.right, ClaimFigure):
            raise ValueError(
                "'among' chooses right sides by a figure of theirs, and a number has none"
            )
        return self


class Limits(_Model):
    """Limits of every node, in place of what the plugins ask for.

    ``release_size``: released records for each member, at most. By default 20: what is measured compares all records
    of a release with all real ones, and no method here releases more than one for each member.
    """

    time_s: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Seconds that a node may take."
    )
    memory_mb: int | None = Field(
        default=None, ge=64, le=2**30, description="Memory that a node may take, in MB."
    )
    release_size: float = Field(
        default=20.0,
        gt=0,
        allow_inf_nan=False,
        description="Released records for each member, at most.",
    )


def _seeds(value: Any) -> Any:
    """A number stands for the seeds below it."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError("must be at least 1")
        if value > MOST_SEEDS:
            raise ValueError(f"must be at most {MOST_SEEDS:,}")
        return list(range(value))
    if isinstance(value, list):
        if len(value) > MOST_SEEDS:
            raise ValueError(f"{len(value):,} seeds are listed; at most {MOST_SEEDS:,} can be")
        counts = Counter(s for s in value if isinstance(s, int))
        twice = [seed for seed, count in counts.items() if count > 1]
        if twice:
            raise ValueError(
                f"seed {min(twice)} is listed twice: it would be the same game again; list each seed once"
            )
    return value


class Suite(_Model):
    """A validated suite file."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        description="The suite's name: small letters, digits, `.`, `-` and `_`.",
    )
    description: str = Field(
        default="", description="What it is for; `code` may stand between backticks."
    )
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**63)]], BeforeValidator(_seeds), Field(min_length=1)
    ] = Field(description="A number n for the seeds 0 … n−1, or a list. Each is a game of its own.")
    datasets: list[Annotated[DatasetEntry, BeforeValidator(_named)]] = Field(
        min_length=1, description="What is audited on."
    )
    methods: list[Annotated[MethodEntry, BeforeValidator(_named)]] = Field(
        default=[], description="What is audited; the controls come by themselves."
    )
    attacks: list[Entry] = Field(default=[], description="What it is audited with.")
    utilities: list[Entry] = Field(default=[], description="What releases are measured by.")
    perturbations: list[Annotated[PerturbationEntry, BeforeValidator(_named)]] = Field(
        default=[], description="Perturbations of the test records, for the curves of severity."
    )
    publish: list[Annotated[PublishEntry, BeforeValidator(_named)]] = Field(
        default=[], description="Perturbations of the releases, each a row of its own."
    )
    game: GameRules = Field(
        default=GameRules(),
        description="Sizes of the sets that are drawn, for every dataset that has none of its own.",
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Of all intervals.")
    limits: Limits = Field(default=Limits(), description="Limits of every node.")
    claims: list[Claim] = Field(
        default=[], description="What is claimed of the figures; the run judges it."
    )

    @model_validator(mode="after")
    def _is_of_a_size_that_can_be_planned(self) -> Suite:
        counts = {"datasets": len(self.datasets)}
        for kind in ("methods", "attacks", "utilities", "perturbations", "publish"):
            counts[kind] = sum(entry.n_combinations for entry in getattr(self, kind))
        for kind, count in counts.items():
            if count > MOST_ENTRIES:
                raise ValueError(
                    f"{kind}: {_number(count)} entries, with every combination of their grids; at most "
                    f"{MOST_ENTRIES:,} can be"
                )
        measured = counts["attacks"] + counts["utilities"]
        cells = len(self.seeds) * counts["datasets"] * max(1, counts["methods"]) * max(1, measured)
        if cells > MOST_CELLS:
            raise ValueError(
                f"{len(self.seeds):,} seeds, {counts['datasets']:,} datasets, {counts['methods']:,} methods and "
                f"{measured:,} attacks and utilities are {cells:,} cells; at most {MOST_CELLS:,} can be: "
                "split the suite"
            )
        return self

    @model_validator(mode="after")
    def _claims_have_names_of_their_own(self) -> Suite:
        ids = [claim.id for claim in self.claims]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"claims: two are called {twice[0]!r}; give each an id of its own")
        return self

    def with_seeds(self, n: int) -> Suite:
        """The same suite with seeds 0 … n−1."""
        return self.model_copy(update={"seeds": list(range(n))})

    def text(self) -> str:
        """The suite as YAML, defaults left out."""
        return yaml.safe_dump(
            self.model_dump(exclude_defaults=True), sort_keys=False, allow_unicode=True
        )


def built_in_suites() -> dict[str, Path]:
    """Name → file of the suites that come with the project."""
    folder = resources.files("benchmark") / "suites"
    return {
        Path(str(f)).stem: Path(str(f))
        for f in sorted(folder.iterdir(), key=str)
        if str(f).endswith(".yaml")
    }


def load_suite(suite: str | Path | Mapping[str, Any]) -> Suite:
    """Read and validate a suite: a built-in one by its name, a YAML file by its path, or a mapping with its keys.

    Raises
    ------
    SuiteError
        For an unknown name, an unreadable file, broken YAML, an unknown key or a value that is not allowed.
    """
    what, raw = ("the suite", suite) if isinstance(suite, Mapping) else _read(str(suite))
    if not isinstance(raw, Mapping):
        raise SuiteError(
            f"{what} must hold a mapping with the keys {', '.join(Suite.model_fields)}."
        )
    _check_values(what, raw)
    try:
        return Suite(**{str(k): v for k, v in raw.items()})
    except ValidationError as error:
        raise SuiteError(_explain(what, error)) from error


def _number(count: int) -> str:
    return f"{count:,}" if count < 10**12 else f"about 10^{len(str(count)) - 1}"


def _check_values(what: str, raw: Mapping[Any, Any]) -> None:
    """Refuse numbers that are not finite and text that no file can hold, wherever they stand."""
    left: list[tuple[str, Any]] = [("", raw)]
    while left:
        where, value = left.pop()
        if isinstance(value, Mapping):
            left += [(f"{where}.{k}".lstrip("."), v) for k, v in value.items()]
            left += [(where, k) for k in value]
        elif isinstance(value, list | tuple):
            left += [(f"{where}.{i}", v) for i, v in enumerate(value)]
        elif isinstance(value, float) and not math.isfinite(value):
            raise SuiteError(f"{what} cannot be used:\n  {where}: must be finite. Got {value}.")
        elif isinstance(value, str) and not _is_text(value):
            raise SuiteError(
                f"{what} cannot be used:\n  {where}: half of a surrogate pair is no text. Got {value!a:.200}."
            )


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


# ---------------------------------------------------------------- YAML


def _read(name_or_file: str) -> tuple[str, Any]:
    """Path of a suite file, and what it holds."""
    path = _locate(name_or_file)
    return str(path), read_yaml(path, "suite")


def read_yaml(path: Path, what: str) -> Any:
    """What a YAML file holds, in bounded time and memory.

    Raises
    ------
    SuiteError
        For a file that cannot be read, that is too large, that is no YAML, or that means more values than it should:
        aliases count each time that they are used.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise SuiteError(f"{path} is larger than {_MOST_BYTES:,} bytes: it is no {what}.")
        text = data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise SuiteError(f"cannot read {what} {path}: {error}") from error
    try:
        loader = StrictLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            count = _count_values(node)
            if count > _MOST_VALUES:
                raise SuiteError(
                    f"{path} means {_number(count)} values, each alias counted where it is used; at most "
                    f"{_MOST_VALUES:,} can be."
                )
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        why = "it is nested too deep" if isinstance(error, RecursionError) else _shortened(error)
        raise SuiteError(f"{path} is not valid YAML: {why}") from error


def _count_values(node: yaml.Node) -> int:
    """How many values a tree of nodes means once its aliases are followed. One that holds itself counts once."""
    sizes: dict[int, int] = {}
    left = [(node, False)]
    while left:
        one, children_done = left.pop()
        parts: list[yaml.Node] = []
        if isinstance(one, yaml.SequenceNode):
            parts = one.value
        elif isinstance(one, yaml.MappingNode):
            parts = [part for pair in one.value for part in pair]
        if children_done:
            sizes[id(one)] = 1 + sum(sizes.get(id(part), 0) for part in parts)
        elif id(one) not in sizes:
            sizes[id(one)] = 1
            left.append((one, True))
            left += [(part, False) for part in parts]
    return sizes[id(node)]


class StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML's values that JSON has too: text, numbers, true and false, lists and mappings. In C where PyYAML has it.

    A key that is given twice is refused, which YAML's loader would silently overwrite. Dates stay text, and numbers
    are read as YAML 1.2 does: ``1e-5`` is one.
    """


def _mapping_without_duplicates(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(
                None,
                None,
                "a key must be text; is this a template `{{ … }}` that was not filled in?",
                key_node.start_mark,
            )
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is given twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


def _foreign(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    raise yaml.constructor.ConstructorError(
        None,
        None,
        f"{node.tag.replace('tag:yaml.org,2002:', '!!')} is not allowed: values are text, numbers, true and false, "
        "lists and mappings",
        node.start_mark,
    )


StrictLoader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates
)
for _kind in ("binary", "set", "omap", "pairs", "timestamp"):
    StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _foreign)
StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if not tag.endswith(":timestamp")]
    for first, known in StrictLoader.yaml_implicit_resolvers.items()
}
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)[eE][-+]?\d+\Z"),
    list("-+.0123456789"),
)


def _locate(name_or_file: str) -> Path:
    known = built_in_suites()
    if name_or_file in known:
        return known[name_or_file]
    path = Path(name_or_file)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or "/" in name_or_file:
        raise SuiteError(f"no suite file at {path}. Built-in suites: {', '.join(known)}.")
    near = difflib.get_close_matches(name_or_file, known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise SuiteError(
        f"unknown suite {name_or_file!r}. {hint}Built-in suites: {', '.join(known)}. "
        "A file of your own is given by its path, as in `--suite ./mine.yaml`."
    )


def _explain(what: str, error: ValidationError) -> str:
    lines = [f"{what} cannot be used:"]
    for problem in error.errors():
        where = ".".join(str(p) for p in problem["loc"] if not str(p).startswith("function-"))
        if problem["type"] == "extra_forbidden":
            allowed = _fields_at(problem["loc"][:-1])
            near = difflib.get_close_matches(str(problem["loc"][-1]), allowed, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            lines.append(f"  {where}: unknown key.{hint} Allowed: {', '.join(allowed)}.")
        elif problem["type"] == "missing":
            lines.append(f"  {where}: missing. Every suite needs it.")
        else:
            message = problem["msg"][:1].lower() + problem["msg"][1:]
            message = message.removeprefix("value error, ")
            got = f"{where}: {message}. Got {_shortened(problem['input'])}."
            lines.append(f"  {got}" if where else f"  {message}.")
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES:] = [f"  and {len(lines) - _MOST_LINES} more"]
    return "\n".join(lines)


_MOST_LINES = 12


def _shortened(value: Any) -> str:
    """What a message quotes of a value, however large it is."""
    if isinstance(value, int) and value.bit_length() > 4 * _LONGEST_QUOTE:
        return f"a number of {value.bit_length():,} bits"
    text = str(value) if isinstance(value, Exception) else repr(value)
    return text if len(text) <= 2 * _LONGEST_QUOTE else f"{text[: 2 * _LONGEST_QUOTE]}…"


_SECTIONS: Mapping[str, type[_Model]] = {
    "datasets": DatasetEntry,
    "features": PluginEntry,
    "game": GameRules,
    "subset": Subset,
    "limits": Limits,
    "claims": Claim,
    "left": ClaimFigure,
    "right": ClaimFigure,
    "methods": PluginEntry,
    "attacks": PluginEntry,
    "utilities": PluginEntry,
    "perturbations": PerturbationEntry,
    "publish": PublishEntry,
}


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Names of the keys allowed in the section where an unknown one was met."""
    sections = [str(p) for p in location if str(p) in _SECTIONS]
    model = _SECTIONS[sections[-1]] if sections else Suite
    return list(model.model_fields)
