"""Charts as SVG, drawn once, when the site is built: they need no script and follow the page's colours.

Colours are CSS variables (``var(--series-0)``), which the page defines for light and dark. Every row has a style of
its own: colour, shape and dash together, so that colour is never alone in telling rows apart.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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
FLOOR = 1e-6
GRID_POINTS = 70


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
        return DASHES[(self.index + self.index // COLOURS) % len(DASHES)]


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
    """A row's ROC curve: mean over seeds, and the range over seeds, at each FPR."""

    name: str
    style: Style
    fpr: np.ndarray
    tpr: np.ndarray
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


def whisker(value: float, low: float, high: float, start: float, stop: float, reference: float) -> str:
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


def plane(points: Sequence[Point], x_title: str, y_title: str, chance: float | None = 0.5) -> str:
    """The utility–privacy plane: error bars, the Pareto front of the points marked so, and the line of chance."""
    import altair as alt

    x = alt.X("x:Q", title=x_title, scale=alt.Scale(domain=_domain([v for p in points for v in p.x]), nice=False))
    y_values = [v for p in points for v in p.y] + ([chance] if chance is not None else [])
    y = alt.Y("y:Q", title=y_title, scale=alt.Scale(domain=_domain(y_values), nice=False))
    rows = [_plane_row(p) for p in points]
    layers: list[Any] = []
    if chance is not None:
        layers += _reference(alt, [{"y": chance, "text": "chance"}], x, y)
    layers += [_front(alt, points, x, y)] if sum(p.front for p in points) > 1 else []
    for p, row in zip(points, rows, strict=True):
        base = alt.Chart(alt.Data(values=[row]))
        stroke = {"color": p.style.colour, "strokeWidth": 1.5, "opacity": 0.75}
        layers.append(base.mark_rule(**stroke).encode(x="lx:Q", x2="hx:Q", y=y))
        layers.append(base.mark_rule(**stroke).encode(x=x, y="ly:Q", y2="hy:Q"))
    for p, row in zip(points, rows, strict=True):
        fill = {"filled": not p.style.control, "color": p.style.colour, "opacity": 1, "strokeWidth": 2}
        mark = alt.Chart(alt.Data(values=[row])).mark_point(shape=p.style.shape, size=150, **fill)
        layers.append(mark.encode(x=x, y=y, description="text:N"))
    return _draw(alt, layers)


def _plane_row(p: Point) -> dict[str, Any]:
    (x, lx, hx), (y, ly, hy) = (_filled(*p.x), _filled(*p.y))
    text = f"{p.name}: utility {x:.3g} [{lx:.3g}, {hx:.3g}], worst case {y:.3g} [{ly:.3g}, {hy:.3g}]"
    return {"x": x, "lx": lx, "hx": hx, "y": y, "ly": ly, "hy": hy, "text": text}


def _filled(value: float, low: float, high: float) -> tuple[float, float, float]:
    return value, value if math.isnan(low) else low, value if math.isnan(high) else high


def _domain(values: Iterable[float]) -> list[float]:
    known = [v for v in values if not math.isnan(v)]
    low, high = min(known), max(known)
    pad = 0.06 * (high - low) or 0.05
    return [low - pad, high + pad]


def _front(alt: Any, points: Sequence[Point], x: Any, y: Any) -> Any:
    front = sorted((p.x[0], p.y[0]) for p in points if p.front)
    data = alt.Data(values=[{"x": px, "y": py} for px, py in front])
    mark = alt.Chart(data).mark_line(interpolate="step-before", color="var(--front)", strokeWidth=5, opacity=0.35)
    return mark.encode(x=x, y=y)


def _reference(alt: Any, values: list[dict], x: Any, y: Any) -> list[Any]:
    base = alt.Chart(alt.Data(values=values))
    rule = base.mark_rule(color="var(--muted)", strokeDash=[3, 3]).encode(y=y)
    text = base.mark_text(align="right", baseline="bottom", dx=-4, dy=-2, color="var(--muted)", fontSize=12)
    return [rule, text.encode(x=alt.value(WIDTH), y=y, text="text:N")]


# ---------------------------------------------------------------- ROC curves


def roc_line(name: str, style: Style, seeds: Sequence[tuple[np.ndarray, np.ndarray]], start: float) -> Line:
    """Average ROC curves vertically on a logarithmic grid from ``start`` to 1, without interpolation.

    At each FPR *x* of the grid a seed contributes the greatest TPR among its points with FPR ≤ *x* (Fawcett, "An
    introduction to ROC analysis", 2006, section 8.1, with steps instead of lines).

    Parameters
    ----------
    seeds : sequence of (fpr, tpr)
        Each pair of equal length, in [0, 1].
    """
    grid = np.geomspace(start, 1.0, GRID_POINTS)
    stack = np.stack([_steps(fpr, tpr, grid) for fpr, tpr in seeds])
    return Line(name, style, grid, stack.mean(axis=0), stack.min(axis=0), stack.max(axis=0))


def _steps(fpr: np.ndarray, tpr: np.ndarray, grid: np.ndarray) -> np.ndarray:
    order = np.lexsort((tpr, fpr))
    best = np.maximum.accumulate(np.concatenate([[0.0], np.asarray(tpr, float)[order]]))
    # The tolerance keeps a point whose FPR is k/n on the grid's k/n.
    return best[np.searchsorted(np.asarray(fpr, float)[order], grid * (1 + 1e-9), side="right")]


def roc(lines: Sequence[Line], resolution: float) -> str:
    """ROC curves on logarithmic axes; what is finer than ``resolution`` is shaded and left empty."""
    import altair as alt

    floor = max(resolution / 3, FLOOR)
    scale = alt.Scale(type="log", domain=[floor, 1], nice=False, clamp=True)
    ticks = [10.0**e for e in range(math.ceil(math.log10(floor)), 1)]
    axis = alt.Axis(values=ticks, labelExpr="datum.value", grid=True)
    x = alt.X("x:Q", title="False positive rate", scale=scale, axis=axis)
    y = alt.Y("y:Q", title="True positive rate", scale=scale, axis=axis)
    shade = alt.Chart(alt.Data(values=[{"x": floor, "to": resolution}]))
    note = shade.mark_text(angle=270, baseline="middle", color="var(--muted)", fontSize=12, text="not resolvable")
    middle = math.sqrt(floor * resolution)
    layers = [
        shade.mark_rect(color="var(--shade)", opacity=1).encode(x=x, x2="to:Q"),
        note.encode(x=alt.datum(middle, scale=scale), y=alt.value(HEIGHT / 2)),
        _diagonal(alt, floor, x, y),
    ]
    for line in lines:
        layers += _curve(alt, line, floor, x, y)
    return _draw(alt, layers)


def _diagonal(alt: Any, floor: float, x: Any, y: Any) -> Any:
    data = alt.Data(values=[{"x": floor, "y": floor}, {"x": 1, "y": 1}])
    return alt.Chart(data).mark_line(color="var(--muted)", strokeDash=[3, 3], strokeWidth=1).encode(x=x, y=y)


def _curve(alt: Any, line: Line, floor: float, x: Any, y: Any) -> list[Any]:
    values = [
        {"x": float(f"{a:.4g}"), "y": max(b, floor), "low": max(c, floor), "high": max(d, floor)}
        for a, b, c, d in zip(line.fpr, line.tpr, line.low, line.high, strict=True)
    ]
    base = alt.Chart(alt.Data(values=values))
    dash = {"strokeDash": list(line.style.dash)} if line.style.dash else {}
    band = base.mark_area(color=line.style.colour, opacity=0.1, interpolate="step-after")
    curve = base.mark_line(color=line.style.colour, strokeWidth=2.25, interpolate="step-after", **dash)
    return [band.encode(x=x, y=alt.Y("low:Q", title="True positive rate"), y2="high:Q"), curve.encode(x=x, y=y)]


# ---------------------------------------------------------------- drawing


def _draw(alt: Any, layers: list[Any]) -> str:
    import vl_convert

    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, background="transparent", padding=4)
    axis = {
        "labelColor": "var(--ink)",
        "titleColor": "var(--ink)",
        "gridColor": "var(--hairline)",
        "tickColor": "var(--muted)",
        "domainColor": "var(--muted)",
        "labelFontSize": 13,
        "titleFontSize": 13,
        "titleFontWeight": 600,
        "titlePadding": 8,
    }
    spec = chart.to_dict(validate=False)
    spec["config"] = {"axis": axis, "view": {"stroke": None}}
    return _for_page(vl_convert.vegalite_to_svg(json.dumps(spec)))


def _for_page(svg: str) -> str:
    """Take out sizes and roles (the page gives the whole chart one text) and let marks keep theirs as a tooltip."""
    svg = re.sub(r'<(path|line) aria-label="([^"]*)" role="graphics-symbol"([^>]*?)/>', _titled, svg)
    svg = re.sub(r' (?:role|aria-roledescription|aria-label|font-family|style)="[^"]*"', "", svg)
    svg = svg.replace(' aria-hidden="true"', "")
    return re.sub(
        r'<svg [^>]*?width="([\d.]+)" height="([\d.]+)"[^>]*>',
        r'<svg class="chart" viewBox="0 0 \1 \2" aria-hidden="true" focusable="false">',
        svg,
        count=1,
    )


def _titled(match: re.Match) -> str:
    tag, label, rest = match.groups()
    text = html.escape(html.unescape(label), quote=False)
    title = f"<title>{text}</title>" if 'aria-roledescription="point"' in rest else ""
    return f"<{tag}{rest}>{title}</{tag}>"
