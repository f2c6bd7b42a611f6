"""A filter by distance to the closest member is a leak the other way round: members are farther than chance."""

import json

import pandas as pd
import pytest

SUITE = """\
name: filtered
description: A release filtered by distance beside two that tell next to nothing; for tests.
seeds: 2
datasets:
  - name: digits
    game: {candidates: 700}
methods:
  - distance_filtered
  - {name: noise, params: {scale: 12.0}}
  - {name: dp_merf, params: {epsilon: 1.0}}
attacks: [nearest_distance]
utilities: []
"""


@pytest.fixture(scope="module")
def run(cli, tmp_path_factory):
    folder = tmp_path_factory.mktemp("filtered")
    (folder / "suite.yaml").write_text(SUITE)
    cli("run", "--suite", folder / "suite.yaml", "--out", folder / "run", check=0)
    return folder / "run"


def test_it_is_a_leak_and_the_last_of_the_honest_rows(run):
    rows = json.loads((run / "site" / "leaderboard.json").read_text())["rows"]
    found = {r["method"]: r for r in rows if not r["control"]}
    assert found["distance_filtered"]["verdict"] == "leak"
    assert found["distance_filtered"]["privacy_rank"] == len(found) == 3
    assert found["distance_filtered"]["epsilon_lower"] > 0
    assert {found[m]["verdict"] for m in found if m != "distance_filtered"} == {"no leak found"}


def test_the_results_say_which_way_the_attack_points(run):
    results = pd.read_parquet(run / "results.parquet")
    mine = results[(results["method"] == "distance_filtered") & (results["metric"] == "auc")]
    worst = mine[mine["attack"] == "worst_case"].iloc[0]
    single = mine[(mine["attack"] == "nearest_distance") & mine["seed"].isna()].iloc[0]
    assert worst["direction"] == single["direction"] == "farther"
    assert single["value"] < 0.4 and worst["value"] > 0.6 and worst["ci_low"] > 0.5


def test_the_page_says_it_in_words(run):
    page = (run / "site" / "index.html").read_text()
    assert "members are farther than chance" in page
