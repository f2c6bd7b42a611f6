"""What a run comes to, as tables for a terminal of 80 columns or more, and for a notebook.

Figures are never cut, names fold. Cells are plain text or ``Text``: what a plugin, a path or a suite is called is
printed as it is, with no markup and no emoji in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from benchmark.judge.claims import Comparison

__all__ = ["board_html", "board_tables", "claims_table", "interval", "plain_table"]

NARROW = 110
"""Columns of a terminal below which the board leaves out TPR, so that names have room."""

TITLES = ("privacy", "method", "utility", "worst attack", "AUC", "TPR @ 1 % FPR", "ε ≥")
TPR = TITLES[5]

CLAIM_STYLES = {"reproduced": "green", "not reproduced": "red"}
ROW_STYLES = {"violation": "bold red", "leak": "red"}


def interval(value: float, low: float, high: float, between: str = " ") -> str:
    """``value``, and its limits after ``between``; NaN is no limit, and a value of NaN is a dash."""
    if value != value:
        return "–"
    inside = ""
    if low == low:
        inside = f"[{low:.3f}, {high:.3f}]" if high == high else f"[≥ {low:.3f}]"
    return f"{value:.3f}{between if inside else ''}{inside}"


def plain_table(*titles: str, whole: Collection[str] = (), title: str = "") -> Table:
    """A table without lines in which nothing is cut: columns fold, but for those whose cells stay ``whole``."""
    heading = Text(title) if title else None
    table = Table(title=heading, title_justify="left", box=None, pad_edge=False)
    for name in titles:
        table.add_column(Text(name), no_wrap=name in whole, overflow="fold")
    return table


# ---------------------------------------------------------------- the board


@dataclass(frozen=True)
class _Part:
    """The board of one dataset and feature space as text: title → cell in each row, lines apart by a newline."""

    title: str
    rows: list[dict[str, str]]
    verdicts: list[str]
    violations: list[str]
    warnings: list[str]


def board_tables(ranked: Any, width: int) -> Iterator[tuple[Table, list[str], list[str]]]:
    """The leaderboard, a table for each dataset and feature space with the violations and the warnings in it.

    Parameters
    ----------
    ranked : DataFrame
        As :func:`leaderboards.rank` gives it.
    width : int
        Columns of the terminal.
    """
    kept = [title for title in TITLES if width >= NARROW or title != TPR]
    for part in _parts(ranked, with_tpr=width >= NARROW):
        whole = {*kept} - {"method", "worst attack"}
        table = plain_table(*kept, whole=whole, title=part.title)
        for row, verdict in zip(part.rows, part.verdicts, strict=True):
            said = Text("\n" + verdict if verdict else "", style=ROW_STYLES.get(verdict, "dim"))
            first = Text.assemble(row["privacy"], said)
            table.add_row(first, *(Text(row[title]) for title in kept[1:]))
        yield table, part.violations, part.warnings


def board_html(ranked: Any) -> str:
    """The same for a notebook: plain HTML tables, escaped, without TPR."""
    kept = [title for title in TITLES if title != TPR]
    return "".join(_html_table(part, kept) for part in _parts(ranked, with_tpr=False))


def _html_table(part: _Part, titles: Sequence[str]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = ""
    for row, verdict in zip(part.rows, part.verdicts, strict=True):
        cells = [_html_lines(row[title]) for title in titles]
        if verdict:
            weight = "bold" if verdict in ROW_STYLES else "normal"
            cells[0] += f'<br><span style="font-weight: {weight}">{escape(verdict)}</span>'
        body += f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    said = "".join(f"<p><b>violation</b> {escape(text)}</p>" for text in part.violations)
    said += "".join(f"<p><b>warning</b> {escape(text)}</p>" for text in part.warnings)
    return (
        f"<table><caption>{escape(part.title)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>{said}"
    )


def _html_lines(cell: str) -> str:
    return "<br>".join(escape(line) for line in cell.split("\n"))


def _parts(ranked: Any, with_tpr: bool) -> Iterator[_Part]:
    """Rows with any figure, by dataset and feature space."""
    shown = ranked[ranked["worst_attack"].ne("") | ranked["utility_value"].notna()]
    for (dataset, features), rows in shown.groupby(["dataset", "features"], sort=False):
        each = [row for _, row in rows.iterrows()]
        yield _Part(
            title=f"{dataset} · {features}",
            rows=[dict(zip(TITLES, _cells(row, with_tpr), strict=True)) for row in each],
            verdicts=[_verdict(row) for row in each],
            violations=[f"{r['method_label']}: {r['violation']}" for r in each if r["violation"]],
            warnings=[f"{r['method_label']}: {r['warning']}" for r in each if r["warning"]],
        )


def _verdict(row: Any) -> str:
    if row["control"]:
        return ""
    return "violation" if row["violation"] else str(row["verdict"])


def _cells(row: Any, with_tpr: bool) -> list[str]:
    rank = "control" if row["control"] else "–"
    if row["ranked"]:
        first, last = row["privacy_rank"], row["privacy_rank_to"]
        rank = str(first) if first == last else f"{first}–{last}"
    return [
        rank,
        row["method_label"],
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
    yield row["worst_attack"]
    others = {"TPR": row["worst_tpr_attack"] if with_tpr else ""}
    others["ε"] = row["epsilon_attack"] if row["epsilon_lower"] > 0 else ""
    for figure, attack in others.items():
        if attack and attack != row["worst_attack"]:
            yield f"{figure}: {attack}"


# ---------------------------------------------------------------- claims


def claims_table(comparisons: Sequence[Comparison]) -> Table:
    """Claims with both figures, the difference and the verdict."""
    columns = ("verdict", "claim", "what", "left", "", "right", "difference")
    table = plain_table(*columns, title="claims")
    for c in comparisons:
        sides = [
            f"{name}\n{interval(f.value, f.low, f.high)}"
            for name, f in ((c.left, c.left_figure), (c.right, c.right_figure))
        ]
        where = f"{c.dataset} · {c.features}" if c.dataset else c.reason
        cells = (
            c.claim.id,
            f"{where}\n{c.figure}",
            sides[0],
            c.claim.relation,
            sides[1],
            interval(c.difference.value, c.difference.low, c.difference.high),
        )
        verdict = Text(c.verdict, style=CLAIM_STYLES.get(c.verdict, "dim"))
        if c.seeds_needed is not None:
            verdict.append(f"\n(about {c.seeds_needed} seeds\nwould decide)")
        table.add_row(verdict, *map(Text, cells))
    return table
