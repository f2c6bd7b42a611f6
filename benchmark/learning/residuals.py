"""Residuals about class means, whitened: in them a record shows in averages that it went into, however far away."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmark.contracts import Records
from benchmark.learning.density import shrunk_whitening
from benchmark.learning.scores import largest_cosine

__all__ = ["class_residuals", "distinct", "residual_cosine"]


def distinct(records: Records) -> tuple[np.ndarray, np.ndarray]:
    """Distinct released vectors and their labels; k-anonymous releases repeat each vector k times."""
    labelled = np.concatenate([records.labels[:, None].astype(np.float32), records.flat()], axis=1)
    _, first = np.unique(labelled, axis=0, return_index=True)
    return records.flat()[first], records.labels[first]


def class_residuals(
    known: np.ndarray, known_labels: np.ndarray, released: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both about the known records' class means, float64; about the mean of all in unknown classes."""
    known, released = known.astype(np.float64), released.astype(np.float64)
    overall = known.mean(axis=0)
    centred_known, centred_released = known - overall, released - overall
    for label in np.unique(known_labels):
        mean = known[known_labels == label].mean(axis=0)
        centred_known[known_labels == label] = known[known_labels == label] - mean
        centred_released[labels == label] = released[labels == label] - mean
    return centred_known, centred_released


def residual_cosine(candidates: Records, auxiliary: Records) -> Callable[[Records], np.ndarray]:
    """A function from a release to each candidate's largest cosine with a released residual of its class, ``(m,)``.

    Means within classes and the whitening are those of candidates and auxiliary records together, so that they are the
    same for every release. Candidates of a class without a release get 0.
    """
    known = np.concatenate([candidates.flat(), auxiliary.flat()])
    known_labels = np.concatenate([candidates.labels, auxiliary.labels])
    residuals, _ = class_residuals(known, known_labels, known[:0], known_labels[:0])
    if not residuals.any():
        return lambda release: np.zeros(len(candidates))
    whiten = shrunk_whitening(residuals)
    points = whiten(residuals[: len(candidates)])

    def score(release: Records) -> np.ndarray:
        released, labels = distinct(release)
        _, centred = class_residuals(known, known_labels, released, labels)
        centred = whiten(centred)
        values = np.zeros(len(points))
        for label in np.unique(candidates.labels):
            mine, theirs = candidates.labels == label, labels == label
            if theirs.any():
                values[mine] = largest_cosine(centred[theirs], points[mine])
        return values

    return score
