"""Soft labels: what they say of members is read, and nothing else is."""

import numpy as np
import pytest

from attacks.soft_labels import SoftLabels
from benchmark.contracts import Access, Context, NotApplicable, Records, View
from methods.planted_leaks import ConfidentLabels


def records(rows, labels, soft=None):
    soft = None if soft is None else np.asarray(soft, np.float32)
    return Records(np.asarray(rows, np.float32), np.asarray(labels), soft_labels=soft)


def run(release, candidates):
    view = View(access=Access.RECORDS, records=release)
    return SoftLabels().run(view, candidates, candidates, Context(seed=0)).values


def test_scores_of_a_hand_computed_case():
    release = records([[0, 0], [10, 0]], [0, 1], [[0.75, 0.25], [0.5, 0.5]])
    candidates = records([[1, 1], [2, 0], [9, 0], [9, 9], [0, 0]], [0, 1, 0, 1, 2])
    scores = run(release, candidates)
    np.testing.assert_allclose(np.exp(scores[:4]), [0.75, 0.25, 0.5, 0.5])
    assert np.isfinite(scores).all() and scores[4] < -80  # a class that has no column


@pytest.mark.parametrize(
    ("soft", "why"), [(None, "It has none"), (np.ones((2, 1)), "The soft labels have one")]
)
def test_does_not_apply_without_soft_labels_of_two_classes(soft, why):
    with pytest.raises(NotApplicable, match=why):
        run(records([[0], [1]], [0, 0], soft), records([[0.0]], [0]))


def test_tells_members_by_labels_where_data_tell_nothing(rounds):
    """A record at every candidate; its label is sure where the candidate is a member."""
    for game in rounds:
        labels = game.candidates.labels
        sure = np.eye(labels.max() + 1, dtype=np.float32)[labels]
        soft = np.where(game.coins[:, None], sure, np.float32(1 / sure.shape[1]))
        release = game.candidates.replace(groups=None, soft_labels=soft)
        assert game.auc(SoftLabels(), release) == 1.0


def test_is_at_chance_where_labels_are_of_another_game(rounds, assert_at_chance):
    """Members' own copies in the data change nothing for an attack that reads labels alone."""
    rng, aucs = np.random.default_rng(5), []
    for game in rounds:
        soft = rng.dirichlet(np.ones(10), len(game.candidates)).astype(np.float32)
        release = game.candidates.replace(groups=None, soft_labels=soft)
        aucs.append(game.auc(SoftLabels(), release))
    assert_at_chance(aucs, [game.coins for game in rounds])


def test_reaches_its_positive_control(rounds):
    (control,) = SoftLabels.info.positive_controls
    for game in rounds:
        release = ConfidentLabels().fit(game.members, Context(seed=1)).records
        assert game.auc(SoftLabels(), release) >= control.at_least
