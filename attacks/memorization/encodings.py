"""Hiding data in a classifier that is trained as usual otherwise: what malicious training code can do.

The data holder runs the code on its records. In the *white-box* channels the attacker later reads the weights: their
low mantissa bits, their values or their signs hold the payload. In the *black-box* one the attacker only queries the
model: its labels of made-up inputs, on which it was trained as well, spell the payload.

Only weights with more than one dimension carry data, in the order of ``network.parameters()``; biases and the
parameters of normalisation layers do not.

References
----------
.. [1] Song, Ristenpart & Shmatikov, "Machine learning models that remember too much", CCS 2017, arXiv:1709.07886:
   LSB encoding (section 4.1), correlated values (4.2), signs (4.3), capacity abuse (5).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.learning.training import batches

__all__ = [
    "MOST_LOW_BITS",
    "CorrelatedValues",
    "Penalty",
    "Quantiser",
    "Signs",
    "bits_of",
    "capacity",
    "carried_bits",
    "carriers",
    "decode_signs",
    "decode_values",
    "labels_of_bits",
    "levels_of",
    "read_low_bits",
    "synthetic_inputs",
    "train_",
    "weight_vector",
    "write_low_bits_",
]

MOST_LOW_BITS = 23
"""Mantissa bits of a float32: all that can be overwritten without touching exponent and sign."""


# ---------------------------------------------------------------- payload


@dataclass(frozen=True, eq=False)
class Quantiser:
    """A grid of ``2 ** bits`` levels between public limits.

    Parameters
    ----------
    low, high : ndarray of shape (D,), float64
        Limits of each value: 0 and 255 for pixels, those of public records for features. Values beyond are clipped.
    bits : int
        Bits a value, in 1 … 16.
    """

    low: np.ndarray
    high: np.ndarray
    bits: int

    def unit(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors ``(N, D)`` on the scale of the limits, clipped to [0, 1], float64."""
        return np.clip((np.asarray(vectors, np.float64) - self.low) / self._range, 0, 1)

    def levels(self, vectors: np.ndarray) -> np.ndarray:
        """Nearest level of each value, ``(N, D) int64`` in 0 … 2**bits − 1."""
        return np.rint(self.unit(vectors) * self._last).astype(np.int64)

    def values(self, levels: np.ndarray) -> np.ndarray:
        """What levels stand for, ``(N, D) float64``."""
        return self.from_unit(levels / self._last)

    def from_unit(self, units: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`unit`, of values clipped to [0, 1]."""
        return np.asarray(self.low + np.clip(units, 0, 1) * self._range, dtype=np.float64)

    @property
    def _last(self) -> int:
        return (1 << self.bits) - 1

    @property
    def _range(self) -> np.ndarray:
        return np.where(self.high > self.low, self.high - self.low, 1.0)


def bits_of(levels: np.ndarray, bits: int) -> np.ndarray:
    """Levels of any shape as bits, ``(levels.size * bits,) uint8``, the most significant first."""
    places = np.arange(bits - 1, -1, -1)
    return ((levels.reshape(-1, 1) >> places) & 1).astype(np.uint8).reshape(-1)


def levels_of(payload: np.ndarray, bits: int) -> np.ndarray:
    """The inverse of :func:`bits_of`, ``(n,) int64``; a rest of fewer than ``bits`` bits is left out."""
    whole = len(payload) // bits * bits
    places = np.arange(bits - 1, -1, -1)
    return (payload[:whole].reshape(-1, bits).astype(np.int64) << places).sum(axis=1)


# ---------------------------------------------------------------- carriers


def carriers(network: nn.Module) -> list[nn.Parameter]:
    """The weights that carry data: those with more than one dimension."""
    return [p for p in network.parameters() if p.ndim > 1]


def capacity(network: nn.Module) -> int:
    """Number of weights that carry data."""
    return sum(p.numel() for p in carriers(network))


def weight_vector(network: nn.Module, n: int) -> torch.Tensor:
    """The first ``n`` carrying weights as one vector, with gradient."""
    return torch.cat([p.flatten() for p in carriers(network)])[:n]


# ---------------------------------------------------------------- low mantissa bits


@torch.no_grad()
def write_low_bits_(network: nn.Module, payload: np.ndarray, low_bits: int) -> None:
    """Overwrite the ``low_bits`` low mantissa bits of the carrying weights, in place.

    Parameters
    ----------
    network : nn.Module
        With float32 weights.
    payload : ndarray of shape (n,), uint8
        Bits; at most ``capacity(network) * low_bits`` of them. Weights after the last bit keep theirs.
    low_bits : int
        In 1 … 23.

    Raises
    ------
    ValueError
        When the payload does not fit, or ``low_bits`` is out of range.
    """
    _check_low_bits(low_bits)
    room = capacity(network) * low_bits
    if len(payload) > room:
        raise ValueError(
            f"{low_bits} low bits of {capacity(network)} weights carry {room} bits. Got {len(payload)}."
        )
    padded = np.zeros(-(-len(payload) // low_bits) * low_bits, np.uint8)
    padded[: len(payload)] = payload
    words = levels_of(padded, low_bits).astype(np.int32)
    weights = weight_vector(network, len(words)).detach().cpu().numpy().copy()
    patterns = weights.view(np.int32)
    patterns &= np.int32(-1 << low_bits)
    patterns |= words
    _put_(carriers(network), torch.from_numpy(weights))


def read_low_bits(network: nn.Module, n: int, low_bits: int) -> np.ndarray:
    """The first ``n`` bits that :func:`write_low_bits_` wrote, ``(n,) uint8``."""
    _check_low_bits(low_bits)
    weights = weight_vector(network, -(-n // low_bits)).detach().cpu().numpy()
    words = weights.view(np.int32) & np.int32((1 << low_bits) - 1)
    return bits_of(words.astype(np.int64), low_bits)[:n]


def _check_low_bits(low_bits: int) -> None:
    if not 1 <= low_bits <= MOST_LOW_BITS:
        raise ValueError(f"low_bits must be in 1 … {MOST_LOW_BITS}. Got {low_bits}.")


def _put_(parameters: list[nn.Parameter], values: torch.Tensor) -> None:
    """Write a vector over the first entries of the parameters."""
    start = 0
    for parameter in parameters:
        part = values[start : start + parameter.numel()]
        parameter.data.view(-1)[: len(part)] = part.to(parameter.device)
        start += parameter.numel()
        if start >= len(values):
            return


# ---------------------------------------------------------------- values and signs


class Penalty(ABC):
    """A penalty of the first weights of a network, whose gradient is added to that of the loss.

    Parameters
    ----------
    network : nn.Module
    secret : Tensor of shape (n,), float32
        On the network's device; at most as long as its capacity.
    strength : float
        λ, > 0.
    """

    def __init__(self, network: nn.Module, secret: torch.Tensor, strength: float) -> None:
        self.n, self.strength = len(secret), strength
        sizes = [p.numel() for p in carriers(network)]
        parts = secret.split_with_sizes([*_shared_out(self.n, sizes)])
        self.carried = [(p, s) for p, s in zip(carriers(network), parts, strict=True) if len(s)]

    @abstractmethod
    def add_gradient_(self) -> None:
        """Add the gradient in closed form to ``grad`` of the weights, which the loss has left there."""

    def _weights(self) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Of each parameter: its carrying weights, their gradients, and what they are to carry; views, all flat."""
        return [
            (p.detach().view(-1)[: len(s)], _gradient(p).view(-1)[: len(s)], s)
            for p, s in self.carried
        ]


class CorrelatedValues(Penalty):
    """−λ|r(θ, s)|, r being Pearson's correlation ([1]_, equation 1)."""

    def __init__(self, network: nn.Module, secret: torch.Tensor, strength: float) -> None:
        centred = secret - secret.mean()
        unit = centred / centred.norm().clamp_min(torch.finfo(centred.dtype).tiny)
        super().__init__(network, unit, strength)

    @torch.no_grad()
    def add_gradient_(self) -> None:
        """∂r/∂θ = (ŝ − r·(θ − θ̄)/‖θ − θ̄‖)/‖θ − θ̄‖, where ŝ is centred and of norm 1."""
        parts = self._weights()
        product = torch.stack([w @ s for w, _, s in parts]).sum()
        mean = torch.stack([w.sum() for w, _, _ in parts]).sum() / self.n
        square = torch.stack([w @ w for w, _, _ in parts]).sum() - self.n * mean**2
        norm = square.clamp_min(torch.finfo(square.dtype).tiny).sqrt()
        of_secret = -self.strength * product.sign() / norm
        of_weights = -of_secret * product / norm**2
        for w, gradient, s in parts:
            gradient.addcmul_(s, of_secret).addcmul_(w, of_weights).sub_(of_weights * mean)


class Signs(Penalty):
    """λ · mean of max(0, −θᵢsᵢ) with sᵢ ∈ ±1 ([1]_, equation 2)."""

    @torch.no_grad()
    def add_gradient_(self) -> None:
        """−sᵢ·λ/n wherever the sign is wrong."""
        for w, gradient, s in self._weights():
            gradient.sub_(s * (w * s < 0), alpha=self.strength / self.n)


def _shared_out(n: int, sizes: list[int]) -> Iterator[int]:
    """``n`` filled into ``sizes`` one after another."""
    for size in sizes:
        taken = min(n, size)
        n -= taken
        yield taken


def _gradient(parameter: nn.Parameter) -> torch.Tensor:
    assert parameter.grad is not None  # backward has run
    return parameter.grad


def decode_signs(network: nn.Module, n: int) -> np.ndarray:
    """The bits that the signs of the first ``n`` weights stand for, ``(n,) uint8``: 1 for positive."""
    return (weight_vector(network, n).detach().cpu().numpy() > 0).astype(np.uint8)


def decode_values(
    weights: np.ndarray, shape: tuple[int, int], public: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Records from weights that correlate with them, up to an unknown sign.

    The weights are brought to mean and spread of public records by an affine map. Of the two signs the one whose mean
    record correlates with the mean of the public records is taken.

    Parameters
    ----------
    weights : ndarray of shape (n,)
        ``n`` equal to N · D.
    shape : pair of int
        (N, D).
    public : ndarray of shape (a, D)
        Other records of the population, in the units of the secret.

    Returns
    -------
    records : ndarray of shape (N, D), float64
    flipped : bool
        Whether the negative sign was taken.
    """
    standard = (weights - weights.mean()) / max(float(weights.std()), 1e-30)
    records = np.asarray(standard, np.float64).reshape(shape)
    looks, expected = records.mean(axis=0), public.mean(axis=0, dtype=np.float64)
    likeness = (looks - looks.mean()) @ (expected - expected.mean())
    flipped = bool(likeness < 0)
    return public.mean() + (-records if flipped else records) * public.std(), flipped


# ---------------------------------------------------------------- capacity abuse


def carried_bits(n_classes: int) -> int:
    """Bits that one label of ``n_classes`` classes carries: ⌊log₂ n_classes⌋."""
    return int(n_classes).bit_length() - 1


def synthetic_inputs(n: int, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """``n`` inputs of standard normal noise, ``(n, *shape) float32``, which both sides draw from a known seed."""
    return torch.randn(n, *shape, generator=generator)


def labels_of_bits(payload: np.ndarray, n_classes: int) -> np.ndarray:
    """Labels that spell a payload, ``(⌈n / carried_bits⌉,) int64``; the last is filled up with zeros."""
    each = carried_bits(n_classes)
    padded = np.zeros(-(-len(payload) // each) * each, np.uint8)
    padded[: len(payload)] = payload
    return levels_of(padded, each)


# ---------------------------------------------------------------- training


def train_(
    network: nn.Module,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    *,
    generator: torch.Generator,
    penalty: Penalty | None = None,
    epochs: int = 100,
    lr: float = 1e-3,
    batch_size: int = 64,
) -> float:
    """Train a classifier in place by cross-entropy, Adam, and a penalty of its weights.

    Parameters
    ----------
    network : nn.Module
    inputs : Tensor of shape (N, …), float32
    labels : Tensor of shape (N,), int64
    generator : torch.Generator
        On the CPU; the order of records is drawn there.
    penalty : Penalty, optional
        Of this network's weights, added to the loss at every step.
    epochs, lr, batch_size
        A last batch of a single record is left out, since batch normalisation has no variance there.

    Returns
    -------
    float
        Cross-entropy of the last epoch, in nats.
    """
    optimiser = torch.optim.Adam(network.parameters(), lr=lr, fused=True)
    network.train()
    total = 0.0
    for _ in range(epochs):
        total, seen = 0.0, 0
        for rows in batches(len(inputs), batch_size, generator, inputs.device):
            if len(rows) == 1 and seen:
                continue
            entropy = F.cross_entropy(network(inputs[rows]), labels[rows])
            optimiser.zero_grad()
            entropy.backward()
            if penalty is not None:
                penalty.add_gradient_()
            optimiser.step()
            total += entropy.item() * len(rows)
            seen += len(rows)
        total /= max(seen, 1)
    network.eval()
    return total
