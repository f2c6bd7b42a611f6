"""The two-sided Mann-Whitney test of "members and non-members score alike", right in its far tail.

Gates compare this p-value with levels such as 0.01 / 500, where the usual normal approximation is
off by orders of magnitude on tied or unbalanced scores. Under the null hypothesis the coins are a
uniformly random choice of n_members among the m candidates, whatever the scores: the test is a
permutation test, and its tail is computed exactly where that is cheap and by a saddlepoint
approximation elsewhere.
"""

from math import nan

import numpy as np
from scipy.special import expit, gammaln, log_ndtr, ndtr
from scipy.stats import rankdata

from benchmark.statistics.estimate import check_scores

EXACT_WORK = 2e6
"""Additions up to which the exact permutation distribution is computed."""


def auc_p_value(scores, coins):
    """Two-sided p-value of the null hypothesis that the attack is at chance (AUC = 1/2).

    Parameters
    ----------
    scores : array-like of shape (m,)
        Finite; higher means more likely a member.
    coins : array-like of bool, shape (m,)
        True for a member.

    Returns
    -------
    float
        In (0, 1]; twice the smaller tail. 1 when all scores are tied; ``nan`` unless there is a
        member and a non-member. Exact for small samples and for binary scores; elsewhere a double
        saddlepoint approximation, whose *relative* error is a few percent down to the smallest
        tails.

    References
    ----------
    Mann and Whitney (1947); Robinson (1982), JRSS B 44:91, and Skovgaard (1987), Journal of Applied
    Probability 24:875, for the saddlepoint approximation of permutation tests.
    """
    scores, coins = check_scores(scores, coins)
    members = int(coins.sum())
    if members in (0, coins.size):
        return nan
    doubled = np.rint(2 * rankdata(scores)).astype(np.int64)
    values, counts = np.unique(doubled, return_counts=True)
    if values.size == 1:
        return 1.0
    step = np.gcd.reduce(np.diff(values))
    values = (values - values[0]) // step  # ranks on the coarsest lattice, from 0
    observed = int(((doubled[coins] - doubled.min()) // step).sum())
    if members > coins.size - members:  # the same test from the smaller sample's side
        observed, members = int(values @ counts) - observed, coins.size - members
    tails = _exact_tails if _work(values, counts, members) <= EXACT_WORK else _saddlepoint_tails
    return float(np.clip(2 * min(tails(values, counts, members, observed)), 1e-300, 1.0))


def _work(values, counts, members):
    """Count the additions of the exact computation."""
    return float(counts.sum()) * members * (members * float(values[-1]) + 1)


def _exact_tails(values, counts, members, observed):
    """Count the choices of ``members`` ranks by their sum: Pr[sum <= observed], Pr[>= observed]."""
    if values.size == 2:
        return _hypergeometric_tails(counts, members, observed)
    sums = np.zeros((members + 1, members * int(values[-1]) + 1))
    sums[0, 0] = 1.0
    for value in np.repeat(values, counts):
        shifted = np.zeros_like(sums)
        shifted[1:, value:] = sums[:-1, : sums.shape[1] - value]
        sums += shifted
        sums /= sums.max()  # only ratios within the last row matter
    law = sums[members] / sums[members].sum()
    return law[: observed + 1].sum(), law[observed:].sum()


def _hypergeometric_tails(counts, members, observed):
    """Tails of the number of chosen records in the upper of two tied groups."""
    lower, upper = (int(c) for c in counts)
    k = np.arange(max(0, members - lower), min(members, upper) + 1)
    log_law = (
        _log_binomial(upper, k)
        + _log_binomial(lower, members - k)
        - _log_binomial(upper + lower, members)
    )
    law = np.exp(log_law)
    return law[k <= observed].sum(), law[k >= observed].sum()


def _log_binomial(n, k):
    return gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)


def _saddlepoint_tails(values, counts, members, observed):
    """Approximate Pr[sum <= observed] and Pr[sum >= observed] by Skovgaard's double saddlepoint."""
    mirrored = values[-1] - values
    upper = _saddlepoint_upper(values, counts, members, observed)
    lower = _saddlepoint_upper(mirrored, counts, members, int(values[-1]) * members - observed)
    return lower, upper


def _saddlepoint_upper(values, counts, members, observed):
    """Approximate Pr[sum of the chosen values >= observed], with the lattice correction."""
    size = counts.sum()
    share = members / size
    mean = members * (values @ counts) / size
    deviation = np.sqrt(
        share * (1 - share) * size / (size - 1) * (counts @ (values - mean / members) ** 2)
    )
    x = observed - 0.5  # between two points of the lattice
    z = (x - mean) / deviation
    if z < 0.2:  # the formula is singular at the mean, where the normal law is good
        return float(ndtr(-z))
    scale = float(values.max())
    scaled = values / scale
    top = np.sort(np.repeat(values, counts))[-members:].sum()
    if observed >= top:  # only the highest ranks will do
        cut = np.sort(np.repeat(values, counts))[-members]
        tied, chosen = (values == cut) @ counts, members - (values > cut) @ counts
        return float(np.exp(_log_binomial(tied, chosen) - _log_binomial(size, members)))
    s, t = _saddlepoint(scaled, counts, members, x / scale)
    p = expit(s * scaled + t)
    spread = counts * p * (1 - p)
    moments = np.array([spread.sum(), spread @ scaled, spread @ scaled**2])
    log_ratio = counts @ (np.logaddexp(0, s * scaled + t)) - s * x / scale - t * members
    base = -size * (share * np.log(share) + (1 - share) * np.log(1 - share))
    w = np.sqrt(max(2 * (base - log_ratio), 1e-12))
    determinant = moments[0] * moments[2] - moments[1] ** 2
    step = s / scale
    u = 2 * np.sinh(step / 2) * scale * np.sqrt(determinant / (size * share * (1 - share)))
    tail = np.exp(log_ndtr(-w)) + np.exp(-w * w / 2) / np.sqrt(2 * np.pi) * (1 / u - 1 / w)
    return float(np.clip(tail, 1e-300, 1.0))


def _saddlepoint(values, counts, members, target):
    """Solve sum p = members, sum p * value = target for p = expit(s * value + t), by Newton."""
    s, t = 0.0, float(np.log(members / (counts.sum() - members)))

    def objective(s, t):
        return counts @ np.logaddexp(0, s * values + t) - s * target - t * members

    current = objective(s, t)
    for _ in range(200):
        p = expit(s * values + t)
        gradient = np.array([counts @ (p * values) - target, counts @ p - members])
        spread = counts * p * (1 - p)
        cross = spread @ values
        hessian = np.array([[spread @ values**2, cross], [cross, spread.sum()]])
        move = np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
        rate = 1.0
        while rate > 1e-8 and not objective(s - rate * move[0], t - rate * move[1]) <= current:
            rate /= 2
        s, t = s - rate * move[0], t - rate * move[1]
        current = objective(s, t)
        if np.abs(rate * move).max() < 1e-10 * (1 + abs(s)):
            break
    return s, t
