"""A normal distribution for each class: the generator that every other one has to beat.

Class means are what a linear classifier learns most from, and the leading principal components hold most of what
is left. A method that costs minutes of training must do better than what costs a decomposition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from benchmark.contracts import (
    Access,
    Context,
    Field,
    Method,
    MethodInfo,
    Records,
    Release,
    Saved,
)
from benchmark.learning.sampling import as_images, labels_to_draw, scaled_counts
from benchmark.learning.spread import Spread

__all__ = ["ClassGaussian"]

_DRAWN_AT_ONCE = 4096  # bounds memory


class ClassGaussian(Method):
    """Releases draws of a normal distribution fitted to each class.

    A class's covariance is that of its leading principal components, and for each feature the variance that these
    leave over: Σ = V Λ Vᵀ + diag(r). The release has the members' class counts times ``release_size``; ``sample``
    draws labels from the members' shares of the classes. A class of one member has the variance of all members about
    their classes' means, so that it is not released as it is. Pixels are rounded and cut to 0 … 255.

    What it keeps of its members, and the release shows: class counts, means, components and variances. No formal
    guarantee. Components of few members are these members': with some 50 of them a class (EfficientNet features of
    Fashion-MNIST, one seed) the attack ``mahalanobis`` tells members with an AUC of .88 at 16 components, .98 at 30 and
    .54 at none, where distances to released records show .52 to .60. With as many components as members the
    covariance is the members' own (``full_covariance`` is that leak, planted).
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="class_gaussian",
        version="1",
        summary="Draws of one normal distribution a class: leading components and a diagonal.",
        citation="Tipping & Bishop (1999), Journal of the Royal Statistical Society B 61, with a diagonal",
        offers=Access.SAMPLER,
    )

    components: int = Field(
        16, ge=0, description="principal components of each class; 0 for a diagonal covariance"
    )
    release_size: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="records released, in multiples of the members"
    )

    def fit(self, members: Records, context: Context) -> Release:
        """Fit the classes and draw the release."""
        state = _fitted(members, self.components)
        sample = _Draws(state, members)
        counts = state["class_counts"]
        labels = np.repeat(np.arange(len(counts)), scaled_counts(counts, self.release_size))
        return Release(
            records=sample(len(labels), labels, context.rng("release")), state=state, sample=sample
        )

    def restore(self, saved: Saved, context: Context) -> Release:
        """The same distributions; draws are those of the fitted release, bit for bit."""
        return Release(
            records=saved.records, state=saved.state, sample=_Draws(saved.state, saved.records)
        )


def _fitted(members: Records, components: int) -> dict[str, np.ndarray]:
    """Of C classes in D dimensions: counts ``(C,)``, means and left-over deviations ``(C, D)``, axes ``(C, q, D)``.

    Axes have the length of the standard deviation along them, and are zero where a class has fewer.
    """
    flat = members.data.reshape(len(members), -1).astype(np.float64)
    counts = np.bincount(members.labels)
    means, rest = np.zeros((2, len(counts), flat.shape[1]))
    axes = np.zeros((len(counts), min(components, flat.shape[1]), flat.shape[1]))
    about_means = flat.copy()
    for label in np.flatnonzero(counts):
        rows = members.labels == label
        spread = Spread.of(flat[rows])
        means[label] = spread.mean
        about_means[rows] -= spread.mean
        scaled = (spread.axes * np.sqrt(spread.variances)[:, None])[: axes.shape[1]]
        axes[label, : len(scaled)] = scaled
        total = about_means[rows].var(axis=0, ddof=1) if rows.sum() > 1 else 0.0
        rest[label] = np.maximum(total - (scaled**2).sum(axis=0), 0.0)
    freedom = max(len(flat) - np.count_nonzero(counts), 1)
    rest[counts == 1] = (about_means**2).sum(axis=0) / freedom
    return {
        "class_counts": counts,
        "means": means,
        "axes": axes.astype(np.float32),
        "rest": np.sqrt(rest),
    }


class _Draws:
    """Draws records of the fitted classes, of the shape, kind and extractor of ``like``."""

    def __init__(self, state: Mapping[str, np.ndarray], like: Records) -> None:
        self.state = state
        self.shape = like.data.shape[1:]
        self.images = like.kind == "image"
        self.extractor = like.extractor

    def __call__(self, n: int, labels: np.ndarray | None, rng: np.random.Generator) -> Records:
        """``n`` records of the given ``labels (n,) int64``, or of drawn ones.

        Raises
        ------
        LeakboardError
            For a label that no member has.
        """
        labels = labels_to_draw(n, labels, self.state["class_counts"], rng)
        data = np.empty((n, *self.shape), np.uint8 if self.images else np.float32)
        for start in range(0, n, _DRAWN_AT_ONCE):
            rows = slice(start, start + _DRAWN_AT_ONCE)
            made = self._values(labels[rows], rng)
            data[rows] = as_images(made, self.shape) if self.images else made
        return Records(data, labels, extractor=self.extractor)

    def _values(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """``(n, D) float64``."""
        means, axes, rest = (self.state[name] for name in ("means", "axes", "rest"))
        along = rng.standard_normal((len(labels), axes.shape[1]))
        values = rng.standard_normal((len(labels), means.shape[1])) * rest[labels] + means[labels]
        for label in np.unique(labels):
            rows = labels == label
            values[rows] += along[rows] @ axes[label]
        return values
