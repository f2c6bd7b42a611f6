"""Fashion-MNIST (real, where Debian's files are), CIFAR-10 and STL-10 (tiny files in their formats)."""

import gzip
import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from benchmark.conformance import checks_for
from benchmark.contracts import Context, DatasetMissing, InvalidRecords
from benchmark.datasets import vision
from benchmark.datasets.vision import CIFAR10, STL10, FashionMNIST

debian = pytest.mark.skipif(
    not Path(vision.DEBIAN_FASHION_MNIST).is_dir(),
    reason="needs Debian's package dataset-fashion-mnist",
)


@pytest.fixture
def context(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    yield Context(seed=0, scratch=scratch)
    assert not list(scratch.iterdir()), "the scratch folder must be left empty"


# ---------------------------------------------------------------- Fashion-MNIST


def idx(array: np.ndarray) -> bytes:
    """The IDX format: 0, 0, type 8 (unsigned byte), number of axes, then the axes, big-endian."""
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


@pytest.fixture
def clothes():
    """Twenty training and ten test pictures, all ten classes in each."""
    rng = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": rng.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "train-labels-idx1-ubyte": np.arange(20, dtype=np.uint8) % 10,
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (10, 28, 28), dtype=np.uint8),
        "t10k-labels-idx1-ubyte": np.arange(10, dtype=np.uint8)[::-1],
    }


def write_clothes(folder: Path, clothes, compressed: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in clothes.items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("below", ["", "FashionMNIST/raw"])
def test_fashion_mnist_reads_every_layout(tmp_path, context, clothes, compressed, below):
    root = tmp_path / "root"
    write_clothes(root / below, clothes, compressed)
    before = sorted(root.rglob("*"))
    dataset = FashionMNIST(root=str(root))
    content = dataset.load(context)
    np.testing.assert_array_equal(content.pool.data[..., 0], clothes["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(content.pool.labels, clothes["train-labels-idx1-ubyte"])
    np.testing.assert_array_equal(content.test.data[..., 0], clothes["t10k-images-idx3-ubyte"])
    np.testing.assert_array_equal(content.test.labels, clothes["t10k-labels-idx1-ubyte"])
    assert content.classes[9] == "Ankle boot"
    assert sorted(root.rglob("*")) == before, "the root must not be written to"


def test_fashion_mnist_fingerprint_is_of_the_content_not_of_the_layout(tmp_path, clothes):
    write_clothes(tmp_path / "a", clothes, compressed=True)
    write_clothes(tmp_path / "b/FashionMNIST/raw", clothes, compressed=False)
    first, second = (FashionMNIST(root=str(tmp_path / name)) for name in "ab")
    assert first.fingerprint() == second.fingerprint()
    clothes["train-labels-idx1-ubyte"][0] = 3
    write_clothes(tmp_path / "b/FashionMNIST/raw", clothes, compressed=False)
    assert first.fingerprint() != second.fingerprint()


def test_fashion_mnist_missing_says_where_it_looked_and_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setattr(vision, "DEBIAN_FASHION_MNIST", str(tmp_path / "debian"))
    monkeypatch.setenv("LEAKBOARD_DATA", str(tmp_path / "data"))
    with pytest.raises(DatasetMissing) as error:
        FashionMNIST().fingerprint()
    message = str(error.value)
    for part in (
        str(tmp_path / "debian"),
        str(tmp_path / "data/FashionMNIST/raw"),
        "apt-get install dataset-fashion-mnist",
        "download: true",
        "root",
    ):
        assert part in message
    assert not (tmp_path / "data").exists()


def test_fashion_mnist_with_a_root_of_its_own_does_not_look_elsewhere(tmp_path):
    with pytest.raises(DatasetMissing) as error:
        FashionMNIST(root=str(tmp_path)).load(Context(seed=0))
    assert vision.DEBIAN_FASHION_MNIST not in str(error.value)


@pytest.mark.parametrize("damage", ["cut", "nonsense", "cut gzip"])
def test_fashion_mnist_damaged_files_are_named(tmp_path, context, clothes, damage):
    write_clothes(tmp_path, clothes, compressed=damage == "cut gzip")
    name = "train-images-idx3-ubyte" + (".gz" if damage == "cut gzip" else "")
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(b"nonsense" * 3 if damage == "nonsense" else content[:500])
    with pytest.raises(InvalidRecords, match="damaged"):
        FashionMNIST(root=str(tmp_path)).load(context)


def test_failed_download_says_why_and_what_to_do(tmp_path, monkeypatch):
    from torchvision import datasets

    def refuse(self):
        raise RuntimeError("Error downloading:\nno route to host")

    monkeypatch.setattr(datasets.FashionMNIST, "download", refuse)
    with pytest.raises(DatasetMissing, match=r"no route to host(.|\n)*apt-get install"):
        FashionMNIST(root=str(tmp_path), download=True).fingerprint()


def test_download_fills_an_empty_root(tmp_path, monkeypatch, clothes, context):
    from torchvision import datasets

    def deliver(self):
        write_clothes(Path(self.raw_folder), clothes, compressed=False)

    monkeypatch.setattr(datasets.FashionMNIST, "download", deliver)
    content = FashionMNIST(root=str(tmp_path / "new"), download=True).load(context)
    np.testing.assert_array_equal(content.pool.labels, clothes["train-labels-idx1-ubyte"])


@debian
def test_fashion_mnist_real_files_agree_with_a_reader_of_our_own(context):
    content = FashionMNIST(root=vision.DEBIAN_FASHION_MNIST).load(context)
    assert content.pool.data.shape == (60_000, 28, 28, 1)
    assert content.test.data.shape == (10_000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(content.pool.labels), [6000] * 10)
    np.testing.assert_array_equal(np.bincount(content.test.labels), [1000] * 10)
    raw = gzip.decompress(
        Path(vision.DEBIAN_FASHION_MNIST, "t10k-images-idx3-ubyte.gz").read_bytes()
    )
    reference = np.frombuffer(raw, dtype=np.uint8, offset=16).reshape(-1, 28, 28, 1)
    np.testing.assert_array_equal(content.test.data, reference)
    # Known facts of the dataset: the mean pixel and the first labels.
    assert content.pool.data.mean() / 255 == pytest.approx(0.2860, abs=1e-4)
    assert content.pool.labels[:5].tolist() == [9, 0, 0, 3, 0]


def test_fashion_mnist_conforms(tmp_path, context, clothes):
    write_clothes(tmp_path, clothes, compressed=True)
    for check in checks_for(FashionMNIST(root=str(tmp_path))):
        check(context.scratch)


# ---------------------------------------------------------------- CIFAR-10


@pytest.fixture
def cifar_root(tmp_path, monkeypatch):
    """Batches in CIFAR-10's layout, whose MD5 sums torchvision is told to expect."""
    from torchvision import datasets

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    names = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

    def write(name: str, content: dict) -> list[str]:
        blob = pickle.dumps(content)
        (folder / name).write_bytes(blob)
        return [name, hashlib.md5(blob).hexdigest()]

    def batch(name: str) -> list[str]:
        data = rng.integers(0, 256, (10, 3072), dtype=np.uint8)
        return write(name, {"data": data, "labels": list(range(10))})

    train = [batch(f"data_batch_{i}") for i in range(1, 6)]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [batch("test_batch")])
    meta = {**datasets.CIFAR10.meta, "md5": write("batches.meta", {"label_names": names})[1]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return tmp_path


def test_cifar10_reads_batches_in_order(cifar_root):
    content = CIFAR10(root=str(cifar_root)).load(Context(seed=0))
    assert content.pool.data.shape == (50, 32, 32, 3)
    assert content.test.data.shape == (10, 32, 32, 3)
    assert content.classes[:2] == ("plane", "car")
    second = pickle.loads((cifar_root / "cifar-10-batches-py/data_batch_2").read_bytes())
    # A row of the file is red, green, blue, each row by row: pixel (5, 7) of channel c is c·1024 + 5·32 + 7.
    assert content.pool.data[13, 5, 7, 2] == second["data"][3, 2 * 1024 + 5 * 32 + 7]
    np.testing.assert_array_equal(content.pool.labels, np.tile(np.arange(10), 5))


def test_cifar10_conforms(cifar_root, context):
    for check in checks_for(CIFAR10(root=str(cifar_root))):
        check(context.scratch)


def test_cifar10_refuses_a_pickle_with_the_wrong_sum_without_loading_it(cifar_root):
    path = cifar_root / "cifar-10-batches-py/data_batch_3"
    marker = cifar_root / "executed"

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (marker,))

    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InvalidRecords, match="damaged"):
        CIFAR10(root=str(cifar_root)).load(Context(seed=0))
    assert not marker.exists()


@pytest.mark.parametrize("plugin, missing", [(CIFAR10, "test_batch"), (STL10, "train_X.bin")])
def test_missing_files_are_named(tmp_path, plugin, missing):
    with pytest.raises(DatasetMissing) as error:
        plugin(root=str(tmp_path)).fingerprint()
    for part in (missing, str(tmp_path), "download: true"):
        assert part in str(error.value)


# ---------------------------------------------------------------- STL-10


def test_stl10_needs_the_labelled_files_only(tmp_path, monkeypatch, context):
    from torchvision import datasets

    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 3, 96, 96), dtype=np.uint8)

    def write(name: str, content: bytes) -> list[str]:
        (folder / name).write_bytes(content)
        return [name, hashlib.md5(content).hexdigest()]

    labels = np.arange(20, dtype=np.uint8) % 10 + 1
    train = [write("train_X.bin", images.tobytes()), write("train_y.bin", labels.tobytes())]
    test = [write("test_X.bin", images[:10].tobytes()), write("test_y.bin", labels[:10].tobytes())]
    unlabelled = ["unlabeled_X.bin", "0" * 32]
    write("class_names.txt", "\n".join(f"class {i}" for i in range(10)).encode())
    monkeypatch.setattr(datasets.STL10, "train_list", [*train, unlabelled])
    monkeypatch.setattr(datasets.STL10, "test_list", test)

    content = STL10(root=str(tmp_path)).load(Context(seed=0))
    assert content.pool.data.shape == (20, 96, 96, 3)
    assert len(content.test) == 10
    np.testing.assert_array_equal(content.pool.labels, np.arange(20) % 10)
    # The file runs down the columns: byte (n, c, x, y) is row y, column x of channel c.
    assert content.pool.data[4, 11, 70, 1] == images[4, 1, 70, 11]
    assert content.classes == tuple(f"class {i}" for i in range(10))

    for check in checks_for(STL10(root=str(tmp_path))):
        check(context.scratch)
    before = STL10(root=str(tmp_path)).fingerprint()
    write("train_X.bin", images[::-1].tobytes())
    assert STL10(root=str(tmp_path)).fingerprint() != before
