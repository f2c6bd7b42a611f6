"""Moments of the Gaussian records, and that they depend on their parameters alone."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from benchmark.contracts import Context
from benchmark.datasets.gaussian import Gaussian


def test_records_are_isotropic_standard_normal():
    n, d = 20_000, 8
    content = Gaussian(dimension=d, records=n).load(Context(seed=0))
    data = content.pool.data
    assert data.shape == (n, d)
    assert (data.dtype, content.pool.extractor, content.classes) == (np.float32, "native", ("all",))
    assert not content.pool.labels.any()
    # n times the squared mean is χ² with d degrees of freedom; the covariance errs by about 1/√n.
    chi2 = n * float((data.mean(axis=0, dtype=np.float64) ** 2).sum())
    assert stats.chi2.cdf(chi2, d) < 1 - 1e-6
    np.testing.assert_allclose(np.cov(data.T), np.eye(d), atol=5.5 / np.sqrt(n) * np.sqrt(2))
    assert stats.kstest(data.ravel(), "norm").pvalue > 1e-6


def test_population_seed_and_not_the_run_decides():
    first = Gaussian(records=50).load(Context(seed=1)).pool
    again = Gaussian(records=50).load(Context(seed=2)).pool
    other = Gaussian(records=50, population_seed=1).load(Context(seed=1)).pool
    assert first == again
    assert abs(np.corrcoef(first.data.ravel(), other.data.ravel())[0, 1]) < 0.1
    assert Gaussian().fingerprint() == ""


@pytest.mark.parametrize("wrong", [{"dimension": 0}, {"records": 0}, {"population_seed": -1}])
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Gaussian(**wrong)
