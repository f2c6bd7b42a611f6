"""Opening what somebody hands over, and reading several sources alike: the same size, channels and window for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmark.contracts import DatasetMissing, InvalidRecords
from benchmark.datasets.collection import Collection, Layout, Source, codes, in_order, refuse
from benchmark.datasets.feature_table import SUFFIXES, FeatureTable
from benchmark.datasets.image_folder import ImageFolder
from benchmark.datasets.metadata import (
    Attached,
    attach,
    patients_from_names,
    read_metadata,
    sidecar_of,
)
from benchmark.datasets.npz_records import NpzRecords

__all__ = ["common_layout", "described", "numbered", "open_source", "read_sources"]


def open_source(place: Path, max_gb: float = 4.0) -> Source:
    """The records at ``place``: a folder of images, an ``.npz``, or a ``.csv`` or ``.parquet`` of features.

    Raises
    ------
    DatasetMissing
        When there is nothing.
    InvalidRecords
        When it is none of these.
    """
    place = place.expanduser()
    if place.is_dir():
        return ImageFolder(place)
    if not place.is_file():
        raise DatasetMissing(
            f"there is no file or folder {place} (from {Path.cwd()}). Give a folder of images, an .npz, "
            "or a .csv or .parquet of features."
        )
    if place.suffix.lower() in SUFFIXES:
        return FeatureTable(place, max_gb)
    if place.suffix.lower() in (".npy", ".pt", ".pkl", ".h5", ".zip", ".tar", ".gz"):
        raise InvalidRecords(
            f"{place} is of a kind that is not read. Allowed: a folder of images, .npz, .csv, .parquet."
        )
    return NpzRecords(place, max_gb)


def common_layout(
    sources: Sequence[Source],
    *,
    size: int | None = None,
    window: tuple[float, float] | None = None,
    real: Sequence[Source] | None = None,
    max_gb: float = 4.0,
) -> Layout | None:
    """The layout in which all sources are read; None for features.

    Parameters
    ----------
    sources : sequence of Source
        All of one kind.
    size : int, optional
        Side of the square that all images are resized to. None: all must have one size.
    window : (float, float), optional
        Of gray images of more than 8 bits. None: from the least to the greatest value in ``real``.
    real : sequence of Source, optional
        The sources that the window is taken from; by default all.
    max_gb : float
        Memory that all records may take together, in GB.

    Raises
    ------
    InvalidRecords
        For every file that cannot be used, for images of several sizes, and for what takes too much memory.
    """
    surveys = [source.survey() for source in sources]
    refuse(problem for survey in surveys for problem in survey.problems)
    if len({source.kind for source in sources}) > 1:
        images = next(s for s in sources if s.kind == "image")
        others = next(s for s in sources if s.kind == "feature")
        raise InvalidRecords(
            f"{images.place} holds images, but {others.place} holds features. Give all as images or all as features."
        )
    n = sum(survey.n for survey in surveys)
    if sources[0].kind == "feature":
        _one_dimension(sources)
        _check_memory(n, surveys[0].dimension * 4, max_gb, "")
        if size is not None:
            raise InvalidRecords(
                f"`size` resizes images, but {sources[0].place} holds features. Leave `size` out."
            )
        return None
    sizes: dict[tuple[int, int], str] = {}
    for pair, name in (item for survey in surveys for item in survey.sizes.items()):
        sizes.setdefault(pair, name)
    if size is None and len(sizes) > 1:
        (first, one), (second, other) = list(sizes.items())[:2]
        raise InvalidRecords(
            f"{other} has {second[0]}×{second[1]} pixels, but {one} has {first[0]}×{first[1]}. "
            "Make them equal, or set `size` to resize all."
        )
    width, height = (size, size) if size is not None else next(iter(sizes))
    channels = 3 if any(survey.colour for survey in surveys) else 1
    what = f" images of {(height, width, channels)}"
    _check_memory(n, width * height * channels, max_gb, what)
    if window is None:
        window = _window([s for s in real or sources if s.survey().deep])
    return Layout(width=width, height=height, channels=channels, window=window)


def _window(deep: Sequence[Source]) -> tuple[float, float] | None:
    ranges = [source.deep_range() for source in deep]
    if not ranges:
        return None
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _one_dimension(sources: Sequence[Source]) -> None:
    for source in sources[1:]:
        got, wanted = source.survey().dimension, sources[0].survey().dimension
        same = getattr(source, "features", None) == getattr(sources[0], "features", None)
        tables = isinstance(source, FeatureTable) and isinstance(sources[0], FeatureTable)
        if got != wanted or (tables and not same):
            raise InvalidRecords(
                f"{source.place} has {got} features, but {sources[0].place} has {wanted}"
                f"{' of other names or in another order' if got == wanted else ''}. Make them equal."
            )


def _check_memory(n: int, each: int, max_gb: float, what: str) -> None:
    if n * each > max_gb * 1e9:
        raise InvalidRecords(
            f"{n}{what or ' records'} would take {n * each / 1e9:.3g} GB. Allowed: {max_gb:.3g} GB; "
            "set `size` or raise `max_gb`."
        )


def described(
    sources: Mapping[str, Source],
    patients: Path | None = None,
    patient_from: str | None = None,
) -> dict[str, Attached]:
    """What tables and names say of the records of each source.

    A table in a folder (``metadata.csv``, ``labels.csv``) is read first; what ``patients`` or ``patient_from`` say goes
    before it.

    Parameters
    ----------
    sources : mapping of str to Source
        By what they are called in the column ``set`` of ``patients``.
    patients : Path, optional
        A CSV (:mod:`benchmark.datasets.metadata`).
    patient_from : str, optional
        A regular expression over the names of files.
    """
    if patients is not None and patient_from is not None:
        raise InvalidRecords("patients are given by a CSV and by a pattern. Give one of the two.")
    found = {}
    for name, source in sources.items():
        beside = sidecar_of(source)
        found[name] = Attached()
        if beside is not None:
            found[name] = attach(read_metadata(beside), {name: source}).get(name, Attached())
        if patient_from is not None:
            found[name] = replace(found[name], patients=patients_from_names(patient_from, source))
    if patients is not None:
        for name, told in attach(read_metadata(patients), sources).items():
            known = found[name]
            found[name] = Attached(
                patients=known.patients if told.patients is None else told.patients,
                labels=known.labels if told.labels is None else told.labels,
                columns={**known.columns, **told.columns},
            )
    return found


def read_sources(
    sources: Mapping[str, Source], layout: Layout | None, told: Mapping[str, Attached]
) -> dict[str, Collection]:
    """All sources in one layout, with what is told of them; classes are numbered alike in all of them.

    Where a source names no class at all, the labels of its collection are None.
    """
    read = {}
    for name, source in sources.items():
        read[name] = _with(source.read(layout), told.get(name, Attached()), source)
    classes = _classes(list(read.values()))
    return {name: _renumbered(collection, classes) for name, collection in read.items()}


def _with(collection: Collection, told: Attached, source: Source) -> Collection:
    notes = list(collection.notes)
    unused = getattr(source, "unused", ())
    beside = sidecar_of(source)
    n = sum(name != (beside.name if beside else "") for name in unused)
    if n:
        notes.append(f"{n} other {'file' if n == 1 else 'files'} in the folder not used")
    if beside is not None:
        notes.append(f"{beside.name} in the folder is used")
    patients = collection.patients if told.patients is None else told.patients
    more = {"columns": {**collection.columns, **told.columns}, "notes": tuple(notes)}
    if told.labels is None:
        return replace(collection, patients=patients, **more)  # type: ignore[arg-type]
    classes = in_order(told.labels.tolist())
    return replace(
        collection,
        patients=patients,
        labels=codes(told.labels, classes),
        classes=classes,
        **more,  # type: ignore[arg-type]
    )


def _classes(collections: Sequence[Collection]) -> tuple[str, ...]:
    """All classes: in the order of the first that names them all, else by name."""
    every = {name for collection in collections for name in collection.classes}
    whole = (c.classes for c in collections if set(c.classes) == every)
    return next(whole, in_order(every))


def _renumbered(collection: Collection, classes: tuple[str, ...]) -> Collection:
    if collection.labels is None:
        return collection
    new = codes(collection.classes, classes)
    return replace(collection, labels=new[collection.labels], classes=classes)


def numbered(identities: np.ndarray) -> np.ndarray:
    """Numbers for identities of any kind, ``(N,) int64``: equal text, equal number."""
    return np.unique(identities, return_inverse=True)[1].astype(np.int64)
