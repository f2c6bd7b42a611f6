"""Charts: where marks lie, what ROC curves say, and that names cannot break out of the SVG."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboards import charts
from leaderboards.charts import Point, Style
from leaderboards.placement import place_labels

NASTY = '"><script>alert(1)</script>&'


def test_a_roc_curve_is_read_in_steps_and_never_interpolated():
    fpr, tpr = np.array([0.0, 0.1, 0.5, 1.0]), np.array([0.2, 0.6, 0.9, 1.0])
    grid = np.array([0.01, 0.0999, 0.1, 0.3, 0.5, 1.0])
    assert charts._steps(fpr, tpr, grid).tolist() == [0.2, 0.2, 0.6, 0.6, 0.9, 1.0]


@given(
    st.lists(st.booleans(), min_size=4, max_size=60).filter(lambda m: any(m) and not all(m)),
    st.integers(0, 99),
)
def test_roc_steps_agree_with_counting(members, seed):
    member = np.array(members)
    scores = np.random.default_rng(seed).integers(0, 6, len(member))
    cuts = np.unique(scores)[::-1]
    fpr = np.array([np.mean(scores[~member] >= c) for c in cuts])
    tpr = np.array([np.mean(scores[member] >= c) for c in cuts])
    grid = np.geomspace(0.05, 1, 9)
    counted = [
        max([t for f, t in zip(fpr, tpr, strict=True) if f <= x * (1 + 1e-9)], default=0.0)
        for x in grid
    ]
    assert np.allclose(charts._steps(fpr, tpr, grid), counted)


def test_seeds_are_averaged_and_spanned():
    seeds = [
        (np.array([0.0, 1.0]), np.array([0.2, 1.0])),
        (np.array([0.0, 1.0]), np.array([0.6, 1.0])),
    ]
    line = charts.roc_line("a", Style(0), seeds, 0.01)
    assert line.fpr[0] == pytest.approx(0.01) and line.fpr[-1] == pytest.approx(1.0)
    assert (line.tpr[0], line.low[0], line.high[0]) == pytest.approx((0.4, 0.2, 0.6))


def marks(svg):
    """Pixel places of the titled marks, by the first word of their title."""
    found = re.findall(
        r'<path[^>]*?transform="translate\(([\d.]+),([\d.]+)\)"[^>]*><title>([^<]*?):', svg
    )
    return {name: (float(x), float(y)) for x, y, name in found}


def test_the_plane_puts_marks_where_their_figures_are():
    points = [
        Point("a", Style(0), (0.5, 0.45, 0.55), (0.6, 0.5, 0.7)),
        Point("b", Style(1), (0.7, 0.65, 0.75), (0.8, 0.7, 0.9)),
        Point("c", Style(0, control=True), (0.6, 0.55, 0.65), (0.7, 0.6, 0.8)),
    ]
    at = marks(charts.plane(points, "x", "y"))
    assert at["b"][0] > at["a"][0] and at["b"][1] < at["a"][1]
    middle = np.mean([at["a"], at["b"]], axis=0)
    assert np.allclose(at["c"], middle, atol=0.2)


@pytest.mark.parametrize("draw", ["plane", "roc"])
def test_names_are_escaped_and_nothing_is_loaded_or_styled_inline(draw):
    if draw == "plane":
        svg = charts.plane(
            [Point(NASTY, Style(0), (0.5, 0.4, 0.6), (0.5, 0.4, 0.6), True)], NASTY, NASTY
        )
    else:
        seeds = [(np.array([0.0, 1.0]), np.array([0.2, 1.0]))]
        svg = charts.roc([charts.roc_line(NASTY, Style(0), seeds, 0.01)], 0.01)
    tree = ET.fromstring(svg)
    tags = {element.tag.rsplit("}")[-1] for element in tree.iter()}
    assert tags <= {"svg", "g", "path", "line", "text", "rect", "title", "defs", "clipPath"}
    names = {name for element in tree.iter() for name in element.attrib}
    assert not {name for name in names if name.startswith("on") or name in ("style", "href")}
    assert "http" not in svg.replace("http://www.w3.org/", "")


def test_text_keeps_its_figures_though_coordinates_are_shortened():
    assert ">0.55<" in charts.plane(
        [
            Point("a", Style(0), (0.52, 0.5, 0.54), (0.5, 0.4, 0.6)),
            Point("b", Style(1), (0.6, 0.58, 0.62), (0.6, 0.5, 0.7)),
        ],
        "x",
        "y",
    )


def test_styles_differ_in_shape_or_colour_for_as_many_rows_as_a_board_may_have():
    looks = {(s.colour, s.shape) for s in map(Style, range(40))}
    assert len(looks) == 40
    assert len({s.shape for s in map(Style, range(8))}) == 8


@given(st.lists(st.tuples(st.floats(0, 400), st.floats(0, 300), st.integers(1, 20)), max_size=12))
def test_labels_lie_in_the_frame_and_overlap_nothing(marks):
    frame = (0, 0, 400, 300)
    names = ["n" * n for _, _, n in marks]
    places = place_labels([(x, y) for x, y, _ in marks], names, [], frame)
    boxes = [
        (p[0], p[1] - 7, p[0] + 6.6 * len(n), p[1] + 7)
        for p, n in zip(places, names, strict=True)
        if p
    ]
    obstacles = [(x - 8, y - 8, x + 8, y + 8) for x, y, _ in marks]
    for i, box in enumerate(boxes):
        assert box[0] >= 0 and box[1] >= -1e-9 and box[2] <= 400 + 1e-9 and box[3] <= 300 + 1e-9
        for other in [*boxes[:i], *obstacles]:
            apart = (
                box[2] <= other[0] or other[2] <= box[0] or box[3] <= other[1] or other[3] <= box[1]
            )
            assert apart
