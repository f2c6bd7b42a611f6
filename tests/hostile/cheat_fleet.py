"""Methods whose shadow releases are unlike their release: shadow attacks learn from them what is not so."""

from benchmark.contracts import Method, MethodInfo, Release

POINTS = {"methods": {"swapped_fleet": "SwappedFleet", "vague_fleet": "VagueFleet"}}


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
        made = []
        for own, context in zip(members, contexts, strict=True):
            noise = context.rng("more noise").normal(0, 2, own.data.shape)
            data = (own.data + noise * own.data.std()).astype("float32")
            made.append(self.fit(own.replace(data=data), context))
        return made
