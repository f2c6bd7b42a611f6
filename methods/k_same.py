"""k-Same: replace groups of at least k records by their mean.

The family goes back to Newton, Sweeney & Malin [1]_; the grouping rule offered as ``farthest`` is the
one that Di Salvo et al. [3]_ use on features of foundation models. What the project adds:

- Groups are of *identities*: a patient with several records is one point, the centroid of those
  records, and is never split.
- No group is ever smaller than k. What is left at the end (between k and 2k − 1 points) is the last
  group. Public code drops those records or lets late groups steal members of earlier ones.

The rules are in :mod:`benchmark.learning.grouping`.

The family's members by their parameters: k-Same-Pixel is :class:`KSame` on images; k-Same-Eigen is
``representation="eigen"`` there; k-Same in feature space is :class:`KSame` on features; k-Same-Select
is ``label_aware``, with any of them.

References
----------
.. [1] Newton, Sweeney & Malin, "Preserving Privacy by De-identifying Face Images", 2005
   (k-Same-Pixel and k-Same-Eigen).
.. [2] Gross et al., "Integrating Utility into Face De-identification", 2005 (k-Same-Select).
.. [3] Di Salvo et al., BMVC 2024, arXiv 2408.00639.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import model_validator

from benchmark.contracts import (
    Context,
    Field,
    KAnonymity,
    Method,
    MethodInfo,
    NotApplicable,
    Records,
    Release,
)
from benchmark.learning.grouping import Group, equal_copies, form_groups, identities_of

__all__ = ["Eigenspace", "KSame"]


class KSame(Method):
    """k-Same on features or pixels.

    Every identity (every record, where the members have no identities) goes into one group of at
    least ``k``; a group releases copies of the mean of its identities' centroids, the same number of
    copies for each of its identities, as near to its number of records as that allows. Equal numbers
    matter: were a patient with ten records to get ten of fourteen copies, linking at random within
    the group would find that patient far more often than 1/k. The rows are shuffled.

    Labels. With ``label_aware`` groups lie within one class (k-Same-Select): points are then the
    identities' centroids *within that class*, and a class with fewer than ``k`` identities is not
    released (``notes["dropped_records"]`` counts its records). Otherwise groups mix classes, and
    ``labels`` decides: ``majority`` gives all of a group the label that most of its identities have
    (each identity counts once, ties are drawn), which keeps re-identification ≤ 1/k for an attacker
    who knows labels too. ``own`` lets every copy keep the label of the record it stands for, as
    published; a label that is rare in its group then singles its owner out, so no guarantee is
    claimed.

    Representation. ``raw`` groups and averages features or pixels as they are. ``eigen`` does both on
    the members' first principal components and decodes the average, which leaves out what the other
    components hold; with all of them it is ``raw``, since averaging is linear. The components are
    fitted on all members and decode every record, so a release says a little about members of other
    groups too.

    1/k bounds re-identification. It does not bound membership inference: means still leak.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="k_same",
        version="1",
        summary="Replaces groups of at least k identities by their mean.",
        citation="Newton, Sweeney & Malin 2005; Di Salvo et al. 2024, arXiv 2408.00639",
    )

    k: int = Field(5, ge=2, description="smallest number of identities in a group")
    label_aware: bool = Field(False, description="group within classes (k-Same-Select)")
    rule: Literal["farthest", "mdav", "kmeans"] = Field(
        "farthest",
        description="how groups are formed: as published for features, by MDAV, or by same-size k-means",
    )
    labels: Literal["majority", "own"] = Field(
        "majority", description="label of what a mixed group releases"
    )
    representation: Literal["raw", "eigen"] = Field(
        "raw", description="what is grouped and averaged: records, or their principal components"
    )
    components: int | None = Field(
        None,
        ge=1,
        description="number of principal components; by default those that hold 95 % of the variance",
    )

    @model_validator(mode="after")
    def _components_need_eigen(self) -> KSame:
        if self.components is not None and self.representation != "eigen":
            raise ValueError(
                f"components={self.components} needs representation='eigen'. "
                f"Got representation={self.representation!r}; set it, or leave components out."
            )
        return self

    def fit(self, members: Records, context: Context) -> Release:
        """Group the members and release the groups' means.

        Raises
        ------
        NotApplicable
            Where there are fewer than ``k`` identities; in every class, if ``label_aware``.
        """
        rng = context.rng("k_same")
        vectors = members.data.reshape(len(members), -1)
        eigenspace = None
        if self.representation == "eigen":
            eigenspace = Eigenspace.of(vectors, self.components)
            vectors = eigenspace.encode(vectors)
        groups = [
            group
            for rows in self._parts(members)
            for group in form_groups(vectors, identities_of(members, rows), self.k, self.rule)
        ]
        if not groups:
            raise NotApplicable(
                f"k_same needs at least k = {self.k} identities"
                f"{' in some class' if self.label_aware else ''}. Got "
                f"{len(members)} records; choose a smaller k, or more candidates."
            )
        copies = [equal_copies(group.owners) for group in groups]
        labels = [
            self._labels(members.labels, group, rows, rng)
            for group, rows in zip(groups, copies, strict=True)
        ]
        sizes = [len(rows) for rows in copies]
        means = np.stack([group.mean for group in groups])
        if eigenspace is not None:
            means = eigenspace.decode(means)
        order = rng.permutation(sum(sizes))
        data = _as_data(members, np.repeat(means, sizes, axis=0)[order])
        own_labels = self.labels == "own" and not self.label_aware
        return Release(
            records=Records(data, np.concatenate(labels)[order], extractor=members.extractor),
            guarantee=None if own_labels else KAnonymity(k=self.k),
            origin=np.concatenate(copies)[order],
            notes={**_notes(members, groups), **(eigenspace.notes() if eigenspace else {})},
        )

    def _parts(self, members: Records) -> list[np.ndarray]:
        """Rows of members that may share groups."""
        if not self.label_aware:
            return [np.arange(len(members))]
        return [np.flatnonzero(members.labels == label) for label in np.unique(members.labels)]

    def _labels(
        self, labels: np.ndarray, group: Group, rows: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Labels of the copies ``rows`` that a group releases."""
        if self.labels == "own":
            return labels[rows]
        n_classes = labels.max() + 1
        shares = [np.bincount(labels[o], minlength=n_classes) / len(o) for o in group.owners]
        votes = np.sum(shares, axis=0)
        winners = np.flatnonzero(votes > votes.max() - 1e-9)
        return np.full(len(rows), rng.choice(winners), dtype=np.int64)


@dataclass(frozen=True)
class Eigenspace:
    """The principal components of a set of records.

    ``mean (D,)``, ``basis (c, D)`` with orthonormal rows, ``explained`` the share of the variance that
    they hold (1 where there is none).
    """

    mean: np.ndarray
    basis: np.ndarray
    explained: float

    @classmethod
    def of(cls, vectors: np.ndarray, components: int | None = None) -> Eigenspace:
        """The first ``components`` of ``vectors (n, D)``, at most its rank; None for 95 % of the variance."""
        mean = vectors.mean(axis=0, dtype=np.float64)
        centred = vectors - mean
        n, d = centred.shape
        if d <= n:
            variances, directions = np.linalg.eigh(centred.T @ centred)
            basis = directions.T
        else:  # as many directions as records: cheaper from inner products of records
            variances, combinations = np.linalg.eigh(centred @ centred.T)
            scale = np.sqrt(np.maximum(variances, np.finfo(float).tiny))
            basis = (combinations / scale).T @ centred
        variances, basis = np.maximum(variances[::-1], 0), basis[::-1]
        rank = int(np.count_nonzero(variances > 1e-12 * variances.sum()))
        shares = np.cumsum(variances) / (variances.sum() or 1.0)
        wanted = int(np.searchsorted(shares, 0.95)) + 1 if components is None else components
        kept = min(wanted, rank)
        return cls(mean, basis[:kept], float(shares[kept - 1]) if kept else 1.0)

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Coefficients ``(n, c) float64`` of ``vectors (n, D)``."""
        return (vectors - self.mean) @ self.basis.T

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Vectors ``(n, D) float64`` of coefficients ``(n, c)``."""
        return self.mean + codes @ self.basis

    def notes(self) -> dict[str, float | int | str]:
        """What a release says of its representation."""
        return {"components": len(self.basis), "explained_variance": self.explained}


def _as_data(members: Records, means: np.ndarray) -> np.ndarray:
    if members.kind == "feature":
        return means.astype(np.float32)
    # Decoded components may leave the range of pixels.
    pixels = np.clip(np.rint(means), 0, 255).astype(np.uint8)
    return pixels.reshape(-1, *members.data.shape[1:])


def _notes(members: Records, groups: list[Group]) -> dict[str, float | int | str]:
    kept = np.concatenate([rows for group in groups for rows in group.owners])
    sizes = [len(group.owners) for group in groups]
    pure = [np.ptp(members.labels[np.concatenate(group.owners)]) == 0 for group in groups]
    return {
        "groups": len(groups),
        "smallest_group": min(sizes),
        "largest_group": max(sizes),
        "pure_groups": int(np.sum(pure)),
        "dropped_records": len(members) - len(kept),
    }
