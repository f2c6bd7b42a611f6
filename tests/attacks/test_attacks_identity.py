"""Re-identification by a network: copies are named, averages of k are a choice among k, fresh people are not found."""

import numpy as np
import pytest
from scipy.stats import binom, chisquare

from attacks.identity import IdentityReidentification, most_similar, named_in
from benchmark.contracts import Access, Context, NotApplicable, Records, View
from benchmark.datasets.phantom import Phantom
from benchmark.game import link_outcomes
from methods.k_same import KSame

PATIENTS = 50


@pytest.fixture(scope="module")
def people():
    """Two visits of drawn patients, who are interchangeable."""
    return Phantom(patients=2 * PATIENTS, visits=2, size=28).load(Context(seed=0)).pool


def split(people, seed=0):
    """Candidates with coins by patient, and patients who are no candidates."""
    candidate = people.groups < PATIENTS
    coins = np.random.default_rng(seed).random(PATIENTS) < 0.5
    candidates = people.take(candidate)
    return candidates, coins[candidates.groups], people.take(~candidate)


def answer(attack, release, candidates, auxiliary, seed=0):
    view = View(access=Access.RECORDS, records=release.replace(groups=None))
    return attack.run(view, candidates, auxiliary, Context(seed=seed))


@pytest.mark.parametrize("training", ["candidates", "auxiliary"])
def test_patients_who_were_released_are_found_and_linked(people, training):
    candidates, coins, auxiliary = split(people)
    members = candidates.take(coins)
    scores = answer(
        IdentityReidentification(training=training, epochs=15), members, candidates, auxiliary
    )
    assert (scores.values[coins][:, None] > scores.values[~coins]).mean() >= 0.97
    assert scores.decisions[coins].mean() >= 0.9 and scores.decisions[~coins].mean() <= 0.1
    links = answer(
        IdentityReidentification(training=training, epochs=15, answer="links"),
        members,
        candidates,
        auxiliary,
    )
    hits = link_outcomes(links.released, np.arange(len(members)), candidates.groups, coins)
    assert hits.mean() >= 0.9


@pytest.mark.slow
def test_in_pictures_of_another_day_patients_are_found_too():
    """The attacker has two visits of each patient; what is released is a third."""
    patients = Phantom(patients=50, visits=3, size=28).load(Context(seed=0)).pool
    released = np.arange(len(patients)) % 3 == 2
    candidates, third = patients.take(~released), patients.take(released)
    coins = np.random.default_rng(0).random(50) < 0.5
    scores = answer(
        IdentityReidentification(), third.take(coins), candidates, candidates
    ).values.reshape(50, 2)[:, 0]
    assert (scores[coins][:, None] > scores[~coins]).mean() > 0.65


def test_averages_of_k_patients_are_a_choice_among_k(people):
    candidates, coins, auxiliary = split(people)
    members = candidates.take(coins)
    k = 4
    release = KSame(k=k).fit(members, Context(seed=1))
    hits = np.concatenate(
        [
            link_outcomes(
                answer(
                    IdentityReidentification(epochs=4, answer="links"),
                    release.records,
                    candidates,
                    auxiliary,
                    seed,
                ).released,
                release.origin,
                candidates.groups,
                coins,
            )
            for seed in range(3)
        ]
    )
    assert hits.sum() <= binom.ppf(1 - 1e-4, len(hits), 1 / k)


def test_is_at_chance_where_nobody_of_the_candidates_was_released(people, assert_at_chance):
    aucs, coins_of_rounds = [], []
    for seed in range(2):
        candidates, _, others = split(people)
        first = candidates.take(np.arange(len(candidates)) % 2 == 0)
        values = answer(
            IdentityReidentification(epochs=5), others.take(np.arange(60)), first, others, seed
        ).values
        # The release says nothing of any coins, so these may be drawn afterwards, many times.
        for draw in range(4):
            coins = np.random.default_rng([seed, draw]).random(len(first)) < 0.5
            aucs.append(
                (values[coins][:, None] > values[~coins]).mean()
                + (values[coins][:, None] == values[~coins]).mean() / 2
            )
            coins_of_rounds.append(coins)
    assert_at_chance(aucs, coins_of_rounds)


def test_ties_are_broken_uniformly_over_the_rows_of_equal_pictures():
    similarity = np.tile([[0.5, 0.9, 0.9]], (4000, 1))
    rows = most_similar(similarity, np.array([1, 0, 2, 1]), np.random.default_rng(0))
    counts = np.bincount(rows, minlength=4)
    assert counts[1] == 0
    assert chisquare(counts[[0, 2, 3]]).pvalue > 1e-4


def test_the_most_similar_row_by_hand():
    similarity = np.array([[0.1, 0.7], [0.9, -1.0]])
    rows = most_similar(similarity, np.array([1, 0]), np.random.default_rng(0))
    np.testing.assert_array_equal(rows, [0, 1])


def test_who_is_named_by_hand():
    similarity = np.array([[0.9, 0.1, 0.5], [0.2, 0.4, 0.5], [0.8, 0.3, 0.1]])
    assert named_in(similarity).tolist() == [True, True, False]
    assert named_in(similarity[:, 1:2]).tolist() == [False, True, False]


def test_a_single_identity_is_not_applicable():
    images = np.zeros((3, 8, 8, 1), np.uint8)
    one = Records(images, np.zeros(3, np.int64), np.full(3, 7))
    with pytest.raises(NotApplicable, match="two of them"):
        answer(IdentityReidentification(), one, one, one)


def test_each_answer_has_its_own_control():
    (scored,) = IdentityReidentification().positive_controls()
    (linked,) = IdentityReidentification(answer="links").positive_controls()
    assert (scored.metric, linked.metric) == ("auc", "reidentification_rate")
