"""Tables for a terminal: whole figures and whole names at any width from 80 columns."""

import io

import pandas as pd
import pytest
from rich.console import Console

from benchmark.tables import board_html, board_tables, interval

NAN = float("nan")


def ranked(**more):
    row = {
        "dataset": "digits",
        "features": "pixels",
        "method_label": "☆" * 60,
        "control": False,
        "ranked": True,
        "privacy_rank": 10,
        "privacy_rank_to": 11,
        "verdict": "no leak found",
        "violation": "",
        "warning": "",
        "utility_value": 0.729,
        "utility_low": 0.685,
        "utility_high": 0.769,
        "worst_attack": "★" * 50,
        "worst_auc": 0.512,
        "worst_auc_low": 0.456,
        "worst_auc_high": 0.589,
        "worst_tpr@0.01": 0.061,
        "worst_tpr@0.01_low": 0.002,
        "worst_tpr@0.01_high": 0.138,
        "worst_tpr_attack": "lira[s=1]",
        "epsilon_lower": 1.234,
        "epsilon_attack": "rmia",
    }
    return pd.DataFrame([{**row, **more}])


def printed(frame, width):
    console = Console(file=io.StringIO(), width=width, soft_wrap=True)
    told = []
    for table, violations, warnings in board_tables(frame, width):
        console.print(table)
        told += [*violations, *warnings]
    return console.file.getvalue(), told


@pytest.mark.parametrize("width", [80, 100, 110, 140, 300])
def test_nothing_is_cut(width):
    text, _ = printed(ranked(), width)
    assert "…" not in text and all(len(line) <= width for line in text.splitlines())
    assert text.count("☆") == 60 and text.count("★") == 50
    for part in ("10–11", "no leak found", "0.729", "[0.685, 0.769]", "0.512", "1.234", "ε: rmia"):
        assert part in text
    assert ("[0.002, 0.138]" in text) == ("TPR: lira[s=1]" in text) == (width >= 110)


def test_an_attack_is_named_once_where_it_is_the_worst_by_all_figures():
    text, _ = printed(
        ranked(worst_attack="near", worst_tpr_attack="near", epsilon_attack="near"), 140
    )
    assert text.count("near") == 1
    text, _ = printed(ranked(epsilon_lower=0.0), 140)
    assert "rmia" not in text


def test_controls_have_no_verdict_and_unranked_rows_no_rank():
    control, _ = printed(ranked(control=True, ranked=False), 140)
    assert "control" in control and "no leak found" not in control
    unranked, _ = printed(ranked(ranked=False, verdict="incomplete"), 140)
    assert "10–11" not in unranked and "incomplete" in unranked


def test_violations_are_said_with_their_method():
    text, told = printed(ranked(violation="ε of 9 measured", method_label="dp[x]"), 140)
    assert told == ["dp[x]: ε of 9 measured"]
    assert "violation" in text and "dp[x]" in text


def test_rows_without_any_figure_are_left_out():
    assert printed(ranked(worst_attack="", utility_value=NAN), 140) == ("", [])


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ((NAN, NAN, NAN), "–"),
        ((0.5, NAN, NAN), "0.500"),
        ((0.5, 0.4, 0.6), "0.500 [0.400, 0.600]"),
        ((0.5, 0.4, NAN), "0.500 [≥ 0.400]"),
    ],
)
def test_intervals_say_what_is_known(figures, expected):
    assert interval(*figures) == expected


def test_foreign_text_is_printed_as_it_is():
    strange = "[bold]k:x:_same[/bold]"
    text, told = printed(
        ranked(method_label=strange, worst_attack=":x:", dataset="[red]", violation="[/]"), 300
    )
    assert strange in text and ":x:" in text and "[red] · pixels" in text
    assert told == [f"{strange}: [/]"]


def test_a_notebook_gets_the_same_figures_escaped():
    page = board_html(ranked(method_label="<script>k</script>", violation="a < b"))
    assert "<script>" not in page and "&lt;script&gt;k&lt;/script&gt;" in page
    assert "a &lt; b" in page and page.count("<tr>") == 2
    for part in ("digits · pixels", "10–11", "0.729<br>[0.685, 0.769]", "1.234"):
        assert part in page
    assert "TPR" not in page


def test_a_warning_is_told_below_the_table_and_in_a_notebook():
    frame = ranked(method_label="b[1]", warning="more useful than <real>")
    assert printed(frame, 140)[1] == ["b[1]: more useful than <real>"]
    assert "<b>warning</b> b[1]: more useful than &lt;real&gt;" in board_html(frame)
