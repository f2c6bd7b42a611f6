"""What a plugin is given beside its data: the context of a call, and what an attack sees of a release."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.contracts.answers import Release
from benchmark.contracts.records import Records

if TYPE_CHECKING:
    import torch

__all__ = ["Access", "Context", "Shadows", "View"]


def _silent(fraction: float, message: str = "") -> None:
    """The progress callback of those who do not listen."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What belongs to one call rather than to the configuration.

    Parameters
    ----------
    seed : int
        In [0, 2**63). All randomness of the call derives from it.
    device : str, default="cpu"
        A torch device: ``"cpu"`` or ``"cuda"``.
    scratch : Path
        An empty folder that is removed afterwards.
    progress : callable
        ``progress(fraction, message)`` with fraction in [0, 1].
    holdout : Records, optional
        Fresh real records that are neither candidates, auxiliary, validation nor test records. Given only to methods
        whose ``info.needs_holdout`` is true, which only controls may ask for.
    members : Records, optional
        The real records that the release was fitted on. Given only to utilities whose ``info.needs_members`` is true;
        never to methods (which get them as such) and never to attacks.
    base : Release, optional
        The restored release of the method that :meth:`Method.base` names, fitted on the same members. Given only to
        methods that name one.
    """

    seed: int
    device: str = "cpu"
    scratch: Path = Path(".")
    progress: Callable[..., None] = _silent
    holdout: Records | None = None
    members: Records | None = None
    base: Release | None = None

    def derive(self, *names: str | int) -> int:
        """A seed in [0, 2**63) for the stream called ``names``; streams of different names are independent."""
        text = "\x1f".join([str(self.seed), *map(str, names)])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def rng(self, *names: str | int) -> np.random.Generator:
        """A fresh NumPy generator for the stream called ``names``: the same one at each call."""
        return np.random.default_rng(self.derive(*names))

    def torch_generator(self, *names: str | int, device: str = "cpu") -> torch.Generator:
        """A fresh torch generator for the stream called ``names``.

        Draw on the CPU (the default) and move the result where the same numbers are wanted on every device.
        """
        import torch

        return torch.Generator(device=device).manual_seed(self.derive(*names))


class Access(IntEnum):
    """Threat models: what an attacker may use of a release. A view grants this level and no more.

    ``NONE``: nothing; ``RECORDS``: the released dataset; ``SAMPLER``: also as many new draws as it likes; ``WEIGHTS``:
    also the trained generator, differentiable; ``TRAINER``: takes part in the training of a downstream model on the
    release. Every release allows ``TRAINER``, which needs only its records; the others form a ladder.
    """

    NONE = 0
    RECORDS = 1
    SAMPLER = 2
    WEIGHTS = 3
    TRAINER = 4

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, kw_only=True)
class Shadows:
    """Releases of the same method, with the same parameters, on training sets that the attacker chose.

    Parameters
    ----------
    releases : tuple of Records
        ``S`` shadow releases, of the kind and space of the release under attack.
    included : ndarray of shape (S, m), bool
        Which candidates each was fitted on: a random half of the units, which is the size of the target's training
        set up to the coins' chance. Shadows come in complementary pairs, so that every candidate is in half of them.
        Not the coins, which the attacker does not know.
    included_auxiliary : ndarray of shape (S, a), bool
        The same for the auxiliary records; all False as long as shadows are fitted on candidates alone.
    """

    releases: tuple[Records, ...]
    included: np.ndarray
    included_auxiliary: np.ndarray


@dataclass(frozen=True, kw_only=True)
class View:
    """What an attack sees of a release: exactly what ``access`` grants; the rest is None.

    ``shadows`` is given to attacks that ask for them (``info.shadows`` or a parameter ``shadows``, a number above 0).

    ``reference`` is a release of the same method, with the same parameters, fitted on auxiliary records: as many as
    there are members, or all where there are fewer. It has ``sample`` and ``weights`` as far as ``access`` goes, and is
    given to attacks that ask for it (``info.reference`` or a true parameter ``reference``).

    ``known_coins`` is given to gates only (access NONE): 1.0 for a revealed member, 0.0 for a revealed non-member,
    NaN for a candidate whose coin is hidden; only hidden ones are scored by the referee.
    """

    access: Access
    records: Records | None = None
    sample: Callable[[int, np.ndarray | None, np.random.Generator], Records] | None = None
    weights: torch.nn.Module | None = None
    known_coins: np.ndarray | None = None
    shadows: Shadows | None = None
    reference: Release | None = None
