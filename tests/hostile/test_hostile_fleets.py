"""Fleets that are unlike single fits are found by name, by ``check`` and in a run; so are ignored members."""

import pandas as pd
import pytest

LIRA = {"seeds": 1, "attacks": [{"name": "lira", "params": {"shadows": 16}}]}
UNTRUE = ["swapped_fleet", "vague_fleet", "weary_fleet"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("swapped_fleet", "fit_many is unlike fit on feature records"),
        ("vague_fleet", "fit_many is unlike fit on feature records"),
        ("finished", "does not respond to its members"),
    ],
)
def test_check_says_by_name_what_is_wrong(cli, cheats, name, why):
    told = cli("check", "methods", name, check=1, path=[cheats])
    failed = [line for line in told.stdout.splitlines() if line.lstrip().startswith("failed")]
    assert len(failed) == 1 and f"{name} " in failed[0].replace(":", " ") and why in failed[0]


@pytest.fixture(scope="module")
def hostile_run(run_suite):
    return run_suite({**LIRA, "methods": [*UNTRUE, "giant_fleet", "wide_fleet"]}, check=1)


@pytest.fixture(scope="module")
def table(hostile_run, ranks):
    return ranks(hostile_run)


@pytest.fixture(scope="module")
def cells(hostile_run):
    """Rows of the attacks over all seeds, by method and attack."""
    frame = pd.read_parquet(hostile_run / "results.parquet")
    frame = frame[(frame["metric"] == "auc") & frame["seed"].isna() & (frame["subgroup"] == "")]
    return frame.set_index(["method", "attack"])


@pytest.mark.parametrize("name", UNTRUE)
def test_attacks_learn_nothing_from_untrue_shadows(cells, table, name):
    cell = cells.loc[(name, "lira")]
    assert cell["status"] == "void"
    assert f"its shadows are unlike single fits of {name}" in cell["reason"]
    assert cells.loc[(name, "nearest_distance")]["status"] == "ok"
    # A worst case without the strongest attack ranks nowhere, and the leak that others show stands.
    row = table.loc[name]
    assert not row["ranked"] and "lira(shadows=16): void, its shadows are unlike" in row["unranked"]
    assert row["verdict"] == "leak"


@pytest.mark.slow
def test_who_merely_does_not_repeat_itself_may_be_learnt_from(run_suite, ranks):
    # In a run of its own: it is a row like any other, which the others are compared with.
    table = ranks(run_suite({**LIRA, "methods": ["chancy_fleet"]}))
    assert table.loc["chancy_fleet", "ranked"] and table.loc["chancy_fleet", "verdict"] == "leak"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("giant_fleet", "a release may hold 20 records for each of"),
        ("wide_fleet", "soft_labels must have one column for each of 10 classes. Got 64"),
    ],
)
def test_shadows_may_hold_no_more_than_releases(table, name, why):
    assert not table.loc[name, "ranked"] and why in table.loc[name, "unranked"]


def test_the_board_says_so(hostile_run):
    page = (hostile_run / "site" / "index.html").read_text()
    assert "its shadows are unlike single fits of weary_fleet" in page


def test_honest_rows_are_untouched(hostile_run, run_suite, figures, table, ranks):
    alone = run_suite(LIRA)
    assert figures(hostile_run) == figures(alone)
    honest = ["k_same(k=4)", "noise(scale=0.3)"]
    assert table.loc[honest, "verdict"].equals(ranks(alone).loc[honest, "verdict"])
    lira = pd.read_parquet(hostile_run / "results.parquet")
    lira = lira[lira["method"].isin(["k_same", "noise"]) & (lira["attack"] == "lira")]
    assert len(lira) and set(lira["status"]) == {"ok"}
