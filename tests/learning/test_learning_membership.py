"""LiRA and RMIA on scores of known distribution come close to the best that any test can do."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from benchmark.learning import membership
from benchmark.learning.membership import (
    calibrated,
    choose_rmia_a,
    class_log_odds,
    lira,
    rmia,
    shadow_statistics,
    stacked_lira,
    standardised_log_likelihood,
)

RECORDS, POPULATION = 4000, 400


def balanced(rng, n_shadows, m):
    """Inclusion masks in complementary pairs."""
    masks = []
    for _ in range(n_shadows // 2):
        half = rng.permutation(m) < m // 2
        masks += [half, ~half]
    return np.array(masks)


class World:
    """Scores N(μ_x + δ_x·σ_x, σ_x²) with a record and N(μ_x, σ_x²) without it.

    ``gap`` gives δ, constant or exponential with that mean; μ_x ~ N(0, 2²); log σ_x ~ N(0, spread²).
    """

    def __init__(self, n_shadows, seed=0, gap=1.0, varied=False, spread=0.0, m=RECORDS):
        rng = np.random.default_rng(seed)
        self.included = balanced(rng, n_shadows, m)
        self.coins = rng.random(m) < 0.5
        self.gap = gap * rng.exponential(1, m) if varied else np.full(m, gap)
        self.mean, self.std = rng.normal(0, 2, m), np.exp(rng.normal(0, spread, m))
        self.target = self._draw(rng, self.coins)
        self.shadows = np.stack([self._draw(rng, row) for row in self.included])
        mean, std = rng.normal(0, 2, POPULATION), np.exp(rng.normal(0, spread, POPULATION))
        self.population = rng.normal(mean, std)
        self.population_shadows = rng.normal(mean, std, (n_shadows, POPULATION))

    def _draw(self, rng, members):
        return rng.normal(self.mean + members * self.gap * self.std, self.std)

    def auc(self, scores):
        return roc_auc_score(self.coins, scores)

    def lira(self, **options):
        return self.auc(lira(self.target, self.shadows, self.included, **options))

    def logs(self):
        out = np.zeros((len(self.shadows), POPULATION), dtype=bool)
        return standardised_log_likelihood(
            np.append(self.target, self.population),
            np.hstack([self.shadows, self.population_shadows]),
            np.hstack([self.included, out]),
        )

    def rmia(self, **options):
        target, shadows = self.logs()
        m = len(self.target)
        return self.auc(
            rmia(target[:m], shadows[:, :m], self.included, target[m:], shadows[:, m:], **options)
        )


def best_auc_of_varied_gaps(mean_gap):
    """AUC of the true log ratio, N(±δ²/2, δ²), where each record has its own δ, exponential with this mean.

    A member of gap δ beats another record of gap δ' with probability Φ(√(δ² + δ'²)/2): the mean over both gaps.
    """
    gaps, weights = np.polynomial.laguerre.laggauss(60)
    norm = np.hypot.outer(mean_gap * gaps, mean_gap * gaps)
    return float(weights @ stats.norm.cdf(norm / 2) @ weights)


STANDARD_ERROR = 0.009  # of an AUC near 0.75 with 2,000 members and 2,000 others


@pytest.mark.parametrize(("n_shadows", "loss"), [(16, 0.015), (64, 0.006), (256, 0.003)])
def test_with_one_gap_for_all_every_shadow_attack_nears_the_optimum(n_shadows, loss):
    best = stats.norm.cdf(1 / np.sqrt(2))
    threshold = stats.norm.cdf(1 / np.sqrt(2 * (1 + 2**2)))  # μ_x is noise to a global threshold
    world = World(n_shadows, seed=n_shadows)
    assert abs(world.auc(world.target) - threshold) < 3 * STANDARD_ERROR
    aucs = [world.lira(estimates="shrunk"), world.lira(mode="offline"), world.rmia()]
    aucs += [
        world.rmia(mode="offline"),
        world.auc(calibrated(world.target, world.shadows, world.included)),
    ]
    for auc in aucs:
        assert best - loss - 3 * STANDARD_ERROR < auc < best + 3 * STANDARD_ERROR
        assert auc > world.auc(world.target) + 0.08


@pytest.mark.parametrize(("n_shadows", "loss"), [(16, 0.03), (64, 0.015), (256, 0.006)])
def test_with_varied_gaps_online_beats_offline_beats_global(n_shadows, loss):
    best = best_auc_of_varied_gaps(0.7)
    online, offline, glob = [], [], []
    for seed in range(3):
        world = World(n_shadows, seed=seed, gap=0.7, varied=True)
        online.append(world.lira(estimates="shrunk"))
        offline.append(world.lira(mode="offline", estimates="shrunk"))
        glob.append(world.auc(world.target))
    assert abs(np.mean(online) - best) < loss + 3 * STANDARD_ERROR / np.sqrt(3)
    # The same records throughout: differences are far less noisy than the figures themselves.
    assert np.all(np.subtract(online, offline) > 0.008)
    assert np.all(np.subtract(offline, glob) > 0.05)


def test_the_optimum_by_integration_agrees_with_the_true_ratio():
    aucs = []
    for seed in range(8):
        world = World(2, seed=seed, gap=0.7, varied=True)
        z = (world.target - world.mean) / world.std
        aucs.append(world.auc(world.gap * (z - world.gap / 2)))
    assert abs(np.mean(aucs) - best_auc_of_varied_gaps(0.7)) < 3 * STANDARD_ERROR / np.sqrt(8)


def test_shrinking_gains_most_with_few_shadows_and_loses_nothing_with_many():
    """Against the better of each record's own and one common variance, whichever that is."""
    for n_shadows, gain in ((8, 0.01), (16, 0.005), (256, -0.002)):
        for spread in (0.0, 0.5):
            gains = []
            for seed in range(3):
                world = World(n_shadows, seed=seed, gap=0.7, varied=True, spread=spread)
                classic = max(world.lira(estimates="record"), world.lira(estimates="pooled"))
                gains.append(world.lira(estimates="shrunk") - classic)
            assert np.mean(gains) > gain


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_at_chance_where_membership_changes_nothing(mode):
    aucs = {"lira": [], "rmia": []}
    for seed in range(20):
        world = World(16, seed=seed, gap=0.0, m=500)
        aucs["lira"].append(world.lira(mode=mode, estimates="shrunk"))
        aucs["rmia"].append(world.rmia(mode=mode))
    error = np.sqrt(501 / (12 * 250 * 250)) / np.sqrt(20)
    for values in aucs.values():
        assert abs(np.mean(values) - 0.5) < 3.5 * error


# ---------------------------------------------------------------- by hand


def test_lira_by_hand():
    shadows = np.array([[1.0], [3.0], [0.0], [-2.0]])
    included = np.array([[True], [True], [False], [False]])
    found = shadow_statistics(shadows, included, estimates="record")
    assert (found.mean_in[0], found.mean_out[0]) == (2, -1)
    assert found.std_in[0] ** 2 == pytest.approx(2)
    target = np.array([1.5])
    online = stats.norm.logpdf(1.5, 2, 2**0.5) - stats.norm.logpdf(1.5, -1, 2**0.5)
    assert lira(target, shadows, included, estimates="record")[0] == pytest.approx(online)
    offline = -stats.norm.logsf(1.5, -1, 2**0.5)
    found = lira(target, shadows, included, mode="offline", estimates="record")
    assert found[0] == pytest.approx(offline)
    assert calibrated(target, shadows, included)[0] == pytest.approx(2.5)


def test_offline_is_one_sided_and_keeps_the_order_of_extremes():
    world = World(32, m=6, gap=0.0)
    found = shadow_statistics(world.shadows, world.included, mode="offline")
    z = np.array([-60.0, -3.0, 0.0, 3.0, 20.0, 60.0])
    target = found.mean_out + z * found.std_out
    scores = lira(target, world.shadows, world.included, mode="offline")
    assert np.isfinite(scores).all()
    assert (np.diff(scores) >= 0).all() and (np.diff(scores)[1:] > 0).all()


def test_pooled_variance_is_that_of_centred_scores():
    world = World(20, seed=3, gap=2.0, m=3000)
    found = shadow_statistics(world.shadows, world.included, estimates="pooled")
    # Pooling raw scores would give 1 + 2² here, and the gap would be lost in it.
    np.testing.assert_allclose(found.std_in, 1, rtol=0.03)
    np.testing.assert_allclose(found.std_out, 1, rtol=0.03)
    assert np.ptp(found.std_out) == 0


def test_shrunk_variances_recover_a_known_prior():
    """Scaled inverse χ² variances with 6 degrees: Smyth's posterior is the best estimate in mean square."""
    rng = np.random.default_rng(5)
    variances = 6 / rng.chisquare(6, 5000)
    shadows = rng.normal(0, np.sqrt(variances), (16, 5000))
    included = balanced(rng, 16, 5000)
    out = shadow_statistics(shadows, included, mode="offline", estimates="shrunk").std_out ** 2
    raw = shadow_statistics(shadows, included, mode="offline", estimates="record").std_out ** 2
    np.testing.assert_allclose(np.median(out / ((6 + 7 * raw) / 13)), 1, rtol=0.1)
    assert np.square(np.log(out / variances)).mean() < np.square(np.log(raw / variances)).mean()


def test_constant_scores_are_no_division_by_zero():
    """A release that holds its members: distance 0 with the record, always; some distance without it."""
    rng = np.random.default_rng(0)
    m = 200
    included, coins = balanced(rng, 16, m), rng.random(m) < 0.5
    away = -rng.gamma(20, 0.05, (17, m))
    shadows, target = np.where(included, 0, away[1:]), np.where(coins, 0, away[0])
    for estimates in ("record", "pooled", "shrunk"):
        for mode in ("online", "offline"):
            scores = lira(target, shadows, included, mode=mode, estimates=estimates)
            assert np.isfinite(scores).all()
            assert roc_auc_score(coins, scores) > 0.99
    nothing = np.zeros((16, m))
    assert (lira(nothing[0], nothing, included, estimates="shrunk") == 0).all()


def test_rmia_by_hand():
    """One candidate and four population records, all likelihoods written out."""
    log = np.log
    shadows = log(np.array([[0.8, 0.5], [0.6, 0.5], [0.2, 0.5], [0.4, 0.5]]))
    included = np.array([[True, False], [True, True], [False, True], [False, False]])
    target = log(np.array([0.75, 0.5]))
    population = log(np.array([0.2, 0.3, 0.4, 0.8]))
    population_shadows = log(np.full((4, 4), 0.4))
    # p(x) = ½ (0.7 + 0.3) = 0.5: ratio 1.5 against 0.5, 0.75, 1 and 2; the other's ratio is 1.
    shares = rmia(target, shadows, included, population, population_shadows)
    assert np.floor(shares * 5).tolist() == [3, 3] and shares[0] > shares[1]
    shares = rmia(target, shadows, included, population, population_shadows, gamma=1.6)
    assert np.floor(shares * 5).tolist() == [2, 1]
    # Offline p(x) = ½ ((1 + a) p_out + 1 − a): 0.5 · (1.5 · 0.3 + 0.5) = 0.475, for z 0.5 · 1.1 = 0.55.
    shares = rmia(
        target, shadows, included, population, population_shadows, mode="offline", a=0.5, gamma=1.2
    )
    # 0.75 / 0.475 = 1.579; z: 0.364, 0.545, 0.727, 1.455, times 1.2 is 1.745 for the last.
    assert np.floor(shares * 5)[0] == 3


def test_rmia_likelihoods_do_not_depend_on_the_unit_of_the_score():
    world = World(16, m=100)
    target, shadows = world.logs()
    world.target, world.shadows = 7 * world.target - 3, 7 * world.shadows - 3
    world.population = 7 * world.population - 3
    world.population_shadows = 7 * world.population_shadows - 3
    np.testing.assert_allclose(world.logs()[0], target, rtol=1e-6)
    np.testing.assert_allclose(world.logs()[1], shadows, rtol=1e-6)
    assert (np.exp(target) > 0).all() and (np.exp(target) < 1).all()


def test_rmia_a_is_chosen_where_shadows_play_the_target():
    """Likelihoods for which p_in is close to p_out: the right approximation is a = 1."""
    rng = np.random.default_rng(2)
    m, level = 1500, rng.uniform(0.02, 0.6, 1500)
    included = balanced(rng, 16, m)
    noise = rng.normal(0, 0.15, (16, m))
    shadows = np.log(level * np.exp(noise + 0.1 * included))
    population = np.log(rng.uniform(0.02, 0.6, 200) * np.exp(rng.normal(0, 0.15, (16, 200))))
    assert choose_rmia_a(shadows, included, population) == 1.0


def test_stacking_finds_the_score_that_tells():
    good, useless = World(16, seed=1, gap=1.5, m=1500), World(16, seed=2, gap=0.0, m=1500)
    useless.shadows = useless.shadows.copy()
    targets = np.stack([useless.target, good.target])
    shadows = np.stack([useless.shadows, good.shadows])
    alone = good.lira(estimates="shrunk")
    both = good.auc(stacked_lira(targets, shadows, good.included))
    assert both > alone - 0.01
    other = World(16, seed=3, gap=1.5, m=1500)
    rng = np.random.default_rng(9)
    other.target = rng.normal(1.5 * good.coins, 1)
    other.shadows = rng.normal(1.5 * good.included, 1)
    pair = stacked_lira(
        np.stack([good.target, other.target]),
        np.stack([good.shadows, other.shadows]),
        good.included,
    )
    # Two independent scores: Φ(1.5 √2 / √2), against Φ(1.5 / √2) for one.
    assert good.auc(pair) == pytest.approx(stats.norm.cdf(1.5), abs=0.035)


def test_class_log_odds_are_logits_of_the_own_class():
    logits = np.array([-1.0, 0.5, 30.0])
    p = np.stack([expit(logits), 1 - expit(logits)], axis=1)
    found = class_log_odds(p, np.zeros(3, dtype=np.int64))
    np.testing.assert_allclose(found[:2], logits[:2])
    assert found[2] == pytest.approx(30, rel=1e-2)
    certain = class_log_odds(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 0]))
    assert np.isfinite(certain).all() and certain[0] > 500 and certain[1] < -500


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"included": np.zeros((4, 3), dtype=bool)}, "two shadows with it"),
        ({"included": np.ones((4, 3), dtype=bool)}, "two shadows without it"),
        ({"included": np.zeros((4, 2), dtype=bool)}, "one shape"),
        ({"shadows": np.full((4, 3), np.nan)}, "finite"),
    ],
)
def test_what_cannot_be_estimated_is_refused(change, words):
    given = {"shadows": np.zeros((4, 3)), "included": np.array([[1, 1, 1], [0, 0, 0]] * 2) == 1}
    with pytest.raises(ValueError, match=words):
        lira(np.zeros(3), **{**given, **change})


def test_shrinking_keeps_the_ratio_of_variances_that_all_records_share():
    """Deviation 3 with a record and 1 without it, for every record: 16 shadows say so to within a few percent."""
    rng = np.random.default_rng(0)
    included = balanced(rng, 16, 2000)
    shadows = rng.standard_normal(included.shape) * np.where(included, 3.0, 1.0)
    found = shadow_statistics(shadows, included, estimates="shrunk")
    np.testing.assert_allclose(found.std_in, 3.0, rtol=0.1)
    np.testing.assert_allclose(found.std_out, 1.0, rtol=0.1)


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize("estimates", ["shrunk", "record", "pooled"])
def test_each_shadow_plays_as_if_it_had_been_left_out(mode, estimates):
    """Moments with one shadow taken off are those of the others, an outlying shadow and a constant score included."""
    world = World(16, m=300)
    shadows = world.shadows + 50.0
    shadows[3] += 20
    shadows[:, 7] = 50.0
    rest = np.arange(16)
    one_by_one = [
        membership.lira(
            shadows[i],
            shadows[rest != i],
            world.included[rest != i],
            mode=mode,
            estimates=estimates,
        )
        for i in rest
    ]
    found = membership._play_all(shadows, world.included, mode, estimates)
    np.testing.assert_allclose(found, one_by_one, rtol=1e-9, atol=1e-9)


def test_a_record_with_too_few_shadows_to_play_is_refused():
    included = np.array([[True, False]] * 2 + [[False, True]] * 4)
    with pytest.raises(ValueError, match="ask for more shadows"):
        membership._play_all(np.ones((6, 2)), included, "online", "shrunk")
