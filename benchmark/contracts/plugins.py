"""The plugin contracts: who a plugin is, what it needs, and the one method that it must have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from benchmark.contracts.answers import (
    DatasetContent,
    Figures,
    Links,
    Predictions,
    Reconstructions,
    Release,
    Saved,
    Scores,
)
from benchmark.contracts.context import Access, Context, View
from benchmark.contracts.records import Kind, Records

__all__ = [
    "Attack",
    "AttackInfo",
    "Dataset",
    "DatasetInfo",
    "FeatureExtractor",
    "Info",
    "Method",
    "MethodInfo",
    "Perturbation",
    "PerturbationInfo",
    "Plugin",
    "PositiveControl",
    "Resources",
    "Utility",
    "UtilityInfo",
]


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


# ---------------------------------------------------------------- methods


@dataclass(frozen=True, kw_only=True)
class MethodInfo(Info):
    """``offers``: strongest access that a release can grant; ``kinds``: records it takes (and releases).

    ``control`` marks methods that only calibrate the board and are not ranked; ``needs_holdout`` those that get fresh
    real records in ``context.holdout``. Both count for the project's own methods alone: controls are the suite's, which
    may name any method one.
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
        affordable. Equal to one by one up to rounding; ``check`` compares the two, and so does every run with shadows,
        where attacks that learn from others than :meth:`fit` makes are void.

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
