"""The table of a paper's claims: both figures, the verdicts, escaped, and nothing where none is made."""

import json

import pytest
from leaderboard_data import NASTY, make_curves, make_info, make_results

import leaderboards
from leaderboards.site import render

NAN = float("nan")


def row(verdict="reproduced", **changes):
    return {
        **{
            "dataset": "digits",
            "features": "pixels",
            "figure": "auroc",
            "relation": ">=",
            "reason": "",
        },
        **{"left": "cvae", "left_value": 0.913, "left_low": 0.9, "left_high": 0.92},
        **{
            "right": "k_same(k=5)",
            "right_value": 0.871,
            "right_low": NAN,
            "right_high": NAN,
        },
        **{"difference": 0.042, "ci_low": 0.031, "ci_high": 0.053, "ci_method": "paired by seed"},
        **{"n_seeds": 3, "verdict": verdict},
        **changes,
    }


CLAIMS = [
    {
        **{"id": "utility", "text": "As useful as k-Same", "source": NASTY, "margin": 0.01},
        **{"paper": f".828 {NASTY}", "differs": f"28 pixels {NASTY}", "verdict": "in part"},
        "places": [
            {
                "dataset": "digits",
                "features": "pixels",
                "verdict": "reproduced",
                "counts": {"reproduced": 1},
            },
            {
                "dataset": NASTY,
                "features": "pixels",
                "verdict": "undecided",
                "counts": {"undecided": 2},
            },
        ],
        "rows": [
            row(),
            row("not reproduced", dataset=NASTY),
            row("undecided", seeds_needed=33.0),
            row("set aside", relation="within", reason="auc by worst_case 0.9, above 0.55"),
        ],
    },
    {
        **{"id": "none", "text": "Unheard of", "source": "", "margin": 0.0, "verdict": "no figure"},
        "rows": [
            row(
                "no figure",
                **dict.fromkeys(("left_value", "left_low", "left_high", "right_value"), NAN),
                **dict.fromkeys(("difference", "ci_low", "ci_high"), NAN),
                **{"n_seeds": 0, "dataset": "", "reason": "no figure for auroc of gan"},
            )
        ],
    },
]


@pytest.fixture(scope="module")
def info():
    return {**make_info(), "claims": CLAIMS}


def test_both_figures_the_difference_and_the_verdict_are_shown(info):
    page = render(make_results(), make_curves(), info)
    section = page[page.index('<section id="claims"') :]
    section = section[: section.index("</section>")]
    for text in ("0.913", "[0.900, 0.920]", "0.871", "0.0420", "[0.0310, 0.0530]", "3 seeds"):
        assert text in section
    assert '≥<span class="also">within 0.01</span>' in section and "&gt;=" not in section
    assert "0 reproduced, 1 in part, 0 not reproduced, 0 undecided, 1 no figure, of 2." in section
    assert section.count("✓ reproduced") == 1
    assert section.count("✕ not reproduced") == 1
    assert "about 33 seeds would decide" in section
    assert '=<span class="also">within 0.01</span>' in section, "the relation of a published figure"
    assert "auc by worst_case 0.9, above 0.55" in section
    assert "In the paper: .828" in section and "What differs here: 28 pixels" in section
    assert "digits as pixels: reproduced (1 reproduced)" in section
    assert "no figure for auroc of gan" in section
    assert "nan" not in section
    assert NASTY not in section
    assert 'href="#claims"' in page


def test_no_section_where_the_suite_claims_nothing():
    page = render(make_results(), make_curves(), make_info())
    assert "#claims" not in page and 'id="claims"' not in page


def test_json_has_the_claims_without_nan(info, tmp_path):
    leaderboards.write_json(make_results(), info, tmp_path)
    claims = json.loads((tmp_path / "leaderboard.json").read_text(encoding="utf-8"))["claims"]
    assert [c["verdict"] for c in claims] == ["in part", "no figure"]
    assert claims[0]["rows"][0]["right_low"] is None
    assert claims[0]["rows"][0]["difference"] == 0.042


def test_a_claim_about_perturbed_records_stands_beside_their_curves():
    figure = "macro_auroc by linear_probe, under gaussian_noise (severities: all)"
    rows = [row("not reproduced", figure=figure, left=NASTY), row(figure="clean auroc")]
    rows[0]["relation"] = ">"
    claim = {"id": "robust", "text": f"More robust {NASTY}", "source": "", "margin": 0.02}
    info = {**make_info(), "claims": [{**claim, "verdict": "not reproduced", "rows": rows}]}
    page = render(make_results(), make_curves(), info)
    digits, phantom = page.split('class="group"')[1:3]
    assert digits.count("A claim about these figures") == 1
    table = digits.split('class="claim"')[1].split("</table>")[0]
    assert table.count("not reproduced") == 1 and "0.913" in table and "0.0420" in table
    assert "clean auroc" not in table and NASTY not in page
    assert "Macro AUROC by linear_<wbr>probe, under gaussian_<wbr>noise" in table
    assert '&gt;<span class="also">by more than 0.02</span>' in table
    assert "A claim about these figures" not in phantom


def test_datasets_that_were_left_out_are_named():
    info = {**make_info(), "left_out": ["breastmnist", NASTY]}
    page = render(make_results(), make_curves(), info)
    assert "Left out, for their files were not there: breastmnist, " in page and NASTY not in page
