"""Perturbations of features: some are lost, or all move together; in units that the real records fix."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np

from benchmark.contracts import Field, Perturbation, PerturbationInfo, Records
from benchmark.perturbations.severities import at_severity, for_each_severity

__all__ = ["FeatureDropout", "FeatureShift"]


class FeatureDropout(Perturbation):
    """Each feature of each record is lost with probability p, and replaced by its mean over the reference records.

    On features z-scored by the real data this is dropout to zero.
    """

    info: ClassVar[PerturbationInfo] = PerturbationInfo(
        name="feature_dropout",
        version="1",
        summary="Features lost at random, replaced by their mean",
        kind="feature",
        severities=5,
    )
    rates: tuple[Annotated[float, Field(ge=0, le=1)], ...] = for_each_severity(
        (0.1, 0.2, 0.3, 0.4, 0.5), "p of each severity"
    )

    def apply(
        self, records: Records, severity: int, rng: np.random.Generator, reference: Records
    ) -> Records:
        """``records`` with a share ``rates[severity - 1]`` of the features lost; features ``(N, D) float32``.

        Raises
        ------
        ValueError
            For a severity that is not in 1 … 5.
        """
        rate = at_severity(self.rates, severity, self.info.name)
        mean = reference.data.mean(axis=0, dtype=np.float64).astype(np.float32)
        lost = rng.random(records.data.shape, dtype=np.float32) < rate
        return records.replace(data=np.where(lost, mean, records.data))


class FeatureShift(Perturbation):
    """All records move by one vector: δ·s_j up or down in feature j; s_j is its deviation over the reference records.

    What another scanner or another site does to all of its records alike. The signs are drawn once for each condition.
    """

    info: ClassVar[PerturbationInfo] = PerturbationInfo(
        name="feature_shift",
        version="1",
        summary="All features shifted alike, in units of their standard deviation",
        kind="feature",
        severities=5,
    )
    deltas: tuple[Annotated[float, Field(ge=0)], ...] = for_each_severity(
        (0.1, 0.25, 0.5, 0.75, 1.0), "δ of each severity, in standard deviations of the feature"
    )

    def apply(
        self, records: Records, severity: int, rng: np.random.Generator, reference: Records
    ) -> Records:
        """``records`` moved by ``deltas[severity - 1]`` deviations in every feature; features ``(N, D) float32``.

        Raises
        ------
        ValueError
            For a severity that is not in 1 … 5.
        """
        delta = at_severity(self.deltas, severity, self.info.name)
        spread = reference.data.std(axis=0, dtype=np.float64)
        signs = rng.integers(2, size=records.data.shape[1]) * 2 - 1
        return records.replace(data=records.data + (delta * spread * signs).astype(np.float32))
