"""Log densities of records in few whitened dimensions, for attacks that compare a release with a population.

Linear density ratios underflow at a few hundred dimensions, so everything here is in log space and is meant for the
leading principal components of the records (:func:`whitened_components`).
"""

from __future__ import annotations

from collections.abc import Callable
from math import lgamma, log, pi
from typing import TYPE_CHECKING

import numpy as np

from benchmark.learning.neighbours import nearest

if TYPE_CHECKING:
    import torch

__all__ = [
    "gaussian_log_density",
    "kde_log_density",
    "likelihood_bandwidth",
    "mixture_log_density",
    "neighbour_log_density",
    "scott_bandwidth",
    "shrunk_whitening",
    "whitened_components",
]

_BLOCK_BYTES = 64 << 20


def whitened_components(
    records: np.ndarray, components: int, seed: int
) -> Callable[[np.ndarray], np.ndarray]:
    """A projection to the leading principal components of ``records``, each scaled to variance 1.

    Parameters
    ----------
    records : ndarray of shape (n, D), float32
        Finite, two or more, not all equal.
    components : int
        How many to keep, at least 1; fewer are kept where the records span fewer.
    seed : int
        In [0, 2**32), for the randomised decomposition of large inputs.

    Returns
    -------
    callable
        From ``(m, D)`` to ``(m, d) float64``.

    Raises
    ------
    ValueError
        Where all records are equal.
    """
    from sklearn.decomposition import PCA

    if (records == records[0]).all():
        raise ValueError("records that differ are needed. All records are equal.")
    most = min(components, len(records) - 1, records.shape[1])
    pca = PCA(most, svd_solver="randomized" if min(records.shape) > 4 * most else "full")
    pca.set_params(random_state=seed).fit(records)
    variance = pca.explained_variance_.astype(np.float64)
    # Directions of rounding error alone would be blown up by whitening.
    kept = variance > 1e-8 * variance[0]
    axes = (pca.components_[kept] / np.sqrt(variance[kept])[:, None]).astype(np.float64)
    offset = axes @ pca.mean_.astype(np.float64)
    return lambda part: part @ axes.T - offset


# ---------------------------------------------------------------- kernels


def kde_log_density(
    queries: np.ndarray, records: np.ndarray, bandwidth: float, *, device: str = "cpu"
) -> np.ndarray:
    """Log density of Gaussian kernels of one ``bandwidth`` at ``records (n, d)``, at ``queries (m, d)``: ``(m,)``."""
    import torch

    if len(queries) == 0:
        return np.empty(0)
    block = max(1, _BLOCK_BYTES // (16 * len(records)))
    kernels = torch.from_numpy(np.asarray(records, np.float64)).to(device)
    parts = [
        torch.logsumexp(_log_kernels(torch.from_numpy(part).to(device), kernels, bandwidth), 1)
        for part in np.array_split(np.asarray(queries, np.float64), -(-len(queries) // block))
    ]
    return (torch.cat(parts) - log(len(records))).cpu().numpy()


def _log_kernels(queries: torch.Tensor, kernels: torch.Tensor, bandwidth: float) -> torch.Tensor:
    import torch

    squares = torch.cdist(queries, kernels).square()
    return squares.mul_(-0.5 / bandwidth**2).sub_(_log_volume(kernels.shape[1], bandwidth))


def _log_volume(dimension: int, bandwidth: float) -> float:
    return dimension * (log(bandwidth) + 0.5 * log(2 * pi))


def scott_bandwidth(n: int, dimension: int) -> float:
    """n^(−1/(d+4)), for whitened records (Scott 1992, Multivariate Density Estimation)."""
    return float(n ** (-1 / (dimension + 4)))


def likelihood_bandwidth(records: np.ndarray, *, device: str = "cpu") -> float:
    """The bandwidth in [0.02, 3] with the highest leave-one-out likelihood of ``(n, d)`` records (Duin 1976).

    Quadratic in n. Repeated records drive it to its lower limit: give distinct ones.
    """
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


# ---------------------------------------------------------------- other estimators


def gaussian_log_density(
    queries: np.ndarray, records: np.ndarray, prior: np.ndarray | None = None
) -> np.ndarray:
    """Log density of one Gaussian fitted to ``records (n, d)``, at ``queries (m, d)``: ``(m,)``.

    With ``prior (d, d)`` the covariance is shrunk towards it with the weight of d + 2 records (the mean of an
    inverse-Wishart prior), so that one record is enough.
    """
    from scipy.stats import multivariate_normal

    covariance = covariance_of(records) if prior is None else _shrunk(records, prior)
    return np.atleast_1d(multivariate_normal(records.mean(0), covariance).logpdf(queries))


def covariance_of(records: np.ndarray) -> np.ndarray:
    """Sample covariance ``(d, d)`` of ``(n, d)`` records, n ≥ 2, with a trace of ridge."""
    d = records.shape[1]
    covariance = np.cov(records, rowvar=False).reshape(d, d)
    return covariance + 1e-6 * (1 + np.trace(covariance) / d) * np.eye(d)


def _shrunk(records: np.ndarray, prior: np.ndarray) -> np.ndarray:
    n, d = records.shape
    own = np.cov(records, rowvar=False, bias=True).reshape(d, d)
    return (n * own + (d + 2) * prior) / (n + d + 2)


def mixture_log_density(
    queries: np.ndarray, records: np.ndarray, components: int, seed: int
) -> np.ndarray:
    """Log density of a mixture of Gaussians with diagonal covariances fitted to ``records``, at ``queries``: ``(m,)``.

    At most one component for every five records.
    """
    from sklearn.mixture import GaussianMixture

    n = max(1, min(components, len(records) // 5))
    if len(records) == 1:
        return gaussian_log_density(queries, records, np.eye(records.shape[1]))
    mixture = GaussianMixture(n, covariance_type="diag", reg_covar=1e-3, random_state=seed)
    return mixture.fit(records).score_samples(queries)


def neighbour_log_density(
    queries: np.ndarray, records: np.ndarray, k: int, *, floor: float = 1e-6, device: str = "cpu"
) -> np.ndarray:
    """Log of the k-nearest-neighbour density estimate k / (n V_d r_k^d), ``(m,)``.

    Parameters
    ----------
    queries, records : ndarray of shapes (m, d) and (n, d)
    k : int
        At least 1; no more than n are looked at.
    floor : float
        Radii below this count as this, so that a copy has a finite density.

    References
    ----------
    Loftsgaarden and Quesenberry (1965). Annals of Mathematical Statistics 36.
    """
    n, d = records.shape
    k = min(k, n)
    radius = np.maximum(nearest(queries, records, k, device=device)[0][:, -1], floor)
    log_ball = 0.5 * d * log(pi) - lgamma(0.5 * d + 1)
    return log(k / n) - log_ball - d * np.log(radius)


# ---------------------------------------------------------------- whitening of all dimensions


def shrunk_whitening(records: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A whitening x ↦ C^(−1/2) x by the Ledoit–Wolf covariance C of centred ``(n, D)`` records.

    C = (1 − a) S + a·m·I, with the sample covariance S, its mean variance m, and the shrinkage a that has the least
    expected squared error. It is invertible for any n, and only the smaller of n × n and D × D is decomposed.

    Parameters
    ----------
    records : ndarray of shape (n, D)
        Of mean zero, n ≥ 2, not all zero.

    Returns
    -------
    callable
        From ``(m, D)`` to ``(m, D) float64``.

    References
    ----------
    Ledoit and Wolf (2004). A well-conditioned estimator for large-dimensional covariance matrices. Journal of
    Multivariate Analysis 88.
    """
    centred = np.asarray(records, np.float64)
    n, dimension = centred.shape
    if n > dimension:
        eigenvalues, vectors = np.linalg.eigh(centred.T @ centred)
        kept = eigenvalues > 1e-10 * eigenvalues[-1]
        axes = vectors[:, kept].T
    else:
        eigenvalues, vectors = np.linalg.eigh(centred @ centred.T)
        kept = eigenvalues > 1e-10 * eigenvalues[-1]
        axes = (vectors[:, kept] / np.sqrt(eigenvalues[kept])).T @ centred
    shrinkage, variance = _ledoit_wolf(eigenvalues[kept], np.square(centred).sum(1), dimension)
    outside = (shrinkage * variance) ** -0.5 if shrinkage > 0 else 0.0
    along = ((1 - shrinkage) * eigenvalues[kept] / n + shrinkage * variance) ** -0.5

    def whiten(part: np.ndarray) -> np.ndarray:
        part = np.asarray(part, np.float64)
        return outside * part + (part @ axes.T * (along - outside)) @ axes

    return whiten


def _ledoit_wolf(
    eigenvalues: np.ndarray, squared_norms: np.ndarray, dimension: int
) -> tuple[float, float]:
    """Shrinkage in [0, 1] and mean variance.

    ``eigenvalues`` are those above 0 of n times the covariance; ``squared_norms (n,)`` are the centred records'.
    """
    n = len(squared_norms)
    variance = float(eigenvalues.sum()) / (n * dimension)
    squared = float(np.square(eigenvalues).sum()) / n**2
    spread = squared / dimension - variance**2
    noise = (float(np.square(squared_norms).sum()) / n - squared) / (n * dimension)
    return (min(max(noise / spread, 0.0), 1.0) if spread > 0 else 1.0), variance
