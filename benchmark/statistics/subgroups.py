"""Who leaks: the same figures by group, for outliers, and record by record."""

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from benchmark.statistics.estimate import check_count, check_probability, check_scores


def by_group(metric, scores, coins, groups, confidence=0.95, simultaneous=True):
    """Compute a membership metric within each group of candidates.

    Parameters
    ----------
    metric : callable
        ``(scores, coins, confidence=...) -> Estimate``, such as ``auc_interval``.
    scores : array-like of shape (m,)
    coins : array-like of bool, shape (m,)
    groups : array-like of shape (m,)
        Class, identity group or decile of each candidate.
    confidence : float in (0, 1), default=0.95
    simultaneous : bool, default=True
        Make all groups' intervals hold together (Bonferroni): the reader will look at the worst.

    Returns
    -------
    dict
        Group -> Estimate, in sorted order; a group without members or without non-members is there,
        unresolved. Members of a group are compared with its own non-members, so that a group that
        merely scores differently is not taken to leak.
    """
    scores, coins = check_scores(scores, coins)
    check_probability("confidence", confidence)
    groups = np.asarray(groups)
    if groups.shape != coins.shape:
        raise ValueError(f"groups must have shape {coins.shape}. Got {groups.shape}.")
    present = np.unique(groups)
    each = 1 - (1 - confidence) / max(present.size, 1) if simultaneous else confidence
    return {
        group.item(): metric(scores[groups == group], coins[groups == group], confidence=each)
        for group in present
    }


def neighbour_distance(features, neighbours=5):
    """Mean Euclidean distance of each record to its nearest others.

    Parameters
    ----------
    features : array-like of shape (n, d)
        Finite.
    neighbours : int, default=5
        At most n - 1 are used.

    Returns
    -------
    ndarray of shape (n,), float64
        0 for a single record.
    """
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2:
        raise ValueError(f"features must have shape (n, d). Got {features.shape}.")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite. Got NaN or infinite values.")
    check_count("neighbours", neighbours, 1)
    n = features.shape[0]
    neighbours = min(neighbours, n - 1)
    if neighbours < 1:
        return np.zeros(n)
    features = features - features.mean(axis=0)  # keeps the differences of squares accurate
    squares = (features**2).sum(axis=1)
    result = np.empty(n)
    block = max(1, 4_000_000 // n)
    for start in range(0, n, block):
        rows = slice(start, min(start + block, n))
        squared = squares[rows, None] + squares - 2 * features[rows] @ features.T
        squared[np.arange(rows.stop - start), np.arange(start, rows.stop)] = np.inf
        nearest = np.partition(squared, neighbours - 1, axis=1)[:, :neighbours]
        result[rows] = np.sqrt(np.maximum(nearest, 0)).mean(axis=1)
    return result


def outlier_decile(features, neighbours=5):
    """Sort records into deciles by how far they lie from the rest.

    Parameters
    ----------
    features : array-like of shape (n, d)
    neighbours : int, default=5
        Distance is the mean over that many nearest others; see ``neighbour_distance``.

    Returns
    -------
    ndarray of shape (n,), int64
        0 (in the thick of it) to 9 (the tenth that lies farthest off); sizes differ by at most one.
        Equal distances are split in the order given.
    """
    distance = neighbour_distance(features, neighbours)
    return ((rankdata(distance, method="ordinal") - 1) * 10 // max(distance.size, 1)).astype(
        np.int64
    )


class Vulnerability(NamedTuple):
    """Exposure of each record over runs (seeds or shadow models).

    Attributes
    ----------
    exposure : ndarray of shape (m,), float64
        Mean, over runs with the record in, of the share of that run's non-members that it
        outscores, ties counting half; ``nan`` if it never was in.
    baseline : ndarray of shape (m,), float64
        The same over runs with the record out, the record itself not counted: a record can score
        high without leaking.
    lift : ndarray of shape (m,), float64
        ``exposure - baseline``, 0 on average when nothing leaks.
    auc : ndarray of shape (m,), float64
        Between its own runs in and out, on that same scale.
    runs_in, runs_out : ndarray of shape (m,), int64
    """

    exposure: np.ndarray
    baseline: np.ndarray
    lift: np.ndarray
    auc: np.ndarray
    runs_in: np.ndarray
    runs_out: np.ndarray


def vulnerability(scores_by_run, coins_by_run):
    """Measure how exposed each record is over several runs of the game.

    Parameters
    ----------
    scores_by_run : array-like of shape (n_runs, m)
        Finite. Scales may differ between runs: only the ranks within a run are used.
    coins_by_run : array-like of bool, shape (n_runs, m)
        Membership in each run, with at least two non-members.

    Returns
    -------
    Vulnerability

    References
    ----------
    Carlini et al. (2022), "The Privacy Onion Effect", for exposure by record over many models.
    """
    scores = np.asarray(scores_by_run, dtype=np.float64)
    coins = np.asarray(coins_by_run, dtype=bool)
    if scores.ndim != 2 or scores.shape != coins.shape:
        raise ValueError(
            "scores_by_run and coins_by_run must both have shape (n_runs, m). "
            f"Got {scores.shape} and {coins.shape}."
        )
    if not np.isfinite(scores).all():
        raise ValueError("scores_by_run must be finite. Got NaN or infinite values.")
    if ((~coins).sum(axis=1) < 2).any():
        raise ValueError("Every run needs at least 2 non-members.")
    shares = np.stack([_outscored(s, c) for s, c in zip(scores, coins, strict=True)])
    runs_in, runs_out = coins.sum(axis=0), (~coins).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        exposure = (shares * coins).sum(axis=0) / runs_in
        baseline = (shares * ~coins).sum(axis=0) / runs_out
        ranks = (rankdata(shares, axis=0) * coins).sum(axis=0)
        own = (ranks - runs_in * (runs_in + 1) / 2) / (runs_in * runs_out)
    return Vulnerability(exposure, baseline, exposure - baseline, own, runs_in, runs_out)


def _outscored(scores, coins):
    """Share of the other non-members that each candidate outscores, ties counting half."""
    rest = np.sort(scores[~coins])
    lower = np.searchsorted(rest, scores, side="left")
    upper = np.searchsorted(rest, scores, side="right")
    ties = upper - lower - ~coins  # a non-member ties with itself
    return (lower + ties / 2) / (rest.size - ~coins)


def most_exposed(result, n):
    """Return the indices of the most exposed records.

    Parameters
    ----------
    result : Vulnerability
    n : int
        How many.

    Returns
    -------
    ndarray of int64, shape (at most n,)
        By falling lift, then exposure; records that never were in, or never out, are left out.
    """
    check_count("n", n, 0)
    known = np.flatnonzero(~np.isnan(result.lift))
    order = np.lexsort((-result.exposure[known], -result.lift[known]))
    return known[order][:n]
