"""How good reconstructions are: faithful to what was released, and near to private candidates.

Two questions that must not be mixed up. *Fidelity* compares a reconstruction with the released record that the attack
aimed at: whether the attack works at all. *Nearness* compares it with the candidates: what that says of private
records. Measured where the attack ran, without the coins; :mod:`benchmark.figures` tells members from non-members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from benchmark.contracts import Records
from benchmark.learning.image_quality import psnr, ssim
from benchmark.learning.neighbours import nearest
from benchmark.statistics import Estimate, proportion

__all__ = [
    "RECOVERED",
    "Reconstructed",
    "candidate_nearness",
    "fidelity",
    "nearest_on_each_side",
    "reconstruction_figures",
]

RECOVERED = 1e-3
"""Mean squared error below which a record counts as recovered (29.96 dB below the peak on images)."""

# A candidate is a member by a fair coin: the chance that the 24 nearest are all on one side is 1.2e-7.
_MOST_NEIGHBOURS, _LEAST_NEIGHBOURS = 24, 8
# Pixels compared for structural similarity, at most, which bounds the time on large images.
_PIXELS = 5e8
# Numbers of pairs held at once, which bounds the memory: in double precision, and a few times.
_AT_ONCE = 1 << 22


@dataclass(frozen=True, kw_only=True, eq=False)
class Reconstructed:
    """What the referee knows of an attack's reconstructions.

    Parameters
    ----------
    fidelity : mapping of str to ndarray
        As :func:`fidelity` gives it; empty where the attack named no targets.
    sides : mapping of str to a pair of ndarrays
        As :func:`nearest_on_each_side` gives it.
    """

    fidelity: Mapping[str, np.ndarray] = field(default_factory=dict)
    sides: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def fidelity(
    reconstructed: Records, targets: np.ndarray, released: Records, real: Records
) -> dict[str, np.ndarray]:
    """Similarity of each reconstruction to the released record that it aims at.

    Parameters
    ----------
    reconstructed : Records
        ``N`` of them.
    targets : ndarray of shape (N,), int64
        Row of ``released``; −1 for none.
    released : Records
    real : Records
        Real records that give features their unit (auxiliary ones).

    Returns
    -------
    dict of str to ndarray of shape (N,), float64
        ``mse`` and, of images, ``psnr`` in dB and ``ssim``; of features, ``cosine``. NaN without a target. The mean
        squared error of images is of pixels in [0, 1]; that of features is divided by their mean variance over
        ``real``, so that 1 is as far as a typical record from the mean.
    """
    aimed = np.flatnonzero(targets >= 0)
    figures = _similarity(reconstructed.take(aimed), released.take(targets[aimed]), _unit(real))
    whole = {name: np.full(len(targets), np.nan) for name in figures}
    for name, values in figures.items():
        whole[name][aimed] = values
    return whole


def candidate_nearness(
    reconstructed: Records, candidates: Records, real: Records
) -> dict[str, np.ndarray]:
    """Similarity of each reconstruction to the candidates nearest to it.

    Returns
    -------
    dict of str to ndarray of shape (N, K)
        ``rows`` (int64) of the candidates by ascending distance, K of 24 or, of many large images, down to 8, and the
        figures of :func:`fidelity` for each (float64).
    """
    n, m = len(reconstructed), len(candidates)
    affordable = int(_PIXELS // max(1, reconstructed.data.size))
    k = min(m, int(np.clip(affordable, _LEAST_NEIGHBOURS, _MOST_NEIGHBOURS)))
    _, rows = nearest(reconstructed.flat(), candidates.flat(), k)
    ours, theirs = np.repeat(np.arange(n), k), rows.ravel()
    size = max(1, _AT_ONCE // reconstructed.data[0].size)
    parts = [
        _similarity(
            reconstructed.take(ours[start : start + size]),
            candidates.take(theirs[start : start + size]),
            _unit(real),
        )
        for start in range(0, n * k, size)
    ]
    figures = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {"rows": rows, **{name: values.reshape(n, k) for name, values in figures.items()}}


def nearest_on_each_side(
    nearness: Mapping[str, np.ndarray], coins: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Figures of the nearest member and of the nearest non-member of each reconstruction.

    Parameters
    ----------
    nearness : mapping
        As :func:`candidate_nearness` gives it.
    coins : ndarray of shape (m,), bool
        True for members.

    Returns
    -------
    dict of str to a pair of ndarrays of shape (n,)
        Of the reconstructions that have both among the candidates listed.
    """
    member = coins[nearness["rows"]]
    both = member.any(axis=1) & (~member).any(axis=1)
    at = np.flatnonzero(both)
    first, other = np.argmax(member[at], axis=1), np.argmax(~member[at], axis=1)
    return {
        name: (values[at, first], values[at, other])
        for name, values in nearness.items()
        if name != "rows"
    }


def reconstruction_figures(made: Reconstructed, confidence: float) -> dict[str, Estimate]:
    """Figures of one trial, by metric.

    ``recovered_share``: of the reconstructions with a target, those with a mean squared error below
    :data:`RECOVERED`; ``fidelity_mse``: the median error, since one that diverged would decide the mean;
    ``fidelity_psnr``, ``fidelity_ssim`` or ``fidelity_cosine``: means. ``<figure>_to_member`` and
    ``<figure>_to_nonmember``: the same figures for the nearest member and the nearest non-member, which are alike where
    reconstructions say nothing of membership.
    """
    figures: dict[str, Estimate] = {}
    for name, values in made.fidelity.items():
        known = values[~np.isnan(values)]
        if name == "mse":
            figures["recovered_share"] = proportion(
                int((known < RECOVERED).sum()), len(known), confidence
            )
            figures["fidelity_mse"] = _plain(known, np.median, "median")
        else:
            figures[f"fidelity_{name}"] = _mean(known, confidence)
    for name, pair in made.sides.items():
        for side, values in zip(("member", "nonmember"), pair, strict=True):
            middle = (np.median, "median") if name == "mse" else (np.mean, "mean")
            figures[f"{name}_to_{side}"] = _plain(values, *middle)
    return figures


def _plain(values: np.ndarray, middle: Callable[[np.ndarray], float], name: str) -> Estimate:
    """A figure without an interval: reconstructions share candidates, so they are not independent."""
    if len(values) == 0:
        return Estimate(np.nan, np.nan, np.nan, name, "not resolvable: no reconstruction")
    method = f"{name} over {len(values)} reconstructions"
    return Estimate(float(middle(values)), np.nan, np.nan, method)


def _mean(values: np.ndarray, confidence: float) -> Estimate:
    """The mean over targets with Student's interval."""
    plain = _plain(values, np.mean, "mean")
    if len(values) < 2:
        return plain
    error = values.std(ddof=1) / np.sqrt(len(values))
    reach = float(stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * error)
    method = f"{plain.method}, Student's t"
    return Estimate(plain.value, plain.value - reach, plain.value + reach, method)


def _unit(real: Records) -> float:
    """What squared differences are divided by."""
    if real.kind == "image":
        return 1.0
    variance = float(real.data.var(axis=0, dtype=np.float64).mean())
    return variance if variance > 0 else 1.0


def _similarity(a: Records, b: Records, unit: float) -> dict[str, np.ndarray]:
    """Figures of pairs of records, row by row."""
    x, y = a.flat().astype(np.float64), b.flat().astype(np.float64)
    figures = {"mse": np.square(x - y).mean(axis=1) / unit}
    if a.kind == "image":
        return {**figures, "psnr": psnr(a.data, b.data), "ssim": ssim(a.data, b.data)}
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    products = np.einsum("ij,ij->i", x, y)
    cosine = np.divide(products, norms, out=np.zeros(len(x)), where=norms > 0)
    return {**figures, "cosine": cosine}
