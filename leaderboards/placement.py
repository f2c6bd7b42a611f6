"""Where the names on a chart go: beside their marks, or at the end of a line, clear of marks, bars and each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels; y grows downwards."""

CHARACTER = 6.6
"""Width of a character of 12 px text, on average, with some air."""

LINE = 14.0
MARK = 8.0
"""Half the size of a mark."""

PILE = 4
"""How many marks that overlap are a pile."""

FAR = range(24, 200, 12)
"""How far from its mark the end of a name may be that is led to by a line."""


def place_labels(
    marks: Sequence[tuple[float, float]], names: Sequence[str], obstacles: Sequence[Box], frame: Box
) -> list[tuple[float, float] | None]:
    """Left ends and middles of the names, or None where a name fits nowhere (the legend still has it).

    The names of a pile of marks stand in a column beside it. Others are placed in turn, right of, left of, above or
    below their mark, at the first of these places that lies in the frame and clear of all marks, obstacles and names
    placed before; those that find none of them then farther away, the nearest first. :func:`leader` has the line from
    a mark to a name that does not stand beside it, and no such line crosses a name.
    """
    taken = [*obstacles, *((x - MARK, y - MARK, x + MARK, y + MARK) for x, y in marks)]
    places: list[tuple[float, float] | None] = [None] * len(marks)
    named: list[Box] = []
    for pile in _piles(marks):
        column = _column([marks[i] for i in pile], [names[i] for i in pile], taken, frame)
        for i, box in zip(pile, column, strict=False):
            places[i] = (box[0], box[1] + LINE / 2)
            named.append(box)
            taken += [box, *_along(leader(marks[i], (box[0], box[1] + LINE / 2), names[i]))]
    for candidates in (_near, _far):
        for i, ((x, y), name) in enumerate(zip(marks, names, strict=True)):
            if places[i] is not None:
                continue
            for box in candidates(x, y, CHARACTER * len(name)):
                clear = _inside(box, frame) and not any(_overlap(box, t) for t in taken)
                line = leader((x, y), (box[0], box[1] + LINE / 2), name)
                if clear and not (line and any(_crosses(line, b) for b in named)):
                    places[i] = (box[0], box[1] + LINE / 2)
                    named.append(box)
                    # Later names keep clear of a line, too: it is a row of small boxes.
                    taken += [box, *_along(line)]
                    break
    return places


Line = tuple[float, float, float, float]
"""From x, y to x, y."""


def leader(mark: tuple[float, float], place: tuple[float, float], name: str) -> Line | None:
    """The line from the edge of a mark to the nearer end of its name; None where the name stands beside the mark."""
    (x, y), (left, middle) = mark, place
    right = left + CHARACTER * len(name)
    end = min(max(x, left), right)
    to = middle - math.copysign(LINE / 2, middle - y) if left < x < right else middle
    length = math.hypot(end - x, to - y)
    if length <= 3 * MARK + 1:
        return None
    step = MARK / length
    return x + step * (end - x), y + step * (to - y), end, to


def _piles(marks: Sequence[tuple[float, float]]) -> list[list[int]]:
    """Marks that overlap in a chain, where they are many; each pile from left to right."""
    left = set(range(len(marks)))
    piles = []
    while left:
        chain, ends = [], [left.pop()]
        while ends:
            one = ends.pop()
            chain.append(one)
            near = {i for i in left if math.dist(marks[i], marks[one]) < 2 * MARK}
            left -= near
            ends += sorted(near)
        if len(chain) >= PILE:
            piles.append(sorted(chain, key=lambda i: marks[i]))
    return piles


def _column(
    marks: Sequence[tuple[float, float]], names: Sequence[str], taken: Sequence[Box], frame: Box
) -> list[Box]:
    """Boxes of names below each other, left or right of a pile of marks; empty where there is no room for them."""
    middle = sum(y for _, y in marks) / len(marks)
    first, last, n = marks[0][0], marks[-1][0], len(marks)
    for gap in range(20, 200, 10):
        for shift in sorted(range(-n, n), key=abs):
            for side, turn in itertools.product((-1, 1), (1, -1)):
                end = first - gap if side < 0 else last + gap
                boxes: list[Box] = [(0, 0, 0, 0)] * n
                for row, i in enumerate(list(range(n))[::turn]):
                    width, top = CHARACTER * len(names[i]), middle + LINE * (shift + row)
                    start = end - width if side < 0 else end
                    boxes[i] = (start, top, start + width, top + LINE)
                if _fits(boxes, marks, names, taken, frame):
                    return boxes
    return []


def _fits(boxes, marks, names, taken, frame) -> bool:
    """Whether names lie in the frame, clear of what is taken, and no line crosses one of them."""
    if not all(_inside(b, frame) and not any(_overlap(b, t) for t in taken) for b in boxes):
        return False
    lines = [
        leader(m, (b[0], b[1] + LINE / 2), n) for m, b, n in zip(marks, boxes, names, strict=True)
    ]
    return not any(
        line and _crosses(line, box)
        for i, line in enumerate(lines)
        for j, box in enumerate(boxes)
        if i != j
    )


def _near(x: float, y: float, width: float) -> list[Box]:
    above, below = y - LINE - MARK - 1, y + MARK + 1
    corners = [
        (x + MARK + 3, y - LINE / 2),
        (x - MARK - 3 - width, y - LINE / 2),
        (x + 3 * MARK, y - LINE / 2),
        (x - 3 * MARK - width, y - LINE / 2),
        *((x + 3, above), (x - 3 - width, above), (x + 3, below), (x - 3 - width, below)),
    ]
    return [(left, top, left + width, top + LINE) for left, top in corners]


def _far(x: float, y: float, width: float) -> Iterator[Box]:
    for distance in FAR:
        for turn in range(16):
            across = math.cos(turn * math.pi / 8)
            end, middle = x + distance * across, y + distance * math.sin(turn * math.pi / 8)
            left = end if across > 0.1 else end - width if across < -0.1 else end - width / 2
            yield left, middle - LINE / 2, left + width, middle + LINE / 2


def _along(line: Line | None) -> list[Box]:
    """Small boxes along a line."""
    if line is None:
        return []
    x0, y0, x1, y1 = line
    n = max(2, math.ceil(math.hypot(x1 - x0, y1 - y0) / 4))
    points = [(x0 + (x1 - x0) * i / n, y0 + (y1 - y0) * i / n) for i in range(n)]
    return [(x - 1, y - 1, x + 1, y + 1) for x, y in points]


def _crosses(line: Line, box: Box) -> bool:
    return any(_overlap(piece, box) for piece in _along(line))


def _inside(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
