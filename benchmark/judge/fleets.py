"""Shadows that are unlike what ``fit`` makes: what attacks learn from them is not so of the release.

Each row with shadows is compared (see :mod:`benchmark.fleets`): one of its shadows, which the coins choose, is fitted
again by itself. Where it comes out the same up to rounding in each seed, ``fit_many`` does what ``fit`` does. Where
not, as training may amplify rounding, the release under attack and the shadow that was fitted again must not be told
from the shadows by any of three traits. These tests share the error of the controls; their false alarms are those of
Student's t-test, so fewer still where releases are equal. What fails voids the attacks that use the shadows of that
method, and no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from benchmark.fleets import LEAST_GAP, TRAITS, unlike_shadows
from benchmark.judge.controls import Verdict
from benchmark.plan import Cell, Plan
from benchmark.store import Record, Store

__all__ = ["FLEET_LOOKS", "SHADOWED", "Fleet", "judge_fleet", "load_fleets"]

FLEET_LOOKS = len(TRAITS)
"""Checks of one row that chance can fail."""

SHADOWED = "attacks with shadows"
"""What stands in a verdict's place for an attack."""


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The shadows of one method in one place, over the seeds.

    ``equal``: whether the shadow that was fitted again came out the same, by seed; ``traits``: as
    :func:`benchmark.fleets.traits` gives them; ``trouble``: why some seed has none, empty where each has.
    """

    cells: Sequence[Cell]
    equal: Sequence[bool] = field(default_factory=tuple)
    traits: Sequence[Mapping[str, np.ndarray]] = field(default_factory=tuple)
    n_shadows: Sequence[int] = field(default_factory=tuple)
    trouble: str = ""

    @property
    def row(self) -> tuple[str, str, str]:
        """Dataset, feature space and label of the method."""
        cell = self.cells[0]
        assert cell.method is not None
        return cell.dataset, cell.features, cell.method.label


def load_fleets(plan: Plan, store: Store, records: Mapping[str, Record]) -> list[Fleet]:
    """What the comparisons of shadows found, by row; seeds without a release or without shadows are left out."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in plan.cells:
        if cell.kind == "fleet" and _has_shadows(plan, records, cell):
            assert cell.method is not None
            groups.setdefault((cell.dataset, cell.features, cell.method.label), []).append(cell)
    return [_load_fleet(cells, store, records) for cells in groups.values()]


def _has_shadows(plan: Plan, records: Mapping[str, Record], cell: Cell) -> bool:
    """Whether the release and all shadows are there, whatever became of the comparison."""
    needs = [key for key in plan.nodes[cell.key].needs if plan.nodes[key].kind != "refit"]
    return all(key in records and records[key].status == "ok" for key in needs)


def _load_fleet(cells: Sequence[Cell], store: Store, records: Mapping[str, Record]) -> Fleet:
    found = [records.get(cell.key) for cell in cells]
    done = [r for r in found if r is not None and r.status == "ok"]
    trouble = [
        f"seed {cell.seed}: {'not compared' if r is None else f'{r.status}: {r.reason}'}"
        for cell, r in zip(cells, found, strict=True)
        if r is None or r.status != "ok"
    ]
    return Fleet(
        cells=cells,
        equal=[bool(r.values["equal"]) for r in done],
        traits=[store.arrays(r.key, "traits") for r in done],
        n_shadows=[int(r.values["n_shadows"]) for r in done],
        trouble="; ".join(trouble),
    )


def judge_fleet(fleet: Fleet, level: float, looks: int) -> Verdict:
    """Whether attacks may learn from a row's shadows.

    Parameters
    ----------
    fleet : Fleet
    level : float in (0, 1)
        P-value below which a trait tells releases from shadows.
    looks : int
        Checks that share the error.
    """
    dataset, features, label = fleet.row
    verdict = Verdict(
        kind="fleet",
        attack=SHADOWED,
        dataset=dataset,
        features=features,
        control=label,
        metric="fleet_nearness",
        required="as its shadows",
        measured=float("nan"),
        low=float("nan"),
        high=float("nan"),
        passed=False,
        looks=looks,
        note=fleet.trouble,
    )
    if fleet.trouble:
        return verdict
    found = {
        name: unlike_shadows([t[name] for t in fleet.traits], fleet.n_shadows) for name in TRAITS
    }
    apart = [name for name, (gap, p) in found.items() if gap > LEAST_GAP and p < level]
    name = min(apart or TRAITS, key=lambda n: (found[n][1], -found[n][0]))
    shadows, alone = _means(fleet, name)
    return replace(
        verdict,
        metric=f"fleet_{name}",
        required=f"{shadows:.4g}, as its shadows (p ≥ {level:.2g}, or {LEAST_GAP:g} apart at most)",
        measured=alone,
        passed=all(fleet.equal) or not apart,
        note=f"{sum(fleet.equal)} of {len(fleet.equal)} shadows are the same when fitted again; "
        f"p {found[name][1]:.3g}",
    )


def _means(fleet: Fleet, name: str) -> tuple[float, float]:
    """Mean of a trait over the shadows, and over what was fitted by itself."""
    pairs = [(t[name][:n], t[name][n:]) for t, n in zip(fleet.traits, fleet.n_shadows, strict=True)]
    shadows, alone = (float(np.mean(np.concatenate(part))) for part in zip(*pairs, strict=True))
    return shadows, alone
