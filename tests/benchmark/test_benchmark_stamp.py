"""A second run with nothing new computes and draws nothing; whatever figures come from, a change of it is seen."""

import json
import shutil

import pandas as pd
import pytest

import benchmark
from benchmark import stamp

SUITE = {
    "name": "stamped",
    "seeds": 1,
    "datasets": [
        {
            "name": "digits",
            "game": {
                "candidates": 120,
                "auxiliary": 60,
                "holdout": 60,
                "validation": 40,
                "test": 60,
            },
        }
    ],
    "methods": ["gaussian_mean"],
    "attacks": ["nearest_distance"],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stamped") / "run"
    benchmark.run(SUITE, out=folder, progress=False)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def written(folder):
    return {
        p.relative_to(folder): p.read_bytes()
        for p in [*folder.rglob("*.parquet"), *(folder / "site").rglob("*")]
        if p.is_file()
    }


def is_current(folder):
    run = benchmark.load(folder)
    return stamp.stamped_verdicts(run._opened, run._records()) is not None


def test_a_second_run_computes_and_draws_nothing_and_says_the_same(folder, monkeypatch):
    before, first = written(folder), benchmark.load(folder)
    controls, results = first.controls, first.results

    def never(*_, **__):
        raise AssertionError("figures were computed anew")

    monkeypatch.setattr("benchmark.runs.collect", never)
    monkeypatch.setattr("benchmark.door.write_site", never)
    again = benchmark.run(SUITE, out=folder, progress=False)
    assert written(folder) == before
    pd.testing.assert_frame_equal(again.results, results, check_exact=True)
    pd.testing.assert_frame_equal(again.controls, controls)
    assert again.board == folder / "site" / "index.html"
    with pytest.raises(AssertionError, match="anew"):  # who asks for a report gets figures of now
        again.report()


def _edit_record(folder):
    path = next((folder / "records").glob("*.json"))
    record = json.loads(path.read_text())
    del record["checksum"]
    record.update(layout=1, duration_s=record["duration_s"] + 1)
    path.write_text(json.dumps(record))


def _edit(name, old, new):
    def edit(folder):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return edit


CHANGES = {
    "a record": _edit_record,
    "a record less": lambda f: next((f / "records").glob("*.json")).unlink(),
    "the confidence": _edit(
        "run.json", '"name": "stamped"', '"name": "stamped", "confidence": 0.9'
    ),
    "the coins are told": _edit("run.json", '"given": false', '"given": true'),
    "what the board says of a plugin": _edit("plan.json", "Digits", "digitS"),
    "the board": _edit("site/index.html", "gaussian_mean", "gaussian_meaner"),
    "a table": lambda f: (f / "curves.parquet").write_bytes(b""),
    "who is exposed": lambda f: (f / "private" / "exposed.parquet").unlink(),
    "a page less": lambda f: (f / "site" / "leaderboard.json").unlink(),
    "the stamp": lambda f: (f / stamp.STAMP).write_text("[]"),
    "no stamp": lambda f: (f / stamp.STAMP).unlink(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_changes_is_seen(folder, what):
    assert is_current(folder)
    CHANGES[what](folder)
    assert not is_current(folder)


def test_other_code_is_seen(folder, monkeypatch):
    monkeypatch.setattr(stamp, "_code", lambda: "another")
    assert not is_current(folder)


def test_the_code_is_that_of_every_file_that_counts_and_draws(tmp_path, monkeypatch):
    for name in ("benchmark/judge/results.py", "leaderboards/templates/board.html.j2"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x")
    monkeypatch.setattr(stamp, "_ROOT", tmp_path)
    digests = []
    for name in (None, "benchmark/judge/results.py", "leaderboards/templates/board.html.j2"):
        if name:
            (tmp_path / name).write_text("y")
        digests.append(stamp._code.__wrapped__())
    assert len(set(digests)) == 3


def test_what_is_missing_is_computed_and_stamped_again(folder):
    (folder / "site" / "leaderboard.json").unlink()
    benchmark.run(SUITE, out=folder, progress=False)
    assert (folder / "site" / "leaderboard.json").is_file() and is_current(folder)
