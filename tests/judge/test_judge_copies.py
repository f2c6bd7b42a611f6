"""Copies among the released records: whose they are, and the answers that the referee refuses."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmark.contracts import Scores
from benchmark.game import InvalidAnswer, check_answer
from benchmark.judge.copies import (
    PAIR_COLUMNS,
    copies_of,
    copy_clusters,
    copy_figures,
    pairs_summary,
    worst_pairs,
)
from benchmark.judge.figures import Trial, control_figure, load_trial, trial_figures
from benchmark.plan import Cell
from benchmark.resolve import ResolvedPlugin
from benchmark.statistics import clopper_pearson

COINS = np.array([True, False, True, True])


def test_whose_copies_by_hand():
    candidates = np.array([0, 1, -1, 3, 1, 0, -1])
    copies = copies_of(candidates, COINS)
    assert copies.tolist() == [1, 0, -1, 1, 0, 1, -1]
    figures = copy_figures(copies, None, 0.95)
    assert figures["copy_rate_members"].value == pytest.approx(3 / 7)
    assert figures["copy_rate_nonmembers"].value == pytest.approx(2 / 7)
    members = figures["copy_rate_members"]
    assert (members.low, members.high) == pytest.approx(clopper_pearson(3, 7, 0.95))


def test_copies_of_one_candidate_and_equal_records_are_one_cluster():
    candidates = np.array([5, -1, 5, -1, 2, -1])
    released = np.array([0, 1, 9, 1, 0, 4])[:, None]
    clusters = copy_clusters(candidates, released)
    together = clusters[:, None] == clusters
    expected = np.eye(6, dtype=bool)
    for a, b in ((0, 2), (1, 3)):
        expected[a, b] = expected[b, a] = True
    assert (together == expected).all()


def test_the_interval_counts_clusters_by_hand():
    """Sizes 4, 1, 1, 2 in all and 4, 1 among the copies: effects 22/8 and 17/5, of which the larger counts."""
    copies = np.array([1, 1, 1, 1, 0, -1, -1, -1])
    clusters = np.array([0, 0, 0, 0, 1, 2, 3, 3])
    members = copy_figures(copies, clusters, 0.95)["copy_rate_members"]
    effect = 17 / 5
    assert members.value == 0.5
    assert (members.low, members.high) == clopper_pearson(4 / effect, 8 / effect, 0.95)
    assert members.method == "Clopper-Pearson, 2.35 effective of 8 in clusters"


def test_a_release_of_repeated_records_has_the_certainty_of_those():
    """Ten records, five times each, as k-Same releases them: the interval of ten."""
    one = np.array([1, 1, 1, -1, 0, -1, -1, -1, -1, -1])
    found = copy_figures(np.repeat(one, 5), np.repeat(np.arange(10), 5), 0.95)
    plain = copy_figures(one, np.arange(10), 0.95)
    for name, figure in plain.items():
        assert (found[name].value, found[name].low, found[name].high) == pytest.approx(
            (figure.value, figure.low, figure.high)
        )


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
def test_the_interval_covers_where_a_release_repeats_itself(rate):
    """300 records, of which each is released 1 to 10 times and is a copy with this probability: 95 % cover it.

    Taken for independent, the released records cover it far less often.
    """
    rng = np.random.default_rng(0)
    covered = np.zeros(2)
    n = 1000
    for _ in range(n):
        clusters = np.repeat(np.arange(300), rng.integers(1, 11, 300))
        copies = np.where(rng.random(300) < rate, 1, -1)[clusters]
        for i, known in enumerate((clusters, None)):
            figure = copy_figures(copies, known, 0.95)["copy_rate_members"]
            covered[i] += figure.low <= rate <= figure.high
    assert covered[0] / n > 0.95 - 3 * np.sqrt(0.05 * 0.95 / n)
    assert covered[1] / n < 0.7


def test_without_a_leak_copies_of_members_and_others_are_equally_likely():
    rng = np.random.default_rng(0)
    gaps = []
    for _ in range(400):
        copies = copies_of(rng.integers(-1, 100, 300), rng.random(100) < 0.5)
        gaps.append((copies == 1).mean() - (copies == 0).mean())
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / 20


def test_they_are_figures_of_a_trial_and_of_controls():
    copies = np.array([1, 1, 0, -1], dtype=np.int8)
    trial = Trial(coins=COINS, scores=np.arange(4.0), copies=copies)
    assert trial_figures(trial, 0.95)["copy_rate_members"].value == 0.5
    assert control_figure(trial, "copy_rate_nonmembers", 0.95).value == 0.25
    assert (
        control_figure(Trial(coins=COINS, scores=np.arange(4.0)), "copy_rate_members", 0.95) is None
    )


GOOD = {"values": np.zeros(4), "copies": np.array([3, -1]), "copy_distances": np.array([0.1, 2.0])}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"copies": np.array([4, 0])}, r"rows of the candidates, in 0 … 3, or −1"),
        ({"copies": np.array([-2, 0])}, r"rows of the candidates, in 0 … 3, or −1"),
        ({"copies": np.array([0, 1, 2])}, r"copies must be integer of shape \(2,\)"),
        ({"copies": np.array([0.0, 1.0])}, r"copies must be integer"),
        ({"copies": None}, "come together"),
        ({"copy_distances": None}, "come together"),
        ({"copy_distances": np.array([np.nan, 1])}, "copy_distances must be finite"),
        ({"copy_distances": np.array([1, 2])}, "copy_distances must be floating"),
    ],
)
def test_wrong_copies_are_refused(wrong, message):
    check_answer(Scores(**GOOD), 4, 2)
    with pytest.raises(InvalidAnswer, match=message):
        check_answer(Scores(**{**GOOD, **wrong}), 4, 2)


class Shelf:
    """A store of two nodes: an attack's answer and the game's coins."""

    def __init__(self, copies, distances):
        self.held = {
            ("attack", "scores"): {"values": np.array([0.0, 1, 2, 3])},
            ("attack", "copies"): {
                "candidates": np.array(copies),
                "distances": np.array(distances),
            },
            ("game", "public"): {"candidates": np.array([30, 10, 20, 0]), "units": np.arange(4)},
            ("game", "secret"): {"coins": COINS},
            ("pool", "pool"): {"labels": np.arange(100, 140)},
            ("fit", "release"): {"data": np.arange(len(copies))[:, None] // 2},
        }

    def read(self, key):
        artifacts = {f"{name}.npz": "" for node, name in self.held if node == key}
        return type("Record", (), {"artifacts": artifacts, "values": {"answer": "Scores"}})

    def arrays(self, key, name):
        return self.held[key, name]


def _cell():
    plugins = {n: ResolvedPlugin(kind=n, name=f"a {n}", label=n) for n in ("method", "attack")}
    return Cell(
        kind="attack",
        dataset="d",
        features="f",
        seed=5,
        game="game",
        key="attack",
        fit="fit",
        access="records",
        **plugins,
    )


def test_a_stored_answer_becomes_figures_and_the_nearest_pairs_come_first():
    shelf = Shelf([3, -1, 1, 0], [0.5, 2.0, 0.1, 0.9])
    trial = load_trial(shelf, _cell())
    assert trial.copies.tolist() == [1, -1, 0, 1]
    assert trial.copy_clusters.tolist() == [3, 0, 2, 1]
    pairs = worst_pairs(shelf, _cell(), "pool")
    assert tuple(pairs.columns) == PAIR_COLUMNS
    assert pairs["released"].tolist() == [2, 0, 3]
    assert pairs["row"].tolist() == [10, 0, 30]
    assert pairs["label"].tolist() == [110, 100, 130]
    assert pairs["member"].tolist() == [False, True, True]
    assert pairs["distance"].tolist() == [0.1, 0.5, 0.9]
    assert set(pairs["seed"]) == {5} and set(pairs["method"]) == {"a method"}


def test_the_board_is_told_the_nearest_pairs_and_names_public_records_alone():
    parts = [
        worst_pairs(Shelf([3, -1, 1, 0], [0.5, 2.0, 0.1, 0.9]), _cell(), "pool"),
        worst_pairs(Shelf([3, 2, -1, -1], [0.2, 0.05, 9, 9]), replace(_cell(), seed=6), "pool"),
    ]
    pairs = pd.concat(parts, ignore_index=True)
    (found,) = pairs_summary(pairs, {"d"}, n=3)
    assert (found["n_pairs"], found["n_members"], found["nearest"]) == (5, 4, 0.05)
    assert (found["attack"], found["method"], found["public"]) == ("a attack", "a method", True)
    assert found["top"] == [
        {"released": 1, "row": 20, "member": True, "distance": 0.05, "seed": 6},
        {"released": 2, "row": 10, "member": False, "distance": 0.1, "seed": 5},
        {"released": 0, "row": 0, "member": True, "distance": 0.2, "seed": 6},
    ]
    (hidden,) = pairs_summary(pairs, {"another"})
    assert hidden == {**found, "public": False, "top": []}
    assert pairs_summary(pairs.head(0), {"d"}) == []


def test_at_most_twenty_pairs_are_kept():
    shelf = Shelf(np.arange(50), np.linspace(1, 0, 50))
    shelf.held["game", "public"] = {"candidates": np.arange(50) % 40, "units": np.arange(50)}
    shelf.held["game", "secret"] = {"coins": np.arange(50) < 40}
    pairs = worst_pairs(shelf, _cell(), "pool")
    assert pairs["released"].tolist() == list(range(49, 29, -1))


def test_a_record_released_again_and_again_is_one_pair():
    shelf = Shelf([3] * 30 + [1, -1, 1], [0.2] * 30 + [0.9, 0.0, 0.1])
    pairs = worst_pairs(shelf, _cell(), "pool")
    assert pairs["released"].tolist() == [32, 0]
    assert pairs["distance"].tolist() == [0.1, 0.2]
