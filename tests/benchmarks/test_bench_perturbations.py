"""Time of the image corruptions; run with ``pytest --benchmark-only tests/benchmarks``.

Wanted: all corruptions at all severities on 10,000 images of 28 pixels in under a minute on two cores.
"""

import numpy as np
import pytest

from benchmark.contracts import Context
from benchmark.datasets.phantom import Phantom
from benchmark.perturbations.corruption import BLOCK_BYTES, corrupted_blocks
from benchmark.perturbations.severities import FAMILIES, MODALITIES, SEVERITIES

N = 10_000
ROWS = [(next(m for m in MODALITIES if f in SEVERITIES[m]), f) for f in FAMILIES]


@pytest.fixture(scope="module")
def images():
    phantoms = Phantom(patients=200, visits=1, size=28).load(Context(seed=0)).pool.data
    return phantoms[np.arange(N) % len(phantoms)]


def corrupt_all(images, rows):
    done = 0
    for modality, family in rows:
        for severity in range(1, 6):
            rng = np.random.default_rng(severity)
            blocks = corrupted_blocks(images, (family,), modality, severity, rng, BLOCK_BYTES)
            done += sum(len(block) for block in blocks)
    return done


@pytest.mark.parametrize("channels", [1, 3])
def test_all_corruptions_at_all_severities(benchmark, images, channels):
    shown = np.ascontiguousarray(images[..., :channels])
    done = benchmark.pedantic(corrupt_all, args=(shown, ROWS), rounds=1)
    assert done == len(FAMILIES) * 5 * N


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_one_family_at_all_severities(benchmark, images, row):
    assert benchmark.pedantic(corrupt_all, args=(images, [row]), rounds=1) == 5 * N
