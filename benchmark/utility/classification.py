"""The frame of the utilities that classify: made from the release, asked about real records under every condition."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping

import numpy as np

from benchmark.contracts import Context, Predictions, Records, Utility

__all__ = ["Classification", "Classifier"]

Classifier = Callable[[Records], np.ndarray]
"""From ``N`` records to class probabilities ``(N, n_classes) float``, rows summing to 1."""


class Classification(Utility):
    """A classifier of real records, made once from what was released ("train on synthetic, test on real")."""

    def evaluate(
        self,
        release: Records,
        validation: Records,
        test: Mapping[str, Records],
        n_classes: int,
        context: Context,
    ) -> Mapping[str, Predictions]:
        """Make the classifier once; predict class probabilities under every condition."""
        classify = self.classifier(release, validation, n_classes, context)
        return {
            name: Predictions(probabilities=classify(records)) for name, records in test.items()
        }

    @abstractmethod
    def classifier(
        self, release: Records, validation: Records, n_classes: int, context: Context
    ) -> Classifier:
        """Make the classifier from ``release``; arguments as in :meth:`Utility.evaluate`."""
