"""Correlation: the closed form of the mean of Gaussian records, and hand-computed scores."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from attacks.correlation import Correlation, _expected_auc
from benchmark.contracts import Access, Context, NotApplicable, Records, View


def _records(rows, labels=None):
    rows = np.asarray(rows, np.float32)
    labels = np.zeros(len(rows)) if labels is None else np.asarray(labels)
    return Records(rows, labels.astype(np.int64))


def _run(release, candidates, auxiliary, **parameters):
    view = View(access=Access.RECORDS, records=release)
    return Correlation(**parameters).run(view, candidates, auxiliary, Context(seed=0)).values


def _mean_release_auc(dimension, seed, m=400, n_auxiliary=5000):
    """AUC against the released mean of Gaussian members, minus the AUC that theory expects."""
    rng = np.random.default_rng([dimension, seed])
    data = rng.standard_normal((m + n_auxiliary, dimension), dtype=np.float32)
    coins = rng.random(m) < 0.5
    release = _records(data[:m][coins].mean(axis=0, dtype=np.float64)[None])
    values = _run(release, _records(data[:m]), _records(data[m:]))
    return roc_auc_score(coins, values) - _expected_auc(dimension, int(coins.sum()))


@pytest.mark.parametrize("dimension", [50, 200, 800])
def test_auc_on_the_mean_of_gaussian_records_is_the_closed_form(dimension):
    excess = np.array([_mean_release_auc(dimension, seed) for seed in range(16)])
    assert abs(excess.mean()) < 4 * excess.std(ddof=1) / 4
    # The closed form is the limit of large d and n: a tenth of a typical interval's width.
    assert abs(excess.mean()) < 0.02


@pytest.mark.parametrize("dimension", [50, 200, 800])
def test_expected_auc_is_that_of_the_paper(dimension):
    assert _expected_auc(dimension, 200) == pytest.approx(norm.cdf(np.sqrt(dimension / 200 / 2)))


def test_controls_cover_a_quarter_one_and_four_dimensions_a_member():
    controls = Correlation.info.positive_controls
    ratios = [2 * c.dataset_parameters["dimension"] / c.candidates for c in controls]
    assert ratios == [0.25, 1, 4]
    assert [c.method for c in controls] == ["gaussian_mean"] * 3


def test_scores_by_class_of_a_hand_computed_case():
    release = _records([[3, 0], [5, 0], [0, 7]], [0, 0, 1])
    auxiliary = _records([[1, 1], [3, 1], [2, 2]], [0, 0, 1])
    candidates = _records([[4, 3], [5, 5]], [0, 1])
    # Class 0: μ = (2, 1), r = (4, 0); (2, 2)·(2, −1) = 2. Class 1: μ = (2, 2), r = (0, 7);
    # (3, 3)·(−2, 5) = 9.
    np.testing.assert_allclose(_run(release, candidates, auxiliary), [2, 9])


def test_scores_over_all_classes_of_a_hand_computed_case():
    release = _records([[3, 0], [5, 0], [1, 6]], [0, 0, 1])
    auxiliary = _records([[1, 1], [3, 1], [2, 1]], [0, 0, 1])
    candidates = _records([[4, 3], [5, 5]], [0, 1])
    # μ = (2, 1), r = (3, 2): (2, 2)·(1, 1) = 4 and (3, 4)·(1, 1) = 7.
    expected = [4, 7]
    np.testing.assert_allclose(_run(release, candidates, auxiliary, per_class=False), expected)


def test_a_class_missing_from_the_release_falls_back_to_the_overall_means():
    release = _records([[3, 0], [5, 0]], [0, 0])
    auxiliary = _records([[1, 1], [3, 1], [5, 4]], [0, 0, 1])
    candidates = _records([[4, 3]], [1])
    # μ = (3, 2), r = (4, 0): (1, 1)·(1, −2) = −1.
    np.testing.assert_allclose(_run(release, candidates, auxiliary), [-1])


def test_beats_chance_on_digits_released_as_they_are(rounds):
    assert np.mean([game.auc(Correlation(), game.members) for game in rounds]) > 0.55


def test_is_at_chance_on_fresh_records(rounds, assert_at_chance):
    aucs = [game.auc(Correlation(), game.fresh) for game in rounds]
    assert_at_chance(aucs, [game.coins for game in rounds])


def test_needs_auxiliary_records():
    some = _records([[1, 2]])
    with pytest.raises(NotApplicable, match="needs auxiliary records"):
        _run(some, some, _records(np.empty((0, 2))))
