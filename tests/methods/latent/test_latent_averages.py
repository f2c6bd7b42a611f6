"""Projections, groups of codes, and k-SALSA's style against a plain reimplementation."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.contracts import Records
from benchmark.learning.identity import Namer
from benchmark.learning.networks import to_unit
from benchmark.learning.training import build
from methods.latent.averages import (
    CROP_POSITIONS,
    Style,
    _Wanted,
    align_style,
    class_groups,
    crop_grams,
    project,
)

SHAPE = (8, 8, 1)


class Painter(nn.Module):
    """Pictures 128 + w·A with orthogonal rows of A; w = z + the class's mean."""

    latent, w_dim, n_classes = 3, 3, 2

    def __init__(self):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.matrix = nn.Parameter(80 * torch.linalg.qr(torch.randn(64, 3, generator=rng)).Q.T)

    def map(self, z, labels):
        return z + labels[:, None]

    def synthesise(self, w):
        return 128 + w @ self.matrix

    def forward(self, z, labels):
        return self.synthesise(self.map(z, labels))


PAINTER = Painter().requires_grad_(False)


def painted(n=10):
    labels = torch.arange(n) % 2
    codes = PAINTER.map(0.5 * torch.randn(n, 3, generator=torch.Generator().manual_seed(1)), labels)
    images = PAINTER.synthesise(codes).round().clamp(0, 255).numpy().astype(np.uint8)
    return codes, Records(images.reshape(-1, *SHAPE), labels.numpy())


def test_every_projection_of_a_linear_generator_is_the_code_behind_the_picture():
    codes, members = painted()
    rng = torch.Generator().manual_seed(2)
    found = project(PAINTER, members, steps=200, projections=2, rng=rng)
    for projection in found.codes:
        torch.testing.assert_close(projection, codes, atol=0.03, rtol=0)
    assert found.errors.shape == (2, 10) and found.errors.max() < 1.0
    assert not torch.equal(found.codes[0], found.codes[1])
    np.testing.assert_allclose(found.pictures[0], members.data.reshape(10, -1), atol=3)


def test_groups_lie_within_classes_and_a_class_with_too_few_has_none():
    labels = np.array([0] * 7 + [1] * 2)
    members = Records(np.zeros((9, *SHAPE), np.uint8), labels)
    codes = np.arange(9.0)[:, None]
    groups = class_groups(codes, members, 3, "mdav")
    assert {g.label for g in groups} == {0}
    owned = sorted(int(row) for g in groups for rows in g.group.owners for row in rows)
    assert owned == list(range(7))
    for each in groups:
        rows = np.concatenate(each.group.owners)
        np.testing.assert_allclose(each.group.mean, codes[rows].mean(axis=0))


def test_grams_of_crops_by_loops():
    maps = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(0))
    grams = crop_grams(maps)
    assert grams.shape == (2, 16, 9)
    for i in range(4):
        for j in range(4):
            crop = maps[1, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(3, -1)
            expected = (crop @ crop.T) * 4096 / 4
            torch.testing.assert_close(grams[1, 4 * i + j], expected.flatten())


def plain_loss(namer, picture, sources, style):
    """k-SALSA's loss of one picture, crop by crop."""
    views = [namer.planes(p[None]) for p in (picture, *sources)]
    ours, *theirs = (namer.features(v)[0] for v in views)
    content = np.mean([1 - float(torch.cosine_similarity(ours, t, dim=0)) for t in theirs])
    mine, *others = (crop_grams(namer.early(v))[0] for v in views)
    gaps = [min(float((a - b).square().sum()) for b in mine) for other in others for a in other]
    return style.content_weight * content + style.style_weight * np.mean(gaps)


def test_the_alignment_starts_from_a_plain_reimplementations_loss_and_lowers_it():
    codes, members = painted()
    namer = build(lambda: Namer(SHAPE, 2, width=4), torch.Generator().manual_seed(3), "cpu").eval()
    namer.requires_grad_(False)
    sources = [np.array([0, 2, 4]), np.array([1, 3, 5, 7, 9])]
    means = torch.stack([codes[rows].mean(dim=0) for rows in sources])
    # Weighed so that both terms count.
    style = Style(content_weight=100.0, style_weight=1e-7, steps=0)
    kept, losses, starts = align_style(
        PAINTER.synthesise, namer, means, sources, members.data, style=style, deviation=0.5
    )
    assert torch.equal(kept, means) and torch.equal(losses, starts)
    flat = to_unit(members.data).flatten(1) * 255
    with torch.no_grad():
        for i, rows in enumerate(sources):
            expected = plain_loss(namer, PAINTER.synthesise(means)[i], flat[rows], style)
            np.testing.assert_allclose(float(starts[i]), expected, rtol=1e-3)
    moved, lower, _ = align_style(
        PAINTER.synthesise, namer, means, sources, members.data,
        style=Style(style_weight=1e-7, steps=30), deviation=0.5,
    )  # fmt: skip
    assert (lower < starts).all() and not torch.equal(moved, means)
    alone, _, _ = align_style(
        PAINTER.synthesise, namer, means[1:], sources[1:], members.data,
        style=Style(style_weight=1e-7, steps=30), deviation=0.5,
    )  # fmt: skip
    torch.testing.assert_close(alone, moved[1:], atol=1e-4, rtol=0)


class Plain:
    """Looks at grey levels: one map, and features that are all alike."""

    def planes(self, x):
        return x.view(len(x), 1, 4, 4)

    def features(self, images):
        return torch.ones(len(images), 2)

    def early(self, images):
        return images


def test_every_crop_of_a_source_asks_for_its_like_and_not_the_other_way_round():
    """One grey level a crop, 1 but for a single 2: nothing in a picture of ones is like the latter."""
    ones = np.ones((1, 4, 4, 1), np.uint8)
    other = ones.copy()
    other[0, 0, 0] = 2
    style = Style(content_weight=1.0, style_weight=1.0)

    def loss(source, picture):
        wanted = _Wanted.of(Plain(), source, [np.array([0])], "cpu")
        made = torch.tensor(picture.reshape(1, -1), dtype=torch.float32)
        return float(wanted.loss(Plain(), made, style))

    gap = (CROP_POSITIONS * (2**2 - 1**2)) ** 2 / 16
    assert loss(other, ones) == pytest.approx(gap)
    assert loss(ones, other) == pytest.approx(0.0, abs=1e-3)
