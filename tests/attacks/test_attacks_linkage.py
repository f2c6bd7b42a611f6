"""Linkage: copies are found, k equal records are a choice among k."""

import numpy as np
import pytest
from scipy.stats import binom, chisquare

from attacks.linkage import Linkage, _draw_row
from benchmark.contracts import Access, Context, Records, View


def _records(rows):
    rows = np.asarray(rows, np.float32)
    return Records(rows, np.zeros(len(rows), np.int64))


def _link(release, candidates, seed=0):
    view = View(access=Access.RECORDS, records=_records(release))
    answer = Linkage().run(view, _records(candidates), _records(release), Context(seed=seed))
    assert answer.released.dtype == np.int64
    return answer.released


def test_links_to_the_nearest_row():
    release, candidates = [[5, 0], [0, 0], [9, 9]], [[1, 0], [8, 8], [4, 1]]
    np.testing.assert_array_equal(_link(release, candidates), [1, 2, 0])


def test_finds_every_member_of_an_identity_release(rounds):
    for game in rounds:
        links = game.attack(Linkage(), game.members).released[game.coins]
        rate = (links == np.arange(len(game.members))).mean()
        assert rate >= Linkage.info.positive_controls[0].at_least


def test_hits_one_of_k_equal_records_with_probability_one_in_k():
    k, groups = 10, 200
    rng = np.random.default_rng(0)
    members = rng.standard_normal((groups * k, 6))
    centroids = members.reshape(groups, k, 6).mean(axis=1)
    order = rng.permutation(groups * k)
    release = np.repeat(centroids, k, axis=0)[order]
    own = np.empty(groups * k, np.int64)
    own[order] = np.arange(groups * k)
    # Asked about the centroids, the attacker is in the right group and has a choice among k.
    links = _link(release, np.repeat(centroids, k, axis=0))
    hits = int((links == own).sum())
    low, high = binom.ppf([1e-4, 1 - 1e-4], groups * k, 1 / k)
    assert low <= hits <= high
    np.testing.assert_array_equal(release[links], release[own])


def test_ties_are_broken_uniformly_over_equal_rows_and_equally_near_ones():
    # Rows 0, 2 and 4 hold one vector, row 3 another as near to the query, row 1 one further off.
    release = [[1, 0], [2, 0], [1, 0], [-1, 0], [1, 0]]
    links = _link(release, np.zeros((4000, 2)))
    counts = np.bincount(links, minlength=5)
    assert counts[1] == 0
    assert chisquare(counts[[0, 2, 3, 4]]).pvalue > 1e-4


def test_pixels_at_equal_distance_tie_in_spite_of_rounding():
    release = np.array([[7, 10, 10], [10, 7, 10], [10, 10, 13]], np.float32) / np.float32(255)
    query = np.full((3000, 3), 10, np.float32) / np.float32(255)
    assert chisquare(np.bincount(_link(release, query), minlength=3)).pvalue > 1e-4


def test_draw_row_maps_tickets_to_rows_by_hand():
    class Tickets:
        def integers(self, low, high):
            np.testing.assert_array_equal(high, [3, 2, 1])
            return np.array([2, 1, 0])

    vector_of_row = np.array([1, 0, 1, 2])  # vector 1 is held by rows 0 and 2
    indices = np.array([[1, 2], [1, 0], [0, 1]])
    tied = np.array([[True, True], [True, False], [True, False]])
    np.testing.assert_array_equal(_draw_row(indices, tied, vector_of_row, Tickets()), [3, 2, 1])


def test_is_at_chance_where_rows_stand_for_members_arbitrarily(rounds):
    hits = trials = 0
    for game in rounds:
        links = game.attack(Linkage(), game.fresh).released[game.coins]
        stands_for = np.random.default_rng(game.seed).permutation(len(game.fresh))
        hits += int((links == stands_for[np.arange(len(links)) % len(game.fresh)]).sum())
        trials += len(links)
    low, high = binom.ppf([1e-4, 1 - 1e-4], trials, 1 / len(rounds[0].fresh))
    assert low <= hits <= high


def test_the_same_seed_links_the_same():
    release, candidates = np.zeros((50, 2)), np.zeros((100, 2))
    np.testing.assert_array_equal(_link(release, candidates), _link(release, candidates))
    assert (_link(release, candidates) != _link(release, candidates, seed=1)).any()


def test_a_single_released_record_is_everyones_link():
    assert set(_link([[3, 3]], np.random.default_rng(0).random((9, 2)))) == {0}


@pytest.mark.parametrize("n_vectors", [3, 40])
def test_more_tied_vectors_than_are_looked_at_still_give_a_link(n_vectors):
    angles = np.linspace(0, 2 * np.pi, n_vectors, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    links = _link(ring, np.zeros((500, 2)))
    assert len(set(links)) == min(n_vectors, 8)
