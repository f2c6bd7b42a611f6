"""How good reconstructions are: faithful to what was released, and near to private candidates.

Two questions that must not be mixed up. *Fidelity* compares a reconstruction with the released record that the attack
aimed at: whether the attack works at all. *Nearness* compares it with the candidates: what that says of private
records. Measured where the attack ran, without the coins; :mod:`benchmark.judge.reconstructions` tells members from
non-members.
"""

from __future__ import annotations

import numpy as np

from benchmark.contracts import Records
from benchmark.learning.image_quality import psnr, ssim
from benchmark.learning.neighbours import nearest

__all__ = ["candidate_nearness", "fidelity"]

# A candidate is a member by a fair coin: the chance that the 24 nearest are all on one side is 1.2e-7.
_MOST_NEIGHBOURS, _LEAST_NEIGHBOURS = 24, 8
# Pixels compared for structural similarity, at most, which bounds the time on large images.
_PIXELS = 5e8
# Numbers of pairs held at once, which bounds the memory: in double precision, and a few times.
_AT_ONCE = 1 << 22


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
