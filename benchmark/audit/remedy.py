"""A release without the records that copy somebody, to be audited again: a remedy, and no proof.

::

    <out>/private/filtered/release-1    what is left of the first release, as it came; the owner's alone (700)
    <out>/filtered/                     the audit of it
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmark.audit.files import PRIVATE
from benchmark.audit.inputs import AuditInputs, Places
from benchmark.audit.perform import Performed
from benchmark.audit.rewrite import write_rows
from benchmark.audit.seal import AuditError
from benchmark.datasets.sources import open_source

__all__ = ["AGAIN", "WARNINGS", "drop_exposed", "with_warnings"]

AGAIN = "filtered"
"""Folder of the second audit within the first one's."""

FEWEST_LEFT = 2

WARNINGS = (
    "filtering by distance itself can leak: what is missing tells where a real record is",
    "the filter has seen these members and controls, so this audit is no independent proof: audit the filtered "
    "release with controls that it has not seen, or have the generator trained anew",
)


def drop_exposed(out: Path, places: Places, performed: Performed, max_gb: float) -> Places | None:
    """Write what is left of each release that copies somebody, and give the places to audit again; None if none does.

    Taken out are records that equal a real one, or that a test which found a leak takes for a copy, of a member and of
    a control alike.

    Raises
    ------
    AuditError
        When hardly anything would be left.
    """
    if not any(len(rows) for rows in performed.copying.values()):
        return None
    releases = dict(places.releases)
    folder = out / PRIVATE / "filtered"
    folder.mkdir(mode=0o700, exist_ok=True)
    for i, (label, place) in enumerate(places.releases.items()):
        dropped = performed.copying[label]
        if len(dropped):
            source = open_source(place, max_gb)
            left = np.setdiff1d(np.arange(len(source.names)), dropped)
            if len(left) < FEWEST_LEFT:
                raise AuditError(f"nearly all records of {label} copy somebody: nothing is left.")
            target = folder / f"release-{i + 1}"
            _make_room(target)
            releases[label] = write_rows(source, left, target)
    return replace(places, releases=releases)


def with_warnings(inputs: AuditInputs, performed: Performed) -> AuditInputs:
    """The inputs of the second audit, which says what was taken out and what that means."""
    notes = [
        f"{len(rows):,} records of {label} were taken out since they copy somebody"
        for label, rows in performed.copying.items()
        if len(rows)
    ]
    notes += WARNINGS
    return replace(inputs, notes={**inputs.notes, "all": (*inputs.notes.get("all", ()), *notes)})


def _make_room(target: Path) -> None:
    """Remove what an earlier audit has left there."""
    import shutil

    for old in target.parent.glob(f"{target.name}*"):
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink()
