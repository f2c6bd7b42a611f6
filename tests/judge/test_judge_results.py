"""What sums up attacks and methods: p-values over seeds, and what utility is judged by."""

import numpy as np
import pytest

from benchmark.judge.results import COLUMNS, least_p_value, more_useful, ranking_utility
from benchmark.statistics import Estimate


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


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ((0.99, 0.95, 1.00), True),
        ((0.95, 0.92, 0.97), False),  # the intervals meet
        ((0.80, 0.70, 0.85), False),
        ((0.99, np.nan, np.nan), False),
    ],
)
def test_a_release_is_more_useful_than_the_members_where_intervals_are_apart(own, said):
    text = more_useful(Estimate(*own, "example"), Estimate(0.90, 0.86, 0.93, "example"))
    assert bool(text) == said
    if said:
        assert text == (
            "more useful than the members themselves: look at what it was trained on. "
            "0.990 [0.950, 1.000] against 0.900 [0.860, 0.930]"
        )
