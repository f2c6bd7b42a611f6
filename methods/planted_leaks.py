"""Leaks put there on purpose: releases that hide nearly all members and give a few of them away.

An audit must find them and say by which attack. The area under the ROC curve cannot: a copy of one
member in a hundred moves it by half a hundredth. What shows it is the true-positive rate at few
false positives, the rate of near duplicates and the lower bound on ε.
"""

from __future__ import annotations

from abc import abstractmethod
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

__all__ = ["OutlierMemoriser", "PartialCopies"]


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
    if members.kind == "image":
        copies = np.clip(np.rint(copies), 0, 255)
    return copies.astype(members.data.dtype)


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
