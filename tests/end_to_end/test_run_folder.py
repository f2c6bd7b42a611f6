"""A folder of a run: read without data and plugins, moved, read-only; what is refused changes nothing; damage heals."""

import fcntl
import hashlib
import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import benchmark.door

COINS = Path(__file__).parents[1] / "coins.json"

NUDGE = """\
import numpy as np
from dataclasses import replace
from benchmark.contracts import Method, MethodInfo, Release


class Nudge(Method):
    info = MethodInfo(name="nudge", version="1", summary="Moves records a little.")

    def fit(self, members, context):
        noise = context.rng("noise").normal(0, 0.3, members.data.shape).astype(np.float32)
        return Release(records=replace(members, data=members.data + noise, groups=None))
"""


def contents(folder):
    """Every file of a folder with the digest of its bytes; the lock apart, which says who holds it."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "lock"
    }


def board(site):
    """What the board says to machines, but for the time."""
    table = json.loads((site / "leaderboard.json").read_text())
    return json.dumps({k: v for k, v in table.items() if k != "generated_at"}, sort_keys=True)


@pytest.fixture
def copied(small_run, tmp_path):
    return shutil.copytree(small_run, tmp_path / "copy")


# ---------------------------------------------------------------- reading needs the run alone


@pytest.fixture(scope="module")
def elsewhere(cli, tmp_path_factory):
    """A finished run of private data, moved, its data and plugin gone; and its figures."""
    root = tmp_path_factory.mktemp("elsewhere")
    (root / "plugins" / "nudge-1.0.dist-info").mkdir(parents=True)
    (root / "plugins" / "nudge.py").write_text(NUDGE)
    about = root / "plugins" / "nudge-1.0.dist-info"
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: nudge\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[benchmark.methods]\nnudge = nudge:Nudge\n")
    rng = np.random.default_rng(0)
    np.savez(
        root / "hospital.npz",
        features=rng.normal(size=(600, 6)).astype(np.float32),
        labels=np.arange(600) % 2,
        classes=np.array(["well", "ill"]),
    )
    suite = {
        "name": "theirs",
        "seeds": 1,
        "datasets": [{"name": "files", "params": {"path": str(root / "hospital.npz")}}],
        "methods": ["nudge"],
        "attacks": ["nearest_distance"],
        "utilities": ["linear_probe"],
    }
    (root / "theirs.yaml").write_text(yaml.safe_dump(suite))
    arguments = ["run", "--suite", root / "theirs.yaml", "--out", root / "run"]
    cli(*arguments, check=0, path=[str(root / "plugins")])
    frame, said = pd.read_parquet(root / "run" / "results.parquet"), board(root / "run" / "site")
    moved = root / "another" / "place"
    moved.parent.mkdir()
    (root / "run").rename(moved)
    shutil.rmtree(root / "plugins")
    (root / "hospital.npz").unlink()
    (root / "theirs.yaml").unlink()
    for path in [moved, *moved.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    yield moved, frame, said
    for path in [moved, *moved.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)


@pytest.fixture
def theirs(elsewhere, tmp_path):
    """A copy of that run that can be written to."""
    copy = shutil.copytree(elsewhere[0], tmp_path / "theirs")
    for path in [copy, *copy.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)
    return copy


def holds_an_array_of_records(folder):
    """Files with arrays of the private records' width, or with coins."""
    found = []
    for path in folder.rglob("*.npz"):
        with np.load(path) as arrays:
            wide = [n for n in arrays.files if arrays[n].ndim == 2 and arrays[n].shape[1] == 6]
            found += [path] if wide or "coins" in arrays.files else []
    return found + list(folder.rglob("coins.json"))


def test_private_records_are_removed_and_the_figures_stay(cli, theirs, elsewhere, tmp_path):
    _, frame, said = elsewhere
    assert holds_an_array_of_records(theirs)
    would = cli("clean", theirs, "--private", "--dry-run", check=0).stdout
    assert holds_an_array_of_records(theirs) and would.startswith("would be deleted: artifacts of")
    did = cli("clean", theirs, "--private", check=0).stdout
    assert did == would.replace("would be deleted", "deleted")
    assert not holds_an_array_of_records(theirs) and not (theirs / "private").exists()
    pd.testing.assert_frame_equal(pd.read_parquet(theirs / "results.parquet"), frame)
    before = contents(theirs)
    cli("report", theirs, check=0)
    cli("report", theirs, "--out", tmp_path / "site", check=0)
    assert contents(theirs) == before and board(tmp_path / "site") == said
    assert cli("status", theirs, check=0).stdout == cli("status", elsewhere[0], check=0).stdout
    pd.testing.assert_frame_equal(benchmark.load(theirs).results, frame)


def test_figures_must_be_written_before_records_are_removed(cli, theirs):
    (theirs / "results.parquet").unlink()
    refused = cli("clean", theirs, "--private", check=2)
    assert "has no results.parquet" in refused.stderr and "benchmark report" in refused.stderr
    assert holds_an_array_of_records(theirs)


def test_what_a_run_holds_is_its_owners_alone(elsewhere):
    folder = elsewhere[0]
    assert folder.stat().st_mode & 0o077 == 0
    inside = [p for name in ("artifacts", "records", "private") for p in (folder / name).rglob("*")]
    assert len(inside) > 20
    assert not [p for p in inside if p.stat().st_mode & 0o077]


def test_a_moved_read_only_run_without_data_and_plugins_gives_its_figures_bit_for_bit(
    cli, elsewhere, tmp_path
):
    folder, frame, said = elsewhere
    before = contents(folder)
    assert "nudge" not in cli("list", "methods", check=0).stdout
    assert "attack" in cli("status", folder, check=0, cwd=tmp_path).stdout
    key = next(iter((folder / "records").glob("*.json"))).stem
    assert key in cli("show", folder, key[:12], check=0, cwd=tmp_path).stdout
    printed = cli("report", folder, "--out", tmp_path / "site", check=0, cwd=tmp_path).stdout
    assert "nudge" in printed
    assert board(tmp_path / "site") == said
    made = benchmark.load(folder)
    pd.testing.assert_frame_equal(made.results, frame, check_exact=True)
    made.report(tmp_path / "again")
    pd.testing.assert_frame_equal(made.results, frame, check_exact=True)
    assert contents(folder) == before


def test_what_may_be_handed_on_names_no_place_user_or_host(elsewhere):
    folder, _, _ = elsewhere
    shared = [*folder.glob("*.parquet"), *(folder / "site").rglob("*")]
    told = b"\n".join(path.read_bytes() for path in shared if path.is_file())
    assert b"nudge" in told
    for secret in (str(folder.parents[1]), "hospital.npz", socket.gethostname(), str(Path.home())):
        assert secret.encode() not in told, secret
    tables = [pd.read_parquet(path).to_csv() for path in folder.glob("*.parquet")]
    assert not any(str(folder.parents[1]) in table or "hospital" in table for table in tables)


# ---------------------------------------------------------------- what is refused changes nothing


REFUSED = {
    "another suite": (["--suite", "quick"], "holds a run of suite 'small'"),
    "a plugin that it has not": (["--rerun", "method=cvae"], "no node of this plan is of"),
    "what matches nothing": (["--only", "method=cvae"], "matches nothing"),
    "no such device": (["--device", "gpu"], "auto, cpu, cuda"),
    "no seeds": (["--seeds", "0"], "seeds"),
    "too many seeds": (["--seeds", "1000000000"], "at most 10,000"),
    "a file that holds no coins": (["--coins", __file__], "is no file of coins"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_second_run_that_is_refused_changes_nothing(here, small_suite, small_run, what):
    arguments, said = REFUSED[what]
    if "--suite" not in arguments:
        arguments = ["--suite", small_suite, *arguments]
    before = contents(small_run)
    assert said in " ".join(here("run", "--out", small_run, *arguments, check=2).stderr.split())
    assert contents(small_run) == before


def test_a_run_beside_another_changes_nothing(here, small_suite, small_run):
    before = contents(small_run)
    with open(small_run / "lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        asked = ["run", "--suite", small_suite, "--out", small_run, "--seeds", "1"]
        assert "another run works in" in here(*asked, check=2).stderr
    assert contents(small_run) == before


def test_what_was_asked_of_a_folder_is_kept(small_suite, copied):
    about = json.loads((copied / "run.json").read_text())
    assert about["history"] == []
    benchmark.door.open_suite(small_suite, out=copied)  # the same again
    assert json.loads((copied / "run.json").read_text())["history"] == []
    benchmark.door.open_suite(small_suite, out=copied, seeds=1, only={"method": "noise"})
    (earlier,) = json.loads((copied / "run.json").read_text())["history"]
    assert earlier == {
        "suite": about["suite"],
        "only": about["only"],
        "opened_at": earlier["opened_at"],
    }


# ---------------------------------------------------------------- nothing is lost silently, and damage heals


def rerun(cli, small_suite, folder):
    return cli("run", "--suite", small_suite, "--out", folder, "-v", check=0)


def without_times(frame):
    return frame[frame["metric"] != "fit_duration_s"].drop(columns="duration_s")


def test_figures_that_are_missing_now_are_not_written_over(
    cli, here, small_suite, copied, tmp_path
):
    before = contents(copied)
    frame = pd.read_parquet(copied / "results.parquet")
    lost = next(
        path for path in (copied / "records").iterdir() if b'"kind": "attack"' in path.read_bytes()
    )
    text = lost.read_text()
    lost.write_text(text.replace('"duration_s": ', '"duration_s": 1'))  # one digit more
    refused = here("report", copied, check=2).stderr
    assert "holds figures of 1 cells that are missing now" in " ".join(refused.split())
    after = contents(copied)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed == {f"records/{lost.name}", f"records/{lost.name}.corrupt"}
    benchmark.load(copied).report(tmp_path / "site")  # elsewhere it may be written
    assert (tmp_path / "site" / "index.html").is_file()
    assert contents(copied) == after
    benchmark.load(copied).report(force=True)
    assert contents(copied)["results.parquet"] != before["results.parquet"]
    done = rerun(cli, small_suite, copied)
    assert sum(line.startswith("[") and " ok " in line for line in done.stdout.splitlines()) == 1
    healed = pd.read_parquet(copied / "results.parquet")
    pd.testing.assert_frame_equal(without_times(healed), without_times(frame), check_exact=True)


def test_damaged_and_missing_artifacts_are_computed_again(cli, here, small_suite, copied):
    frame = pd.read_parquet(copied / "results.parquet")
    scores = sorted((copied / "artifacts").glob("*/scores.npz"))
    data = bytearray(scores[0].read_bytes())
    data[len(data) // 2] ^= 1
    scores[0].write_bytes(data)
    shutil.rmtree(scores[1].parent)
    refused = " ".join(here("report", copied, check=2).stderr.split())
    assert "cannot be used" in refused and "Run the suite again, which computes it" in refused
    done = rerun(cli, small_suite, copied)
    assert done.stderr.count("It is computed again") == 2
    assert sum(line.startswith("[") and " ok " in line for line in done.stdout.splitlines()) == 2
    healed = pd.read_parquet(copied / "results.parquet")
    pd.testing.assert_frame_equal(without_times(healed), without_times(frame), check_exact=True)
