"""Plugins that cheat gain nothing, are called out, and leave the honest rows beside them as they were, bit for bit."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmark.engines.confine import isolation
from benchmark.store import Store

COINS = Path(__file__).parents[1] / "coins.json"
HONEST = {
    "name": "cheats",
    "seeds": 1,
    "datasets": [
        {
            "name": "digits",
            "game": {
                "candidates": 400,
                "auxiliary": 200,
                "holdout": 250,
                "validation": 60,
                "test": 200,
            },
        }
    ],
    "methods": [{"name": "noise", "params": {"scale": 0.3}}],
    "attacks": ["nearest_distance"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("cheats")


def suite_file(place, name, **more):
    path = place / f"{name}.yaml"
    path.write_text(
        yaml.safe_dump({**HONEST, **{k: HONEST.get(k, []) + v for k, v in more.items()}})
    )
    return path


@pytest.fixture(scope="module")
def alone(cli, place):
    """The honest plugins by themselves."""
    cli("run", "--suite", suite_file(place, "alone"), "--out", place / "alone", check=0)
    return place / "alone"


@pytest.fixture(scope="module")
def together(cli, place, cheats):
    """Beside those that cheat, with the same coins, which the one that derives coins knows by chance."""
    path = place / "together.yaml"
    guess = json.loads(COINS.read_text())["secret"]
    knows = {"guess": guess, "suite": str(path)}
    attacks = [
        {"name": "rederives", "params": knows},
        {"name": "rederives", "params": {**knows, "careful": False}},
        "reads",
    ]
    suite_file(place, "together", attacks=attacks, methods=["reads", "patches"])
    cli("run", "--suite", path, "--out", place / "together", check=0, path=[cheats])
    return place / "together"


def records(folder, kind, *words):
    """Records of nodes of this kind with these words in their label."""
    found = Store(folder).read_all().values()
    return [r for r in found if r.kind == kind and all(w in r.label for w in words)]


def scores(folder, attack, method):
    found = records(folder, "attack", f"{attack}", f" on {method}", "digits/")
    (record,) = [r for r in found if "careful" not in r.label and not r.label.endswith("decoy")]
    return Store(folder).arrays(record.key, "scores")["values"]


def test_honest_rows_beside_cheats_are_the_same_bit_for_bit(alone, together):
    one, other = Store(alone).read_all(), Store(together).read_all()
    assert set(one) < set(other)
    for key, record in one.items():
        assert other[key].artifacts == record.artifacts
        assert other[key].values == record.values
    frames = [pd.read_parquet(f / "results.parquet") for f in (alone, together)]
    rows = []
    for f in frames:
        own = (f["method"] == "noise") & (f["attack"] == "nearest_distance") & f["seed"].notna()
        own &= f["subgroup"] == ""  # intervals of subgroups pay for the number of attacks
        rows.append(f[own].drop(columns="duration_s").reset_index(drop=True))
    assert len(rows[0]) > 5
    pd.testing.assert_frame_equal(*rows)


@pytest.mark.skipif(isolation().startswith("none"), reason="this kernel has no Landlock")
def test_whoever_looks_for_the_run_finds_nothing(together):
    looked = records(together, "attack", "attack reads on") + records(together, "fit", "fit reads")
    assert len(looked) >= 4
    for record in looked:
        assert record.status == "ok", record.reason + record.traceback
        notes = record.values["notes"]
        assert notes["looked"] > 0  # it knew where to look: on the command line of the main process
        assert (notes["objects"], notes["read"], notes["written"]) == (0, 0, 0)


def test_derived_coins_gain_nothing_when_the_secret_is_secret(cli, place, cheats):
    path = place / "secret.yaml"
    guess = json.loads(COINS.read_text())["secret"]
    cheat = {"name": "rederives", "params": {"guess": guess, "suite": str(path)}}
    suite_file(place, "secret", attacks=[cheat])
    out = place / "secret"
    cli("run", "--suite", path, "--out", out, "--coins", "reveal", check=0, path=[cheats])
    for method in ("noise", "holdout", "identity"):
        honest, cheating = (scores(out, a, method) for a in ("nearest_distance", "rederives"))
        np.testing.assert_array_equal(honest, cheating)
    board = json.loads((out / "site" / "leaderboard.json").read_text())
    assert not board["coins"]["given"]


def test_with_a_secret_that_it_knows_the_same_attack_gains_all_and_the_board_says_who_knew(
    together,
):
    (game,) = [r for r in records(together, "game", "digits")]
    coins = Store(together).arrays(game.key, "secret")["coins"]
    cheating = scores(together, "rederives", "noise")
    assert cheating[coins].min() > cheating[~coins].max()
    page = (together / "site" / "index.html").read_text()
    assert "whoever had the file knew the coins" in page


def test_whoever_uses_coins_where_a_release_is_near_is_caught_by_its_decoy(together):
    controls = json.loads((together / "site" / "leaderboard.json").read_text())["controls"]
    decoys = {c["attack"]: c for c in controls if c["kind"] == "decoy"}
    (careless,) = [c for name, c in decoys.items() if "careful=false" in name]
    assert not careless["passed"] and careless["measured"] > 0.99
    assert careless["control"] == "a decoy of noise(scale=0.3)"
    assert decoys["nearest_distance"]["passed"]
    failed = [c for c in controls if c["attack"] == careless["attack"] and not c["passed"]]
    assert [c["kind"] for c in failed] == ["decoy"]  # on every other control it is honest
    results = pd.read_parquet(together / "results.parquet")
    rows = results[results["attack_label"] == careless["attack"]]
    assert set(rows.loc[rows["method"] == "noise", "status"]) == {"void"}


def test_a_violation_stays_one_though_its_method_patches_the_referee(cli, together, place, cheats):
    for again in (False, True):
        if again:
            cli("report", together, "--out", place / "again", check=0, path=[cheats])
        out = (place / "again" if again else together / "site") / "leaderboard.json"
        rows = json.loads(out.read_text())["rows"]
        (row,) = [r for r in rows if r["method"] == "patches"]
        assert row["verdict"] == "violation"


def test_a_report_needs_neither_the_plugins_nor_the_place(cli, together, place):
    """They are not on this one's path, and the folder has moved."""
    moved = together.rename(place / "moved")
    try:
        cli("report", moved, "--out", place / "elsewhere", check=0, cwd=place)
    finally:
        moved.rename(together)
    pages = [place / "elsewhere" / "leaderboard.json", together / "site" / "leaderboard.json"]
    one, other = (json.loads(p.read_text()) for p in pages)
    assert one["rows"] == other["rows"] and one["controls"] == other["controls"]
