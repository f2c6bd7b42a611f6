"""Principal axes and Mahalanobis distances against NumPy's covariance and scipy."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from benchmark.learning.spread import Spread


def test_axes_and_variances_make_up_the_covariance():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((40, 5)) @ rng.standard_normal((5, 5)) + 7
    spread = Spread.of(values)
    np.testing.assert_allclose(spread.mean, values.mean(0))
    np.testing.assert_allclose(
        (spread.axes.T * spread.variances) @ spread.axes, np.cov(values.T), rtol=1e-10
    )
    assert (np.diff(spread.variances) < 0).all()
    assert spread.total == pytest.approx(values.var(0, ddof=1).sum())


@pytest.mark.parametrize("n", [4, 40])
def test_distances_are_those_of_scipy_under_the_ridged_covariance(n):
    rng = np.random.default_rng(1)
    values, queries = rng.standard_normal((n, 6)), rng.standard_normal((9, 6))
    inverse = np.linalg.inv(np.cov(values.T) + 0.01 * np.eye(6))
    expected = cdist(queries, values.mean(0)[None], "mahalanobis", VI=inverse)[:, 0] ** 2
    np.testing.assert_allclose(Spread.of(values).squared_distances(queries, 0.01), expected)


def test_fewer_records_than_dimensions_have_no_axes_beyond_their_span():
    rng = np.random.default_rng(2)
    values = rng.standard_normal((10, 500)) * 1e-3 + 1e3
    spread = Spread.of(values)
    assert spread.axes.shape == (9, 500)
    inside = values.mean(0) + rng.standard_normal(9) @ spread.axes
    outside = values.mean(0) + rng.standard_normal(500)
    near, far = spread.squared_distances(np.stack([inside, outside]), 1e-12)
    assert near < 1e9 < far


@pytest.mark.parametrize("values", [np.full((5, 3), 0.1), np.array([[1.0, 2.0, 3.0]])])
def test_equal_records_and_one_record_have_no_spread(values):
    spread = Spread.of(values)
    assert spread.total == 0 and len(spread.axes) == 0
    np.testing.assert_allclose(spread.squared_distances(values + np.eye(3)[1], 0.5), 2.0)
