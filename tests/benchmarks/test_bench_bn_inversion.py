"""Batch-norm inversion per image-step: forward and backward pass of one image in one step of the optimisation.

28 × 28 × 1 images of ten classes through ResNet-8. ``extra_info`` has milliseconds per image-step and multiply-adds per
image and forward pass; the backward pass, to the pixels alone, costs about as many again.
"""

import pytest
import torch
from torch import nn

from benchmark.learning.networks import ResNet
from benchmark.learning.training import build
from methods.bn_inversion.statistics import class_statistics, synthesise

SHAPE, CLASSES = (28, 28, 1), 10
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]


def generator():
    return torch.Generator().manual_seed(0)


def multiply_adds(network):
    """Of one image, counted from the convolutions' and linear layers' outputs."""
    counted = []

    def count(layer, _, out):
        per_output = layer.weight[0].numel()
        counted.append(per_output * out[0].numel())

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        network(torch.zeros(1, SHAPE[2], *SHAPE[:2], device=next(network.parameters()).device))
    for hook in hooks:
        hook.remove()
    return sum(counted)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("images", [50, 100, 500])
def test_image_steps(benchmark, images, width, device):
    network = build(
        lambda: ResNet(SHAPE, CLASSES, depth=8, width=width), generator(), device
    ).eval()
    real = (torch.rand(100, *SHAPE, generator=generator()) * 255).byte().numpy()
    groups = torch.arange(CLASSES).repeat_interleave(images // CLASSES)
    targets = class_statistics(
        network, real, (torch.arange(100) % CLASSES).numpy(), range(CLASSES), device=device
    )
    steps = 5

    def run():
        made = synthesise(
            network, groups, groups, targets, shape=SHAPE, steps=steps, generator=generator(),
            device=device,
        )  # fmt: skip
        return made.images

    benchmark.pedantic(run, rounds=2, warmup_rounds=1)
    image_steps = len(groups) * (steps + 1)
    benchmark.extra_info["ms_per_image_step"] = 1e3 * benchmark.stats.stats.min / image_steps
    benchmark.extra_info["multiply_adds"] = multiply_adds(network)
