"""A method and an attack that come from elsewhere."""

import numpy as np

from benchmark.contracts import (
    Attack,
    AttackInfo,
    Field,
    Method,
    MethodInfo,
    PositiveControl,
    Release,
    Scores,
)


class Shift(Method):
    """Adds a constant to every feature: no privacy at all, which the board must show."""

    info = MethodInfo(
        name="shift",
        version="1",
        summary="Adds a constant to every feature.",
        kinds=frozenset({"feature"}),
    )
    by: float = Field(0.1, gt=0, description="what is added, in units of the features")

    def fit(self, members, context):
        """Release the members, moved by ``by``."""
        return Release(records=members.replace(data=members.data + np.float32(self.by)))


class LabelFrequency(Attack):
    """Scores a candidate by how often its label occurs in the release: nothing that leaks."""

    info = AttackInfo(
        name="label_frequency",
        version="1",
        summary="How often a candidate's label occurs in the release.",
        positive_controls=(PositiveControl(at_least=0.0),),
    )

    def run(self, view, candidates, auxiliary, context):
        """Look the label up."""
        counts = np.bincount(view.records.labels, minlength=int(candidates.labels.max()) + 1)
        return Scores(values=counts[candidates.labels].astype(np.float64))
