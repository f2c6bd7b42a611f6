"""Leaks put there on purpose, which an audit must find and say by which attack.

Copies hide nearly all members and give a few of them away. The area under the ROC curve cannot show
it: a copy of one member in a hundred moves it by half a hundredth. What shows it is the true-positive
rate at few false positives, the rate of near duplicates and the lower bound on ε.

A filter by distance gives members away by their absence: where no released record may be near a
member, what none is near to is one.
"""

from __future__ import annotations

from abc import abstractmethod
from math import ceil, sqrt
from typing import ClassVar

import numpy as np

from benchmark.contracts import (
    Context,
    Field,
    Method,
    MethodInfo,
    Records,
    Release,
)
from benchmark.learning.neighbours import nearest
from benchmark.learning.sampling import fresh_records

__all__ = [
    "ConfidentLabels",
    "DistanceFiltered",
    "FullCovariance",
    "OutlierMemoriser",
    "PartialCopies",
]

DRAWN_AT_ONCE = 4096  # bounds memory


class _PlantedCopies(Method):
    """Fresh real records, and noisy copies of some members in place of a few of them."""

    share: float = Field(0.01, gt=0, le=1, description="share of the members that is copied")
    noise: float = Field(
        0.02, ge=0, description="deviation of the copies' noise, in deviations of each feature"
    )

    @abstractmethod
    def chosen(self, members: Records, n: int, context: Context) -> np.ndarray:
        """Rows of the ``n`` members that are copied, int64."""

    def fit(self, members: Records, context: Context) -> Release:
        """Release as many records as there are members, or as the hold-out and the copies allow.

        Raises
        ------
        LeakboardError
            When the context holds no hold-out.
        """
        rows = self.chosen(members, max(1, round(self.share * len(members))), context)
        fresh = fresh_records(len(members) - len(rows), context, self.info.name, stream="fresh")
        copies = _noisy(members, rows, self.noise, context.rng("noise"))
        records = Records(
            np.concatenate([copies, fresh.data]),
            np.concatenate([members.labels[rows], fresh.labels]),
            extractor=members.extractor,
        )
        return Release(records=records, notes={"copies": len(rows)})


def _noisy(
    members: Records, rows: np.ndarray, noise: float, rng: np.random.Generator
) -> np.ndarray:
    """Copies of ``rows`` with Gaussian noise; pictures are rounded to grey levels and cut off at 0 and 255."""
    deviation = members.data.std(axis=0, dtype=np.float64)
    copies = members.data[rows] + noise * deviation * rng.standard_normal(members.data[rows].shape)
    return _like(members, copies)


def _like(members: Records, values: np.ndarray) -> np.ndarray:
    """``values`` in the members' type and range."""
    if members.kind == "image":
        values = np.clip(np.rint(values), 0, 255)
    return values.astype(members.data.dtype)


class PartialCopies(_PlantedCopies):
    """Releases fresh real records and, of a random share of the members, noisy copies.

    The leak of a generator that has memorised few of its training records and is sound otherwise.
    With ``disguise``, copies of pictures are also mirrored and moved by a pixel down and to the right,
    so that they are near their originals up to alignment only.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="partial_copies",
        version="1",
        summary="Fresh real records and noisy copies of 1 % of the members: a leak that no AUC shows.",
        control=True,
        needs_holdout=True,
    )

    disguise: bool = Field(False, description="whether copied pictures are mirrored and moved")

    def chosen(self, members: Records, n: int, context: Context) -> np.ndarray:
        """Members drawn at random."""
        return context.rng("copied").choice(len(members), size=n, replace=False)

    def fit(self, members: Records, context: Context) -> Release:
        """The release, its copies disguised where that is asked for; features cannot be."""
        release = super().fit(members, context)
        if not self.disguise or members.kind != "image":
            return release
        data = release.records.data.copy()
        copies = slice(0, int(release.notes["copies"]))
        data[copies] = np.roll(data[copies, :, ::-1], (1, 1), (1, 2))
        return Release(records=release.records.replace(data=data), notes=release.notes)


class OutlierMemoriser(_PlantedCopies):
    """Releases fresh real records and noisy copies of the members that lie farthest from the others.

    What generators memorise first: records unlike any other. ``share`` of the members, those with
    the largest distance to the ``k``-th nearest other member, are given away.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="outlier_memoriser",
        version="1",
        summary="Fresh real records and noisy copies of the outliers among the members.",
        citation="after Carlini et al. (2019), The Secret Sharer, USENIX Security",
        control=True,
        needs_holdout=True,
    )

    k: int = Field(5, ge=1, description="neighbours that an outlier is far from")

    def chosen(self, members: Records, n: int, context: Context) -> np.ndarray:
        """The members farthest from their k-th nearest other member, farthest first."""
        if len(members) < 2:
            return np.arange(len(members))
        flat, k = members.flat(), min(self.k, len(members) - 1)
        distances, _ = nearest(flat, flat, k, device=context.device, exclude_self=True)
        return np.argsort(-distances[:, -1], kind="stable")[:n]


class DistanceFiltered(Method):
    """Draws from a normal distribution of each class, without those that lie nearest to a member.

    A filter by the distance to the closest record is common practice, so this is no control but a method among others.
    It leaves a hole around each member and none around anybody else: members are *farther* from the release than
    chance. The more is released, the sharper the holes are seen.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="distance_filtered",
        version="1",
        summary="Normal draws of each class, filtered by their distance to the closest member: holes tell members.",
    )

    dropped: float = Field(
        0.8, gt=0, lt=1, description="share of the draws that is dropped, those nearest to a member"
    )
    size: float = Field(15.0, gt=0, description="released records for each member")
    shrinkage: float = Field(
        0.5, ge=0, le=1, description="weight of the diagonal in each class's covariance"
    )

    def fit(self, members: Records, context: Context) -> Release:
        """Release about ``size`` records for each member, in the members' shares of the classes."""
        wanted = round(self.size * len(members))
        drawn = ceil(wanted / (1 - self.dropped))
        labels = context.rng("labels").permutation(np.resize(members.labels, drawn))
        data = _draw(members, labels, self.shrinkage, context.rng("records"))
        draws = Records(data, labels, extractor=members.extractor)
        near = nearest(draws.flat(), members.flat(), 1, device=context.device)[0][:, 0]
        kept = np.sort(np.argsort(-near, kind="stable")[:wanted])
        return Release(records=draws.take(kept), notes={"least_distance": float(near[kept].min())})


def _draw(
    members: Records, labels: np.ndarray, shrinkage: float, rng: np.random.Generator
) -> np.ndarray:
    """Normal draws of the given labels, ``(n, …)``; a class of one member has no spread.

    ``shrinkage`` is the weight of the diagonal in each class's covariance. Members' deviations, weighed by normal
    numbers, have the members' covariance without its being computed.
    """
    flat = members.data.reshape(len(members), -1).astype(np.float64)
    drawn = np.empty((len(labels), *members.data.shape[1:]), members.data.dtype)
    for label in np.unique(labels):
        own, rows = flat[members.labels == label], np.flatnonzero(labels == label)
        mean, std = own.mean(axis=0), own.std(axis=0)
        centred = (own - mean) / sqrt(max(len(own) - 1, 1))
        for chosen in np.array_split(rows, ceil(len(rows) / DRAWN_AT_ONCE)):
            shared = rng.standard_normal((len(chosen), len(own))) @ centred
            alone = rng.standard_normal((len(chosen), len(std))) * std
            values = mean + sqrt(1 - shrinkage) * shared + sqrt(shrinkage) * alone
            drawn[chosen] = _like(members, values.reshape(drawn[chosen].shape))
    return drawn


class FullCovariance(Method):
    """Draws from a normal distribution of each class with the members' own covariance.

    No draw need be near a member. Yet in more dimensions than members, draws vary only in directions in which members
    do, so that whoever lies in their span is a member; in fewer, members are nearer to the draws' mean than
    others are, in units of the draws' spread.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="full_covariance",
        version="1",
        summary="Normal draws of each class with its full covariance: their span tells members.",
        control=True,
    )

    size: float = Field(2.0, gt=0, le=10, description="released records for each member")

    def fit(self, members: Records, context: Context) -> Release:
        """Release about ``size`` records for each member, in the members' shares of the classes."""
        labels = np.resize(members.labels, max(1, round(self.size * len(members))))
        data = _draw(members, labels, 0.0, context.rng("records"))
        return Release(records=Records(data, labels, extractor=members.extractor))


class ConfidentLabels(Method):
    """Releases members, and four times as many means of two members of a class; soft labels say which is which.

    A member's soft label is sure of its class. That of a mean, which other records of the population lie nearer to than
    to most members, is uniform. What reads soft labels must tell members by them.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="confident_labels",
        version="1",
        summary="Members with sure soft labels among means of two with uniform ones.",
        control=True,
    )

    def fit(self, members: Records, context: Context) -> Release:
        """Release each member, and its means with four others of its class."""
        rng = context.rng("partners")
        data = [members.data, *(_means_of_two(members, rng) for _ in range(MEANS))]
        n_classes = int(members.labels.max()) + 1
        sure = np.eye(n_classes, dtype=np.float32)[members.labels]
        records = Records(
            np.concatenate(data),
            np.tile(members.labels, len(data)),
            extractor=members.extractor,
            soft_labels=np.concatenate([sure, *[np.full_like(sure, 1 / n_classes)] * MEANS]),
        )
        return Release(records=records)


MEANS = 4
"""Means that hide each member."""


def _means_of_two(members: Records, rng: np.random.Generator) -> np.ndarray:
    """Each record's mean with another of its class, at random; with itself where it is the only one."""
    partner = np.arange(len(members))
    for label in np.unique(members.labels):
        rows = rng.permutation(np.flatnonzero(members.labels == label))
        partner[rows] = np.roll(rows, 1)
    means = (members.data.astype(np.float64) + members.data[partner]) / 2
    if members.kind == "image":
        means = np.rint(means)
    return means.astype(members.data.dtype)
