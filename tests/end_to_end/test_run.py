"""A suite runs to a board from one command; running it again does nothing; what is bad is refused."""

import json
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

REQUIRED = {
    "suite",
    "dataset",
    "features",
    "method",
    "method_params",
    "access",
    "attack",
    "attack_params",
    "utility",
    "perturbation",
    "severity",
    "seed",
    "subgroup",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "ci_method",
    "n_members",
    "n_nonmembers",
    "status",
    "reason",
    "duration_s",
}


@pytest.fixture(scope="module")
def results(small_run):
    return pd.read_parquet(small_run / "results.parquet")


def figure(results, metric, seed=None, **where):
    rows = results[(results["metric"] == metric) & (results["subgroup"] == "")]
    rows = rows[rows["seed"].isna()] if seed is None else rows[rows["seed"] == seed]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    (row,) = rows.to_dict("records")
    return row


def test_the_run_folder_holds_all_that_it_should(small_run):
    assert {"records", "artifacts", "results.parquet", "site", "run.json"} <= {
        p.name for p in small_run.iterdir()
    }
    assert (small_run / "site" / "index.html").stat().st_size > 10_000
    for folder in (small_run, small_run / "private"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {p.name for p in (small_run / "private").iterdir()} == {
        "coins.json",
        "exposed.parquet",
        "pairs.parquet",
    }
    table = json.loads((small_run / "site" / "leaderboard.json").read_text())
    assert "k_same" in json.dumps(table)


def test_the_results_are_tidy(results):
    assert set(results.columns) >= REQUIRED
    assert set(results["status"]) == {"ok", "not applicable"}
    keys = [
        "dataset",
        "features",
        "method_label",
        "attack_label",
        "access",
        "utility",
        "perturbation",
    ]
    keys += ["severity", "seed", "subgroup", "metric", "key"]
    assert not results[results["metric"] != ""].duplicated(keys).any()
    known = results["ci_low"].notna() & results["ci_high"].notna()
    ordered = results["ci_low"].le(results["value"] + 1e-9) & results["value"].le(
        results["ci_high"] + 1e-9
    )
    assert ordered[known].all()


def test_controls_read_as_they_must(results):
    at_home = {"attack": "nearest_distance", "dataset": "digits"}
    assert figure(results, "auc", method="identity", **at_home)["value"] >= 0.99
    holdout = figure(results, "auc", method="holdout", **at_home)
    assert holdout["ci_low"] < 0.5 < holdout["ci_high"]
    flags = figure(results, "flag_rate_members", method="identity", attack="near_duplicate")
    assert flags["value"] >= 0.99
    assert figure(results, "reidentification_rate", method="identity")["value"] == 1.0
    assert figure(results, "relative_accuracy", method="identity", severity=0)["value"] == 1.0


def test_k_same_keeps_its_bound(results):
    rate = figure(results, "reidentification_rate", method="k_same")
    bound = figure(results, "reidentification_bound", method="k_same")
    assert bound["value"] == 0.25
    assert rate["ci_low"] <= 0.25
    assert not (results["metric"] == "violation").any()


def test_the_worst_case_is_the_largest_and_wider(results):
    worst = figure(results, "auc", method="noise", attack="worst_case")
    singles = results[
        (results["metric"] == "auc")
        & results["subgroup"].eq("")
        & results["seed"].isna()
        & (results["method"] == "noise")
        & (results["attack"] != "worst_case")
    ]
    turned = np.maximum(singles["value"], 1 - singles["value"])
    assert worst["value"] == pytest.approx(turned.max(), abs=0.01)  # seeds weigh by their sizes
    assert worst["reason"] in set(singles["attack_label"])
    assert 0.5 <= worst["ci_low"] <= worst["value"] <= worst["ci_high"]
    assert worst["direction"] == "nearer"


def test_the_bound_shares_its_error_with_auc(results):
    for method in ("identity", "holdout"):
        bound = figure(results, "epsilon_lower", method=method, attack="worst_case")
        assert "97.5 % confidence" in bound["ci_method"]
        assert (bound["value"] > 0) == (method == "identity")
        judged, asked = (
            figure(results, f"attacks_{what}", method=method, attack="worst_case")["value"]
            for what in ("judged", "asked")
        )
        assert 1 <= judged <= asked
        least = figure(results, "detectable_auc", method=method, attack="worst_case")
        assert 0.5 < least["value"] < 1


def test_subgroups_are_wider_than_all_and_add_up(results):
    where = (results["method"] == "noise") & (results["attack"] == "nearest_distance")
    rows = results[where & (results["metric"] == "auc") & results["seed"].isna()]
    groups = rows[rows["subgroup"] != ""].set_index("subgroup")
    assert list(groups.index) == [*(f"class {i}" for i in range(10)), "outliers"]
    everybody = results[where & (results["metric"] == "auc") & results["seed"].notna()]
    everybody = everybody[everybody["subgroup"] == ""]
    classes = groups[groups.index != "outliers"]
    assert classes["n_members"].sum() == everybody["n_members"].sum()
    assert classes["n_nonmembers"].sum() == everybody["n_nonmembers"].sum()
    (whole,) = rows[rows["subgroup"] == ""].to_dict("records")
    known = groups[groups["value"].notna()]
    assert (known["ci_high"] - known["ci_low"]).min() > whole["ci_high"] - whole["ci_low"]
    assert "Bonferroni over 22 subgroups" in groups["ci_method"].iloc[0]  # of two scoring attacks


def test_every_candidate_has_an_exposure(small_run, results):
    exposed = pd.read_parquet(small_run / "private" / "exposed.parquet")
    noise = exposed[(exposed["method"] == "noise") & (exposed["attack"] == "nearest_distance")]
    auc = results[(results["method"] == "noise") & (results["metric"] == "auc")]
    auc = auc[(auc["attack"] == "nearest_distance") & auc["seed"].notna()]
    auc = auc[auc["subgroup"] == ""]
    assert noise["runs_in"].sum() == auc["n_members"].sum()
    assert noise["runs_out"].sum() == auc["n_nonmembers"].sum()
    assert noise["id"].is_unique
    # A member outscores, on average, the share of non-members that the AUC says.
    inside = (noise["exposure"].fillna(0) * noise["runs_in"]).sum() / noise["runs_in"].sum()
    assert inside == pytest.approx(np.average(auc["value"], weights=auc["n_members"]))


def test_the_front_is_as_sure_as_its_figures(results):
    shares = results[results["metric"] == "pareto_frequency"].set_index("method")
    assert set(shares.index) == {"k_same", "noise"}
    assert shares["value"].between(0, 1).all() and shares["value"].max() > 0.5
    assert (shares["reason"] == "linear_probe balanced_accuracy").all()


def test_a_method_that_misses_a_cell_is_left_out_of_front_and_ranks_alike(small_run):
    from benchmark.judge.results import collect
    from benchmark.runs import load_run, run_records
    from leaderboards import rank

    run = load_run(small_run)
    records = run_records(run)
    cell = next(
        c
        for c in run.plan.cells
        if c.kind == "attack" and c.attack.name == "near_duplicate" and c.method.name == "k_same"
    )
    records = {k: r for k, r in records.items() if k != cell.key}
    frame = collect(run.plan, run.store, records).frame
    table = rank(frame).set_index("method")
    assert list(table.index[table["ranked"]]) == ["noise"]
    shares = frame[frame["metric"] == "pareto_frequency"]
    assert dict(zip(shares["method"], shares["value"], strict=True)) == {"noise": 1.0}
    assert table.loc["noise", "pareto_frequency"] == 1.0
    assert table.loc["noise", "utility_metric"] == shares["reason"].iloc[0].split()[1]


def test_noise_on_test_features_costs_accuracy(results):
    clean = figure(results, "accuracy", method="identity", perturbation="", severity=0)
    noisy = figure(
        results, "accuracy", method="identity", perturbation="gaussian_noise", severity=2
    )
    assert noisy["value"] < clean["value"]


def test_the_mean_error_under_perturbation_is_that_of_its_severities(results):
    at = {"method": "identity", "perturbation": "gaussian_noise"}
    severities = results[results["perturbation"].eq("gaussian_noise") & results["severity"].gt(0)][
        "severity"
    ].unique()
    shown = [
        figure(results, "balanced_accuracy", **at, severity=s)["value"] for s in sorted(severities)
    ]
    mean = figure(results, "mean_balanced_error", **at, severity=0)
    assert mean["value"] == pytest.approx(1 - sum(shown) / len(shown))
    assert mean["ci_low"] < mean["value"] < mean["ci_high"]
    everything = figure(
        results, "mean_balanced_error", method="identity", perturbation="", severity=0
    )
    assert everything["value"] == pytest.approx(mean["value"])  # the only perturbation
    clean = {"method": "identity", "perturbation": "", "severity": 0}
    assert figure(results, "balanced_error", **clean)["value"] == pytest.approx(
        1 - figure(results, "balanced_accuracy", **clean)["value"]
    )
    assert not results["metric"].isin(["relative_balanced_error"]).any()


def test_a_second_run_executes_nothing_and_gives_the_same(cli, small_suite, small_run, results):
    before = {p: p.stat().st_mtime_ns for p in (small_run / "records").iterdir()}
    done = cli("run", "--suite", small_suite, "--out", small_run, check=0)
    assert " 0 executed, 0 failed" in done.stdout
    assert {p: p.stat().st_mtime_ns for p in (small_run / "records").iterdir()} == before
    pd.testing.assert_frame_equal(pd.read_parquet(small_run / "results.parquet"), results)


def test_scores_do_not_depend_on_the_number_of_jobs(cli, small_suite, small_run, tmp_path):
    only = ["--only", "method=k_same", "--only", "attack=nearest_distance"]
    cli("run", "--suite", small_suite, "--out", tmp_path / "r", "--jobs", 1, *only, check=0)
    names = [p.name for p in (tmp_path / "r" / "artifacts").iterdir()]
    compared = 0
    for name in names:
        for file in (tmp_path / "r" / "artifacts" / name).iterdir():
            assert file.read_bytes() == (small_run / "artifacts" / name / file.name).read_bytes()
            compared += 1
    assert compared > 20


def test_seeds_add_to_a_run(cli, small_suite, small_run):
    done = cli(
        "run", "--suite", small_suite, "--out", small_run, "--seeds", 3, "--dry-run", check=0
    )
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.strip()}
    assert rows["dataset"][1] == "0"
    assert rows["fit"][:2] == ["15", "5"]
    assert rows["fit"][-1] in ("s", "min")  # each has records of the other seeds
    assert "(medians of earlier records)" in done.stdout


# ---------------------------------------------------------------- looking


def test_list_names_plugins_and_suites(cli):
    rows = json.loads(cli("list", "--json", check=0).stdout)
    names = {(r["kind"], r["name"]) for r in rows}
    assert {("methods", "cvae"), ("attacks", "blind"), ("suites", "quick")} <= names
    (k_same,) = [r for r in rows if r["name"] == "k_same"]
    assert "k" in k_same["parameters"]


def test_status_show_plan_report_and_compare(cli, small_suite, small_run, tmp_path):
    assert "attack" in cli("status", small_run, check=0).stdout
    plan = ("plan", "--suite", small_suite, "--out", small_run, "--json")
    nodes = json.loads(cli(*plan, check=0).stdout)
    records = [json.loads(p.read_text()) for p in (small_run / "records").glob("*.json")]
    assert sorted(n["label"] for n in nodes) == sorted(r["label"] for r in records)
    fit = next(r for r in records if r["label"].startswith("fit k_same"))
    shown = cli("show", small_run, fit["key"][:10], check=0).stdout
    assert '"k": 4' in shown
    cli("report", small_run, "--out", tmp_path / "site", check=0)
    assert (tmp_path / "site" / "index.html").is_file()
    compared = cli("compare", small_run, small_run, check=0).stdout
    assert "differs" not in compared
    assert "k_same(k=4)" in compared


# ---------------------------------------------------------------- refusing


def refused(cli, *arguments):
    done = cli(*arguments, check=2)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 24
    return " ".join(done.stderr.split())


def suite_with(tmp_path, **changes):
    suite = {"name": "mine", "seeds": 1, "datasets": ["digits"], **changes}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(suite))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["k_sam"]}, "Did you mean 'k_same'?"),
        ({"methods": [{"name": "k_same", "params": {"k": "five"}}]}, "parameter 'k'"),
        ({"datasets": [{"name": "fashion_mnist", "params": {"root": "/nowhere"}}]}, "/nowhere"),
        ({"datasets": [{"name": "files", "params": {"path": "/nowhere.npz"}}]}, "/nowhere.npz"),
    ],
)
def test_bad_suites_are_refused_and_nothing_is_written(here, tmp_path, changes, message):
    out = tmp_path / "out"
    assert message in refused(here, "run", "--suite", suite_with(tmp_path, **changes), "--out", out)
    assert not out.exists()


def test_a_folder_with_something_else_is_left_alone(cli, small_suite, small_run, tmp_path):
    (tmp_path / "precious.txt").write_text("keep")
    assert "holds no run" in refused(cli, "run", "--suite", small_suite, "--out", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]
    other = suite_with(tmp_path)
    before = (small_run / "run.json").read_bytes()
    assert "holds a run of suite 'small'" in refused(
        cli, "run", "--suite", other, "--out", small_run
    )
    assert (small_run / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--suite", "quik"], "Did you mean 'quick'?"),
        (["run", "--suite", "quick", "--only", "cvae"], "method=NAME"),
        (["run", "--suite", "quick", "--only", "method=cvea"], "matches nothing"),
        (["run", "--suite", "quick", "--device", "gpu"], "auto, cpu, cuda"),
        pytest.param(
            ["run", "--suite", "quick", "--device", "cuda"],
            "no GPU is seen here",
            marks=pytest.mark.skipif(
                any(Path("/dev").glob("nvidia[0-9]*")), reason="there is a GPU"
            ),
        ),
        (["run", "--suite", "quick", "--rerun", "some"], "failed, all"),
        (["run", "--suite", "quick", "--seeds", "0"], "seeds"),
        (["list", "method"], "methods"),
        (["status", "/nowhere"], "no run in /nowhere"),
    ],
)
def test_bad_usage_is_refused(here, tmp_path, arguments, message):
    assert message in refused(here, *arguments)


def bad_npz(path, name):
    rng = np.random.default_rng(0)
    good = {
        "features": rng.normal(size=(60, 4)).astype(np.float32),
        "labels": np.arange(60) % 2,
        "classes": np.array(["a", "b"]),
    }
    bad = {
        "objects": {"features": np.array([{}] * 60, dtype=object)},
        "nan": {
            "features": np.where(np.arange(240).reshape(60, 4) == 17, np.nan, good["features"])
        },
        "shape": {"features": good["features"][:, 0]},
        "lengths": {"labels": good["labels"][:50]},
        "empty_class": {"classes": np.array(["a", "b", "c"])},
    }
    np.savez(path, **{**good, **bad[name]})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("objects", "object"),
        ("nan", "NaN"),
        ("shape", "shape"),
        ("lengths", "50"),
        ("empty_class", "c"),
    ],
)
def test_bad_files_are_refused_with_status_2(here, tmp_path, name, message):
    bad_npz(tmp_path / "bad.npz", name)
    suite = suite_with(
        tmp_path, datasets=[{"name": "files", "params": {"path": str(tmp_path / "bad.npz")}}]
    )
    text = refused(here, "run", "--suite", suite, "--out", tmp_path / "out")
    assert "bad.npz" in text
    assert message in text
    assert not (tmp_path / "out").exists()


def test_check_runs_the_conformance_checks(cli):
    done = cli("check", "methods", "k_same", "--params", '{"k": 3}', check=0)
    assert "k_same-release_is_deterministic" in done.stdout
    assert "failed" not in done.stdout
    assert "must be a JSON object" in refused(
        cli, "check", "methods", "k_same", "--params", "{k: 3}"
    )


def test_a_revealed_run_is_repeated_bit_for_bit_and_others_are_not(cli, small_suite, tmp_path):
    more = [
        "--suite",
        small_suite,
        "--seeds",
        1,
        "--only",
        "method=noise",
        "--only",
        "attack=linkage",
    ]
    one, again, fresh = (tmp_path / name for name in ("one", "again", "fresh"))
    done = cli("run", *more, "--out", one, "--coins", "reveal", check=0)
    revealed = json.loads((one / "coins.json").read_text())
    assert str(one / "coins.json") in done.stdout
    cli("run", *more, "--out", again, "--coins", one / "coins.json", check=0)
    cli("run", *more, "--out", fresh, "--coins", "reveal", check=0)
    records = [sorted(p.name for p in (r / "records").iterdir()) for r in (one, again, fresh)]
    assert records[0] == records[1] != records[2]
    for path in sorted((one / "artifacts").rglob("*.*")):
        assert path.read_bytes() == (again / path.relative_to(one)).read_bytes()
    boards = [json.loads((r / "site" / "leaderboard.json").read_text()) for r in (one, again)]
    assert boards[0]["coins"] == {
        "commitment": revealed["commitment"],
        "given": False,
        "secret": revealed["secret"],
    }
    assert boards[1]["coins"] == {"commitment": revealed["commitment"], "given": True, "secret": ""}
    page = (again / "site" / "index.html").read_text()
    assert revealed["commitment"] in page and "whoever had the file knew the coins" in page
    assert revealed["secret"] not in page
