"""Near duplicates: released records nearer to a candidate than real records are to each other."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmark.contracts import (
    Attack,
    AttackInfo,
    Context,
    Field,
    NotApplicable,
    PositiveControl,
    Records,
    Scores,
    View,
)
from benchmark.learning.neighbours import nearest

__all__ = ["NearDuplicate"]

_MOST_GALLERIES = 50


class NearDuplicate(Attack):
    """Flag a candidate that has a released record as near as real records hardly ever are.

    The threshold is a low quantile of the distance between an auxiliary record and the nearest of
    as many other auxiliary records as were released: the nearest of many is nearer than the nearest
    of few, so that only galleries of one size compare. By construction a release of fresh real
    records flags a share ``quantile`` of any candidates. The rate among members is read against
    that among non-members, never alone.

    Parameters
    ----------
    quantile : float in (0, 0.5], default=0.01
        Share of real records that would be flagged by chance.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="near_duplicate",
        version="1",
        summary="Flags candidates with a released record nearer than real records are to another.",
        citation="Meehan, Chaudhuri, Dasgupta (2020), AISTATS, arXiv:2004.05675 (the idea)",
        positive_controls=(
            PositiveControl(method="identity", metric="flag_rate_members", at_least=0.99),
        ),
        auxiliary="distances between its records, for the threshold",
    )

    quantile: float = Field(
        0.01, gt=0, le=0.5, description="share of real records that would be flagged by chance"
    )

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score by minus the nearest distance in units of the threshold, and decide by it.

        Raises
        ------
        NotApplicable
            With fewer than two auxiliary records.
        """
        released = view.records.flat()
        threshold = self._threshold(auxiliary.flat(), len(released), context)
        distances = nearest(candidates.flat(), released, device=context.device)[0][:, 0]
        unit = threshold if threshold > 0 else 1.0
        return Scores(values=-distances / unit, decisions=distances <= threshold)

    def _threshold(self, auxiliary: np.ndarray, n_released: int, context: Context) -> float:
        """The quantile of real-to-real distances for a gallery of ``n_released`` records."""
        n = len(auxiliary)
        if n < 2:
            raise NotApplicable(
                "near_duplicate takes its threshold from distances between auxiliary records and "
                f"needs two or more. Got {n}; raise the suite's share of auxiliary records."
            )
        shuffled = auxiliary[context.rng("near_duplicate").permutation(n)]
        if n >= 2 * n_released:
            distances = _nearest_in_galleries(shuffled, n_released, context.device)
            return _unbiased_quantile(distances, self.quantile)
        subset = shuffled[: n_released + 1]
        distances, _ = nearest(subset, subset, device=context.device, exclude_self=True)
        level = _adjusted_level(self.quantile, len(subset) - 1, n_released)
        return _unbiased_quantile(distances, level)


def _nearest_in_galleries(records: np.ndarray, size: int, device: str) -> np.ndarray:
    """Distances of half of the records or more to the nearest of ``size`` others.

    The others are a different draw for each share of the records, so that a small release does not
    get its threshold from where a few records happen to lie.
    """
    n_galleries = min(len(records) // (2 * size), _MOST_GALLERIES)
    galleries = np.split(records[: n_galleries * size], n_galleries)
    queries = np.array_split(records[n_galleries * size :], n_galleries)
    pairs = zip(queries, galleries, strict=True)
    return np.concatenate([nearest(*pair, device=device)[0][:, 0] for pair in pairs])


def _unbiased_quantile(distances: np.ndarray, level: float) -> float:
    """The order statistic at ``level · (n + 1)``, below which a further draw falls at that rate.

    NumPy's default lies higher: at level 0.01 of 300 distances, a third more would be flagged.
    Where the level is finer than 1/(n + 1) this is the smallest distance, and the rate 1/(n + 1).
    """
    return float(np.quantile(distances, level, method="weibull"))


def _adjusted_level(level: float, n_gallery: int, n_released: int) -> float:
    """The level, in a gallery of ``n_gallery``, of the distance at ``level`` in ``n_released``.

    A record lies within t of none of n others with probability (1 − p(t))ⁿ, hence
    1 − level = (1 − adjusted)^(n_released / n_gallery). Exact where p does not vary over records,
    and to first order in the level where it does.
    """
    return float(-np.expm1(np.log1p(-level) * n_gallery / n_released))
