"""From what attacks answered to whether a release leaks: exact tests over people, one error for all of them.

If a release says nothing of its members, then who is a member is a coin toss given everything else, and the number of
members among the people that any rule points at is hypergeometric. No distribution is assumed, and no sample is large.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, hypergeom, norm

__all__ = [
    "Counts",
    "chance_seen",
    "counts_of",
    "excess_p_value",
    "fewest_controls",
    "least_auc_seen",
    "least_exposed",
    "least_share_seen",
    "level_of",
]


FEW = ("verbatim", "copies")
"""Tests that are made to see few people: those whose records are released as they are, or nearly."""

SHARE_OF_FEW = 0.5
"""Share of the error that the tests of :data:`FEW` have, alike; all others share the rest alike.

Copies of a few people move no attack's AUC: the tests that are made to see them do not pay for the many that are not.
It was fixed before any release is looked at, as weights must be.
"""

_NUMBERS_OF_CONTROLS = 64
"""So many equally likely numbers of controls that are pointed at by chance stand for all of them."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many people a rule points at: ``k_members`` of ``n_members``, ``k_controls`` of ``n_controls``."""

    k_members: int
    n_members: int
    k_controls: int
    n_controls: int


def counts_of(pointed: np.ndarray, units: np.ndarray, coins: np.ndarray) -> Counts:
    """People with a record that is pointed at.

    Parameters
    ----------
    pointed : ndarray of shape (m,), bool
        By candidate.
    units : ndarray of shape (m,), int64
        The person of each, from 0.
    coins : ndarray of shape (m,), bool
        Whether the person is a member.
    """
    n = int(units.max()) + 1
    any_pointed = np.bincount(units[pointed], minlength=n) > 0
    member = np.bincount(units[coins], minlength=n) > 0
    return Counts(
        k_members=int((any_pointed & member).sum()),
        n_members=int(member.sum()),
        k_controls=int((any_pointed & ~member).sum()),
        n_controls=int((~member).sum()),
    )


def excess_p_value(counts: Counts) -> float:
    """Chance of as many members or more among those pointed at, if the coins were tossed anew (Fisher's exact test).

    Examples
    --------
    >>> round(excess_p_value(Counts(k_members=3, n_members=5, k_controls=0, n_controls=5)), 6)
    0.083333
    """
    pointed = counts.k_members + counts.k_controls
    people = counts.n_members + counts.n_controls
    return float(hypergeom.sf(counts.k_members - 1, people, counts.n_members, pointed))


def level_of(test: str, tests: Sequence[str], error: float) -> float:
    """The part of ``error`` that one of ``tests`` has (weighted Bonferroni), by their kinds.

    Examples
    --------
    >>> tests = ["verbatim", "copies", "auc", "auc", "auc", "auc", "flags"]
    >>> level_of("verbatim", tests, 0.05), round(level_of("auc", tests, 0.05), 4)
    (0.0125, 0.005)
    """
    few = sum(t in FEW for t in tests)
    others = len(tests) - few
    if not few or not others:
        return error / len(tests)
    return error * (SHARE_OF_FEW / few if test in FEW else (1 - SHARE_OF_FEW) / others)


def least_exposed(counts: Counts, level: float) -> int:
    """Members who are surely exposed: with an error of at most ``level``, no fewer are pointed at for being members.

    If e members are, and all others are exchangeable with the controls, then e of those pointed at can be taken away so
    that the rest passes Fisher's test, but with probability ``level``. The bound is the least e that passes.

    Examples
    --------
    >>> least_exposed(Counts(k_members=20, n_members=100, k_controls=0, n_controls=100), 0.05)
    17
    """
    for e in range(counts.k_members + 1):
        rest = Counts(
            k_members=counts.k_members - e,
            n_members=counts.n_members - e,
            k_controls=counts.k_controls,
            n_controls=counts.n_controls,
        )
        if excess_p_value(rest) > level:
            return e
    return counts.k_members


def chance_seen(
    n_members: int, n_controls: int, level: float, share: float, by_chance: float = 0.0
) -> float:
    """Probability that it is found where each member is exposed with probability ``share``, and no control.

    Exposed people are always pointed at, and all others with probability ``by_chance``.

    Examples
    --------
    >>> round(chance_seen(100, 100, 0.05, 0.05), 3)  # five members or more among those pointed at
    0.564
    """
    k_controls = _numbers_of_controls(n_controls, by_chance)
    fewest = _fewest_found(n_members, n_controls, level, k_controls)
    return float(binom.sf(fewest - 1, n_members, share + (1 - share) * by_chance).mean())


def least_share_seen(
    n_members: int, n_controls: int, level: float, power: float = 0.8, by_chance: float = 0.0
) -> float:
    """Least share of members that, if exposed, would have been found with probability ``power``, as above.

    Returns
    -------
    float
        In (0, 1]; NaN when not even all of them would be found.
    """
    k_controls = _numbers_of_controls(n_controls, by_chance)
    fewest = _fewest_found(n_members, n_controls, level, k_controls)[:, None]
    shares = np.arange(1, n_members + 1) / n_members
    pointed = shares + (1 - shares) * by_chance
    enough = binom.sf(fewest - 1, n_members, pointed).mean(axis=0) >= power
    return float(shares[int(np.argmax(enough))]) if enough.any() else float("nan")


def fewest_controls(
    n_members: int, level: float, share: float, power: float = 0.8, by_chance: float = 0.0
) -> int | None:
    """Fewest controls with which exposing ``share`` of the members would be found with probability ``power``.

    Returns
    -------
    int or None
        To two digits, rounded up; None where more than 100 for each member, or ten million, do not suffice.
    """
    sizes = [n * 10**zeros for zeros in range(7) for n in range(10, 100)]
    sizes = [size for size in sizes if size <= 100 * n_members]

    def enough(size: int) -> bool:
        return chance_seen(n_members, size, level, share, by_chance) >= power

    place = bisect_left(sizes, True, key=enough)  # more controls see more
    return sizes[place] if place < len(sizes) else None


def _numbers_of_controls(n_controls: int, by_chance: float) -> np.ndarray:
    """How many controls are pointed at by chance: equally likely numbers, one where there is no chance."""
    if by_chance == 0:
        return np.zeros(1, dtype=np.int64)
    middles = (np.arange(_NUMBERS_OF_CONTROLS) + 0.5) / _NUMBERS_OF_CONTROLS
    return np.asarray(binom.ppf(middles, n_controls, by_chance), dtype=np.int64)


def _fewest_found(
    n_members: int, n_controls: int, level: float, k_controls: np.ndarray
) -> np.ndarray:
    """Fewest members who, pointed at beside ``k_controls (n,)``, are found to be too many; n_members + 1 if none are.

    The p-value falls as their number rises, so that halving the range finds it.
    """
    low, high = np.zeros_like(k_controls), np.full_like(k_controls, n_members + 1)
    while (high - low > 1).any():
        middle = (low + high) // 2
        pointed = middle + k_controls
        found = hypergeom.sf(middle - 1, n_members + n_controls, n_members, pointed) <= level
        low, high = np.where(found, low, middle), np.where(found, middle, high)
    return high


def least_auc_seen(n_members: int, n_controls: int, level: float, power: float = 0.8) -> float:
    """Least AUC that a two-sided test would have told from 1/2 with probability ``power``.

    By the normal approximation with the variance under the null, (n + 1) / (12 · members · controls).
    """
    variance = (n_members + n_controls + 1) / (12 * n_members * n_controls)
    return float(0.5 + (norm.isf(level / 2) + norm.ppf(power)) * np.sqrt(variance))
