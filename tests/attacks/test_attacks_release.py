"""Attacks on the released records alone: each succeeds where it must and is at chance on fresh records."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import roc_auc_score

from attacks.monte_carlo import MonteCarlo
from attacks.nearest_distance import NearestDistance
from attacks.neighbourhood import CalibratedDistance, LocalNeighbourhood
from attacks.residual_correlation import ResidualCorrelation
from attacks.two_sample import TwoSample, _boosting_odds
from benchmark.contracts import Context, NotApplicable, Records
from benchmark.learning.density import shrunk_whitening
from benchmark.learning.scores import average_log_ratio, local_neighbourhood, monte_carlo
from methods.controls import RandomAverages

ATTACKS = [
    MonteCarlo(),
    MonteCarlo(k=1),
    CalibratedDistance(),
    LocalNeighbourhood(),
    ResidualCorrelation(),
    ResidualCorrelation(statistic="likelihood"),
    TwoSample(),
    TwoSample(classifier="linear"),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_finds_copies_and_is_at_chance_on_fresh_records(attack, rounds, assert_at_chance):
    some = rounds[:5]
    least = min((c.at_least for c in attack.positive_controls() if c.dataset is None), default=0.54)
    assert np.mean([game.auc(attack, game.members) for game in some[:2]]) >= least
    assert_at_chance([game.auc(attack, game.fresh) for game in some], [game.coins for game in some])


def test_averages_leak_to_correlation_and_hardly_to_distance(play):
    rng = np.random.default_rng(0)
    pool = Records(
        rng.standard_normal((6000, 128)).astype(np.float32), np.zeros(6000, np.int64), None, "g"
    )
    game = play(pool, 1, n_candidates=2000)
    release = RandomAverages(k=10).fit(game.members, Context(seed=1)).records
    aucs = {
        name: game.auc(attack, release)
        for name, attack in {
            "distance": NearestDistance(),
            "cosine": ResidualCorrelation(),
            "likelihood": ResidualCorrelation(statistic="likelihood"),
        }.items()
    }
    assert aucs["distance"] < 0.70
    assert aucs["cosine"] > 0.87
    assert aucs["likelihood"] > 0.87


def test_the_ratio_is_that_of_the_two_densities():
    from scipy.stats import multivariate_normal as normal

    rng = np.random.default_rng(1)
    x, r, k, eye = rng.standard_normal((4, 3)), rng.standard_normal((1, 3)), 5, np.eye(3)
    expected = [
        normal(v / k, (1 / k - 1 / k**2) * eye).logpdf(r[0]) - normal(cov=eye / k).logpdf(r[0])
        for v in x
    ]
    share = 1e-6  # the score is then share · (ratio − 1)
    scores = average_log_ratio(r, x, 1 / k, share)
    np.testing.assert_allclose(scores / share + 1, np.exp(expected), rtol=1e-3)


@pytest.mark.parametrize("n", [8, 30])
def test_whitening_is_by_the_covariance_of_ledoit_and_wolf(n):
    records = np.random.default_rng(2).standard_normal((n, 12)) * np.arange(1, 13)
    records -= records.mean(axis=0)
    covariance, _ = ledoit_wolf(records, assume_centered=True)
    white = shrunk_whitening(records)(records)
    np.testing.assert_allclose(
        white @ white.T, records @ np.linalg.inv(covariance) @ records.T, rtol=1e-8, atol=1e-8
    )


def test_monte_carlo_by_hand():
    released = np.array([[0.0], [1.0], [10.0]])
    # Nearest distances 0, 0.5 and 4: the radius is 0.5.
    np.testing.assert_allclose(
        monte_carlo(released, np.array([[0.0], [0.5], [6.0]])), [1 / 3, 0, 0]
    )
    np.testing.assert_allclose(
        monte_carlo(released, np.array([[0.0], [0.5]]), radius=1.0), [1 / 3, 1 / 3]
    )


def test_local_neighbourhood_by_hand():
    score = local_neighbourhood(
        np.array([[1.0], [4.0]]), np.zeros((1, 1)), np.array([[2.0], [3.0]]), neighbours=(1, 2, 9)
    )
    np.testing.assert_allclose(score, [(np.log(2 / 1) + np.log(3 / 4)) / 2])


@pytest.mark.parametrize("attack", [CalibratedDistance(), LocalNeighbourhood(), TwoSample()])
def test_auxiliary_records_are_needed(attack, rounds):
    game = rounds[0]
    empty = game.auxiliary.take(np.arange(0))
    from benchmark.contracts import Access, View

    view = View(access=Access.RECORDS, records=game.members)
    with pytest.raises(NotApplicable, match="Got none"):
        attack.run(view, game.candidates, empty, Context(seed=0))


def test_averages_are_of_k_records_of_one_class():
    data = np.arange(46, dtype=np.float32)[:, None]
    labels = (np.arange(46) >= 23).astype(np.int64)
    release = RandomAverages(k=10).fit(Records(data, labels), Context(seed=0)).records
    assert release.labels.tolist() == [0, 0, 1, 1]
    weights = np.array([12, 11])
    np.testing.assert_allclose(release.data[:2, 0] @ weights, data[:23].sum())
    np.testing.assert_allclose(release.data[2:, 0] @ weights, data[23:].sum())
    assert roc_auc_score([0, 0, 1, 1], release.data[:, 0]) == 1


def test_trees_on_binned_columns_are_the_trees_on_the_values():
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(8)
    rows = np.concatenate([rng.standard_normal((200, 3)), rng.random((200, 1)) < 0.5], axis=1)
    target = rows[:, 0] + rng.standard_normal(200) > 0.5
    context = Context(seed=0)
    trees = HistGradientBoostingClassifier(
        min_samples_leaf=2,
        early_stopping=False,
        class_weight="balanced",
        random_state=context.derive("two_sample") % 2**32,
    )
    expected = trees.fit(rows, target).decision_function(rows)
    np.testing.assert_allclose(_boosting_odds(rows, target, rows, context), expected, atol=1e-6)
