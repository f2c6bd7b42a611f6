"""DOMIAS: densities against scikit-learn and closed forms, and its control."""

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KernelDensity

from attacks.domias import DOMIAS
from attacks.nearest_distance import NearestDistance
from benchmark.contracts import Access, Context, NotApplicable, Records, View


def _records(rows):
    rows = np.asarray(rows, np.float32)
    return Records(rows, np.zeros(len(rows), np.int64))


def _run(attack, release, candidates, auxiliary, seed=0):
    view = View(access=Access.RECORDS, records=_records(release))
    return attack.run(view, _records(candidates), _records(auxiliary), Context(seed=seed)).values


def test_scores_are_the_ratio_of_scikit_learns_densities_on_its_components():
    rng = np.random.default_rng(2)
    scale = np.geomspace(1, 0.1, 12)
    release, candidates, auxiliary = (rng.standard_normal((n, 12)) * scale for n in (50, 30, 90))
    values = _run(DOMIAS(components=4, bandwidth=0.5), release, candidates, auxiliary)
    union = np.concatenate([release, auxiliary]).astype(np.float32)
    pca = PCA(4, whiten=True, svd_solver="full").fit(union.astype(np.float64))
    release, candidates, auxiliary = map(pca.transform, (release, candidates, auxiliary))
    kernels = KernelDensity(bandwidth=0.5, rtol=1e-10)
    expected = kernels.fit(release).score_samples(candidates)
    expected = expected - kernels.fit(auxiliary).score_samples(candidates)
    np.testing.assert_allclose(values, expected, atol=2e-3)


def test_gaussian_densities_of_many_records_give_the_true_log_ratio():
    rng = np.random.default_rng(3)
    release = rng.standard_normal((40_000, 2)) * [0.5, 1.5] + [1, 0]
    auxiliary = rng.standard_normal((40_000, 2))
    candidates = rng.standard_normal((200, 2))
    values = _run(DOMIAS(density="gaussian"), release, candidates, auxiliary)

    def log_normal(x, mean, scale):
        return -0.5 * (((x - mean) / scale) ** 2).sum(1) - np.log(scale).sum()

    truth = log_normal(candidates, np.array([1, 0]), np.array([0.5, 1.5]))
    truth = truth - log_normal(candidates, np.zeros(2), np.ones(2))
    assert np.abs(values - truth).max() < 0.3
    assert np.corrcoef(values, truth)[0, 1] > 0.999


def test_reaches_its_declared_control_on_digits(rounds):
    required = DOMIAS.info.positive_controls[0].at_least
    aucs = [game.auc(DOMIAS(), game.members) for game in rounds]
    assert min(aucs) >= required + 0.05


@pytest.mark.parametrize("bandwidth", ["scott", 0.5])
def test_other_bandwidths_tell_members_too(rounds, bandwidth):
    attack = DOMIAS(bandwidth=bandwidth)
    assert np.mean([game.auc(attack, game.members) for game in rounds[:3]]) >= 0.8


PARAMETRIC = [
    DOMIAS(density="gaussian"),
    DOMIAS(density="gaussian", components=4),
    DOMIAS(density="mixture"),
    DOMIAS(density="mixture", mixture=3),
    DOMIAS(density="neighbours", neighbours=2),
    DOMIAS(density="neighbours", neighbours=5),
]


@pytest.mark.parametrize("attack", PARAMETRIC, ids=repr)
def test_densities_that_see_no_copies_leak_as_theory_says(attack, play):
    (control,) = attack.positive_controls()
    assert control.dataset == "gaussian"
    rng = np.random.default_rng(7)
    aucs = []
    for seed in range(4):
        pool = _records(rng.standard_normal((control.dataset_parameters["records"], 16)))
        game = play(pool, seed, n_candidates=control.candidates, n_fresh=2)
        aucs.append(game.auc(attack, game.members))
    theory = 2 * control.at_least - 0.5  # the control asks for half of it above chance
    error = 0.5 / np.sqrt(3 * len(aucs) * control.candidates / 2)
    assert abs(np.mean(aucs) - theory) < 4 * error + 0.03  # 0.03: the theory is of first order


def test_the_nearest_neighbours_density_finds_copies(rounds):
    attack = DOMIAS(density="neighbours")
    (control,) = attack.positive_controls()
    assert control.dataset is None
    for game in rounds[:3]:
        assert game.auc(attack, game.members) >= max(control.at_least, 0.99)


def test_discounts_what_is_dense_in_the_population_anyway():
    # Two clusters, one far denser, and a release without a trace of the candidates. Distance ranks
    # every candidate of the dense cluster higher; the ratio of densities hardly does.
    rng = np.random.default_rng(4)

    def clusters(n):
        return np.concatenate([rng.normal(0, 0.3, (n, 2)), rng.normal(5, 1, (n, 2))])

    release, candidates, auxiliary = clusters(200), clusters(500), clusters(1000)
    dense = np.arange(1000) < 500
    by_ratio = roc_auc_score(dense, _run(DOMIAS(), release, candidates, auxiliary))
    by_distance = roc_auc_score(dense, _run(NearestDistance(), release, candidates, auxiliary))
    assert by_distance > 0.8
    assert abs(by_ratio - 0.5) < 0.15


@pytest.mark.parametrize("density", ["kde", "gaussian", "mixture", "neighbours"])
def test_is_at_chance_on_fresh_records(rounds, assert_at_chance, density):
    aucs = [game.auc(DOMIAS(density=density), game.fresh) for game in rounds]
    assert_at_chance(aucs, [game.coins for game in rounds])


@pytest.mark.parametrize("density", ["kde", "gaussian", "mixture", "neighbours"])
@pytest.mark.parametrize("n_released", [1, 2])
def test_a_release_of_one_or_two_records_is_scored(digits, density, n_released):
    auxiliary, candidates = digits.data[:500], digits.data[500:800]
    release = candidates[:n_released]
    values = _run(DOMIAS(density=density), release, candidates, auxiliary)
    assert np.isfinite(values).all()
    # What was released stands out among the candidates.
    assert (values[:n_released] > np.quantile(values, 0.95)).all()


def test_repeated_records_in_the_release_do_not_collapse_the_bandwidth(rounds):
    game = rounds[0]
    few = game.members.data[:20]
    once = _run(DOMIAS(), few, game.candidates.data, game.auxiliary.data)
    often = _run(DOMIAS(), np.repeat(few, 15, axis=0), game.candidates.data, game.auxiliary.data)
    assert np.isfinite(often).all()
    assert np.corrcoef(once, often)[0, 1] > 0.5


def test_scores_stay_finite_in_thousands_of_dimensions_and_far_away():
    rng = np.random.default_rng(5)
    auxiliary, release = rng.standard_normal((200, 4000)), rng.standard_normal((100, 4000))
    candidates = np.concatenate([rng.standard_normal((20, 4000)), np.full((1, 4000), 1e4)])
    for density in ("kde", "gaussian", "mixture", "neighbours"):
        values = _run(DOMIAS(density=density), release, candidates, auxiliary)
        assert np.isfinite(values).all()


def test_records_that_span_fewer_dimensions_than_asked_for():
    rng = np.random.default_rng(6)
    auxiliary = np.outer(rng.standard_normal(300), [1, 2, 3, 4])
    release, others = auxiliary[:50] * 1.001, np.outer(rng.standard_normal(50), [1, 2, 3, 4])
    values = _run(DOMIAS(bandwidth=0.01), release, np.concatenate([release, others]), auxiliary)
    assert roc_auc_score(np.arange(100) < 50, values) > 0.7


def test_the_same_seed_gives_the_same_scores(rounds):
    game = rounds[0]
    first, again = (game.attack(DOMIAS(), game.members).values for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_records_without_differences_are_not_applicable():
    same = np.ones((5, 3))
    with pytest.raises(NotApplicable, match="records that differ"):
        _run(DOMIAS(), same, same, same)
    with pytest.raises(NotApplicable, match=r"two or more\. Got 1"):
        _run(DOMIAS(), same, same, same[:1])


@pytest.mark.parametrize(
    "parameters",
    [
        {"components": 0},
        {"bandwidth": 0.0},
        {"bandwidth": "wide"},
        {"density": "flow"},
        {"neighbours": 0},
        {"mixture": 0},
    ],
)
def test_wrong_parameters_are_refused(parameters):
    with pytest.raises(ValidationError, match=next(iter(parameters))):
        DOMIAS(**parameters)


def test_a_whole_number_is_a_bandwidth(rounds):
    game = rounds[0]
    whole, real = (game.attack(DOMIAS(bandwidth=b), game.members).values for b in (1, 1.0))
    np.testing.assert_array_equal(whole, real)
