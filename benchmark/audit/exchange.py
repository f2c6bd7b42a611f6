"""Are members and controls exchangeable? Tests of what is known of each record: its class, date, source …

Under exchangeability, who is a member says nothing of a person's class, date or scanner. Each test shuffles membership
over people, so its p-value is exact whatever the column looks like, and people with many records count once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmark.audit.inputs import AuditInputs

__all__ = ["ERROR", "ColumnTest", "exchangeability", "shuffled_p_value"]

ERROR = 0.01
"""Chance, at most, that exchangeable controls are refused by any of the tests (Bonferroni)."""

SHUFFLES = 9_999
MOST_LEVELS = 50
"""Columns of text with more values than this, and more than a tenth of the people, are not tested but said."""

BINS = 10
"""Numbers are also compared by tenths, so that a difference in spread is seen too."""


@dataclass(frozen=True, kw_only=True)
class ColumnTest:
    """One column, tested. ``p_value`` is NaN where it is not tested, for the reason in ``note``.

    ``level`` is what the p-value is held against; a column in which it falls below is not exchangeable.
    """

    column: str
    kind: str
    p_value: float
    level: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the column does not tell members from controls."""
        return bool(np.isnan(self.p_value) or self.p_value >= self.level)


def exchangeability(inputs: AuditInputs, rng: np.random.Generator) -> tuple[ColumnTest, ...]:
    """Test class and every column that members and controls both have.

    Parameters
    ----------
    inputs : AuditInputs
        With controls.
    rng : numpy.random.Generator
        Of the shuffles.
    """
    members, controls = inputs.members, inputs.real["controls"]
    coins = np.repeat([True, False], [len(members), len(controls)])
    people = np.arange(len(coins))
    if members.groups is not None and controls.groups is not None:
        people = np.unique(np.concatenate([members.groups, controls.groups]), return_inverse=True)[
            1
        ]
    described = {}
    if len(inputs.classes) > 1:
        labels = np.concatenate([members.labels, controls.labels])
        described["class"] = np.array(inputs.classes)[labels]
    described |= _shared_columns(inputs.columns)
    matrices = {name: _described(values, people) for name, values in described.items()}
    n = sum(matrix is not None for _, matrix in matrices.values())
    level = ERROR / max(n, 1)
    first = np.unique(people, return_index=True)[1]
    return tuple(
        _tested(name, kind, matrix, coins[first], level, rng)
        for name, (kind, matrix) in matrices.items()
    )


def _shared_columns(columns: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    ours, theirs = columns.get("members", {}), columns.get("controls", {})
    return {name: np.concatenate([ours[name], theirs[name]]) for name in ours if name in theirs}


def _tested(
    name: str,
    kind: str,
    matrix: np.ndarray | None,
    coins: np.ndarray,
    level: float,
    rng: np.random.Generator,
) -> ColumnTest:
    if matrix is None:
        note = "not tested: free text" if kind == "text" else "not tested: one value"
        return ColumnTest(column=name, kind=kind, p_value=float("nan"), level=level, note=note)
    p_value = shuffled_p_value(matrix, coins, rng)
    return ColumnTest(column=name, kind=kind, p_value=p_value, level=level)


def shuffled_p_value(
    matrix: np.ndarray, coins: np.ndarray, rng: np.random.Generator, shuffles: int = SHUFFLES
) -> float:
    """How often shuffled coins tell the two sides apart at least as well, (1 + count) / (1 + shuffles).

    The statistic is the squared length of the sum of the members' rows. With rows of indicators, less the columns'
    means and divided by their roots, it orders shuffles as Pearson's χ² of the table does.

    Parameters
    ----------
    matrix : ndarray of shape (u, k), float64
        One row for each person; each column has mean 0.
    coins : ndarray of shape (u,), bool
    rng : numpy.random.Generator
    shuffles : int

    Returns
    -------
    float in (0, 1]
    """
    n = int(coins.sum())
    observed = float(np.square(matrix[coins].sum(axis=0)).sum())
    count = 0
    for start in range(0, shuffles, 500):
        size = min(500, shuffles - start)
        picked = np.argpartition(rng.random((size, len(coins))), n, axis=1)[:, :n]
        mask = np.zeros((size, len(coins)))
        np.put_along_axis(mask, picked, 1.0, axis=1)
        count += int((np.square(mask @ matrix).sum(axis=1) >= observed * (1 - 1e-9)).sum())
    return (1 + count) / (1 + shuffles)


def _described(values: np.ndarray, people: np.ndarray) -> tuple[str, np.ndarray | None]:
    """What kind of column it is, and a matrix for :func:`shuffled_p_value`; None where it cannot be tested."""
    numbers = _as_numbers(values)
    if numbers is not None:
        kind, levels = "number", _tenths(numbers)
    else:
        kind, levels = "category", np.unique(values, return_inverse=True)[1]
    n_levels, n_people = int(levels.max()) + 1, int(people.max()) + 1
    if n_levels < 2:
        return kind, None
    if kind == "category" and n_levels > max(MOST_LEVELS, n_people // 10):
        return "text", None
    counts = np.bincount(people).astype(float)
    indicators = np.zeros((n_people, n_levels))
    np.add.at(indicators, (people, levels), 1.0)
    indicators /= counts[:, None]
    shares = indicators.mean(axis=0)
    table = (indicators - shares) / np.sqrt(shares)
    if numbers is None:
        return kind, table
    ranks = _mid_ranks(np.bincount(people, weights=numbers) / counts)
    # The trend weighs as much as all tenths together: under exchangeability both parts have the same mean.
    trend = np.sqrt(n_levels - 1) * (ranks - ranks.mean()) / ranks.std()
    return kind, np.column_stack([table, trend])


def _mid_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, with ties in the middle."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[place]


def _tenths(numbers: np.ndarray) -> np.ndarray:
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.unique(np.searchsorted(edges, numbers, side="left"), return_inverse=True)[1]


def _as_numbers(values: np.ndarray) -> np.ndarray | None:
    """Numbers, or dates as days, where every value is one; None where the column holds categories."""
    import pandas as pd

    if (values == "").any():
        return None
    column = pd.Series(values)
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.notna().all():
        found = numbers.to_numpy(float)
        return found if np.isfinite(found).all() and len(np.unique(found)) > 2 else None
    dates = pd.to_datetime(column, errors="coerce", format="ISO8601", utc=True)
    if dates.notna().all():
        return (dates - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy() / 86_400
    return None
