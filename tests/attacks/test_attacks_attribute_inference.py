"""Attribute inference: by hand, where it must succeed, and at chance where a release teaches of everybody alike."""

import numpy as np
import pytest

from attacks.attribute_inference import AttributeInference
from benchmark.contracts import Access, Context, NotApplicable, Records, View

REST = AttributeInference(secret="rest")


def records(rows, labels):
    return Records(np.asarray(rows, np.float32), np.asarray(labels), extractor="example")


def run(attack, release, candidates):
    view = View(access=Access.RECORDS, records=release)
    return attack.run(view, candidates, candidates, Context(seed=0))


def pictures(*rows):
    """Pictures of one line, two pixels wide: the attacker knows the left one."""
    return np.asarray(rows, np.uint8).reshape(-1, 1, 2, 1)


def test_guesses_of_a_hand_computed_case():
    release = Records(pictures([0, 100], [30, 160], [60, 200]), np.array([0, 1, 1]))
    candidates = Records(pictures([0, 90], [20, 160], [20, 160]), np.array([0, 0, 1]))
    # 20 lies 20, 10 and 40 from what is released, which weigh 1/4, 1 and 1/16: 4, 16 and 1 of 21.
    label = run(AttributeInference(), release, candidates)
    np.testing.assert_allclose(np.exp(label.values), [1, 4 / 21, 17 / 21], rtol=1e-6)
    assert label.decisions.tolist() == [True, False, True]
    guess = (4 * 100 + 16 * 160 + 200) / 21
    wrong = abs(guess - 160) / 255
    np.testing.assert_allclose(
        run(REST, release, candidates).values, [-10 / 255, -wrong, -wrong], rtol=1e-5
    )


def test_released_labels_that_no_candidate_has_and_the_other_way_round():
    release = records([[0, 0], [0, 0], [5, 5]], [0, 4, 0])
    candidates = records([[0, 0], [0, 0]], [0, 2])
    answer = run(AttributeInference(), release, candidates)
    assert np.exp(answer.values[0]) == pytest.approx(0.5) and answer.values[1] < -80
    assert answer.decisions.tolist() == [True, False]  # a tie of two labels counts for both


def test_features_count_alike_whatever_their_units():
    rng = np.random.default_rng(0)
    release = records(rng.normal(size=(50, 6)), rng.integers(0, 2, 50))
    candidates = records(rng.normal(size=(20, 6)), rng.integers(0, 2, 20))
    units = np.array([1, 1000, 0.001, 1, 1, 50], np.float32)
    scaled = [r.replace(data=r.data * units) for r in (release, candidates)]
    for attack in (AttributeInference(), REST):
        plain, other = run(attack, release, candidates), run(attack, *scaled)
        np.testing.assert_allclose(other.values, plain.values, rtol=1e-4, atol=1e-5)


def with_labels_of_chance(game):
    """The same game with labels that no record tells."""
    labels = np.random.default_rng(game.seed).integers(0, 10, len(game.candidates))
    return type(game)(
        game.candidates.replace(labels=labels), game.coins, game.auxiliary, game.fresh, game.seed
    )


def test_copies_give_away_the_labels_that_they_come_with(rounds):
    """A label is guessed rightly of every member, and of a tenth of the others: an AUC near 0.95."""
    game = with_labels_of_chance(rounds[0])
    answer = game.attack(AttributeInference(), game.members)
    assert answer.decisions[game.coins].mean() > 0.99
    assert answer.decisions[~game.coins].mean() < 0.2
    assert game.auc(AttributeInference(), game.members) > 0.9


def test_copies_give_away_the_rest_of_a_record(rounds):
    for game in rounds[:3]:
        assert game.auc(REST, game.members) > 0.97


@pytest.mark.parametrize("attack", [AttributeInference(), REST], ids=["label", "rest"])
def test_what_is_taught_of_everybody_is_no_leak(rounds, attack, assert_at_chance):
    """Fresh digits tell the labels of other digits, and members' no better than others'."""
    answers = [game.attack(attack, game.fresh) for game in rounds]
    assert_at_chance(
        [game.auc(attack, game.fresh) for game in rounds], [game.coins for game in rounds]
    )
    if attack.secret == "label":
        assert np.mean([answer.decisions.mean() for answer in answers]) > 0.85


def test_copies_with_labels_of_others_give_none_away(rounds):
    """Members' records are in the release, but their labels are not: guesses are right as often as by chance."""
    gaps = []
    for game in map(with_labels_of_chance, rounds):
        shuffled = np.random.default_rng(99).permutation(game.members.labels)
        right = game.attack(AttributeInference(), game.members.replace(labels=shuffled)).decisions
        gaps.append(right[game.coins].mean() - right[~game.coins].mean())
    # Twelve rounds of 300 a side, each right with probability 0.1: a standard error of 0.007.
    assert abs(np.mean(gaps)) < 4 * np.sqrt(2 * 0.1 * 0.9 / (12 * 300))


@pytest.mark.parametrize(
    ("release", "candidates", "why"),
    [
        (records([[0, 1], [1, 1]], [1, 1]), records([[0, 1], [1, 1]], [0, 1]), "released records"),
        (records([[0, 1], [1, 1]], [0, 1]), records([[0, 1], [1, 1]], [1, 1]), "candidates"),
        (records([[0], [1]], [0, 1]), records([[0], [1]], [0, 1]), "parts records in two"),
    ],
)
def test_says_where_it_does_not_apply(release, candidates, why):
    with pytest.raises(NotApplicable, match=why):
        run(AttributeInference(), release, candidates)
