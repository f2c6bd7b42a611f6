"""Who leaks less, and who is more useful? Methods compared in pairs, on the same candidates and the same test records.

All methods of a game face the same candidates, coins and attacks, so what is common to them cancels in a difference:
its variance comes from the covariances of the AUCs (DeLong). The worst case of a method is that of the attack whose AUC
lies farthest from 1/2. That one method leaks more than another is claimed only where one of its attacks, turned the way
it points, beats *every* attack on the other in *both* directions: a test that holds whichever of these is the other's
true worst case, and pays for the attacks among which the first was chosen.

Over seeds the differences have an error within a seed and a spread between seeds; the latter is averaged over as in
:func:`benchmark.statistics.over_seeds`. One seed shows no spread, so :data:`ASSUMED_SPREAD` is paid for in its place:
a small difference of two releases is no difference of two methods.

Utilities are compared likewise: the classifiers that were trained on two releases of a game classify the same test
records, so only those count that one gets right and the other wrong. What a seed changes there (the release, and the
training of the classifier) is no part of what they share, so its prior is :data:`UTILITY_SPREAD`, not the error within.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, owens_t

from benchmark.statistics.estimate import Estimate, check_probability
from benchmark.statistics.leaks import floor_variance
from benchmark.statistics.membership import placements
from benchmark.statistics.utility import cluster_effect

_EFFECTS = np.square(np.tan(np.pi / 2 * (np.arange(120) + 0.5) / 120))
"""Quantiles of the prior of the variance between seeds, in units of its squared scale: a half-Cauchy deviation."""

LEAK_SCALE = 0.5
"""Scale of that prior for leaks, in standard errors within a seed: methods of one game share much of what a seed
changes, so that less is left of it."""

MOST_LENT = 4
"""Degrees of freedom, at most, that the spread between seeds of a pair borrows from the other pairs of the board."""

ASSUMED_SPREAD = 0.03
"""Standard deviation of a method's AUC between seeds that is allowed for where there is one seed, which shows none."""

UTILITY_SPREAD = 0.02
"""Standard deviation of a method's utility between seeds: allowed for where there is one seed, and the scale of what is
expected where there are more."""


@dataclass(frozen=True, eq=False)
class SharedGame:
    """What the attacks said of several methods in one game.

    Parameters
    ----------
    coins : ndarray of shape (m,), bool
    scores : mapping of method to mapping of attack to ndarray of shape (m,)
        The sets of attacks may differ: a worst case is one over the attacks that there are.
    """

    coins: np.ndarray
    scores: Mapping[Any, Mapping[Any, np.ndarray]]


@dataclass(frozen=True, eq=False)
class SharedTest:
    """Which test records of one game the classifiers that were trained on several releases get right.

    Parameters
    ----------
    labels : ndarray of shape (n,), int
        Classes of the test records, from 0.
    right : mapping of method to ndarray of shape (n,), bool
    groups : ndarray of shape (n,), int, optional
        Identity of each record: see :func:`benchmark.statistics.utility.cluster_effect`.
    """

    labels: np.ndarray
    right: Mapping[Any, np.ndarray]
    groups: np.ndarray | None = None


class Pair(NamedTuple):
    """Two methods compared.

    Attributes
    ----------
    left, right : hashable
    difference : Estimate
        Of left's figure (worst case, or utility) minus right's. The interval leaves out 0 just where ``p`` is at most
        the family error; its limits are at the level of the pair's step in Holm's procedure.
    p : float
        Two-sided, adjusted for all pairs (Holm).
    n_seeds : int
    """

    left: Any
    right: Any
    difference: Estimate
    p: float
    n_seeds: int


class _Areas(NamedTuple):
    """AUC - 1/2 of every method and attack in one game, ``(r,)``, and their covariances, ``(r, r)``."""

    rows: dict[tuple[Any, Any], int]
    values: np.ndarray
    covariance: np.ndarray


def compare_leaks(
    games: Sequence[SharedGame],
    confidence: float = 0.95,
    shared: float = 0.0,
) -> list[Pair]:
    """Compare the worst cases of all pairs of methods.

    Parameters
    ----------
    games : sequence of SharedGame
        One for each seed. Two methods are compared over the seeds that both have, in which an attack has to be there
        whenever it is in any.
    confidence : float in (0.5, 1), default=0.95
        That no two methods of equal worst cases are told apart, over all pairs (Holm).
    shared : float in [0, 1], default=0.0
        Share of the variance within seeds that is common to all of them; see
        :func:`benchmark.statistics.over_seeds`.

    Returns
    -------
    list of Pair
        For every two methods, in the order in which they appear, that share a seed.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44:837, for the covariances; Berger (1982), Technometrics
    24:295, for the test against all attacks; Holm (1979), Scandinavian Journal of Statistics 6:65.
    """
    check_probability("confidence", confidence)
    areas = [_areas(game) for game in games]
    methods = list(dict.fromkeys(m for game in games for m in game.scores))
    pairs = []
    for i, left in enumerate(methods):
        for right in methods[i + 1 :]:
            both = [n for n, g in enumerate(games) if g.scores.get(left) and g.scores.get(right)]
            if both:
                here = [areas[n] for n in both]
                more = _Claim.of(here, left, right, shared)
                less = _Claim.of(here, right, left, shared)
                pairs.append((left, right, more, less, len(both)))
    return _holm(_lend(pairs, len(methods)), confidence, "the same candidates (DeLong)")


def compare_utilities(
    tests: Sequence[SharedTest],
    confidence: float = 0.95,
    shared: float = 1.0,
    against: Any = None,
) -> list[Pair]:
    """Compare the balanced accuracies of pairs of methods on the same test records.

    Parameters
    ----------
    tests : sequence of SharedTest
        One for each seed. Two methods are compared over the seeds that both have.
    confidence : float in (0.5, 1), default=0.95
        That no two methods of equal balanced accuracy are told apart, over all pairs (Holm).
    shared : float in [0, 1], default=1.0
        Share of the variance within seeds that is common to all of them: 1 for one official test set, 0 for fresh ones.
    against : hashable, optional
        Compare the others with this method alone.

    Returns
    -------
    list of Pair
        For every two methods, in the order in which they appear, that share a seed; ``right`` is ``against`` if given.

    References
    ----------
    Bonett and Price (2012), Journal of Educational and Behavioral Statistics 37:479, for the two records added to the
    disagreements; Holm (1979), Scandinavian Journal of Statistics 6:65.
    """
    check_probability("confidence", confidence)
    methods = list(dict.fromkeys(m for test in tests for m in test.right))
    sides = list(combinations(methods, 2))
    if against is not None:
        sides = [(m, against) for m in methods if m != against]
    pairs = []
    for left, right in sides:
        found = [_accuracies_apart(t, left, right) for t in tests if {left, right} <= set(t.right)]
        if found:
            values, variances = np.array(found).T
            more = [_utility_claim(values, variances, shared)]
            less = [_utility_claim(-values, variances, shared)]
            pairs.append((left, right, more, less, len(found)))
    return _holm(pairs, confidence, "the same test records")


def _accuracies_apart(test: SharedTest, left: Any, right: Any) -> tuple[float, float]:
    """Difference of two balanced accuracies and its variance, given the classes' sizes.

    As if two more records disagreed, one either way: where few disagree the plain variance is too small, or 0.
    """
    labels = np.asarray(test.labels)
    apart = np.asarray(test.right[left], float) - np.asarray(test.right[right], float)
    counts = np.bincount(labels)
    weights = 1 / (counts[labels] * np.count_nonzero(counts))
    influence = weights * (apart - (np.bincount(labels, apart) / np.maximum(counts, 1))[labels])
    effect = cluster_effect(influence, test.groups)
    added = 2 * np.square(weights).mean()
    return float(weights @ apart), float(effect * (np.square(influence).sum() + added))


def _utility_claim(values: np.ndarray, variances: np.ndarray, shared: float) -> "_Claim":
    within = float(variances.mean())
    scale = max(LEAK_SCALE**2 * within, 2 * UTILITY_SPREAD**2)
    scatter = float(((values - values.mean()) ** 2).sum())
    mean = float(values.mean())
    return _Claim(mean, within, scatter, len(values), shared, 1, scale, UTILITY_SPREAD)


def _lend(pairs, n_methods: int):
    """Let the other pairs say how large seed effects are here, as far as :data:`MOST_LENT` goes."""
    claims = [c for _, _, more, less, _ in pairs for c in (*more, *less) if c.n_seeds > 1]
    expected = sum((c.n_seeds - 1) * c.within for c in claims)
    if expected <= 0:
        return pairs
    ratio = sum(c.scatter for c in claims) / expected

    def lent(claims):
        seeds = claims[0].n_seeds
        freedom = min(MOST_LENT, (n_methods - 2) * (seeds - 1))
        return [c._replace(lent=freedom, ratio=ratio) for c in claims]

    return [(left, right, lent(more), lent(less), n) for left, right, more, less, n in pairs]


def _areas(game: SharedGame) -> _Areas:
    coins = np.asarray(game.coins, dtype=bool)
    names = [(m, a) for m, attacks in game.scores.items() for a in attacks]
    sides = [placements(game.scores[m][a], coins) for m, a in names]
    above, below = (np.array([s[k] for s in sides]).reshape(len(names), -1) for k in (0, 1))
    values = above.mean(axis=1)
    n1, n0 = int(coins.sum()), int((~coins).sum())
    covariance = np.zeros((len(names), len(names)))
    for side, n in ((above, n1), (below, n0)):
        centred = side - side.mean(axis=1, keepdims=True)
        covariance += centred @ centred.T / (max(n - 1, 1) * n)
    least = np.array([floor_variance(max(v, 1 - v), n1, n0) for v in values])
    own = np.maximum(least - np.diag(covariance), 0.0)  # where DeLong's variance is too small
    rows = {name: i for i, name in enumerate(names)}
    return _Areas(rows, values - 0.5, covariance + np.diag(own))


class _Claim(NamedTuple):
    """That one method's worst case exceeds another's: what it rests on.

    ``difference``: mean over seeds, of one attack on each; ``within`` and ``scatter``: error
    within a seed (mean variance) and sum of squares between seeds; ``choices``: ways in which the first was chosen;
    ``scale``: squared scale of the prior of the variance between seeds; ``assumed``: spread of a method where there is
    one seed.
    """

    difference: float
    within: float
    scatter: float
    n_seeds: int
    shared: float
    choices: int
    scale: float
    assumed: float = ASSUMED_SPREAD
    lent: float = 0.0
    ratio: float = 0.0

    @classmethod
    def of(cls, areas: Sequence[_Areas], high: Any, low: Any, shared: float) -> "list[_Claim]":
        """The worst attack on ``high`` against those on ``low``, in either direction, that speak least for it."""
        mine = _attacks(areas, high)
        means = {a: np.mean([g.values[g.rows[high, a]] for g in areas]) for a in mine}
        attack = max(mine, key=lambda a: abs(means[a]))
        turn = 1.0 if means[attack] >= 0 else -1.0
        claims = []
        for other in _attacks(areas, low):
            for sign in (1.0, -1.0):
                found = [_turned(g, (high, attack), turn, (low, other), sign) for g in areas]
                differences, variances = np.array(found).T
                mean = differences.mean()
                scatter = float(((differences - mean) ** 2).sum())
                within = float(variances.mean())
                scale = LEAK_SCALE**2 * within
                more = (len(areas), shared, 2 * len(mine), scale)
                claims.append(cls(float(mean), within, scatter, *more))
        by_ratio = sorted(claims, key=lambda c: c.difference / np.sqrt(c.spread + 1e-300))
        by_limit = sorted(claims, key=lambda c: c.difference - 3 * np.sqrt(c.spread))
        return list(dict.fromkeys([*by_ratio[:2], *by_limit[:2]]))

    @property
    def spread(self) -> float:
        """A first guess at the variance of the mean difference."""
        return (self.within + self.scatter) / self.n_seeds


def _attacks(areas: Sequence[_Areas], method: Any) -> list[Any]:
    """The attacks on a method that took part in all of these games."""
    names = [a for m, a in areas[0].rows if m == method]
    return [a for a in names if all((method, a) in g.rows for g in areas)]


def _turned(game, high, turn, low, sign):
    """Difference of two areas, each times its sign, and its variance."""
    i, j = game.rows[high], game.rows[low]
    c = game.covariance
    variance = c[i, i] + c[j, j] - 2 * turn * sign * c[i, j]
    return turn * game.values[i] - sign * game.values[j], max(variance, 0.0)


def _deviations(claim: _Claim) -> tuple[np.ndarray, float, np.ndarray]:
    """Weights of the seed effects' variances given the scatter, the error of the mean, and the effects on it."""
    n, within = claim.n_seeds, claim.within
    if n == 1:
        return np.ones(1), float(np.sqrt(within)), np.array([np.sqrt(2) * claim.assumed])
    effects = claim.scale * _EFFECTS
    own = np.maximum((1 - claim.shared) * within + effects, 1e-12 * within)
    seen, freedom = claim.scatter + claim.lent * within * claim.ratio, n - 1 + claim.lent
    log_weight = -freedom / 2 * np.log(own) - seen / (2 * own)
    weight = np.exp(log_weight - log_weight.max())
    error = np.sqrt(claim.shared * within + (1 - claim.shared) * within / n)
    return weight / weight.sum(), float(error), np.sqrt(effects / n)


def _tail(claim: _Claim, shift: float, choices: int = 1) -> float:
    """Probability of a difference as large as was seen when the true one is ``shift``.

    The error within seeds is paid for once for each choice of an attack; the effect of a seed is the release's, and all
    attacks on it share it.
    """
    distance = claim.difference - shift
    if claim.within <= 0:
        return 0.0 if distance > 0 else 1.0
    weight, error, effects = _deviations(claim)
    if choices == 1:
        return float(weight @ ndtr(-distance / np.hypot(error, effects)))
    return float(weight @ _any_of(choices, distance, error, effects))


def _any_of(choices: int, distance: float, error: float, effects: np.ndarray) -> np.ndarray:
    """Mean of min(1, choices Φ((effect Z - distance) / error)) over a standard normal Z; as ``effects``.

    Beyond some Z the minimum is 1; what is left is a bivariate normal probability.
    """
    sure = (distance - error * ndtri(1 - 1 / choices)) / effects
    whole = np.hypot(error, effects)
    both = bivariate_normal(sure, -distance / whole, -effects / whole)
    return np.minimum(1.0, ndtr(-sure) + choices * both)


def bivariate_normal(h: np.ndarray, k: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """Probability that two standard normals lie below ``h`` and ``k``.

    Parameters
    ----------
    h, k : ndarray
    correlation : ndarray, in (-1, 1)

    Returns
    -------
    ndarray

    References
    ----------
    Owen (1956), Annals of Mathematical Statistics 27:1075, equation 2.1.

    Examples
    --------
    >>> round(float(bivariate_normal(0.0, 0.0, 0.5)), 6)
    0.333333
    """
    h, k = (np.where(x == 0, 1e-300, x) for x in np.broadcast_arrays(h, k))
    root = np.sqrt(1 - np.square(correlation))
    with np.errstate(over="ignore"):
        at_h, at_k = (k / h - correlation) / root, (h / k - correlation) / root
    apart = np.where(np.signbit(h) != np.signbit(k), 0.5, 0.0)
    found = (ndtr(h) + ndtr(k)) / 2 - owens_t(h, at_h) - owens_t(k, at_k) - apart
    return np.clip(found, 0.0, 1.0)


def _p_value(claims: Sequence[_Claim]) -> float:
    """One-sided, of "its worst case is not the larger one": it has to hold against every attack."""
    return max(_tail(c, 0.0, c.choices) for c in claims)


def _limit(claim: _Claim, level: float) -> float:
    """The least difference that the claim does not rule out at this level."""
    if claim.within <= 0:
        return claim.difference
    scale = np.sqrt(claim.within + claim.scatter)
    low = claim.difference - scale
    while _tail(claim, low, claim.choices) > level and low > -2:
        scale *= 2
        low = claim.difference - scale
    if _tail(claim, low, claim.choices) > level:
        return -1.0
    root = brentq(lambda d: _tail(claim, d, claim.choices) - level, low, claim.difference)
    return float(max(root, -1.0))


def _holm(pairs, confidence: float, same: str) -> list[Pair]:
    """Adjusted p-values and intervals; ``same`` says what the methods of a pair share."""
    raw = np.array([2 * min(_p_value(more), _p_value(less)) for _, _, more, less, _ in pairs])
    adjusted, level = holm(raw, 1 - confidence)
    found = []
    for (left, right, more, less, n), p, error in zip(pairs, adjusted, level, strict=True):
        low, high = (min(_limit(c, error / 2) for c in claims) for claims in (more, less))
        high = -high
        value = float(np.clip(min(c.difference for c in more), low, high))
        over = f"one seed: a spread of {more[0].assumed} between seeds is assumed"
        over = f"hierarchical over {n} seeds" if n > 1 else over
        said = f"paired on {same}, {over}, Holm over {len(pairs)} pairs"
        found.append(Pair(left, right, Estimate(value, low, high, said), p, n))
    return found


def holm(p_values: np.ndarray, error: float) -> tuple[np.ndarray, np.ndarray]:
    """Holm's adjusted p-values, and the level at which each hypothesis was tested.

    Parameters
    ----------
    p_values : ndarray of shape (n,)
    error : float in (0, 1)
        Of the family.

    Returns
    -------
    adjusted, level : ndarray of shape (n,), float64
        A hypothesis is rejected where ``adjusted <= error``, which is where ``p_values <= level``; those that are not
        have the level of the step that stopped.

    References
    ----------
    Holm (1979), Scandinavian Journal of Statistics 6:65.

    Examples
    --------
    >>> adjusted, level = holm(np.array([0.03, 0.01, 0.02]), 0.05)
    >>> adjusted.round(3).tolist(), level.round(4).tolist()
    ([0.04, 0.03, 0.04], [0.05, 0.0167, 0.025])
    """
    n = len(p_values)
    order = np.argsort(p_values, kind="stable")
    adjusted, level = np.empty(n), np.empty(n)
    running, stopped = 0.0, 0
    for place, i in enumerate(order):
        left = n - place
        running = max(running, min(1.0, left * p_values[i]))
        adjusted[i] = running
        if running <= error:
            level[i] = error / left
        else:
            stopped = stopped or left
            level[i] = error / stopped
    return adjusted, level
