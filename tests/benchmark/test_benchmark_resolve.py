"""What a suite resolves to: controls added, selections kept, and what is wrong named before anything runs."""

from collections import Counter

import pytest

from benchmark.registry import default_registry
from benchmark.resolve import resolve
from benchmark.suite import Suite, SuiteError

EVERYTHING = {
    "name": "mine",
    "seeds": [0],
    "datasets": ["digits"],
    "methods": ["gaussian_mean", {"name": "k_same", "grid": {"k": [2, 5]}}, "cvae"],
    "attacks": ["nearest_distance", "correlation", "linkage"],
}


def resolved(only=None, **changes):
    return resolve(Suite(**{**EVERYTHING, **changes}), default_registry(), only)


def test_controls_and_the_gate_are_added_once():
    found = resolved(methods=["identity", "cvae"])
    names = [m.name for m in found.methods]
    assert Counter(names) == {"holdout": 1, "identity": 1, "cvae": 1}
    assert [a.name for a in found.attacks] == [
        "nearest_distance",
        "correlation",
        "linkage",
        "blind",
    ]


def test_only_keeps_the_controls():
    found = resolved(only={"method": ["cvae"], "attack": ["nearest_distance"]})
    assert [m.name for m in found.methods] == ["holdout", "identity", "cvae"]
    assert [a.name for a in found.attacks] == ["nearest_distance", "blind"]
    one = resolved(only={"method": ["k_same(k=5)"]})
    assert [m.label for m in one.methods] == ["holdout", "identity", "k_same(k=5)"]


@pytest.mark.parametrize(
    ("changes", "only", "message"),
    [
        ({"methods": ["k_sam"]}, None, r"suite mine: methods\.0: unknown method 'k_sam'"),
        (
            {"attacks": [{"name": "linkage", "params": {"x": 1}}]},
            None,
            r"attacks\.0: .*unknown parameter 'x'",
        ),
        (
            {"datasets": [{"name": "files", "params": {"path": "/nowhere.npz"}}]},
            None,
            r"datasets\.0: .*/nowhere\.npz",
        ),
        (
            {"datasets": ["digits", "digits"]},
            None,
            r"two entries are called 'digits'. Give one of them a `label:`",
        ),
        ({"methods": ["noise", "noise"]}, None, r"methods: noise is listed twice"),
        (
            {"methods": [{"name": "gaussian_mean", "space": "image"}]},
            None,
            r"methods\.0: 'gaussian_mean' does not work on image",
        ),
        (
            {"datasets": [{"name": "gaussian", "features": ["pixels"]}]},
            None,
            r"datasets\.0: features: 'gaussian' holds features already",
        ),
        (
            {"perturbations": [{"name": "gaussian_noise", "severities": [9]}]},
            None,
            r"perturbations\.0\.severities: must be in 1 … 5\. Got \[9\]",
        ),
        ({}, {"method": ["cvea"]}, r"--only method=cvea matches nothing\. Allowed: .*cvae"),
        ({}, {"dataset": ["mnist"]}, r"--only dataset=mnist matches nothing\. Allowed: digits"),
    ],
)
def test_what_is_wrong_is_named_before_anything_runs(changes, only, message):
    with pytest.raises(SuiteError, match=message):
        resolved(only, **changes)


def test_works_on_what_the_suite_asks_for_or_on_features_where_it_can():
    methods = [{"name": "noise", "space": "image"}, "noise", "gan", "latent_walk"]
    found = {m.label: m for m in resolved(methods=methods).methods}
    assert found["noise@image"].works_on == "image"
    assert found["noise"].works_on == "feature"
    assert found["gan"].works_on == "image"
    assert [b.name for b in found["latent_walk"].bases()] == ["latent_projections", "gan"]
    assert list(found["gan"].bases()) == []


def test_a_suite_may_name_any_method_a_control():
    methods = [{"name": "noise", "control": True}, "k_same"]
    found = {m.name: m for m in resolved(methods=methods).methods}
    assert found["noise"].control and not found["noise"].calibrates
    assert found["identity"].control and not found["k_same"].control
