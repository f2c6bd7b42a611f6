"""Whether ``fit_many`` makes what ``fit`` makes: two releases of one training set and seed, one from each.

They are *equal up to rounding*, as the contract says, or, since training can amplify rounding, one must not be told
from the other by what shadow attacks live on: how much nearer a release is to its own members than to other records,
and how near it is to what ``fit`` makes of other members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its modules load when first used

from benchmark.contracts import Records
from benchmark.learning.neighbours import nearest
from benchmark.statistics import auc

__all__ = ["FLEET_LEVEL", "Twin", "equal_up_to_rounding", "fleet_trouble", "nearness_to_own"]

ROUNDING = 1e-3
"""Largest difference of features that is rounding, in standard deviations of the members; of pixels it is 1 of 255."""

LEAST_GAP = 0.02
"""Differences of an area under the ROC curve up to this are no difference that an attack lives on."""

FLEET_LEVEL = 1e-3
"""P-value below which the releases of a fleet are told from those of single fits."""


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
