"""Densities against scikit-learn, SciPy and closed forms."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from benchmark.learning import density


def test_kernels_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    gallery, queries = rng.standard_normal((70, 3)), 3 * rng.standard_normal((40, 3))
    reference = KernelDensity(bandwidth=0.3, rtol=1e-10).fit(gallery).score_samples(queries)
    np.testing.assert_allclose(density.kde_log_density(queries, gallery, 0.3), reference, rtol=1e-8)


def test_the_bandwidth_maximises_the_leave_one_out_likelihood():
    points = np.random.default_rng(1).standard_normal((30, 2))
    grid = np.geomspace(0.1, 1, 40)

    def likelihood(bandwidth):
        kernels = KernelDensity(bandwidth=bandwidth)
        left_out = [
            kernels.fit(np.delete(points, i, axis=0)).score(points[i : i + 1]) for i in range(30)
        ]
        return np.mean(left_out)

    best = grid[np.argmax([likelihood(bandwidth) for bandwidth in grid])]
    assert density.likelihood_bandwidth(points) == pytest.approx(best, rel=0.06)


def test_one_gaussian_is_that_of_scipy():
    rng = np.random.default_rng(2)
    records, queries = rng.standard_normal((50, 3)) * [1, 2, 3], rng.standard_normal((20, 3))
    reference = multivariate_normal(records.mean(0), np.cov(records, rowvar=False))
    np.testing.assert_allclose(
        density.gaussian_log_density(queries, records), reference.logpdf(queries), rtol=1e-4
    )


def test_a_gaussian_of_one_record_has_the_priors_shape():
    record, prior = np.array([[1.0, 2.0]]), np.diag([4.0, 9.0])
    # With n = 1 and d = 2 the covariance is (1 · 0 + 4 · prior) / (1 + 2 + 2).
    reference = multivariate_normal(record[0], 0.8 * prior)
    queries = np.array([[0.0, 0.0], [5.0, 1.0]])
    np.testing.assert_allclose(
        density.gaussian_log_density(queries, record, prior), reference.logpdf(queries)
    )


def test_a_mixture_is_that_of_scikit_learn_with_no_more_gaussians_than_records_allow():
    rng = np.random.default_rng(3)
    records = np.concatenate([rng.normal(0, 1, (30, 2)), rng.normal(8, 2, (30, 2))])
    queries = rng.normal(4, 4, (25, 2))
    reference = GaussianMixture(2, covariance_type="diag", reg_covar=1e-3, random_state=5)
    np.testing.assert_allclose(
        density.mixture_log_density(queries, records, 2, 5),
        reference.fit(records).score_samples(queries),
    )
    few = records[:9]  # one Gaussian for five records or more
    one = multivariate_normal(few.mean(0), np.diag(few.var(0) + 1e-3))
    np.testing.assert_allclose(
        density.mixture_log_density(queries, few, 10, 5), one.logpdf(queries), rtol=1e-6
    )


@pytest.mark.parametrize(("dimension", "ball"), [(1, 2.0), (2, np.pi), (3, 4 / 3 * np.pi)])
def test_neighbours_density_by_the_volume_of_the_ball(dimension, ball):
    rng = np.random.default_rng(4)
    records, queries = rng.standard_normal((40, dimension)), rng.standard_normal((6, dimension))
    distances = np.sort(np.linalg.norm(queries[:, None] - records, axis=2), axis=1)
    expected = np.log(3 / (40 * ball * distances[:, 2] ** dimension))
    np.testing.assert_allclose(density.neighbour_log_density(queries, records, 3), expected)
    copies = density.neighbour_log_density(records, records, 1)
    np.testing.assert_allclose(copies, np.log(1 / (40 * ball * 1e-6**dimension)))


def test_neighbours_density_of_many_records_is_the_true_one():
    rng = np.random.default_rng(6)
    records, queries = rng.standard_normal((20_000, 2)), rng.standard_normal((300, 2))
    truth = multivariate_normal(np.zeros(2)).logpdf(queries)
    found = density.neighbour_log_density(queries, records, 100)
    # The logarithm of a Gamma(100) variable over 100 has standard deviation 0.1.
    assert np.sqrt(np.mean(np.square(found - truth)[truth > -5])) < 0.12


def test_components_are_whitened():
    rng = np.random.default_rng(7)
    records = (rng.standard_normal((60, 5)) * [5, 3, 2, 1, 0.1] + 4).astype(np.float32)
    ours = density.whitened_components(records, 3, 0)(records)
    theirs = PCA(3, whiten=True, svd_solver="full").fit_transform(records.astype(np.float64))
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-3)
    with pytest.raises(ValueError, match="records that differ"):
        density.whitened_components(np.ones((4, 2), np.float32), 2, 0)
