"""Membership from local overfitting: where is the release denser than the population?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

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
from benchmark.learning import density

__all__ = ["DOMIAS"]

# Leave-one-out likelihood is quadratic in the number of records, and the bandwidth moves slowly.
_MOST_FOR_BANDWIDTH = 1000

_DIMENSION = 16  # of the Gaussian records that densities of few parameters are held to

Projection = Callable[[np.ndarray], np.ndarray]


def _gaussian_control(candidates: int, theory: float) -> PositiveControl:
    """``identity`` on Gaussian records: half of what the theory says above chance."""
    return PositiveControl(
        method="identity",
        dataset="gaussian",
        dataset_parameters={"dimension": _DIMENSION, "records": 1500 + candidates},
        candidates=candidates,
        metric="auc",
        at_least=round(0.5 + (theory - 0.5) / 2, 3),
    )


def _auc_of_neighbours(k: int) -> float:
    """AUC on copies of the log ratio of k-nearest-neighbour densities, k ≥ 2, to first order.

    n p(x) V r_k^d is a Gamma(k) variable, whose logarithm has mean ψ(k) and variance ψ′(k). A
    member meets itself first, so its k-th neighbour is the others' (k − 1)-th; the auxiliary
    records' k-th is as for anybody. With the difference of the two logarithms taken as normal,
    the AUC is Φ((ψ(k) − ψ(k − 1)) / √(ψ′(k − 1) + 3 ψ′(k))).
    """
    from scipy.special import polygamma, psi
    from scipy.stats import norm

    gap = psi(k) - psi(k - 1)
    return float(norm.cdf(gap / np.sqrt(polygamma(1, k - 1) + 3 * polygamma(1, k))))


class DOMIAS(Attack):
    """Score a candidate by log p_release(x) − log p_auxiliary(x).

    A candidate in a dense part of the population is near released records whether or not it is a
    member; only density *beyond* the population's tells. Densities are estimated on the leading
    principal components of release and auxiliary records together, whitened, and compared in log
    space: linear ratios underflow at a few hundred dimensions.

    Parameters
    ----------
    components : int, default=16
        Principal components kept; fewer where the records span fewer.
    density : {"kde", "gaussian", "mixture", "neighbours"}, default="kde"
        ``kde``: a Gaussian kernel at every record, of one bandwidth for both densities so that its
        smoothing cancels in the ratio. ``gaussian``: one Gaussian each, that of the release shrunk
        towards that of the auxiliary records. ``mixture``: mixtures of Gaussians with diagonal
        covariances. ``neighbours``: from the distance to the k-th nearest record. What each of
        them can see differs, and so do their controls (see :meth:`positive_controls`).
    bandwidth : {"likelihood", "scott"} or float > 0, default="likelihood"
        Of ``kde``'s kernels, in standard deviations of a whitened component. ``"likelihood"``: the
        one under which the auxiliary records best predict each other, left out one at a time (it
        does not look at the release, whose repeated records would drive it to zero). ``"scott"``:
        n^(−1/(d+4)) for n released records.
    mixture : int, default=10
        Gaussians of ``mixture``, at most one for every five records.
    neighbours : int, default=1
        The k of ``neighbours``.

    References
    ----------
    van Breugel, Sun, Qian, van der Schaar (2023). Membership Inference Attacks against Synthetic
    Data through Overfitting Detection. AISTATS. Bandwidths: Scott (1992), Multivariate
    Density Estimation; Duin (1976), IEEE Trans. Computers 25. Neighbours: Loftsgaarden and
    Quesenberry (1965), Annals of Mathematical Statistics 36.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="domias",
        version="1",
        summary="Log ratio of the release's density to the population's, in few dimensions.",
        citation="van Breugel et al. (2023), DOMIAS, AISTATS, arXiv:2302.12580",
        positive_controls=(PositiveControl(method="identity", metric="auc", at_least=0.8),),
        auxiliary="the density of its records",
    )

    components: int = Field(16, ge=1, description="principal components kept")
    density: Literal["kde", "gaussian", "mixture", "neighbours"] = Field(
        "kde", description="how densities are estimated"
    )
    bandwidth: Literal["likelihood", "scott"] | Annotated[float, Field(gt=0)] = Field(
        "likelihood", description="of the kernels, in standard deviations of a whitened component"
    )
    mixture: int = Field(10, ge=1, description="Gaussians of the density 'mixture'")
    neighbours: int = Field(1, ge=1, le=10, description="the k of the density 'neighbours'")

    def positive_controls(self) -> tuple[PositiveControl, ...]:
        """What each density is held to.

        Kernels and the nearest neighbour see copies: ``identity`` on every dataset. The others see
        the release's drift towards its members, on Gaussian records for which theory says how
        much, and must reach half of that above chance. A density of p parameters leaks its n
        records as the mean of n records in p dimensions does, AUC Φ(√(p/n)/√2). For k neighbours,
        see :func:`_auc_of_neighbours`.
        """
        if self.density == "kde":
            return self.info.positive_controls
        if self.density == "neighbours":
            if self.neighbours == 1:
                return (PositiveControl(method="identity", metric="auc", at_least=0.95),)
            return (_gaussian_control(1000, _auc_of_neighbours(self.neighbours)),)
        from benchmark.statistics import gaussian_mean_auc

        d = min(self.components, _DIMENSION)
        p = d + d * (d + 1) // 2 if self.density == "gaussian" else 2 * d * self.mixture
        return (_gaussian_control(200, gaussian_mean_auc(p, 100)),)

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score every candidate.

        Raises
        ------
        NotApplicable
            With fewer than two auxiliary records, or where all records are equal.
        """
        assert view.records is not None  # granted, as info.needs asks for it
        if len(auxiliary) < 2:
            raise NotApplicable(
                "domias estimates the population's density from auxiliary records and needs two or "
                f"more. Got {len(auxiliary)}; raise the suite's share of auxiliary records."
            )
        released, population = view.records.flat(), auxiliary.flat()
        project = self._components(np.concatenate([released, population]), context)
        query, release, reference = map(project, (candidates.flat(), released, population))
        if self.density == "gaussian":
            prior = density.covariance_of(reference)
            own = density.gaussian_log_density(query, release, prior)
            return Scores(values=own - density.gaussian_log_density(query, reference))
        estimate = self._estimator(len(released), population, project, context)
        return Scores(values=estimate(query, release) - estimate(query, reference))

    def _components(self, records: np.ndarray, context: Context) -> Projection:
        if (records == records[0]).all():
            raise NotApplicable(
                "domias compares densities and needs records that differ. All released and "
                "auxiliary records are equal."
            )
        seed = context.derive("components") % 2**32
        return density.whitened_components(records, self.components, seed)

    def _estimator(
        self, n_released: int, population: np.ndarray, project: Projection, context: Context
    ) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Log density at the first argument's records, estimated from the second's."""
        if self.density == "mixture":
            seed = context.derive("mixture") % 2**32
            return lambda at, of: density.mixture_log_density(at, of, self.mixture, seed)
        if self.density == "neighbours":
            return lambda at, of: density.neighbour_log_density(
                at, of, self.neighbours, device=context.device
            )
        bandwidth = self._bandwidth(n_released, population, project, context)
        return lambda at, of: density.kde_log_density(at, of, bandwidth, device=context.device)

    def _bandwidth(
        self, n_released: int, population: np.ndarray, project: Projection, context: Context
    ) -> float:
        if isinstance(self.bandwidth, float):
            return self.bandwidth
        if self.bandwidth == "likelihood":
            rows = context.rng("bandwidth").permutation(len(population))[:_MOST_FOR_BANDWIDTH]
            distinct = np.unique(population[np.sort(rows)], axis=0)
            if len(distinct) > 2:
                return density.likelihood_bandwidth(project(distinct), device=context.device)
        return density.scott_bandwidth(n_released, project(population[:1]).shape[1])
