"""A folder with one sub-folder of images per class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.contracts import DatasetContent, InvalidRecords, Records

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ImageFile", "find_images", "load_images"]

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
"""Formats that Pillow reads without help from another program."""

GRAY_MODES = frozenset({"1", "L", "LA"})
COLOUR_MODES = frozenset({"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
MAX_PIXELS = 64_000_000
"""Largest picture that is decompressed, in pixels."""


@dataclass(frozen=True)
class ImageFile:
    """An image that has not been read: its place, its class and what to call it in messages."""

    path: Path
    label: int
    name: str


@dataclass(frozen=True)
class _Layout:
    width: int
    height: int
    channels: int


def find_images(folder: Path) -> tuple[list[ImageFile], tuple[str, ...]]:
    """The images of ``folder`` by class and name, and the names of the classes, which are those of
    the sub-folders.

    Whatever lies in ``folder`` itself, and whatever has a name that begins with a dot, is passed
    over.

    Raises
    ------
    InvalidRecords
        Without sub-folders, for an empty one, or for a folder in a folder.
    """
    classes = [child for child in _children(folder) if child.is_dir()]
    if not classes:
        raise InvalidRecords(
            f"{folder} has no sub-folders. Put the images of each class into a sub-folder with "
            "the class's name."
        )
    images = []
    for label, child in enumerate(classes):
        paths = _children(child)
        if not paths:
            raise InvalidRecords(
                f"{child} is empty. Every class needs an image; remove the sub-folder or fill it."
            )
        images += [ImageFile(path, label, f"{child.name}/{path.name}") for path in paths]
    for image in images:
        if not image.path.is_file():
            raise InvalidRecords(
                f"{image.path} is not a file. A class's sub-folder may hold images only."
            )
    return images, tuple(child.name for child in classes)


def _children(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if not child.name.startswith("."))


def load_images(folder: Path, size: int | None, max_bytes: int) -> DatasetContent:
    """All images of ``folder`` as a pool.

    They are gray, ``(N, H, W, 1) uint8``, if all files are, and otherwise RGB. Palettes are
    resolved, transparency and notes on the orientation are ignored, and only the first page of a
    file is read.

    Parameters
    ----------
    folder : Path
        With one sub-folder per class.
    size : int or None
        Side of the square to which all are resized (bilinear, antialiased). None: all must have one
        size.
    max_bytes : int
        Largest memory that the images may take.

    Raises
    ------
    InvalidRecords
        Names the odd file.
    """
    files, classes = find_images(folder)
    layout = _survey(files, size)
    shape = (len(files), layout.height, layout.width, layout.channels)
    if int(np.prod(shape, dtype=object)) > max_bytes:
        raise InvalidRecords(
            f"{folder}: {shape[0]} images of {shape[1:]} would take "
            f"{np.prod(shape, dtype=object) / 1e9:.3g} GB. Allowed: {max_bytes / 1e9:.3g} GB; "
            "set `size` or raise `max_gb`."
        )
    images = np.empty(shape, dtype=np.uint8)
    for row, file in zip(images, files, strict=True):
        row[:] = _read(file, layout)
    labels = np.array([file.label for file in files], dtype=np.int64)
    return DatasetContent(pool=Records(images, labels), classes=classes)


def _survey(files: list[ImageFile], size: int | None) -> _Layout:
    """Size and channels of the whole, from the files' headers alone."""
    first: tuple[int, int] | None = None
    colour = False
    for file in files:
        with _open(file) as image:
            width, height = image.size
            mode = image.mode
        if mode not in GRAY_MODES | COLOUR_MODES:
            raise InvalidRecords(
                f"{file.path} has pixels of mode {mode}. Allowed: 8 bits, gray or colour "
                f"({', '.join(sorted(GRAY_MODES | COLOUR_MODES))}); convert it."
            )
        if width * height > MAX_PIXELS:
            raise InvalidRecords(
                f"{file.path} has {width}×{height} pixels. Allowed: {MAX_PIXELS:,} in all."
            )
        first = first or (width, height)
        if size is None and (width, height) != first:
            raise InvalidRecords(
                f"{file.path} has {width}×{height} pixels, but {files[0].name} has "
                f"{first[0]}×{first[1]}. Make them equal, or set `size` to resize all."
            )
        colour |= mode in COLOUR_MODES
    width, height = (size, size) if size is not None else first or (0, 0)
    return _Layout(width, height, 3 if colour else 1)


def _read(file: ImageFile, layout: _Layout) -> np.ndarray:
    """Pixels ``(height, width, channels) uint8``."""
    from PIL import Image

    with _open(file) as image:
        try:
            pixels = image.convert("L" if layout.channels == 1 else "RGB")
        except Exception as error:  # whatever a damaged picture makes a decoder raise
            raise _unreadable(file, error) from error
    if pixels.size != (layout.width, layout.height):
        pixels = pixels.resize((layout.width, layout.height), Image.Resampling.BILINEAR)
    return np.asarray(pixels).reshape(layout.height, layout.width, layout.channels)


def _open(file: ImageFile) -> Image:
    from PIL import Image

    try:
        return Image.open(file.path, formats=FORMATS)
    except Exception as error:  # whatever a damaged picture makes a decoder raise
        raise _unreadable(file, error) from error


def _unreadable(file: ImageFile, error: Exception) -> InvalidRecords:
    return InvalidRecords(
        f"{file.path} is not a readable image ({type(error).__name__}: {error}). "
        f"Allowed: {', '.join(FORMATS)}; remove or repair it."
    )
