"""Every built-in plugin keeps its contract, and the checks catch plugins that do not."""

import numpy as np
import pytest

from benchmark.conformance import ConformanceError, checks_for, example_records
from benchmark.contracts import (
    Attack,
    AttackInfo,
    Context,
    DatasetMissing,
    Field,
    Method,
    MethodInfo,
    Release,
    Scores,
)
from benchmark.registry import KINDS, default_registry

TINY_GAN = {"steps": 2, "channels": 4, "least_diversity": 0.0}
TINY_FLOW = {"steps": 3, "width": 8, "integration_steps": 2}
PARAMETERS = {
    "k_same": {"k": 3},
    "cvae": {"epochs": 3},
    "dp_cvae": {"epochs": 3, "accountant": "rdp"},
    "dp_merf": {"steps": 5},
    "gradient_matching": {"iterations": 5, "width": 4},
    "memorization": {"epochs": 2, "least_steps": 2},
    "gan_attack": {"warm_up": 1, "rounds": 2, "generator_steps": 2, "fakes": 4, "samples": 4},
    "bn_inversion": {"epochs": 2, "steps": 3, "width": 4, "soft_labels": True},
    "cnn": {"epochs": 2, "width": 4},
    "gan": TINY_GAN,
    "holdout_gan": TINY_GAN,
    "flow": TINY_FLOW,
    "holdout_flow": TINY_FLOW,
    "latent_projections": {"gan": TINY_GAN, "steps": 3},
    "latent_k_same": {"k": 3, "gan": TINY_GAN, "projection_steps": 3},
    "k_salsa": {"k": 3, "gan": TINY_GAN, "projection_steps": 3, "alignment_steps": 2, "epochs": 1},
    "latent_linear": {"k": 3, "gan": TINY_GAN, "projection_steps": 3, "points": 4},
    "latent_walk": {
        "k": 3,
        "gan": TINY_GAN,
        "projection_steps": 3,
        "epochs": 1,
        "steps": 2,
        "points": 4,
    },
    "identity_reidentification": {"epochs": 2},
    "identity_exposure": {"epochs": 2},
    "phantom": {"patients": 6, "visits": 2, "size": 28},
    "gaussian": {"dimension": 4, "records": 50},
    "noise": {"scale": 0.5},
}
NEED_FILES = {"fashion_mnist", "cifar10", "stl10", "medmnist", "files", "timm"}
"""Plugins that need files from elsewhere; their own tests make small ones and run the checks there."""


def built_in_checks():
    for kind in KINDS:
        for entry in default_registry().entries(kind):
            if entry.name in NEED_FILES or not entry.distribution.startswith("leakboard "):
                continue
            plugin = entry.plugin(**PARAMETERS.get(entry.name, {}))
            yield from checks_for(plugin)


@pytest.mark.parametrize("check", built_in_checks(), ids=str)
def test_built_in_plugins_conform(check, tmp_path):
    try:
        check(tmp_path)
    except DatasetMissing as error:
        pytest.skip(str(error))


class Careless(Method):
    """Breaks every promise: reads the global random state, changes the members."""

    info = MethodInfo(name="careless", version="1", summary="A bad example.")
    scale: float = Field(1.0, gt=0)

    def fit(self, members, context):
        members.data[0] = 0
        noise = np.random.normal(size=members.data.shape)  # noqa: NPY002
        return Release(
            records=members.replace(data=(members.data + noise).astype(members.data.dtype))
        )


class Forgetful(Attack):
    """Answers for all candidates but one."""

    info = AttackInfo(name="forgetful", version="1", summary="A bad example.")

    def run(self, view, candidates, auxiliary, context):
        return Scores(values=np.zeros(len(candidates) - 1))


@pytest.mark.parametrize(
    ("plugin", "name"),
    [
        (Careless(), "release_is_deterministic"),
        (Careless(), "members_are_left_alone"),
        (Careless(), "no_global_random_state"),
    ],
)
def test_checks_catch_a_careless_method(plugin, name, tmp_path):
    (check,) = [c for c in checks_for(plugin) if c.name == name]
    with pytest.raises(ConformanceError, match="careless"):
        check(tmp_path)


def test_checks_catch_an_answer_of_the_wrong_length(tmp_path):
    (check,) = [c for c in checks_for(Forgetful()) if c.name == "answer_is_valid"]
    with pytest.raises(Exception, match=r"shape \(40,\)"):
        check(tmp_path)


class Finished(Method):
    """A finished release, wrapped; in an order of its own."""

    info = MethodInfo(name="finished", version="1", summary="A bad example.")

    def fit(self, members, context):
        made = example_records(members.kind, 30, seed=77)
        return Release(records=made.take(np.argsort(members.data[:30].reshape(30, -1).sum(axis=1))))


def test_checks_catch_a_release_that_ignores_its_members(tmp_path):
    (check,) = [c for c in checks_for(Finished()) if c.name == "responds_to_its_members"]
    with pytest.raises(ConformanceError, match="does not respond to its members"):
        check(tmp_path)


class Fleet(Method):
    """Releases its members with noise; as a fleet, in a way that a parameter says."""

    info = MethodInfo(name="fleet", version="1", summary="A good or a bad example.")
    way: str = "same"
    noise: float = Field(0.3, ge=0)

    def fit(self, members, context):
        rng = context.rng("noise")
        noise = self.noise * members.data.std() * rng.normal(size=members.data.shape)
        data = members.data + noise
        if members.kind == "image":
            data = np.clip(data, 0, 255)
        return Release(records=members.replace(data=data.astype(members.data.dtype)))

    def fit_many(self, members, contexts):
        if self.way == "reversed":
            members = members[::-1]
        elif self.way == "averages":
            members = [averages(m) for m in members]
        elif self.way == "other seeds":
            contexts = [Context(seed=100 + c.seed) for c in contexts]
        elif self.way == "faithful":
            return [Release(records=m) for m in members]
        elif self.way == "one too few":
            members, contexts = members[1:], contexts[1:]
        elif self.way == "shifted":
            members = [
                m.replace(data=m.data + np.asarray(m.data.max(), m.data.dtype)) for m in members
            ]
        return [self.fit(m, c) for m, c in zip(members, contexts, strict=True)]


def averages(members):
    """Each record as the mean of its class."""
    means = {c: members.data[members.labels == c].mean(axis=0) for c in np.unique(members.labels)}
    data = np.stack([means[c] for c in members.labels]).astype(members.data.dtype)
    return members.replace(data=data)


def fleet_check(**parameters):
    (check,) = [c for c in checks_for(Fleet(**parameters)) if c.name == "fleet_is_as_one_by_one"]
    return check


@pytest.mark.parametrize("way", ["same", "other seeds"])
def test_a_fleet_that_is_the_same_up_to_chance_passes(way, tmp_path):
    fleet_check(way=way)(tmp_path)


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ("reversed", "less like their own members"),
        ("averages", "less like their own members"),
        ("faithful", "more like their own members"),
        ("shifted", "like their own members|farther from"),
        ("one too few", "must return 8 releases. Got 7"),
    ],
)
def test_a_fleet_that_memorises_otherwise_fails_by_name(way, why, tmp_path):
    with pytest.raises(ConformanceError, match=rf"fleet: fit_many .*({why})"):
        fleet_check(way=way, noise=2.0 if way == "faithful" else 0.3)(tmp_path)


def test_who_fits_no_fleet_of_its_own_is_not_asked_for_one():
    assert not [c for c in checks_for(Careless()) if c.name == "fleet_is_as_one_by_one"]
