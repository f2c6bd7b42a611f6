"""Gaussian noise on features, in units of each feature's spread."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np

from benchmark.contracts import Field, Perturbation, PerturbationInfo, Records
from benchmark.perturbations.severities import at_severity, for_each_severity

__all__ = ["GaussianNoise"]


class GaussianNoise(Perturbation):
    """Adds N(0, (σ·s_j)²) to feature j, independently; s_j is its standard deviation over the reference records."""

    info: ClassVar[PerturbationInfo] = PerturbationInfo(
        name="gaussian_noise",
        version="1",
        summary="Gaussian noise on features, in units of their standard deviation",
        kind="feature",
        severities=5,
    )
    sigmas: tuple[Annotated[float, Field(ge=0)], ...] = for_each_severity(
        (0.25, 0.5, 1.0, 1.5, 2.0), "σ of each severity, in standard deviations of the feature"
    )

    def apply(
        self, records: Records, severity: int, rng: np.random.Generator, reference: Records
    ) -> Records:
        """``records`` with noise of ``sigmas[severity - 1]``; features ``(N, D) float32``.

        Raises
        ------
        ValueError
            For a severity that is not in 1 … 5.
        """
        sigma = at_severity(self.sigmas, severity, self.info.name)
        spread = reference.data.std(axis=0, dtype=np.float64)
        scale = (sigma * spread).astype(np.float32)
        noise = rng.standard_normal(records.data.shape, dtype=np.float32)
        return records.replace(data=records.data + scale * noise)
