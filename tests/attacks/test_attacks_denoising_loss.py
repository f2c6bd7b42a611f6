"""A flow's loss at chosen times: members of one that knows them by heart, records that it never saw, a closed form."""

import numpy as np
import pytest
import torch
from conftest import _play
from pydantic import ValidationError
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from attacks.generator import DenoisingLoss, losses_at
from benchmark.contracts import Access, Context, NotApplicable, Records, Release, View
from methods.controls.lookup import LookupGenerator
from methods.flow import Flow, HoldoutFlow

LONG = {
    "steps": 1200,
    "width": 32,
    "batch_size": 40,
    "lr": 4e-3,
    "average": 0.99,
    "integration_steps": 1,
}
"""The AUC was 0.81 at 500 steps with half the width, and 0.998 here."""


def pictures():
    digits = load_digits()
    images = (digits.images[..., None] * 255 / 16).round().astype(np.uint8)
    return Records(images, digits.target.astype(np.int64))


def played(method, seed, **parameters):
    """Coins and scores of a game of 80 candidates."""
    game = _play(pictures(), seed, 80, 200)
    release = method.fit(game.members, Context(seed=seed, holdout=game.fresh))
    attack = DenoisingLoss(**{"reference": False, **parameters})
    reference = None
    if attack.reference:
        reference = method.fit(game.auxiliary.take(np.arange(40)), Context(seed=seed))
    view = View(
        access=Access.WEIGHTS,
        records=release.records,
        weights=release.weights,
        reference=reference,
    )
    return game.coins, attack.run(view, game.candidates, game.auxiliary, Context(seed=seed)).values


@pytest.mark.slow
@pytest.mark.parametrize("reference", [False, True])
def test_members_of_an_overfitted_flow_are_told(reference):
    coins, scores = played(Flow(**LONG), 0, reference=reference)
    assert roc_auc_score(coins, scores) > 0.95


@pytest.mark.slow
def test_a_flow_of_other_records_leaves_candidates_at_chance(assert_at_chance):
    found = [played(HoldoutFlow(**LONG), seed) for seed in range(2)]
    assert_at_chance([roc_auc_score(c, s) for c, s in found], [c for c, _ in found])


# ---------------------------------------------------------------- closed forms


def by_heart(records):
    points = records.data.reshape(len(records), -1).astype(np.float32)
    return LookupGenerator(points, records.labels)


def test_a_generator_that_is_the_members_is_certain_of_them():
    """The positive control, without training; the records of a hold-out say nothing."""
    game = _play(pictures(), 3, 80, 200)

    def auc(known):
        view = View(access=Access.WEIGHTS, records=known, weights=by_heart(known))
        found = DenoisingLoss(reference=False).run(
            view, game.candidates, game.auxiliary, Context(seed=1)
        )
        return roc_auc_score(game.coins, found.values)

    assert auc(game.members) == 1
    assert 0.3 < auc(game.fresh) < 0.7


def test_velocity_of_records_known_by_heart_is_the_posterior_mean():
    """E[record | x_t] by Bayes' rule, with densities from scipy, over the records of the class alone."""
    from scipy.stats import norm

    records = pictures().take(np.arange(30))
    generator, t = by_heart(records), 0.3
    x = np.random.default_rng(0).normal(0, 0.7, (5, 1, 8, 8)).astype(np.float32)
    labels = records.labels[:5]
    got = generator.velocity(
        torch.from_numpy(x), torch.full((5,), t), torch.from_numpy(labels)
    ).numpy()
    known = records.data.reshape(30, 64) / 127.5 - 1
    for row in range(5):
        own = known[records.labels == labels[row]]
        log = norm.logpdf(x[row].ravel(), t * own, 1 - t).sum(axis=1)
        weights = np.exp(log - log.max())
        guess = weights @ own / weights.sum()
        expected = (guess - x[row].ravel()) / (1 - t)
        np.testing.assert_allclose(got[row].ravel(), expected, rtol=1e-3, atol=1e-3)


class Still(torch.nn.Module):
    """Always the velocity 0."""

    n_classes = 10

    def loss(self, x, labels, t, noise):
        assert ((t == 0.25).all()) and x.min() >= -1 and x.max() <= 1
        return (x - noise).square().mean(dim=(1, 2, 3))


def test_losses_are_means_over_noises_that_all_records_share():
    records = pictures().take(np.arange(300))
    got = losses_at(Still(), records, 0.25, 3, np.random.default_rng(0), "cpu")
    noise = np.random.default_rng(0).standard_normal((3, 1, 8, 8), dtype=np.float32).reshape(3, 64)
    x = records.data.reshape(300, 1, 64) / 127.5 - 1
    np.testing.assert_allclose(got, np.square(x - noise).mean(axis=(1, 2)), rtol=1e-5)


def test_what_cannot_be_attacked_is_said():
    records = pictures().take(np.arange(20))
    own, context = by_heart(records), Context(seed=0)
    view = View(access=Access.WEIGHTS, records=records, weights=torch.nn.Linear(1, 1))
    with pytest.raises(NotApplicable, match="needs a flow or diffusion model"):
        DenoisingLoss().run(view, records, records, context)
    view = View(access=Access.WEIGHTS, records=records, weights=own)
    with pytest.raises(NotApplicable, match="reference: false"):
        DenoisingLoss().run(view, records, records, context)
    few = Release(records=records, weights=by_heart(records.take(records.labels < 5)))
    view = View(access=Access.WEIGHTS, records=records, weights=few.weights)
    scores = DenoisingLoss(reference=False).run(view, records, records, context).values
    assert scores[records.labels >= 5].max() < scores[records.labels < 5].min()


@pytest.mark.parametrize("parameters", [{"times": []}, {"times": [1.0]}, {"draws": 0}])
def test_wrong_parameters_are_refused_by_name(parameters):
    with pytest.raises(ValidationError, match=next(iter(parameters))):
        DenoisingLoss(**parameters)
