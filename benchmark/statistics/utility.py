"""Classification utility: what a classifier trained on a release does on real test data.

Records of one identity (the visits of a patient) are not independent: where ``groups`` names the identities, the
distances from a figure to its limits are multiplied by the root of :func:`cluster_effect`.
"""

import numpy as np
from scipy.special import expit, logit, ndtri

from benchmark.statistics.estimate import Estimate, check_count, check_probability, unresolved
from benchmark.statistics.intervals import design_effect, proportion, wilson
from benchmark.statistics.membership import (
    FEW_INVERSIONS,
    auc,
    newcombe_auc_limits,
    placements,
)


def _check_predictions(probabilities, labels):
    """Validate (n, c) probabilities (or logits) and (n,) labels in 0..c-1."""
    probabilities = np.asarray(probabilities, dtype=np.float64)
    labels = np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            "probabilities must have shape (n, c) and labels (n,). "
            f"Got {probabilities.shape} and {labels.shape}."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers. Got dtype {labels.dtype}.")
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities must be finite. Got NaN or infinite values.")
    if labels.size and not 0 <= labels.min() <= labels.max() < probabilities.shape[1]:
        raise ValueError(
            f"labels must lie in 0..{probabilities.shape[1] - 1}. "
            f"Got {labels.min()}..{labels.max()}."
        )
    return probabilities, labels


def _left_out(labels, n_classes):
    """Return the classes that have test records, and a word on those that have none."""
    present, counts = np.unique(labels, return_counts=True)
    missing = np.setdiff1d(np.arange(n_classes), present)
    reason = ""
    if missing.size:
        reason = f"classes without test records left out: {', '.join(map(str, missing))}"
    return present, counts, reason


def cluster_effect(influence, groups):
    """By how much records of one group inflate the variance of a figure, at least 1.

    The variance that sums the records' influences within groups first, over that of independent records. Where no
    record has any influence (all are classified right) groups are taken to be alike throughout.

    Parameters
    ----------
    influence : ndarray of shape (n,)
        What each record adds to the figure, about its mean.
    groups : array-like of int, shape (n,), or None
        1 without groups, or where each is of one record.

    References
    ----------
    Liang and Zeger (1986), Biometrika 73:13, for the variance; Kish (1965), Survey Sampling, for the ratio.

    Examples
    --------
    >>> cluster_effect(np.array([1.0, 1.0, -1.0, -1.0]), [0, 0, 1, 1])
    4.0
    """
    if groups is None:
        return 1.0
    groups = np.asarray(groups)
    if groups.shape != influence.shape:
        raise ValueError(
            f"groups must have one identity for each of {len(influence)} records. Got shape {groups.shape}."
        )
    _, which, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if (sizes == 1).all():
        return 1.0
    alone = np.square(influence).sum()
    if alone == 0 or sizes.size == 1:
        return design_effect(sizes)
    sums = np.bincount(which.ravel(), influence)
    return max(1.0, float(sizes.size / (sizes.size - 1) * np.square(sums).sum() / alone))


def _widened(figure, effect):
    """The figure in [0, 1] with its limits moved away by the root of a design effect."""
    if effect == 1 or not figure.resolved:
        return figure
    low = max(0.0, figure.value - np.sqrt(effect) * (figure.value - figure.low))
    high = min(1.0, figure.value + np.sqrt(effect) * (figure.high - figure.value))
    method = f"{figure.method}, widened for records of one identity"
    return Estimate(figure.value, float(low), float(high), method, figure.reason)


def _about_class_means(values, labels):
    """Influence of each record on the mean over classes of the classes' mean ``values``, up to a factor."""
    counts = np.bincount(labels)
    means = np.bincount(labels, values) / np.maximum(counts, 1)
    return (values - means[labels]) / counts[labels]


def accuracy(probabilities, labels, confidence=0.95, groups=None):
    """Share of records whose most probable class is the right one.

    Parameters
    ----------
    probabilities : array-like of shape (n, c)
        Probabilities, or any scores that rank the classes. Ties go to the lowest class.
    labels : array-like of int, shape (n,)
        In 0..c-1.
    confidence : float in (0, 1), default=0.95
    groups : array-like of int, shape (n,), optional
        Identity of each record: see :func:`cluster_effect`.

    Returns
    -------
    Estimate
        With the Clopper-Pearson interval.
    """
    probabilities, labels = _check_predictions(probabilities, labels)
    if not labels.size:
        return proportion(0, 0, confidence)
    right = probabilities.argmax(axis=1) == labels
    figure = proportion(int(right.sum()), labels.size, confidence)
    return _widened(figure, cluster_effect(right - right.mean(), groups))


def balanced_accuracy(probabilities, labels, confidence=0.95, groups=None):
    """Mean over classes of the share of the class's records that is classified right.

    Classes are independent samples, so the distances to their Wilson limits add up in squares
    (the hybrid or MOVER method); it keeps a width where a class is classified perfectly.

    Parameters
    ----------
    probabilities : array-like of shape (n, c)
    labels : array-like of int, shape (n,)
    confidence : float in (0, 1), default=0.95
    groups : array-like of int, shape (n,), optional
        Identity of each record: see :func:`cluster_effect`.

    Returns
    -------
    Estimate
        Over the classes that ``labels`` hold; ``reason`` names the others.

    References
    ----------
    Zou and Donner (2008), Statistics in Medicine 27:1693.
    """
    probabilities, labels = _check_predictions(probabilities, labels)
    check_probability("confidence", confidence)
    method = "hybrid of Wilson limits per class"
    if not labels.size:
        return unresolved(method, "not resolvable: needs at least 1 record, got 0")
    present, counts, reason = _left_out(labels, probabilities.shape[1])
    hit = probabilities.argmax(axis=1) == labels
    right = np.bincount(labels[hit], minlength=present[-1] + 1)
    figure = _mean_of_classes(right[present] / counts, *wilson(right[present], counts, confidence))
    effect = cluster_effect(_about_class_means(hit, labels), groups)
    return _widened(Estimate(*figure, method, reason), effect)


def _mean_of_classes(values, low, high):
    """Mean of the classes' values, and its limits: distances to the classes' limits, added in squares."""
    value = values.mean()
    down = np.sqrt(((values - low) ** 2).sum()) / values.size
    up = np.sqrt(((high - values) ** 2).sum()) / values.size
    return float(value), float(max(value - down, 0.0)), float(min(value + up, 1.0))


def mean_balanced_error(conditions, labels, corruptions=None, confidence=0.95, groups=None):
    """Balanced error on perturbed records, averaged over severities, then over corruptions.

    Balanced error is one minus the balanced accuracy. All conditions show the same records, so a
    record counts once: with the weighted share of the conditions under which it is classified
    wrong. Within a class the mean of these shares gets Wilson's interval with the effective number
    of records n p (1 - p)/s², where s² is the shares' variance (n when no share is strictly between
    0 and 1, as for one condition); the classes' limits then add up in squares, as in
    :func:`balanced_accuracy`, which this is for a single condition.

    Parameters
    ----------
    conditions : sequence of array-like of shape (n, c)
        Probabilities for the same records under each condition.
    labels : array-like of int, shape (n,)
    corruptions : sequence of hashable, optional
        The corruption that each condition is a severity of; by default all are of one.
    confidence : float in (0, 1), default=0.95
    groups : array-like of int, shape (n,), optional
        Identity of each record: see :func:`cluster_effect`.

    Returns
    -------
    Estimate
        In [0, 1]. Over the classes that ``labels`` hold; ``reason`` names the others. The
        corruptions and severities are taken as given, not as a sample of others.

    References
    ----------
    Di Salvo, Doerrich and Ledig (2024), arXiv:2406.17536, for the average; Korn and Graubard
    (1998), Survey Methodology 24:193, for the effective sample size in a proportion's interval.

    Examples
    --------
    >>> right, wrong = [[0.9, 0.1], [0.2, 0.8]], [[0.1, 0.9], [0.8, 0.2]]
    >>> mean_balanced_error([right, wrong, wrong], [0, 1], ["blur", "blur", "noise"]).value
    0.75
    """
    check_probability("confidence", confidence)
    method = "hybrid of Wilson limits per class, each record once"
    corruptions = [None] * len(conditions) if corruptions is None else list(corruptions)
    if not corruptions or len(corruptions) != len(conditions):
        raise ValueError(
            "conditions must hold at least one array, and corruptions one name for each. "
            f"Got {len(conditions)} and {len(corruptions)}."
        )
    kinds = list(dict.fromkeys(corruptions))
    wrong = 0.0
    for probabilities, name in zip(conditions, corruptions, strict=True):
        probabilities, labels = _check_predictions(probabilities, labels)
        weight = 1 / (corruptions.count(name) * len(kinds))
        wrong = wrong + weight * (probabilities.argmax(axis=1) != labels)
    if not labels.size:
        return unresolved(method, "not resolvable: needs at least 1 record, got 0")
    present, counts, reason = _left_out(labels, probabilities.shape[1])
    means = np.array([min(wrong[labels == c].mean(), 1.0) for c in present])
    spread = np.array([wrong[labels == c].var() for c in present])
    sizes = counts.astype(np.float64)
    inside = (spread > 0) & (means > 0) & (means < 1)
    sizes[inside] *= np.maximum(means * (1 - means), spread)[inside] / spread[inside]
    figure = _mean_of_classes(means, *wilson(means * sizes, sizes, confidence))
    effect = cluster_effect(_about_class_means(wrong, labels), groups)
    return _widened(Estimate(*figure, method, reason), effect)


def macro_auroc(probabilities, labels, confidence=0.95, groups=None):
    """Mean over classes of the one-against-rest AUC.

    The classes' AUCs are computed on the same records and so are correlated; the variance of their
    mean is that of the mean of their influence functions, which for one class is DeLong's. The
    interval is taken on the logit scale. Where almost nothing is misordered it is the union with
    the mean of the classes' Newcombe limits, which allows for any correlation.

    Parameters
    ----------
    probabilities : array-like of shape (n, c)
        The column of a class ranks the records by how much they look like it.
    labels : array-like of int, shape (n,)
    confidence : float in (0, 1), default=0.95
    groups : array-like of int, shape (n,), optional
        Identity of each record: see :func:`cluster_effect`.

    Returns
    -------
    Estimate
        Over the classes that ``labels`` hold, each against the rest; ``reason`` names the others.
        Unresolved with fewer than two classes.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44:837; Hand and Till (2001), Machine
    Learning 45:171, for the alternatives to one-against-rest.
    """
    probabilities, labels = _check_predictions(probabilities, labels)
    check_probability("confidence", confidence)
    present, counts, reason = _left_out(labels, probabilities.shape[1])
    if present.size < 2:
        return unresolved(
            "DeLong (logit)", f"not resolvable: needs at least 2 classes, got {present.size}"
        )
    kinds = labels[:, None] == present
    values = np.array([auc(probabilities[:, c], k) for c, k in zip(present, kinds.T, strict=True)])
    influence = _macro_influence(probabilities, kinds, present, values)
    value, variance = values.mean(), _macro_variance(influence, kinds)
    sizes = zip(values, counts, labels.size - counts, strict=True)
    wide = np.mean([newcombe_auc_limits(*each, confidence) for each in sizes], axis=0)
    half = 0.0
    if usable := variance > 0 and 0 < value < 1:
        half = ndtri(0.5 + confidence / 2) * np.sqrt(variance) / (value * (1 - value))
    misordered = min((1 - values) @ counts, values @ counts)  # over all classes
    if usable and misordered >= FEW_INVERSIONS:
        low, high, method = expit(logit(value) - half), expit(logit(value) + half), "DeLong (logit)"
    else:
        low = min(expit(logit(value) - half), wide[0]) if usable else wide[0]
        high = max(expit(logit(value) + half), wide[1]) if usable else wide[1]
        method = "DeLong (logit) or mean of Newcombe limits, the wider"
    figure = Estimate(float(value), float(low), float(high), f"{method}, one against rest", reason)
    return _widened(figure, cluster_effect(influence, groups))


def paired_difference(metric, left, right, labels, confidence=0.95, groups=None):
    """How far two classifiers lie apart on the same records, left − right.

    What the records are worth to both of them cancels: the variance is that of the difference of the records'
    influences on the two figures, given the class sizes.

    Parameters
    ----------
    metric : {"macro_auroc", "balanced_accuracy", "accuracy"}
    left, right : array-like of shape (n, c)
        Probabilities of the classes.
    labels : array-like of int, shape (n,)
    confidence : float in (0, 1), default=0.95
    groups : array-like of int, shape (n,), optional
        Identity of each record: see :func:`cluster_effect`.

    Returns
    -------
    Estimate
        In [-1, 1], with a normal interval, no narrower than −log(1 − confidence) records of n: so many could differ
        unseen where none does. Unresolved where the figures are.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44:837, for correlated AUCs; McNemar (1947), Psychometrika 12,
    for correlated shares; Hanley and Lippman-Hand (1983), JAMA 249, for the rule of three.

    Examples
    --------
    >>> left, right = [[0.9, 0.1]] * 3 + [[0.1, 0.9]], [[0.9, 0.1]] * 4
    >>> round(paired_difference("accuracy", left, right, [0, 0, 1, 1]).value, 3)
    0.25
    """
    sides = [_check_predictions(probabilities, labels) for probabilities in (left, right)]
    labels = sides[0][1]
    check_probability("confidence", confidence)
    method = "paired on the same records (normal)"
    present, _, reason = _left_out(labels, sides[0][0].shape[1])
    if present.size < (2 if metric == "macro_auroc" else 1):
        return unresolved(method, f"not resolvable: needs more classes, got {present.size}")
    kinds = labels[:, None] == present
    if metric == "accuracy":
        kinds = np.ones((labels.size, 1), bool)
    values, influences = zip(
        *(_figure_and_influence(metric, p, labels, kinds, present) for p, _ in sides), strict=True
    )
    influence = influences[0] - influences[1]
    variance = sum(
        kind.sum() * np.var(influence[kind], ddof=1) for kind in kinds.T if kind.sum() > 1
    )
    effect = cluster_effect(influence, groups)
    half = ndtri(0.5 + confidence / 2) * np.sqrt(variance * effect)
    half = max(half, -np.log1p(-confidence) / labels.size)
    value = values[0] - values[1]
    return Estimate(float(value), float(value - half), float(value + half), method, reason)


def _figure_and_influence(metric, probabilities, labels, kinds, present):
    """A figure, and what each record adds to it, about the mean of its class."""
    if metric == "macro_auroc":
        values = np.array(
            [auc(probabilities[:, c], k) for c, k in zip(present, kinds.T, strict=True)]
        )
        return values.mean(), _macro_influence(probabilities, kinds, present, values) / present.size
    right = (probabilities.argmax(axis=1) == labels).astype(float)
    means = np.array([right[kind].mean() for kind in kinds.T])
    influence = np.zeros(labels.size)
    for kind, mean in zip(kinds.T, means, strict=True):
        influence[kind] = (right[kind] - mean) / (kind.sum() * kinds.shape[1])
    return means.mean(), influence


def expected_calibration_error(probabilities, labels, bins=15):
    """Mean distance between a classifier's confidence and how often it is right.

    Records are binned by the probability of their most probable class, in bins of equal width that
    are open below; the error is Σ_b n_b/n · |accuracy_b − mean confidence_b|.

    Parameters
    ----------
    probabilities : array-like of shape (n, c)
        Rows sum to 1. Ties go to the lowest class.
    labels : array-like of int, shape (n,)
        In 0..c-1.
    bins : int, default=15

    Returns
    -------
    Estimate
        In [0, 1]. Without an interval: the figure is biased upwards where bins hold few records,
        also for a perfectly calibrated classifier, and resampling would centre on that bias.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger (2017), arXiv:1706.04599, section 2.

    Examples
    --------
    >>> wrong_half_the_time = [[0.9, 0.1], [0.9, 0.1]]
    >>> round(expected_calibration_error(wrong_half_the_time, [0, 1]).value, 9)
    0.4
    """
    probabilities, labels = _check_predictions(probabilities, labels)
    check_count("bins", bins, 1)
    method = f"{bins} bins of equal width, no interval"
    if not labels.size:
        return unresolved(method, "not resolvable: needs at least 1 record, got 0")
    sums = probabilities.sum(axis=1)
    if (probabilities < 0).any() or np.abs(sums - 1).max() > 1e-4:
        raise ValueError(
            "rows of probabilities must be at least 0 and sum to 1. "
            f"Got a least entry of {probabilities.min():g} and sums in {sums.min():g}..{sums.max():g}."
        )
    confidence = np.minimum(probabilities.max(axis=1), 1.0)
    right = probabilities.argmax(axis=1) == labels
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(which, weights=right - confidence, minlength=bins)
    return Estimate(float(np.abs(gaps).sum() / labels.size), np.nan, np.nan, method)


def _macro_influence(probabilities, kinds, present, values):
    """Influence of each record on the sum of the classes' AUCs, from its placements; ``(n,)``."""
    influence = np.zeros(kinds.shape[0])
    for column, kind, value in zip(present, kinds.T, values, strict=True):
        inside, outside = placements(probabilities[:, column], kind)
        influence[kind] += (inside - value) / kind.sum()
        influence[~kind] += (outside - value) / (~kind).sum()
    return influence


def _macro_variance(influence, kinds):
    """Variance of the mean AUC from the records' influence, given the class sizes."""
    total = 0.0
    for kind in kinds.T:  # the class sizes are given: only the spread within a class counts
        if kind.sum() > 1:
            total += kind.sum() * np.var(influence[kind], ddof=1)
    return total / kinds.shape[1] ** 2
