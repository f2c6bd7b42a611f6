"""Noise: its size, its units and the claim of the analytic Gaussian mechanism."""

import dp_accounting
import numpy as np
import pytest
from pydantic import ValidationError
from scipy.integrate import quad
from scipy.stats import norm

from benchmark.contracts import Context, Records
from methods.noise import Noise, clip_rows, gaussian_delta, gaussian_sigma


def features(n=4000, d=3, seed=0):
    rng = np.random.default_rng(seed)
    data = (rng.standard_normal((n, d)) * [0.1, 1, 10] + [5, 0, -5]).astype(np.float32)
    return Records(data, rng.integers(0, 3, n), groups=np.arange(n), extractor="made-up")


def images(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (n, 2, 2, 1)).astype(np.uint8)
    return Records(data, rng.integers(0, 3, n))


def test_scale_is_in_standard_deviations_of_each_feature():
    members = features()
    released = Noise(scale=0.5).fit(members, Context(seed=1)).records
    added = released.data.astype(np.float64) - members.data
    ratio = added.std(axis=0) / members.data.std(axis=0, dtype=np.float64)
    assert ratio == pytest.approx(0.5, rel=4 / np.sqrt(2 * len(members)))
    assert added.mean(axis=0) == pytest.approx(0, abs=4 * 0.5 * 10 / np.sqrt(len(members)))


def test_a_constant_feature_stays_constant_and_labels_stay():
    members = features()
    members.data[:, 1] = 7
    released = Noise(scale=2.0).fit(members, Context(seed=1)).records
    assert (released.data[:, 1] == 7).all()
    assert released.labels.tolist() == members.labels.tolist()
    assert released.extractor == "made-up" and released.groups is None


@pytest.mark.parametrize("members", [features(), images()], ids=["feature", "image"])
def test_scale_zero_is_the_identity(members):
    release = Noise(scale=0.0).fit(members, Context(seed=1))
    assert release.records == members.replace(groups=None)
    assert release.origin.tolist() == list(range(len(members)))
    assert release.guarantee is None


def test_pixels_are_rounded_and_clipped():
    members = images()
    pixels = members.data.astype(np.float64)
    released = Noise(scale=1.0).fit(members, Context(seed=1)).records.data
    noise = Context(seed=1).rng("noise").standard_normal((len(members), 4))
    expected = pixels + (pixels.std(axis=0).ravel() * noise).reshape(pixels.shape)
    assert released.dtype == np.uint8
    assert np.abs(released - np.clip(expected, 0, 255)).max() <= 0.5 + 1e-4
    assert (released == 0).any() and (released == 255).any()


def test_same_seed_same_bits_and_the_members_are_untouched():
    members = features()
    digest = members.digest()
    first, again, other = (Noise().fit(members, Context(seed=s)).records for s in (1, 1, 2))
    assert first == again
    assert first != other
    assert members.digest() == digest


@pytest.mark.parametrize("epsilon", [0.01, 0.5, 1.0, 4.0, 30.0])
@pytest.mark.parametrize("delta", [1e-12, 1e-5, 0.1])
def test_sigma_agrees_with_an_independent_accountant(epsilon, delta):
    sigma = gaussian_sigma(epsilon, delta, sensitivity=3.0)
    assert sigma == pytest.approx(3 * dp_accounting.get_sigma_gaussian(epsilon, delta), rel=1e-5)
    assert gaussian_delta(epsilon, sigma, 3.0) <= delta
    assert gaussian_delta(epsilon, sigma * (1 - 1e-6), 3.0) > delta


def test_delta_is_the_hockey_stick_divergence_by_integration():
    epsilon, sigma, sensitivity = 0.7, 1.3, 2.0
    p, q = norm(0, sigma).pdf, norm(sensitivity, sigma).pdf
    crossing = sensitivity / 2 - epsilon * sigma**2 / sensitivity
    by_integration, _ = quad(lambda x: p(x) - np.exp(epsilon) * q(x), -np.inf, crossing)
    assert gaussian_delta(epsilon, sigma, sensitivity) == pytest.approx(by_integration, rel=1e-7)


def test_golden_value_of_gaussian_privacy():
    """N(0, 1) against N(1, 1) has ε = 4.377 at δ = 1e-5."""
    assert gaussian_sigma(4.377, 1e-5, 1.0) == pytest.approx(1.0, rel=1e-3)


def test_clipping_moves_only_what_lies_outside():
    rows = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    assert clip_rows(rows, 1.0) == pytest.approx(np.array([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))


def test_private_noise_has_the_claimed_standard_deviation():
    members = features()
    release = Noise(epsilon=2.0, delta=1e-6, clip_norm=4.0).fit(members, Context(seed=1))
    sigma = gaussian_sigma(2.0, 1e-6, 8.0)
    added = release.records.data - clip_rows(members.data.astype(np.float64), 4.0)
    assert added.std() == pytest.approx(sigma, rel=4 / np.sqrt(2 * added.size))
    guarantee = release.guarantee
    assert (guarantee.epsilon, guarantee.delta, guarantee.unit) == (2.0, 1e-6, "record")
    assert guarantee.details["noise_std"] == pytest.approx(sigma)
    assert guarantee.adjacency == "replace" and guarantee.public == ("size", "labels")


def test_private_release_of_one_record_does_not_depend_on_the_others():
    """The claim is about each row by itself: no statistic of the members may enter."""
    members = features(n=50)
    changed = members.replace(data=np.concatenate([members.data[:1], members.data[1:] * 100 + 3]))
    method = Noise(epsilon=2.0, clip_norm=4.0)
    rows = [method.fit(m, Context(seed=1)).records.data[0] for m in (members, changed)]
    assert rows[0].tolist() == rows[1].tolist()


def test_private_noise_on_pixels_clips_around_mid_grey():
    """With hardly any noise, what is left is the clipping: a corner moves to the ball's surface."""
    data = np.full((2, 2, 2, 1), 255, dtype=np.uint8)
    members = Records(data, np.zeros(2, dtype=np.int64))
    released = Noise(epsilon=1e9, clip_norm=0.2).fit(members, Context(seed=1)).records.data
    assert released == pytest.approx(np.rint(255 * (0.5 + 0.2 / 2)), abs=1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"scale": -1.0}, "scale"),
        ({"scale": 1.0, "epsilon": 1.0, "clip_norm": 1.0}, "exclude each other"),
        ({"epsilon": 1.0}, "go together"),
        ({"clip_norm": 1.0}, "go together"),
        ({"epsilon": 1.0, "clip_norm": 1.0, "delta": 0.0}, "delta"),
        ({"epsilon": float("inf"), "clip_norm": 1.0}, "epsilon"),
    ],
)
def test_contradictory_parameters_are_refused(parameters, message):
    with pytest.raises(ValidationError, match=message):
        Noise(**parameters)


@pytest.mark.parametrize("parameters", [{}, {"epsilon": 1.0, "clip_norm": 2.0}, {"scale": 0.1}])
def test_resolved_parameters_build_the_same_method(parameters):
    method = Noise(**parameters)
    assert Noise(**method.parameters()) == method
