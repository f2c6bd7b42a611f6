"""How near the distribution of a release is to the real one, and how varied the release is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import ClassVar

import numpy as np
import scipy  # its modules load when first used
from pydantic import field_validator

from benchmark.contracts import (
    Context,
    Field,
    NotApplicable,
    Records,
    UtilityInfo,
)
from benchmark.learning.repeats import duplicates
from benchmark.utility.comparison import Comparison, Figure, at_most

__all__ = ["Fidelity"]

SHARES = frozenset({"precision", "recall", "coverage"})
"""Figures that are at most 1; only the kernel distance may be below 0."""


class Fidelity(Comparison):
    """Fidelity and diversity against real test records, which neither the method nor the release has seen.

    The release and the test records are compared as vectors (features as they are, pixels divided by 255), equally many
    of each, drawn at random from the larger: all these figures depend on the number of records. Figures, under the
    clean condition alone:

    - ``frechet_distance`` and ``kernel_distance`` (KID), 0 for the same distribution, the first biased upwards;
    - ``precision`` and ``density``: are released records where real ones are?
    - ``recall`` and ``coverage``: are all real records near released ones?
    - ``vendi_score``: effective number of different released records; ``vendi_score_real`` of real ones. Both are
      centred on the mean of the real ones first: features that are never negative all point one way otherwise.

    The 95 % intervals are Student's, with the standard errors of the jackknife that leaves out one of ``groups`` random
    groups of records at a time, of both samples at once. Copies of one released record, and test records of one
    identity, are in one group: they are one observation. Intervals are about the figure at this number of records.

    The control ``holdout`` shows what fresh real records get. ``identity`` gets nearly the same: fidelity does not see
    that a release is a copy.

    Parameters
    ----------
    k : int, default=5
        Neighbours that the balls of precision, recall, density and coverage reach to.
    records : int, default=5000
        At most so many records of each are compared.
    groups : int, default=10
        Groups of the jackknife; 0 for figures without intervals, in a tenth of the time.

    References
    ----------
    Heusel et al. (2017), arXiv:1706.08500; Bińkowski et al. (2018), arXiv:1801.01401; Kynkäänniemi et al. (2019),
    arXiv:1904.06991; Naeem et al. (2020), arXiv:2002.09797; Friedman and Dieng (2023), arXiv:2210.02410.
    """

    info: ClassVar[UtilityInfo] = UtilityInfo(
        name="fidelity",
        version="4",
        summary="Fréchet and kernel distance, precision, recall, density, coverage and Vendi score",
        citation="Naeem et al. (2020), arXiv:2002.09797; Friedman and Dieng (2023), arXiv:2210.02410",
        labelled=False,
    )
    k: int = Field(5, ge=1, description="neighbours that a record's ball reaches to")
    records: int = Field(5000, ge=2, description="at most so many records of each are compared")
    groups: int = Field(10, ge=0, le=100, description="groups of the jackknife, 0 for no intervals")

    @field_validator("groups")
    @classmethod
    def _one_group_leaves_nothing(cls, groups: int) -> int:
        if groups == 1:
            raise ValueError("must be 0 (no intervals) or at least 2. Got 1.")
        return groups

    def compare(self, release: Records, test: Records, context: Context) -> Mapping[str, Figure]:
        """The figures that the class names.

        Raises
        ------
        NotApplicable
            When there are too few released or test records for ``k`` neighbours.
        """
        from threadpoolctl import threadpool_limits

        from benchmark.utility.fidelity.metrics import jackknife

        n = min(len(release), len(test), self.records)
        if n <= self.k:
            raise NotApplicable(
                f"fidelity with k={self.k} needs more than {self.k} released and test records; "
                f"got {len(release)} and {len(test)}"
            )
        rows = at_most(len(release), n, context.rng("released"))
        released = release.flat()[rows]
        rows = at_most(len(test), n, context.rng("real"))
        real, identities = test.flat()[rows], None if test.groups is None else test.groups[rows]

        def figures(real: np.ndarray, released: np.ndarray) -> dict[str, float]:
            return self._figures(real, released, context.device)

        with threadpool_limits(1, user_api="blas"):  # the same bits on any number of threads
            found = figures(real, released)
            groups = self._groups(released, n, identities, context)
            if groups is None:
                return found
            errors = jackknife(figures, real, released, groups)
        method = f"jackknife over {self.groups} groups, Student"
        half = float(scipy.stats.t.ppf(0.975, self.groups - 1))
        return {
            name: (value, *_limits(name, value, half * errors[name]), method)
            for name, value in found.items()
        }

    def _figures(self, real: np.ndarray, released: np.ndarray, device: str) -> dict[str, float]:
        from benchmark.utility.fidelity.metrics import (
            frechet_distance,
            kernel_distance,
            manifold_metrics,
            vendi_score,
        )

        centre = real.mean(axis=0, dtype=np.float64)
        return {
            "frechet_distance": frechet_distance(real, released),
            "kernel_distance": kernel_distance(real, released),
            **asdict(manifold_metrics(real, released, self.k, device=device)),
            "vendi_score": vendi_score(released - centre),
            "vendi_score_real": vendi_score(real - centre),
        }

    def _groups(
        self, released: np.ndarray, n: int, identities: np.ndarray | None, context: Context
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Groups of the real and of the released records; None where they are too few for a jackknife."""
        clusters = (np.arange(n) if identities is None else identities, duplicates(released))
        found = [
            _in_groups(c, self.groups, context.rng("groups", i)) for i, c in enumerate(clusters)
        ]
        sizes = [np.bincount(g, minlength=max(self.groups, 1)) for g in found]
        if self.groups < 2 or any(s.min() == 0 or n - s.max() <= self.k for s in sizes):
            return None
        return found[0], found[1]


def _in_groups(clusters: np.ndarray, groups: int, rng: np.random.Generator) -> np.ndarray:
    """A random group for each record, ``(n,) int``, the same for all of a cluster; groups of equally many clusters."""
    which = np.unique(clusters, return_inverse=True)[1].ravel()
    dealt = np.arange(int(which.max()) + 1) % max(groups, 1)
    dealt_out: np.ndarray = rng.permutation(dealt)[which]
    return dealt_out


def _limits(name: str, value: float, half: float) -> tuple[float, float]:
    """Limits of an interval within the figure's range."""
    low = value - half if name == "kernel_distance" else max(value - half, 0.0)
    return low, min(value + half, 1.0) if name in SHARES else value + half
