"""Membership from correlation with the release's residuals: near-optimal for averages of k records."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from benchmark.contracts import (
    Attack,
    AttackInfo,
    Context,
    Field,
    PositiveControl,
    Records,
    Scores,
    View,
)
from benchmark.learning.density import shrunk_whitening
from benchmark.learning.residuals import class_residuals, distinct
from benchmark.learning.scores import average_log_ratio, largest_cosine

__all__ = ["ResidualCorrelation"]


class ResidualCorrelation(Attack):
    """Score a candidate by the likelihood that it was averaged into one of the released records.

    An average of k records is far from each of them, yet its residual about the population's mean
    keeps 1/k of each record's own residual, in every dimension. After whitening, the matched
    filter ⟨r, x⟩ finds it, whatever the distance. Means are taken
    within classes. Means and covariance are those of candidates and auxiliary records together:
    the more there are against the number of dimensions, the more this is a regression of released
    records on all candidates at once.

    Parameters
    ----------
    statistic : {"cosine", "likelihood"}, default="cosine"
        The largest cosine with a released residual, which assumes nothing of the release; or the
        likelihood ratio for averages or noise, with the release's variance measured, which is
        optimal for Gaussian records and poor where the model is wrong.

    References
    ----------
    Homer et al. (2008), PLoS Genetics 4(8), and Dwork et al. (2015), FOCS, for one average of all
    members; the ratio for many averages of k Gaussian records is derived in ``average_log_ratio``.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="residual_correlation",
        version="1",
        summary="Likelihood ratio of being averaged into a released record, after whitening.",
        citation="after Homer et al. (2008), PLoS Genetics 4(8)",
        positive_controls=(
            PositiveControl(method="identity", metric="auc", at_least=0.95),
            PositiveControl(
                method="random_averages",
                method_parameters={"k": 10},
                dataset="gaussian",
                dataset_parameters={"dimension": 128, "records": 6000},
                candidates=2000,
                metric="auc",
                at_least=0.85,
            ),
        ),
        auxiliary="mean, by class, and covariance of its records",
    )

    statistic: Literal["likelihood", "cosine"] = Field(
        "cosine", description="what is taken of the correlations"
    )

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate; in classes without a release, all alike."""
        assert view.records is not None  # granted, as info.needs asks for it
        known = np.concatenate([candidates.flat(), auxiliary.flat()])
        known_labels = np.concatenate([candidates.labels, auxiliary.labels])
        released, labels = distinct(view.records)
        known, released = class_residuals(known, known_labels, released, labels)
        values = np.zeros(len(candidates))
        if not known.any():
            return Scores(values=values)
        known, released = map(shrunk_whitening(known), (known, released))
        points = known[: len(candidates)]
        scale = np.sqrt(np.mean(np.square(points))) or 1.0
        points, released = points / scale, released / scale
        variance = _variance(released, labels)
        for label in np.unique(candidates.labels):
            mine, theirs = candidates.labels == label, labels == label
            if theirs.any():
                values[mine] = self._score(released[theirs], points[mine], variance)
        return Scores(values=values)

    def _score(self, released: np.ndarray, points: np.ndarray, variance: float) -> np.ndarray:
        if self.statistic == "cosine":
            return largest_cosine(released, points)
        n_members = max(len(points) / 2, 1.0)  # by fair coins
        share = min(1 / (min(variance, 1.0) * n_members), 0.5)
        return average_log_ratio(released, points, variance, share)


def _variance(released: np.ndarray, labels: np.ndarray) -> float:
    """Mean variance of a feature of the release within classes, at least 0.001."""
    squares = degrees = 0.0
    for label in np.unique(labels):
        part = released[labels == label]
        if len(part) > 1:
            squares += float(np.square(part - part.mean(axis=0)).mean(axis=1).sum())
            degrees += len(part) - 1
    if degrees == 0:
        squares, degrees = float(np.square(released).mean(axis=1).sum()), float(len(released))
    return max(squares / degrees, 1e-3)
