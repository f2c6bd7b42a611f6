"""Where released records come from: copies of records that no method has seen, and releases that are always the same.

A method sees its members and nothing else. *Near-copies* of non-members, validation, test or hold-out records in a
release were taken from elsewhere, and whatever attacks then find says nothing of the method. A released record is a
near-copy of an unseen one if it is nearer to it than :data:`NEAR_COPY` of the way to the nearest member or auxiliary
record. Copies of members never are, averages and blurred or collapsed generators hardly ever: for records in m
dimensions, however a sound release is distributed, about :data:`NEAR_COPY` to the m-th power as many are near-copies as
would be by mere neighbourhood. How many that is, fresh real records of the hold-out show at the same time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from benchmark.contracts import Records
from benchmark.learning.neighbours import nearest
from benchmark.learning.repeats import duplicates

__all__ = ["NEAR_COPY", "Copies", "count_copies", "fingerprints", "multiset_digest", "scales"]

NEAR_COPY = 0.5
"""Share of an unseen record's distance to the nearest record that a method may know, within which a copy of it lies."""


@dataclass(frozen=True, kw_only=True)
class Copies:
    """How many near-copies of unseen records a set holds.

    ``copies``: distinct released records that are near-copies, or unseen units that have one, whichever are fewer;
    ``exact``: those among them at distance 0; ``pairs``: distinct released records × unseen units, to which the number
    of chance copies is in proportion.
    """

    copies: int
    exact: int
    pairs: int


def scales(unseen: Records, known: Records) -> np.ndarray:
    """Distance of each unseen record to the nearest one that methods or attackers may know, ``(n,) float64``."""
    return nearest(unseen.flat(), known.flat())[0][:, 0]


def count_copies(
    released: Records, unseen: Records, units: np.ndarray, scale: np.ndarray
) -> Copies:
    """Count the near-copies of unseen records.

    Parameters
    ----------
    released : Records
    unseen : Records
        ``n`` records of the same kind and space.
    units : ndarray of shape (n,), int64
        Which of them belong to one identity or are equal: those count once.
    scale : ndarray of shape (n,), float64
        As :func:`scales` gives it.

    Examples
    --------
    >>> def line(*x):
    ...     return Records(np.array(x, dtype=np.float32)[:, None], np.zeros(len(x), np.int64), None, "example")
    >>> count_copies(line(0.1, 5.0, 7.4, 7.4), line(0.0, 5.0, 9.0), np.arange(3), np.array([1.0, 1.0, 1.0]))
    Copies(copies=2, exact=1, pairs=9)
    """
    distinct = released.take(np.unique(duplicates(released.data), return_index=True)[1])
    distances, rows = (found[:, 0] for found in nearest(unseen.flat(), distinct.flat()))
    near, exact = distances <= NEAR_COPY * scale, distances == 0

    def count(chosen: np.ndarray) -> int:
        return min(len(np.unique(rows[chosen])), len(np.unique(units[chosen])))

    return Copies(
        copies=count(near), exact=count(exact), pairs=len(distinct) * len(np.unique(units))
    )


def fingerprints(records: Records) -> np.ndarray:
    """A number for each distinct record of a set, the same for equal data: ``(n_distinct,) uint64``, ascending."""
    rows = np.ascontiguousarray(records.data + 0).reshape(len(records), -1)
    found = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]
    return np.unique(np.frombuffer(b"".join(found), dtype=np.uint64))


def multiset_digest(records: Records) -> str:
    """SHA-256 of a set's records with their labels, whatever their order."""
    rows = np.ascontiguousarray(records.data + 0).reshape(len(records), -1)
    parts = [rows, records.labels[:, None]]
    if records.soft_labels is not None:
        parts.append(records.soft_labels)
    keys = sorted(b"".join(part[i].tobytes() for part in parts) for i in range(len(records)))
    return hashlib.sha256(b"".join(keys)).hexdigest()
