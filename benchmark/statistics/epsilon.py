"""Lower bounds on the epsilon of differential privacy, from guesses about who was a member.

Every bound here holds with probability ``confidence`` over the game's fair coins: on scores that
know nothing it exceeds 0 at most as often as its level. Whatever was chosen by looking at the
coins (a threshold, a number of guesses) must be paid for; the functions that take scores do so.
"""

from functools import lru_cache
from math import erfc, inf, log, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincinv, gammaln, log_ndtr, ndtr, ndtri
from scipy.stats import binom

from benchmark.statistics.estimate import (
    check_count,
    check_probability,
    check_scores,
    lower_bound,
    unresolved,
)
from benchmark.statistics.intervals import clopper_pearson

_NORMAL = NormalDist()

GUESS_FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares of the candidates that are guessed, fixed before any audit."""


def _percent(confidence):
    return f"{100 * confidence:g} % confidence"


# --- One run -------------------------------------------------------------------------------------


def one_run_p_value(epsilon, guesses_right, guesses_made, n_coins, delta=0.0):
    """Bound on the probability of so many right guesses under (epsilon, delta)-DP.

    Parameters
    ----------
    epsilon : float, at least 0
    guesses_right, guesses_made, n_coins : int
        ``0 <= guesses_right <= guesses_made <= n_coins``.
    delta : float in [0, 1], default=0.0

    Returns
    -------
    float
        min(1, beta + 2 m delta alpha), with beta = Pr[Bin(r, q) >= v], alpha the maximum over i of
        Pr[v > Bin(r, q) >= v - i] / i, and q = e^epsilon / (1 + e^epsilon).

    References
    ----------
    Steinke, Nasr and Jagielski (2023), arXiv 2305.08846, theorem 5.2 and algorithm 1.
    """
    law = _guess_law(guesses_made)(epsilon)
    return _one_run_p(law, guesses_right, n_coins, delta)


def _guess_law(guesses):
    """Return epsilon -> the law of the number of right guesses, (r + 1,), normalised."""
    k = np.arange(guesses + 1)
    log_choose = gammaln(guesses + 1.0) - gammaln(k + 1.0) - gammaln(guesses - k + 1.0)

    def law(epsilon):
        weights = log_choose - (guesses - k) * epsilon  # log q = epsilon + log(1 - q)
        return np.exp(weights - guesses * np.log1p(np.exp(-epsilon)))

    return law


def _one_run_p(law, right, n_coins, delta):
    tail = law[right:].sum()
    if delta == 0 or right == 0:
        return float(min(tail, 1.0))
    windows = np.cumsum(law[right - 1 :: -1]) / np.arange(1, right + 1)
    return float(min(tail + 2 * n_coins * delta * windows.max(), 1.0))


def one_run_epsilon(guesses_right, guesses_made, n_coins, delta=0.0, confidence=0.95):
    """Lower bound on epsilon from one training run.

    Each of m fair, independent coins decides whether a record (or an identity) is a member. The
    attacker guesses r of them, abstaining on the rest, and gets v right. The number of guesses must
    be fixed without looking at the coins; see ``one_run_epsilon_from_scores``.

    Parameters
    ----------
    guesses_right, guesses_made, n_coins : int
        ``0 <= guesses_right <= guesses_made <= n_coins``.
    delta : float in [0, 1), default=0.0
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    float
        The largest epsilon whose p-value, with that of every smaller one, is at most
        ``1 - confidence``; 0 if there is none.

    Raises
    ------
    ValueError
        If the counts are not as above.

    References
    ----------
    Steinke, Nasr and Jagielski (2023), arXiv 2305.08846.

    Examples
    --------
    >>> round(one_run_epsilon(100, 100, 100), 4)
    3.493
    """
    check_count("n_coins", n_coins, 0)
    check_count("guesses_made", guesses_made, 0, n_coins)
    check_count("guesses_right", guesses_right, 0, guesses_made)
    check_probability("confidence", confidence)
    if not 0 <= delta < 1:
        raise ValueError(f"delta must be at least 0 and less than 1. Got {delta!r}.")
    if guesses_right == 0:
        return 0.0
    level = 1 - confidence
    wrong = guesses_made - guesses_right
    share = float(betaincinv(guesses_right, wrong + 1, level))  # Pr[Bin(r, share) >= v] = level
    pure = log(share) - np.log1p(-share) if share > 0.5 else 0.0
    if delta == 0 or pure <= 0:
        return float(max(pure, 0.0))
    law = _guess_law(guesses_made)

    def excess(epsilon):
        return _one_run_p(law(epsilon), guesses_right, n_coins, delta) - level

    if excess(0.0) >= 0:
        return 0.0
    if excess(pure) <= 0:  # delta is lost in rounding
        return float(pure)
    return float(max(brentq(excess, 0.0, pure, xtol=1e-9), 0.0))


def one_run_ceiling(n_guesses, n_coins, delta=0.0, confidence=0.95):
    """Largest lower bound that this many guesses can certify: all of them right.

    Parameters
    ----------
    n_guesses, n_coins : int
    delta : float in [0, 1), default=0.0
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    float
    """
    return one_run_epsilon(n_guesses, n_guesses, n_coins, delta, confidence)


def guess_counts(n_coins, fractions=GUESS_FRACTIONS, delta=0.0, confidence=0.95):
    """Numbers of guesses to try, from the number of coins alone, so fixed in advance.

    Parameters
    ----------
    n_coins : int
    fractions : sequence of float in (0, 1]
    delta : float in [0, 1), default=0.0
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    list of int
        Distinct, ascending. A count so small that even without a mistake it would certify nothing
        after the correction for their number is left out, which the coins have no say in.
    """
    if len(fractions) == 0 or not all(0 < f <= 1 for f in fractions):
        raise ValueError(f"guess_fractions must lie in (0, 1]. Got {tuple(fractions)!r}.")
    counts = sorted({round(f * n_coins) for f in fractions} - {0})
    while counts and not one_run_ceiling(
        counts[0], n_coins, delta, 1 - (1 - confidence) / len(counts)
    ):
        counts = counts[1:]
    return counts


def right_guesses(scores, coins, counts, sides="two", seed=0):
    """Count the right guesses among the most confident ones.

    Parameters
    ----------
    scores : array-like of shape (m,)
    coins : array-like of bool, shape (m,)
    counts : sequence of int
        Numbers of guesses r.
    sides : {"two", "one"}, default="two"
        "two": the ceil(r/2) highest scores are called members and the floor(r/2) lowest
        non-members. "one": the r highest are called members.
    seed : int, default=0
        Ties are broken by a seeded permutation: the order of the candidates could know the coins.

    Returns
    -------
    list of int
    """
    scores, coins = check_scores(scores, coins)
    if sides not in ("two", "one"):
        raise ValueError(f'sides must be "two" or "one". Got {sides!r}.')
    ranked = coins[_surest_first(scores, seed)]
    members = np.append(0, np.cumsum(ranked))
    nonmembers = np.append(0, np.cumsum(~ranked[::-1]))
    made = np.asarray(counts, dtype=np.int64)
    high = made if sides == "one" else (made + 1) // 2
    return [int(v) for v in members[high] + nonmembers[made - high]]


def _surest_first(scores, seed=0):
    """Rows by falling score, ties in a random order that does not know the coins."""
    shuffle = np.random.default_rng(seed).permutation(scores.size)
    return shuffle[np.argsort(-scores[shuffle], kind="stable")]


def _best_guess_count(scores, coins, bound, fractions, sides, seed, delta, confidence):
    """Return (epsilon, right, made, number of counts tried), each at the corrected level."""
    counts = guess_counts(coins.size, fractions, delta, confidence)
    right = right_guesses(scores, coins, counts, sides, seed)
    each = 1 - (1 - confidence) / max(len(counts), 1)
    tried = [
        (bound(v, r, coins.size, delta, each), v, r) for v, r in zip(right, counts, strict=True)
    ]
    best = max(tried, key=lambda entry: entry[0], default=(0.0, 0, 0))
    return *best, len(counts)


def one_run_epsilon_from_scores(
    scores,
    coins,
    delta=0.0,
    confidence=0.95,
    guess_fractions=GUESS_FRACTIONS,
    sides="two",
    seed=0,
):
    """One-run lower bound on epsilon from scores, corrected for choosing the number of guesses.

    Parameters
    ----------
    scores : array-like of shape (m,)
        Finite; higher means more likely a member. One score per coin: where the coin is tossed per
        identity, combine the records of an identity first.
    coins : array-like of bool, shape (m,)
        Fair, independent; True for a member.
    delta : float in [0, 1), default=0.0
    confidence : float in (0, 1), default=0.95
    guess_fractions : sequence of float in (0, 1]
        Shares of the coins to guess, fixed in advance; Bonferroni over those that ``guess_counts``
        keeps.
    sides : {"two", "one"}, default="two"
        Whether the lowest scores are guessed to be non-members too; see ``right_guesses``.
    seed : int, default=0
        For breaking ties.

    Returns
    -------
    Estimate
        The lower bound as ``value`` and ``low``, ``high`` infinite. Unresolved when there are too
        few coins for any bound above 0.

    References
    ----------
    Steinke, Nasr and Jagielski (2023), arXiv 2305.08846.
    """
    scores, coins = check_scores(scores, coins)
    name = "one-run (Steinke et al. 2023)"
    settings = (guess_fractions, sides, seed, delta, confidence)
    return _best_bound(name, scores, coins, one_run_epsilon, *settings)


def _best_bound(name, scores, coins, bound, guess_fractions, sides, seed, delta, confidence):
    """The Estimate of the best bound over the numbers of guesses."""
    epsilon, right, made, tried = _best_guess_count(
        scores, coins, bound, guess_fractions, sides, seed, delta, confidence
    )
    method = (
        f"{name}, {sides}-sided, Bonferroni over {tried} guess counts, "
        f"delta={delta:g}, {_percent(confidence)}"
    )
    if not tried:
        return unresolved(method, _too_few_coins(coins.size, confidence))
    return lower_bound(epsilon, f"{method}; best with {right} of {made} guesses right")


def _too_few_coins(n_coins, confidence):
    return (
        f"not resolvable: {n_coins} coins cannot certify an epsilon above 0 "
        f"at {_percent(confidence)}, however well they are guessed"
    )


# --- Several games -------------------------------------------------------------------------------


class Look(NamedTuple):
    """One way of counting guesses, fixed before any coin is seen.

    Attributes
    ----------
    games : tuple of int
        The games whose guesses are added up.
    share : int
        Which share of each game's candidates is guessed.
    made, coins : int
        Guesses and coins in all of these games.
    level : float
        Error that is spent on this look, on either direction.
    """

    games: tuple[int, ...]
    share: int
    made: int
    coins: int
    level: float


def guesses_of(n_coins, fractions=GUESS_FRACTIONS):
    """Numbers of guesses in a game with so many coins, one for each share; ``(n_shares,) int64``."""
    return np.array([round(f * n_coins) for f in fractions], dtype=np.int64)


@lru_cache(maxsize=512)
def guess_looks(sizes, confidence=0.95, attacks=1, fractions=GUESS_FRACTIONS):
    """All ways in which the guesses of an attack over several games are counted.

    Games with fresh coins are one game with all of their coins: a record's coin in one of them has no say in the
    others. So right guesses add up. Where games differ much, the best alone can show more than all together: the error
    is split in half between all games together and the games one by one, which share theirs equally.

    Parameters
    ----------
    sizes : tuple of int
        Coins of each game.
    confidence : float in (0, 1), default=0.95
        With which all bounds hold: every look, for every attack and in both directions (Bonferroni).
    attacks : int, default=1
        Attacks among which the best is taken.
    fractions : tuple of float in (0, 1]
        Shares of the candidates that are guessed.

    Returns
    -------
    tuple of Look
        Without those that would certify nothing even without a mistake, which the coins have no say in.

    References
    ----------
    Steinke, Nasr and Jagielski (2023), arXiv 2305.08846, theorem 5.2: the coins of all games are independent, and each
    of them changes one record of one game.
    """
    every = tuple(range(len(sizes)))
    groups = [(every, 1.0 if len(sizes) < 2 else 0.5)]
    groups += [((g,), 0.5 / len(sizes)) for g in every if len(sizes) > 1]
    counts = np.array([guesses_of(m, fractions) for m in sizes]).reshape(len(sizes), len(fractions))
    looks = []
    for games, part in groups:
        error = (1 - confidence) * part / (2 * attacks)
        made = counts[list(games)].sum(axis=0)
        kept = {int(r): i for i, r in enumerate(made) if r}
        while kept and 2.0 ** -min(kept) >= error / len(kept):
            del kept[min(kept)]
        coins = sum(sizes[g] for g in games)
        looks += [Look(games, i, r, coins, error / len(kept)) for r, i in sorted(kept.items())]
    return tuple(looks)


def surest(scores, fractions=GUESS_FRACTIONS, seed=0):
    """Who is guessed to be what, for each share.

    Parameters
    ----------
    scores : ndarray of shape (m,)
    fractions : sequence of float in (0, 1]
    seed : int, default=0
        For breaking ties.

    Returns
    -------
    ndarray of shape (n_shares, m), int8
        1 for the ceil(r/2) highest scores (members), -1 for the floor(r/2) lowest (non-members), else 0. In the other
        direction all guesses are turned round, and as many are right as are wrong here.
    """
    order = _surest_first(np.asarray(scores, dtype=np.float64), seed)
    guessed = np.zeros((len(fractions), order.size), dtype=np.int8)
    for row, made in zip(guessed, guesses_of(order.size, fractions), strict=True):
        row[order[: (made + 1) // 2]] = 1
        row[order[order.size - made // 2 :]] = -1
    return guessed


def right_of(guessed, coins):
    """Numbers of right guesses, ``(n_shares,) int64``, for coins ``(m,)``; ``guessed`` as in :func:`surest`."""
    return guessed.astype(np.int64) @ coins + (guessed < 0).sum(axis=1)


@lru_cache(maxsize=4096)
def fewest_right(look):
    """Right guesses from which on a look certifies an epsilon above 0; more than were made if none does."""
    return int(binom.isf(look.level, look.made, 0.5)) + 1


def looks_bound(looks, right, bound):
    """The best bound over looks, in either direction.

    Parameters
    ----------
    looks : sequence of Look
    right : ndarray of shape (n_games, n_shares), int
        Right guesses of each game, as :func:`right_of` counts them.
    bound : callable
        ``(right, made, coins, confidence, at_least) -> float``, of which a value up to ``at_least`` may be told as 0.

    Returns
    -------
    value : float
    right, made : int
        Of the look that gave it; 0 where none exceeds 0.
    """
    best = (0.0, 0, 0)
    for look in looks:
        v = int(right[list(look.games), look.share].sum())
        v = max(v, look.made - v)
        if v >= fewest_right(look):
            value = bound(v, look.made, look.coins, 1 - look.level, best[0])
            best = max(best, (value, v, look.made))
    return best


def pooled_epsilon(right, sizes, confidence=0.95, attacks=1, gaussian_delta=None):
    """Lower bound on epsilon from an attack's guesses in several games, in either direction.

    Parameters
    ----------
    right : ndarray of shape (n_games, n_shares), int
    sizes : sequence of int
        Coins of each game.
    confidence : float in (0, 1), default=0.95
    attacks : int, default=1
        Attacks among which the best will be taken.
    gaussian_delta : float in (0, 1), optional
        With it, the bound assumes a Gaussian trade-off curve and is stated at this delta
        (:func:`one_run_fdp_mu`); else it is :func:`one_run_epsilon`, at delta 0.

    Returns
    -------
    Estimate
        Unresolved when there are too few coins for any bound above 0.
    """
    looks = guess_looks(tuple(int(m) for m in sizes), confidence, attacks)
    name = "one-run (Steinke et al. 2023), delta=0"
    if gaussian_delta is not None:
        name = (
            "one-run f-DP (Mahloujifar et al. 2024), assuming a Gaussian trade-off curve, "
            f"delta={gaussian_delta:g}"
        )
    pooled = "" if len(sizes) < 2 else f"{len(sizes)} games added up or one by one, "
    method = (
        f"{name}, both directions, {pooled}Bonferroni over {len(looks) * attacks * 2} looks, "
        f"{_percent(confidence)}"
    )
    if not looks:
        return unresolved(method, _too_few_coins(sum(sizes), confidence))
    value, v, made = looks_bound(looks, right, _pure_bound if gaussian_delta is None else _mu_bound)
    if gaussian_delta is not None:
        value = gdp_mu_to_epsilon(value, gaussian_delta)
    said = f"; best with {v} of {made} guesses right" if made else ""
    return lower_bound(value, method + said)


def pooled_ceiling(sizes, confidence=0.95, attacks=1, gaussian_delta=None):
    """Largest value that :func:`pooled_epsilon` can take: every guess right; parameters as there."""
    right = np.array([guesses_of(m) for m in sizes])
    return pooled_epsilon(right, sizes, confidence, attacks, gaussian_delta)


def _pure_bound(right, made, coins, confidence, at_least):
    return one_run_epsilon(right, made, coins, 0.0, confidence)


def _mu_bound(right, made, coins, confidence, at_least):
    return one_run_fdp_mu(right, made, coins, confidence, at_least, tolerance=1e-4)


# --- One run, f-DP -------------------------------------------------------------------------------


def one_run_fdp_mu(
    guesses_right, guesses_made, n_coins, confidence=0.95, at_least=0.0, tolerance=1e-6
):
    """Lower bound on mu from one run, if the mechanism's trade-off curve is Gaussian.

    With p_c the probability of exactly c right guesses, f-DP gives for every i
    sum_{c >= i} (c/m) p_c <= 1 - f(sum_{c >= i - 1} ((r - c)/m) p_c): a right guess about a
    uniformly chosen coin becomes a wrong one when that coin is tossed again. Starting from
    sum_{c >= v} p_c = 1 - confidence and going down, the total mass needed may exceed what there
    is, r/m; then the curve f is refuted.

    Parameters
    ----------
    guesses_right, guesses_made, n_coins : int
        ``0 <= guesses_right <= guesses_made <= n_coins``, the number of guesses fixed in advance.
    confidence : float in (0, 1), default=0.95
    at_least : float, at least 0, default=0.0
        Bounds of less than this need not be told apart from 0, which saves the time to find them.
    tolerance : float, default=1e-6
        Relative; the bound is rounded down by at most that.

    Returns
    -------
    float
        The largest mu refuted; 0 if not even ``at_least`` is. The constraints are not
        tight for mu near 0 (59 of 100 right, binomial tail 4.4 %, do not refute mu = 0 at 5 %).

    References
    ----------
    Mahloujifar, Melis and Chaudhuri (2025), ICML, arXiv 2410.22235; with the probabilities scaled by
    r/m for abstention.
    """
    check_count("n_coins", n_coins, 0)
    check_count("guesses_made", guesses_made, 0, n_coins)
    check_count("guesses_right", guesses_right, 0, guesses_made)
    check_probability("confidence", confidence)
    counts = (guesses_right, guesses_made, n_coins, 1 - confidence)
    if guesses_right == 0 or not _gaussian_refuted(at_least, *counts):
        return 0.0
    low, high = at_least, at_least + 0.25
    while high < 64 and _gaussian_refuted(high, *counts):
        low, high = high, 2 * high
    while high - low > tolerance * max(high, 1e-2):
        middle = (low + high) / 2
        low, high = (middle, high) if _gaussian_refuted(middle, *counts) else (low, middle)
    return low


def _gaussian_refuted(mu, right, made, coins, level):
    """Whether mu-GDP rules out, at this level, that many right guesses."""
    mass = level * made / coins
    hits, misses = mass * right / made, mass * (made - right) / made
    available = made / coins
    for i in range(right - 1, -1, -1):
        shifted = 0.5 * erfc((mu - _NORMAL.inv_cdf(hits)) / sqrt(2))
        if shifted > misses:
            hits += i / (made - i) * (shifted - misses)
            misses = shifted
        if hits + misses > available:
            return True
    return False


def one_run_fdp_epsilon(guesses_right, guesses_made, n_coins, delta=1e-5, confidence=0.95):
    """One-run lower bound on epsilon for a Gaussian trade-off curve, tighter than the general one.

    Parameters
    ----------
    guesses_right, guesses_made, n_coins : int
        ``0 <= guesses_right <= guesses_made <= n_coins``.
    delta : float in (0, 1), default=1e-5
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    float
        Epsilon at ``delta`` of the largest mu refuted. It assumes the family of Gaussian curves:
        label it so.

    References
    ----------
    Mahloujifar, Melis and Chaudhuri (2025), ICML, arXiv 2410.22235.
    """
    return gdp_mu_to_epsilon(
        one_run_fdp_mu(guesses_right, guesses_made, n_coins, confidence), delta
    )


def one_run_fdp_epsilon_from_scores(
    scores,
    coins,
    delta=1e-5,
    confidence=0.95,
    guess_fractions=GUESS_FRACTIONS,
    sides="two",
    seed=0,
):
    """One-run f-DP bound from scores; parameters as in ``one_run_epsilon_from_scores``.

    Returns
    -------
    Estimate
        A lower bound that assumes a Gaussian trade-off curve, as its method says; mu is rounded down by
        at most 1e-4 relative, to save time.
    """
    scores, coins = check_scores(scores, coins)
    best_mu = 0.0

    def bound(right, made, n_coins, delta, level):
        """Only a count that beats those before it needs its bound."""
        nonlocal best_mu
        mu = one_run_fdp_mu(right, made, n_coins, level, at_least=best_mu, tolerance=1e-4)
        best_mu = max(mu, best_mu)
        return gdp_mu_to_epsilon(mu, delta)

    name = "one-run f-DP (Mahloujifar et al. 2024), assuming a Gaussian trade-off curve"
    settings = (guess_fractions, sides, seed, delta, confidence)
    return _best_bound(name, scores, coins, bound, *settings)


# --- Many runs -----------------------------------------------------------------------------------


def many_run_epsilon_from_counts(
    true_positives, positives, false_positives, negatives, delta=0.0, confidence=0.95
):
    """Lower bound on epsilon from the two error rates of a fixed test over independent trials.

    Parameters
    ----------
    true_positives, positives : int
        Trials with the record called "in", and trials with it in.
    false_positives, negatives : int
        Trials without the record called "in", and trials without it.
    delta : float in [0, 1), default=0.0
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    float
        The larger of ln((TPR_lo - delta)/FPR_hi) and its mirror ln((TNR_lo - delta)/FNR_hi), at
        least 0. The same two Clopper-Pearson limits, each missing with probability
        (1 - confidence)/2, serve both.

    References
    ----------
    Jagielski, Ullman and Oprea (2020), NeurIPS; Nasr et al. (2021), IEEE S&P.
    """
    limits = _error_limits(true_positives, positives, false_positives, negatives, confidence)
    return float(_epsilon_between(*limits, delta))


def _epsilon_between(tpr_low, fpr_high, delta):
    """Vectorised: the better direction of the two, at least 0."""
    with np.errstate(divide="ignore"):
        forward = np.log(np.maximum(tpr_low - delta, 0.0)) - np.log(fpr_high)
        mirror = np.log(np.maximum(1 - fpr_high - delta, 0.0)) - np.log1p(-tpr_low)
    return np.maximum(np.maximum(forward, mirror), 0.0)


def _mu_between(tpr_low, fpr_high):
    """Vectorised: mu of the Gaussian curve through the two limits, at least 0."""
    with np.errstate(invalid="ignore"):
        return np.where(tpr_low > fpr_high, ndtri(tpr_low) - ndtri(fpr_high), 0.0)


def _error_limits(true_positives, positives, false_positives, negatives, confidence):
    check_count("true_positives", true_positives, 0, positives)
    check_count("false_positives", false_positives, 0, negatives)
    tpr_low = clopper_pearson(true_positives, positives, confidence)[0]
    return tpr_low, clopper_pearson(false_positives, negatives, confidence)[1]


def many_run_epsilon(
    scores, coins, delta=0.0, confidence=0.95, thresholds=None, seed=0, assume=None
):
    """Lower bound on epsilon from independent trials (one record, many trained models).

    Parameters
    ----------
    scores : array-like of shape (n_trials,)
        One score per trial, from independent runs; higher means more likely "in".
    coins : array-like of bool, shape (n_trials,)
        Whether the record was in that trial.
    delta : float in [0, 1), default=0.0
    confidence : float in (0, 1), default=0.95
    thresholds : sequence of float, optional
        Thresholds fixed before the trials; Bonferroni over them. By default a random half of the
        trials chooses the threshold with the best bound and the other half is judged by it.
    seed : int, default=0
        For the split.
    assume : {None, "gaussian"}, default=None
        "gaussian" gives the bound of ``gaussian_dp_epsilon``, labelled so in the method.

    Returns
    -------
    Estimate
        Unresolved unless both halves (or all trials) hold trials with and without the record.

    Raises
    ------
    ValueError
        If ``assume`` or the thresholds are not as above.
    """
    scores, coins = check_scores(scores, coins)
    if assume not in (None, "gaussian"):
        raise ValueError(f'assume must be None or "gaussian". Got {assume!r}.')
    if thresholds is not None and len(thresholds) == 0:
        raise ValueError("thresholds must hold at least one. Got none.")
    method = _many_run_method(delta, confidence, thresholds, assume)
    judged, choosing = _halves(coins, seed) if thresholds is None else (coins == coins,) * 2
    for part in (judged, choosing):
        if not 0 < coins[part].sum() < part.sum():
            return unresolved(
                method,
                "not resolvable: needs trials with and without the record"
                f"{' in each half' if thresholds is None else ''}, "
                f"got {int(coins.sum())} with and {int((~coins).sum())} without",
            )
    if thresholds is None:
        candidates = np.unique(scores[choosing])
        limits = _limits_at(candidates, scores[choosing], coins[choosing], confidence)
        merit = _epsilon_between(*limits, delta) if assume is None else _mu_between(*limits)
        thresholds = [candidates[_middle_of_best(merit)]]
    each = 1 - (1 - confidence) / len(thresholds)
    limits = _limits_at(thresholds, scores[judged], coins[judged], each)
    if assume is None:
        return lower_bound(_epsilon_between(*limits, delta).max(), method)
    return lower_bound(gdp_mu_to_epsilon(float(_mu_between(*limits).max()), delta), method)


def _many_run_method(delta, confidence, thresholds, assume):
    name = "many-run (Clopper-Pearson, both directions)"
    if assume == "gaussian":
        name = "many-run, assuming a Gaussian trade-off curve (Nasr et al. 2023)"
    choice = "threshold from the other half of the trials"
    if thresholds is not None:
        choice = f"Bonferroni over {len(thresholds)} fixed thresholds"
    return f"{name}, delta={delta:g}, {_percent(confidence)}; {choice}"


def _halves(coins, seed):
    """Split the trials in random halves, with and without the record alike."""
    rng = np.random.default_rng(seed)
    judged = np.zeros(coins.size, bool)
    for kind in (True, False):
        trials = rng.permutation(np.flatnonzero(coins == kind))
        judged[trials[: (trials.size + 1) // 2]] = True
    return judged, ~judged


def _middle_of_best(merit):
    best = np.flatnonzero(np.isclose(merit, np.max(merit)))
    return best[best.size // 2]


def _limits_at(thresholds, scores, coins, confidence):
    """Lower limit of the TPR and upper limit of the FPR at each threshold."""
    positives, negatives = np.sort(scores[coins]), np.sort(scores[~coins])
    true = positives.size - np.searchsorted(positives, thresholds)
    false = negatives.size - np.searchsorted(negatives, thresholds)
    tpr_low = clopper_pearson(true, positives.size, confidence)[0]
    return tpr_low, clopper_pearson(false, negatives.size, confidence)[1]


def gaussian_dp_mu(true_positives, positives, false_positives, negatives, confidence=0.95):
    """Lower bound on mu from the two error rates, if the trade-off curve is Gaussian.

    Parameters
    ----------
    true_positives, positives, false_positives, negatives : int
        As in ``many_run_epsilon_from_counts``.
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    float
        max(0, Phi^-1(1 - FPR_hi) - Phi^-1(FNR_hi)).

    References
    ----------
    Nasr et al. (2023), USENIX Security, section 4; Dong, Roth and Su (2022), JRSS B 84:3.
    """
    limits = _error_limits(true_positives, positives, false_positives, negatives, confidence)
    return float(_mu_between(*limits))


def gaussian_dp_epsilon(
    true_positives, positives, false_positives, negatives, delta=1e-5, confidence=0.95
):
    """Lower bound on epsilon from the two error rates, *assuming* a Gaussian trade-off curve.

    Much higher than the assumption-free bound at the same number of trials; label it an
    assumption wherever it is shown.

    Parameters
    ----------
    true_positives, positives, false_positives, negatives : int
        As in ``many_run_epsilon_from_counts``.
    delta : float in (0, 1), default=1e-5
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    float
    """
    mu = gaussian_dp_mu(true_positives, positives, false_positives, negatives, confidence)
    return gdp_mu_to_epsilon(mu, delta)


def gdp_delta(epsilon, mu):
    """Delta at epsilon of mu-GDP: Phi(-eps/mu + mu/2) - e^eps Phi(-eps/mu - mu/2).

    Parameters
    ----------
    epsilon : float, at least 0
    mu : float, greater than 0

    Returns
    -------
    float

    References
    ----------
    Dong, Roth and Su (2022), JRSS B 84:3, corollary 1.
    """
    first = ndtr(-epsilon / mu + mu / 2)
    return float(max(first - np.exp(epsilon + log_ndtr(-epsilon / mu - mu / 2)), 0.0))


def gdp_mu_to_epsilon(mu, delta):
    """Epsilon at delta of mu-GDP.

    Parameters
    ----------
    mu : float, at least 0
    delta : float in [0, 1)

    Returns
    -------
    float
        Infinite at ``delta == 0`` unless ``mu`` is 0.

    Examples
    --------
    >>> round(gdp_mu_to_epsilon(1.0, 1e-5), 3)
    4.377
    """
    if mu < 0 or not 0 <= delta < 1:
        raise ValueError(f"mu must be at least 0 and delta in [0, 1). Got {mu!r}, {delta!r}.")
    if mu == 0 or gdp_delta(0.0, mu) <= delta:
        return 0.0
    if delta == 0:
        return inf
    high = 1.0
    while gdp_delta(high, mu) > delta:
        high *= 2
    return float(brentq(lambda epsilon: gdp_delta(epsilon, mu) - delta, 0.0, high, xtol=1e-10))


def epsilon_ceiling(n_trials, confidence=0.95, delta=0.0):
    """Largest epsilon that Clopper-Pearson limits can certify with a perfect attack.

    Parameters
    ----------
    n_trials : int
        Trials with the record, and as many without.
    confidence : float in (0, 1), default=0.95
    delta : float in [0, 1), default=0.0

    Returns
    -------
    float
        ln((p - delta)/(1 - p)), p = ((1 - confidence)/2)^(1/n), at least 0.

    Examples
    --------
    >>> round(epsilon_ceiling(500, confidence=0.99), 3)
    4.542
    """
    check_count("n_trials", n_trials, 1)
    return many_run_epsilon_from_counts(n_trials, n_trials, 0, n_trials, delta, confidence)
