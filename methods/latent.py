"""Releases from the latent space of one fitted GAN: walks [1]_, straight lines, k-Same centroids, k-SALSA [2]_.

All of them work from the same ``gan`` (:mod:`methods.gan`) and, where they need the members' codes, from the same
``latent_projections``; the harness fits each once. The pure tools are in
:mod:`benchmark.learning.latent_walk` (walks), :mod:`benchmark.learning.latent_averages` (projections, averages, style)
and :mod:`benchmark.learning.identity` (who is in a picture). The generator, the projections and the classifiers have
seen the members and are never released.

References
----------
.. [1] Pennisi, Proietto Salanitri, Bellitto et al., "A privacy-preserving walk in the latent space of generative models
   for medical applications", MICCAI 2023, arXiv 2307.02984.
.. [2] Jeon, Park, Kim, Morley & Cho, "k-SALSA: k-anonymous synthetic averaging of retinal images via local style
   alignment", ECCV 2022.
.. [3] Newton, Sweeney & Malin, "Preserving privacy by de-identifying face images", IEEE TKDE 17(2), 2005.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from benchmark.contracts import (
    Context,
    Field,
    KAnonymity,
    LeakboardError,
    Method,
    MethodInfo,
    NotApplicable,
    Records,
    Release,
    Resources,
    Saved,
)
from benchmark.learning.grouping import equal_copies
from benchmark.learning.neighbours import nearest

if TYPE_CHECKING:
    import torch

    from benchmark.learning.identity import Namer
    from benchmark.learning.inversion import LatentStatistics
    from benchmark.learning.latent_averages import ClassGroup, Projections, Style
    from benchmark.learning.latent_walk import Walks

__all__ = ["KSALSA", "LatentKSame", "LatentLinear", "LatentProjections", "LatentWalk"]

# Of the pictures around a projection that an identity classifier is trained on: how far from it, in standard deviations
# of the codes, and how many for each projection.
JITTER = 0.25
JITTERED = 2

# Codes turned into pictures at once.
CHUNK = 256

_CITATION = "Pennisi et al. 2023, arXiv 2307.02984"
_IMAGES = frozenset({"image"})
_TIME = Resources(time_s=3600.0)


class LatentProjections(Method):
    """Each member as the GAN repeats it: the picture of the code, found by optimisation, that is nearest to it.

    The first step of all methods here that need the members' codes, which they share. As a release it is a warning and
    no protection: how near to its members a latent space comes, and what is left of their utility there.

    No formal guarantee.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="latent_projections",
        version="1",
        summary="Each member's nearest picture in a GAN's latent space: near copies.",
        citation=_CITATION,
        kinds=_IMAGES,
        resources=_TIME,
    )

    gan: dict[str, Any] = Field(
        {}, description="parameters of the 'gan' whose latent space is used; its fit is shared"
    )
    steps: int = Field(100, ge=1, description="steps that project one member into W")
    projections: int = Field(
        1, ge=1, description="projections of each member, from different starts; one is released"
    )

    def base(self) -> tuple[str, Mapping[str, Any]]:
        """The GAN."""
        return "gan", self.gan

    def fit(self, members: Records, context: Context) -> Release:
        """Project the members, each under its own class, and release the pictures of their codes."""
        from benchmark.learning.latent_averages import project
        from benchmark.learning.sampling import as_images

        with _Bench.of(members, context) as bench:
            found = project(
                bench.generator,
                members,
                steps=self.steps,
                projections=self.projections,
                statistics=bench.statistics,
                rng=context.torch_generator("projection"),
                device=context.device,
                progress=context.progress,
            )
            images = as_images(found.pictures[0], members.data.shape[1:])
            return Release(
                records=Records(images, members.labels.copy()),
                origin=np.arange(len(members)),
                state={"codes": found.codes.cpu().numpy(), "errors": found.errors},
                weights=bench.generator,
                notes={**projection_notes(found, members), **bench.nearness(images)},
            )

    def restore(self, saved: Saved, context: Context) -> Release:
        """The codes, with the generator that they are codes of."""
        return Release(records=saved.records, state=saved.state, weights=_generator(context))


class _Latent(Method):
    """What all methods share that work from a fitted GAN with a space W."""

    gan: dict[str, Any] = Field(
        {}, description="parameters of the 'gan' whose latent space is used; its fit is shared"
    )
    projection_steps: int = Field(100, ge=1, description="steps that project one member into W")

    def base(self) -> tuple[str, Mapping[str, Any]]:
        """The GAN's projections of the members, or the GAN itself where no member's code is needed."""
        if not self._projected:
            return "gan", self.gan
        return "latent_projections", {
            "gan": self.gan,
            "steps": self.projection_steps,
            "projections": self._starts,
        }

    @property
    def _projected(self) -> bool:
        """Whether the members' codes are needed."""
        return True

    @property
    def _starts(self) -> int:
        """Projections of each member."""
        return 1


class _Averages(_Latent):
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
        with _Bench.of(members, context) as bench:
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
                **_group_notes(members, groups),
                **projection_notes(projections, members),
                **bench.nearness(images),
            },
        )

    def _codes(
        self, bench: _Bench, groups: list[ClassGroup]
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Codes ``(G, L)`` of the groups' pictures, and figures of how they were found."""
        raise NotImplementedError


class LatentKSame(_Averages):
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
        kinds=_IMAGES,
        resources=_TIME,
    )

    def _codes(
        self, bench: _Bench, groups: list[ClassGroup]
    ) -> tuple[torch.Tensor, dict[str, float]]:
        return centroids(groups), {}


class KSALSA(_Averages):
    """k-SALSA: mean codes, moved until their pictures look like their sources.

    As :class:`LatentKSame`; each mean code is then optimised for 100 steps of Adam so that its picture has its sources'
    content (features of a class classifier trained on the members) and local style (Gram matrices of crops, each
    source crop against the most similar crop of the picture). Every released record still stands for at least k
    identities alike, so the claim is that of k-Same.

    References
    ----------
    Jeon, Park, Kim, Morley & Cho, ECCV 2022, section 3.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="k_salsa",
        version="2",
        summary="Mean GAN codes of at least k identities, aligned with their sources' local style.",
        citation="Jeon et al. 2022, ECCV (k-SALSA)",
        kinds=_IMAGES,
        resources=_TIME,
    )

    content_weight: float = Field(
        100.0, ge=0, allow_inf_nan=False, description="weight of 1 − cosine of content features"
    )
    style_weight: float = Field(
        1e-6, ge=0, allow_inf_nan=False, description="weight of the distance of Gram matrices"
    )
    alignment_steps: int = Field(100, ge=0, description="steps of Adam on each mean code")
    epochs: int | None = Field(
        None, ge=1, description="of the class classifier; by default 30 or enough for 400 steps"
    )

    def _codes(
        self, bench: _Bench, groups: list[ClassGroup]
    ) -> tuple[torch.Tensor, dict[str, float]]:
        from benchmark.learning.latent_averages import Style

        style = Style(
            content_weight=self.content_weight,
            style_weight=self.style_weight,
            steps=self.alignment_steps,
        )
        return bench.aligned(groups, bench.class_namer(self.epochs), style)


class LatentLinear(_Latent):
    """Straight lines between two codes of a class: every point on them is released.

    Paths join two ends of the same class; each of ``points`` codes on a path becomes a labelled picture. A class gets
    as many paths as give it about ``release_size`` times its members. ``ends`` says what they join: ``raw`` draws of
    the GAN; ``k_same`` centroids of :class:`LatentKSame`, or ``k_salsa`` points of :class:`KSALSA`, paired at random;
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
        citation=_CITATION,
        kinds=_IMAGES,
        resources=_TIME,
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
        with _Bench.of(members, context) as bench:
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

    def _ends(self, bench: _Bench, projections: Projections | None) -> _Ends:
        """Pairs of ends of one class."""
        rng, counts = bench.context.rng("pairs"), np.bincount(bench.members.labels)
        n_paths = np.where(
            counts > 0, np.maximum(1, np.rint(counts * self.release_size / self.points)), 0
        ).astype(np.int64)
        if projections is None:
            labels = np.repeat(np.arange(len(counts)), n_paths)
            return _Ends(bench.draws(labels, "a"), bench.draws(labels, "b"), labels)
        if self.ends == "through":
            rows = spread_over(bench.members.labels, n_paths, rng)
            labels = bench.members.labels[rows]
            middle, a = projections.codes[0][rows], bench.draws(labels, "a")
            return _Ends(a, 2 * middle - a, labels)
        groups = bench.groups(projections, self.k, self.rule)
        codes, notes = centroids(groups), dict[str, float]()
        if self.ends == "k_salsa":
            from benchmark.learning.latent_averages import Style

            namer = bench.class_namer(self.epochs)
            codes, notes = bench.aligned(groups, namer, Style())
        classes = np.array([each.label for each in groups])
        first, second = pairs_of(classes, n_paths, rng)
        notes |= _group_notes(bench.members, groups)
        return _Ends(codes[first], codes[second], classes[first], notes)

    def _paths(
        self, bench: _Bench, ends: _Ends, projections: Projections | None
    ) -> tuple[torch.Tensor, dict[str, float | int | str]]:
        """Codes ``(P, T, L)`` and figures of how they were found."""
        from benchmark.learning.latent_walk import straight

        return straight(ends.a, ends.b, self.points), {}

    def _gate(
        self, bench: _Bench, images: np.ndarray
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


class LatentWalk(LatentLinear):
    """A latent walk (PLAN): paths that start as straight lines and are pushed away from every member identity.

    As :class:`LatentLinear`; the interior points of each path are then moved by Adam so that an identity classifier
    finds every identity equally likely, a class classifier the path's class, and steps stay short. The identity
    classifier is trained on the members (patients, where there are any), their projections and codes around these; the
    class classifier on the members. See :mod:`benchmark.learning.latent_walk` for the three terms and their units.

    No formal guarantee.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="latent_walk",
        version="2",
        summary="Pictures along GAN paths that keep away from what an identity classifier knows.",
        citation=_CITATION,
        kinds=_IMAGES,
        resources=_TIME,
    )

    distance_weight: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="weight of the path's energy, 1 for a straight line",
    )
    identity_weight: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="weight of KL(uniform ‖ identities), in nats"
    )
    class_weight: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="weight of the class's cross-entropy, in nats"
    )
    steps: int = Field(80, ge=0, description="steps of Adam")
    lr: float = Field(
        0.1, gt=0, allow_inf_nan=False, description="step size, in standard deviations of codes"
    )
    decay: bool = Field(False, description="let the step size fall to 0 along half a cosine")
    keep: Literal["best", "last"] = Field("best", description="iterate of a path that is kept")
    projections: int = Field(
        1, ge=1, description="projections of each member that train identities"
    )

    @property
    def _projected(self) -> bool:
        return self.ends != "raw" or self.identity_weight > 0

    @property
    def _starts(self) -> int:
        return self.projections

    def _paths(
        self, bench: _Bench, ends: _Ends, projections: Projections | None
    ) -> tuple[torch.Tensor, dict[str, float | int | str]]:
        import torch

        from benchmark.learning.latent_walk import straight, walk

        known = None
        if projections is not None and self.identity_weight > 0:
            known = bench.identity_namer(projections, self.epochs)
        classes = bench.class_namer(self.epochs) if self.class_weight > 0 else None
        line = straight(ends.a, ends.b, self.points)
        device = bench.device
        found = walk(
            bench.generator.synthesise,
            ends.a.to(device),
            ends.b.to(device),
            torch.from_numpy(ends.labels).to(device),
            points=self.points,
            steps=self.steps,
            lr=self.lr,
            decay=self.decay,
            distance_weight=self.distance_weight,
            identity_weight=self.identity_weight,
            class_weight=self.class_weight,
            identities=None if known is None else known.of_vectors,
            classes=None if classes is None else classes.of_vectors,
            scale=bench.scale(),
            keep=self.keep,
            batch=CHUNK,
        )
        notes = _walk_notes(found)
        if known is not None:
            notes |= {
                "identity_probability": bench.most_certain(known, found.codes),
                "identity_probability_linear": bench.most_certain(known, line),
            }
        return found.codes, notes


# ---------------------------------------------------------------- what the methods share


@dataclass(frozen=True, eq=False)
class _Ends:
    """Pairs of codes ``(P, L)`` on the CPU, with their class ``(P,) int64`` and figures of how they were made."""

    a: torch.Tensor
    b: torch.Tensor
    labels: np.ndarray
    notes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Bench:
    """The fitted generator, the members, and what is made with both."""

    generator: Any
    members: Records
    context: Context
    statistics: LatentStatistics

    @staticmethod
    @contextmanager
    def of(members: Records, context: Context) -> Iterator[_Bench]:
        """The bench of one fit; the generator's weights get no gradients while it is in use."""
        from benchmark.learning.inversion import frozen, latent_statistics

        generator = _generator(context)
        with frozen(generator):
            rng = context.torch_generator("statistics")
            statistics = latent_statistics(generator, "w", rng=rng, device=context.device)
            yield _Bench(generator, members, context, statistics)

    @property
    def device(self) -> str:
        """Where the generator is."""
        return self.context.device

    def scale(self) -> float:
        """Mean squared distance between two codes of a class, the unit of a walk's energy."""
        return 2 * self.statistics.deviation**2 * self.statistics.mean.shape[1]

    def draws(self, labels: np.ndarray, name: str) -> torch.Tensor:
        """Codes ``(n, L)`` of fresh draws of the classes ``labels (n,)``."""
        import torch

        rng = self.context.torch_generator("draws", name)
        z = torch.randn(len(labels), self.generator.latent, generator=rng)
        with torch.no_grad():
            codes: torch.Tensor = self.generator.map(
                z.to(self.device), torch.from_numpy(labels).to(self.device)
            )
        return codes.cpu()

    def pictures(self, codes: torch.Tensor) -> np.ndarray:
        """Images ``(n, H, W, C) uint8`` of codes ``(n, L)``."""
        import torch

        from benchmark.learning.sampling import as_images

        shape = self.members.data.shape[1:]
        with torch.no_grad():
            parts = [
                as_images(self.generator.synthesise(part.to(self.device)).cpu().numpy(), shape)
                for part in codes.split(CHUNK)
            ]
        return np.concatenate(parts)

    def projections(self) -> Projections:
        """The members' codes, found by the method that this one works from."""
        import torch

        from benchmark.learning.latent_averages import Projections

        state = {} if self.context.base is None else self.context.base.state
        if "codes" not in state or state["codes"].shape[1] != len(self.members):
            raise LeakboardError(
                f"methods that need the members' codes find one for each of the {len(self.members)} members in "
                "context.base. Got none; the harness fits the 'latent_projections' that base() names."
            )
        codes = torch.from_numpy(np.array(state["codes"]))
        with torch.no_grad():
            parts = [
                self.generator.synthesise(part.to(self.device)).cpu().numpy()
                for part in codes.flatten(0, 1).split(CHUNK)
            ]
        pictures = np.concatenate(parts).reshape(*codes.shape[:2], -1)
        return Projections(codes, pictures, np.array(state["errors"]))

    def groups(self, projections: Projections, k: int, rule: str) -> list[ClassGroup]:
        """Groups of at least ``k`` identities within classes, by the members' first projections."""
        from benchmark.learning.latent_averages import class_groups

        groups = class_groups(projections.codes[0].numpy(), self.members, k, rule)
        if not groups:
            raise NotApplicable(
                f"averages of codes need at least k = {k} identities in some class. Got "
                f"{len(self.members)} records; choose a smaller k, or more candidates."
            )
        return groups

    def class_namer(self, epochs: int | None) -> Namer:
        """A classifier of the members' classes."""
        n_classes = int(self.members.labels.max()) + 1
        return self._namer("classes", self.members.data, self.members.labels, n_classes, epochs)

    def identity_namer(self, projections: Projections, epochs: int | None) -> Namer:
        """A classifier of the members' identities: of their images, projections, and codes around these."""
        import torch

        from benchmark.learning.identity import number_identities
        from benchmark.learning.sampling import as_images

        own = number_identities(self.members)
        shape, (p, n, length) = self.members.data.shape[1:], projections.codes.shape
        rng = self.context.torch_generator("jitter")
        noise = torch.randn(JITTERED, p, n, length, generator=rng)
        around = projections.codes + JITTER * self.statistics.deviation * noise
        images = [
            self.members.data,
            as_images(projections.pictures.reshape(p * n, -1), shape),
            self.pictures(around.view(-1, length)),
        ]
        targets = np.tile(own, 1 + p + JITTERED * p)
        return self._namer(
            "identities", np.concatenate(images), targets, int(own.max()) + 1, epochs
        )

    def _namer(
        self, name: str, images: np.ndarray, targets: np.ndarray, n_classes: int, epochs: int | None
    ) -> Namer:
        from benchmark.learning.identity import fit_namer

        return fit_namer(
            images,
            targets,
            n_classes,
            epochs=epochs,
            weights_rng=self.context.torch_generator(name, "weights"),
            training_rng=self.context.torch_generator(name, "training"),
            device=self.device,
        )

    def aligned(
        self, groups: list[ClassGroup], namer: Namer, style: Style
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The groups' mean codes, moved to their sources' content and style, and how far that went."""
        from benchmark.learning.latent_averages import align_style

        codes, losses, starts = align_style(
            self.generator.synthesise,
            namer,
            centroids(groups),
            [np.concatenate(each.group.owners) for each in groups],
            self.members.data,
            style=style,
            deviation=self.statistics.deviation,
            device=self.device,
        )
        return codes, {
            "alignment_loss": float(losses.mean()),
            "alignment_start": float(starts.mean()),
        }

    def distances(self, images: np.ndarray) -> np.ndarray:
        """Euclidean distance of each image to the nearest member, pixels in [0, 1]."""
        flat = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
        found, _ = nearest(flat, self.members.flat(), device=self.device)
        return found[:, 0]

    def nearness(self, images: np.ndarray, points: int = 1) -> dict[str, float]:
        """How near the pictures of each path come to a member, in medians of real-to-real distances."""
        least = self.distances(images).reshape(-1, points).min(axis=1)
        unit = float(np.median(real_distances(self.members))) or 1.0
        return {
            "nearest_approach": float(least.mean() / unit),
            "nearest_approach_least": float(least.min() / unit),
        }

    def most_certain(self, namer: Namer, paths: torch.Tensor) -> float:
        """Largest probability of any identity along the interior of a path ``(P, T, L)``, mean over paths."""
        from benchmark.learning.identity import log_probabilities

        inside = paths[:, 1:-1]
        if inside.numel() == 0:
            return float("nan")
        named = log_probabilities(namer, self.pictures(inside.flatten(0, 1)), self.device)
        largest = np.exp(named.max(axis=1)).reshape(len(paths), -1).max(axis=1)
        return float(largest.mean())


def _generator(context: Context) -> Any:
    """The fitted generator that the harness hands over."""
    generator = None if context.base is None else context.base.weights
    if generator is None or not hasattr(generator, "map"):
        raise LeakboardError(
            "methods of a latent space need a fitted GAN with a space W in context.base. Got "
            f"{type(generator).__name__}; the harness fits the one that base() names."
        )
    return generator


def centroids(groups: list[ClassGroup]) -> torch.Tensor:
    """Mean codes ``(G, L) float32`` of groups."""
    import torch

    return torch.from_numpy(np.stack([each.group.mean for each in groups]).astype(np.float32))


def real_distances(members: Records) -> np.ndarray:
    """Distance from each member to the nearest member of another identity, pixels in [0, 1].

    Members whose identity is the only one have none; ``[0]`` where that holds for all.
    """
    x, own = members.flat(), members.groups
    if own is None:
        own = np.arange(len(members))
    most = int(np.unique(own, return_counts=True)[1].max())
    if len(x) < 2:
        return np.zeros(1)
    # Of as many neighbours as an identity has records at most, one is of another identity.
    found, rows = nearest(x, x, min(most, len(x) - 1), exclude_self=True)
    others = np.where(own[rows] != own[:, None], found, np.inf).min(axis=1)
    others = others[np.isfinite(others)]
    return others if len(others) else np.zeros(1)


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


# ---------------------------------------------------------------- notes


def _group_notes(members: Records, groups: list[ClassGroup]) -> dict[str, float]:
    kept = sum(len(rows) for each in groups for rows in each.group.owners)
    sizes = [len(each.group.owners) for each in groups]
    return {
        "groups": len(groups),
        "smallest_group": min(sizes),
        "largest_group": max(sizes),
        "dropped_records": len(members) - kept,
    }


def projection_notes(projections: Projections, members: Records) -> dict[str, float]:
    """How good the first projections are: their error in grey levels, and how many lie nearest their own member."""
    _, rows = nearest(projections.pictures[0] / np.float32(255), members.flat())
    return {
        "projection_rmse": float(projections.errors[0].mean()),
        "projections_nearest_own": float((rows[:, 0] == np.arange(len(members))).mean()),
    }


def _walk_notes(found: Walks) -> dict[str, float | int | str]:
    return {
        "energy": float(found.energies.mean()),
        "exposure": float(found.exposures.mean()),
        "class_error": float(found.class_errors.mean()),
        "loss": float(found.losses.mean()),
        "loss_linear": float(found.starts.mean()),
    }
