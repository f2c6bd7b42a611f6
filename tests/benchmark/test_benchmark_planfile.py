"""A plan read from its file is the plan; and whoever reads it, or has it made apart, imports no plugin."""

import subprocess
import sys
from dataclasses import asdict, fields

import pytest

from benchmark.contracts import Access, LeakboardError
from benchmark.planfile import plan_apart, plan_from_text, plan_suite, plan_text
from benchmark.suite import Suite, SuiteError

SUITE = Suite(
    name="s",
    seeds=2,
    datasets=["digits"],
    methods=["cvae", {"name": "k_same", "params": {"k": 3}}, "bn_inversion"],
    attacks=["correlation", "likelihood", {"name": "lira", "params": {"shadows": 16}}],
    utilities=["linear_probe"],
    perturbations=[{"name": "gaussian_noise", "severities": [2, 4]}],
    publish=[{"name": "gaussian_noise", "severities": [2]}],
)


@pytest.fixture(scope="module")
def plan():
    return plan_suite(SUITE, commitment="1" * 64)


@pytest.fixture(scope="module")
def read(plan):
    return plan_from_text(plan_text(plan))


def bare(plugin):
    """All of a resolved plugin but the plugin itself."""
    if plugin is None:
        return None
    said = {k: getattr(plugin, k) for k in ("kind", "name", "label", "parameters", "space")}
    said |= {k: getattr(plugin, k) for k in ("fingerprint", "severities", "unavailable", "control")}
    publication = plugin.publication
    said["published"] = publication and (bare(publication.perturbation), publication.severity)
    return said | {"base": bare(plugin.base), "text": plugin.parameters_text}


def test_nodes_and_cells_are_the_same(plan, read):
    assert list(read.nodes.values()) == list(plan.nodes.values())
    for f in fields(plan):
        if f.name not in ("resolved", "cells"):
            assert getattr(read, f.name) == getattr(plan, f.name), f.name
    assert len(read.cells) == len(plan.cells)
    for one, other in zip(read.cells, plan.cells, strict=True):
        for name in ("kind", "dataset", "features", "seed", "access", "game", "fit", "key"):
            assert getattr(one, name) == getattr(other, name)
        assert (one.status, one.reason) == (other.status, other.reason)
        assert dict(one.conditions) == dict(other.conditions)
        for name in ("method", "attack", "utility"):
            assert bare(getattr(one, name)) == bare(getattr(other, name))


def test_what_a_board_says_of_plugins_is_the_same(plan, read):
    for kind in ("methods", "attacks", "utilities", "perturbations", "published"):
        ours, theirs = getattr(read.resolved, kind), getattr(plan.resolved, kind)
        assert [bare(p) for p in ours] == [bare(p) for p in theirs]
        for one, other in zip(ours, theirs, strict=True):
            for name in ("name", "version", "summary", "citation", "places"):
                assert getattr(one.plugin.info, name) == getattr(other.plugin.info, name)
            for name in ("needs", "offers", "control", "kinds", "auxiliary", "severities"):
                assert getattr(one.plugin.info, name, "none") == getattr(
                    other.plugin.info, name, "none"
                )
    assert isinstance(read.resolved.attacks[0].plugin.info.needs, Access)
    for one, other in zip(read.resolved.datasets, plan.resolved.datasets, strict=True):
        assert (one.label, one.kind, one.rules, dict(one.subset)) == (
            (other.label, other.kind, other.rules, dict(other.subset))
        )
        assert one.source.plugin.public == other.source.plugin.public
        assert one.source.plugin.info.licence == other.source.plugin.info.licence
        assert (one.controls is None) == (other.controls is None)


def test_positive_controls_are_kept_and_closed_forms_are_not(plan, read):
    closed = 0
    for one, other in zip(read.resolved.attacks, plan.resolved.attacks, strict=True):
        ours, theirs = one.plugin.positive_controls(), other.plugin.positive_controls()
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert asdict(a) | {"expected": 0} == asdict(b) | {"expected": 0}
            assert (a.expected is None) == (b.expected is None)
            if a.expected is not None:
                closed += 1
                with pytest.raises(LeakboardError, match="where its attack runs"):
                    a.expected(1, 1)
    assert closed > 0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 0}', '{"format": 1, "plugins": [1]}'])
def test_what_is_no_plan_is_refused(text):
    with pytest.raises(LeakboardError, match="it is no plan"):
        plan_from_text(text)


def test_a_plan_made_apart_is_the_same_and_refusals_come_back(plan):
    assert plan_text(plan_apart(SUITE, commitment="1" * 64)) == plan_text(plan)
    with pytest.raises(SuiteError, match="Did you mean 'cvae'"):
        plan_apart(Suite(name="s", seeds=1, datasets=["digits"], methods=["cvea"]))


def test_opening_and_loading_a_run_import_no_plugin(tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from benchmark.runs import load_run, open_run, write_results, write_site\n"
        "from benchmark.suite import load_suite\n"
        "run = open_run(Path(sys.argv[1]), load_suite('quick'))\n"
        "run = load_run(Path(sys.argv[1]))\n"
        "write_site(run, {}, write_results(run, {}), Path(sys.argv[1]) / 'site')\n"
        "mine = ('methods', 'attacks', 'benchmark.datasets', 'benchmark.utility', 'torch')\n"
        "print([m for m in sys.modules if m.startswith(mine)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "run")], capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr[-2000:]
