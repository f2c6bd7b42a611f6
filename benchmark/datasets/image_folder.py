"""A folder of images: one sub-folder for each class, or all in one. DICOM files may be among them."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from benchmark.contracts import InvalidRecords, Unavailable
from benchmark.datasets.collection import Collection, Layout, Source, Survey, refuse
from benchmark.datasets.dicom import (
    DicomHeader,
    dicom_header,
    dicom_pixels,
    dicom_range,
    is_dicom,
)
from benchmark.datasets.locate import digest_files

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ImageFile", "ImageFolder", "find_images", "resized"]

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
"""Formats that Pillow reads without help from another program."""

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
SUFFIXES = frozenset((*PICTURES, ".dcm", ".dicom", ".ima"))
"""How images are called in a folder without classes, where other files may lie beside them."""

GRAY_MODES = frozenset({"1", "L", "LA"})
DEEP_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
COLOUR_MODES = frozenset({"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
ALPHA_MODES = frozenset({"LA", "PA", "RGBA"})
MAX_PIXELS = 64_000_000
"""Largest picture that is decompressed, in pixels."""


@dataclass(frozen=True)
class ImageFile:
    """An image that has not been read: its place, its class and what to call it in messages.

    ``label`` is -1 in a folder without classes.
    """

    path: Path
    label: int
    name: str


@dataclass(frozen=True)
class _Header:
    """What the head of one file says; ``dicom`` is its header where it is a DICOM file."""

    width: int
    height: int
    colour: bool
    deep: bool
    alpha: bool
    dicom: DicomHeader | None = None


class ImageFolder(Source):
    """The images of a folder by class and name.

    They are gray if all are, and otherwise RGB. Palettes are resolved; alpha channels and notes on the orientation are
    left out; only the first page of a file is read. Gray of more than 8 bits goes through the layout's window.
    """

    kind = "image"

    def __init__(self, place: Path) -> None:
        self.place = place
        self.files, self.classes, self.unused = find_images(place)
        self.names = tuple(file.name for file in self.files)

    @cached_property
    def headers(self) -> tuple[list[_Header | None], tuple[str, ...]]:
        """What each file says of itself, None for a file that cannot be used, and why not."""
        found: list[_Header | None] = []
        problems = []
        for file in self.files:
            try:
                found.append(_header(file))
            except InvalidRecords as error:
                found.append(None)
                problems.append(str(error))
        return found, tuple(problems)

    def survey(self) -> Survey:
        """Sizes, colours and depths, and all files that are no images."""
        headers, problems = self.headers
        sizes: dict[tuple[int, int], str] = {}
        known = [header for header in headers if header is not None]
        for file, header in zip(self.files, headers, strict=True):
            if header is not None:
                sizes.setdefault((header.width, header.height), str(file.path))
        return Survey(
            n=len(self.files),
            sizes=sizes,
            colour=any(header.colour for header in known),
            deep=any(header.deep for header in known),
            problems=problems,
        )

    def deep_range(self) -> tuple[float, float]:
        """Over the values of all files that need a window."""
        ranges = [
            _range_of(file, header)
            for file, header in zip(self.files, self.headers[0], strict=True)
            if header is not None and header.deep
        ]
        return min(low for low, _ in ranges), max(high for _, high in ranges)

    def read(self, layout: Layout | None) -> Collection:
        """All pixels, ``(N, H, W, C) uint8``."""
        assert layout is not None
        headers, problems = self.headers
        refuse(problems)
        images = np.empty(
            (len(self.files), layout.height, layout.width, layout.channels), dtype=np.uint8
        )
        broken = []
        for row, file, header in zip(images, self.files, headers, strict=True):
            assert header is not None
            try:
                row[:] = _read(file, header, layout)
            except InvalidRecords as error:
                broken.append(str(error))
        refuse(broken)
        labels = np.array([file.label for file in self.files], dtype=np.int64)
        return Collection(
            data=images,
            names=self.names,
            labels=labels if self.classes else None,
            classes=self.classes,
            patients=self._patients(),
            notes=tuple(self._notes(layout)),
        )

    def digest(self) -> str:
        """Of the names and contents of the images."""
        return digest_files([(file.name, file.path) for file in self.files])

    def _patients(self) -> np.ndarray | None:
        """PatientID of each file, where all are DICOM files that name one."""
        found = [header.dicom for header in self.headers[0] if header is not None]
        ids = [header.patient for header in found if header is not None and header.patient]
        return np.array(ids) if len(ids) == len(self.files) else None

    def _notes(self, layout: Layout) -> list[str]:
        known = [header for header in self.headers[0] if header is not None]
        notes = []
        n = sum((h.width, h.height) != (layout.width, layout.height) for h in known)
        if n:
            notes.append(f"{n:,} images resized to {layout.width}×{layout.height} pixels")
        n = sum(header.deep for header in known)
        if n and layout.window is not None:
            low, high = layout.window
            notes.append(
                f"{n:,} images of more than 8 bits scaled by the window {low:g} … {high:g}"
            )
        n = sum(h.dicom is not None and not h.deep and not h.colour for h in known)
        if n:
            notes.append(f"{n:,} DICOM images by the window in their headers")
        n = sum(header.alpha for header in known)
        if n:
            notes.append(f"{n:,} images have an alpha channel, which is left out")
        return notes


# ---------------------------------------------------------------- finding


def find_images(folder: Path) -> tuple[list[ImageFile], tuple[str, ...], tuple[str, ...]]:
    """The images of ``folder`` by class and name, the names of the classes, and the files that are no images.

    Classes are the sub-folders; without any, the images in the folder itself have none. Whatever has a name that begins
    with a dot is passed over.

    Raises
    ------
    InvalidRecords
        Without images, for an empty sub-folder, for a folder in a folder, or for images both in the folder and in
        sub-folders.
    """
    children = _children(folder)
    classes = [child for child in children if child.is_dir()]
    loose = [child for child in children if child.is_file()]
    flat = [child for child in loose if _looks_like_an_image(child)]
    others = tuple(child.name for child in loose if child not in set(flat))
    if classes and flat:
        raise InvalidRecords(
            f"{folder} holds images, such as {flat[0].name}, beside sub-folders, such as {classes[0].name}. "
            "Put all images into sub-folders, one for each class, or all into the folder itself."
        )
    if not classes and not flat:
        raise InvalidRecords(
            f"{folder} holds no images. Put them there, or into sub-folders, one for each class."
        )
    images = [ImageFile(path, -1, path.name) for path in flat]
    for label, child in enumerate(classes):
        paths = _children(child)
        if not paths:
            raise InvalidRecords(
                f"{child} is empty. Every class needs an image; remove the sub-folder or fill it."
            )
        images += [ImageFile(path, label, f"{child.name}/{path.name}") for path in paths]
    odd = [image for image in images if not image.path.is_file()]
    refuse(
        f"{image.path} is not a file. A class's sub-folder may hold images only." for image in odd
    )
    return images, tuple(child.name for child in classes), others


def _children(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if not child.name.startswith("."))


def _looks_like_an_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES or is_dicom(path)


# ---------------------------------------------------------------- reading


def _header(file: ImageFile) -> _Header:
    header = _dicom_header(file) if is_dicom(file.path) else _picture_header(file)
    if header.width * header.height > MAX_PIXELS:
        raise InvalidRecords(
            f"{file.path} has {header.width}×{header.height} pixels. Allowed: {MAX_PIXELS:,} in all."
        )
    return header


def _dicom_header(file: ImageFile) -> _Header:
    try:
        found = dicom_header(file.path)
    except Unavailable:
        raise
    except Exception as error:  # whatever a damaged file makes a reader raise
        raise _unreadable(file, error) from error
    return _Header(found.width, found.height, found.colour, found.deep, False, found)


def _picture_header(file: ImageFile) -> _Header:
    with _open(file) as image:
        (width, height), mode = image.size, image.mode
        alpha = mode in ALPHA_MODES or "transparency" in image.info
        deep_channels = mode not in DEEP_MODES and _has_deep_channels(image)
    if deep_channels:
        raise InvalidRecords(
            f"{file.path} has colour or alpha of 16 bits a channel, which would lose the lower 8. Allowed: 8 bits a "
            "channel, or gray of 16 with a window; convert it."
        )
    if mode not in GRAY_MODES | DEEP_MODES | COLOUR_MODES:
        allowed = ", ".join(sorted(GRAY_MODES | DEEP_MODES | COLOUR_MODES))
        raise InvalidRecords(
            f"{file.path} has pixels of mode {mode}. Allowed: gray or colour ({allowed}); convert it."
        )
    return _Header(width, height, mode in COLOUR_MODES, mode in DEEP_MODES, alpha)


def _range_of(file: ImageFile, header: _Header) -> tuple[float, float]:
    if header.dicom is not None:
        try:
            return dicom_range(file.path)
        except Exception as error:  # whatever a damaged file makes a reader raise
            raise _unreadable(file, error) from error
    values = _deep_values(file)
    return float(values.min()), float(values.max())


def _deep_values(file: ImageFile) -> np.ndarray:
    with _open(file) as image:
        try:
            _check_rows(image)
            return np.asarray(image, dtype=np.float64)
        except Exception as error:  # whatever a damaged picture makes a decoder raise
            raise _unreadable(file, error) from error


def _read(file: ImageFile, header: _Header, layout: Layout) -> np.ndarray:
    """Pixels ``(height, width, channels) uint8``."""
    from PIL import Image

    mode = "L" if layout.channels == 1 else "RGB"
    if header.dicom is not None:
        try:
            pixels = Image.fromarray(dicom_pixels(file.path, layout.window)).convert(mode)
        except Exception as error:  # whatever a damaged file makes a reader raise
            raise _unreadable(file, error) from error
    elif header.deep:
        low, high = layout.window or (0.0, 65535.0)
        shares = np.clip((_deep_values(file) - low) / max(high - low, 1e-12), 0, 1)
        pixels = Image.fromarray(np.rint(shares * 255).astype(np.uint8)).convert(mode)
    else:
        with _open(file) as image:
            try:
                _check_rows(image)
                pixels = image.convert(mode)
            except Exception as error:  # whatever a damaged picture makes a decoder raise
                raise _unreadable(file, error) from error
    return _fitted(pixels, layout)


def _has_deep_channels(image: Image) -> bool:
    """Whether Pillow halves the depth of a file's channels when it reads them: its raw mode ends in ``;16…``."""
    for tile in getattr(image, "tile", ()):
        said = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if tile[0].startswith("ppm"):  # its second argument is the largest value
            return len(said) > 1 and isinstance(said[1], int) and said[1] > 255
        return isinstance(said[0], str) and ";16" in said[0]
    return False


def _check_rows(image: Image) -> None:
    """Refuse a PNG whose compressed stream ends before its last row: Pillow leaves such rows black and says nothing.

    The stream is counted only where one of the last two rows is black: the one before the last for interlaced files.
    """
    if image.format != "PNG":
        return
    last = np.asarray(image)[-2:]
    if last.reshape(len(last), -1).any(axis=1).all():
        return
    with open(image.filename, "rb") as file:  # type: ignore[attr-defined]
        got, needed = _png_bytes(file)
    if got < needed:
        raise ValueError(f"its pixels end after {got:,} of {needed:,} bytes")


_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""Passes of an interlaced PNG: first column and row, steps between columns and rows (PNG specification, section 8)."""

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def _png_bytes(file: IO[bytes]) -> tuple[int, int]:
    """How many bytes a PNG's pixels decompress to, counted up to the needed number, and the needed number."""
    file.seek(8)
    needed = got = 0
    stream = zlib.decompressobj()
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IDAT":
            rest = file.read(length)
            while rest and got < needed and not stream.eof:
                got += len(stream.decompress(rest, 2**20))
                rest = stream.unconsumed_tail
        elif kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">2I5B", file.read(13))
            bits = depth * _PNG_CHANNELS[colour]
            passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
            for left, top, across, down in passes:
                columns = max(0, -(-(width - left) // across))
                rows = max(0, -(-(height - top) // down)) if columns else 0
                needed += rows * (1 + (columns * bits + 7) // 8)
        else:
            file.seek(length, os.SEEK_CUR)
        file.seek(4, os.SEEK_CUR)  # the chunk's checksum, which Pillow has looked at
    return got + len(stream.flush()) if got < needed else got, needed


def _fitted(pixels: Image, layout: Layout) -> np.ndarray:
    """Pixels of the layout's size: bilinear, antialiased where it shrinks."""
    from PIL import Image

    if pixels.size != (layout.width, layout.height):
        pixels = pixels.resize((layout.width, layout.height), Image.Resampling.BILINEAR)
    return np.asarray(pixels).reshape(layout.height, layout.width, -1)


def resized(images: np.ndarray, width: int, height: int, channels: int) -> np.ndarray:
    """Images ``(N, H, W, C) uint8`` in another size or with other channels, by the filter for files."""
    from PIL import Image

    if images.shape[1:] == (height, width, channels):
        return images
    layout = Layout(width=width, height=height, channels=channels)
    made = np.empty((len(images), height, width, channels), dtype=np.uint8)
    for row, image in zip(made, images, strict=True):
        pixels = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
        row[:] = _fitted(pixels.convert("L" if channels == 1 else "RGB"), layout)
    return made


def _open(file: ImageFile) -> Image:
    from PIL import Image

    try:
        return Image.open(file.path, formats=FORMATS)
    except Exception as error:  # whatever a damaged picture makes a decoder raise
        raise _unreadable(file, error) from error


def _unreadable(file: ImageFile, error: Exception) -> InvalidRecords:
    return InvalidRecords(
        f"{file.path} is not a readable image ({type(error).__name__}: {error}). "
        f"Allowed: {', '.join(FORMATS)}, DICOM; remove or repair it."
    )
