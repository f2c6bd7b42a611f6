"""Pixels as features, against the flattening of the contract."""

import numpy as np

from benchmark.contracts import Context, Records
from benchmark.features.pixels import Pixels


def test_pixels_agree_with_flat_records_and_hand_computed_values():
    images = np.array([[[[0, 51, 255]], [[102, 153, 204]]]], dtype=np.uint8)
    features = Pixels().extract(images, Context(seed=0))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, [[0, 0.2, 1, 0.4, 0.6, 0.8]], rtol=1e-6)
    records = Records(images, np.zeros(1, dtype=np.int64))
    np.testing.assert_array_equal(features, records.flat())


def test_no_images_give_no_features():
    features = Pixels().extract(np.zeros((0, 4, 4, 1), dtype=np.uint8), Context(seed=0))
    assert features.shape == (0, 16)
