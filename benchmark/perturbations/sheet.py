"""A sheet of pictures on which a person can judge the corruptions: a family a row, severities from left to right.

``python -m benchmark.perturbations.sheet --out sheet.png`` draws it on phantoms, with every family at the severities of
the first modality that has it; ``--modality retina`` shows what retinal photographs get.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmark.contracts import Context, Records
from benchmark.perturbations.corruption import Corruption, families_of
from benchmark.perturbations.severities import FAMILIES, MODALITIES, SEVERITIES, Family, Modality

__all__ = ["draw_sheet", "main", "phantom_image"]

_GAP = 4
_MARGIN = 190


def draw_sheet(
    image: np.ndarray, rows: Sequence[tuple[Modality, Family]], seed: int = 0, tile: int = 112
) -> np.ndarray:
    """The clean image and its five corruptions, for each of the ``rows``.

    Parameters
    ----------
    image : ndarray of shape (H, W, C), uint8
    rows : sequence of (modality, family)
    seed : int, default=0
        Every severity of a row is drawn from the same random numbers.
    tile : int, default=112
        Side of a picture on the sheet, in pixels; enlarged by the nearest pixel.

    Returns
    -------
    ndarray of shape (H', W', 3), uint8
    """
    strips = [np.hstack([_tile(p, tile) for p in _severities(image, *row, seed)]) for row in rows]
    return _labelled(np.vstack(strips), [f"{family} ({modality})" for modality, family in rows])


def _severities(
    image: np.ndarray, modality: Modality, family: Family, seed: int
) -> list[np.ndarray]:
    records = Records(image[None], np.zeros(1, dtype=np.int64))
    plugin = Corruption(modality=modality, family=family)
    return [image] + [
        plugin.apply(records, severity, np.random.default_rng(seed), records).data[0]
        for severity in range(1, 6)
    ]


def _tile(image: np.ndarray, side: int) -> np.ndarray:
    """The picture in colour, at this size, with white below and to the right."""
    from PIL import Image

    colour = image if image.shape[2] == 3 else image.repeat(3, axis=2)
    shown = Image.fromarray(colour).resize((side, side), Image.Resampling.NEAREST)
    return np.pad(np.asarray(shown), ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)


def _labelled(sheet: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    from PIL import Image, ImageDraw

    height, width = sheet.shape[:2]
    page = Image.new("RGB", (width + _MARGIN, height), "white")
    page.paste(Image.fromarray(sheet), (_MARGIN, 0))
    draw = ImageDraw.Draw(page)
    for i, label in enumerate(labels):
        draw.text((6, (i + 0.4) * height / len(labels)), label, fill="black")
    return np.asarray(page)


def phantom_image(size: int) -> np.ndarray:
    """A drawn fundus photograph ``(size, size, 3) uint8``, the same one at every call."""
    from benchmark.datasets.phantom import Phantom

    phantom = Phantom(patients=12, visits=1, size=size, classes=2, population_seed=0)
    return phantom.load(Context(seed=0)).pool.data[7]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sheet to a file."""
    from PIL import Image

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the picture to write (.png)")
    parser.add_argument("--modality", choices=MODALITIES, help="default: the first that has each")
    parser.add_argument("--size", type=int, default=224, help="side of the phantom, in pixels")
    parser.add_argument("--tile", type=int, default=112, help="side of a picture on the sheet")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    if chosen.modality:
        rows = [(chosen.modality, family) for family in families_of(chosen.modality)]
    else:
        rows = [(next(m for m in MODALITIES if f in SEVERITIES[m]), f) for f in FAMILIES]
    sheet = draw_sheet(phantom_image(chosen.size), rows, chosen.seed, chosen.tile)
    Image.fromarray(sheet).save(chosen.out)


if __name__ == "__main__":
    main()
