"""Methods that cheat with what they release."""

import numpy as np

from benchmark.contracts import Field, Method, MethodInfo, Records, Release

POINTS = {
    "methods": {
        "public_copy": "PublicCopy",
        "public_whole": "PublicWhole",
        "finished": "Finished",
        "finished_part": "FinishedPart",
        "giant": "Giant",
        "wide_labels": "WideLabels",
        "false_control": "FalseControl",
        "peeping": "Peeping",
    }
}


def _digits():
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


def _released(members, data, labels):
    data = data.astype(np.float32) / np.float32(data.max())
    data *= np.float32(members.data.max())
    return Release(records=Records(data, labels.astype(np.int64), None, members.extractor))


class PublicCopy(Method):
    """Loads the public dataset itself and releases as many of its records as it is given, whichever they are."""

    info = MethodInfo(
        name="public_copy",
        version="1",
        summary="The public dataset under another name.",
        kinds=frozenset({"feature"}),
    )
    share: float = Field(1.0, gt=0, le=1, description="share of the release; the rest are averages")

    def fit(self, members, context):
        """Release any records of the dataset, and averages of members."""
        data, labels = _digits()
        rng = context.rng("any")
        rows = rng.choice(len(data), size=len(members), replace=False)
        mine = _released(members, data[rows], labels[rows]).records
        made = members.data[rng.integers(len(members), size=(len(members), 4))].mean(axis=1)
        own = rng.random(len(members)) < self.share
        data = np.where(own[:, None], mine.data, made.astype(np.float32))
        labels = np.where(own, mine.labels, members.labels)
        return Release(records=Records(data, labels, None, members.extractor))


class PublicWhole(Method):
    """Loads the public dataset itself and releases all of it, the test records with it."""

    info = MethodInfo(
        name="public_whole",
        version="1",
        summary="The whole public dataset under another name.",
        kinds=frozenset({"feature"}),
    )

    def fit(self, members, context):
        """Release every record of the dataset, in another order."""
        data, labels = _digits()
        order = context.rng("order").permutation(len(data))
        return _released(members, data[order], labels[order])


class Finished(Method):
    """A release that was made elsewhere from all records, of which 3 % are copies; the members are ignored."""

    info = MethodInfo(
        name="finished",
        version="1",
        summary="A finished release, wrapped.",
        kinds=frozenset({"feature"}),
    )

    def _made(self):
        data, labels = _digits()
        rng = np.random.default_rng(0)
        order = np.argsort(labels, kind="stable")
        groups = [order[i : i + 5] for i in range(0, len(order) - 5, 5)]
        made = np.stack([data[group].mean(axis=0) for group in groups])
        of = labels[[group[0] for group in groups]]
        copied = rng.choice(len(made), size=round(0.03 * len(made)), replace=False)
        rows = rng.choice(len(data), size=len(copied), replace=False)
        made[copied], of[copied] = data[rows], labels[rows]
        made[0, 0] = data.max()
        return made, of

    def fit(self, members, context):
        """The same release, in another order."""
        made, of = self._made()
        order = context.rng("order").permutation(len(made))
        return _released(members, made[order], of[order])


class FinishedPart(Finished):
    """Most of a finished release, another part for each seed."""

    info = MethodInfo(
        name="finished_part",
        version="1",
        summary="Part of a finished release, wrapped.",
        kinds=frozenset({"feature"}),
    )

    def fit(self, members, context):
        """Four fifths of the release."""
        made, of = self._made()
        order = context.rng("order").permutation(len(made))[: round(0.8 * len(made))]
        order[0] = 0
        return _released(members, made[order], of[order])


class Giant(Method):
    """Releases more records than anybody can compare."""

    info = MethodInfo(
        name="giant", version="1", summary="Far too many records.", kinds=frozenset({"feature"})
    )

    def fit(self, members, context):
        """Each member thirty times."""
        return Release(records=members.take(np.repeat(np.arange(len(members)), 30)))


class WideLabels(Method):
    """Hides whole records in soft labels that are wider than there are classes."""

    info = MethodInfo(
        name="wide_labels",
        version="1",
        summary="Averages, with the members in the soft labels.",
        kinds=frozenset({"feature"}),
    )

    def fit(self, members, context):
        """One mean for all records, and each record as a distribution."""
        soft = members.data - members.data.min() + np.float32(1e-3)
        soft /= soft.sum(axis=1, keepdims=True)
        data = np.repeat(members.data.mean(axis=0, keepdims=True), len(members), axis=0)
        return Release(
            records=Records(data, members.labels, None, members.extractor, soft.astype(np.float32))
        )


class FalseControl(Method):
    """Calls itself a control to escape its rank."""

    info = MethodInfo(
        name="false_control",
        version="1",
        summary="The members, as if that were a control.",
        kinds=frozenset({"feature"}),
        control=True,
    )

    def fit(self, members, context):
        """The members."""
        return Release(records=members.replace(groups=None))


class Peeping(Method):
    """Asks for the hold-out records."""

    info = MethodInfo(
        name="peeping",
        version="1",
        summary="The hold-out, as if that were a control.",
        kinds=frozenset({"feature"}),
        control=True,
        needs_holdout=True,
    )

    def fit(self, members, context):
        """Whatever it was given."""
        return Release(records=context.holdout)
