"""Is there a leak? Several attacks, in either direction, over the games of several seeds, judged together.

"Nothing leaks" has no seed effect: the coins of every game are fresh and fair, whatever was trained on them, so the
games are strata of one experiment and are pooled. Two statistics look at it. The pooled AUC of an attack, a mean over
games with weights from the numbers of members and non-members, sees a small leak of many; guesses about the surest
candidates, added up over the games, see a sure leak of few and bound epsilon (:mod:`benchmark.statistics.epsilon`).

Under the null hypothesis the coins of a game are a random choice among its candidates, for all attacks at once. So the
critical value comes from permuting the coins, jointly for all attacks, both directions and both statistics: the test
is exact for any ties, sizes of units and dependence between attacks. The lower limit of an AUC is then the inversion of
that test, so that interval and verdict cannot contradict each other: it lies above 1/2 just where the test rejects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, sqrt
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import rankdata

from benchmark.statistics.epsilon import (
    GUESS_FRACTIONS,
    fewest_right,
    guess_looks,
    pooled_epsilon,
    right_of,
    surest,
)
from benchmark.statistics.estimate import Estimate, check_probability, check_scores, unresolved
from benchmark.statistics.membership import FEW_INVERSIONS, auc_limits, placements

REPLICATES = 1999
"""Permutations of the coins: 5 % of 2,000 is a whole number."""

NEARER, FARTHER = "nearer", "farther"
"""Members score higher than non-members, or lower than them."""


@dataclass(frozen=True, eq=False)
class Game:
    """What several attacks said in one game.

    Parameters
    ----------
    coins : ndarray of shape (m,), bool
        True for a member; one entry for each unit that a coin was tossed for.
    scores : mapping of hashable to ndarray of shape (m,)
        By attack; finite, higher means more likely a member.
    """

    coins: np.ndarray
    scores: Mapping[Any, np.ndarray]


class PooledAUC(NamedTuple):
    """An attack's AUC over the games in which it took part.

    Attributes
    ----------
    value : float
        Mean of the games' AUCs with weights from their sizes; below 1/2 where members score lower.
    null_variance, variance : float
        Of the value when nothing leaks (exact, with ties), and as it is (DeLong's).
    n_members, n_nonmembers : int
        Over all games.
    """

    value: float
    null_variance: float
    variance: float
    n_members: int
    n_nonmembers: int


class Leak(NamedTuple):
    """What one attack shows, its limits corrected for all attacks that were judged with it.

    Attributes
    ----------
    auc : Estimate
        Of the attack turned the way it points, so at least 1/2.
    direction : str
        ``nearer`` where members score higher, ``farther`` where they score lower.
    epsilon : Estimate
        A lower bound, which holds together with the lower limit of the AUC.
    detectable : float
        The least AUC that would have been called a leak with 80 % power.
    """

    auc: Estimate
    direction: str
    epsilon: Estimate
    detectable: float


def pooled_auc(games: Sequence[tuple[np.ndarray, np.ndarray]]) -> PooledAUC:
    """Pool an attack's AUC over games, as over strata.

    Parameters
    ----------
    games : sequence of (scores, coins)
        Each with a member and a non-member.

    Returns
    -------
    PooledAUC
        The weights are the inverse null variances without ties, n₁n₀/(n₁ + n₀ + 1): known before any score.

    References
    ----------
    van Elteren (1960), Bulletin of the ISI 37:351, for the stratified rank test with these weights; Lehmann (1975),
    Nonparametrics, section 3.3; DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44:837.

    Examples
    --------
    >>> import numpy as np
    >>> coins = np.array([True, True, False, False])
    >>> pooled_auc([(np.array([4.0, 3, 2, 1]), coins), (np.array([1.0, 3, 2, 4]), coins)]).value
    0.625
    """
    weights = pooling_weights([coins for _, coins in games])
    value = null = variance = 0.0
    members = others = 0
    for (scores, coins), weight in zip(games, weights, strict=True):
        above, below = placements(scores, coins)
        ranks = rankdata(scores)
        n1, n0 = above.size, below.size
        value += weight * above.mean()
        null += weight**2 * ranks.var(ddof=1) / (n1 * n0 * (n1 + n0))
        variance += weight**2 * _delong(above, below, ranks)
        members, others = members + n1, others + n0
    return PooledAUC(float(value), float(null), float(variance), members, others)


def pooling_weights(coins: Sequence[np.ndarray]) -> np.ndarray:
    """Weights of games ``(n_games,)``, which sum to 1: from the numbers of members and non-members alone."""
    sizes = [(int(c.sum()), int((~c).sum())) for c in coins]
    weights = np.array([n1 * n0 / (n1 + n0 + 1) for n1, n0 in sizes])
    return weights / weights.sum()


def _delong(above, below, ranks):
    """DeLong's variance, with that of chance in its place where a side has one candidate alone."""
    if min(above.size, below.size) < 2:
        return ranks.var(ddof=1) / (above.size * below.size * ranks.size)
    return above.var(ddof=1) / above.size + below.var(ddof=1) / below.size


# --- The joint test ------------------------------------------------------------------------------


def judge_leaks(
    games: Sequence[Game],
    confidence: float = 0.95,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[Any, Leak]:
    """What each of several attacks on one method shows, over all games, in either direction.

    Parameters
    ----------
    games : sequence of Game
        One for each seed, with coins of both kinds. An attack may be missing in some of them.
    confidence : float in (0.5, 1), default=0.95
        With which all limits below hold together: those of all AUCs, in either direction, and of all bounds on
        epsilon. Half of the error is spent on the bounds by Bonferroni; the critical value of the AUCs takes what is
        left when both are judged on the same permuted coins. The upper limit of each AUC is its own at half the error:
        the true worst case is that of one fixed attack, and where nothing leaks no upper limit can fail.
    replicates : int, default=1999
        Permutations of the coins.
    seed : int, default=0
        Of the permutations.

    Returns
    -------
    dict
        Attack -> Leak, in the order in which they first appear.

    References
    ----------
    Westfall and Young (1993), Resampling-Based Multiple Testing, section 2.6, for the joint permutation of the largest
    statistic; Phipson and Smyth (2010), SAGMB 9:39, for its level with a finite number of permutations.
    """
    check_probability("confidence", confidence)
    checked = [_checked(game) for game in games]
    attacks: dict[Any, list[int]] = {}
    for number, game in enumerate(checked):
        for name in game.scores:
            attacks.setdefault(name, []).append(number)
    if not attacks:
        return {}
    pooled = {
        name: pooled_auc([(checked[g].scores[name], checked[g].coins) for g in where])
        for name, where in attacks.items()
    }
    bounds = 1 - (1 - confidence) / 2
    looks = {
        name: guess_looks(tuple(checked[g].coins.size for g in where), bounds, len(attacks))
        for name, where in attacks.items()
    }
    guessed = [{name: surest(s) for name, s in game.scores.items()} for game in checked]
    critical = _critical(checked, attacks, pooled, looks, guessed, confidence, replicates, seed)
    found = {}
    for name, where in attacks.items():
        right = np.array([right_of(guessed[g][name], checked[g].coins) for g in where])
        sizes = [checked[g].coins.size for g in where]
        epsilon = pooled_epsilon(right, sizes, bounds, len(attacks))
        area = turned_auc(pooled[name], critical, confidence, len(attacks))
        direction = NEARER if pooled[name].value >= 0.5 else FARTHER
        found[name] = Leak(area, direction, epsilon, _detectable(pooled[name], critical))
    return found


def _checked(game: Game) -> Game:
    pairs = {name: check_scores(scores, game.coins) for name, scores in game.scores.items()}
    coins = np.asarray(game.coins, dtype=bool)
    if not 0 < coins.sum() < coins.size:
        raise ValueError("a game needs at least 1 member and 1 non-member.")
    return Game(coins, {name: scores for name, (scores, _) in pairs.items()})


@lru_cache(maxsize=16)
def _orders(size: int, replicates: int, seed: int) -> np.ndarray:
    """Random orders of the candidates, ``(size, replicates)``: the first so many of an order are its members."""
    kind = np.uint16 if size <= 1 << 16 else np.uint32
    orders = np.tile(np.arange(size, dtype=kind), (replicates, 1))
    return np.ascontiguousarray(np.random.default_rng(seed).permuted(orders, axis=1).T)


def _critical(games, attacks, pooled, looks, guessed, confidence, replicates, seed):
    """Deviations from chance, in standard errors, beyond which an AUC is no chance, guesses allowed for.

    Under permuted coins, guesses certify something or the largest deviation exceeds this with probability
    1 - ``confidence`` at most.
    """
    largest = np.zeros(replicates)
    certified = np.zeros(replicates, dtype=bool)
    deviation = {name: np.zeros(replicates) for name in attacks}
    added = {name: np.zeros((len(GUESS_FRACTIONS), replicates), np.float32) for name in attacks}
    weights = {
        name: pooling_weights([games[g].coins for g in where]) for name, where in attacks.items()
    }
    for number, game in enumerate(games):
        orders = _orders(game.coins.size, replicates, seed + number)
        coins = (orders < game.coins.sum()).astype(np.float32)
        for name, scores in game.scores.items():
            here = attacks[name].index(number)
            guesses = guessed[number][name]
            rows = np.vstack([_chance_ranks(scores, game.coins), guesses]).astype(np.float32)
            moved = rows @ coins
            right = moved[1:] + (guesses < 0).sum(axis=1, keepdims=True)
            deviation[name] += weights[name][here] * moved[0]
            added[name] += right
            certified |= _certified(looks[name], (here,), right)
    for name, where in attacks.items():
        if len(where) > 1:
            certified |= _certified(looks[name], tuple(range(len(where))), added[name])
        if pooled[name].null_variance > 0:
            scaled = np.abs(deviation[name]) / sqrt(pooled[name].null_variance)
            largest = np.maximum(largest, scaled)
    largest[certified] = inf
    place = int(np.ceil(confidence * (replicates + 1))) - 1
    if place >= replicates:
        return inf
    return float(np.sort(largest)[place]) * (1 + 1e-5)  # a tie with a permutation is no rejection


def _chance_ranks(scores, coins):
    """What each candidate adds to AUC - 1/2 when it is a member; ``(m,)``."""
    members = int(coins.sum())
    ranks = rankdata(scores)
    return (ranks - ranks.mean()) / (members * (coins.size - members))


def _certified(looks, games, right):
    """Whether any look at these games certifies something, ``(k,) bool``, for right guesses ``(n_shares, k)``."""
    found = np.zeros(right.shape[1], dtype=bool)
    for look in looks:
        if look.games == games:
            v = right[look.share]
            found |= np.maximum(v, look.made - v) >= fewest_right(look)
    return found


# --- Limits --------------------------------------------------------------------------------------


def turned_auc(pooled: PooledAUC, critical: float, confidence: float, attacks: int = 1) -> Estimate:
    """Interval of an AUC turned the way it points.

    The lower limit is the θ from which the value lies ``critical`` standard errors off, with a variance that goes in a
    straight line from that of chance at 1/2 to DeLong's at the value: it lies above 1/2 just where the value lies so
    many standard errors of *chance* above 1/2. The upper limit is DeLong's on the logit scale.

    Parameters
    ----------
    pooled : PooledAUC
    critical : float
        See :func:`judge_leaks`.
    confidence : float in (0, 1)
        Of the upper limit, two-sided.
    attacks : int, default=1
        Judged together, for the method's name.

    Returns
    -------
    Estimate
        Value in [1/2, 1]; the lower limit is 1/2 where chance is not ruled out.
    """
    value = max(pooled.value, 1 - pooled.value)
    sizes = pooled.n_members, pooled.n_nonmembers
    distance = value - 0.5
    reach = critical**2
    chance = pooled.null_variance
    low = 0.5
    if chance > 0 and distance**2 > reach * chance:
        spread = max(pooled.variance, floor_variance(value, *sizes))
        slope = reach * (chance - spread) / distance
        low = value - (slope + sqrt(slope**2 + 4 * reach * spread)) / 2
    high = auc_limits(value, pooled.variance, *sizes, confidence).high
    method = "coins permuted for all attacks and directions at once; upper limit DeLong (logit)"
    if attacks > 1:
        method = f"worst of {attacks}, {method}"
    return Estimate(value, float(max(low, 0.5)), float(max(high, value)), method)


def _hanley_mcneil(theta, n_members, n_nonmembers):
    """Variance of an AUC of theta with Newcombe's symmetrised sizes; at 1/2 that of chance without ties."""
    star = (n_members + n_nonmembers) / 2 - 1
    spread = 1 + star * (1 - theta) / (2 - theta) + star * theta / (1 + theta)
    return theta * (1 - theta) * spread / (n_members * n_nonmembers)


def floor_variance(value, n_members, n_nonmembers):
    """What the variance of an AUC is at least where almost nothing is misordered, and DeLong's is too small or 0.

    Parameters
    ----------
    value : float in [0.5, 1]
    n_members, n_nonmembers : int

    Returns
    -------
    float
        Hanley and McNeil's; 0 from :data:`benchmark.statistics.membership.FEW_INVERSIONS` misordered records on.
    """
    few = min(n_members, n_nonmembers)
    if (1 - value) * few >= FEW_INVERSIONS:
        return 0.0
    return _hanley_mcneil(min(value, 1 - 1 / (2 * few)), n_members, n_nonmembers)


def _detectable(pooled: PooledAUC, critical: float, power: float = 0.8) -> float:
    """The AUC whose estimate lies beyond the critical value with this probability; NaN if none does."""
    sizes = pooled.n_members, pooled.n_nonmembers
    at_chance = _hanley_mcneil(0.5, *sizes)

    def short_of(theta):
        spread = pooled.null_variance * _hanley_mcneil(theta, *sizes) / at_chance
        return theta - 0.5 - critical * sqrt(pooled.null_variance) - ndtri(power) * sqrt(spread)

    if pooled.null_variance <= 0 or not np.isfinite(critical) or short_of(1.0) <= 0:
        return float("nan")
    return float(brentq(short_of, 0.5, 1.0))


class WorstLeak(NamedTuple):
    """The worst of several attacks.

    Attributes
    ----------
    name, direction
        The attack with the largest AUC, and which way it points; None and ``""`` when there is none.
    auc : Estimate
    epsilon_name, epsilon
        The attack with the largest bound, and the bound.
    detectable : float
        See :class:`Leak`; of the attack with the largest AUC.
    """

    name: Any
    direction: str
    auc: Estimate
    epsilon_name: Any
    epsilon: Estimate
    detectable: float


def worst_leak(leaks: Mapping[Any, Leak]) -> WorstLeak:
    """The worst case over attacks: the largest value between the largest limits.

    Whatever attacks join, it grows: over part of the attacks that were judged together it is never above that over all
    of them.
    """
    if not leaks:
        none = unresolved("worst of 0", "not resolvable: no attacks")
        return WorstLeak(None, "", none, None, none, float("nan"))
    name = max(leaks, key=lambda n: leaks[n].auc.value)
    worst = leaks[name]
    low, high = (max(getattr(k.auc, side) for k in leaks.values()) for side in ("low", "high"))
    area = Estimate(worst.auc.value, low, high, worst.auc.method)
    best = max(leaks, key=lambda n: leaks[n].epsilon.value if leaks[n].epsilon.resolved else -1.0)
    return WorstLeak(name, worst.direction, area, best, leaks[best].epsilon, worst.detectable)
