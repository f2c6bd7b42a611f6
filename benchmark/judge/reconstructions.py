"""Figures of reconstructions, from what was measured where the attack ran (:mod:`benchmark.similarity`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from benchmark.statistics import Estimate, proportion

__all__ = [
    "RECOVERED",
    "Reconstructed",
    "nearest_on_each_side",
    "reconstruction_figures",
]

RECOVERED = 1e-3
"""Mean squared error below which a record counts as recovered (29.96 dB below the peak on images)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reconstructed:
    """What the referee knows of an attack's reconstructions.

    Parameters
    ----------
    fidelity : mapping of str to ndarray
        As :func:`benchmark.similarity.fidelity` gives it; empty where the attack named no targets.
    sides : mapping of str to a pair of ndarrays
        As :func:`nearest_on_each_side` gives it.
    """

    fidelity: Mapping[str, np.ndarray] = field(default_factory=dict)
    sides: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def nearest_on_each_side(
    nearness: Mapping[str, np.ndarray], coins: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Figures of the nearest member and of the nearest non-member of each reconstruction.

    Parameters
    ----------
    nearness : mapping
        As :func:`benchmark.similarity.candidate_nearness` gives it.
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
