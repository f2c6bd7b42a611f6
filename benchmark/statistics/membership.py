"""Membership inference: what the scores of an attack say about who was a member.

Ties are never broken in the attack's favour: the AUC counts a tied pair as one half, and the ROC
has one point per distinct score. Intervals are stated about the population that the candidates
were drawn from, not about these candidates.
"""

from functools import lru_cache
from math import inf, nan, sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, expit, logit, ndtr, ndtri

from benchmark.statistics.estimate import (
    Estimate,
    check_probability,
    check_scores,
    unresolved,
)
from benchmark.statistics.intervals import clopper_pearson, local_level

FEW_INVERSIONS = 10.0
"""Below this many misordered records the DeLong variance is not trusted alone."""


class RocBand(NamedTuple):
    """A ROC curve between its simultaneous confidence limits.

    Attributes
    ----------
    fpr : ndarray of shape (k,), float64
        Ascending grid, from 0 to 1.
    tpr, low, high : ndarray of shape (k,), float64
        Empirical curve (the largest TPR at an empirical FPR of at most ``fpr``) and limits.
    method : str
    """

    fpr: np.ndarray
    tpr: np.ndarray
    low: np.ndarray
    high: np.ndarray
    method: str


def _sizes(coins):
    members = int(coins.sum())
    return members, coins.size - members


def _need_both(coins):
    """Return why the figure cannot be had, or "" when both kinds of candidates are there."""
    members, nonmembers = _sizes(coins)
    if members and nonmembers:
        return ""
    return (
        f"not resolvable: needs at least 1 member and 1 non-member, got {members} and {nonmembers}"
    )


def placements(scores, coins):
    """Share of the other kind that each candidate is on the right side of, ties counting half.

    Parameters
    ----------
    scores : array-like of shape (m,)
    coins : array-like of bool, shape (m,)
        At least one of each kind.

    Returns
    -------
    members : ndarray of shape (n_members,), float64
        For each member the share of non-members that score lower (V10 of DeLong).
    nonmembers : ndarray of shape (n_nonmembers,), float64
        For each non-member the share of members that score higher (V01 of DeLong).

    References
    ----------
    DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44:837.
    """
    scores, coins = np.asarray(scores), np.asarray(coins)
    members, nonmembers = scores[coins], scores[~coins]
    above = _twice_above(members, nonmembers) / (2 * nonmembers.size)
    below = 1 - _twice_above(nonmembers, members) / (2 * members.size)
    return above, below


def _twice_above(scores, others):
    """Twice the number of ``others`` that each score is above, ties counting half: exact integers."""
    others = np.sort(others)
    return np.searchsorted(others, scores, "left") + np.searchsorted(others, scores, "right")


def auc(scores, coins):
    """Area under the ROC curve: Pr[member scores higher than non-member] + half of the ties.

    Parameters
    ----------
    scores : array-like of shape (m,)
        Finite; higher means more likely a member.
    coins : array-like of bool, shape (m,)
        True for a member.

    Returns
    -------
    float
        In [0, 1]; ``nan`` unless there is a member and a non-member.

    Examples
    --------
    >>> auc([3.0, 1.0, 2.0, 1.0], [True, True, False, False])
    0.625
    """
    scores, coins = check_scores(scores, coins)
    n_members, n_nonmembers = _sizes(coins)
    if not (n_members and n_nonmembers):
        return nan
    above = _twice_above(scores[coins], scores[~coins]).sum()
    return float(above / (2 * n_members * n_nonmembers))


def delong_variance(scores, coins):
    """Variance of the AUC by DeLong's placements.

    Parameters
    ----------
    scores : array-like of shape (m,)
    coins : array-like of bool, shape (m,)

    Returns
    -------
    float
        ``nan`` unless there are two members and two non-members.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44:837.
    """
    scores, coins = check_scores(scores, coins)
    if min(_sizes(coins)) < 2:
        return nan
    return float(sum(np.var(v, ddof=1) / v.size for v in placements(scores, coins)))


def newcombe_auc_limits(value, n_members, n_nonmembers, confidence=0.95):
    """Score-like limits of an AUC from the value and the sample sizes alone.

    Each limit is the theta at which the value lies z standard deviations off, the deviation being
    Hanley and McNeil's at theta with Newcombe's symmetrised sizes. Unlike DeLong's variance it
    does not vanish when members and non-members separate perfectly.

    Parameters
    ----------
    value : float in [0, 1]
    n_members, n_nonmembers : int, at least 1
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    low, high : float

    References
    ----------
    Hanley and McNeil (1982), Radiology 143:29; Newcombe (2006), Statistics in Medicine 25:559,
    method 5.
    """
    z = ndtri(0.5 + confidence / 2)
    return (
        1 - _newcombe_upper(1 - value, n_members, n_nonmembers, z),
        _newcombe_upper(value, n_members, n_nonmembers, z),
    )


def _newcombe_upper(value, n_members, n_nonmembers, z):
    """Bisect for the theta above value at which it is z deviations away."""
    value, z = float(value), float(z)  # plain floats: ten times as fast in a loop
    star = (n_members + n_nonmembers) / 2 - 1
    low, high = value, 1.0
    for _ in range(60):
        theta = (low + high) / 2
        spread = 1 + star * (1 - theta) / (2 - theta) + star * theta / (1 + theta)
        variance = theta * (1 - theta) * spread / (n_members * n_nonmembers)
        low, high = (theta, high) if theta - value < z * sqrt(variance) else (low, theta)
    return high


def auc_interval(scores, coins, confidence=0.95):
    """AUC with DeLong's interval on the logit scale, guarded where its variance degenerates.

    On the logit scale the interval stays inside [0, 1] and keeps its coverage at high AUC. When
    almost no record is misordered (fewer than ``FEW_INVERSIONS`` of either kind, counted by their
    placements), or all scores are tied, DeLong's variance is too small or zero; the interval is
    then the union with Newcombe's score interval, which is never a point.

    Parameters
    ----------
    scores : array-like of shape (m,)
        Finite; higher means more likely a member.
    coins : array-like of bool, shape (m,)
        True for a member.
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    Estimate
        Unresolved unless there is a member and a non-member.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44:837; Newcombe (2006), Statistics in
    Medicine 25:559; Qin and Hotilovac (2008), Statistical Methods in Medical Research 17:207, for
    the comparison that prefers the logit scale.
    """
    scores, coins = check_scores(scores, coins)
    check_probability("confidence", confidence)
    if reason := _need_both(coins):
        return unresolved("DeLong (logit)", reason)
    value, variance = auc(scores, coins), delong_variance(scores, coins)
    return auc_limits(value, variance, *_sizes(coins), confidence)


def auc_limits(value, variance, n_members, n_nonmembers, confidence=0.95):
    """Interval of an AUC from its DeLong variance; see ``auc_interval``.

    Parameters
    ----------
    value : float in [0, 1]
    variance : float
        Zero or ``nan`` where it is degenerate.
    n_members, n_nonmembers : int, at least 1
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    Estimate
    """
    usable = variance > 0 and 0 < value < 1
    low, high = 1.0, 0.0
    if usable:
        half = ndtri(0.5 + confidence / 2) * np.sqrt(variance) / (value * (1 - value))
        low, high = expit(logit(value) - half), expit(logit(value) + half)
    if usable and min(value, 1 - value) * min(n_members, n_nonmembers) >= FEW_INVERSIONS:
        return Estimate(float(value), float(low), float(high), "DeLong (logit)")
    wide = newcombe_auc_limits(value, n_members, n_nonmembers, confidence)
    method = "DeLong (logit) or Newcombe, the wider" if usable else "Newcombe (Hanley-McNeil)"
    return Estimate(float(value), float(min(low, wide[0])), float(max(high, wide[1])), method)


def roc(scores, coins):
    """Empirical ROC with one point per distinct score: a tied group is taken whole.

    Parameters
    ----------
    scores : array-like of shape (m,)
        Finite; higher means more likely a member.
    coins : array-like of bool, shape (m,)
        True for a member; at least one of each kind.

    Returns
    -------
    fpr, tpr : ndarray of shape (k + 1,), float64
        From (0, 0) to (1, 1), ascending; k is the number of distinct scores.
    thresholds : ndarray of shape (k + 1,), float64
        Descending; a candidate is called a member when its score is at least the threshold. The
        first is infinite: nobody is called.

    Raises
    ------
    ValueError
        If there is no member or no non-member.
    """
    scores, coins = check_scores(scores, coins)
    if reason := _need_both(coins):
        raise ValueError(f"The ROC is {reason}.")
    false, true, thresholds = _called(scores, coins)
    n_members, n_nonmembers = _sizes(coins)
    return false / n_nonmembers, true / n_members, thresholds


def _called(scores, coins):
    """Count the non-members and members at or above each threshold, from infinity down."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), ranked.size - 1)
    true = np.cumsum(coins[order])[last]
    pad = np.zeros(1, dtype=np.int64)
    false, true = np.append(pad, last + 1 - true), np.append(pad, true)
    return false, true, np.append(inf, ranked[last])


def _simultaneous_limits(scores, coins, confidence):
    """Limits of FPR and TPR that hold at every threshold at once, for both, jointly."""
    false, true, _ = _called(scores, coins)
    each = np.sqrt(confidence)  # members and non-members are independent samples
    n_members, n_nonmembers = _sizes(coins)
    fpr = clopper_pearson(false, n_nonmembers, 1 - local_level(n_nonmembers, each))
    tpr = clopper_pearson(true, n_members, 1 - local_level(n_members, each))
    return fpr, tpr


def roc_band(scores, coins, confidence=0.95):
    """ROC with a band that contains the whole true curve with probability ``confidence``.

    Around the distribution of the members and around that of the non-members stands a band of
    Clopper-Pearson intervals whose common local level makes each hold at all thresholds with
    probability sqrt(confidence); both hold jointly because the two samples are independent. The
    true (FPR, TPR) of every threshold is then in a known rectangle, and the curve between the
    corners of the rectangles. This is Campbell's construction with equal local levels in the
    place of Kolmogorov's constant width, so that it says something at small FPR on a log axis.

    Parameters
    ----------
    scores : array-like of shape (m,)
        Finite; higher means more likely a member.
    coins : array-like of bool, shape (m,)
        True for a member; at least one of each kind.
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    RocBand
        On the grid of all places where a limit or the empirical curve steps.

    Raises
    ------
    ValueError
        If there is no member or no non-member.

    References
    ----------
    Campbell (1994), Statistics in Medicine 13:499; Berk and Jones (1979).
    """
    scores, coins = check_scores(scores, coins)
    fpr, tpr, _ = roc(scores, coins)
    (fpr_low, fpr_high), (tpr_low, tpr_high) = _simultaneous_limits(scores, coins, confidence)
    grid = np.unique(np.concatenate([[0.0, 1.0], fpr, fpr_low, fpr_high]))
    curve = tpr[np.searchsorted(fpr, grid, side="right") - 1]
    # Lower: the best TPR among thresholds whose FPR is surely at most x. Upper: the least TPR
    # limit among thresholds whose FPR is surely at least x. All four limits ascend.
    index = np.searchsorted(fpr_high, grid, side="right") - 1
    low = np.where(index >= 0, tpr_low[np.maximum(index, 0)], 0.0)
    index = np.searchsorted(fpr_low, grid, side="left")
    high = np.where(index < fpr.size, tpr_high[np.minimum(index, fpr.size - 1)], 1.0)
    method = "simultaneous Clopper-Pearson band (equal local levels), joint in TPR and FPR"
    return RocBand(grid, curve, low, high, method)


def tpr_at_fpr(scores, coins, fpr, confidence=0.95, threshold="estimated"):
    """Largest TPR at an empirical FPR of at most ``fpr``, without interpolation.

    Parameters
    ----------
    scores : array-like of shape (m,)
        Finite; higher means more likely a member.
    coins : array-like of bool, shape (m,)
        True for a member.
    fpr : float in (0, 1)
        False-positive rate, such as 0.01.
    confidence : float in (0, 1), default=0.95
    threshold : {"estimated", "given"}, default="estimated"
        What the interval is about. "estimated": the TPR of the attack at a *true* FPR of ``fpr``.
        The threshold was found on the non-members, so its own error is paid for: the distance to
        the Clopper-Pearson limit of the TPR and the distance to the TPR at the threshold whose FPR
        is, at the same confidence, surely below (above) ``fpr`` add up in squares, members and
        non-members being independent. "given": plain Clopper-Pearson for the TPR at the threshold
        that was used, whatever its true FPR; it covers the former far too rarely (48 % to
        73 % of Gaussian pairs of mu 0.5 to 2 at 1 % FPR, 500 non-members).

    Returns
    -------
    Estimate
        Unresolved when ``fpr`` is finer than 1/(number of non-members).

    Raises
    ------
    ValueError
        If ``fpr`` or ``threshold`` is not as above.

    References
    ----------
    Carlini et al. (2022), IEEE S&P, for the figure; Zou and Donner (2008), Statistics in Medicine
    27:1693, for the hybrid (MOVER) interval.
    """
    scores, coins = check_scores(scores, coins)
    check_probability("fpr", fpr)
    check_probability("confidence", confidence)
    if threshold not in ("estimated", "given"):
        raise ValueError(f'threshold must be "estimated" or "given". Got {threshold!r}.')
    method = "Clopper-Pearson"
    if threshold == "estimated":
        method = "hybrid of Clopper-Pearson for TPR and for the threshold's FPR"
    if reason := _need_both(coins) or _too_fine(fpr, coins):
        return unresolved(method, reason)
    if threshold == "estimated":
        return pooled_tpr_at_fpr([(scores, coins)], fpr, confidence)
    true, members = _true_at_empirical(scores, coins, fpr)
    return Estimate(true / members, *clopper_pearson(true, members, confidence), method)


def _true_at_empirical(scores, coins, fpr):
    """Members called at the largest empirical FPR of at most ``fpr``, and all members."""
    n_members, n_nonmembers = _sizes(coins)
    false, true, _ = _called(scores, coins)
    at = np.flatnonzero(false <= fpr * n_nonmembers * (1 + 1e-12))[-1]
    return int(true[at]), n_members


def pooled_tpr_at_fpr(games, fpr, confidence=0.95):
    """TPR at a FPR over several games, the thresholds set in each game for itself.

    Scores of different games are not comparable, so each game has its own threshold, at the same number j of its
    non-members; what is added up are members and non-members beyond them. The FPR beyond the j + 1 highest of n
    non-members is Beta(j + 1, n - j) whatever the scores, so that the mean FPR of S games is, to the order 1/n, a
    Beta variable of S (j + 1): the limit of the TPR is that at the largest j whose mean FPR is surely below ``fpr``
    (above it, for the upper limit). Its distance adds up in squares with that of Clopper and Pearson's limit of the
    TPR, members and non-members being independent. More games resolve a finer FPR, which no mean of their intervals
    does.

    Parameters
    ----------
    games : sequence of (scores, coins)
        At least one.
    fpr : float in (0, 1)
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    Estimate
        The value has each game at its largest empirical FPR of at most ``fpr``; unresolved when that is finer than
        1/(number of non-members) of a game. Where even no non-member at all would not put the FPR surely below
        ``fpr`` the lower limit is 0, and ``reason`` says how many it takes.

    References
    ----------
    Zou and Donner (2008), Statistics in Medicine 27:1693, for the hybrid (MOVER) interval; Wilks (1941), Annals of
    Mathematical Statistics 12:91, for the coverage of order statistics.
    """
    method = "hybrid of Clopper-Pearson for TPR and for the threshold's FPR"
    if len(games) > 1:
        method += f", {len(games)} games added up, thresholds in each"
    for _, coins in games:
        if reason := _need_both(coins) or _too_fine(fpr, coins):
            return unresolved(method, reason)
    true, members = np.sum([_true_at_empirical(*game, fpr) for game in games], axis=0)
    others = sum(_sizes(coins)[1] for _, coins in games)
    value = float(true / members)
    low, high = clopper_pearson(int(true), int(members), confidence)
    below, above = _rank_around(len(games), others, fpr, confidence)
    reason = ""
    if below < 0:
        needed = _fewest_nonmembers(len(games), fpr, confidence)
        reason = f"lower limit not resolvable below {needed} non-members, got {others}"
        low = 0.0
    else:
        beyond = sum(_members_beyond(*game, below) for game in games) / members
        low = max(0.0, value - float(np.hypot(value - low, value - beyond)))
    beyond = 1.0
    if above <= min(_sizes(coins)[1] for _, coins in games):
        beyond = sum(_members_from(*game, above) for game in games) / members
    high = min(1.0, value + float(np.hypot(high - value, max(beyond - value, 0.0))))
    return Estimate(value, low, high, method, reason)


def _members_beyond(scores, coins, rank):
    """Members that score higher than the non-member of this rank, 0 for the highest."""
    ranked = np.sort(scores[~coins])[::-1]
    return int((scores[coins] > ranked[rank]).sum()) if rank < ranked.size else int(coins.sum())


def _members_from(scores, coins, rank):
    """Members that score at least what the non-member of this rank does, counted from 1."""
    return int((scores[coins] >= np.sort(scores[~coins])[::-1][rank - 1]).sum())


@lru_cache(maxsize=256)
def _rank_around(games, nonmembers, fpr, confidence):
    """The rank beyond which the mean FPR is surely at most ``fpr`` (-1 for none), and that from which at least so."""
    tail = (1 - confidence) / 2
    ranks = np.arange(nonmembers // games)
    few = games * (ranks + 1.0)
    surely = betaincinv(few, np.maximum(nonmembers - few + 1, 1e-9), 1 - tail) <= fpr
    below = int(np.flatnonzero(surely)[-1]) if surely.any() else -1
    least = betaincinv(few, np.maximum(nonmembers - few + 1, 1e-9), tail) >= fpr
    return below, int(np.flatnonzero(least)[0]) + 1 if least.any() else nonmembers + 1


@lru_cache(maxsize=256)
def _fewest_nonmembers(games, fpr, confidence):
    """Non-members of all games that it takes for a lower limit above 0."""
    tail = (1 - confidence) / 2
    few, many = games, games + int(50 * games / fpr)
    while few < many:
        middle = (few + many) // 2
        if betaincinv(games, middle - games + 1, 1 - tail) <= fpr:
            many = middle
        else:
            few = middle + 1
    return few


def _too_fine(fpr, coins):
    """Return why this many non-members cannot resolve the FPR, or ""."""
    nonmembers = _sizes(coins)[1]
    needed = int(np.ceil(1 / fpr * (1 - 1e-12)))
    if nonmembers >= needed:
        return ""
    return f"not resolvable: a FPR of {fpr:g} needs at least {needed} non-members, got {nonmembers}"


def advantage(scores, coins, confidence=0.95):
    """Membership advantage: the largest TPR - FPR over all thresholds, at least 0.

    The maximum over thresholds of a noisy curve is biased upwards: on null scores it is about
    0.6 sqrt(1/n_members + 1/n_nonmembers), not 0. So the lower limit is the largest, over
    thresholds, of limits that hold at all thresholds at once (local levels as in ``roc_band``,
    for the harmonic mean of the two sizes). The true advantage is attained at one fixed threshold,
    whose own limit is at most the largest one: for the upper limit no simultaneity is needed. Both
    are hybrid (MOVER) limits of a difference of two proportions from Clopper-Pearson limits.

    Parameters
    ----------
    scores : array-like of shape (m,)
        Finite; higher means more likely a member.
    coins : array-like of bool, shape (m,)
        True for a member.
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    Estimate
        The value is the empirical maximum, biased as said; ``low`` reaches 0 on null scores.

    References
    ----------
    Yeom et al. (2018), CSF, definition 4; Newcombe (1998), Statistics in Medicine 17:873, for the
    hybrid limits.
    """
    scores, coins = check_scores(scores, coins)
    check_probability("confidence", confidence)
    method = "simultaneous over thresholds below, pointwise above (hybrid Clopper-Pearson)"
    if reason := _need_both(coins):
        return unresolved(method, reason)
    false, true, _ = _called(scores, coins)
    n_members, n_nonmembers = _sizes(coins)
    best = np.append(false[1:] > false[:-1], True) & np.append(True, true[1:] > true[:-1])
    false, true = false[best], true[best]  # any other threshold has more false or fewer true
    difference = true / n_members - false / n_nonmembers
    harmonic = max(1, round(n_members * n_nonmembers / (n_members + n_nonmembers)))
    level = 1 - local_level(harmonic, confidence)
    low = _difference_limits(true, n_members, false, n_nonmembers, level)[0].max()
    high = _difference_limits(true, n_members, false, n_nonmembers, confidence)[1].max()
    return Estimate(float(difference.max()), float(max(low, 0.0)), float(min(high, 1.0)), method)


def _difference_limits(true, n_members, false, n_nonmembers, confidence):
    """Hybrid limits of TPR - FPR at each threshold from the two Clopper-Pearson intervals."""
    tpr, fpr = true / n_members, false / n_nonmembers
    tpr_low, tpr_high = clopper_pearson(true, n_members, confidence)
    fpr_low, fpr_high = clopper_pearson(false, n_nonmembers, confidence)
    low = tpr - fpr - np.hypot(tpr - tpr_low, fpr_high - fpr)
    return low, tpr - fpr + np.hypot(tpr_high - tpr, fpr - fpr_low)


def gaussian_pair_auc(mu):
    """AUC between N(0, 1) and N(mu, 1): Phi(mu / sqrt 2)."""
    return float(ndtr(mu / np.sqrt(2)))


def gaussian_pair_tpr(mu, fpr):
    """TPR between N(0, 1) and N(mu, 1) at a false-positive rate: Phi(Phi^-1(fpr) + mu)."""
    return float(ndtr(ndtri(fpr) + mu))


def gaussian_pair_advantage(mu):
    """Advantage between N(0, 1) and N(mu, 1): 2 Phi(mu / 2) - 1, for mu >= 0."""
    return float(2 * ndtr(mu / 2) - 1)


def gaussian_mean_auc(dimension, n_members):
    """AUC of the optimal attack on the released mean of Gaussian records.

    Parameters
    ----------
    dimension : int, at least 1
        Dimension d of the isotropic records.
    n_members : int, at least 1
        Number n of records that were averaged.

    Returns
    -------
    float
        Phi(sqrt(d / n) / sqrt 2): a typical record leaks m = d / n.

    References
    ----------
    Azize and Basu (2024), arXiv 2402.10065, with m = ||z - mu||^2_{C^-1} / n = d / n on average.
    """
    return gaussian_pair_auc(np.sqrt(dimension / n_members))
