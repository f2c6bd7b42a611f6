"""What all records that somebody hands over have in common, whether they come as images, ``.npz`` or a table.

None of them is trusted. A :class:`Source` is surveyed first, by headers alone; a :class:`Layout` is then fixed that all
sources share; only then are records read, into a :class:`Collection`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmark.contracts import InvalidRecords, Kind

__all__ = ["RESIZING", "Collection", "Layout", "Source", "Survey", "codes", "in_order", "refuse"]

MOST_LISTED = 20
"""Files that a message lists; the others are counted."""

RESIZING = "bilinear, antialiased (Pillow)"
"""The one filter that images are resized by."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What images become when they are read, the same for all sources of an audit.

    Parameters
    ----------
    width, height : int
        In pixels. Images of another size are resized (:data:`RESIZING`).
    channels : {1, 3}
        1 when every image is gray.
    window : (float, float), optional
        Values of more than 8 bits that become 0 and 255; what lies outside is clipped.
    """

    width: int
    height: int
    channels: int
    window: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What the headers of a source say.

    ``sizes`` maps (width, height) to the name of the first image of that size; ``colour`` is whether any image has
    colour, ``deep`` whether any has more than 8 bits and no window of its own; ``dimension`` is the length of feature
    vectors, 0 for images. ``problems`` are sentences, one for each file that cannot be used.
    """

    n: int
    sizes: Mapping[tuple[int, int], str] = field(default_factory=dict)
    colour: bool = False
    deep: bool = False
    dimension: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Collection:
    """Records that were read, and what came with them. ``names``, ``patients`` and ``columns`` are private.

    Parameters
    ----------
    data : ndarray
        Images ``(N, H, W, C) uint8`` or features ``(N, D) float32``.
    names : tuple of str
        File of each record within its folder, or ``row 0`` and so on.
    labels : ndarray of shape (N,), int64, optional
        Rows of ``classes``; None where nothing names a class.
    classes : tuple of str
    patients : ndarray of shape (N,), str, optional
    columns : mapping of str to ndarray of shape (N,), str
        What else is known of each record, such as ``date`` and ``source``; empty text where it is not.
    notes : tuple of str
        How the records were read, in sentences without any name of a file or a patient.
    """

    data: np.ndarray
    names: tuple[str, ...]
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    patients: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.data)


class Source(ABC):
    """Records at a place, not read yet. ``names`` calls each of them by the file, or by the row."""

    place: Path
    kind: Kind
    names: tuple[str, ...]

    @abstractmethod
    def survey(self) -> Survey:
        """What the headers say, without reading records."""

    @abstractmethod
    def deep_range(self) -> tuple[float, float]:
        """Least and greatest value of the images of more than 8 bits that have no window of their own."""

    @abstractmethod
    def read(self, layout: Layout | None) -> Collection:
        """All records; ``layout`` is None for features.

        Raises
        ------
        InvalidRecords
            Lists every file that cannot be read.
        """

    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of the content, 64 hexadecimal digits; of the names within the source, never of its place."""


def refuse(problems: Iterable[str]) -> None:
    """Raise one error that lists all ``problems``, if there are any.

    Raises
    ------
    InvalidRecords
        With the sentence itself for one problem, a list of at most :data:`MOST_LISTED` for several.
    """
    found = list(problems)
    if len(found) == 1:
        raise InvalidRecords(found[0])
    if found:
        listed = "\n".join(f"  {problem}" for problem in found[:MOST_LISTED])
        more = f"\n  … and {len(found) - MOST_LISTED:,} more" if len(found) > MOST_LISTED else ""
        raise InvalidRecords(f"{len(found):,} files cannot be used:\n{listed}{more}")


def codes(values: Sequence[str] | np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The place of each value in ``names``, ``(N,) int64``."""
    places = {name: i for i, name in enumerate(names)}
    return np.array([places[value] for value in values], dtype=np.int64)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names of classes in order: by number where all are numbers, else by text."""
    distinct = set(names)
    if all(name.isdecimal() for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    return tuple(sorted(distinct))
