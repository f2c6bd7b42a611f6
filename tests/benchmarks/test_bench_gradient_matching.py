"""Gradient matching: 32 targets together, one after another, and by ``breaching``, on 28 × 28 images.

Inverting Gradients with the same networks, images, starts and iterations; without total variation, which ``breaching``
has for three channels only. ``extra_info`` has wall and CPU seconds an image, and the mean PSNR of the first four;
compare the entries of one run. ``breaching`` (MIT) is no dependency of the project: where it is not installed
(``pip install breaching``, of whose dependencies this needs ``hydra-core``), its entry is skipped.
"""

import time
import types

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from attacks.gradient_matching.matching import Victim, match_cosine, match_squared
from benchmark.contracts import Context, DatasetMissing
from benchmark.datasets.phantom import Phantom
from benchmark.datasets.vision import FashionMNIST
from benchmark.learning.networks import ConvNet, LeNet, to_unit, uniform_
from benchmark.learning.training import build

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
TOGETHER, ALONE, CLASSES = 32, 4, 10
ITERATIONS = 200
NETWORKS = {
    "convnet8": lambda shape: ConvNet(shape, CLASSES, width=8),
    "convnet32": lambda shape: ConvNet(shape, CLASSES, width=32),
    "lenet": lambda shape: LeNet(shape, CLASSES),
}


@pytest.fixture(scope="module")
def pictures():
    """Images ``(32, 1, C, 28, 28)`` in [0, 1] and labels ``(32, 1)``, in batches of one."""
    try:
        pool = FashionMNIST().load(Context(seed=0)).pool
    except DatasetMissing:
        pool = Phantom(patients=100, size=28).load(Context(seed=0)).pool
    rows = np.random.default_rng(0).permutation(len(pool))[:TOGETHER]
    return to_unit(pool.data[rows])[:, None], torch.as_tensor(pool.labels[rows])[:, None]


def victim_of(name, pictures, device):
    _, _, channels, height, width = pictures[0].shape
    generator = torch.Generator().manual_seed(0)
    return build(lambda: NETWORKS[name]((height, width, channels)), generator, device)


def seeded():
    return torch.Generator().manual_seed(1)


def report(benchmark, run, truth):
    """Time ``run`` once and note what it cost and came to, by image."""
    cpu = time.process_time()
    made = benchmark.pedantic(run, rounds=1, warmup_rounds=0)
    cpu = time.process_time() - cpu
    error = (made.cpu()[:ALONE].flatten(1) - truth[:ALONE].flatten(1)).square().mean(1)
    benchmark.extra_info["cpu_seconds_per_image"] = cpu / len(made)
    benchmark.extra_info["seconds_per_image"] = benchmark.stats.stats.min / len(made)
    benchmark.extra_info["images_per_minute"] = 60 * len(made) / benchmark.stats.stats.min
    benchmark.extra_info["psnr"] = float(-10 * error.clamp(min=1e-9).log10().mean())
    print(benchmark.name, benchmark.extra_info)


def cosine(network, x, y, device, generator):
    """Inverting Gradients on all of ``x``."""
    victim = Victim.make(network)
    x, y = x.to(device), y.to(device)
    shared = victim.share(x, F.one_hot(y, CLASSES).float())
    found = match_cosine(
        victim, shared, tuple(x.shape[2:]), y, tv=0.0, iterations=ITERATIONS, generator=generator
    )
    return found.x


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["convnet8", "convnet32", "lenet"])
def test_together(benchmark, pictures, name, device):
    network = victim_of(name, pictures, device)
    report(benchmark, lambda: cosine(network, *pictures, device, seeded()), pictures[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["convnet8", "convnet32", "lenet"])
def test_one_after_another(benchmark, pictures, name, device):
    network = victim_of(name, pictures, device)
    x, y = pictures

    def run():
        generator = seeded()  # one for all, so that each picture starts as it does among the others
        each = [slice(i, i + 1) for i in range(ALONE)]
        return torch.cat([cosine(network, x[i], y[i], device, generator) for i in each])

    report(benchmark, run, x)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("count", [ALONE, TOGETHER])
def test_idlg(benchmark, pictures, count, device):
    """L-BFGS on LeNet with sigmoids: four targets, and 32, at once."""
    network = uniform_(victim_of("lenet", pictures, device), torch.Generator().manual_seed(2))
    victim = Victim.make(network)
    x, y = (a[:count].to(device) for a in pictures)
    shared = victim.share(x, F.one_hot(y, CLASSES).float())

    def run():
        return match_squared(
            victim, shared, tuple(x.shape[2:]), 1, labels=y, iterations=300, generator=seeded()
        ).x

    report(benchmark, run, pictures[0])


@pytest.mark.parametrize("name", ["convnet8", "convnet32", "lenet"])
def test_breaching(benchmark, pictures, name):
    """The reference suite's Inverting Gradients, which attacks one participant at a time."""
    breaching = pytest.importorskip("breaching")
    x, y = pictures
    network = victim_of(name, pictures, "cpu").eval()
    settings = breaching.get_attack_config(
        "invertinggradients",
        overrides=[
            f"optim.max_iterations={ITERATIONS}",
            f"optim.callback={ITERATIONS + 1}",
            "regularization.total_variation.scale=0",
        ],
    )
    attacker = breaching.attacks.prepare_attack(network, torch.nn.CrossEntropyLoss(), settings)
    about = types.SimpleNamespace(
        shape=tuple(x.shape[2:]), mean=[0.0], std=[1.0], modality="vision", classes=CLASSES
    )
    parameters = [p.detach() for p in network.parameters()]
    payload = [{"parameters": parameters, "buffers": [], "metadata": about}]

    def attack(i, start):
        loss = F.cross_entropy(network(x[i]), y[i])
        gradients = [g.detach() for g in torch.autograd.grad(loss, list(network.parameters()))]
        metadata = {"num_data_points": 1, "labels": y[i], "local_hyperparams": None}
        shared = [{"gradients": gradients, "buffers": None, "metadata": metadata}]
        return attacker.reconstruct(payload, shared, {}, initial_data=start)[0]["data"]

    def run():
        generator = seeded()
        return torch.cat(
            [attack(i, torch.rand(x[i].shape, generator=generator)) for i in range(ALONE)]
        )

    state = torch.get_rng_state()  # breaching draws from torch's global state
    try:
        report(benchmark, run, x)
    finally:
        torch.set_rng_state(state)
