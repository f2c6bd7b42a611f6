"""k-Same [1]_ on codes: one picture for each group of identities of a class.

References
----------
.. [1] Newton, Sweeney & Malin, "Preserving privacy by de-identifying face images", IEEE TKDE 17(2), 2005.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from benchmark.contracts import Context, Field, KAnonymity, MethodInfo, Records, Release
from benchmark.learning.grouping import equal_copies
from methods.latent.bench import (
    IMAGES,
    TIME,
    Bench,
    LatentMethod,
    centroids,
    group_notes,
    projection_notes,
)

if TYPE_CHECKING:
    import torch

    from methods.latent.averages import ClassGroup

__all__ = ["Averages", "LatentKSame"]


class Averages(LatentMethod):
    """Methods that release one picture for each group of at least k identities of a class."""

    k: int = Field(5, ge=2, description="smallest number of identities in a group")
    rule: Literal["farthest", "mdav", "kmeans"] = Field(
        "mdav", description="how codes are grouped, as in k_same"
    )

    def fit(self, members: Records, context: Context) -> Release:
        """Project the members, group their codes within classes, and release a picture for each group.

        Raises
        ------
        NotApplicable
            Where no class has ``k`` identities.
        """
        with Bench.of(members, context) as bench:
            projections = bench.projections()
            groups = bench.groups(projections, self.k, self.rule)
            codes, notes = self._codes(bench, groups)
            images = bench.pictures(codes)
        copies = [equal_copies(each.group.owners) for each in groups]
        which = np.repeat(np.arange(len(groups)), [len(rows) for rows in copies])
        order = context.rng("order").permutation(len(which))
        labels = np.array([each.label for each in groups], dtype=np.int64)
        return Release(
            records=Records(images[which[order]], labels[which[order]]),
            guarantee=KAnonymity(k=self.k),
            origin=np.concatenate(copies)[order],
            notes={
                **notes,
                **group_notes(members, groups),
                **projection_notes(projections, members),
                **bench.nearness(images),
            },
        )

    def _codes(
        self, bench: Bench, groups: list[ClassGroup]
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Codes ``(G, L)`` of the groups' pictures, and figures of how they were found."""
        raise NotImplementedError


class LatentKSame(Averages):
    """k-Same on codes: the picture of the mean code of at least k identities of a class.

    Members are projected into the GAN's W under their class; the codes of a class's identities (their centroids, where
    one has several records) are grouped, and each group releases the picture of its mean code, the same number of
    copies for each of its identities. Classes with fewer than ``k`` identities are not released.

    k-anonymity covers the averaging: which member a released record stands for is a choice among k. It says nothing of
    the generator, which has seen all members and draws every picture, nor of membership.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="latent_k_same",
        version="2",
        summary="Pictures of the mean GAN code of at least k identities of a class.",
        citation="Newton, Sweeney & Malin 2005; Jeon et al. 2022 (in a latent space)",
        kinds=IMAGES,
        resources=TIME,
    )

    def _codes(
        self, bench: Bench, groups: list[ClassGroup]
    ) -> tuple[torch.Tensor, dict[str, float]]:
        return centroids(groups), {}
