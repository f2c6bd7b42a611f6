"""The gate: members and non-members must be alike before anything is released."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from benchmark.contracts import Access, Attack, AttackInfo, Context, Field, Records, Scores, View

__all__ = ["Blind"]


class Blind(Attack):
    """Tell members from non-members without any release.

    A classifier learns from the candidates whose coins are revealed and scores the others. With
    fair coins nothing can be learnt, and its scores are at chance. Where they are not, members and
    non-members differ by themselves, and the success of an attack on that split would measure the
    difference rather than leakage.

    Parameters
    ----------
    classifier : {"both", "linear", "boosting"}, default="both"
        ``"linear"``: ridge regression of the coin on all features, for shifts of the mean.
        ``"boosting"``: gradient-boosted trees on principal components, norm and class, for shifts
        of any shape. ``"both"``: the sum of their standardised scores.

    References
    ----------
    Das, Zhang, Tramèr (2024). Blind Baselines Beat Membership Inference Attacks for Foundation
    Models. arXiv:2406.16201.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="blind",
        version="1",
        summary="Tells members from non-members without a release: must be at chance.",
        citation="Das, Zhang, Tramèr (2024), arXiv:2406.16201",
        needs=Access.NONE,
        positive_controls=(),
    )

    classifier: Literal["both", "linear", "boosting"] = Field(
        "both", description="what learns to tell members from non-members"
    )

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate; those with revealed coins were trained on.

        Without a revealed member and a revealed non-member, or where all candidates are equal,
        nothing is learnt: all scores are 0.
        """
        assert view.known_coins is not None  # granted to gates
        revealed = np.isfinite(view.known_coins)
        coins = view.known_coins[revealed]
        values = np.zeros(len(candidates))
        features = _describe(candidates)
        if len(np.unique(coins)) < 2 or features.shape[1] == 0:
            return Scores(values=values)
        if self.classifier != "boosting":
            values += _standardised(_linear_scores(features, revealed, coins))
        if self.classifier != "linear":
            values += _standardised(_boosting_scores(features, revealed, coins, context))
        return Scores(values=values)


def _describe(candidates: Records) -> np.ndarray:
    """Features and one-hot labels that vary, z-scored over all candidates, ``(m, d) float32``."""
    labels = candidates.labels[:, None] == np.unique(candidates.labels)
    columns = np.concatenate([candidates.flat(), labels.astype(np.float32)], axis=1)
    centred = columns - columns.mean(axis=0)
    scale = centred.std(axis=0)
    varies = scale > 1e-7
    return centred[:, varies] / scale[varies]


def _linear_scores(features: np.ndarray, revealed: np.ndarray, coins: np.ndarray) -> np.ndarray:
    """Ridge regression of the coin, in its dual form, with the records' mean squared norm as penalty.

    Directions that hold less than one record's share of the variance are then left as they are, so
    that the answer stays close to the difference of the two means, and wider ones are evened out.
    """
    train = features[revealed].astype(np.float64)
    gram = train @ train.T
    penalty = np.trace(gram) / len(gram)
    weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), coins - coins.mean())
    return features @ (train.T @ weights)


def _boosting_scores(
    features: np.ndarray, revealed: np.ndarray, coins: np.ndarray, context: Context
) -> np.ndarray:
    """Log odds from gradient-boosted trees on at most 16 principal components and the norm."""
    from sklearn.decomposition import PCA
    from sklearn.ensemble import HistGradientBoostingClassifier

    seed = context.derive("blind") % 2**32
    pca = PCA(min(16, *features.shape), random_state=seed)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    columns = np.concatenate([pca.fit_transform(features), norms], axis=1)
    trees = HistGradientBoostingClassifier(
        max_iter=50, max_leaf_nodes=8, early_stopping=False, random_state=seed
    )
    trees.fit(columns[revealed], coins)
    return trees.decision_function(columns)


def _standardised(scores: np.ndarray) -> np.ndarray:
    scale = scores.std()
    return (scores - scores.mean()) / (scale if scale > 0 else 1.0)
