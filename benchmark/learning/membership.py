"""Membership inference with shadow models, over any score: LiRA, RMIA and calibration.

All functions are pure and take scores, higher for more likely members, from whatever attack gave them: those of the
model under attack, ``target (m,)``, those of ``S`` shadow models, ``shadows (S, m)``, and which records each shadow was
fitted on, ``included (S, m) bool``. Shadows are drawn without the target's coins, so nothing here knows those. What is
estimated or chosen is estimated on the shadows alone.

References
----------
Carlini, Chien, Nasr, Song, Terzis, Tramèr (2022). Membership Inference Attacks From First Principles. IEEE S&P,
arXiv:2112.03570. Zarifzadeh, Liu, Shokri (2024). Low-Cost High-Power Membership Inference Attacks. ICML,
arXiv:2312.03262. Smyth (2004). Linear Models and Empirical Bayes Methods. Statistical Applications in Genetics and
Molecular Biology 3(1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, log
from typing import Literal

import numpy as np
import scipy  # its modules load when first used, so that a list of attacks does not wait for them

__all__ = [
    "Estimates",
    "Mode",
    "ShadowStatistics",
    "calibrated",
    "choose_rmia_a",
    "class_log_odds",
    "lira",
    "rmia",
    "shadow_statistics",
    "stacked_lira",
    "standardised_log_likelihood",
    "unexplained",
]

Mode = Literal["online", "offline"]
"""``online``: shadows with and without the record; ``offline``: those without it only."""

Estimates = Literal["shrunk", "record", "pooled"]
"""How means and variances of scores are estimated, see :func:`shadow_statistics`."""

_SMALLEST_SHARE = 1e-3  # of the scores' own spread: the least standard deviation


@dataclass(frozen=True, eq=False)
class ShadowStatistics:
    """Mean and standard deviation of each record's score with and without it, all ``(m,) float64``.

    Those with the record are NaN where only the others were asked for.
    """

    mean_in: np.ndarray
    mean_out: np.ndarray
    std_in: np.ndarray
    std_out: np.ndarray


def shadow_statistics(
    shadows: np.ndarray,
    included: np.ndarray,
    *,
    mode: Mode = "online",
    estimates: Estimates = "shrunk",
) -> ShadowStatistics:
    """Estimate each record's two score distributions from shadows.

    Parameters
    ----------
    shadows : ndarray of shape (S, m)
        Finite scores.
    included : ndarray of shape (S, m), bool
        Two shadows or more without each record and, online, two or more with it.
    mode : {"online", "offline"}
    estimates : {"shrunk", "record", "pooled"}
        ``shrunk``: empirical Bayes. Variances are drawn towards a common one (Smyth 2004, section 6), and so is the gap
        between the means in units of their standard deviation, each by as much as the shadows say that records have it
        in common: with few shadows a record's own gap is mostly noise, whose sign would be followed. Carlini et al.
        (2022, section VI) take one or the other of: ``record``, each record's own; ``pooled``, each record's own means
        and one variance of the *centred* scores for all records, one with and one without.

    Returns
    -------
    ShadowStatistics
        Standard deviations are at least a thousandth of the scores' overall one: a score that is constant among the
        shadows is no division by zero, nor is a normal distribution to be believed so far out.

    Raises
    ------
    ValueError
        For shapes that do not fit, scores that are not finite or records with too few shadows.
    """
    _check(shadows, included, mode)
    floor = _floor(float(shadows.std()))
    out = _moments(shadows, ~included, floor)
    own = out if mode == "offline" else _moments(shadows, included, floor)
    return _estimate(out, own, mode, estimates)


_Moments = tuple[np.ndarray, np.ndarray, np.ndarray]


def _floor(std: float) -> float:
    return float(_SMALLEST_SHARE * std or 1e-12) ** 2


def _estimate(out: _Moments, own: _Moments, mode: Mode, estimates: Estimates) -> ShadowStatistics:
    """From number, mean and variance without and with each record; the latter do not count offline."""
    n_out, mean_out, var_out = out
    if mode == "offline":
        unknown = np.full(mean_out.shape, np.nan)
        std_out = np.sqrt(_one_sided(var_out, n_out - 1, estimates))
        return ShadowStatistics(unknown, mean_out, unknown, std_out)
    n_in, mean_in, var_in = own
    if estimates == "shrunk":
        var_in, var_out = _shrink_variances(var_in, var_out, n_in - 1, n_out - 1)
        mean_in, mean_out = _shrink_gap((mean_in, mean_out), (var_in, var_out), (n_in, n_out))
    else:
        var_in = _one_sided(var_in, n_in - 1, estimates)
        var_out = _one_sided(var_out, n_out - 1, estimates)
    return ShadowStatistics(mean_in, mean_out, np.sqrt(var_in), np.sqrt(var_out))


def _check(shadows: np.ndarray, included: np.ndarray, mode: Mode, apart: int = 0) -> None:
    """Refuse scores that nothing can be estimated from once ``apart`` of the shadows are taken off."""
    if shadows.ndim != 2 or included.shape != shadows.shape or included.dtype != np.bool_:
        raise ValueError(
            "shadows and included must be of one shape (S, m), the latter bool. "
            f"Got {shadows.shape} and {included.dtype} {included.shape} instead."
        )
    if not np.isfinite(shadows).all():
        raise ValueError("scores of shadows must be finite. Got NaN or infinity.")
    sides = (
        {"without": ~included} if mode == "offline" else {"without": ~included, "with": included}
    )
    for name, side in sides.items():
        fewest = int(side.sum(axis=0).min(initial=len(shadows))) - apart
        if fewest < 2:
            raise ValueError(
                f"every record needs two shadows {name} it. Got one with {fewest}; ask for more shadows."
            )


def _moments(shadows: np.ndarray, chosen: np.ndarray, floor: float) -> _Moments:
    """Number, mean and unbiased variance (at least ``floor``) of the chosen scores of each column."""
    return _variances(_sums(shadows, chosen), floor)


def _sums(shadows: np.ndarray, chosen: np.ndarray) -> _Moments:
    """Number, mean and sum of squares about the mean of the chosen scores of each column; NaN of none."""
    n = chosen.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(chosen, shadows, 0).sum(axis=0) / n
        return n, mean, np.square(np.where(chosen, shadows - mean, 0)).sum(axis=0)


def _variances(sums: _Moments, floor: float) -> _Moments:
    n, mean, squares = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        return n, mean, np.maximum(squares / (n - 1), floor)


def _one_sided(variances: np.ndarray, freedom: np.ndarray, estimates: Estimates) -> np.ndarray:
    if estimates == "record":
        return variances
    if estimates == "pooled":
        return _pooled(variances, freedom)
    return _moderated(variances, freedom)


def _pooled(variances: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    return np.full_like(variances, (variances * freedom).sum() / freedom.sum())


def _moderated(variances: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Variances drawn towards a common prior by moments of their logarithms (Smyth 2004, section 6.2)."""
    logs = np.log(variances) - _log_bias(freedom)
    excess = float(logs.var() - scipy.special.polygamma(1, freedom / 2).mean())
    if excess <= 0:  # no more spread than chance gives: one variance for all
        return _pooled(variances, freedom)
    prior = 2 * _inverse_trigamma(excess)
    centre = np.exp(logs.mean() + scipy.special.psi(prior / 2) - log(prior / 2))
    return (prior * centre + freedom * variances) / (prior + freedom)


def _log_bias(freedom: np.ndarray) -> np.ndarray:
    """E log s² − log σ² of a variance with so many degrees of freedom."""
    return np.asarray(scipy.special.psi(freedom / 2) - np.log(freedom / 2))


def _shrink_variances(
    var_in: np.ndarray, var_out: np.ndarray, freedom_in: np.ndarray, freedom_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Variances with and without each record, drawn towards the ratio that all records share, and each other's.

    With few shadows the ratio of a record's two variances is mostly noise, which the likelihood ratio would take for
    evidence. Between the common ratio and the record's own lies what the spread of the log ratios, less what chance
    makes of it, supports.
    """
    ratios = np.log(var_in) - _log_bias(freedom_in) - np.log(var_out) + _log_bias(freedom_out)
    noise = scipy.special.polygamma(1, freedom_in / 2) + scipy.special.polygamma(1, freedom_out / 2)
    own = max(0.0, float(ratios.var() - noise.mean())) / float(ratios.var() + 1e-300)
    ratio = np.exp(ratios.mean())
    freedom = freedom_in + freedom_out
    both = _moderated((freedom_in * var_in / ratio + freedom_out * var_out) / freedom, freedom)
    own_in, own_out = _moderated(var_in, freedom_in), _moderated(var_out, freedom_out)
    return (both * ratio) ** (1 - own) * own_in**own, both ** (1 - own) * own_out**own


def _inverse_trigamma(value: float) -> float:
    """The x > 0 with trigamma(x) = value > 0, by Newton's method on 1/trigamma, which is convex (Smyth 2004)."""
    if value > 1e7:
        return value**-0.5
    if value < 1e-6:
        return 1 / value
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(scipy.special.polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(scipy.special.polygamma(2, x))
        x += step
        if -step < 1e-10 * x:
            break
    return x


def _shrink_gap(
    means: tuple[np.ndarray, np.ndarray],
    variances: tuple[np.ndarray, np.ndarray],
    counts: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the standardised gaps between the means towards their mean.

    Gaps in units of the standard deviation are taken as normal around a common mean, with the spread that is left once
    their sampling error is taken off. Each of the two means moves in proportion to its own sampling variance: one that
    is known exactly stays.
    """
    (mean_in, mean_out), (var_in, var_out), (n_in, n_out) = means, variances, counts
    unit = np.sqrt((var_in + var_out) / 2)
    error_in, error_out = var_in / n_in, var_out / n_out
    error = error_in + error_out
    gap, noise = (mean_in - mean_out) / unit, error / unit**2
    spread = max(0.0, float(gap.var() - noise.mean()))
    move = noise / (spread + noise) * (gap.mean() - gap) * unit
    return mean_in + move * error_in / error, mean_out - move * error_out / error


# ---------------------------------------------------------------- attacks


def calibrated(target: np.ndarray, shadows: np.ndarray, included: np.ndarray) -> np.ndarray:
    """The target's scores minus the mean over the shadows without the record: ``(m,)``.

    Per-example hardness calibration; with the distance as the score, GAN-Leaks calibrated by reference generators (Chen
    et al. 2020, section 4.4) of the same method.
    """
    return target - shadow_statistics(shadows, included, mode="offline").mean_out


def unexplained(values: np.ndarray, difficulties: np.ndarray) -> np.ndarray:
    """What is left of scores once their least-squares regression on ``difficulties`` is taken off: ``(m,)``.

    A difficulty is what the same score says of a record where it cannot have been fitted on: under a reference model,
    or against other records of the population. Taking it off in full (:func:`calibrated`) adds its own noise; the
    regression takes off as much as the candidates' scores have in common with it. Members and non-members enter alike.

    Parameters
    ----------
    values : ndarray of shape (m,)
    difficulties : ndarray of shape (m, p)
        Constant columns change nothing.

    References
    ----------
    Watson, Guo, Cormode, Sablayrolles (2022). On the Importance of Difficulty Calibration in Membership Inference
    Attacks. ICLR (where it is taken off in full).
    """
    centred = difficulties - difficulties.mean(axis=0)
    scale = np.sqrt(np.mean(np.square(centred), axis=0))
    centred = centred[:, scale > 0] / scale[scale > 0]
    rest = values - values.mean()
    return np.asarray(rest - centred @ np.linalg.lstsq(centred, rest, rcond=None)[0])


def lira(
    target: np.ndarray,
    shadows: np.ndarray,
    included: np.ndarray,
    *,
    mode: Mode = "online",
    estimates: Estimates = "shrunk",
) -> np.ndarray:
    """Likelihood-ratio attack: ``(m,) float64``, higher for members.

    Online: log N(φ; μ_in, σ²_in) − log N(φ; μ_out, σ²_out). Offline, *one-sided*: −log(1 − Φ((φ − μ_out)/σ_out)), which
    orders records as Φ does and does not saturate at 1; a score far *below* what non-members have is no sign of
    membership.

    Parameters
    ----------
    target : ndarray of shape (m,)
    shadows, included, mode, estimates
        See :func:`shadow_statistics`.
    """
    return _log_ratio(
        target, shadow_statistics(shadows, included, mode=mode, estimates=estimates), mode
    )


def _log_ratio(target: np.ndarray, found: ShadowStatistics, mode: Mode) -> np.ndarray:
    if mode == "offline":
        return np.asarray(-scipy.special.log_ndtr(-(target - found.mean_out) / found.std_out))
    return _log_normal(target, found.mean_in, found.std_in) - _log_normal(
        target, found.mean_out, found.std_out
    )


def stacked_lira(
    targets: np.ndarray,
    shadows: np.ndarray,
    included: np.ndarray,
    *,
    mode: Mode = "online",
    estimates: Estimates = "shrunk",
) -> np.ndarray:
    """LiRA on several scores at once, weighed by what tells members apart among the shadows: ``(m,)`` log odds.

    Each shadow in turn plays the target, against the others; its log ratios on all scores, with its known members, are
    what a logistic regression learns the weights from. Those are applied to the log ratios of the model under attack.

    Parameters
    ----------
    targets : ndarray of shape (J, m)
        ``J`` scores on the model under attack.
    shadows : ndarray of shape (J, S, m)
        S of at least six, so that what is left is enough.
    included : ndarray of shape (S, m), bool
    mode, estimates
        As in :func:`lira`.
    """
    played = np.stack([_play_all(s, included, mode, estimates) for s in shadows], axis=-1)
    pairs = zip(targets, shadows, strict=True)
    own = [lira(t, s, included, mode=mode, estimates=estimates) for t, s in pairs]
    return _logistic_log_odds(
        played.reshape(-1, len(targets)), included.ravel(), np.stack(own, axis=-1)
    )


def _play_all(
    shadows: np.ndarray, included: np.ndarray, mode: Mode, estimates: Estimates
) -> np.ndarray:
    """Log ratios ``(S, m)`` of each shadow against the others.

    Their moments are those of all shadows with one taken off, so that S shadows cost S times the work of one.
    """
    _check(shadows, included, mode, apart=1)
    sides = (~included, included)
    whole = [_sums(shadows, side) for side in sides]
    overall = _sums(shadows.reshape(-1, 1), np.ones((shadows.size, 1), dtype=bool))
    played = np.empty(shadows.shape)
    for i, row in enumerate(shadows):
        n_left = shadows.size - row.size
        mean_left = (overall[0][0] * overall[1][0] - row.sum()) / n_left
        of_row = np.square(row - row.mean()).sum()
        shift = row.size * n_left / shadows.size * (row.mean() - mean_left) ** 2
        floor = _floor(float(np.sqrt(max(overall[2][0] - of_row - shift, 0.0) / n_left)))
        left = [_without(row, side[i], sums) for side, sums in zip(sides, whole, strict=True)]
        out, own = (_variances(sums, floor) for sums in left)
        played[i] = _log_ratio(row, _estimate(out, own, mode, estimates), mode)
    return played


def _without(row: np.ndarray, chosen: np.ndarray, sums: _Moments) -> _Moments:
    """:func:`_sums` with one row of the shadows taken off where it was chosen (Chan, Golub, LeVeque 1983)."""
    n, mean, squares = sums
    gap = np.where(chosen, row - mean, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return n - chosen, mean - gap / (n - 1), squares - np.square(gap) * n / (n - 1)


def _logistic_log_odds(x: np.ndarray, members: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Log odds ``(m,)`` of queries ``(m, J)`` under a ridge logistic regression on standardised, winsorised columns."""
    from sklearn.linear_model import LogisticRegression

    low, high = np.quantile(x, (0.001, 0.999), axis=0)
    scale = np.clip(x, low, high).std(axis=0)
    scale = np.where(scale > 0, scale, 1)
    model = LogisticRegression(C=1.0, max_iter=200).fit(np.clip(x, low, high) / scale, members)
    # Queries are not clipped: beyond the limits the order still counts, as at a false-positive rate of 0.1 %.
    return np.asarray(queries / scale @ model.coef_[0] + model.intercept_[0])


def _log_normal(x: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    return -0.5 * np.square((x - mean) / std) - np.log(std)


def standardised_log_likelihood(
    target: np.ndarray,
    shadows: np.ndarray,
    included: np.ndarray,
    *,
    estimates: Estimates = "shrunk",
) -> tuple[np.ndarray, np.ndarray]:
    """Turn scores of any unit into the logarithm of what RMIA calls Pr(x | θ), in (0, 1).

    RMIA needs a likelihood of the record under the model; a distance is none. Each record's scores are standardised by
    the mean and standard deviation over the shadows without it, and put through the logistic function: ½ for a typical
    model without the record, near 1 for one on which it scores far above them.

    Returns
    -------
    target : ndarray of shape (m,)
    shadows : ndarray of shape (S, m)
    """
    found = shadow_statistics(shadows, included, mode="offline", estimates=estimates)
    return (
        scipy.special.log_expit((target - found.mean_out) / found.std_out),
        scipy.special.log_expit((shadows - found.mean_out) / found.std_out),
    )


def rmia(
    target: np.ndarray,
    shadows: np.ndarray,
    included: np.ndarray,
    population: np.ndarray,
    population_shadows: np.ndarray,
    *,
    mode: Mode = "online",
    gamma: float = 1.0,
    a: float = 0.3,
) -> np.ndarray:
    """Robust membership inference: the share of population records that the candidate dominates, ``(m,)`` in [0, 1].

    A population record z is dominated when [p(x|θ)/p(x)] / [p(z|θ)/p(z)] ≥ γ. p(x) is ½ (p_in + p_out) online and
    ½ ((1 + a) p_out + 1 − a) offline, with p_in and p_out the means over the shadows with and without x; for z, which
    no model was fitted on, p(z) is made of p_out in the same way (online: p_out). Candidates that dominate equally
    many are ordered by their ratio, within less than the share of one record: a population of a records alone would
    resolve no rate below 1/a.

    Parameters
    ----------
    target : ndarray of shape (m,)
        Log-likelihoods log p(x|θ) ≤ 0, as from :func:`standardised_log_likelihood`.
    shadows, included : ndarray of shape (S, m)
    population : ndarray of shape (a,)
        The same for records that are no candidates.
    population_shadows : ndarray of shape (S, a)
    mode : {"online", "offline"}
    gamma : float
        γ > 0. It moves the shares, not the order of the candidates, once ties are broken.
    a : float
        In [0, 1]; offline only.
    """
    _check(shadows, included, mode)
    ratio = target - _log_marginal(shadows, included, mode, a)
    out = np.zeros(population_shadows.shape, dtype=bool)
    # Online, p_in of records that were in no shadow is unknown; p_out then is all that there is.
    marginal = (
        _log_mean(population_shadows, ~out)
        if mode == "online"
        else _log_marginal(population_shadows, out, mode, a)
    )
    others = np.sort(population - marginal)
    dominated = np.searchsorted(others, ratio - log(gamma), side="right")
    order = (scipy.stats.rankdata(ratio) - 0.5) / len(ratio)
    return (dominated + order) / (len(others) + 1)


def _log_marginal(shadows: np.ndarray, included: np.ndarray, mode: Mode, a: float) -> np.ndarray:
    """log p(x), ``(m,)``."""
    out = _log_mean(shadows, ~included)
    if mode == "online":
        return np.logaddexp(_log_mean(shadows, included), out) - log(2)
    return np.log(0.5 * ((1 + a) * np.exp(out) + 1 - a))


def _log_mean(logs: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Log of the mean of the chosen likelihoods of each column."""
    weights = chosen / chosen.sum(axis=0)
    return np.asarray(scipy.special.logsumexp(logs, axis=0, b=weights))


def choose_rmia_a(
    shadows: np.ndarray,
    included: np.ndarray,
    population_shadows: np.ndarray,
    *,
    values: Sequence[float] = (0.3, 0.0, 0.6, 1.0),
    most: int = 16,
) -> float:
    """Offline RMIA's ``a``: the value with the best mean AUC where each shadow in turn plays the target.

    The model that is audited has no part in the choice, nor have its coins.

    Parameters
    ----------
    shadows, included, population_shadows
        As in :func:`rmia`; ``S`` of at least six, so that what is left is enough.
    values : sequence of float
        The first of equals is chosen.
    most : int
        So many shadows, the first, play the target.
    """
    totals = np.zeros(len(values))
    for one in range(min(most, len(shadows))):
        rest = np.arange(len(shadows)) != one
        for i, a in enumerate(values):
            scores = rmia(
                shadows[one],
                shadows[rest],
                included[rest],
                population_shadows[one],
                population_shadows[rest],
                mode="offline",
                a=a,
            )
            totals[i] += _auc(scores, included[one])
    return values[int(np.argmax(totals))]


def _auc(scores: np.ndarray, members: np.ndarray) -> float:
    """Mid-rank AUC; ½ where one side is empty."""
    n_in = int(members.sum())
    n_out = len(members) - n_in
    if not n_in or not n_out:
        return 0.5
    wins = scipy.stats.rankdata(scores)[members].sum() - n_in * (n_in + 1) / 2
    return float(wins / (n_in * n_out))


# ---------------------------------------------------------------- classifiers


def class_log_odds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """LiRA's score of a classifier, φ = log p_y − log Σ_{j≠y} p_j, ``(m,)`` (Carlini et al. 2022, section IV-C).

    Parameters
    ----------
    probabilities : ndarray of shape (m, C)
        Rows sum to 1. Zeros count as the smallest positive number, so that φ is finite.
    labels : ndarray of shape (m,), int
    """
    tiny = float(np.finfo(np.float64).tiny)
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    others = probabilities.copy()
    np.put_along_axis(others, labels[:, None], 0.0, axis=1)
    odds = np.log(np.maximum(own, tiny)) - np.log(np.maximum(others.sum(axis=1), tiny))
    assert isfinite(float(odds.sum()))
    return np.asarray(odds)
