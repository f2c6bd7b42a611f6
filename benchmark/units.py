"""Which records of a dataset stand for one and the same: the units that a game tosses coins for.

A record that stands twice in a dataset must not be a member once and a non-member once: a release of the one would be a
release of the other, and no figure could tell them apart. So the records of an identity are one unit, equal records are
one, whatever their labels, and so are records nearer to each other than :data:`NEAR_EQUAL` says, such as an image that
was saved twice. Whatever is linked through others is one unit as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmark.contracts import Records
from benchmark.learning.neighbours import nearest
from benchmark.learning.repeats import duplicates

__all__ = ["NEAR_EQUAL", "Units", "find_units"]

NEAR_EQUAL = 0.1
"""Share of the median distance between a record and its nearest other below which two records are the same.

In scikit-learn's digits the nearest two lie at 0.33 of the median, in drawn fundus images at 0.54, in 12,000 images of
Fashion-MNIST at 0.23: none is merged. In BreastMNIST, whose source holds scans twice, 39 of 624 are.
"""

_SAMPLE = (
    256  # records whose nearest others give the median, and whose main directions sort out pairs
)
_DIRECTIONS = 16
_COLUMNS = 64  # coordinates that sort out pairs before all are measured
_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class Units:
    """Units of a pool and of an official test split.

    Parameters
    ----------
    pool : ndarray of shape (n_pool,), int64
        Unit of each record of the pool: the smallest identity in it, or the smallest row where there are no identities.
    test : ndarray of shape (n_test,), int64
        The same for the test split, by its own identities or rows.
    test_kept : ndarray of shape (any,), int64
        Rows of the test split whose unit has no record in the pool.
    n_equal, n_near_equal : int
        Records of the pool with an equal other one there, and those with none but a near-equal one.
    threshold : float
        Distance below which records count as equal, in units of :meth:`Records.flat`.
    """

    pool: np.ndarray
    test: np.ndarray
    test_kept: np.ndarray
    n_equal: int
    n_near_equal: int
    threshold: float


def find_units(pool: Records, test: Records | None = None) -> Units:
    """Units of a dataset: connected components of identities, equal and near-equal records.

    Identities of the test split are its own: equal numbers in both say nothing. A test record whose unit reaches into
    the pool is not kept.

    Examples
    --------
    >>> data = np.array([[0.0], [4.0], [0.0], [9.0]], dtype=np.float32)
    >>> units = find_units(Records(data, np.array([0, 0, 1, 1]), None, "example"))
    >>> units.pool.tolist(), units.n_equal
    ([0, 1, 0, 3], 2)
    """
    parts = [pool] if test is None else [pool, test]
    vectors = np.concatenate([part.flat() for part in parts])
    equal = duplicates(np.concatenate([part.data for part in parts]))
    pairs, threshold = _near_pairs(vectors, equal)
    identities, start = [], 0
    for part in parts:
        own = np.arange(len(part)) if part.groups is None else part.groups
        identities.append(np.unique(own, return_inverse=True)[1] + start)
        start = int(identities[-1].max()) + 1
    component = _components(len(vectors), (equal, np.concatenate(identities)), pairs)
    of_pool, of_test = component[: len(pool)], component[len(pool) :]
    repeated = np.bincount(equal[: len(pool)])[equal[: len(pool)]] > 1
    inside = pairs[(pairs < len(pool)).all(axis=1)]
    near = np.isin(equal[: len(pool)], equal[inside.ravel()]) & ~repeated
    return Units(
        pool=_named(of_pool, pool.groups),
        test=_named(of_test, None if test is None else test.groups),
        test_kept=np.flatnonzero(~np.isin(of_test, of_pool)),
        n_equal=int(repeated.sum()),
        n_near_equal=int(near.sum()),
        threshold=threshold,
    )


def _named(component: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """The smallest identity, or row, of each record's component."""
    names = np.arange(len(component)) if groups is None else groups
    if len(names) == 0:
        return np.zeros(0, dtype=np.int64)
    smallest = np.full(component.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(smallest, component, names)
    return smallest[component].astype(np.int64)


def _components(n: int, links: tuple[np.ndarray, ...], pairs: np.ndarray) -> np.ndarray:
    """Number of each record's component ``(n,)``; records with equal values in one of ``links (n,)`` are joined."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ours, theirs, size = [pairs[:, 0]], [pairs[:, 1]], n
    for values in links:
        ours.append(np.arange(n))
        theirs.append(values + size)
        size += int(values.max()) + 1
    rows, columns = np.concatenate(ours), np.concatenate(theirs)
    graph = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][:n], dtype=np.int64)


def _near_pairs(vectors: np.ndarray, equal: np.ndarray) -> tuple[np.ndarray, float]:
    """Pairs ``(p, 2)`` of distinct records within the threshold, one of each group of equal ones, and the threshold.

    Distances between orthogonal projections are no larger than those between the records, so that pairs that are far
    apart on the main directions, or on a few of the coordinates, need not be measured.
    """
    from scipy.spatial import cKDTree

    distinct = np.unique(equal, return_index=True)[1]
    none = np.zeros((0, 2), dtype=np.int64)
    if len(distinct) < 2:
        return none, 0.0
    records = vectors[distinct]
    sample = np.unique(np.linspace(0, len(records) - 1, _SAMPLE).astype(np.int64))
    distances, _ = nearest(records[sample], records, 2)
    threshold = NEAR_EQUAL * float(np.median(distances[:, 1]))
    places = _on_main_directions(records, sample)
    slack = 1e-3 * threshold + 1e-6 * np.abs(places).max()  # for rounding in single precision
    found = cKDTree(places).query_pairs(threshold + slack, output_type="ndarray").astype(np.int64)
    columns = np.unique(np.linspace(0, records.shape[1] - 1, _COLUMNS).astype(np.int64))
    found = _within(records[:, columns], found, threshold + slack)
    return distinct[_within(records, found, threshold)], threshold


def _within(records: np.ndarray, pairs: np.ndarray, threshold: float) -> np.ndarray:
    """Those of the pairs ``(p, 2)`` whose records are nearer to each other than the threshold."""
    near = [
        np.linalg.norm(np.subtract(records[a], records[b], dtype=np.float64), axis=1) < threshold
        for a, b in (part.T for part in np.split(pairs, range(_AT_ONCE, len(pairs), _AT_ONCE)))
    ]
    return pairs[np.concatenate(near)]


def _on_main_directions(records: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Coordinates ``(n, ≤ 16)`` on the main directions of a sample, which are orthonormal."""
    mean = records[sample].mean(axis=0)
    centred = records[sample] - mean
    values, vectors = np.linalg.eigh(centred.astype(np.float64) @ centred.T)
    kept = np.flatnonzero(values > 1e-6 * values[-1])[-_DIRECTIONS:]
    directions = np.linalg.qr(centred.T @ vectors[:, kept])[0]
    return np.asarray((records - mean) @ directions.astype(records.dtype), dtype=np.float64)
