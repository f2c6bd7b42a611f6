"""MedMNIST v2: medical images of many kinds in one layout, ``{flag}[_{size}].npz``.

A file is read and checked here; the package ``medmnist`` (extra ``leakboard[medmnist]``) is needed
only to download."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import field_validator

from benchmark.contracts import (
    Context,
    Dataset,
    DatasetContent,
    DatasetInfo,
    DatasetMissing,
    Field,
    InvalidRecords,
    Records,
    Unavailable,
)
from benchmark.datasets.locate import data_root, digest_files, found_or_fetched
from benchmark.datasets.npz import Header, read_arrays, read_headers

__all__ = ["FLAGS", "Flag", "MedMNIST"]

SPLITS = ("train", "val", "test")
SIZES = (28, 64, 128, 224)


@dataclass(frozen=True)
class Flag:
    """Published facts about one of the datasets.

    Parameters
    ----------
    splits : tuple of int
        Number of records for training, validation and test.
    channels : int
        1 (gray) or 3 (RGB).
    classes : tuple of str
        Name of each label.
    licence : str
    """

    splits: tuple[int, int, int]
    channels: Literal[1, 3]
    classes: tuple[str, ...]
    licence: str = "CC BY 4.0"


_ORGANS = (
    "bladder",
    "femur-left",
    "femur-right",
    "heart",
    "kidney-left",
    "kidney-right",
    "liver",
    "lung-left",
    "lung-right",
    "pancreas",
    "spleen",
)

FLAGS: Mapping[str, Flag] = {
    "pathmnist": Flag(
        (89_996, 10_004, 7_180),
        3,
        (
            "adipose",
            "background",
            "debris",
            "lymphocytes",
            "mucus",
            "smooth muscle",
            "normal colon mucosa",
            "cancer-associated stroma",
            "colorectal adenocarcinoma epithelium",
        ),
    ),
    "dermamnist": Flag(
        (7_007, 1_003, 2_005),
        3,
        (
            "actinic keratoses and intraepithelial carcinoma",
            "basal cell carcinoma",
            "benign keratosis-like lesions",
            "dermatofibroma",
            "melanoma",
            "melanocytic nevi",
            "vascular lesions",
        ),
        licence="CC BY-NC 4.0",
    ),
    "octmnist": Flag(
        (97_477, 10_832, 1_000),
        1,
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    ),
    "pneumoniamnist": Flag((4_708, 524, 624), 1, ("normal", "pneumonia")),
    "retinamnist": Flag((1_080, 120, 400), 3, ("0", "1", "2", "3", "4")),
    "breastmnist": Flag((546, 78, 156), 1, ("malignant", "normal, benign")),
    "bloodmnist": Flag(
        (11_959, 1_712, 3_421),
        3,
        (
            "basophil",
            "eosinophil",
            "erythroblast",
            "immature granulocytes",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
    ),
    "tissuemnist": Flag(
        (165_466, 23_640, 47_280),
        1,
        (
            "collecting duct, connecting tubule",
            "distal convoluted tubule",
            "glomerular endothelial cells",
            "interstitial endothelial cells",
            "leukocytes",
            "podocytes",
            "proximal tubule segments",
            "thick ascending limb",
        ),
    ),
    "organamnist": Flag((34_561, 6_491, 17_778), 1, _ORGANS),
    "organcmnist": Flag((12_975, 2_392, 8_216), 1, _ORGANS),
    "organsmnist": Flag((13_932, 2_452, 8_827), 1, _ORGANS),
}
"""The two-dimensional datasets in which a record has one class."""


class MedMNIST(Dataset):
    """One of the MedMNIST datasets; ``medmnist/pathmnist@64`` is pathmnist at 64×64 pixels.

    The pool is the official training and validation splits, in that order; the test is the official
    test split. The file is looked for in ``root``; without one, in the folder ``medmnist`` of
    ``$LEAKBOARD_DATA`` (or else of ``~/.cache/leakboard/data``), then in ``~/.medmnist``. Not
    offered: ChestMNIST, whose records have 14 yes/no labels each instead of one class, and the
    three-dimensional datasets."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="medmnist",
        version="1",
        summary="MedMNIST v2: medical images at 28 to 224 pixels",
        citation="Yang et al. 2023, MedMNIST v2, Scientific Data 10:41",
        extra="medmnist",
        licence="CC BY 4.0; dermamnist: CC BY-NC 4.0",
        public=True,
        url="https://medmnist.com",
        places=frozenset({"root", "download"}),
    )
    flag: str = Field(description=f"one of {', '.join(FLAGS)}")
    size: int = Field(28, description="side of the images in pixels: 28, 64, 128 or 224")
    root: str | None = Field(None, description="folder to look in; read only unless it downloads")
    download: bool = Field(False, description="fetch a missing file, over the network")

    @field_validator("flag")
    @classmethod
    def _known_flag(cls, flag: str) -> str:
        if flag == "chestmnist":
            raise ValueError(
                "chestmnist gives each record 14 yes/no labels, but a record here has one class; "
                f"use one of {', '.join(FLAGS)}"
            )
        if flag not in FLAGS:
            raise ValueError(f"unknown flag; use one of {', '.join(FLAGS)}")
        return flag

    @field_validator("size")
    @classmethod
    def _known_size(cls, size: int) -> int:
        if size not in SIZES:
            raise ValueError(f"use one of {', '.join(map(str, SIZES))}")
        return size

    @classmethod
    def from_variant(cls, variant: str) -> dict[str, Any]:
        """``flag`` or ``flag@size``, as in ``pathmnist@64``."""
        flag, at, size = variant.partition("@")
        if at and not (size.isascii() and size.isdigit()):
            raise ValueError(
                f"after @ comes the size in pixels, as in {flag or 'pathmnist'}@64. Got {size!r}."
            )
        return {"flag": flag, **({"size": int(size)} if at else {})}

    @property
    def licence(self) -> str:
        """The licence of this one of the datasets."""
        return FLAGS[self.flag].licence

    def fingerprint(self) -> str:
        """Digest of the file. Downloads first if that is wanted and needed."""
        return digest_files([(self._file_name, self._locate())])

    def load(self, context: Context) -> DatasetContent:
        """All records, after the file's types, shapes and numbers of records were checked."""
        path = self._locate()
        self._check(path, read_headers(path))
        arrays = read_arrays(path, _keys())
        splits = {split: self._records(path, arrays, split) for split in SPLITS}
        pool = Records(
            np.concatenate([splits["train"].data, splits["val"].data]),
            np.concatenate([splits["train"].labels, splits["val"].labels]),
        )
        return DatasetContent(pool=pool, test=splits["test"], classes=FLAGS[self.flag].classes)

    @property
    def _file_name(self) -> str:
        return f"{self.flag}.npz" if self.size == 28 else f"{self.flag}_{self.size}.npz"

    def _folders(self) -> list[Path]:
        if self.root:
            return [data_root(self.root)]
        return [data_root(None) / "medmnist", Path("~/.medmnist").expanduser()]

    def _locate(self) -> Path:
        found = found_or_fetched(
            self.info.name,
            self._folders(),
            [self._file_name],
            fetch=self._fetch if self.download else None,
            hint=(
                "Set `download: true` (with `pip install 'leakboard[medmnist]'`) or `root` in the "
                f"suite's parameters of medmnist, or fetch the file from {self.info.url}."
            ),
        )
        return found[self._file_name]

    def _fetch(self) -> None:
        folder = self._folders()[0]
        try:
            import medmnist
        except ImportError as error:
            raise Unavailable(
                "medmnist: the package medmnist, which downloads, is not installed. "
                "Type `pip install 'leakboard[medmnist]'`."
            ) from error
        plugin = getattr(medmnist, medmnist.INFO[self.flag]["python_class"])
        try:
            folder.mkdir(parents=True, exist_ok=True)
            plugin(split="test", root=str(folder), size=self.size, download=True, mmap_mode="r")
        except (OSError, RuntimeError) as error:
            raise DatasetMissing(
                f"medmnist: the download of {self._file_name} into {folder} failed. Fetch it from "
                f"{self.info.url} by hand and put it there."
            ) from error

    def _check(self, path: Path, headers: Mapping[str, Header]) -> None:
        """Types and shapes, exactly as published: this also bounds the memory that loading takes."""
        facts = FLAGS[self.flag]
        missing = [key for key in _keys() if key not in headers]
        if missing:
            raise InvalidRecords(
                f"{path}: key {missing[0]!r} is missing. Needed: {', '.join(_keys())}."
            )
        for split, n in zip(SPLITS, facts.splits, strict=True):
            colours = (3,) if facts.channels == 3 else ()
            images, labels = headers[f"{split}_images"], headers[f"{split}_labels"]
            shape = (n, self.size, self.size, *colours)
            if images.dtype != np.uint8 or images.shape != shape:
                raise InvalidRecords(
                    f"{path}: key '{split}_images' is {images}. Published: uint8 {shape}. "
                    "Fetch the file again."
                )
            if labels.dtype.kind not in "iu" or labels.shape != (n, 1):
                raise InvalidRecords(
                    f"{path}: key '{split}_labels' is {labels}. Published: integers {(n, 1)}. "
                    "Fetch the file again."
                )

    def _records(self, path: Path, arrays: Mapping[str, np.ndarray], split: str) -> Records:
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"][:, 0]
        n_classes = len(FLAGS[self.flag].classes)
        wrong = (labels < 0) | (labels >= n_classes)
        if wrong.any():
            raise InvalidRecords(
                f"{path}: key '{split}_labels' holds {labels[np.argmax(wrong)]}. "
                f"Allowed: 0 to {n_classes - 1}. Fetch the file again."
            )
        if images.ndim == 3:
            images = images[..., np.newaxis]
        return Records(images, labels.astype(np.int64))


def _keys() -> list[str]:
    return [f"{split}_{what}" for split in SPLITS for what in ("images", "labels")]
