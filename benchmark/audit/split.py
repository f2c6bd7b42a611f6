"""Tossing the coins before a generator is trained: whose records it may see, and whose are held back.

A fair coin is tossed for each person (equal records count as one person's), from a secret that is drawn once. The file
of coins seals it: whoever is shown its commitment before the training can check afterwards that the coins were not
chosen. Members and controls are then exchangeable, and figures of membership need no assumption.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.audit.inputs import AS_IT_IS, FEWEST_PEOPLE, AuditError, Reading
from benchmark.audit.rewrite import arrays_left_out, write_rows
from benchmark.audit.seal import COINS, HELD_BACK, TRAIN, Seal, record_digests
from benchmark.coins import draw_secret
from benchmark.contracts import Records
from benchmark.datasets.collection import Collection, Source, refuse
from benchmark.datasets.image_folder import ImageFolder
from benchmark.datasets.sources import (
    common_layout,
    described,
    numbered,
    open_source,
    read_sources,
)
from benchmark.units import find_units

__all__ = ["Split", "split_data"]

PATIENTS = "patients.csv"

COMPARED_AT = 64
"""Side, in pixels, at which images of several sizes are compared to find equal ones; what is written is not resized."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """What a split came to: people and records on each side, and the commitment to the coins."""

    out: Path
    n_train: int
    n_held_back: int
    n_people: int
    n_at_stake: int
    commitment: str
    notes: tuple[str, ...]


def split_data(
    data: Path,
    out: Path,
    reading: Reading = AS_IT_IS,
    candidates: int | None = None,
) -> Split:
    """Toss the coins and write ``train/``, ``held-back/`` and ``coins.json`` in a new folder that is its owner's alone.

    Records are written as they came: files are copied, arrays and tables keep their type.

    Parameters
    ----------
    data : Path
        A folder of images, an ``.npz`` or a table of features.
    out : Path
        A folder that is not there yet, or empty.
    reading : Reading
        ``patients``, ``patient_from`` and ``max_gb`` count.
    candidates : int, optional
        Number of people whose coins are tossed, drawn at random; all others go to ``train/``. By default all.

    Raises
    ------
    LeakboardError
        For data that cannot be read, for a folder that is not empty, or for too few people.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AuditError(f"{out} is not empty. Give a new folder with `--out DIR`.")
    source = open_source(data, reading.max_gb)
    collection = _read(source, reading)
    units = _units(collection)
    n_people = int(units.max()) + 1
    wanted = n_people if candidates is None else candidates
    if not 2 * FEWEST_PEOPLE <= wanted <= n_people:
        raise AuditError(
            f"coins for {wanted} people were asked for, and {data} holds {n_people}. Allowed: "
            f"{2 * FEWEST_PEOPLE} to {n_people}, about half of whom are held back."
        )
    secret = draw_secret()
    chosen = np.zeros(n_people, dtype=bool)
    chosen[secret.rng("at stake").permutation(n_people)[:wanted]] = True
    seal = Seal(
        secret=secret,
        digests=record_digests(source, collection),
        units=units,
        at_stake=chosen[units],
    )
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    notes = _write(source, collection, seal.coins, out, by_row=reading.patients is not None)
    _write_private(out / COINS, seal.text())
    return Split(
        out=out,
        n_train=int(seal.coins.sum()),
        n_held_back=int((~seal.coins).sum()),
        n_people=n_people,
        n_at_stake=wanted,
        commitment=seal.commitment,
        notes=(*collection.notes, *notes),
    )


def _read(source: Source, reading: Reading) -> Collection:
    """The records, in one size for comparison."""
    survey = source.survey()
    refuse(survey.problems)
    size = COMPARED_AT if len(survey.sizes) > 1 else None
    layout = common_layout([source], size=size, max_gb=reading.max_gb)
    told = described({"data": source}, reading.patients, reading.patient_from)
    return read_sources({"data": source}, layout, told)["data"]


def _units(collection: Collection) -> np.ndarray:
    """Number of the person of each record, from 0; equal and near-equal records are one person's."""
    groups = None if collection.patients is None else numbered(collection.patients)
    extractor = "native" if collection.data.ndim == 2 else None
    labels = np.zeros(len(collection), dtype=np.int64)
    return numbered(find_units(Records(collection.data, labels, groups, extractor)).pool)


# ---------------------------------------------------------------- writing


def _write(
    source: Source, collection: Collection, coins: np.ndarray, out: Path, *, by_row: bool
) -> list[str]:
    """Both sides, as they came; what was left out, in sentences."""
    sides = {TRAIN: np.flatnonzero(coins), HELD_BACK: np.flatnonzero(~coins)}
    if by_row and collection.patients is not None and not isinstance(source, ImageFolder):
        _write_patients(collection.patients, sides, out / PATIENTS)
    for name, rows in sides.items():
        write_rows(source, rows, out / name)
    left = arrays_left_out(source)
    return [f"the arrays {', '.join(left)} are on neither side"] if left else []


def _write_patients(patients: np.ndarray, sides: Mapping[str, np.ndarray], path: Path) -> None:
    """Who is who, by the new rows, for the audit's ``--patients``."""
    lines = ["set,row,patient"]
    for role, side in (("members", TRAIN), ("controls", HELD_BACK)):
        lines += [f'{role},{i},"{patients[row]}"' for i, row in enumerate(sides[side])]
    _write_private(path, "\n".join(lines) + "\n")


def _write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
