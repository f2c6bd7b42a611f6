"""Columns of the metadata: what a release tells of them of its members, beyond what it tells of controls."""

import numpy as np
import pytest
from cohorts import write_folder

from benchmark import audit
from benchmark.audit.columns import _codes

N, SIDE = 200, 6


def folder(path, images, **columns):
    """Images with a table of their own, as tools that make folders of images write it."""
    names = [f"{i:04}.png" for i in range(len(images))]
    write_folder(path, images.round().clip(0, 255).astype(np.uint8), names)
    if columns:
        rows = zip(names, *columns.values(), strict=True)
        lines = [",".join(["file", *columns]), *(",".join(map(str, row)) for row in rows)]
        (path / "metadata.csv").write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def house(tmp_path):
    """Pictures that smoking and age do not follow from, and the ward does; the release tells all three of members."""
    rng = np.random.default_rng(3)

    def pictures(n):
        bright = rng.uniform(60, 190, (n, 1, 1))
        return bright + rng.normal(0, 25, (n, SIDE, SIDE)), bright.ravel()

    def people(n):
        data, bright = pictures(n)
        ward = np.where(bright > 125, "north", "south")
        smokes = rng.choice(["yes", "no", "smokes_pipe"], n)
        return data, {"ward": ward, "smokes": smokes, "age": rng.integers(20, 90, n)}

    members, controls = people(N), people(N)
    clinic = np.arange(N) % 2
    fresh, known = people(N)
    return {
        "members": folder(tmp_path / "members", members[0], **members[1], clinic=clinic),
        "controls": folder(tmp_path / "controls", controls[0], **controls[1], clinic=clinic),
        "population": folder(tmp_path / "population", pictures(300)[0]),
        "release": {
            "telling": folder(
                tmp_path / "telling", members[0] + rng.normal(0, 2, (N, SIDE, SIDE)), **members[1]
            ),
            "apart": folder(tmp_path / "apart", fresh, **known),
            "bare": folder(tmp_path / "bare", pictures(N)[0]),
        },
    }


def test_a_release_that_tells_a_column_of_its_members_is_found(house):
    result = audit(**house, attacks=["attribute_inference"], utilities=[], jobs=1)
    found = result.table.set_index(["release", "attack", "test"])

    def of(release, column, test="auc"):
        return found.loc[(release, f"attribute_inference(column={column})", test)]

    smokes = of("telling", "smokes")
    assert smokes["value"] > 0.85 and smokes["found"] and smokes["risk"] == "inference"
    assert of("telling", "age")["value"] > 0.85, "ten ranges of years"
    assert of("telling", "smokes", "flags")["value"] > 0.9
    assert of("telling", "smokes", "flags")["share_of_controls"] < 0.55
    for column in ("smokes", "ward", "age"):
        assert not of("apart", column)["found"] and abs(of("apart", column)["value"] - 0.5) < 0.12
    assert of("apart", "ward", "flags")["share_of_controls"] > 0.6, "learnt of everybody: no leak"
    said = {n.what: n.why for n in result.not_tried}
    assert said["attribute inference of clinic"] == "the release has no such column"
    assert "bare" not in set(
        result.table[result.table["attack"].str.contains("column=")]["release"]
    )


def test_no_value_of_a_column_is_on_the_report(house, tmp_path):
    out = tmp_path / "out"
    audit(**house, attacks=["attribute_inference"], utilities=[], jobs=1, out=out)
    for name in ("report.html", "audit.json"):
        text = (out / name).read_text(encoding="utf-8")
        assert "smokes" in text and not any(v in text for v in ("smokes_pipe", "north", "south"))


def test_values_are_numbered_alike_on_both_sides_and_missing_ones_left_out():
    theirs, ours = _codes(np.array(["b", "a", "", "a"]), np.array(["a", "", "c"]))
    assert theirs.tolist() == [1, 0, -1, 0] and ours.tolist() == [0, -1, 2]


def test_many_numbers_are_ranges_with_as_many_released_records_each():
    theirs, ours = _codes(
        np.array([str(i) for i in range(100)]), np.array(["0", "9.5", "99.5", ""])
    )
    assert np.bincount(theirs).tolist() == [10] * 10
    assert ours.tolist() == [0, 0, 9, -1]


@pytest.mark.parametrize(
    ("released", "candidates", "why"),
    [
        (["a", "a"], ["a", "b"], "all released records have one value"),
        (["a", "b"], ["a", ""], "all candidates have one value"),
        ([f"name {i}" for i in range(60)], ["name 1", "name 2"], "more than 50 texts"),
    ],
)
def test_columns_that_cannot_be_guessed_say_why(released, candidates, why):
    assert why in _codes(np.array(released), np.array(candidates))
