"""Reading an ``.npz`` file from a source that is not trusted.

The headers come first: types and shapes are known, and refused, before memory is taken. Nothing is
ever unpickled."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from benchmark.contracts import InvalidRecords

__all__ = ["Header", "read_arrays", "read_headers"]


@dataclass(frozen=True)
class Header:
    """Type and shape of an array that is still in its file."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Memory that the array takes, in bytes."""
        return self.dtype.itemsize * math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def read_headers(path: Path) -> dict[str, Header]:
    """Key → type and shape of every array, without reading the arrays.

    Raises
    ------
    InvalidRecords
        When it is no ``.npz`` file, an array holds Python objects, a key comes twice, or an entry
        does not have the length that its header declares.
    """
    headers: dict[str, Header] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                key = entry.filename.removesuffix(".npy")
                if key in headers:
                    raise InvalidRecords(f"{path}: key {key!r} comes twice. Allowed: once.")
                with archive.open(entry) as file:
                    headers[key] = _read_header(path, key, file, entry.file_size)
    except InvalidRecords:
        raise
    except Exception as error:  # damaged archives raise errors of many kinds
        raise InvalidRecords(
            f"{path} is not a readable .npz file ({type(error).__name__}: {error}). "
            "Write it with numpy.savez or numpy.savez_compressed."
        ) from error
    return headers


def _read_header(path: Path, key: str, file: IO[bytes], size: int) -> Header:
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise InvalidRecords(
            f"{path}: key {key!r} is in version {version} of the .npy format. Allowed: (1, 0), (2, 0)."
        )
    shape, _, dtype = readers[version](file)
    header = Header(dtype, shape)
    if dtype.hasobject:
        raise InvalidRecords(
            f"{path}: key {key!r} holds Python objects, which are never loaded. "
            "Allowed: plain numbers and text, such as uint8, float32, int64, str."
        )
    if min(shape, default=0) < 0 or header.nbytes != size - file.tell():
        raise InvalidRecords(
            f"{path}: key {key!r} declares {header} but holds {size - file.tell()} bytes. "
            "The file is damaged; write it again."
        )
    return header


def read_arrays(path: Path, keys: Iterable[str]) -> dict[str, np.ndarray]:
    """The arrays under ``keys``. Check their headers with :func:`read_headers` first.

    Raises
    ------
    InvalidRecords
        When the compressed content is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in keys}
    except Exception as error:  # damaged archives raise errors of many kinds
        raise InvalidRecords(
            f"{path} is damaged ({type(error).__name__}: {error}). Write it again."
        ) from error
