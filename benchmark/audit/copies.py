"""Records that are released as they are: who has one, and whom it is a copy of beyond doubt.

A test against the controls tells copies from coincidence, whatever the records are like. Where these are so rich that
none of a control's, and none that two people share, is among them, no test is needed: what is released singles somebody
out. A copy is then a copy, be it one, and whatever the controls are like.
"""

from __future__ import annotations

import numpy as np

from benchmark.contracts import Records
from benchmark.learning.repeats import duplicates

__all__ = ["copied_for_sure", "of_one_person", "released_as_they_are"]


def released_as_they_are(records: Records, released: Records) -> np.ndarray:
    """Whether each of ``records`` is in the release, bit by bit, ``(n,) bool``."""
    same = duplicates(np.concatenate([records.data, released.data]))
    return np.isin(same[: len(records)], same[len(records) :])


def of_one_person(records: Records) -> np.ndarray:
    """Whether each record is one person's alone, ``(n,) bool``.

    Where people are not known, equal pictures are taken for one that was filed twice, and equal features for those of
    different people.
    """
    same = duplicates(records.data)
    if records.groups is None and records.kind == "image":
        return np.ones(len(records), dtype=bool)
    people = np.arange(len(records)) if records.groups is None else records.groups
    pairs = np.unique(np.column_stack([same, people]), axis=0)
    return np.asarray(np.bincount(pairs[:, 0])[same] == 1)


def copied_for_sure(
    pointed: np.ndarray, alone: np.ndarray, units: np.ndarray, members: np.ndarray
) -> int:
    """Members with a released record that is theirs alone; 0 where a control's record is released too.

    Parameters
    ----------
    pointed, alone, members : ndarray of shape (n,), bool
        Whether each record is released as it is, is one person's alone, and is a member's.
    units : ndarray of shape (n,), int64
        The person of each.

    Examples
    --------
    >>> pointed, members = np.array([True, True, False, False]), np.array([True, True, True, False])
    >>> copied_for_sure(pointed, np.array([True, False, True, True]), np.arange(4), members)
    1
    """
    if (pointed & ~members).any():
        return 0
    return len(np.unique(units[pointed & alone & members]))
