"""Records of your own: an ``.npz`` file, or a folder with one sub-folder of images per class."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.contracts import (
    Context,
    Dataset,
    DatasetContent,
    DatasetInfo,
    DatasetMissing,
    Field,
    InvalidRecords,
    Kind,
    Records,
)
from benchmark.datasets.image_folder import find_images, load_images
from benchmark.datasets.locate import digest_files
from benchmark.datasets.npz import Header, read_arrays, read_headers

__all__ = ["Files"]

DATA_KEYS: Mapping[str, Kind] = {"images": "image", "features": "feature"}
OTHER_KEYS = ("labels", "groups", "classes", "test_labels")
ALLOWED_KEYS = (*DATA_KEYS, *OTHER_KEYS, *(f"test_{key}" for key in DATA_KEYS))

# A field of this name takes the place of the contract's property on purpose (see below the class).
warnings.filterwarnings("ignore", message='Field name "public" in "Files" shadows')


class Files(Dataset):
    """An ``.npz`` file or a folder of images, neither of them trusted.

    An ``.npz`` has the keys

    - ``images``, ``(N, H, W)`` or ``(N, H, W, C) uint8`` with C of 1 or 3, or else ``features``,
      ``(N, D)`` float32 or float64, finite;
    - ``labels``, ``(N,)`` integers from 0, without gaps;
    - optionally ``groups``, ``(N,)`` integers, the identity of each record; ``classes``, ``(K,)``
      str, the name of each label; and an official test split, ``test_images`` or ``test_features``
      with ``test_labels``.

    A folder has one sub-folder of images per class (see :mod:`benchmark.datasets.image_folder`).
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="files",
        version="1",
        summary="Your own records: an .npz file, or a folder of images per class",
        licence="as stated by whoever runs it",
        public=False,
        places=frozenset({"path"}),
    )
    path: str = Field(min_length=1, description="an .npz file, or a folder of images per class")
    public: bool = Field(False, description="whether pictures of the records may be shown")
    licence: str = Field("not stated", description="the licence of the records")
    size: int | None = Field(
        None, ge=1, le=1024, description="side to which a folder's images are resized, in pixels"
    )
    max_gb: float = Field(4.0, gt=0, description="largest memory that the arrays may take, in GB")

    @property
    def kind(self) -> Kind:
        """``"feature"`` for an ``.npz`` with the key ``features``, else ``"image"``; reads no data."""
        place = self._place()
        if place.is_dir():
            return "image"
        return DATA_KEYS[_data_key(place, _checked_headers(place, self.max_gb))]

    def fingerprint(self) -> str:
        """Digest of the file, or of the names and contents of the images.

        An ``.npz`` is checked whole, so that what is wrong with it shows before anything runs. Images are only found
        and digested here, since decoding many takes minutes; ``load`` checks them.
        """
        place = self._place()
        if place.is_dir():
            images, _ = find_images(place)
            return digest_files([(image.name, image.path) for image in images])
        _load_npz(place, self.max_gb)
        return digest_files([("records.npz", place)])

    def load(self, context: Context) -> DatasetContent:
        """All records, checked.

        Raises
        ------
        DatasetMissing
            When there is nothing at ``path``.
        InvalidRecords
            Says which file, which key, what was got and what is allowed.
        """
        place = self._place()
        if place.is_dir():
            return load_images(place, self.size, int(self.max_gb * 1e9))
        return _load_npz(place, self.max_gb)

    def _place(self) -> Path:
        place = Path(self.path).expanduser()
        if not (place.is_file() or place.is_dir()):
            raise DatasetMissing(
                f"files: there is no file or folder {place} (from {Path.cwd()}). Give `path` an "
                ".npz file, or a folder with one sub-folder of images per class."
            )
        if place.is_file() and self.size is not None:
            raise InvalidRecords(
                f"files: `size` resizes the images of a folder, but {place} is a file. "
                "Leave `size` out."
            )
        return place


# Without a plain attribute here, the property of the contract would hide the field of the instance.
Files.public = False


# ---------------------------------------------------------------- types and shapes


def _checked_headers(path: Path, max_gb: float) -> dict[str, Header]:
    """The headers of an ``.npz``, after all checks that need no data."""
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
    key = _data_key(path, headers)
    _check_split(path, headers, key, "labels")
    if "groups" in headers:
        _check_integers(path, headers, "groups", headers[key].shape[0])
    if "classes" in headers and not (
        headers["classes"].dtype.kind == "U" and len(headers["classes"].shape) == 1
    ):
        raise _wrong(path, headers, "classes", "text of shape (K,), the name of each label")
    _check_test(path, headers, key)
    return headers


def _data_key(path: Path, headers: Mapping[str, Header]) -> str:
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


def _check_split(path: Path, headers: Mapping[str, Header], key: str, labels: str) -> None:
    if key.endswith("images"):
        _check_images(path, headers, key)
    else:
        _check_features(path, headers, key)
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


def _wrong(path: Path, headers: Mapping[str, Header], key: str, allowed: str) -> InvalidRecords:
    return InvalidRecords(f"{path}: key {key!r} is {headers[key]}. Allowed: {allowed}.")


# ---------------------------------------------------------------- values


def _load_npz(path: Path, max_gb: float) -> DatasetContent:
    headers = _checked_headers(path, max_gb)
    key = _data_key(path, headers)
    arrays = read_arrays(path, headers)
    classes = _class_names(path, arrays)
    groups = _int64(path, "groups", arrays["groups"]) if "groups" in arrays else None
    extractor = "native" if key == "features" else None
    pool = Records(
        _data(path, key, arrays[key]), _int64(path, "labels", arrays["labels"]), groups, extractor
    )
    test = None
    if "test_labels" in arrays:
        _check_test_labels(path, arrays["test_labels"], len(classes))
        test = Records(
            _data(path, f"test_{key}", arrays[f"test_{key}"]),
            _int64(path, "test_labels", arrays["test_labels"]),
            extractor=extractor,
        )
    return DatasetContent(pool=pool, classes=classes, test=test)


def _class_names(path: Path, arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Names of all labels; refuses labels out of range, classes without records and equal names."""
    present = np.unique(arrays["labels"]).tolist()
    if present[0] < 0:
        raise InvalidRecords(f"{path}: key 'labels' holds {present[0]}. Allowed: 0 and above.")
    named = arrays.get("classes")
    names = [str(i) for i in range(len(present))] if named is None else named.tolist()
    if present[-1] >= len(names) and named is not None:
        raise InvalidRecords(
            f"{path}: key 'labels' holds {present[-1]}, but 'classes' names {len(names)} labels. "
            f"Allowed: 0 to {len(names) - 1}."
        )
    missing = _first_gap(present, len(names))
    if missing is not None:
        name = "" if named is None else f" ({names[missing]!r})"
        raise InvalidRecords(
            f"{path}: key 'labels' has no record of class {missing}{name}. Every class from 0 to "
            f"{max(present[-1], len(names) - 1)} needs one; number the classes without gaps."
        )
    if len(set(names)) != len(names):
        raise InvalidRecords(f"{path}: key 'classes' holds a name twice. Allowed: once.")
    return tuple(names)


def _first_gap(present: list[int], n_classes: int) -> int | None:
    """The least label below ``n_classes`` that is not in ``present``, which is sorted."""
    for expected in range(n_classes):
        if expected >= len(present) or present[expected] != expected:
            return expected
    return None


def _check_test_labels(path: Path, labels: np.ndarray, n_classes: int) -> None:
    wrong = (labels < 0) | (labels >= n_classes)
    if wrong.any():
        raise InvalidRecords(
            f"{path}: key 'test_labels' holds {labels[np.argmax(wrong)]}. "
            f"Allowed: the labels of the pool, 0 to {n_classes - 1}."
        )


def _data(path: Path, key: str, data: np.ndarray) -> np.ndarray:
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


def _int64(path: Path, key: str, values: np.ndarray) -> np.ndarray:
    if values.max() > np.iinfo(np.int64).max:
        raise InvalidRecords(f"{path}: key {key!r} holds {values.max()}. Allowed: below 2**63.")
    return values.astype(np.int64)
