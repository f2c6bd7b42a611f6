"""Membership from the inner product with the release's mean: the optimal attack on averages."""

from __future__ import annotations

from typing import ClassVar

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

__all__ = ["Correlation"]


def _expected_auc(dimension: int, n_members: int) -> float:
    """Φ(√(d/n)/√2), the AUC against the mean of n isotropic Gaussian records in d dimensions."""
    from benchmark.statistics import gaussian_mean_auc

    return gaussian_mean_auc(dimension, n_members)


def _gaussian_control(dimension: int) -> PositiveControl:
    """The control at d/n of about ``dimension / 200``.

    About 5,500 records are left as auxiliary ones, 27 for each member. With a population mean
    estimated from N records the AUC is Φ(√(d/n)/√(2 (1 + n/N))), less than 0.005 below the closed
    form: a tenth of the half width of a 95 % interval at 400 candidates.
    """
    return PositiveControl(
        method="gaussian_mean",
        dataset="gaussian",
        dataset_parameters={"dimension": dimension, "records": 6000},
        candidates=400,
        metric="auc",
        expected=_expected_auc,
    )


class Correlation(Attack):
    """Score a candidate by ⟨x − μ, r − μ⟩, with r the release's mean and μ the population's.

    For a release of the mean of Gaussian records this is, up to a constant scale and a term in ‖x‖
    that vanishes in high dimension, the log likelihood ratio of *member* against *non-member*: the
    optimal test, with AUC Φ(√(d/n)/√2) in d dimensions and n members. Any release whose mean is
    pulled towards its members leaks to it.

    Parameters
    ----------
    per_class : bool, default=True
        Compare means within the candidate's class. A class that the release or the auxiliary
        records lack is compared with the means of all.

    References
    ----------
    Homer et al. (2008), PLoS Genetics 4(8); Sankararaman et al. (2009), Nature Genetics 41;
    Dwork et al. (2015), FOCS; Azize and Basu (2024), arXiv:2402.10065.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="correlation",
        version="1",
        summary="Inner product with the release's mean: the likelihood ratio for averages.",
        citation="Azize and Basu (2024), arXiv:2402.10065",
        positive_controls=tuple(_gaussian_control(dimension) for dimension in (50, 200, 800)),
        auxiliary="the mean of its records, by class",
    )

    per_class: bool = Field(True, description="compare means within the candidate's class")

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate.

        Raises
        ------
        NotApplicable
            Without auxiliary records.
        """
        assert view.records is not None  # granted, as info.needs asks for it
        if len(auxiliary) == 0:
            raise NotApplicable(
                "correlation needs auxiliary records to estimate the population's mean. Got none; "
                "raise the suite's share of auxiliary records."
            )
        population, release = auxiliary.flat(), view.records.flat()
        labels = candidates.labels if self.per_class else np.zeros(len(candidates), np.int64)
        values = np.empty(len(candidates))
        for label in np.unique(labels):
            mine = labels == label
            theirs = self._of_class(view.records.labels, auxiliary.labels, label)
            mean = population[theirs[1]].mean(axis=0, dtype=np.float64)
            shift = release[theirs[0]].mean(axis=0, dtype=np.float64) - mean
            values[mine] = (candidates.flat()[mine] - mean) @ shift
        return Scores(values=values)

    def _of_class(
        self, released: np.ndarray, auxiliary: np.ndarray, label: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Masks of the released and the auxiliary records to compare a class with."""
        masks = released == label, auxiliary == label
        if self.per_class and masks[0].any() and masks[1].any():
            return masks
        return np.ones(len(released), bool), np.ones(len(auxiliary), bool)
