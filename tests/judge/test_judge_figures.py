"""Trials become figures; seeds are summed up as the board says."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from benchmark.judge.figures import (
    GDP_DELTA,
    Trial,
    _stored_figure,
    load_robustness,
    load_test_groups,
    load_utility,
    mean_over_seeds,
    mean_roc_band,
    prediction_figures,
    trial_figure,
    trial_figures,
    trials_figure,
)
from benchmark.plan import Cell
from benchmark.statistics import (
    Estimate,
    auc_interval,
    one_run_ceiling,
    one_run_fdp_epsilon,
    pooled_epsilon,
    pooled_tpr_at_fpr,
    roc_band,
)
from benchmark.statistics.epsilon import guesses_of


def trial(seed, mu=1.0, m=400):
    rng = np.random.default_rng(seed)
    coins = rng.random(m) < 0.5
    return Trial(coins=coins, scores=rng.normal(size=m) + mu * coins)


def test_figures_of_scores():
    one = trial(0)
    figures = trial_figures(one, 0.95)
    assert figures["auc"].value == pytest.approx(roc_auc_score(one.coins, one.scores))
    assert set(figures) >= {
        "tpr@0.1",
        "tpr@0.01",
        "tpr@0.001",
        "advantage",
        "epsilon_lower",
        "epsilon_ceiling",
    }
    assert not figures["tpr@0.001"].resolved
    assert "1000" in figures["tpr@0.001"].reason
    assert figures["epsilon_lower"].value <= figures["epsilon_ceiling"].value


def test_figures_of_decisions_and_links_by_hand():
    coins = np.array([True] * 4 + [False] * 6)
    decisions = np.array([True, True, True, False] + [True] + [False] * 5)
    figures = trial_figures(Trial(coins=coins, scores=np.arange(10.0), decisions=decisions), 0.95)
    assert figures["flag_rate_members"].value == 0.75
    assert figures["flag_rate_nonmembers"].value == pytest.approx(1 / 6)
    linked = trial_figures(Trial(coins=coins, linked=np.array([True, False, False, False])), 0.95)
    assert linked["reidentification_rate"].value == 0.25
    assert "auc" not in linked


def test_the_bound_over_seeds_adds_guesses_up_and_keeps_the_best_seed():
    """By hand: half of the error for the games' guesses together, half for the games one by one."""
    trials = [trial(s, mu) for s, mu in ((0, 0.5), (1, 3.0), (2, 0.5))]
    combined = trials_figure(trials, "epsilon_lower", 0.95)
    sizes = [len(t.coins) for t in trials]
    assert combined == pooled_epsilon(np.array([t.right for t in trials]), sizes)
    assert combined.value < trial_figure(trials[1], "epsilon_lower", 0.95).value
    alike = [trial(s, 1.5) for s in range(3)]
    alone = max(trial_figure(t, "epsilon_lower", 0.95).value for t in alike)
    assert trials_figure(alike, "epsilon_lower", 0.95).value > alone
    assert "3 games added up or one by one" in combined.method


def test_a_leak_the_other_way_has_the_same_bound():
    one = trial(1, 3.0)
    back = one.turned
    assert np.array_equal(back.scores, -one.scores)
    forth = trial_figure(one, "epsilon_lower", 0.95).value
    assert trial_figure(back, "epsilon_lower", 0.95).value == pytest.approx(forth, abs=0.3) != 0


def test_tpr_of_several_seeds_is_that_of_all_their_nonmembers():
    trials = [trial(s, 2.0, m=500) for s in range(4)]
    pooled = trials_figure(trials, "tpr@0.01", 0.95)
    assert pooled == pooled_tpr_at_fpr([(t.scores, t.coins) for t in trials], 0.01)
    assert pooled.low > 0
    alone = trial_figure(trials[0], "tpr@0.01", 0.95)
    assert alone.low == 0 and "not resolvable below 368 non-members" in alone.reason


def test_means_over_seeds():
    figures = [Estimate(v, v - 0.1, v + 0.1, "m") for v in (0.5, 0.6, 0.7)]
    mean = mean_over_seeds(figures, 0.95, (0.0, 1.0))
    assert mean.value == pytest.approx(0.6)
    assert mean.low < 0.55 < 0.65 < mean.high
    assert mean_over_seeds(figures[:1], 0.95) == figures[0]
    plain = mean_over_seeds([Estimate(v, np.nan, np.nan, "cost") for v in (1.0, 3.0)], 0.95)
    assert plain.value == 2.0
    assert np.isnan(plain.low)


def test_predictions_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    figures = prediction_figures(probabilities, np.array([0, 1, 1, 1]), 0.95)
    assert figures["accuracy"].value == 0.75
    assert figures["balanced_accuracy"].value == pytest.approx((1 + 2 / 3) / 2)
    assert figures["macro_auroc"].value == 1.0


def test_the_area_computed_once_gives_the_same_interval():
    one = trial(3, 0.4, m=120)
    for confidence in (0.9, 0.95, 0.999):
        expected = auc_interval(one.scores, one.coins, confidence)
        assert trial_figure(one, "auc", confidence) == expected
    nobody = Trial(coins=np.zeros(5, dtype=bool), scores=np.arange(5.0))
    assert "0 and 5" in trial_figure(nobody, "auc", 0.95).reason


def test_the_bound_that_assumes_a_gaussian_says_so_and_stands_beside_the_other():
    one = trial(4, 1.0)
    figures = trial_figures(one, 0.95)
    # Six numbers of guesses, since four surest ones prove nothing; in two directions.
    each = 1 - 0.05 / 2 / 6
    bounds = [
        one_run_fdp_epsilon(int(v), int(r), 400, GDP_DELTA, each)
        for v, r in zip(one.right, guesses_of(400), strict=True)
    ]
    assert figures["epsilon_lower_gdp"].value == pytest.approx(max(bounds), rel=1e-3)
    assert "assuming a Gaussian trade-off curve" in figures["epsilon_lower_gdp"].method
    assert "delta=1e-05" in figures["epsilon_lower_gdp"].method
    for bound, top in (
        ("epsilon_lower", "epsilon_ceiling"),
        ("epsilon_lower_gdp", "epsilon_ceiling_gdp"),
    ):
        assert 0 < figures[bound].value <= figures[top].value


def test_a_perfect_attack_reaches_the_ceiling_of_its_own_confidence():
    # 200 members and 200 non-members, told apart without a mistake.
    coins = np.arange(400) < 200
    perfect = Trial(coins=coins, scores=coins.astype(float) + np.arange(400) / 1e6)
    for trials in ([perfect], [perfect] * 3):
        for bound, top in (
            ("epsilon_lower", "epsilon_ceiling"),
            ("epsilon_lower_gdp", "epsilon_ceiling_gdp"),
        ):
            reached = trials_figure(trials, bound, 0.95).value
            assert trials_figure(trials, top, 0.95).value == pytest.approx(reached, rel=2e-4)
    # By hand: all games together have half of the error, for two directions and all numbers of guesses.
    each = 1 - 0.05 / 2 / 2 / 7
    top = trials_figure([perfect] * 3, "epsilon_ceiling", 0.95).value
    assert top == pytest.approx(one_run_ceiling(1200, 1200, confidence=each))


def test_the_band_over_seeds_is_the_mean_of_bands_that_pay_for_each_other():
    trials = [trial(s, 1.0, m=200) for s in range(2)]
    band = mean_roc_band(trials, 0.95, points=30)
    assert band.fpr[0] == 1 / min((~t.coins).sum() for t in trials) and band.fpr[-1] == 1.0
    assert (band.low <= band.tpr).all() and (band.tpr <= band.high).all()
    at = 12
    expected = []
    for t in trials:
        whole = roc_band(t.scores, t.coins, 0.975)
        i = np.flatnonzero(whole.fpr <= band.fpr[at])[-1]
        j = np.flatnonzero(whole.fpr >= band.fpr[at])[0]
        expected.append((whole.tpr[i], whole.low[i], whole.high[j]))
    found = (band.tpr[at], band.low[at], band.high[at])
    assert found == pytest.approx(np.mean(expected, axis=0))


def test_the_band_over_seeds_covers_the_whole_true_curve():
    theory = stats.norm
    missed = 0
    for s in range(60):
        band = mean_roc_band([trial(100 + 2 * s, 1.0, 200), trial(101 + 2 * s, 1.0, 200)], 0.95)
        truth = theory.cdf(theory.ppf(band.fpr) + 1.0)
        missed += not ((band.low <= truth + 1e-12) & (truth <= band.high + 1e-12)).all()
    assert missed <= stats.binom.ppf(0.999, 60, 0.05)


def test_a_utilitys_own_interval_is_rescaled_to_the_confidence_asked_for():
    """Limits at 1.96 and twice 1.96 standard errors become those at 1.645."""
    stored = [0.5, 0.5 - 0.1 * 1.959964, 0.5 + 0.2 * 1.959964, "made up"]
    figure = _stored_figure(stored, 0.9)
    assert (figure.low, figure.high) == pytest.approx((0.5 - 0.1 * 1.644854, 0.5 + 0.2 * 1.644854))
    assert _stored_figure(stored, 0.95).low == pytest.approx(stored[1])
    assert np.isnan(_stored_figure(0.5, 0.9).low)


class Patients:
    """A store of one utility's predictions, with the units of the game's test records."""

    def __init__(self, owners):
        said = np.array([[0.3, 0.7], [0.8, 0.2], [0.1, 0.9], [0.4, 0.6]])
        self.held = {
            ("game", "public"): {"test_owners": np.asarray(owners)},
            ("utility", "clean"): {"probabilities": said, "labels": np.array([0, 0, 1, 0])},
        }

    def read(self, key):
        return type("Record", (), {"artifacts": {"clean.npz": ""}, "values": {"figures": {}}})

    def arrays(self, key, name):
        return self.held[key, name]


def test_units_of_test_records_widen_intervals():
    cell = Cell(kind="utility", dataset="d", features="f", seed=0, game="game", key="utility")
    store = Patients([8, 5, 5, 8])
    groups = load_test_groups(store, cell)
    assert groups.tolist() == [8, 5, 5, 8]
    alone = load_utility(store, cell, 0.95)["clean"]["accuracy"]
    found = load_utility(store, cell, 0.95, groups)["clean"]["accuracy"]
    # Both visits of the one are wrong, both of the other right: the limits are twice as far away.
    assert found.value == alone.value == 0.5
    assert 0 < alone.low < alone.high < 1
    assert (found.low, found.high) == (0.0, 1.0)
    wider = load_robustness(store, cell, 0.95, groups)[""]["balanced_error"]
    assert wider.high > load_robustness(store, cell, 0.95)[""]["balanced_error"].high
    assert load_test_groups(Patients([3, 1, 0, 2]), cell) is None
