"""Fidelity and diversity of released features: how near their distribution is to the real one, how varied they are.

Pure functions of feature arrays, computed in double precision and in blocks: working memory does not grow with the
square of the number of records, except for the spectra (:func:`frechet_distance`, :func:`vendi_score`), which need a
square matrix of the smaller of records and features.

All of them depend on the number of records: the Fréchet distance is biased upwards when there are few, precision and
recall change with the radius of the neighbourhoods, and the Vendi score grows with what is counted. Compare figures
that were taken on equally many records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

__all__ = [
    "Manifold",
    "frechet_distance",
    "jackknife",
    "kernel_distance",
    "manifold_metrics",
    "vendi_score",
]

_BLOCK_BYTES = 64 << 20


# ---------------------------------------------------------------- distances between distributions


def frechet_distance(real: np.ndarray, released: np.ndarray) -> float:
    """Fréchet distance between the normal distributions with the two samples' moments.

    ‖μ − ν‖² + tr(S + T − 2 (S T)^½), with means μ, ν and unbiased covariances S, T.

    Parameters
    ----------
    real : ndarray of shape (n, d)
        n ≥ 2.
    released : ndarray of shape (m, d)
        m ≥ 2.

    Returns
    -------
    float
        ≥ 0, in squared units of the features; not square-rooted, as usual.

    References
    ----------
    Heusel et al. (2017). GANs trained by a two time-scale update rule. arXiv:1706.08500.

    Examples
    --------
    >>> x = np.array([[0.0], [2.0]])
    >>> round(frechet_distance(x, 2 * x + 3), 9)  # means 1 and 5, deviations √2 and 2√2
    18.0
    """
    _check(real, released, at_least=2)
    a, b = _centred(real), _centred(released)
    gap = real.mean(axis=0, dtype=np.float64) - released.mean(axis=0, dtype=np.float64)
    spread = np.einsum("ij,ij->", a, a) + np.einsum("ij,ij->", b, b)
    return float(max(0.0, gap @ gap + spread - 2 * _trace_of_root(a, b)))


def _centred(records: np.ndarray) -> np.ndarray:
    """Rows whose scatter matrix is the unbiased covariance, in double precision."""
    centred = records - records.mean(axis=0, dtype=np.float64)
    centred /= np.sqrt(len(records) - 1)
    return centred


def _trace_of_root(a: np.ndarray, b: np.ndarray) -> float:
    """tr((AᵀA BᵀB)^½), which is the sum of the singular values of A Bᵀ."""
    if a.shape[1] >= min(len(a), len(b)):
        return float(np.linalg.svd(a @ b.T, compute_uv=False).sum())
    # With fewer features than records: A Bᵀ has the singular values of R Bᵀ, where AᵀA = RᵀR, and again for B.
    return float(np.linalg.svd(_root(a) @ _root(b).T, compute_uv=False).sum())


def _root(a: np.ndarray) -> np.ndarray:
    """A square R with RᵀR = AᵀA."""
    values, vectors = np.linalg.eigh(a.T @ a)
    return np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T


def kernel_distance(real: np.ndarray, released: np.ndarray) -> float:
    """Kernel distance (KID): squared maximum mean discrepancy with the kernel (⟨x, y⟩/d + 1)³, unbiased.

    Parameters
    ----------
    real : ndarray of shape (n, d)
        n ≥ 2.
    released : ndarray of shape (m, d)
        m ≥ 2.

    Returns
    -------
    float
        0 on average for two samples of one distribution, so now and then below 0.

    References
    ----------
    Bińkowski et al. (2018). Demystifying MMD GANs. arXiv:1801.01401, section 4.
    """
    _check(real, released, at_least=2)
    n, m = len(real), len(released)
    within = _kernel_sum(real) / (n * (n - 1)) + _kernel_sum(released) / (m * (m - 1))
    return within - 2 * _kernel_sum(real, released) / (n * m)


def _kernel_sum(x: np.ndarray, y: np.ndarray | None = None) -> float:
    """Sum of the kernel over all pairs; without ``y`` over the pairs of different rows of ``x``."""
    other = x if y is None else y
    total = 0.0
    for rows in _blocks(len(x), len(other)):
        for columns in _blocks(len(other), len(x)):
            products = x[rows].astype(np.float64) @ other[columns].astype(np.float64).T
            kernel = (products / x.shape[1] + 1) ** 3
            if y is None and rows == columns:
                np.fill_diagonal(kernel, 0)
            total += float(kernel.sum())
    return total


# ---------------------------------------------------------------- manifolds


@dataclass(frozen=True, kw_only=True)
class Manifold:
    """How two samples cover each other, where a sample's manifold is the union of balls around its records.

    Parameters
    ----------
    precision : float in [0, 1]
        Share of the released records on the real manifold: how realistic.
    recall : float in [0, 1]
        Share of the real records on the released manifold: how much of the real variety could have been released.
    density : float ≥ 0
        Mean number of real balls that a released record lies in, divided by k: 1 on average for real records, above 1
        where the release crowds where the real records are dense.
    coverage : float in [0, 1]
        Share of the real balls that hold a released record.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold_metrics(
    real: np.ndarray, released: np.ndarray, k: int = 5, *, device: str = "cpu"
) -> Manifold:
    """Precision and recall, density and coverage.

    A record's ball reaches to its k-th nearest neighbour in its own sample, itself not counted; its edge belongs to it.

    Parameters
    ----------
    real : ndarray of shape (n, d)
    released : ndarray of shape (m, d)
    k : int, default=5
        In [1, min(n, m) − 1].
    device : str, default="cpu"
        Torch device of the neighbour search.

    References
    ----------
    Kynkäänniemi et al. (2019). Improved precision and recall metric. arXiv:1904.06991.
    Naeem et al. (2020). Reliable fidelity and diversity metrics. arXiv:2002.09797.
    """
    _check(real, released, at_least=2)
    if not 1 <= k < min(len(real), len(released)):
        raise ValueError(
            f"k must be at least 1 and below the number of records, {min(len(real), len(released))}. "
            f"Got {k} instead."
        )
    real_radii, released_radii = _radii(real, k, device), _radii(released, k, device)
    centre = real.mean(axis=0, dtype=np.float64)
    balls = np.zeros(len(released), dtype=np.int64)
    recalled, covered = (np.zeros(len(real), dtype=bool) for _ in range(2))
    for rows in _blocks(len(real), len(released)):
        for columns in _blocks(len(released), len(real)):
            squared, rounding = _squared_distances(real[rows] - centre, released[columns] - centre)
            squared -= rounding
            in_real = squared <= real_radii[rows, None]
            balls[columns] += in_real.sum(axis=0)
            covered[rows] |= in_real.any(axis=1)
            recalled[rows] |= (squared <= released_radii[columns]).any(axis=1)
    return Manifold(
        precision=float((balls > 0).mean()),
        recall=float(recalled.mean()),
        density=float(balls.mean() / k),
        coverage=float(covered.mean()),
    )


def _radii(records: np.ndarray, k: int, device: str) -> np.ndarray:
    """Squared distance to the k-th nearest other record, ``(n,) float64``."""
    from benchmark.learning.neighbours import nearest

    distances, _ = nearest(records, records, k, device=device, exclude_self=True)
    return distances[:, -1] ** 2


def _squared_distances(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances ``(n, m)`` and how far rounding may have moved them.

    A copy must be in the ball of its original, also where that has no radius.
    """
    norms = np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", y, y)
    return norms - 2 * (x @ y.T), norms * 1e-13


# ---------------------------------------------------------------- diversity


def vendi_score(records: np.ndarray) -> float:
    """Vendi score with the cosine kernel: the effective number of different records.

    The exponential of the entropy of the eigenvalues of K/n, where K holds the cosines between records. Records that
    are all zeros have no direction; they count as one more direction, at right angles to all others.

    Parameters
    ----------
    records : ndarray of shape (n, d)
        n ≥ 1.

    Returns
    -------
    float
        In [1, min(n, d + 1)]: 1 if all point one way, n if all are at right angles.

    References
    ----------
    Friedman and Dieng (2023). The Vendi score. arXiv:2210.02410.

    Examples
    --------
    >>> round(vendi_score(np.eye(3)), 9), round(vendi_score(np.ones((3, 4))), 9)
    (3.0, 1.0)
    """
    _check(records, records, at_least=1)
    norms = np.linalg.norm(records.astype(np.float64), axis=1)
    zero = norms == 0
    directions = records[~zero] / norms[~zero, None]
    small = len(directions) < directions.shape[1]
    gram = directions @ directions.T if small else directions.T @ directions
    shares = np.append(np.linalg.eigvalsh(gram), zero.sum()) / len(records)
    shares = shares[shares > 1e-15]
    return float(np.exp(-(shares * np.log(shares)).sum()))


# ---------------------------------------------------------------- uncertainty


def jackknife(
    figures: Callable[[np.ndarray, np.ndarray], Mapping[str, float]],
    real: np.ndarray,
    released: np.ndarray,
    groups: tuple[np.ndarray, np.ndarray],
) -> dict[str, float]:
    """Standard errors of figures of two samples, by the jackknife that leaves out a group at a time.

    With G groups and θ_g the figure without group g of either sample, the squared error is (G − 1)/G · Σ_g (θ_g − θ̄)².
    Leaving out, unlike the bootstrap, makes no copies: in a sample with copies every nearest neighbour is one. The bias
    that these figures have at n records is that at n(G − 1)/G records, all but the same in every θ_g, so that it does
    not enter; the errors are about the figure at n records, not at infinitely many.

    Parameters
    ----------
    figures : callable
        ``(real, released) -> {name: figure}``.
    real : ndarray of shape (n, d)
    released : ndarray of shape (m, d)
    groups : pair of ndarray of shape (n,) and (m,), int
        The group of each record, in 0 … G − 1; G ≥ 2.

    Returns
    -------
    dict
        Name → standard error.

    References
    ----------
    Tukey (1958); Shao and Tu (1995), The Jackknife and Bootstrap, section 2.3, for groups.
    """
    of_real, of_released = groups
    n = int(max(of_real.max(), of_released.max())) + 1
    without = [figures(real[of_real != g], released[of_released != g]) for g in range(n)]
    values = {name: np.array([w[name] for w in without]) for name in without[0]}
    return {name: float(np.sqrt((n - 1) * v.var())) for name, v in values.items()}


# ---------------------------------------------------------------- helpers


def _check(real: np.ndarray, released: np.ndarray, at_least: int) -> None:
    if real.ndim != 2 or released.ndim != 2 or real.shape[1] != released.shape[1]:
        raise ValueError(
            "real and released must be of shapes (n, d) and (m, d) with the same d. "
            f"Got {real.shape} and {released.shape} instead."
        )
    if min(len(real), len(released)) < at_least:
        raise ValueError(
            f"real and released must hold at least {at_least} records each. "
            f"Got {len(real)} and {len(released)} instead."
        )


def _blocks(n: int, m: int) -> Iterator[slice]:
    """Rows of an (n, m) matrix, in blocks of which a square one fits ``_BLOCK_BYTES`` three times."""
    size = max(1, int(np.sqrt(_BLOCK_BYTES / 24)))
    for start in range(0, n, size):
        yield slice(start, min(n, start + size))
