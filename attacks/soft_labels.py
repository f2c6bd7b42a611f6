"""Membership from released class probabilities: how sure they are of a candidate's label where the candidate lies."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmark.contracts import (
    Attack,
    AttackInfo,
    Context,
    NotApplicable,
    PositiveControl,
    Records,
    Scores,
    View,
)
from benchmark.learning.neighbours import nearest

__all__ = ["SoftLabels"]

_LEAST = float(np.finfo(np.float32).tiny)


class SoftLabels(Attack):
    """Score a candidate by log p(y), with y its label and p the soft label of the released record nearest to it.

    A teacher is surer of what it was trained on, and soft labels pass that on. Distances count for nothing here but to
    find the record, so what the score tells is told by the soft labels.

    References
    ----------
    Yeom, Giacomelli, Fredrikson, Jha (2018). Privacy Risk in Machine Learning. IEEE CSF (the attack on the loss).
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="soft_labels",
        version="1",
        summary="Log-probability of a candidate's label in the soft label of the nearest released record.",
        citation="after Yeom et al. (2018), IEEE CSF, arXiv:1709.01604",
        positive_controls=(
            PositiveControl(
                method="confident_labels", dataset="digits", candidates=400, at_least=0.7
            ),
        ),
    )

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate; 0 is the highest score. A class without a column has probability 0.

        Raises
        ------
        NotApplicable
            Where the release has no soft labels, or those of one class only.
        """
        assert view.records is not None  # granted, as info.needs asks for it
        soft = view.records.soft_labels
        if soft is None:
            raise NotApplicable("soft_labels reads the soft labels of a release. It has none.")
        if soft.shape[1] < 2:
            raise NotApplicable("soft_labels needs two classes or more. The soft labels have one.")
        _, rows = nearest(candidates.flat(), view.records.flat(), device=context.device)
        likely = np.zeros(len(candidates))
        known = candidates.labels < soft.shape[1]
        likely[known] = soft[rows[known, 0], candidates.labels[known]]
        return Scores(values=np.log(np.maximum(likely, _LEAST)))
