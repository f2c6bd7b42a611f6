"""Things in the picture: deposits of stain, bubbles, the black rim of a dermatoscope, drawn characters.

Every function takes images ``(n, H, W, C) uint8`` and gives new ones of the same shape and type. Places are in units of
the shorter side, so a picture looks alike at every size. All that the strongest severity needs is drawn for each image,
whatever the severity: a stronger one keeps what a weaker one shows and adds to it.
"""

from __future__ import annotations

import numpy as np

from benchmark.perturbations.tone import to_pixels, to_unit

__all__ = ["black_corner", "bubble", "characters", "stain"]

MOST_DEPOSITS = 5
MOST_CHARACTERS = 10

_ABSORBANCE = 1.6 * np.array([0.65, 0.70, 0.29])
"""Optical density of a deposit: the colour of haematoxylin (Ruifrok and Johnston 2001)."""

_GLYPHS = """
.###. ..#.. .###. ##### ...#. ##### ..##. ##### .###. .###.
#...# .##.. #...# ...#. ..##. #.... .#... ....# #...# #...#
#..## ..#.. ....# ..#.. .#.#. ####. #.... ...#. #...# #...#
#.#.# ..#.. ...#. ...#. #..#. ....# ####. ..#.. .###. .####
##..# ..#.. ..#.. ....# ##### ....# #...# .#... #...# ....#
#...# ..#.. .#... #...# ...#. #...# #...# .#... #...# ...#.
.###. .###. ##### .###. ...#. .###. .###. .#... .###. .##..
"""
_CHARACTER_HEIGHT = 0.16  # of the side


def stain(images: np.ndarray, deposits: float, rng: np.random.Generator) -> np.ndarray:
    """``deposits`` (1 … 5) irregular spots of stain that absorb light: x · exp(−density · coverage)."""
    drawn = rng.random((len(images), MOST_DEPOSITS, 5), dtype=np.float32)
    rows, columns, pixel = _grid(images)
    cover = np.zeros(images.shape[:3], dtype=np.float32)
    for spot in range(int(deposits)):
        y, x, size, *phases = drawn[:, spot].T[:, :, None, None]
        depth = _depth_in_spot(rows - y, columns - x, 0.05 + 0.07 * size, *phases)
        np.maximum(cover, _inside(depth, max(pixel, 0.02)), out=cover)
    density = _ABSORBANCE if images.shape[3] == 3 else _ABSORBANCE.mean(keepdims=True)
    return to_pixels(to_unit(images) * np.exp(-cover[..., None] * density.astype(np.float32)))


def bubble(images: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """An air bubble of ``radius`` sides: a dark rim around a brightened disc."""
    y, x = (0.25 + 0.5 * rng.random((len(images), 2), dtype=np.float32)).T[:, :, None, None]
    rows, columns, pixel = _grid(images)
    depth = radius - np.hypot(rows - y, columns - x)
    inside = _inside(depth, pixel)[..., None]
    rim = np.exp(-0.5 * (depth / max(0.6 * pixel, 0.012)) ** 2)[..., None]
    values = to_unit(images)
    values += 0.45 * inside * (1 - values)
    return to_pixels(values * (1 - 0.85 * rim))


def black_corner(images: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Black outside a circle of ``radius`` half sides about a centre that is off by up to 0.05 of them."""
    y, x = (0.475 + 0.05 * rng.random((len(images), 2), dtype=np.float32)).T[:, :, None, None]
    rows, columns, pixel = _grid(images)
    middle = np.float32(images.shape[1] / min(images.shape[1:3]) / 2 - 0.5)
    beside = np.float32(images.shape[2] / min(images.shape[1:3]) / 2 - 0.5)
    distance = np.hypot(rows - y - middle, columns - x - beside)
    light = _inside(radius / 2 - distance, max(pixel, 0.03))
    return to_pixels(to_unit(images) * light[..., None])


def characters(images: np.ndarray, count: float, rng: np.random.Generator) -> np.ndarray:
    """``count`` (1 … 10) black digits at random places."""
    drawn = rng.random((len(images), MOST_CHARACTERS, 3))
    height, width = images.shape[1:3]
    side = min(height, width)
    glyphs = _glyphs(max(1, round(_CHARACTER_HEIGHT * side)))
    tall, wide = min(glyphs.shape[1], height), min(glyphs.shape[2], width)
    kept = np.ones(images.shape[:3], dtype=np.float32)
    each = np.arange(len(images))[:, None, None]
    for one in range(int(count)):
        digit, y, x = drawn[:, one].T
        top = (y * (height - tall + 1)).astype(int)[:, None, None] + np.arange(tall)[:, None]
        left = (x * (width - wide + 1)).astype(int)[:, None, None] + np.arange(wide)
        ink = glyphs[(digit * len(glyphs)).astype(int), :tall, :wide]
        kept[each, top, left] = np.minimum(kept[each, top, left], 1 - ink)
    return to_pixels(to_unit(images) * kept[..., None])


def _grid(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Rows ``(1, H, 1)`` and columns ``(1, 1, W)`` of the pixels, and the size of one, in shorter sides."""
    height, width = images.shape[1:3]
    side = min(height, width)
    rows = ((np.arange(height, dtype=np.float32) + 0.5) / side)[None, :, None]
    columns = ((np.arange(width, dtype=np.float32) + 0.5) / side)[None, None, :]
    return rows, columns, 1 / side


def _depth_in_spot(
    down: np.ndarray, across: np.ndarray, size: np.ndarray, two: np.ndarray, three: np.ndarray
) -> np.ndarray:
    """size · (1 + ¼ cos(2β + 2π·two) + 0.15 cos(3β + 2π·three)) − distance, at bearing β from the centre."""
    distance = np.hypot(down, across) + np.float32(1e-6)
    sine, cosine = down / distance, across / distance
    sine2, cosine2 = 2 * sine * cosine, cosine * cosine - sine * sine
    sine3, cosine3 = sine2 * cosine + cosine2 * sine, cosine2 * cosine - sine2 * sine
    turn2, turn3 = np.float32(2 * np.pi) * two, np.float32(2 * np.pi) * three
    radius = size * (
        1
        + 0.25 * (np.cos(turn2) * cosine2 - np.sin(turn2) * sine2)
        + 0.15 * (np.cos(turn3) * cosine3 - np.sin(turn3) * sine3)
    )
    return radius - distance


def _inside(depth: np.ndarray, edge: float) -> np.ndarray:
    """1 well inside (depth > 0), 0 well outside, linear over an ``edge`` between."""
    return np.clip(depth / np.float32(edge) + np.float32(0.5), 0, 1)


def _glyphs(height: int) -> np.ndarray:
    """The ten digits ``(10, height, width) float32``, ink in [0, 1], by averaging areas of 5 × 7 dots."""
    lines = [line.split() for line in _GLYPHS.split("\n") if line]
    dots = np.array([[[dot == "#" for dot in row[d]] for row in lines] for d in range(10)])
    width = max(1, round(height * 5 / 7))
    ink = _areas(7, height) @ dots.astype(float) @ _areas(5, width).T
    return ink.astype(np.float32)


def _areas(dots: int, pixels: int) -> np.ndarray:
    """Share of each dot in each pixel, ``(pixels, dots)``; rows sum to 1."""
    edges = np.arange(pixels + 1) * (dots / pixels)
    at = np.arange(dots)
    overlap = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
    return np.clip(overlap, 0, None) * (pixels / dots)
