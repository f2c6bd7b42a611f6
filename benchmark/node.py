"""A node of the plan: one piece of work, named by the digest of all that determines its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Node", "Outcome", "Task", "canonical_json", "digest"]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    Raises
    ------
    TypeError
        For what JSON cannot say, NaN and infinity included (as ValueError).
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of ``value``, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Node:
    """One piece of work.

    Parameters
    ----------
    key : str
        64 hexadecimal digits: digest of kind, spec and the keys in ``needs``; never of host, time or engine.
    kind : str
        What is done: ``dataset``, ``units``, ``features``, ``game``, ``yardstick``, ``fit``, ``provenance``, ``embed``,
        ``shadows``, ``embed shadows``, ``refit``, ``fleet``, ``perturb``, ``attack`` or ``utility``.
    label : str
        The same for people, as in ``k_same(k=5) on digits/pixels, seed 0``.
    spec : mapping
        All that the work depends on besides ``needs``, as JSON values.
    needs : tuple of str
        Keys of the nodes whose artifacts it reads; it runs when all of them have finished well.
    time_s, memory_mb : float, int
        Limits. Not part of the key.
    gpu : float
        Share of a GPU that it wants when there is one, 0 for none. Not part of the key.
    sources : mapping of str to str
        Digest of the source of each plugin that its spec names, by role. Not part of the key.
    """

    key: str
    kind: str
    label: str
    spec: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    time_s: float = 600.0
    memory_mb: int = 4096
    gpu: float = 0.0
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What executing a node gave, before it is stored.

    Parameters
    ----------
    values : mapping
        JSON-compatible results; NumPy scalars are taken as numbers, and numbers are finite.
    arrays, tensors : mapping of str to mapping of str to ndarray
        Artifact → name → array, stored as ``<artifact>.npz`` and ``<artifact>.safetensors``.
    status : str
        ``ok``, ``failed``, ``not applicable`` or ``unavailable``.
    reason : str
        One line, for a status other than ``ok``.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    tensors: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    status: str = "ok"
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A node whose inputs are loaded: what is left to do, and what is settled already.

    Parameters
    ----------
    run : callable, optional
        ``run(context) -> Outcome`` may run code of plugins. It holds the node's inputs and nothing that leads to
        others; ``context`` is a mapping with ``device``, ``scratch`` and ``progress``.
    kept : Outcome, optional
        What the referee settles itself. Of two values or arrays of one name, these count and not those of ``run``.
    may_write : bool
        Whether ``run`` may write elsewhere than in its scratch folder, say to cache what it downloads.
    """

    run: Callable[[Mapping[str, Any]], Outcome] | None = None
    kept: Outcome | None = None
    may_write: bool = False
