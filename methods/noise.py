"""Gaussian noise on the records: the simplest way to trade utility for privacy.

Two modes. With ``scale`` the noise is proportional to each feature's spread over the members, which
is data-dependent and proves nothing. With ``epsilon``, ``delta`` and ``clip_norm`` it is the analytic
Gaussian mechanism [1]_ on every record by itself, and the release is differentially private.

References
----------
.. [1] Balle & Wang, "Improving the Gaussian Mechanism for Differential Privacy: Analytical
   Calibration and Optimal Denoising", ICML 2018, arXiv 1805.06530, theorem 8.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import model_validator

from benchmark.contracts import (
    Context,
    DifferentialPrivacy,
    Field,
    Method,
    MethodInfo,
    Records,
    Release,
)

__all__ = ["Noise", "gaussian_delta", "gaussian_sigma"]

DEFAULT_SCALE = 0.5


class Noise(Method):
    """Adds Gaussian noise to every record.

    In units of the features; pixels count in [0, 1] while noise is added and are then rounded and
    clipped to 0 … 255. Released row i stands for member i.

    Differential privacy, where ``epsilon`` is given: each record is moved into the ball of radius
    ``clip_norm`` around a fixed centre (0 for features, ½ for pixels), so that exchanging one record
    for any other moves its row by at most 2·``clip_norm``; noise of the standard deviation
    that the analytic Gaussian mechanism asks for makes each row (ε, δ)-private by itself. Labels and
    the number of records are public under this claim, and somebody with several records is covered
    for each of them singly. Noise is drawn in floating point, which the theorem does not cover.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="noise",
        version="2",
        summary="Gaussian noise on every record, optionally the analytic Gaussian mechanism.",
        citation="Balle & Wang 2018, arXiv 1805.06530",
    )

    scale: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description=(
            "standard deviation of the noise, in units of each feature's (pixel's) standard "
            f"deviation over the members; {DEFAULT_SCALE} unless epsilon is given"
        ),
    )
    epsilon: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="ε of each record's release"
    )
    delta: float = Field(1e-5, gt=0, lt=1, description="δ of each record's release")
    clip_norm: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description=(
            "largest Euclidean norm of a record around the centre, chosen without looking at the "
            "members; with epsilon only"
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_scale(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("epsilon") is not None:
            return values
        return {**values, "scale": DEFAULT_SCALE} if values.get("scale") is None else values

    @model_validator(mode="after")
    def _one_mode(self) -> Noise:
        if self.epsilon is not None and self.scale is not None:
            raise ValueError(
                "'scale' and 'epsilon' of Noise exclude each other: give scale for plain noise, or "
                f"epsilon, delta and clip_norm. Got scale={self.scale} and epsilon={self.epsilon}."
            )
        if (self.epsilon is None) != (self.clip_norm is None):
            raise ValueError(
                "'epsilon' and 'clip_norm' of Noise go together. "
                f"Got epsilon={self.epsilon} and clip_norm={self.clip_norm}."
            )
        return self

    def fit(self, members: Records, context: Context) -> Release:
        """Release the members with noise added; see the class for the two modes."""
        values = members.flat().astype(np.float64)
        guarantee = None
        sigma: float | np.ndarray
        if self.epsilon is not None and self.clip_norm is not None:
            centre = 0.5 if members.kind == "image" else 0.0
            values = centre + clip_rows(values - centre, self.clip_norm)
            sigma = gaussian_sigma(self.epsilon, self.delta, 2 * self.clip_norm)
            guarantee = _guarantee(self.epsilon, self.delta, self.clip_norm, sigma)
        else:
            sigma = (self.scale or 0.0) * values.std(axis=0)
        values += sigma * context.rng("noise").standard_normal(values.shape)
        data = _like(members, values)
        return Release(
            records=members.replace(data=data, labels=members.labels.copy(), groups=None),
            guarantee=guarantee,
            origin=np.arange(len(members)),
            notes={"noise_std": float(np.mean(sigma))},
        )


def _guarantee(epsilon: float, delta: float, clip_norm: float, sigma: float) -> DifferentialPrivacy:
    return DifferentialPrivacy(
        epsilon=epsilon,
        delta=delta,
        accountant="analytic Gaussian mechanism (Balle & Wang 2018)",
        adjacency="replace",
        unit="record",
        public=("size", "labels"),
        details={
            "scope": "each released row by itself; several rows of one person compose",
            "sensitivity": 2 * clip_norm,
            "noise_std": sigma,
            "arithmetic": "floating point, not covered by the theorem",
        },
    )


def _like(members: Records, values: np.ndarray) -> np.ndarray:
    """``values`` (N, D), in the units of ``members.flat()``, as data of the same kind and shape."""
    if members.kind == "feature":
        return values.astype(np.float32)
    pixels = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    return pixels.reshape(members.data.shape)


def clip_rows(values: np.ndarray, norm: float) -> np.ndarray:
    """Rows of ``values`` (N, D) scaled down to a Euclidean norm of at most ``norm``; others as is."""
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return values * np.minimum(1.0, norm / np.maximum(norms, np.finfo(float).tiny))


def gaussian_delta(epsilon: float, sigma: float, sensitivity: float) -> float:
    """Smallest δ at which Gaussian noise is (ε, δ)-private (Balle & Wang 2018, theorem 8).

    δ(ε) = Φ(Δ/2σ − εσ/Δ) − e^ε·Φ(−Δ/2σ − εσ/Δ), evaluated in log space.

    Parameters
    ----------
    epsilon : float
        ≥ 0.
    sigma : float
        Standard deviation of the noise, > 0.
    sensitivity : float
        Δ: largest Euclidean change that one record can make, > 0.

    Returns
    -------
    float
        In [0, 1].
    """
    from scipy.special import log_ndtr

    half, shift = sensitivity / (2 * sigma), epsilon * sigma / sensitivity
    first = float(log_ndtr(half - shift))
    second = epsilon + float(log_ndtr(-half - shift))
    return float(-np.exp(first) * np.expm1(min(second - first, 0.0)))


def gaussian_sigma(epsilon: float, delta: float, sensitivity: float) -> float:
    """Smallest standard deviation that makes Gaussian noise (ε, δ)-private, to 1e-12 relative.

    The result is rounded to the safe side: ``gaussian_delta(epsilon, result, sensitivity) <= delta``.

    Parameters
    ----------
    epsilon : float
        > 0.
    delta : float
        In (0, 1).
    sensitivity : float
        > 0.
    """
    low, high = 1.0, 1.0
    while gaussian_delta(epsilon, high, 1.0) > delta:
        high *= 2
    while gaussian_delta(epsilon, low, 1.0) <= delta:
        low /= 2
    while high > low * (1 + 1e-12):
        middle = (low * high) ** 0.5
        if gaussian_delta(epsilon, middle, 1.0) > delta:
            low = middle
        else:
            high = middle
    return high * sensitivity
