"""The sealed coins of a split: whose records a generator was allowed to see, drawn from a secret, with a commitment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.coins import Secret
from benchmark.contracts import LeakboardError
from benchmark.datasets.collection import Collection, Source
from benchmark.datasets.image_folder import ImageFolder
from benchmark.datasets.locate import sha256_file
from benchmark.node import canonical_json

__all__ = [
    "COINS",
    "HELD_BACK",
    "TRAIN",
    "AuditError",
    "Seal",
    "match_seal",
    "read_seal",
    "record_digests",
]

TRAIN, HELD_BACK, COINS = "train", "held-back", "coins.json"
"""What a split writes: the members, the controls and the sealed coins."""


class AuditError(LeakboardError):
    """What was given cannot be audited; the message says what is wrong, what is allowed and what to do."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seal:
    """The coins of a split.

    ``units`` (N,) numbers the person of each record, ``coins`` (N,) is True for those in ``train/``, ``at_stake`` (N,)
    is False for those that went there without a coin. ``digests`` names the records by their content, in the order in
    which they were read.
    """

    secret: Secret
    digests: tuple[str, ...]
    units: np.ndarray
    at_stake: np.ndarray

    @property
    def coins(self) -> np.ndarray:
        """Derived from the secret, so that no other coins can be claimed: ``(N,) bool``."""
        tossed = self.secret.rng("audit split").random(int(self.units.max()) + 1) < 0.5
        return np.asarray(tossed[self.units] | ~self.at_stake)

    @property
    def commitment(self) -> str:
        """SHA-256 of the secret and of who the coins are for, as 64 hexadecimal digits."""
        return hashlib.sha256(canonical_json(self._content()).encode()).hexdigest()

    def text(self) -> str:
        """The file of coins."""
        return canonical_json({**self._content(), "commitment": self.commitment}) + "\n"

    def _content(self) -> dict[str, Any]:
        return {
            "format": 1,
            "secret": self.secret.value.hex(),
            "records": list(self.digests),
            "units": self.units.tolist(),
            "at_stake": self.at_stake.astype(int).tolist(),
        }


def record_digests(source: Source, collection: Collection) -> tuple[str, ...]:
    """SHA-256 of each record: of its file, or of its row of numbers as they are read."""
    if isinstance(source, ImageFolder):
        return tuple(sha256_file(file.path) for file in source.files)
    return tuple(hashlib.sha256(row.tobytes()).hexdigest() for row in collection.data)


def read_seal(path: Path) -> Seal:
    """The coins of a split, checked against their commitment.

    Raises
    ------
    AuditError
        When it is no file of coins, or does not agree with itself.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        seal = Seal(
            secret=Secret(bytes.fromhex(content["secret"])),
            digests=tuple(map(str, content["records"])),
            units=np.array(content["units"], dtype=np.int64),
            at_stake=np.array(content["at_stake"], dtype=bool),
        )
        commitment, shapes = content["commitment"], {seal.units.shape, seal.at_stake.shape}
        whole = shapes == {(len(seal.digests),)} and len(seal.secret.value) == 32
        whole = whole and len(seal.digests) > 0 and seal.units.min() >= 0
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise AuditError(
            f"{path} is no file of coins ({type(error).__name__}: {error}). Give the {COINS} that "
            "`python -m benchmark audit split` wrote."
        ) from error
    if not whole or seal.commitment != commitment:
        raise AuditError(f"{path} does not agree with its own commitment: it was changed.")
    return seal


def match_seal(
    seal: Seal, members: Sequence[str], controls: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which record of the split each member and each control is.

    Returns
    -------
    units : ndarray of shape (n_members + n_controls,), int64
        The person of each.
    at_stake : ndarray of the same shape, bool
        Whether a coin was tossed for them.
    coins : ndarray of the same shape, bool

    Raises
    ------
    AuditError
        When they are not just the records of the split, each on the side where its coin put it.
    """
    rows: dict[str, list[int]] = {}
    for row in range(len(seal.digests) - 1, -1, -1):
        rows.setdefault(seal.digests[row], []).append(row)
    coins = seal.coins
    found = []
    for side, digests in ((True, members), (False, controls)):
        for digest in digests:
            row = rows[digest].pop() if rows.get(digest) else -1
            if row < 0 or coins[row] != side:
                what = "members" if side else "controls"
                raise AuditError(
                    f"the {what} are not those of the coins: one of them "
                    + (
                        "was not in the split, or has been changed. "
                        if row < 0
                        else "was on the other side. "
                    )
                    + f"Give {TRAIN} as members and {HELD_BACK} as controls, as they were written."
                )
            found.append(row)
    missing = len(seal.digests) - len(found)
    if missing:
        raise AuditError(
            f"{missing:,} records of the split are neither among the members nor among the controls. "
            f"Give all of {TRAIN} and all of {HELD_BACK}."
        )
    index = np.array(found)
    return seal.units[index], seal.at_stake[index], coins[index]
