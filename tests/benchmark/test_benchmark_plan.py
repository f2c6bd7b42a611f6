"""A plan is pure, shares what can be shared, and says why a cell stays empty."""

import pytest

from benchmark.plan import make_plan
from benchmark.registry import default_registry
from benchmark.resolve import resolve
from benchmark.suite import Suite, SuiteError

EVERYTHING = {
    "name": "mine",
    "seeds": [0, 1],
    "datasets": ["digits"],
    "methods": ["gaussian_mean", {"name": "k_same", "grid": {"k": [2, 5]}}, "cvae"],
    "attacks": ["nearest_distance", "correlation", "linkage"],
    "utilities": ["linear_probe"],
}


def plan_of(only=None, **changes):
    return make_plan(resolve(Suite(**{**EVERYTHING, **changes}), default_registry(), only))


def nodes_of(plan, kind):
    return [n for n in plan.nodes.values() if n.kind == kind]


def test_equal_suites_give_equal_plans():
    one, other = plan_of(), plan_of()
    assert one.nodes == other.nodes
    assert one.cells == other.cells


def test_nodes_come_after_those_they_need():
    seen = set()
    for key, node in plan_of().nodes.items():
        assert set(node.needs) <= seen
        seen.add(key)


def test_fits_are_shared_by_all_attacks_and_utilities():
    plan = plan_of()
    # holdout, identity, gaussian_mean, two k_same and cvae, with two seeds; and three known answers
    assert len(nodes_of(plan, "fit")) == (6 + 3) * 2
    # 6 methods × 3 attacks + the gate, and correlation on three known answers; and each attack's decoy, of one seed
    assert len(nodes_of(plan, "attack")) == (6 * 3 + 1 + 3) * 2 + 3
    assert len(nodes_of(plan, "utility")) == 6 * 2
    assert len(nodes_of(plan, "game")) == (1 + 3) * 2


def test_a_control_on_a_dataset_of_the_suite_has_a_game_of_its_own():
    """Also where two attacks want different numbers of candidates of it."""
    attacks = [
        {"name": "gradient_matching", "params": {"attack": "idlg", "targets": n}} for n in (16, 20)
    ]
    plan = plan_of(datasets=["digits"], attacks=attacks, methods=["cvae"])
    sizes = {d.label: d.rules.candidates for d in plan.resolved.datasets}
    own = {"digits of 24 candidates": 24, "digits of 30 candidates": 30}
    assert sizes == {"digits": sizes["digits"], **own}
    assert [d.controls is not None for d in plan.resolved.datasets] == [False, True, True]
    assert len(nodes_of(plan, "game")) == 3 * 2


def test_the_control_of_an_attack_on_images_releases_images():
    attack = {"name": "gradient_matching", "space": "image", "params": {"attack": "idlg"}}
    plan = plan_of(datasets=["digits"], attacks=[attack], methods=["cvae"])
    cells = [c for c in plan.cells if c.kind == "attack" and "candidates" in c.dataset]
    assert len(cells) == 2
    for cell in cells:
        assert cell.key and cell.method.label == "identity"
        assert plan.nodes[cell.key].spec["space"] == "image"


def test_keys_change_with_what_results_depend_on_and_with_nothing_else():
    base = plan_of()
    fits = {n.key for n in nodes_of(base, "fit")}
    assert fits & {n.key for n in nodes_of(plan_of(name="other"), "fit")} == fits
    assert fits & {n.key for n in nodes_of(plan_of(attacks=[]), "fit")} == {
        n.key for n in nodes_of(base, "fit") if "gaussian(" not in n.label
    }
    longer = plan_of(limits={"time_s": 5.0})
    assert set(longer.nodes) == set(base.nodes)
    assert all(n.time_s == 5.0 for n in longer.nodes.values())
    for change in (
        {"seeds": [2]},
        {"datasets": [{"name": "digits", "game": {"candidates": 300}}]},
        {"datasets": [{"name": "digits", "subset": {"pool": 900}}]},
    ):
        other = {n.key for n in nodes_of(plan_of(attacks=[], **change), "fit")}
        assert not fits & other, change


def test_where_files_lie_is_no_part_of_keys(tmp_path):
    import numpy as np

    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(300, 4)).astype(np.float32), np.arange(300) % 2
    keys = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "x.npz"
        np.savez(path, features=features, labels=labels)
        keys.append(set(plan_of(datasets=[{"name": "files", "params": {"path": str(path)}}]).nodes))
    assert keys[0] == keys[1]
    features[0, 0] += 1
    np.savez(path, features=features, labels=labels)
    changed = plan_of(datasets=[{"name": "files", "params": {"path": str(path)}}])
    native = [c.key for c in changed.cells if c.dataset == "files" and c.key]
    assert native and not set(native) & keys[0]


def test_image_methods_are_fitted_once_for_all_feature_spaces():
    spaces = ["pixels", "efficientnet_lite0"]
    plan = plan_of(
        datasets=[{"name": "digits", "features": spaces}],
        methods=[{"name": "k_same", "params": {"k": 3}, "space": "image"}],
        attacks=["nearest_distance"],
    )
    fits = [n for n in nodes_of(plan, "fit") if "k_same" in n.label]
    assert len(fits) == 2  # one per seed
    embedded = [n for n in nodes_of(plan, "embed")]
    assert len(embedded) == 4 + 2  # seed × feature space, and those of one seed's decoy
    assert {c.features for c in plan.cells if c.fit == fits[0].key} == set(spaces)


def test_what_does_not_apply_says_why():
    plan = plan_of(
        datasets=[{"name": "gaussian", "params": {"dimension": 4, "records": 400}}],
        methods=[{"name": "noise", "space": "image"}],
        attacks=["nearest_distance"],
    )
    fit = [c for c in plan.cells if c.method and c.method.name == "noise"]
    assert {c.status for c in fit} == {"not applicable"}
    assert {c.reason for c in fit} == {"noise works on images; the dataset holds features"}


def test_unavailable_plugins_leave_their_cells_and_a_reason():
    from importlib.metadata import EntryPoint

    from benchmark.registry import Registry

    points = [e.point for e in default_registry().entries()]
    points.append(EntryPoint(name="gone", value="no_such_module:Thing", group="benchmark.methods"))
    suite = Suite(**{**EVERYTHING, "methods": ["gone"]})
    plan = make_plan(resolve(suite, Registry(points)))
    cells = [c for c in plan.cells if c.method and c.method.name == "gone"]
    assert {c.kind for c in cells} == {"fit", "attack", "utility"}
    assert {c.status for c in cells} == {"unavailable"}
    assert all("no_such_module" in c.reason for c in cells)


def test_perturbed_test_sets_are_made_once_for_all_methods():
    plan = plan_of(perturbations=[{"name": "gaussian_noise", "severities": [1, 3]}])
    assert len(nodes_of(plan, "perturb")) == 2 * 2
    cell = next(c for c in plan.cells if c.kind == "utility" and c.seed == 0)
    assert sorted(cell.conditions.values()) == [("gaussian_noise", 1), ("gaussian_noise", 3)]


def test_utilities_of_images_get_perturbed_images_that_are_not_embedded():
    severities = {"severities": [1, 3]}
    perturbations = [
        {"name": "gaussian_noise", **severities},
        {"name": "corruption", "params": {"family": "gaussian_noise"}, **severities},
    ]
    digits = {"name": "digits", "features": ["pixels", "efficientnet_lite0"]}
    identity = {"name": "identity", "space": "image"}
    plan = plan_of(
        seeds=1,
        datasets=[digits],
        methods=[identity],
        utilities=["linear_probe", {"name": "k_nn", "space": "image"}],
        perturbations=perturbations,
    )
    corrupted = [("corruption(family=gaussian_noise)", s) for s in (1, 3)]
    cells = [c for c in plan.cells if c.utility and c.method.space == "image" and c.key]
    assert len(cells) == 4
    for cell in cells:
        given = {name for name, _ in cell.conditions.values()}
        nodes = [plan.nodes[key] for key in cell.conditions]
        if cell.utility.space == "image":
            assert sorted(cell.conditions.values()) == corrupted, "noise on features has no images"
            assert all("features" not in node.spec for node in nodes)
        else:
            assert given == {"gaussian_noise", corrupted[0][0]}
            images = [n for n in nodes if n.spec["perturbation"]["name"] == "corruption"]
            assert all(n.spec["features"]["name"] == cell.features for n in images)
    # per severity: noise and corruption in two feature spaces, and corrupted images once for both
    assert len(nodes_of(plan, "perturb")) == 2 * (2 + 2 + 1)


def test_without_utilities_of_images_none_are_perturbed_as_such():
    plan = plan_of(perturbations=[{"name": "corruption", "severities": [1]}], seeds=1)
    assert all("features" in node.spec for node in nodes_of(plan, "perturb"))


def test_downstream_finds_all_that_depends_on_a_node():
    plan = plan_of(attacks=["linkage"], utilities=[])
    fit = next(n for n in nodes_of(plan, "fit") if "k_same(k=2)" in n.label)
    labels = {plan.nodes[k].label.split()[0] for k in plan.downstream([fit.key])}
    assert labels == {"fit", "provenance", "attack"}


def test_each_attack_has_one_decoy_which_it_cannot_tell_from_a_cell():
    plan = plan_of()
    decoys = [c for c in plan.cells if c.kind == "decoy"]
    places = [(c.dataset, c.features, c.attack.label) for c in decoys]
    assert len(set(places)) == len(places) > 0
    assert {c.seed for c in decoys} == {plan.resolved.seeds[0]}
    for cell in decoys:
        node, fit = plan.nodes[cell.key], plan.nodes[cell.fit]
        assert fit.kind == "decoy"
        same = {"attack": cell.attack, "method": cell.method}
        (own,) = [
            c
            for c in plan.cells
            if c.kind == "attack"
            and (c.dataset, c.features, c.seed) == (cell.dataset, cell.features, cell.seed)
            and all(getattr(c, k) is v for k, v in same.items())
        ]
        twin = plan.nodes[own.key]
        assert (node.kind, node.spec, len(node.needs)) == (twin.kind, twin.spec, len(twin.needs))
        assert plan.nodes[own.fit].spec == fit.spec
        assert node.key != twin.key and not cell.method.control


# ---------------------------------------------------------------- without coins


def test_where_all_are_members_there_is_nothing_to_attack():
    plan = plan_of(game={"members": "all"}, attacks=[])
    assert {n.kind for n in plan.nodes.values()} == {
        "dataset",
        "units",
        "game",
        "features",
        "fit",
        "utility",
    }
    (holdout,) = {(c.status, c.reason) for c in plan.cells if c.method.name == "holdout"}
    assert holdout == ("not applicable", "it needs a hold-out, and here every record is a member")
    assert all(c.key for c in plan.cells if c.method.name != "holdout")


def test_keys_of_games_with_coins_do_not_know_of_games_without():
    games = nodes_of(plan_of(), "game")
    assert nodes_of(plan_of(game={"members": "coins"}), "game") == games
    assert all("members" not in n.spec["rules"] for n in games)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attacks": [], "perturbations": ["gaussian_noise"]},
        {"attacks": [], "publish": [{"name": "gaussian_noise", "severities": [1]}]},
    ],
)
def test_attacks_and_noise_need_records_that_are_no_members(changes):
    with pytest.raises(
        SuiteError, match=r"datasets\.0: game: members: all tosses no coins .* Leave \w+ out"
    ):
        plan_of(game={"members": "all"}, **changes)
