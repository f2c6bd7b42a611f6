"""Charts as SVG, drawn once, when the site is built: they need no script and follow the page's colours.

Colours are CSS variables (``var(--series-0)``), which the page defines for light and dark. Every row has a style of
its own: colour, shape and dash together, so that colour is never alone in telling rows apart.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from leaderboards.placement import leader, place_labels

SHAPES = (
    "M-0.9,0A0.9,0.9,0,1,1,0.9,0A0.9,0.9,0,1,1,-0.9,0Z",  # disc
    "M-0.8,-0.8H0.8V0.8H-0.8Z",  # square
    "M0,-1L1,0.8H-1Z",  # triangle
    "M0,-1.1L1.1,0L0,1.1L-1.1,0Z",  # diamond
    "M-0.35,-1H0.35V-0.35H1V0.35H0.35V1H-0.35V0.35H-1V-0.35H-0.35Z",  # cross
    "M0,1L1,-0.8H-1Z",  # triangle, point down
    "M0,-1.1L0.29,-0.4L1.05,-0.34L0.47,0.15L0.65,0.89L0,0.5L-0.65,0.89L-0.47,0.15L-1.05,-0.34L-0.29,-0.4Z",  # star
    "M-1,-1L0,-0.45L1,-1L0.45,0L1,1L0,0.45L-1,1L-0.45,0Z",  # four-pointed star
)
DASHES = ((), (7, 3), (2, 2), (9, 3, 2, 3), (4, 4), (12, 4), (1, 3), (6, 2, 2, 2, 2, 2))
COLOURS = 7
WIDTH, HEIGHT = 400, 310
FRAME = (0, 0, WIDTH, HEIGHT)
FLOOR = 1e-6


@dataclass(frozen=True)
class Style:
    """How a row is drawn everywhere on the page; controls are hollow and grey."""

    index: int
    control: bool = False

    @property
    def colour(self) -> str:
        """A CSS colour."""
        return "var(--control)" if self.control else f"var(--series-{self.index % COLOURS})"

    @property
    def shape(self) -> str:
        """An SVG path within [−1, 1]."""
        return SHAPES[self.index % len(SHAPES)]

    @property
    def dash(self) -> tuple[int, ...]:
        """Lengths of dashes and gaps; empty for a solid line."""
        return DASHES[(self.index % COLOURS + self.index // COLOURS) % len(DASHES)]


@dataclass(frozen=True)
class Point:
    """A row on the utility–privacy plane: x is utility, y the worst case."""

    name: str
    style: Style
    x: tuple[float, float, float]
    y: tuple[float, float, float]
    front: bool = False


@dataclass(frozen=True)
class Line:
    """A row's ROC curve: mean over seeds, and the limits of its band, at each FPR."""

    name: str
    style: Style
    fpr: np.ndarray
    tpr: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Curve:
    """A row's figure at each severity of a perturbation, 0 for none, with its limits."""

    name: str
    style: Style
    severity: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def glyph(style: Style) -> str:
    """A row's mark as a small SVG (markup, made of constants alone)."""
    look = (
        f'fill="none" stroke="{style.colour}" stroke-width="0.35"'
        if style.control
        else f'fill="{style.colour}"'
    )
    return (
        '<svg class="glyph" viewBox="-1.4 -1.4 2.8 2.8" aria-hidden="true" focusable="false">'
        f'<path d="{style.shape}" {look}/></svg>'
    )


def line_glyph(style: Style) -> str:
    """A row's line as a small SVG (markup, made of constants alone)."""
    dash = f' stroke-dasharray="{" ".join(map(str, style.dash))}"' if style.dash else ""
    return (
        '<svg class="line-glyph" viewBox="0 0 36 8" aria-hidden="true" focusable="false">'
        f'<path d="M0,4H36" stroke="{style.colour}" stroke-width="2.5"{dash}/></svg>'
    )


def whisker(
    value: float, low: float, high: float, start: float, stop: float, reference: float
) -> str:
    """A value and its interval on the axis from ``start`` to ``stop``, with a tick at ``reference``, as a small SVG."""
    if math.isnan(value):
        return ""
    width = 72.0

    def at(v: float) -> float:
        return round(2 + (width - 4) * (min(max(v, start), stop) - start) / (stop - start), 1)

    ends = (value if math.isnan(low) else low, value if math.isnan(high) else high)
    return (
        f'<svg class="whisker" viewBox="0 0 {width:g} 10" aria-hidden="true" focusable="false">'
        f'<path class="axis" d="M2,5H{width - 2:g}"/><path class="reference" d="M{at(reference)},0V10"/>'
        f'<path class="span" d="M{at(ends[0])},5H{at(ends[1])}"/><circle cx="{at(value)}" cy="5" r="2.6"/></svg>'
    )


# ---------------------------------------------------------------- the plane


def plane(
    points: Sequence[Point],
    x_title: str,
    y_title: str,
    chance: float | None = 0.5,
    x_name: str = "utility",
) -> str:
    """The utility–privacy plane: error bars, the Pareto front of the points marked so, and the line of chance."""
    rows = [_plane_row(p, x_name) for p in points]
    more = [] if chance is None else [chance]
    x_domain = _domain([row[name] for row in rows for name in ("x", "lx", "hx")])
    y_domain = _domain([row[name] for row in rows for name in ("y", "ly", "hy")] + more)

    def x(field: str) -> dict:
        return _channel(field, x_title, {"domain": x_domain, "nice": False}, {"tickCount": 6})

    def y(field: str) -> dict:
        return _channel(field, y_title, {"domain": y_domain, "nice": False}, {"tickCount": 6})

    bar = {"type": "rule", "strokeWidth": 1.5, "opacity": 0.75}
    colour = _as_is("colour")
    marks = {
        **{
            "x": x("x"),
            "y": y("y"),
            "fill": _as_is("fill"),
            "stroke": colour,
            "shape": _as_is("shape"),
        },
        "description": {"field": "text", "type": "nominal"},
    }
    layers = [
        _layer(
            {"type": "rule", "color": "var(--muted)", "strokeDash": [3, 3]},
            [{"y": v} for v in more],
            {"y": y("y")},
        ),
        *(_front(points, x, y) if sum(p.front for p in points) > 1 else []),
        _layer(bar, rows, {"x": x("lx"), "x2": {"field": "hx"}, "y": y("y"), "color": colour}),
        _layer(bar, rows, {"x": x("x"), "y": y("ly"), "y2": {"field": "hy"}, "color": colour}),
        _layer({"type": "point", "size": 130, "strokeWidth": 2, "opacity": 1}, rows, marks),
        *_names(points, rows, x("x"), y("y"), more),
    ]
    return _draw(layers)


def _plane_row(p: Point, x_name: str) -> dict[str, Any]:
    (x, lx, hx), (y, ly, hy) = (_filled(*p.x), _filled(*p.y))
    text = (
        f"{p.name}: {x_name} {x:.3g} [{lx:.3g}, {hx:.3g}], worst case {y:.3g} [{ly:.3g}, {hy:.3g}]"
    )
    fill = "var(--paper)" if p.style.control else p.style.colour
    look = {"colour": p.style.colour, "fill": fill, "shape": p.style.shape, "text": text}
    return {"x": x, "lx": lx, "hx": hx, "y": y, "ly": ly, "hy": hy, **look}


def _filled(value: float, low: float, high: float) -> tuple[float, float, float]:
    return value, value if math.isnan(low) else low, value if math.isnan(high) else high


def _domain(values: Iterable[float]) -> list[float]:
    known = [v for v in values if not math.isnan(v)]
    low, high = min(known), max(known)
    pad = 0.06 * (high - low) or 0.05
    return [low - pad, high + pad]


def _front(
    points: Sequence[Point], x: Callable[[str], dict], y: Callable[[str], dict]
) -> list[dict]:
    rows = [{"x": px, "y": py} for px, py in sorted((p.x[0], p.y[0]) for p in points if p.front)]
    line = {
        "type": "line",
        "interpolate": "step-before",
        "color": "var(--front)",
        "strokeWidth": 5,
        "opacity": 0.3,
    }
    return [_layer(line, rows, {"x": x("x"), "y": y("y")})]


def _names(
    points: Sequence[Point], rows: list[dict], x: dict, y: dict, lines: Sequence[float]
) -> list[dict]:
    """The names that find a place, clear of horizontal ``lines``, and what leads from a mark to a name far from it."""
    (left, right), (bottom, top) = x["scale"]["domain"], y["scale"]["domain"]

    def px(value: float) -> float:
        return WIDTH * (value - left) / (right - left)

    def py(value: float) -> float:
        return HEIGHT * (top - value) / (top - bottom)

    marks = [(px(r["x"]), py(r["y"])) for r in rows]
    bars = [(px(r["lx"]), py(r["y"]) - 1, px(r["hx"]), py(r["y"]) + 1) for r in rows]
    bars += [(px(r["x"]) - 1, py(r["hy"]), px(r["x"]) + 1, py(r["ly"])) for r in rows]
    names = [p.name for p in points]
    front = sorted((px(p.x[0]), py(p.y[0])) for p in points if p.front)
    for (x0, y0), (x1, y1) in pairwise(front):
        bars += [(x0 - 2, y1 - 2, x1 + 2, y1 + 2), (x0 - 2, min(y0, y1), x0 + 2, max(y0, y1))]
    places = place_labels(
        marks, names, bars + [(0, py(v) - 1, WIDTH, py(v) + 1) for v in lines], FRAME
    )

    def back(at: float, height: float) -> tuple[float, float]:
        return left + at * (right - left) / WIDTH, top - height * (top - bottom) / HEIGHT

    found, leaders = [], []
    for mark, name, place in zip(marks, names, places, strict=True):
        if place is not None:
            found.append({"name": name, **dict(zip("xy", back(*place), strict=True))})
            if line := leader(mark, place, name):
                (x0, y0), (x1, y1) = back(*line[:2]), back(*line[2:])
                leaders.append({"x": x0, "y": y0, "to_x": x1, "to_y": y1})
    text = {
        "type": "text",
        "align": "left",
        "baseline": "middle",
        "fontSize": 12,
        "color": "var(--ink)",
    }
    thread = {"type": "rule", "color": "var(--muted)", "strokeWidth": 0.8}
    ends = {"x2": {"field": "to_x"}, "y2": {"field": "to_y"}}
    return [
        *([_layer(thread, leaders, {"x": x, "y": y, **ends})] if leaders else []),
        _layer(text, found, {"x": x, "y": y, "text": {"field": "name"}}),
    ]


# ---------------------------------------------------------------- ROC curves


def roc(lines: Sequence[Line], resolution: float) -> str:
    """ROC curves on logarithmic axes; what is finer than ``resolution`` is shaded and left empty."""
    floor = max(resolution / 3, FLOOR)
    scale = {"type": "log", "domain": [floor, 1], "nice": False, "clamp": True}
    ticks = [10.0**e for e in range(math.ceil(math.log10(floor)), 1)]
    axis = {"values": ticks, "labelExpr": "datum.value"}

    def x(field: str) -> dict:
        return _channel(field, "False positive rate", scale, axis)

    def y(field: str) -> dict:
        return _channel(field, "True positive rate", scale, axis)

    unseen = [
        {
            "x": floor,
            "to": resolution,
            "middle": math.sqrt(floor * resolution),
            "text": "not resolvable",
        }
    ]
    words = {
        "type": "text",
        "angle": 270,
        "baseline": "middle",
        "fontSize": 12,
        "color": "var(--muted)",
    }
    even = {"type": "line", "color": "var(--muted)", "strokeDash": [3, 3], "strokeWidth": 1}
    area = {"type": "area", "interpolate": "step-after", "opacity": 0.16}
    curve = {"type": "line", "interpolate": "step-after", "strokeWidth": 2.25}
    limits, middle = {"y": y("low"), "y2": {"field": "high"}}, {"y": y("y")}
    series = [(i, line.style, _roc_rows(line, floor)) for i, line in enumerate(lines)]
    return _draw(
        [
            _layer(
                {"type": "rect", "color": "var(--shade)", "opacity": 1},
                unseen,
                {"x": x("x"), "x2": {"field": "to"}},
            ),
            _layer(
                words,
                unseen,
                {"x": x("middle"), "y": {"value": HEIGHT / 2}, "text": {"field": "text"}},
            ),
            _layer(even, [{"x": floor, "y": floor}, {"x": 1, "y": 1}], {"x": x("x"), "y": y("y")}),
            *(
                _layer({**area, "color": style.colour}, rows, {"x": x("x"), **limits}, f"band-{i}")
                for i, style, rows in series
            ),
            *(
                _layer(
                    {**curve, "color": style.colour, "strokeDash": list(style.dash) or [1, 0]},
                    rows,
                    {"x": x("x"), **middle},
                    f"line-{i}",
                )
                for i, style, rows in series
            ),
        ]
    )


def _roc_rows(line: Line, floor: float) -> list[dict]:
    return [
        {"x": a, "y": max(b, floor), "low": max(c, floor), "high": max(d, floor)}
        for a, b, c, d in np.stack([line.fpr, line.tpr, line.low, line.high], axis=1).tolist()
    ]


# ---------------------------------------------------------------- severity curves

SMALL = (250, 190)
"""Width and height of one of many charts side by side."""


def severity(curves: Sequence[Curve], y_title: str) -> str:
    """A metric against the severity of a perturbation, with bands; clean at 0. Controls have no band."""
    last = int(max(c.severity.max() for c in curves))
    limits = [v for c in curves for part in (c.value, c.low, c.high) for v in part.tolist()]
    scale = {"domain": _domain(limits), "nice": False}
    steps = {"domain": [-0.15, last + 0.15], "nice": False}
    axis = {
        "values": list(range(last + 1)),
        "labelExpr": "datum.value == 0 ? 'clean' : datum.value",
    }

    def x(field: str) -> dict:
        return _channel(field, "Severity", steps, {**axis, "grid": False})

    def y(field: str) -> dict:
        return _channel(field, y_title, scale, {"tickCount": 5})

    rows = [row for curve in curves for row in _curve_rows(curve)]
    look = {"color": _as_is("colour"), "detail": {"field": "line", "type": "nominal"}}
    marks = {
        **{"fill": _as_is("fill"), "stroke": _as_is("colour"), "shape": _as_is("shape")},
        "description": {"field": "text", "type": "nominal"},
    }
    bands = [row for row in rows if row["band"]]
    area, line = {"type": "area", "opacity": 0.12}, {"type": "line", "strokeWidth": 2.25}
    point = {"type": "point", "size": 45, "strokeWidth": 1.5, "opacity": 1}
    return _draw(
        [
            _layer(area, bands, {"x": x("x"), "y": y("low"), "y2": {"field": "high"}, **look}),
            _layer(line, rows, {"x": x("x"), "y": y("y"), "strokeDash": _as_is("dash"), **look}),
            _layer(point, rows, {"x": x("x"), "y": y("y"), **marks}),
        ],
        *SMALL,
    )


def _curve_rows(curve: Curve) -> list[dict]:
    style = curve.style
    look = {
        "line": curve.name,
        "colour": style.colour,
        "fill": "var(--paper)" if style.control else style.colour,
        "shape": style.shape,
        "dash": list(style.dash) or [1, 0],
        "band": not style.control,
    }
    found = []
    columns = (curve.severity, curve.value, curve.low, curve.high)
    for x, *figure in np.stack(columns, axis=1).tolist():
        value, low, high = _filled(*figure)
        where = f"severity {x:g}" if x else "clean"
        text = f"{curve.name}: {where}, {value:.3g} [{low:.3g}, {high:.3g}]"
        found.append({"x": x, "y": value, "low": low, "high": high, "text": text, **look})
    return found


# ---------------------------------------------------------------- drawing

AXIS = {
    **dict.fromkeys(("labelColor", "titleColor"), "var(--ink)"),
    **dict.fromkeys(("tickColor", "domainColor"), "var(--muted)"),
    **dict.fromkeys(("labelFontSize", "titleFontSize"), 13),
    **{"gridColor": "var(--hairline)", "titleFontWeight": 600, "titlePadding": 8},
}


def _channel(field: str, title: str, scale: dict, axis: dict) -> dict:
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def _as_is(field: str) -> dict:
    """A field whose values are colours, shapes or dashes already."""
    return {"field": field, "type": "nominal", "scale": None, "legend": None}


def _layer(mark: dict, rows: list[dict], encoding: dict, series: str = "") -> dict:
    """A layer; the group of marks of a ``series`` bears it as its class, for the page to show and hide."""
    named = {"name": series} if series else {}
    return {**named, "mark": mark, "data": {"values": rows}, "encoding": encoding}


def _draw(layers: list[dict], width: int = WIDTH, height: int = HEIGHT) -> str:
    """Vega-Lite in, SVG for the page out. (Altair would write the same specification, a hundred times slower.)"""
    import vl_convert

    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        **{
            "width": width,
            "height": height,
            "padding": 4,
            "background": "transparent",
            "layer": layers,
        },
        "config": {"axis": AXIS, "view": {"stroke": None}},
    }
    return _for_page(vl_convert.vegalite_to_svg(spec))


def _for_page(svg: str) -> str:
    """Take out sizes and roles (the page gives the whole chart one text) and let marks keep theirs as a tooltip."""
    svg = re.sub(
        r'<(path|line) aria-label="([^"]*)" role="graphics-symbol"([^>]*?)/>', _titled, svg
    )
    svg = re.sub(r' (?:role|aria-roledescription|aria-label|font-family|style)="[^"]*"', "", svg)
    svg = re.sub(r' (?:aria-hidden|pointer-events|opacity)="(?:true|none|1)"', "", svg)
    svg = re.sub(r' class="mark-[^"]* (band|line)_(\d+)_marks"', r' class="\1-\2"', svg)
    svg = re.sub(r' class="mark-[^"]*"', "", svg)
    svg = re.sub(r'<path class="(?:fore|back)ground" d="[^"]*"(?: display="none")?/>', "", svg)
    svg = re.sub(r' (?:d|transform|[xy]2?)="[^"]*"', _shortened, svg)
    return re.sub(
        r'<svg [^>]*?width="([\d.]+)" height="([\d.]+)"[^>]*>',
        r'<svg class="chart" viewBox="0 0 \1 \2" aria-hidden="true" focusable="false">',
        svg,
        count=1,
    )


def _shortened(match: re.Match) -> str:
    """Coordinates to a tenth of a pixel: half the weight of the page."""
    return re.sub(r"\d+\.\d{2,}", lambda m: f"{float(m[0]):.1f}".removesuffix(".0"), match[0])


def _titled(match: re.Match) -> str:
    tag, label, rest = match.groups()
    text = html.escape(html.unescape(label), quote=False)
    title = f"<title>{text}</title>" if 'aria-roledescription="point"' in rest else ""
    return f"<{tag}{rest}>{title}</{tag}>"
