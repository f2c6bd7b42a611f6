"""A plugin in a distribution of its own, installed by pip, is listed and runs; a broken one says why."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

EXAMPLE = Path(__file__).parent.parent / "plugin_distribution"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where pip put the example; it needs no network, its build backend is among the test requirements."""
    target = tmp_path_factory.mktemp("site-packages")
    options = [
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--target",
        str(target),
    ]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(EXAMPLE)], check=True)
    return str(target)


def test_it_is_listed_with_its_distribution(cli, installed):
    rows = json.loads(cli("list", "--json", check=0, path=[installed]).stdout)
    by_name = {r["name"]: r for r in rows}
    assert by_name["shift"]["distribution"] == "leakboard-example 1.2.3"
    assert by_name["shift"]["reason"] == ""
    assert "a_package_that_nobody_has" in by_name["broken"]["reason"]
    assert "shift" not in json.loads(cli("list", "--json", check=0).stdout)


def test_it_runs_beside_the_built_in_ones(cli, installed, tmp_path):
    suite = {
        "name": "theirs",
        "seeds": 1,
        "datasets": ["digits"],
        "methods": [{"name": "shift", "params": {"by": 0.05}}],
        "attacks": ["nearest_distance", "label_frequency", "broken"],
    }
    (tmp_path / "theirs.yaml").write_text(yaml.safe_dump(suite))
    arguments = ["run", "--suite", tmp_path / "theirs.yaml", "--out", tmp_path / "run"]
    done = cli(*arguments, check=1, path=[installed])  # 1, since the broken attack is unavailable
    assert "unavailable" in done.stderr
    results = pd.read_parquet(tmp_path / "run" / "results.parquet")
    shifted = results[
        (results["method"] == "shift")
        & results["seed"].isna()
        & (results["metric"] == "auc")
        & (results["subgroup"] == "")
    ]
    aucs = shifted.set_index("attack")["value"]
    assert aucs["nearest_distance"] > 0.99
    assert abs(aucs["label_frequency"] - 0.5) < 0.1
    broken = results[results["attack"] == "broken"]
    assert set(broken["status"]) == {"unavailable"}
    assert "a_package_that_nobody_has" in broken["reason"].iloc[0]


def test_it_passes_the_conformance_checks(installed, tmp_path):
    script = (
        "import sys, pathlib, leakboard_example as e\n"
        "from benchmark.conformance import checks_for\n"
        "checks = [c for p in (e.Shift(), e.LabelFrequency()) for c in checks_for(p)]\n"
        "[c(pathlib.Path(sys.argv[1])) for c in checks]\n"
        "print(len(checks))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={"PYTHONPATH": installed, "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) >= 10
