"""Claims against what follows from their parameters and against what was measured."""

from dataclasses import asdict

import numpy as np
import pytest

from benchmark.contracts import DifferentialPrivacy, KAnonymity
from benchmark.judge.figures import Trial
from benchmark.judge.guarantees import (
    can_refute,
    claim_figures,
    claim_of_a_coin,
    measured_bound,
    miscounted,
    recomputed,
    refuted,
)
from benchmark.statistics import dp_sgd_epsilon, gaussian_epsilon, gdp_delta, gdp_mu_to_epsilon

SGD = {"noise_multiplier": 1.0, "sample_rate": 0.01, "steps": 1000}
TIGHT, RENYI = 1.8282, dp_sgd_epsilon(1.0, 0.01, 1000, 1e-5).epsilon  # the first by dp-accounting


def claim(epsilon=1.0, delta=1e-5, unit="record", **details):
    made = DifferentialPrivacy(
        epsilon=epsilon, delta=delta, accountant="some", unit=unit, details=details
    )
    return {"kind": "DifferentialPrivacy", **asdict(made)}


def perfect(m=400, unit_size=1):
    coins = np.arange(m) % 2 == 0
    return Trial(coins=coins, scores=coins.astype(float), unit_size=unit_size)


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
        ({**SGD, "steps": "many"}, "the details lack steps"),
        ({**SGD, "sample_rate": 1.5}, "sample_rate 1.5"),
        ({**SGD, "noise_multiplier": float("nan")}, "noise_multiplier nan"),
        ({**SGD, "steps": 2.5}, "steps 2.5"),
    ],
)
def test_what_cannot_be_recomputed_says_why_and_is_no_violation(details, said):
    figure = recomputed(claim(**details))
    assert not figure.resolved and said in figure.reason
    assert miscounted(claim(**details)) == ""


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


def test_group_privacy_of_a_gaussian_holds_and_is_by_hand():
    # (ε, δ) for one record; for three at once 3ε and δ(1 + e^ε + e^2ε).
    epsilon, delta = claim_of_a_coin(claim(0.7, 1e-4), 3)
    assert epsilon == pytest.approx(2.1)
    assert delta == pytest.approx(1e-4 * (1 + np.exp(0.7) + np.exp(1.4)))
    # A mechanism of μ-GDP for a record is of 3μ-GDP for three.
    mu = 0.3
    epsilon, delta = claim_of_a_coin(claim(gdp_mu_to_epsilon(mu, 1e-4), 1e-4), 3)
    assert gdp_delta(epsilon, 3 * mu) <= delta
    assert claim_of_a_coin(claim(0.7, 1e-4, "group"), 3) == (0.7, 1e-4)
    assert claim_of_a_coin(claim(0.0, 1e-4), 2) == (0.0, pytest.approx(2e-4))
    assert claim_of_a_coin(claim(400.0, 1e-4), 2) == (800.0, 1.0)


def test_copies_refute_a_small_epsilon_and_noise_does_not():
    evidence = refuted(perfect(), claim(0.1), 0.95)
    assert evidence.startswith("ε ≥ ") and evidence.endswith("ε = 0.1 claimed")
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
    assert "claimed per record, so ε = 1.2 for an identity of 4 records" in evidence


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
