"""A utility that sees the members, and claims about its figures, from the suite file to the page."""

import json

import pandas as pd
import pytest

import benchmark

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


def test_a_run_without_coins_measures_utility_and_says_that_nothing_is_judged(cli, tmp_path):
    suite = tmp_path / "table.yaml"
    suite.write_text(
        "name: table\nseeds: 2\ndatasets: [{name: digits, game: {members: all, validation: 100, test: 300}}]\n"
        "methods: [class_gaussian]\nutilities: [linear_probe]\nclaims:\n"
        "  - {id: real, text: As good as the members, left: {method: class_gaussian, metric: accuracy},"
        " right: {method: identity, metric: accuracy}, relation: within, margin: 0.1}\n"
    )
    done = cli("run", "--suite", suite, "--out", tmp_path / "run", check=0)
    assert "not judged" in done.stdout
    frame = pd.read_parquet(tmp_path / "run" / "results.parquet")
    ours = frame[frame["method"].eq("class_gaussian")]
    assert ours[ours["metric"].eq("accuracy") & ours["seed"].isna()]["value"].item() > 0.9
    bar = ours[ours["metric"].eq("bar")]
    assert bar["status"].item() == "not judged" and "no coins were tossed" in bar["reason"].item()
    assert not frame["metric"].isin({"auc", "epsilon_lower"}).any()
    board = json.loads((tmp_path / "run" / "site" / "leaderboard.json").read_text(encoding="utf-8"))
    (claim,) = board["claims"]
    assert claim["verdict"] == "reproduced"
    assert claim["rows"][0]["ci_method"].startswith("paired by seed and test record")
    paired = pd.read_parquet(tmp_path / "run" / "differences.parquet")
    assert sorted(paired["seed"]) == [0, 1] and set(paired["left"]) == {"class_gaussian"}
    read = benchmark.load(tmp_path / "run").claims
    assert read["difference"].tolist() == [claim["rows"][0]["difference"]]
    assert read["ci_low"].tolist() == [claim["rows"][0]["ci_low"]]
    page = (tmp_path / "run" / "site" / "index.html").read_text(encoding="utf-8")
    assert (
        "Without coins" in page
        and "no leak found" not in page.split("<main")[1].split("</table>")[0]
    )
