"""Audits of releases whose generator can be called, or is named: more access sees more, and never by mistake."""

import json

import numpy as np
import pytest

from benchmark import audit
from benchmark.cli import main
from benchmark.contracts import LeakboardError

D, N = 6, 150

CODE = """
import numpy as np

real = np.load("model.npz")["features"]

def draw(n, seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(real), n)
    return {"features": real[rows] + rng.normal(0, 0.3, (n, real.shape[1])), "labels": rows % 2}

def fresh(n, seed):
    rng = np.random.default_rng([seed, 1])  # not the house's own
    return {"features": rng.standard_normal((n, real.shape[1])), "labels": rng.integers(0, 2, n)}

def raises(n, seed):
    raise RuntimeError("no weights in /home/somebody/model.pt")

def unlabelled(n, seed):
    return np.random.default_rng(seed).standard_normal((n, real.shape[1]))

def wider(n, seed):
    return {"features": np.zeros((n, 9)), "labels": np.zeros(n, int)}
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """Members, controls, a population and a release that tells nothing; a model that keeps its members by heart."""
    root = tmp_path_factory.mktemp("house")
    rng = np.random.default_rng(0)
    for name, n in (("members", N), ("controls", N), ("population", 300), ("release", N)):
        arrays = {"features": rng.standard_normal((n, D)), "labels": np.arange(n) % 2}
        np.savez(root / f"{name}.npz", **arrays)
        if name == "members":
            np.savez(root / "model.npz", **arrays)
    (root / "my_model.py").write_text(CODE)
    return root


@pytest.fixture
def audited(house, monkeypatch, tmp_path):
    """``audited(…)``: the result of an audit in the house."""
    monkeypatch.chdir(house)

    def of(release="release.npz", **more):
        given = {name: f"{name}.npz" for name in ("members", "controls", "population")}
        less = {"attacks": ["sampled"], "utilities": [], "jobs": 1, "out": tmp_path / "out"}
        return audit(release=release, **{**given, **less, **more})

    return of


PLAN = """
releases:
  plain: release.npz
  drawn: {path: release.npz, sampler: "my_model:draw"}
  fresh: {path: release.npz, sampler: "my_model:fresh"}
  elsewhere: {path: release.npz, draws: draws.npz}
  raises: {path: release.npz, sampler: "my_model:raises"}
  unlabelled: {path: release.npz, sampler: "my_model:unlabelled"}
  wider: {path: release.npz, sampler: "my_model:wider"}
  named: {path: members.npz, method: {name: noise, params: {scale: 0.1}}}
  misnamed: {path: release.npz, method: {name: noise, params: {scale: 0.1}}}
  ours: {method: {name: noise, params: {scale: 0.05}}}
members: members.npz
controls: controls.npz
population: population.npz
attacks:
  - nearest_distance
  - {name: sampled, params: {draws: 1000, reference: false}}
  - {name: lira, params: {shadows: 8}}
utilities: []
n_draws: 1000
"""


@pytest.fixture(scope="module")
def planned(house):
    """One audit of ten releases, whose generators are known in all ways: its folder and its result."""
    rows = np.random.default_rng(5).integers(0, N, 2000)
    draws = np.load(house / "members.npz")["features"][rows]
    np.savez(house / "draws.npz", features=draws, labels=rows % 2)
    (house / "plan.yaml").write_text(PLAN)
    out = house / "planned"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(house)
        with pytest.raises(SystemExit) as stopped:
            main(["audit", "--plan", "plan.yaml", "--out", str(out)])
    assert stopped.value.code == 3
    return out, json.loads((out / "audit.json").read_text(encoding="utf-8"))


@pytest.fixture
def release_of(planned):
    """A release of that audit, with its evidence by attack and test."""
    _, result = planned
    by_label = {r["label"]: r for r in result["releases"]}

    def of(label):
        found = by_label[label]
        evidence = {(e["attack"].partition("(")[0], e["test"]): e for e in found["evidence"]}
        return found, evidence

    return of


def test_what_is_known_of_a_generator_opens_access(planned, release_of):
    access = {r["label"]: (r["access"], r["maker"], r["made_here"]) for r in planned[1]["releases"]}
    noise = "noise(scale={})".format
    assert access == {
        **dict.fromkeys(("plain", *WHY_NOT), ("records", "", False)),
        **dict.fromkeys(("drawn", "fresh", "elsewhere"), ("sampler", "", False)),
        **dict.fromkeys(("named", "misnamed"), ("records", noise(0.1), False)),
        "ours": ("records", noise(0.05), True),
    }
    assert ("sampled", "auc") not in release_of("plain")[1]


def test_a_generator_that_knows_its_members_is_found_by_its_draws_where_its_release_tells_nothing(
    release_of,
):
    plain, drawn = release_of("plain"), release_of("drawn")
    assert plain[0]["answer"] == "no leak found" and drawn[0]["answer"] == "leak"
    assert drawn[1]["sampled", "auc"]["value"] > 0.9
    alike = "nearest_distance", "auc"
    assert drawn[1][alike]["value"] == plain[1][alike]["value"]


def test_draws_that_know_nobody_are_accepted(release_of):
    found, evidence = release_of("fresh")
    assert found["answer"] == "no leak found"
    assert abs(evidence["sampled", "auc"]["value"] - 0.5) < 0.1
    assert evidence["equal draws", "flags"]["value"] == 0


def test_draws_that_were_made_elsewhere_do_as_well(release_of):
    _, evidence = release_of("elsewhere")
    assert evidence["sampled", "auc"]["value"] > 0.95
    equal = evidence["equal draws", "flags"]
    assert equal["value"] == 1.0 and equal["found"], "members are drawn as they are"
    assert evidence["equal records", "verbatim"]["value"] == 0, "but not released"


WHY_NOT = {
    "raises": "RuntimeError: no weights in [name left out]",
    "unlabelled": "the draws of unlabelled name no class, but all other records do",
    "wider": "has 9 features, but",
}


def test_generators_that_fail_are_said_and_the_releases_judged_by_their_records(
    planned, release_of
):
    folder, result = planned
    said = {n["what"]: n["why"] for n in result["not_tried"]}
    report = (folder / "report.html").read_text(encoding="utf-8")
    for function, why in WHY_NOT.items():
        assert why in said[f"draws of the generator of {function}"]
        assert f"draws of the generator of {function}" in report.lower()
        assert release_of(function)[0]["answer"] == "no leak found"
    assert "model.pt" not in report and "draws-" not in report
    draws = folder / "private/draws"
    assert draws.stat().st_mode & 0o777 == 0o700 and (draws / "draws-1.npz.log").is_file()


def test_attacks_learn_from_models_of_a_named_method(release_of):
    """The release is the members themselves: what shadows teach tells all. Of a fresh sample it tells nothing."""
    assert release_of("named")[1]["lira", "auc"]["value"] > 0.9
    found, evidence = release_of("misnamed")
    assert found["answer"] == "no leak found"
    assert abs(evidence["lira", "auc"]["value"] - 0.5) < 0.1


def test_a_method_makes_the_release_here_which_can_then_be_published(planned, release_of, audited):
    folder, _ = planned
    found, evidence = release_of("ours")
    assert found["answer"] == "leak" and found["n_records"] == N
    stored = folder / "private/made/release-1.npz"
    assert stored.stat().st_mode & 0o777 == 0o600
    assert np.load(stored)["classes"].tolist() == ["0", "1"]
    again = audited(release=stored, attacks=["nearest_distance"])
    alike = {e.attack: e.value for e in again.releases[0].evidence if e.test == "auc"}
    assert alike == {"nearest_distance": evidence["nearest_distance", "auc"]["value"]}


def test_the_report_says_what_the_attacks_had_of_each_generator(planned):
    report = (planned[0] / "report.html").read_text(encoding="utf-8")
    assert "of the generator of drawn it gets more draws" in report
    assert "models of noise(scale=0.1), which the release of named is said to be of" in report
    assert "the release of ours was made by this audit with noise(scale=0.05)" in report


BAD = [
    (["--sampler", "my_model"], "module:function, such as my_generator:draw"),
    (["--sampler", "nowhere_here:draw"], "the sampler nowhere_here:draw cannot be had"),
    (["--sampler", "my_model:draw", "--draws", "release.npz"], "leave one of the two out"),
    (
        ["--sampler", "my_model:draw", "--release", "members.npz"],
        "--sampler is of one release, and 2",
    ),
    (["--method", "cva"], "unknown method 'cva'. Did you mean"),
    (["--method", "cvae", "--param", "epoch=3"], "epoch"),
    (["--method", "cvae", "--param", "epochs"], "--param is name=value, such as epochs=50"),
    (["--param", "epochs=3"], "--param is of a --method, and none is named"),
    (["--method", "identity"], "identity is a control and generates nothing"),
    (["--method", "gan"], "gan"),
    (["--draws", "nowhere.npz"], "nowhere.npz"),
    (["--attack", "nearest"], "Did you mean"),
]


@pytest.mark.parametrize(("more", "said"), BAD, ids=[" ".join(more) for more, _ in BAD])
def test_what_cannot_be_asked_is_refused_and_nothing_is_judged(
    house, monkeypatch, tmp_path, capsys, more, said
):
    monkeypatch.chdir(house)
    given = ["--release", "release.npz", "--members", "members.npz", "--controls", "controls.npz"]
    with pytest.raises(SystemExit) as stopped:
        main(["audit", *given, *more, "--privacy-alone", "--out", str(tmp_path / "out")])
    captured = capsys.readouterr()
    assert stopped.value.code == 2 and said in " ".join(captured.err.split())
    assert "Traceback" not in captured.err and not (tmp_path / "out/audit.json").exists()


def test_without_controls_a_generator_tells_nothing(audited):
    with pytest.raises(LeakboardError, match="tell members from controls, and there are none"):
        audited(sampler="my_model:draw", controls=None)
