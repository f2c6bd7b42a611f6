"""What the methods of a latent space share: the fitted generator, the members, and what is made with both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.contracts import (
    Context,
    Field,
    LeakboardError,
    Method,
    NotApplicable,
    Records,
    Resources,
)
from benchmark.learning.neighbours import nearest

if TYPE_CHECKING:
    import torch

    from benchmark.learning.identity import Namer
    from benchmark.learning.inversion import LatentStatistics
    from methods.latent.averages import ClassGroup, Projections, Style

__all__ = [
    "Bench",
    "LatentMethod",
    "centroids",
    "group_notes",
    "projection_notes",
    "real_distances",
]

# Of the pictures around a projection that an identity classifier is trained on: how far from it, in standard deviations
# of the codes, and how many for each projection.
JITTER = 0.25
JITTERED = 2

# Codes turned into pictures at once.
CHUNK = 256

CITATION = "Pennisi et al. 2023, arXiv 2307.02984"
IMAGES = frozenset({"image"})
TIME = Resources(time_s=3600.0, gpu=True)


class LatentMethod(Method):
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


@dataclass(frozen=True, eq=False)
class Bench:
    """The fitted generator, the members, and what is made with both."""

    generator: Any
    members: Records
    context: Context
    statistics: LatentStatistics

    @staticmethod
    @contextmanager
    def of(members: Records, context: Context) -> Iterator[Bench]:
        """The bench of one fit; the generator's weights get no gradients while it is in use."""
        from benchmark.learning.inversion import frozen, latent_statistics

        generator = fitted_generator(context)
        with frozen(generator):
            rng = context.torch_generator("statistics")
            statistics = latent_statistics(generator, "w", rng=rng, device=context.device)
            yield Bench(generator, members, context, statistics)

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

        from methods.latent.averages import Projections

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
        from methods.latent.averages import class_groups

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
        from methods.latent.averages import align_style

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


def fitted_generator(context: Context) -> Any:
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


# ---------------------------------------------------------------- notes


def group_notes(members: Records, groups: list[ClassGroup]) -> dict[str, float]:
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
