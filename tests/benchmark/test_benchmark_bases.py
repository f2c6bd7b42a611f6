"""Methods that work from another's fitted release, references fitted on auxiliary records, and soft labels."""

from dataclasses import replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from playing import SECRET, play

from benchmark.contracts import (
    Access,
    Attack,
    AttackInfo,
    Context,
    Field,
    Method,
    MethodInfo,
    PositiveControl,
    Records,
    Release,
    Scores,
)
from benchmark.judge.results import collect
from benchmark.plan import make_plan
from benchmark.registry import Registry, default_registry
from benchmark.resolve import resolve
from benchmark.store import Store
from benchmark.suite import Suite, SuiteError


def centres_of(records):
    return np.stack([records.data[records.labels == c].mean(0) for c in np.unique(records.labels)])


class Centres(Method):
    """Releases class means; its sampler draws around them."""

    info = MethodInfo(name="centres", version="1", summary="Class means.", offers=Access.SAMPLER)
    spread: float = Field(0.5, ge=0)

    def fit(self, members, context):
        centres = centres_of(members).astype(np.float32)
        labels = np.unique(members.labels)
        noise = context.rng("centres").normal(0, 1e-3, centres.shape).astype(np.float32)
        records = Records(centres + noise, labels, None, members.extractor)
        return Release(
            records=records,
            state={"centres": centres},
            sample=self._sampler(records),
            notes={"classes": len(labels), "kind": "made up"},
        )

    def restore(self, saved, context):
        return Release(
            records=saved.records, state=saved.state, sample=self._sampler(saved.records)
        )

    def _sampler(self, records):
        def sample(n, labels, rng):
            rows = rng.integers(0, len(records), n)
            noise = rng.normal(0, self.spread, (n, records.data.shape[1]))
            return records.take(rows).replace(data=(records.data[rows] + noise).astype(np.float32))

        return sample


class Around(Method):
    """Draws around the class means that it is given, with labels that are not certain."""

    info = MethodInfo(name="around", version="1", summary="Draws around class means.")
    spread: float = Field(0.5, ge=0)

    def base(self):
        return "centres", {"spread": self.spread}

    def fit(self, members, context):
        assert context.base is not None and context.base.sample is not None
        given = context.base.records.take(np.argsort(context.base.records.labels))
        np.testing.assert_allclose(given.data, centres_of(members), atol=0.01)
        drawn = context.base.sample(40, None, context.rng("around"))
        soft = np.full((40, 10), 0.1, np.float32)
        return Release(records=drawn.replace(soft_labels=soft))


class Nearest(Method):
    """Offers its base's sampler; when restored it finds that in its base."""

    info = MethodInfo(
        name="nearest", version="1", summary="One draw a class.", offers=Access.SAMPLER
    )

    def base(self):
        return "centres", {"spread": 0.5}

    def fit(self, members, context):
        given = context.base.records
        moved = given.replace(data=given.data + np.float32(3))
        return Release(records=moved, state={"three": np.full(1, 3.0)}, sample=context.base.sample)

    def restore(self, saved, context):
        assert saved.state["three"] == 3.0
        return Release(records=saved.records, state=saved.state, sample=context.base.sample)


class Twice(Method):
    """Works from a method that works from another."""

    info = MethodInfo(name="twice", version="1", summary="Draws from a base's base.")

    def base(self):
        return "nearest", {}

    def fit(self, members, context):
        order = np.argsort(context.base.records.labels)
        given = context.base.records.data[order] - 3
        np.testing.assert_allclose(given, centres_of(members), atol=0.01)
        return Release(records=context.base.sample(40, None, context.rng("twice")))


class Circular(Method):
    """Works from itself."""

    info = MethodInfo(name="circular", version="1", summary="Never begins.")

    def base(self):
        return "circular", {}

    def fit(self, members, context):
        return context.base


class Compared(Attack):
    """Nearer to the release than to the reference."""

    info = AttackInfo(name="compared", version="1", summary="Compares.", reference=True)

    def run(self, view, candidates, auxiliary, context):
        released = view.records.data.mean(0) - view.reference.records.data.mean(0)
        return Scores(values=candidates.data @ released.astype(np.float64), notes={"seen": 1})


class ComparedSampler(Compared):
    """The same with samplers."""

    info = AttackInfo(
        name="compared_sampler", version="1", summary="Compares.", needs=Access.SAMPLER
    )
    reference: bool = True

    def run(self, view, candidates, auxiliary, context):
        draws = [
            v.sample(50, None, context.rng("draws")).data.mean(0) for v in (view, view.reference)
        ]
        return Scores(values=candidates.data @ (draws[0] - draws[1]).astype(np.float64))


SUITE = {
    "name": "based",
    "seeds": 1,
    "datasets": [
        {
            "name": "digits",
            "features": ["pixels"],
            "game": {
                "candidates": 200,
                "auxiliary": 60,
                "holdout": 110,
                "validation": 20,
                "test": 20,
            },
        }
    ],
    "methods": ["centres", "around", {"name": "around", "params": {"spread": 0.1}}],
    "attacks": ["nearest_distance"],
}


@pytest.fixture
def registry(monkeypatch):
    mine = {
        "methods": {
            "centres": "Centres",
            "around": "Around",
            "nearest": "Nearest",
            "twice": "Twice",
            "circular": "Circular",
        },
        "attacks": {"compared": "Compared", "compared_sampler": "ComparedSampler"},
    }
    points = [
        EntryPoint(name, f"{__name__}:{attribute}", f"benchmark.{kind}")
        for kind, names in mine.items()
        for name, attribute in names.items()
    ]
    both = Registry([*(e.point for e in default_registry().entries()), *points])
    monkeypatch.setattr("benchmark.nodes.default_registry", lambda: both)
    return both


def plan_of(registry, **changes):
    return make_plan(resolve(Suite(**{**SUITE, **changes}), registry), SECRET.commitment)


def node_of(plan, label):
    found = [n for n in plan.nodes.values() if n.label.startswith(label)]
    (node,) = [n for n in found if not n.label.endswith("decoy")]
    return node


def run(plan, root):
    store = Store(root)
    play(plan.nodes.values(), store)
    return store


def test_a_base_is_fitted_once_and_is_the_methods_own_row(registry):
    plan = plan_of(registry)
    own = node_of(plan, "fit centres on")
    assert node_of(plan, "fit around on").needs[2] == own.key
    other = node_of(plan, "fit around(spread=0.1) on").needs[2]
    assert other != own.key
    assert len([n for n in plan.nodes.values() if n.kind == "fit"]) == 2 + 2 + 2
    assert not [c for c in plan.cells if c.fit == other]  # a base that is no row has no cells


def test_a_method_that_works_from_itself_is_refused(registry):
    with pytest.raises(SuiteError, match="'circular' works from itself: circular → circular"):
        plan_of(registry, methods=["circular"])


LIRA = {"name": "lira", "params": {"shadows": 4}}


def test_a_base_may_have_a_base(registry, tmp_path):
    """``Twice`` itself checks, in fit, reference and shadows, that all three were fitted on its own members."""
    plan = plan_of(registry, methods=["twice"], attacks=[LIRA, "compared"])
    for kind in ("fit", "reference", "shadows"):
        own, base, below = (
            next(n for n in plan.nodes.values() if n.kind == kind and f" {name} on" in n.label)
            for name in ("twice", "nearest", "centres(spread=0.5)")
        )
        assert own.needs[2] == base.key and base.needs[2] == below.key
    store = run(plan, tmp_path)
    assert len(store.arrays(node_of(plan, "fit twice on").key, "release")["data"]) == 40


def test_the_shadows_of_a_base_are_its_own_rows_and_on_the_same_halves(registry, tmp_path):
    plan = plan_of(registry, methods=["centres", "around"], attacks=[LIRA])
    fitted = [n for n in plan.nodes.values() if n.kind == "shadows"]
    ours = [n for n in fitted if n.spec["method"]["name"] in ("centres", "around")]
    shadows = {n.spec["method"]["name"]: n for n in ours}
    assert len(ours) == 2
    assert shadows["around"].needs[2] == shadows["centres"].key
    store = run(plan, tmp_path)
    halves = [store.arrays(n.key, "inclusion")["candidates"] for n in shadows.values()]
    np.testing.assert_array_equal(*halves)
    assert len(np.unique(halves[0], axis=0)) == len(halves[0])
    alone = plan_of(registry, methods=["centres"], attacks=[LIRA])
    # Only a base keeps what it is restored from.
    assert "states" in shadows["centres"].spec and "states" not in shadows["around"].spec
    assert not any("states" in n.spec for n in alone.nodes.values())


def test_the_shadows_of_a_controls_base_keep_what_it_is_restored_from(registry, monkeypatch):
    control = PositiveControl(
        method="around", metric="auc", at_least=0.6, dataset="digits", candidates=40
    )
    monkeypatch.setattr(Compared, "shadows", 4, raising=False)
    monkeypatch.setattr(Compared, "positive_controls", lambda self: (control,))
    plan = plan_of(registry, methods=["centres"], attacks=["compared"])
    around = [n for n in plan.nodes.values() if n.kind == "shadows" and " around on" in n.label]
    assert around and all(plan.nodes[n.needs[2]].spec["states"] for n in around)


@pytest.mark.parametrize("method", ["nearest", "twice"])
def test_a_method_does_not_apply_where_any_of_its_bases_does_not(registry, monkeypatch, method):
    images = replace(Centres.info, kinds=frozenset({"image"}))
    monkeypatch.setattr(Centres, "info", images)
    plan = plan_of(registry, methods=[method])
    (cell,) = [c for c in plan.cells if c.kind == "fit" and c.method.name == method]
    assert cell.status == "not applicable" and "centres, its base, does not" in cell.reason


def test_a_restored_release_finds_its_base(registry, tmp_path):
    plan = plan_of(registry, methods=["nearest"], attacks=["compared_sampler"])
    run(plan, tmp_path)


def test_wrong_parameters_of_a_base_are_refused_by_name(registry, monkeypatch):
    monkeypatch.setattr(Around, "base", lambda self: ("centres", {"sprad": 1}))
    with pytest.raises(SuiteError, match=r"base of 'around'.*'sprad'"):
        plan_of(registry)


def test_a_method_gets_its_restored_base(registry, tmp_path):
    """``Around`` itself checks that the base was fitted on its own members."""
    plan = plan_of(
        registry, attacks=["nearest_distance", {"name": "lira", "params": {"shadows": 4}}]
    )
    store = run(plan, tmp_path)
    release = store.arrays(node_of(plan, "fit around on").key, "release")
    assert len(release["data"]) == 40
    np.testing.assert_array_equal(release["soft_labels"], np.full((40, 10), 0.1, np.float32))


def test_a_reference_is_fitted_on_auxiliary_records_without_the_coins(registry, tmp_path):
    plan = plan_of(registry, attacks=["compared", "compared_sampler"])
    store = run(plan, tmp_path)
    game = store.arrays(node_of(plan, "game digits").key, "public")
    pool = store.arrays(node_of(plan, "features").key, "pool")
    reference = node_of(plan, "reference centres on")
    labels = pool["labels"][game["auxiliary"]]
    expected = np.stack(
        [pool["data"][game["auxiliary"]][labels == c].mean(0) for c in np.unique(labels)]
    )
    released = store.arrays(reference.key, "release")
    order = np.argsort(released["labels"])
    np.testing.assert_allclose(released["data"][order], expected, atol=0.01)
    assert reference.key in node_of(plan, "attack compared on centres").needs
    assert reference.key in node_of(plan, "attack compared_sampler on centres").needs


def test_what_plugins_note_is_in_the_results(registry, tmp_path):
    plan = plan_of(registry, seeds=2, methods=["centres"], attacks=["compared"])
    store = run(plan, tmp_path)
    records = {key: store.read(key) for key in plan.nodes}
    frame = collect(plan, store, records).frame
    for metric, expected in (("note:seen", 1.0), ("note:classes", 10.0)):
        rows = frame[(frame.metric == metric) & (frame.method == "centres")]
        assert list(rows.seed.isna()) == [False, False, True]
        assert (rows.value == expected).all()
        assert rows.ci_method.str.contains("not judged").any()


def test_a_reference_is_no_larger_than_half_the_candidates(registry, tmp_path):
    game = {"candidates": 40, "auxiliary": 200, "holdout": 30, "validation": 20, "test": 20}
    plan = plan_of(
        registry,
        datasets=[{**SUITE["datasets"][0], "game": game}],
        methods=["identity"],
        attacks=["compared"],
    )
    store = run(plan, tmp_path)
    assert len(store.arrays(node_of(plan, "reference identity").key, "release")["data"]) == 20


def test_a_reference_grants_no_more_than_the_access(registry, tmp_path, monkeypatch):
    seen = []

    def look(self, view, candidates, auxiliary, context):
        seen.append(view)
        return Scores(values=np.zeros(len(candidates)))

    monkeypatch.setattr(Compared, "run", look)
    monkeypatch.setattr(ComparedSampler, "run", look)
    run(plan_of(registry, methods=["centres"], attacks=["compared"]), tmp_path / "a")
    assert all(v.reference is not None and v.reference.sample is None for v in seen)
    seen.clear()
    run(plan_of(registry, methods=["centres"], attacks=["compared_sampler"]), tmp_path / "b")
    assert seen and all(
        v.reference.sample is not None and v.reference.weights is None for v in seen
    )


@pytest.mark.parametrize(
    ("soft", "why"),
    [
        (np.ones((3, 2), np.float32), "sum to 1"),
        (np.full((2, 2), 0.5, np.float32), "one row for each"),
        (np.full((3, 2), 0.5), "float32"),
        (np.array([[np.nan, 1], [0, 1], [0, 1]], np.float32), "sum to 1"),
    ],
)
def test_soft_labels_are_checked(soft, why):
    from benchmark.contracts import InvalidRecords

    with pytest.raises(InvalidRecords, match=why):
        Records(np.zeros((3, 4), np.float32), np.zeros(3, np.int64), soft_labels=soft)


def test_soft_labels_follow_their_records():
    soft = np.array([[1, 0], [0.25, 0.75], [0, 1]], np.float32)
    records = Records(np.eye(3, dtype=np.float32), np.arange(3), soft_labels=soft)
    np.testing.assert_array_equal(records.take(np.array([2, 1])).soft_labels, soft[[2, 1]])
    assert records.replace(soft_labels=None) != records
    assert records.replace(soft_labels=None).digest() != records.digest()
    assert Context(seed=1).base is None
