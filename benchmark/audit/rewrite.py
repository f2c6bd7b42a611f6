"""Some of the records of a source, written as they came: files are copied, arrays and tables keep their type."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmark.datasets.collection import Source
from benchmark.datasets.feature_table import FeatureTable
from benchmark.datasets.image_folder import ImageFolder
from benchmark.datasets.metadata import attach, read_metadata, sidecar_of
from benchmark.datasets.npz import read_arrays
from benchmark.datasets.npz_records import NpzRecords
from benchmark.store import write_npz

__all__ = ["arrays_left_out", "write_rows"]


def write_rows(source: Source, rows: np.ndarray, place: Path) -> Path:
    """Write the records in these rows of a source.

    Parameters
    ----------
    source : Source
    rows : ndarray of shape (any,), int64
    place : Path
        Where, without a suffix.

    Returns
    -------
    Path
        The folder, or the file with the source's suffix. Of an ``.npz`` an official test split is left out
        (:func:`arrays_left_out`).
    """
    if isinstance(source, ImageFolder):
        _write_folder(source, rows, place)
        return place
    file = place.with_name(f"{place.name}{source.place.suffix}")
    if isinstance(source, FeatureTable):
        part = source.frame.iloc[rows]
        if file.suffix.lower() == ".csv":
            part.to_csv(file, index=False)
        else:
            part.to_parquet(file, index=False)
        return file
    assert isinstance(source, NpzRecords)
    arrays = read_arrays(source.place, [k for k in source.headers if not k.startswith("test_")])
    write_npz(file, {k: v if k == "classes" else v[rows] for k, v in arrays.items()})
    return file


def arrays_left_out(source: Source) -> list[str]:
    """Arrays of an ``.npz`` that :func:`write_rows` leaves out."""
    if not isinstance(source, NpzRecords):
        return []
    return sorted(k for k in source.headers if k.startswith("test_"))


def _write_folder(source: ImageFolder, rows: np.ndarray, folder: Path) -> None:
    for row in rows:
        file = source.files[row]
        target = folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file.path, target)
    beside = sidecar_of(source)
    if beside is not None:
        kept = {source.files[row].name for row in rows}
        _write_lines_of(beside, kept, source, folder / beside.name)


def _write_lines_of(beside: Path, kept: set[str], source: ImageFolder, target: Path) -> None:
    """The lines of a table that speak of these files."""
    table = read_metadata(beside)
    attached = attach(table, {"data": source})["data"]
    names: Mapping[str, np.ndarray | None] = {
        "file": np.array(source.names),
        "patient": attached.patients,
        "label": attached.labels,
        **attached.columns,
    }
    known = {name: values for name, values in names.items() if values is not None}
    rows = [i for i, name in enumerate(source.names) if name in kept]
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(known)
        writer.writerows([str(values[i]) for values in known.values()] for i in rows)
