"""The referee: draws the game, tosses the coins, and turns what attacks answer into outcomes.

Each of ``m`` candidates is a member or not by a fair coin, which is tossed for each *unit* (an identity, equal records;
see :mod:`benchmark.units`), and units are what figures count. Members and non-members are exchangeable, so that nothing
but leakage tells them apart. Everything but the coins can be drawn again by anybody; the coins come from the run's
secret (:mod:`benchmark.coins`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmark.contracts import LeakboardError, Links, Reconstructions, Records, Scores
from benchmark.suite import GameRules

__all__ = [
    "Game",
    "GameError",
    "InvalidAnswer",
    "check_answer",
    "draw_game",
    "draw_shadow_pair",
    "link_outcomes",
    "probes",
    "reconstruction_scores",
    "reveal_coins",
    "subset_rows",
    "toss_coins",
    "unit_means",
]

SHARES: Mapping[str, float] = {
    "candidates": 0.40,
    "auxiliary": 0.22,
    "holdout": 0.23,
    "validation": 0.05,
    "test": 0.10,
}
"""Default share of the pool that each set gets; the holdout must suffice for as many records as there are members."""

FOR_PRIVACY = frozenset({"auxiliary", "holdout"})
"""Sets that attacks and their controls need, and nothing else."""


class GameError(LeakboardError):
    """A game that cannot be drawn: the pool is too small for the sizes asked for."""


class InvalidAnswer(LeakboardError):
    """An attack's answer of the wrong type, shape or range."""


@dataclass(frozen=True, eq=False)
class Game:
    """One draw of the game.

    All index arrays are int64. ``candidates`` (m,), ``auxiliary``, ``holdout`` and ``validation`` are rows of the pool;
    ``test`` are rows of the official test split if ``test_is_official``, else of the pool. ``units`` (m,) numbers the
    coin of each candidate, from 0; ``coins`` (m,) bool is True for members.
    """

    candidates: np.ndarray
    units: np.ndarray
    coins: np.ndarray
    auxiliary: np.ndarray
    holdout: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    test_is_official: bool

    @property
    def members(self) -> np.ndarray:
        """Rows of the pool that the method sees."""
        return self.candidates[self.coins]


def draw_game(
    groups: np.ndarray | None,
    n_pool: int,
    n_official_test: int,
    rules: GameRules,
    rng: np.random.Generator,
    secret_rng: np.random.Generator,
    official_groups: np.ndarray | None = None,
    official_kept: np.ndarray | None = None,
) -> Game:
    """Draw candidates, coins and the disjoint sets.

    Parameters
    ----------
    groups : ndarray of shape (n_pool,), int64, optional
        Unit of each record of the pool; all records of a unit land in one set and share a coin.
    n_pool, n_official_test : int
        Records in the pool and in the official test split, 0 for none.
    rules : GameRules
        Sizes in records; None shares what is left in proportion to :data:`SHARES`.
    rng : numpy.random.Generator
        Source of the draw, which anybody may repeat.
    secret_rng : numpy.random.Generator
        Source of the coins.
    official_groups : ndarray of shape (n_official_test,), int64, optional
        Units of the official test split, of which whole ones are drawn too.
    official_kept : ndarray of shape (any,), int64, optional
        Rows of the official test split to draw from, where the others have equals in the pool; by default all.

    Raises
    ------
    GameError
        When the sizes do not fit the pool, or when a set or a side of the coin stays empty.
    """
    names = [n for n in SHARES if not (n == "test" and n_official_test)]
    if rules.members == "all":
        names = [n for n in names if n not in FOR_PRIVACY]
    sizes = _sizes(names, n_pool, rules)
    sets = dict(zip(names, _deal(groups, n_pool, [sizes[n] for n in names], rng), strict=True))
    if n_official_test:
        kept = np.arange(n_official_test) if official_kept is None else official_kept
        if len(kept) == 0:
            raise GameError(
                f"all {n_official_test} records of the official test split have equals in the pool. "
                "Use a test split that shares no record with it, or none."
            )
        wanted = min(rules.test or len(kept), len(kept))
        own = None if official_groups is None else official_groups[kept]
        sets["test"] = kept[_deal(own, len(kept), [wanted], rng)[0]]
    empty = [name for name, rows in sets.items() if len(rows) == 0]
    if empty:
        raise GameError(
            f"the pool of {n_pool} records is too small: no record left for {', '.join(empty)}. "
            "Ask for a smaller game in the suite (datasets: game:)."
        )
    candidates = sets["candidates"]
    identities = candidates if groups is None else groups[candidates]
    _, units = np.unique(identities, return_inverse=True)
    # Pseudonyms: numbering by order of identity would say something of the dataset's own order.
    units = rng.permutation(units.max() + 1)[units].astype(np.int64)
    return Game(
        candidates=candidates,
        units=units,
        coins=np.ones(len(units), bool)
        if rules.members == "all"
        else toss_coins(units, secret_rng),
        auxiliary=sets.get("auxiliary", np.empty(0, np.int64)),
        holdout=sets.get("holdout", np.empty(0, np.int64)),
        validation=sets["validation"],
        test=sets["test"],
        test_is_official=bool(n_official_test),
    )


def toss_coins(units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A fair coin for each unit, as ``(m,) bool`` over the candidates.

    Raises
    ------
    GameError
        When all coins fall on one side.
    """
    n = int(units.max()) + 1
    coins = np.asarray((rng.random(n) < 0.5)[units])
    if coins.all() or not coins.any():
        raise GameError(
            f"all {n} coins fell on one side. Ask for more candidates in the suite (datasets: game:)."
        )
    return coins


def _sizes(names: list[str], n_pool: int, rules: GameRules) -> dict[str, int]:
    given = {n: getattr(rules, n) for n in names if getattr(rules, n) is not None}
    left = n_pool - sum(given.values())
    if left < 0:
        asked = " + ".join(f"{v} {k}" for k, v in given.items())
        raise GameError(
            f"the game asks for {asked} = {sum(given.values())} records, but the pool has {n_pool}. "
            "Lower the sizes in the suite (datasets: game:) or use a larger dataset."
        )
    share = sum(SHARES[n] for n in names if n not in given)
    return {n: given[n] if n in given else int(left * SHARES[n] / share) for n in names}


def _deal(
    groups: np.ndarray | None, n: int, sizes: list[int], rng: np.random.Generator
) -> list[np.ndarray]:
    """Deal whole identities, in random order, into sets of about these sizes; rows of a set come shuffled."""
    identity = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    counts = np.bincount(identity)
    order = rng.permutation(len(counts))
    middle = np.empty(len(counts))
    middle[order] = np.cumsum(counts[order]) - counts[order] / 2
    dealt = np.searchsorted(np.cumsum(sizes), middle, side="right")[identity]
    shuffled = rng.permutation(n)
    return [shuffled[dealt[shuffled] == i].astype(np.int64) for i in range(len(sizes))]


def subset_rows(
    groups: np.ndarray | None, n: int, size: int | None, rng: np.random.Generator
) -> np.ndarray:
    """Sorted rows of a random subset of about ``size`` records made of whole identities; all rows for None.

    Raises
    ------
    GameError
        When the subset is larger than the dataset.
    """
    if size is None:
        return np.arange(n)
    if size > n:
        raise GameError(
            f"the subset asks for {size} records, but the dataset has {n}. Lower it in the suite."
        )
    return np.sort(_deal(groups, n, [size], rng)[0])


def reveal_coins(units: np.ndarray, coins: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a gate is told: 1.0 or 0.0 for the candidates of a random half of the units, NaN for the others."""
    n = units.max() + 1
    told = np.zeros(n, dtype=bool)
    told[rng.permutation(n)[: n // 2]] = True
    return np.where(told[units], coins.astype(np.float64), np.nan)


def draw_shadow_pair(units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which candidates two shadows are fitted on: a random half of the units, and the other half.

    The target's members are a random half of the units too, so shadows match it in size and in kind; with pairs, every
    candidate is in one shadow of each two and out of the other. Drawn without the coins.

    Parameters
    ----------
    units : ndarray of shape (m,), int64
        Number of each candidate's coin, from 0; a unit's candidates stay together.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (2, m), bool
        The second row is the complement of the first.
    """
    n = units.max() + 1
    first = np.zeros(n, dtype=bool)
    first[rng.permutation(n)[: n // 2]] = True
    return np.stack([first[units], ~first[units]])


def check_answer(answer: object, m: int, n_released: int) -> Scores | Links | Reconstructions:
    """The answer itself, once its type, shapes and ranges are right.

    Raises
    ------
    InvalidAnswer
        With what was got and what is allowed.
    """
    if isinstance(answer, Scores):
        _expect_vector("scores.values", answer.values, m, np.floating)
        if not np.isfinite(answer.values).all():
            raise InvalidAnswer(
                f"scores must be finite. Got NaN or infinity for {int((~np.isfinite(answer.values)).sum())} of {m}."
            )
        if answer.decisions is not None:
            _expect_vector("scores.decisions", answer.decisions, m, np.bool_)
        if answer.copies is not None or answer.copy_distances is not None:
            _check_copies(answer.copies, answer.copy_distances, m, n_released)
    elif isinstance(answer, Links):
        _expect_vector("links.released", answer.released, m, np.integer)
        if answer.released.min() < 0 or answer.released.max() >= n_released:
            raise InvalidAnswer(f"links must be rows of the release, in 0 … {n_released - 1}.")
    elif isinstance(answer, Reconstructions):
        if len(answer.records) == 0:
            raise InvalidAnswer("reconstructions must hold at least one record. Got none.")
        if answer.targets is not None:
            _check_targets(answer.targets, len(answer.records), n_released)
    else:
        raise InvalidAnswer(
            f"an attack must return Scores, Links or Reconstructions. Got {type(answer).__name__} instead."
        )
    return answer


def _check_copies(copies: object, distances: object, m: int, n_released: int) -> None:
    for name, array, kind in (
        ("copies", copies, np.integer),
        ("copy_distances", distances, np.floating),
    ):
        if (
            not isinstance(array, np.ndarray)
            or array.shape != (n_released,)
            or not np.issubdtype(array.dtype, kind)
        ):
            raise InvalidAnswer(
                f"scores.{name} must be {kind.__name__} of shape ({n_released},), one per released record, "
                "and copies and copy_distances come together."
            )
        if name == "copies" and (array.min() < -1 or array.max() >= m):
            raise InvalidAnswer(
                f"scores.copies must be rows of the candidates, in 0 … {m - 1}, or −1 for none."
            )
        if not np.isfinite(array).all():
            raise InvalidAnswer(f"scores.{name} must be finite.")


def _check_targets(targets: object, n: int, n_released: int) -> None:
    if (
        not isinstance(targets, np.ndarray)
        or targets.dtype != np.int64
        or targets.shape != (n,)
        or targets.min() < -1
        or targets.max() >= n_released
    ):
        raise InvalidAnswer(
            f"reconstructions.targets must be int64 of shape ({n},), rows of the release in 0 … {n_released - 1} "
            "or −1 for none."
        )


def _expect_vector(name: str, array: object, m: int, kind: type) -> None:
    if (
        not isinstance(array, np.ndarray)
        or array.shape != (m,)
        or not np.issubdtype(array.dtype, kind)
    ):
        got = (
            f"{array.dtype} {array.shape}"
            if isinstance(array, np.ndarray)
            else type(array).__name__
        )
        raise InvalidAnswer(
            f"{name} must be {kind.__name__} of shape ({m},), one per candidate. Got {got} instead."
        )


def reconstruction_scores(
    reconstructed: Records, candidates: Records, auxiliary: Records
) -> np.ndarray:
    """Scores from reconstructed records: nearness to the nearest one, relative to how near other real records are.

    Minus the log of the ratio between the distance to the nearest reconstruction and the distance to the nearest
    auxiliary record, ``(m,) float64``. Calibrated in this way a candidate in a dense region is not scored for that.
    """
    from benchmark.learning.neighbours import nearest

    to_reconstructed, _ = nearest(candidates.flat(), reconstructed.flat())
    to_auxiliary, _ = nearest(candidates.flat(), auxiliary.flat())
    tiny = 1e-12
    return np.asarray(
        np.log(to_auxiliary[:, 0] + tiny) - np.log(to_reconstructed[:, 0] + tiny), dtype=np.float64
    )


def unit_means(values: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Mean of ``values`` (m,) over the records of each unit, ``(n_units,) float64``, by number of the unit.

    NaN values are left out; a unit with none is NaN.
    """
    known = ~np.isnan(values)
    n = units.max() + 1
    total = np.bincount(units[known], weights=values[known], minlength=n)
    count = np.bincount(units[known], minlength=n)
    return np.divide(total, count, out=np.full(n, np.nan), where=count > 0)


def probes(units: np.ndarray) -> np.ndarray:
    """Row of the first candidate of each unit, ``(n_units,) int64``: one independent trial for each identity."""
    return np.unique(units, return_index=True)[1]


def link_outcomes(
    links: np.ndarray, origin: np.ndarray, units: np.ndarray, coins: np.ndarray
) -> np.ndarray:
    """Whether each member identity's probe was linked to a released record that stands for that identity.

    Parameters
    ----------
    links : ndarray of shape (m,), int
        Released row for each candidate.
    origin : ndarray of shape (n_released,), int64
        Row among the members (candidates with heads, in order) that each released record stands for.
    units, coins : ndarray of shape (m,)
        As in :class:`Game`.

    Returns
    -------
    ndarray of shape (n_member_units,), bool
    """
    member_units = units[coins]
    probe = probes(units)
    probe = probe[coins[probe]]
    return np.asarray(member_units[origin[links[probe]]] == units[probe])
