"""Draws from a generator whose answer is known: code times ten plus label."""

import numpy as np
import pytest
import torch

from benchmark.contracts import LeakboardError
from benchmark.learning.sampling import GeneratorSampler, as_images, scaled_counts


class Known(torch.nn.Module):
    """Answers ``10 · code + label``, so that a draw tells its code."""

    latent = 4

    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(10.0))

    def forward(self, z, labels):
        return self.slope * z + labels[:, None]


def test_features_are_the_generators_answer_to_scaled_codes_in_any_number():
    n = 8192 + 3  # more than are made at once
    labels = np.arange(n) % 2 * 2
    sampler = GeneratorSampler(Known(), np.array([3, 0, 1]), (4,), scale=0.5, extractor="known")
    drawn = sampler(n, labels, np.random.default_rng(7))
    codes = np.random.default_rng(7).standard_normal((n, 4), dtype=np.float32)
    expected = 10 * (codes * np.float32(0.5)) + labels[:, None]
    np.testing.assert_allclose(drawn.data, expected, rtol=0, atol=1e-5)
    assert drawn.extractor == "known"
    np.testing.assert_array_equal(drawn.labels, labels)


def test_images_are_rounded_and_cut():
    labels = np.full(300, 20)  # more than are made at once
    counts = np.bincount(labels)
    drawn = GeneratorSampler(Known(), counts, (2, 2, 1))(300, labels, np.random.default_rng(7))
    codes = np.random.default_rng(7).standard_normal((300, 4), dtype=np.float32)
    expected = np.rint(np.clip(np.float32(10) * codes + 20, 0, 255)).reshape(300, 2, 2, 1)
    assert (expected == 0).any()  # some had to be cut
    np.testing.assert_array_equal(drawn.data, expected)


def test_labels_are_drawn_from_the_class_shares():
    sampler = GeneratorSampler(Known(), np.array([300, 0, 100]), (4,))
    found = np.bincount(sampler(4000, None, np.random.default_rng(0)).labels, minlength=3)
    assert found[1] == 0
    assert found[2] == pytest.approx(1000, abs=4 * np.sqrt(4000 * 0.25 * 0.75))


@pytest.mark.parametrize("labels", [np.array([0, 1]), np.array([0, 3]), np.array([0])])
def test_labels_that_no_member_has_are_refused(labels):
    sampler = GeneratorSampler(Known(), np.array([3, 0, 1]), (4,))
    with pytest.raises(LeakboardError, match=r"among the members' classes, \[0, 2\]"):
        sampler(2, labels, np.random.default_rng(0))


def test_scaled_counts_keep_every_class_that_has_members():
    assert scaled_counts(np.array([10, 0, 1, 3]), 0.25).tolist() == [2, 0, 1, 1]


def test_as_images_by_hand():
    pixels = np.array([[-3.0, 0.4, 0.6, 300.0]], dtype=np.float32)
    assert as_images(pixels, (2, 2, 1)).ravel().tolist() == [0, 0, 1, 255]
