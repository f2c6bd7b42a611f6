"""Dropout and shift of features: against their definitions, in units of the real records."""

import numpy as np
import pytest
from pydantic import ValidationError

from benchmark.contracts import Records
from benchmark.perturbations.features import FeatureDropout, FeatureShift

SPREADS = np.array([0.1, 1.0, 30.0])
MEANS = np.array([5.0, -2.0, 0.0])


def features(data: np.ndarray) -> Records:
    return Records(data.astype(np.float32), np.zeros(len(data), dtype=np.int64), extractor="native")


@pytest.fixture
def reference():
    return features(MEANS + SPREADS * np.random.default_rng(0).standard_normal((2000, 3)))


@pytest.fixture
def records():
    """Far from the reference, and of another spread: whose units count must show."""
    return features(100 + np.random.default_rng(1).standard_normal((20_000, 3)))


@pytest.mark.parametrize("severity, rate", enumerate([0.1, 0.2, 0.3, 0.4, 0.5], start=1))
def test_dropped_features_take_the_mean_of_the_reference(records, reference, severity, rate):
    perturbed = FeatureDropout().apply(records, severity, np.random.default_rng(2), reference)
    lost = perturbed.data != records.data
    error = 5 * np.sqrt(rate * (1 - rate) / len(records))
    np.testing.assert_allclose(lost.mean(axis=0), rate, atol=error)
    assert np.abs(np.corrcoef(lost.T) - np.eye(3)).max() < 5 / np.sqrt(len(records))
    mean = reference.data.mean(axis=0)
    np.testing.assert_allclose(perturbed.data[lost], np.broadcast_to(mean, lost.shape)[lost], 1e-4)


def test_a_higher_severity_drops_more_of_the_same_features(records, reference):
    lost = [
        FeatureDropout().apply(records, s, np.random.default_rng(2), reference).data != records.data
        for s in (1, 5)
    ]
    assert (lost[1] | ~lost[0]).all() and lost[1].sum() > lost[0].sum()


@pytest.mark.parametrize("severity, delta", enumerate([0.1, 0.25, 0.5, 0.75, 1.0], start=1))
def test_all_records_move_alike_in_units_of_the_reference(records, reference, severity, delta):
    perturbed = FeatureShift().apply(records, severity, np.random.default_rng(2), reference)
    moved = perturbed.data.astype(np.float64) - records.data
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape), atol=2e-5)
    np.testing.assert_allclose(np.abs(moved[0]), delta * reference.data.std(axis=0), rtol=2e-3)


def test_the_direction_of_the_shift_is_drawn():
    many = features(np.random.default_rng(0).standard_normal((10, 400)))
    moves = [
        FeatureShift().apply(many, 5, np.random.default_rng(s), many).data - many.data
        for s in (1, 2)
    ]
    up = [(m[0] > 0).mean() for m in moves]
    assert 0.4 < up[0] < 0.6 and 0.4 < (np.sign(moves[0][0]) == np.sign(moves[1][0])).mean() < 0.6


@pytest.mark.parametrize("plugin", [FeatureDropout(), FeatureShift()], ids=lambda p: p.info.name)
def test_records_that_follow_change_nothing(plugin, records, reference):
    whole = plugin.apply(records, 3, np.random.default_rng(2), reference)
    few = records.take(np.arange(7))
    assert plugin.apply(few, 3, np.random.default_rng(2), reference) == whole.take(np.arange(7))


def test_own_values_as_a_suite_file_gives_them(records, reference):
    plugin = FeatureDropout(rates=[0, 0, 0, 0, 1])
    assert plugin.apply(records, 4, np.random.default_rng(1), reference) == records
    lost = plugin.apply(records, 5, np.random.default_rng(1), reference).data
    np.testing.assert_array_equal(np.ptp(lost, axis=0), 0)
    still = FeatureShift(deltas=[0, 0, 0, 0, 3]).apply(
        records, 1, np.random.default_rng(1), reference
    )
    assert still == records
    with pytest.raises(ValidationError, match="rates"):
        FeatureDropout(rates=[0, 0, 0, 0, 1.5])
    with pytest.raises(ValidationError, match="deltas"):
        FeatureShift(deltas=[1, 2])


@pytest.mark.parametrize("plugin", [FeatureDropout(), FeatureShift()], ids=lambda p: p.info.name)
@pytest.mark.parametrize("severity", [0, 6])
def test_wrong_severities_are_refused(plugin, records, severity):
    with pytest.raises(ValueError, match=f"severity must be in 1 … 5 for .* Got {severity}"):
        plugin.apply(records, severity, np.random.default_rng(1), records)
