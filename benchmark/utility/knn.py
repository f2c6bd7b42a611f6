"""How well the nearest released records tell the class of real ones."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmark.contracts import Context, Field, Records, UtilityInfo
from benchmark.utility.classification import Classification, Classifier

__all__ = ["KNearestNeighbours", "vote"]


class KNearestNeighbours(Classification):
    """Classification of real records by a vote of the k nearest released ones.

    No training and no scaling: features as they are, pixels divided by 255, Euclidean distance. It sees local errors of
    a release (a wrong label, a hole in a class) that a linear head averages away.

    Parameters
    ----------
    k : int, default=10
        Voters; all released records if there are fewer.

    References
    ----------
    Cover and Hart (1967). Nearest neighbor pattern classification. IEEE Transactions on Information Theory 13:21.
    """

    info: ClassVar[UtilityInfo] = UtilityInfo(
        name="k_nn",
        version="1",
        summary="Accuracy on real records of a vote of the nearest released records.",
        citation="Cover and Hart (1967), IEEE Transactions on Information Theory 13:21",
    )
    k: int = Field(10, ge=1, description="nearest released records that vote")

    def classifier(
        self, release: Records, validation: Records, n_classes: int, context: Context
    ) -> Classifier:
        """The vote of the released records nearest to each."""
        from benchmark.learning.neighbours import nearest

        gallery, k = release.flat(), min(self.k, len(release))

        def classify(records: Records) -> np.ndarray:
            _, rows = nearest(records.flat(), gallery, k, device=context.device)
            return vote(release.labels[rows], n_classes)

        return classify


def vote(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Shares of the votes, a hundredth of a vote having gone to every class beforehand.

    A class that nobody voted for is not impossible; the hundredth changes no order.

    Parameters
    ----------
    labels : ndarray of shape (n, k), int64
        The classes of each record's neighbours, in ``range(n_classes)``.
    n_classes : int

    Returns
    -------
    ndarray of shape (n, n_classes), float64
        Rows sum to 1.
    """
    n, k = labels.shape
    places = np.arange(n)[:, None] * n_classes + labels
    votes = np.bincount(places.ravel(), minlength=n * n_classes).reshape(n, n_classes) + 0.01
    shares: np.ndarray = votes / (k + 0.01 * n_classes)
    return shares
