"""Networks that name identities: what they learn, what their parts see, and any size of image."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmark.contracts import Records
from benchmark.learning.identity import (
    Namer,
    fit_namer,
    log_probabilities,
    number_identities,
    unit_embeddings,
)
from benchmark.learning.networks import to_unit
from benchmark.learning.training import build


def blobs(n=12, each=3, seed=0, side=16):
    """Pictures of ``n`` people: a pattern each, with noise for every picture."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(7).integers(0, 256, (n, side, side, 1))
    who = np.repeat(np.arange(n), each)
    noisy = patterns[who] + rng.normal(0, 20, (n * each, side, side, 1))
    return noisy.clip(0, 255).astype(np.uint8), who


def trained(seed=0, **options):
    images, who = blobs()
    weights, training = (torch.Generator().manual_seed(s) for s in (seed, seed + 1))
    return fit_namer(
        images, who, 12, width=8, weights_rng=weights, training_rng=training, **options
    )


def test_people_are_named_in_pictures_not_seen_before():
    namer = trained()
    images, who = blobs(seed=1)
    named = log_probabilities(namer, images)
    np.testing.assert_allclose(np.exp(named).sum(axis=1), 1)
    assert (named.argmax(axis=1) == who).mean() > 0.9
    strangers = np.random.default_rng(9).integers(0, 256, (60, 16, 16, 1)).astype(np.uint8)
    assert log_probabilities(namer, strangers).max(axis=1).mean() < named.max(axis=1).mean()
    seen = unit_embeddings(namer, images)
    np.testing.assert_allclose(np.linalg.norm(seen, axis=1), 1)
    alike = seen @ seen.T
    same = who[:, None] == who
    np.fill_diagonal(alike, np.nan)
    assert np.nanmin(np.nanmean(np.where(same, alike, np.nan), axis=1)) > np.nanmean(alike[~same])


def test_same_seed_same_network_and_no_gradients_for_its_weights():
    first, again, other = (trained(seed, epochs=2) for seed in (0, 0, 5))
    weights = [torch.cat([p.flatten() for p in n.parameters()]) for n in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert not any(p.requires_grad for p in first.parameters()) and not first.training


def test_features_are_what_the_last_layer_sees_and_early_the_first_convolution():
    namer = build(lambda: Namer((12, 12, 3), 4), torch.Generator().manual_seed(0), "cpu").eval()
    images = to_unit(np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), dtype=np.uint8))
    head = namer.network.head
    torch.testing.assert_close(
        F.linear(namer.features(images), head.weight, head.bias), namer(images)
    )
    first = namer.network.body[0]
    torch.testing.assert_close(
        namer.early(images), F.relu(F.conv2d(images, first.weight, padding=1))
    )


def test_vectors_are_read_channel_fastest():
    namer = build(lambda: Namer((12, 8, 3), 4), torch.Generator().manual_seed(0), "cpu").eval()
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 8, 3), dtype=np.uint8)
    x = torch.from_numpy(images.reshape(5, -1)).float()
    torch.testing.assert_close(namer.of_vectors(x), namer(to_unit(images)))


@pytest.mark.parametrize(("side", "factor"), [(64, 1), (65, 2), (256, 4)])
def test_large_images_are_averaged_down(side, factor):
    namer = build(lambda: Namer((side, side, 1), 3), torch.Generator().manual_seed(0), "cpu").eval()
    assert namer.factor == factor
    flat = torch.full((1, 1, side, side), 0.25)
    assert namer(flat).shape == (1, 3)
    torch.testing.assert_close(namer.shrink(flat), torch.full_like(namer.shrink(flat), 0.25))
    assert max(namer.shrink(flat).shape) <= 64


def test_identities_are_numbered_from_zero():
    images = np.zeros((4, 8, 8, 1), np.uint8)
    with_groups = Records(images, np.zeros(4, np.int64), np.array([9, -2, 9, 5]))
    np.testing.assert_array_equal(number_identities(with_groups), [2, 0, 2, 1])
    np.testing.assert_array_equal(number_identities(with_groups.replace(groups=None)), range(4))
