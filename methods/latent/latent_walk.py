"""The privacy-preserving latent walk (PLAN) [1]_.

References
----------
.. [1] Pennisi, Proietto Salanitri, Bellitto et al., "A privacy-preserving walk in the latent space of generative models
   for medical applications", MICCAI 2023, arXiv 2307.02984.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from benchmark.contracts import Field, MethodInfo
from methods.latent.bench import CHUNK, CITATION, IMAGES, TIME, Bench
from methods.latent.latent_linear import Ends, LatentLinear

if TYPE_CHECKING:
    import torch

    from methods.latent.averages import Projections
    from methods.latent.walk import Walks

__all__ = ["LatentWalk"]


class LatentWalk(LatentLinear):
    """A latent walk (PLAN): paths that start as straight lines and are pushed away from every member identity.

    As :class:`LatentLinear`; the interior points of each path are then moved by Adam so that an identity classifier
    finds every identity equally likely, a class classifier the path's class, and steps stay short. The identity
    classifier is trained on the members (patients, where there are any), their projections and codes around these; the
    class classifier on the members. See :mod:`methods.latent.walk` for the three terms and their units.

    No formal guarantee.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="latent_walk",
        version="2",
        summary="Pictures along GAN paths that keep away from what an identity classifier knows.",
        citation=CITATION,
        kinds=IMAGES,
        resources=TIME,
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
        self, bench: Bench, ends: Ends, projections: Projections | None
    ) -> tuple[torch.Tensor, dict[str, float | int | str]]:
        import torch

        from methods.latent.walk import straight, walk

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


def _walk_notes(found: Walks) -> dict[str, float | int | str]:
    return {
        "energy": float(found.energies.mean()),
        "exposure": float(found.exposures.mean()),
        "class_error": float(found.class_errors.mean()),
        "loss": float(found.losses.mean()),
        "loss_linear": float(found.starts.mean()),
    }
