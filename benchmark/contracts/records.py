"""Records: the data that everything passes on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from dataclasses import replace as _replace
from typing import Any, Literal

import numpy as np

from benchmark.contracts.errors import InvalidRecords

__all__ = ["Kind", "Records"]

Kind = Literal["image", "feature"]


@dataclass(frozen=True, eq=False)
class Records:
    """A set of records: images or feature vectors, with labels and, where there are any, identities.

    Parameters
    ----------
    data : ndarray
        Images ``(N, H, W, C) uint8`` with C of 1 or 3, or features ``(N, D) float32`` without NaN or infinity.
    labels : ndarray of shape (N,), int64
        Class of each record, ≥ 0.
    groups : ndarray of shape (N,), int64, optional
        Identity (patient) of each record.
    extractor : str, optional
        Features only: the name of the extractor they came from.
    soft_labels : ndarray of shape (N, C), float32, optional
        Class probabilities that a release gives beside its labels, say those of a teacher; rows sum to 1.

    Raises
    ------
    InvalidRecords
        With what was wrong, what was got and what is allowed.
    """

    data: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None = None
    extractor: str | None = None
    soft_labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        _check_data(self.data)
        _check_integers("labels", self.labels, len(self.data))
        if len(self.labels) and self.labels.min() < 0:
            raise InvalidRecords(f"labels must be ≥ 0. Got {int(self.labels.min())} instead.")
        if self.groups is not None:
            _check_integers("groups", self.groups, len(self.data))
        if self.soft_labels is not None:
            _check_soft_labels(self.soft_labels, len(self.data))

    @property
    def kind(self) -> Kind:
        """``"image"`` or ``"feature"``."""
        return "image" if self.data.ndim == 4 else "feature"

    def __len__(self) -> int:
        return len(self.data)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Records)
            and self.extractor == other.extractor
            and self.data.dtype == other.data.dtype
            and np.array_equal(self.data, other.data)
            and np.array_equal(self.labels, other.labels)
            and _equal(self.groups, other.groups)
            and _equal(self.soft_labels, other.soft_labels)
        )

    def take(self, index: np.ndarray) -> Records:
        """The records at ``index`` (integers or a boolean mask), in that order, copied."""
        groups = None if self.groups is None else self.groups[index]
        soft_labels = None if self.soft_labels is None else self.soft_labels[index]
        return Records(self.data[index], self.labels[index], groups, self.extractor, soft_labels)

    def replace(self, **changes: Any) -> Records:
        """A copy with some fields replaced, checked again."""
        return _replace(self, **changes)

    def flat(self) -> np.ndarray:
        """The records as vectors ``(N, D) float32``: features as they are, pixels divided by 255."""
        if self.kind == "feature":
            return self.data
        return self.data.reshape(len(self), -1).astype(np.float32) / np.float32(255)

    def digest(self) -> str:
        """SHA-256 of types, shapes and bytes, as 64 hexadecimal digits."""
        h = hashlib.sha256(str(self.extractor).encode())
        for array in (self.data, self.labels, self.groups, self.soft_labels):
            if array is not None:
                h.update(f"{array.dtype.str}{array.shape}".encode())
                h.update(np.ascontiguousarray(array).tobytes())
        return h.hexdigest()


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None:
        return a is b
    return np.array_equal(a, b)


def _check_data(data: np.ndarray) -> None:
    if not isinstance(data, np.ndarray):
        raise InvalidRecords(f"data must be a NumPy array. Got {type(data).__name__} instead.")
    if data.ndim == 4:
        if data.dtype != np.uint8:
            raise InvalidRecords(f"images must be uint8. Got {data.dtype} instead.")
        if data.shape[3] not in (1, 3) or 0 in data.shape[1:]:
            raise InvalidRecords(
                f"images must have the shape (N, H, W, C) with C of 1 or 3. Got {data.shape} instead."
            )
    elif data.ndim == 2:
        if data.dtype != np.float32:
            raise InvalidRecords(f"features must be float32. Got {data.dtype} instead.")
        bad = ~np.isfinite(data).all(axis=1)
        if bad.any():
            raise InvalidRecords(
                f"features must be finite. Got NaN or infinity in {int(bad.sum())} of {len(data)} records, "
                f"the first at row {int(np.argmax(bad))}."
            )
    else:
        raise InvalidRecords(
            f"data must be images (N, H, W, C) or features (N, D). Got an array of shape {data.shape} instead."
        )


def _check_integers(name: str, array: np.ndarray, n: int) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != np.int64 or array.shape != (n,):
        got = (
            f"{array.dtype} {array.shape}"
            if isinstance(array, np.ndarray)
            else type(array).__name__
        )
        raise InvalidRecords(
            f"{name} must be int64 of shape ({n},), one for each record. Got {got} instead."
        )


def _check_soft_labels(array: np.ndarray, n: int) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.ndim != 2:
        got = (
            f"{array.dtype} {array.shape}"
            if isinstance(array, np.ndarray)
            else type(array).__name__
        )
        raise InvalidRecords(
            f"soft_labels must be float32 of shape ({n}, number of classes). Got {got} instead."
        )
    if len(array) != n:
        raise InvalidRecords(
            f"soft_labels must have one row for each of {n} records. Got {len(array)}."
        )
    sums = array.sum(axis=1, dtype=np.float64)
    bad = ~(np.isfinite(array).all(axis=1) & (array >= 0).all(axis=1) & (np.abs(sums - 1) < 1e-3))
    if bad.any():
        raise InvalidRecords(
            "soft_labels must be ≥ 0 and sum to 1 in each row. "
            f"Got {int(bad.sum())} rows that do not, the first at row {int(np.argmax(bad))}."
        )
