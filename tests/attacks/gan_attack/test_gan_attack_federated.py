"""Federated averaging by hand-computed means, and a generator that only gets what it may."""

import numpy as np
import pytest
import torch
from torch import nn

from attacks.gan_attack import federated
from attacks.gan_attack.federated import Federation, Participant
from benchmark.learning.training import single_thread


def _linear(weight, bias):
    layer = nn.Linear(1, 1)
    with torch.no_grad():
        layer.weight.fill_(weight)
        layer.bias.fill_(bias)
    return layer


def test_the_average_weighs_participants_by_their_shares():
    shared = _linear(0, 0)
    federated.average_(shared, [_linear(1, -4), _linear(5, 8)], [30, 10])
    assert shared.weight.item() == 2 and shared.bias.item() == -1


def test_an_average_of_equal_models_is_that_model():
    shared, same = _linear(7, 7), _linear(2, 3)
    federated.average_(shared, [same, same], [1, 2])
    assert shared.weight.item() == pytest.approx(2) and shared.bias.item() == pytest.approx(3)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 13, 10)])
def test_generated_images_fit_the_shared_model(shape):
    maker = federated.Generator(shape)
    images = federated.generate(maker, 5, torch.Generator().manual_seed(0))
    assert images.shape == (5, *shape)
    assert images.abs().max() <= 1
    assert federated.SharedModel(shape, 4)(images).shape == (5, 4)


def _bars(n, classes, seed, noise=0.1):
    """Images of 8 × 8 with a bright bar in the two rows from 2 · label on."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor(classes)[torch.arange(n) % len(classes)]
    images = torch.full((n, 1, 8, 8), -0.8) + noise * torch.randn(n, 1, 8, 8, generator=generator)
    for row in (0, 1):
        images[torch.arange(n), 0, 2 * labels + row] = 0.8
    return Participant(images.clamp(-1, 1), labels)


SETTINGS = Federation(rounds=12, generator_steps=5, generator_batch=16, fakes=8, lr=0.05)


def _train(settings, seed=0, adversary=None):
    victim, other = _bars(40, [0, 1], 1), adversary or _bars(40, [2], 2)
    with single_thread():
        shared, makers = federated.train_federation(
            victim, other, [0], 3, settings, torch.Generator().manual_seed(seed)
        )
    return victim, shared, makers[0]


def test_the_generator_finds_the_bar_of_a_class_that_it_never_saw():
    victim, _, maker = _train(SETTINGS)
    with torch.no_grad():
        fakes = federated.generate(maker, 32, torch.Generator().manual_seed(1)).mean(dim=(0, 1, 3))
    assert set(fakes.topk(2).indices.tolist()) == {0, 1}
    real = victim.images[victim.labels == 0].mean(dim=(0, 1, 3))
    assert np.corrcoef(fakes, real)[0, 1] > 0.6


def test_training_does_not_depend_on_the_global_random_state():
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        _, shared, _ = _train(Federation(rounds=2, generator_steps=2, generator_batch=4, fakes=4))
        weights.append(torch.cat([p.detach().flatten() for p in shared.parameters()]))
    assert torch.equal(*weights)


def test_without_injection_nobody_is_taught_the_extra_class():
    """Its bias only falls, for every record of either side speaks against it."""
    few = Federation(rounds=3, generator_steps=1, generator_batch=4, fakes=40, lr=0.05)
    with_fakes, without = (
        _train(Federation(**{**vars(few), "inject": inject}))[1] for inject in (True, False)
    )
    assert without.body[-1].bias[3] < with_fakes.body[-1].bias[3]
    images = _bars(6, [0, 1, 2], 3).images
    assert without(images).softmax(1)[:, 3].max() < 0.25


def test_a_participant_without_records_takes_no_part():
    nobody = Participant(torch.empty(0, 1, 8, 8), torch.empty(0, dtype=torch.int64))
    few = Federation(rounds=1, generator_steps=1, generator_batch=4, inject=False)
    victim, shared, _ = _train(few, adversary=nobody)
    assert torch.isfinite(shared(victim.images)).all()


def test_a_round_is_on_so_many_records_drawn_anew():
    everybody = Participant(torch.arange(10.0).reshape(10, 1, 1, 1), torch.arange(10))
    generator = torch.Generator().manual_seed(0)
    drawn = [federated._some(everybody, 4, generator) for _ in range(20)]
    for some in drawn:
        assert len(set(some.labels.tolist())) == 4
        assert torch.equal(some.images.flatten(), some.labels.float())
    assert set(torch.cat([some.labels for some in drawn]).tolist()) == set(range(10))
    assert sorted(federated._some(everybody, 99, generator).labels.tolist()) == list(range(10))


def test_training_goes_on_from_a_model_and_leaves_it():
    few = Federation(rounds=1, generator_steps=1, generator_batch=4, fakes=4)
    _, start, _ = _train(few)
    before = [p.detach().clone() for p in start.parameters()]
    victim, other = _bars(40, [0, 1], 1), _bars(40, [2], 2)
    weights = []
    for rounds in (0, 1):
        shared, makers = federated.train_federation(
            victim,
            other,
            [],
            3,
            Federation(rounds=rounds),
            torch.Generator().manual_seed(1),
            start=start,
        )
        assert not makers
        weights.append([p.detach() for p in shared.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(before, start.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, weights[0], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(before, weights[1], strict=True))
