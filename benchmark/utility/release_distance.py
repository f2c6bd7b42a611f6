"""How far a release stays from the records behind it, and how diverse it is: proxies, no privacy score.

All distances are Euclidean in one space that the *members* fix: each feature is centred and scaled by
their mean and standard deviation (with a floor), for every method alike. Scaling by what was released would flatter
methods that shrink the spread, such as k-Same [1]_.

References
----------
.. [1] Di Salvo et al., BMVC 2024, arXiv 2408.00639, whose evaluation averages the distance of each
   released record to its nearest real training record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from benchmark.contracts import (
    Context,
    Field,
    Records,
    UtilityInfo,
)
from benchmark.learning.repeats import duplicates
from benchmark.utility.comparison import (
    Comparison,
    Figure,
    Z,
    at_most,
    cluster_mean,
    normal_limits,
    quantile_limits,
)

__all__ = ["ReleaseDistance", "mean_pairwise"]

FLOOR = 0.1
"""Least standard deviation of a feature that is scaled by, in units of the features' root mean square.

A feature that is all but constant among the members would otherwise decide alone: one activation of a
rectified unit that few members have puts a fresh real record hundreds of spreads away (with EfficientNet's
features of Fashion-MNIST the floor holds for 4 % of the features; without it fresh records were 1.6 times as
diverse as the members)."""


class ReleaseDistance(Comparison):
    """Distance to the closest members, with fresh real records beside it, and diversity.

    Figures under the clean condition; perturbations of the test records do not concern them.

    - ``distance_to_members``: mean distance of each released record to its nearest member;
    - ``distance_5th``: the 5th percentile of that distance over distinct records: how near the nearest twentieth of the
      release comes, which a mean over many far records hides;
    - ``distance_real``: the mean for fresh real records (the test set). What a release of new real
      records would have;
    - ``distance_ratio``: the first mean divided by that. 0 for copies, 1 for fresh records; noise far
      from all data is above 1, so that larger is not better beyond 1;
    - ``diversity``: mean distance between two released records of a class divided by the same for
      members, classes weighted by the members' shares. 1 where the release spreads as the members do;
    - ``member_perplexity``: perplexity of the nearest member of a released record (2 to the entropy of the
      assignment, in bits), as a share of the members: in how many of them the release has its
      neighbours. It grows with the release's size. Not the ``coverage`` of ``fidelity``, which asks how
      much of fresh real data has a released record in its neighbourhood;
    - ``distinct``: share of distinct records in the release.

    A distance is a proxy: a release can be far from all members and still tell which they were.

    Identical released records count as one observation in the intervals, and so do the test records
    of one identity.
    """

    info: ClassVar[UtilityInfo] = UtilityInfo(
        name="release_distance",
        version="4",
        summary="Proxy: distance of released records to the nearest member, and their diversity.",
        citation="Di Salvo et al. (2024), arXiv:2408.00639",
        labelled=False,
        needs_members=True,
    )

    per_class: int = Field(
        2000,
        ge=2,
        description="most records of a class that are compared in pairs, drawn at random",
    )

    def compare(self, release: Records, test: Records, context: Context) -> Mapping[str, Figure]:
        """The figures that the class names.

        Raises
        ------
        LeakboardError
            Without ``context.members``.
        """
        members = self.members_of(context)
        scale = _Scale(members.flat())
        real = scale(members.flat())
        released = scale(release.flat())
        fresh = scale(test.flat())
        figures = self._distances(released, fresh, real, test.groups, context)
        figures |= self._diversity(released, release.labels, real, members, context)
        return figures

    def _distances(
        self,
        released: np.ndarray,
        fresh: np.ndarray,
        members: np.ndarray,
        identities: np.ndarray | None,
        context: Context,
    ) -> dict[str, Figure]:
        from benchmark.learning.neighbours import nearest

        own, neighbours = nearest(released, members, device=context.device)
        other, _ = nearest(fresh, members, device=context.device)
        copies = duplicates(released)
        to_members = cluster_mean(own[:, 0], copies)
        real = cluster_mean(other[:, 0], identities)
        _, distinct = np.unique(copies, return_index=True)
        counts = np.bincount(neighbours[:, 0], minlength=len(members))
        return {
            "distance_to_members": normal_limits(
                *to_members, "normal, identical records as one", least=0.0
            ),
            "distance_5th": quantile_limits(
                own[distinct, 0], 0.05, "order statistics, identical records as one", least=0.0
            ),
            "distance_real": normal_limits(*real, "normal", least=0.0),
            **_ratio("distance_ratio", to_members, real),
            "member_perplexity": _perplexity(counts) / len(members),
            "distinct": len(distinct) / len(copies),
        }

    def _diversity(
        self,
        released: np.ndarray,
        labels: np.ndarray,
        real: np.ndarray,
        members: Records,
        context: Context,
    ) -> dict[str, Figure]:
        """Within-class spread relative to the members', over classes with two records on both sides."""
        rng = context.rng("pairs")
        sums = np.zeros(4)
        for label in np.unique(members.labels):
            rows, own = np.flatnonzero(members.labels == label), np.flatnonzero(labels == label)
            if min(len(rows), len(own)) < 2:
                continue
            share = len(rows) / len(members)
            groups = None if members.groups is None else members.groups
            ours, theirs = (r[at_most(len(r), self.per_class, rng)] for r in (own, rows))
            a = mean_pairwise(released[ours], duplicates(released[ours]))
            b = mean_pairwise(real[theirs], None if groups is None else groups[theirs])
            sums += share * a[0], (share * a[1]) ** 2, share * b[0], (share * b[1]) ** 2
        return _ratio("diversity", (sums[0], sums[1] ** 0.5), (sums[2], sums[3] ** 0.5))


# ---------------------------------------------------------------- pure helpers


class _Scale:
    """Centres and scales by the mean and standard deviation of ``vectors``, which is at least :data:`FLOOR`."""

    def __init__(self, vectors: np.ndarray) -> None:
        self._mean = vectors.mean(axis=0, dtype=np.float64)
        spread = vectors.std(axis=0, dtype=np.float64)
        usual = float(np.sqrt((spread**2).mean()))
        self._spread = np.maximum(spread, FLOOR * usual) if usual > 0 else np.ones_like(spread)

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = (vectors - self._mean) / self._spread
        return scaled


def mean_pairwise(vectors: np.ndarray, clusters: np.ndarray | None = None) -> tuple[float, float]:
    """Mean distance between two of the ``vectors (n, D)``, n ≥ 2, and its standard error.

    A U-statistic of order two: its error is twice that of the mean of each vector's own mean distance
    to the others (Hoeffding 1948).
    """
    n = len(vectors)
    centred = vectors - vectors.mean(axis=0)
    norms = np.einsum("nd,nd->n", centred, centred)
    tie = 1e-12 * max(float(norms.max()), np.finfo(float).tiny)
    own = np.zeros(n)
    for start in range(0, n, 512):
        rows = slice(start, start + 512)
        squares = norms[rows, None] + norms - 2 * centred[rows] @ centred.T
        own[rows] = np.sqrt(np.where(squares > tie, squares, 0.0)).sum(axis=1) / (n - 1)
    mean, error = cluster_mean(own, clusters)
    return mean, 2 * error


def _perplexity(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _ratio(name: str, top: tuple[float, float], bottom: tuple[float, float]) -> dict[str, Figure]:
    """The figure ``name``: the ratio of two means, each with its error. None where ``bottom`` is 0.

    The interval is normal on the scale of logarithms. The two are taken as independent: a release that
    follows its members' chance makes it too wide, never too narrow.
    """
    method = "normal on the log scale, the two means taken as independent"
    if bottom[0] <= 0:
        return {}
    ratio = top[0] / bottom[0]
    if top[0] == 0:
        return {name: (0.0, 0.0, 0.0, method)}
    error = float(np.hypot(top[1] / top[0], bottom[1] / bottom[0]))
    if np.isnan(error):
        return {name: ratio}
    factor = float(np.exp(Z * error))
    return {name: (ratio, ratio / factor, ratio * factor, method)}
