"""The command line keeps to the conventions, and says foreign text as it is."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version

import pandas as pd
import pytest
import yaml

import benchmark
from benchmark.registry import KINDS
from benchmark.suite import built_in_suites

STRANGE = "my_leak.nope:x:"


def test_the_version_is_told(here):
    assert here("--version", check=0).stdout == f"leakboard {version('leakboard')}\n"


@pytest.mark.parametrize(
    "command",
    [
        [],
        *(
            [c]
            for c in [
                "run",
                "list",
                "plan",
                "status",
                "show",
                "report",
                "clean",
                "compare",
                "check",
            ]
        ),
    ],
    ids=" ".join,
)
def test_help_is_short_and_names_defaults(here, command):
    said = here(*command, "-h", check=0).stdout
    assert said == here(*command, "--help", check=0).stdout
    assert "..." not in said.split("Options:")[-1].split("[OPTIONS]")[-1].replace("[ARGS]...", "")
    if command == ["run"]:
        for default in ("(runs/<suite>)", "[default: auto]", "(cores)", "(everything)"):
            assert default in " ".join(said.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands_and_suites(shell):
    def completed(*words):
        asked = {
            "_LEAKBOARD_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
            "_TYPER_COMPLETE_ARGS": " ".join(words),
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        script = "import sys; sys.argv[0] = 'leakboard'; from benchmark.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **asked},
            capture_output=True,
            text=True,
        ).stdout

    assert "report" in completed("leakboard", "rep")
    assert "overfitted-gan" in completed("leakboard", "run", "--suite", "overf")


def test_a_plugin_and_a_suite_take_a_line_each(here):
    lines = here("list", check=0).stdout.splitlines()
    kinds = [line.split()[0] for line in lines]
    assert set(kinds) == {*KINDS, "suites"}
    assert kinds.count("suites") == len(built_in_suites())
    names = [line.split()[1] for line in lines]
    assert len(names) == len(lines) and {"cvae", "blind", "quick"} <= set(names)
    methods = here("list", "methods", check=0).stdout.splitlines()
    assert methods and all(line.startswith("methods ") for line in methods)


def test_listing_imports_no_heavy_library():
    script = (
        "import sys\n"
        "from benchmark.cli import app\n"
        "app(['list'], standalone_mode=False)\n"
        "heavy = ('torch', 'sklearn', 'timm', 'pandas', 'scipy.stats', 'scipy.special')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout[-300:] + done.stderr[-2000:]


@pytest.fixture
def strange_suite(tmp_path):
    """A suite whose only attack cannot be had, under a name that markup would change."""
    folder = tmp_path / f"[bold]{STRANGE}"
    folder.mkdir()
    suite = {"name": "strange", "seeds": 1, "datasets": [{"name": "digits", "label": STRANGE}]}
    path = folder / "strange.yaml"
    path.write_text(yaml.safe_dump(suite))
    return path


def test_foreign_text_is_neither_markup_nor_emoji(here, strange_suite):
    out = strange_suite.parent / "[red]run"
    said = here("run", "--suite", strange_suite, "--out", out, "--dry-run", check=0).stdout
    assert f"[bold]{STRANGE}" in said and "[red]run" in said and "❌" not in said
    benchmark.door.open_suite(strange_suite, out=out)
    problems = here("status", out, check=1).stderr
    assert f"on {STRANGE}, seed 0" in problems and "❌" not in problems
    assert f"--out {out}" in problems
    error = here("run", "--suite", f"[bold]{STRANGE}", check=2).stderr
    assert f"unknown suite '[bold]{STRANGE}'" in error


def test_quiet_and_verbose_exclude_each_other(here):
    assert "exclude each other" in here("run", "--suite", "quick", "-q", "-v", check=2).stderr


def test_a_dry_run_without_earlier_records_says_so(here, strange_suite):
    out = strange_suite.parent / "runs" / "new"
    said = here("run", "--suite", strange_suite, "--out", out, "--dry-run", check=0).stdout
    assert "expected time: no earlier record" in said
    assert not out.exists()


# ---------------------------------------------------------------- on a run


def test_nodes_take_a_line_only_where_asked_for(cli, small_suite, tmp_path):
    arguments = ["run", "--suite", small_suite, "--out", tmp_path / "run", "--seeds", 1]
    arguments += ["--only", "method=noise", "--only", "attack=near_duplicate"]
    verbose = cli(*arguments, "-v", check=0).stdout
    nodes = [line for line in verbose.splitlines() if line.startswith("[") and " ok " in line]
    assert len(nodes) == len(benchmark.load(tmp_path / "run").nodes)
    quiet = cli(*arguments, "-q", check=0)
    assert quiet.stdout == "" and quiet.stderr == ""


def test_cleaning_deletes_what_the_plan_does_not_use(here, small_suite, small_run, tmp_path):
    out = shutil.copytree(small_run, tmp_path / "run")
    both = set(benchmark.load(out).nodes["key"])
    made = benchmark.door.open_suite(small_suite, out=out, seeds=1)  # the plan is now of one seed
    used = set(made.nodes["key"])
    made.report()
    figures = made.results
    said = here("clean", out, "--dry-run", check=0).stdout
    assert said.startswith(f"would be deleted: {len(both - used)} nodes")
    assert here("clean", out, check=0).stdout == said.replace("would be deleted", "deleted")
    assert {p.stem for p in (out / "records").iterdir()} == used < both
    assert {p.name for p in (out / "artifacts").iterdir()} <= used
    assert made.problems.empty
    made.report()
    pd.testing.assert_frame_equal(made.results, figures)


# ---------------------------------------------------------------- the door, on the same run


def test_the_door_reads_what_the_command_line_wrote(small_run):
    run = benchmark.load(small_run)
    written = pd.read_parquet(small_run / "results.parquet")
    pd.testing.assert_frame_equal(run.results, written)
    assert run.board == small_run / "site" / "index.html"
    assert set(run.nodes["status"]) == {"ok"}
    assert run.problems.empty and run.claims.empty
    assert run.controls["passed"].all() and len(run.controls)
    assert "k_same(k=4)" in run._repr_html_()
    assert set(run.table["method_label"]) >= {"holdout", "identity", "k_same(k=4)"}


def test_scores_give_the_figures_of_the_board(small_run):
    from sklearn.metrics import roc_auc_score

    run = benchmark.load(small_run)
    figures = run.results[run.results["metric"].eq("auc") & run.results["subgroup"].eq("")]
    for method in ("identity", "holdout", "k_same(k=4)"):
        for seed in (0, 1):
            scores = run.scores(method, "nearest_distance", seed=seed)
            row = figures[
                figures["method_label"].eq(method)
                & figures["attack_label"].eq("nearest_distance")
                & figures["seed"].eq(seed)
            ]
            area = roc_auc_score(scores["member"], scores["score"])
            assert area == pytest.approx(row["value"].item(), abs=1e-12)
            assert len(scores) == row["n_members"].item() + row["n_nonmembers"].item()


def test_units_are_the_same_for_all_attacks_of_a_game(small_run):
    run = benchmark.load(small_run)
    one = run.scores("noise", "nearest_distance")
    other = run.scores("identity", "near_duplicate")
    pd.testing.assert_frame_equal(
        one[["seed", "unit", "member"]], other[["seed", "unit", "member"]]
    )
    gate = run.scores("", "blind", seed=1)
    assert len(gate) == len(one) / 4  # a half of the units of one seed of two
    joined = gate.merge(one, on=["seed", "unit"])
    assert len(joined) == len(gate) and (joined["member_x"] == joined["member_y"]).all()


def test_links_are_no_scores(small_run):
    run = benchmark.load(small_run)
    with pytest.raises(benchmark.door.LeakboardError, match="answers with links, not with scores"):
        run.scores("k_same", "linkage")
