"""What plugins answer: content of a dataset, release of a method, answers of attacks and utilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from benchmark.contracts.errors import InvalidGuarantee, InvalidRecords
from benchmark.contracts.guarantees import Guarantee
from benchmark.contracts.records import Records

if TYPE_CHECKING:
    import torch

__all__ = [
    "DatasetContent",
    "Figures",
    "Links",
    "Predictions",
    "Reconstructions",
    "Release",
    "Saved",
    "Scores",
]


# ---------------------------------------------------------------- datasets


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


# ---------------------------------------------------------------- releases


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
        an intermediate latent space. A flow of images also has ``velocity(x (B, C, H, W), t (B,), labels)`` and
        ``loss(x, labels, t, noise) -> (B,)``, its squared error at (1 − t)·noise + t·x, with pixels in [−1, 1].
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
        if not isinstance(self.guarantee, Guarantee | None):
            raise InvalidGuarantee(
                "a release's guarantee must be DifferentialPrivacy, KAnonymity or None. "
                f"Got {type(self.guarantee).__name__}."
            )


# ---------------------------------------------------------------- attacks


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


# ---------------------------------------------------------------- utilities


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
