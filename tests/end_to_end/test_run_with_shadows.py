"""Shadow attacks from a suite file to the table: on averages they find what one release hides."""

import json

import pandas as pd

SUITE = """\
name: shadowed
seeds: 1
datasets:
  - name: digits
    game: {candidates: 400, auxiliary: 300, holdout: 230, validation: 60, test: 100}
methods:
  - {name: k_same, params: {k: 4}}
attacks:
  - nearest_distance
  - {name: lira, grid: {score: [nearest_distance, stacked]}}
"""


def test_a_suite_with_shadows(cli, tmp_path):
    suite, folder = tmp_path / "shadowed.yaml", tmp_path / "run"
    suite.write_text(SUITE)
    cli("run", "--suite", suite, "--out", folder, check=0)
    table = pd.read_parquet(folder / "results.parquet")
    table = table[(table["metric"] == "auc") & (table["seed"] == 0) & (table["subgroup"] == "")]

    def auc(method, attack, **parameters):
        rows = table[(table["method"] == method) & (table["attack"] == attack)]
        for name, value in parameters.items():
            rows = rows[[json.loads(p)[name] == value for p in rows["attack_params"]]]
        (row,) = rows.to_dict("records")
        return row["value"], row["ci_low"], row["ci_high"]

    alone = auc("k_same", "nearest_distance")
    for score in ("nearest_distance", "stacked"):
        assert auc("k_same", "lira", score=score)[1] > alone[2]  # intervals do not overlap
        assert auc("identity", "lira", score=score)[0] >= 0.99
        low, high = auc("holdout", "lira", score=score)[1:]
        assert low - 0.05 < 0.5 < high + 0.05
        assert auc("k_same", "lira", score=score, shadows=16)  # the number is in the table

    records = {p.name: p.stat().st_mtime_ns for p in (folder / "records").iterdir()}
    kinds = [json.loads(p.read_text())["kind"] for p in (folder / "records").iterdir()]
    assert kinds.count("shadows") == 3  # one for each method, whatever the number of attacks
    cli("run", "--suite", suite, "--out", folder, check=0)
    assert records == {p.name: p.stat().st_mtime_ns for p in (folder / "records").iterdir()}
