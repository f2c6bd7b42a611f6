"""Scores against what is usual for a record: a closed form, leaks that they sharpen, and chance."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from attacks.mahalanobis import Mahalanobis
from attacks.nearest_distance import NearestDistance
from attacks.quantile_regression import QuantileRegression, _distances
from benchmark.contracts import Access, Context, NotApplicable, Records, View
from methods.k_same import KSame
from methods.planted_leaks import DistanceFiltered, FullCovariance


def records(data, labels=None, groups=None):
    data = np.asarray(data, np.float32)
    labels = np.zeros(len(data), np.int64) if labels is None else labels
    return Records(data, labels, groups)


def run(attack, release, candidates, auxiliary):
    view = View(access=Access.RECORDS, records=release)
    return attack.run(view, candidates, auxiliary, Context(seed=0)).values


@pytest.mark.parametrize("regressor", ["linear", "boosting"])
def test_a_difficulty_that_auxiliary_records_show_is_taken_off(regressor):
    # One released record at the origin: a candidate's distance is its norm, which its neighbours' distances and
    # components tell. Norms order candidates perfectly by distance, and far less by what is unusual.
    rng = np.random.default_rng(0)
    norms = rng.permutation(np.linspace(1, 30, 900))
    data = norms[:, None] * np.array([[1.0, 0.0]]) + rng.normal(0, 0.01, (900, 2))
    auxiliary, candidates = records(data[:600]), records(data[600:])
    values = run(QuantileRegression(regressor=regressor), records([[0, 0]]), candidates, auxiliary)
    by_distance = run(NearestDistance(), records([[0, 0]]), candidates, auxiliary)
    far = norms[600:] > 15
    assert roc_auc_score(far, -by_distance) > 0.99
    assert abs(roc_auc_score(far, -values) - 0.5) < 0.25


@pytest.mark.parametrize(
    ("method", "sign"), [(KSame(k=5), 1), (DistanceFiltered(), -1)], ids=["averages", "holes"]
)
def test_tells_more_than_the_distance_alone(method, sign, rounds):
    gain = []
    for game in rounds[:4]:
        release = method.fit(game.members, Context(seed=game.seed)).records
        ours, plain = (
            game.auc(attack, release) for attack in (QuantileRegression(), NearestDistance())
        )
        gain.append(sign * (ours - plain))
    assert np.mean(gain) > 0.03
    assert min(gain) > 0


def test_finds_a_full_covariance_by_mahalanobis_distances(rounds):
    attack = QuantileRegression(score="mahalanobis")
    for game in rounds[:3]:
        release = FullCovariance().fit(game.members, Context(seed=game.seed)).records
        assert game.auc(attack, release) > 0.95


@pytest.mark.parametrize("regressor", ["linear", "boosting"])
def test_reaches_its_declared_control_on_digits(rounds, regressor):
    attack = QuantileRegression(regressor=regressor)
    (control,) = attack.positive_controls()
    for game in rounds[:3]:
        assert game.auc(attack, game.members) > control.at_least + 0.03


def test_by_spread_it_reaches_what_mahalanobis_is_held_to(play):
    (control,) = QuantileRegression(score="mahalanobis").positive_controls()
    (other,) = Mahalanobis().positive_controls()
    assert control == other
    rng = np.random.default_rng(3)
    aucs = []
    for seed in range(4):
        pool = records(rng.standard_normal((control.dataset_parameters["records"], 32)))
        game = play(pool, seed, n_candidates=control.candidates, n_fresh=2)
        aucs.append(game.auc(QuantileRegression(score="mahalanobis"), game.members))
    assert np.mean(aucs) > control.at_least + 0.05


@pytest.mark.parametrize(
    "attack",
    [
        QuantileRegression(),
        QuantileRegression(score="mahalanobis"),
        QuantileRegression(regressor="boosting"),
    ],
    ids=repr,
)
def test_is_at_chance_on_fresh_records(rounds, assert_at_chance, attack):
    aucs = [game.auc(attack, game.fresh) for game in rounds]
    assert_at_chance(aucs, [game.coins for game in rounds])


def test_an_identity_is_no_neighbour_of_its_own():
    # Two visits of each patient, a hair's breadth apart; the next patient is at distance 1.
    data = [[0, 0], [0.01, 0], [1, 0], [1.01, 0], [2, 0], [2.01, 0]]
    auxiliary = records(data, groups=np.array([0, 0, 1, 1, 2, 2]))
    nearest = _distances(auxiliary, auxiliary, True, "cpu")[:, 0]
    np.testing.assert_allclose(nearest, [1, 0.99, 0.99, 0.99, 0.99, 1], atol=1e-6)
    alone = records(data, groups=np.zeros(6, np.int64))
    np.testing.assert_allclose(_distances(alone, alone, True, "cpu")[:, 0], 0.01, atol=1e-6)


def test_few_or_equal_auxiliary_records_and_equal_releases_are_not_applicable():
    rng = np.random.default_rng(1)
    some, equal = records(rng.standard_normal((30, 3))), records(np.ones((30, 3)))
    with pytest.raises(NotApplicable, match=r"20 auxiliary records or more\. Got 5"):
        run(QuantileRegression(), some, some, some.take(np.arange(5)))
    with pytest.raises(NotApplicable, match="all of them are equal"):
        run(QuantileRegression(), some, some, equal)
    with pytest.raises(NotApplicable, match="all of them are equal"):
        run(QuantileRegression(score="mahalanobis"), equal, some, some)
