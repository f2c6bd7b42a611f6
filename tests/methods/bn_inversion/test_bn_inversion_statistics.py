"""Batch-norm statistics by class against NumPy, the four terms by hand, and what the optimisation keeps."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.learning.networks import ResNet, to_unit
from benchmark.learning.training import build
from methods.bn_inversion.statistics import (
    Statistics,
    Weights,
    class_statistics,
    group_statistics,
    pooled,
    synthesise,
    total_variation,
    watched_inputs,
)

SHAPE = (8, 8, 1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(seed=0, n_classes=3):
    made = build(lambda: ResNet(SHAPE, n_classes, depth=8, width=4), generator(seed), "cpu")
    with torch.no_grad():  # running statistics other than 0 and 1
        made.train()(torch.rand(64, 1, 8, 8, generator=generator(9)))
    return made.eval()


def some_images(n=40, n_classes=3):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % n_classes
    images = (rng.random((n, *SHAPE)) * 60 + labels[:, None, None, None] * 60).astype(np.uint8)
    return images, labels


def inputs_of(net, images):
    with watched_inputs(net) as seen, torch.no_grad():
        net(to_unit(images))
    return [s.numpy().astype(np.float64) for s in seen]


def shares_of(groups):
    owners = torch.nn.functional.one_hot(torch.tensor(groups)).T.float()
    return owners / owners.sum(1, keepdim=True)


def test_group_statistics_are_those_of_the_groups_pixels():
    maps = torch.rand(7, 5, 4, 3, generator=generator()) * 3 + 100
    groups = np.array([0, 1, 0, 2, 2, 0, 1])
    means, variances = group_statistics(maps, shares_of(groups))
    for g in range(3):
        own = maps.numpy()[groups == g].astype(np.float64)
        assert means[g].numpy() == pytest.approx(own.mean(axis=(0, 2, 3)), rel=1e-6)
        assert variances[g].numpy() == pytest.approx(own.var(axis=(0, 2, 3)), rel=1e-4)


def test_class_statistics_are_those_of_the_inputs_in_eval_mode():
    """Biased variance, the input (not the output) of every layer, in batches or not, classes in the order given."""
    net, (images, labels) = network(), some_images()
    found = class_statistics(net, images, labels, [2, 0], batch_size=5)
    assert found.counts.tolist() == [13, 14]
    assert len(found.means) == 7
    for row, label in enumerate((2, 0)):
        for layer, inputs in enumerate(inputs_of(net, images[labels == label])):
            mean, variance = inputs.mean(axis=(0, 2, 3)), inputs.var(axis=(0, 2, 3))
            assert found.means[layer][row].numpy() == pytest.approx(mean, rel=1e-4, abs=1e-6)
            assert found.variances[layer][row].numpy() == pytest.approx(variance, rel=1e-3)


def test_the_first_layers_statistics_are_what_batch_norm_itself_computes():
    """Independent of our arithmetic: one training pass with momentum 1 stores mean and *unbiased* variance."""
    net, (images, labels) = network(), some_images()
    found = pooled(class_statistics(net, images, labels, [0, 1, 2]))
    other = network()
    other.norm.momentum = 1.0
    with torch.no_grad():
        other.train()(to_unit(images))
    n = images.shape[0] * 64
    assert torch.allclose(found.means[0][0], other.norm.running_mean, rtol=1e-4)
    assert torch.allclose(found.variances[0][0] * n / (n - 1), other.norm.running_var, rtol=1e-3)


def test_pooled_classes_are_one_class_of_all():
    net, (images, labels) = network(), some_images()
    together = pooled(class_statistics(net, images, labels, [0, 1, 2]))
    at_once = class_statistics(net, images, np.zeros_like(labels), [0])
    for a, b in zip(together.variances + together.means, at_once.variances + at_once.means):  # noqa: B905
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_hooks_are_gone_even_after_an_error():
    net = network()
    with pytest.raises(RuntimeError, match="stop"), watched_inputs(net):
        raise RuntimeError("stop")
    assert all(not m._forward_pre_hooks for m in net.modules())
    synthesise(
        net, torch.tensor([0, 1]), torch.tensor([0, 1]), None, shape=SHAPE, steps=1,
        generator=generator(),
    )  # fmt: skip
    assert all(not m._forward_pre_hooks for m in net.modules())


def test_total_variation_by_hand_and_summed_over_the_group():
    """Right 1 and 3, down 2 and 4, diagonal 5, other diagonal −1 + 2 = 1: √10 + √20 + √25 + √1."""
    image = torch.tensor([[0.0, 1.0], [2.0, 5.0]])[None, None]
    by_hand = 10**0.5 + 20**0.5 + 5 + 1
    one = total_variation(image, torch.ones(1, 1))
    assert one.item() == pytest.approx(by_hand, rel=1e-5)
    four = total_variation(image.repeat(4, 1, 1, 1), torch.ones(1, 4))
    assert four.item() == pytest.approx(2 * by_hand, rel=1e-5), "a norm of all, not a mean"
    parted = total_variation(image.repeat(2, 1, 1, 1), torch.eye(2))
    assert parted.tolist() == pytest.approx([by_hand] * 2, rel=1e-5)


def by_hand(net, images, labels, groups, targets, weights, centre, spread):
    """The loss of each group, from its definition, in NumPy."""
    losses = []
    standard = (images - centre) / spread
    with watched_inputs(net) as seen, torch.no_grad():
        logits = net(images).double().numpy()
    inputs = [s.numpy().astype(np.float64) for s in seen]
    for g in range(int(groups.max()) + 1):
        own = np.flatnonzero(groups == g)
        bn = sum(
            np.linalg.norm(x[own].mean(axis=(0, 2, 3)) - m[g].numpy())
            + np.linalg.norm(x[own].var(axis=(0, 2, 3)) - v[g].numpy())
            for x, m, v in zip(inputs, targets.means, targets.variances, strict=True)
        )
        shares = np.exp(logits[own]) / np.exp(logits[own]).sum(axis=1, keepdims=True)
        ce = -np.log(shares[np.arange(len(own)), labels[own]]).mean()
        x = standard[own].double().numpy()
        tv = sum(
            np.linalg.norm(d)
            for d in (
                x[..., 1:] - x[..., :-1],
                x[:, :, 1:] - x[:, :, :-1],
                x[:, :, 1:, 1:] - x[:, :, :-1, :-1],
                x[:, :, 1:, :-1] - x[:, :, :-1, 1:],
            )
        )
        l2 = np.linalg.norm(x)
        losses.append(weights.bn * bn + weights.ce * ce + weights.tv * tv + weights.l2 * l2)
    return losses


@pytest.mark.parametrize("lr", [0.1, 30.0])
def test_the_kept_images_have_the_loss_that_is_reported(lr):
    """With steps that are far too large the last iterate is not the best: the best must have been copied."""
    net, (images, labels) = network(), some_images()
    targets = class_statistics(net, images, labels, [0, 1, 2])
    wanted, groups = torch.tensor([0, 0, 1, 1, 1, 2]), torch.tensor([0, 0, 1, 1, 1, 2])
    weights = Weights(bn=3.0, ce=2.0, tv=0.05, l2=0.02)
    mean, spread = np.array([0.4]), np.array([0.3])
    made = synthesise(
        net, wanted, groups, targets, shape=SHAPE, steps=15, generator=generator(1),
        weights=weights, lr=lr, roll=0, flip=False, scale=(mean, spread),
    )  # fmt: skip
    again = by_hand(net, made.images, wanted.numpy(), groups.numpy(), targets, weights, 0.4, 0.3)
    assert made.losses.tolist() == pytest.approx(again, rel=1e-3)
    assert (made.losses <= made.first_losses).all()
    assert made.images.min() >= 0 and made.images.max() <= 1
    if lr == 0.1:
        assert (made.losses < 0.6 * made.first_losses).all()


def test_a_groups_images_do_not_depend_on_who_else_is_in_the_pass():
    net, (images, labels) = network(), some_images()
    targets = class_statistics(net, images, labels, [0, 1, 2])
    kwargs = {"shape": SHAPE, "steps": 5, "roll": 0, "flip": False}
    both = torch.tensor([1, 1, 1, 2, 2])
    together = synthesise(
        net, both, torch.tensor([0, 0, 0, 1, 1]), targets.rows(torch.tensor([1, 2])),
        generator=generator(4), **kwargs,
    )  # fmt: skip
    alone = synthesise(
        net, both[:3], torch.zeros(3, dtype=torch.int64), targets.rows(torch.tensor([1])),
        generator=generator(4), **kwargs,
    )  # fmt: skip
    assert torch.allclose(together.images[:3], alone.images, atol=1e-3)
    assert together.losses[0].item() == pytest.approx(alone.losses[0].item(), rel=1e-3)


def test_statistics_of_single_layer_are_reached():
    """A network whose only statistics are the pixels' own: images end with the wanted mean and variance."""
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 2)).eval()
    targets = Statistics(
        means=(torch.tensor([[0.7], [0.2]]),),
        variances=(torch.tensor([[0.01], [0.03]]),),
        counts=torch.tensor([1, 1]),
    )
    groups = torch.arange(2).repeat_interleave(10)
    made = synthesise(
        net, groups, groups, targets, shape=SHAPE, steps=300, generator=generator(),
        weights=Weights(bn=10, ce=0, tv=0), lr=0.02,
    )  # fmt: skip
    for g, (mean, variance) in enumerate(((0.7, 0.01), (0.2, 0.03))):
        pixels = made.images[groups == g]
        assert pixels.mean().item() == pytest.approx(mean, abs=0.01)
        assert pixels.var().item() == pytest.approx(variance, abs=0.003)


def test_rolls_and_flips_are_drawn_from_the_generator():
    net = network()
    labels = groups = torch.arange(3)
    makes = [
        synthesise(net, labels, groups, None, shape=SHAPE, steps=3, generator=generator(s), roll=r)
        for s, r in ((0, 2), (0, 2), (1, 2), (0, 0))
    ]
    assert torch.equal(makes[0].images, makes[1].images)
    assert not torch.equal(makes[0].images, makes[2].images)
    assert not torch.equal(makes[0].images, makes[3].images)
    assert makes[0].terms["bn"].tolist() == [0, 0, 0]
