"""The large suites that come with the project: they hold what they say, and say what they miss."""

import pytest

from benchmark.datasets.locate import data_root
from benchmark.plan import make_plan
from benchmark.planfile import plan_from_text, plan_text
from benchmark.registry import default_registry
from benchmark.resolve import resolve
from benchmark.suite import SuiteError, built_in_suites, load_suite

PLANTED = {
    "confident_labels",
    "random_averages",
    "outlier_memoriser",
    "partial_copies",
    "distance_filtered",
    "full_covariance",
    "holdout_gan",
    "holdout_flow",
}
"""Of suites of their own: what certain attacks must find there, or must not, and no methods to compare."""

OFFLINE = {"fashion_mnist", "phantom", "digits"}


@pytest.mark.parametrize("name", ["core", "full"])
def test_core_and_full_have_every_method_attack_and_utility(name):
    """Whoever adds a plugin adds it to both suites, with parameters that suit their size."""
    suite, registry = load_suite(name), default_registry()
    for kind in ("methods", "attacks", "utilities"):
        known = {e.name for e in registry.entries() if e.kind == kind} - PLANTED
        listed = {entry.name for entry in getattr(suite, kind)} | {"blind"}
        assert known <= listed, f"{kind} missing from suite {name}: {sorted(known - listed)}"


@pytest.mark.parametrize("name", sorted(built_in_suites()))
def test_suites_are_valid_and_described(name):
    suite = load_suite(name)
    assert suite.name == name and suite.description


def test_full_without_files_says_which_and_where_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv("LEAKBOARD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(data_root(None)).startswith(str(tmp_path))
    suite = load_suite("full")
    medical = suite.model_copy(update={"datasets": [d for d in suite.datasets if d.label]})
    with pytest.raises(SuiteError, match=r"datasets.0: medmnist: bloodmnist.npz is not in .*fetch"):
        resolve(medical, default_registry())


def test_an_optional_dataset_without_files_is_left_out_and_said(monkeypatch, tmp_path):
    monkeypatch.setenv("LEAKBOARD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    suite = load_suite("paper-cvae-small")
    kept = [d for d in suite.datasets if d.name != "fashion_mnist"]
    found = resolve(suite.model_copy(update={"datasets": kept}), default_registry())
    assert "breastmnist" not in {d.label for d in found.datasets} and "digits" in {
        d.label for d in found.datasets
    }
    assert list(found.left_out) == ["breastmnist"]
    assert "breastmnist.npz is not in" in found.left_out["breastmnist"]
    stored = plan_from_text(plan_text(make_plan(found)))
    assert stored.resolved.left_out == found.left_out
    alone = [d for d in kept if d.optional]
    with pytest.raises(SuiteError, match=r"breastmnist.npz is not in"):
        resolve(suite.model_copy(update={"datasets": alone}), default_registry())


def test_all_else_of_full_resolves_and_plans():
    suite = load_suite("full")
    offline = [d for d in suite.datasets if d.name in {"phantom", "digits"}]
    assert {d.name for d in suite.datasets} > OFFLINE
    plan = make_plan(resolve(suite.model_copy(update={"datasets": offline}), default_registry()))
    kinds = {n.kind for n in plan.nodes.values()}
    assert {"publish", "publish shadows", "reference", "shadows", "perturb"} <= kinds
    assert not [c for c in plan.cells if c.status == "unavailable"]
    for wanted in ("gan", "flow", "cvae", "latent_walk", "k_salsa"):
        assert [c for c in plan.cells if c.method and c.method.label.startswith(wanted) and c.key]


def test_generators_of_core_are_shared_with_the_methods_that_build_on_them():
    suite = load_suite("core")
    digits = [d for d in suite.datasets if d.name == "digits"]
    plan = make_plan(resolve(suite.model_copy(update={"datasets": digits}), default_registry()))
    fits = [n for n in plan.nodes.values() if n.kind == "fit" and "/images" in n.label]
    (gan,) = [n for n in fits if n.label.startswith("fit gan")]
    # The members' codes are found once on the GAN, and four methods work from those.
    (projections,) = [n for n in fits if gan.key in n.needs]
    assert projections.label.startswith("fit latent_projections")
    assert sum(projections.key in n.needs for n in fits) == 4


def test_a_flow_is_attacked_by_its_loss_in_core_and_by_nothing_that_it_cannot_answer():
    suite = load_suite("core")
    phantom = [d for d in suite.datasets if d.name == "phantom"]
    plan = make_plan(resolve(suite.model_copy(update={"datasets": phantom}), default_registry()))
    attacked = {
        c.method.label.partition("(")[0].partition("@")[0]
        for c in plan.cells
        if c.method and c.attack and c.attack.label.startswith("denoising_loss") and c.key
    }
    assert {"flow", "identity", "holdout"} <= attacked
    assert "dp_merf" not in attacked
