"""Who is exposed: subgroups and single records, against cases worked out by hand and planted leaks."""

import numpy as np
import pytest

from benchmark.judge.exposure import (
    UnitLoader,
    exposure,
    exposure_frame,
    exposure_summary,
    subgroup_figures,
    subgroup_masks,
)
from benchmark.judge.figures import Trial, Units, mean_over_seeds, trials_figure
from benchmark.statistics import auc_interval


def units(keys, labels=None, outliers=None, sizes=None):
    n = len(keys)
    return Units(
        keys=np.asarray(keys),
        labels=np.zeros(n, dtype=int) if labels is None else np.asarray(labels),
        outliers=np.zeros(n, dtype=bool) if outliers is None else np.asarray(outliers),
        sizes=np.ones(n, dtype=int) if sizes is None else np.asarray(sizes),
        identities=np.ones(n, dtype=int),
    )


class FakeStore:
    """Two arrays by name, and how often each was read."""

    def __init__(self, **arrays):
        self.known, self.reads = arrays, []

    def arrays(self, key, name):
        self.reads.append((key, name))
        return self.known[name]


def test_units_are_described_by_their_first_candidate_and_read_once():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(40, 3)).astype(np.float32)
    data[7] += 100  # far off; its identity has a second record as far off, right beside it
    data[8] = data[7]
    pool = {"data": data, "labels": np.arange(40) % 4, "groups": np.arange(40) // 2 + 500}
    pool["groups"][8] = pool["groups"][7]
    candidates = np.array([30, 8, 7, *range(10, 28)])
    numbers = np.unique(pool["groups"][candidates], return_inverse=True)[1]
    owners = pool["groups"][candidates]
    public = {"candidates": candidates, "units": numbers, "owners": owners}
    store = FakeStore(pool=pool, public=public)
    loader = UnitLoader(store)
    found = loader.units("features", "game")
    assert found.keys[found.outliers].tolist() == [503]  # the twin does not make it look less alone
    assert found.labels[found.keys == 503] == pool["labels"][8]
    assert found.sizes[found.keys == 503] == 2
    assert found.sizes.sum() == len(candidates)
    assert loader.units("features", "game") is found
    loader.units("features", "another game")
    assert store.reads.count(("features", "pool")) == 1


def test_without_identities_a_unit_is_a_row_of_the_pool():
    pool = {"data": np.arange(20.0)[:, None] ** 2, "labels": np.zeros(20, dtype=int)}
    rows = np.array([19, 3, 4, 5, 6, 7, 8, 9, 2, 1])
    public = {"candidates": rows, "units": np.arange(10), "owners": rows}
    found = UnitLoader(FakeStore(pool=pool, public=public)).units("s", "g")
    assert found.keys.tolist() == public["candidates"].tolist()
    assert found.keys[found.outliers].tolist() == [19]


def test_subgroups_by_name():
    seeds = [
        units(range(4), [0, 1, 0, 1], [0, 0, 0, 1], [1, 2, 5, 2]),
        units(range(3), [1, 1, 1], [1, 0, 0], [1, 1, 1]),
    ]
    masks = subgroup_masks(seeds, ["cat", "dog"])
    assert list(masks) == [
        "class cat",
        "class dog",
        "outliers",
        "identities of 1 record",
        "identities of 2 records",
        "identities of 3 or more records",
    ]
    assert masks["class cat"][0].tolist() == [True, False, True, False]
    assert not masks["class cat"][1].any()
    assert masks["identities of 3 or more records"][0].tolist() == [False, False, True, False]
    # One class, and identities of one size: nothing to tell apart but the outliers.
    assert list(subgroup_masks([units(range(5))], ["all"])) == ["outliers"]


def test_a_subgroup_that_leaks_alone_is_found_and_the_others_are_at_chance():
    rng = np.random.default_rng(1)
    trials, masks = [], []
    for _ in range(3):
        outliers = rng.random(500) < 0.2
        coins = rng.random(500) < 0.5
        # Outliers score higher whether they are in or not: only the difference counts.
        scores = rng.normal(size=500) + 3 * outliers + 2.5 * (coins & outliers)
        trials.append(Trial(coins=coins, scores=scores))
        masks.append(outliers)
    _, leaking = subgroup_figures(trials, masks, "auc", 0.99)
    _, rest = subgroup_figures(trials, [~m for m in masks], "auc", 0.99)
    assert leaking.low > 0.85
    assert rest.low < 0.5 < rest.high
    each, summary = subgroup_figures(trials, masks, "auc", 0.99)
    expected = [
        auc_interval(t.scores[m], t.coins[m], 0.99) for t, m in zip(trials, masks, strict=True)
    ]
    assert each == expected
    assert summary == mean_over_seeds(expected, 0.99, (0.0, 1.0))
    games = [
        Trial(coins=t.coins[m], scores=t.scores[m]) for t, m in zip(trials, masks, strict=True)
    ]
    pooled = subgroup_figures(trials, masks, "tpr@0.1", 0.99)[1]
    assert pooled == trials_figure(games, "tpr@0.1", 0.99)


def test_a_subgroup_of_one_side_has_no_figure_and_says_why():
    trial = Trial(coins=np.array([True, True, False]), scores=np.arange(3.0))
    mask = np.array([True, True, False])
    _, summary = subgroup_figures([trial], [mask], "auc", 0.95)
    assert not summary.resolved
    assert "got 2 and 0" in summary.reason


def test_exposure_over_seeds_with_different_candidates_by_hand():
    first = Trial(
        coins=np.array([True, True, False, False, False]),
        scores=np.array([9.0, 2.0, 1.0, 2.0, 3.0]),
        units=units([10, 11, 12, 13, 14]),
    )
    second = Trial(
        coins=np.array([False, True, False, False]),
        scores=np.array([0.5, 0.7, 0.6, 0.9]),
        units=units([10, 12, 15, 16]),
    )
    keys, result = exposure([first, second])
    at = {int(k): i for i, k in enumerate(keys)}
    assert sorted(at) == [10, 11, 12, 13, 14, 15, 16]
    # Record 10: in the first seed it outscores all three non-members, out in the second none of the two others.
    assert result.exposure[at[10]] == 1.0 and result.baseline[at[10]] == 0.0
    assert result.lift[at[10]] == 1.0
    # Record 12: out in the first, below both others; in in the second, above two of three.
    assert result.baseline[at[12]] == 0.0
    assert result.exposure[at[12]] == pytest.approx(2 / 3)
    # Record 11 outscores one and ties with one of three, and was never out.
    assert result.exposure[at[11]] == pytest.approx(1.5 / 3)
    assert np.isnan(result.lift[at[11]])
    assert (result.runs_in[at[12]], result.runs_out[at[12]]) == (1, 1)
    assert result.runs_in.sum() == 3 and result.runs_out.sum() == 6


def seeds_of(leak, n_records=300, n_seeds=8, exposed=(3, 77)):
    rng = np.random.default_rng(2)
    trials = []
    for _ in range(n_seeds):
        keys = rng.permutation(n_records)[:150]
        coins = rng.random(150) < 0.5
        scores = rng.normal(size=150) + leak * coins * np.isin(keys, exposed)
        trials.append(Trial(coins=coins, scores=scores, units=units(keys)))
    return trials


def test_planted_records_are_the_most_exposed_and_luck_is_mirrored():
    keys, result = exposure(seeds_of(20.0, n_seeds=80))
    summary = exposure_summary(keys, result, public=True, n=2)
    assert {record["id"] for record in summary["top"]} == {3, 77}
    assert all(record["exposure"] == 1.0 for record in summary["top"])
    keys, result = exposure(seeds_of(0.0))
    luck = exposure_summary(keys, result, public=True)
    assert luck["n_above"] > 0  # some have a large lift although nothing leaks,
    assert 0.4 < luck["n_above"] / (luck["n_above"] + luck["n_below"]) < 0.6  # as many as mirrored


def test_records_of_a_dataset_that_is_not_public_are_counted_and_not_named():
    keys, result = exposure(seeds_of(20.0))
    private = exposure_summary(keys, result, public=False)
    assert private["top"] == [] and private["public"] is False
    assert private["n_above"] == exposure_summary(keys, result, public=True)["n_above"] > 0


def test_one_seed_judges_nobody_and_an_empty_one_does_not_break():
    one = seeds_of(20.0, n_seeds=1)
    keys, result = exposure(one)
    summary = exposure_summary(keys, result, public=True)
    assert summary["n_records"] == 150 and summary["n_judged"] == 0 and summary["top"] == []
    nobody = Trial(coins=np.array([True, False]), scores=np.zeros(2), units=units([1, 2]))
    keys, result = exposure([nobody])
    assert len(keys) == 0
    assert len(exposure_frame({"dataset": "d"} | dict.fromkeys(COLUMNS, ""), keys, result)) == 0


COLUMNS = ("features", "method", "method_params", "attack", "attack_params", "unit")
