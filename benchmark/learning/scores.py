"""Black-box membership scores as pure functions of a release: higher for more likely members.

Each takes ``released (n, d)`` and ``candidates (m, d)`` first and gives ``(m,) float64``, finite. Attacks use them on
the release under attack, and shadow attacks on every shadow release: the same function, the same units.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmark.learning.density import kde_log_density
from benchmark.learning.neighbours import nearest

__all__ = [
    "average_log_ratio",
    "calibrated_distance",
    "kde",
    "largest_cosine",
    "local_neighbourhood",
    "monte_carlo",
    "nearest_distance",
    "nearest_radius",
    "share_within",
]


def nearest_distance(
    released: np.ndarray, candidates: np.ndarray, *, k: int = 1, device: str = "cpu"
) -> np.ndarray:
    """Minus the mean Euclidean distance to the ``k`` nearest released records (Chen et al. 2020, GAN-Leaks)."""
    distances, _ = nearest(candidates, released, min(k, len(released)), device=device)
    return -distances.mean(axis=1)


def calibrated_distance(
    released: np.ndarray, candidates: np.ndarray, reference: np.ndarray, *, device: str = "cpu"
) -> np.ndarray:
    """Nearest distance to ``reference (a, d)`` records of the population minus that to the release.

    A candidate in a dense part of the population is near everything; the difference tells how much nearer the release
    comes than the population does.
    """
    own = nearest_distance(released, candidates, device=device)
    return own - nearest_distance(reference, candidates, device=device)


def nearest_radius(released: np.ndarray, candidates: np.ndarray, *, device: str = "cpu") -> float:
    """Median distance from a candidate to its nearest released record (Hilprecht et al. 2019, section 4.2)."""
    return float(np.median(nearest(candidates, released, device=device)[0]))


def monte_carlo(
    released: np.ndarray,
    candidates: np.ndarray,
    *,
    radius: float | None = None,
    k: int = 50,
    device: str = "cpu",
) -> np.ndarray:
    """Number of released records within ``radius``, each weighted by its nearness, over the number released.

    Hilprecht et al. (2019) count (equation 5), or weigh by −log of the distance (equation 6). Counts tie for most
    candidates, so the part of a release within the radius is weighed by 1 − distance/radius here, which orders
    candidates with equal counts and vanishes at the radius.

    Parameters
    ----------
    radius : float, optional
        Default: :func:`nearest_radius`, their median heuristic.
    k : int
        At most so many neighbours are looked at.
    """
    distances, _ = nearest(candidates, released, min(k, len(released)), device=device)
    return share_within(distances, radius) / len(released)


def share_within(distances: np.ndarray, radius: float | None = None) -> np.ndarray:
    """:func:`monte_carlo` before its division by the number released, from sorted distances ``(m, k)``."""
    if radius is None:
        radius = float(np.median(distances[:, 0]))
    if radius <= 0:  # most candidates are released as they are
        return np.asarray((distances == 0).sum(axis=1).astype(np.float64))
    return np.asarray(np.maximum(1 - distances / radius, 0).sum(axis=1))


def kde(
    released: np.ndarray, candidates: np.ndarray, *, bandwidth: float, device: str = "cpu"
) -> np.ndarray:
    """Log density of Gaussian kernels at the released records; meant for whitened components."""
    return kde_log_density(candidates, released, bandwidth, device=device)


def local_neighbourhood(
    released: np.ndarray,
    candidates: np.ndarray,
    reference: np.ndarray,
    *,
    neighbours: Sequence[int] = (1, 2, 5, 10),
    device: str = "cpu",
) -> np.ndarray:
    """Mean over k of the log ratio of the k-th nearest distance in ``reference`` to that in the release.

    Up to a constant and the factor d these are log ratios of k-nearest-neighbour density estimates of the release and
    the population, without the factor, so that no k outweighs the others. Distances below a millionth of the median
    count as that, so that a copy has a finite score.
    """
    ks = sorted({min(k, len(released), len(reference)) for k in neighbours})
    columns = np.array(ks) - 1
    own = nearest(candidates, released, ks[-1], device=device)[0][:, columns]
    other = nearest(candidates, reference, ks[-1], device=device)[0][:, columns]
    floor = max(1e-6 * float(np.median(other)), 1e-12)
    return (np.log(np.maximum(other, floor)) - np.log(np.maximum(own, floor))).mean(axis=1)


def average_log_ratio(
    released: np.ndarray, candidates: np.ndarray, variance: float, share: float
) -> np.ndarray:
    """Log likelihood ratio of *went into a released record* against *did not*, for averages and for added noise.

    With records of N(0, I) and released records of N(0, v I), let a released r that x went into be N(a x, (v − a²) I):
    for an average of k records v = a = 1/k, and for a record with noise a = 1 and v > 1, so a = min(v, 1). The log
    ratio of one released record is

        ‖r‖²/(2v) − ‖r − a x‖²/(2 (v − a²)) + d/2 log(v/(v − a²)).

    If x went into each of the released records with probability ``share``, independently, that of the release is the
    sum of log(1 − share + share · ratio): close to the largest ratio where x is in one of them, to the sum of all
    where it is in many. For v near 1 it is sharp and orders candidates by their nearest released record.

    Parameters
    ----------
    released, candidates : ndarray of shapes (n, d) and (m, d)
        Whitened, with the population's mean at 0 (:func:`benchmark.learning.density.shrunk_whitening`).
    variance : float
        v > 0, the mean variance of a feature of the release.
    share : float
        In (0, 1): about the reciprocal of the number of records that the release was made from, times k for averages.
    """
    d = released.shape[1]
    a = min(variance, 1.0)
    rest = max(variance - a * a, 0.05 * a)
    own = np.square(released).sum(axis=1) * (0.5 / variance - 0.5 / rest)
    norms = np.square(candidates).sum(axis=1, keepdims=True) * (0.5 * a * a / rest)
    ratios = (candidates @ released.T) * (a / rest) + own - norms + d / 2 * np.log(variance / rest)
    odds = np.log(share) - np.log1p(-share)
    return (np.logaddexp(0.0, ratios + odds) + np.log1p(-share)).sum(axis=1)


def largest_cosine(released: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Largest cosine between a candidate and a released record; meant for whitened records of mean 0."""
    directions = released / np.maximum(np.linalg.norm(released, axis=1, keepdims=True), 1e-300)
    norms = np.maximum(np.linalg.norm(candidates, axis=1), 1e-300)
    return (candidates @ directions.T).max(axis=1) / norms
