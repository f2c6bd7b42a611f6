"""The door from Python: what it takes, what it refuses, and that opening it costs nothing."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import benchmark
from benchmark.contracts import LeakboardError
from benchmark.door import load, open_suite, suite_of
from benchmark.suite import Suite, SuiteError, load_suite

SUITE = {
    "name": "tiny",
    "seeds": 2,
    "datasets": ["digits"],
    "methods": ["noise", {"name": "k_same", "grid": {"k": [3, 5]}}],
    "attacks": ["nearest_distance"],
}


def test_importing_the_package_imports_none_of_it():
    script = (
        "import sys, benchmark\n"
        "assert {'run', 'load', 'Run'} <= set(dir(benchmark))\n"
        "print([m for m in sys.modules if m.startswith('benchmark.') or m in ('numpy', 'pandas')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_door_is_the_one_of_the_package():
    assert benchmark.load is load
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = benchmark.nothing


@pytest.mark.parametrize("name", benchmark.__all__)
def test_no_module_hides_what_the_package_offers(name):
    if importlib.util.find_spec(f"benchmark.{name}") is not None:
        assert callable(
            importlib.import_module(f"benchmark.{name}")
        )  # the module is what is offered


def test_a_suite_is_a_name_a_path_a_mapping_or_a_suite(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(SUITE))
    expected = load_suite(SUITE)
    assert isinstance(expected, Suite)
    for given in (path, str(path), SUITE, expected):
        assert suite_of(given) == expected
    assert suite_of("quick") == load_suite("quick")
    assert suite_of(SUITE, seeds=5).seeds == [0, 1, 2, 3, 4]


def test_a_mapping_is_refused_like_a_file():
    with pytest.raises(SuiteError, match="the suite cannot be used") as refused:
        suite_of({**SUITE, "atacks": []})
    assert "Did you mean 'attacks'?" in str(refused.value)


def test_opening_a_suite_plans_and_executes_nothing(tmp_path):
    made = open_suite(SUITE, out=tmp_path / "run", only={"method": "noise"})
    labels = {c.method.label for c in made.plan.cells if c.method and not c.method.control}
    assert labels == {"noise"}
    assert set(made.nodes["status"]) == {"missing"}
    assert len(made.nodes) == len(made.plan.nodes)
    assert f"0 of {len(made.plan.nodes)} nodes done" in repr(made)
    again = load(tmp_path / "run")
    assert list(again.plan.nodes) == list(made.plan.nodes)


def test_what_has_not_run_is_a_problem_and_has_no_scores(tmp_path):
    made = open_suite(SUITE, out=tmp_path / "run")
    assert set(made.problems["status"]) == {"missing"}
    with pytest.raises(LeakboardError, match="noise × nearest_distance on digits, seed 0: missing"):
        made.scores("noise", "nearest_distance")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("k_same", "nearest_distance"), r"'k_same\(k=3\)', 'k_same\(k=5\)'. Got 'k_same'"),
        (("nose", "nearest_distance"), "method must be one of .*'noise'.*Got 'nose'"),
        (("noise", "domias"), "attack must be one of 'nearest_distance'. Got 'domias'"),
        (("noise", "nearest_distance", "mnist"), "dataset must be one of 'digits'. Got 'mnist'"),
        (("noise", "nearest_distance", None, 7), "no seed 7. It has 0, 1."),
    ],
)
def test_scores_say_what_there_is(tmp_path, arguments, message):
    made = open_suite(SUITE, out=tmp_path / "run")
    with pytest.raises(LeakboardError, match=message):
        made.scores(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1. Got 0."),
        ({"only": {"methods": ["noise"]}}, "only must name method, attack, dataset. Got 'methods'"),
        ({"only": {"method": "nose"}}, "matches nothing"),
        ({"jobs": 0}, "jobs must be at least 1. Got 0."),
        ({"device": "gpu"}, "device must be one of auto, cpu, cuda. Got 'gpu'"),
        ({"rerun": "some"}, "rerun must be one of failed, all, dataset=NAME"),
    ],
)
def test_bad_arguments_are_refused_before_anything_runs(tmp_path, arguments, message):
    with pytest.raises(LeakboardError, match=message):
        benchmark.run(SUITE, out=tmp_path / "run", **arguments)
    assert not (tmp_path / "run" / "records").exists()


def test_there_must_be_a_run_to_load(tmp_path):
    with pytest.raises(LeakboardError, match="no run in"):
        benchmark.load(tmp_path)
    assert list(Path(tmp_path).iterdir()) == []
