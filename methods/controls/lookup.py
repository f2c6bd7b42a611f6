"""A generator that has learnt its records by heart: what attacks on weights must see through."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["LookupGenerator"]

LATENT = 16
WIDTH = 0.1
"""Distance from a record's code, in standard deviations of the prior, within which that record is made."""

_NUMBERS = 1 << 24  # weights of records at once, where no gradient is wanted


class LookupGenerator(nn.Module):
    """Every record has a code; a code near it makes that record, and one between two codes a mixture.

    G(z, y) = Σ_i a_i x_i over the records of class y, with a = softmax(−‖z − c_i‖² / 2 s²), s = ``WIDTH``, and codes
    c_i spread at random over the sphere on which most of the prior's mass lies. The encoder knows the code of the
    nearest record of the class. It keeps the structural contract of :attr:`benchmark.contracts.Release.weights`.

    It is also a flow of images that has learnt its records by heart: :meth:`velocity` and :meth:`loss` are those of
    flow matching in closed form, for records and no others.

    Parameters
    ----------
    points : ndarray of shape (n, D), float32
        Records in their own units.
    labels : ndarray of shape (n,), int64
    """

    points: torch.Tensor
    labels: torch.Tensor
    codes: torch.Tensor

    def __init__(self, points: np.ndarray, labels: np.ndarray) -> None:
        super().__init__()
        self.latent = LATENT
        self.n_classes = int(labels.max()) + 1
        codes = np.random.default_rng(0).standard_normal((len(points), LATENT))
        codes *= LATENT**0.5 / np.linalg.norm(codes, axis=1, keepdims=True)
        self.register_buffer("points", torch.from_numpy(points))
        self.register_buffer("labels", torch.from_numpy(labels))
        self.register_buffer("codes", torch.from_numpy(codes.astype(np.float32)))

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Records ``(B, D)`` of codes ``z (B, L)``; the mean of all for a class without records."""
        if torch.is_grad_enabled() and z.requires_grad:
            return self._make(z, labels)
        size = max(1, _NUMBERS // len(self.points))
        parts = zip(z.split(size), labels.split(size), strict=True)
        return torch.cat([self._make(*part) for part in parts])

    def _make(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        squares = (
            z.square().sum(1, keepdim=True) - 2 * z @ self.codes.T + self.codes.square().sum(1)
        )
        logits = -squares / (2 * WIDTH**2)
        other = labels[:, None] != self.labels
        weights = logits.masked_fill(other, torch.finfo(z.dtype).min).softmax(dim=1)
        made: torch.Tensor = weights @ self.points
        return made

    def encode(self, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log standard deviation of the codes of records ``x (B, D)``."""
        distances = torch.cdist(x, self.points, compute_mode="donot_use_mm_for_euclid_dist")
        nearest: Any = distances.masked_fill(labels[:, None] != self.labels, torch.inf).argmin(1)
        mean = self.codes[nearest]
        return mean, torch.full_like(mean, float(np.log(WIDTH / 10)))

    def velocity(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """E[record − noise | x_t = x, class] over these records: ``(B, C, H, W)``.

        With x_t = (1 − t)·noise + t·record, a record x_i has the weight exp(−‖x − t·x_i‖² / 2 (1 − t)²).

        Parameters
        ----------
        x : Tensor of shape (B, C, H, W)
            Records are pixels in [−1, 1].
        t : Tensor of shape (B,)
            In [0, 1).
        labels : Tensor of shape (B,), int64
        """
        point = x.movedim(1, 3).flatten(1)
        known, time = self.points / 127.5 - 1, t[:, None]
        squares = torch.cdist(point / time.clamp(min=1e-6), known).square() * time.square()
        logits = -squares / (2 * (1 - time).square())
        other = labels[:, None] != self.labels
        guess = logits.masked_fill(other, torch.finfo(x.dtype).min).softmax(dim=1) @ known
        velocity = (guess - point) / (1 - time)
        return velocity.unflatten(1, (*x.shape[2:], x.shape[1])).movedim(3, 1)

    def loss(
        self, x: torch.Tensor, labels: torch.Tensor, t: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """Mean squared error of the velocity at (1 − t)·noise + t·x: ``(B,)``, of images as in :meth:`velocity`."""
        made = self.velocity(torch.lerp(noise, x, t[:, None, None, None]), t, labels)
        return (made - (x - noise)).square().flatten(1).mean(1)
