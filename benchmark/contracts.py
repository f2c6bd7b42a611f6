"""All that a plugin author imports: the data types and the plugin contracts.

A plugin is a class with a class attribute ``info`` (who it is, what it needs) and fields (its parameters). The classes
here are pydantic models: a parameter is declared as an annotated field, is validated before anything runs, and an
unknown one is refused by name. Constructors only store arguments; the work is in one abstract method.

>>> class Shift(Method):
...     info = MethodInfo(name="shift", version="1", summary="Adds a constant to every feature.")
...     by: float = Field(0.1, gt=0, description="what is added, in units of the features")
...
...     def fit(self, members, context):
...         return Release(records=members.replace(data=members.data + np.float32(self.by)))

Two rules keep the numbers honest:

- All randomness comes from ``context.rng(...)`` or ``context.torch_generator(...)``: same seed, same answer.
- No plugin computes its own success. Attacks return scores, utilities return predictions; the harness, which alone
  knows the coins, turns them into figures.

Import heavy libraries (torch, timm, scikit-learn) inside the methods that use them, so that listing plugins is quick.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as _replace
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import torch

__all__ = [
    "Access",
    "Attack",
    "AttackInfo",
    "Context",
    "Dataset",
    "DatasetContent",
    "DatasetInfo",
    "DatasetMissing",
    "DifferentialPrivacy",
    "FeatureExtractor",
    "Field",
    "Figures",
    "Guarantee",
    "Info",
    "InvalidRecords",
    "KAnonymity",
    "Kind",
    "LeakboardError",
    "Links",
    "Method",
    "MethodInfo",
    "NotApplicable",
    "Perturbation",
    "PerturbationInfo",
    "Plugin",
    "PositiveControl",
    "Predictions",
    "Reconstructions",
    "Records",
    "Release",
    "Resources",
    "Saved",
    "Scores",
    "Shadows",
    "Unavailable",
    "Utility",
    "UtilityInfo",
    "View",
]

Kind = Literal["image", "feature"]


# ---------------------------------------------------------------- errors


class LeakboardError(Exception):
    """Base of the errors that a user can act on: the message says what was wrong, what is allowed, what to type."""


class InvalidRecords(LeakboardError):
    """Records of the wrong shape, type or range."""


class DatasetMissing(LeakboardError):
    """A dataset's files are not where they were looked for; the message says where and how to get them."""


class Unavailable(LeakboardError):
    """Something optional is not installed; the message names the extra to install."""


class NotApplicable(LeakboardError):
    """This plugin cannot be used on what it was given (say, an attack that needs a correspondence the release lacks).

    Raised by a plugin at run time; the cell is then shown as ``not applicable`` with the message as its reason.
    """


# ---------------------------------------------------------------- records


@dataclass(frozen=True, eq=False)
class Records:
    """A set of records: images or feature vectors, with labels and, where there are any, identities.

    Parameters
    ----------
    data : ndarray
        Images ``(N, H, W, C) uint8`` with C of 1 or 3, or features ``(N, D) float32`` without NaN or infinity.
    labels : ndarray of shape (N,), int64
        Class of each record, ≥ 0.
    groups : ndarray of shape (N,), int64, optional
        Identity (patient) of each record.
    extractor : str, optional
        Features only: the name of the extractor they came from.
    soft_labels : ndarray of shape (N, C), float32, optional
        Class probabilities that a release gives beside its labels, say those of a teacher; rows sum to 1.

    Raises
    ------
    InvalidRecords
        With what was wrong, what was got and what is allowed.
    """

    data: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None = None
    extractor: str | None = None
    soft_labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        _check_data(self.data)
        _check_integers("labels", self.labels, len(self.data))
        if len(self.labels) and self.labels.min() < 0:
            raise InvalidRecords(f"labels must be ≥ 0. Got {int(self.labels.min())} instead.")
        if self.groups is not None:
            _check_integers("groups", self.groups, len(self.data))
        if self.soft_labels is not None:
            _check_soft_labels(self.soft_labels, len(self.data))

    @property
    def kind(self) -> Kind:
        """``"image"`` or ``"feature"``."""
        return "image" if self.data.ndim == 4 else "feature"

    def __len__(self) -> int:
        return len(self.data)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Records)
            and self.extractor == other.extractor
            and self.data.dtype == other.data.dtype
            and np.array_equal(self.data, other.data)
            and np.array_equal(self.labels, other.labels)
            and _equal(self.groups, other.groups)
            and _equal(self.soft_labels, other.soft_labels)
        )

    def take(self, index: np.ndarray) -> Records:
        """The records at ``index`` (integers or a boolean mask), in that order, copied."""
        groups = None if self.groups is None else self.groups[index]
        soft_labels = None if self.soft_labels is None else self.soft_labels[index]
        return Records(self.data[index], self.labels[index], groups, self.extractor, soft_labels)

    def replace(self, **changes: Any) -> Records:
        """A copy with some fields replaced, checked again."""
        return _replace(self, **changes)

    def flat(self) -> np.ndarray:
        """The records as vectors ``(N, D) float32``: features as they are, pixels divided by 255."""
        if self.kind == "feature":
            return self.data
        return self.data.reshape(len(self), -1).astype(np.float32) / np.float32(255)

    def digest(self) -> str:
        """SHA-256 of types, shapes and bytes, as 64 hexadecimal digits."""
        h = hashlib.sha256(str(self.extractor).encode())
        for array in (self.data, self.labels, self.groups, self.soft_labels):
            if array is not None:
                h.update(f"{array.dtype.str}{array.shape}".encode())
                h.update(np.ascontiguousarray(array).tobytes())
        return h.hexdigest()


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None:
        return a is b
    return np.array_equal(a, b)


def _check_data(data: np.ndarray) -> None:
    if not isinstance(data, np.ndarray):
        raise InvalidRecords(f"data must be a NumPy array. Got {type(data).__name__} instead.")
    if data.ndim == 4:
        if data.dtype != np.uint8:
            raise InvalidRecords(f"images must be uint8. Got {data.dtype} instead.")
        if data.shape[3] not in (1, 3) or 0 in data.shape[1:]:
            raise InvalidRecords(
                f"images must have the shape (N, H, W, C) with C of 1 or 3. Got {data.shape} instead."
            )
    elif data.ndim == 2:
        if data.dtype != np.float32:
            raise InvalidRecords(f"features must be float32. Got {data.dtype} instead.")
        bad = ~np.isfinite(data).all(axis=1)
        if bad.any():
            raise InvalidRecords(
                f"features must be finite. Got NaN or infinity in {int(bad.sum())} of {len(data)} records, "
                f"the first at row {int(np.argmax(bad))}."
            )
    else:
        raise InvalidRecords(
            f"data must be images (N, H, W, C) or features (N, D). Got an array of shape {data.shape} instead."
        )


def _check_integers(name: str, array: np.ndarray, n: int) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != np.int64 or array.shape != (n,):
        got = (
            f"{array.dtype} {array.shape}"
            if isinstance(array, np.ndarray)
            else type(array).__name__
        )
        raise InvalidRecords(
            f"{name} must be int64 of shape ({n},), one for each record. Got {got} instead."
        )


def _check_soft_labels(array: np.ndarray, n: int) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.ndim != 2:
        got = (
            f"{array.dtype} {array.shape}"
            if isinstance(array, np.ndarray)
            else type(array).__name__
        )
        raise InvalidRecords(
            f"soft_labels must be float32 of shape ({n}, number of classes). Got {got} instead."
        )
    if len(array) != n:
        raise InvalidRecords(
            f"soft_labels must have one row for each of {n} records. Got {len(array)}."
        )
    sums = array.sum(axis=1, dtype=np.float64)
    bad = ~(np.isfinite(array).all(axis=1) & (array >= 0).all(axis=1) & (np.abs(sums - 1) < 1e-3))
    if bad.any():
        raise InvalidRecords(
            "soft_labels must be ≥ 0 and sum to 1 in each row. "
            f"Got {int(bad.sum())} rows that do not, the first at row {int(np.argmax(bad))}."
        )


# ---------------------------------------------------------------- context


def _silent(fraction: float, message: str = "") -> None:
    """The progress callback of those who do not listen."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What belongs to one call rather than to the configuration.

    Parameters
    ----------
    seed : int
        In [0, 2**63). All randomness of the call derives from it.
    device : str, default="cpu"
        A torch device: ``"cpu"`` or ``"cuda"``.
    scratch : Path
        An empty folder that is removed afterwards.
    progress : callable
        ``progress(fraction, message)`` with fraction in [0, 1].
    holdout : Records, optional
        Fresh real records that are neither candidates, auxiliary, validation nor test records. Given only to methods
        whose ``info.needs_holdout`` is true, which only controls may ask for.
    members : Records, optional
        The real records that the release was fitted on. Given only to utilities whose ``info.needs_members`` is true;
        never to methods (which get them as such) and never to attacks.
    base : Release, optional
        The restored release of the method that :meth:`Method.base` names, fitted on the same members. Given only to
        methods that name one.
    """

    seed: int
    device: str = "cpu"
    scratch: Path = Path(".")
    progress: Callable[..., None] = _silent
    holdout: Records | None = None
    members: Records | None = None
    base: Release | None = None

    def derive(self, *names: str | int) -> int:
        """A seed in [0, 2**63) for the stream called ``names``; streams of different names are independent."""
        text = "\x1f".join([str(self.seed), *map(str, names)])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def rng(self, *names: str | int) -> np.random.Generator:
        """A fresh NumPy generator for the stream called ``names``: the same one at each call."""
        return np.random.default_rng(self.derive(*names))

    def torch_generator(self, *names: str | int, device: str = "cpu") -> torch.Generator:
        """A fresh torch generator for the stream called ``names``.

        Draw on the CPU (the default) and move the result where the same numbers are wanted on every device.
        """
        import torch

        return torch.Generator(device=device).manual_seed(self.derive(*names))


# ---------------------------------------------------------------- plugins


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one node of this plugin may use. The suite's limits, where stricter or given, take precedence."""

    time_s: float = 600.0
    memory_mb: int = 4096
    gpu: bool = False


@dataclass(frozen=True, kw_only=True)
class Info:
    """Who a plugin is.

    ``name`` is what suites call it; ``version`` is raised whenever results change, for it is part of every key;
    ``extra`` names the optional extra of its distribution that has to be installed; ``places`` names the
    parameters that only say where files lie and are no part of keys (the files' content is, by ``fingerprint``).
    """

    name: str
    version: str
    summary: str
    citation: str = ""
    extra: str | None = None
    places: frozenset[str] = frozenset()
    resources: Resources = Resources()


class Plugin(BaseModel, ABC):
    """Base of all plugins: a frozen, validated set of parameters with an ``info``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())

    info: ClassVar[Info]

    def parameters(self) -> dict[str, Any]:
        """All parameters by name, defaults included, as JSON-compatible values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_variant(cls, variant: str) -> dict[str, Any]:
        """Parameters that the part of a name after the slash stands for, as in ``medmnist/pathmnist@64``.

        Raises
        ------
        ValueError
            Here, since a plugin has no variants unless it says so.
        """
        raise ValueError(
            f"{cls.info.name!r} has no variants. Got {variant!r} after the slash; write {cls.info.name!r}."
        )


# ---------------------------------------------------------------- datasets, features, perturbations


@dataclass(frozen=True, kw_only=True)
class DatasetInfo(Info):
    """``public`` says whether pictures of its records may be shown on a board."""

    licence: str
    public: bool
    kind: Kind = "image"
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class DatasetContent:
    """What a dataset loads to.

    Parameters
    ----------
    pool : Records
        The private pool, from which the game draws candidates and the sets disjoint from them.
    test : Records, optional
        The official test split. Without one, the game keeps part of the pool for testing.
    classes : tuple of str
        Name of each label; every label is in ``range(len(classes))``.
    """

    pool: Records
    classes: tuple[str, ...]
    test: Records | None = None

    def __post_init__(self) -> None:
        for name, records in (("pool", self.pool), ("test", self.test)):
            if records is not None and len(records) and records.labels.max() >= len(self.classes):
                raise InvalidRecords(
                    f"labels of the {name} must be below the number of classes, {len(self.classes)}. "
                    f"Got {int(records.labels.max())} instead."
                )
        counts = np.bincount(self.pool.labels, minlength=len(self.classes))
        empty = [self.classes[i] for i in np.flatnonzero(counts == 0)]
        if empty:
            raise InvalidRecords(
                f"every class needs at least one record in the pool. Empty: {', '.join(empty)}."
            )
        if self.test is not None and self.test.data.shape[1:] != self.pool.data.shape[1:]:
            raise InvalidRecords(
                f"pool and test records must have one shape. Got {self.pool.data.shape[1:]} "
                f"and {self.test.data.shape[1:]}."
            )


class Dataset(Plugin):
    """A source of real records."""

    info: ClassVar[DatasetInfo]

    @property
    def kind(self) -> Kind:
        """What its records are, known without loading them."""
        return self.info.kind

    @property
    def public(self) -> bool:
        """Whether pictures of its records may be shown; ``info.public`` unless the instance knows better."""
        return self.info.public

    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of the content, cheap enough to take before every run.

        For files: of their bytes. For records drawn from a seed: of nothing (return ``""``), since parameters and
        version are part of the key already.

        Raises
        ------
        DatasetMissing
            When the files are not there; says where it looked and how to get them.
        """

    @abstractmethod
    def load(self, context: Context) -> DatasetContent:
        """Load the records. Deterministic: the same parameters and files give the same bytes."""


class FeatureExtractor(Plugin):
    """Turns images into feature vectors, each record on its own."""

    def fingerprint(self) -> str:
        """A digest of files that it reads besides its package (a checkpoint); empty when there are none."""
        return ""

    @abstractmethod
    def extract(self, images: np.ndarray, context: Context) -> np.ndarray:
        """Features ``(N, D) float32`` of images ``(N, H, W, C) uint8``, C of 1 or 3."""


@dataclass(frozen=True, kw_only=True)
class PerturbationInfo(Info):
    """``kind`` says what it perturbs; ``severities`` how many steps it has."""

    kind: Kind
    severities: int = 5


class Perturbation(Plugin):
    """A corruption of records with severities 1 … ``info.severities``."""

    info: ClassVar[PerturbationInfo]

    @abstractmethod
    def apply(
        self, records: Records, severity: int, rng: np.random.Generator, reference: Records
    ) -> Records:
        """Corrupt ``records``; scales, where it needs any, come from the real records ``reference``."""


# ---------------------------------------------------------------- methods and releases


class Access(IntEnum):
    """Threat models: what an attacker may use of a release. A view grants this level and no more.

    ``NONE``: nothing; ``RECORDS``: the released dataset; ``SAMPLER``: also as many new draws as it likes; ``WEIGHTS``:
    also the trained generator, differentiable; ``TRAINER``: takes part in the training of a downstream model on the
    release. Every release allows ``TRAINER``, which needs only its records; the others form a ladder.
    """

    NONE = 0
    RECORDS = 1
    SAMPLER = 2
    WEIGHTS = 3
    TRAINER = 4

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, kw_only=True)
class DifferentialPrivacy:
    """A claim of (ε, δ)-differential privacy, with the accountant that computed it.

    ``unit`` is what neighbouring datasets differ in: a record or a group (identity).
    """

    epsilon: float
    delta: float
    accountant: str
    unit: Literal["record", "group"] = "record"
    details: Mapping[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class KAnonymity:
    """A claim that every released record was made from at least ``k`` identities. Bounds linkage, not membership."""

    k: int


Guarantee = DifferentialPrivacy | KAnonymity


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What is stored of a release, and given back to :meth:`Method.restore`."""

    records: Records
    state: Mapping[str, np.ndarray]
    guarantee: Guarantee | None


@dataclass(frozen=True, kw_only=True)
class Release:
    """What a method puts out.

    Parameters
    ----------
    records : Records
        The released dataset. Without ``groups``: what is released names no identities.
    state : mapping of str to ndarray
        Numbers from which :meth:`Method.restore` rebuilds ``sample`` and ``weights``. Never released to attacks as
        such.
    sample : callable, optional
        ``sample(n, labels, rng) -> Records`` of n fresh draws; ``labels`` is ``(n,) int64`` or None for the release's
        own class distribution. Needed for access ``sampler``.
    weights : torch.nn.Module, optional
        The trained generator, differentiable. Needed for access ``weights``. It has ``latent`` and ``n_classes``, and
        ``forward(z (B, latent), labels (B,))`` gives records as vectors ``(B, D)`` in their own units: features, or
        pixels 0 … 255 in the order height, width, channel. Optional: ``encode(x (B, D), labels)``, mean and log
        standard deviation of the codes; ``w_dim``, ``map(z, labels) -> (B, w_dim)`` and ``synthesise(w) -> (B, D)``,
        an intermediate latent space.
    guarantee : DifferentialPrivacy or KAnonymity, optional
        The formal claim, if any.
    origin : ndarray of shape (N,), int64, optional
        Row of ``members`` that each released record stands for, where the method keeps such a correspondence. Seen by
        the referee only.
    notes : mapping
        Figures of the fit worth keeping (epochs, final loss, rejected share …).
    """

    records: Records
    state: Mapping[str, np.ndarray] = field(default_factory=dict)
    sample: Callable[[int, np.ndarray | None, np.random.Generator], Records] | None = None
    weights: torch.nn.Module | None = None
    guarantee: Guarantee | None = None
    origin: np.ndarray | None = None
    notes: Mapping[str, float | int | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.records) == 0:
            raise InvalidRecords("a release must hold at least one record. Got none.")
        if self.origin is not None and self.origin.shape != (len(self.records),):
            raise InvalidRecords(
                f"origin must have one member row for each released record, shape ({len(self.records)},). "
                f"Got {self.origin.shape} instead."
            )


@dataclass(frozen=True, kw_only=True)
class MethodInfo(Info):
    """``offers``: strongest access that a release can grant; ``kinds``: records it takes (and releases).

    ``control`` marks methods that only calibrate the board and are not ranked; ``needs_holdout`` those that get fresh
    real records in ``context.holdout``.
    """

    offers: Access = Access.RECORDS
    kinds: frozenset[str] = frozenset({"image", "feature"})
    control: bool = False
    needs_holdout: bool = False


class Method(Plugin):
    """A way to make a dataset safe to release."""

    info: ClassVar[MethodInfo]

    @abstractmethod
    def fit(self, members: Records, context: Context) -> Release:
        """Make a release of ``members``, the private records. Never modifies them."""

    def fit_many(self, members: Sequence[Records], contexts: Sequence[Context]) -> list[Release]:
        """One release for each of many training sets, as :meth:`fit` would make them.

        Override it to fit a *fleet* at once (``torch.func``, batched matrix products), which makes shadow attacks
        affordable. Equal to one by one up to rounding.

        Parameters
        ----------
        members : sequence of Records
            The training sets; they may differ in size.
        contexts : sequence of Context
            One for each; they differ in their seed.
        """
        return [self.fit(m, c) for m, c in zip(members, contexts, strict=True)]

    def base(self) -> tuple[str, Mapping[str, Any]] | None:
        """Name and parameters of the method whose fitted release this one works from; None by default.

        That method is fitted once on the same members, and shared by all that name it with equal parameters and by its
        own row on the board. Its release comes in ``context.base``, restored with its sampler and weights. It may work
        from another method itself, whose release its ``restore`` finds in ``context.base``, as its ``fit`` does.
        """
        return None

    def restore(self, saved: Saved, context: Context) -> Release:
        """Rebuild ``sample`` and ``weights`` of a stored release. Override where ``info.offers`` exceeds RECORDS."""
        return Release(records=saved.records, state=saved.state, guarantee=saved.guarantee)


# ---------------------------------------------------------------- attacks


@dataclass(frozen=True, kw_only=True)
class Shadows:
    """Releases of the same method, with the same parameters, on training sets that the attacker chose.

    Parameters
    ----------
    releases : tuple of Records
        ``S`` shadow releases, of the kind and space of the release under attack.
    included : ndarray of shape (S, m), bool
        Which candidates each was fitted on: a random half of the units, which is the size of the target's training
        set up to the coins' chance. Shadows come in complementary pairs, so that every candidate is in half of them.
        Not the coins, which the attacker does not know.
    included_auxiliary : ndarray of shape (S, a), bool
        The same for the auxiliary records; all False as long as shadows are fitted on candidates alone.
    """

    releases: tuple[Records, ...]
    included: np.ndarray
    included_auxiliary: np.ndarray


@dataclass(frozen=True, kw_only=True)
class View:
    """What an attack sees of a release: exactly what ``access`` grants; the rest is None.

    ``shadows`` is given to attacks that ask for them (``info.shadows`` or a parameter ``shadows``, a number above 0).

    ``reference`` is a release of the same method, with the same parameters, fitted on auxiliary records: as many as
    there are members, or all where there are fewer. It has ``sample`` and ``weights`` as far as ``access`` goes, and is
    given to attacks that ask for it (``info.reference`` or a true parameter ``reference``).

    ``known_coins`` is given to gates only (access NONE): 1.0 for a revealed member, 0.0 for a revealed non-member,
    NaN for a candidate whose coin is hidden; only hidden ones are scored by the referee.
    """

    access: Access
    records: Records | None = None
    sample: Callable[[int, np.ndarray | None, np.random.Generator], Records] | None = None
    weights: torch.nn.Module | None = None
    known_coins: np.ndarray | None = None
    shadows: Shadows | None = None
    reference: Release | None = None


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One score per candidate, higher for more likely members; optionally a yes/no decision per candidate.

    ``values``: ``(m,) float64``, finite. ``decisions``: ``(m,) bool``, made without knowing the coins (a threshold
    fixed on auxiliary data). ``notes``: the attack's own figures, kept beside its answer and never judged.

    ``copies``: ``(n_released,) int64``, for each released record the row of the candidate that it is taken for a copy
    of, −1 for none; ``copy_distances``: ``(n_released,) float64``, finite, how far it is from the nearest candidate.
    The referee counts the copies of members and of non-members and lists the nearest pairs.
    """

    values: np.ndarray
    decisions: np.ndarray | None = None
    copies: np.ndarray | None = None
    copy_distances: np.ndarray | None = None
    notes: Mapping[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Links:
    """For each candidate the row of the released record that the attacker links it to, ``(m,) int64``.

    Ties are broken at random by the attacker. The referee counts, among members, the links to a record that stands
    for the same identity.
    """

    released: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Reconstructions:
    """Records that the attacker believes to be private. The referee scores candidates by their nearness to them.

    Parameters
    ----------
    records : Records
    targets : ndarray of shape (N,), int64, optional
        Row of the released record that each reconstruction aims at, where an attack on training with the release knows
        which one the model saw; −1 for none. The referee measures how faithful they are.
    notes : mapping
        The attack's own figures (accuracy of bits, share that diverged …), kept beside its answer and never judged.
    """

    records: Records
    targets: np.ndarray | None = None
    notes: Mapping[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PositiveControl:
    """A release on which an attack must succeed, and the figure that it must reach there.

    Parameters
    ----------
    method, method_parameters
        The leaking method.
    dataset, dataset_parameters
        Where; None for every dataset of the suite. A dataset named here is added to the run for this control.
    candidates : int, optional
        Number of candidates there, when a dataset is named.
    metric : str
        A metric of the results, such as ``"auc"`` or ``"flag_rate_members"``.
    at_least : float, optional
        The mean over seeds must reach this.
    expected : callable, optional
        ``expected(dimension, n_members) -> float``: the closed-form answer, which must lie in the interval.
    """

    method: str = "identity"
    method_parameters: Mapping[str, Any] = field(default_factory=dict)
    dataset: str | None = None
    dataset_parameters: Mapping[str, Any] = field(default_factory=dict)
    candidates: int | None = None
    metric: str = "auc"
    at_least: float | None = None
    expected: Callable[[int, int], float] | None = None


@dataclass(frozen=True, kw_only=True)
class AttackInfo(Info):
    """``needs``: access it needs; ``kinds``: records it can work on; ``auxiliary``: what it takes from auxiliary data.

    ``shadows`` is the number of shadow models it trains, 0 for none; ``reference`` whether it compares with a release
    fitted on auxiliary records.
    """

    needs: Access = Access.RECORDS
    kinds: frozenset[str] = frozenset({"image", "feature"})
    positive_controls: tuple[PositiveControl, ...] = (PositiveControl(at_least=0.99),)
    auxiliary: str = "none"
    shadows: int = 0
    reference: bool = False


class Attack(Plugin):
    """A way to learn about the private records from what was released."""

    info: ClassVar[AttackInfo]

    def positive_controls(self) -> tuple[PositiveControl, ...]:
        """The controls that this attack must pass with these parameters: ``info.positive_controls`` by default.

        Override it where a parameter makes another attack of it, so that every variant is held to what it can do.
        """
        return self.info.positive_controls

    @abstractmethod
    def run(
        self, view: View, candidates: Records, auxiliary: Records, context: Context
    ) -> Scores | Links | Reconstructions:
        """Answer for every candidate, without its coin.

        Parameters
        ----------
        view : View
            The release, as far as the threat model allows.
        candidates : Records
            ``m`` records of the same kind and space as the view's; half of them, by fair coins, are members. ``groups``
            are pseudonyms.
        auxiliary : Records
            Other records of the same population, none of them a candidate.
        context : Context
        """


# ---------------------------------------------------------------- utilities


@dataclass(frozen=True, kw_only=True)
class UtilityInfo(Info):
    """``kinds``: records it can work on; ``labelled``: whether it needs two classes or more.

    ``needs_members``: it compares the release with the real records that it was fitted on (a distance to the closest
    record, say), and gets them in ``context.members``.
    """

    kinds: frozenset[str] = frozenset({"image", "feature"})
    labelled: bool = True
    needs_members: bool = False


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Class probabilities ``(n_test, n_classes) float`` for the test records, in their order; rows sum to 1."""

    probabilities: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Named figures of a utility that is no prediction (a distance, a diversity).

    A value is a number, or ``(value, low, high, method)`` with the limits of its 95 % interval and how that was made;
    the harness rescales it to the suite's confidence. Empty under a condition that it has nothing to say about.
    """

    values: Mapping[str, float | tuple[float, float, float, str]]


class Utility(Plugin):
    """A measure of what a release is good for."""

    info: ClassVar[UtilityInfo]

    @abstractmethod
    def evaluate(
        self,
        release: Records,
        validation: Records,
        test: Mapping[str, Records],
        n_classes: int,
        context: Context,
    ) -> Mapping[str, Predictions | Figures]:
        """Use the release, then look at real data.

        Parameters
        ----------
        release : Records
            What was released.
        validation : Records
            Real records for early stopping or model selection.
        test : mapping of str to Records
            Real test records by condition: ``"clean"``, and one entry for every perturbation and severity asked for.
        n_classes : int
            Labels are in ``range(n_classes)``; a class may be missing from the release.
        context : Context

        Returns
        -------
        mapping
            One answer for each entry of ``test``.
        """
