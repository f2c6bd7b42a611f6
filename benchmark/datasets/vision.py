"""Fashion-MNIST, CIFAR-10 and STL-10, read by torchvision.

Files are looked for in ``root``, by default ``$LEAKBOARD_DATA`` or else
``~/.cache/leakboard/data``, in the layout that torchvision uses there. ``root`` is only read,
unless ``download`` is true and files are missing."""

from __future__ import annotations

import gzip
import shutil
from abc import abstractmethod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from benchmark.contracts import (
    Context,
    Dataset,
    DatasetContent,
    DatasetInfo,
    DatasetMissing,
    Field,
    InvalidRecords,
    Records,
)
from benchmark.datasets.locate import data_root, digest_files, found_or_fetched

if TYPE_CHECKING:
    from torchvision.datasets import VisionDataset

__all__ = ["CIFAR10", "STL10", "FashionMNIST"]

DEBIAN_FASHION_MNIST = "/usr/share/datasets/fashion-mnist"
"""Where Debian's package dataset-fashion-mnist puts its files."""

PLACES = frozenset({"root", "download"})


class _TorchvisionDataset(Dataset):
    """Files of fixed names in one folder, a training split (the pool) and a test split."""

    names: ClassVar[tuple[str, ...]]
    """The files that are read."""

    suffixes: ClassVar[tuple[str, ...]] = ("",)
    """What may follow the names: ``.gz`` for files that may also be compressed."""

    root: str | None = Field(None, description="folder to look in; read only unless it downloads")
    download: bool = Field(False, description="fetch missing files into root, over the network")

    @abstractmethod
    def folders(self) -> list[Path]:
        """Folders that may hold the files, best first; the first is where a download puts them."""

    @abstractmethod
    def open(self, root: Path, *, train: bool, download: bool = False) -> VisionDataset:
        """One split, opened by torchvision."""

    @abstractmethod
    def hint(self) -> str:
        """How to get the files."""

    def fingerprint(self) -> str:
        """Digest of the files' names and contents. Downloads first if that is wanted and needed."""
        return digest_files([(name, path) for name, path in self.locate().items()])

    def load(self, context: Context) -> DatasetContent:
        """The training split as the pool, the test split as the test."""
        files = self.locate()
        pool, classes = self.read(files, context, train=True)
        test, _ = self.read(files, context, train=False)
        return DatasetContent(pool=pool, test=test, classes=classes)

    @abstractmethod
    def read(
        self, files: dict[str, Path], context: Context, *, train: bool
    ) -> tuple[Records, tuple[str, ...]]:
        """One split of the files that :meth:`locate` found, and the names of the classes."""

    def locate(self) -> dict[str, Path]:
        """Name → place of every file, all from one folder.

        Raises
        ------
        DatasetMissing
            Says where it looked, what is missing there and what to type.
        """
        return found_or_fetched(
            self.info.name,
            self.folders(),
            self.names,
            suffixes=self.suffixes,
            fetch=self._fetch if self.download else None,
            hint=self.hint(),
        )

    def _fetch(self) -> None:
        root = data_root(self.root)
        try:
            root.mkdir(parents=True, exist_ok=True)
            self.open(root, train=True, download=True)
        except (OSError, RuntimeError) as error:  # URLError is an OSError
            reason = str(error).strip().splitlines()[-1:]
            raise DatasetMissing(
                f"{self.info.name}: the download into {root} failed: {' '.join(reason)} "
                f"Put the files there by hand ({self.info.url}), or {self.hint()}"
            ) from error

    def _open_or_refuse(self, root: Path, *, train: bool) -> VisionDataset:
        """Open a split whose files are all there: a failure means that they are damaged."""
        try:
            return self.open(root, train=train)
        except Exception as error:  # whatever a damaged file makes a reader raise
            raise InvalidRecords(
                f"{self.info.name}: the files in {root} are damaged "
                f"({type(error).__name__}: {error}). Delete them and get them again: {self.hint()}"
            ) from error


class FashionMNIST(_TorchvisionDataset):
    """70,000 pictures of clothing, 28×28, ten classes; 10,000 of them are the official test split.

    Files may lie, compressed or not, in ``root/FashionMNIST/raw`` or in ``root`` itself; without a
    ``root`` also where Debian's package dataset-fashion-mnist puts them."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="fashion_mnist",
        version="1",
        summary="Pictures of clothing, 28×28 pixels, ten classes",
        citation="Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747",
        licence="MIT",
        public=True,
        url="https://github.com/zalandoresearch/fashion-mnist",
        places=PLACES,
    )
    names: ClassVar[tuple[str, ...]] = (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    )
    suffixes: ClassVar[tuple[str, ...]] = ("", ".gz")

    def folders(self) -> list[Path]:
        """``root/FashionMNIST/raw``, ``root``, and without a root of its own Debian's."""
        root = data_root(self.root)
        debian = [] if self.root else [Path(DEBIAN_FASHION_MNIST)]
        return [root / "FashionMNIST" / "raw", root, *debian]

    def hint(self) -> str:
        """Debian's package, a download, or another root."""
        return (
            "Type `apt-get install dataset-fashion-mnist`, or set `download: true` or `root` "
            "in the suite's parameters of fashion_mnist."
        )

    def open(self, root: Path, *, train: bool, download: bool = False) -> VisionDataset:
        """torchvision's FashionMNIST."""
        from torchvision import datasets

        return datasets.FashionMNIST(root, train=train, download=download)

    def read(
        self, files: dict[str, Path], context: Context, *, train: bool
    ) -> tuple[Records, tuple[str, ...]]:
        """Images ``(N, 28, 28, 1)``, by way of a scratch folder laid out as torchvision wants."""
        prefix = "train" if train else "t10k"
        split = {name: path for name, path in files.items() if name.startswith(prefix)}
        with TemporaryDirectory(dir=context.scratch) as scratch:
            raw = Path(scratch, "FashionMNIST", "raw")
            raw.mkdir(parents=True)
            for name in files:
                _place(split.get(name), raw / name)
            opened = self._open_or_refuse(Path(scratch), train=train)
        return (
            Records(opened.data.numpy()[..., np.newaxis], opened.targets.numpy().astype(np.int64)),
            tuple(opened.classes),
        )


class CIFAR10(_TorchvisionDataset):
    """60,000 small photographs, 32×32, ten classes; 10,000 of them are the official test split.

    The files are Python pickles: torchvision loads them only after their MD5 sums agree with the
    published ones."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="cifar10",
        version="1",
        summary="Small photographs, 32×32 pixels, ten classes",
        citation="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
        licence="none stated; free for research",
        public=True,
        url="https://www.cs.toronto.edu/~kriz/cifar.html",
        places=PLACES,
    )
    names: ClassVar[tuple[str, ...]] = (
        *(f"data_batch_{i}" for i in range(1, 6)),
        "test_batch",
        "batches.meta",
    )

    def folders(self) -> list[Path]:
        """``root/cifar-10-batches-py``."""
        return [data_root(self.root) / "cifar-10-batches-py"]

    def hint(self) -> str:
        """A download or another root."""
        return _network_hint(self.info.name)

    def open(self, root: Path, *, train: bool, download: bool = False) -> VisionDataset:
        """torchvision's CIFAR10."""
        from torchvision import datasets

        return datasets.CIFAR10(root, train=train, download=download)

    def read(
        self, files: dict[str, Path], context: Context, *, train: bool
    ) -> tuple[Records, tuple[str, ...]]:
        """Images ``(N, 32, 32, 3)``."""
        opened = self._open_or_refuse(data_root(self.root), train=train)
        images = np.ascontiguousarray(opened.data)
        return Records(images, np.asarray(opened.targets, dtype=np.int64)), tuple(opened.classes)


class STL10(_TorchvisionDataset):
    """13,000 labelled photographs, 96×96, ten classes: 5,000 for training, 8,000 the official test
    split.

    The 100,000 unlabelled photographs are neither used nor asked for.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="stl10",
        version="1",
        summary="Photographs, 96×96 pixels, ten classes",
        citation="Coates, Lee, Ng 2011, AISTATS",
        licence="none stated; images from ImageNet",
        public=True,
        url="https://cs.stanford.edu/~acoates/stl10/",
        places=PLACES,
    )
    names: ClassVar[tuple[str, ...]] = (
        "train_X.bin",
        "train_y.bin",
        "test_X.bin",
        "test_y.bin",
        "class_names.txt",
    )

    def folders(self) -> list[Path]:
        """``root/stl10_binary``."""
        return [data_root(self.root) / "stl10_binary"]

    def hint(self) -> str:
        """A download or another root."""
        return _network_hint(self.info.name)

    def open(self, root: Path, *, train: bool, download: bool = False) -> VisionDataset:
        """torchvision's STL10, which asks for the labelled files only."""
        from torchvision import datasets

        class Labelled(datasets.STL10):
            train_list: ClassVar[list[Any]] = datasets.STL10.train_list[:2]

        return Labelled(root, split="train" if train else "test", download=download)

    def read(
        self, files: dict[str, Path], context: Context, *, train: bool
    ) -> tuple[Records, tuple[str, ...]]:
        """Images ``(N, 96, 96, 3)``."""
        opened = self._open_or_refuse(data_root(self.root), train=train)
        images = np.ascontiguousarray(opened.data.transpose(0, 2, 3, 1))
        return Records(images, opened.labels.astype(np.int64)), tuple(opened.classes)


def _place(source: Path | None, target: Path) -> None:
    """Put ``source`` at ``target``, decompressed.

    Without a source, an empty file: torchvision asks whether the other split is there.
    """
    if source is None:
        target.touch()
    elif source.suffix != ".gz":
        target.symlink_to(source.resolve())
    else:
        try:
            with gzip.open(source) as compressed, target.open("wb") as plain:
                shutil.copyfileobj(compressed, plain)
        except (OSError, EOFError) as error:
            raise InvalidRecords(
                f"{source} is damaged ({type(error).__name__}: {error}). Install it again."
            ) from error


def _network_hint(name: str) -> str:
    return f"Set `download: true`, or `root`, in the suite's parameters of {name}."
