"""The folder of an audit: what may be shown, and what may not.

::

    <out>/report.html           the result in words, for the data-protection officer
    <out>/audit.json            the result: aggregates and digests alone
    <out>/private/exposed.csv   who is exposed, by file and patient; its owner's alone (600)
    <out>/private/nodes/        records and artifacts of the nodes, which hold private records (700)
    <out>/private/made/         releases that were made here, to be published if they are accepted (700)
    <out>/private/draws/        what generators drew, and what they printed (700)
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from benchmark.audit.perform import Performed
from benchmark.audit.report import write_report
from benchmark.audit.result import ExposedPerson
from benchmark.audit.seal import AuditError
from benchmark.contracts import Records

__all__ = [
    "EXPOSED",
    "MADE",
    "PRIVATE",
    "RESULT",
    "nodes_folder",
    "read_exposed",
    "take_folder",
    "write_audit",
]

RESULT, PRIVATE, EXPOSED = "audit.json", "private", "exposed.csv"
MADE = f"{PRIVATE}/made"


def take_folder(out: Path) -> None:
    """Make the folder of an audit, or take that of an earlier one.

    Raises
    ------
    AuditError
        When something else lies there.
    """
    if out.exists() and not out.is_dir():
        raise AuditError(f"{out} is a file. Give a folder with `--out DIR`.")
    if out.is_dir() and any(out.iterdir()) and not (out / PRIVATE).is_dir():
        raise AuditError(
            f"{out} is not empty and holds no audit. Give an empty or new folder with `--out DIR`."
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / PRIVATE).mkdir(mode=0o700, exist_ok=True)
    (out / PRIVATE).chmod(0o700)


def nodes_folder(out: Path) -> Path:
    """Where the nodes of an audit are kept."""
    return out / PRIVATE / "nodes"


def write_audit(out: Path, performed: Performed) -> None:
    """Write the result with its report, and apart from it who is exposed."""
    write_report(performed.result, out, date.today())
    _write(out / RESULT, performed.result.to_json() + "\n", 0o644)
    _write(out / PRIVATE / EXPOSED, _table(performed.exposed), 0o600)
    for i, records in enumerate(performed.made.values()):
        (out / MADE).mkdir(mode=0o700, exist_ok=True)
        _write_records(out / MADE / f"release-{i + 1}.npz", records, performed.classes)


def read_exposed(out: Path) -> str:
    """The table of who is exposed, as it was written.

    Raises
    ------
    AuditError
        When there is none.
    """
    path = out / PRIVATE / EXPOSED
    if not path.is_file():
        raise AuditError(
            f"no audit in {out}. Make one with `python -m benchmark audit --out {out} …`."
        )
    return path.read_text(encoding="utf-8")


def _table(exposed: Sequence[ExposedPerson]) -> str:
    """One line for each exposed record of a member and each release, with all scores."""
    scores = list(dict.fromkeys(name for person in exposed for name in person.scores))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    own = ["release", "file", "patient", "pointed at by", "nearest released", "distance"]
    writer.writerow([*own, *scores])
    for person in exposed:
        about = [person.release, person.record, person.patient, "; ".join(person.pointed_at)]
        figures = [repr(person.scores[name]) if name in person.scores else "" for name in scores]
        writer.writerow([*about, person.nearest, repr(person.distance), *figures])
    return text.getvalue()


def _write_records(path: Path, records: Records, classes: tuple[str, ...]) -> None:
    """Records as an ``.npz`` that a release may be given as."""
    arrays = {"images" if records.kind == "image" else "features": records.data}
    arrays |= {"labels": records.labels, "classes": np.array(classes)}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "wb", opener=_own) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    os.replace(temporary, path)


def _own(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file whole or not at all, readable by whom ``mode`` says from the start."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)
