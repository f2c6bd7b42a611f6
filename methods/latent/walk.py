"""Walks between two points of a latent space that keep away from what an identity classifier recognises.

A walk is a path of ``T`` codes. Its ends are fixed, it starts as the straight line between them, and its interior codes
are moved by Adam to minimise

``distance_weight · energy + identity_weight · KL(U ‖ φ_id) + class_weight · CE(φ_class, y)``

with means over the walk's interior pictures of the last two: the identity classifier shall find every identity equally
likely (U is uniform), the class classifier the walk's class. The published weights 1, 0.1, 1 are for sums over batches
of four pictures and for the W of a StyleGAN [1]_; here every term is a mean, so that weights keep their meaning for
other lengths and batches, and the energy is free of the scale of the codes:

``energy = (T − 1)² · mean_i ‖w_{i+1} − w_i‖² / scale``

where ``scale`` is the squared distance between two typical codes. A straight line between two such codes has energy 1
whatever T, the number of dimensions and their spread; a path c times as long, walked evenly, has c².

All walks are optimised together, each by its own loss: no walk's answer depends on the others.

References
----------
.. [1] Pennisi, Proietto Salanitri, Bellitto et al., "A privacy-preserving walk in the latent space of generative models
   for medical applications", MICCAI 2023, arXiv 2307.02984, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

__all__ = ["Walks", "energy", "exposure", "straight", "walk"]

Map = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Walks:
    """``P`` walks of ``T`` codes, each at the iterate that was kept; tensors on the CPU.

    Parameters
    ----------
    codes : Tensor of shape (P, T, L), float32
        Ends included.
    energies, exposures, class_errors : Tensor of shape (P,)
        The three terms, unweighted; 0 for one that was not asked for.
    losses : Tensor of shape (P,)
        Their weighted sum.
    starts : Tensor of shape (P,)
        The loss of the first path.
    """

    codes: torch.Tensor
    energies: torch.Tensor
    exposures: torch.Tensor
    class_errors: torch.Tensor
    losses: torch.Tensor
    starts: torch.Tensor


def straight(a: torch.Tensor, b: torch.Tensor, points: int) -> torch.Tensor:
    """``points`` evenly spaced codes ``(P, points, L)`` from ``a`` to ``b``, both ``(P, L)`` and included exactly."""
    share = torch.linspace(0, 1, points, device=a.device)[None, :, None]
    path = torch.lerp(a[:, None].expand(-1, points, -1), b[:, None].expand(-1, points, -1), share)
    path[:, 0], path[:, -1] = a, b
    return path


def energy(path: torch.Tensor, scale: float) -> torch.Tensor:
    """Energies ``(P,)`` of paths ``(P, T, L)``: 1 for a straight line of squared length ``scale``.

    >>> energy(straight(torch.zeros(1, 3), torch.full((1, 3), 2.0), 7), scale=12.0)
    tensor([1.0000])
    """
    steps = path.shape[1] - 1
    return path.diff(dim=1).square().sum(dim=2).mean(dim=1) * (steps**2 / scale)


def exposure(logits: torch.Tensor) -> torch.Tensor:
    """KL(U ‖ softmax(logits)) in nats, ``(…,)`` for logits ``(…, K)``: 0 where no identity stands out."""
    return -F.log_softmax(logits, dim=-1).mean(dim=-1) - math.log(logits.shape[-1])


def walk(
    synthesise: Map,
    a: torch.Tensor,
    b: torch.Tensor,
    labels: torch.Tensor,
    *,
    points: int = 16,
    steps: int = 80,
    lr: float = 0.1,
    decay: bool = False,
    distance_weight: float = 1.0,
    identity_weight: float = 0.1,
    class_weight: float = 1.0,
    identities: Map | None = None,
    classes: Map | None = None,
    scale: float | None = None,
    start: torch.Tensor | None = None,
    keep: Literal["best", "last"] = "best",
    batch: int = 256,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Walks:
    """Walk from ``a`` to ``b``.

    Parameters
    ----------
    synthesise : callable
        Records ``(B, D)`` of codes ``(B, L)``, differentiable.
    a, b : Tensor of shape (P, L)
        The ends; they are kept as they are.
    labels : Tensor of shape (P,), int64
        Class of each walk.
    points : int, default=16
        Codes of a walk, ends included; ≥ 2. With 2 there is nothing to move.
    steps : int, default=80
        Steps of Adam.
    lr : float, default=0.1
        Step size, in root mean squares of a code's deviation: √(scale / 2L).
    decay : bool, default=False
        Let the step size fall to 0 along half a cosine; otherwise it stays, as published.
    distance_weight, identity_weight, class_weight : float ≥ 0
    identities, classes : callable, optional
        Logits ``(B, K)`` of records ``(B, D)``, differentiable. Needed where their weight is above 0.
    scale : float, optional
        Squared distance between two typical codes, by default the mean of those between the ends; see the module.
    start : Tensor of shape (P, points, L), optional
        First paths, whose ends are replaced by ``a`` and ``b``; straight lines by default.
    keep : {"best", "last"}
        Which iterate of a walk is kept: that with the lowest loss, or the last.
    batch : int, default=256
        Pictures made at once, about; bounds memory.
    progress : callable

    Raises
    ------
    ValueError
        For a weight above 0 whose classifier is missing.
    """
    for name, weight, given in (
        ("identities", identity_weight, identities),
        ("classes", class_weight, classes),
    ):
        if weight > 0 and given is None:
            raise ValueError(
                f"a walk with a weight of {weight} needs {name}. Got None; give it, or set it to 0."
            )
    if scale is None:
        scale = max(float((a - b).square().sum(dim=1).mean()), torch.finfo(torch.float32).tiny)
    objective = _Objective(
        synthesise,
        identities if identity_weight > 0 else None,
        classes if class_weight > 0 else None,
        (distance_weight, identity_weight, class_weight),
        scale,
    )
    path = straight(a, b, points) if start is None else start.detach().clone()
    path[:, 0], path[:, -1] = a, b
    rate = lr * math.sqrt(scale / (2 * a.shape[1]))
    chunks = torch.arange(len(a)).split(max(1, batch // max(1, points - 2)))
    parts = []
    for i, rows in enumerate(chunks):
        report = _share(progress, i, len(chunks))
        parts.append(
            _descend(objective, path[rows], labels[rows], rate, steps, decay, keep, report)
        )
    return Walks(*(torch.cat(column).cpu() for column in zip(*parts, strict=True)))


def _share(progress: Callable[[float], None], i: int, n: int) -> Callable[[float], None]:
    return lambda fraction: progress((i + fraction) / n)


@dataclass(frozen=True)
class _Objective:
    """The three terms of each walk's own loss."""

    synthesise: Map
    identities: Map | None
    classes: Map | None
    weights: tuple[float, float, float]
    scale: float

    def terms(self, path: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Energy, exposure and class error ``(P,)`` of paths ``(P, T, L)``."""
        n, inside = len(path), path.shape[1] - 2
        exposed = wrong = torch.zeros(n, device=path.device)
        if inside and (self.identities or self.classes):
            made = self.synthesise(path[:, 1:-1].flatten(0, 1))
            if self.identities:
                exposed = exposure(self.identities(made)).view(n, inside).mean(dim=1)
            if self.classes:
                wanted = labels.repeat_interleave(inside)
                error = F.cross_entropy(self.classes(made), wanted, reduction="none")
                wrong = error.view(n, inside).mean(dim=1)
        return energy(path, self.scale), exposed, wrong

    def total(self, terms: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The weighted sum ``(P,)``."""
        return torch.stack([w * t for w, t in zip(self.weights, terms, strict=True)]).sum(dim=0)


def _descend(
    objective: _Objective,
    path: torch.Tensor,
    labels: torch.Tensor,
    lr: float,
    steps: int,
    decay: bool,
    keep: str,
    progress: Callable[[float], None],
) -> tuple[torch.Tensor, ...]:
    """Kept paths of one batch, their three terms, losses, and the losses of the first paths."""
    ends = path[:, :1], path[:, -1:]
    inside = path[:, 1:-1].clone().requires_grad_(True)
    adam = torch.optim.Adam([inside], lr=lr)
    kept, least = path, torch.full((len(path),), math.inf, device=path.device)
    found = [torch.zeros_like(least)] * 3
    first = least
    for step in range(steps + 1):
        if decay:
            adam.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / max(steps, 1))) / 2
        with torch.set_grad_enabled(step < steps):
            current = torch.cat((ends[0], inside, ends[1]), dim=1)
            terms = objective.terms(current, labels)
            loss = objective.total(terms)
        with torch.no_grad():
            better = (
                loss < least if keep == "best" else torch.full_like(loss, True, dtype=torch.bool)
            )
            kept = torch.where(better[:, None, None], current, kept)
            least = torch.where(better, loss, least)
            found = [torch.where(better, new, old) for new, old in zip(terms, found, strict=True)]
            first = least if step == 0 else first
        if step < steps and inside.numel():
            # The sum keeps every walk's gradient its own; only the codes get one.
            (inside.grad,) = torch.autograd.grad(loss.sum(), [inside])
            adam.step()
        progress((step + 1) / (steps + 1))
    return (kept, *found, least, first)
