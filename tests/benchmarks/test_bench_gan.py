"""A training step of the GAN as the method trains it, and inversion per image and step, at 28 px and 32 px colour.

``extra_info`` has milliseconds a step and images a second of training (real and made), and microseconds per image and
step of inversion in w, one target at a time and 128 together.
"""

import pytest
import torch

from benchmark.learning.inversion import invert, latent_statistics
from methods.gan.networks import (
    Augmentation,
    CodeReader,
    Discriminator,
    ImageGenerator,
    build,
    train_gan,
)

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
SHAPES = [(28, 28, 1), (32, 32, 3), (64, 64, 3)]


def rng():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("repetition", [0.0, 10.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_training_step(benchmark, shape, repetition, device):
    steps, batch = 10, 32
    generator = build(lambda: ImageGenerator(shape, 10), rng(), device)
    discriminator = build(lambda: Discriminator(shape, 10), rng(), device)
    reader = build(lambda: CodeReader(shape, 10), rng(), device)
    height, width, colours = shape
    images = torch.rand(256, colours, height, width, generator=rng()).to(device)
    labels = (torch.arange(256) % 10).to(device)

    def run():
        train_gan(
            generator,
            discriminator,
            images,
            labels,
            steps=steps,
            batch_size=batch,
            reader=reader,
            repetition_weight=repetition,
            augmentation=Augmentation(),
            rng=rng(),
        )

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    step = benchmark.stats.stats.min / steps
    benchmark.extra_info["milliseconds_per_step"] = 1000 * step
    benchmark.extra_info["images_per_second"] = batch / step


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("targets", [1, 128])
@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
def test_inversion(benchmark, shape, targets, device):
    steps = 10
    generator = build(lambda: ImageGenerator(shape, 10), rng(), device)
    labels = torch.arange(targets) % 10
    with torch.no_grad():
        z = torch.randn(targets, generator.latent, generator=rng())
        images = generator(z.to(device), labels.to(device)).cpu()
    statistics = latent_statistics(generator, "w", rng=rng())

    def run():
        return invert(
            generator,
            images,
            labels,
            steps=steps,
            batch=128,
            prior_weight=1e-3,
            statistics=statistics,
            rng=rng(),
        )

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    per = benchmark.stats.stats.min / steps / targets
    benchmark.extra_info["microseconds_per_image_step"] = 1e6 * per
