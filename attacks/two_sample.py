"""Membership from a classifier that tells the release from the population."""

from __future__ import annotations

from typing import ClassVar, Literal

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

__all__ = ["TwoSample"]

_BINS = 255  # as many as scikit-learn's trees have


class TwoSample(Attack):
    """Train a classifier on released against auxiliary records, and score candidates by its log odds.

    What LOGAN takes from a discriminator, without one: where release and population differ near the
    members, the classifier learns it. Candidates never train it. Features are the leading principal
    components, whitened, and the class.

    Parameters
    ----------
    components : int, default=16
        Principal components of release and auxiliary records together.
    classifier : {"both", "linear", "boosting"}, default="boosting"
        Logistic regression, gradient-boosted trees, or the sum of their standardised log odds.
        The linear one sees a shifted release but not copies, and is held to less (see
        :meth:`positive_controls`).

    References
    ----------
    Hayes, Melis, Danezis, De Cristofaro (2019). LOGAN: Membership Inference Attacks against
    Generative Models. PoPETs 2019(1).
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="two_sample",
        version="2",
        summary="Log odds of a classifier trained to tell the release from the population.",
        citation="after Hayes et al. (2019), LOGAN, PoPETs 2019(1)",
        positive_controls=(PositiveControl(method="identity", metric="auc", at_least=0.7),),
        auxiliary="its records, as the class that is not the release",
    )

    components: int = Field(16, ge=1, description="principal components kept")
    classifier: Literal["both", "linear", "boosting"] = Field(
        "boosting", description="what learns to tell the release from the population"
    )

    def positive_controls(self) -> tuple[PositiveControl, ...]:
        """Copies for the trees; for the linear classifier, records of which the release shifts the mean."""
        if self.classifier != "linear":
            return self.info.positive_controls
        return (
            PositiveControl(
                method="identity",
                dataset="gaussian",
                dataset_parameters={"dimension": 64, "records": 2000},
                candidates=200,
                metric="auc",
                at_least=0.6,
            ),
        )

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate.

        Raises
        ------
        NotApplicable
            Without auxiliary records, or where all records are equal.
        """
        assert view.records is not None  # granted, as info.needs asks for it
        if len(auxiliary) == 0:
            raise NotApplicable(
                "two_sample trains on the release against auxiliary records. Got none of the "
                "latter; raise the suite's share of auxiliary records."
            )
        rows, points = _describe(view.records, auxiliary, candidates, self.components, context)
        target = np.arange(len(rows)) < len(view.records)
        values = np.zeros(len(candidates))
        if self.classifier != "boosting":
            values += _standardised(_linear_odds(rows, target, points))
        if self.classifier != "linear":
            values += _standardised(_boosting_odds(rows, target, points, context))
        return Scores(values=values)


def _describe(
    release: Records, auxiliary: Records, candidates: Records, components: int, context: Context
) -> tuple[np.ndarray, np.ndarray]:
    """Components and one-hot class of release and auxiliary records ``(n + a, f)``, and candidates ``(m, f)``."""
    known = np.concatenate([release.flat(), auxiliary.flat()])
    if (known == known[0]).all():
        raise NotApplicable(
            "two_sample tells records apart and needs records that differ. All released and "
            "auxiliary records are equal."
        )
    project = whitened_components(known, components, context.derive("components") % 2**32)
    labels = np.concatenate([release.labels, auxiliary.labels])
    classes = np.unique(labels)
    rows = np.concatenate([project(known), labels[:, None] == classes], axis=1)
    points = [project(candidates.flat()), candidates.labels[:, None] == classes]
    return rows, np.concatenate(points, axis=1)


def _linear_odds(rows: np.ndarray, target: np.ndarray, points: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000)
    return model.fit(rows, target).decision_function(points)


def _boosting_odds(
    rows: np.ndarray, target: np.ndarray, points: np.ndarray, context: Context
) -> np.ndarray:
    """Log odds of trees that are left to memorise: leaves of two records, no early stop."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    trees = HistGradientBoostingClassifier(
        max_iter=100,
        max_leaf_nodes=31,
        min_samples_leaf=2,
        early_stopping=False,
        class_weight="balanced",
        random_state=context.derive("two_sample") % 2**32,
    )
    # Given columns of no more values than it has bins, scikit-learn need not look for weighted percentiles, which
    # would take ten times as long as the trees.
    edges = np.quantile(rows, np.arange(1, _BINS) / _BINS, axis=0, method="averaged_inverted_cdf")
    return trees.fit(_binned(rows, edges), target).decision_function(_binned(points, edges))


def _binned(rows: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many of its column's ascending edges ``(e, f)`` lie below each value."""
    columns = [np.searchsorted(e, values) for e, values in zip(edges.T, rows.T, strict=True)]
    return np.stack(columns, axis=1)


def _standardised(odds: np.ndarray) -> np.ndarray:
    scale = odds.std()
    return (odds - odds.mean()) / (scale if scale > 0 else 1.0)
