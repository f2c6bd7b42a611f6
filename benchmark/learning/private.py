"""What methods with a formal guarantee need to know of records beforehand: their range, and one for each identity."""

from __future__ import annotations

import numpy as np

from benchmark.contracts import LeakboardError, Records

__all__ = ["BOUNDS", "bounds_of", "one_of_each_identity"]

BOUNDS = {
    "pixels": (0.0, 1.0),
    # Means over the picture of ReLU6.
    "efficientnet_lite0": (0.0, 6.0),
}
"""Range of each extractor's features that holds whatever the data."""

OTHER_BOUNDS = (-4.0, 4.0)
"""Where nothing is known of the features; set ``low`` and ``high`` from public data instead."""


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
    """One record of each identity, drawn at random: adding an identity then adds one record.

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
