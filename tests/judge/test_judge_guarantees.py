"""Claims against what follows from their parameters and against what was measured."""

from dataclasses import asdict

import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from dp_accounting.privacy_accountant import NeighboringRelation

from benchmark.contracts import DifferentialPrivacy, KAnonymity
from benchmark.judge.figures import Trial, Units
from benchmark.judge.guarantees import (
    can_refute,
    claim_figures,
    contest,
    group_privacy,
    measured_bound,
    miscounted,
    recomputed,
    refuted,
)
from benchmark.statistics import (
    dp_sgd_epsilon,
    gaussian_epsilon,
    gdp_delta,
    gdp_mu_to_epsilon,
    one_run_epsilon,
    one_run_epsilon_from_scores,
)

SGD = {"noise_multiplier": 1.0, "sample_rate": 0.01, "steps": 1000}
TIGHT, RENYI = 1.8282, dp_sgd_epsilon(1.0, 0.01, 1000, 1e-5).epsilon  # the first by dp-accounting


def claim(
    epsilon=1.0, delta=1e-5, unit="record", adjacency="add_remove", public=("size",), **details
):
    made = DifferentialPrivacy(
        epsilon=epsilon,
        delta=delta,
        accountant="some",
        adjacency=adjacency,
        unit=unit,
        public=tuple(p for p in public if p != "size" or adjacency != "add_remove"),
        details=details,
    )
    return {"kind": "DifferentialPrivacy", **asdict(made)}


def perfect(m=400, unit_size=1):
    coins = np.arange(m) % 2 == 0
    return Trial(coins=coins, scores=coins.astype(float), unit_size=unit_size)


def units(labels, sizes=None, identities=None):
    ones = np.ones(len(labels), dtype=int)
    return Units(
        keys=np.arange(len(labels)),
        labels=np.asarray(labels),
        outliers=ones == 0,
        sizes=ones if sizes is None else np.asarray(sizes),
        identities=ones if identities is None else np.asarray(identities),
    )


def test_epsilon_is_recomputed_and_the_accountants_are_named():
    figure = recomputed(claim(**SGD))
    assert figure.value == pytest.approx(TIGHT, rel=1e-3)
    assert "privacy loss distribution" in figure.method
    assert f"gives at most {RENYI:.4g}" in figure.method and "improved conversion" in figure.method


@pytest.mark.parametrize("epsilon", [TIGHT * 0.995, TIGHT, (TIGHT + RENYI) / 2, RENYI, 9.0])
def test_a_claim_by_a_tight_or_a_loose_accountant_is_no_violation(epsilon):
    assert miscounted(claim(epsilon, **SGD)) == ""


def test_a_claim_that_is_below_the_tight_value_is():
    evidence = miscounted(claim(TIGHT * 0.98, **SGD))
    assert evidence.startswith("ε = 1.828 recomputed")
    assert "1.79164 claimed" in evidence
    assert "inf" in miscounted(claim(5.0, noise_multiplier=0.0, sample_rate=0.1, steps=3))


def test_without_subsampling_it_is_the_exact_gaussian():
    figure = recomputed(claim(noise_multiplier=4.0, sample_rate=1.0, steps=30))
    assert figure.value == pytest.approx(gaussian_epsilon(4.0, 30, 1e-5), rel=1e-4)


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"noise_multiplier": 1.0}, "the details lack sample_rate, steps"),
        ({**SGD, "delta": 0.0}, "delta 0 is below the accountant's 1e-12"),
    ],
)
def test_what_cannot_be_recomputed_says_why_and_is_no_violation(details, said):
    figure = recomputed(claim(**details))
    assert not figure.resolved and said in figure.reason
    assert miscounted(claim(**details)) == ""


@pytest.mark.parametrize(
    ("adjacency", "relation"),
    [
        ("add_remove", NeighboringRelation.ADD_OR_REMOVE_ONE),
        ("zero_out", NeighboringRelation.REPLACE_SPECIAL),
        ("replace", NeighboringRelation.REPLACE_ONE),
    ],
)
def test_epsilon_is_recomputed_in_the_adjacency_that_is_claimed(adjacency, relation):
    """By dp-accounting, of noise relative to what one record adds."""
    details = {"noise_multiplier": 2.0, "sample_rate": 0.3, "steps": 20}
    step = dp_event.PoissonSampledDpEvent(0.3, dp_event.GaussianDpEvent(2.0))
    theirs = PLDAccountant(relation).compose(step, 20).get_epsilon(1e-5)
    figure = recomputed(claim(adjacency=adjacency, **details))
    assert figure.value == pytest.approx(theirs, rel=1e-3)
    assert not miscounted(claim(theirs, adjacency=adjacency, **details))
    # What add/remove allows is not enough for a replacement.
    if adjacency == "replace":
        allowed = recomputed(claim(**details)).value
        assert "claimed" in miscounted(claim(allowed, adjacency=adjacency, **details))


def test_claims_without_parameters_are_taken_as_they_are():
    assert recomputed(claim(clip_norm=1.0)) is None
    figures = claim_figures(claim(0.5))
    assert {m: f.value for m, f in figures.items()} == {
        "claimed_epsilon": 0.5,
        "claimed_delta": 1e-5,
    }
    assert "recomputed_epsilon" in claim_figures(claim(**SGD))
    k = {"kind": "KAnonymity", **asdict(KAnonymity(k=7))}
    assert claim_figures(k)["k_anonymity"].value == 7
    assert miscounted(k) == "" and claim_figures(None) == {}


def test_what_a_claim_is_about_stands_beside_it():
    said = claim_figures(claim(0.5, adjacency="replace", unit="group"))["claimed_epsilon"].method
    assert said == "claimed: some; replacing all records of one identity; public: their number"
    said = claim_figures(claim(0.5, public=("classes",)))["claimed_epsilon"].method
    assert said.endswith("adding or removing one record; public: the number of classes")


def test_group_privacy_of_a_gaussian_holds_and_is_by_hand():
    # (ε, δ) for one record; for three at once 3ε and δ(1 + e^ε + e^2ε).
    epsilon, delta = group_privacy(0.7, 1e-4, 3)
    assert epsilon == pytest.approx(2.1)
    assert delta == pytest.approx(1e-4 * (1 + np.exp(0.7) + np.exp(1.4)))
    # A mechanism of μ-GDP for a record is of 3μ-GDP for three.
    mu = 0.3
    epsilon, delta = group_privacy(gdp_mu_to_epsilon(mu, 1e-4), 1e-4, 3)
    assert gdp_delta(epsilon, 3 * mu) <= delta
    assert group_privacy(0.7, 1e-4, 1) == (0.7, 1e-4)
    assert group_privacy(0.0, 1e-4, 2) == (0.0, pytest.approx(2e-4))
    assert group_privacy(400.0, 1e-4, 2) == (800.0, 1.0)


# ---------------------------------------------------------------- adjacencies


def test_the_games_coins_judge_add_remove_and_pairs_judge_the_others_by_hand():
    """Six units; pairs (0, 1), (2, 3), (4, 5); the second has two members."""
    coins = np.array([1, 0, 1, 1, 0, 1], dtype=bool)
    trial = Trial(coins=coins, scores=np.array([5.0, 1.0, 2.0, 8.0, 0.0, 4.0]))
    game = contest(trial, claim(0.7, 1e-4))
    assert (game.coins == coins).all() and (game.epsilon, game.delta) == (0.7, 1e-4)
    game = contest(trial, claim(0.7, 1e-4, adjacency="replace"))
    assert game.scores.tolist() == [4.0, -4.0] and game.coins.tolist() == [True, False]
    assert (game.epsilon, game.delta) == (0.7, 1e-4)
    game = contest(trial, claim(0.7, 1e-4, adjacency="zero_out"))
    assert game.coins.tolist() == [True, False]
    assert (game.epsilon, game.delta) == (1.4, pytest.approx(1e-4 * (1 + np.exp(0.7))))


def test_pairs_are_of_one_size_and_of_one_label_where_labels_are_public():
    coins = np.arange(8) < 4
    described = units([0, 1, 0, 1, 0, 1, 0, 1], sizes=[1, 1, 1, 1, 2, 2, 2, 1])
    trial = Trial(coins=coins, scores=np.arange(8.0), units=described, unit_size=2)
    game = contest(trial, claim(adjacency="replace"))  # pairs (0, 1), (2, 3), (4, 5): none is mixed
    assert len(game.coins) == 0 and game.epsilon == 2.0  # two records are replaced
    trial = Trial(coins=coins, scores=np.arange(8.0), units=units(described.labels))
    game = contest(trial, claim(adjacency="replace", public=("size", "labels")))
    assert len(game.coins) == 0  # (0, 2), (4, 6), (1, 3), (5, 7)
    trial = Trial(coins=np.arange(8) % 4 < 2, scores=np.arange(8.0), units=trial.units)
    game = contest(trial, claim(adjacency="replace", public=("size", "labels")))
    assert game.scores.tolist() == [-2.0] * 4 and game.coins.all()
    trial = Trial(coins=coins, scores=np.arange(8.0), unit_size=2)
    assert "labels are public" in contest(
        trial, claim(adjacency="replace", public=("size", "labels"))
    )


def test_the_coins_that_settle_a_public_number_of_classes_are_given():
    """Units of class 2 are 0, 3 and 4; the first that is a member is 3."""
    coins = np.array([0, 1, 0, 1, 1, 0], dtype=bool)
    trial = Trial(coins=coins, scores=np.arange(6.0), units=units([2, 0, 1, 2, 2, 1]))
    game = contest(trial, claim(public=("classes",)))
    assert game.scores.tolist() == [1.0, 2.0, 4.0, 5.0]


def test_group_claims_count_identities_and_record_claims_count_records():
    described = units([0, 0, 0, 0], sizes=[4, 1, 3, 2], identities=[2, 1, 1, 1])
    trial = Trial(
        coins=np.array([1, 0, 1, 0], dtype=bool),
        scores=np.arange(4.0),
        units=described,
        unit_size=4,
    )
    assert contest(trial, claim(0.5, unit="group")).epsilon == 1.0
    assert contest(trial, claim(0.5, unit="record")).epsilon == 2.0
    game = contest(trial, claim(0.5, unit="group", adjacency="replace"))
    assert game.scores.tolist() == [-1.0]  # units 1 and 2, of one identity each


def test_a_claim_without_an_adjacency_is_not_judged():
    old = claim(0.1, **SGD)
    del old["adjacency"], old["public"]
    assert "does not state its adjacency" in measured_bound(perfect(), old, 0.95).reason
    assert refuted(perfect(), old, 0.95) == "" and not recomputed(old).resolved
    assert claim_figures(old)["claimed_epsilon"].method.endswith("not stated, one record")


def test_the_number_of_members_refutes_no_claim_that_takes_it_as_public():
    """It is all that is released: ε = 0 under replacement. The coins alone would call that a violation too often."""
    rng = np.random.default_rng(0)
    by_coins = by_pairs = 0
    for _ in range(400):
        coins = rng.random(200) < 0.5
        scores = rng.normal(size=200) + np.where(coins.sum() > 100, 50.0, -50.0)
        # An attack that knows the number: all are members, or all are not.
        trial = Trial(coins=coins, scores=scores)
        by_pairs += bool(refuted(trial, claim(0.0, 0.0, adjacency="replace"), 0.95))
        right = max(coins.sum(), 200 - coins.sum())
        by_coins += one_run_epsilon(int(right), 200, 200) > 0
    assert by_pairs <= 34  # Pr[Bin(400, 0.05) > 34] = 0.1 %
    assert by_coins >= 30  # twice as often as stated: 10 % less the binomial's steps


@pytest.mark.parametrize("adjacency", ["add_remove", "replace", "zero_out"])
def test_a_mechanism_at_its_claim_is_called_a_violation_as_rarely_as_stated(adjacency):
    """The sharpest there is at ε for each coin of the contest: randomised response on it."""
    rng = np.random.default_rng(4)
    claimed = claim(0.8, 0.0, adjacency=adjacency)
    flagged = 0
    for _ in range(300):
        coins = rng.random(400) < 0.5
        plain = contest(Trial(coins=coins, scores=coins * 1.0), claimed)
        truth = 1 / (1 + np.exp(-plain.epsilon))
        right = rng.random(len(plain.coins)) < truth
        answers = np.where(right, plain.coins, ~plain.coins).astype(float)
        scores = answers
        if adjacency != "add_remove":
            # Scores of units whose differences within mixed pairs are those answers.
            scores = np.zeros(400)
            mixed = np.flatnonzero(coins[::2] != coins[1::2])
            scores[2 * mixed] = answers - 0.5
        flagged += bool(refuted(Trial(coins=coins, scores=scores), claimed, 0.95))
    assert flagged <= 26  # Pr[Bin(300, 0.05) > 26] = 0.3 %


def test_copies_refute_a_claim_in_every_adjacency():
    coins = np.random.default_rng(1).random(400) < 0.5
    trial = Trial(coins=coins, scores=coins.astype(float))
    for adjacency in ("add_remove", "replace", "zero_out"):
        assert refuted(trial, claim(0.1, 1e-6, adjacency=adjacency), 0.95)
    said = refuted(trial, claim(0.1, 1e-6, adjacency="zero_out"), 0.95)
    assert "measured by pairs of a member and a non-member" in said
    assert "ε = 0.2 for pairs of a member and a non-member that lie 2 steps apart" in said


# ---------------------------------------------------------------- what refutes


def test_copies_refute_a_small_epsilon_and_noise_does_not():
    evidence = refuted(perfect(), claim(0.1), 0.95)
    assert evidence.startswith("ε ≥ ") and evidence.endswith(
        "ε = 0.1 claimed for adding or removing one record"
    )
    rng = np.random.default_rng(0)
    coins = rng.random(400) < 0.5
    assert refuted(Trial(coins=coins, scores=rng.normal(size=400)), claim(0.1), 0.95) == ""
    assert refuted(perfect(), claim(50.0), 0.95) == ""


def test_a_claim_per_record_is_not_refuted_by_what_identities_may_leak():
    bound = measured_bound(perfect(unit_size=4), claim(1.2, 1e-9), 0.95).value
    assert 1.2 < bound < 4 * 1.2
    assert refuted(perfect(unit_size=1), claim(1.2, 1e-9), 0.95)
    assert refuted(perfect(unit_size=4), claim(1.2, 1e-9), 0.95) == ""
    assert refuted(perfect(unit_size=4), claim(1.2, 1e-9, "group"), 0.95)
    evidence = refuted(perfect(unit_size=4), claim(0.3, 1e-9), 0.95)
    assert "claimed for adding or removing one record, so ε = 1.2 for coins" in evidence


@pytest.mark.parametrize("adjacency", ["add_remove", "replace"])
def test_members_that_are_farther_refute_a_claim_as_those_that_are_nearer_do(adjacency):
    coins = np.random.default_rng(1).random(400) < 0.5
    nearer = Trial(coins=coins, scores=coins.astype(float))
    said = claim(1.2, 1e-9, adjacency=adjacency)
    bounds = [measured_bound(trial, said, 0.95) for trial in (nearer, nearer.turned)]
    assert bounds[0].value == bounds[1].value > 1.2
    assert ["turned round" in bound.method for bound in bounds] == [False, True]
    assert refuted(nearer.turned, said, 0.95)


def test_both_directions_are_paid_for():
    """Each direction has half of the error."""
    paid = one_run_epsilon_from_scores(perfect().scores, perfect().coins, confidence=0.975)
    assert measured_bound(perfect(), claim(1.0, 0.0), 0.95).value == paid.value
    alone = one_run_epsilon_from_scores(perfect().scores, perfect().coins, confidence=0.95)
    assert paid.value < alone.value


def test_a_sound_claim_is_refuted_no_more_often_than_the_error_allows():
    rng = np.random.default_rng(5)
    found = [
        bool(refuted(Trial(coins=rng.random(120) < 0.5, scores=rng.normal(size=120)), said, 0.9))
        for said in [claim(0.0, 0.0)] * 400
    ]
    assert np.mean(found) <= 0.1


def test_linkage_refutes_k_and_nothing_else():
    k = {"kind": "KAnonymity", **asdict(KAnonymity(k=5))}
    often = Trial(coins=np.ones(60, dtype=bool), linked=np.arange(60) < 40)
    seldom = Trial(coins=np.ones(60, dtype=bool), linked=np.arange(60) < 12)
    assert "exceeds 1/k = 0.2" in refuted(often, k, 0.95)
    assert refuted(seldom, k, 0.95) == ""
    assert can_refute(often, k) and not can_refute(often, claim())
    assert can_refute(perfect(), claim()) and not can_refute(perfect(), k)


def test_a_sound_mechanism_is_called_a_violation_as_rarely_as_stated():
    # Randomised response at ε = 1, the claim; the best attack there is: its answers.
    rng = np.random.default_rng(3)
    truth = np.exp(1.0) / (1 + np.exp(1.0))
    flagged = 0
    for _ in range(300):
        coins = rng.random(300) < 0.5
        answers = np.where(rng.random(300) < truth, coins, ~coins)
        flagged += bool(refuted(Trial(coins=coins, scores=answers.astype(float)), claim(1.0), 0.95))
    assert flagged <= 26  # Pr[Bin(300, 0.05) > 26] = 0.3 %
