"""The 8×8 handwritten digits that scikit-learn ships: real data without a download."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.contracts import (
    Context,
    Dataset,
    DatasetContent,
    DatasetInfo,
    DatasetMissing,
    Records,
)
from benchmark.datasets.locate import digest_files

__all__ = ["Digits"]


class Digits(Dataset):
    """1,797 handwritten digits, 8×8 pixels, ten classes; no official test split.

    A pixel counts the ink in a 4×4 block of the original bitmap, 0 … 16; it is scaled to 0 … 255
    and rounded, which keeps the 17 levels apart."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="digits",
        version="1",
        summary="Handwritten digits, 8×8 pixels, in scikit-learn's wheel",
        citation="Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI",
        licence="CC BY 4.0",
        public=True,
        url="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    )

    def fingerprint(self) -> str:
        """Digest of the table in scikit-learn's wheel, found without importing it."""
        return digest_files([("digits.csv", _table())])

    def load(self, context: Context) -> DatasetContent:
        """All records as the pool: images ``(1797, 8, 8, 1) uint8``."""
        table = np.loadtxt(_table(), delimiter=",", dtype=np.uint8)
        ink, labels = table[:, :-1], table[:, -1]
        images = np.rint(ink * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
        pool = Records(images, labels.astype(np.int64))
        return DatasetContent(pool=pool, classes=tuple("0123456789"))


def _table() -> Path:
    package = importlib.util.find_spec("sklearn")
    places = list(package.submodule_search_locations or []) if package else []
    for place in places:
        path = Path(place, "datasets", "data", "digits.csv.gz")
        if path.is_file():
            return path
    raise DatasetMissing(
        "digits: scikit-learn's datasets/data/digits.csv.gz is not in "
        f"{', '.join(places) or 'this environment (scikit-learn is not installed)'}. "
        "Type `pip install --force-reinstall scikit-learn`."
    )
