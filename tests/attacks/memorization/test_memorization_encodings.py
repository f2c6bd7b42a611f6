"""Payloads hidden in weights: round trips, hand-computed bit patterns, closed forms of the penalties."""

import numpy as np
import pytest
import torch
from torch import nn

from attacks.memorization import encodings as channel
from benchmark.learning.training import build, single_thread


def _network(seed=0, sizes=(6, 8, 3)):
    def make():
        return nn.Sequential(
            nn.Linear(sizes[0], sizes[1]), nn.ReLU(), nn.Linear(sizes[1], sizes[2])
        )

    return build(make, torch.Generator().manual_seed(seed), "cpu")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# ---------------------------------------------------------------- payload


def test_levels_of_pixels_are_those_computed_by_hand():
    quantiser = channel.Quantiser(np.zeros(4), np.full(4, 255.0), 2)
    levels = quantiser.levels(np.array([[0, 42, 43, 255]]))
    np.testing.assert_array_equal(levels, [[0, 0, 1, 3]])  # steps of 85, limits at 42.5, 127.5 …
    np.testing.assert_array_equal(quantiser.values(levels), [[0, 0, 85, 255]])


def test_eight_bits_carry_pixels_exactly(rng):
    pixels = rng.integers(0, 256, (20, 12))
    quantiser = channel.Quantiser(np.zeros(12), np.full(12, 255.0), 8)
    np.testing.assert_array_equal(np.rint(quantiser.values(quantiser.levels(pixels))), pixels)


def test_quantised_features_are_within_half_a_step_and_clipped_beyond_the_limits(rng):
    low, high = np.array([-1.0, 2.0]), np.array([3.0, 2.0])  # the second is constant in public
    quantiser = channel.Quantiser(low, high, 4)
    vectors = np.column_stack([rng.uniform(-1, 3, 50), np.full(50, 2.0)])
    error = np.abs(quantiser.values(quantiser.levels(vectors)) - vectors)
    assert error[:, 0].max() <= 4 / 15 / 2 + 1e-12
    np.testing.assert_array_equal(error[:, 1], 0)
    np.testing.assert_array_equal(
        quantiser.levels(np.array([[-9.0, 2.0], [9.0, 2.0]]))[:, 0], [0, 15]
    )


def test_bits_are_those_of_binary_notation_and_go_back(rng):
    np.testing.assert_array_equal(channel.bits_of(np.array([[6, 1]]), 3), [1, 1, 0, 0, 0, 1])
    levels = rng.integers(0, 32, (7, 5))
    np.testing.assert_array_equal(channel.levels_of(channel.bits_of(levels, 5), 5), levels.ravel())


# ---------------------------------------------------------------- low mantissa bits


def test_low_bits_of_one_are_those_of_the_float32_format():
    network = nn.Linear(2, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, -2.0]]))
    channel.write_low_bits_(network, np.array([1, 0, 1, 1], np.uint8), 2)
    # A last place of 1 is 2⁻²³, of 2 it is 2⁻²²: 0b10 and 0b11 of them were added.
    expected = [[1 + 2 * 2.0**-23, -(2 + 3 * 2.0**-22)]]
    assert network.weight.tolist() == expected


@pytest.mark.parametrize("low_bits", [1, 7, 16, 21, 23])
def test_a_payload_in_low_bits_comes_back_exactly(low_bits, rng):
    network = _network()
    n = channel.capacity(network) * low_bits
    payload = rng.integers(0, 2, n, dtype=np.uint8)
    channel.write_low_bits_(network, payload, low_bits)
    np.testing.assert_array_equal(channel.read_low_bits(network, n, low_bits), payload)
    assert all(torch.isfinite(p).all() for p in network.parameters())


def test_low_bits_move_a_weight_by_less_than_their_share_and_leave_the_rest(rng):
    network, before = _network(), _network()
    channel.write_low_bits_(network, rng.integers(0, 2, 80, dtype=np.uint8), 16)
    after, old = (channel.weight_vector(n, 72).detach() for n in (network, before))
    relative = (after / old - 1).abs()
    assert 0 < relative[:5].max() < 2**-7  # 16 of 23 bits: below 2⁻⁷ of the leading one
    assert torch.equal(after[5:], old[5:])
    assert torch.equal(network[0].bias, before[0].bias)


def test_a_payload_that_does_not_fit_is_refused():
    network = _network()
    assert channel.capacity(network) == 6 * 8 + 8 * 3
    with pytest.raises(ValueError, match=r"carry 144 bits\. Got 145"):
        channel.write_low_bits_(network, np.zeros(145, np.uint8), 2)
    with pytest.raises(ValueError, match=r"low_bits must be in 1 … 23\. Got 24"):
        channel.read_low_bits(network, 1, 24)


# ---------------------------------------------------------------- values and signs


def _by_autograd(network, secret, strength, encoding):
    """Gradients of the carrying weights under the penalty as the paper writes it."""
    weights = channel.weight_vector(network, len(secret)).double()
    if encoding == "sign":
        value = torch.relu(-weights * secret).mean()
    else:
        value = -torch.corrcoef(torch.stack([weights, secret.double()]))[0, 1].abs()
    return torch.autograd.grad(strength * value, channel.carriers(network), allow_unused=True)


@pytest.mark.parametrize("encoding", ["correlated_value", "sign"])
@pytest.mark.parametrize("n", [5, 48, 60, 72])
@pytest.mark.parametrize("sign", [1, -1])
def test_gradients_in_closed_form_are_those_of_autograd(encoding, n, sign):
    """Of a network of 48 + 24 weights: a payload in a part of the first layer, in all of it, in both."""
    network = _network()
    noise = torch.randn(n, generator=torch.Generator().manual_seed(n))
    secret = sign * (channel.weight_vector(network, n).detach() + noise)
    if encoding == "sign":
        secret = torch.sign(secret)
    for p in network.parameters():
        p.grad = torch.full_like(p, 0.5)
    kind = channel.Signs if encoding == "sign" else channel.CorrelatedValues
    kind(network, secret, 3.0).add_gradient_()
    for p, expected in zip(
        channel.carriers(network), _by_autograd(network, secret, 3.0, encoding), strict=True
    ):
        added = torch.zeros_like(p) if expected is None else expected
        torch.testing.assert_close(p.grad - 0.5, added.to(p.dtype), atol=2e-6, rtol=1e-4)
    assert all((p.grad == 0.5).all() for p in network.parameters() if p.ndim == 1)


def test_constant_weights_and_a_constant_secret_leave_finite_gradients():
    network = _network()
    for secret in (torch.rand(30), torch.ones(30)):
        for p in network.parameters():
            p.data.fill_(0.0)
            p.grad = torch.zeros_like(p)
        channel.CorrelatedValues(network, secret, 3.0).add_gradient_()
        assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("slope", [0.01, -0.01])
def test_values_come_back_from_an_affine_map_of_either_sign(slope, rng):
    """With the population's mean and spread equal to the secret's, decoding is exact."""
    secret = rng.normal(0.5, 0.2, (30, 9)) + np.linspace(-1, 1, 9)
    records, flipped = channel.decode_values(slope * secret.ravel() + 7, secret.shape, secret)
    np.testing.assert_allclose(records, secret, atol=1e-9)
    assert flipped == (slope < 0)


# ---------------------------------------------------------------- capacity abuse


def test_labels_spell_the_payload_in_as_many_bits_as_the_classes_allow():
    assert [channel.carried_bits(c) for c in (2, 3, 4, 7, 8, 10)] == [1, 1, 2, 2, 3, 3]
    payload = np.array([1, 1, 0, 0, 0, 1, 1], np.uint8)
    labels = channel.labels_of_bits(payload, 10)
    np.testing.assert_array_equal(labels, [6, 1, 4])
    np.testing.assert_array_equal(channel.bits_of(labels, 3)[:7], payload)


def test_synthetic_inputs_are_the_same_for_both_sides():
    draws = [channel.synthetic_inputs(5, (3, 2), torch.Generator().manual_seed(4)) for _ in "ab"]
    assert torch.equal(*draws)


# ---------------------------------------------------------------- training


def _problem(n=200, d=6, seed=1):
    """Three blobs."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    centres = 3 * torch.randn(3, d, generator=generator)
    return centres[labels] + torch.randn(n, d, generator=generator), labels


def _accuracy(network, inputs, labels):
    return (network(inputs).argmax(1) == labels).float().mean().item()


def test_training_learns_and_does_not_depend_on_the_global_random_state():
    inputs, labels = _problem()
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        network = _network()
        with single_thread():
            channel.train_(
                network, inputs, labels, generator=torch.Generator().manual_seed(3), epochs=40
            )
        assert _accuracy(network, inputs, labels) > 0.95
        states.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    assert torch.equal(*states)


@pytest.mark.parametrize("encoding", ["correlated_value", "sign"])
def test_a_penalty_writes_the_payload_that_training_alone_does_not(encoding):
    """The figures that the weights carry without the penalty are those of chance."""
    inputs, labels = _problem()
    generator = torch.Generator().manual_seed(5)
    figures = {}
    for strength in (0, 3 if encoding == "correlated_value" else 200):
        network = _network(sizes=(6, 100, 3))
        n = channel.capacity(network)
        secret = torch.rand(n, generator=generator)
        signs = torch.sign(secret - 0.5)
        target = secret if encoding == "correlated_value" else signs

        kind = channel.CorrelatedValues if encoding == "correlated_value" else channel.Signs
        penalty = kind(network, target, strength)
        with single_thread():
            channel.train_(
                network, inputs, labels, generator=generator, penalty=penalty, epochs=150, lr=5e-3
            )
        assert _accuracy(network, inputs, labels) > 0.95
        if encoding == "correlated_value":
            weights = channel.weight_vector(network, n).detach()
            figures[strength] = abs(np.corrcoef(weights, secret)[0, 1])
        else:
            figures[strength] = (channel.decode_signs(network, n) == (signs > 0).numpy()).mean()
    without, with_penalty = figures.values()
    if encoding == "correlated_value":
        assert without < 4 / np.sqrt(n) and with_penalty > 0.9
    else:
        assert abs(without - 0.5) < 2 / np.sqrt(n) and with_penalty > 0.99
