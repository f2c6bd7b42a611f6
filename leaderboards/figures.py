"""Numbers as text: three significant digits, intervals, durations."""

from __future__ import annotations

import math

NO_FIGURE = "–"


def number(value: float) -> str:
    """Three significant digits, without an exponent where that stays short.

    >>> number(0.5), number(0.01234), number(12.34), number(1234.5), number(float("nan"))
    ('0.500', '0.0123', '12.3', '1,230', '–')
    """
    if value is None or math.isnan(value):
        return NO_FIGURE
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    exponent = math.floor(math.log10(abs(rounded)))
    if not -5 < exponent < 6:
        return f"{rounded:.2e}".replace("-", "−")
    return f"{rounded:,.{max(0, 2 - exponent)}f}".replace("-", "−")


def interval(low: float, high: float) -> str:
    """``[low, high]``; ``≥ low`` or ``≤ high`` where it has one end; ``""`` where there is none.

    >>> interval(0.4, 0.6), interval(1.5, float("nan")), interval(1.5, float("inf"))
    ('[0.400, 0.600]', '≥ 1.50', '≥ 1.50')
    >>> interval(float("nan"), 0.6)
    '≤ 0.600'
    """
    if math.isnan(low) and math.isnan(high):
        return ""
    if math.isnan(high) or high == math.inf:
        return f"≥ {number(low)}"
    if math.isnan(low) or low == -math.inf:
        return f"≤ {number(high)}"
    return f"[{number(low)}, {number(high)}]"


def duration(seconds: float) -> str:
    """A duration in the unit that suits it.

    >>> duration(0.0123), duration(75), duration(7200)
    ('12.3 ms', '1.25 min', '2.00 h')
    """
    if seconds is None or math.isnan(seconds):
        return NO_FIGURE
    for limit, unit, scale in ((1, "ms", 1e-3), (60, "s", 1), (3600, "min", 60)):
        if seconds < limit:
            return f"{number(seconds / scale)} {unit}"
    return f"{number(seconds / 3600)} h"


def percent(share: float) -> str:
    """A share as a whole percentage that is 0 or 100 only where it is exactly that.

    >>> percent(0.834), percent(0.0), percent(0.001), percent(0.9999), percent(float("nan"))
    ('83 %', '0 %', '< 1 %', '> 99 %', '–')
    """
    if math.isnan(share):
        return NO_FIGURE
    whole = round(100 * share)
    if whole == 0 and share > 0:
        return "< 1 %"
    if whole == 100 and share < 1:
        return "> 99 %"
    return f"{whole} %"


def span(ranks: tuple[int, int] | None) -> str:
    """A rank interval.

    >>> span((1, 3)), span((2, 2)), span(None)
    ('1–3', '2', '–')
    """
    if ranks is None:
        return NO_FIGURE
    return str(ranks[0]) if ranks[0] == ranks[1] else f"{ranks[0]}–{ranks[1]}"
