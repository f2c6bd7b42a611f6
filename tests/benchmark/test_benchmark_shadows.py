"""Shadows are planned once for all attacks, drawn in balance and without the coins, and handed to those that ask."""

import numpy as np
import pytest
from playing import SECRET, play
from sklearn.metrics import roc_auc_score

from benchmark.fleets import LEAST_GAP, unlike_shadows
from benchmark.game import draw_shadow_pair
from benchmark.judge.fleets import judge_fleet, load_fleets
from benchmark.plan import SHADOW_CHUNK, make_plan
from benchmark.registry import default_registry
from benchmark.resolve import resolve
from benchmark.store import Store
from benchmark.suite import Suite

SUITE = {
    "name": "shadowed",
    "seeds": 1,
    "datasets": [
        {
            "name": "phantom",
            "params": {"patients": 90, "visits": 2, "size": 28},
            "game": {"candidates": 80, "auxiliary": 40, "holdout": 44, "validation": 4, "test": 8},
        }
    ],
    "methods": [{"name": "noise", "params": {"scale": 0.05}}],
    "attacks": ["nearest_distance", {"name": "lira", "params": {"shadows": 16}}],
}


def plan_of(**changes):
    return make_plan(resolve(Suite(**{**SUITE, **changes}), default_registry()), SECRET.commitment)


def nodes_of(plan, kind, label=""):
    return [n for n in plan.nodes.values() if n.kind == kind and label in n.label]


def lira(shadows, **more):
    return {"name": "lira", "params": {"shadows": shadows, **more}}


# ---------------------------------------------------------------- the plan


def test_all_attacks_share_the_shadows_and_fewer_are_a_prefix_of_more():
    few = plan_of(attacks=[lira(16)])
    many = plan_of(
        attacks=[lira(4), lira(16), lira(64), {"name": "rmia", "params": {"shadows": 40}}]
    )
    keys = [n.key for n in nodes_of(few, "shadows", "noise")]
    assert len(keys) == 1
    more = [n.key for n in nodes_of(many, "shadows", "noise")]
    assert len(more) == 64 // SHADOW_CHUNK
    assert more[0] == keys[0]
    needs = {
        n.label.split(" on ")[0]: [k for k in n.needs if k in more]
        for n in nodes_of(many, "attack", "on noise")
    }
    assert needs["attack lira(shadows=4)"] == needs["attack lira(shadows=16)"] == more[:1]
    assert needs["attack lira(shadows=64)"] == more
    assert needs["attack rmia(shadows=40)"] == more[:3]


def test_no_shadows_unless_asked_for():
    plan = plan_of(
        attacks=["nearest_distance", {"name": "downstream", "params": {"statistic": "loss"}}]
    )
    assert not nodes_of(plan, "shadows")


def test_shadows_depend_on_the_fit_and_not_on_the_attack():
    keys = {n.key for n in nodes_of(plan_of(), "shadows", "noise")}
    other = plan_of(attacks=[lira(16, mode="offline"), "rmia", "calibrated"])
    assert {n.key for n in nodes_of(other, "shadows", "noise")} == keys
    for change in (
        {"seeds": [1]},
        {"methods": [{"name": "noise", "params": {"scale": 0.06}}]},
        {"datasets": [{**SUITE["datasets"][0], "game": {"candidates": 60}}]},
    ):
        changed = {n.key for n in nodes_of(plan_of(**change), "shadows", "noise")}
        assert changed and not changed & keys


def test_limits_grow_with_the_number_of_shadows():
    plan = plan_of(limits={"time_s": 7.0}, attacks=[lira(32)])
    assert {n.time_s for n in nodes_of(plan, "fit")} == {7.0}
    assert {n.time_s for n in nodes_of(plan, "shadows")} == {7.0 * SHADOW_CHUNK}
    assert {n.time_s for n in nodes_of(plan, "attack", "lira")} == {7.0 * 33}


def test_shadows_of_image_methods_are_embedded_for_attacks_in_feature_space():
    plan = plan_of(methods=[{"name": "noise", "space": "image"}], attacks=[lira(32)])
    fitted = [n.key for n in nodes_of(plan, "shadows", "noise")]
    embedded = nodes_of(plan, "embed shadows", "noise")
    assert [n.needs for n in embedded] == [(k,) for k in fitted]
    for attack in nodes_of(plan, "attack", "on noise"):  # its decoy too
        assert set(attack.needs) >= {n.key for n in embedded}
        assert not set(attack.needs) & set(fitted)


# ---------------------------------------------------------------- the draw


def test_pairs_are_complements_of_whole_units_and_fair():
    units = np.repeat(np.arange(31), 3)[np.random.default_rng(0).permutation(93)]
    rng = np.random.default_rng(1)
    counts = np.zeros(93)
    for _ in range(2000):
        first, second = draw_shadow_pair(units, rng)
        np.testing.assert_array_equal(first, ~second)
        assert len({*units[first]} & {*units[second]}) == 0
        assert len(set(units[first])) == 15
        counts += first
    # Every unit is in the first of a pair with probability 15/31.
    expected, error = 2000 * 15 / 31, np.sqrt(2000 * 15 / 31 * 16 / 31)
    assert (abs(counts - expected) < 4.5 * error).all()


# ---------------------------------------------------------------- the nodes


class Watched(Store):
    """A store that notes what is read from it."""

    def __init__(self, root):
        super().__init__(root)
        self.reads = []

    def arrays(self, key, name):
        self.reads.append((key, name))
        return super().arrays(key, name)


def run(plan, root, keep=lambda node: True):
    """Execute a plan's nodes here; what each of them read, by key."""
    store, reads = Watched(root), {}
    for node in plan.nodes.values():
        if keep(node):
            store.reads = []
            play([node], store)
            reads[node.key] = store.reads
    return store, reads


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A small run on drawn patients with 32 shadows, fitted on images, attacked on features."""
    plan = plan_of(
        methods=[{"name": "noise", "params": {"scale": 0.05}, "space": "image"}],
        attacks=["nearest_distance", lira(24), {"name": "rmia", "params": {"shadows": 24}}],
    )
    return plan, *run(plan, tmp_path_factory.mktemp("shadows"))


def test_inclusion_is_balanced_and_identities_are_whole(played):
    plan, store, _ = played
    (game,) = (n for n in nodes_of(plan, "game"))
    units = store.arrays(game.key, "public")["units"]
    chunks = nodes_of(plan, "shadows", "noise")
    masks = np.concatenate([store.arrays(n.key, "inclusion")["candidates"] for n in chunks])
    assert masks.shape == (32, len(units))
    assert (masks.sum(axis=0) == 16).all()
    for unit in range(units.max() + 1):
        own = masks[:, units == unit]
        assert (own == own[:, :1]).all()
    assert len({row.tobytes() for row in masks}) == 32
    sizes = np.concatenate([store.arrays(n.key, "releases")["sizes"] for n in chunks])
    np.testing.assert_array_equal(sizes, masks.sum(axis=1))  # noise releases as many as it gets


def test_shadows_release_what_they_were_fitted_on_in_a_new_order(played):
    """Little noise on images: the nearest released record of a fitted candidate is its own."""
    from benchmark.learning.neighbours import nearest
    from benchmark.nodes import load_records

    plan, store, _ = played
    (game,), (dataset,) = nodes_of(plan, "game"), nodes_of(plan, "dataset")
    rows = store.arrays(game.key, "public")["candidates"]
    candidates = load_records(store, dataset.key, "pool").take(rows).flat()
    (chunk, *_) = nodes_of(plan, "shadows", "noise")
    arrays = store.arrays(chunk.key, "releases")
    included = store.arrays(chunk.key, "inclusion")["candidates"]
    start = 0
    for mask, n in zip(included, arrays["sizes"], strict=True):
        release = arrays["data"][start : start + n].reshape(n, -1) / np.float32(255)
        distances, index = nearest(candidates[mask], release)
        assert len(np.unique(index)) > 0.9 * mask.sum()
        assert not (np.diff(index[:, 0]) == 1).all()
        others, _ = nearest(candidates[~mask], release)
        assert np.median(others) > 1.5 * np.median(distances)
        start += n


def test_neither_shadows_nor_attacks_read_the_coins(played):
    plan, _, reads = played
    secret = {k for k, names in reads.items() if any(name == "secret" for _, name in names)}
    # all but fits, decoys and refits run no plugin
    assert {plan.nodes[k].kind for k in secret} == {
        *("fit", "decoy", "provenance", "yardstick", "refit", "fleet")
    }


def test_shadows_do_not_change_with_the_coins(played, tmp_path):
    plan, store, _ = played
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(store.root, copy)
    (game,) = nodes_of(plan, "game")
    other = Store(copy)
    record = other.read(game.key)
    arrays = {
        name.removesuffix(".npz"): other.arrays(game.key, name.removesuffix(".npz"))
        for name in record.artifacts
    }
    arrays["secret"]["coins"] = ~arrays["secret"]["coins"]
    other.commit(record, arrays)
    shutil.rmtree(copy / "scratch")
    again, _ = run(plan, copy, keep=lambda n: n.kind == "shadows")
    for node in nodes_of(plan, "shadows"):
        for name in ("releases", "inclusion"):
            one, two = store.arrays(node.key, name), again.arrays(node.key, name)
            assert all(np.array_equal(one[k], two[k]) for k in one)


def test_inclusion_is_independent_of_the_coins(played):
    """Agreement of masks and coins is binomial: neither copied nor avoided."""
    plan, store, _ = played
    (game,) = nodes_of(plan, "game")
    units = store.arrays(game.key, "public")["units"]
    _, first = np.unique(units, return_index=True)
    coins = store.arrays(game.key, "secret")["coins"][first]
    nodes = nodes_of(plan, "shadows")
    drawn = [store.arrays(n.key, "inclusion")["candidates"][::2, first] for n in nodes]
    masks = np.unique(np.concatenate(drawn), axis=0)  # all methods of a game share theirs
    agreement = (masks == coins).mean(axis=1)
    error = 0.5 / np.sqrt(len(first))
    assert abs(np.mean(agreement) - 0.5) < 4 * error / np.sqrt(len(agreement))
    assert 0.5 < np.std(agreement) / error < 1.5


def test_the_attack_sees_the_shadows_it_asked_for(played, monkeypatch):
    from attacks.shadow import LiRA
    from benchmark.nodes import prepare

    plan, store, _ = played
    node, _ = nodes_of(plan, "attack", "lira(shadows=24) on noise")  # and its decoy
    seen = {}

    def look(self, view, candidates, auxiliary, context):
        seen.update(view=view, candidates=candidates, auxiliary=auxiliary)
        return run_as_is(self, view, candidates, auxiliary, context)

    run_as_is = LiRA.run
    monkeypatch.setattr(LiRA, "run", look)
    prepare(node, store).run({"device": "cpu"})
    shadows, view = seen["view"].shadows, seen["view"]
    assert len(shadows.releases) == 24
    assert shadows.included.shape == (24, len(seen["candidates"]))
    assert shadows.included_auxiliary.shape == (24, len(seen["auxiliary"]))
    assert not shadows.included_auxiliary.any()
    for release in shadows.releases:
        assert release.kind == view.records.kind == "feature"
        assert release.extractor == view.records.extractor
        assert release.data.shape[1] == view.records.data.shape[1]
        assert release.groups is None


def test_controls_have_shadows_and_come_out_as_they_must(played):
    plan, store, _ = played
    (game,) = nodes_of(plan, "game")
    coins = store.arrays(game.key, "secret")["coins"]
    for attack in ("lira(shadows=24)", "rmia(shadows=24)"):
        aucs = {}
        for method in ("identity", "holdout"):
            (node,) = nodes_of(plan, "attack", f"{attack} on {method}")
            scores = store.arrays(node.key, "scores")["values"]
            aucs[method] = roc_auc_score(coins, scores)
        assert aucs["identity"] > 0.98
        assert abs(aucs["holdout"] - 0.5) < 4 * np.sqrt((80 + 1) / (12 * 40 * 40)) * np.sqrt(2)


def test_shadows_of_the_holdout_release_auxiliary_records_only(played):
    from benchmark.nodes import load_records

    plan, store, _ = played
    (game,) = nodes_of(plan, "game")
    (vectors,) = nodes_of(plan, "features")
    pool = load_records(store, vectors.key, "pool")
    public = store.arrays(game.key, "public")
    known = {row.tobytes() for row in pool.take(public["auxiliary"]).data}
    groups = {row.tobytes(): g for row, g in zip(pool.data, pool.groups, strict=True)}
    owners = []
    for node in nodes_of(plan, "shadows", "holdout"):
        arrays = store.arrays(node.key, "releases")
        rows = [row.tobytes() for row in arrays["data"]]
        assert set(rows) <= known
        for part in np.split(np.arange(len(rows)), np.cumsum(arrays["sizes"])[:-1]):
            owners.append(frozenset(groups[rows[i]] for i in part))
    assert len(set(owners)) > len(owners) / 2  # they differ


# ---------------------------------------------------------------- shadows against single fits


@pytest.mark.slow
def test_shadows_of_built_in_methods_are_what_fit_makes(tmp_path):
    """No row is void; and taken for single fits, hardly any pair of shadows is told from the others."""
    small = {"candidates": 240, "auxiliary": 100, "holdout": 150, "validation": 20, "test": 40}
    plan = plan_of(
        datasets=[{"name": "digits", "game": small}],
        methods=[
            {"name": "noise", "params": {"scale": 1.0}},
            {"name": "k_same", "params": {"k": 5}},
            {"name": "cvae", "params": {"epochs": 40}},
            {"name": "dp_cvae", "params": {"epochs": 8.0, "public_size": 100}},
            {"name": "dp_merf", "params": {"steps": 60, "public_size": 100}},
        ],
        attacks=[lira(16)],
    )
    store, _ = run(plan, tmp_path, keep=lambda n: n.kind not in ("attack", "provenance", "utility"))
    fleets = load_fleets(plan, store, store.read_all())
    assert [f.row[2].partition("(")[0] for f in fleets] == [
        *("identity", "noise", "k_same", "cvae", "dp_cvae", "dp_merf")
    ]
    assert all(judge_fleet(f, 1e-3, 1).passed for f in fleets)
    told = 0
    for fleet in fleets:
        for values in fleet.traits[0].values():
            for pair in range(0, 16, 2):
                others = np.delete(values[:16], [pair, pair + 1])
                gap, p = unlike_shadows([np.append(others, values[pair : pair + 2])], [14])
                told += gap > LEAST_GAP and p < 1e-3
    assert told <= 2  # of 144 tests
