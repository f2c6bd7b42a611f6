"""MedMNIST from files in the published layout, made small here."""

import builtins
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from benchmark.conformance import checks_for
from benchmark.contracts import Context, DatasetMissing, InvalidRecords, Unavailable
from benchmark.datasets import medmnist as module
from benchmark.datasets.medmnist import FLAGS, Flag, MedMNIST

NUMBERS = (6, 4, 5)


@pytest.fixture
def small(monkeypatch):
    """The published facts of two flags with few records."""
    path = Flag(NUMBERS, 3, ("a", "b", "c"))
    breast = Flag(NUMBERS, 1, ("malignant", "normal, benign"))
    monkeypatch.setattr(module, "FLAGS", {"pathmnist": path, "breastmnist": breast})


def arrays(size: int = 28, colour: bool = True, classes: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {}
    for split, n in zip(("train", "val", "test"), NUMBERS, strict=True):
        shape = (n, size, size, 3) if colour else (n, size, size)
        made[f"{split}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
        made[f"{split}_labels"] = (np.arange(n, dtype=np.uint8) % classes)[:, np.newaxis]
    return made


def test_pool_is_training_then_validation(tmp_path, small):
    made = arrays()
    np.savez(tmp_path / "pathmnist.npz", **made)
    content = MedMNIST(flag="pathmnist", root=str(tmp_path)).load(Context(seed=0))
    np.testing.assert_array_equal(content.pool.data[:6], made["train_images"])
    np.testing.assert_array_equal(content.pool.data[6:], made["val_images"])
    np.testing.assert_array_equal(content.pool.labels, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    np.testing.assert_array_equal(content.test.data, made["test_images"])
    np.testing.assert_array_equal(content.test.labels, [0, 1, 2, 0, 1])
    assert content.classes == ("a", "b", "c")


def test_gray_images_get_a_channel_and_sizes_are_in_the_name(tmp_path, small):
    made = arrays(64, colour=False, classes=2)
    np.savez_compressed(tmp_path / "breastmnist_64.npz", **made)
    dataset = MedMNIST(**MedMNIST.from_variant("breastmnist@64"), root=str(tmp_path))
    content = dataset.load(Context(seed=0))
    assert content.pool.data.shape == (10, 64, 64, 1)
    np.testing.assert_array_equal(content.test.data[..., 0], made["test_images"])


def test_conformance(tmp_path, small):
    np.savez(tmp_path / "pathmnist.npz", **arrays())
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for check in checks_for(MedMNIST(flag="pathmnist", root=str(tmp_path))):
        check(scratch)


def test_fingerprint_follows_the_content(tmp_path, small):
    dataset = MedMNIST(flag="pathmnist", root=str(tmp_path))
    np.savez(tmp_path / "pathmnist.npz", **arrays())
    before = dataset.fingerprint()
    changed = arrays()
    changed["val_labels"][0] = 2
    np.savez(tmp_path / "pathmnist.npz", **changed)
    assert dataset.fingerprint() != before


def test_variants():
    assert MedMNIST.from_variant("pathmnist") == {"flag": "pathmnist"}
    assert MedMNIST.from_variant("pathmnist@64") == {"flag": "pathmnist", "size": 64}
    for wrong in ("pathmnist@", "pathmnist@big", "pathmnist@-1"):
        with pytest.raises(ValueError, match="pathmnist@64"):
            MedMNIST.from_variant(wrong)


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"flag": "chestmnist"}, "14 yes/no labels"),
        ({"flag": "pathmnits"}, "use one of pathmnist"),
        ({"flag": "organmnist3d"}, "use one of pathmnist"),
        ({"flag": "pathmnist", "size": 32}, "use one of 28, 64, 128, 224"),
    ],
)
def test_wrong_parameters_are_refused(parameters, message):
    with pytest.raises(ValidationError, match=message):
        MedMNIST(**parameters)


def without(key):
    return {k: v for k, v in arrays().items() if k != key}


@pytest.mark.parametrize(
    "made, message",
    [
        (without("val_labels"), "key 'val_labels' is missing"),
        (
            arrays(64),
            r"'train_images' is uint8 \(6, 64, 64, 3\). Published: uint8 \(6, 28, 28, 3\)",
        ),
        (arrays(colour=False), r"'train_images' is uint8 \(6, 28, 28\)"),
        (
            {**arrays(), "test_images": arrays()["test_images"][:3]},
            r"'test_images' is uint8 \(3, 28, 28, 3\). Published: uint8 \(5, 28, 28, 3\)",
        ),
        (
            {**arrays(), "val_labels": np.zeros((4, 14), np.uint8)},
            r"'val_labels' is uint8 \(4, 14\)",
        ),
        (
            {**arrays(), "val_labels": np.full((4, 1), 3, np.uint8)},
            "'val_labels' holds 3. Allowed: 0 to 2",
        ),
        (
            {**arrays(), "train_labels": np.array([[None]] * 6, dtype=object)},
            "'train_labels' holds Python objects",
        ),
    ],
)
def test_wrong_files_are_refused(tmp_path, small, made, message):
    np.savez(tmp_path / "pathmnist.npz", **made)
    with pytest.raises(InvalidRecords, match=message) as error:
        MedMNIST(flag="pathmnist", root=str(tmp_path)).load(Context(seed=0))
    assert "pathmnist.npz" in str(error.value)


def test_missing_file_says_where_it_looked_and_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setenv("LEAKBOARD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(DatasetMissing) as error:
        MedMNIST(flag="bloodmnist", size=128).fingerprint()
    for part in (
        "bloodmnist_128.npz",
        str(tmp_path / "data/medmnist"),
        str(tmp_path / "home/.medmnist"),
        "download: true",
        "leakboard[medmnist]",
    ):
        assert part in str(error.value)


def test_download_without_the_package_names_the_extra(tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *arguments, **keywords):
        if name == "medmnist":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(Unavailable, match=r"pip install 'leakboard\[medmnist\]'"):
        MedMNIST(flag="pathmnist", root=str(tmp_path), download=True).fingerprint()


def fake_package(download):
    """A stand-in for the package medmnist that delivers what ``download`` writes."""

    class PathMNIST:
        def __init__(self, split, root, size, download, mmap_mode):
            assert download
            deliver(root, size)

    deliver = download
    fake = type(sys)("medmnist")
    fake.INFO = {"pathmnist": {"python_class": "PathMNIST"}}
    fake.PathMNIST = PathMNIST
    return fake


def test_download_goes_to_the_root(tmp_path, monkeypatch, small):
    made = arrays(64)
    fake = fake_package(lambda root, size: np.savez(f"{root}/pathmnist_{size}.npz", **made))
    monkeypatch.setitem(sys.modules, "medmnist", fake)
    dataset = MedMNIST(flag="pathmnist", size=64, root=str(tmp_path / "new"), download=True)
    np.testing.assert_array_equal(dataset.load(Context(seed=0)).test.data, made["test_images"])


def test_failed_download_says_what_to_do(tmp_path, monkeypatch):
    def refuse(root, size):
        raise RuntimeError("no route to host")

    monkeypatch.setitem(sys.modules, "medmnist", fake_package(refuse))
    with pytest.raises(DatasetMissing, match="by hand and put it there"):
        MedMNIST(flag="pathmnist", root=str(tmp_path), download=True).fingerprint()


def test_facts_agree_with_the_package(monkeypatch):
    info = pytest.importorskip("medmnist", reason="needs the extra medmnist").INFO
    for flag, facts in FLAGS.items():
        published = info[flag]
        assert facts.splits == tuple(published["n_samples"][s] for s in ("train", "val", "test"))
        assert facts.channels == published["n_channels"]
        assert facts.licence == published["license"]
        assert len(facts.classes) == len(published["label"])
        for i, name in enumerate(facts.classes):
            assert published["label"][str(i)].lower().startswith(name)
    single = {k for k, v in info.items() if not k.endswith("3d") and "multi-label" not in v["task"]}
    assert set(FLAGS) == single


def test_licence_is_that_of_the_flag():
    assert MedMNIST(flag="dermamnist").licence == "CC BY-NC 4.0"
    assert MedMNIST(flag="pathmnist").licence == "CC BY 4.0"
