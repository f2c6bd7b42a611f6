"""Small cohorts of drawn images, as a custodian would hand them over."""

from pathlib import Path

import numpy as np
from PIL import Image


def pictures(n: int, seed: int, side: int = 8) -> np.ndarray:
    """Gray noise, ``(n, side, side) uint8``."""
    return np.random.default_rng(seed).integers(0, 256, (n, side, side), dtype=np.uint8)


def write_folder(folder: Path, images: np.ndarray, names: list[str] | None = None) -> Path:
    """One PNG each, in ``folder`` itself; names may hold a class, as in ``ill/1.png``."""
    for i, image in enumerate(images):
        path = folder / (names[i] if names else f"{i:04}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def write_cohort(root: Path, n: int = 40, **more: np.ndarray) -> dict[str, Path]:
    """Folders of members, controls and a release, ``n`` images each; ``more`` by name."""
    names = ("members", "controls", "release")
    images = {name: pictures(n, seed) for seed, name in enumerate(names)} | more
    return {name: write_folder(root / name, own) for name, own in images.items()}


def write_dicom(folder: Path, images: np.ndarray, patients: list[str]) -> Path:
    """One file each, with the patient and a name that nobody must see in its header."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    folder.mkdir(parents=True)
    for i, (image, patient) in enumerate(zip(images, patients, strict=True)):
        made = Dataset()
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        made.file_meta.MediaStorageSOPInstanceUID = f"1.2.{i}"
        made.PatientID, made.PatientName = patient, "Secret^Name"
        made.Rows, made.Columns = image.shape[:2]
        made.SamplesPerPixel, made.PlanarConfiguration = 3, 0
        made.PhotometricInterpretation = "RGB"
        made.BitsAllocated = made.BitsStored = 8
        made.HighBit, made.PixelRepresentation = 7, 0
        made.PixelData = image.tobytes()
        made.save_as(folder / f"{i:04}.dcm", enforce_file_format=True)
    return folder
