"""Members as codes of a generator, averages of at least k of them, and averages that keep their sources' style.

k-Same in a latent space averages codes instead of pixels, so that what comes out is a picture and not a blur. k-SALSA
[1]_ then moves each average until its picture has the content, and the local style, of the sources behind it.

References
----------
.. [1] Jeon, Park, Kim, Morley & Cho, "k-SALSA: k-anonymous synthetic averaging of retinal images via local style
   alignment", ECCV 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.contracts import Records
from benchmark.learning.grouping import Group, form_groups, identities_of
from benchmark.learning.identity import Namer
from benchmark.learning.inversion import LatentStatistics, invert, latent_statistics

__all__ = ["ClassGroup", "Projections", "Style", "align_style", "class_groups", "project"]

GRID = 4
"""Crops along each side of a picture."""

CROP_POSITIONS = 64**2
"""Positions of a crop at the paper's size: Gram matrices are scaled to their sum over as many."""

CHUNK = 128


@dataclass(frozen=True, eq=False)
class Projections:
    """Codes of members.

    Parameters
    ----------
    codes : Tensor of shape (p, N, L)
        ``p`` projections of each member, from different starts.
    pictures : ndarray of shape (p, N, D), float32
        What the generator makes of them, 0 … 255.
    errors : ndarray of shape (p, N)
        Root mean squared difference from the member, in grey levels of 255.
    """

    codes: torch.Tensor
    pictures: np.ndarray
    errors: np.ndarray


@dataclass(frozen=True, eq=False)
class ClassGroup:
    """A group of at least k identities within the class ``label``; its ``mean`` is that of their codes."""

    label: int
    group: Group


def project(
    generator: nn.Module,
    members: Records,
    *,
    steps: int = 100,
    projections: int = 1,
    statistics: LatentStatistics | None = None,
    rng: torch.Generator,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda fraction: None,
) -> Projections:
    """Find codes in W whose pictures are nearest to the members, each under its own class.

    The first projection starts from the class mean, further ones from draws of the class.

    Parameters
    ----------
    generator : nn.Module
        With ``map`` and ``synthesise``.
    members : Records
        Images.
    steps : int, default=100
        Of Adam, at a tenth of the codes' standard deviation.
    projections : int, default=1
    rng : torch.Generator
        On the CPU.
    """
    if statistics is None:
        statistics = latent_statistics(generator, "w", rng=rng, device=device)
    labels = torch.from_numpy(members.labels)
    draws, mean = statistics.codes.cpu(), statistics.mean.cpu()
    starts = [mean[labels], *(draws[labels, i] for i in range(projections - 1))]
    found = invert(
        generator,
        np.tile(members.data.reshape(len(members), -1), (projections, 1)),
        labels.repeat(projections),
        space="w",
        steps=steps,
        init=torch.cat(starts),
        statistics=statistics,
        batch=CHUNK,
        rng=rng,
        device=device,
        progress=progress,
    )
    shape = (projections, len(members), -1)
    return Projections(
        found.codes.view(*shape),
        found.reconstructions.numpy().reshape(shape),
        255 * found.errors.sqrt().numpy().reshape(shape[:2]),
    )


def class_groups(codes: np.ndarray, members: Records, k: int, rule: str) -> list[ClassGroup]:
    """Groups of at least ``k`` identities of one class that lie near each other; none of a class with fewer.

    Parameters
    ----------
    codes : ndarray of shape (N, L)
        One code for each member.
    members : Records
    k : int
    rule : str
        See :mod:`benchmark.learning.grouping`.
    """
    vectors = np.asarray(codes, dtype=np.float64)
    return [
        ClassGroup(int(label), group)
        for label in np.unique(members.labels)
        for group in form_groups(
            vectors, identities_of(members, np.flatnonzero(members.labels == label)), k, rule
        )
    ]


# ---------------------------------------------------------------- k-SALSA


@dataclass(frozen=True, kw_only=True)
class Style:
    """How much the terms of the alignment weigh, and how it is searched.

    ``content_weight`` is for the mean of 1 − cosine between the picture's features and its sources'; ``style_weight``
    for the squared Frobenius distance between Gram matrices of a source's crop and the most similar crop of the
    picture, mean over the source crops. The published weights; Gram matrices are scaled to sums over 64 × 64
    positions, the size of a crop of the paper's pictures.
    """

    content_weight: float = 100.0
    style_weight: float = 1e-6
    steps: int = 100
    lr: float = 0.1


def align_style(
    synthesise: Callable[[torch.Tensor], torch.Tensor],
    namer: Namer,
    codes: torch.Tensor,
    sources: list[np.ndarray],
    images: np.ndarray,
    *,
    style: Style,
    deviation: float,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda fraction: None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Move each code until its picture has content and local style of its sources.

    Parameters
    ----------
    synthesise : callable
        Records ``(B, D)`` of codes ``(B, L)``.
    namer : Namer
        Its last features are the content, its first convolution is where style is measured.
    codes : Tensor of shape (G, L)
        Averages to start from.
    sources : list of ndarray
        For each, the rows of its sources in ``images``.
    images : ndarray of shape (N, H, W, C), uint8
    style : Style
    deviation : float
        Standard deviation of codes, the unit of step sizes.

    Returns
    -------
    codes : Tensor of shape (G, L)
        The best iterate of each, on the CPU.
    losses, starts : Tensor of shape (G,)
        Its loss, and that of the average.
    """
    found = []
    chunks = np.array_split(np.arange(len(codes)), -(-len(codes) // CHUNK))
    for i, rows in enumerate(chunks):
        wanted = _Wanted.of(namer, images, [sources[row] for row in rows], device)
        start = codes[torch.from_numpy(rows)].to(device)
        found.append(_align(synthesise, namer, start, wanted, style, style.lr * deviation))
        progress((i + 1) / len(chunks))
    kept, losses, first = (torch.cat(column).cpu() for column in zip(*found, strict=True))
    return kept, losses, first


@dataclass(frozen=True, eq=False)
class _Wanted:
    """What the sources of ``G`` averages look like.

    ``content (G, F)`` is the mean of the sources' unit features; ``grams (S, crops, M·M)`` those of all sources, one
    after another, and ``owner (S,)`` the average that each belongs to.
    """

    content: torch.Tensor
    grams: torch.Tensor
    owner: torch.Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls, namer: Namer, images: np.ndarray, sources: list[np.ndarray], device: str
    ) -> _Wanted:
        rows = np.concatenate(sources)
        x = torch.from_numpy(images[rows].reshape(len(rows), -1)).to(device, torch.float32)
        owner = torch.repeat_interleave(
            torch.arange(len(sources)), torch.tensor([len(s) for s in sources])
        ).to(device)
        parts = [_looks(namer, part) for part in x.split(CHUNK)]
        content, grams = (torch.cat(column) for column in zip(*parts, strict=True))
        return cls(_group_means(content, owner, len(sources)), grams, owner)

    def loss(self, namer: Namer, made: torch.Tensor, style: Style) -> torch.Tensor:
        """Loss ``(G,)`` of pictures ``(G, D)``."""
        content, grams = _looks(namer, made)
        unlike = 1 - (content * self.content).sum(dim=1)
        gaps = _squared_distances(self.grams, grams[self.owner]).amin(dim=2).mean(dim=1)
        apart = _group_means(gaps, self.owner, len(made))
        return style.content_weight * unlike + style.style_weight * apart


def _group_means(values: torch.Tensor, owner: torch.Tensor, n: int) -> torch.Tensor:
    """Means ``(n, …)`` of the ``values (S, …)`` of each owner."""
    counts = torch.bincount(owner, minlength=n).to(values.dtype)
    sums = values.new_zeros(n, *values.shape[1:]).index_add(0, owner, values)
    return sums / counts.view(-1, *([1] * (values.ndim - 1)))


def _squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``(B, n, m)`` between rows of ``a (B, n, d)`` and ``b (B, m, d)``."""
    squares = a.square().sum(2)[:, :, None] + b.square().sum(2)[:, None]
    return (squares - 2 * a @ b.transpose(1, 2)).clamp(min=0)


def _looks(namer: Namer, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit features ``(B, F)`` and Gram matrices ``(B, crops, M·M)`` of pixels ``(B, D)``."""
    images = namer.planes(x)
    return F.normalize(namer.features(images), dim=1), crop_grams(namer.early(images))


def crop_grams(maps: torch.Tensor) -> torch.Tensor:
    """Gram matrices ``(B, 16, M·M)`` of the crops of a 4 × 4 grid of maps ``(B, M, h, w)``.

    The sum over positions of the products of two maps, scaled to :data:`CROP_POSITIONS`. What the grid leaves over at
    the right and the bottom is not looked at.
    """
    height, width = (side // GRID for side in maps.shape[2:])
    cut = maps[:, :, : GRID * height, : GRID * width]
    crops = cut.unflatten(3, (GRID, width)).unflatten(2, (GRID, height))
    flat = crops.permute(0, 2, 4, 1, 3, 5).flatten(4).flatten(1, 2)
    grams = flat @ flat.transpose(2, 3) * (CROP_POSITIONS / flat.shape[3])
    return grams.flatten(2)


def _align(
    synthesise: Callable[[torch.Tensor], torch.Tensor],
    namer: Namer,
    codes: torch.Tensor,
    wanted: _Wanted,
    style: Style,
    lr: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    codes = codes.clone().requires_grad_(True)
    adam: Any = torch.optim.Adam([codes], lr=lr)
    kept = codes.detach().clone()
    least = first = torch.full((len(codes),), torch.inf, device=codes.device)
    for step in range(style.steps + 1):
        with torch.set_grad_enabled(step < style.steps):
            loss = wanted.loss(namer, synthesise(codes), style)
        with torch.no_grad():
            better = loss < least
            kept[better] = codes[better]
            least = torch.where(better, loss, least)
            first = least if step == 0 else first
        if step < style.steps:
            (codes.grad,) = torch.autograd.grad(loss.sum(), [codes])
            adam.step()
    return kept, least, first
