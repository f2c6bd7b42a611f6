"""Time of a walk by image-step; run with ``pytest --benchmark-only tests/benchmarks/test_bench_latent_walk.py``.

An untrained generator takes as long as a trained one. A round of ``test_walk`` is 18 walks of 16 points: 252 pictures
and as many gradients a step; ``extra_info`` has milliseconds per image-step. Where other work shares the machine,
``--benchmark-timer=time.process_time`` counts CPU time instead.
"""

import pytest
import torch

from benchmark.learning.identity import Namer
from benchmark.learning.training import build as build_classifier
from methods.gan.networks import ImageGenerator, build
from methods.latent.walk import walk

STEPS = 4


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)], ids=str)
def test_walk(benchmark, shape):
    rng = torch.Generator().manual_seed(0)
    generator = build(lambda: ImageGenerator(shape, 2), rng, "cpu").requires_grad_(False).eval()
    identities, classes = (
        build_classifier(lambda n=n: Namer(shape, n, width=16), rng, "cpu")
        .requires_grad_(False)
        .eval()
        for n in (100, 2)
    )
    labels = torch.arange(18) % 2
    a, b = (generator.map(torch.randn(18, 32, generator=rng), labels) for _ in range(2))

    def run():
        return walk(
            generator.synthesise,
            a,
            b,
            labels,
            steps=STEPS,
            identities=identities.of_vectors,
            classes=classes.of_vectors,
        )

    found = benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    assert found.codes.shape == (18, 16, 64)
    image_steps = 18 * 14 * (STEPS + 1)
    benchmark.extra_info["image_steps"] = image_steps
    benchmark.extra_info["ms_per_image_step"] = 1e3 * benchmark.stats.stats.min / image_steps
