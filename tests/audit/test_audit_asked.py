"""What an audit is asked: a plan says the same as options, and what is wrong with it is said at once."""

import json

import pytest
from cohorts import pictures, write_cohort, write_folder

from benchmark.audit.asked import Asked, read_asked
from benchmark.audit.inputs import AuditError
from benchmark.cli import main


def test_every_field_goes_where_it_belongs(tmp_path):
    plan = tmp_path / "plans" / "audit.yaml"
    plan.parent.mkdir()
    plan.write_text(
        "name: spring\nreleases: {eps 1: ../a, eps 8: /b.npz}\nmembers: m\ncontrols: c\n"
        "population: p\ntest: t\ncoins: coins.json\npatient_from: '(?P<patient>x)'\nsize: 64\n"
        "window: [0, 4095]\nfeatures: [pixels]\nattacks: [nearest_distance]\nutilities: []\n"
        "accept: 0.6\nseed: 7\nmax_gb: 2\n"
    )
    asked = read_asked(plan)
    places, reading, options = asked.places(), asked.reading(), asked.options(2, "cpu")
    assert {k: str(v) for k, v in places.releases.items()} == {
        "eps 1": str(plan.parent / "../a"),
        "eps 8": "/b.npz",
    }
    assert places.coins == plan.parent / "coins.json" and places.members == plan.parent / "m"
    assert (reading.size, reading.window, reading.max_gb) == (64, (0, 4095), 2)
    assert (options.name, options.accept, options.seed, options.jobs) == ("spring", 0.6, 7, 2)
    assert [a.name for a in options.attacks] == ["nearest_distance"] and options.utilities == ()


def test_releases_are_named_by_the_plan_or_numbered():
    assert list(Asked(releases="a", members="m").releases) == ["release"]
    assert list(Asked(releases=["a"], members="m").releases) == ["release"]
    assert list(Asked(releases=["a", "b"], members="m").releases) == ["release 1", "release 2"]


WRONG = [
    ("members: m\n", ["releases: missing. Every audit needs it"]),
    ("releases: a\nmembrs: m\n", ["membrs: unknown key. Did you mean 'members'?", "members: mis"]),
    ("releases: a\nmembers: m\naccept: 2\n", ["accept: input should be less than 1. Got 2"]),
    ("releases: {}\nmembers: m\n", ["releases: ", "at least 1 item"]),
    ("releases: a\nmembers: m\nname: ../up\n", ["name: string should match pattern"]),
    ("releases: a\nmembers: m\nsize: big\nseed: -1\n", ["size: ", "seed: "]),
    ("- a\n", ["must be a mapping with releases and members. Got list"]),
    ("releases: a\nreleases: b\n", ["is not valid YAML", "key 'releases' is given twice"]),
    ("releases: [a\n", ["is not valid YAML"]),
    ("releases: a\nmembers: m\nwindow: [5, 1]\n", ["a window must rise"]),
]


@pytest.mark.parametrize("text, said", WRONG)
def test_a_wrong_plan_is_status_2_and_nothing_is_written(text, said, tmp_path, capsys, monkeypatch):
    plan = tmp_path / "audit.yaml"
    plan.write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["audit", "--plan", str(plan)])
    error = " ".join(capsys.readouterr().err.split())
    assert stopped.value.code == 2 and "Traceback" not in error
    for part in said:
        assert part in error
    assert list(tmp_path.iterdir()) == [plan]


def test_a_plan_that_is_not_there_or_not_alone_is_refused(tmp_path, capsys):
    with pytest.raises(AuditError, match=r"cannot read .*nowhere\.yaml"):
        read_asked(tmp_path / "nowhere.yaml")
    with pytest.raises(SystemExit) as stopped:
        main(["audit", "--plan", "audit.yaml", "--accept", "0.6", "--members", "m"])
    assert stopped.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "and --accept, --members too. Write it into the plan" in said


@pytest.mark.slow
def test_a_plan_gives_the_result_of_the_same_options(tmp_path):
    given = write_cohort(tmp_path)
    given["other"] = write_folder(tmp_path / "other", pictures(40, 9))
    options = ["--release", given["release"], "--release", given["other"]]
    options += ["--members", given["members"], "--controls", given["controls"], "--seed", "3"]
    options += ["--attack", "nearest_distance", "--privacy-alone", "--accept", "0.7"]
    (tmp_path / "audit.yaml").write_text(
        "releases: [release, other]\nmembers: members\ncontrols: controls\nseed: 3\n"
        "attacks: [nearest_distance]\nutilities: []\naccept: 0.7\n"
    )
    results = []
    for i, more in enumerate((options, ["--plan", tmp_path / "audit.yaml"])):
        with pytest.raises(SystemExit):
            main(["audit", *map(str, more), "--out", str(tmp_path / f"out{i}")])
        results.append((tmp_path / f"out{i}/audit.json").read_text())
    assert results[0] == results[1]
    found = json.loads(results[0])
    assert [release["label"] for release in found["releases"]] == ["release 1", "release 2"]
    assert "of seed 3" in " ".join(found["notes"])
