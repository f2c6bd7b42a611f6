"""Fleets against one at a time: 1, 8 and 64 feature CVAEs (256-d, batches of 128), DP-CVAEs and linear heads.

Ten epochs without early stopping. ``extra_info`` has seconds a model; compare ``sequential`` with ``fleet``
of the same run. Torch may use all cores in both.
"""

import numpy as np
import pytest
import torch

from benchmark.contracts import Context, Records
from benchmark.learning.linear_head import fit_linear_head, fit_linear_heads
from methods.cvae import CVAE
from methods.dp_cvae import DPCVAE

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
METHODS = {
    "cvae": CVAE(batch_size=128, epochs=10, patience=10),
    "dp_cvae": DPCVAE(
        batch_size=128, epochs=4, epsilon=None, noise_multiplier=1.0, accountant="rdp"
    ),
}


def training_sets(models, n=600, d=256):
    made = []
    for seed in range(models):
        rng = np.random.default_rng(seed)
        data = rng.standard_normal((n, d)).astype(np.float32)
        made.append(Records(data, rng.integers(0, 4, n)))
    return made


def report(benchmark, models, run):
    benchmark.pedantic(run, rounds=2, warmup_rounds=0)
    benchmark.extra_info["seconds_per_model"] = benchmark.stats.stats.min / models


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", METHODS)
def test_one_at_a_time(benchmark, name, device):
    members = training_sets(4)
    contexts = [Context(seed=s, device=device) for s in range(4)]
    method = METHODS[name]
    report(benchmark, 4, lambda: [method.fit(m, c) for m, c in zip(members, contexts, strict=True)])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("models", [1, 8, 64])
@pytest.mark.parametrize("name", METHODS)
def test_fleet(benchmark, name, models, device):
    members = training_sets(models)
    contexts = [Context(seed=s, device=device) for s in range(models)]
    report(benchmark, models, lambda: METHODS[name].fit_many(members, contexts))


@pytest.mark.parametrize("models", [1, 8, 64])
@pytest.mark.parametrize("fleet", [False, True])
def test_linear_heads(benchmark, fleet, models):
    sets = [(m.data, m.labels) for m in training_sets(models)]
    validation = sets[0]
    options = {"validation": validation, "epochs": 20, "patience": 20}

    def run():
        generators = [torch.Generator().manual_seed(s) for s in range(models)]
        if fleet:
            return fit_linear_heads(sets, 4, generators=generators, **options)
        return [
            fit_linear_head(*one, 4, generator=g, **options)
            for one, g in zip(sets, generators, strict=True)
        ]

    report(benchmark, models, run)
