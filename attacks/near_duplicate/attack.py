"""Near duplicates: released records nearer to a candidate than real records are to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from attacks.near_duplicate import image_search
from benchmark.contracts import (
    Attack,
    AttackInfo,
    Context,
    Field,
    NotApplicable,
    PositiveControl,
    Records,
    Resources,
    Scores,
    View,
)
from benchmark.learning.neighbours import nearest

__all__ = ["NearDuplicate"]

_MOST_FOLDS = 20

_Found = tuple[np.ndarray, np.ndarray]
"""Distances ``(n,) float64`` of queries to their nearest record of a gallery, and its row ``(n,) int64``."""


class NearDuplicate(Attack):
    """Flag a candidate that has a released record as near as real records hardly ever are, and the other way round.

    The threshold is a low quantile of the distance between an auxiliary record and the nearest of
    as many other auxiliary records as were released: the nearest of many is nearer than the nearest
    of few, so that only galleries of one size compare; and of other identities, since coins are
    tossed per identity and no other visit of a non-member is released. By construction a release of fresh real
    records flags a share ``quantile`` of any candidates. The rate among members is read against
    that among non-members, never alone.

    The other way round, each released record that is as near to a candidate as real records hardly
    ever are to the nearest of as many others is a copy of that candidate. A release of fresh
    real records holds a share ``quantile`` of such copies, half of them of members.

    Parameters
    ----------
    measure : str, default="euclidean"
        What is near: ``euclidean``, the distance of features or pixels; ``cosine``, the chord
        √(2 − 2 cos) between them, which no rescaling changes; and, on images alone, ``aligned``, pixels
        up to flips, shifts, crops and brightness; ``perceptual_hash``, differing bits of a hash of
        64, up to flips; ``ssim``, 1 − structural similarity, up to flips.
    quantile : float in (0, 0.5], default=0.01
        Share of real records that would be flagged by chance. Finer than one in the number of
        auxiliary records, or in a release many times larger than their number, it cannot be
        resolved, and more are flagged. Distances of ``perceptual_hash`` are whole numbers: the
        largest that flags no more than this share is taken, or 0 where already that flags more.
    shift : int in [0, 8], default=2
        Pixels by which an ``aligned`` copy may have moved, or a side of it have been cropped.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="near_duplicate",
        version="3",
        summary="Flags candidates with a released record nearer than real records are to another.",
        citation="Meehan, Chaudhuri, Dasgupta (2020), AISTATS, arXiv:2004.05675 (the idea)",
        positive_controls=(
            PositiveControl(method="identity", metric="flag_rate_members", at_least=0.99),
            PositiveControl(method="identity", metric="copy_rate_members", at_least=0.95),
        ),
        auxiliary="distances between its records, for the threshold",
        resources=Resources(time_s=3600.0),
    )

    measure: Literal["euclidean", "cosine", "aligned", "perceptual_hash", "ssim"] = Field(
        "euclidean", description="what is near; the last three need images"
    )
    quantile: float = Field(
        0.01, gt=0, le=0.5, description="share of real records that would be flagged by chance"
    )
    shift: int = Field(2, ge=0, le=8, description="pixels that an aligned copy may have moved")

    def positive_controls(self) -> tuple[PositiveControl, ...]:
        """Copies are flagged by every measure; few bits cannot always tell a copy's original from its like."""
        if self.measure != "perceptual_hash":
            return self.info.positive_controls
        flags, _ = self.info.positive_controls
        return flags, PositiveControl(method="identity", metric="copy_rate_members", at_least=0.8)

    def run(self, view: View, candidates: Records, auxiliary: Records, context: Context) -> Scores:
        """Score by minus the nearest distance in units of the threshold, and decide by it.

        Raises
        ------
        NotApplicable
            With auxiliary records of fewer than two identities, or features for a measure of images.
        """
        assert view.records is not None  # granted, as info.needs asks for it
        measure = self._measure(candidates, context.device)
        real = _RealDistances(measure, auxiliary, context.rng("near_duplicate"))
        private, released = measure.prepare(candidates), measure.prepare(view.records)
        threshold = real.threshold(self.quantile, len(released))
        limit = real.threshold(self.quantile, len(private), of_released=True)
        (distances, _), (apart, originals) = measure.both_ways(private, released)
        copied = apart <= limit
        return Scores(
            values=-distances / (threshold if threshold > 0 else 1.0),
            decisions=distances <= threshold,
            copies=np.where(copied, originals, -1),
            copy_distances=apart / (limit if limit > 0 else 1.0),
            notes={
                "threshold": threshold,
                "threshold_of_copies": limit,
                "copy_rate_by_chance": self.quantile,
            },
        )

    def _measure(self, records: Records, device: str) -> _Measure:
        if records.kind != "image" and self.measure in _OF_IMAGES:
            raise NotApplicable(
                f"near_duplicate(measure={self.measure!r}) compares pictures and got features. Give it "
                "`space: image` in the suite, or use measure 'euclidean' or 'cosine'."
            )
        return _MEASURES[self.measure](self.shift, device)


# ---------------------------------------------------------------- measures


@dataclass(frozen=True, kw_only=True)
class _Measure:
    """One measure of distance.

    ``prepare(records)`` gives one row for each record. ``to_released(private, released)`` finds the released row
    nearest to each private one, ``to_private(released, private)`` the other way round; they differ where only the
    released record may have been altered. ``both_ways(private, released)`` gives the two. ``whole``: distances are
    whole numbers.
    """

    prepare: Callable[[Records], np.ndarray]
    to_released: Callable[[np.ndarray, np.ndarray], _Found]
    to_private: Callable[[np.ndarray, np.ndarray], _Found]
    both_ways: Callable[[np.ndarray, np.ndarray], tuple[_Found, _Found]]
    whole: bool = False


def _symmetric(
    prepare: Callable[[Records], np.ndarray],
    search: Callable[[np.ndarray, np.ndarray], _Found],
    whole: bool = False,
) -> _Measure:
    """A measure in which either record may have been altered."""

    def both_ways(private: np.ndarray, released: np.ndarray) -> tuple[_Found, _Found]:
        return search(private, released), search(released, private)

    return _Measure(
        prepare=prepare, to_released=search, to_private=search, both_ways=both_ways, whole=whole
    )


def _vectors(prepare: Callable[[Records], np.ndarray], device: str) -> _Measure:
    def search(queries: np.ndarray, gallery: np.ndarray) -> _Found:
        distances, rows = nearest(queries, gallery, device=device)
        return distances[:, 0], rows[:, 0]

    return _symmetric(prepare, search)


def _directions(records: Records) -> np.ndarray:
    """Vectors of unit norm; zero stays zero."""
    vectors = records.flat().astype(np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=vectors, where=norms > 0)


def _pixels(records: Records) -> np.ndarray:
    return records.data


def _aligned(shift: int, device: str) -> _Measure:
    def to_released(private: np.ndarray, released: np.ndarray) -> _Found:
        return image_search.nearest_aligned(private, released, shift=shift, device=device)

    def to_private(released: np.ndarray, private: np.ndarray) -> _Found:
        return image_search.nearest_aligned(
            released, private, shift=shift, altered="queries", device=device
        )

    def both_ways(private: np.ndarray, released: np.ndarray) -> tuple[_Found, _Found]:
        return image_search.nearest_aligned_both_ways(private, released, shift=shift, device=device)

    return _Measure(
        prepare=_pixels, to_released=to_released, to_private=to_private, both_ways=both_ways
    )


def _perceptual_hash(shift: int, device: str) -> _Measure:
    def prepare(records: Records) -> np.ndarray:
        return image_search.perceptual_hash(records.data)

    return _symmetric(prepare, image_search.nearest_hash, whole=True)


def _ssim(shift: int, device: str) -> _Measure:
    def search(queries: np.ndarray, gallery: np.ndarray) -> _Found:
        return image_search.nearest_ssim(queries, gallery, device=device)

    return _symmetric(_pixels, search)


_MEASURES: Mapping[str, Callable[[int, str], _Measure]] = {
    "euclidean": lambda shift, device: _vectors(Records.flat, device),
    "cosine": lambda shift, device: _vectors(_directions, device),
    "aligned": _aligned,
    "perceptual_hash": _perceptual_hash,
    "ssim": _ssim,
}

_OF_IMAGES = ("aligned", "perceptual_hash", "ssim")


# ---------------------------------------------------------------- thresholds


class _RealDistances:
    """Distances between auxiliary records of different identities: how near real records come.

    Raises
    ------
    NotApplicable
        With records of fewer than two identities.
    """

    def __init__(self, measure: _Measure, auxiliary: Records, rng: np.random.Generator) -> None:
        identities = np.arange(len(auxiliary)) if auxiliary.groups is None else auxiliary.groups
        n_identities = len(np.unique(identities))
        if n_identities < 2:
            raise NotApplicable(
                "near_duplicate takes its threshold from distances between auxiliary records and "
                f"needs two or more, of two or more identities. Got {len(auxiliary)} of "
                f"{n_identities}; raise the suite's share of auxiliary records."
            )
        self.measure = measure
        self.records = measure.prepare(auxiliary)
        self.folds = _folds_of_identities(identities, rng)

    def threshold(self, quantile: float, n_gallery: int, *, of_released: bool = False) -> float:
        """The quantile of the distance to the nearest of ``n_gallery`` real records.

        ``of_released``: of a record that plays a released one among private ones, instead of the other way round.
        """
        search = self.measure.to_private if of_released else self.measure.to_released
        distances, n_met = _nearest_in_next(self.records, self.folds, n_gallery, search)
        level = _adjusted_level(quantile, n_met, n_gallery)
        return (_whole_quantile if self.measure.whole else _unbiased_quantile)(distances, level)


def _folds_of_identities(identities: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows in at most ``_MOST_FOLDS`` random folds, ``[(rows,), …]``, no identity in two of them."""
    distinct, identity = np.unique(identities, return_inverse=True)
    n_folds = min(len(distinct), _MOST_FOLDS)
    fold = (rng.permutation(len(distinct)) % n_folds)[identity]
    return [np.flatnonzero(fold == f) for f in range(n_folds)]


def _nearest_in_next(
    records: np.ndarray,
    folds: list[np.ndarray],
    n_gallery: int,
    search: Callable[[np.ndarray, np.ndarray], _Found],
) -> tuple[np.ndarray, float]:
    """Distance of each record to the nearest of ``n_gallery`` records of the folds after its own.

    Each fold meets other records, so that the threshold for a small release does not hang on where
    a few records happen to lie.

    Returns
    -------
    distances : ndarray of shape (n,), float64
        In no particular order.
    size : float
        Mean size of the galleries, below ``n_gallery`` where there are too few records.
    """
    distances, sizes = [], []
    for f, fold in enumerate(folds):
        gallery = np.concatenate(folds[f + 1 :] + folds[:f])[:n_gallery]
        distances.append(search(records[fold], records[gallery])[0])
        sizes.append(len(gallery))
    return np.concatenate(distances), float(np.mean(sizes))


def _unbiased_quantile(distances: np.ndarray, level: float) -> float:
    """The order statistic at ``level · (n + 1)``, below which a further draw falls at that rate.

    NumPy's default lies higher: at level 0.01 of 300 distances, a third more would be flagged.
    Where the level is finer than 1/(n + 1) this is the smallest distance, and the rate 1/(n + 1).
    """
    return float(np.quantile(distances, level, method="weibull"))


def _whole_quantile(distances: np.ndarray, level: float) -> float:
    """The largest whole number that at most a share ``level`` of distances do not exceed; at least 0."""
    counts = np.cumsum(np.bincount(distances.astype(np.int64)))
    within = np.flatnonzero(counts <= level * (len(distances) + 1))
    return float(within[-1]) if len(within) else 0.0


def _adjusted_level(level: float, n_gallery: float, n_released: int) -> float:
    """The level, in a gallery of ``n_gallery``, of the distance at ``level`` in ``n_released``.

    A record lies within t of none of n others with probability (1 − p(t))ⁿ, hence
    1 − level = (1 − adjusted)^(n_released / n_gallery). Exact where p does not vary over records,
    and to first order in the level where it does.
    """
    return float(-np.expm1(np.log1p(-level) * n_gallery / n_released))
