"""From what attacks answered to whether a release leaks: exact tests over people, one error for all of them.

If a release says nothing of its members, then who is a member is a coin toss given everything else, and the number of
members among the people that any rule points at is hypergeometric. No distribution is assumed, and no sample is large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, hypergeom, norm

__all__ = [
    "Counts",
    "chance_seen",
    "counts_of",
    "excess_p_value",
    "least_auc_seen",
    "least_exposed",
    "least_share_seen",
    "level_of",
]


VERBATIM = 0.5
"""Share of the error that the test for records released as they are has; all others share the rest alike.

Copies of a few people move no attack's AUC: the one test that is made to see them does not pay for the many that are
not. It was fixed before any release is looked at, as weights must be.
"""


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


def level_of(test: str, n_tests: int, error: float) -> float:
    """The part of ``error`` that one of ``n_tests`` has (weighted Bonferroni); one of them is called ``verbatim``.

    Examples
    --------
    >>> level_of("verbatim", 6, 0.05), round(level_of("auc", 6, 0.05), 4)
    (0.025, 0.005)
    """
    if n_tests == 1:
        return error
    return error * (VERBATIM if test == "verbatim" else (1 - VERBATIM) / (n_tests - 1))


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


def least_share_seen(
    n_members: int, n_controls: int, level: float, power: float = 0.8, by_chance: float = 0.0
) -> float:
    """Least share of members that, if exposed, would have been found with probability ``power``.

    Exposed people are always pointed at, others with probability ``by_chance``. Exact where that is 0; else the number
    of controls pointed at is taken at its expectation.

    Returns
    -------
    float
        In (0, 1]; NaN when not even all of them would be found.
    """
    k = _fewest_found(n_members, n_controls, level, by_chance)
    if k is None:
        return float("nan")
    shares = np.arange(1, n_members + 1) / n_members
    pointed = shares + (1 - shares) * by_chance
    enough = binom.sf(k - 1, n_members, pointed) >= power
    return float(shares[int(np.argmax(enough))]) if enough.any() else float("nan")


def chance_seen(n_members: int, n_controls: int, level: float, share: float) -> float:
    """Probability that it is found where each member is exposed with probability ``share``, and no control.

    Examples
    --------
    >>> round(chance_seen(100, 100, 0.05, 0.05), 3)  # five members or more among those pointed at
    0.564
    """
    k = _fewest_found(n_members, n_controls, level, 0.0)
    return 0.0 if k is None else float(binom.sf(k - 1, n_members, share))


def _fewest_found(n_members: int, n_controls: int, level: float, by_chance: float) -> int | None:
    """Fewest members who, pointed at beside the expected number of controls, are found to be too many."""
    k_controls = round(by_chance * n_controls)
    for k in range(1, n_members + 1):
        counts = Counts(
            k_members=k, n_members=n_members, k_controls=k_controls, n_controls=n_controls
        )
        if excess_p_value(counts) <= level:
            return k
    return None


def least_auc_seen(n_members: int, n_controls: int, level: float, power: float = 0.8) -> float:
    """Least AUC that a two-sided test would have told from 1/2 with probability ``power``.

    By the normal approximation with the variance under the null, (n + 1) / (12 · members · controls).
    """
    variance = (n_members + n_controls + 1) / (12 * n_members * n_controls)
    return float(0.5 + (norm.isf(level / 2) + norm.ppf(power)) * np.sqrt(variance))


def adjusted(p_values: Sequence[float]) -> list[float]:
    """p-values times their number, at most 1 (Bonferroni)."""
    return [min(1.0, p * len(p_values)) for p in p_values]
