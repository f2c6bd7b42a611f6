"""Membership from as many draws of a generator as a budget allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, Literal

import numpy as np

from benchmark.contracts import (
    Access,
    Attack,
    AttackInfo,
    Context,
    Field,
    NotApplicable,
    PositiveControl,
    Records,
    Resources,
    Scores,
    View,
)
from benchmark.learning import density, membership, scores
from benchmark.learning.neighbours import nearest, nearest_in_parts

__all__ = ["Sampled"]

Sampler = Callable[[int, np.ndarray | None, np.random.Generator], Records]

RANKS = (1, 2, 5, 10, 20, 50)
"""Neighbours that ``local_neighbourhood`` looks at."""

_MOST_COUNTED = 100  # draws within a candidate's radius
_CHUNK_NUMBERS = 1 << 22  # of one part of the draws: 16 MiB in single precision
_MOST_FOR_BANDWIDTH = 1000


class Sampled(Attack):
    """Score candidates by ``draws`` fresh records of the generator, which come and go in parts.

    What a release of a few records shows by chance, a sampler shows as often as it is asked. Draws
    are shared equally among the candidates' classes, and a candidate is compared with those of its
    own; candidates of a class that was never released, with draws of all.

    The same figure against auxiliary records and against a reference generator tells how difficult
    a candidate is; what a regression on those explains is taken off
    (:func:`benchmark.learning.membership.unexplained`).

    Parameters
    ----------
    score : {"nearest_distance", "local_neighbourhood", "monte_carlo", "density"}
        ``nearest_distance``, the default: minus the log distance to the nearest draw.
        ``local_neighbourhood``: minus the mean log distance to the 1st, 2nd, 5th … 50th nearest.
        ``monte_carlo``: log of 1 + the draws within the median nearest distance, the nearer the
        more.
        ``density``: log of the draws' kernel density on ``components`` whitened components.
    draws : int, default=50000
        In all.
    by_class : bool, default=True
        Otherwise draws are of the generator's own classes, and every candidate is compared with all.
    reference : bool, default=True
        Compare with a generator of the same method that was fitted on auxiliary records, too.
    components : int, default=16
        Of ``density``.

    References
    ----------
    Chen, Yu, Zhang, Fritz (2020). GAN-Leaks. ACM CCS, sections 4.2 and 4.4. Hilprecht, Härterich,
    Bernau (2019). PoPETs 2019(4), section 4.1. van Breugel et al. (2023). DOMIAS. AISTATS.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="sampled",
        version="1",
        summary="Distances, shares or densities over many fresh draws of the generator.",
        citation="after Chen et al. (2020), GAN-Leaks, ACM CCS, arXiv:1909.03935",
        needs=Access.SAMPLER,
        positive_controls=(PositiveControl(method="identity", metric="auc", at_least=0.99),),
        auxiliary="its records and a reference generator fitted on them, as the population",
        resources=Resources(gpu=True),
    )

    score: Literal["nearest_distance", "local_neighbourhood", "monte_carlo", "density"] = Field(
        "nearest_distance", description="what is taken of the draws"
    )
    draws: int = Field(50_000, ge=100, description="fresh records drawn in all")
    by_class: bool = Field(True, description="compare with draws of the candidate's class")
    reference: bool = Field(True, description="compare with a generator of auxiliary records, too")
    components: int = Field(16, ge=1, description="principal components of the density")

    def positive_controls(self) -> tuple[PositiveControl, ...]:
        """On ``identity``, whose sampler draws members again and again: copies, which a density blurs."""
        least = {"monte_carlo": 0.95, "density": 0.8}.get(self.score, 0.99)
        return (PositiveControl(method="identity", metric="auc", at_least=least),)

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate.

        Raises
        ------
        NotApplicable
            With fewer than two auxiliary records, without a reference where one is wanted, or, for
            densities, where all records are equal.
        """
        assert view.records is not None and view.sample is not None  # granted
        if len(auxiliary) < 2:
            raise NotApplicable(
                "sampled compares with auxiliary records and needs two or more. "
                f"Got {len(auxiliary)}; raise the suite's share of auxiliary records."
            )
        draws = [_Draws(view.sample, view.records, self, context, "draws")]
        if self.reference:
            draws.append(self._reference(view, context))
        notes: dict[str, float] = {}
        if self.score == "density":
            values = self._density(draws, candidates, auxiliary, context)
        else:
            values, notes = self._distances(draws, candidates, auxiliary)
        return Scores(
            values=membership.unexplained(values[0], np.stack(values[1:], 1)), notes=notes
        )

    def _reference(self, view: View, context: Context) -> _Draws:
        given = view.reference
        if given is None or given.sample is None:
            raise NotApplicable(
                "sampled with reference=true compares with a generator fitted on auxiliary records. "
                "Got none; set `reference: false`."
            )
        return _Draws(given.sample, given.records, self, context, "reference draws")

    def _distances(
        self, draws: list[_Draws], candidates: Records, auxiliary: Records
    ) -> tuple[list[np.ndarray], dict[str, float]]:
        """The score against the generator, the reference and the auxiliary records, from distances."""
        k = {"nearest_distance": 1, "monte_carlo": _MOST_COUNTED}.get(self.score, RANKS[-1])
        found = [source.nearest(candidates, k) for source in draws]
        real, _ = nearest(
            candidates.flat(), auxiliary.flat(), min(k, len(auxiliary)), device=draws[0].device
        )
        notes = {
            "median_distance_of_nearest_draw": float(np.median(found[0][:, 0])),
            "share_nearer_than_auxiliary": float(np.mean(found[0][:, 0] < real[:, 0])),
        }
        if self.score == "monte_carlo":
            radius = float(np.median(found[0][:, 0]))
            counts = [np.log1p(scores.share_within(distances, radius)) for distances in found]
            return [*counts, -_mean_log(real, (1,), real)], notes
        ranks = (1,) if self.score == "nearest_distance" else RANKS
        return [-_mean_log(distances, ranks, real) for distances in (*found, real)], notes

    def _density(
        self, draws: list[_Draws], candidates: Records, auxiliary: Records, context: Context
    ) -> list[np.ndarray]:
        """The log density of the generator, the reference and the auxiliary records."""
        population = auxiliary.flat()
        known = np.concatenate([draws[0].records.flat(), population])
        if (known == known[0]).all():
            raise NotApplicable(
                "sampled compares densities and needs records that differ. All released and "
                "auxiliary records are equal."
            )
        seed = context.derive("components") % 2**32
        project = density.whitened_components(known, self.components, seed)
        distinct = np.unique(project(population[:_MOST_FOR_BANDWIDTH]), axis=0)
        bandwidth = (
            density.likelihood_bandwidth(distinct, device=context.device)
            if len(distinct) > 2
            else density.scott_bandwidth(len(population), distinct.shape[1])
        )
        values = [source.log_density(candidates, project, bandwidth) for source in draws]
        points, rest = project(candidates.flat()), project(population)
        return [
            *values,
            density.kde_log_density(points, rest, bandwidth, device=context.device),
        ]


def _mean_log(distances: np.ndarray, ranks: tuple[int, ...], real: np.ndarray) -> np.ndarray:
    """Mean log distance at the ranks that there are; no less than a millionth of the real records' median."""
    columns = [k - 1 for k in ranks if k <= distances.shape[1]]
    floor = max(1e-6 * float(np.median(real)), 1e-12)
    return np.asarray(np.log(np.maximum(distances[:, columns], floor)).mean(axis=1))


class _Draws:
    """Draws of a generator in parts, the same ones at each call, for the candidates of each class."""

    def __init__(
        self, sample: Sampler, records: Records, attack: Sampled, context: Context, name: str
    ) -> None:
        self.sample, self.records, self.labels = sample, records, np.unique(records.labels)
        self.draws, self.by_class = attack.draws, attack.by_class
        self.context, self.name, self.device = context, name, context.device

    def nearest(self, candidates: Records, k: int) -> np.ndarray:
        """Distances ``(m, k)`` to the nearest draws; as many columns as the fewest draws allow."""
        points = candidates.flat()
        found = [
            (rows, nearest_in_parts(points[rows], parts, k, device=self.device))
            for rows, parts in self._classes(candidates)
        ]
        k = min(distances.shape[1] for _, distances in found)
        answer = np.empty((len(candidates), k))
        for rows, distances in found:
            answer[rows] = distances[:, :k]
        return answer

    def log_density(
        self, candidates: Records, project: Callable[[np.ndarray], np.ndarray], bandwidth: float
    ) -> np.ndarray:
        """Log density of Gaussian kernels at the projected draws, at the candidates: ``(m,)``."""
        points = project(candidates.flat())
        values = np.empty(len(candidates))
        for rows, parts in self._classes(candidates):
            total, n = np.full(len(rows), -np.inf), 0
            for part in parts:
                logs = density.kde_log_density(
                    points[rows], project(part), bandwidth, device=self.device
                )
                total, n = np.logaddexp(total, logs + np.log(len(part))), n + len(part)
            values[rows] = total - np.log(n)
        return values

    def _classes(self, candidates: Records) -> Iterator[tuple[np.ndarray, Iterator[np.ndarray]]]:
        """Rows of candidates with the parts of the draws that they are compared with."""
        known = self.labels if self.by_class else np.empty(0, np.int64)
        wanted = np.intersect1d(candidates.labels, known)
        share = max(1, self.draws // max(1, len(wanted)))
        for i, label in enumerate(wanted):
            self.context.progress(i / len(wanted))
            yield np.flatnonzero(candidates.labels == label), self._parts(int(label), share)
        rest = np.flatnonzero(~np.isin(candidates.labels, wanted))
        if len(rest):
            yield rest, self._parts(None, self.draws)

    def _parts(self, label: int | None, n: int) -> Iterator[np.ndarray]:
        """``n`` draws of a class, or of all, as vectors: some at a time."""
        rng = self.context.rng(self.name, "all" if label is None else label)
        size = 256
        while n > 0:
            size = min(n, size)
            labels = None if label is None else np.full(size, label, dtype=np.int64)
            part = self.sample(size, labels, rng).flat()
            yield part
            n -= size
            size = max(1, min(8192, _CHUNK_NUMBERS // part.shape[1]))
