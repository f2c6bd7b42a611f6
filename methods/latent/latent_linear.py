"""Straight lines between codes of a class, and the ends that paths join."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from benchmark.contracts import Context, Field, LeakboardError, MethodInfo, Records, Release
from methods.latent.bench import (
    CITATION,
    IMAGES,
    TIME,
    Bench,
    LatentMethod,
    centroids,
    group_notes,
    projection_notes,
    real_distances,
)

if TYPE_CHECKING:
    import torch

    from methods.latent.averages import Projections

__all__ = ["LatentLinear"]


class LatentLinear(LatentMethod):
    """Straight lines between two codes of a class: every point on them is released.

    Paths join two ends of the same class; each of ``points`` codes on a path becomes a labelled picture. A class gets
    as many paths as give it about ``release_size`` times its members. ``ends`` says what they join: ``raw`` draws of
    the GAN; ``k_same`` centroids of ``latent_k_same``, or ``k_salsa`` points of ``k_salsa``, paired at random;
    a class with a single centroid releases that. ``through`` is no way to release but a test of the walk: each path
    leads half-way through the projection of a member, from a raw code to its mirror image.

    The ends are released as they are and must be safe already. With ``gate`` a picture is dropped where it is nearer
    to a member, in pixels, than that quantile of the distances from members to the nearest member of another identity;
    ``notes["rejected"]`` is the share dropped.

    No formal guarantee, also between centroids: k-anonymity covers averages, not what lies between two of them.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="latent_linear",
        version="2",
        summary="Pictures along straight lines between GAN codes of a class.",
        citation=CITATION,
        kinds=IMAGES,
        resources=TIME,
    )

    ends: Literal["raw", "k_same", "k_salsa", "through"] = Field(
        "k_same", description="what the paths join"
    )
    k: int = Field(5, ge=2, description="identities behind each end (k_same, k_salsa)")
    rule: Literal["farthest", "mdav", "kmeans"] = Field("mdav", description="as in k_same")
    points: int = Field(16, ge=2, description="pictures on a path, ends included")
    release_size: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="records released, in multiples of the members"
    )
    gate: float | None = Field(
        None,
        ge=0,
        le=1,
        description="quantile of real-to-real distances below which a picture is dropped",
    )
    epochs: int | None = Field(
        None, ge=1, description="of the classifiers; by default 30 or enough for 400 steps"
    )

    def fit(self, members: Records, context: Context) -> Release:
        """Join ends by paths and release their points.

        Raises
        ------
        NotApplicable
            Where no class has ``k`` identities to average.
        LeakboardError
            Where the gate drops everything.
        """
        with Bench.of(members, context) as bench:
            projections = bench.projections() if self._projected else None
            ends = self._ends(bench, projections)
            codes, notes = self._paths(bench, ends, projections)
            images = bench.pictures(codes.flatten(0, 1))
        labels = np.repeat(ends.labels, codes.shape[1])
        kept, gated = self._gate(bench, images)
        if projections is not None:
            notes |= projection_notes(projections, members)
        return Release(
            records=Records(images[kept], labels[kept]),
            notes={
                **notes,
                **ends.notes,
                "paths": len(codes),
                **gated,
                **bench.nearness(images, codes.shape[1]),
            },
        )

    @property
    def _projected(self) -> bool:
        return self.ends != "raw"

    def _ends(self, bench: Bench, projections: Projections | None) -> Ends:
        """Pairs of ends of one class."""
        rng, counts = bench.context.rng("pairs"), np.bincount(bench.members.labels)
        n_paths = np.where(
            counts > 0, np.maximum(1, np.rint(counts * self.release_size / self.points)), 0
        ).astype(np.int64)
        if projections is None:
            labels = np.repeat(np.arange(len(counts)), n_paths)
            return Ends(bench.draws(labels, "a"), bench.draws(labels, "b"), labels)
        if self.ends == "through":
            rows = spread_over(bench.members.labels, n_paths, rng)
            labels = bench.members.labels[rows]
            middle, a = projections.codes[0][rows], bench.draws(labels, "a")
            return Ends(a, 2 * middle - a, labels)
        groups = bench.groups(projections, self.k, self.rule)
        codes, notes = centroids(groups), dict[str, float]()
        if self.ends == "k_salsa":
            from methods.latent.averages import Style

            namer = bench.class_namer(self.epochs)
            codes, notes = bench.aligned(groups, namer, Style())
        classes = np.array([each.label for each in groups])
        first, second = pairs_of(classes, n_paths, rng)
        notes |= group_notes(bench.members, groups)
        return Ends(codes[first], codes[second], classes[first], notes)

    def _paths(
        self, bench: Bench, ends: Ends, projections: Projections | None
    ) -> tuple[torch.Tensor, dict[str, float | int | str]]:
        """Codes ``(P, T, L)`` and figures of how they were found."""
        from methods.latent.walk import straight

        return straight(ends.a, ends.b, self.points), {}

    def _gate(
        self, bench: Bench, images: np.ndarray
    ) -> tuple[np.ndarray, dict[str, float | int | str]]:
        """Which pictures are released, ``(n,) bool``, and the share that is not."""
        if self.gate is None:
            return np.ones(len(images), dtype=bool), {}
        least = np.quantile(real_distances(bench.members), self.gate)
        kept = bench.distances(images) >= least
        if not kept.any():
            raise LeakboardError(
                f"the gate of {self.info.name!r} drops all {len(images)} pictures: none is farther than "
                f"{least:.3f} from every member, the quantile gate={self.gate} of real-to-real distances. "
                "Lower the gate, or set it to null."
            )
        return kept, {"rejected": float(1 - kept.mean()), "gate_distance": float(least)}


@dataclass(frozen=True, eq=False)
class Ends:
    """Pairs of codes ``(P, L)`` on the CPU, with their class ``(P,) int64`` and figures of how they were made."""

    a: torch.Tensor
    b: torch.Tensor
    labels: np.ndarray
    notes: dict[str, float] = field(default_factory=dict)


def pairs_of(
    classes: np.ndarray, n_paths: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the two ends of each path: pairs of one class, all of them used before one comes again.

    Parameters
    ----------
    classes : ndarray of shape (G,), int
        Class of each point.
    n_paths : ndarray of shape (C,), int
        Paths of each class; a class with one point has one path, from it to itself, one without any has none.
    rng : numpy Generator
    """
    first, second = [], []
    for label, n in enumerate(n_paths):
        rows = np.flatnonzero(classes == label)
        if len(rows) == 0 or n == 0:
            continue
        a, b = np.triu_indices(len(rows), 1) if len(rows) > 1 else (np.zeros(1, int),) * 2
        chosen = np.resize(rng.permutation(len(a)), n if len(rows) > 1 else 1)
        first.append(rows[a[chosen]])
        second.append(rows[b[chosen]])
    return np.concatenate(first), np.concatenate(second)


def spread_over(labels: np.ndarray, n_paths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each class that many of its rows, in random order, all of them used before one comes again."""
    return np.concatenate(
        [
            np.resize(rng.permutation(np.flatnonzero(labels == label)), n)
            for label, n in enumerate(n_paths)
            if n
        ]
    )
