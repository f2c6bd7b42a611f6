"""Whether ``fit_many`` makes what ``fit`` makes: two releases of one training set and seed, one from each.

They are *equal up to rounding*, as the contract says, or, since training can amplify rounding, one must not be told
from the other by what shadow attacks live on: how much nearer a release is to its own members than to other records,
and how near it is to what ``fit`` makes of other members.

``check`` asks this of examples (:func:`fleet_trouble`), a run of the shadows that its attacks learn from
(:func:`traits`, :func:`unlike_shadows`): a plugin that behaves otherwise only in a run, or only among other fits, is
found there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its modules load when first used

from benchmark.contracts import Records
from benchmark.learning.neighbours import nearest
from benchmark.statistics import auc

__all__ = [
    "FLEET_LEVEL",
    "LEAST_GAP",
    "TRAITS",
    "Twin",
    "equal_up_to_rounding",
    "fleet_trouble",
    "nearness_to_own",
    "traits",
    "unlike_shadows",
]

ROUNDING = 1e-3
"""Largest difference of features that is rounding, in standard deviations of the members; of pixels it is 1 of 255."""

LEAST_GAP = 0.02
"""Differences of an area under the ROC curve, and relative ones of a distance, up to this are none to live on."""

FLEET_LEVEL = 1e-3
"""P-value below which the releases of a fleet are told from those of single fits."""

TRAITS = ("nearness", "lesson", "distance")
"""What releases are compared by, see :func:`traits`."""


@dataclass(frozen=True, kw_only=True)
class Twin:
    """What ``fit`` and ``fit_many`` made of ``members`` with one seed.

    ``siblings`` are other records of the members' own population, ``strangers`` members of other training sets.
    """

    alone: Records
    fleet: Records
    members: Records
    siblings: Records
    strangers: Records


def equal_up_to_rounding(a: Records, b: Records, members: Records) -> bool:
    """Whether two releases have equal labels, and data that differ by rounding at most (:data:`ROUNDING`)."""
    if a.data.shape != b.data.shape or not np.array_equal(a.labels, b.labels):
        return False
    gap = float(np.abs(a.data.astype(np.float64) - b.data).max(initial=0.0))
    spread = members.data.std(axis=0, dtype=np.float64).mean()
    return bool(gap <= (1 if a.kind == "image" else ROUNDING * spread))


def nearness_to_own(release: Records, own: Records, others: Records) -> float:
    """Area under the ROC curve of minus the distance to the nearest released record: own members against others.

    Examples
    --------
    >>> def line(*x):
    ...     return Records(np.array(x, dtype=np.float32)[:, None], np.zeros(len(x), np.int64), None, "example")
    >>> nearness_to_own(line(0.0, 1.0), line(0.0, 1.1), line(0.5, 3.0))
    1.0
    """
    queries = np.concatenate([own.flat(), others.flat()])
    distances, _ = nearest(queries, release.flat())
    coins = np.arange(len(queries)) < len(own)
    return float(auc(-distances[:, 0], coins))


def fleet_trouble(twins: Sequence[Twin]) -> str:
    """How ``fit_many`` differs from ``fit``; empty where it does not.

    Where releases differ by more than rounding, paired t-tests over the training sets, each at :data:`FLEET_LEVEL`,
    compare the nearness to the members against siblings and against strangers (two-sided, and beyond
    :data:`LEAST_GAP`), and ask whether a fleet's release is farther from its twin than from other single fits.

    Parameters
    ----------
    twins : sequence of Twin
        Of three training sets or more, which differ.
    """
    if all(equal_up_to_rounding(t.alone, t.fleet, t.members) for t in twins):
        return ""
    for name, gaps in _gaps(twins).items():
        mean = float(gaps.mean())
        if abs(mean) > LEAST_GAP and _p_value(gaps) < FLEET_LEVEL:
            way = "more" if mean > 0 else "less"
            return (
                f"its releases are {way} like their own members than {name} when fitted as a fleet "
                f"(AUC {mean:+.3f} on average over {len(twins)} training sets)"
            )
    apart = _apart(twins)
    if apart.mean() > 0 and _p_value(apart) / 2 < FLEET_LEVEL:
        return "a fleet's release is farther from that of a single fit than other members' releases are"
    return ""


def _gaps(twins: Sequence[Twin]) -> Mapping[str, np.ndarray]:
    """Nearness of a fleet's release to its members minus that of the single fit's, ``(n_twins,)`` each."""
    others = {
        "other records of the same population": [t.siblings for t in twins],
        "the members of other sets": [t.strangers for t in twins],
    }
    return {
        name: np.array(
            [
                nearness_to_own(t.fleet, t.members, o) - nearness_to_own(t.alone, t.members, o)
                for t, o in zip(twins, records, strict=True)
            ]
        )
        for name, records in others.items()
    }


def _apart(twins: Sequence[Twin]) -> np.ndarray:
    """How much farther a single fit is from its twin than from the other single fits on average, ``(n_twins,)``."""
    return np.array(
        [
            _distance(t.alone, t.fleet)
            - np.mean([_distance(t.alone, other.alone) for other in twins if other is not t])
            for t in twins
        ]
    )


def _distance(a: Records, b: Records) -> float:
    """Mean distance of a record of one release to the nearest of the other, both ways."""
    return float(nearest(a.flat(), b.flat())[0].mean() + nearest(b.flat(), a.flat())[0].mean())


def _p_value(differences: np.ndarray) -> float:
    """Two-sided p-value of Student's t-test that differences are 0 on average; 0 where all are the same and are not."""
    if np.ptp(differences) == 0:
        return float(differences[0] == 0)
    return float(scipy.stats.ttest_1samp(differences, 0.0).pvalue)


# ---------------------------------------------------------------- in a run


def traits(
    releases: Sequence[Records], candidates: Records, included: np.ndarray, n_shadows: int
) -> dict[str, np.ndarray]:
    """What shadow attacks live on, of shadows and of releases that ``fit`` made one by one.

    Parameters
    ----------
    releases : sequence of Records
        ``S`` shadows in complementary pairs, S ≥ 4, and then R others.
    candidates : Records
        ``m`` records.
    included : ndarray of shape (S + R, m), bool
        Which of them each release was fitted on.
    n_shadows : int
        ``S``.

    Returns
    -------
    dict of str to ndarray of shape (S + R,), float64
        By :data:`TRAITS`. *Nearness*: area under the ROC curve of minus the distance to the nearest released record,
        own members against the other candidates. *Lesson*: the same area for the score that shadows teach, a linear
        discriminant of that distance in each candidate's mean with and without it; a shadow learns it from those of the
        other pairs, another release from as many, and not from a shadow with its own members. *Distance*: its mean over
        own members and over the others, in equal parts, since coins do not give each release as many members; relative
        to that of the shadows.
    """
    distances = np.stack([nearest(candidates.flat(), r.flat())[0][:, 0] for r in releases])
    left_out = [_pair_of(own, included[:n_shadows]) for own in included]
    with_it, without = _means(distances[:n_shadows], included[:n_shadows])
    middle, step = (with_it + without) / 2, with_it - without
    scores = (distances - middle[left_out]) * step[left_out]
    sides = [np.mean(distances, axis=1, where=side) for side in (included, ~included)]
    mean = (sides[0] + sides[1]) / 2
    return {
        "nearness": np.array(
            [float(auc(-d, own)) for d, own in zip(distances, included, strict=True)]
        ),
        "lesson": np.array([float(auc(s, own)) for s, own in zip(scores, included, strict=True)]),
        "distance": mean / max(float(mean[:n_shadows].mean()), 1e-12),
    }


def _pair_of(own: np.ndarray, included: np.ndarray) -> int:
    """The pair of the shadow that was fitted on ``own`` (m,); of others the last one."""
    return int(np.append(np.flatnonzero((included == own).all(axis=1)), len(included) - 1)[0] // 2)


def _means(distances: np.ndarray, included: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean distance of each candidate over shadows with and without it, each pair left out in turn: ``(S/2, m)``."""
    n, m = distances.shape
    found = []
    for chosen in (included, ~included):
        of_pairs = (distances * chosen).reshape(n // 2, 2, m).sum(axis=1)
        found.append((of_pairs.sum(axis=0) - of_pairs) / (n // 2 - 1))
    return found[0], found[1]


def unlike_shadows(seeds: Sequence[np.ndarray], n_shadows: Sequence[int]) -> tuple[float, float]:
    """Whether releases that were fitted one by one have a trait that shadows do not have.

    Of each seed the mean over the R releases is compared with that over the S shadows by Student's t-test with the
    shadows' spread and S − 1 degrees of freedom; the squares of the seeds' normal scores add up to χ². Shadows that are
    wrong in another direction with each seed are found too.

    Parameters
    ----------
    seeds : sequence of ndarray of shape (S + R,)
        One trait, of each seed.
    n_shadows : sequence of int
        ``S`` of each seed.

    Returns
    -------
    gap, p_value : float
        Root mean square over the seeds of the difference of the means, and the p-value of no difference.

    Examples
    --------
    >>> unlike_shadows([np.array([0.1, 0.2, 0.3, 0.4, 0.9])], [4])
    (0.65, 0.0227...)
    """
    gaps, scores = [], []
    for values, n in zip(seeds, n_shadows, strict=True):
        shadows, alone = values[:n], values[n:]
        gap = float(alone.mean() - shadows.mean())
        error = float(shadows.std(ddof=1)) * np.sqrt(1 / n + 1 / len(alone))
        gaps.append(gap)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.nan_to_num(np.abs(gap) / np.float64(error), nan=0.0)
        scores.append(float(scipy.stats.norm.isf(scipy.stats.t.sf(t, n - 1))))
    p_value = float(scipy.stats.chi2.sf(np.sum(np.square(scores)), len(scores)))
    return float(np.sqrt(np.mean(np.square(gaps)))), p_value
