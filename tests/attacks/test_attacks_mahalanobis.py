"""Distances under the release's covariance: the closed form, the leak that they are for, and chance."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from attacks.mahalanobis import Mahalanobis, in_sample_auc
from attacks.nearest_distance import NearestDistance
from benchmark.contracts import Access, Context, NotApplicable, Records, View
from methods.planted_leaks import FullCovariance


def records(data, labels=None):
    data = np.asarray(data, np.float32)
    return Records(data, np.zeros(len(data), np.int64) if labels is None else labels)


def run(attack, release, candidates, auxiliary):
    view = View(access=Access.RECORDS, records=release)
    return attack.run(view, candidates, auxiliary, Context(seed=0)).values


@pytest.mark.parametrize(("d", "n"), [(4, 20), (32, 100), (60, 100)])
def test_the_auc_on_a_sample_is_what_theory_says(d, n):
    rng = np.random.default_rng(d)
    attack, aucs = Mahalanobis(ridge=1e-9), []
    for _ in range(60):
        members, others, auxiliary = (rng.standard_normal((m, d)) for m in (n, n, 50))
        values = run(attack, records(members), records(np.r_[members, others]), records(auxiliary))
        aucs.append(roc_auc_score(np.arange(2 * n) < n, values))
    error = np.std(aucs, ddof=1) / np.sqrt(len(aucs))
    assert abs(np.mean(aucs) - in_sample_auc(d, n)) < 4 * error + 1e-4


def test_the_control_asks_for_half_of_what_theory_says():
    (control,) = Mahalanobis.info.positive_controls
    theory = in_sample_auc(control.dataset_parameters["dimension"], control.candidates // 2)
    assert control.at_least == pytest.approx(0.5 + (theory - 0.5) / 2, abs=0.005)


def test_scores_are_the_logarithms_of_distances_over_their_median():
    # One feature of variance 2 (ddof 1) about 1, another without variance, and a ridge of a half of the mean variance.
    release = records([[0, 5], [2, 5], [1 + np.sqrt(2), 5], [1 - np.sqrt(2), 5]])
    auxiliary, candidates = records([[1, 5], [3, 5], [5, 5]]), records([[2, 5], [1, 6]])
    values = run(Mahalanobis(ridge=0.5), release, candidates, auxiliary)
    along, beside, typical = 1 / (2 + 0.5), 1 / 0.5, 4 / (2 + 0.5)
    np.testing.assert_allclose(values, -np.log([along / typical, beside / typical]), rtol=1e-6)


def test_finds_a_full_covariance_that_no_distance_between_records_finds(rounds):
    found, by_distance = [], []
    for game in rounds[:6]:
        release = FullCovariance().fit(game.members, Context(seed=game.seed)).records
        found.append(game.auc(Mahalanobis(), release))
        by_distance.append(game.auc(NearestDistance(), release))
    assert np.mean(found) > 0.9
    assert np.mean(by_distance) < 0.65


def test_is_certain_where_members_do_not_span_the_space():
    rng = np.random.default_rng(5)
    pool = rng.standard_normal((400, 300))
    members, others, auxiliary = map(records, (pool[:100], pool[100:200], pool[200:]))
    release = FullCovariance().fit(members, Context(seed=1)).records
    candidates = records(np.r_[members.data, others.data])
    values = run(Mahalanobis(), release, candidates, auxiliary)
    assert roc_auc_score(np.arange(200) < 100, values) > 0.999


@pytest.mark.parametrize("ridge", [1e-6, 1e-3, 1.0])
def test_is_at_chance_on_fresh_records(rounds, assert_at_chance, ridge):
    aucs = [game.auc(Mahalanobis(ridge=ridge), game.fresh) for game in rounds]
    assert_at_chance(aucs, [game.coins for game in rounds])


def test_classes_without_a_spread_of_their_own_are_compared_with_all_records():
    rng = np.random.default_rng(6)
    release = records(rng.standard_normal((20, 3)), np.r_[np.zeros(19, int), 1])
    candidates = records(rng.standard_normal((6, 3)), np.array([0, 1, 2, 0, 1, 2]))
    auxiliary = records(rng.standard_normal((30, 3)))
    values = run(Mahalanobis(), release, candidates, auxiliary)
    pooled = run(
        Mahalanobis(),
        release.replace(labels=np.zeros(20, np.int64)),
        candidates.replace(labels=np.zeros(6, np.int64)),
        auxiliary,
    )
    np.testing.assert_allclose(values[[1, 2, 4, 5]], pooled[[1, 2, 4, 5]])


def test_equal_records_and_a_missing_reference_are_not_applicable():
    some, equal, none = records(np.eye(3)), records(np.ones((4, 3))), records(np.empty((0, 3)))
    with pytest.raises(NotApplicable, match="all of them are equal"):
        run(Mahalanobis(), equal, some, some)
    with pytest.raises(NotApplicable, match="got none"):
        run(Mahalanobis(), some, some, none)
