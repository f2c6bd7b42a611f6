"""A table of features, as CSV or parquet: one row for each record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.contracts import InvalidRecords
from benchmark.datasets.collection import Collection, Layout, Source, Survey, codes, in_order
from benchmark.datasets.locate import digest_files
from benchmark.datasets.metadata import column_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SUFFIXES", "FeatureTable"]

SUFFIXES = (".csv", ".parquet")
TEXT_ROLES = ("patient", "label")
KNOWN_COLUMNS = ("date", "source")


class FeatureTable(Source):
    """The numeric columns of a table are features, in its order; ``patient`` and ``label`` are what they say.

    Columns of text, and those called ``date`` or ``source``, are kept beside the features. Names of ``patient`` and
    ``label`` are those of :data:`benchmark.datasets.metadata.ALIASES`.
    """

    kind = "feature"

    def __init__(self, place: Path, max_gb: float) -> None:
        self.place = place
        self.frame = _read_table(place, max_gb)
        roles = {role: column_of(map(str, self.frame.columns), role) for role in TEXT_ROLES}
        self.roles = {role: name for role, name in roles.items() if name is not None}
        kept = set(self.roles.values())
        self.features = [
            name
            for name in self.frame.columns
            if name not in kept
            and name.lower() not in KNOWN_COLUMNS
            and self.frame[name].dtype.kind in "fiu"
        ]
        if not self.features:
            raise InvalidRecords(
                f"{place} has no numeric columns. Give one for each feature. "
                f"Got {', '.join(map(str, self.frame.columns[:10]))}."
            )
        self.others = [n for n in self.frame.columns if n not in kept | set(self.features)]
        self.names = tuple(f"row {i}" for i in range(len(self.frame)))

    def survey(self) -> Survey:
        """Number of rows and of numeric columns."""
        return Survey(n=len(self.frame), dimension=len(self.features))

    def deep_range(self) -> tuple[float, float]:
        """A table holds no images."""
        raise InvalidRecords(f"{self.place} holds features, which have no window.")

    def read(self, layout: Layout | None) -> Collection:
        """Features ``(N, D) float32``."""
        with np.errstate(over="ignore"):
            data = np.ascontiguousarray(self.frame[self.features].to_numpy(dtype=np.float32))
        bad = ~np.isfinite(data).all(axis=1)
        if bad.any():
            raise InvalidRecords(
                f"{self.place} has empty cells, NaN, infinity or a value beyond float32 in {int(bad.sum())} of "
                f"{len(data)} rows, the first at row {int(np.argmax(bad))}. Allowed: finite values."
            )
        labels = self._text("label")
        classes = () if labels is None else in_order(labels.tolist())
        return Collection(
            data=data,
            names=self.names,
            labels=None if labels is None else codes(labels, classes),
            classes=classes,
            patients=self._text("patient"),
            columns={
                str(n): self.frame[n].fillna("").astype(str).to_numpy(str) for n in self.others
            },
        )

    def digest(self) -> str:
        """Of the file's bytes."""
        return digest_files([(f"records{self.place.suffix}", self.place)])

    def _text(self, role: str) -> np.ndarray | None:
        if role not in self.roles:
            return None
        column = self.frame[self.roles[role]]
        if column.isna().any() or (column.astype(str) == "").any():
            raise InvalidRecords(
                f"{self.place}: column {self.roles[role]!r} has empty cells, the first at row "
                f"{int(np.argmax(column.isna() | (column.astype(str) == '')))}. Fill them."
            )
        return column.astype(str).to_numpy(str)


def _read_table(place: Path, max_gb: float) -> pd.DataFrame:
    """The table, once its size is known to be allowed."""
    try:
        size, n_rows = _size(place)
        if size > max_gb * 1e9:
            raise InvalidRecords(
                f"{place} would take {size / 1e9:.3g} GB. Allowed: {max_gb:.3g} GB; give a smaller table."
            )
        frame = _frame(place)
    except InvalidRecords:
        raise
    except Exception as error:  # whatever a damaged table makes a reader raise
        raise InvalidRecords(
            f"{place} is not a readable table ({type(error).__name__}: {error}). Write it as CSV or parquet."
        ) from error
    if len(frame) == 0 or n_rows == 0:
        raise InvalidRecords(f"{place} has no rows. Give one for each record.")
    frame.columns = [str(name) for name in frame.columns]
    if len(set(frame.columns)) != len(frame.columns):
        raise InvalidRecords(f"{place} has two columns of one name. Rename one.")
    return frame


def _size(place: Path) -> tuple[int, int]:
    """Bytes that the table takes in memory, at most about, and its rows; -1 where they are not known yet."""
    if place.suffix.lower() == ".csv":
        return 8 * place.stat().st_size, -1  # a cell of one digit and a comma becomes 8 bytes
    import pyarrow.parquet as pq

    about = pq.read_metadata(place)
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    return max(
        8 * about.num_rows * about.num_columns, sum(g.total_byte_size for g in groups)
    ), about.num_rows


def _frame(place: Path) -> pd.DataFrame:
    import pandas as pd

    if place.suffix.lower() == ".parquet":
        return pd.read_parquet(place)
    names = list(pd.read_csv(place, nrows=0).columns)
    text: dict[Any, Any] = {
        name: str
        for name in names
        if name in {column_of(names, role) for role in TEXT_ROLES} or name.lower() in KNOWN_COLUMNS
    }
    return pd.read_csv(place, dtype=text, keep_default_na=True)
