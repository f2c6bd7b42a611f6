"""From inputs to the result: what plugins say stays in the house, and copies of members who are no candidates count."""

import numpy as np
import pytest
from cohorts import pictures

from benchmark import audit
from benchmark.audit import perform
from benchmark.audit.perform import why_none
from benchmark.audit.report import render_report
from benchmark.contracts import Records

SECRET = "Anna Schmidt born 1961-02-03, pixel 17 of ward7"
ATTACKS = ("nearest_distance", "near_duplicate", "attribute_inference")


@pytest.mark.parametrize(
    ("status", "built_in", "why"),
    [
        ("failed", True, "failed (ValueError); what it said is kept in private/nodes"),
        ("crashed", True, "crashed (ValueError); what it said is kept in private/nodes"),
        ("not applicable", False, "not applicable (ValueError); what it said is kept in private"),
        ("void", True, "ValueError: Anna Schmidt"),
        ("ok", True, ""),
    ],
)
def test_of_an_error_its_kind_is_told(status, built_in, why):
    told = why_none(status, f"ValueError: {SECRET}" if status != "void" else why + " (note)")
    assert told.startswith(why) and (SECRET not in told)


def test_our_own_plugins_say_why_they_do_not_apply():
    why = why_none("not applicable", "needs two classes. Got /data/ward7/p007.png.", built_in=True)
    assert why == "not applicable: needs two classes. Got [name left out]"
    assert why_none("failed", SECRET) == "failed; what it said is kept in private/nodes"


def test_no_message_of_a_plugin_is_shown(monkeypatch):
    real = perform.cell_status

    def failing(plan, records, cell):
        if cell.attack is not None and cell.attack.name == "nearest_distance":
            return "failed", f"RuntimeError: {SECRET}"
        return real(plan, records, cell)

    monkeypatch.setattr(perform, "cell_status", failing)
    found = {n: pictures(60, i) for i, n in enumerate(("release", "members", "controls"))}
    report = audit(**found, attacks=ATTACKS[:2], utilities=())
    shown = report.to_json() + render_report(report) + report._repr_html_()
    for part in ("Anna", "1961", "ward7"):
        assert part not in shown
    assert "failed (RuntimeError); what it said is kept in private/nodes" in shown


@pytest.mark.slow
def test_copies_of_members_who_are_no_candidates_are_counted():
    """A member who is nearly a control is no candidate; the record of one is released all the same."""
    members, controls, release = (pictures(60, i) for i in range(3))
    controls[0] = members[0]
    controls[0, 0, 0] ^= 1
    release[5] = members[0]
    report = audit(
        release=release, members=members, controls=controls, attacks=ATTACKS[:1], utilities=()
    )
    assert report.n_members == 59 and report.n_given("members") == 60
    (judged,) = report.releases
    verbatim = next(e for e in judged.evidence if e.test == "verbatim")
    assert report.answer == "leak" and verbatim.found and judged.n_exposed == 1
    assert verbatim.value == pytest.approx(1 / 60)


@pytest.mark.slow
def test_what_copies_let_be_inferred_is_the_third_risk():
    """Labels that no picture tells: half of a copy gives its label away, and of a fresh release nothing."""
    rng = np.random.default_rng(0)
    cohort = {
        name: Records(pictures(120, i)[..., None], rng.integers(0, 8, 120))
        for i, name in enumerate(("members", "controls", "fresh"))
    }
    sides = {name: cohort[name] for name in ("members", "controls")}
    releases = {"copies": cohort["members"], "fresh": cohort["fresh"]}
    report = audit(release=releases, **sides, attacks=ATTACKS[2:], utilities=())
    table = report.table[report.table["risk"] == "inference"].set_index(["release", "test"])
    assert table.loc["copies"]["found"].all() and not table.loc["fresh"]["found"].any()
    assert table.loc[("copies", "flags"), "value"].item() > 0.95
    assert table.loc[("copies", "flags"), "share_of_controls"].item() < 0.35
