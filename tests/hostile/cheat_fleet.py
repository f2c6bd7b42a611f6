"""Methods whose shadow releases are unlike their release: shadow attacks learn from them what is not so."""

import itertools

import numpy as np

from benchmark.contracts import Method, MethodInfo, Release

POINTS = {
    "methods": {
        "swapped_fleet": "SwappedFleet",
        "vague_fleet": "VagueFleet",
        "weary_fleet": "WearyFleet",
        "giant_fleet": "GiantFleet",
        "wide_fleet": "WideFleet",
        "chancy_fleet": "ChancyFleet",
    }
}


class SwappedFleet(Method):
    """Copies with noise; a fleet gives each training set the release of another."""

    info = MethodInfo(
        name="swapped_fleet",
        version="1",
        summary="Copies with noise, and shadows that belong to others.",
        kinds=frozenset({"feature"}),
    )

    def fit(self, members, context):
        """Release the members with noise."""
        noise = context.rng("noise").normal(0, 0.2, members.data.shape)
        data = (members.data + noise * members.data.std()).astype("float32")
        return Release(records=members.replace(data=data, groups=None))

    def fit_many(self, members, contexts):
        """The releases in reverse order."""
        return super().fit_many(members, contexts)[::-1]


class VagueFleet(SwappedFleet):
    """Copies with noise; with much more of it in a fleet."""

    info = MethodInfo(
        name="vague_fleet",
        version="1",
        summary="Copies with noise, and shadows that hardly know their members.",
        kinds=frozenset({"feature"}),
    )

    def fit_many(self, members, contexts):
        """Releases of members that have noise of their own already."""
        return [self.fit(_noisier(m, c), c) for m, c in zip(members, contexts, strict=True)]


def _noisier(members, context):
    """The members with noise of two deviations of all their values."""
    noise = context.rng("more noise").normal(0, 2, members.data.shape)
    return members.replace(data=(members.data + noise * members.data.std()).astype("float32"))


FITS = itertools.count()


class WearyFleet(SwappedFleet):
    """Copies with noise, the first time in a process; later ones have much more of it. ``check`` sees no fleet."""

    info = MethodInfo(
        name="weary_fleet",
        version="1",
        summary="Copies with noise, and shadows that are fitted when it has grown weary.",
        kinds=frozenset({"feature"}),
    )

    fit_many = Method.fit_many

    def fit(self, members, context):
        """The members with noise, the more the later."""
        return super().fit(_noisier(members, context) if next(FITS) else members, context)


class GiantFleet(SwappedFleet):
    """Copies with noise, and shadows of more records than anybody can compare."""

    info = MethodInfo(
        name="giant_fleet",
        version="1",
        summary="Copies with noise, and giant shadows.",
        kinds=frozenset({"feature"}),
    )

    def fit_many(self, members, contexts):
        """Each member thirty times."""
        return [
            self.fit(own.take(np.repeat(np.arange(len(own)), 30)), context)
            for own, context in zip(members, contexts, strict=True)
        ]


class WideFleet(SwappedFleet):
    """Copies with noise, and shadows with soft labels that are wider than there are classes."""

    info = MethodInfo(
        name="wide_fleet",
        version="1",
        summary="Copies with noise, and shadows with wide soft labels.",
        kinds=frozenset({"feature"}),
    )

    def fit_many(self, members, contexts):
        """Soft labels of 64 classes."""
        made = []
        for own, context in zip(members, contexts, strict=True):
            found = self.fit(own, context).records
            soft = np.full((len(found), 64), 1 / 64, dtype=np.float32)
            made.append(Release(records=found.replace(soft_labels=soft)))
        return made


class ChancyFleet(SwappedFleet):
    """Honest, but no two fits are the same: each draws noise of its own, as fits do that run on many threads."""

    info = MethodInfo(
        name="chancy_fleet",
        version="1",
        summary="Copies with noise that no seed repeats.",
        kinds=frozenset({"feature"}),
    )

    fit_many = Method.fit_many

    def fit(self, members, context):
        """The members with noise from nowhere."""
        noise = np.random.default_rng().normal(0, 0.2, members.data.shape)
        data = (members.data + noise * members.data.std()).astype("float32")
        return Release(records=members.replace(data=data, groups=None))
