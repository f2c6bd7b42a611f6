"""A run that is killed goes on where it was, bit for bit; a node that breaks takes nothing with it."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

COINS = Path(__file__).parents[1] / "coins.json"

BREAKING = """\
import ctypes
import time

import numpy as np

from benchmark.contracts import Field, Method, MethodInfo, Release, Resources


class Breaking(Method):
    info = MethodInfo(
        name="breaking", version="1", summary="Breaks in the way asked for.",
        resources=Resources(time_s=4.0, memory_mb=512),
    )
    how: str = Field("segfault")

    def fit(self, members, context):
        if self.how == "segfault":
            ctypes.string_at(0)
        elif self.how == "memory":
            hog = [np.ones(2**24) for _ in range(64)]
            return Release(records=members, notes={"n": len(hog)})
        elif self.how == "time":
            time.sleep(600)
        raise RuntimeError("an ordinary mistake")
"""


@pytest.fixture(scope="module")
def breaking(tmp_path_factory):
    """An importable distribution with the breaking method, laid out as an installed one."""
    root = tmp_path_factory.mktemp("breaking")
    (root / "breaking.py").write_text(BREAKING)
    about = root / "breaking-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: breaking\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[benchmark.methods]\nbreaking = breaking:Breaking\n")
    return str(root)


def test_broken_nodes_are_rows_and_the_rest_is_complete(cli, breaking, tmp_path):
    suite = {
        "name": "breaks",
        "seeds": 1,
        "datasets": ["digits"],
        "methods": [
            {"name": "breaking", "grid": {"how": ["segfault", "memory", "time", "error"]}},
            "noise",
        ],
        "attacks": ["nearest_distance"],
        "utilities": ["linear_probe"],
    }
    (tmp_path / "breaks.yaml").write_text(yaml.safe_dump(suite))
    arguments = ["run", "--suite", tmp_path / "breaks.yaml", "--out", tmp_path / "run"]
    done = cli(*arguments, check=1, path=[breaking])
    results = pd.read_parquet(tmp_path / "run" / "results.parquet")
    fits = results[
        (results["attack"] == "") & (results["utility"] == "") & (results["metric"] == "")
    ]
    found = dict(zip(fits["method_label"], fits["status"], strict=True))
    assert found == {
        "breaking(how=segfault)": "crashed",
        "breaking(how=memory)": "out of memory",
        "breaking(how=time)": "timeout",
        "breaking(how=error)": "failed",
    }
    reasons = " ".join(fits["reason"])
    assert "SIGSEGV" in reasons
    assert "an ordinary mistake" in reasons
    blocked = results[results["status"] == "blocked"]
    assert len(blocked) == 8  # an attack and a utility for each
    sound = results[(results["method"] == "noise") & (results["metric"] == "auc")]
    assert (sound["status"] == "ok").all() and len(sound)
    assert "--rerun failed" in done.stderr
    page = (tmp_path / "run" / "site" / "index.html").read_text()
    assert "out of memory" in page and "--rerun failed" in page
    # Failed nodes stay failed until asked for: running again executes nothing.
    again = cli(*arguments, check=1, path=[breaking])
    assert " 0 executed" in again.stdout
    only = cli(
        "run",
        "--suite",
        tmp_path / "breaks.yaml",
        "--out",
        tmp_path / "run",
        "--rerun",
        "failed",
        check=1,
        path=[breaking],
    )
    assert " 5 executed, 5 failed" in only.stdout  # the fits, and the decoy of the first method


def artifacts(run: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(run)): p.read_bytes()
        for p in sorted((run / "artifacts").rglob("*"))
        if p.is_file()
    }


def start(suite, out):
    arguments = ("run", "--suite", suite, "--out", out, "--coins", COINS)
    return subprocess.Popen(
        [sys.executable, "-m", "benchmark", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.mark.slow
def test_killed_at_five_random_moments_it_ends_as_if_never_stopped(
    cli, small_suite, small_run, tmp_path
):
    out = tmp_path / "run"
    rng = random.Random(20)
    finished = {}
    kills = 0
    while kills < 5:
        process = start(small_suite, out)
        time.sleep(8 + 4 * rng.random())  # the server's imports take most of the first seconds
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        time.sleep(1)
        records = (
            {p.name: p.stat().st_mtime_ns for p in (out / "records").glob("*.json")}
            if out.exists()
            else {}
        )
        for name, when in finished.items():
            assert records[name] == when, "a finished node was computed again"
        finished = records
    assert kills >= 1
    cli("run", "--suite", small_suite, "--out", out, check=0)
    for name, when in finished.items():
        assert (out / "records" / name).stat().st_mtime_ns == when
    assert artifacts(out) == artifacts(small_run)
    columns = [
        "dataset",
        "method_label",
        "attack_label",
        "utility",
        "seed",
        "metric",
        "value",
        "ci_low",
        "ci_high",
    ]
    one, other = (pd.read_parquet(r / "results.parquet") for r in (out, small_run))
    keep = one["metric"] != "fit_duration_s"
    pd.testing.assert_frame_equal(one.loc[keep, columns], other.loc[keep, columns])


def test_a_run_with_damage_heals(cli, small_suite, small_run, tmp_path):
    """A digit of a figure, a byte of an artifact, an artifact gone: three nodes run again, and are as before."""
    out = tmp_path / "run"
    shutil.copytree(small_run, out)
    kinds = {}
    for path in sorted((out / "records").glob("*.json")):
        kinds.setdefault(json.loads(path.read_text())["kind"], []).append(path)
    figure = kinds["utility"][0]
    text = figure.read_text()
    value = next(v for v in re.findall(r"0\.\d{3,}", text.partition('"values"')[2]))
    figure.write_text(text.replace(value, value[:-1] + str((int(value[-1]) + 1) % 10), 1))
    release, scores = (
        next((out / "artifacts" / kinds[k][0].stem).iterdir()) for k in ("fit", "attack")
    )
    data = bytearray(release.read_bytes())
    data[len(data) // 2] ^= 1
    release.write_bytes(data)
    scores.unlink()
    told = cli("run", "--suite", small_suite, "--out", out, check=0)
    assert told.stderr.count("is missing or not what was written") == 2
    assert told.stderr.count("its checksum is another one") == 1
    assert artifacts(out) == artifacts(small_run)
    keep = ["dataset", "method_label", "attack_label", "utility", "seed", "metric", "value"]
    one, other = (pd.read_parquet(r / "results.parquet")[keep] for r in (out, small_run))
    timed = one["metric"] == "fit_duration_s"
    pd.testing.assert_frame_equal(one[~timed], other[~timed])


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(small_suite, tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmark", "run", "--suite", str(small_suite), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("records/*.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on where this one ended" in errors
    for path in out.glob("records/*.json"):
        json.loads(path.read_text())
