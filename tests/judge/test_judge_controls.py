"""Known answers void what they contradict, and a sound run at most once in a hundred."""

import numpy as np
import pytest
from scipy import stats

from benchmark.contracts import AttackInfo, PositiveControl
from benchmark.judge.controls import CALIBRATION_SEEDS, FAMILY_ERROR, Run, judge, void_reasons
from benchmark.judge.figures import Trial
from benchmark.resolve import ResolvedPlugin


class FakeAttack:
    """Only what the controls look at."""

    def __init__(self, *controls):
        self.info = AttackInfo(name="fake", version="1", summary="…")
        self.positive_controls = lambda: controls


def attack(*controls, label="fake"):
    return ResolvedPlugin(kind="attacks", name="fake", label=label, plugin=FakeAttack(*controls))


def trial(rng, mu=0.0, m=300):
    coins = rng.random(m) < 0.5
    return Trial(coins=coins, scores=rng.normal(size=m) + mu * coins)


def run(trials, method="holdout", method_label=None, dataset="d", **more):
    seeds = range(len(trials))
    defaults = {
        "dataset": dataset,
        "features": "f",
        "method": method if method_label is None else method_label,
        "method_name": method,
        "attack": attack(PositiveControl(at_least=0.9)),
        "known_answer": False,
        "trials": dict(zip(seeds, trials, strict=True)),
        "statuses": dict.fromkeys(seeds, "ok"),
    }
    return Run(**{**defaults, **more})


def test_the_gate_voids_a_sound_run_at_most_once_in_a_hundred():
    rng = np.random.default_rng(0)
    voided = 0
    for _ in range(400):
        runs = [run([trial(rng, m=120) for _ in range(3)], dataset=f"d{i}") for i in range(4)]
        voided += any(not v.passed for v in judge(runs))
    # 400 runs of 12 looks each; with an error of exactly 1 % more than 12 has a probability of 0.1 %.
    assert voided <= stats.binom.ppf(0.999, 400, FAMILY_ERROR)


def test_the_number_of_looks_is_counted_and_paid_for():
    rng = np.random.default_rng(1)
    runs = [run([trial(rng) for _ in range(3)], dataset=f"d{i}") for i in range(4)]
    verdicts = judge(runs)
    assert {v.looks for v in verdicts} == {12}
    assert all("p ≥ 0.00083" in v.required for v in verdicts)


def test_an_attack_that_is_not_at_chance_on_holdout_is_void_there_only():
    rng = np.random.default_rng(2)
    runs = [run([trial(rng), trial(rng, mu=1.0)]), run([trial(rng), trial(rng)], dataset="e")]
    reasons = void_reasons(judge(runs), [])
    assert set(reasons) == {("d", "f", "fake")}
    assert reasons["d", "f", "fake"].startswith("not at chance on holdout: auc 0.7")


def test_scores_below_chance_void_too():
    rng = np.random.default_rng(3)
    (verdict,) = judge([run([trial(rng, mu=-1.0)])])
    assert not verdict.passed


@pytest.mark.parametrize(("mu", "passed"), [(0.0, True), (1.0, False)])
def test_an_attack_must_be_at_chance_on_its_decoy(mu, passed):
    rng = np.random.default_rng(8)
    runs = [run([trial(rng, mu=mu)], method="k_same", decoy=True), run([trial(rng)])]
    verdicts = judge(runs)
    assert [v.kind for v in verdicts] == ["decoy", "negative"]
    assert verdicts[0].passed is passed and verdicts[0].looks == 2
    assert verdicts[0].control == "a decoy of k_same"
    reasons = void_reasons(verdicts, [])
    assert set(reasons) == (set() if passed else {("d", "f", "fake")})


def test_a_failed_gate_voids_every_attack_of_the_dataset():
    rng = np.random.default_rng(4)
    gate = run([trial(rng, mu=1.5)], method="", attack=attack(label="blind"))
    reasons = void_reasons(judge([gate]), [])
    assert list(reasons) == [("d", "f", "*")]
    assert "the split is broken" in reasons["d", "f", "*"]


@pytest.mark.parametrize(("mu", "passed"), [(5.0, True), (0.5, False)])
def test_a_positive_control_must_reach_its_figure(mu, passed):
    rng = np.random.default_rng(5)
    (verdict,) = judge([run([trial(rng, mu=mu) for _ in range(3)], method="identity")])
    assert verdict.kind == "positive"
    assert verdict.passed is passed
    assert verdict.required == "≥ 0.9"


@pytest.mark.parametrize(("mu", "passed"), [(1.0, True), (0.0, False), (2.0, False)])
def test_a_closed_form_must_lie_in_the_interval(mu, passed):
    rng = np.random.default_rng(6)
    control = PositiveControl(method="mean", dataset="g", expected=lambda d, n: 0.0)
    closed_form = float(stats.norm.cdf(1 / np.sqrt(2)))  # as many dimensions as members
    known = run(
        [trial(rng, mu=mu) for _ in range(3)],
        method="mean",
        dataset="g",
        known_answer=True,
        attack=attack(control),
        expected={seed: [closed_form] for seed in range(3)},
    )
    (verdict,) = judge([known])
    assert verdict.passed is passed
    assert verdict.required.startswith("0.7602")
    reasons = void_reasons([verdict], ["g"])
    assert set(reasons) == (set() if passed else {("*", "*", "fake")})


def test_a_closed_form_whose_answer_is_missing_voids():
    control = PositiveControl(method="mean", dataset="g", expected=lambda d, n: 0.76)
    more = {"dataset": "g", "known_answer": True, "attack": attack(control)}
    known = run([trial(np.random.default_rng(6), mu=1.0)], method="mean", **more)
    (verdict,) = judge([known])
    assert not verdict.passed
    assert "the closed form's answer is missing" in verdict.reason


def test_a_control_that_did_not_run_voids():
    broken = run(["failed: boom"], method="identity", statuses={0: "failed"})
    (verdict,) = judge([broken])
    assert not verdict.passed
    assert "seed 0: failed: boom" in verdict.reason


def test_a_control_that_does_not_apply_says_nothing():
    nothing = run(
        ["not applicable: no correspondence"], method="identity", statuses={0: "not applicable"}
    )
    assert judge([nothing]) == []


def test_other_metrics_than_the_auc_can_be_required():
    coins = np.arange(100) < 50
    flags = Trial(coins=coins, scores=np.arange(100.0), decisions=coins)
    control = PositiveControl(metric="flag_rate_members", at_least=0.99)
    (verdict,) = judge([run([flags], method="identity", attack=attack(control))])
    assert verdict.passed
    assert verdict.measured == 1.0
    silent = Trial(coins=coins, scores=np.arange(100.0))
    (verdict,) = judge([run([silent], method="identity", attack=attack(control))])
    assert not verdict.passed
    assert "gave no flag_rate_members" in verdict.reason


def calibrations(runs):
    return [v for v in judge(runs) if v.kind == "calibration"]


def doubled(rng, m=150):
    """Every unit counted four times: intervals that are half as wide as they should be."""
    one = trial(rng, m=m)
    return Trial(coins=np.repeat(one.coins, 4), scores=np.repeat(one.scores, 4))


def test_intervals_over_many_seeds_must_miss_chance_as_often_as_they_say():
    rng = np.random.default_rng(7)
    (verdict,) = calibrations([run([trial(rng, m=150) for _ in range(40)])])
    assert verdict.passed
    assert verdict.required.startswith("0 to 9 of 40 (95 % intervals")  # 40 looks and this one
    assert verdict.metric == "miss_rate" and verdict.control == "holdout"
    (narrow,) = calibrations([run([doubled(rng) for _ in range(40)])])
    assert not narrow.passed  # misses about a third
    assert narrow.measured > 0.2
    reasons = void_reasons([narrow], [])
    assert reasons["d", "f", "fake"].startswith(
        "intervals are not calibrated on holdout: miss_rate"
    )


def test_intervals_that_never_miss_are_not_calibrated_either():
    rng = np.random.default_rng(8)
    wide = run([trial(rng, m=60) for _ in range(400)])
    (verdict,) = [v for v in judge([wide], confidence=0.95) if v.kind == "calibration"]
    assert verdict.passed
    steady = np.arange(60) % 2 == 0
    same = Trial(coins=steady, scores=np.repeat([0.0, 1.0], 30))  # an AUC of exactly 0.5
    (verdict,) = calibrations([run([same] * 400)])
    assert not verdict.passed
    assert verdict.measured == 0.0


def test_calibration_of_the_gate_voids_the_whole_dataset():
    rng = np.random.default_rng(9)
    gate = run([doubled(rng) for _ in range(40)], method="", attack=attack(label="blind"))
    failed = [v for v in calibrations([gate]) if not v.passed]
    assert set(void_reasons(failed, [])) == {("d", "f", "*")}


def test_calibration_is_asked_of_many_seeds_that_say_something_only():
    rng = np.random.default_rng(10)
    assert calibrations([run([trial(rng) for _ in range(CALIBRATION_SEEDS - 1)])]) == []
    coins = np.arange(100) < 50
    silent = run([Trial(coins=coins, scores=np.zeros(100)) for _ in range(40)])
    assert calibrations([silent]) == []
    leaking = run([trial(rng, mu=1.0) for _ in range(30)], method="noise")
    assert calibrations([leaking]) == []


def test_a_sound_run_with_calibrations_is_voided_at_most_once_in_a_hundred():
    rng = np.random.default_rng(11)
    voided = sum(
        any(not v.passed for v in judge([run([trial(rng, m=100) for _ in range(20)])]))
        for _ in range(60)
    )
    assert voided <= stats.binom.ppf(0.999, 60, FAMILY_ERROR)
