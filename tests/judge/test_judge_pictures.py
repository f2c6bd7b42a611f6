"""Picture sheets: who stands where on them, and that a private dataset has none."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from benchmark.judge.pictures import picture_sheets
from benchmark.plan import Cell
from benchmark.resolve import ResolvedPlugin

MADE = np.array([10, 20, 30, 40, 50], np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2)
LABELS = np.array([4, 4, 4, 4, 1])
RELEASED = np.array([52, 11, 33, 200], np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2)


class Shelf:
    """A store of an attack's answer and a release; notes what is read."""

    def __init__(self, made=MADE, released=RELEASED):
        self.read_from = []
        self.held = {
            ("attack", "reconstructions"): {"data": made, "labels": LABELS},
            ("fit", "release"): {"data": released},
        }

    def read(self, key):
        self.read_from.append(key)
        artifacts = {f"{name}.npz": "" for node, name in self.held if node == key}
        return type("Record", (), {"artifacts": artifacts})

    def arrays(self, key, name):
        self.read_from.append(key)
        return self.held[key, name]


def _cell(**changes):
    plugins = {n: ResolvedPlugin(kind=n, name=f"a {n}", label=n) for n in ("method", "attack")}
    cell = Cell(
        kind="attack",
        dataset="d",
        features="f",
        seed=5,
        game="game",
        key="attack",
        fit="fit",
        access="trainer",
        **plugins,
    )
    return replace(cell, **changes)


def _pixels(uri):
    head, text = uri.split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_pictures_stand_by_class_beside_the_nearest_released_one():
    (sheet,) = picture_sheets(Shelf(), [_cell()], {"d"})
    assert (sheet["classes"], sheet["pictures"], sheet["n_pictures"]) == ([1, 4], 4, 5)
    assert (sheet["method"], sheet["attack"], sheet["seed"]) == ("a method", "a attack", 5)
    pixels = _pixels(sheet["uri"])
    assert pixels.shape == (3 * 8 + 2 * 1, 2 * 16 + 1)
    middles = pixels[4::9][:, [4, 12, 16, 21, 29]]
    # class 1: one picture beside released 52; class 4: the first three, beside 11, 11 and 33
    assert middles.tolist() == [
        [50, 52, 255, 10, 11],
        [255, 255, 255, 20, 11],
        [255, 255, 255, 30, 33],
    ]


def test_a_private_dataset_has_none_and_is_not_even_read():
    shelf = Shelf()
    assert picture_sheets(shelf, [_cell()], set()) == []
    assert picture_sheets(shelf, [_cell()], {"another"}) == []
    assert shelf.read_from == []
    assert len(picture_sheets(shelf, [_cell(dataset="e"), _cell()], {"d"})) == 1


def test_one_sheet_for_each_release_of_the_first_seed_that_has_one():
    shelf = Shelf()
    cells = [_cell(), _cell(seed=2), _cell(seed=1, key=""), _cell(seed=0, key="elsewhere")]
    (sheet,) = picture_sheets(shelf, cells, {"d"})
    assert sheet["seed"] == 2


@pytest.mark.parametrize(
    ("made", "released"),
    [
        (MADE.reshape(5, -1).astype(np.float32), RELEASED.reshape(4, -1).astype(np.float32)),
        (MADE, RELEASED.reshape(4, -1).astype(np.float32)),
    ],
)
def test_features_have_no_pictures(made, released):
    assert picture_sheets(Shelf(made, released), [_cell()], {"d"}) == []


def test_colours_are_kept_and_large_pictures_reduced():
    made = np.zeros((5, 128, 128, 3), np.uint8)
    made[..., 0] = 250
    (sheet,) = picture_sheets(Shelf(made, made[:1]), [_cell()], {"d"})
    pixels = _pixels(sheet["uri"])
    assert pixels.shape == (round((3 * 128 + 2 * 16) / 2), round((2 * 256 + 16) / 2), 3)
    assert pixels[10, 10].tolist() == [250, 0, 0]
