"""Digests of sources follow imports within a distribution and nothing else; what differs from a record's is named."""

import sys

import pytest

from benchmark.node import Node
from benchmark.planfile import plan_suite
from benchmark.registry import default_registry
from benchmark.runs import RunError, check_rerun, nodes_of_plugin
from benchmark.sources import Changed, changed_sources, source_digest
from benchmark.store import Record
from benchmark.suite import Suite

FILES = {
    "plugin.py": '"""from .unused import x stands in a docstring\n"""\n'
    "from __future__ import annotations\nimport json\nfrom typing import TYPE_CHECKING\n"
    "from .near import (\n    a,\n    b,\n)\n"
    "if TYPE_CHECKING:\n    from {top}.typed import T\n\n"
    "def f():\n    from {top} import lazy\n    import other_{top}\n",
    "__init__.py": "from . import always\n\ndef g():\n    from . import sometimes\n",
    "near.py": "from .deep import chain\n",
    "deep/__init__.py": "",
    "deep/chain.py": "import {top}.plugin  # a circle\n",
    **{f"{name}.py": "" for name in ("typed", "lazy", "always", "sometimes", "stranger")},
}
COUNTED = ("plugin", "__init__", "near", "deep/__init__", "deep/chain", "lazy", "always")


@pytest.fixture
def package(tmp_path, monkeypatch, request):
    """A package with a name of its own, and another distribution that it imports."""
    top = f"pack{abs(hash(request.node.nodeid)) % 10**9}"
    for name, text in FILES.items():
        file = tmp_path / top / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.format(top=top))
    (tmp_path / f"other_{top}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / top


@pytest.mark.parametrize("name", sorted(n.removesuffix(".py") for n in FILES))
def test_a_digest_covers_what_is_imported_of_the_own_distribution(package, name):
    top = package.name
    before = source_digest(f"{top}.plugin", {top})
    assert len(before) == 16 and before == source_digest(f"{top}.plugin", {top})
    file = package / f"{name}.py"
    file.write_text(file.read_text() + "x = 1\n")
    assert (source_digest(f"{top}.plugin", {top}) != before) == (name in COUNTED)
    assert not any(m.startswith(top) for m in sys.modules)


def test_another_distribution_counts_only_where_it_is_named(package):
    top, other = package.name, package.parent / f"other_{package.name}.py"
    alone, both = source_digest(f"{top}.plugin", {top}), {top, other.stem}
    together = source_digest(f"{top}.plugin", both)
    other.write_text("x = 1\n")
    assert source_digest(f"{top}.plugin", {top}) == alone
    assert source_digest(f"{top}.plugin", both) != together


def test_what_has_no_source_has_no_digest(package):
    assert source_digest("itertools", {"itertools"}) == ""
    assert source_digest(f"{package.name}.missing", {package.name}) == ""


def test_every_plugin_of_ours_has_a_digest():
    assert all(len(entry.source) == 16 for entry in default_registry().entries())


def node(key, sources, version="3"):
    spec = {role: {"name": f"my_{role}", "version": version} for role in sources}
    return Node(key=key * 64, kind="fit", label="fit", spec=spec, sources=sources)


def record(node, sources):
    return Record(key=node.key, kind="fit", label="fit", status="ok", sources=sources)


def test_changes_are_told_by_plugin_and_version_with_the_number_of_nodes():
    nodes = [
        node("a", {"method": "new", "base": "same"}),
        node("b", {"method": "new"}),
        node("c", {"attack": "new"}),
        node("d", {"attack": ""}),
        node("e", {"utility": "new"}),
    ]
    then = [{"method": "old", "base": "same"}, {"method": "old"}, {"attack": "old"}]
    then += [{"attack": "old"}, {}]  # nothing is known now; nothing was said then
    records = {n.key: record(n, s) for n, s in zip(nodes, then, strict=True)}
    found = changed_sources({n.key: n for n in nodes}, records)
    assert found == [
        Changed(kind="method", name="my_method", version="3", nodes=2),
        Changed(kind="attack", name="my_attack", version="3", nodes=1),
    ]
    assert [str(c) for c in found] == [
        "my_method 3: its code has changed since 2 of its nodes were computed; "
        "run again with --rerun method=my_method",
        "my_attack 3: its code has changed since 1 of its nodes was computed; "
        "run again with --rerun attack=my_attack",
    ]
    assert changed_sources({n.key: n for n in nodes}, {}) == []


@pytest.fixture(scope="module")
def plan():
    suite = Suite(
        name="s",
        seeds=1,
        datasets=[{"name": "gaussian", "label": "cloud"}],
        methods=["noise", {"name": "k_same", "grid": {"k": [2, 3]}}],
        attacks=["nearest_distance", "correlation"],
        utilities=["linear_probe"],
    )
    return plan_suite(suite)


@pytest.mark.parametrize(
    ("choice", "some", "never"),
    [
        ("method=noise", ["fit noise on", "on noise, cloud", "of noise on"], "k_same"),
        ("method=k_same(k=2)", ["fit k_same(k=2)", "on k_same(k=2)"], "k_same(k=3)"),
        ("method=k_same", ["fit k_same(k=2)", "fit k_same(k=3)"], "noise on"),
        ("attack=correlation", ["attack correlation on noise"], "fit "),
        ("utility=linear_probe", ["utility linear_probe of noise"], "attack "),
        ("dataset=cloud", ["dataset cloud", "game cloud", "fit noise", "attack correlation"], "no such"),
    ],
)  # fmt: skip
def test_a_plugin_is_run_again_with_all_that_depends_on_it(plan, choice, some, never):
    check_rerun(choice)
    labels = [plan.nodes[key].label for key in nodes_of_plugin(plan, choice)]
    for said in some:
        assert any(said in label for label in labels), said
    assert not any(never in label for label in labels)


def test_an_unknown_plugin_or_kind_is_refused_with_what_there_is(plan):
    with pytest.raises(
        RunError, match=r"no node of this plan is of method=nose\. Allowed: .*noise"
    ):
        nodes_of_plugin(plan, "method=nose")
    for bad in ("some", "method=", "suite=quick", "=noise"):
        with pytest.raises(RunError, match=r"failed, all, dataset=NAME, .*method=NAME"):
            check_rerun(bad)


def test_digests_of_code_are_no_part_of_keys(plan):
    fit = next(n for n in plan.nodes.values() if n.label.startswith("fit noise"))
    assert fit.sources == {"method": default_registry().entry("methods", "noise").source}
    assert "source" not in fit.spec["method"]
