from math import comb, inf, log

import dp_accounting
import numpy as np
import pytest
from dp_accounting import pld, rdp
from dp_accounting.privacy_accountant import NeighboringRelation

from benchmark.statistics import (
    RDP_ORDERS,
    dp_sgd_epsilon,
    gaussian_epsilon,
    gdp_mu_to_epsilon,
    lower_bound,
    privacy_loss_epsilon,
    rdp_to_epsilon,
    subsampled_gaussian_rdp,
    unresolved,
    violates,
)

GOLDEN = {"noise_multiplier": 1.1, "sample_rate": 256 / 60_000, "steps": 60 * 60_000 // 256}


def composed(noise_multiplier, sample_rate, steps):
    event = dp_accounting.GaussianDpEvent(noise_multiplier)
    return dp_accounting.SelfComposedDpEvent(
        dp_accounting.PoissonSampledDpEvent(sample_rate, event), steps
    )


def test_golden_values():
    accounted = dp_sgd_epsilon(**GOLDEN, delta=1e-5)
    assert accounted.epsilon == pytest.approx(2.5966, abs=5e-5)
    reference = pld.PLDAccountant()
    reference.compose(composed(**GOLDEN))
    assert reference.get_epsilon(1e-5) == pytest.approx(2.3817, abs=5e-5)


WHOLE = tuple(range(2, 64))


@pytest.mark.parametrize(
    ("sigma", "q", "steps", "orders"),
    [
        (1.1, 256 / 60_000, 14_062, RDP_ORDERS),
        (4.0, 0.01, 5000, RDP_ORDERS),
        (8.0, 1.0, 9, RDP_ORDERS),
        (0.6, 0.05, 200, WHOLE),  # dp-accounting's series does not converge at some
        (2.0, 0.5, 30, WHOLE),  # fractional orders of these two, and drops them
    ],
)
@pytest.mark.parametrize("delta", [1e-8, 1e-5, 1e-2])
def test_agrees_with_dp_accounting(sigma, q, steps, orders, delta):
    reference = rdp.RdpAccountant(orders)
    reference.compose(composed(sigma, q, steps))
    ours = dp_sgd_epsilon(sigma, q, steps, delta, orders).epsilon
    assert ours == pytest.approx(reference.get_epsilon(delta), rel=1e-6)


@pytest.mark.parametrize("delta", [1e-6, 1e-3])
def test_is_an_upper_bound_on_the_tight_accountant(delta):
    for sigma, q, steps in [(1.0, 0.01, 1000), (0.8, 0.1, 50)]:
        tight = pld.PLDAccountant()
        tight.compose(composed(sigma, q, steps))
        ours = dp_sgd_epsilon(sigma, q, steps, delta).epsilon
        assert tight.get_epsilon(delta) < ours < 1.6 * tight.get_epsilon(delta)


@pytest.mark.parametrize(
    ("sigma", "q", "steps", "delta"),
    [
        (1.1, 256 / 60_000, 14_062, 1e-5),
        (2.0, 0.1, 500, 1e-6),
        (0.6, 0.002, 3000, 1e-5),
        (0.5, 0.2, 50, 1e-3),
        (5.0, 0.5, 1000, 1e-9),
        (1.0, 0.2, 2, 1e-5),
        (4.0, 1.0, 30, 1e-6),
    ],
)
def test_the_privacy_loss_agrees_with_dp_accounting(sigma, q, steps, delta):
    reference = pld.PLDAccountant()
    reference.compose(composed(sigma, q, steps))
    ours = privacy_loss_epsilon(sigma, q, steps, delta)
    assert ours == pytest.approx(reference.get_epsilon(delta), rel=2e-3)
    assert ours < dp_sgd_epsilon(sigma, q, steps, delta).epsilon


@pytest.mark.parametrize(
    ("sigma", "q", "steps", "delta"),
    [
        (1.1, 256 / 60_000, 2000, 1e-5),
        (2.0, 0.1, 500, 1e-6),
        (5.0, 0.5, 1000, 1e-9),
        (1.0, 0.2, 2, 1e-5),
        (4.0, 1.0, 30, 1e-6),
    ],
)
def test_the_privacy_loss_of_a_replacement_agrees_with_dp_accounting(sigma, q, steps, delta):
    reference = pld.PLDAccountant(NeighboringRelation.REPLACE_ONE)
    reference.compose(composed(sigma, q, steps))
    ours = privacy_loss_epsilon(sigma, q, steps, delta, "replace")
    assert ours == pytest.approx(reference.get_epsilon(delta), rel=2e-3)
    assert ours < dp_sgd_epsilon(sigma, q, steps, delta, adjacency="replace").epsilon
    # Removing one and adding another.
    assert privacy_loss_epsilon(sigma, q, steps, delta) < ours


def test_no_replacement_in_the_plane_exceeds_the_one_on_a_line():
    """The pair that dominates: q N(v) and q N(w) beside (1 - q) N(0), hockey-stick divergence by quadrature."""
    sigma, q = 0.8, 0.3
    grid = np.linspace(-6, 6, 481)
    x, y = np.meshgrid(grid, grid)
    area = (grid[1] - grid[0]) ** 2

    def mixture(vx, vy):
        density = [
            np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * sigma**2)) for a, b in ((0, 0), (vx, vy))
        ]
        return ((1 - q) * density[0] + q * density[1]) / (2 * np.pi * sigma**2)

    def divergence(v, w, alpha):
        return np.maximum(mixture(*v) - alpha * mixture(*w), 0).sum() * area

    rng = np.random.default_rng(0)
    for alpha in (0.5, 1.0, 1.4, 2.0):
        worst = divergence((1, 0), (-1, 0), alpha)
        for _ in range(25):
            angles, norms = rng.uniform(0, 2 * np.pi, 2), np.sqrt(rng.random(2))
            pair = [(r * np.cos(a), r * np.sin(a)) for r, a in zip(norms, angles, strict=True)]
            assert divergence(*pair, alpha) <= worst + 1e-6


def test_zeroing_out_is_accounted_as_removing_and_other_adjacencies_are_refused():
    given = (1.0, 0.2, 5, 1e-5)
    assert privacy_loss_epsilon(*given, "zero_out") == privacy_loss_epsilon(*given)
    with pytest.raises(ValueError, match="adjacency must be one of"):
        privacy_loss_epsilon(*given, "swap")


def test_divergence_of_a_replacement_without_subsampling_is_that_of_twice_the_distance():
    assert subsampled_gaussian_rdp(2.0, 1.0, 5.0, "replace") == 5.0 * 4 / 8
    near = subsampled_gaussian_rdp(2.0, 1 - 1e-12, 5.0, "replace")
    assert near == pytest.approx(5.0 * 4 / 8)


def test_the_privacy_loss_of_a_gaussian_is_exact_and_its_limits_are_right():
    assert privacy_loss_epsilon(2.0, 1.0, 16, 1e-5) == pytest.approx(
        gaussian_epsilon(2.0, 16, 1e-5), rel=1e-5
    )
    assert privacy_loss_epsilon(0.0, 0.1, 10, 1e-5) == inf
    assert privacy_loss_epsilon(1.0, 0.1, 0, 1e-5) == 0.0
    assert privacy_loss_epsilon(50.0, 0.01, 1, 0.01) == 0.0  # delta pays for all of it


@pytest.mark.parametrize("order", [2, 3, 8, 32])
@pytest.mark.parametrize(("sigma", "q"), [(0.5, 0.1), (1.1, 0.004), (3.0, 0.9)])
def test_divergence_at_whole_orders_is_the_binomial_sum(sigma, q, order):
    """Mironov, Talwar and Zhang (2019), section 3.3."""
    terms = [
        log(comb(order, k)) + (order - k) * log(1 - q) + k * log(q) + (k * k - k) / (2 * sigma**2)
        for k in range(order + 1)
    ]
    expected = np.logaddexp.reduce(terms) / (order - 1)
    assert subsampled_gaussian_rdp(sigma, q, order) == pytest.approx(expected, rel=1e-8)


def test_divergence_without_subsampling_or_sampling():
    assert subsampled_gaussian_rdp(2.0, 1.0, 5.0) == 5.0 / 8
    assert subsampled_gaussian_rdp(2.0, 1 - 1e-12, 5.0) == pytest.approx(5.0 / 8)
    assert subsampled_gaussian_rdp(2.0, 0.0, 5.0) == 0.0


def test_conversion_by_hand():
    # One order a = 2: rdp + log(1/2) - log(2 delta).
    epsilon, order = rdp_to_epsilon([0.3], [2.0], 1e-3)
    assert order == 2.0
    assert epsilon == pytest.approx(0.3 + log(0.5) - log(2e-3))
    assert rdp_to_epsilon([0.0], [2.0], 0.9)[0] == 0.0


def test_gaussian_is_exact_and_below_renyi():
    assert gaussian_epsilon(2.0, 16, 1e-5) == gdp_mu_to_epsilon(2.0, 1e-5)
    assert gaussian_epsilon(5.0, 10, 1e-5) < dp_sgd_epsilon(5.0, 1.0, 10, 1e-5).epsilon
    tight = pld.PLDAccountant()
    tight.compose(dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(5.0), 10))
    assert gaussian_epsilon(5.0, 10, 1e-5) == pytest.approx(tight.get_epsilon(1e-5), rel=1e-3)


def test_limits():
    assert dp_sgd_epsilon(0.0, 0.1, 10, 1e-5).epsilon == inf
    assert dp_sgd_epsilon(1.0, 0.1, 0, 1e-5).epsilon == 0.0
    steps = [dp_sgd_epsilon(1.0, 0.01, n, 1e-5).epsilon for n in (1, 10, 100, 1000)]
    assert np.all(np.diff(steps) > 0)
    with pytest.raises(ValueError, match="order must exceed 1"):
        subsampled_gaussian_rdp(1.0, 0.1, 1.0)


def test_violation_is_a_lower_bound_above_the_claim():
    assert violates(0.1, lower_bound(0.11, "one-run"))
    assert not violates(0.1, lower_bound(0.1, "one-run"))
    assert not violates(0.1, unresolved("one-run", "too few"))
    assert not violates(inf, lower_bound(9.0, "one-run"))
