"""Charts: where marks lie, what ROC curves say, and that names cannot break out of the SVG."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from leaderboards import charts
from leaderboards.charts import Curve, Line, Point, Style
from leaderboards.placement import leader, place_labels

NASTY = '"><script>alert(1)</script>&'


CURVE = Line(NASTY, Style(0), *np.array([[0.01, 1.0], [0.2, 1.0], [0.1, 0.9], [0.3, 1.0]]))
"""A curve from (0.01, 0.2) to (1, 1) with a band about it."""


def test_the_band_of_a_curve_is_drawn_at_its_limits():
    svg = charts.roc([CURVE], 0.01)
    # On a logarithmic axis from 0.01/3 to 1, 310 pixels high.
    heights = [310 * (1 - np.log(v / (0.01 / 3)) / np.log(300)) for v in (0.1, 0.3, 0.2)]
    numbers = [float(n) for d in re.findall(r' d="([^"]+)"', svg) for n in re.findall(r"[\d.]+", d)]
    for height in heights:
        assert min(abs(n - height) for n in numbers) < 0.2


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


def severity_curve(name, values, **style):
    values = np.array(values, dtype=float)
    return Curve(name, Style(**style), np.arange(len(values)), values, values - 0.1, values + 0.1)


def test_severity_curves_lie_at_their_figures_with_clean_on_the_left():
    curves = [
        severity_curve("a", [0.9, 0.8, 0.6], index=0),
        severity_curve("b", [0.7, 0.7, 0.7], index=1),
    ]
    svg = charts.severity(curves, "Accuracy")
    places = {
        text: (float(x), float(y))
        for x, y, text in re.findall(
            r'<path[^>]*?transform="translate\(([\d.]+),([\d.]+)\)"[^>]*><title>([^<]*)</title>',
            svg,
        )
    }
    assert len(places) == 6
    clean, last = places["a: clean, 0.9 [0.8, 1]"], places["a: severity 2, 0.6 [0.5, 0.7]"]
    low, high = 0.5 - 0.06 * 0.5, 1.0 + 0.06 * 0.5
    assert [clean[1], last[1]] == pytest.approx(
        [190 * (high - v) / (high - low) for v in (0.9, 0.6)], abs=0.1
    )
    assert [clean[0], last[0]] == pytest.approx([250 * (s + 0.15) / 2.3 for s in (0, 2)], abs=0.1)
    flat = [y for text, (_, y) in places.items() if text.startswith("b")]
    assert max(flat) - min(flat) < 0.05
    assert ">clean<" in svg and ">2<" in svg


def test_controls_have_no_band_and_a_missing_limit_is_the_value():
    control = severity_curve("c", [0.9, 0.8], index=0, control=True)
    alone = charts.severity([control], "Accuracy")
    banded = charts.severity([severity_curve("c", [0.9, 0.8], index=0)], "Accuracy")
    assert banded.count('opacity="0.12"') > alone.count('opacity="0.12"') == 0
    bare = Curve("d", Style(0), np.arange(2), np.array([0.9, 0.8]), *np.full((2, 2), np.nan))
    assert "d: severity 1, 0.8 [0.8, 0.8]" in charts.severity([bare], "Accuracy")


@pytest.mark.parametrize("draw", ["plane", "roc", "severity"])
def test_names_are_escaped_and_nothing_is_loaded_or_styled_inline(draw):
    if draw == "plane":
        svg = charts.plane(
            [Point(NASTY, Style(0), (0.5, 0.4, 0.6), (0.5, 0.4, 0.6), True)], NASTY, NASTY
        )
    elif draw == "severity":
        svg = charts.severity([severity_curve(NASTY, [0.9, 0.8], index=0)], NASTY)
    else:
        svg = charts.roc([CURVE], 0.01)
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


def test_no_two_lines_of_fifty_are_alike_and_neighbours_differ_in_their_dashes_too():
    styles = [Style(i) for i in range(50)]
    assert len({(s.colour, s.dash) for s in styles}) == 50
    assert all(a.dash != b.dash for a, b in pairwise(styles))


def test_each_curve_and_its_band_is_a_group_that_the_page_can_show():
    other = Line("b", Style(8), CURVE.fpr, CURVE.tpr, CURVE.low, CURVE.high)
    groups = re.findall(
        r'<g class="((?:band|line)-\d)"><path ([^>]*)>', charts.roc([CURVE, other], 0.01)
    )
    assert [name for name, _ in groups] == ["band-0", "band-1", "line-0", "line-1"]
    assert "var(--series-0)" in groups[2][1] and "var(--series-1)" in groups[3][1]
    assert "var(--series-1)" in groups[1][1] and "opacity" in groups[1][1]


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@example([(0.0, 0.0, 1), (0.0, 1e-5, 1), (0.0, 1e-5, 1), (0.0, 1e-5, 1)])
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
            gaps = (other[0] - box[2], box[0] - other[2], other[1] - box[3], box[1] - other[3])
            assert max(gaps) >= -1e-9, "they may touch, up to rounding"


def test_eleven_marks_in_one_place_all_get_their_names_led_to_by_lines_that_cross_none():
    marks, names = (
        [(300.0 + 2 * i, 20.0) for i in range(11)],
        [f"k_same (k={i})" for i in range(11)],
    )
    places = place_labels(marks, names, [], (0, 0, 400, 310))
    assert None not in places
    boxes = [(x, y - 7, x + 6.6 * len(n), y + 7) for (x, y), n in zip(places, names, strict=True)]
    lines = [leader(*pair) for pair in zip(marks, places, names, strict=True)]
    assert sum(line is not None for line in lines) >= 6
    for i, line in enumerate(lines):
        if line is None:
            continue
        assert (boxes[i][0] <= line[2] <= boxes[i][2]) and (boxes[i][1] <= line[3] <= boxes[i][3])
        for share in np.linspace(0, 0.99, 50):
            x, y = line[0] + share * (line[2] - line[0]), line[1] + share * (line[3] - line[1])
            assert not any(b[0] < x < b[2] and b[1] < y < b[3] for b in boxes[:i] + boxes[i + 1 :])


def test_a_name_beside_its_mark_needs_no_line():
    assert leader((100, 100), (111, 100), "name") is None
    assert leader((100, 100), (140, 100), "name") == (108, 100, 140, 100)
    assert leader((100, 100), (90, 150), "name") == pytest.approx((100, 108, 100, 143))
