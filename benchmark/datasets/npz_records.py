"""Records in an ``.npz`` file of somebody: what is allowed in it, and reading it.

The keys are

- ``images``, ``(N, H, W)`` or ``(N, H, W, C) uint8`` with C of 1 or 3, or else ``features``, ``(N, D)`` float32 or
  float64, finite;
- ``labels``, ``(N,)`` integers from 0;
- optionally ``groups``, ``(N,)`` integers or text, the identity of each record; ``classes``, ``(K,)`` str, the name of
  each label; and an official test split, ``test_images`` or ``test_features`` with ``test_labels``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmark.contracts import InvalidRecords, Kind
from benchmark.datasets.collection import Collection, Layout, Source, Survey
from benchmark.datasets.image_folder import resized
from benchmark.datasets.locate import digest_files
from benchmark.datasets.npz import Header, read_arrays, read_headers

__all__ = ["NpzRecords", "checked_headers", "data_key", "data_of", "int64_of"]

DATA_KEYS: Mapping[str, Kind] = {"images": "image", "features": "feature"}
OTHER_KEYS = ("labels", "groups", "classes", "test_labels")
ALLOWED_KEYS = (*DATA_KEYS, *OTHER_KEYS, *(f"test_{key}" for key in DATA_KEYS))


class NpzRecords(Source):
    """The records of an ``.npz`` file, with or without labels. Its test split, if any, is not read."""

    def __init__(self, place: Path, max_gb: float) -> None:
        self.place = place
        self.headers = checked_headers(place, max_gb, labelled=False)
        self.key = data_key(place, self.headers)
        self.kind = DATA_KEYS[self.key]
        self.names = tuple(f"row {i}" for i in range(self.headers[self.key].shape[0]))

    def survey(self) -> Survey:
        """From the arrays' headers."""
        shape = self.headers[self.key].shape
        if self.kind == "feature":
            return Survey(n=shape[0], dimension=shape[1])
        size = (shape[2], shape[1])
        return Survey(n=shape[0], sizes={size: str(self.place)}, colour=shape[3:] == (3,))

    def deep_range(self) -> tuple[float, float]:
        """None of its images has more than 8 bits."""
        raise InvalidRecords(f"{self.place} holds 8 bits a pixel. Leave it out of the window.")

    def read(self, layout: Layout | None) -> Collection:
        """The arrays, images in the layout's size and channels."""
        arrays = read_arrays(self.place, [k for k in self.headers if not k.startswith("test_")])
        data, notes = data_of(self.place, self.key, arrays[self.key]), []
        if layout is not None and data.shape[1:3] != (layout.height, layout.width):
            notes.append(f"{len(data):,} images resized to {layout.width}×{layout.height} pixels")
        if layout is not None:
            data = resized(data, layout.width, layout.height, layout.channels)
        unused = sorted(k for k in self.headers if k.startswith("test_"))
        if unused:
            notes.append(f"the arrays {', '.join(unused)} are not used")
        labels, classes = self._labels(arrays)
        return Collection(
            data=data,
            names=self.names,
            labels=labels,
            classes=classes,
            patients=arrays["groups"].astype(str) if "groups" in arrays else None,
            notes=tuple(notes),
        )

    def digest(self) -> str:
        """Of the file's bytes."""
        return digest_files([("records.npz", self.place)])

    def _labels(
        self, arrays: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray | None, tuple[str, ...]]:
        """Labels and their names; without names, the numbers that occur."""
        if "labels" not in arrays:
            return None, ()
        labels = int64_of(self.place, "labels", arrays["labels"])
        if labels.min() < 0:
            raise InvalidRecords(
                f"{self.place}: key 'labels' holds {labels.min()}. Allowed: 0 and above."
            )
        if "classes" not in arrays:
            numbers, labels = np.unique(labels, return_inverse=True)
            return labels.astype(np.int64), tuple(map(str, numbers.tolist()))
        names = tuple(map(str, arrays["classes"]))
        if labels.max() >= len(names) or len(set(names)) != len(names):
            raise InvalidRecords(
                f"{self.place}: key 'classes' must name each of the labels 0 … {labels.max()} once. "
                f"Got {len(set(names))} different names."
            )
        return labels, names


# ---------------------------------------------------------------- types and shapes


def checked_headers(path: Path, max_gb: float, *, labelled: bool = True) -> dict[str, Header]:
    """The headers of an ``.npz``, after all checks that need no data; ``labelled`` records need labels."""
    headers = read_headers(path)
    unknown = [key for key in headers if key not in ALLOWED_KEYS]
    if unknown:
        raise InvalidRecords(
            f"{path}: unknown key {unknown[0]!r}. Allowed: {', '.join(ALLOWED_KEYS)}."
        )
    size = sum(header.nbytes for header in headers.values())
    if size > max_gb * 1e9:
        raise InvalidRecords(
            f"{path}: its arrays would take {size / 1e9:.3g} GB. Allowed: {max_gb:.3g} GB; "
            "raise `max_gb` if you trust the file."
        )
    key = data_key(path, headers)
    _check_split(path, headers, key, "labels", labelled=labelled)
    if "groups" in headers:
        _check_groups(path, headers, headers[key].shape[0])
    if "classes" in headers and not (
        headers["classes"].dtype.kind == "U" and len(headers["classes"].shape) == 1
    ):
        raise _wrong(path, headers, "classes", "text of shape (K,), the name of each label")
    _check_test(path, headers, key)
    return headers


def data_key(path: Path, headers: Mapping[str, Header]) -> str:
    present = [key for key in DATA_KEYS if key in headers]
    if len(present) != 1:
        raise InvalidRecords(
            f"{path}: got the keys {', '.join(headers) or 'of an empty file'}. "
            "Needed: either images or features, and labels."
        )
    return present[0]


def _check_test(path: Path, headers: Mapping[str, Header], key: str) -> None:
    got = {name for name in headers if name.startswith("test_")}
    needed = {f"test_{key}", "test_labels"}
    if not got:
        return
    if got != needed:
        raise InvalidRecords(
            f"{path}: got {', '.join(sorted(got))}. A test split needs just "
            f"{', '.join(sorted(needed))}."
        )
    _check_split(path, headers, f"test_{key}", "test_labels")
    if headers[f"test_{key}"].shape[1:] != headers[key].shape[1:]:
        raise _wrong(path, headers, f"test_{key}", f"the record shape of {key}, {headers[key]}")


def _check_split(
    path: Path, headers: Mapping[str, Header], key: str, labels: str, *, labelled: bool = True
) -> None:
    if key.endswith("images"):
        _check_images(path, headers, key)
    else:
        _check_features(path, headers, key)
    if labels not in headers and not labelled:
        return
    if labels not in headers:
        raise InvalidRecords(
            f"{path}: key {labels!r} is missing. Needed: (N,) integers, the class of each record."
        )
    _check_integers(path, headers, labels, headers[key].shape[0])


def _check_images(path: Path, headers: Mapping[str, Header], key: str) -> None:
    dtype, shape = headers[key].dtype, headers[key].shape
    channels_fit = len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))
    if dtype != np.uint8 or not channels_fit or 0 in shape:
        allowed = "uint8 of shape (N, H, W) or (N, H, W, C), C of 1 or 3, none of them empty"
        raise _wrong(path, headers, key, allowed)


def _check_features(path: Path, headers: Mapping[str, Header], key: str) -> None:
    dtype, shape = headers[key].dtype, headers[key].shape
    if dtype.kind != "f" or dtype.itemsize not in (4, 8) or len(shape) != 2 or 0 in shape:
        raise _wrong(path, headers, key, "float32 or float64 of shape (N, D), neither of them 0")


def _check_integers(path: Path, headers: Mapping[str, Header], key: str, n: int) -> None:
    if headers[key].dtype.kind not in "iu" or headers[key].shape != (n,):
        raise _wrong(path, headers, key, f"integers of shape ({n},), one for each record")


def _check_groups(path: Path, headers: Mapping[str, Header], n: int) -> None:
    kind, shape = headers["groups"].dtype.kind, headers["groups"].shape
    if kind not in "iuU" or shape != (n,):
        allowed = f"integers or text of shape ({n},), one for each record"
        raise _wrong(path, headers, "groups", allowed)


def _wrong(path: Path, headers: Mapping[str, Header], key: str, allowed: str) -> InvalidRecords:
    return InvalidRecords(f"{path}: key {key!r} is {headers[key]}. Allowed: {allowed}.")


# ---------------------------------------------------------------- values


def data_of(path: Path, key: str, data: np.ndarray) -> np.ndarray:
    if key.endswith("images"):
        return np.ascontiguousarray(data[..., np.newaxis] if data.ndim == 3 else data)
    with np.errstate(over="ignore"):
        features = np.ascontiguousarray(data, dtype=np.float32)
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        raise InvalidRecords(
            f"{path}: key {key!r} has NaN, infinity or a value beyond float32 in {int(bad.sum())} of "
            f"{len(features)} records, the first at row {int(np.argmax(bad))}. Allowed: finite values."
        )
    return features


def int64_of(path: Path, key: str, values: np.ndarray) -> np.ndarray:
    if values.max() > np.iinfo(np.int64).max:
        raise InvalidRecords(f"{path}: key {key!r} holds {values.max()}. Allowed: below 2**63.")
    return values.astype(np.int64)
