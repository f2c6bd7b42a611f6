"""Near duplicates: copies are flagged, and fresh records at the rate that was asked for."""

from functools import partial

import numpy as np
import pytest

from attacks.near_duplicate import (
    NearDuplicate,
    _adjusted_level,
    _folds_of_identities,
    _unbiased_quantile,
)
from benchmark.contracts import Access, Context, NotApplicable, Records, View


def _records(rows, groups=None):
    rows = np.asarray(rows, np.float32)
    return Records(rows, np.zeros(len(rows), np.int64), groups)


def _run(release, candidates, auxiliary, groups=None, **parameters):
    view = View(access=Access.RECORDS, records=_records(release))
    attack = NearDuplicate(**parameters)
    return attack.run(view, _records(candidates), _records(auxiliary, groups), Context(seed=0))


def test_a_hand_computed_case():
    # Three auxiliary records and a release of two: each has two others, the nearest at distances
    # 2, 2 and 3, whose median is the threshold.
    scores = _run([[0], [100]], [[1], [2], [2.5], [100]], [[0], [2], [5]], quantile=0.5)
    np.testing.assert_allclose(scores.values, [-0.5, -1, -1.25, 0])
    np.testing.assert_array_equal(scores.decisions, [True, True, False, True])


def test_flags_every_copy_and_few_others(rounds):
    for game in rounds:
        decisions = game.attack(NearDuplicate(), game.members).decisions
        assert decisions[game.coins].mean() >= 0.99
        assert decisions[~game.coins].mean() < 0.04
        assert game.auc(NearDuplicate(), game.members) >= 0.99


def test_copies_are_flagged_where_real_records_repeat_and_the_threshold_is_zero():
    scores = _run([[1], [7]], [[1], [7], [8]], [[0], [0], [3], [3], [4], [4]])
    np.testing.assert_array_equal(scores.decisions, [True, True, False])
    np.testing.assert_array_equal(scores.values, [0, 0, -1])


def _rate_on_fresh_records(n_auxiliary, n_released, quantile, seed, dimension=4):
    rng = np.random.default_rng([n_auxiliary, n_released, seed])
    auxiliary, release, candidates = (
        rng.standard_normal((n, dimension)) for n in (n_auxiliary, n_released, 1000)
    )
    return _run(release, candidates, auxiliary, quantile=quantile).decisions.mean()


@pytest.mark.parametrize(
    ("n_auxiliary", "n_released"),
    [(3000, 300), (900, 300), (301, 300), (400, 300), (500, 900), (500, 1)],
)
def test_the_rate_on_fresh_records_is_the_quantile_whatever_the_sizes(n_auxiliary, n_released):
    rates = [_rate_on_fresh_records(n_auxiliary, n_released, 0.05, seed) for seed in range(30)]
    error = np.std(rates, ddof=1) / np.sqrt(30)
    # Extrapolating to a larger gallery is exact to first order in the level only.
    allowance = 0.005 if n_released > n_auxiliary else 0.002
    assert abs(np.mean(rates) - 0.05) < 4 * error + allowance
    assert error < 0.008


def test_other_visits_of_a_patient_do_not_lower_the_threshold():
    rates, blind_to_identities = [], []
    for seed in range(30):
        rng = np.random.default_rng([7, seed])
        visits = [np.repeat(rng.standard_normal((n, 4)), 3, axis=0) for n in (400, 100, 300)]
        visits = [v + 0.01 * rng.standard_normal(v.shape) for v in visits]
        groups = np.repeat(np.arange(400), 3)
        auxiliary, release, candidates = visits
        run = partial(_run, release, candidates, auxiliary, quantile=0.05)
        rates.append(run(groups=groups).decisions.mean())
        blind_to_identities.append(run().decisions.mean())
    error = np.std(rates, ddof=1) / np.sqrt(30)
    assert abs(np.mean(rates) - 0.05) < 4 * error + 0.002
    assert error < 0.005
    assert np.mean(blind_to_identities) < 0.02


@pytest.mark.parametrize("n_identities", [2, 7, 20, 33])
def test_folds_hold_every_record_once_and_every_identity_in_one_of_them(n_identities):
    identities = np.random.default_rng(0).permutation(np.repeat(np.arange(n_identities), 3))
    folds = _folds_of_identities(identities, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(3 * n_identities))
    assert sum(len(set(identities[fold])) for fold in folds) == n_identities
    assert len(folds) == min(n_identities, 20)


def test_the_level_is_adjusted_to_the_gallery_by_the_law_of_the_minimum():
    assert _adjusted_level(0.05, 100, 3000) == pytest.approx(1 - 0.95 ** (1 / 30))
    assert _adjusted_level(0.05, 300, 300) == pytest.approx(0.05)


def test_a_further_draw_falls_below_the_threshold_at_the_level_asked_for():
    draws = np.random.default_rng(0).random((4000, 150))
    thresholds = [_unbiased_quantile(row, 0.01) for row in draws]
    # For uniform draws the rate is the threshold itself.
    assert np.mean(thresholds) == pytest.approx(0.01, abs=4 * np.std(thresholds) / 4000**0.5)
    assert np.mean(np.quantile(draws, 0.01, axis=1)) > 0.014  # NumPy's default would not do


def test_is_at_chance_on_fresh_records(rounds, assert_at_chance):
    aucs = [game.auc(NearDuplicate(), game.fresh) for game in rounds]
    assert_at_chance(aucs, [game.coins for game in rounds])


def test_needs_auxiliary_records_of_two_identities():
    with pytest.raises(NotApplicable, match="Got 1 of 1;"):
        _run([[0]], [[0]], [[0]])
    with pytest.raises(NotApplicable, match="Got 3 of 1;"):
        _run([[0]], [[0]], [[0], [1], [2]], groups=np.full(3, 8))
