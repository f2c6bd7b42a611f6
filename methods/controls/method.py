"""Controls: releases whose privacy is known beforehand, so that they calibrate the board.

``holdout`` gives nothing of the members away, ``identity`` gives everything, and ``gaussian_mean``
gives away what a closed form says. An attack or a split that contradicts them is void. The first two
have a sampler that draws their records again and a generator that knows them by heart, so that
attacks on samplers and on weights have their controls in every suite.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from benchmark.contracts import (
    Access,
    Context,
    Field,
    LeakboardError,
    Method,
    MethodInfo,
    NotApplicable,
    Records,
    Release,
    Saved,
)
from benchmark.learning.sampling import fresh_records

__all__ = ["GaussianMean", "Holdout", "Identity", "RandomAverages"]


class _Known(Method):
    """A release of real records with a sampler and a generator of just those, so that all attacks have controls."""

    def restore(self, saved: Saved, context: Context) -> Release:
        """The stored release, with its sampler and generator."""
        return _with_generator(Release(records=saved.records), context)


def _with_generator(release: Release, context: Context) -> Release:
    """Add a sampler that draws the records again, and a generator that knows them by heart."""
    from methods.controls.lookup import LookupGenerator

    records = release.records
    points = records.data.reshape(len(records), -1).astype(np.float32)
    weights = LookupGenerator(points, records.labels).to(context.device)
    return replace(release, sample=_Resample(records), weights=weights)


class _Resample:
    """Draws of ``records`` with replacement, of the given labels or of any."""

    def __init__(self, records: Records) -> None:
        self.records = records

    def __call__(self, n: int, labels: np.ndarray | None, rng: np.random.Generator) -> Records:
        """``n`` records.

        Raises
        ------
        LeakboardError
            For a label that no record has.
        """
        if labels is None:
            return self.records.take(rng.integers(len(self.records), size=n))
        rows = np.empty(n, dtype=np.int64)
        for label in np.unique(labels):
            own = np.flatnonzero(self.records.labels == label)
            if len(own) == 0:
                known = np.unique(self.records.labels).tolist()
                raise LeakboardError(f"labels must be among {known}. Got {int(label)}.")
            wanted = labels == label
            rows[wanted] = rng.choice(own, size=int(wanted.sum()))
        return self.records.take(rows)


class Holdout(_Known):
    """Releases fresh real records instead of the members: the utility ceiling and the chance level.

    The release has as many records as there are members, drawn without replacement, or all of the
    hold-out where it is smaller. It is independent of the members, so every attack must be at chance.
    It carries no formal guarantee: the people in the hold-out are released as they are.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="holdout",
        version="1",
        summary="Fresh real records, none of them a candidate: every attack must be at chance.",
        offers=Access.WEIGHTS,
        control=True,
        needs_holdout=True,
    )

    def fit(self, members: Records, context: Context) -> Release:
        """Release records of ``context.holdout``.

        Raises
        ------
        LeakboardError
            Where the context holds no hold-out.
        """
        records = fresh_records(len(members), context, "holdout")
        return _with_generator(Release(records=records), context)


class Identity(_Known):
    """Releases the members themselves: the positive control of most attacks."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="identity",
        version="1",
        summary="The members themselves, unchanged: attacks must succeed.",
        offers=Access.WEIGHTS,
        control=True,
    )

    def fit(self, members: Records, context: Context) -> Release:
        """Release a copy of ``members`` without their identities."""
        index = np.arange(len(members))
        records = members.take(index).replace(groups=None)
        return _with_generator(Release(records=records, origin=index), context)


class GaussianMean(Method):
    """Releases the mean of the members of each class: a leak with a closed-form answer.

    One record for each class that has members. With one class of ``n`` members, each drawn from an
    isotropic Gaussian in ``d`` dimensions, the best attack (the likelihood ratio, which amounts to a
    correlation with the mean) reaches AUC = Φ(√(d/n)/√2) on average over records [1]_.

    References
    ----------
    .. [1] Azize & Basu, "How Much Does Each Datapoint Leak Your Privacy?", 2024, arXiv 2402.10065:
       a record z leaks m = ‖z−μ‖²_{C⁻¹}/n, and AUC = Φ(√(m/2)); the mean of m is d/n.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="gaussian_mean",
        version="1",
        summary="The mean of the members of each class: leaks by a closed form.",
        citation="Azize & Basu 2024, arXiv 2402.10065",
        kinds=frozenset({"feature"}),
        control=True,
    )

    def fit(self, members: Records, context: Context) -> Release:
        """Release one mean for each class, in the order of the labels.

        Raises
        ------
        NotApplicable
            For images, whose mean would be rounded to whole grey levels.
        """
        if members.kind != "feature":
            raise NotApplicable("the 'gaussian_mean' control works on features. Got images.")
        classes = np.unique(members.labels)
        means = [members.data[members.labels == c].mean(axis=0, dtype=np.float64) for c in classes]
        data = np.stack(means).astype(np.float32)
        return Release(records=Records(data, classes, extractor=members.extractor))


class RandomAverages(Method):
    """Releases averages of ``k`` random records of a class: k-anonymous in form, and a leak.

    The members of each class are shuffled and dealt into groups of k (the last ones one larger
    where that does not come out even), and each group's mean is released. No released record is
    near a member, and distances tell little, yet in 128 dimensions each mean still correlates with
    every record in it: what k-anonymity bounds is linkage, not membership.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="random_averages",
        version="1",
        summary="Means of k random records of a class: far from members, and still a leak.",
        control=True,
    )

    k: int = Field(10, ge=2, description="records in an average")

    def fit(self, members: Records, context: Context) -> Release:
        """Release one mean for each group; images are rounded to whole grey levels."""
        rng = context.rng("groups")
        means, labels = [], []
        for label in np.unique(members.labels):
            rows = rng.permutation(np.flatnonzero(members.labels == label))
            groups = np.array_split(rows, max(1, len(rows) // self.k))
            means += [members.data[group].mean(axis=0, dtype=np.float64) for group in groups]
            labels += [label] * len(groups)
        data = np.stack(means)
        data = np.rint(data) if members.kind == "image" else data
        return Release(
            records=Records(
                data.astype(members.data.dtype),
                np.array(labels, np.int64),
                extractor=members.extractor,
            )
        )
