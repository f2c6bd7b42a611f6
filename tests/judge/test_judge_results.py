"""What sums up attacks and methods: p-values over seeds, and what utility is judged by."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmark.contracts import Access
from benchmark.judge.controls import Run
from benchmark.judge.figures import Trial
from benchmark.judge.results import (
    COLUMNS,
    _Collector,
    least_p_value,
    more_useful,
    ranking_utility,
)
from benchmark.plan import Cell
from benchmark.resolve import ResolvedPlugin
from benchmark.statistics import Estimate, SharedTest, compare_utilities


def test_utility_is_judged_by_the_first_metric_of_the_first_utility_that_has_one():
    figure = Estimate(0.8, 0.7, 0.9, "m")
    gains = {
        "a": {("z", "balanced_accuracy"): figure, ("b", "fid"): figure},
        "c": {("p", "accuracy"): figure, ("p", "macro_auroc"): figure},
    }
    assert ranking_utility(gains) == ("z", "balanced_accuracy")
    assert ranking_utility(dict(reversed(gains.items()))) == ("p", "macro_auroc")
    assert ranking_utility({"a": {("b", "fid"): figure}}) is None
    assert ranking_utility({}) is None


def test_p_values_of_seeds_are_not_averaged():
    figures = [Estimate(p, np.nan, np.nan, "Mann-Whitney") for p in (0.02, 0.5, 0.9)]
    assert least_p_value(figures).value == pytest.approx(0.06)
    assert "least of 3 seeds, Bonferroni" in least_p_value(figures).method
    assert least_p_value(figures[1:]).value == 1.0
    assert least_p_value(figures[:1]).value == 0.02


def test_the_columns_name_subgroups():
    assert COLUMNS["subgroup"] == "string"


def test_a_release_is_more_useful_than_the_members_where_the_paired_interval_lies_above_zero():
    # 400 records of two classes: the members' classifier gets 36 wrong, that of the test set itself none.
    labels = np.arange(400) % 2
    right = {"made": np.ones(400, bool), "identity": np.arange(400) >= 36}
    tests = [SharedTest(labels, right)] * 2
    (pair,) = compare_utilities(tests, against="identity")
    assert more_useful(pair).startswith(
        "more useful than the members themselves: look at what it was trained on. "
        "On the same test records by 0.090 [0.0"
    )
    turned = {"made": right["identity"], "identity": right["made"]}
    (pair,) = compare_utilities([SharedTest(labels, turned)] * 2, against="identity")
    assert more_useful(pair) == ""
    (pair,) = compare_utilities(
        [SharedTest(labels, {"a": right["made"], "identity": right["made"]})]
    )
    assert more_useful(pair) == ""


ATTACKS = (
    # name, access, status on the release of features and on that of images, whether it scores
    ("near", "records", "ok", "ok", True),
    ("link", "records", "ok", "ok", False),
    ("grow", "trainer", "not applicable", "ok", True),
    ("lost", "trainer", "failed", "ok", True),
    ("none", "trainer", "not applicable", "not applicable", True),
)


def test_a_row_is_judged_by_all_attacks_that_score_on_any():
    coins = np.array([True, False])
    scored = Trial(coins=coins, scores=np.array([1.0, 0.0]))
    linked = Trial(coins=coins, linked=np.array([True]))
    places, runs = [], []
    for name, access, *statuses, scores in ATTACKS:
        attack = ResolvedPlugin(kind="attacks", name=name, label=name)
        for method, status in zip(("features", "images"), statuses, strict=True):
            about = {"dataset": "d", "features": "f", "attack": attack}
            places.append([Cell(kind="attack", seed=0, access=access, **about)])
            trial = {0: (scored if scores else linked) if status == "ok" else status}
            more = {"method_name": method, "known_answer": False, "statuses": {0: status}}
            runs.append(Run(method=method, trials=trial, **about, **more))
    collector = SimpleNamespace(places=places, runs=runs)
    asked = [_Collector._asked(collector, places[0][0], level) for level in Access]
    # near; and from trainer on also what grows from images, and what failed on one of the two.
    assert asked == [0, 1, 1, 1, 3]
