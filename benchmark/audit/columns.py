"""Columns of the metadata as attributes that a release may tell of its members beyond what it tells of controls.

A release may come with a table of its own: age, sex, diagnosis of each made-up record. An attacker who knows a part of
somebody's record looks for released records like it and reads their columns. That is the attack
``attribute_inference`` with the column in the place of the label, and is judged like it: guesses that are as good for
controls are what the release teaches of everybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmark.audit.given import Cohort
from benchmark.audit.inputs import AuditInputs
from benchmark.contracts import Access, Attack, Context, LeakboardError, Records, Scores, View
from benchmark.game import probes, unit_means
from benchmark.node import digest
from benchmark.registry import Registry

__all__ = ["ATTACK", "ColumnGuess", "guess_columns", "shared_names", "without_missing"]

ATTACK = "attribute_inference"

BINS = 10
"""Numbers are guessed as one of so many ranges, each with as many released records."""

MOST_VALUES = 50
"""A column of more texts than these is free text, dates or names, and is not guessed."""

CONTROL = 0.95
"""Share of the members whose column must be guessed rightly where they are released as they are, as for labels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnGuess:
    """How well a column was guessed of each candidate; or ``why`` it was not.

    ``scores`` (m,) float64, NaN where a candidate has no value; ``right`` (m,) bool, whether the best guess is.
    """

    column: str
    scores: np.ndarray | None = None
    right: np.ndarray | None = None
    why: str = ""


def shared_names(inputs: AuditInputs) -> list[str]:
    """Columns that members and controls both have."""
    ours, theirs = (inputs.columns.get(role, {}) for role in ("members", "controls"))
    return [name for name in ours if name in theirs]


def guess_columns(
    inputs: AuditInputs, cohort: Cohort, label: str, registry: Registry, device: str = "cpu"
) -> Iterator[ColumnGuess]:
    """Guess every column that members and controls have from one release.

    Parameters
    ----------
    inputs : AuditInputs
    cohort : Cohort
        Who is a candidate.
    label : str
        Of the release.
    registry : Registry
        Has the attack.
    device : str
    """
    released = inputs.columns.get(f"release {label}", {})
    for name in shared_names(inputs):
        if name not in released:
            yield ColumnGuess(column=name, why="the release has no such column")
            continue
        values = _of_candidates(inputs, cohort, name)
        codes = _codes(released[name], values)
        if isinstance(codes, str):
            yield ColumnGuess(column=name, why=codes)
            continue
        yield _guessed(inputs, cohort, label, name, codes, registry, device)


def _of_candidates(inputs: AuditInputs, cohort: Cohort, name: str) -> np.ndarray:
    """The column's values of the candidates, ``(m,)`` text."""
    by_role = {role: inputs.columns[role][name] for role in ("members", "controls")}
    rows = cohort.candidates
    pairs = zip(cohort.origin[rows], cohort.rows[rows], strict=True)
    return np.array([str(by_role[str(role)][row]) for role, row in pairs])


def _codes(released: np.ndarray, ours: np.ndarray) -> tuple[np.ndarray, np.ndarray] | str:
    """Both sides' values as numbers of classes, −1 where there is none; or why they cannot be."""
    theirs = np.array([str(v) for v in released])
    known, numbers = theirs[theirs != ""], (_numbers(theirs), _numbers(ours))
    if len(np.unique(known)) < 2:
        return "all released records have one value"
    if len(np.unique(ours[ours != ""])) < 2:
        return "all candidates have one value"
    if numbers[0] is not None and numbers[1] is not None and len(np.unique(known)) > BINS:
        given = numbers[0][~np.isnan(numbers[0])]
        edges = np.unique(np.quantile(given, np.arange(1, BINS) / BINS))
        return _binned(numbers[0], edges), _binned(numbers[1], edges)
    names = np.unique(np.concatenate([known, ours[ours != ""]]))
    if len(names) > MOST_VALUES:
        return f"more than {MOST_VALUES} texts: names, dates or free text"
    coded = [
        np.where(v == "", -1, np.searchsorted(names, v)).astype(np.int64) for v in (theirs, ours)
    ]
    return coded[0], coded[1]


def _binned(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The range of each number, −1 for NaN."""
    return np.where(np.isnan(values), -1, np.searchsorted(edges, values, side="right"))


def _numbers(values: np.ndarray) -> np.ndarray | None:
    """Texts as numbers, NaN for empty ones; None where one is no finite number."""
    try:
        found = np.array([float(v) if v else np.nan for v in values])
    except ValueError:
        return None
    return found if np.isfinite(found[values != ""]).all() else None


def _guessed(
    inputs: AuditInputs,
    cohort: Cohort,
    label: str,
    name: str,
    codes: tuple[np.ndarray, np.ndarray],
    registry: Registry,
    device: str,
) -> ColumnGuess:
    theirs, ours = codes
    candidates = cohort.pool.take(cohort.candidates)
    context = Context(seed=int(digest([inputs.content, "column", name])[:15], 16), device=device)
    attack = registry.make("attacks", ATTACK)
    assert isinstance(attack, Attack)

    def guesses(released: Records, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        known, asked = kinds >= 0, ours >= 0
        view = View(
            access=Access.RECORDS,
            records=released.take(np.flatnonzero(known)).replace(labels=kinds[known], groups=None),
        )
        whom = candidates.take(np.flatnonzero(asked)).replace(labels=ours[asked], groups=None)
        answer = attack.run(view, whom, whom, context)  # it asks nothing of the population
        assert isinstance(answer, Scores) and answer.decisions is not None
        scores, right = np.full(len(ours), np.nan), np.zeros(len(ours), dtype=bool)
        scores[asked], right[asked] = answer.values, answer.decisions
        return scores, right

    try:
        members = cohort.coins
        _, sure = guesses(candidates.take(np.flatnonzero(members)), ours[members])
        if sure[members & (ours >= 0)].mean() < CONTROL:
            return ColumnGuess(
                column=name,
                why="does not count: it is not guessed rightly even of members who are released as they are",
            )
        scores, right = guesses(inputs.releases[label], theirs)
    except LeakboardError as error:
        return ColumnGuess(column=name, why=str(error))
    return ColumnGuess(column=name, scores=scores, right=right)


def without_missing(
    scores: np.ndarray, units: np.ndarray, coins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Coins and mean scores of the units that have one: ``(u,) bool`` and ``(u,) float64``."""
    means = unit_means(scores, units)
    known = ~np.isnan(means)
    return coins[probes(units)][known], means[known]
