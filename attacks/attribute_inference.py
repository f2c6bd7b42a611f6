"""Attribute inference: what a release lets an attacker guess of the part of a record that it does not know."""

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
from benchmark.learning.neighbours import nearest

__all__ = ["AttributeInference"]

_LEAST = float(np.finfo(np.float32).tiny)
_AT_ONCE = 256  # candidates, bounds memory


class AttributeInference(Attack):
    """Guess what the attacker does not know of a record from the released records that are like what it knows.

    The attacker knows a part of each candidate's record: the left part of a picture, or features drawn at random. It
    looks for the released records nearest to it in that part, weighs each by one over its squared distance, and guesses

    - ``secret="label"``: the label, by their votes. The score is log p of the true label, and a candidate whose label
      has the most votes is flagged: the guess is right;
    - ``secret="rest"``: the other part, by their mean. The score is minus the root mean square error of the guess.

    What a release teaches of everybody is no leak: then guesses are as good for non-members, and scores are at chance.
    They are not where guesses are better for members, by what the release tells of these people alone.

    Parameters
    ----------
    secret : {"label", "rest"}, default="label"
    known : float in (0, 1), default=0.5
        Share of a picture's width, or of the features, that the attacker knows.
    neighbours : int, default=10
        Released records that are asked; all, where there are fewer.

    References
    ----------
    Giomi, Boenisch, Wehmeyer, Tasnádi (2023). A Unified Framework for Quantifying Privacy Risk in Synthetic Data.
    PoPETs 2023(2), section 5.3 (guesses by the nearest released record, members against controls).
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="attribute_inference",
        version="1",
        summary="How well the label, or the rest, of a partly known record is guessed from released ones like it.",
        citation="after Giomi et al. (2023), PoPETs 2023(2), arXiv:2211.10459",
    )

    secret: Literal["label", "rest"] = Field("label", description="what is guessed")
    known: float = Field(0.5, gt=0, lt=1, description="share of a record that the attacker knows")
    neighbours: int = Field(10, ge=1, description="released records that are asked")

    def positive_controls(self) -> tuple[PositiveControl, ...]:
        """Of a record that is released as it is, the label and the rest are guessed rightly.

        How often labels of others are guessed as well is the data's, so that an AUC cannot be asked of labels.
        """
        if self.secret == "label":
            return (PositiveControl(method="identity", metric="flag_rate_members", at_least=0.95),)
        return (PositiveControl(method="identity", metric="auc", at_least=0.95),)

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate; 0 is the highest score, of a guess that is surely right.

        Raises
        ------
        NotApplicable
            With ``secret="label"`` where all released records or all candidates have one label, and for records that
            cannot be parted.
        """
        assert view.records is not None  # granted, as info.needs asks for it
        if self.secret == "label":
            for whose, records in (("released records", view.records), ("candidates", candidates)):
                if len(np.unique(records.labels)) < 2:
                    raise NotApplicable(
                        f"attribute_inference guesses labels and needs two. All {whose} have one."
                    )
        hidden = self._hidden(candidates, context)
        ours, theirs = _in_deviations(candidates, view.records)
        k = min(self.neighbours, len(theirs))
        distances, rows = nearest(ours[:, ~hidden], theirs[:, ~hidden], k, device=context.device)
        weights = _weights(distances)
        if self.secret == "rest":
            return Scores(values=-_errors(ours[:, hidden], theirs[:, hidden], rows, weights))
        votes = _votes(view.records.labels[rows], weights, int(candidates.labels.max()) + 1)
        true = votes[np.arange(len(votes)), candidates.labels]
        return Scores(values=np.log(np.maximum(true, _LEAST)), decisions=true == votes.max(axis=1))

    def _hidden(self, records: Records, context: Context) -> np.ndarray:
        """Which of the flat records' values the attacker does not know, ``(D,) bool``."""
        shape = records.data.shape[1:]
        n = shape[1] if records.kind == "image" else shape[0]
        if n < 2:
            raise NotApplicable("attribute_inference parts records in two. Got one value in each.")
        n_known = min(max(round(self.known * n), 1), n - 1)
        if records.kind == "image":
            return np.broadcast_to((np.arange(n) >= n_known)[:, None], shape).reshape(-1)
        return context.rng("known").permutation(n) >= n_known


def _in_deviations(candidates: Records, released: Records) -> tuple[np.ndarray, np.ndarray]:
    """Flat records; features in units of their deviation over the release, so that all count alike."""
    ours, theirs = candidates.flat(), released.flat()
    if candidates.kind == "image":
        return ours, theirs
    spread = theirs.std(axis=0)
    spread[spread == 0] = 1
    return ours / spread, theirs / spread


def _weights(distances: np.ndarray) -> np.ndarray:
    """One over the squared distances ``(m, k)``, rows summing to 1; where any are 0, these alone count, alike."""
    exact = distances == 0
    inverse = np.zeros_like(distances)
    np.divide(distances[:, :1], distances, out=inverse, where=~exact)  # at most 1: no overflow
    weights = np.where(exact.any(axis=1, keepdims=True), exact, inverse**2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _votes(labels: np.ndarray, weights: np.ndarray, n_classes: int) -> np.ndarray:
    """Weight ``(m, c)`` of each class among neighbours' ``labels (m, k)``; c reaches the largest label of all."""
    votes = np.zeros((len(labels), max(n_classes, int(labels.max()) + 1)))
    for rank in range(labels.shape[1]):
        votes[np.arange(len(labels)), labels[:, rank]] += weights[:, rank]
    return votes


def _errors(
    ours: np.ndarray, theirs: np.ndarray, rows: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Root mean square error ``(m,) float64`` of the neighbours' weighted mean as a guess of ``ours (m, d)``."""
    errors = np.empty(len(ours))
    for start in range(0, len(ours), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        guess = np.zeros((len(rows[part]), ours.shape[1]))
        for rank in range(rows.shape[1]):
            guess += weights[part, rank, None] * theirs[rows[part, rank]]
        errors[part] = np.sqrt(np.square(guess - ours[part]).mean(axis=1))
    return errors
