"""Intervals for proportions, and the local level that makes many of them hold at once."""

import numpy as np
from scipy.special import betainc, betaincinv, ndtri
from scipy.stats import binom

from benchmark.statistics.estimate import (
    Estimate,
    check_count,
    check_probability,
    unresolved,
)


def clopper_pearson(successes, trials, confidence=0.95):
    """Exact two-sided interval of a binomial proportion, (1 - confidence)/2 a side.

    Parameters
    ----------
    successes, trials : float or array-like of float
        Broadcast against each other, ``0 <= successes <= trials``. Whole numbers, unless they are effective ones
        (:func:`clustered_proportion`).
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    low, high : float or ndarray
        Without trials the interval is [0, 1].

    Raises
    ------
    ValueError
        If successes are negative or exceed the trials.

    References
    ----------
    Clopper and Pearson (1934), Biometrika 26:404.

    Examples
    --------
    >>> low, high = clopper_pearson(0, 100)
    >>> float(low), round(float(high), 4)
    (0.0, 0.0362)
    """
    check_probability("confidence", confidence)
    k, n = np.broadcast_arrays(
        np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    )
    if np.any(k < 0) or np.any(k > n):
        raise ValueError(
            f"successes must lie between 0 and trials. Got {successes!r} of {trials!r}."
        )
    tail = (1 - confidence) / 2
    with np.errstate(invalid="ignore"):
        low = np.where(k > 0, betaincinv(np.where(k > 0, k, 1), n - k + 1, tail), 0.0)
        high = np.where(k < n, betaincinv(k + 1, np.where(k < n, n - k, 1), 1 - tail), 1.0)
    return (float(low), float(high)) if low.ndim == 0 else (low, high)


def proportion(successes, trials, confidence=0.95):
    """Estimate a proportion with its Clopper-Pearson interval.

    Parameters
    ----------
    successes, trials : int
        ``0 <= successes <= trials``.
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    Estimate
        Unresolved when there are no trials.
    """
    method = "Clopper-Pearson"
    check_count("trials", trials, 0)
    check_count("successes", successes, 0, trials)
    if trials == 0:
        return unresolved(method, "not resolvable: needs at least 1 trial, got 0")
    low, high = clopper_pearson(successes, trials, confidence)
    return Estimate(float(successes / trials), low, high, method)


def design_effect(sizes):
    """By how much clusters of these sizes inflate the variance of a mean, where members of a cluster are all alike.

    Parameters
    ----------
    sizes : array-like of int, shape (g,)
        Numbers of records, at least 1 each.

    Returns
    -------
    float
        Σ m² / Σ m, at least 1: the size of the cluster that a random record is in. 1 without clusters.

    References
    ----------
    Kish (1965), Survey Sampling, section 5.4, for a correlation of 1 within clusters.

    Examples
    --------
    >>> design_effect([1, 1, 1]), design_effect([3, 3]), design_effect([1, 3])
    (1.0, 3.0, 2.5)
    """
    sizes = np.asarray(sizes, dtype=np.float64)
    return float(np.square(sizes).sum() / sizes.sum()) if len(sizes) else 1.0


def clustered_proportion(successes, trials, effect, confidence=0.95):
    """Estimate a proportion of trials that come in clusters.

    The Clopper-Pearson interval of ``successes / effect`` in ``trials / effect``: with the number of independent trials
    that would have the same variance.

    Parameters
    ----------
    successes, trials : int
        ``0 <= successes <= trials``.
    effect : float, at least 1
        See :func:`design_effect`.
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    Estimate
        Unresolved when there are no trials.

    References
    ----------
    Korn and Graubard (1998), Survey Methodology 24:193, with a design effect that is known from the clusters' sizes.
    """
    plain = proportion(successes, trials, confidence)
    if effect < 1:
        raise ValueError(f"effect must be at least 1. Got {effect!r}.")
    if effect == 1 or not plain.resolved:
        return plain
    low, high = clopper_pearson(successes / effect, trials / effect, confidence)
    method = f"{plain.method}, {trials / effect:.3g} effective of {trials} in clusters"
    return Estimate(plain.value, low, high, method)


def wilson(successes, trials, confidence=0.95):
    """Wilson's score interval of a binomial proportion.

    Parameters
    ----------
    successes, trials : int or array-like of int
        ``0 <= successes <= trials``, ``trials >= 1``.
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    low, high : ndarray

    References
    ----------
    Wilson (1927), JASA 22:209; Newcombe (1998), Statistics in Medicine 17:857, method 3.
    """
    z = ndtri(0.5 + confidence / 2)
    k, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    centre = (k + z * z / 2) / (n + z * z)
    half = z * np.sqrt(k * (n - k) / n + z * z / 4) / (n + z * z)
    low = np.where(k == 0, 0.0, np.maximum(centre - half, 0.0))
    return low, np.where(k == n, 1.0, np.minimum(centre + half, 1.0))


_ERRORS = np.array([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4])
_SIZES = np.array([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000])
_LOG_LEVELS = np.log(  # one row per size, one column per simultaneous error
    [
        [0.000938, 0.00235, 0.00485, 0.0101, 0.0256, 0.0516, 0.102, 0.201, 0.401],
        [0.000493, 0.00141, 0.00253, 0.00528, 0.0122, 0.0259, 0.0551, 0.116, 0.244],
        [0.000218, 0.000492, 0.00106, 0.00222, 0.00594, 0.0121, 0.027, 0.0578, 0.13],
        [0.000135, 0.000317, 0.000584, 0.00131, 0.00371, 0.00766, 0.0163, 0.0356, 0.0854],
        [6.89e-05, 0.000188, 0.000371, 0.000799, 0.00214, 0.00468, 0.0105, 0.024, 0.059],
        [4.4e-05, 0.000123, 0.00023, 0.000464, 0.00134, 0.00289, 0.00641, 0.0153, 0.0391],
        [2.13e-05, 6.91e-05, 0.000154, 0.000316, 0.000966, 0.00216, 0.005, 0.0117, 0.03],
        [3.06e-05, 7.37e-05, 0.000146, 0.000307, 0.000807, 0.00179, 0.00395, 0.00923, 0.0243],
        [2.2e-05, 5.52e-05, 0.000116, 0.000235, 0.000619, 0.00135, 0.0031, 0.00724, 0.0186],
        [1.03e-05, 3.61e-05, 7.7e-05, 0.000171, 0.000498, 0.00113, 0.00256, 0.00602, 0.016],
        [1.43e-05, 3.3e-05, 6.68e-05, 0.000144, 0.000386, 0.000873, 0.00206, 0.00497, 0.0135],
        [1.14e-05, 2.87e-05, 5.92e-05, 0.00012, 0.000361, 0.000803, 0.00183, 0.00428, 0.0114],
        [1.38e-05, 3.28e-05, 6.16e-05, 0.000125, 0.000334, 0.000692, 0.00164, 0.00383, 0.0102],
        [6.86e-06, 2.18e-05, 4.92e-05, 0.000101, 0.000287, 0.000622, 0.0014, 0.00333, 0.00888],
    ]
)


def acceptance_range(trials, probability, error):
    """Counts of successes that a two-sided binomial test at this level does not reject.

    Parameters
    ----------
    trials : int, at least 0
    probability : float in (0, 1)
    error : float in (0, 1)
        Level of the test, half of it on each side.

    Returns
    -------
    fewest, most : int
        Fewer than ``fewest``, and more than ``most``, each have a probability of at most error / 2.

    Examples
    --------
    >>> acceptance_range(40, 0.05, 0.01)
    (0, 6)
    """
    check_count("trials", trials, 0)
    check_probability("probability", probability)
    check_probability("error", error)
    return (
        int(binom.ppf(error / 2, trials, probability)),
        int(binom.isf(error / 2, trials, probability)),
    )


def rate_excess_p_value(count, exposure, other, other_exposure):
    """P-value of a rate being no higher than another one: the exact conditional test of two Poisson rates.

    Given both counts together, the first is binomial with the first one's share of the exposure, at most.

    Parameters
    ----------
    count, other : int
        Events, at least 0.
    exposure, other_exposure : float
        What each number of events is in proportion to, above 0.

    Returns
    -------
    float in (0, 1]

    References
    ----------
    Przyborowski and Wilenski (1940), Biometrika 31:313.

    Examples
    --------
    >>> rate_excess_p_value(3, 1.0, 0, 1.0)
    0.125
    """
    if min(count, other) < 0 or min(exposure, other_exposure) <= 0:
        raise ValueError(
            "counts must be ≥ 0 and exposures above 0. "
            f"Got {count} in {exposure} and {other} in {other_exposure}."
        )
    if count == 0:
        return 1.0
    return float(betainc(count, other + 1, exposure / (exposure + other_exposure)))


def local_level(n, confidence=0.95):
    """Level at which two-sided binomial intervals hold at every threshold of a sample at once.

    A Clopper-Pearson interval of confidence ``1 - local_level`` around the empirical distribution
    function, drawn at every threshold, contains the whole true function with probability
    ``confidence``: the order statistics of n uniforms are Beta(i, n + 1 - i), and the band holds
    as soon as each of them stays between its own quantiles. All thresholds get the same error, so
    the band is narrow in the tails, where a Kolmogorov band has a constant width. Ties only make
    it conservative.

    Parameters
    ----------
    n : int
        Sample size, at least 1.
    confidence : float in (0, 1), default=0.95

    Returns
    -------
    float
        The error of each interval, both sides together. Interpolated in a table of 40,000
        simulations per size (20,000 from 10,000 on; good to about 3 %, redone in part by the tests); beyond 20,000 it
        follows its asymptotic rate 1/(log n log log n).

    References
    ----------
    Berk and Jones (1979), Z. Wahrscheinlichkeitstheorie 47:47; Aldor-Noiman et al. (2013), The
    American Statistician 67:249; Gontscharuk, Landwehr and Finner (2016), Biometrical Journal 58.
    """
    check_count("n", n, 1)
    check_probability("confidence", confidence)
    size = min(n, _SIZES[-1])
    across = [np.interp(np.log(size), np.log(_SIZES), column) for column in _LOG_LEVELS.T]
    error = 1 - confidence
    log_level = np.interp(np.log(error), np.log(_ERRORS), across)
    if error < _ERRORS[0]:  # the level is close to proportional to a small error
        log_level += np.log(error / _ERRORS[0])
    rate = np.log(size) * np.log(np.log(size)) / (np.log(n) * np.log(np.log(n))) if n > size else 1
    return float(min(np.exp(log_level) * rate, error))
