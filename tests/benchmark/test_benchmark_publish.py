"""Releases that are perturbed before they are published: rows of their own, on a fit that is shared."""

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from playing import SECRET, play

from benchmark import nodes
from benchmark.contracts import Access, InvalidRecords, Records
from benchmark.judge.claims import judge_claim
from benchmark.judge.results import collect
from benchmark.node import Node
from benchmark.nodes import load_records
from benchmark.plan import make_plan
from benchmark.registry import default_registry
from benchmark.resolve import resolve
from benchmark.store import Store
from benchmark.suite import Claim, Suite, SuiteError

GAME = {"candidates": 240, "auxiliary": 120, "holdout": 130, "validation": 40, "test": 80}
NOISE = {"name": "gaussian_noise", "severities": [2, 5]}
JPEG = {"name": "corruption/natural", "params": {"family": "jpeg"}, "severities": [5]}
SUITE = {
    "name": "published",
    "seeds": 1,
    "datasets": [{"name": "digits", "features": ["pixels"], "game": GAME}],
    "methods": [{"name": "k_same", "params": {"k": 3}}, "cvae"],
    "attacks": ["nearest_distance", "linkage"],
    "utilities": ["linear_probe"],
}


def plan_of(**changes):
    return make_plan(resolve(Suite(**{**SUITE, **changes}), default_registry()))


def cells_of(plan, kind, method):
    return [c for c in plan.cells if c.kind == kind and c.method and c.method.label == method]


def nodes_of(plan, kind):
    return [n for n in plan.nodes.values() if n.kind == kind]


def published(monkeypatch, change):
    """A small release, as it is published by a perturbation that does ``change`` to records."""
    perturbation = SimpleNamespace(
        info=SimpleNamespace(name="odd"), apply=lambda records, *rest: change(records)
    )
    monkeypatch.setattr(nodes, "_plugin", lambda kind, spec: perturbation)
    node = Node(key="0" * 64, kind="publish", label="", spec={"severity": 1, "perturbation": {}})
    data = np.arange(8, dtype=np.float32).reshape(4, 2)
    release = Records(data, np.array([0, 1, 0, 1]), None, "t")
    return release, nodes._perturbed(node, release, release, np.random.default_rng(0))


def test_a_perturbation_changes_data_alone(monkeypatch):
    wide = np.full((4, 64), 1 / 64, dtype=np.float32)
    release, made = published(
        monkeypatch,
        lambda r: r.replace(data=r.data + 1, labels=1 - r.labels, soft_labels=wide),
    )
    assert made == release.replace(data=release.data + 1)


@pytest.mark.parametrize("rows", [2, 5])
def test_a_perturbation_keeps_as_many_records_as_there_are(monkeypatch, rows):
    with pytest.raises(InvalidRecords, match=r"odd must keep feature records of shape \(4, 2\)"):
        published(monkeypatch, lambda r: r.take(np.arange(rows) % 4))


# ---------------------------------------------------------------- the plan


def test_publications_are_rows_on_the_fits_that_are_there_already():
    bare, plan = plan_of(), plan_of(publish=[NOISE])
    assert set(bare.nodes) <= set(plan.nodes)
    assert len(nodes_of(plan, "fit")) == len(nodes_of(bare, "fit"))
    labels = {c.method.label for c in plan.cells if c.method}
    expected = [
        f"{m} + gaussian_noise {s}" for m in ("identity", "k_same(k=3)", "cvae") for s in (2, 5)
    ]
    assert labels == {"holdout", "identity", "k_same(k=3)", "cvae", *expected}
    assert len(nodes_of(plan, "publish")) == len(expected)
    (fit,) = cells_of(plan, "fit", "cvae + gaussian_noise 5")
    node = plan.nodes[fit.key]
    assert node.kind == "publish" and node.spec["severity"] == 5
    assert node.needs[0] == cells_of(plan, "fit", "cvae")[0].key
    for kind in ("attack", "utility"):
        cells = cells_of(plan, kind, "cvae + gaussian_noise 5")
        assert len(cells) == len(cells_of(plan, kind, "cvae"))
        assert all(c.fit == fit.key and fit.key in plan.nodes[c.key].needs for c in cells if c.key)
    (one,) = {c.method.parameters_text for c in cells_of(plan, "attack", "cvae + gaussian_noise 2")}
    assert json.loads(one)["publish"] == "gaussian_noise 2"


def test_methods_to_publish_can_be_named_by_name_or_label():
    methods = [{"name": "k_same", "grid": {"k": [2, 3]}}, "cvae"]
    for named, expected in (
        (["k_same"], ["k_same(k=2)", "k_same(k=3)"]),
        (["k_same(k=3)", "holdout"], ["k_same(k=3)", "holdout"]),
    ):
        plan = plan_of(methods=methods, publish=[{**NOISE, "severities": [1], "methods": named}])
        found = {m.label for m in plan.resolved.published}
        assert found == {f"{name} + gaussian_noise 1" for name in expected}
    with pytest.raises(
        SuiteError, match=r"'gan_of_mine' is no method of this suite. Allowed: .*cvae"
    ):
        plan_of(publish=[{**NOISE, "methods": ["gan_of_mine"]}])


def test_what_cannot_be_published_so_says_why():
    with pytest.raises(SuiteError, match=r"publish.0.severities: must be in 1 … 5. Got \[9\]"):
        plan_of(publish=[{**NOISE, "severities": [9]}])
    with pytest.raises(SuiteError, match=r"publish: .* is listed twice"):
        plan_of(publish=[NOISE, {**NOISE, "severities": [5]}])
    plan = plan_of(publish=[JPEG])  # digits as pixels: the methods work on features
    jpeg = "corruption/natural(family=jpeg) 5"
    (fit,) = cells_of(plan, "fit", f"cvae + {jpeg}")
    assert fit.status == "not applicable"
    assert fit.reason == "corruption perturbs images; cvae releases features"
    images = plan_of(
        methods=[{"name": "k_same", "params": {"k": 3}, "space": "image"}], publish=[JPEG, NOISE]
    )
    (fit,) = cells_of(images, "fit", f"k_same(k=3)@image + {jpeg}")
    assert fit.key and images.nodes[fit.key].spec["space"] == "image"
    (fit,) = cells_of(images, "fit", "k_same(k=3)@image + gaussian_noise 2")
    assert fit.reason == "gaussian_noise perturbs features; k_same releases images"
    kinds = Counter(n.kind for n in images.nodes.values() if jpeg in n.label)
    assert kinds["publish"] == 1 and kinds["embed"] == 1  # perturbed as images, then embedded


def test_shadows_are_perturbed_as_the_target_is():
    lira = {"name": "lira", "params": {"shadows": 16}}
    plan = plan_of(attacks=[lira], publish=[{**NOISE, "severities": [5]}])
    assert len(nodes_of(plan, "shadows")) == 4  # one for each method, shared by its publications
    assert len(nodes_of(plan, "publish shadows")) == 3
    (cell,) = cells_of(plan, "attack", "cvae + gaussian_noise 5")
    (shadows,) = [
        plan.nodes[k] for k in plan.nodes[cell.key].needs if "shadows" in plan.nodes[k].kind
    ]
    assert shadows.kind == "publish shadows" and plan.nodes[shadows.needs[0]].kind == "shadows"
    (bare,) = cells_of(plan, "attack", "cvae")
    assert shadows.needs[0] in plan.nodes[bare.key].needs


def test_the_generator_is_not_published(monkeypatch):
    plan = resolve(Suite(**{**SUITE, "publish": [NOISE]}), default_registry())
    attack = plan.attacks[0]
    info = replace(attack.plugin.info, needs=Access.WEIGHTS)
    monkeypatch.setattr(type(attack.plugin), "info", info)
    plan = make_plan(replace(plan, attacks=(attack,)))
    (cell,) = [c for c in cells_of(plan, "attack", "cvae + gaussian_noise 2")]
    assert cell.status == "not applicable" and "perturbed records alone" in cell.reason
    assert cells_of(plan, "attack", "cvae")[0].key


# ---------------------------------------------------------------- a run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("publish")
    suite = Suite(
        **{
            **SUITE,
            "methods": [{"name": "k_same", "params": {"k": 3}}],
            "attacks": ["nearest_distance", "linkage", {"name": "lira", "params": {"shadows": 16}}],
            "publish": [NOISE],
        }
    )
    plan = make_plan(resolve(suite, default_registry()), SECRET.commitment)
    store = Store(folder)
    records = play(plan.nodes.values(), store)
    return plan, store, records, collect(plan, store, records)


def fit_of(plan, method):
    return cells_of(plan, "fit", method)[0].key


def test_the_published_records_are_the_perturbed_ones_in_their_order(run):
    plan, store, _, _ = run
    before = load_records(store, fit_of(plan, "k_same(k=3)"), "release")
    after = load_records(store, fit_of(plan, "k_same(k=3) + gaussian_noise 2"), "release")
    np.testing.assert_array_equal(before.labels, after.labels)
    place = plan.nodes[fit_of(plan, "k_same(k=3) + gaussian_noise 2")]
    pool = load_records(store, place.needs[1], "pool")
    auxiliary = pool.take(store.arrays(place.needs[2], "public")["auxiliary"])
    gap = (after.data - before.data) / np.maximum(auxiliary.data.std(axis=0), 1e-9)
    moving = auxiliary.data.std(axis=0) > 1e-6
    assert gap[:, moving].std() == pytest.approx(0.5, rel=0.03)  # severity 2: σ = 0.5
    assert np.all(after.data[:, ~moving] == before.data[:, ~moving])
    origin = [
        store.arrays(fit_of(plan, m), "referee")["origin"]
        for m in ("identity", "identity + gaussian_noise 5")
    ]
    np.testing.assert_array_equal(*origin)


def test_shadow_releases_have_the_noise_of_the_target(run):
    plan, store, _, _ = run
    (node,) = [
        n
        for n in nodes_of(plan, "publish shadows")
        if n.spec["severity"] == 5 and "k_same" in n.label
    ]
    before, after = (store.arrays(k, "releases") for k in (node.needs[0], node.key))
    np.testing.assert_array_equal(before["sizes"], after["sizes"])
    spread = np.std(after["data"] - before["data"], axis=0)
    assert np.median(spread[spread > 0]) > 0
    first, second = (
        (after["data"] - before["data"])[: before["sizes"][0]],
        (after["data"] - before["data"])[before["sizes"][0] :],
    )
    n = min(len(first), len(second))
    columns = spread > 1e-6
    assert abs(np.corrcoef(first[:n, columns].ravel(), second[:n, columns].ravel())[0, 1]) < 0.05


def figure(results, method, metric, **where):
    rows = results.frame
    rows = rows[rows["method_label"].eq(method) & rows["metric"].eq(metric) & rows["seed"].isna()]
    rows = rows[rows["subgroup"].eq("")]
    for name, value in where.items():
        rows = rows[rows[name].eq(value)]
    (row,) = rows.to_dict("records")
    return row


def test_noise_on_the_release_hides_members_and_costs_utility(run):
    results = run[3]
    aucs = [
        figure(results, f"identity{more}", "auc", attack="nearest_distance")["value"]
        for more in ("", " + gaussian_noise 2", " + gaussian_noise 5")
    ]
    assert aucs[0] == 1 > aucs[1] > 0.95 and 0.45 < aucs[2] < aucs[1] - 0.05, aucs
    use = [
        figure(results, f"identity{more}", "balanced_accuracy", perturbation="", severity=0)[
            "value"
        ]
        for more in ("", " + gaussian_noise 5")
    ]
    assert use[0] > use[1] + 0.05


def test_controls_and_what_is_relative_are_those_of_the_release_as_it_was(run):
    results = run[3]
    judged = {v.control for v in results.verdicts if v.kind != "fleet"}
    assert "identity" in judged and not [c for c in judged if "gaussian_noise" in c]
    assert not [v for v in results.verdicts if v.kind == "positive" and not v.passed]
    frame = results.frame
    published = frame["method_label"].str.contains(" + ", regex=False)
    assert not frame[published]["method_control"].any()
    assert frame[frame["method_label"].eq("identity")]["method_control"].all()
    relative = figure(results, "identity", "relative_balanced_accuracy", perturbation="")
    assert relative["value"] == 1
    assert (
        figure(
            results, "identity + gaussian_noise 5", "relative_balanced_accuracy", perturbation=""
        )["value"]
        < 1
    )


def test_a_guarantee_survives_and_the_cost_includes_the_fit(run):
    plan, _, records, results = run
    assert figure(results, "k_same(k=3) + gaussian_noise 2", "k_anonymity")["value"] == 3
    published = figure(results, "k_same(k=3) + gaussian_noise 2", "fit_duration_s")["value"]
    assert published > records[fit_of(plan, "k_same(k=3)")].duration_s


def test_claims_about_a_method_are_not_about_its_perturbed_releases(run):
    frame = run[3].frame
    side = {"metric": "auc", "attack": "nearest_distance"}
    for name in ("k_same", "k_same(k=*"):
        claim = Claim(id="a", text="t", left={"method": name, **side}, right=0.5, relation=">")
        assert {c.left for c in judge_claim(frame, claim)} == {"k_same(k=3)"}
    claim = Claim(
        id="a",
        text="t",
        left={"method": "k_same(k=3) + gaussian_noise 2", **side},
        right=0.5,
        relation=">",
    )
    assert [c.left for c in judge_claim(frame, claim)] == ["k_same(k=3) + gaussian_noise 2"]


def test_the_board_names_them_apart(run, tmp_path):
    import leaderboards
    from leaderboards.board import read_board
    from leaderboards.views import view_groups

    frame = run[3].frame
    groups = view_groups(read_board(frame), run[3].curves, {}, draw=False)
    labels = {v.label for v in groups[0].rows}
    assert {"identity", "identity + gaussian_noise 2", "k_same (k=3) + gaussian_noise 5"} <= labels
    ranked = leaderboards.rank(frame)
    rows = ranked[
        ranked["method_label"].eq("identity + gaussian_noise 5") & ranked["features"].eq("pixels")
    ]
    assert rows["ranked"].all() and len(rows) == 1
    page = leaderboards.build_site(frame, run[3].curves, {}, tmp_path).read_text()
    assert "gaussian_noise 5" in page
