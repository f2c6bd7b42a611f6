"""Nearest distance: a copy gives itself away, fresh records give nothing away."""

import numpy as np

from attacks.nearest_distance import NearestDistance
from benchmark.contracts import Access, Context, Records, View


def test_scores_of_a_hand_computed_case():
    def records(rows):
        return Records(np.array(rows, np.float32), np.zeros(len(rows), np.int64))

    view = View(access=Access.RECORDS, records=records([[0, 0], [10, 0]]))
    candidates = records([[3, 4], [10, 0], [9, 0]])
    scores = NearestDistance().run(view, candidates, records([[0, 0]]), Context(seed=0))
    np.testing.assert_array_equal(scores.values, [-5, 0, -1])


def test_tells_members_of_an_identity_release(rounds):
    aucs = [game.auc(NearestDistance(), game.members) for game in rounds]
    assert np.mean(aucs) >= NearestDistance.info.positive_controls[0].at_least
    assert min(aucs) >= 0.99


def test_works_on_images(digits, play):
    images = (digits.data.reshape(-1, 8, 8, 1) * 255).astype(np.uint8)
    game = play(Records(images, digits.labels), seed=3)
    assert game.auc(NearestDistance(), game.members) >= 0.99


def test_is_at_chance_on_fresh_records(rounds, assert_at_chance):
    aucs = [game.auc(NearestDistance(), game.fresh) for game in rounds]
    assert_at_chance(aucs, [game.coins for game in rounds])
