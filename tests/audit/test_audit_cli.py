"""The verb ``audit`` from files to its exit status, and that nothing private is where it may be shown."""

import csv
import json
import stat

import numpy as np
import pytest
from cohorts import write_folder

from benchmark.cli import main

ATTACKS = ["--attack", "nearest_distance", "--attack", "near_duplicate", "--privacy-alone"]
SIDE = 6


def cohort(root, *, shift=0, copies=0):
    """Members, controls and a release as folders of patients' images: smooth noise, 150 of each."""
    rng = np.random.default_rng(0)
    images = rng.integers(20, 200, (450, SIDE, SIDE), dtype=np.uint8)
    parts = {"members": images[:150], "controls": images[150:300] + np.uint8(shift)}
    released = images[300:].copy()
    released[:copies] = images[:copies]
    names = [f"secretname_p{i:03}_{i}.png" for i in range(300)]
    for i, (name, own) in enumerate(parts.items()):
        write_folder(root / f"secretfolder-{name}", own, names[150 * i : 150 * (i + 1)])
    write_folder(
        root / "secretfolder-release", released, [f"secretfake_{i}.png" for i in range(150)]
    )
    return root


def audited(root, *more, controls=True):
    """The exit status of an audit in ``root``."""
    arguments = ["audit", "--release", str(root / "secretfolder-release")]
    arguments += ["--members", str(root / "secretfolder-members"), "--out", str(root / "out")]
    if controls:
        arguments += ["--controls", str(root / "secretfolder-controls")]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, *more])
    return stopped.value.code or 0


PATIENTS = ("--patient-from", r"_(?P<patient>p\d+)_")


def test_a_fresh_sample_is_accepted(tmp_path, capsys):
    assert audited(cohort(tmp_path), *PATIENTS, *ATTACKS) == 0
    said = capsys.readouterr().out
    assert (
        "No leak found by these attacks" in said and "150 members, 100 controls (patients)" in said
    )
    result = json.loads((tmp_path / "out/audit.json").read_text())
    assert result["schema"] == 1 and result["answer"] == "no leak found"
    assert result["releases"][0]["figures"]
    assert {e["test"] for e in result["releases"][0]["evidence"]} == {
        "auc",
        "flags",
        "copies",
        "verbatim",
    }
    assert result["releases"][0]["power"]["power"] == 0.8
    left_out = {n["what"] for n in result["not_tried"] if n["why"].startswith("was left out")}
    assert "domias" in left_out and "attribute_inference" in left_out


def test_copies_are_a_leak_and_who_is_exposed_is_for_the_custodian_alone(tmp_path, capsys):
    assert audited(cohort(tmp_path, copies=15), *PATIENTS, *ATTACKS) == 3
    out = tmp_path / "out"
    exposed = out / "private" / "exposed.csv"
    assert stat.S_IMODE(exposed.stat().st_mode) == 0o600
    for folder in ("private", "private/nodes"):
        assert stat.S_IMODE((out / folder).stat().st_mode) == 0o700
    rows = exposed_rows(tmp_path)
    copied = [row for row in rows if "verbatim" in row["pointed at by"]]
    assert {row["file"] for row in copied} == {f"secretname_p{i:03}_{i}.png" for i in range(15)}
    assert {row["nearest released"] for row in copied} == {f"secretfake_{i}.png" for i in range(15)}
    assert {row["patient"] for row in copied} == {f"p{i:03}" for i in range(15)}
    report = (out / "report.html").read_text()
    assert "Do not release: records of 15 patients are in it exactly as they are" in report
    printed = capsys.readouterr()
    shown = (printed.out + printed.err).replace(str(tmp_path), "")
    shown += report + (out / "audit.json").read_text()
    for secret in ("secretname", "secretfake", "secretfolder", "p007", ".png"):
        assert secret not in shown
    assert str(tmp_path) not in report + (out / "audit.json").read_text()
    assert "<img" not in report and "data:image" not in report
    assert {path.name for path in out.iterdir()} == {"audit.json", "report.html", "private"}
    main_prints(["audit", "exposed", str(out)], capsys, "secretname_p007_7.png")


def exposed_rows(root):
    with (root / "out/private/exposed.csv").open() as file:
        return list(csv.DictReader(file))


def main_prints(arguments, capsys, text):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert not stopped.value.code
    assert text in capsys.readouterr().out


def test_controls_from_elsewhere_are_not_exchangeable(tmp_path, capsys):
    assert audited(cohort(tmp_path, shift=40), *ATTACKS) == 1
    assert "Cannot be judged: the controls differ from the members even without the release" in (
        capsys.readouterr().out
    )


def test_copies_are_a_leak_whatever_the_controls_are(tmp_path, capsys):
    assert audited(cohort(tmp_path, shift=40, copies=2), *ATTACKS) == 3
    said = capsys.readouterr().out
    assert (
        "Do not release: 2 training records are in it exactly as they are; whether it tells" in said
    )
    assert "for the controls differ from the members even without the release" in said
    result = json.loads((tmp_path / "out/audit.json").read_text())["releases"][0]
    assert [e["test"] for e in result["evidence"] if e["found"]] == ["verbatim"]
    assert result["n_exposed"] == 2 and len(exposed_rows(tmp_path)) == 2


@pytest.mark.slow
def test_two_scanners_are_told_apart_as_two_sides_and_not_after_coins_were_tossed(tmp_path, capsys):
    """Half of the pictures come from a brighter scanner: refused as controls, accepted once coins were tossed."""
    root = cohort(tmp_path, shift=40)
    data = root / "data"
    data.mkdir()
    for side in ("members", "controls"):
        for file in (root / f"secretfolder-{side}").iterdir():
            (data / file.name).write_bytes(file.read_bytes())
    split = ["audit", "split", str(data), "--out", str(root / "split"), *PATIENTS]
    main_prints(split, capsys, "300 of 300 people")
    assert audited(root, *ATTACKS, *PATIENTS) == 1
    assert "Cannot be judged: the split is broken" in capsys.readouterr().out
    for side, made in (("members", "train"), ("controls", "held-back")):
        (root / f"secretfolder-{side}").rename(root / f"old-{side}")
        (root / "split" / made).rename(root / f"secretfolder-{side}")
    coins = ("--coins", str(root / "split/coins.json"), "--out", str(root / "again"))
    assert audited(root, *ATTACKS, *PATIENTS, *coins) == 0
    result = json.loads((root / "again/audit.json").read_text())
    assert result["grade"] == "randomised" and all(gate["passed"] for gate in result["gates"])


@pytest.mark.slow
def test_controls_of_another_year_are_not_exchangeable(tmp_path, capsys):
    root, lines = cohort(tmp_path), []
    for i in range(300):
        role = "members" if i < 150 else "controls"
        lines.append(
            f"secretfolder-{role}/secretname_p{i:03}_{i}.png,p{i:03},{2015 + (i >= 150)}\n"
        )
    table = root / "patients.csv"
    table.write_text("file,patient,year\n" + "".join(lines))
    assert audited(root, "--patients", str(table), *ATTACKS) == 1
    assert "members and controls differ by year" in capsys.readouterr().out


def test_without_controls_membership_cannot_be_judged(tmp_path, capsys):
    assert audited(cohort(tmp_path), controls=False) == 1
    assert (
        "Cannot be judged: membership cannot be judged without controls" in capsys.readouterr().out
    )
    assert audited(cohort(tmp_path / "again", copies=2), controls=False) == 3
    said = capsys.readouterr().out
    assert "records of 2 members are released as they are" in said and "No leak" not in said


@pytest.mark.slow
def test_coins_that_were_tossed_before_make_it_randomised(tmp_path, capsys):
    root = cohort(tmp_path)
    data = write_folder(
        root / "data", np.random.default_rng(5).integers(0, 256, (300, SIDE, SIDE), dtype=np.uint8)
    )
    main_prints(["audit", "split", str(data), "--out", str(root / "split")], capsys, "commitment")
    given = [
        "audit",
        "--members",
        str(root / "split/train"),
        "--controls",
        str(root / "split/held-back"),
    ]
    given += [
        "--coins",
        str(root / "split/coins.json"),
        "--release",
        str(root / "secretfolder-release"),
    ]
    with pytest.raises(SystemExit) as stopped:
        main([*given, "--out", str(root / "out"), *ATTACKS])
    assert not stopped.value.code
    result = json.loads((root / "out/audit.json").read_text())
    assert result["grade"] == "randomised" and len(result["commitment"]) == 64


@pytest.mark.parametrize(
    "more, message",
    [
        (["--accept", "0.4"], "--accept must be in"),
        (["--patients", "nowhere.csv"], "there is no file nowhere.csv"),
        (["--patient-from", "x(?P<patient>y)"], "finds no patient in secretname"),
        (["--attack", "nearest_distence"], "Did you mean"),
        (["--window", "5", "1"], "a window must rise"),
        (["--max-gb", "1e-9"], "would take"),
        (["--coins", "nowhere.json"], "is no file of coins"),
    ],
)
def test_bad_usage_is_status_2_and_writes_nothing(tmp_path, capsys, more, message):
    assert audited(cohort(tmp_path), *more) == 2
    said = capsys.readouterr().err
    assert message in said.replace("\n", " ") and len(said.splitlines()) < 30
    assert not (tmp_path / "out").exists()


def test_a_pdf_without_a_browser_is_refused_before_the_audit(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert audited(cohort(tmp_path), *ATTACKS, "--pdf") == 2
    assert "leave --pdf out, open report.html" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").touch()
    assert audited(cohort(tmp_path), *ATTACKS) == 2
    assert "is not empty and holds no audit" in capsys.readouterr().err


def test_what_copies_somebody_is_taken_out_and_the_rest_audited_again(tmp_path, capsys):
    root = cohort(tmp_path, copies=15)
    # A control's record goes as well: what is missing does not tell who was a member.
    first = next(iter(sorted((root / "secretfolder-controls").iterdir())))
    (root / "secretfolder-release/secretfake_20.png").write_bytes(first.read_bytes())
    assert audited(root, *ATTACKS, "--drop-exposed") == 0
    out, said = root / "out", " ".join(capsys.readouterr().out.split())
    kept = {path.name for path in (out / "private/filtered/release-1").iterdir()}
    gone = {f"secretfake_{i}.png" for i in (*range(15), 20)}
    assert not kept & gone and len(kept) + len(gone) in (150, 149, 148)  # a chance copy may go too
    assert json.loads((out / "audit.json").read_text())["answer"] == "leak"
    again = json.loads((out / "filtered/audit.json").read_text())
    assert again["answer"] == "no leak found"
    assert "filtering by distance itself can leak" in said
    notes = " ".join(again["notes"])
    assert "of release were taken out" in notes and "no independent proof" in notes
    assert "secret" not in notes + (out / "filtered/report.html").read_text()
    assert stat.S_IMODE((out / "private/filtered").stat().st_mode) == 0o700


def test_nothing_to_take_out_is_said(tmp_path, capsys):
    assert audited(cohort(tmp_path), *ATTACKS, "--drop-exposed") == 0
    assert "nothing is taken out" in capsys.readouterr().out
    assert (tmp_path / "out/audit.json").exists() and not (tmp_path / "out/filtered").exists()
