"""What an audit is given: read alike, numbered alike, and refused with a message where it cannot be used."""

from pathlib import Path

import numpy as np
import pytest
from cohorts import pictures, write_cohort, write_folder

from benchmark.audit import inputs as module
from benchmark.audit.inputs import AuditError, Places, Reading, read_inputs
from benchmark.contracts import LeakboardError


def places(given: dict[str, Path], **more: Path) -> Places:
    own = {role: path for role, path in (given | more).items() if role != "release"}
    return Places(releases={"release": given["release"]}, **own)


# ---------------------------------------------------------------- what is read


def test_folders_and_arrays_give_the_same_records(tmp_path):
    folders = write_cohort(tmp_path)
    arrays = {}
    for name, seed in (("members", 0), ("controls", 1), ("release", 2)):
        arrays[name] = tmp_path / f"{name}.npz"
        np.savez(arrays[name], images=pictures(40, seed))
    one, other = read_inputs(places(folders)), read_inputs(places(arrays))
    assert one.real == other.real and one.releases == other.releases
    assert one.members.data.shape == (40, 8, 8, 1) and one.classes == ("all",)
    assert not one.identified and one.n_people("members") == 40
    assert one.digests.keys() == {"members", "controls", "release release"}


def test_one_layout_for_all(tmp_path):
    given = write_cohort(tmp_path)
    large = write_folder(tmp_path / "large", pictures(40, 3, side=16))
    colour = write_folder(tmp_path / "colour", np.repeat(pictures(40, 4)[..., None], 3, axis=-1))
    read = read_inputs(places({**given, "release": colour}, population=large), Reading(size=8))
    shapes = {r.data.shape for r in (*read.real.values(), *read.releases.values())}
    assert shapes == {(40, 8, 8, 3)}
    assert "40 images resized to 8×8 pixels" in read.notes["population"]
    assert any("bilinear" in note for note in read.notes["all"])


def test_the_window_of_deep_images_is_that_of_the_real_ones(tmp_path):
    deep = {name: pictures(40, seed).astype(np.uint16) * 10 for seed, name in enumerate(("a", "b"))}
    given = write_cohort(tmp_path, members=deep["a"], controls=deep["b"])
    given["release"] = write_folder(tmp_path / "deep", np.full((40, 8, 8), 60_000, np.uint16))
    read = read_inputs(places(given))
    top = max(deep["a"].max(), deep["b"].max())
    low = min(deep["a"].min(), deep["b"].min())
    expected = np.rint((deep["a"].astype(float) - low) / (float(top) - low) * 255)
    np.testing.assert_array_equal(read.members.data[..., 0], expected)
    assert (read.releases["release"].data == 255).all()
    (note,) = read.notes["members"]
    assert note == f"40 images of more than 8 bits scaled by the window {low} … {top}"


def test_patients_and_classes_are_numbered_alike(tmp_path):
    names = [f"{'ill' if i % 2 else 'well'}/p{i // 2:02}_{i % 2}.png" for i in range(80)]
    others = [name.replace("/p", "/q") for name in names]
    given = {
        "members": write_folder(tmp_path / "members", pictures(80, 0), names),
        "controls": write_folder(tmp_path / "controls", pictures(80, 1), others),
        "release": write_folder(tmp_path / "release", pictures(40, 2), names[:40]),
    }
    read = read_inputs(places(given), Reading(patient_from=r"(?P<patient>[pq]\d+)_"))
    assert read.classes == ("ill", "well") and read.n_people("members") == 40
    groups = np.concatenate([read.members.groups, read.real["controls"].groups])
    assert len(np.unique(groups)) == 80
    np.testing.assert_array_equal(read.members.labels, np.repeat([0, 1], 40))
    assert set(read.private["members"].patients) == {f"p{i:02}" for i in range(40)}


def test_one_table_for_all_roles(tmp_path):
    given = write_cohort(tmp_path)
    table = tmp_path / "patients.csv"
    lines = [f"members/{i:04}.png,m{i:02},2020" for i in range(40)]
    lines += [f"controls/{i:04}.png,c{i:02},2021" for i in range(40)]
    table.write_text("file,patient,year\n" + "\n".join(lines) + "\n")
    read = read_inputs(places(given), Reading(patients=table))
    assert read.n_people("controls") == 40
    assert set(read.columns["controls"]["year"]) == {"2021"}
    assert "table of patients" in read.digests


def test_classes_are_used_only_where_all_name_them(tmp_path):
    given = write_cohort(tmp_path)
    classes = [f"{'ab'[i % 2]}/{i}.png" for i in range(40)]
    given["members"] = write_folder(tmp_path / "classes", pictures(40, 5), classes)
    read = read_inputs(places(given))
    assert read.classes == ("all",)
    assert read.notes["all"] == ("classes are not used: controls, release name none",)


def test_nothing_private_is_in_notes_or_digests(tmp_path):
    given = write_cohort(tmp_path)
    (given["members"] / "notes.txt").write_text("secret")
    read = read_inputs(places(given))
    said = f"{read.notes}{read.digests}"
    assert "1 other file in the folder not used" in said
    assert "notes.txt" not in said and str(tmp_path) not in said and ".png" not in said


# ---------------------------------------------------------------- bad input


def nothing(root: Path, given: dict[str, Path]) -> dict[str, Path]:
    (root / "empty").mkdir()
    return {**given, "release": root / "empty"}


def another_size(root: Path, given: dict[str, Path]) -> dict[str, Path]:
    return {**given, "release": write_folder(root / "large", pictures(40, 3, side=9))}


def one_odd_size(root: Path, given: dict[str, Path]) -> dict[str, Path]:
    write_folder(given["controls"], pictures(1, 3, side=9), ["odd.png"])
    return given


def a_member_that_is_a_control(root: Path, given: dict[str, Path]) -> dict[str, Path]:
    write_folder(given["controls"], pictures(40, 0)[7:8], ["again.png"])
    return given


def few_controls(root: Path, given: dict[str, Path]) -> dict[str, Path]:
    return {**given, "controls": write_folder(root / "few", pictures(29, 3))}


def few_members(root: Path, given: dict[str, Path]) -> dict[str, Path]:
    return {**given, "members": write_folder(root / "few", pictures(29, 3))}


def features_and_images(root: Path, given: dict[str, Path]) -> dict[str, Path]:
    np.savez(root / "features.npz", features=np.zeros((40, 3)))
    return {**given, "release": root / "features.npz"}


def unreadable(root: Path, given: dict[str, Path]) -> dict[str, Path]:
    for name in ("x.png", "y.png"):
        (given["release"] / name).write_text("no picture")
    return given


def missing(root: Path, given: dict[str, Path]) -> dict[str, Path]:
    return {**given, "members": root / "nowhere"}


def a_pickle(root: Path, given: dict[str, Path]) -> dict[str, Path]:
    (root / "release.pkl").write_bytes(b"\x80\x04.")
    return {**given, "release": root / "release.pkl"}


BAD = [
    (nothing, "empty holds no images. Put them there"),
    (another_size, "has 9×9 pixels, but .* has 8×8. Make them equal, or set `size`"),
    (one_odd_size, "odd.png has 9×9 pixels"),
    (
        a_member_that_is_a_control,
        "1 records are equal in members and controls: 0007.png = again.png",
    ),
    (
        few_controls,
        "29 controls .* Needed: 30. .* copies can still be looked for: leave --controls",
    ),
    (few_members, "29 members .* Needed: 30"),
    (features_and_images, "holds images, but .*features.npz holds features"),
    (unreadable, "2 files cannot be used:\n.*x.png is not a readable image .*\n.*y.png"),
    (missing, "no file or folder .*nowhere"),
    (a_pickle, "release.pkl is of a kind that is not read. Allowed: a folder of images"),
]


@pytest.mark.parametrize("make, message", BAD, ids=lambda case: getattr(case, "__name__", ""))
def test_bad_input_is_refused_on_one_screen(tmp_path, make, message):
    given = make(tmp_path, write_cohort(tmp_path))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LeakboardError, match=message) as error:
        read_inputs(places(given))
    assert len(str(error.value)) < 2000
    assert sorted(tmp_path.rglob("*")) == before


BAD_PATIENTS = [
    (
        "members/0000.png,x\ncontrols/0000.png,x\n",
        "1 patients are both in members and in controls: x",
    ),
    ("members/9999.png,z\n", "members/9999.png match no file"),
    ("members/0000.png,m\n", "has no line for 0001.png, 0002.png"),
    ("0000.png,m\n", "0000.png match more than one file"),
]


@pytest.mark.parametrize("lines, message", BAD_PATIENTS)
def test_bad_patients_are_refused(tmp_path, lines, message):
    given = write_cohort(tmp_path)
    table = tmp_path / "patients.csv"
    known = [
        f"{role}/{i:04}.png,{role}{i}\n" for role in ("members", "controls") for i in range(40)
    ]
    if "both" in message or "9999" in message:
        first = {line.split(",")[0] for line in lines.splitlines()}
        lines += "".join(line for line in known if line.split(",")[0] not in first)
    table.write_text("file,patient\n" + lines)
    with pytest.raises(LeakboardError, match=message):
        read_inputs(places(given), Reading(patients=table))


def test_patients_of_members_alone_are_refused(tmp_path):
    given = write_cohort(tmp_path)
    lines = "".join(f"{i:04}.png,m{i}\n" for i in range(40))
    (given["members"] / "metadata.csv").write_text("file_name,patient\n" + lines)
    with pytest.raises(AuditError, match="known for members, but not for controls"):
        read_inputs(places(given))


def test_limits_are_checked_before_anything_is_read(tmp_path, monkeypatch):
    given = write_cohort(tmp_path)
    monkeypatch.setattr(module, "read_sources", None)  # whatever reads now fails otherwise
    with pytest.raises(LeakboardError, match=r"120 images of \(8, 8, 1\) would take 7.68e-06 GB"):
        read_inputs(places(given), Reading(max_gb=1e-6))
    monkeypatch.setattr(module, "MOST_RELEASED", 39)
    with pytest.raises(AuditError, match=r"40 released records. Allowed: 39"):
        read_inputs(places(given))
