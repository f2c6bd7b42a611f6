"""Who is exposed: the units of a game, their subgroups, and how much each record gives away over the seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from benchmark import game as referee
from benchmark.judge.figures import Trial, Units, mean_over_seeds, trial_figure, trials_figure
from benchmark.statistics import (
    Estimate,
    Vulnerability,
    most_exposed,
    outlier_decile,
    vulnerability,
)
from benchmark.store import Store

__all__ = [
    "EXPOSED_COLUMNS",
    "SUBGROUP_METRICS",
    "UnitLoader",
    "exposure",
    "exposure_frame",
    "exposure_summary",
    "subgroup_figures",
    "subgroup_masks",
]

OUTLIERS = "outliers"
"""Name of the subgroup of records that lie far from the rest."""

SUBGROUP_METRICS = ("auc", "tpr@0.01")

EXPOSED_COLUMNS = (
    *("dataset", "features", "method", "method_params", "attack", "attack_params", "unit", "id"),
    *("exposure", "baseline", "lift", "runs_in", "runs_out"),
)
"""Columns of ``exposed.parquet``; see :class:`benchmark.statistics.Vulnerability`."""

LARGE_LIFT = 0.5
"""A lift at which a record outscores half of the non-members more when it is in than when it is out."""


# ---------------------------------------------------------------- units


@dataclass
class UnitLoader:
    """Reads who the units of a game are, each (records, game) once.

    The outliers are taken among the units' first candidates, in the space that the attack works in: other records of
    the same identity do not make it look less alone.
    """

    store: Store
    known: dict[tuple[str, str], Units] = field(default_factory=dict)
    pool: tuple[str, dict[str, np.ndarray]] = ("", {})

    def units(self, source: str, game: str) -> Units:
        """The units of the game with this key, described by the records of the node ``source``."""
        if (source, game) not in self.known:
            if self.pool[0] != source:
                self.pool = (source, self.store.arrays(source, "pool"))
            self.known[source, game] = _units(self.pool[1], self.store.arrays(game, "public"))
        return self.known[source, game]


def _units(pool: Mapping[str, np.ndarray], public: Mapping[str, np.ndarray]) -> Units:
    candidates, numbers = public["candidates"], public["units"]
    rows = candidates[referee.probes(numbers)]
    deciles = outlier_decile(pool["data"][rows].reshape(len(rows), -1))
    return Units(
        keys=public["owners"][referee.probes(numbers)],
        labels=pool["labels"][rows],
        outliers=deciles == 9,
        sizes=np.bincount(numbers),
        identities=_identities(
            numbers, pool.get("groups", np.arange(len(pool["labels"])))[candidates]
        ),
    )


def _identities(numbers: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """How many identities there are among the candidates of each unit, ``(u,) int64``."""
    owners = np.unique(np.stack([numbers, groups], axis=1), axis=0)[:, 0]
    return np.bincount(owners, minlength=int(numbers.max()) + 1)


# ---------------------------------------------------------------- subgroups


def subgroup_masks(units: Sequence[Units], classes: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """Subgroups by name: for each seed a mask ``(u,) bool`` of its units.

    Classes where there are several, the outliers, and the number of records of an identity where it differs.

    Parameters
    ----------
    units : sequence of Units
        One for each seed.
    classes : sequence of str
        Names of the labels.
    """
    found: dict[str, list[np.ndarray]] = {}
    if len(classes) > 1:
        for label, name in enumerate(classes):
            found[f"class {name}"] = [u.labels == label for u in units]
    found[OUTLIERS] = [u.outliers for u in units]
    sizes = [np.minimum(u.sizes, 3) for u in units]
    kinds = sorted({int(s) for seed in sizes for s in seed})
    if len(kinds) > 1:
        names = {1: "identities of 1 record", 2: "identities of 2 records"}
        for kind in kinds:
            name = names.get(kind, "identities of 3 or more records")
            found[name] = [s == kind for s in sizes]
    return found


def subgroup_figures(
    trials: Sequence[Trial], masks: Sequence[np.ndarray], metric: str, confidence: float
) -> tuple[list[Estimate], Estimate]:
    """One figure of a subgroup: of each seed, and over the seeds.

    Members of a subgroup are compared with its own non-members, so that a subgroup that merely scores differently is
    not taken to leak.
    """
    parts = [
        Trial(coins=t.coins[mask], scores=t.answered[mask])
        for t, mask in zip(trials, masks, strict=True)
    ]
    figures = [trial_figure(t, metric, confidence) for t in parts]
    if any(
        not f.resolved for f in figures
    ):  # a seed without members or without non-members of the subgroup
        return figures, mean_over_seeds(figures, confidence, (0.0, 1.0))
    return figures, trials_figure(parts, metric, confidence)


# ---------------------------------------------------------------- records


def exposure(trials: Iterable[Trial]) -> tuple[np.ndarray, Vulnerability]:
    """Exposure of each unit over the seeds in which it was a candidate.

    Seeds draw different candidates, so the shares that :func:`benchmark.statistics.vulnerability` takes within each
    seed are gathered by the unit's key.

    Parameters
    ----------
    trials : iterable of Trial
        With scores and units; seeds with fewer than two non-members are left out.

    Returns
    -------
    keys : ndarray of shape (n,), int64
    result : Vulnerability
        ``auc`` is NaN: a few seeds say nothing of a record's own curve.
    """
    keys, shares, coins = [], [], []
    for t in trials:
        if t.units is None or (~t.coins).sum() < 2:
            continue
        seed = vulnerability(t.answered[None], t.coins[None])
        keys.append(t.units.keys)
        shares.append(np.where(t.coins, seed.exposure, seed.baseline))
        coins.append(t.coins)
    if not keys:
        nothing = np.empty(0)
        return np.empty(0, dtype=np.int64), Vulnerability(
            *[nothing] * 4, *[nothing.astype(int)] * 2
        )
    unique, place = np.unique(np.concatenate(keys), return_inverse=True)
    share, coin = np.concatenate(shares), np.concatenate(coins)
    runs_in, runs_out = (np.bincount(place[c], minlength=len(unique)) for c in (coin, ~coin))
    with np.errstate(invalid="ignore", divide="ignore"):
        inside = np.bincount(place[coin], share[coin], len(unique)) / runs_in
        outside = np.bincount(place[~coin], share[~coin], len(unique)) / runs_out
    unknown = np.full(len(unique), np.nan)
    return unique, Vulnerability(inside, outside, inside - outside, unknown, runs_in, runs_out)


def exposure_frame(
    where: Mapping[str, str], keys: np.ndarray, result: Vulnerability
) -> pd.DataFrame:
    """The rows of ``exposed.parquet`` for one attack on one method."""
    figures = {name: getattr(result, name) for name in EXPOSED_COLUMNS[-5:]}
    return pd.DataFrame({**where, "id": keys, **figures})[list(EXPOSED_COLUMNS)]


def exposure_summary(
    keys: np.ndarray, result: Vulnerability, *, public: bool, n: int = 5
) -> dict[str, object]:
    """What the board says of a method's most exposed records.

    The list is a selection: among many records some rank high by luck. Where nothing leaks, a lift and its negative are
    equally likely, so the number of records whose lift lies as far below 0 says how many of those above may be luck.

    Parameters
    ----------
    public : bool
        Whether the records' ids may be named; else there are counts alone.
    n : int
        How many are listed.
    """
    judged = ~np.isnan(result.lift)
    top = most_exposed(result, n) if public else []
    return {
        "n_records": len(keys),
        "n_judged": int(judged.sum()),
        "large": LARGE_LIFT,
        "n_above": int((result.lift[judged] >= LARGE_LIFT).sum()),
        "n_below": int((result.lift[judged] <= -LARGE_LIFT).sum()),
        "public": public,
        "top": [
            {
                "id": int(keys[i]),
                **{
                    name: float(getattr(result, name)[i])
                    for name in ("lift", "exposure", "baseline")
                },
                **{name: int(getattr(result, name)[i]) for name in ("runs_in", "runs_out")},
            }
            for i in top
        ],
    }
