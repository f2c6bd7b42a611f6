"""The secret that a run's coins come from: drawn once, committed to, read by the referee alone, revealed afterwards.

Whoever knows the code and the suite can repeat every other draw of a game. The coins come from 32 secret bytes besides,
so that no plugin can derive them. The run's keys hold a *commitment*, the secret's SHA-256, from the start: that the
coins were fixed before the first node ran can be checked once the secret is revealed, and whoever has it repeats the
run, bit for bit.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmark.contracts import LeakboardError

__all__ = [
    "COINS_FILE",
    "PRIVATE",
    "UNSET",
    "CoinsError",
    "Secret",
    "draw_secret",
    "find_secret",
    "keep_secret",
    "make_private",
    "owner_only",
    "read_secret",
]

PRIVATE = "private"
"""The folder of a run that holds what says who is who."""

COINS_FILE = Path(PRIVATE, "coins.json")
"""Where a run keeps its secret; the folder is its owner's alone (700), as is the file (600)."""

UNSET = "0" * 64
"""The commitment of a plan that belongs to no run: its keys can be compared, its games cannot be played."""

_SIZE = 32


class CoinsError(LeakboardError):
    """A file of coins that cannot be used, or a run without its secret."""


@dataclass(frozen=True)
class Secret:
    """The 32 bytes that all coins of a run come from."""

    value: bytes = field(repr=False)

    @property
    def commitment(self) -> str:
        """SHA-256 of the secret, as 64 hexadecimal digits."""
        return hashlib.sha256(self.value).hexdigest()

    def rng(self, *names: str) -> np.random.Generator:
        """A generator of its own for each sequence of names: HMAC-SHA-256 of the names under the secret seeds it."""
        said = json.dumps(names).encode()
        return np.random.default_rng(
            int.from_bytes(hmac.digest(self.value, said, "sha256"), "little")
        )

    def text(self) -> str:
        """The content of a file of coins."""
        content = {"format": 1, "secret": self.value.hex(), "commitment": self.commitment}
        return json.dumps(content, indent=1) + "\n"


def draw_secret() -> Secret:
    """A new secret, from the operating system."""
    return Secret(secrets.token_bytes(_SIZE))


def read_secret(path: Path) -> Secret:
    """The secret in a file of coins, as a run reveals it.

    Raises
    ------
    CoinsError
        When it cannot be read, is no such file, or contradicts its own commitment.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        secret = Secret(bytes.fromhex(content["secret"]))
        commitment = content["commitment"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CoinsError(
            f"{path} is no file of coins ({type(error).__name__}: {error}). "
            "Give the coins.json of a run that was ended with `--coins reveal`."
        ) from error
    if len(secret.value) != _SIZE or secret.commitment != commitment:
        raise CoinsError(
            f"{path} is damaged: its secret must be {_SIZE} bytes, the SHA-256 of which is its commitment."
        )
    return secret


def find_secret(root: Path) -> Secret | None:
    """The secret of the run in ``root``; None where it has none yet."""
    path = root / COINS_FILE
    return read_secret(path) if path.exists() else None


def make_private(folder: Path) -> None:
    """Make a folder, and what it lies in; it alone is for its owner only. One that is there keeps its permissions."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)


@contextmanager
def owner_only() -> Iterator[None]:
    """What is made meanwhile can be read by its owner alone: files are 600, folders 700."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def keep_secret(root: Path, secret: Secret) -> None:
    """Write a run's secret where its owner alone can read it. One that is there already is never replaced."""
    path = root / COINS_FILE
    make_private(root)
    make_private(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(secret.text())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)  # fails where there is one, and is whole or not there
    finally:
        temporary.unlink()
