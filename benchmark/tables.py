"""What a run comes to, as tables for a terminal of 80 columns or more: figures are never cut, names fold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from benchmark.judge.claims import Comparison

__all__ = ["board_tables", "claims_table", "interval", "plain_table"]

NARROW = 110
"""Columns of a terminal below which the board leaves out TPR, so that names have room."""

CLAIM_STYLES = {"reproduced": "green", "not reproduced": "red"}
ROW_STYLES = {"violation": "bold red", "leak": "red"}


def interval(value: float, low: float, high: float, between: str = " ") -> str:
    """``value``, and its limits after ``between``, as markup; NaN is no limit, and a value of NaN is a dash."""
    if value != value:
        return "–"
    inside = ""
    if low == low:
        inside = f"[{low:.3f}, {high:.3f}]" if high == high else f"[≥ {low:.3f}]"
    return f"{value:.3f}{between if inside else ''}{inside}".replace("[", r"\[")


def plain_table(*titles: str, whole: Collection[str] = (), title: str = "") -> Table:
    """A table without lines in which nothing is cut: columns fold, but for those whose cells stay ``whole``."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for name in titles:
        table.add_column(name, no_wrap=name in whole, overflow="fold")
    return table


def board_tables(ranked: Any, width: int) -> Iterator[tuple[Table, list[str]]]:
    """The leaderboard, a table for each dataset and feature space with the violations in it.

    Parameters
    ----------
    ranked : DataFrame
        As :func:`leaderboards.rank` gives it.
    width : int
        Columns of the terminal.
    """
    shown = ranked[ranked["worst_attack"].ne("") | ranked["utility_value"].notna()]
    for (dataset, features), rows in shown.groupby(["dataset", "features"], sort=False):
        titles = ["privacy", "method", "utility", "worst attack", "AUC", "TPR @ 1 % FPR", "ε ≥"]
        kept = [title for title in titles if width >= NARROW or not title.startswith("TPR")]
        whole = {*kept} - {"method", "worst attack"}
        table = plain_table(*kept, whole=whole, title=f"{dataset} · {features}")
        for _, row in rows.iterrows():
            cells = dict(zip(titles, _cells(row, width >= NARROW), strict=True))
            table.add_row(*(cells[title] for title in kept))
        violated = rows[rows["violation"].ne("")].itertuples()
        yield table, [f"{row.method_label}: {row.violation}" for row in violated]


def _cells(row: Any, with_tpr: bool) -> list[str]:
    rank = "control" if row["control"] else "–"
    if row["ranked"]:
        first, last = row["privacy_rank"], row["privacy_rank_to"]
        rank = str(first) if first == last else f"{first}–{last}"
    verdict = "violation" if row["violation"] else row["verdict"]
    style = ROW_STYLES.get(verdict, "dim")
    return [
        rank if row["control"] else f"{rank}\n[{style}]{verdict}[/]",
        escape(row["method_label"]),
        _figure(row, "utility_value", "utility_low", "utility_high"),
        "\n".join(_named(row, with_tpr)),
        _figure(row, "worst_auc", "worst_auc_low", "worst_auc_high"),
        _figure(row, "worst_tpr@0.01", "worst_tpr@0.01_low", "worst_tpr@0.01_high"),
        interval(row["epsilon_lower"], float("nan"), float("nan")),
    ]


def _figure(row: Any, value: str, low: str, high: str) -> str:
    """A figure with its limits below it."""
    return interval(row[value], row[low], row[high], between="\n")


def _named(row: Any, with_tpr: bool) -> Iterable[str]:
    """The attack with the largest AUC, and those of the other figures where they are others."""
    yield escape(row["worst_attack"])
    others = {"TPR": row["worst_tpr_attack"] if with_tpr else ""}
    others["ε"] = row["epsilon_attack"] if row["epsilon_lower"] > 0 else ""
    for figure, attack in others.items():
        if attack and attack != row["worst_attack"]:
            yield f"{figure}: {escape(attack)}"


def claims_table(comparisons: Sequence[Comparison]) -> Table:
    """Claims with both figures, the difference and the verdict."""
    columns = ("verdict", "claim", "what", "left", "", "right", "difference")
    table = plain_table(*columns, title="claims")
    for c in comparisons:
        style = CLAIM_STYLES.get(c.verdict, "dim")
        sides = [
            f"{escape(name)}\n{interval(f.value, f.low, f.high)}"
            for name, f in ((c.left, c.left_figure), (c.right, c.right_figure))
        ]
        where = f"{c.dataset} · {c.features}" if c.dataset else c.reason
        table.add_row(
            f"[{style}]{c.verdict}[/]",
            escape(c.claim.id),
            escape(f"{where}\n{c.figure}"),
            sides[0],
            c.claim.relation,
            sides[1],
            interval(c.difference.value, c.difference.low, c.difference.high),
        )
    return table
