"""Picture sheets: what an attack grew or recovered, beside the nearest released pictures; of public datasets alone.

A reconstruction may be a private record, and a released record may be one too, so nothing of a dataset that is not
declared public is even read here.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from benchmark.judge.copies import attack_place
from benchmark.learning.neighbours import nearest
from benchmark.plan import Cell
from benchmark.store import Store

__all__ = ["picture_sheets", "sheet_rows", "sheet_uri"]

CLASSES, EACH = 10, 3
"""Classes on a sheet, a column each, and pictures of each."""

SIDE = 64
"""Largest side of a picture on a sheet, in pixels; larger ones are reduced."""


def picture_sheets(
    store: Store, cells: Iterable[Cell], public: Collection[str]
) -> list[dict[str, Any]]:
    """One sheet for each attack that answered with pictures and each release, of the first seed that has one.

    Parameters
    ----------
    store : Store
    cells : iterable of Cell
    public : collection of str
        Datasets whose pictures may be shown; others have no sheet.

    Returns
    -------
    list of dict
        Where the attack and the release are, ``seed``, ``classes``, the labels of the columns, ``pictures``, how many
        are shown of how many ``n_pictures``, and ``uri``, a PNG as a data URI.
    """
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for cell in sorted(cells, key=lambda c: c.seed):
        if cell.kind != "attack" or cell.dataset not in public:
            continue
        if cell.method is None or cell.attack is None or not cell.key:
            continue
        place = attack_place(cell)
        key = tuple(place.values())
        sheet = None if key in found else _sheet(store, cell)
        if sheet is not None:
            found[key] = {**place, "seed": cell.seed, **sheet}
    return list(found.values())


def _sheet(store: Store, cell: Cell) -> dict[str, Any] | None:
    """The sheet of one cell; None where the attack answered with no pictures."""
    record = store.read(cell.key)
    if record is None or "reconstructions.npz" not in record.artifacts:
        return None
    made = store.arrays(cell.key, "reconstructions")
    released = store.arrays(cell.fit, "release")
    if made["data"].ndim != 4 or released["data"].shape[1:] != made["data"].shape[1:]:
        return None
    rows = sheet_rows(made["labels"])
    shown = rows[rows >= 0]
    _, near = nearest(_vectors(made["data"][shown]), _vectors(released["data"]))
    beside = np.full(len(made["data"]), -1)
    beside[shown] = near[:, 0]
    return {
        "classes": [int(made["labels"][column[0]]) for column in rows],
        "pictures": len(shown),
        "n_pictures": len(made["data"]),
        "uri": sheet_uri(made["data"], released["data"], rows, beside),
    }


def _vectors(pictures: np.ndarray) -> np.ndarray:
    return pictures.reshape(len(pictures), -1).astype(np.float32)


def sheet_rows(labels: np.ndarray) -> np.ndarray:
    """Which pictures are shown: a row for each class, in order, of the first :data:`EACH`; −1 where there are fewer.

    Examples
    --------
    >>> sheet_rows(np.array([7, 2, 7, 7, 7])).tolist()
    [[1, -1, -1], [0, 2, 3]]
    """
    classes = np.unique(labels)[:CLASSES]
    rows = np.full((len(classes), EACH), -1)
    for i, label in enumerate(classes):
        first = np.flatnonzero(labels == label)[:EACH]
        rows[i, : len(first)] = first
    return rows


def sheet_uri(made: np.ndarray, released: np.ndarray, rows: np.ndarray, beside: np.ndarray) -> str:
    """The sheet as a data URI: a pair of columns for each class, a picture left and its nearest released one right.

    Parameters
    ----------
    made, released : ndarray of shape (N, H, W, C), uint8
    rows : ndarray of shape (classes, n), int64
        As :func:`sheet_rows` gives them.
    beside : ndarray of shape (N,), int64
        Row of the released picture for each of ``made``.
    """
    from PIL import Image

    height, width, channels = made.shape[1:]
    gap = max(1, width // 8)
    sheet = np.full(
        (rows.shape[1] * (height + gap) - gap, len(rows) * (2 * width + gap) - gap, channels),
        255,
        np.uint8,
    )
    for i, column in enumerate(rows):
        for j, row in enumerate(column[column >= 0]):
            top, left = j * (height + gap), i * (2 * width + gap)
            pair = np.concatenate([made[row], released[beside[row]]], axis=1)
            sheet[top : top + height, left : left + 2 * width] = pair
    image = Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
    factor = SIDE / max(height, width)
    if factor < 1:
        image = image.resize((round(image.width * factor), round(image.height * factor)))
    file = io.BytesIO()
    image.save(file, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
