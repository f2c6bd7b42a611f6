"""Copies: released records that an attack takes for one of the candidates, counted by whom they are copies of.

The attack says of every released record whether it is a near duplicate of a candidate, and of which; the referee, who
knows the coins, counts the copies of members and of non-members. Where nothing leaks the two are equally likely, so
that the one is read against the other.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from benchmark.learning.repeats import duplicates
from benchmark.plan import Cell
from benchmark.statistics import Estimate, clustered_proportion, design_effect
from benchmark.store import Store

__all__ = [
    "PAIR_COLUMNS",
    "attack_place",
    "copies_of",
    "copy_clusters",
    "copy_figures",
    "pairs_summary",
    "worst_pairs",
]

PAIR_COLUMNS = (
    *("dataset", "features", "method", "method_params", "attack", "attack_params", "seed"),
    *("released", "row", "label", "member", "distance"),
)
"""Columns of ``pairs.parquet``: a released record (row of the stored release), the candidate that it is nearest to (row
of the pool) with its label, whether that is a member, and their distance in units of the attack's threshold."""

WORST_PAIRS = 20
"""Pairs kept of each attack on each release, one a candidate."""


def copies_of(candidates: np.ndarray, coins: np.ndarray) -> np.ndarray:
    """Whose copy each released record is: 1 of a member, 0 of a non-member, −1 of nobody.

    Parameters
    ----------
    candidates : ndarray of shape (n_released,), int64
        Row of the candidate that each released record is a copy of; −1 for none.
    coins : ndarray of shape (m,), bool
        Of each candidate.

    Returns
    -------
    ndarray of shape (n_released,), int8

    Examples
    --------
    >>> copies_of(np.array([2, -1, 0]), np.array([False, True, True])).tolist()
    [1, -1, 0]
    """
    return np.where(candidates < 0, -1, coins[candidates]).astype(np.int8)


def copy_clusters(candidates: np.ndarray, released: np.ndarray) -> np.ndarray:
    """Which released records stand or fall together: copies of one candidate, and records that are equal.

    A release that holds one record a hundred times has one chance to have copied it, not a hundred.

    Parameters
    ----------
    candidates : ndarray of shape (n_released,), int64
        Row of the candidate that each released record is a copy of; −1 for none.
    released : ndarray of shape (n_released, …)
        The released records.

    Returns
    -------
    ndarray of shape (n_released,), int64
        Number of each record's cluster, from 0.

    Examples
    --------
    >>> clusters = copy_clusters(np.array([7, -1, 7, -1, -1]), np.array([[0.0], [1.0], [2.0], [3.0], [1.0]]))
    >>> [bool(clusters[a] == clusters[b]) for a, b in ((0, 2), (1, 4), (0, 1), (1, 3))]
    [True, True, False, False]
    """
    equal = duplicates(released)
    owners = np.where(candidates < 0, equal, equal.max() + 1 + candidates)
    clusters: np.ndarray = np.unique(owners, return_inverse=True)[1].ravel()
    return clusters


def copy_figures(
    copies: np.ndarray, clusters: np.ndarray | None, confidence: float
) -> dict[str, Estimate]:
    """Shares of the released records that are copies of members, and of non-members.

    The intervals count clusters of records as far as they are independent: by the larger of the design effects of all
    clusters and of those of the copies, which decide alone where copies are rare.

    Parameters
    ----------
    copies : ndarray of shape (n_released,)
        As :func:`copies_of` gives it.
    clusters : ndarray of shape (n_released,), int64, optional
        As :func:`copy_clusters` gives it; by default every record is one.
    confidence : float in (0, 1)
    """
    effect = 1.0
    if clusters is not None:
        sizes = np.bincount(clusters)
        copied = np.bincount(clusters[copies >= 0])
        effect = max(design_effect(sizes), design_effect(copied[copied > 0]))
    n = len(copies)
    return {
        f"copy_rate_{name}": clustered_proportion(
            int((copies == side).sum()), n, effect, confidence
        )
        for name, side in (("members", 1), ("nonmembers", 0))
    }


def worst_pairs(store: Store, cell: Cell, source: str) -> pd.DataFrame:
    """The candidates that the nearest copies are of, each with its nearest copy; empty where the attack names none.

    A release that holds one record fifteen times has copied one candidate, not fifteen.

    Parameters
    ----------
    store : Store
    cell : Cell
        A finished attack.
    source : str
        Key of the node with the pool.
    """
    record = store.read(cell.key)
    if record is None or "copies.npz" not in record.artifacts:
        return pd.DataFrame(columns=list(PAIR_COLUMNS))
    copies = store.arrays(cell.key, "copies")
    found = np.flatnonzero(copies["candidates"] >= 0)
    found = found[np.argsort(copies["distances"][found], kind="stable")]
    _, first = np.unique(copies["candidates"][found], return_index=True)
    found = found[np.sort(first)][:WORST_PAIRS]
    candidates = copies["candidates"][found]
    rows = store.arrays(cell.game, "public")["candidates"][candidates]
    return pd.DataFrame(
        {
            **attack_place(cell),
            "seed": cell.seed,
            "released": found,
            "row": rows,
            "label": store.arrays(source, "pool")["labels"][rows],
            "member": store.arrays(cell.game, "secret")["coins"][candidates],
            "distance": copies["distances"][found],
        }
    )[list(PAIR_COLUMNS)]


def pairs_summary(pairs: pd.DataFrame, public: Collection[str], n: int = 5) -> list[dict[str, Any]]:
    """What the board says of the nearest pairs, one entry for each attack on a release, over the seeds.

    Parameters
    ----------
    pairs : DataFrame
        As :func:`worst_pairs` gives them, of all attacks.
    public : collection of str
        Datasets whose records may be named; of others there are counts alone.
    n : int
        How many are listed.

    Returns
    -------
    list of dict
        Where the attack and the release are, ``n_pairs``, ``n_members`` of them with a member, ``nearest`` distance,
        ``public``, and ``top``: released row, row of the pool, member, distance and seed of each.
    """
    where = list(PAIR_COLUMNS[:6])
    found = []
    for place, part in pairs.groupby(where, sort=False):
        nearest = part.sort_values("distance", kind="stable")
        named = str(place[0]) in public
        top = nearest.head(n) if named else nearest.head(0)
        found.append(
            {
                **dict(zip(where, map(str, place), strict=True)),
                "n_pairs": len(part),
                "n_members": int(part["member"].sum()),
                "nearest": float(nearest["distance"].iloc[0]),
                "public": named,
                "top": [
                    {
                        "released": int(pair.released),
                        "row": int(pair.row),
                        "member": bool(pair.member),
                        "distance": float(pair.distance),
                        "seed": int(pair.seed),
                    }
                    for pair in top.itertuples()
                ],
            }
        )
    return found


def attack_place(cell: Cell) -> dict[str, str]:
    """Which attack on which release a cell is, in the columns that results name it by; the seed apart."""
    assert cell.method is not None and cell.attack is not None
    return {
        "dataset": cell.dataset,
        "features": cell.features,
        "method": cell.method.name,
        "method_params": cell.method.parameters_text,
        "attack": cell.attack.name,
        "attack_params": cell.attack.parameters_text,
    }
