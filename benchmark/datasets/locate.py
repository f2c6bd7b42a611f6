"""Where data files lie, and the digest of what is in them."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from benchmark.contracts import DatasetMissing

__all__ = ["data_root", "digest_files", "find_together", "found_or_fetched", "sha256_file"]


def data_root(root: str | None) -> Path:
    """Where to look: ``root``, else ``$LEAKBOARD_DATA``, else ``~/.cache/leakboard/data``."""
    chosen = root or os.environ.get("LEAKBOARD_DATA") or "~/.cache/leakboard/data"
    return Path(chosen).expanduser()


def found_or_fetched(
    dataset: str,
    folders: Sequence[Path],
    names: Sequence[str],
    *,
    suffixes: Sequence[str] = ("",),
    fetch: Callable[[], object] | None = None,
    hint: str,
) -> dict[str, Path]:
    """Name → place of every file, all from one of ``folders``; after ``fetch``, if given, where they are missing.

    Raises
    ------
    DatasetMissing
        Says what ``dataset`` looked for and where, followed by ``hint``.
    """
    found = find_together(folders, names, suffixes)
    if found is None and fetch is not None:
        fetch()
        found = find_together(folders, names, suffixes)
    if found is None:
        files = names[0] if len(names) == 1 else f"not all of {', '.join(names)}"
        looked = ", ".join(map(str, folders))
        verb = "is not in" if len(names) == 1 else "are in one of"
        raise DatasetMissing(f"{dataset}: {files} {verb} {looked}. {hint}")
    return found


def find_together(
    folders: Sequence[Path], names: Sequence[str], suffixes: Sequence[str] = ("",)
) -> dict[str, Path] | None:
    """Name → place in the first of ``folders`` that has them all; what may follow the names is in ``suffixes``."""
    for folder in folders:
        found = {}
        for name in names:
            paths = [folder / f"{name}{suffix}" for suffix in suffixes]
            existing = next((path for path in paths if path.is_file()), None)
            if existing is not None:
                found[name] = existing
        if len(found) == len(names):
            return found
    return None


def digest_files(files: Iterable[tuple[str, Path]]) -> str:
    """SHA-256 over the names and contents of ``files``, as 64 hexadecimal digits.

    Parameters
    ----------
    files : iterable of (str, Path)
        The name that enters the digest, and where the file lies: the place itself does not enter,
        so that a digest is the same on every machine. The content of a ``.gz`` file is that of the
        file inside.
    """
    whole = hashlib.sha256()
    for name, path in files:
        whole.update(f"{name!r}\n{sha256_file(path)}\n".encode())
    return whole.hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, decompressed if it ends in ``.gz``.

    Computed again only when the file's size or time of change differs.
    """
    facts = path.stat()
    return _sha256(path.resolve(), path.suffix == ".gz", facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=4096)
def _sha256(path: Path, compressed: bool, size: int, mtime_ns: int) -> str:
    with gzip.open(path) if compressed else path.open("rb") as file:
        return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
