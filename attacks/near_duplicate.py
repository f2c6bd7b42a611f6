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

_MOST_FOLDS = 20


class NearDuplicate(Attack):
    """Flag a candidate that has a released record as near as real records hardly ever are.

    The threshold is a low quantile of the distance between an auxiliary record and the nearest of
    as many other auxiliary records as were released: the nearest of many is nearer than the nearest
    of few, so that only galleries of one size compare; and of other identities, since coins are
    tossed per identity and no other visit of a non-member is released. By construction a release of fresh real
    records flags a share ``quantile`` of any candidates. The rate among members is read against
    that among non-members, never alone.

    Parameters
    ----------
    quantile : float in (0, 0.5], default=0.01
        Share of real records that would be flagged by chance. Finer than one in the number of
        auxiliary records, or in a release many times larger than their number, it cannot be
        resolved, and more are flagged.
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
            With auxiliary records of fewer than two identities.
        """
        assert view.records is not None  # granted, as info.needs asks for it
        released = view.records.flat()
        threshold = self._threshold(auxiliary, len(released), context)
        distances = nearest(candidates.flat(), released, device=context.device)[0][:, 0]
        unit = threshold if threshold > 0 else 1.0
        return Scores(values=-distances / unit, decisions=distances <= threshold)

    def _threshold(self, auxiliary: Records, n_released: int, context: Context) -> float:
        """The quantile of real-to-real distances for a gallery of ``n_released`` records."""
        identities = np.arange(len(auxiliary)) if auxiliary.groups is None else auxiliary.groups
        n_identities = len(np.unique(identities))
        if n_identities < 2:
            raise NotApplicable(
                "near_duplicate takes its threshold from distances between auxiliary records and "
                f"needs two or more, of two or more identities. Got {len(auxiliary)} of "
                f"{n_identities}; raise the suite's share of auxiliary records."
            )
        folds = _folds_of_identities(identities, context.rng("near_duplicate"))
        distances, n_gallery = _nearest_in_next(auxiliary.flat(), folds, n_released, context.device)
        level = _adjusted_level(self.quantile, n_gallery, n_released)
        return _unbiased_quantile(distances, level)


def _folds_of_identities(identities: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows in at most ``_MOST_FOLDS`` random folds, ``[(rows,), …]``, no identity in two of them."""
    distinct, identity = np.unique(identities, return_inverse=True)
    n_folds = min(len(distinct), _MOST_FOLDS)
    fold = (rng.permutation(len(distinct)) % n_folds)[identity]
    return [np.flatnonzero(fold == f) for f in range(n_folds)]


def _nearest_in_next(
    records: np.ndarray, folds: list[np.ndarray], n_gallery: int, device: str
) -> tuple[np.ndarray, float]:
    """Distance of each record to the nearest of ``n_gallery`` records of the folds after its own.

    Each fold meets other records, so that the threshold for a small release does not hang on where
    a few records happen to lie.

    Returns
    -------
    distances : ndarray of shape (n,), float64
        In no particular order.
    size : float
        Mean size of the galleries, below ``n_gallery`` where there are too few records.
    """
    distances, sizes = [], []
    for f, fold in enumerate(folds):
        gallery = np.concatenate(folds[f + 1 :] + folds[:f])[:n_gallery]
        distances.append(nearest(records[fold], records[gallery], device=device)[0][:, 0])
        sizes.append(len(gallery))
    return np.concatenate(distances), float(np.mean(sizes))


def _unbiased_quantile(distances: np.ndarray, level: float) -> float:
    """The order statistic at ``level · (n + 1)``, below which a further draw falls at that rate.

    NumPy's default lies higher: at level 0.01 of 300 distances, a third more would be flagged.
    Where the level is finer than 1/(n + 1) this is the smallest distance, and the rate 1/(n + 1).
    """
    return float(np.quantile(distances, level, method="weibull"))


def _adjusted_level(level: float, n_gallery: float, n_released: int) -> float:
    """The level, in a gallery of ``n_gallery``, of the distance at ``level`` in ``n_released``.

    A record lies within t of none of n others with probability (1 − p(t))ⁿ, hence
    1 − level = (1 − adjusted)^(n_released / n_gallery). Exact where p does not vary over records,
    and to first order in the level where it does.
    """
    return float(-np.expm1(np.log1p(-level) * n_gallery / n_released))
