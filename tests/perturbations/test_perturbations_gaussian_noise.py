"""Gaussian noise: its moments against the formula, per feature and severity."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from benchmark.contracts import Records
from benchmark.perturbations.gaussian_noise import GaussianNoise

N = 40_000
SPREADS = np.array([0.1, 1.0, 30.0])


def features(data: np.ndarray) -> Records:
    return Records(data.astype(np.float32), np.zeros(len(data), dtype=np.int64), extractor="native")


@pytest.fixture
def reference():
    return features(5 + SPREADS * np.random.default_rng(0).standard_normal((1000, 3)))


@pytest.mark.parametrize("severity, sigma", enumerate([0.25, 0.5, 1, 1.5, 2], start=1))
def test_noise_is_normal_with_the_spread_of_the_reference(reference, severity, sigma):
    # The records differ in scale from the reference: the spread must be the reference's.
    clean = features(np.full((N, 3), 7.0))
    noisy = GaussianNoise().apply(clean, severity, np.random.default_rng(1), reference)
    noise = (noisy.data - clean.data).astype(np.float64)
    expected = sigma * reference.data.std(axis=0)
    # Standard errors: mean σ/√N, deviation σ/√(2N); five of them.
    np.testing.assert_array_less(np.abs(noise.mean(axis=0)), 5 * expected / np.sqrt(N))
    np.testing.assert_allclose(noise.std(axis=0), expected, rtol=5 / np.sqrt(2 * N))
    assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 5 / np.sqrt(N)
    assert stats.kstest(noise[:, 1] / expected[1], "norm").pvalue > 1e-4


def test_everything_but_the_data_stays(reference):
    records = reference.replace(labels=np.arange(1000), groups=np.arange(1000) // 2)
    before = records.digest()
    noisy = GaussianNoise().apply(records, 1, np.random.default_rng(1), reference)
    assert records.digest() == before
    np.testing.assert_array_equal(noisy.labels, records.labels)
    np.testing.assert_array_equal(noisy.groups, records.groups)
    assert noisy.extractor == "native"
    assert noisy == GaussianNoise().apply(records, 1, np.random.default_rng(1), reference)


def test_a_constant_feature_stays_constant(reference):
    reference = reference.replace(data=reference.data * np.array([1, 0, 1], dtype=np.float32))
    noisy = GaussianNoise().apply(reference, 5, np.random.default_rng(1), reference)
    assert not noisy.data[:, 1].any()
    assert noisy.data[:, 0].any()


def test_own_sigmas_as_a_suite_file_gives_them(reference):
    plugin = GaussianNoise(sigmas=[0, 0, 0, 0, 3])
    assert plugin.parameters() == {"sigmas": [0, 0, 0, 0, 3]}
    assert GaussianNoise(**plugin.parameters()) == plugin
    assert plugin.apply(reference, 4, np.random.default_rng(1), reference) == reference
    assert plugin.apply(reference, 5, np.random.default_rng(1), reference) != reference


@pytest.mark.parametrize("wrong", [[1, 2], [1, 2, 3, 4, -5], ["1", 2, 3, 4, 5], "12345"])
def test_wrong_sigmas_are_refused(wrong):
    with pytest.raises(ValidationError, match="sigmas"):
        GaussianNoise(sigmas=wrong)


@pytest.mark.parametrize("severity", [0, 6])
def test_wrong_severities_are_refused(reference, severity):
    with pytest.raises(ValueError, match=f"severity must be in 1 … 5 .* Got {severity}"):
        GaussianNoise().apply(reference, severity, np.random.default_rng(1), reference)
