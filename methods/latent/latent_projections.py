"""Projections into a GAN's latent space, released as they are: near copies of the members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from benchmark.contracts import Context, Field, Method, MethodInfo, Records, Release, Saved
from methods.latent.bench import CITATION, IMAGES, TIME, Bench, fitted_generator, projection_notes

__all__ = ["LatentProjections"]


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
        citation=CITATION,
        kinds=IMAGES,
        resources=TIME,
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
        from benchmark.learning.sampling import as_images
        from methods.latent.averages import project

        with Bench.of(members, context) as bench:
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
        return Release(records=saved.records, state=saved.state, weights=fitted_generator(context))
