"""Ranks, ties, missing cells and void attacks against cases worked out by hand."""

import doctest
import math

import pandas as pd
import pytest
from leaderboard_data import auc_interval, frame, make_info, make_results, params, row

import leaderboards
from leaderboards import board, ranking, views


def release(method, worst, utility=(0.8, 0.79, 0.81), attack="near", **about):
    """A complete row: one attack, its worst case, one utility; ``worst`` and ``utility`` are (value, low, high)."""
    base = {"dataset": "d", "features": "pixels", "method": method, "method_params": "{}", **about}
    figures = dict(zip(("value", "ci_low", "ci_high"), worst, strict=True))
    useful = dict(zip(("value", "ci_low", "ci_high"), utility, strict=True))
    return [
        row(**base, attack=attack, attack_params="{}", access="records", metric="auc", **figures),
        row(**base, attack="worst_case", access="records", metric="auc", reason=attack, **figures),
        row(**base, utility="linear_probe", metric="balanced_accuracy", **useful),
    ]


def ranked(*releases):
    """The ranked table of releases, by method."""
    return leaderboards.rank(frame([r for rows in releases for r in rows])).set_index("method")


def spans(table, which="privacy_rank"):
    return {m: (table.loc[m, which], table.loc[m, f"{which}_to"]) for m in table.index}


@pytest.mark.parametrize("module", [ranking, board])
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0


def test_overlapping_rows_tie_and_separate_rows_do_not():
    table = ranked(
        release("a", (0.52, 0.48, 0.56), (0.70, 0.69, 0.71)),
        release("b", (0.55, 0.51, 0.59), (0.80, 0.79, 0.81)),
        release("c", (0.70, 0.66, 0.74), (0.80, 0.785, 0.815)),
    )
    assert spans(table) == {"a": (1, 2), "b": (1, 2), "c": (3, 3)}
    assert spans(table, "utility_rank") == {"a": (3, 3), "b": (1, 2), "c": (1, 2)}
    assert table["pareto"].to_dict() == {"a": True, "b": True, "c": False}
    assert table["verdict"].to_dict() == {"a": "no leak found", "b": "leak", "c": "leak"}


def test_controls_come_first_and_are_not_ranked():
    table = ranked(
        release("a", (0.6, 0.55, 0.65)), release("identity", (1, 1, 1), method_control=True)
    )
    assert list(table.index) == ["identity", "a"]
    assert table.loc["identity", "unranked"] == "control"
    assert spans(table)["a"] == (1, 1)


@pytest.mark.parametrize(
    "status", ["failed", "timeout", "out of memory", "crashed", "blocked", "missing"]
)
def test_a_row_with_a_missing_attack_is_shown_unranked_with_the_reason(status):
    gap = {"dataset": "d", "features": "pixels", "method": "b", "method_params": "{}", "seed": 1}
    table = ranked(
        [*release("a", (0.6, 0.55, 0.65)), *release("a", (0.6, 0.55, 0.65), attack="far")[:1]],
        [
            *release("b", (0.51, 0.45, 0.57)),
            row(
                **gap,
                attack="far",
                attack_params="{}",
                access="records",
                status=status,
                reason="because",
            ),
        ],
    )
    assert not table.loc["b", "ranked"] and pd.isna(table.loc["b", "privacy_rank"])
    assert pd.isna(table.loc["b", "utility_rank"])
    assert table.loc["b", "unranked"] == f"far, seed 1: {status}, because"
    assert table.loc["b", "verdict"] == "incomplete"
    assert table.loc["b", "worst_auc"] == 0.51
    assert spans(table)["a"] == (1, 1)


def test_a_cell_without_any_record_is_missing():
    table = ranked(
        [*release("a", (0.6, 0.55, 0.65)), *release("a", (0.6, 0.55, 0.65), attack="far")[:1]],
        release("b", (0.51, 0.45, 0.57)),
    )
    assert table.loc["b", "unranked"] == "far: no record"


def test_a_missing_utility_leaves_the_row_unranked():
    table = ranked(release("a", (0.6, 0.55, 0.65)), release("b", (0.51, 0.45, 0.57))[:2])
    assert table.loc["b", "unranked"] == "linear_probe: no record"


def test_a_failed_fit_is_one_reason_not_one_a_cell():
    gap = {"dataset": "d", "features": "pixels", "method": "b", "method_params": "{}"}
    table = ranked(
        release("a", (0.6, 0.55, 0.65)),
        [
            row(**gap, status="failed", reason="loss is NaN"),
            row(
                **gap,
                attack="near",
                attack_params="{}",
                access="records",
                status="blocked",
                reason="no release",
            ),
        ],
    )
    assert table.loc["b", "unranked"] == "fit failed: loss is NaN"


def test_not_applicable_demands_nothing():
    gap = {
        "dataset": "d",
        "features": "pixels",
        "method": "b",
        "method_params": "{}",
        "access": "records",
    }
    table = ranked(
        [*release("a", (0.6, 0.55, 0.65)), *release("a", (0.6, 0.55, 0.65), attack="far")[:1]],
        [
            *release("b", (0.51, 0.45, 0.57)),
            row(
                **gap, attack="far", attack_params="{}", status="not applicable", reason="no links"
            ),
        ],
    )
    assert spans(table) == {"b": (1, 2), "a": (1, 2)}


def test_an_attack_unavailable_everywhere_demands_nothing_but_one_that_fails_everywhere_does():
    def with_gap(status):
        return ranked(
            *(
                [
                    *release(m, (0.6, 0.55, 0.65)),
                    row(
                        **{
                            "dataset": "d",
                            "features": "pixels",
                            "method": m,
                            "method_params": "{}",
                        },
                        **{
                            "attack": "far",
                            "attack_params": "{}",
                            "status": status,
                            "reason": "why",
                        },
                    ),
                ]
                for m in "ab"
            )
        )

    assert with_gap("unavailable")["ranked"].all()
    assert not with_gap("crashed")["ranked"].any()


def test_a_void_attack_is_kept_out_of_ranks_but_stays_on_the_board():
    # "far" is void: b lacks it, and that must not cost b its rank.
    void = [
        dict(r, status="void", reason="control at 0.7")
        for r in release("a", (0.9, 0.8, 1.0), attack="far")[:1]
    ]
    results = frame([*release("a", (0.6, 0.55, 0.65)), *void, *release("b", (0.51, 0.45, 0.57))])
    table = leaderboards.rank(results).set_index("method")
    assert table["ranked"].all()
    assert table.loc["a", "worst_auc"] == 0.6
    group = board.read_board(results).groups[0]
    assert [(c.attack, group.void(c)) for c in group.columns] == [("near", False), ("far", True)]
    cell = next(r for r in group.rows if r.method == "a").attacks["far", "{}"]
    assert cell.status == "void" and cell.figure("auc").value == 0.9


def test_an_attack_that_is_void_on_one_row_costs_that_row_its_rank_and_no_other():
    far = {m: release(m, (0.9, 0.8, 0.95), attack="far")[0] for m in "ab"}
    far["a"] |= {"status": "void", "reason": "its shadows are unlike single fits of a"}
    releases = {m: [*release(m, (0.51, 0.45, 0.57)), far[m]] for m in "ab"}
    results = frame([r for rows in releases.values() for r in rows])
    table = leaderboards.rank(results).set_index("method")
    assert table.loc["b", "ranked"] and table.loc["b", "verdict"] == "no leak found"
    assert not table.loc["a", "ranked"] and table.loc["a", "verdict"] == "incomplete"
    assert table.loc["a", "unranked"] == "far: void, its shadows are unlike single fits of a"
    (group,) = board.read_board(results).groups
    assert not any(group.void(c) for c in group.columns)


def test_a_worst_case_that_rests_on_a_void_attack_is_not_ranked():
    rows = release("a", (0.9, 0.8, 1.0))
    rows[0]["status"] = "void"
    far = release("a", (0.6, 0.55, 0.65), attack="far")[:1]
    table = ranked([*rows, *far], release("b", (0.6, 0.55, 0.65), attack="far"))
    assert not table.loc["a", "ranked"]
    assert "rests on near, whose control failed" in table.loc["a", "unranked"]
    assert table.loc["a", "verdict"] == "incomplete"


def test_a_warning_stands_on_its_row_and_changes_no_verdict():
    base = {"dataset": "d", "features": "pixels", "method": "a", "method_params": "{}"}
    doubt = row(**base, metric="warning", value=1.0, reason="more useful than the members")
    calm = release("b", (0.5, 0.45, 0.55))
    plain = ranked([*release("a", (0.6, 0.55, 0.65)), *calm])
    table = ranked([*release("a", (0.6, 0.55, 0.65)), *calm, doubt])
    assert dict(table["warning"]) == {"a": "more useful than the members", "b": ""}
    assert table.drop(columns="warning").equals(plain.drop(columns="warning"))


def test_a_leak_stands_whatever_is_missing_and_a_violation_comes_before_all():
    base = {"dataset": "d", "features": "pixels", "method": "a", "method_params": "{}"}
    gap = row(**base, attack="far", attack_params="{}", status="timeout", reason="600 s")
    claim = row(**base, metric="violation", value=1.0, reason="ε ≥ 2 against a claim of 1")
    leaking = release("a", (0.6, 0.55, 0.65))
    assert ranked([*leaking, gap]).loc["a", "verdict"] == "leak"
    table = ranked([*leaking, gap, claim])
    assert table.loc["a", "verdict"] == "violation"
    assert table.loc["a", "violation"] == "ε ≥ 2 against a claim of 1"


def test_access_levels_choose_the_worst_case_and_what_is_demanded():
    base = {"dataset": "d", "features": "pixels", "method": "a", "method_params": "{}"}
    white = {"access": "weights", "metric": "auc", "value": 0.9, "ci_low": 0.85, "ci_high": 0.95}
    strong = [
        row(**base, attack="gradient", attack_params="{}", **white),
        row(**base, attack="worst_case", reason="gradient", **white),
    ]
    gap = {**base, "method": "b", "attack": "gradient", "attack_params": "{}", "access": "weights"}
    failed = row(**gap, status="crashed", reason="signal 11")
    results = frame(
        [*release("a", (0.6, 0.55, 0.65)), *strong, *release("b", (0.7, 0.66, 0.74)), failed]
    )
    default = leaderboards.rank(results).set_index("method")
    assert default["access"].unique().tolist() == ["weights"]
    assert default.loc["a", ["worst_auc", "worst_attack"]].tolist() == [0.9, "gradient"]
    assert not default.loc["b", "ranked"] and default.loc["b", "worst_auc"] == 0.7
    weak = leaderboards.rank(results, access="records").set_index("method")
    assert spans(weak) == {"a": (1, 1), "b": (2, 2)}
    assert weak.loc["a", "worst_auc"] == 0.6


def test_parameters_of_a_method_make_separate_rows():
    table = leaderboards.rank(
        frame(
            release("k_same", (0.6, 0.55, 0.65), method_params=params(k=5))
            + release("k_same", (0.51, 0.45, 0.57), method_params=params(k=20))
        )
    )
    assert table["method_params"].tolist() == ['{"k": 20}', '{"k": 5}']


def test_the_only_seed_stands_in_and_several_are_not_averaged_here():
    base = {"dataset": "d", "features": "pixels", "method": "a", "method_params": "{}"}
    seeds = [
        row(**base, metric="fit_duration_s", seed=s, value=v) for s, v in enumerate((1.0, 2.0, 6.0))
    ]
    table = ranked([*release("a", (0.6, 0.55, 0.65)), seeds[1]])
    assert table.loc["a", "fit_duration_s"] == 2.0
    table = ranked([*release("a", (0.6, 0.55, 0.65)), *seeds])
    assert math.isnan(table.loc["a", "fit_duration_s"])


def test_of_claims_that_differ_between_seeds_the_weakest_counts():
    base = {
        "dataset": "d",
        "features": "pixels",
        "method": "a",
        "method_params": "{}",
        "ci_method": "PRV",
    }
    claims = [
        row(**base, metric=metric, seed=s, value=v)
        for metric, values in {"claimed_epsilon": (1.0, 1.2), "k_anonymity": (5, 4)}.items()
        for s, v in enumerate(values)
    ]
    table = ranked([*release("a", (0.6, 0.55, 0.65)), *claims])
    assert table.loc["a", ["claimed_epsilon", "k_anonymity", "accountant"]].tolist() == [
        1.2,
        4,
        "PRV",
    ]


def test_the_summary_over_seeds_comes_before_the_seeds():
    base = {"dataset": "d", "features": "pixels", "method": "a", "method_params": "{}"}
    costs = [row(**base, metric="fit_duration_s", seed=s, value=v) for s, v in ((0, 1.0), (1, 9.0))]
    table = ranked(
        [*release("a", (0.6, 0.55, 0.65)), *costs, row(**base, metric="fit_duration_s", value=2.0)]
    )
    assert table.loc["a", "fit_duration_s"] == 2.0


def test_a_worst_case_may_name_an_attack_by_its_label():
    # Two variants of one attack: the void one and the sound one differ in their label alone.
    base = {
        "dataset": "d",
        "features": "pixels",
        "method": "a",
        "method_params": "{}",
        "access": "records",
    }
    figure = {"metric": "auc", "value": 0.6, "ci_low": 0.55, "ci_high": 0.65}
    near = [
        row(
            **base,
            attack="near",
            attack_params=params(k=k),
            attack_label=f"near[k={k}]",
            status=status,
            **figure,
        )
        for k, status in ((1, "void"), (5, "ok"))
    ]
    ceiling = {"metric": "epsilon_ceiling", "attack": "near", "attack_label": "near[k=5]"}
    near.append(row(**base, attack_params=params(k=5), value=4.0, **ceiling))
    near.append(
        row(**base, attack="worst_case", metric="epsilon_lower", value=1.0, reason="near[k=5]")
    )
    useful = release("a", (0.6, 0.55, 0.65))[2]

    def verdict_of(worst):
        named = row(**base, attack="worst_case", reason=worst, **figure)
        return leaderboards.rank(frame([*near, named, useful])).iloc[0]

    assert verdict_of("near[k=5]")["ranked"] and verdict_of("near[k=5]")["epsilon_ceiling"] == 4.0
    assert not verdict_of("near[k=1]")["ranked"]


@pytest.mark.parametrize(
    ("label", "given"),
    [
        ("near", []),
        ("near(k=5, at=[1, 2])", ["k=5, at=[1, 2]"]),
        ("near@image", ["@image"]),
        ("near(by=(a))@feature", ["by=(a)", "@feature"]),
        ("near[x]", ["[x]"]),
    ],
)
def test_what_a_label_adds_to_the_name(label, given):
    assert board.Column("near", '{"k": 5, "metric": "l2"}', label=label).given == given


def test_columns_that_are_not_there_are_named():
    with pytest.raises(ValueError, match="Missing: ci_low, reason"):
        leaderboards.rank(frame(release("a", (0.6, 0.55, 0.65))).drop(columns=["ci_low", "reason"]))


def test_the_synthetic_board_ranks_as_its_figures_say():
    table = leaderboards.rank(make_results())
    digits = table[(table["dataset"] == "digits") & table["ranked"]]
    for _, one in digits.iterrows():
        others = digits[digits.index != one.name]
        better = int((others["worst_auc_high"] < one["worst_auc_low"]).sum())
        worse = int((others["worst_auc_low"] > one["worst_auc_high"]).sum())
        assert (one["privacy_rank"], one["privacy_rank_to"]) == (1 + better, len(digits) - worse)
    assert math.isnan(table[table["method"] == "cvae"].iloc[-1]["worst_auc"])
    assert table[table["method"] == "dp_cvae"]["verdict"].eq("violation").all()


def test_the_share_of_draws_on_the_front_is_given_for_ranked_rows_alone():
    base = {"dataset": "d", "features": "pixels", "method_params": "{}", "access": "records"}
    share = {"attack": "worst_case", "metric": "pareto_frequency"}
    rows = [row(**base, method=m, **share, value=v) for m, v in (("a", 0.9), ("b", 0.4))]
    control = release("b", (0.7, 0.65, 0.75), method_control=True)
    table = ranked([*release("a", (0.6, 0.55, 0.65)), *control, *rows])
    assert table.loc["a", "pareto_frequency"] == 0.9
    assert math.isnan(table.loc["b", "pareto_frequency"])


def test_figures_of_subgroups_change_nothing_else():
    everybody = make_results()
    without = everybody[everybody["subgroup"] == ""]
    pd.testing.assert_frame_equal(leaderboards.rank(everybody), leaderboards.rank(without))
    old = without.drop(columns=["subgroup"])
    pd.testing.assert_frame_equal(leaderboards.rank(everybody), leaderboards.rank(old))


def test_the_most_exposed_subgroup_is_looked_for_within_the_access_and_among_sound_attacks():
    results = make_results()
    read = board.read_board(results)
    phantom = read.groups[1]
    groups = views.view_groups(read, pd.DataFrame(), make_info(), draw=False)
    found = {e.row.row.method: e for e in groups[1].exposed[1]}
    assert found["dp_cvae"].subgroup == "outliers" and found["dp_cvae"].attack == "domias"
    by_level = [{e.row.label: e.attack for e in level} for level in groups[0].exposed]
    assert [level["cvae"] for level in by_level] == ["nearest_distance", "gradient_norm"]
    # linkage tells more than the others, but is void on the second dataset.
    assert any(phantom.void(c) for c in phantom.columns if c.attack == "linkage")
    noise = next(e for e in groups[1].exposed[0] if e.row.label == "noise (sigma=0.1)")
    assert noise.attack == "nearest_distance"
    assert noise.auc.value == auc_interval(2 * 1.6, 25)[0]
    assert noise.auc.n_members == 75


# ---------------------------------------------------------------- robustness


def test_robustness_is_told_but_ranks_nobody_and_has_a_front_of_its_own():
    table = leaderboards.rank(make_results(), "records")
    digits = table[table["dataset"] == "digits"].set_index("method_label")
    place = digits[digits["method"] == "dp_cvae"].iloc[0]
    lost = 0.5 * (
        0.06 * 2 + 0.06 * 1.5
    )  # mean severity 2 of the one perturbation, 1.5 of the other
    assert place["robustness_error"] == pytest.approx(1 - 0.61 * (1 - lost))
    assert place["clean_error"] == pytest.approx(0.39)
    assert place["robustness_error_low"] == pytest.approx(place["robustness_error"] - 0.012)
    ranked = digits[digits["ranked"]]
    for _, one in ranked.iterrows():
        beaten = (
            (ranked["robustness_error"] <= one["robustness_error"])
            & (ranked["worst_auc"] <= one["worst_auc"])
            & (
                (ranked["robustness_error"] < one["robustness_error"])
                | (ranked["worst_auc"] < one["worst_auc"])
            )
        )
        assert one["robust_pareto"] == (not beaten.any())
    assert ranked["robust_pareto"].any() and not ranked["robust_pareto"].all()
    assert not digits[~digits["ranked"]]["robust_pareto"].any()


def test_a_row_that_lost_its_utility_says_so_once():
    results = make_results()
    gone = results["method"].eq("dp_cvae") & results["utility"].eq("linear_probe")
    failed = results[gone & results["metric"].eq("accuracy")].iloc[:1].copy()
    failed[["metric", "perturbation", "status", "reason"]] = ["", "", "failed", "no memory"]
    table = leaderboards.rank(pd.concat([results[~gone], failed], ignore_index=True), "records")
    row = table[(table["method"] == "dp_cvae") & (table["dataset"] == failed["dataset"].iloc[0])]
    assert row["unranked"].iloc[0].count("linear_probe") == 1
    assert not row["ranked"].any() and row["robustness_error"].isna().all()


def test_a_certified_epsilon_is_a_leak_though_no_auc_shows_it():
    base = {"dataset": "d", "features": "pixels", "method": "a", "method_params": "{}"}
    unseen = release("a", (0.51, 0.49, 0.53))

    def epsilon(value, metric="epsilon_lower"):
        return row(
            **base,
            attack="worst_case",
            access="records",
            metric=metric,
            reason="near",
            value=value,
            ci_low=value,
        )

    assert ranked(unseen).loc["a", "verdict"] == "no leak found"
    assert ranked([*unseen, epsilon(0.0)]).loc["a", "verdict"] == "no leak found"
    assert ranked([*unseen, epsilon(0.7)]).loc["a", "verdict"] == "leak"
    shown = {
        tuple(ranking.standings(board.read_board(frame(rows)).groups[0], "records")[0].shown_by)
        for rows in ([*unseen, epsilon(0.7)], release("a", (0.6, 0.55, 0.65)), unseen)
    }
    assert shown == {("ε",), ("AUC",), ()}
    void = [{**r, "status": "void"} if r["attack"] == "near" else r for r in unseen]
    assert ranked([*void, epsilon(0.7)]).loc["a", "verdict"] == "incomplete"


def difference(method, other, value, low, high, access="records"):
    base = {"dataset": "d", "features": "pixels", "method": method, "method_params": "{}"}
    figures = {"metric": "auc_difference", "value": value, "ci_low": low, "ci_high": high}
    labels = {"method_label": method, "versus": other}
    return row(**base, **labels, attack="worst_case", access=access, **figures)


def test_paired_comparisons_decide_over_overlapping_intervals():
    rows = [
        {**r, "method_label": r["method"]}
        for name, value in (("a", 0.60), ("b", 0.64), ("c", 0.70))
        for r in release(name, (value, value - 0.08, value + 0.08))
    ]
    tied = ranked(rows)
    assert list(tied["privacy_rank_to"]) == [3, 3, 3]
    told = ranked(
        [
            *rows,
            difference("a", "b", -0.04, -0.07, -0.01),
            difference("c", "a", 0.1, 0.05, 0.15),
            difference("b", "c", -0.06, -0.13, 0.01),
        ]
    )
    spans = {m: (r.privacy_rank, r.privacy_rank_to) for m, r in told.iterrows()}
    assert spans == {"a": (1, 1), "b": (2, 3), "c": (2, 3)}


def test_paired_utilities_decide_over_overlapping_intervals():
    rows = [
        {**r, "method_label": r["method"]}
        for name, value in (("a", 0.80), ("b", 0.84), ("c", 0.90))
        for r in release(name, (0.6, 0.55, 0.65), (value, value - 0.08, value + 0.08))
    ]
    which = "utility_rank"
    assert spans(ranked(rows), which) == {"a": (1, 3), "b": (1, 3), "c": (1, 3)}

    def apart(method, other, value, low, high, utility="linear_probe"):
        about = {"method_label": method, "versus": other, "utility": utility}
        found = difference(method, other, value, low, high, access="")
        return {**found, **about, "attack": "", "metric": "utility_difference"}

    told = [
        apart("a", "b", -0.04, -0.07, -0.01),
        apart("c", "a", 0.1, 0.05, 0.15),
        apart("b", "c", -0.06, -0.13, 0.01),
    ]
    assert spans(ranked([*rows, *told]), which) == {"a": (3, 3), "b": (1, 2), "c": (1, 2)}
    others = [{**r, "utility": "another"} for r in told]
    assert spans(ranked([*rows, *others]), which) == {"a": (1, 3), "b": (1, 3), "c": (1, 3)}


def test_the_verdict_says_which_way_and_what_would_have_been_found():
    far = [{**r, "direction": "farther"} for r in release("a", (0.9, 0.85, 0.95))]
    base = {"dataset": "d", "features": "pixels", "method": "b", "method_params": "{}"}
    least = row(
        **base, attack="worst_case", access="records", metric="detectable_auc", value=0.5432
    )
    rows = [*far, *release("b", (0.51, 0.5, 0.55)), least]
    found = ranking.standings(board.read_board(frame(rows)).groups[0], "records")
    words = {s.row.method: ranking.found_words(s) for s in found}
    assert words["a"] == "members are farther than chance"
    assert words["b"] == "an AUC of 0.543 would have been found with 80 % power"


@pytest.mark.parametrize(
    ("direction", "low", "said"),
    [
        ("nearer", 0.55, "members are nearer than chance"),
        ("farther", 0.55, "members are farther than chance"),
        ("nearer", 0.5, ""),
    ],
)
def test_a_leak_says_which_way_its_auc_points_where_the_auc_shows_it(direction, low, said):
    rows = [{**r, "direction": direction} for r in release("a", (0.6, low, 0.7))]
    base = {"dataset": "d", "features": "pixels", "method": "a", "method_params": "{}"}
    rows += [
        row(
            **base,
            access="records",
            attack="worst_case",
            metric="epsilon_lower",
            value=1.0,
            reason="near",
        )
    ]
    (one,) = ranking.standings(board.read_board(frame(rows)).groups[0], "records")
    assert (one.verdict, ranking.found_words(one)) == ("leak", said)


def test_a_sample_that_could_show_no_leak_is_said_to_be_too_small():
    base = {"dataset": "d", "features": "pixels", "method": "b", "method_params": "{}"}
    figure = {"attack": "worst_case", "metric": "detectable_auc", "value": float("nan")}
    least = row(**base, **figure, access="records")
    rows = [*release("b", (0.51, 0.5, 0.55)), least]
    (one,) = ranking.standings(board.read_board(frame(rows)).groups[0], "records")
    assert ranking.found_words(one).startswith("no AUC would have been found")


# ---------------------------------------------------------------- on several datasets


def standing(share, pareto=True, unranked=""):
    """A standing with a known share of draws on the front."""
    worst = {"pareto_frequency": board.Figure(share)}
    found = ranking.Standing(board.Row("m", "{}"), worst, unranked=unranked, pareto=pareto)
    found.utility_rank = None if unranked else (1, 1)
    return found


def test_the_share_of_datasets_on_whose_front_a_row_is_with_its_interval():
    """By hand: on the third dataset surely, on the others in 90 % and 50 % of draws."""
    found = ranking.front_share([standing(0.9), standing(0.5, pareto=False), standing(1.0)])
    assert (found.on, found.n, found.unranked) == (2, 3, 0)
    assert (found.low, found.high) == (1, 3)
    assert ranking.front_share([standing(0.9), standing(0.5)], confidence=0.8).low == 1


def test_datasets_on_which_a_row_is_not_ranked_are_told_apart():
    found = ranking.front_share([standing(1.0), standing(0.4, False, "domias: timeout")])
    assert (found.on, found.n, found.unranked, found.low, found.high) == (1, 1, 1, 1, 1)
    unknown = ranking.front_share([standing(float("nan"))])
    assert unknown.on == unknown.n == 1 and math.isnan(unknown.low)


def test_the_overview_has_methods_alone_those_on_most_fronts_first():
    groups = views.view_groups(board.read_board(make_results()), None, make_info(), draw=False)
    entries = views.overview(groups)
    assert not any(e["row"].row.control for e in entries) and len(entries) == 7
    shares = [e["shares"][-1] for e in entries]
    assert all(len(e["shares"]) == 2 for e in entries)  # one an access level
    order = [s.on / s.n if s.n else -1 for s in shares]
    assert order == sorted(order, reverse=True)
    (cvae,) = [e for e in entries if e["row"].label == "cvae"]
    assert cvae["shares"][-1].unranked == 1  # its fit failed on the other
