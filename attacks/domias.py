"""Membership from local overfitting: where is the release denser than the population?"""

from __future__ import annotations

from math import log, pi
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

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

if TYPE_CHECKING:
    import torch

__all__ = ["DOMIAS"]

# Leave-one-out likelihood is quadratic in the number of records, and the bandwidth moves slowly.
_MOST_FOR_BANDWIDTH = 1000
_BLOCK_BYTES = 64 << 20


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
    density : {"kde", "gaussian"}, default="kde"
        A Gaussian kernel at every record, of one bandwidth for both densities so that its
        smoothing cancels in the ratio; or one Gaussian each, that of the release shrunk towards
        that of the auxiliary records. The latter sees a release that drifts towards its members
        but not copies of them, and does not reach the control's figure on ``identity``.
    bandwidth : {"likelihood", "scott"} or float > 0, default="likelihood"
        Of the kernels, in standard deviations of a whitened component. ``"likelihood"``: the one
        under which the auxiliary records best predict each other, left out one at a time (it does
        not look at the release, whose repeated records would drive it to zero). ``"scott"``:
        n^(−1/(d+4)) for n released records.

    References
    ----------
    van Breugel, Sun, Qian, van der Schaar (2023). Membership Inference Attacks against Synthetic
    Data through Overfitting Detection. AISTATS. Bandwidths: Scott (1992), Multivariate
    Density Estimation; Duin (1976), IEEE Trans. Computers 25.
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
    density: Literal["kde", "gaussian"] = Field("kde", description="how densities are estimated")
    bandwidth: Literal["likelihood", "scott"] | Annotated[float, Field(gt=0)] = Field(
        "likelihood", description="of the kernels, in standard deviations of a whitened component"
    )

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
        project = _whitened_components(
            np.concatenate([released, population]), self.components, context
        )
        query, release, reference = map(project, (candidates.flat(), released, population))
        if self.density == "gaussian":
            return Scores(values=_gaussian_log_ratio(query, release, reference))
        bandwidth = self._bandwidth(len(released), population, project, context)
        return Scores(
            values=_log_kde(query, release, bandwidth, context.device)
            - _log_kde(query, reference, bandwidth, context.device)
        )

    def _bandwidth(self, n_released: int, population: np.ndarray, project, context) -> float:
        if isinstance(self.bandwidth, float):
            return self.bandwidth
        if self.bandwidth == "likelihood":
            rows = context.rng("bandwidth").permutation(len(population))[:_MOST_FOR_BANDWIDTH]
            distinct = np.unique(population[np.sort(rows)], axis=0)
            if len(distinct) > 2:
                return _likelihood_bandwidth(project(distinct), context.device)
        dimension = project(population[:1]).shape[1]
        return n_released ** (-1 / (dimension + 4))


def _whitened_components(records: np.ndarray, components: int, context: Context):
    """A function that projects ``(n, D) float32`` to whitened components ``(n, d) float64``."""
    from sklearn.decomposition import PCA

    if (records == records[0]).all():
        raise NotApplicable(
            "domias compares densities and needs records that differ. All released and auxiliary "
            "records are equal."
        )
    most = min(components, len(records) - 1, records.shape[1])
    seed = context.derive("components") % 2**32
    pca = PCA(most, svd_solver="randomized" if min(records.shape) > 4 * most else "full")
    pca.set_params(random_state=seed).fit(records)
    variance = pca.explained_variance_.astype(np.float64)
    # Directions of rounding error alone would be blown up by whitening.
    kept = variance > 1e-8 * variance[0]
    axes = (pca.components_[kept] / np.sqrt(variance[kept])[:, None]).astype(np.float64)
    offset = axes @ pca.mean_.astype(np.float64)
    return lambda part: part @ axes.T - offset


def _log_kde(queries: np.ndarray, gallery: np.ndarray, bandwidth: float, device: str) -> np.ndarray:
    """Log density at ``(n, d)`` queries of Gaussian kernels at ``(g, d)`` records: ``(n,)``."""
    import torch

    block = max(1, _BLOCK_BYTES // (16 * len(gallery)))
    kernels = torch.from_numpy(gallery).to(device)
    parts = [
        torch.logsumexp(_log_kernels(torch.from_numpy(part).to(device), kernels, bandwidth), 1)
        for part in np.array_split(queries, -(-len(queries) // block))
    ]
    return (torch.cat(parts) - log(len(gallery))).cpu().numpy()


def _log_kernels(queries: torch.Tensor, kernels: torch.Tensor, bandwidth: float) -> torch.Tensor:
    import torch

    squares = torch.cdist(queries, kernels).square()
    return squares.mul_(-0.5 / bandwidth**2).sub_(_log_volume(kernels.shape[1], bandwidth))


def _log_volume(dimension: int, bandwidth: float) -> float:
    return dimension * (log(bandwidth) + 0.5 * log(2 * pi))


def _likelihood_bandwidth(records: np.ndarray, device: str) -> float:
    """The bandwidth in [0.02, 3] with the highest leave-one-out likelihood of ``(n, d)`` records."""
    import torch
    from scipy.optimize import minimize_scalar

    points = torch.from_numpy(records).to(device)
    squares = torch.cdist(points, points).square().fill_diagonal_(torch.inf)

    def loss(log_bandwidth: float) -> float:
        bandwidth = float(np.exp(log_bandwidth))
        exponents = torch.logsumexp(squares * (-0.5 / bandwidth**2), 1)
        return _log_volume(records.shape[1], bandwidth) - float(exponents.mean())

    found = minimize_scalar(
        loss, bounds=(log(0.02), log(3)), method="bounded", options={"xatol": 0.02}
    )
    return float(np.exp(found.x))


def _gaussian_log_ratio(
    queries: np.ndarray, release: np.ndarray, reference: np.ndarray
) -> np.ndarray:
    """Log ratio of a Gaussian fitted to the release to one fitted to the reference, ``(n,)``.

    The release's covariance is shrunk towards the reference's with the weight of d + 2 records (the
    mean of an inverse-Wishart prior), so that one released record is enough.
    """
    dimension = reference.shape[1]
    base = np.cov(reference, rowvar=False).reshape(dimension, dimension)
    base += 1e-6 * (1 + np.trace(base) / dimension) * np.eye(dimension)
    own = np.cov(release, rowvar=False, bias=True).reshape(dimension, dimension)
    n, prior = len(release), dimension + 2
    shrunk = (n * own + prior * base) / (n + prior)
    return _log_normal(queries, release.mean(0), shrunk) - _log_normal(
        queries, reference.mean(0), base
    )


def _log_normal(queries: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    from scipy.stats import multivariate_normal

    return np.atleast_1d(multivariate_normal(mean, covariance).logpdf(queries))
