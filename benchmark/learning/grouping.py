"""Groups of at least k identities: the rules of the k-Same family, for records and for their codes alike.

An identity with several records is one point, the centroid of those records, and is never split. No group is ever
smaller than k: what is left at the end (between k and 2k − 1 points) is the last group. Time is O(n²·D) and memory
O(n·D): distances are computed in blocks and never kept.

References
----------
.. [1] Di Salvo et al., BMVC 2024, arXiv 2408.00639 (``farthest``).
.. [2] Domingo-Ferrer & Torra, "Ordinal, continuous and heterogeneous k-anonymity", 2005 (MDAV).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmark.contracts import Records

__all__ = [
    "RULES",
    "Group",
    "equal_copies",
    "farthest_groups",
    "form_groups",
    "identities_of",
    "mdav_groups",
    "swap_groups",
]

# Elements of one block of distances (32 MiB of float64).
BLOCK = 2**22
# Most points that are taken out before the others are brought up to date.
GONE = 256
# Of same-size k-means: groups that a point may move to, and most passes over all points.
NEAR = 8
SWEEPS = 20
# Squared distances closer than this share of the largest squared norm count as equal, so that the
# order in which a processor adds up does not decide between duplicates.
TIE = 1e-12
# Likewise for sums of distances, as a share of the largest.
SLACK = 1e-9


@dataclass(frozen=True)
class Group:
    """Identities that are released together.

    ``owners`` holds, for each identity, its rows of the members, ascending; ``mean (D,) float64`` is
    the mean of the identities' centroids.
    """

    owners: list[np.ndarray]
    mean: np.ndarray


def form_groups(vectors: np.ndarray, owners: list[np.ndarray], k: int, rule: str) -> list[Group]:
    """Group identities by their centroids; none where there are fewer than ``k`` of them.

    Parameters
    ----------
    vectors : ndarray of shape (n, D)
        All records.
    owners : list of ndarray
        Rows of each identity, disjoint.
    k : int
        Smallest size of a group.
    rule : {"farthest", "mdav", "kmeans"}
    """
    if len(owners) < k:
        return []
    points = np.stack([vectors[rows].mean(axis=0, dtype=np.float64) for rows in owners])
    indices = RULES[rule](points, k)
    _assert_partition(indices, len(points), k)
    return [Group([owners[i] for i in index], points[index].mean(axis=0)) for index in indices]


def _assert_partition(groups: list[np.ndarray], n: int, k: int) -> None:
    """Fail loudly, also under ``python -O``, rather than release a group that breaks the claim."""
    smallest = min(map(len, groups))
    if smallest < k:
        raise AssertionError(f"internal error: a rule formed a group of {smallest}, below k = {k}.")
    if not np.array_equal(np.sort(np.concatenate(groups)), np.arange(n)):
        raise AssertionError("internal error: a rule's groups do not partition the identities.")


def identities_of(members: Records, rows: np.ndarray) -> list[np.ndarray]:
    """``rows`` split by identity; every row by itself where there are no identities."""
    if members.groups is None:
        return list(rows[:, None])
    order = np.argsort(members.groups[rows], kind="stable")
    sorted_groups = members.groups[rows][order]
    starts = np.flatnonzero(sorted_groups[1:] != sorted_groups[:-1]) + 1
    return np.split(rows[order], starts)


def equal_copies(owners: list[np.ndarray]) -> np.ndarray:
    """Rows that the copies of one group stand for: equally many for each identity, in turns."""
    each = max(1, round(sum(map(len, owners)) / len(owners)))
    return np.concatenate([np.resize(rows, each) for rows in owners])


# ---------------------------------------------------------------- rules


def farthest_groups(points: np.ndarray, k: int) -> list[np.ndarray]:
    """The rule published for features (Di Salvo et al. 2024).

    While 2k points or more are unassigned: take the one whose Euclidean distances to all unassigned
    points have the largest sum, and group it with its k − 1 nearest unassigned points. What is left
    is the last group. Ties go to the lower index.

    Parameters
    ----------
    points : ndarray of shape (n, D)
        n ≥ k.
    k : int
        ≥ 2.

    Returns
    -------
    list of ndarray
        Indices of each group; all groups but the last have k, the last has k … 2k − 1.
    """
    pool = _Unassigned(points, sums=True)
    groups = []
    while len(pool) >= 2 * k:
        groups.append(pool.pop(pool.nearest_to(pool.most_distant(), k)))
    return [*groups, pool.indices()]


def mdav_groups(points: np.ndarray, k: int) -> list[np.ndarray]:
    """Maximum distance to average vector (Domingo-Ferrer & Torra 2005, MDAV-generic).

    While 3k points or more are unassigned: take the point r farthest from their mean and the point
    s farthest from r; group r, then s, with its k − 1 nearest unassigned points. Of 2k … 3k − 1
    points the one farthest from the mean forms a group, and what is left is the last one.

    Parameters and returns are those of :func:`farthest_groups`.
    """
    pool = _Unassigned(points)
    groups = []
    while len(pool) >= 3 * k:
        r = pool.farthest_from(pool.mean())
        groups.append(pool.pop(pool.nearest_to(r, k)))
        groups.append(pool.pop(pool.nearest_to(pool.farthest_from(points[r]), k)))
    if len(pool) >= 2 * k:
        groups.append(pool.pop(pool.nearest_to(pool.farthest_from(pool.mean()), k)))
    return [*groups, pool.indices()]


def swap_groups(points: np.ndarray, k: int) -> list[np.ndarray]:
    """Same-size k-means: MDAV's groups, with points swapped between groups while that brings them closer.

    A sweep takes each point in turn, the worst placed first, and looks for the best swap with a member
    of one of the ``NEAR`` groups whose means are nearest to it; a swap is made where it lowers the sum
    of squared distances to the groups' means, what averaging loses. Sizes, and with them the
    guarantee, stay as MDAV made them. It ends with a sweep without a swap, or after ``SWEEPS``.

    On digits' pixels the loss falls by 3 % (k = 3) to 16 % (k = 10) against MDAV; on isotropic normal
    points, which have no groups to find, by 2 %. Some ten sweeps are made, each of O(n·(n/k + NEAR·k)·D);
    at n = 2,000 and D = 768 that is 17 times MDAV's time.

    Parameters and returns are those of :func:`farthest_groups`.
    """
    groups = mdav_groups(points, k)
    points = points - points.mean(axis=0)
    swaps = _Swaps(points, groups)
    for _ in range(SWEEPS):
        if not swaps.sweep():
            break
    return swaps.groups


class _Swaps:
    """Groups of fixed sizes with their means, improved by swaps."""

    def __init__(self, points: np.ndarray, groups: list[np.ndarray]) -> None:
        self.groups = [group.copy() for group in groups]
        self._points = points
        self._sizes = np.array([len(group) for group in groups])
        self._means = np.stack([points[group].mean(axis=0) for group in groups])
        self._group = np.empty(len(points), dtype=np.int64)
        for number, group in enumerate(groups):
            self._group[group] = number
        self._least = 1e-9 * max(float(_squared_norms(points).max()), np.finfo(float).tiny)

    def sweep(self) -> int:
        """Try to place every point better; the number of swaps made."""
        near, distances = self._near_groups()
        return sum(
            self._place(point, near[point]) for point in np.argsort(-distances, kind="stable")
        )

    def _near_groups(self) -> tuple[np.ndarray, np.ndarray]:
        """For each point the groups with the nearest means, and its distance to its own, squared."""
        n, n_near = len(self._points), min(NEAR, len(self._means))
        mean_squares = _squared_norms(self._means)
        near = np.empty((n, n_near), dtype=np.int64)
        step = max(1, BLOCK // len(self._means))
        for start in range(0, n, step):
            ranks = mean_squares - 2 * self._points[start : start + step] @ self._means.T
            near[start : start + step] = np.argpartition(ranks, n_near - 1, axis=1)[:, :n_near]
        near.sort(axis=1)
        return near, _squared_norms(self._points - self._means[self._group])

    def _place(self, point: int, near: np.ndarray) -> bool:
        """Make the best swap of a point with a member of the groups ``near``, if it is worth it."""
        own = self._group[point]
        near = near[near != own]
        if len(near) == 0:
            return False
        others = np.concatenate([self.groups[number] for number in near])
        theirs = np.repeat(near, self._sizes[near])
        steps = self._points[others] - self._points[point]
        # What the swap takes off the sum of squares: of n|mean|², the two means each move by a step.
        gains = 2 * np.einsum("nd,nd->n", steps, self._means[own] - self._means[theirs])
        gains += _squared_norms(steps) * (1 / self._sizes[own] + 1 / self._sizes[theirs])
        best = int(np.argmax(gains))
        if gains[best] <= self._least:
            return False
        self._swap(point, int(others[best]), steps[best])
        return True

    def _swap(self, a: int, b: int, step: np.ndarray) -> None:
        group_a, group_b = self._group[a], self._group[b]
        self.groups[group_a][self.groups[group_a] == a] = b
        self.groups[group_b][self.groups[group_b] == b] = a
        self._group[a], self._group[b] = group_b, group_a
        self._means[group_a] += step / self._sizes[group_a]
        self._means[group_b] -= step / self._sizes[group_b]


RULES: dict[str, Callable[[np.ndarray, int], list[np.ndarray]]] = {
    "farthest": farthest_groups,
    "mdav": mdav_groups,
    "kmeans": swap_groups,
}


class _Unassigned:
    """The points that are in no group yet, with what the rules ask about them.

    Distances are Euclidean, computed in float64 from inner products of the centred points. Points
    that were taken out stay stored, masked, until :meth:`_flush`.

    Sums of distances are those at the last flush. They can only shrink as points are taken out, so
    they are upper bounds: :meth:`most_distant` corrects the few points that could still be the
    largest, instead of all points after every group.

    Parameters
    ----------
    points : ndarray of shape (n, D), float64
    sums : bool, default=False
        Whether :meth:`most_distant` will be asked for.
    """

    def __init__(self, points: np.ndarray, *, sums: bool = False) -> None:
        self._centre = points.mean(axis=0)
        self._points = points - self._centre
        self._squares = _squared_norms(self._points)
        self._tie = TIE * self._squares.max() or 1.0
        self._indices = np.arange(len(points))
        self._alive = np.ones(len(points), dtype=bool)
        # Points taken out since the last flush, copied here so that they lie together.
        self._gone = np.empty((GONE, points.shape[1]))
        self._n_gone = 0
        self._sums = _sums_among(self._points, self._squares) if sums else np.zeros(len(points))
        self._keep_sums = sums

    def __len__(self) -> int:
        return len(self._indices) - self._n_gone

    def indices(self) -> np.ndarray:
        """Indices of the unassigned points, ascending."""
        return self._indices[self._alive]

    def mean(self) -> np.ndarray:
        """Mean of the unassigned points, ``(D,)``."""
        return self._centre + self._alive @ self._points / len(self)

    def most_distant(self) -> int:
        """Index of the point with the largest sum of distances to the unassigned points."""
        bounds = np.where(self._alive, self._sums, -np.inf)
        if self._n_gone:
            largest = self._exact_sums(np.array([np.argmax(bounds)]))[0]
            candidates = np.flatnonzero(bounds >= largest * (1 - SLACK))
            if len(candidates) > len(self) // 4:
                self._flush()
                bounds = self._sums
            else:
                exact = self._exact_sums(candidates)
                bounds = np.full(len(bounds), -np.inf)
                bounds[candidates] = exact
        return int(self._indices[np.argmax(bounds >= bounds.max() * (1 - SLACK))])

    def farthest_from(self, vector: np.ndarray) -> int:
        """Index of the point farthest from ``vector (D,)``."""
        squares = self._ranks(vector - self._centre, dead=-np.inf)
        return int(self._indices[np.argmax(squares)])

    def nearest_to(self, index: int, k: int) -> np.ndarray:
        """Indices of the ``k`` points nearest to the point at ``index``, itself among them."""
        position = np.searchsorted(self._indices, index)
        squares = self._ranks(self._points[position], dead=np.inf)
        squares[position] = -1.0
        threshold = np.partition(squares, k - 1)[k - 1]
        candidates = np.flatnonzero(squares <= threshold)
        nearest = candidates[np.argsort(squares[candidates], kind="stable")[:k]]
        return self._indices[nearest]

    def pop(self, indices: np.ndarray) -> np.ndarray:
        """Take ``indices`` out; returns them."""
        positions = np.searchsorted(self._indices, indices)
        self._alive[positions] = False
        first, self._n_gone = self._n_gone, self._n_gone + len(positions)
        if self._n_gone > min(GONE, max(64, len(self._indices) // 4)):
            self._flush()
        else:
            self._gone[first : self._n_gone] = self._points[positions]
        return indices

    def _ranks(self, vector: np.ndarray, dead: float) -> np.ndarray:
        """Squared distances from a centred ``vector`` in units of the tie width, rounded."""
        squares = self._squares - 2 * (self._points @ vector) + vector @ vector
        return np.where(self._alive, np.rint(np.maximum(squares, 0) / self._tie), dead)

    def _exact_sums(self, positions: np.ndarray) -> np.ndarray:
        """Sums of distances to the unassigned points, of the stored points at ``positions``."""
        return self._sums[positions] - _sums_to(
            self._points[positions], self._squares[positions], self._gone[: self._n_gone]
        )

    def _flush(self) -> None:
        """Forget the points that were taken out."""
        keep = self._alive
        gone = self._points[~keep]
        self._points, self._squares = self._points[keep], self._squares[keep]
        if self._keep_sums:
            self._sums = self._sums[keep] - _sums_to(self._points, self._squares, gone)
        self._indices = self._indices[keep]
        self._alive = np.ones(len(self._indices), dtype=bool)
        self._n_gone = 0


def _squared_norms(points: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", points, points)


def _distances(
    x: np.ndarray, x_squares: np.ndarray, y: np.ndarray, y_squares: np.ndarray
) -> np.ndarray:
    """Distances ``(len(x), len(y))`` of points with known squared norms, in one piece of memory."""
    squares = x @ y.T
    squares *= -2
    squares += y_squares
    squares += x_squares[:, None]
    np.maximum(squares, 0, out=squares)
    return np.sqrt(squares, out=squares)


def _sums_to(x: np.ndarray, x_squares: np.ndarray, y: np.ndarray) -> np.ndarray:
    """For each of the points ``x`` the sum of its distances to the points ``y``, in blocks."""
    y_squares = _squared_norms(y)
    sums = np.zeros(len(x))
    step = max(1, BLOCK // max(1, len(y)))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        sums[rows] = _distances(x[rows], x_squares[rows], y, y_squares).sum(axis=1)
    return sums


def _sums_among(points: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """For each point the sum of its distances to all points, each pair measured once."""
    sums = np.zeros(len(points))
    step = max(1, BLOCK // len(points))
    for start in range(0, len(points), step):
        stop = min(start + step, len(points))
        block = _distances(points[start:stop], squares[start:stop], points[start:], squares[start:])
        sums[start:stop] += block.sum(axis=1)
        sums[stop:] += block[:, stop - start :].sum(axis=0)
    return sums
