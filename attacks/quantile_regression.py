"""Membership from a score that is unusual for a record of its difficulty, learned on auxiliary records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

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
from benchmark.learning.density import whitened_components
from benchmark.learning.neighbours import nearest
from benchmark.learning.spread import Spread

__all__ = ["QuantileRegression"]

Score = Callable[[Records], np.ndarray]

_LEAST = 20  # auxiliary records
_COMPONENTS = 16
_NEIGHBOURS = 5
_RIDGE = 1e-3  # as mahalanobis, in units of a feature's mean variance
_PENALTIES = np.logspace(-2, 4, 13)


class QuantileRegression(Attack):
    """Score a candidate by how far its score lies above what is usual for a record like it.

    Some records are near any release and some are far from all. Auxiliary records say which: they are no members, so
    a regression of their scores on what they look like gives the distribution that a candidate's score has where it
    is no member either. The answer is the residual in units of its scale, from which every quantile follows, as where
    quantiles are taken from a normal distribution. No shadow releases are fitted.

    Records are described by their distances to the nearest auxiliary records, their leading principal components,
    whitened, and their class.

    Parameters
    ----------
    score : {"nearest_distance", "mahalanobis"}, default="nearest_distance"
        Minus the logarithm of the distance to the nearest released record, or of the squared Mahalanobis distance
        under the release's mean and covariance of the record's class. The second sees a release that keeps its
        members' covariance, and is held to that.
    regressor : {"linear", "boosting"}, default="linear"
        Ridge regression, its penalty chosen by the leave-one-out error on auxiliary records, or gradient-boosted
        trees.

    References
    ----------
    Bertran, Tang, Kearns, Morgenstern, Roth, Wu (2023). Scalable Membership Inference Attacks via Quantile Regression.
    NeurIPS.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="quantile_regression",
        version="1",
        summary="A score in units of what is usual for such a record, by regression on auxiliary records.",
        citation="Bertran et al. (2023), NeurIPS, arXiv:2307.03694",
        positive_controls=(PositiveControl(method="identity", metric="auc", at_least=0.95),),
        auxiliary="its records, as non-members whose scores are known",
    )

    score: Literal["nearest_distance", "mahalanobis"] = Field(
        "nearest_distance", description="what is compared with its usual value"
    )
    regressor: Literal["linear", "boosting"] = Field(
        "linear", description="what learns the usual value and its scale"
    )

    def positive_controls(self) -> tuple[PositiveControl, ...]:
        """Copies by distance; members' covariance, where that is all that is seen."""
        if self.score == "nearest_distance":
            return self.info.positive_controls
        return (
            PositiveControl(
                method="identity",
                dataset="gaussian",
                dataset_parameters={"dimension": 32, "records": 1700},
                candidates=200,
                metric="auc",
                at_least=0.68,  # as mahalanobis: half of what theory says above chance
            ),
        )

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate.

        Raises
        ------
        NotApplicable
            With fewer than 20 auxiliary records, or where those are all equal.
        """
        assert view.records is not None  # granted, as info.needs asks for it
        if len(auxiliary) < _LEAST:
            raise NotApplicable(
                f"quantile_regression learns from the scores of {_LEAST} auxiliary records or more. Got "
                f"{len(auxiliary)}; raise the suite's share of auxiliary records."
            )
        if (auxiliary.flat() == auxiliary.flat()[0]).all():
            raise NotApplicable(
                "quantile_regression needs auxiliary records that differ, and all of them are equal."
            )
        score = self._score(view.records, auxiliary, context)
        describe = _description(auxiliary, context)
        rows, values = describe(auxiliary, True), score(auxiliary)
        usual = self._learned(rows, values, context)
        residuals = values - usual(rows)
        floor = 1e-3 * float(np.std(values)) + 1e-12
        scale = self._learned(rows, np.log(np.abs(residuals) + floor), context)
        points = describe(candidates, False)
        return Scores(values=(score(candidates) - usual(points)) * np.exp(-scale(points)))

    def _score(self, released: Records, auxiliary: Records, context: Context) -> Score:
        if self.score == "mahalanobis":
            return _by_spread(released)
        return _by_distance(released, auxiliary, context)

    def _learned(
        self, rows: np.ndarray, values: np.ndarray, context: Context
    ) -> Callable[[np.ndarray], np.ndarray]:
        """A regression of ``values (a,)`` on ``rows (a, f)``, kept within the values that it has seen."""
        model: Any
        if self.regressor == "linear":
            from sklearn.linear_model import RidgeCV
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler

            model = make_pipeline(StandardScaler(), RidgeCV(_PENALTIES))
        else:
            from sklearn.ensemble import HistGradientBoostingRegressor

            model = HistGradientBoostingRegressor(
                max_iter=60,
                max_leaf_nodes=8,
                early_stopping=False,
                random_state=context.derive("trees") % 2**32,
            )
        model.fit(rows, values)
        low, high = float(values.min()), float(values.max())
        return lambda points: np.clip(model.predict(points), low, high)


def _by_distance(released: Records, auxiliary: Records, context: Context) -> Score:
    """Minus the log distance to the nearest released record; a copy's is finite."""

    def distances(records: Records) -> np.ndarray:
        return nearest(records.flat(), released.flat(), device=context.device)[0][:, 0]

    floor = max(1e-6 * float(np.median(distances(auxiliary))), 1e-12)
    return lambda records: -np.log(np.maximum(distances(records), floor))


def _by_spread(released: Records) -> Score:
    """Minus the log squared Mahalanobis distance within the class; among all where a class has no spread."""
    everywhere = Spread.of(released.flat())
    if everywhere.total == 0:
        raise NotApplicable(
            "quantile_regression with score=mahalanobis measures by the spread of the released records, and all of "
            "them are equal."
        )

    def score(records: Records) -> np.ndarray:
        values = np.empty(len(records))
        for label in np.unique(records.labels):
            own = released.flat()[released.labels == label]
            spread = Spread.of(own) if len(own) > 1 else everywhere
            spread = spread if spread.total > 0 else everywhere
            ridge = _RIDGE * spread.total / len(spread.mean)
            mine = records.labels == label
            values[mine] = spread.squared_distances(records.flat()[mine], ridge)
        return -np.log(np.maximum(values, np.finfo(float).tiny))

    return score


def _description(auxiliary: Records, context: Context) -> Callable[[Records, bool], np.ndarray]:
    """From records, and whether they are the auxiliary ones, to what they look like, ``(m, f)``."""
    gallery = auxiliary.flat()
    project = whitened_components(gallery, _COMPONENTS, context.derive("components") % 2**32)
    classes = np.unique(auxiliary.labels)

    def describe(records: Records, themselves: bool) -> np.ndarray:
        far = _distances(records, auxiliary, themselves, context.device)
        floor = max(1e-6 * float(np.median(far)), 1e-12)
        belongs = records.labels[:, None] == classes
        return np.concatenate(
            [np.log(np.maximum(far, floor)), project(records.flat()), belongs], axis=1
        )

    return describe


def _distances(records: Records, auxiliary: Records, themselves: bool, device: str) -> np.ndarray:
    """Distances ``(m, k)`` to the nearest auxiliary records, of other identities where it is these that are asked."""
    n = len(auxiliary)
    k = min(_NEIGHBOURS, n - 1)
    if not themselves:
        return nearest(records.flat(), auxiliary.flat(), k, device=device)[0]
    owners = np.arange(n) if auxiliary.groups is None else auxiliary.groups
    _, sizes = np.unique(owners, return_counts=True)
    wanted = min(k + int(sizes.max()) - 1, n - 1)
    found, rows = nearest(
        records.flat(), auxiliary.flat(), wanted, device=device, exclude_self=True
    )
    other = owners[rows] != owners[:, None]
    # Of one identity alone there are no others: its own records then count.
    far = np.where(other | ~other.any(axis=1, keepdims=True), found, found[:, -1:])
    return np.sort(far, axis=1)[:, :k]
