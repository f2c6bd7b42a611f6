"""How near the distribution of a release is to the real one, and how varied the release is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import ClassVar

import numpy as np

from benchmark.contracts import (
    Context,
    Field,
    Figures,
    NotApplicable,
    Records,
    Utility,
    UtilityInfo,
)

__all__ = ["Fidelity"]


class Fidelity(Utility):
    """Fidelity and diversity against real test records, which neither the method nor the release has seen.

    The release and the test records are compared as vectors (features as they are, pixels divided by 255), equally many
    of each, drawn at random from the larger: all these figures depend on the number of records. Figures, under the
    clean condition alone:

    - ``frechet_distance`` and ``kernel_distance`` (KID), 0 for the same distribution, the first biased upwards;
    - ``precision`` and ``density``: are released records where real ones are?
    - ``recall`` and ``coverage``: are all real records near released ones?
    - ``vendi_score``: effective number of different released records; ``vendi_score_real`` of real ones. Both are
      centred on the mean of the real ones first: features that are never negative all point one way otherwise.

    The control ``holdout`` shows what fresh real records get. ``identity`` gets nearly the same: fidelity does not see
    that a release is a copy.

    Parameters
    ----------
    k : int, default=5
        Neighbours that the balls of precision, recall, density and coverage reach to.
    records : int, default=5000
        At most so many records of each are compared.

    References
    ----------
    Heusel et al. (2017), arXiv:1706.08500; Bińkowski et al. (2018), arXiv:1801.01401; Kynkäänniemi et al. (2019),
    arXiv:1904.06991; Naeem et al. (2020), arXiv:2002.09797; Friedman and Dieng (2023), arXiv:2210.02410.
    """

    info: ClassVar[UtilityInfo] = UtilityInfo(
        name="fidelity",
        version="3",
        summary="Fréchet and kernel distance, precision, recall, density, coverage and Vendi score",
        citation="Naeem et al. (2020), arXiv:2002.09797; Friedman and Dieng (2023), arXiv:2210.02410",
        labelled=False,
    )
    k: int = Field(5, ge=1, description="neighbours that a record's ball reaches to")
    records: int = Field(5000, ge=2, description="at most so many records of each are compared")

    def evaluate(
        self,
        release: Records,
        validation: Records,
        test: Mapping[str, Records],
        n_classes: int,
        context: Context,
    ) -> Mapping[str, Figures]:
        """Figures under ``"clean"``, none under other conditions.

        Raises
        ------
        NotApplicable
            When there are too few released or test records for ``k`` neighbours.
        """
        from threadpoolctl import threadpool_limits

        from benchmark.learning.fidelity import (
            frechet_distance,
            kernel_distance,
            manifold_metrics,
            vendi_score,
        )

        n = min(len(release), len(test["clean"]), self.records)
        if n <= self.k:
            raise NotApplicable(
                f"fidelity with k={self.k} needs more than {self.k} released and test records; "
                f"got {len(release)} and {len(test['clean'])}"
            )
        released = _at_most(release.flat(), n, context.rng("released"))
        real = _at_most(test["clean"].flat(), n, context.rng("real"))
        with threadpool_limits(1, user_api="blas"):  # the same bits on any number of threads
            centre = real.mean(axis=0, dtype=np.float64)
            manifold = manifold_metrics(real, released, self.k, device=context.device)
            figures = {
                "frechet_distance": frechet_distance(real, released),
                "kernel_distance": kernel_distance(real, released),
                **asdict(manifold),
                "vendi_score": vendi_score(released - centre),
                "vendi_score_real": vendi_score(real - centre),
            }
        return {name: Figures(values=figures if name == "clean" else {}) for name in test}


def _at_most(vectors: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` of the vectors, drawn without replacement; all of them, in their order, if there are no more."""
    return vectors if len(vectors) <= n else vectors[rng.choice(len(vectors), n, replace=False)]
