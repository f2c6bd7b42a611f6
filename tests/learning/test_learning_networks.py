"""LeNet, ConvNet and ResNet: counted parameters, shapes, and their use under torch.func."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.learning.networks import (
    NETWORKS,
    ConvNet,
    LeNet,
    ResNet,
    linear_head,
    make_network,
    to_unit,
    uniform_,
)
from benchmark.learning.training import build

CIFAR = (32, 32, 3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_resnet_20_has_the_parameters_counted_by_hand():
    """3·3 convolutions without bias, two numbers per channel of batch normalisation, shortcuts without parameters."""
    stem = 3 * 16 * 9 + 2 * 16
    first = 6 * (16 * 16 * 9 + 2 * 16)
    second = 16 * 32 * 9 + 5 * 32 * 32 * 9 + 6 * 2 * 32
    third = 32 * 64 * 9 + 5 * 64 * 64 * 9 + 6 * 2 * 64
    head = 64 * 10 + 10
    assert stem + first + second + third + head == 269_722
    assert count(ResNet(CIFAR, 10, depth=20)) == 269_722
    layers = [m for m in ResNet(CIFAR, 10).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 20


def test_lenet_and_convnet_have_the_parameters_counted_by_hand():
    lenet = (3 * 25 + 1) * 12 + 2 * (12 * 25 + 1) * 12 + (12 * 8 * 8 + 1) * 10
    assert count(LeNet(CIFAR, 10)) == lenet == 15_826
    convolutions = 9 * (1 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
    head = (64 * 7 * 7 + 1) * 10
    assert count(ConvNet((28, 28, 1), 10)) == convolutions + 32 + 32 + 64 + 64 + head
    assert count(ConvNet((28, 28, 1), 10, batch_norm=True)) == convolutions + 2 * 192 + head


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (33, 17, 3), (64, 64, 3)])
def test_logits_depend_on_the_image_alone_in_eval_mode(name, shape):
    network = build(lambda: make_network(name, shape, 7, width=4), generator(), "cpu").eval()
    images = torch.rand(5, shape[2], *shape[:2], generator=generator(1))
    logits = network(images)
    assert logits.shape == (5, 7)
    assert torch.allclose(network(images[2:3]), logits[2:3], atol=1e-5)
    assert not torch.allclose(logits[0], logits[1], atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_under_vmap_are_those_of_one_example_at_a_time(name):
    """As gradient matching uses them: many networks and images at once, batch normalisation in eval mode."""
    networks = [
        build(lambda: make_network(name, (8, 8, 1), 3, width=4), generator(s), "cpu").eval()
        for s in range(2)
    ]
    parameters, buffers = torch.func.stack_module_state(networks)
    images, labels = torch.rand(2, 1, 8, 8, generator=generator(5)), torch.tensor([0, 2])

    def loss(p, b, image, label):
        logits = torch.func.functional_call(networks[0], (p, b), (image[None],))
        return F.cross_entropy(logits, label[None])

    together = torch.func.vmap(torch.func.grad(loss))(parameters, buffers, images, labels)
    for i, network in enumerate(networks):
        network.zero_grad()
        F.cross_entropy(network(images[i : i + 1]), labels[i : i + 1]).backward()
        for key, parameter in network.named_parameters():
            assert torch.allclose(together[key][i], parameter.grad, atol=1e-5), key


def test_training_mode_gradients_work_once_running_statistics_are_dropped():
    network = build(lambda: ResNet((8, 8, 1), 3, depth=8, width=4), generator(), "cpu")
    torch.func.replace_all_batch_norm_modules_(network)
    images = torch.rand(4, 6, 1, 8, 8, generator=generator(2))
    state = dict(network.named_parameters())
    together = torch.func.vmap(lambda x: torch.func.functional_call(network, state, (x,)))(images)
    assert torch.allclose(together[1], network(images[1]), atol=1e-5)


def test_resnet_shortcuts_take_every_other_pixel_and_add_empty_channels():
    """With convolutions that give nothing, a block that halves is ReLU(shortcut)."""
    block = ResNet((8, 8, 1), 2, depth=8, width=4).blocks[1].eval()
    nn.init.zeros_(block.norm2.weight)
    maps = torch.rand(2, 4, 8, 8, generator=generator())
    out = block(maps)
    assert out.shape == (2, 8, 4, 4)
    assert torch.equal(out[:, 2:6], maps[:, :, ::2, ::2])
    assert out[:, :2].abs().max() == out[:, 6:].abs().max() == 0


def test_weights_come_from_the_generator_and_batch_norm_starts_as_the_identity():
    first, again = (build(lambda: ResNet(CIFAR, 10, depth=8), generator(3), "cpu") for _ in "ab")
    state = first.state_dict()
    assert all(torch.equal(state[name], value) for name, value in again.state_dict().items())
    assert torch.equal(first.norm.running_var, torch.ones(16))
    assert torch.equal(first.norm.weight, torch.ones(16))
    assert not first.norm.running_mean.any() and not first.norm.bias.any()


def test_uniform_weights_are_those_of_dlg():
    lenet = uniform_(build(lambda: LeNet(CIFAR, 10), generator(), "cpu"), generator(1))
    values = torch.cat([p.flatten() for p in lenet.parameters()])
    assert values.abs().max() <= 0.5
    assert values.std().item() == pytest.approx(1 / 12**0.5, rel=0.02)
    assert values.mean().item() == pytest.approx(0, abs=0.01)


def test_lenet_is_smooth_unless_asked_otherwise():
    assert any(isinstance(m, nn.Sigmoid) for m in LeNet(CIFAR, 2).modules())
    relu = LeNet(CIFAR, 2, activation="relu")
    assert not any(isinstance(m, nn.Sigmoid) for m in relu.modules())


def test_pixels_become_floats_in_the_order_of_torch():
    images = np.arange(2 * 8 * 9 * 3, dtype=np.uint8).reshape(2, 8, 9, 3)
    unit = to_unit(images)
    assert unit.shape == (2, 3, 8, 9) and unit.dtype == torch.float32
    assert unit[1, 2, 3, 4].item() == pytest.approx(images[1, 3, 4, 2] / 255)


def test_linear_head_is_affine():
    head = build(lambda: linear_head(5, 3), generator(), "cpu")
    x = torch.rand(2, 5)
    assert torch.allclose(head(x), x @ head.weight.T + head.bias)


@pytest.mark.parametrize("shape", [(7, 8, 1), (28, 65, 1), (28, 28, 2)])
def test_other_images_are_refused(shape):
    with pytest.raises(ValueError, match=r"8 … 64 pixels and 1 or 3 channels\. Got"):
        make_network("convnet", shape, 2)


def test_unknown_names_and_depths_are_refused():
    with pytest.raises(ValueError, match="one of lenet, convnet"):
        make_network("alexnet", CIFAR, 2)
    with pytest.raises(ValueError, match=r"6n \+ 2.*Got 18"):
        ResNet(CIFAR, 2, depth=18)
