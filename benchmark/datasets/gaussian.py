"""Isotropic Gaussian feature records: where attacks have closed-form answers."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmark.contracts import Context, Dataset, DatasetContent, DatasetInfo, Field, Records

__all__ = ["Gaussian"]


class Gaussian(Dataset):
    """Independent draws from N(0, I_d), float32, of one class called ``all``.

    The mean of n of them, released, leaks membership to the inner-product attack with AUC =
    Φ(√(d/n)/√2)."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="gaussian",
        version="1",
        summary="Isotropic Gaussian feature records, for attacks with closed-form answers",
        licence="CC0 1.0 (drawn by this program)",
        public=True,
        kind="feature",
    )
    dimension: int = Field(64, ge=1, le=65_536, description="number of features d")
    records: int = Field(10_000, ge=1, le=10_000_000, description="number of records")
    population_seed: int = Field(0, ge=0, lt=2**63, description="seed of the draws")

    def fingerprint(self) -> str:
        """Empty: the parameters determine every bit."""
        return ""

    def load(self, context: Context) -> DatasetContent:
        """Features ``(records, dimension) float32``, which depend on the parameters alone."""
        rng = Context(seed=self.population_seed).rng("gaussian")
        data = rng.standard_normal((self.records, self.dimension), dtype=np.float32)
        labels = np.zeros(self.records, dtype=np.int64)
        return DatasetContent(pool=Records(data, labels, extractor="native"), classes=("all",))
