"""Reconstructions from a suite file to the board: fidelity, nearness to members, and the control."""

import pandas as pd
import pytest

SUITE = """\
name: reconstructed
seeds: 1
datasets:
  - name: digits
    game: {candidates: 200, auxiliary: 300, holdout: 120, validation: 60, test: 60}
methods:
  - {name: k_same, params: {k: 4}}
attacks:
  - {name: gradient_matching, params: {attack: closed_form}}
"""


@pytest.mark.slow
def test_a_suite_with_reconstructions(cli, tmp_path):
    suite, folder = tmp_path / "reconstructed.yaml", tmp_path / "run"
    suite.write_text(SUITE)
    cli("run", "--suite", suite, "--out", folder, check=0)
    table = pd.read_parquet(folder / "results.parquet")
    table = table[(table["attack"] == "gradient_matching") & (table["subgroup"] == "")]

    def figure(method, metric):
        rows = table[(table["method"] == method) & (table["metric"] == metric)]
        return rows[rows["seed"].isna()]["value"].item()

    for method in ("identity", "holdout", "k_same"):
        assert figure(method, "recovered_share") == 1  # of what was released, private or not
        assert figure(method, "fidelity_cosine") > 0.999
        assert figure(method, "note:label_accuracy") == 1
    assert figure("identity", "auc") >= 0.99
    assert figure("identity", "mse_to_member") < 1e-6 < figure("identity", "mse_to_nonmember")
    assert figure("k_same", "cosine_to_member") > figure("k_same", "cosine_to_nonmember")
    near, far = (figure("holdout", f"cosine_to_{side}") for side in ("member", "nonmember"))
    assert abs(near - far) < 0.02
    page = (folder / "site" / "index.html").read_text() + "".join(
        p.read_text() for p in (folder / "site").rglob("*.html")
    )
    assert "Cosine to the nearest non-member" in page
