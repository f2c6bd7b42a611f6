"""Releases that were not made from the members are found out, and the rows beside them stay as they were."""

import json

import pytest

LABELS = ("k_same(k=4)", "noise(scale=0.3)")

CHEATS = [
    "public_copy",
    {"name": "public_copy", "params": {"share": 0.2}},
    "finished",
    "finished_part",
    "giant",
    "wide_labels",
    "peeping",
]


@pytest.fixture(scope="module")
def hostile_run(run_suite):
    return run_suite({"methods": CHEATS}, check=1)


@pytest.fixture(scope="module")
def table(hostile_run, ranks):
    return ranks(hostile_run)


@pytest.mark.parametrize("label", ["public_copy", "public_copy(share=0.2)"])
def test_a_release_of_records_it_cannot_have_seen_is_void(table, label):
    row = table.loc[label]
    assert row["verdict"] == "void"
    assert "released records it cannot have seen" in row["unranked"]
    assert not row["ranked"]


@pytest.mark.parametrize("label", ["finished", "finished_part"])
def test_a_wrapped_release_is_not_judged(table, label):
    row = table.loc[label]
    assert row["verdict"] == "not judged"
    assert "does not respond to its members" in row["unranked"]
    assert not row["ranked"] and not row["pareto"]


def test_a_wrapped_release_is_found_with_one_seed_and_is_too_useful(cli, cheats, ranks, tmp_path):
    # Its decoy is the second release. Thirty members teach less than a release that was made from the whole dataset.
    game = {"candidates": 60, "auxiliary": 60, "holdout": 60, "validation": 60, "test": 300}
    suite = {
        "name": "wrapped",
        "seeds": 1,
        "limits": {"release_size": 100},
        "datasets": [{"name": "digits", "game": game}],
        "methods": ["finished", "public_whole", {"name": "noise", "params": {"scale": 0.3}}],
        "attacks": ["nearest_distance"],
        "utilities": ["linear_probe"],
    }
    (tmp_path / "suite.yaml").write_text(json.dumps(suite))
    where = ("--suite", tmp_path / "suite.yaml", "--out", tmp_path / "run")
    said = cli("run", *where, check=0, path=[cheats]).stdout
    table = ranks(tmp_path / "run")
    row = table.loc["finished"]
    assert row["verdict"] == "not judged"
    assert "for the members of seed 0 and of other coins of its candidates" in row["unranked"]
    assert "warning finished: more useful than the members themselves" in said
    assert row["warning"] in (tmp_path / "run" / "site" / "index.html").read_text()
    # One that holds the test records is too useful too; one that was made from the members is not.
    assert "more useful than the members themselves" in table.loc["public_whole", "warning"]
    assert table.loc["noise(scale=0.3)", "warning"] == ""


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ("giant", "a release may hold 20 records for each of"),
        ("wide_labels", "soft_labels must have one column for each of 10 classes. Got 64"),
        ("peeping", "asks for the hold-out records, which only the project's own controls may see"),
    ],
)
def test_what_no_release_may_hold_and_no_method_may_see_is_refused(table, label, why):
    row = table.loc[label]
    assert row["verdict"] == "incomplete" and not row["ranked"]
    assert why in row["unranked"]


def test_a_plugin_is_no_control_for_saying_so(run_suite, ranks):
    # In a run of its own: it is a row like any other, which the others are compared with.
    table = ranks(run_suite({"methods": ["false_control"], "seeds": 1}))
    row = table.loc["false_control"]
    assert row["verdict"] == "leak" and row["ranked"] and not row["control"]
    assert table.loc["identity", "control"].all()


@pytest.mark.slow
def test_a_suite_may_call_it_one(run_suite, ranks):
    named = {"name": "false_control", "control": True}
    table = ranks(run_suite({"methods": [named], "seeds": 1}))
    assert table.loc["false_control", "control"] and not table.loc["false_control", "ranked"]


def test_the_page_says_so(hostile_run):
    page = (hostile_run / "site" / "index.html").read_text()
    assert "not judged" in page and "near-copies of non-members" in page


def test_honest_rows_are_untouched(hostile_run, honest_run, figures, table, ranks):
    assert figures(hostile_run) == figures(honest_run)
    alone = ranks(honest_run)
    honest = list(LABELS)
    assert table.loc[honest, "verdict"].equals(alone.loc[honest, "verdict"])
