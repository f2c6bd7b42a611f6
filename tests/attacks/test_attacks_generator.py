"""Attacks on samplers and weights: closed forms of scores, success on a generator that knows its records, chance."""

import numpy as np
import pytest
import torch
from conftest import _play
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from attacks.generator import GANInversion, Likelihood, bound, importance_draws
from attacks.sampler import Sampled
from benchmark.contracts import Access, Context, NotApplicable, Records, View
from benchmark.learning.membership import unexplained
from methods.controls import Holdout, Identity
from methods.controls.lookup import LookupGenerator

D, L, NOISE = 6, 3, 0.5
AXES = np.linalg.qr(np.random.default_rng(0).standard_normal((D, L)))[0] * [2.0, 1.0, 0.5]


class LinearGenerator(torch.nn.Module):
    """x = W z + noise with orthogonal columns: the posterior is Gaussian with a diagonal covariance.

    The encoder knows it, made ``wide`` times as wide.
    """

    latent, n_classes = L, 1

    def __init__(self, wide):
        super().__init__()
        self.wide = wide
        self.register_buffer("weights", torch.tensor(AXES, dtype=torch.float32))

    def forward(self, z, labels):
        return z @ self.weights.T

    def encode(self, x, labels):
        precision = 1 + self.weights.square().sum(0) / NOISE**2
        mean = (x @ self.weights) / NOISE**2 / precision
        return mean, torch.log(self.wide * precision**-0.5).expand_as(mean)


def drawn(wide, samples):
    data = np.random.default_rng(1).standard_normal((40, D)).astype(np.float32)
    records = Records(data, np.zeros(40, np.int64), extractor="drawn")
    parts = importance_draws(
        LinearGenerator(wide), records, samples, np.random.default_rng(2), "cpu"
    )
    truth = multivariate_normal(np.zeros(D), AXES @ AXES.T + NOISE**2 * np.eye(D)).logpdf(data)
    return parts, truth


def test_one_draw_from_the_true_posterior_gives_the_exact_likelihood():
    (squares, ratios), truth = drawn(1.0, 1)
    np.testing.assert_allclose(bound(squares, ratios, NOISE**2, D), truth, atol=1e-4)


def test_the_bound_rises_to_the_exact_likelihood_with_more_draws():
    errors = []
    for samples in (1, 4000):
        (squares, ratios), truth = drawn(1.5, samples)
        errors.append(np.abs(bound(squares, ratios, NOISE**2, D) - truth).max())
    assert errors[0] > 1.0
    assert errors[1] < 0.15


def test_the_elbo_falls_short_by_the_divergence_of_the_encoder():
    """KL(q ‖ p) of two Gaussians of one mean, one 1.5 times as wide: L (ln(1/1.5) + (1.5² − 1)/2)."""
    (squares, ratios), truth = drawn(1.5, 4000)
    gap = truth - bound(squares, ratios, NOISE**2, D, "elbo")
    expected = L * (np.log(1 / 1.5) + (1.5**2 - 1) / 2)
    np.testing.assert_allclose(gap.mean(), expected, atol=0.02)


def test_the_reconstruction_score_is_the_log_error_in_units_of_the_variance():
    squares = np.array([[4.0, 8.0], [12.0, 12.0]])
    found = bound(squares, np.zeros((2, 2)), 2.0, 3, "reconstruction")
    np.testing.assert_allclose(found, [0.0, -np.log(2.0)])


def test_what_is_explained_is_taken_off():
    rng = np.random.default_rng(3)
    hard = rng.normal(size=(50, 2))
    own = rng.normal(size=50)
    own -= (
        np.column_stack([np.ones(50), hard])
        @ np.linalg.lstsq(np.column_stack([np.ones(50), hard]), own, rcond=None)[0]
    )
    mixed = own + 3 * hard[:, 0] - 2 * hard[:, 1] + 7
    np.testing.assert_allclose(unexplained(mixed, hard), own, atol=1e-10)
    constant = np.column_stack([hard, np.ones(50)])
    np.testing.assert_allclose(unexplained(mixed, constant), own, atol=1e-10)


def test_the_generator_that_knows_its_records_makes_them_and_no_others():
    rng = np.random.default_rng(4)
    points = rng.normal(size=(9, 5)).astype(np.float32)
    labels = np.arange(9) % 3
    generator = LookupGenerator(points, labels)
    mean, log_std = generator.encode(torch.from_numpy(points), torch.from_numpy(labels))
    made = generator(mean, torch.from_numpy(labels))
    np.testing.assert_allclose(made.numpy(), points, atol=1e-5)
    assert (log_std < -4).all()
    drawn = generator(torch.randn(200, generator.latent), torch.zeros(200, dtype=torch.int64))
    own = points[labels == 0]
    assert (drawn.numpy() >= own.min(0) - 1e-5).all()
    assert (drawn.numpy() <= own.max(0) + 1e-5).all()


ATTACKS = {
    "iwae": Likelihood(samples=8),
    "elbo": Likelihood(statistic="elbo", samples=8),
    "reconstruction": Likelihood(statistic="reconstruction", samples=8),
    "gan_inversion": GANInversion(steps=15, restarts=1),
    "sampled": Sampled(draws=4000),
    "monte_carlo": Sampled(score="monte_carlo", draws=4000),
    "neighbourhood": Sampled(score="local_neighbourhood", draws=4000),
    "density": Sampled(score="density", draws=4000),
}


def pool_of(kind):
    data, labels = load_digits(return_X_y=True)
    if kind == "feature":
        return Records((data / 16).astype(np.float32), labels.astype(np.int64), extractor="pixels")
    return Records((data.reshape(-1, 8, 8, 1) * 15.9).astype(np.uint8), labels.astype(np.int64))


def played(attack, method, pool, seed, reference=True):
    """AUC of an attack on a control's sampler or generator, and its standard error at chance."""
    game = _play(pool, seed, 120, 130)
    context = Context(seed=seed, holdout=game.fresh)
    auxiliary = game.auxiliary.take(np.arange(150))
    release = method.fit(game.members, context)
    other = Identity().fit(auxiliary.take(np.arange(60)), context)
    access = attack.info.needs
    view = View(
        access=access,
        records=release.records,
        sample=release.sample,
        weights=release.weights if access is Access.WEIGHTS else None,
        reference=other if reference else None,
    )
    values = attack.run(view, game.candidates, auxiliary, context).values
    n1, n0 = game.coins.sum(), (~game.coins).sum()
    return roc_auc_score(game.coins, values), np.sqrt((n1 + n0 + 1) / (12 * n1 * n0))


@pytest.mark.parametrize("kind", ["feature", "image"])
@pytest.mark.parametrize("name", ATTACKS)
def test_a_generator_that_knows_the_members_gives_them_away(name, kind):
    """The density blurs copies by its bandwidth; the others see them as what they are."""
    least = {"density": 0.8, "monte_carlo": 0.9, "neighbourhood": 0.9}.get(name, 0.97)
    auc, _ = played(ATTACKS[name], Identity(), pool_of(kind), 0)
    assert auc >= least


@pytest.mark.parametrize("name", ATTACKS)
def test_a_generator_of_fresh_records_leaves_them_at_chance(name):
    found = [played(ATTACKS[name], Holdout(), pool_of("feature"), s) for s in range(10)]
    scores = np.array([(auc - 0.5) / error for auc, error in found])
    assert abs(scores.sum()) / np.sqrt(len(scores)) < 4
    assert (np.abs(scores) > 1.96).sum() <= 4  # Pr[Bin(10, 0.05) > 4] = 0.006 %


@pytest.mark.parametrize("name", ["iwae", "gan_inversion", "sampled"])
def test_a_missing_reference_is_named(name):
    with pytest.raises(NotApplicable, match="reference"):
        played(ATTACKS[name], Identity(), pool_of("feature"), 0, reference=False)


class Cloud:
    """A sampler of points about a centre for each class; the drawn ones are kept by class."""

    def __init__(self, shift):
        self.shift, self.drawn = shift, {0: [], 1: []}

    def __call__(self, n, labels, rng):
        points = rng.normal(size=(n, 3)) + self.shift * labels[:, None]
        made = Records(points.astype(np.float32), labels, extractor="t")
        self.drawn[int(labels[0])].append(made.data)
        return made


def test_sampled_by_its_definition():
    """Minus the log distance to the nearest draw of the candidate's class, less what the auxiliary records explain."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    candidates, auxiliary = (
        Records((rng.normal(size=(40, 3)) + labels[:, None]).astype(np.float32), labels, None, "t")
        for _ in range(2)
    )
    cloud = Cloud(shift=1.0)
    view = View(access=Access.SAMPLER, records=candidates, sample=cloud)
    found = Sampled(draws=600, reference=False).run(view, candidates, auxiliary, Context(seed=1))
    own = np.empty(40)
    for label in (0, 1):
        draws = np.concatenate(cloud.drawn[label])
        assert len(draws) == 300
        mine = labels == label
        own[mine] = cdist(candidates.data[mine], draws).min(axis=1)
    hard = np.log(cdist(candidates.data, auxiliary.data).min(axis=1))
    fit = np.polynomial.Polynomial.fit(hard, np.log(own), 1)
    np.testing.assert_allclose(found.values, -(np.log(own) - fit(hard)), atol=1e-6)
