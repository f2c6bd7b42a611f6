"""What is asked of verdicts, ranks and intervals, by simulation; ``power.py`` draws and counts."""

import numpy as np
import pytest
from power import ERROR, NULLS, SECTIONS, SHAPES, false_leak, leak, row, told_apart, verdict_on
from power import board as draw_board
from scipy.stats import binomtest


def test_what_is_asked_is_met_missed_or_open():
    assert verdict_on(95, 100, ">= 0.95") == "met" and verdict_on(5, 100, "<= 0.05") == "met"
    assert verdict_on(94, 100, ">= 0.95") == "open" and verdict_on(6, 100, "<= 0.05") == "open"
    assert verdict_on(80, 100, ">= 0.95") == "not met"
    assert verdict_on(20, 100, "<= 0.05") == "not met"
    assert verdict_on(1, 100, "") == ""
    # 0 of 100: 1 - .025 ** (1 / 100)
    assert (
        row("none", 0, 100, "<= 0.05") == "| none | 0.000 | 0.000 to 0.036 | 100 | <= 0.05 | met |"
    )


def test_leaks_are_found_in_either_direction_and_not_where_there_are_none():
    rng = np.random.default_rng(71)
    for area in (0.6, 0.4):
        assert sum(leak(rng, [area, 0.5, 0.5, 0.5], 2) for _ in range(5)) == 5
    small = [shape for shape in SHAPES if shape.candidates * shape.seeds <= 600]
    count = sum(false_leak(rng, shape) for shape in small for _ in range(4))
    assert binomtest(count, 4 * len(small), ERROR, "greater").pvalue > 0.001


def test_methods_are_told_apart_the_right_way_round():
    methods = draw_board(np.random.default_rng(72), [[0.75] * 2, [0.6] * 2], 3, [0.0, 0.0])
    assert told_apart(methods) == [("method 1", "method 0")]


def test_all_shapes_that_were_asked_for_are_there():
    assert len(set(SHAPES)) >= 29
    assert {s.candidates for s in SHAPES} >= {50, 2000}
    assert {s.seeds for s in SHAPES} >= {1, 10}
    assert any(s.visits > 1 for s in SHAPES)


@pytest.mark.slow
@pytest.mark.parametrize("title", SECTIONS)
def test_every_line_of_the_table_is_what_is_asked(title):
    lines = list(SECTIONS[title]())
    counts = [line.count() for line in lines]
    missed = {
        line.name: count
        for line, count in zip(lines, counts, strict=True)
        if verdict_on(count, line.boards, line.asked) == "not met"
    }
    assert missed == {}
    if title == NULLS:
        boards = sum(line.boards for line in lines)
        assert verdict_on(sum(counts), boards, f"<= {ERROR}") != "not met"
