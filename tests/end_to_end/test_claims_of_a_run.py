"""A utility that sees the members, and claims about its figures, from the suite file to the page."""

import json

import pandas as pd
import pytest

SUITE = """\
name: claimed
seeds: 2
datasets:
  - name: digits
    game: {candidates: 300, auxiliary: 300, holdout: 200, validation: 60, test: 300}
methods:
  - {name: k_same, params: {k: 4}}
utilities: [release_distance]
claims:
  - id: copies
    text: Copies keep away from the members
    left: {method: identity, metric: distance_to_members}
    right: 0.0
    relation: ">"
  - id: fresh
    text: Fresh records are as far from the members as fresh records
    left: {method: holdout, metric: distance_ratio}
    right: 1.0
    relation: ">="
    margin: 0.3
  - id: fewer
    text: k-Same releases fewer distinct records than fresh ones
    left: {method: k_same, metric: distinct}
    right: {method: holdout, metric: distinct}
    relation: "<"
  - id: unknown
    text: Nobody ran this
    left: {method: gan, metric: distinct}
    right: 0.5
    relation: ">"
"""


@pytest.fixture(scope="module")
def run(cli, tmp_path_factory):
    folder = tmp_path_factory.mktemp("claimed")
    suite = folder / "claimed.yaml"
    suite.write_text(SUITE)
    done = cli("run", "--suite", suite, "--out", folder / "run", check=0)
    return folder / "run", done.stdout


def test_the_utility_sees_the_members_of_each_seed(run):
    frame = pd.read_parquet(run[0] / "results.parquet")
    frame = frame[frame["utility"].eq("release_distance") & frame["seed"].notna()]
    values = frame.set_index(["method", "metric", "seed"])["value"].unstack()
    assert values.loc[("identity", "distance_to_members")].tolist() == [0, 0]
    assert values.loc[("identity", "diversity")].tolist() == pytest.approx([1, 1])
    assert values.loc[("holdout", "distance_ratio")].between(0.85, 1.15).all()
    assert values.loc[("k_same", "distinct")].between(0.2, 0.25).all(), (
        "groups of four and the rest"
    )


def test_verdicts_are_in_the_table_the_terminal_and_the_page(run):
    folder, said = run
    frame = pd.read_parquet(folder / "claims.parquet").set_index("claim")
    expected = {
        "copies": "not reproduced",
        "fresh": "reproduced",
        "fewer": "reproduced",
        "unknown": "no figure",
    }
    assert frame["verdict"].to_dict() == expected
    content = json.loads((folder / "site" / "leaderboard.json").read_text(encoding="utf-8"))
    assert {c["id"]: c["verdict"] for c in content["claims"]} == expected
    page = (folder / "site" / "index.html").read_text(encoding="utf-8")
    assert "Copies keep away from the members" in page
    assert "claims" in said and "no figure for distinct of gan in this run" in said
