"""Records of one's own: what is read, and that bad input is refused with a message that helps."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import ValidationError

from benchmark.conformance import checks_for
from benchmark.contracts import Context, DatasetMissing, InvalidRecords
from benchmark.datasets.files import Files

CONTEXT = Context(seed=0)


def image_arrays(n: int = 6, **changes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {
        "images": rng.integers(0, 256, (n, 5, 4, 3), dtype=np.uint8),
        "labels": np.arange(n) % 3,
    }
    return {**made, **changes}


def feature_arrays(n: int = 6, **changes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {"features": rng.standard_normal((n, 4)), "labels": np.arange(n) % 3}
    return {**made, **changes}


def with_test(features: np.ndarray, labels: list[int]) -> dict[str, np.ndarray]:
    return feature_arrays(test_features=features, test_labels=np.array(labels))


def saved(tmp_path: Path, arrays: dict[str, np.ndarray]) -> str:
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, **arrays)
    return str(path)


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("gray", [False, True])
def test_images(tmp_path, gray):
    made = image_arrays()
    if gray:
        made["images"] = made["images"][..., 0]
    dataset = Files(path=saved(tmp_path, made))
    content = dataset.load(CONTEXT)
    assert dataset.kind == content.pool.kind == "image"
    np.testing.assert_array_equal(content.pool.data.squeeze(), made["images"].squeeze())
    np.testing.assert_array_equal(content.pool.labels, made["labels"])
    assert content.pool.groups is None and content.test is None
    assert content.classes == ("0", "1", "2")


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f8"])
def test_features_with_everything(tmp_path, dtype):
    made = feature_arrays(
        groups=np.array([7, 7, 8, 8, 9, 9], dtype=np.uint16),
        classes=np.array(["cat", "dog", "emu"]),
        test_features=np.ones((2, 4), dtype=np.float32),
        test_labels=np.array([2, 0], dtype=np.int8),
    )
    made["features"] = made["features"].astype(dtype)
    dataset = Files(path=saved(tmp_path, made))
    content = dataset.load(CONTEXT)
    assert dataset.kind == content.pool.kind == "feature"
    np.testing.assert_array_equal(content.pool.data, made["features"].astype(np.float32))
    np.testing.assert_array_equal(content.pool.groups, [7, 7, 8, 8, 9, 9])
    np.testing.assert_array_equal(content.test.labels, [2, 0])
    assert content.classes == ("cat", "dog", "emu")
    assert content.pool.extractor == content.test.extractor == "native"


def test_conformance(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for check in checks_for(Files(path=saved(tmp_path, image_arrays()))):
        check(scratch)


def test_who_runs_it_says_whether_it_is_public_and_under_which_licence(tmp_path):
    path = saved(tmp_path, image_arrays())
    assert Files(path=path).public is False
    shown = Files(path=path, public=True, licence="CC BY 4.0")
    assert shown.public is True
    assert shown.licence == "CC BY 4.0"
    assert shown.parameters() == {
        "path": path,
        "public": True,
        "licence": "CC BY 4.0",
        "size": None,
        "window": None,
        "patients": None,
        "patient_from": None,
        "max_gb": 4.0,
    }
    assert Files(**shown.parameters()) == shown
    with pytest.raises(ValidationError, match="public"):
        Files(path=path, public="yes")


def test_fingerprint_follows_the_content(tmp_path):
    path = saved(tmp_path, image_arrays())
    first = Files(path=path).fingerprint()
    (tmp_path / "mine.npz").rename(tmp_path / "other.npz")
    assert Files(path=str(tmp_path / "other.npz")).fingerprint() == first
    made = image_arrays()
    made["images"][0, 0, 0, 0] ^= 1
    assert Files(path=saved(tmp_path, made)).fingerprint() != first


def test_kind_is_told_without_reading_arrays(tmp_path, monkeypatch):
    dataset = Files(path=saved(tmp_path, feature_arrays()))

    def forbidden(*arguments, **keywords):
        raise AssertionError("data were loaded")

    monkeypatch.setattr(np, "load", forbidden)
    assert dataset.kind == "feature"


def test_the_fingerprint_refuses_bad_content_before_anything_runs(tmp_path):
    bad = feature_arrays()
    bad["features"] = bad["features"].copy()
    bad["features"][2, 1] = np.nan
    with pytest.raises(InvalidRecords, match="NaN"):
        Files(path=saved(tmp_path, bad)).fingerprint()


# ---------------------------------------------------------------- bad .npz files

NAN = feature_arrays()["features"].copy()
NAN[[2, 4], 1] = np.nan
INFINITE = feature_arrays()["features"].copy()
INFINITE[5] = -np.inf
HUGE = feature_arrays()["features"].copy()
HUGE[3, 0] = 1e300
OBJECTS = np.array([{"a": 1}] * 6, dtype=object)

BAD_HEADERS = [
    (feature_arrays(features=OBJECTS), "'features' holds Python objects"),
    (image_arrays(labels=OBJECTS), "'labels' holds Python objects"),
    (image_arrays(extra=np.zeros(3)), "unknown key 'extra'. Allowed: images, features, labels"),
    (image_arrays(label=np.zeros(6, int)), "unknown key 'label'"),
    ({"labels": np.arange(3)}, "got the keys labels. Needed: either images or features"),
    ({**image_arrays(), **feature_arrays()}, "Needed: either images or features"),
    ({}, "got the keys of an empty file"),
    ({"images": image_arrays()["images"]}, "key 'labels' is missing"),
    (image_arrays(images=np.zeros((6, 5, 4, 3))), r"'images' is float64 \(6, 5, 4, 3\). Allowed: uint8"),
    (image_arrays(images=np.zeros((6, 5, 4, 2), np.uint8)), r"\(6, 5, 4, 2\).* C of 1 or 3"),
    (image_arrays(images=np.zeros((6, 20), np.uint8)), r"'images' is uint8 \(6, 20\)"),
    (image_arrays(images=np.zeros((0, 5, 4, 3), np.uint8)), "none of them empty"),
    (feature_arrays(features=np.zeros((6, 2, 2))), r"'features' is float64 \(6, 2, 2\). Allowed"),
    (feature_arrays(features=np.zeros((6, 4), np.int32)), "'features' is int32"),
    (feature_arrays(features=np.zeros((6, 4), np.float16)), "'features' is float16"),
    (feature_arrays(features=np.zeros((6, 4), complex)), "'features' is complex128"),
    (feature_arrays(features=np.zeros((6, 0))), "neither of them 0"),
    (feature_arrays(labels=np.arange(5)), r"'labels' is int64 \(5,\). Allowed: integers of shape \(6,\)"),
    (feature_arrays(labels=np.arange(6.0)), "'labels' is float64"),
    (feature_arrays(labels=np.zeros(6, bool)), "'labels' is bool"),
    (feature_arrays(labels=np.array(list("abcdef"))), "'labels' is <U1"),
    (feature_arrays(labels=np.zeros((6, 1), int)), r"'labels' is int64 \(6, 1\)"),
    (feature_arrays(groups=np.arange(7)), r"'groups' is int64 \(7,\). Allowed: integers or text of shape \(6,\)"),
    (feature_arrays(groups=np.arange(6.0)), "'groups' is float64"),
    (feature_arrays(classes=np.arange(3)), "'classes' is int64 .*Allowed: text"),
    (feature_arrays(test_features=np.zeros((2, 4))), "got test_features. A test split needs just test_features, test"),
    ({**feature_arrays(), "test_images": np.zeros((2, 4, 4), np.uint8)}, "A test split needs just test_features"),
    (with_test(np.zeros((2, 5)), [0, 0]), r"'test_features' is float64 \(2, 5\).*: the record shape of features"),
    (with_test(np.zeros((2, 4)), [0, 0, 0]), r"'test_labels' is int64 \(3,\)"),
]  # fmt: skip

BAD_VALUES = [
    (feature_arrays(features=NAN), "'features' has NaN.* in 2 of 6 records, the first at row 2"),
    (feature_arrays(features=INFINITE), "infinity.* in 1 of 6 records, the first at row 5"),
    (feature_arrays(features=HUGE), "beyond float32 in 1 of 6 records, the first at row 3"),
    (with_test(NAN, [0] * 6), "'test_features' has NaN"),
    (feature_arrays(labels=np.array([0, 1, -1, 0, 1, 1])), "'labels' holds -1. Allowed: 0 and above"),
    (feature_arrays(labels=np.array([0, 2, 2, 0, 2, 2])), "no record of class 1. Every class from 0 to 2"),
    (feature_arrays(labels=np.array([1, 2, 1, 2, 1, 2])), "no record of class 0"),
    (feature_arrays(labels=np.array([0, 2**62, 0, 0, 0, 0])), "no record of class 1"),
    (feature_arrays(labels=np.array([0, 2**64 - 1, 0, 0, 0, 0], np.uint64)), "no record of class 1"),
    (feature_arrays(classes=np.array(list("abcd"))), r"no record of class 3 \('d'\). Every class from 0 to 3"),
    (feature_arrays(classes=np.array(["a", "b"])), "holds 2, but 'classes' names 2 labels. Allowed: 0 to 1"),
    (feature_arrays(classes=np.array(["a", "b", "a"])), "'classes' holds a name twice"),
    (with_test(np.zeros((2, 4)), [0, 3]), "'test_labels' holds 3. Allowed: the labels of the pool, 0 to 2"),
    (with_test(np.zeros((2, 4)), [0, -3]), "'test_labels' holds -3"),
    (feature_arrays(groups=np.full(6, 2**63, np.uint64)), r"holds 9223372036854775808. Allowed: below 2\*\*63"),
]  # fmt: skip


def check_message(error: pytest.ExceptionInfo, path: str) -> None:
    message = str(error.value)
    assert path in message
    assert len(message) < 600 and "\n" not in message


@pytest.mark.parametrize("made, message", BAD_HEADERS)
def test_wrong_types_and_shapes_are_refused_before_anything_is_loaded(tmp_path, made, message):
    path = saved(tmp_path, made)
    for action in (Files(path=path).fingerprint, lambda: Files(path=path).load(CONTEXT)):
        with pytest.raises(InvalidRecords, match=message) as error:
            action()
        check_message(error, path)


@pytest.mark.parametrize("made, message", BAD_VALUES)
def test_wrong_values_are_refused(tmp_path, made, message):
    path = saved(tmp_path, made)
    with pytest.raises(InvalidRecords, match=message) as error:
        Files(path=path).load(CONTEXT)
    check_message(error, path)


def test_a_pickle_is_never_loaded(tmp_path):
    marker = tmp_path / "executed"

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (marker,))

    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("features.npy", pickle.dumps(Bomb()))
    with pytest.raises(InvalidRecords, match=r"not a readable \.npz"):
        Files(path=str(path)).load(CONTEXT)
    np.savez(path, **feature_arrays(features=np.array([Bomb()] * 6, dtype=object)))
    with pytest.raises(InvalidRecords, match="Python objects"):
        Files(path=str(path)).load(CONTEXT)
    assert not marker.exists()


def with_header(shape: tuple[int, ...], payload: bytes) -> bytes:
    """A .npy entry whose header says uint8 of ``shape``."""
    buffer = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + payload


def npz_of(tmp_path: Path, entries: list[tuple[str, bytes]]) -> str:
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return str(path)


def test_a_zip_bomb_is_refused_by_its_declared_size(tmp_path):
    n = 40_000_000
    entries = [("images.npy", with_header((n, 1, 1, 1), b"\0" * n))]
    path = npz_of(tmp_path, entries)
    assert Path(path).stat().st_size < 100_000
    with pytest.raises(InvalidRecords, match=r"would take 0.04 GB. Allowed: 0.01 GB"):
        Files(path=path, max_gb=0.01).fingerprint()


@pytest.mark.parametrize(
    "shape", [(10**12, 1, 1, 1), (2**40, 2**40, 1, 1), (-5, 1, 1, 1), (3, 1, 1, 1)]
)
def test_a_header_that_does_not_fit_its_entry_is_refused(tmp_path, shape):
    path = npz_of(tmp_path, [("images.npy", with_header(shape, b"\0" * 5))])
    with pytest.raises(InvalidRecords, match=r"'images' declares uint8 .* but holds 5 bytes"):
        Files(path=path).load(CONTEXT)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_key_that_comes_twice_is_refused(tmp_path):
    entry = ("images.npy", with_header((1, 1, 1, 1), b"\0"))
    with pytest.raises(InvalidRecords, match="'images' comes twice"):
        Files(path=npz_of(tmp_path, [entry, entry])).kind  # noqa: B018


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04 cut"])
def test_what_is_no_npz_is_refused(tmp_path, content):
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidRecords, match=r"not a readable .npz file.* numpy.savez"):
        Files(path=str(path)).kind  # noqa: B018


def test_flipped_bits_in_the_compressed_data_are_noticed(tmp_path):
    path = Path(saved(tmp_path, image_arrays(300)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InvalidRecords, match=r"damaged|not a readable"):
        Files(path=str(path)).load(CONTEXT)


def test_missing_path_says_what_is_wanted(tmp_path):
    for action in ("fingerprint", "kind"):
        with pytest.raises(
            DatasetMissing, match=r"no file or folder .*absent.* Give a folder.* `path`"
        ):
            getattr(Files(path=str(tmp_path / "absent.npz")), action)()


def test_size_is_for_images(tmp_path):
    with pytest.raises(InvalidRecords, match="Leave `size` out"):
        Files(path=saved(tmp_path, feature_arrays()), size=8).load(CONTEXT)


def test_size_means_the_same_for_arrays_and_files(tmp_path):
    arrays = image_arrays(labels=np.zeros(6, int))
    for i, image in enumerate(arrays["images"]):
        path = tmp_path / "folder" / "all" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    of_arrays = Files(path=saved(tmp_path, arrays), size=3).load(CONTEXT)
    of_files = Files(path=str(tmp_path / "folder"), size=3).load(CONTEXT)
    np.testing.assert_array_equal(of_arrays.pool.data, of_files.pool.data)


def test_groups_may_be_text(tmp_path):
    names = np.array(["P07", "P7", "P07", "a", "P7", "a"])
    content = Files(path=saved(tmp_path, image_arrays(groups=names))).load(CONTEXT)
    np.testing.assert_array_equal(content.pool.groups, [0, 1, 0, 2, 1, 2])


# ---------------------------------------------------------------- folders


@pytest.fixture
def folder(tmp_path):
    """Two classes of 6×4 gray images, with things that are passed over."""
    rng = np.random.default_rng(0)
    pixels = {}
    for name in ("cat/2.png", "cat/1.png", "dog/1.bmp"):
        pixels[name] = rng.integers(0, 256, (4, 6), dtype=np.uint8)
        path = tmp_path / "pets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[name]).save(path)
    (tmp_path / "pets/README.txt").write_text("pets")
    (tmp_path / "pets/.git").mkdir()
    (tmp_path / "pets/cat/.DS_Store").write_bytes(b"x")
    return tmp_path / "pets", pixels


def test_folder_of_gray_images(folder):
    place, pixels = folder
    dataset = Files(path=str(place))
    content = dataset.load(CONTEXT)
    assert dataset.kind == "image"
    assert content.classes == ("cat", "dog")
    np.testing.assert_array_equal(content.pool.labels, [0, 0, 1])
    expected = [pixels["cat/1.png"], pixels["cat/2.png"], pixels["dog/1.bmp"]]
    np.testing.assert_array_equal(content.pool.data[..., 0], expected)


def test_one_colour_image_makes_all_rgb(folder):
    place, pixels = folder
    colours = np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(colours).save(place / "dog/2.png")
    content = Files(path=str(place)).load(CONTEXT)
    assert content.pool.data.shape == (4, 4, 6, 3)
    np.testing.assert_array_equal(content.pool.data[3], colours)
    np.testing.assert_array_equal(content.pool.data[0], np.stack([pixels["cat/1.png"]] * 3, -1))


def test_resizing_averages(folder):
    place, _ = folder
    half = np.zeros((8, 8), dtype=np.uint8)
    half[:, 4:] = 200
    Image.fromarray(half).save(place / "dog/3.png")
    content = Files(path=str(place), size=2).load(CONTEXT)
    assert content.pool.data.shape == (4, 2, 2, 1)
    left, right = content.pool.data[3, 0, :, 0]
    assert left < 40 and right > 160
    assert int(left) + int(right) == pytest.approx(200, abs=2)


def test_folder_fingerprint_is_of_names_and_contents(folder):
    place, _ = folder
    first = Files(path=str(place)).fingerprint()
    (place / "README.txt").write_text("changed")
    assert Files(path=str(place)).fingerprint() == first
    (place / "cat/1.png").rename(place / "dog/9.png")
    assert Files(path=str(place)).fingerprint() != first


def test_folder_refusals_name_the_odd_file(folder):
    place, _ = folder

    def refused(path, make, message, **parameters):
        make(place / path)
        with pytest.raises(InvalidRecords, match=message) as error:
            Files(path=str(place), **parameters).load(CONTEXT)
        assert path in str(error.value)
        odd = place / path
        odd.rmdir() if odd.is_dir() else odd.unlink()

    gray = Image.new("L", (3, 4))
    refused("dog/odd.png", gray.save, r"has 3×4 pixels, but .*cat/1.png has 6×4. .*`size`")
    refused("dog/notes.txt", lambda p: p.write_text("hello"), "not a readable image")
    refused("dog/nested", lambda p: p.mkdir(), "may hold images only")
    refused("emu", lambda p: p.mkdir(), "is empty. Every class needs an image")
    refused("dog/float.tif", Image.new("F", (6, 4)).save, "mode F. Allowed: gray or colour")
    refused("dog/code.eps", Image.new("RGB", (6, 4)).save, "not a readable image")

    def cut(path):
        buffer = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 256, (4, 6), dtype=np.uint8)
        Image.fromarray(noise).save(buffer, "PNG")
        path.write_bytes(buffer.getvalue()[:50])

    refused("dog/cut.png", cut, "not a readable image")


def test_folder_limits_are_checked_from_headers(folder, monkeypatch):
    place, _ = folder
    with pytest.raises(InvalidRecords, match=r"3 images of \(1000, 1000, 1\) would take 0.003 GB"):
        Files(path=str(place), size=1000, max_gb=0.001).load(CONTEXT)
    monkeypatch.setattr("benchmark.datasets.image_folder.MAX_PIXELS", 23)
    with pytest.raises(InvalidRecords, match=r"1.png has 6×4 pixels. Allowed: 23 in all"):
        Files(path=str(place)).load(CONTEXT)


def test_folder_without_sub_folders_is_refused(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "1.png")
    with pytest.raises(InvalidRecords, match=r"no sub-folders and no table .* labels.csv"):
        Files(path=str(tmp_path)).load(CONTEXT)


def test_all_odd_files_are_named_at_once(folder):
    place, _ = folder
    for i in range(30):
        (place / f"dog/odd{i:02}.png").write_text("no picture")
    with pytest.raises(InvalidRecords, match="30 files cannot be used") as error:
        Files(path=str(place)).load(CONTEXT)
    assert "odd00.png" in str(error.value) and "… and 10 more" in str(error.value)


def test_deep_gray_goes_through_a_window(tmp_path):
    values = np.array([[[100, 200], [300, 1100]], [[100, 600], [100, 100]]], dtype=np.uint16)
    for i, image in enumerate(values):
        (tmp_path / "all").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "all" / f"{i}.png")
    whole = Files(path=str(tmp_path)).load(CONTEXT).pool.data[..., 0]
    np.testing.assert_array_equal(whole, np.rint((values - 100.0) / 1000 * 255))
    narrow = Files(path=str(tmp_path), window=[200, 400]).load(CONTEXT).pool.data[..., 0]
    np.testing.assert_array_equal(narrow[0], [[0, 0], [128, 255]])


# ---------------------------------------------------------------- tables beside records


def test_a_flat_folder_with_its_labels(tmp_path):
    for name in ("a1.png", "a2.png", "b1.png"):
        Image.new("L", (4, 4), ord(name[0])).save(tmp_path / name)
    table = tmp_path / "labels.csv"
    table.write_text("file;label;patient\nb1.png;ill;007\na1.png;well;7\na2.png;well;007\n")
    dataset = Files(path=str(tmp_path))
    content = dataset.load(CONTEXT)
    assert content.classes == ("ill", "well")
    np.testing.assert_array_equal(content.pool.labels, [1, 1, 0])
    np.testing.assert_array_equal(content.pool.groups, [1, 0, 0])
    first = dataset.fingerprint()
    table.write_text(table.read_text().replace("a1.png;well;7", "a1.png;well;8"))
    assert dataset.fingerprint() != first


def test_patients_by_table_and_by_pattern_agree(folder, tmp_path):
    place, _ = folder
    table = tmp_path / "patients.csv"
    table.write_text("File,Patient_ID,date\ncat/1.png,x,2020\ndog/1.bmp,x,2021\n2.png,y,\n")
    content = Files(path=str(place), patients=str(table)).load(CONTEXT)
    np.testing.assert_array_equal(content.pool.groups, [0, 1, 0])
    content = Files(path=str(place), patient_from=r"/(?P<patient>\d)").load(CONTEXT)
    np.testing.assert_array_equal(content.pool.groups, [0, 1, 0])
    arrays = Path(saved(tmp_path, image_arrays(3)))
    table.write_text("row,patient\n2,x\n0,y\n1,y\n")
    content = Files(path=str(arrays), patients=str(table)).load(CONTEXT)
    np.testing.assert_array_equal(content.pool.groups, [1, 1, 0])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_of_features(tmp_path, suffix):
    frame = pd.DataFrame(
        {"x": [0.5, 1.5, 2.5], "label": [10, 9, 10], "y": [1, 2, 3], "patient": ["01", "1", "01"]}
    )
    path = tmp_path / f"table{suffix}"
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    dataset = Files(path=str(path))
    content = dataset.load(CONTEXT)
    assert dataset.kind == "feature" and content.classes == ("9", "10")
    np.testing.assert_array_equal(content.pool.data, [[0.5, 1], [1.5, 2], [2.5, 3]])
    np.testing.assert_array_equal(content.pool.labels, [1, 0, 1])
    np.testing.assert_array_equal(content.pool.groups, [0, 1, 0])


BAD_TABLES = [
    ("file,patient\ncat/1.png,x\ncat/2.png,y\ndog/9.png,z\n", "dog/9.png match no file of"),
    ("file,patient\ncat/1.png,x\ncat/2.png,y\n", "has no line for dog/1.bmp of"),
    ("file,patient\n1,x\ncat/2.png,y\n1,x\n", "1, 1 match more than one file"),
    ("file,patient\ncat/1.png,x\ncat/1.png,x\ncat/2.png,y\n", "two lines for cat/1.png"),
    ("file,patient\ncat/1.png,\ncat/2.png,y\ndog/1.bmp,y\n", "no patient for cat/1.png"),
    ("patient,label\nx,y\n", "either a column `file` or a column `row`"),
    ("file\ncat/1.png\n", "says nothing of its records"),
    ("file,patient\ncat/1.png\n", "record 1 has 1 cells. Allowed: 2"),
    ("file,file\n1,2\n", "distinct column names"),
    ("", "distinct column names"),
    ("row,patient\n0,x\n1,x\n7,x\n", "7 match no row"),
]


@pytest.mark.parametrize("text, message", BAD_TABLES)
def test_tables_that_do_not_fit_are_refused(folder, tmp_path, text, message):
    place, _ = folder
    table = tmp_path / "patients.csv"
    table.write_text(text)
    with pytest.raises(InvalidRecords, match=message):
        Files(path=str(place), patients=str(table)).fingerprint()


@pytest.mark.parametrize(
    "pattern, message",
    [
        ("(", "no regular expression"),
        (r"\d+", "no group `patient`"),
        ("(?P<patient>c)a", "dog/1.bmp"),
    ],
)
def test_patterns_that_do_not_fit_are_refused(folder, pattern, message):
    with pytest.raises(InvalidRecords, match=message):
        Files(path=str(folder[0]), patient_from=pattern).load(CONTEXT)


def test_tables_of_features_are_refused_when_they_cannot_be_used(tmp_path):
    path = tmp_path / "table.csv"
    for text, message in [
        ("label,date\n1,2020\n", "no numeric columns"),
        ("label,x\n1,0.5\n0,\n", "empty cells"),
        ("label,x\n1,0.5\n,1\n", "'label' has empty cells, the first at row 1"),
        ("label,x\n", "has no rows"),
    ]:
        path.write_text(text)
        with pytest.raises(InvalidRecords, match=message):
            Files(path=str(path)).load(CONTEXT)
    path.write_text("label,x\n0,1\n1,2\n")
    with pytest.raises(InvalidRecords, match=r"would take .* Allowed: 1e-09 GB"):
        Files(path=str(path), max_gb=1e-9).load(CONTEXT)
