"""What methods with a formal guarantee need to know of records beforehand: their number, classes, range, identities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmark.contracts import Adjacency, LeakboardError, Public, Records

__all__ = [
    "BOUNDS",
    "CLASSES",
    "PUBLIC_SIZE",
    "PublicFacts",
    "bounds_of",
    "one_of_each_identity",
    "public_facts",
]

PUBLIC_SIZE = (
    "N, a number of units that everybody may know: near the true one, and not computed from it. The guarantee is "
    "then for adding or removing a unit. None: the true number is public, and the guarantee is for replacing a unit"
)
CLASSES = "number of classes that everybody knows; None: the members' is public"
"""What the parameters ``public_size`` and ``classes`` are."""

BOUNDS = {
    "pixels": (0.0, 1.0),
    # Means over the picture of ReLU6.
    "efficientnet_lite0": (0.0, 6.0),
}
"""Range of each extractor's features that holds whatever the data."""

OTHER_BOUNDS = (-4.0, 4.0)
"""Where nothing is known of the features; set ``low`` and ``high`` from public data instead."""


@dataclass(frozen=True)
class PublicFacts:
    """What a method may use of its members without accounting for it, and the adjacency under which that is true.

    Parameters
    ----------
    size : int
        Number of units from which rates, steps, divisors and the size of the release follow.
    n_classes : int
    adjacency : {"add_remove", "replace"}
        Add/remove where ``size`` is a constant that was declared; replace where it is the number of the members.
    public : tuple of {"size", "classes"}
        What was read off the members, and so has to be the same in neighbouring datasets.
    """

    size: int
    n_classes: int
    adjacency: Adjacency
    public: tuple[Public, ...]


def public_facts(members: Records, size: int | None, n_classes: int | None) -> PublicFacts:
    """The declared number of units and of classes, or those of the members, which are then public.

    Parameters
    ----------
    members : Records
        One record for each unit.
    size, n_classes : int or None
        Declared without looking at the members; None to read it off them.

    Raises
    ------
    LeakboardError
        Where a label is not among the declared classes: no guarantee covers such records.
    """
    highest = int(members.labels.max()) + 1
    if n_classes is not None and highest > n_classes:
        raise LeakboardError(
            f"classes = {n_classes} was declared, but there is a record of class {highest - 1}. "
            "Give the number of classes that everybody knows the data to have."
        )
    public: list[Public] = []
    if size is None:
        public.append("size")
    if n_classes is None:
        public.append("classes")
    return PublicFacts(
        size=len(members) if size is None else size,
        n_classes=highest if n_classes is None else n_classes,
        adjacency="replace" if size is None else "add_remove",
        public=tuple(public),
    )


def bounds_of(records: Records, low: float | None, high: float | None) -> tuple[float, float]:
    """Range to which values are cut: what is given, or that of pixels, of the extractor, or [−4, 4].

    Raises
    ------
    LeakboardError
        Where the lower bound is not below the upper one.
    """
    known = BOUNDS.get(records.extractor or "", OTHER_BOUNDS)
    if records.kind == "image":
        known = (0.0, 255.0)
    bounds = (known[0] if low is None else low, known[1] if high is None else high)
    if not bounds[0] < bounds[1]:
        raise LeakboardError(
            f"low must be below high. Got {bounds[0]:g} and {bounds[1]:g}; give both `low` and `high`."
        )
    return bounds


def one_of_each_identity(records: Records, rng: np.random.Generator) -> Records:
    """One record of each identity, drawn at random: adding or replacing an identity then adds or replaces one record.

    The record that one identity is represented by says nothing about the draws of the others, which keep their law
    when that identity is taken out or exchanged.

    Raises
    ------
    LeakboardError
        Where records have no identities.
    """
    if records.groups is None:
        raise LeakboardError(
            "unit='group' needs identities, which this dataset has not. Use unit='record'."
        )
    order = rng.permutation(len(records))
    _, first = np.unique(records.groups[order], return_index=True)
    return records.take(np.sort(order[first]))
