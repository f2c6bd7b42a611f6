"""Rows that cannot be judged: releases of records that the method cannot have seen, and releases that ignore members.

*Void*: a release holds more near-copies of unseen records (see :mod:`benchmark.provenance`) than fresh real records do.
Seeds are pooled. Given all near-copies, those of the release and those of the hold-out, how many are the release's is
binomial where both come by chance; its share is that of the pairs compared. The tests share the error of the controls.

*Not judged*: the releases for different members, of different seeds, are equal, or have half of their records in
common that are no real ones. So are those of one seed and of its decoy, other coins of the same candidates, where the
method has one: a single seed shows it too. A figure of membership says nothing of a release on which members have no
influence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmark.nodes import load_records
from benchmark.plan import Cell, Plan
from benchmark.provenance import fingerprints, multiset_digest
from benchmark.statistics import rate_excess_p_value
from benchmark.store import Record, Store

__all__ = [
    "ALL_MEMBERS",
    "NOT_JUDGED",
    "VOID",
    "Bar",
    "Origin",
    "Twin",
    "load_origins",
    "unmoved",
    "unseen_copies",
]

VOID, NOT_JUDGED = "void", "not judged"
"""Statuses of a row of the board, the stronger last: a release that ignores its members explains its copies."""

ALL_MEMBERS = "every record was a member: no coins were tossed, so utility is all that is measured"
"""Why a row is not judged where the suite asks for that."""

ALIKE = 0.5
"""Share of records that are no real ones, beyond which two releases for different members are the same release."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Why a row is not judged: the status that it gets, and the reason."""

    status: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Twin:
    """A method's release for other coins of one seed's candidates.

    ``digest`` and ``prints``: of the release as a multiset, and of its distinct records; ``overlap`` in [0, 1]: share
    of the fewer members that are members by both coins.
    """

    seed: int
    digest: str
    prints: np.ndarray
    overlap: float


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What is known of one method's releases in one place, over the seeds that have one, and of its decoy.

    ``cells``: those of one space; ``counts``: ``copies, exact, pairs, fresh_copies, fresh_pairs`` of each seed;
    ``digests`` and ``prints``: of each release as a multiset, and its distinct records that are no real ones.
    """

    cells: Sequence[Cell]
    space: str
    counts: Sequence[Mapping[str, int]] = field(default_factory=tuple)
    digests: Sequence[str] = field(default_factory=tuple)
    prints: Sequence[np.ndarray] = field(default_factory=tuple)
    twin: Twin | None = None

    @property
    def row(self) -> tuple[str, str, str]:
        """Dataset, feature space and label of the method."""
        cell = self.cells[0]
        assert cell.method is not None
        return cell.dataset, cell.features, cell.method.label

    def total(self, name: str) -> int:
        """Sum of a count over the seeds."""
        return sum(int(counts[name]) for counts in self.counts)


def load_origins(plan: Plan, store: Store, records: Mapping[str, Record]) -> list[Origin]:
    """What the nodes of provenance found, by row and space."""
    groups: dict[tuple[str, str, str, str], list[Cell]] = {}
    for cell in plan.cells:
        if cell.kind == "provenance" and cell.key in records and records[cell.key].status == "ok":
            assert cell.method is not None
            space = str(plan.nodes[cell.key].spec["space"])
            groups.setdefault((cell.dataset, cell.features, cell.method.label, space), []).append(
                cell
            )
    twins = _load_twins(plan, store, records)
    return [
        Origin(
            cells=cells,
            space=space,
            counts=[records[c.key].values for c in cells],
            digests=[str(records[c.key].values["multiset"]) for c in cells],
            prints=[store.arrays(c.key, "prints")["made"] for c in cells],
            twin=twins.get(row),
        )
        for row, cells in groups.items()
        for *_, space in [row]
    ]


def _load_twins(
    plan: Plan, store: Store, records: Mapping[str, Record]
) -> dict[tuple[str, str, str, str], Twin]:
    """The releases that decoys are, by row and the space that they were fitted in."""
    found: dict[tuple[str, str, str, str], Twin] = {}
    for cell in plan.cells:
        fitted = cell.kind == "decoy" and cell.fit in records and records[cell.fit].status == "ok"
        if not fitted or cell.method is None:
            continue
        space = str(plan.nodes[cell.fit].spec["space"])
        row = (cell.dataset, cell.features, cell.method.label, space)
        if row not in found:
            release = load_records(store, cell.fit, "release")
            secret = store.arrays(cell.game, "secret")
            ours, theirs = secret["coins"].astype(bool), secret["decoy"].astype(bool)
            found[row] = Twin(
                seed=cell.seed,
                digest=multiset_digest(release),
                prints=fingerprints(release),
                overlap=float((ours & theirs).sum() / max(min(ours.sum(), theirs.sum()), 1)),
            )
    return found


def unseen_copies(origin: Origin, level: float) -> Bar | None:
    """Why a row is void for what its release holds; None where that may be chance.

    Parameters
    ----------
    origin : Origin
    level : float in (0, 1)
        P-value below which the row is void.
    """
    copies, fresh = origin.total("copies"), origin.total("fresh_copies")
    pairs, fresh_pairs = origin.total("pairs"), origin.total("fresh_pairs")
    p = rate_excess_p_value(copies, pairs, fresh, fresh_pairs)
    if p >= level:
        return None
    released = sum(int(c["n_distinct"]) for c in origin.counts)
    what = f"{copies:,} of {released:,} distinct released {origin.space}s"
    return Bar(
        status=VOID,
        reason=f"released records it cannot have seen: {what} are near-copies of non-members, "
        f"validation, test or hold-out records ({origin.total('exact'):,} of them equal); "
        f"fresh real records have {fresh:,} in {fresh_pairs / pairs:.2g} times as many pairs (p = {p:.2g})",
    )


def unmoved(origin: Origin) -> Bar | None:
    """Why a row is not judged for what its releases have in common; None where they respond to the members."""
    n = len(origin.digests)
    for i in range(n):
        for j in range(i):
            seeds = f"seeds {origin.cells[j].seed} and {origin.cells[i].seed}"
            if origin.digests[i] == origin.digests[j]:
                why = f"its releases for the different members of {seeds} are equal"
                return Bar(status=NOT_JUDGED, reason=f"does not respond to its members: {why}")
            ours, theirs = origin.prints[i], origin.prints[j]
            fewest = min(len(ours), len(theirs))
            shared = len(np.intersect1d(ours, theirs))
            if fewest and shared >= ALIKE * fewest:
                why = f"{shared:,} of {fewest:,} made-up records are the same for the members of {seeds}"
                return Bar(status=NOT_JUDGED, reason=f"does not respond to its members: {why}")
    return _like_its_twin(origin)


def _like_its_twin(origin: Origin) -> Bar | None:
    """Why a row is not judged for its decoy, which shares about half of the members.

    A method that maps each record by itself may release as many equal records as there are members in common: what is
    beyond them must not be alike.
    """
    twin = origin.twin
    seeds = [cell.seed for cell in origin.cells]
    if twin is None or twin.seed not in seeds:
        return None
    i = seeds.index(twin.seed)
    shared = len(np.intersect1d(origin.prints[i], twin.prints))
    fewest = min(len(origin.prints[i]), len(twin.prints))
    whose = f"the members of seed {twin.seed} and of other coins of its candidates"
    if origin.digests[i] == twin.digest:
        why = f"its releases for {whose} are equal"
    elif fewest and shared >= (twin.overlap + ALIKE * (1 - twin.overlap)) * fewest:
        why = f"{shared:,} of {fewest:,} made-up records are the same for {whose}"
    else:
        return None
    return Bar(status=NOT_JUDGED, reason=f"does not respond to its members: {why}")
