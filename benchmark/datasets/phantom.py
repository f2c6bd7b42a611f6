"""Drawn fundus-like images with identities: a population that can be sampled without end.

How they are drawn is told in :mod:`benchmark.datasets.phantom_drawing`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmark.contracts import Context, Dataset, DatasetContent, DatasetInfo, Field, Records

__all__ = ["Phantom"]


class Phantom(Dataset):
    """Eye backgrounds of drawn patients, several visits each; classes by lesion load; ``groups``
    are the patients.

    A patient keeps the tree of vessels and the place of the optic disc; a visit has its own
    illumination, position and lesions, so that two visits of one patient look alike but are not
    equal. More patients of the same population extend a smaller dataset: patient i is the same
    whatever their number."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="phantom",
        version="1",
        summary="Drawn fundus-like images with patients, visits and lesion classes",
        licence="CC0 1.0 (drawn by this program)",
        public=True,
    )
    patients: int = Field(1000, ge=1, le=1_000_000, description="number of patients")
    visits: int = Field(2, ge=1, le=100, description="images of each patient")
    size: int = Field(64, ge=28, le=224, description="side of the images, in pixels")
    classes: int = Field(2, ge=2, le=5, description="number of classes by lesion load")
    population_seed: int = Field(0, ge=0, lt=2**63, description="seed of the population")

    def fingerprint(self) -> str:
        """Empty: the parameters and the version of the drawing determine every pixel."""
        return ""

    def load(self, context: Context) -> DatasetContent:
        """All visits as the pool, ``(patients · visits, size, size, 3) uint8``; no test split."""
        from benchmark.datasets.phantom_drawing import draw_phantoms

        drawn = draw_phantoms(
            patients=self.patients,
            visits=self.visits,
            size=self.size,
            classes=self.classes,
            seed=self.population_seed,
        )
        pool = Records(
            drawn.images, drawn.labels.astype(np.int64), groups=drawn.patients.astype(np.int64)
        )
        names = tuple(f"lesion grade {grade}" for grade in range(self.classes))
        return DatasetContent(pool=pool, classes=names)
