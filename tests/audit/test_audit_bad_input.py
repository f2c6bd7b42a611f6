"""What cannot be audited: status 2, one screen that says what to do, and nothing written."""

import shutil

import numpy as np
import pytest
from cohorts import pictures, write_cohort, write_folder

from benchmark.audit import inputs as module
from benchmark.cli import main

PATIENT_FROM = ("--patient-from", r"(?P<patient>[a-z]\d+)_")


def empty_folder(given):
    shutil.rmtree(given["release"])
    given["release"].mkdir()


def different_sizes(given):
    write_folder(given["release"], pictures(1, 5, side=9), ["odd.png"])


def a_member_that_is_a_control(given):
    write_folder(given["controls"], pictures(40, 0)[7:8], ["again.png"])


def by_patient(given, members=40, controls=40):
    """Names of files that tell their patients: ``m0`` … and ``c0`` …, two images of some."""
    for role, n in (("members", members), ("controls", controls)):
        shutil.rmtree(given[role])
        names = [f"{role[0]}{i % n}_{i}.png" for i in range(40)]
        write_folder(given[role], pictures(40, 6 + (role == "controls")), names)


def a_patient_on_both_sides(given):
    by_patient(given)
    write_folder(given["controls"], pictures(1, 8), ["m3_99.png"])


def few_control_patients(given):
    by_patient(given, controls=29)


def more_released_than_allowed(given):
    pass


def ids_of_no_file(given):
    lines = "".join(f"members/{i:04}.png,m{i}\n" for i in range(41))
    (given["members"].parent / "patients.csv").write_text("file,patient\n" + lines)


def nothing_there(given):
    shutil.rmtree(given["release"])


BAD = [
    (empty_folder, (), "release holds no images. Put them there"),
    (different_sizes, (), "odd.png has 9×9 pixels, but", "or set `size` to resize all"),
    (
        a_member_that_is_a_control,
        (),
        "1 records are equal in members and controls: 0007.png = again.png",
        "Remove them from one of the two",
    ),
    (
        a_patient_on_both_sides,
        PATIENT_FROM,
        "1 patients are both in members and in controls: m3",
        "Move all records of a patient to one side",
    ),
    (
        few_control_patients,
        PATIENT_FROM,
        "there are 29 controls (patients). Needed: 30",
        "copies can still be looked for: leave --controls out",
    ),
    (more_released_than_allowed, (), "holds 40 released records. Allowed: 39", "audit a random"),
    (
        ids_of_no_file,
        ("--patients", "{root}/patients.csv"),
        "members/0040.png match no file",
    ),
    (nothing_there, (), "there is no file or folder", "Give a folder of images, an .npz"),
]


def refused(given, capsys, *more):
    """What an audit of these says on its way out, on one screen."""
    arguments = [a for role, path in given.items() for a in (f"--{role}", str(path))]
    with pytest.raises(SystemExit) as stopped:
        main(["audit", *arguments, *more])
    shown = capsys.readouterr()
    assert stopped.value.code == 2 and not shown.out
    assert len(shown.err.splitlines()) <= 24 and "Traceback" not in shown.err
    return " ".join(shown.err.split())


@pytest.mark.parametrize(
    "make, more, said", [(m, o, s) for m, o, *s in BAD], ids=[b[0].__name__ for b in BAD]
)
def test_bad_input_is_status_2_on_one_screen_and_nothing_is_written(
    make, more, said, tmp_path, capsys, monkeypatch
):
    given = write_cohort(tmp_path)
    make(given)
    if make is more_released_than_allowed:
        monkeypatch.setattr(module, "MOST_RELEASED", 39)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    monkeypatch.chdir(tmp_path)  # where audits/ would be
    error = refused(given, capsys, *(o.format(root=tmp_path) for o in more))
    for text in said:
        assert text in error
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_many_unreadable_files_are_listed_at_once_and_still_fit(tmp_path, capsys):
    given = write_cohort(tmp_path)
    for i in range(50):
        (given["members"] / f"broken{i}.png").write_bytes(b"no picture")
    error = refused(given, capsys, "--out", str(tmp_path / "out"))
    assert "50 files cannot be used" in error and "30 more" in error
    assert not (tmp_path / "out").exists()


def test_features_that_are_not_finite_are_refused(tmp_path, capsys):
    rng = np.random.default_rng(0)
    given = {role: tmp_path / f"{role}.npz" for role in ("members", "controls", "release")}
    for role, path in given.items():
        features = rng.standard_normal((40, 3))
        features[5, 1] = np.nan if role == "release" else 0
        np.savez(path, features=features)
    error = refused(given, capsys, "--out", str(tmp_path / "out"))
    assert "release.npz" in error and not (tmp_path / "out").exists()
