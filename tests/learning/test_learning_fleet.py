"""Fleets: stacked layers, and training against a plain loop over each network by itself."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.learning import fleet
from benchmark.learning.cvae import ImageCVAENetwork
from benchmark.learning.fleet import Trainee, stack, train_fleet
from benchmark.learning.training import EarlyStopping, batches, build

OPTIONS = {"noise": 2, "lr": 1e-2, "batch_size": 16, "epochs": 30, "patience": 3}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Noisy(nn.Module):
    """A small regression whose input is disturbed by noise."""

    def __init__(self, d=5):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(d + 2, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, x, noise):
        return self.body(torch.cat((x, 0.1 * noise), dim=-1))[..., 0]


def squared_error(network, batch, noise):
    return (network(batch[0], noise) - batch[1]).square()


def trainees(sizes=(40, 48, 33, 16, 10), d=5):
    made = []
    for i, n in enumerate(sizes):
        network = build(lambda: Noisy(d), generator(i), "cpu")
        draw = torch.randn(n + 12 + i, d + 1, generator=generator(50 + i))
        x, y = draw[:, :d], draw[:, 0] - draw[:, 1] + 0.5 * draw[:, d]
        made.append(Trainee(network, (x[:n], y[:n]), (x[n:], y[n:]), generator(100 + i)))
    return made


def plain_loop(trainee, noise, lr, batch_size, epochs, patience):
    """Adam with early stopping as in any tutorial, on one unstacked network."""
    (x, y), (x_val, y_val) = trainee.training, trainee.validation
    draws = trainee.generator
    optimiser = torch.optim.Adam(trainee.network.parameters(), lr=lr)
    stopping = EarlyStopping(trainee.network, patience)
    fixed = torch.randn(len(x_val), noise, generator=draws)
    for _ in range(epochs):
        if len(x) <= batch_size:
            parts = [torch.arange(len(x))]
        else:
            parts = list(batches(len(x), batch_size, draws, "cpu"))
        epoch_noise = torch.randn(len(x), noise, generator=draws).split(batch_size)
        for index, part in zip(parts, epoch_noise, strict=True):
            optimiser.zero_grad()
            F.mse_loss(trainee.network(x[index], part), y[index]).backward()
            optimiser.step()
        with torch.no_grad():
            loss = F.mse_loss(trainee.network(x_val, fixed), y_val).item()
        if stopping.update(loss):
            break
    stopping.restore_best()
    return stopping


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_a_fleet_trains_each_network_as_a_plain_loop_would(monkeypatch, rows):
    """Sizes with last batches of different lengths, networks that stop at different epochs."""
    monkeypatch.setattr(fleet, "CPU_STACK", rows)
    ours, theirs = trainees(), trainees()
    summaries = train_fleet(ours, squared_error, **OPTIONS)
    references = [plain_loop(one, **OPTIONS) for one in theirs]
    assert len({s.epochs for s in summaries}) > 1
    for a, b, summary, reference in zip(ours, theirs, summaries, references, strict=True):
        assert (summary.epochs, summary.best_epoch) == (reference.epochs, reference.best_epoch)
        assert summary.validation_loss == pytest.approx(reference.best_loss, rel=1e-4)
        for p, q in zip(a.network.parameters(), b.network.parameters(), strict=True):
            assert torch.allclose(p, q, atol=1e-4)


def test_threads_and_stacks_change_no_bit_of_the_same_stacking(monkeypatch):
    monkeypatch.setattr(fleet, "CPU_STACK", 2)
    before, answers = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            answers.append(trainees((40,) * 6))
            train_fleet(answers[-1], squared_error, **OPTIONS)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for a, b in zip(*answers, strict=True):
        for p, q in zip(a.network.parameters(), b.network.parameters(), strict=True):
            assert torch.equal(p, q)


def test_networks_of_different_shapes_and_numbers_of_batches_are_kept_apart():
    mixed = [*trainees((40, 40, 48, 49)), *trainees((40,), d=3)]
    assert fleet.stacks(mixed, 16) == [[0, 1, 2], [3], [4]]


def test_a_network_that_diverges_does_not_touch_the_others():
    ours, theirs = trainees((40, 40)), trainees((40, 40))
    for one in ours[:1]:
        one.training[0].fill_(math.nan)
    summaries = train_fleet(ours, squared_error, **OPTIONS)
    plain_loop(theirs[1], **OPTIONS)
    assert summaries[0].validation_loss == math.inf and summaries[0].best_epoch == 0
    for p, q in zip(ours[1].network.parameters(), theirs[1].network.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-4)


def test_progress_ends_at_one():
    told = []
    train_fleet(trainees(), squared_error, **OPTIONS, progress=told.append)
    assert told == sorted(told) and told[-1] == pytest.approx(1)


def test_stacked_convolutions_are_those_of_each_network():
    nets = [
        build(lambda: ImageCVAENetwork((9, 7, 3), 2, 8, 3, channels=2), generator(s), "cpu")
        for s in range(3)
    ]
    x, noise = torch.rand(3, 4, 9 * 7 * 3, generator=generator()), torch.randn(3, 4, 3)
    onehot = torch.eye(2)[torch.tensor([[0, 1, 1, 0]] * 3)]
    together = stack(nets)(x, onehot, noise)
    for i, net in enumerate(nets):
        for ours, theirs in zip(together, net(x[i], onehot[i], noise[i]), strict=True):
            assert torch.allclose(ours[i], theirs, atol=1e-5)


def test_stacking_leaves_the_networks_alone():
    nets = [one.network for one in trainees((10, 10))]
    before = copy.deepcopy([n.state_dict() for n in nets])
    together = stack(nets)
    with torch.no_grad():
        for parameter in together.parameters():
            parameter.zero_()
    assert all(
        torch.equal(b[k], n.state_dict()[k]) for b, n in zip(before, nets, strict=True) for k in b
    )


def test_layers_that_cannot_be_stacked_are_refused():
    with pytest.raises(TypeError, match="Got BatchNorm1d instead"):
        stack([nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))])
