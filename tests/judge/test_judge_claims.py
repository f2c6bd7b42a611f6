"""Claims are judged by the difference of two figures, paired by seed; all cases computed by hand."""

from math import isnan, sqrt

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from benchmark.judge.claims import (
    claims_frame,
    claims_summary,
    difference,
    judge_claim,
    judge_claims,
    overall,
    seeds_to_decide,
    verdict,
)
from benchmark.judge.results import COLUMNS
from benchmark.statistics import Estimate
from benchmark.suite import Claim, Suite, SuiteError, load_suite

NAN = float("nan")


def table(*rows):
    """The results' table with these rows; what they leave out is as for a clean utility on digits."""
    empty = {
        name: NAN
        if kind == "float64"
        else pd.NA
        if kind == "Int64"
        else ""
        if kind == "string"
        else 0
        for name, kind in COLUMNS.items()
    }
    common = {"dataset": "digits", "features": "pixels", "utility": "probe", "status": "ok"}
    columns = {**COLUMNS, "subgroup": "string"}
    rows = [{**empty, "subgroup": "", **common, **row} for row in rows]
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def figure(method, seed, value, half=NAN, metric="auroc", **more):
    limits = {"ci_low": value - half, "ci_high": value + half, "ci_method": "made up"}
    return {
        "method": method.partition("(")[0],
        "method_label": method,
        "metric": metric,
        "seed": seed,
        "value": value,
        **limits,
        **more,
    }


def claim(relation=">=", margin=0.0, left="cvae", right="k_same", **more):
    figures = {"left": left, "right": right}
    figures = {
        side: {"method": name, "metric": "auroc"} if isinstance(name, str) else name
        for side, name in figures.items()
    }
    return Claim(id="c", text="a is good", relation=relation, margin=margin, **figures, **more)


# ---------------------------------------------------------------- the difference and the verdict


def test_limits_of_a_difference_add_in_squares_side_by_side():
    """0.8 (−0.3, +0.04) minus 0.5 (−0.03, +0.4)."""
    found = difference(Estimate(0.8, 0.5, 0.84, ""), Estimate(0.5, 0.47, 0.9, ""))
    assert found.value == pytest.approx(0.3)
    assert (found.low, found.high) == pytest.approx((0.3 - 0.5, 0.3 + 0.05))


@pytest.mark.parametrize(
    ("relation", "margin", "low", "high", "expected"),
    [
        (">=", 0.0, 0.0, 0.2, "reproduced"),
        (">=", 0.0, -0.01, 0.2, "undecided"),
        (">=", 0.02, -0.01, 0.2, "reproduced"),
        (">=", 0.02, -0.2, -0.01, "undecided"),
        (">=", 0.02, -0.2, -0.03, "not reproduced"),
        (">", 0.0, 0.0, 0.2, "undecided"),
        (">", 0.0, 0.01, 0.2, "reproduced"),
        (">", 0.05, 0.01, 0.2, "undecided"),
        (">", 0.05, 0.01, 0.05, "not reproduced"),
        ("<=", 0.0, -0.2, 0.0, "reproduced"),
        ("<=", 0.02, -0.2, 0.01, "reproduced"),
        ("<=", 0.02, 0.03, 0.2, "not reproduced"),
        ("<", 0.05, -0.2, -0.06, "reproduced"),
        ("<", 0.05, -0.2, -0.01, "undecided"),
        ("<", 0.0, 0.0, 0.2, "not reproduced"),
        (">", 0.0, NAN, NAN, "undecided"),
        ("within", 0.05, -0.05, 0.02, "reproduced"),
        ("within", 0.05, -0.06, 0.02, "undecided"),
        ("within", 0.05, -0.06, 0.06, "undecided"),
        ("within", 0.05, 0.04, 0.2, "undecided"),
        ("within", 0.05, 0.06, 0.2, "not reproduced"),
        ("within", 0.05, -0.2, -0.06, "not reproduced"),
    ],
)
def test_verdict_is_where_the_interval_lies(relation, margin, low, high, expected):
    assert verdict(claim(relation, margin), Estimate(0.0, low, high, "")) == expected


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["reproduced", "no figure"], "reproduced"),
        (["reproduced", "undecided"], "undecided"),
        (["undecided", "not reproduced", "reproduced"], "in part"),
        (["undecided", "not reproduced"], "not reproduced"),
        (["not reproduced", "set aside", "no figure"], "not reproduced"),
        (["reproduced", "set aside"], "reproduced"),
        (["no figure"], "no figure"),
        (["set aside"], "no figure"),
    ],
)
def test_a_claim_must_hold_everywhere(verdicts, expected):
    assert overall(verdicts) == expected


# ---------------------------------------------------------------- paired by seed


def test_pairing_by_seed_cancels_what_seeds_have_in_common():
    """Seeds differ by 0.3; at each the left is ahead by 0.02, 0.03 and 0.04: t-interval of those."""
    base = {0: 0.3, 1: 0.6, 2: 0.5}
    ahead = {0: 0.02, 1: 0.03, 2: 0.04}
    rows = [figure("cvae", s, base[s] + ahead[s]) for s in base]
    rows += [figure("k_same(k=5)", s, base[s]) for s in (2, 0, 1)]
    (found,) = judge_claim(table(*rows), claim(">"))
    half = student.isf(0.025, 2) * 0.01 / sqrt(3)
    assert found.difference.value == pytest.approx(0.03)
    assert (found.difference.low, found.difference.high) == pytest.approx(
        (0.03 - half, 0.03 + half)
    )
    assert found.verdict == "reproduced" and found.n_seeds == 3
    assert found.left_figure.value == pytest.approx(np.mean(list(base.values())) + 0.03)
    assert (found.left, found.right) == ("cvae", "k_same(k=5)")
    assert found.figure == "auroc by probe"


def test_errors_within_seeds_count():
    """The same differences, but each figure is known to ± 0.1 only: nothing is decided."""
    rows = [figure("cvae", s, 0.6 + 0.01 * s, 0.1) for s in range(3)]
    rows += [figure("k_same", s, 0.58, 0.1) for s in range(3)]
    (found,) = judge_claim(table(*rows), claim(">"))
    assert found.verdict == "undecided"
    assert found.difference.low < -0.08 and found.difference.high > 0.13


def test_limits_of_a_share_stay_below_one():
    rows = [figure("cvae", s, 0.98 + 0.005 * s, 0.02, metric="accuracy") for s in range(3)]
    wanted = {"method": "cvae", "metric": "accuracy"}
    (found,) = judge_claim(table(*rows), claim(left=wanted, right=0.5))
    assert found.left_figure.high == 1.0


def test_swapped_sides_give_the_opposite_verdict():
    rows = [figure("cvae", s, 0.9 + 0.01 * s, 0.02) for s in range(3)]
    rows += [figure("k_same", s, 0.6 + 0.01 * s, 0.02) for s in range(3)]
    verdicts = [
        judge_claim(table(*rows), claim(">", left=a, right=b))[0].verdict
        for a, b in (("cvae", "k_same"), ("k_same", "cvae"))
    ]
    assert verdicts == ["reproduced", "not reproduced"]


def test_only_seeds_that_have_both_figures_are_compared():
    rows = [figure("cvae", s, 0.7 + s, 0.01) for s in (0, 1, 5)]
    rows += [figure("k_same", s, 0.6 + s, 0.01) for s in (0, 1, 9)]
    (found,) = judge_claim(table(*rows), claim())
    assert found.n_seeds == 2
    assert found.difference.value == pytest.approx(0.1)
    (nothing,) = judge_claim(table(rows[2], rows[5]), claim())
    assert nothing.verdict == "no figure" and nothing.reason == "no seed has both figures"


def test_one_seed_decides_nothing():
    """However clear its own interval is: another seed would have trained another generator."""
    rows = [figure("cvae", 0, 0.9, 0.01), figure("k_same", 0, 0.5, 0.01)]
    (found,) = judge_claim(table(*rows), claim())
    assert found.difference.low > 0.3 and found.verdict == "undecided"
    more = [figure("cvae", 1, 0.9, 0.01), figure("k_same", 1, 0.5, 0.01)]
    assert judge_claim(table(*rows, *more), claim())[0].verdict == "reproduced"


def test_one_seed_is_judged_by_its_own_interval_and_undecided_without():
    (found,) = judge_claim(
        table(figure("cvae", 0, 0.8, 0.03), figure("k_same", 0, 0.7, 0.04)), claim()
    )
    assert (found.difference.low, found.difference.high) == pytest.approx((0.05, 0.15))
    (bare,) = judge_claim(table(figure("cvae", 0, 0.8), figure("k_same", 0, 0.7)), claim())
    assert bare.verdict == "undecided" and "more seeds" in bare.reason


def test_a_number_is_exact():
    rows = [figure("cvae", s, 0.7, 0.05) for s in range(3)]
    (found,) = judge_claim(table(*rows), claim(">", right=0.5))
    assert found.right == "a number" and found.right_figure.value == 0.5
    assert found.verdict == "reproduced"
    assert found.difference.high - found.difference.value <= 0.06


def test_a_summary_over_seeds_is_not_averaged_as_if_each_seed_had_its_own():
    """A worst case has one figure for all seeds: its error stays whole."""
    rows = [figure("cvae", s, 0.7, 0.001) for s in range(4)]
    rows.append(figure("k_same", pd.NA, 0.65, 0.08))
    (found,) = judge_claim(table(*rows), claim(">"))
    assert found.difference.low == pytest.approx(0.05 - 0.08, abs=0.005)
    assert found.verdict == "undecided"


# ---------------------------------------------------------------- which figures


def test_a_name_stands_for_every_variant_and_a_label_for_one():
    rows = [figure(m, 0, v, 0.01) for m, v in (("k_same(k=2)", 0.5), ("k_same(k=5)", 0.6))]
    rows += [figure(m, 0, v, 0.01) for m, v in (("cvae", 0.9), ("cvae(published_kl=true)", 0.1))]
    by_name = judge_claim(table(*rows), claim())
    assert [c.right for c in by_name] == [
        "k_same(k=2)",
        "k_same(k=5)",
    ]
    assert {c.left for c in by_name} == {"cvae"}, "the label itself is a variant"
    (by_label,) = judge_claim(table(*rows), claim(right="k_same(k=5)"))
    assert by_label.right_figure.value == 0.6
    (by_pattern,) = judge_claim(table(*rows), claim(left="cvae(*", right="k_same(k=2*"))
    assert by_pattern.left_figure.value == 0.1 and by_pattern.right_figure.value == 0.5
    assert judge_claim(table(*rows), claim(left="vae"))[0].verdict == "no figure"


def test_nothing_is_compared_with_itself():
    rows = [
        figure(m, s, v, 0.01) for s in range(2) for m, v in (("cvae(a=1)", 0.9), ("cvae(a=2)", 0.8))
    ]
    (found,) = judge_claim(table(*rows), claim(left="cvae(a=1*", right="cvae"))
    assert (found.left, found.right) == ("cvae(a=1)", "cvae(a=2)")


def test_two_metrics_are_both_named():
    rows = [figure("cvae", 0, 0.9, 0.01), figure("cvae", 0, 0.6, 0.01, metric="accuracy")]
    (found,) = judge_claim(table(*rows), claim(right={"method": "cvae", "metric": "accuracy"}))
    assert (found.left, found.right) == ("cvae: auroc by probe", "cvae: accuracy by probe")
    assert found.difference.value == pytest.approx(0.3)


def test_severities_of_a_seed_are_averaged_with_their_limits():
    rows = []
    for severity, value in ((0, 0.9), (1, 0.8), (2, 0.6)):
        more = {"perturbation": "noise" if severity else "", "severity": severity}
        rows += [figure("cvae", 0, value, 0.02 + 0.01 * severity, **more)]
        rows += [figure("k_same", 0, value - 0.1, 0.0, **more)]
    wanted = {"metric": "auroc", "perturbation": "noise"}
    (found,) = judge_claim(
        table(*rows), claim(left={"method": "cvae", **wanted}, right={"method": "k_same", **wanted})
    )
    assert found.left_figure.value == pytest.approx(0.7)
    assert found.left_figure.high - found.left_figure.value == pytest.approx(0.035)
    wanted = {**wanted, "severities": [2]}
    (one,) = judge_claim(table(*rows), claim(left={"method": "cvae", **wanted}, right=0.5))
    assert one.left_figure.value == pytest.approx(0.6)
    (clean,) = judge_claim(table(*rows), claim())
    assert clean.left_figure.value == pytest.approx(0.9)


def test_every_place_is_judged_by_itself_unless_the_claim_names_one():
    rows = [
        figure(m, s, v, 0.01, dataset=d)
        for s in range(2)
        for d, m, v in (
            ("digits", "cvae", 0.9),
            ("digits", "k_same", 0.8),
            ("other", "cvae", 0.7),
            ("other", "k_same", 0.8),
            ("images", "k_same", 0.8),
            ("nothing", "noise", 0.8),
        )
    ]
    found = {c.dataset: c for c in judge_claim(table(*rows), claim())}
    assert {d: c.verdict for d, c in found.items()} == {
        "digits": "reproduced",
        "other": "not reproduced",
        "images": "no figure",
    }
    assert found["images"].reason == "no figure for auroc of cvae here"
    (one,) = judge_claim(table(*rows), claim(dataset="other"))
    assert one.dataset == "other"
    (none,) = judge_claim(table(*rows), claim(left="gan", right="vae"))
    assert none.verdict == "no figure" and none.reason.endswith("in this run")


def test_void_and_failed_figures_do_not_count():
    rows = [figure("cvae", 0, 0.9, 0.01, status="void"), figure("k_same", 0, 0.8, 0.01)]
    assert judge_claim(table(*rows), claim())[0].verdict == "no figure"


def test_subgroups_are_left_out():
    rows = [figure(m, 0, v, 0.01) for m, v in (("cvae", 0.9), ("k_same", 0.8))]
    rows.append(figure("cvae", 0, 0.1, 0.01, subgroup="outliers"))
    (found,) = judge_claim(table(*rows), claim())
    assert found.left_figure.value == 0.9


def test_summary_has_one_verdict_a_claim():
    rows = [figure(m, s, v, 0.01) for s in range(2) for m, v in (("cvae", 0.9), ("k_same", 0.8))]
    rows += [figure("k_same(k=9)", s, 0.95, 0.01) for s in range(2)]
    variants = claim(right={"method": "k_same(k=9)", "metric": "auroc"})
    (summary,) = claims_summary(judge_claims(table(*rows), [claim(), variants]))
    assert (summary["verdict"], summary["reproduced"], len(summary["rows"])) == ("in part", 1, 2)


def test_a_verdict_names_its_data():
    """Ahead on digits, behind on the other: each has its verdict, and the whole is true in part."""
    rows = [
        figure(m, s, v, 0.01, dataset=d)
        for s in range(2)
        for d, m, v in (
            ("digits", "cvae", 0.9),
            ("digits", "k_same", 0.8),
            ("other", "cvae", 0.7),
            ("other", "k_same", 0.8),
        )
    ]
    (summary,) = claims_summary(judge_claims(table(*rows), [claim(paper=".8 against .7")]))
    assert summary["verdict"] == "in part" and summary["paper"] == ".8 against .7"
    assert [(p["dataset"], p["verdict"], p["counts"]) for p in summary["places"]] == [
        ("digits", "reproduced", {"reproduced": 1}),
        ("other", "not reproduced", {"not reproduced": 1}),
    ]


# ---------------------------------------------------------------- at equal leakage


def worst(method, value, half=0.02, access="records"):
    attack = {"utility": "", "attack": "worst_case", "attack_label": "worst_case"}
    return figure(method, pd.NA, value, half, metric="auc", access=access, **attack)


LEAK = {"metric": "auc", "attack": "worst_case"}


def test_what_leaks_more_is_set_aside():
    """k = 2 is ahead in utility and leaks; k = 5 leaks no more than the CVAE, and is behind."""
    useful = {"cvae": 0.8, "k_same(k=2)": 0.9, "k_same(k=5)": 0.7}
    rows = [figure(m, s, v, 0.01) for s in range(2) for m, v in useful.items()]
    rows += [worst("cvae", 0.55), worst("k_same(k=2)", 0.9), worst("k_same(k=5)", 0.56)]
    two, five = judge_claim(table(*rows), claim(among=LEAK))
    assert (two.verdict, five.verdict) == ("set aside", "reproduced")
    assert two.reason == "auc by worst_case 0.9, above 0.55"
    (summary,) = claims_summary([two, five])
    assert summary["verdict"] == "reproduced"
    within = claim(among={**LEAK, "margin": 0.4})
    assert judge_claim(table(*rows), within)[0].verdict == "not reproduced"


def test_a_leak_that_may_be_equal_is_compared():
    """0.60 ± 0.05 and 0.55 ± 0.02: the difference 0.05 is within its error of 0.054."""
    rows = [figure(m, s, v, 0.01) for s in range(2) for m, v in (("cvae", 0.8), ("k_same", 0.9))]
    rows += [worst("cvae", 0.55), worst("k_same", 0.60, 0.05)]
    (found,) = judge_claim(table(*rows), claim(among=LEAK))
    assert found.verdict == "not reproduced"


def test_without_a_leak_there_is_nothing_to_choose_by():
    rows = [figure(m, s, v, 0.01) for s in range(2) for m, v in (("cvae", 0.8), ("k_same", 0.9))]
    (found,) = judge_claim(table(*rows), claim(among=LEAK))
    assert (found.verdict, found.reason) == ("set aside", "no auc by worst_case to choose by")


def test_the_worst_case_is_that_of_the_most_access():
    """With the weights the CVAE leaks .9; with its records alone .5 would be said."""
    rows = [worst("cvae", 0.5), worst("cvae", 0.9, access="weights"), worst("k_same", 0.6)]
    wanted = {"method": "cvae", **LEAK}
    (found,) = judge_claim(
        table(*rows), claim(">", left=wanted, right={"method": "k_same", **LEAK})
    )
    assert found.left_figure.value == pytest.approx(0.9) and found.verdict == "reproduced"


# ---------------------------------------------------------------- what it takes to decide


def test_seeds_that_would_decide():
    """A difference of 0.01 ± 0.02 after 4 seeds: (1.96 + 0.84)² / 1.96² × (0.02 / 0.01)² × 4 = 32.6."""
    open_ = Estimate(0.01, -0.01, 0.03, "")
    assert seeds_to_decide(claim(">"), open_, 4) == 33
    assert seeds_to_decide(claim(">=", 0.01), open_, 4) == 9, "the boundary is twice as far"
    assert seeds_to_decide(claim("<", 0.01), open_, 4) == 9
    assert seeds_to_decide(claim(">"), Estimate(-0.01, -0.03, 0.01, ""), 4) == 33
    assert seeds_to_decide(claim("within", 0.02), open_, 4) == 33, "the nearer of two boundaries"
    assert seeds_to_decide(claim(">"), Estimate(0.001, -0.1, 0.1, ""), 4) is None, "over a thousand"
    assert seeds_to_decide(claim(">"), Estimate(0.01, NAN, NAN, ""), 1) is None


def test_what_seeds_share_is_not_decided_by_more_of_them():
    """Half of 0.02 is 0.02 after 4 seeds, of which 0.003 stays: (0.02² − 0.003²) / ((0.01 / 1.4294)² − 0.003²) × 4."""
    open_ = Estimate(0.01, -0.01, 0.03, "")
    assert seeds_to_decide(claim(">"), open_, 4, floor=0.003) == 40
    assert seeds_to_decide(claim(">"), open_, 4, floor=0.007) is None
    wanted = {
        s: {"method": m, "metric": "macro_auroc"}
        for s, m in (("left", "cvae"), ("right", "k_same"))
    }
    rows = [
        figure(m, s, v, 0.1, metric="macro_auroc")
        for s in range(4)
        for m, v in (("cvae", 0.82), ("k_same", 0.8))
    ]
    paired = differences(*[0.02] * 4, half=0.05, shared=1.0)
    (found,) = judge_claim(table(*rows), claim(">", **wanted), paired=paired)
    assert found.verdict == "undecided" and found.seeds_needed is None
    assert found.reason.startswith("more seeds do not decide this")


def test_seeds_that_would_decide_do():
    """The share of decided claims with as many seeds as named is near the 80 % asked for."""
    rng = np.random.default_rng(0)
    true, spread, first = 0.02, 0.04, 6
    half = student.isf(0.025, first - 1) * spread / sqrt(first)
    needed = seeds_to_decide(claim(">"), Estimate(true, true - half, true + half, ""), first)
    draws = rng.normal(true, spread, (2000, needed))
    low = draws.mean(1) - student.isf(0.025, needed - 1) * draws.std(1, ddof=1) / sqrt(needed)
    assert 0.8 <= np.mean(low > 0) <= 0.97, (
        "few seeds have wide intervals, so the number is on the safe side"
    )


def test_only_what_is_undecided_says_what_it_takes():
    rows = [figure("cvae", s, 0.8 + 0.02 * s, 0.002) for s in range(3)]
    open_, closed = judge_claims(table(*rows), [claim(right=0.81), claim(right=0.5)])
    assert open_.verdict == "undecided" and open_.seeds_needed > 3
    assert closed.verdict == "reproduced" and closed.seeds_needed is None
    frame = claims_frame([open_, closed])
    assert frame["seeds_needed"][0] == open_.seeds_needed and isnan(frame["seeds_needed"][1])


def test_frame_has_a_row_for_each_comparison():
    rows = [figure(m, s, v, 0.01) for s in range(2) for m, v in (("cvae", 0.9), ("k_same", 0.8))]
    frame = claims_frame(judge_claims(table(*rows), [claim(), claim(right=0.95)]))
    assert frame["verdict"].tolist() == ["reproduced", "not reproduced"]
    assert frame["difference"].tolist() == pytest.approx([0.1, -0.05])
    assert isnan(frame["right_low"][1])


# ---------------------------------------------------------------- in a suite file

SUITE = """
name: mine
seeds: 2
datasets: [digits]
claims:
  - id: utility
    text: The CVAE is as useful as k-Same.
    left: {method: cvae, metric: macro_auroc}
    right: {method: k_same, metric: macro_auroc}
    relation: ">="
    margin: 0.01
  - {id: chance, text: It is of use., left: {method: cvae, metric: macro_auroc}, right: 0.5, relation: ">"}
"""


def load(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return load_suite(str(path))


def test_claims_are_read_and_written(tmp_path):
    suite = load(tmp_path, SUITE)
    assert [c.id for c in suite.claims] == ["utility", "chance"]
    assert suite.claims[1].right == 0.5
    assert load(tmp_path, suite.text()) == suite
    assert Suite(**suite.model_dump(mode="json", exclude_defaults=True)) == suite


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('relation: ">="', "relation: better", r"claims\.0\.relation: .*'>='"),
        ("margin: 0.01", "margin: -1", r"claims\.0\.margin: .*greater than or equal to 0"),
        ("metric: macro", "metrik: macro", r"Did you mean 'metric'\?"),
        ("right: 0.5", "right: half", r"claims\.1\.right"),
        ("id: chance", "id: utility", "two are called 'utility'"),
        ('relation: ">="\n    margin: 0.01', "relation: within", "'within' needs a margin above 0"),
        ("right: 0.5", "right: 0.5, among: {metric: auc}", "a number has none"),
        (
            "metric: macro_auroc}\n    relation",
            "metric: macro_auroc, severities: [1]}\n    relation",
            "severities need a perturbation",
        ),
    ],
)
def test_wrong_claims_are_refused(tmp_path, old, new, message):
    assert old in SUITE
    with pytest.raises(SuiteError, match=message):
        load(tmp_path, SUITE.replace(old, new, 1))


def test_a_lower_bound_is_a_one_sided_interval_over_all_seeds():
    attack = {"utility": "", "attack": "distance", "attack_label": "distance"}
    rows = [
        {**figure("leaky", seed, value, metric="epsilon_lower", **attack), "ci_high": NAN}
        for seed, value in ((0, 0.7), (1, 0.0), (pd.NA, 0.6))
    ]
    found = {"method": "leaky", "metric": "epsilon_lower", "attack": "distance"}
    verdicts = {}
    for relation, right in (
        (">", 0.0),
        (">", 0.59),
        (">", 0.6),
        (">=", 0.6),
        ("<", 0.9),
        ("<", 0.5),
    ):
        (one,) = judge_claim(table(*rows), claim(relation, left=found, right=right))
        assert one.left_figure.value == 0.6 and one.difference.high == float("inf")
        verdicts[relation, right] = one.verdict
    assert verdicts == {
        (">", 0.0): "reproduced",
        (">", 0.59): "reproduced",
        (">", 0.6): "undecided",
        (">=", 0.6): "reproduced",
        ("<", 0.9): "undecided",  # a bound from below says nothing of what lies above
        ("<", 0.5): "not reproduced",
    }
    (alone,) = judge_claim(table(rows[0]), claim(">", left=found, right=0.5))
    assert alone.verdict == "reproduced" and alone.left_figure.value == 0.7
    unresolved = {**rows[0], "value": NAN, "ci_low": NAN}
    (none,) = judge_claim(table(unresolved), claim(">", left=found, right=0.0))
    assert none.verdict == "no figure"


# ---------------------------------------------------------------- on the same test records


def differences(*values, half=0.01, shared=0.0, left="cvae", right="k_same", metric="macro_auroc"):
    rows = [
        {
            "dataset": "digits",
            "features": "pixels",
            "metric": metric,
            "utility": "probe",
            "perturbation": "",
            "severity": 0,
            "seed": seed,
            "left": left,
            "right": right,
            "value": value,
            "ci_low": value - half,
            "ci_high": value + half,
            "ci_method": "paired on the same records",
            "shared": shared,
        }
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_differences_on_the_same_records_decide_where_figures_cannot():
    """Each figure is known to ± 0.1 and its difference to ± 0.01: the left is ahead by 0.02 at all five seeds."""
    wanted = {
        "left": {"method": "cvae", "metric": "macro_auroc"},
        "right": {"method": "k_same", "metric": "macro_auroc"},
    }
    rows = [
        figure(m, s, v, 0.1, metric="macro_auroc")
        for s in range(5)
        for m, v in (("cvae", 0.82), ("k_same", 0.8))
    ]
    (alone,) = judge_claim(table(*rows), claim(">", **wanted))
    assert alone.verdict == "undecided"
    paired = differences(*[0.02] * 5)
    (found,) = judge_claim(table(*rows), claim(">", **wanted), paired=paired)
    assert found.verdict == "reproduced" and found.difference.value == pytest.approx(0.02)
    assert 0.005 < found.difference.low < found.difference.high < 0.035
    assert found.difference.method.startswith("paired by seed and test record")
    other = differences(*[0.02] * 4)
    (missing,) = judge_claim(table(*rows), claim(">", **wanted), paired=other)
    assert missing.verdict == "undecided", "a seed without a paired difference: none is used"


def test_what_seeds_share_of_their_test_records_is_not_averaged_away():
    wanted = {
        "left": {"method": "cvae", "metric": "macro_auroc"},
        "right": {"method": "k_same", "metric": "macro_auroc"},
    }
    rows = [
        figure(m, s, v, 0.1, metric="macro_auroc")
        for s in range(9)
        for m, v in (("cvae", 0.82), ("k_same", 0.8))
    ]
    widths = {}
    for shared in (0.0, 1.0):
        paired = differences(*[0.02] * 9, half=0.03, shared=shared)
        (found,) = judge_claim(table(*rows), claim(">", **wanted), paired=paired)
        widths[shared] = found.difference.high - found.difference.low
    assert widths[1.0] == pytest.approx(0.06, rel=0.1), (
        "the same records each time teach no more than once"
    )
    assert widths[0.0] < 0.03
