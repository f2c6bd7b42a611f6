"""The store of a run: one JSON record and the artifacts of every finished node.

::

    <root>/records/<key>.json           what became of the node
    <root>/artifacts/<key>/<name>.npz   its arrays; <name>.safetensors its tensors
    <root>/lock                         held by the run that works in the folder

A node counts as finished when its record is there and whole: its first line is a checksum of the rest, which holds the
digests of the artifacts. Artifacts are written to a temporary name and
renamed into place, and the record last, so a reader never sees half a node, whenever the writer was
killed. Nothing is ever pickled: a store may come from someone else.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import socket
import stat
import uuid
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.coins import make_private, owner_only
from benchmark.contracts import LeakboardError

__all__ = [
    "STATUSES",
    "CorruptRecord",
    "Record",
    "Status",
    "Store",
    "StoreError",
    "StoreLocked",
    "delete",
    "plain",
    "read_npz",
    "write_artifacts",
    "write_npz",
]

Status = Literal[
    "ok", "failed", "timeout", "out of memory", "crashed", "not applicable", "unavailable"
]
STATUSES: tuple[str, ...] = get_args(Status)

_TEMPORARY = ".tmp-"
_DEEPEST = 50
_ASIDE = ".corrupt"
_KEY = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_PLAIN_DTYPES = "?biufcSUmM"


class StoreError(LeakboardError):
    """An artifact that cannot be written or read; the message says which and what to do."""


class StoreLocked(StoreError):
    """Another run works in the same folder."""


class CorruptRecord(UserWarning):
    """A record that could not be understood was put aside, and its node counts as missing."""


class Record(BaseModel):
    """What became of one node.

    Parameters
    ----------
    key, kind, label, spec, needs
        The node, as in :class:`benchmark.node.Node`.
    status : str
        ``ok``, ``failed``, ``timeout``, ``out of memory``, ``crashed``, ``not applicable`` or
        ``unavailable``.
    reason : str
        One line for people; empty when all is well.
    traceback : str
        Where it failed, with the end of what it printed; empty when all is well.
    values : dict
        JSON-compatible results; numbers are finite.
    artifacts : dict of str to str
        File name → SHA-256 of its bytes, in 64 hexadecimal digits.
    duration_s, cpu_s : float
        Wall-clock and processor time, in seconds, its child processes included.
    peak_memory_mb : float
        Highest resident memory, in MiB, beyond what the process had when it began; that of its descendants is added as
        far as it was seen, what they share counted for each.
    started_at : str
        UTC, ISO 8601.
    environment : dict
        Versions and the like, given by whoever ran it.
    sources : dict of str to str
        Digests of the sources of the node's plugins, by role, as they were when it was planned.
    layout : int
        Version of this format; a record of another one counts as missing. Records of layout 1 had no checksum.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    layout: Literal[1, 2] = 2
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    kind: str
    label: str
    status: Status
    reason: str = ""
    traceback: str = ""
    spec: dict[str, Any] = {}
    needs: tuple[str, ...] = ()
    values: dict[str, Any] = {}
    artifacts: dict[str, str] = {}
    duration_s: float = 0.0
    cpu_s: float = 0.0
    peak_memory_mb: float = 0.0
    started_at: str = ""
    environment: dict[str, Any] = {}
    sources: dict[str, str] = {}


class Store:
    """Records and artifacts under one folder.

    Parameters
    ----------
    root : Path
        The folder. It is made by the first write; reading from one that is not there finds nothing.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._records = self.root / "records"
        self._artifacts = self.root / "artifacts"
        self._held: int | None = None  # inode of the lock's file

    # ------------------------------------------------------------ records

    def read(self, key: str) -> Record | None:
        """The record of ``key``, or None. One that cannot be understood is put aside: None."""
        return _read_record(self._record_path(key), key)

    def read_all(self) -> dict[str, Record]:
        """All records by key, in the order of the keys."""
        found: dict[str, Record] = {}
        for name in sorted(_listing(self._records)):
            if name.endswith(".json") and not name.startswith("."):
                record = _read_record(self._records / name, name.removesuffix(".json"))
                if record is not None:
                    found[record.key] = record
        return found

    def commit(
        self,
        record: Record,
        arrays: Mapping[str, Mapping[str, np.ndarray]] | None = None,
        tensors: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    ) -> Record:
        """Write a node's artifacts and then its record, in place of any earlier ones.

        Equal arrays give equal bytes, whatever their memory layout or order in the mapping.

        Parameters
        ----------
        record : Record
            Its ``artifacts`` is filled in here, and NumPy scalars in ``values`` become numbers.
        arrays, tensors : mapping of str to mapping of str to ndarray
            File name without ending → name in the file → array. Arrays hold numbers, booleans,
            strings or dates; tensors what safetensors can hold.

        Returns
        -------
        Record
            As written.

        Raises
        ------
        StoreError
            For a name, a dtype or a value that cannot be stored; nothing is written then.
        OSError
            When the disk refuses.
        """
        return self._commit(
            record, lambda folder: write_artifacts(folder, arrays or {}, tensors or {}, sync=True)
        )

    def adopt(self, record: Record, given: Path, kept: Path) -> Record:
        """Write a node's artifacts, as they lie in folders, and then its record, in place of any earlier ones.

        Parameters
        ----------
        record : Record
            As in :meth:`commit`.
        given : Path
            Files ``*.npz`` and ``*.safetensors`` from a process that is not trusted: they are copied, and taken only if
            they are whole and of plain numbers.
        kept : Path
            Files from one that is; of two arrays of one file and name, these count. Neither folder need be there.

        Raises
        ------
        StoreError
            For a file that cannot be adopted; nothing is written then.
        """
        return self._commit(record, lambda folder: _adopt_artifacts(folder, given, kept))

    @owner_only()
    def _commit(self, record: Record, write: Callable[[Path], dict[str, str]]) -> Record:
        values = {k: plain(v, f"values[{k!r}]") for k, v in record.values.items()}
        record = record.model_copy(update={"values": values})
        self.check_lock()
        folder = self._artifacts / f"{_TEMPORARY}{record.key}-{uuid.uuid4().hex}"
        try:
            digests = write(folder)
            record = record.model_copy(update={"artifacts": digests})
            text = json.dumps(record.model_dump(), ensure_ascii=False, indent=1, allow_nan=False)
            self.remove(record.key)
            if digests:
                os.replace(folder, self._artifacts / record.key)
            _write_atomically(
                self._record_path(record.key), _sealed(text.encode("utf-8", "replace"))
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return record

    def remove(self, key: str) -> None:
        """Forget a node: its record first, then its artifacts. Nothing there is no error."""
        self._record_path(key).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            shutil.rmtree(self._artifacts / key)

    def damaged(self, records: Iterable[Record]) -> dict[str, str]:
        """Of the given records, those with an artifact that is missing or not what was written: key → its name."""
        found: dict[str, str] = {}
        for record in records:
            for file, digest in record.artifacts.items():
                try:
                    whole = _file_digest(self._artifacts / record.key / file) == digest
                except OSError:
                    whole = False
                if not whole:
                    found.setdefault(record.key, file)
        return found

    def all_keys(self) -> list[str]:
        """Keys of all records, sorted, without a look into them."""
        names = (name for name in _files(self._records) if name.endswith(".json"))
        return sorted(key for name in names if _KEY.fullmatch(key := name.removesuffix(".json")))

    def artifacts_of(self, key: str) -> Path:
        """The folder of a node's artifacts, whether it is there or not."""
        return self._artifacts / key

    def paths(self, key: str) -> list[Path]:
        """The record and the folder of artifacts of a node, as far as they are there."""
        places = (self._record_path(key), self._artifacts / key)
        return [path for path in places if path.exists()]

    def leftovers(self) -> list[Path]:
        """What killed runs left behind: every temporary name, and artifacts whose record is missing."""
        finished = set(_files(self._records))
        stale = [self._records / n for n in _listing(self._records) if n.startswith(_TEMPORARY)]
        return stale + [
            self._artifacts / name
            for name in _listing(self._artifacts)
            if name.startswith(_TEMPORARY) or f"{name}.json" not in finished
        ]

    def put_aside(self) -> list[Path]:
        """Records that could not be understood, kept for a person to look at."""
        return sorted(self._records / n for n in _listing(self._records) if n.endswith(_ASIDE))

    def sweep(self) -> int:
        """Delete :meth:`leftovers`; only under :meth:`lock`.

        Returns
        -------
        int
            Number of files and folders deleted.
        """
        stale = self.leftovers()
        for path in stale:
            delete(path)
        return len(stale)

    # ------------------------------------------------------------ artifacts

    def arrays(self, key: str, name: str) -> dict[str, np.ndarray]:
        """The arrays of ``artifacts/<key>/<name>.npz``, checked against the record's digest.

        Raises
        ------
        StoreError
            When the node has not finished well, has no such file, or the file is not what was
            written; the message says which node to run again.
        """
        return self._load(key, f"{name}.npz", read_npz)

    def tensors(self, key: str, name: str) -> dict[str, np.ndarray]:
        """The tensors of ``artifacts/<key>/<name>.safetensors``; errors as :meth:`arrays`."""
        return self._load(key, f"{name}.safetensors", _read_safetensors)

    def _load(self, key: str, file: str, read: Any) -> dict[str, np.ndarray]:
        record = self.read(key)
        if record is None:
            raise StoreError(f"node {key[:12]} has no record in {self.root}. Run the suite again.")
        if record.status != "ok":
            raise StoreError(
                f"{record.label} ({key[:12]}) has no artifacts: its status is {record.status!r}."
            )
        if file not in record.artifacts:
            there = ", ".join(sorted(record.artifacts)) or "none"
            raise StoreError(
                f"{record.label} ({key[:12]}) has no artifact {file!r}. It has {there}."
            )
        path = self._artifacts / key / file
        try:
            if _file_digest(path) != record.artifacts[file]:
                raise StoreError("its bytes are not those that were written")
            return read(path)
        except (OSError, StoreError) as error:
            raise StoreError(
                f"artifact {file!r} of {record.label} in {self.root} cannot be used: {error}. Run the suite again, "
                "which computes it again."
            ) from error

    # ------------------------------------------------------------ lock

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; the kernel lets go of it when the process ends.

        Raises
        ------
        StoreLocked
            When another run holds it; the message says which.
        """
        make_private(self.root)
        path = self.root / "lock"
        with open(path, "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown process"
                raise StoreLocked(
                    f"another run works in {self.root}: {holder}. Wait until it has finished or stop "
                    "it, then run again; or choose another folder with --out."
                ) from None
            file.truncate(0)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            file.write(f"process {os.getpid()} on {socket.gethostname()}, since {now}\n")
            file.flush()
            self._held = os.fstat(file.fileno()).st_ino
            try:
                yield
            finally:
                self._held = None

    def check_lock(self) -> None:
        """Refuse to go on where the file of a lock that is held here is gone: another run could take the folder.

        Raises
        ------
        StoreLocked
            When it has been removed or replaced. Nothing is asked where no lock is held.
        """
        if self._held is None:
            return
        path = self.root / "lock"
        try:
            same = path.stat().st_ino == self._held
        except OSError:
            same = False
        if not same:
            raise StoreLocked(
                f"{path} was removed while a run works in {self.root}, so that another could begin there. This one "
                "stops; what is stored stays. See that no other run works there, then run again."
            )

    def _record_path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise StoreError(f"a key must be 64 hexadecimal digits. Got {key!r} instead.")
        return self._records / f"{key}.json"


# ---------------------------------------------------------------- records on disk


def _read_record(path: Path, key: str) -> Record | None:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, IsADirectoryError):
        return None
    try:
        body = _unsealed(data)
        record = Record.model_validate_json(data if body is None else body)
        if body is None and record.layout > 1:
            raise ValueError("it has no checksum")
        if record.key != key:
            raise ValueError(f"it is the record of {record.key[:12]}")
    except ValueError as error:
        _put_aside(path, error)
        return None
    return record


_SEAL = re.compile(rb'\{\n "checksum": "([0-9a-f]{64})",')


def _sealed(text: bytes) -> bytes:
    """The JSON of an object, with a first line of its own: the SHA-256 of what stands after that line."""
    rest = text.removeprefix(b"{")
    return b'{\n "checksum": "' + hashlib.sha256(rest).hexdigest().encode() + b'",' + rest


def _unsealed(data: bytes) -> bytes | None:
    """The JSON without its checksum; None for one that has none. Raises ValueError where they disagree."""
    seal = _SEAL.match(data)
    if seal is None:
        return None
    rest = data[seal.end() :]
    if hashlib.sha256(rest).hexdigest().encode() != seal[1]:
        raise ValueError("it is not what was written: its checksum is another one")
    return b"{" + rest


def _put_aside(path: Path, error: ValueError) -> None:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        why = f"{where}: {first['msg']}" if where else first["msg"]
    else:
        why = str(error)
    aside = path.with_name(path.name + _ASIDE)
    with suppress(OSError):  # a read-only folder: leave it where it is
        os.replace(path, aside)
    warnings.warn(
        f"record {path} cannot be used ({why}). It counts as missing and is kept as {aside.name}.",
        CorruptRecord,
        stacklevel=4,
    )


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """``value`` as JSON can say it, which is read again only if it is not nested too deeply."""
    if depth > _DEEPEST:
        raise StoreError(f"{where[:40]}… must be nested at most {_DEEPEST} deep.")
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int) and value.bit_length() > 63:
        raise StoreError(
            f"{where} must fit into 64 bits. Got a number of {value.bit_length()} bits."
        )
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise StoreError(f"{where} must be finite. Got {value}; say None for an absent figure.")
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v, f"{where}[{k!r}]", depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
    raise StoreError(
        f"{where} must be a JSON value (text, number, list, mapping). Got {type(value).__name__}; "
        "arrays belong in `arrays` or `tensors`."
    )


# ---------------------------------------------------------------- artifacts on disk


def write_artifacts(
    folder: Path,
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    tensors: Mapping[str, Mapping[str, np.ndarray]],
    *,
    sync: bool,
) -> dict[str, str]:
    """Write all files into the new ``folder``; file name → SHA-256, or nothing where it is not synchronized.

    Makes no folder for no files. Raises :class:`StoreError` for what cannot be stored, as :meth:`Store.commit` does.
    """
    files: list[tuple[str, Callable[..., None], Mapping[str, np.ndarray]]]
    files = [(f"{name}.npz", write_npz, content) for name, content in arrays.items()]
    files += [
        (f"{name}.safetensors", _write_safetensors, content) for name, content in tensors.items()
    ]
    if not files:
        return {}
    folder.mkdir(parents=True)
    digests = {}
    for file, write, content in sorted(files, key=lambda f: f[0]):
        if not _NAME.fullmatch(file):
            raise StoreError(
                f"an artifact's name must be letters, digits, '_', '-' and '.'. Got {file!r} instead."
            )
        write(folder / file, content)
        if sync:
            digests[file] = _file_digest(folder / file, sync=True)
    return digests


def _adopt_artifacts(folder: Path, given: Path, kept: Path) -> dict[str, str]:
    """Bring the files of both folders into the new ``folder``; file name → SHA-256."""
    names = {
        n: [f for f in (given, kept) if n in _artifacts_in(f)] for n in _artifacts_in(given, kept)
    }
    if not names:
        return {}
    folder.mkdir(parents=True)
    digests = {}
    for file, places in sorted(names.items()):
        if not _NAME.fullmatch(file):
            raise StoreError(f"an artifact cannot be called {file!r}")
        target = folder / file
        digests[file] = _copy(places[0] / file, target)
        try:
            if target.suffix == ".npz":
                _check_npz(target)
        except OSError as error:
            raise StoreError(f"{file!r} cannot be adopted: {error}") from error
        if len(places) > 1:
            write_npz(target, read_npz(target) | read_npz(places[1] / file))
            digests[file] = _file_digest(target, sync=True)
    return digests


def _artifacts_in(*folders: Path) -> set[str]:
    return {n for f in folders for n in _listing(f) if n.endswith((".npz", ".safetensors"))}


def _copy(source: Path, target: Path) -> str:
    """Copy an ordinary file, synchronized; the SHA-256 of its bytes. Whoever holds the source open cannot change it."""
    digest = hashlib.sha256()
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise StoreError(f"{source.name!r} cannot be adopted: {error}") from error
    with open(descriptor, "rb") as file, open(target, "wb") as copy:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StoreError(f"{source.name!r} is no ordinary file")
        while chunk := file.read(2**20):
            digest.update(chunk)
            copy.write(chunk)
        copy.flush()
        os.fsync(copy.fileno())
    return digest.hexdigest()


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as an uncompressed ``.npz``: equal arrays give equal bytes.

    Raises
    ------
    StoreError
        For an array of objects or records.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            array = _canonical(arrays[name], f"{path.name}[{name!r}]")
            member = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, whatever the clock says
            member.create_system = 3
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=False)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read an uncompressed ``.npz`` that may come from anyone.

    No member makes this take more memory than its bytes on disk, and no object is ever built.

    Raises
    ------
    StoreError
        When the file is not such an archive or its headers disagree with its size.
    OSError
        When it cannot be read.
    """
    return _members(path, read=True)


def _check_npz(path: Path) -> None:
    """Raise what :func:`read_npz` would raise, from sizes and headers alone."""
    _members(path, read=False)


def _members(path: Path, *, read: bool) -> dict[str, np.ndarray]:
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(m.file_size for m in members) > size:
                raise StoreError("its members claim to be larger than the file")
            found = {}
            for member in members:
                with _open_member(archive, member) as file:
                    if read:
                        name = member.filename.removesuffix(".npy")
                        found[name] = np.lib.format.read_array(file, allow_pickle=False)
            return found
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise StoreError(f"it is not a whole .npz ({error})") from error


@contextmanager
def _open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    """A member whose header has been found right, at its beginning."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise StoreError(f"{member.filename!r} is compressed")
    with archive.open(member) as file:
        shape, dtype = _read_header(file)
        if dtype.kind not in _PLAIN_DTYPES:
            raise StoreError(f"{member.filename!r} holds {dtype}, which is not allowed")
        if math.prod(shape) * dtype.itemsize != member.file_size - file.tell():
            raise StoreError(f"{member.filename!r} is not as long as its header says")
        file.seek(0)
        yield file


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise StoreError(f"unknown .npy version {version}")
    return shape, dtype


def _canonical(array: np.ndarray, where: str) -> np.ndarray:
    """``array`` in C order and little-endian, so that equal arrays are equal bytes."""
    array = np.asarray(array, order="C")
    if array.dtype.kind not in _PLAIN_DTYPES:
        raise StoreError(
            f"{where} must hold numbers, booleans, strings or dates. Got {array.dtype} instead."
        )
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    content = {k: _canonical(tensors[k], f"{path.name}[{k!r}]") for k in sorted(tensors)}
    try:
        save_file(content, path)
    except (SafetensorError, KeyError, ValueError) as error:
        kinds = ", ".join(sorted({str(a.dtype) for a in content.values()}))
        raise StoreError(
            f"{path.name} cannot be stored as safetensors ({error}). Got {kinds}."
        ) from error


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise StoreError(f"it is not a whole safetensors file ({error})") from error


# ---------------------------------------------------------------- files


def delete(path: Path) -> None:
    """Delete a file, or a folder with all that it holds; a link is deleted, not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _listing(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _files(folder: Path) -> list[str]:
    """Names of what is no folder: a folder may be called as a record is."""
    try:
        with os.scandir(folder) as found:
            return [entry.name for entry in found if not entry.is_dir()]
    except FileNotFoundError:
        return []


def _file_digest(path: Path, *, sync: bool = False) -> str:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if sync:
            os.fsync(file.fileno())
    return digest


def _write_atomically(path: Path, data: bytes) -> None:
    """Write and rename.

    Contents are synchronized, names are not: a power cut may undo the last renames, but journals keep their order, so
    the node then counts as missing. Each call of fsync costs some 4 ms.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_TEMPORARY}{path.name}-{uuid.uuid4().hex}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
