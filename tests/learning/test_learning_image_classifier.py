"""Training from scratch: real digits, hard and soft labels, augmentation, schedules, early stopping."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from benchmark.learning.image_classifier import (
    Recipe,
    accuracy,
    augment,
    fit_classifier,
    probabilities,
)
from benchmark.learning.networks import ConvNet, ResNet
from benchmark.learning.training import build

FAST = Recipe(epochs=8, batch_size=64, optimiser="adam", lr=0.01, schedule="one_cycle")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def digits():
    loaded = load_digits()
    images = (loaded.images * (255 / 16)).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(images))
    return images[order], loaded.target[order].astype(np.int64)


def resnet(seed=0):
    return build(lambda: ResNet((8, 8, 1), 10, depth=8, width=8), generator(seed), "cpu")


@pytest.mark.parametrize(
    "recipe",
    [
        FAST,
        Recipe(epochs=8, batch_size=64, lr=0.1, schedule="cosine", crop=1),
        Recipe(epochs=8, batch_size=64, optimiser="adam", lr=0.003, schedule="constant"),
    ],
    ids=["adam one-cycle", "sgd cosine", "adam constant"],
)
def test_digits_are_learned(recipe):
    """1,200 training digits; a linear classifier reaches about 95 % on the others."""
    images, labels = digits()
    network = resnet()
    summary = fit_classifier(
        network, images[:1200], labels[:1200], recipe=recipe, generator=generator()
    )
    assert accuracy(network, images[1200:], labels[1200:]) > 0.95
    assert summary.losses[-1] < 0.2 * summary.losses[0]
    assert not network.training


def test_soft_labels_that_are_certain_are_hard_labels():
    images, labels = digits()
    states = []
    for given in (labels[:300], np.eye(10, dtype=np.float32)[labels[:300]]):
        network = resnet()
        fit_classifier(network, images[:300], given, recipe=FAST, generator=generator(1))
        states.append(network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_soft_labels_are_learned_as_probabilities():
    """One picture with labels .7 and .3: the best answer to cross-entropy is those probabilities."""
    images = np.full((64, 8, 8, 1), 100, np.uint8)
    soft = np.tile(np.array([[0.7, 0.3]], np.float32), (64, 1))
    network = build(lambda: ConvNet((8, 8, 1), 2, width=4), generator(), "cpu")
    recipe = Recipe(epochs=40, optimiser="adam", lr=0.02, weight_decay=0)
    fit_classifier(network, images, soft, recipe=recipe, generator=generator())
    assert probabilities(network, images[:1])[0] == pytest.approx([0.7, 0.3], abs=0.01)


def test_same_seed_same_bits_and_no_global_state():
    images, labels = digits()
    recipe = Recipe(epochs=2, crop=1, flip=True)
    torch.manual_seed(9)
    before = torch.get_rng_state()
    answers = []
    for seed in (1, 1, 2):
        network = resnet()
        fit_classifier(
            network, images[:200], labels[:200], recipe=recipe, generator=generator(seed)
        )
        answers.append(probabilities(network, images[200:220]))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])


def test_validation_keeps_the_best_epoch_and_stops_early():
    """Labels that mean nothing: the validation loss soon rises."""
    images, _ = digits()
    labels = np.random.default_rng(0).integers(0, 10, 400)
    recipe = Recipe(epochs=30, optimiser="adam", lr=0.01, schedule="constant", patience=3)
    validation = (images[200:400], labels[200:400])
    network = resnet()
    summary = fit_classifier(
        network,
        images[:200],
        labels[:200],
        recipe=recipe,
        generator=generator(),
        validation=validation,
    )
    assert summary.epochs == summary.best_epoch + 3 < 30
    assert min(summary.validation_losses) == summary.validation_losses[summary.best_epoch - 1]
    shares = probabilities(network, validation[0])
    loss = -np.log(shares[np.arange(200), validation[1]]).mean()
    assert loss == pytest.approx(min(summary.validation_losses), rel=1e-4)


def test_without_patience_validation_only_picks_the_epoch():
    images, labels = digits()
    summary = fit_classifier(
        resnet(),
        images[:200],
        labels[:200],
        recipe=Recipe(epochs=5, optimiser="adam", lr=0.01),
        generator=generator(),
        validation=(images[200:300], labels[200:300]),
    )
    assert summary.epochs == 5
    assert summary.best_epoch == 1 + int(np.argmin(summary.validation_losses))


def test_crops_shift_with_zeros_and_flips_mirror():
    """Each image carries one bright pixel and a dimmer one right of it: where it went can be read off."""
    images = torch.zeros(400, 1, 9, 9)
    images[:, 0, 4, 4], images[:, 0, 4, 5] = 1.0, 0.5
    moved = augment(images, crop=2, flip=True, generator=generator())
    where = moved.flatten(1).argmax(dim=1)
    rows, columns = where // 9 - 4, where % 9 - 4
    assert rows.abs().max() == columns.abs().max() == 2
    assert all((rows == shift).sum() > 40 for shift in range(-2, 3))
    assert torch.allclose(moved.sum(dim=(1, 2, 3)), torch.tensor(1.5))
    each = torch.arange(400)
    right = moved[each, 0, rows + 4, columns + 5] == 0.5
    left = moved[each, 0, rows + 4, columns + 3] == 0.5
    assert (right ^ left).all() and 160 < left.sum() < 240


def test_nothing_asked_for_nothing_drawn():
    source = generator()
    before = source.get_state()
    images = torch.rand(3, 1, 8, 8)
    assert augment(images, 0, False, source) is images
    assert torch.equal(source.get_state(), before)


def test_a_last_batch_of_one_image_is_left_out():
    """Batch normalisation of one value per channel would raise."""
    images, labels = digits()
    network = nn.Sequential(
        nn.Conv2d(1, 4, 8), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 10)
    )
    recipe = Recipe(epochs=2, batch_size=16)
    summary = fit_classifier(
        network, images[:17], labels[:17], recipe=recipe, generator=generator()
    )
    assert summary.epochs == 2


def test_wrong_labels_are_refused():
    images, labels = digits()
    with pytest.raises(ValueError, match=r"10 columns\. Got 3"):
        fit_classifier(
            resnet(), images[:9], np.full((9, 3), 1 / 3), recipe=FAST, generator=generator()
        )
    with pytest.raises(ValueError, match="at least 2 images"):
        fit_classifier(resnet(), images[:1], labels[:1], recipe=FAST, generator=generator())
