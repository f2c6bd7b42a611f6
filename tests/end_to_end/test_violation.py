"""A method that claims privacy and gives its records away is called out: in the results, the table and the page."""

import itertools
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

DISHONEST = """\
import numpy as np

from benchmark.contracts import DifferentialPrivacy, Field, Method, MethodInfo, Release


class Dishonest(Method):
    info = MethodInfo(name="dishonest", version="1", summary="Copies records and claims to be private.")
    epsilon: float = Field(0.1)
    noise_multiplier: float | None = Field(None)

    def fit(self, members, context):
        details = {}
        if self.noise_multiplier is not None:
            details = {"noise_multiplier": self.noise_multiplier, "sample_rate": 0.01, "steps": 1000}
            members = members.replace(data=np.zeros_like(members.data))
        guarantee = DifferentialPrivacy(
            epsilon=self.epsilon,
            delta=1e-5,
            accountant="trust me",
            adjacency="add_remove",
            details=details,
        )
        return Release(records=members.replace(groups=None), guarantee=guarantee)
"""
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
COPIES, CLAIMS_TOO_LITTLE, HONEST = (
    "dishonest",
    "dishonest(epsilon=1.0, noise_multiplier=1.0)",
    "dishonest(epsilon=1.85, noise_multiplier=1.0)",
)


@pytest.fixture(scope="module")
def audit(cli, tmp_path_factory):
    """The run folder of an audit of three of them, and what it said."""
    root = tmp_path_factory.mktemp("dishonest")
    (root / "dishonest.py").write_text(DISHONEST)
    about = root / "dishonest-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: dishonest\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[benchmark.methods]\ndishonest = dishonest:Dishonest\n"
    )
    # Half of each image's pixels are white: as far from a release of zeros as any other, so that an attack has no
    # score to be lucky with.
    rng, half = np.random.default_rng(0), np.repeat(np.uint8([0, 255]), 32)
    images = np.stack([rng.permutation(half) for _ in range(900)]).reshape(-1, 8, 8)
    np.savez(root / "halves.npz", images=images, labels=np.arange(900) % 3)
    suite = {
        "name": "dishonest",
        "seeds": 1,
        "datasets": [
            {
                "name": "files",
                "label": "halves",
                "params": {"path": str(root / "halves.npz")},
                "game": {"candidates": 300},
            }
        ],
        "methods": [
            "dishonest",
            # Releases nothing of the records, but its own parameters give ε = 1.828, not 1.
            {"name": "dishonest", "params": {"epsilon": 1.0, "noise_multiplier": 1.0}},
            {"name": "dishonest", "params": {"epsilon": 1.85, "noise_multiplier": 1.0}},
        ],
        "attacks": ["nearest_distance"],
    }
    (root / "suite.yaml").write_text(yaml.safe_dump(suite))
    done = cli(
        "run", "--suite", root / "suite.yaml", "--out", root / "run", check=0, path=[str(root)]
    )
    return root / "run", done.stdout


def test_an_attack_on_a_release_of_zeros_is_at_chance_to_the_bit(audit):
    results = pd.read_parquet(audit[0] / "results.parquet")
    mine = results[(results["metric"] == "auc") & results["seed"].eq(0)]
    for label in (HONEST, CLAIMS_TOO_LITTLE):
        assert mine.loc[mine["method_label"] == label, "value"].eq(0.5).all()
        assert (mine["method_label"] == label).any()


def test_the_results_hold_the_violation_with_its_evidence(audit):
    results = pd.read_parquet(audit[0] / "results.parquet")
    violations = results[results["metric"] == "violation"].set_index("method_label")["reason"]
    assert set(violations.index) == {COPIES, CLAIMS_TOO_LITTLE}
    assert "nearest_distance, seed 0: ε ≥ " in violations[COPIES]
    assert "ε = 0.1 claimed" in violations[COPIES]
    assert violations[CLAIMS_TOO_LITTLE].startswith("ε = 1.828 recomputed from its own noise")
    again = results[results["metric"] == "recomputed_epsilon"]["ci_method"]
    assert again.str.contains("own privacy loss distribution").all()
    assert again.str.contains(r"RDP \(numerical integral\), improved conversion").all()


def test_the_worst_attack_is_paid_for_by_permuted_coins(audit):
    results = pd.read_parquet(audit[0] / "results.parquet")
    worst = results[(results["attack"] == "worst_case") & (results["metric"] == "auc")]
    assert worst["ci_method"].str.contains("coins permuted for all attacks").all() and len(worst)


def test_measured_and_recomputed_stand_beside_the_claim(audit):
    results = pd.read_parquet(audit[0] / "results.parquet")
    whole = results[results["seed"].isna() & (results["attack"] == "")]
    facts = whole.set_index(["method_label", "metric"])["value"]
    assert facts[COPIES, "claimed_epsilon"] == 0.1
    assert 3 < facts[COPIES, "measured_epsilon"] < 6
    assert (COPIES, "recomputed_epsilon") not in facts.index
    assert facts[HONEST, "measured_epsilon"] < 0.5
    # dp-accounting's privacy loss distribution gives 1.8282.
    assert facts[HONEST, "recomputed_epsilon"] == pytest.approx(1.8282, rel=1e-3)


def test_the_table_for_machines_and_the_terminal_say_it(audit):
    folder, said = audit
    rows = json.loads((folder / "site" / "leaderboard.json").read_text())["rows"]
    verdicts = {r["method_label"]: r["verdict"] for r in rows}
    assert verdicts[COPIES] == verdicts[CLAIMS_TOO_LITTLE] == "violation"
    assert verdicts[HONEST] == "no leak found"
    evidence = next(r["violation"] for r in rows if r["method_label"] == COPIES)
    assert "ε = 0.1 claimed" in evidence
    lines = said.splitlines()
    verdict = {
        line.split()[1]: below
        for line, below in itertools.pairwise(lines)
        if re.match(r"\d\S* +dishonest", line)
    }
    assert len(verdict) == 3
    violated = {name for name, below in verdict.items() if below.startswith("violation ")}
    assert violated == {COPIES, CLAIMS_TOO_LITTLE.split()[0]}
    assert f"violation {COPIES}: nearest_distance, seed 0: ε ≥ " in said


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found; install the package chromium")
def test_the_page_shows_it(audit):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((audit[0] / "site" / "index.html").as_uri())
        rows = page.locator("table.board tbody.methods > tr")
        texts = [re.sub(r"\s+", " ", text) for text in rows.all_inner_texts()]
        flagged = page.locator("table.board .verdict.violation:visible")
        assert flagged.count() == 2
        assert page.locator("table.board .evidence:visible").count() == 2
        (copies,) = [t for t in texts if "ε ≤ 0.100" in t]
        assert "▲ violation" in copies and "ε = 0.1 claimed" in copies and "measured ≥" in copies
        (little,) = [t for t in texts if "ε ≤ 1.00" in t]
        assert "recomputed 1.83" in little and "▲ violated" in little
        (honest,) = [t for t in texts if "ε ≤ 1.85" in t]
        assert "violat" not in honest and "recomputed 1.83" in honest
        browser.close()
