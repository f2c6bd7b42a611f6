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
    "calibrated_distance",
    "kde",
    "local_neighbourhood",
    "monte_carlo",
    "nearest_distance",
    "nearest_radius",
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
    if radius is None:
        radius = float(np.median(distances[:, 0]))
    if radius <= 0:  # most candidates are released as they are
        return (distances == 0).sum(axis=1) / len(released)
    return np.maximum(1 - distances / radius, 0).sum(axis=1) / len(released)


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
