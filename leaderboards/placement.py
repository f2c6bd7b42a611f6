"""Where the names on a chart go: beside their marks, clear of marks, bars and each other."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels; y grows downwards."""

CHARACTER = 6.6
"""Width of a character of 12 px text, on average, with some air."""

LINE = 14.0
MARK = 8.0
"""Half the size of a mark."""


def place_labels(
    marks: Sequence[tuple[float, float]], names: Sequence[str], obstacles: Sequence[Box], frame: Box
) -> list[tuple[float, float] | None]:
    """Left ends and middles of the names, or None where a name fits nowhere (the legend still has it).

    Greedy: names are placed in turn, right of, left of, above or below their mark, at the first of these places that
    lies in the frame and clear of all marks, obstacles and names placed before.
    """
    taken = [*obstacles, *((x - MARK, y - MARK, x + MARK, y + MARK) for x, y in marks)]
    places: list[tuple[float, float] | None] = []
    for (x, y), name in zip(marks, names, strict=True):
        width = CHARACTER * len(name)
        above, below = y - LINE - MARK - 1, y + MARK + 1
        corners = [
            (x + MARK + 3, y - LINE / 2),
            (x - MARK - 3 - width, y - LINE / 2),
            (x + 3 * MARK, y - LINE / 2),
            (x - 3 * MARK - width, y - LINE / 2),
            *((x + 3, above), (x - 3 - width, above), (x + 3, below), (x - 3 - width, below)),
        ]
        boxes = [(left, top, left + width, top + LINE) for left, top in corners]
        fits = [b for b in boxes if _inside(b, frame) and not any(_overlap(b, t) for t in taken)]
        places.append((fits[0][0], fits[0][1] + LINE / 2) if fits else None)
        taken += fits[:1]
    return places


def _inside(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
