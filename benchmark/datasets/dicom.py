"""DICOM files: pixels by their own rescale and window rules, the patient by PatientID, and nothing else.

Only the elements in :data:`ELEMENTS` are ever read from a header.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.contracts import Unavailable

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["DicomHeader", "dicom_header", "dicom_pixels", "dicom_range", "is_dicom"]

ELEMENTS = (
    *("PatientID", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration"),
    *("PhotometricInterpretation", "RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("ModalityLUTSequence", "VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth"),
    *("RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor"),
    *("BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData"),
    *("GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData"),
)

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True)
class DicomHeader:
    """Size in pixels, whether it has colour, whether its values need a window from elsewhere, and the patient."""

    width: int
    height: int
    colour: bool
    deep: bool
    patient: str


def is_dicom(path: Path) -> bool:
    """Whether the file has DICOM's mark after its preamble of 128 bytes."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:  # whoever reads it says so
        return False


def dicom_header(path: Path) -> DicomHeader:
    """What is known without the pixels.

    Raises
    ------
    Unavailable
        Without pydicom.
    ValueError
        When the file holds no single picture that this tool can show.
    """
    found = _read(path, pixels=False)
    for name in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"):
        if name not in found:
            raise ValueError(f"it has no {name}, so no picture")
    frames = int(found.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ValueError(f"it has {frames} frames; write one file for each picture")
    colour = int(found.SamplesPerPixel) == 3 or "PALETTE" in str(found.PhotometricInterpretation)
    own = "VOILUTSequence" in found or _window(found) is not None
    return DicomHeader(
        width=int(found.Columns),
        height=int(found.Rows),
        colour=colour,
        deep=not colour and not own,
        patient=str(found.get("PatientID") or "").strip(),
    )


def dicom_pixels(path: Path, window: tuple[float, float] | None) -> np.ndarray:
    """Pixels ``(H, W) uint8`` of a gray, ``(H, W, 3) uint8`` of a colour picture.

    Gray values are rescaled (PS3.3 C.11.1), then go through the file's own lookup table or window (C.11.2), or through
    ``window`` where it has none; MONOCHROME1, in which low values are bright, is turned over.

    Parameters
    ----------
    path : Path
    window : (float, float), optional
        Rescaled values that become 0 and 255 in a file without a window of its own.
    """
    found = _read(path, pixels=True)
    if int(found.SamplesPerPixel) == 3 or "PALETTE" in str(found.PhotometricInterpretation):
        return _colour(found)
    shares = _gray(found, window)
    if found.PhotometricInterpretation == "MONOCHROME1":
        shares = 1 - shares
    return np.rint(shares * 255).astype(np.uint8)


def dicom_range(path: Path) -> tuple[float, float]:
    """Least and greatest rescaled value."""
    values = _rescaled(_read(path, pixels=True))
    return float(values.min()), float(values.max())


def _read(path: Path, *, pixels: bool) -> Dataset:
    try:
        from pydicom import dcmread
    except ImportError as error:
        raise Unavailable(
            "DICOM files need pydicom. Type `pip install 'leakboard[pydicom]'`."
        ) from error
    wanted: list[Any] = [*ELEMENTS, *(_PIXELS if pixels else ())]
    return dcmread(path, stop_before_pixels=not pixels, specific_tags=wanted)


def _rescaled(found: Dataset) -> np.ndarray:
    from pydicom.pixels import apply_modality_lut

    return np.asarray(apply_modality_lut(found.pixel_array, found), dtype=np.float64)


def _gray(found: Dataset, window: tuple[float, float] | None) -> np.ndarray:
    """Shares of full brightness, in [0, 1]."""
    from pydicom.pixels import apply_voi

    if "VOILUTSequence" in found:
        bits = int(found.VOILUTSequence[0].LUTDescriptor[2])
        stored = _rescaled(found).astype(np.int64)
        return np.asarray(apply_voi(stored, found), dtype=np.float64) / (2**bits - 1)
    values, own = _rescaled(found), _window(found)
    if own is not None:
        return _windowed(values, *own, str(found.get("VOILUTFunction") or "LINEAR"))
    low, high = window or (float(values.min()), float(values.max()))
    return np.clip((values - low) / max(high - low, 1e-12), 0, 1)


def _window(found: Dataset) -> tuple[float, float] | None:
    """Centre and width of the first window that the file names."""
    centre, width = found.get("WindowCenter"), found.get("WindowWidth")
    if centre is None or width is None:
        return None
    first = [float(v) if isinstance(v, int | float | str) else float(v[0]) for v in (centre, width)]
    return first[0], first[1]


def _windowed(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """PS3.3 C.11.2.1.2 (LINEAR) and C.11.2.1.3 (SIGMOID, LINEAR_EXACT), onto [0, 1]."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - centre) / width))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    return np.clip((values - (centre - 0.5)) / max(width - 1, 1e-12) + 0.5, 0, 1)


def _colour(found: Dataset) -> np.ndarray:
    from pydicom.pixels import apply_color_lut

    if "PALETTE" in str(found.PhotometricInterpretation):
        values = np.asarray(apply_color_lut(found.pixel_array, found))[..., :3]
        bits = int(found.RedPaletteColorLookupTableDescriptor[2])
        return np.rint(values * (255 / (2**bits - 1))).astype(np.uint8)
    values = np.asarray(found.pixel_array)  # as RGB, whatever the file's own colour space
    return np.rint(values * (255 / (2 ** int(found.BitsStored) - 1))).astype(np.uint8)
