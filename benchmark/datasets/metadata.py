"""What is known of records beside their pixels: patients, classes, dates, sources; by CSV or by the files' names.

A CSV names each record by a column ``file`` (or ``file_name``, ``filename``, ``image``, ``path``) or ``row`` (from 0),
and has any of ``patient``, ``label`` and further columns, such as ``date`` and ``source``. Patients are text: ``007``
is not ``7``. A file is named by its path as far as it is needed: ``1.png``, ``cat/1.png`` or ``train/cat/1.png``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from benchmark.contracts import DatasetMissing, InvalidRecords
from benchmark.datasets.collection import Source

__all__ = [
    "ALIASES",
    "SIDECARS",
    "Attached",
    "MetadataTable",
    "attach",
    "patients_from_names",
    "read_metadata",
    "sidecar_of",
]

ALIASES: Mapping[str, tuple[str, ...]] = {
    "file": ("file", "file_name", "filename", "image", "path"),
    "row": ("row",),
    "set": ("set", "split"),
    "patient": ("patient", "patient_id", "patientid", "subject", "subject_id", "group"),
    "label": ("label", "labels", "class", "target"),
}
"""What the columns are called, in any case."""

SIDECARS = ("metadata.csv", "labels.csv")
"""Tables that are read where they lie in a folder of images."""

Finder = Callable[[int, str], list[tuple[str, int]]]
"""Line and entry → the source and the place in it of every record that the entry may speak of."""

MAX_BYTES = 200_000_000


@dataclass(frozen=True, kw_only=True)
class MetadataTable:
    """A CSV that was read: for each line which record it speaks of, and what it says.

    ``sets`` names the source that each line speaks of, where there is such a column (``members``, ``controls`` …).
    """

    path: Path
    by_row: bool
    entries: tuple[str, ...]
    sets: tuple[str, ...] | None
    patients: tuple[str, ...] | None
    labels: tuple[str, ...] | None
    columns: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Attached:
    """What a table says of the records of one source, in their order: arrays of shape ``(N,)``, str, or None."""

    patients: np.ndarray | None = None
    labels: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)


def sidecar_of(source: Source) -> Path | None:
    """The table that lies in a folder of images, if one does: the first of :data:`SIDECARS`."""
    if not source.place.is_dir():
        return None
    return next((source.place / n for n in SIDECARS if (source.place / n).is_file()), None)


def read_metadata(path: Path) -> MetadataTable:
    """Read a CSV, with commas, semicolons or tabs between its columns.

    Raises
    ------
    DatasetMissing
        When there is no such file.
    InvalidRecords
        When it is no table, or names no records, or says nothing of them.
    """
    rows = list(_rows(path))
    names = [name.strip() for name in rows[0]] if rows else []
    lines = [row for row in rows[1:] if any(cell.strip() for cell in row)]
    if not lines or len(set(names)) != len(names):
        raise InvalidRecords(
            f"{path} must have a line of distinct column names and a line for each record. "
            f"Got {len(lines)} lines and the columns {', '.join(names) or 'none'}."
        )
    ragged = next((i for i, row in enumerate(lines) if len(row) != len(names)), None)
    if ragged is not None:
        raise InvalidRecords(
            f"{path}: record {ragged + 1} has {len(lines[ragged])} cells. Allowed: {len(names)}, "
            "one for each column."
        )
    columns = {name: tuple(row[i].strip() for row in lines) for i, name in enumerate(names) if name}
    return _understood(path, columns)


def _rows(path: Path) -> Iterator[list[str]]:
    if not path.is_file():
        raise DatasetMissing(f"there is no file {path} (from {Path.cwd()}). Give a CSV.")
    if path.stat().st_size > MAX_BYTES:
        raise InvalidRecords(f"{path} is larger than {MAX_BYTES / 1e6:g} MB. Leave columns out.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = max(",;\t", key=first.count)
        yield from csv.reader(text.splitlines(), delimiter=delimiter, strict=True)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidRecords(
            f"{path} is not a readable CSV ({error}). Save it as UTF-8."
        ) from error


def _understood(path: Path, columns: dict[str, tuple[str, ...]]) -> MetadataTable:
    """Tell the columns apart by their names."""
    roles = {role: column_of(columns, role) for role in ALIASES}
    if (roles["file"] is None) == (roles["row"] is None):
        raise InvalidRecords(
            f"{path} must have either a column `file` or a column `row`. Got {', '.join(columns)}."
        )
    where = roles["file"] or roles["row"]
    assert where is not None
    others = {name: values for name, values in columns.items() if name not in roles.values()}
    if roles["patient"] is None and roles["label"] is None and not others:
        raise InvalidRecords(
            f"{path} says nothing of its records. Give it a column `patient`, `label`, `date` or `source`."
        )

    def optional(role: str) -> tuple[str, ...] | None:
        name = roles[role]
        return None if name is None else columns[name]

    return MetadataTable(
        path=path,
        by_row=roles["row"] is not None,
        entries=columns[where],
        sets=optional("set"),
        patients=optional("patient"),
        labels=optional("label"),
        columns=others,
    )


def column_of(names: Iterable[str], role: str) -> str | None:
    """The first of the names that stands for ``role``, in the order of :data:`ALIASES`."""
    lowered = {name.lower(): name for name in reversed(list(names))}
    return next((lowered[alias] for alias in ALIASES[role] if alias in lowered), None)


# ---------------------------------------------------------------- which line speaks of which record


def attach(table: MetadataTable, sources: Mapping[str, Source]) -> dict[str, Attached]:
    """What the table says of the records of each source.

    Parameters
    ----------
    table : MetadataTable
    sources : mapping of str to Source
        By what they are called in the table's column ``set``. A source of which no line speaks gets nothing.

    Raises
    ------
    InvalidRecords
        For lines that match no record or several, and for records without a line.
    """
    found = _matches(table, sources)
    attached = {}
    for name, source in sources.items():
        lines = found.get(name)
        if lines is None:
            continue
        missing = [source.names[i] for i in np.flatnonzero(lines < 0)]
        if missing:
            raise InvalidRecords(
                f"{table.path} has no line for {_few(missing)} of {source.place}. Give every record one."
            )
        attached[name] = Attached(
            patients=_taken(table, "patient", table.patients, lines),
            labels=_taken(table, "label", table.labels, lines),
            columns={k: np.array(v)[lines] for k, v in table.columns.items()},
        )
    return attached


def _matches(table: MetadataTable, sources: Mapping[str, Source]) -> dict[str, np.ndarray]:
    """For each source the line of every record, −1 for none."""
    find = _by_row(table, sources) if table.by_row else _by_file(table, sources)
    lines = {name: np.full(len(source.names), -1) for name, source in sources.items()}
    unknown: list[str] = []
    several: list[str] = []
    for line, entry in enumerate(table.entries):
        places = find(line, entry)
        if len(places) != 1:
            (several if places else unknown).append(entry)
            continue
        ((name, i),) = places
        if lines[name][i] >= 0:
            raise InvalidRecords(f"{table.path} has two lines for {sources[name].names[i]}.")
        lines[name][i] = line
    what = "row" if table.by_row else "file"
    among = ", ".join(str(source.place) for source in sources.values())
    if unknown:
        raise InvalidRecords(
            f"{table.path}: {_few(unknown)} match no {what} of {among}. Remove them, or correct the names."
        )
    if several:
        raise InvalidRecords(
            f"{table.path}: {_few(several)} match more than one {what} of {among}. "
            "Name files by more of their path, or rows with a column `set`."
        )
    return {name: found for name, found in lines.items() if (found >= 0).any()}


def _by_row(table: MetadataTable, sources: Mapping[str, Source]) -> Finder:
    def find(line: int, entry: str) -> list[tuple[str, int]]:
        chosen = list(sources) if table.sets is None else [table.sets[line]]
        if not entry.isdecimal():
            return []
        row = int(entry)
        return [(n, row) for n in chosen if n in sources and row < len(sources[n].names)]

    return find


def _by_file(table: MetadataTable, sources: Mapping[str, Source]) -> Finder:
    called: dict[str, list[tuple[str, int]]] = {}
    for name, source in sources.items():
        for i, file in enumerate(source.names):
            whole = PurePosixPath(source.place.resolve().name, file)
            for path in (whole, whole.with_suffix("")):
                for k in range(1, len(path.parts) + 1):
                    called.setdefault("/".join(path.parts[-k:]), []).append((name, i))

    def find(line: int, entry: str) -> list[tuple[str, int]]:
        """By the longest end of the entry's path that a file is called by."""
        parts = PurePosixPath(entry.replace("\\", "/")).parts
        for k in range(len(parts), 0, -1):
            places = list(dict.fromkeys(called.get("/".join(parts[-k:]), [])))
            if table.sets is not None:
                places = [place for place in places if place[0] == table.sets[line]]
            if places:
                return places
        return []

    return find


def _taken(
    table: MetadataTable, what: str, values: Sequence[str] | None, lines: np.ndarray
) -> np.ndarray | None:
    if values is None:
        return None
    taken = np.array(values)[lines]
    empty = [table.entries[line] for line in lines[taken == ""]]
    if empty:
        raise InvalidRecords(f"{table.path} names no {what} for {_few(empty)}. Fill the column.")
    return taken


def _few(names: Sequence[str], n: int = 5) -> str:
    """Some of the names, and how many there are more."""
    more = f" and {len(names) - n:,} more" if len(names) > n else ""
    return ", ".join(names[:n]) + more


def patients_from_names(pattern: str, source: Source) -> np.ndarray:
    """The patient of each file by a pattern over its name within the source, ``(N,) str``.

    Parameters
    ----------
    pattern : str
        A regular expression with a group ``patient``, as in ``(?P<patient>P\\d+)_``; searched for anywhere.
    source : Source

    Raises
    ------
    InvalidRecords
        When it is no such expression, or does not match every file.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InvalidRecords(
            f"the pattern {pattern!r} is no regular expression: {error}."
        ) from error
    if "patient" not in compiled.groupindex:
        raise InvalidRecords(
            f"the pattern {pattern!r} has no group `patient`. Write one, as in '(?P<patient>P\\d+)_'."
        )
    found = [compiled.search(name) for name in source.names]
    bad = [n for n, m in zip(source.names, found, strict=True) if m is None or not m["patient"]]
    if bad:
        raise InvalidRecords(
            f"the pattern {pattern!r} finds no patient in {_few(bad)} of {source.place}. "
            "Widen the pattern, or give --patients a CSV."
        )
    return np.array([match["patient"] for match in found if match is not None])
