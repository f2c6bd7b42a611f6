"""Re-identification: which released record stands for this person?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmark.contracts import Attack, AttackInfo, Context, Links, PositiveControl, Records, View
from benchmark.learning.neighbours import nearest

__all__ = ["Linkage"]

# Different released vectors at one distance from a candidate are rare; this many are looked at.
_MOST_TIED = 8


class Linkage(Attack):
    """Link each candidate to the nearest released record, ties broken uniformly at random.

    This is the attack that k-anonymity bounds: a release in which k records are equal leaves the
    attacker a choice among k, and a correct link with probability at most 1/k.

    References
    ----------
    Sweeney (2002). k-anonymity. IJUFKS 10(5). Newton, Sweeney, Malin (2005). Preserving privacy by
    de-identifying face images. IEEE TKDE 17(2).
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="linkage",
        version="1",
        summary="Links each candidate to the nearest released record, against the 1/k bound.",
        citation="Newton, Sweeney, Malin (2005), IEEE TKDE 17(2)",
        positive_controls=(
            PositiveControl(method="identity", metric="reidentification_rate", at_least=0.9),
        ),
    )

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Links:
        """Choose a released row for every candidate."""
        assert view.records is not None  # granted, as info.needs asks for it
        vectors, vector_of_row = np.unique(view.records.flat(), axis=0, return_inverse=True)
        distances, indices = nearest(
            candidates.flat(), vectors, min(_MOST_TIED, len(vectors)), device=context.device
        )
        # The distances of integer pixels tie exactly, but not after their division by 255.
        tied = distances <= distances[:, :1] * (1 + 1e-6)
        rng = context.rng("linkage")
        return Links(released=_draw_row(indices, tied, vector_of_row.reshape(-1), rng))


def _draw_row(
    indices: np.ndarray, tied: np.ndarray, vector_of_row: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw, for each candidate, uniformly among the released rows that hold a tied vector.

    Parameters
    ----------
    indices : ndarray of shape (m, t), int64
        Distinct released vectors, nearest first.
    tied : ndarray of shape (m, t), bool
        Which of them are as near as the first.
    vector_of_row : ndarray of shape (n_released,), int64
        The distinct vector that each released row holds.
    rng : Generator

    Returns
    -------
    ndarray of shape (m,), int64
    """
    rows = np.argsort(vector_of_row, kind="stable")  # the rows of one vector stand together
    copies = np.bincount(vector_of_row)
    first = np.cumsum(copies) - copies
    weight = np.where(tied, copies[indices], 0)
    upto = np.cumsum(weight, axis=1)
    ticket = rng.integers(0, upto[:, -1])
    chosen = (ticket[:, None] >= upto).sum(axis=1)[:, None]
    before = np.take_along_axis(upto - weight, chosen, axis=1)[:, 0]
    vector = np.take_along_axis(indices, chosen, axis=1)[:, 0]
    return rows[first[vector] + ticket - before].astype(np.int64)
