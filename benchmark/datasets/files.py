"""Records of your own: an ``.npz`` file, a folder of images, or a table of features."""

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
from benchmark.datasets.collection import Collection, Source
from benchmark.datasets.image_folder import resized
from benchmark.datasets.locate import digest_files
from benchmark.datasets.metadata import sidecar_of
from benchmark.datasets.npz import read_arrays
from benchmark.datasets.npz_records import (
    NpzRecords,
    checked_headers,
    data_key,
    data_of,
    int64_of,
)
from benchmark.datasets.sources import (
    common_layout,
    described,
    numbered,
    open_source,
    read_sources,
)

__all__ = ["Files"]

# A field of this name takes the place of the contract's property on purpose (see below the class).
warnings.filterwarnings("ignore", message='Field name "public" in "Files" shadows')


class Files(Dataset):
    """An ``.npz`` file, a folder of images or a table of features, none of them trusted.

    An ``.npz`` has the keys of :mod:`benchmark.datasets.npz_records`; its labels are integers from 0 without gaps. A
    folder has one sub-folder of images for each class, or images alone with a ``labels.csv`` or ``metadata.csv`` that
    names their classes. A ``.csv`` or ``.parquet`` has a column ``label``, and a numeric column for each feature.

    Patients are the ``groups`` of an ``.npz``, a column ``patient``, the PatientID of DICOM files, what the CSV
    ``patients`` says (:mod:`benchmark.datasets.metadata`), or what ``patient_from`` finds in the names of files.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="files",
        version="2",
        summary="Your own records: an .npz file, a folder of images, or a table of features",
        licence="as stated by whoever runs it",
        public=False,
        places=frozenset({"path", "patients"}),
    )
    path: str = Field(min_length=1, description="an .npz, a folder of images, a .csv or .parquet")
    public: bool = Field(False, description="whether pictures of the records may be shown")
    licence: str = Field("not stated", description="the licence of the records")
    size: int | None = Field(
        None, ge=1, le=1024, description="side to which all images are resized, in pixels"
    )
    window: list[float] | None = Field(
        None,
        min_length=2,
        max_length=2,
        description="gray values of more than 8 bits that become 0 and 255; None: least and greatest",
    )
    patients: str | None = Field(None, description="a CSV that names the patient of each record")
    patient_from: str | None = Field(
        None, description="a regular expression over file names with a group `patient`"
    )
    max_gb: float = Field(4.0, gt=0, description="largest memory that the arrays may take, in GB")

    @property
    def kind(self) -> Kind:
        """``"image"`` or ``"feature"``; of an ``.npz`` or a folder without reading data."""
        return self._source().kind

    def fingerprint(self) -> str:
        """Digest of the file, or of the names and contents of the images, with the tables that are read.

        An ``.npz`` is checked whole, so that what is wrong with it shows before anything runs. Images are only found
        and digested here, since decoding many takes minutes; ``load`` checks them.
        """
        source = self._source()
        if isinstance(source, NpzRecords):
            self._load_npz(source.place)
        beside = sidecar_of(source)
        told = described({"records": source}, self._table(), self.patient_from)
        tables = [path for path in (beside, self._table()) if path is not None]
        if not tables:
            return source.digest()
        assert told
        return digest_files([("table", path) for path in tables]) + source.digest()

    def load(self, context: Context) -> DatasetContent:
        """All records, checked.

        Raises
        ------
        DatasetMissing
            When there is nothing at ``path``.
        InvalidRecords
            Says which file, which key, what was got and what is allowed.
        """
        source = self._source()
        if isinstance(source, NpzRecords):
            return self._load_npz(source.place)
        return self._load(source)

    def _source(self) -> Source:
        try:
            return open_source(Path(self.path), self.max_gb)
        except DatasetMissing as error:
            raise DatasetMissing(f"files: {error} It is named by `path`.") from error

    def _table(self) -> Path | None:
        return None if self.patients is None else Path(self.patients).expanduser()

    def _load(self, source: Source) -> DatasetContent:
        """The records of a folder or a table."""
        sources = {"records": source}
        window = None if self.window is None else (self.window[0], self.window[1])
        layout = common_layout([source], size=self.size, window=window, max_gb=self.max_gb)
        told = described(sources, self._table(), self.patient_from)
        read = read_sources(sources, layout, told)["records"]
        if read.labels is None:
            raise InvalidRecords(
                f"{source.place} has no sub-folders and no table that names classes. Put the images of each "
                "class into a sub-folder with the class's name, or write labels.csv with the columns file, label."
            )
        _check_classes(source.place, read)
        groups = None if read.patients is None else numbered(read.patients)
        extractor = "native" if source.kind == "feature" else None
        pool = Records(read.data, read.labels, groups, extractor)
        return DatasetContent(pool=pool, classes=read.classes)

    def _load_npz(self, path: Path) -> DatasetContent:
        """The records of an ``.npz`` and its test split."""
        headers = checked_headers(path, self.max_gb)
        key = data_key(path, headers)
        if self.size is not None and key == "features":
            raise InvalidRecords(
                f"files: `size` resizes images, but {path} holds features. Leave `size` out."
            )
        arrays = read_arrays(path, headers)
        classes = _class_names(path, arrays)
        pool = self._records(path, key, arrays, "")
        test = None
        if "test_labels" in arrays:
            _check_test_labels(path, arrays["test_labels"], len(classes))
            test = self._records(path, key, arrays, "test_")
        return DatasetContent(pool=self._with_patients(path, pool), classes=classes, test=test)

    def _records(
        self, path: Path, key: str, arrays: Mapping[str, np.ndarray], split: str
    ) -> Records:
        data = data_of(path, f"{split}{key}", arrays[f"{split}{key}"])
        if self.size is not None:
            data = resized(data, self.size, self.size, data.shape[3])
        labels = int64_of(path, f"{split}labels", arrays[f"{split}labels"])
        groups = arrays.get(f"{split}groups")
        if groups is not None:
            groups = (
                numbered(groups) if groups.dtype.kind == "U" else int64_of(path, "groups", groups)
            )
        return Records(data, labels, groups, "native" if key == "features" else None)

    def _with_patients(self, path: Path, pool: Records) -> Records:
        if self.patients is None and self.patient_from is None:
            return pool
        source = open_source(path, self.max_gb)
        told = described({"records": source}, self._table(), self.patient_from)["records"]
        if told.labels is not None:
            raise InvalidRecords(
                f"{self.patients} names labels, but those of an .npz are its array `labels`. "
                "Leave the column out."
            )
        return pool if told.patients is None else pool.replace(groups=numbered(told.patients))


# Without a plain attribute here, the property of the contract would hide the field of the instance.
Files.public = False


def _check_classes(place: Path, read: Collection) -> None:
    assert read.labels is not None
    counts = np.bincount(read.labels, minlength=len(read.classes))
    if (counts == 0).any():
        raise InvalidRecords(
            f"{place} has no record of class {read.classes[int(np.argmin(counts))]!r}. Every class needs one."
        )


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
