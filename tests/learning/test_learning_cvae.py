"""The CVAE's loss by hand and by torch.distributions, its networks, and what training achieves."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from benchmark.learning.cvae import CVAENetwork, FeatureGenerator, cvae_loss, train_cvae
from benchmark.learning.training import build


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


def network(dimension=6, classes=3, hidden=8, latent=2, seed=0):
    return build(lambda: CVAENetwork(dimension, classes, hidden, latent), generator(seed), "cpu")


def test_loss_by_hand():
    """Two records: squared errors 1 + 4 and 0; KL ½(σ² + μ² − 1) − log σ with σ = 1, e."""
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    reconstruction = torch.tensor([[1.0, 2.0], [1.0, 1.0]])
    mean = torch.tensor([[2.0], [0.0]])
    log_std = torch.tensor([[0.0], [1.0]])
    penalties = 2.0 + (0.5 * (math.e**2 - 1) - 1)
    loss = cvae_loss(reconstruction, x, mean, log_std, beta=0.1)
    assert loss.item() == pytest.approx((5 + 0.1 * penalties) / 2)
    published = (1 + 4 - 0 - 0.5) + (math.e**2 + 0 - 1 - 0.5)
    loss = cvae_loss(reconstruction, x, mean, log_std, beta=0.1, published_kl=True)
    assert loss.item() == pytest.approx((5 + 0.1 * published) / 2)


def test_textbook_penalty_is_the_divergence_that_torch_computes():
    mean, log_std, x = draw(7, 5), draw(7, 5, seed=1), draw(7, 4)
    expected = kl_divergence(Normal(mean, log_std.exp()), Normal(0.0, 1.0)).sum(dim=1).mean()
    assert cvae_loss(x, x, mean, log_std, beta=1.0).item() == pytest.approx(expected.item())


@pytest.mark.parametrize(("published", "variance"), [(False, 1.0), (True, 0.5)])
def test_each_penalty_is_least_at_its_own_variance(published, variance):
    """The defect of the public code: its penalty pulls codes towards a variance of ½."""
    x = torch.zeros(1, 1)

    def penalty(mean, log_std):
        return cvae_loss(x, x, mean[None], log_std[None], 1.0, published)

    optimum = (torch.zeros(1), torch.full((1,), 0.5 * math.log(variance)))
    gradient = torch.func.grad(penalty, argnums=(0, 1))(*optimum)
    assert [g.item() for g in gradient] == pytest.approx([0, 0], abs=1e-6)
    curvature = torch.autograd.functional.hessian(
        lambda p: penalty(p[:1], p[1:]), torch.cat(optimum)
    )
    assert (torch.linalg.eigvalsh(curvature) > 0).all()


def test_networks_are_those_of_the_paper():
    """Encoder Linear(D+C→256) ReLU Linear(256→100); decoder Linear(50+C→256) ReLU Linear(256→D)."""
    shapes = {n: tuple(p.shape) for n, p in CVAENetwork(768, 7).named_parameters()}
    assert shapes == {
        "encoder.0.weight": (256, 775),
        "encoder.0.bias": (256,),
        "encoder.2.weight": (100, 256),
        "encoder.2.bias": (100,),
        "decoder.0.weight": (256, 57),
        "decoder.0.bias": (256,),
        "decoder.2.weight": (768, 256),
        "decoder.2.bias": (768,),
    }


def test_forward_reparameterises_with_the_noise_given():
    net = network()
    x, onehot, noise = draw(4, 6).sigmoid(), torch.eye(3)[[0, 1, 2, 0]], draw(4, 2, seed=1)
    reconstruction, mean, log_std = net(x, onehot, noise)
    hidden = torch.relu(net.encoder[0](torch.cat((x, onehot), dim=1)))
    head = net.encoder[2](hidden)
    assert torch.equal(mean, head[:, :2]) and torch.equal(log_std, head[:, 2:])
    z = head[:, :2] + torch.exp(head[:, 2:]) * noise
    hidden = torch.relu(net.decoder[0](torch.cat((z, onehot), dim=1)))
    assert torch.allclose(reconstruction, torch.sigmoid(net.decoder[2](hidden)))


def test_loss_vectorises_over_a_fleet_as_one_by_one():
    nets = [network(seed=s) for s in range(3)]
    x, onehot, noise = draw(3, 5, 6).sigmoid(), torch.eye(3)[[0, 1, 2, 0, 1]], draw(3, 5, 2)
    parameters, _ = torch.func.stack_module_state(nets)

    def loss(parameters, x, noise):
        outputs = torch.func.functional_call(nets[0], parameters, (x, onehot, noise))
        return cvae_loss(outputs[0], x, *outputs[1:], beta=0.1)

    at_once = torch.func.vmap(torch.func.grad(loss))(parameters, x, noise)
    for i, net in enumerate(nets):
        one = torch.func.grad(loss)(dict(net.named_parameters()), x[i], noise[i])
        for name, gradient in one.items():
            assert torch.allclose(at_once[name][i], gradient, atol=1e-6), name


def test_generator_undoes_the_scaling_and_is_differentiable():
    net = network()
    minimum, width = torch.arange(6.0) - 3, torch.tensor([1.0, 2, 3, 4, 5, 6])
    model = FeatureGenerator(net, minimum, width)
    z, labels = draw(4, 2).requires_grad_(), torch.tensor([0, 2, 1, 1])
    onehot = torch.eye(3)[labels]
    features = model(z, labels)
    assert torch.allclose((features - minimum) / width, net.decode(z, onehot), atol=1e-6)
    expected = net.encode((features - minimum) / width, onehot)
    assert all(map(torch.allclose, model.encode(features, labels), expected))
    features.sum().backward()
    assert z.grad.abs().min() > 0
    assert (model.latent, model.n_classes) == (2, 3)


@pytest.mark.parametrize(("published", "factor"), [(False, 1.0), (True, math.sqrt(2))])
def test_trained_spread_is_that_of_probabilistic_pca(published, factor):
    """A linear-Gaussian VAE has a closed form, which data in the sigmoid's linear range come near.

    Squared error + β·KL is a Gaussian likelihood of variance β/2, so draws of the decoder's mean
    have the data's variance less β/2 (Tipping & Bishop 1999). The published penalty equals the
    textbook one with codes N(0, ½): draws with codes N(0, 1) are wider by √2.
    """
    x = draw(512, 1)
    x = 0.5 + 0.1 * (x - x.mean()) / x.std()
    onehot = torch.ones(512, 1)
    net = build(lambda: CVAENetwork(1, 1, 32, 1), generator(1), "cpu")
    for lr, epochs in ((1e-2, 400), (1e-3, 100)):
        train_cvae(
            net,
            (x, onehot),
            (x, onehot),
            beta=0.004,
            published_kl=published,
            lr=lr,
            batch_size=512,
            epochs=epochs,
            patience=500,
            generator=generator(5),
        )
    with torch.no_grad():
        drawn = net.decode(draw(4000, 1, seed=1), torch.ones(4000, 1))
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    assert drawn.std().item() == pytest.approx(factor * math.sqrt(0.1**2 - 0.002), rel=0.06)


def test_training_keeps_the_weights_of_the_best_epoch():
    """The validation loss of the kept weights is the one reported, on the first noise drawn."""
    x, onehot = draw(80, 6).sigmoid(), torch.eye(3)[torch.arange(80) % 3]
    net, state = network(), torch.get_rng_state()
    summary = train_cvae(
        net,
        (x[:60], onehot[:60]),
        (x[60:], onehot[60:]),
        beta=0.1,
        published_kl=False,
        lr=0.05,
        batch_size=20,
        epochs=60,
        patience=10,
        generator=generator(5),
    )
    assert torch.equal(torch.get_rng_state(), state), "the global random state is untouched"
    assert summary.epochs - summary.best_epoch == 10, "stopped by patience, with worse epochs after"
    with torch.no_grad():
        outputs = net(x[60:], onehot[60:], draw(20, 2, seed=5))
        loss = cvae_loss(outputs[0], x[60:], *outputs[1:], beta=0.1)
    assert loss.item() == pytest.approx(summary.validation_loss, rel=1e-6)


def test_early_stopping_ends_training_that_cannot_improve():
    """Validation records of which nothing can be learnt from the training ones."""
    x, onehot = torch.zeros(50, 6), torch.eye(3)[torch.zeros(50, dtype=torch.int64)]
    net = network()
    summary = train_cvae(
        net,
        (x, onehot),
        (1 - x, onehot),
        beta=0.1,
        published_kl=False,
        lr=1e-2,
        batch_size=50,
        epochs=100,
        patience=4,
        generator=generator(),
    )
    assert summary.epochs - summary.best_epoch == 4
    assert summary.epochs < 20
