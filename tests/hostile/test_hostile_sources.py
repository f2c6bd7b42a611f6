"""A plugin whose code changes under the same version is named, and can be run again; the rest stays as it is."""

import json

import pytest
import yaml

SOURCE = '''
import numpy as np
from benchmark.contracts import Method, MethodInfo, Release
import drifting_amount

class Drifting(Method):
    """Adds a constant that stands in another file."""

    info = MethodInfo(name="drifting", version="7", summary="Shifted.", kinds=frozenset({"feature"}))

    def fit(self, members, context):
        """The members, shifted."""
        return Release(records=members.replace(data=members.data + np.float32(drifting_amount.BY)))
'''
SUITE = {
    "name": "drift",
    "seeds": 1,
    "datasets": [{"name": "gaussian", "game": {"candidates": 60, "holdout": 20}}],
    "methods": [{"name": "noise", "params": {"scale": 0.3}}, "drifting"],
    "attacks": ["nearest_distance"],
}
SAID = (
    "drifting 7: its code has changed since 1 of its nodes was computed; "
    "run again with --rerun method=drifting"
)


@pytest.fixture
def drifting(tmp_path, cli, install_distribution):
    """Run the suite with these arguments; change the amount with ``by``."""
    folder = tmp_path / "site"
    install_distribution(folder, "drifting", SOURCE, methods={"drifting": "Drifting"})
    listed = folder / "drifting-1.0.dist-info" / "top_level.txt"
    listed.write_text("drifting\ndrifting_amount\n")
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(SUITE))

    def run(*more, by):
        amount(by)
        where = ("--suite", tmp_path / "suite.yaml", "--out", tmp_path / "run")
        return cli("run", *where, *more, check=0, path=[str(folder)])

    def amount(by):
        (folder / "drifting_amount.py").write_text(f"BY = {by}\n")
        return str(folder)

    run.amount = amount
    return run


def records(folder):
    return {p.stem: json.loads(p.read_text()) for p in (folder / "records").rglob("*.json")}


def test_changed_code_is_said_everywhere_and_can_be_run_again(drifting, cli, tmp_path):
    folder = tmp_path / "run"
    assert "code has changed" not in drifting(by=0.0).stderr
    before = records(folder)
    # Its status says so at once, before the suite is run again.
    assert SAID in cli("status", folder, check=0, path=[drifting.amount(by=50.0)]).stderr
    assert SAID in drifting(by=50.0).stderr
    assert records(folder) == before
    assert SAID in cli("status", folder, check=0).stderr
    assert SAID in (folder / "site" / "index.html").read_text()

    assert "code has changed" not in drifting("--rerun", "method=drifting", by=50.0).stderr
    after = records(folder)
    again = {key for key in before if before[key] != after[key]}
    assert {before[k]["label"] for k in again if before[k]["kind"] in ("fit", "attack")} == {
        "fit drifting on gaussian/native, seed 0",
        "attack nearest_distance on drifting, gaussian/native, seed 0",
    }
    assert not any("noise" in before[k]["label"] for k in again)
    assert "code has changed" not in cli("status", folder, check=0).stderr
    assert "code has changed" not in (folder / "site" / "index.html").read_text()
