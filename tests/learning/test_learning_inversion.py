"""Inversion against closed forms, and that no target's answer depends on the others."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.contracts import LeakboardError
from benchmark.learning.inversion import OnImages, invert, latent_statistics, spaces


class Linear(nn.Module):
    """Records z·A + b[label], well conditioned: the optimum is a ridge regression."""

    latent, n_classes = 3, 2

    def __init__(self, d=7, seed=0):
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        basis = torch.linalg.qr(torch.randn(d, self.latent, generator=g)).Q.T
        self.matrix = nn.Parameter(basis * torch.tensor([[40.0], [60.0], [90.0]]))
        self.offset = nn.Parameter(100 + 20 * torch.randn(2, d, generator=g))

    def forward(self, z, labels):
        return z @ self.matrix + self.offset[labels]

    def optimum(self, x, labels, prior_weight=0.0, unit=255.0):
        """Least mean((zA + b − x)² / unit²) + prior_weight · mean(z²), from the normal equations."""
        a = self.matrix.detach().double().numpy() / unit
        residual = (x - self.offset[labels].detach()).double().numpy() / unit
        left = a @ a.T / a.shape[1] + prior_weight * np.eye(len(a)) / len(a)
        return np.linalg.solve(left, a @ residual.T / a.shape[1]).T


class Mapped(Linear):
    """The same behind a linear mapping z → w = z·M + c[label] with a correlated w."""

    w_dim, w_layers = 3, 2

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(5)
        self.mixing = torch.randn(3, 3, generator=g)
        self.centre = torch.tensor([[1.0, 2.0, 3.0], [-4.0, 0.0, 4.0]])

    def map(self, z, labels):
        return z @ self.mixing + self.centre[labels]

    def synthesise(self, w):
        if w.ndim == 3:
            layers = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 1.0])
            w = w[:, 0] * layers[0] + w[:, 1] * layers[1]
        return w @ self.matrix + self.offset[0]

    def forward(self, z, labels):
        return self.synthesise(self.map(z, labels))


class Wavy(nn.Module):
    """Many local optima: cosines of the code at three frequencies."""

    latent, n_classes = 2, 1

    def forward(self, z, labels):
        return 127 + 60 * torch.cat((torch.cos(z), torch.cos(5 * z), torch.sin(7 * z)), dim=1)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def targets(n=11, d=7, seed=1):
    return 100 + 60 * torch.randn(n, d, generator=rng(seed)), torch.arange(n) % 2


@pytest.mark.parametrize("prior_weight", [0.0, 0.01, 1.0])
def test_least_squares_and_ridge_are_found_in_z(prior_weight):
    generator, (x, y) = Linear(), targets()
    found = invert(
        generator, x, y, space="z", steps=600, lr=0.3, prior_weight=prior_weight, rng=rng()
    )
    expected = generator.optimum(x, y, prior_weight)
    assert found.codes.numpy() == pytest.approx(expected, abs=2e-3)
    made = generator(torch.tensor(expected, dtype=torch.float32), y).detach()
    error = ((made - x) / 255).square().mean(dim=1)
    prior = np.square(expected).mean(axis=1)
    assert found.errors.numpy() == pytest.approx(error.numpy(), rel=1e-3, abs=1e-6)
    assert found.priors.numpy() == pytest.approx(prior, rel=1e-2, abs=1e-4)
    assert found.losses.numpy() == pytest.approx(error.numpy() + prior_weight * prior, rel=1e-3)
    assert found.reconstructions.numpy() == pytest.approx(made.numpy(), abs=0.5)


def test_ridge_in_w_is_the_mahalanobis_distance_from_the_class_mean():
    """w = zM + c makes the prior on w that on z, up to the estimate of M and its ridge."""
    generator, (x, _) = Mapped(), targets()
    y = torch.zeros(len(x), dtype=torch.int64)
    in_w = invert(
        generator, x, y, space="w", steps=800, lr=0.5, prior_weight=0.05, samples=20_000, rng=rng()
    )
    in_z = invert(generator, x, y, space="z", steps=800, lr=0.5, prior_weight=0.05, rng=rng())
    z = torch.linalg.solve(generator.mixing.T, (in_w.codes - generator.centre[y]).T).T
    assert z.numpy() == pytest.approx(in_z.codes.numpy(), abs=0.05)
    assert in_w.priors.numpy() == pytest.approx(in_z.priors.numpy(), rel=0.1, abs=0.02)


def test_statistics_of_w_are_those_of_its_mapping():
    generator = Mapped()
    found = latent_statistics(generator, "w", samples=40_000, rng=rng())
    covariance = (generator.mixing.T @ generator.mixing).numpy()
    assert found.mean.numpy() == pytest.approx(generator.centre.numpy(), abs=0.06)
    assert found.deviation == pytest.approx(np.sqrt(np.trace(covariance) / 3), rel=0.02)
    w = generator.map(torch.randn(40_000, 3, generator=rng(9)), torch.ones(40_000).long())
    standard = found.standardise(w, torch.ones(40_000).long()).numpy()
    assert standard.mean(axis=0) == pytest.approx(np.zeros(3), abs=0.05)
    # The ridge shrinks directions of small variance, here the smallest by about a fifth.
    assert np.diag(np.cov(standard.T)) == pytest.approx(np.ones(3), abs=0.3)


def test_default_space_is_w_where_there_is_one():
    assert spaces(Linear()) == ("z",)
    assert spaces(Mapped()) == ("w", "z", "w+")
    x, y = targets(4)
    assert invert(Linear(), x, y, steps=1, rng=rng()).space == "z"
    assert invert(Mapped(), x, y, steps=1, rng=rng()).space == "w"


def test_the_first_start_in_w_is_the_class_mean():
    generator, (x, y) = Mapped(), targets()
    found = invert(generator, x, y, steps=0, samples=20_000, rng=rng())
    assert found.codes.numpy() == pytest.approx(generator.centre[y].numpy(), abs=0.1)
    assert (found.losses == found.starts).all()


def test_w_plus_reaches_what_w_cannot():
    """Layer 0 steers the first coordinate, layer 1 the others; one code per layer is free in both."""
    generator, (x, y) = Mapped(), targets()
    found = invert(generator, x, y, space="w+", steps=600, lr=0.5, rng=rng())
    one = invert(generator, x, y, space="w", steps=600, lr=0.5, rng=rng())
    assert found.codes.shape == (len(x), 2, 3)
    assert found.losses.numpy() == pytest.approx(one.losses.numpy(), rel=1e-3, abs=1e-7)
    assert found.codes[:, 0, 0].numpy() == pytest.approx(one.codes[:, 0].numpy(), abs=0.02)
    assert found.codes[:, 1, 1:].numpy() == pytest.approx(one.codes[:, 1:].numpy(), abs=0.02)
    assert not torch.allclose(found.codes[:, 1, 0], one.codes[:, 0], atol=0.1)


def test_a_target_does_not_depend_on_the_others_or_on_the_batch():
    generator, (x, y) = Wavy(), (127 + 60 * torch.randn(9, 6, generator=rng(1)), torch.zeros(9))
    y = y.long()
    options = {"steps": 60, "restarts": 3}
    together = invert(generator, x, y, **options, rng=rng())
    chunked = invert(generator, x, y, **options, batch=4, rng=rng())
    backwards = invert(generator, x.flip(0), y, **options, rng=rng())
    alone = [invert(generator, x[i : i + 1], y[:1], **options, rng=rng()) for i in range(9)]
    assert torch.equal(chunked.codes, together.codes)
    assert torch.equal(backwards.codes.flip(0), together.codes)
    assert torch.equal(torch.cat([one.codes for one in alone]), together.codes)
    assert torch.equal(chunked.restart_losses, together.restart_losses)


def test_of_several_restarts_the_best_is_kept():
    x, y = 127 + 60 * torch.randn(40, 6, generator=rng(1)), torch.zeros(40, dtype=torch.int64)
    one = invert(Wavy(), x, y, steps=80, rng=rng())
    ten = invert(Wavy(), x, y, steps=80, restarts=10, rng=rng())
    assert torch.allclose(ten.losses, ten.restart_losses.min(dim=0).values, rtol=1e-5)
    assert torch.equal(ten.restart_losses[0], one.restart_losses[0])
    assert (ten.losses <= one.losses + 1e-7).all()
    assert (ten.restart_losses.argmin(dim=0) > 0).float().mean() > 0.5
    assert ten.losses.mean() < 0.7 * one.losses.mean()


def test_the_best_iterate_is_kept_by_value_also_where_steps_overshoot():
    """With a step of 50 standard deviations every iterate after the start is worse."""
    generator, (x, y) = Linear(), targets()
    exact = torch.tensor(generator.optimum(x, y), dtype=torch.float32)
    found = invert(generator, x, y, steps=7, lr=50.0, decay=False, init=exact + 1e-3, rng=rng())
    assert torch.equal(found.codes, exact + 1e-3)
    assert torch.allclose(found.losses, found.starts)


def test_nearest_starts_are_the_nearest_draws_of_the_class_in_order():
    generator, (x, y) = Linear(), targets()
    draws = latent_statistics(generator, "z", samples=50, rng=rng()).codes
    pictures = [generator(draws[c], torch.full((50,), c)).detach() for c in (0, 1)]
    found = invert(generator, x, y, init="nearest", restarts=3, steps=0, samples=50, rng=rng())
    for i in range(len(x)):
        distance = ((pictures[y[i]] - x[i]) / 255).square().mean(dim=1)
        order = distance.argsort()
        assert torch.equal(found.codes[i], draws[y[i], order[0]])
        assert torch.allclose(found.restart_losses[:, i], distance[order[:3]], rtol=1e-4)


def test_random_starts_are_draws_and_encoder_starts_the_encoding():
    class Encoded(Linear):
        def encode(self, x, labels):
            mean = (x - self.offset[labels]) @ torch.linalg.pinv(self.matrix)
            return mean, torch.full_like(mean, -5.0)

    x, y = targets()
    encoded = invert(Encoded(), x, y, init="encoder", steps=0, rng=rng())
    assert encoded.codes.numpy() == pytest.approx(Linear().optimum(x, y), abs=1e-3)
    several = invert(Encoded(), x, y, init="encoder", restarts=4, steps=0, rng=rng())
    assert torch.equal(several.codes, encoded.codes)
    assert (several.restart_losses[1:] > several.restart_losses[0]).all()
    drawn = invert(Linear(), x, y, init="random", steps=0, rng=rng())
    assert (drawn.codes == drawn.codes[0]).all()
    assert torch.equal(drawn.codes[0], torch.randn(512, 3, generator=rng())[0])
    with pytest.raises(LeakboardError, match="encode"):
        invert(Linear(), x, y, init="encoder", rng=rng())


def test_the_perceptual_term_alone_finds_what_the_features_see():
    """Features are two coordinates: those of the target are matched and the others left alone."""
    generator, (x, y) = Linear(), targets()
    found = invert(
        generator,
        x,
        y,
        steps=600,
        lr=0.5,
        pixel_weight=0.0,
        perceptual=lambda v: v[:, :2] / 255,
        perceptual_weight=1.0,
        rng=rng(),
    )
    assert torch.allclose(found.reconstructions[:, :2], x[:, :2], atol=0.5)
    assert (found.perceptual_errors < 1e-5).all()
    assert (found.errors > 1e-3).all()


def test_images_reach_a_perceptual_network_upright():
    seen = []

    class Network(nn.Module):
        def forward(self, images):
            seen.append(images)
            return images

    image = torch.arange(2 * 3 * 2, dtype=torch.float32).view(1, 2, 3, 2)
    OnImages(Network(), (2, 3, 2))(image.flatten(1) * 255)
    assert torch.equal(seen[0][0, 1], image[0, :, :, 1])


def test_units_of_features_weigh_dimensions():
    """A unit of 10⁶ takes a dimension out of the fit."""
    generator, (x, y) = Linear(), targets()
    unit = torch.tensor([1e6, 1, 1, 1, 1, 1, 1])
    blind = invert(generator, x, y, steps=600, lr=0.3, unit=unit, rng=rng())
    moved = x.clone()
    moved[:, 0] += 500
    again = invert(generator, moved, y, steps=600, lr=0.3, unit=unit, rng=rng())
    assert torch.allclose(blind.codes, again.codes, atol=1e-2)


def test_the_generator_is_left_as_it_was():
    generator, (x, y) = Linear(), targets()
    generator.train()
    generator.offset.requires_grad_(False)
    before = [p.clone() for p in generator.parameters()]
    invert(generator, x, y, steps=3, rng=rng())
    assert generator.training and generator.matrix.requires_grad
    assert not generator.offset.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(before, generator.parameters(), strict=True))
    assert generator.matrix.grad is None


def test_images_as_they_are_stored_will_do():
    generator = Linear(d=12)
    images = torch.randint(0, 256, (5, 2, 2, 3), generator=rng(3), dtype=torch.uint8)
    y = np.zeros(5, dtype=np.int64)
    a = invert(generator, images.numpy(), y, steps=5, rng=rng())
    b = invert(generator, images.flatten(1).float(), torch.zeros(5).long(), steps=5, rng=rng())
    assert torch.equal(a.codes, b.codes)


def test_what_cannot_be_is_refused():
    x, y = targets()
    with pytest.raises(LeakboardError, match=r"one of z for a Linear. Got 'w'"):
        invert(Linear(), x, y, space="w", rng=rng())
    with pytest.raises(LeakboardError, match="7 values"):
        invert(Linear(), x[:, :4], y, rng=rng())
    with pytest.raises(LeakboardError, match=r"range\(2\)"):
        invert(Linear(), x, y + 1, rng=rng())
    with pytest.raises(LeakboardError, match="finite"):
        invert(Linear(), x * float("nan"), y, steps=1, rng=rng())
    with pytest.raises(LeakboardError, match="restarts"):
        invert(Linear(), x, y, restarts=9, samples=8, rng=rng())
    with pytest.raises(LeakboardError, match="class mean"):
        invert(Linear(), x, y, init="centre", rng=rng())
