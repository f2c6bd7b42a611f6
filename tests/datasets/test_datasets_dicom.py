"""DICOM files: pixels by their own rules, the patient, and nothing else of the header."""

from pathlib import Path

import numpy as np
import pytest

from benchmark.contracts import Context, InvalidRecords
from benchmark.datasets.dicom import ELEMENTS, dicom_header, dicom_pixels
from benchmark.datasets.files import Files

pydicom = pytest.importorskip("pydicom")

CONTEXT = Context(seed=0)
VALUES = np.array([[0, 100, 200], [1000, 2000, 4095]], dtype=np.uint16)


def written(path: Path, values: np.ndarray = VALUES, **elements) -> Path:
    """A DICOM file with a header full of what nobody must see."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    made.PatientName, made.PatientBirthDate = "Secret^Name", "19500101"
    made.InstitutionName = "Secret Hospital"
    made.PatientID = "P07"
    made.Rows, made.Columns = values.shape[:2]
    made.SamplesPerPixel = 3 if values.ndim == 3 else 1
    made.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    made.BitsAllocated = 8 * values.dtype.itemsize
    made.BitsStored = 8 if values.dtype.itemsize == 1 else 12
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, 0
    if values.ndim == 3:
        made.PlanarConfiguration = 0
    made.PixelData = values.tobytes()
    for name, value in elements.items():
        setattr(made, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_agree_with_pydicom(tmp_path, function):
    window = {"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": function}
    rescale = {"RescaleSlope": 0.5, "RescaleIntercept": -100, "RescaleType": "HU"}
    path = written(tmp_path / "a.dcm", **rescale, **window)
    whole = pydicom.dcmread(path)
    hounsfield = VALUES * 0.5 - 100
    low, high = -100.0, 4095 * 0.5 - 100  # the range that pydicom spreads the window over
    shares = (pydicom.pixels.apply_windowing(hounsfield, whole) - low) / (high - low)
    np.testing.assert_array_equal(dicom_pixels(path, None), np.rint(shares * 255).astype(np.uint8))
    assert not dicom_header(path).deep


def test_a_window_by_hand(tmp_path):
    path = written(tmp_path / "a.dcm", WindowCenter=[100.5, 7], WindowWidth=[201, 7])
    # (x − (c − 0.5)) / (w − 1) + 0.5: 0 → 0, 100 → 0.5, 200 → 1
    np.testing.assert_array_equal(dicom_pixels(path, None), [[0, 128, 255], [255, 255, 255]])
    path = written(
        tmp_path / "b.dcm",
        WindowCenter=100.5,
        WindowWidth=201,
        PhotometricInterpretation="MONOCHROME1",
    )
    np.testing.assert_array_equal(dicom_pixels(path, None), [[255, 128, 0], [0, 0, 0]])


def test_without_a_window_the_layouts_is_used(tmp_path):
    path = written(tmp_path / "a.dcm", RescaleSlope=2, RescaleIntercept=-1000, RescaleType="HU")
    assert dicom_header(path).deep
    expected = np.clip((VALUES * 2.0 - 1000) / 1000, 0, 1) * 255
    np.testing.assert_array_equal(dicom_pixels(path, (0, 1000)), np.rint(expected))


def test_colour(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    path = written(tmp_path / "a.dcm", values)
    assert dicom_header(path).colour
    np.testing.assert_array_equal(dicom_pixels(path, None), values)


def test_a_folder_of_dicom_files(tmp_path):
    for i, patient in enumerate(["007", "7", "007"]):
        written(tmp_path / "all" / f"IM{i}", (VALUES // 2 + i).astype(np.uint16), PatientID=patient)
    content = Files(path=str(tmp_path)).load(CONTEXT)
    np.testing.assert_array_equal(content.pool.groups, [0, 1, 0])
    expected = np.rint((VALUES // 2 + 1.0) / (2047 + 2) * 255)
    np.testing.assert_array_equal(content.pool.data[1, ..., 0], expected)


def test_nothing_else_of_the_header_is_read(tmp_path, monkeypatch):
    seen = []
    real = pydicom.dcmread

    def spied(*arguments, **keywords):
        found = real(*arguments, **keywords)
        seen.append({element.keyword for element in found})
        return found

    monkeypatch.setattr(pydicom, "dcmread", spied)
    path = written(tmp_path / "all" / "a.dcm")
    Files(path=str(tmp_path)).load(CONTEXT)
    assert seen and set.union(*seen) <= {*ELEMENTS, "PixelData"}
    assert "Secret" not in repr(dicom_header(path))


def test_what_is_no_single_picture_is_named(tmp_path):
    written(tmp_path / "all" / "film.dcm", NumberOfFrames=2)
    path = written(tmp_path / "all" / "cut.dcm")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InvalidRecords, match=r"film.dcm .*2 frames; write one file") as error:
        Files(path=str(tmp_path)).load(CONTEXT)
    assert "Secret" not in str(error.value)
    (tmp_path / "all" / "film.dcm").unlink()
    with pytest.raises(InvalidRecords, match=r"cut.dcm is not a readable image"):
        Files(path=str(tmp_path)).load(CONTEXT)
