"""Seeded initialisation, batches and early stopping."""

import math
import threading

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.learning.training import (
    EarlyStopping,
    batches,
    build,
    in_parallel,
    initialise_,
    single_thread,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make():
    return nn.Sequential(nn.Linear(16, 400), nn.ReLU(), nn.Linear(400, 3))


def test_build_draws_from_the_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build(make, generator(s), "cpu") for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before), "the global random state is untouched"
    states = [module.state_dict() for module in (first, again, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["0.weight"], states[2]["0.weight"])


def test_weights_have_the_distribution_of_torchs_default():
    """Both are U(−b, b) with b = 1/√fan_in, whose standard deviation is b/√3."""
    ours = build(make, generator(), "cpu")[0].weight
    theirs = make()[0].weight
    for weight in (ours, theirs):
        assert weight.abs().max() <= 1 / 4
        assert weight.std().item() == pytest.approx(1 / 4 / math.sqrt(3), rel=0.03)
        assert weight.mean().item() == pytest.approx(0, abs=0.01)


def test_layers_that_would_stay_uninitialised_are_refused():
    with pytest.raises(TypeError, match="BatchNorm1d"):
        initialise_(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), generator())


def test_batches_hold_every_record_once_in_an_order_of_the_generator():
    epochs = generator()
    first, second = (list(batches(10, 4, epochs, "cpu")) for _ in range(2))
    assert [len(index) for index in first] == [4, 4, 2]
    assert sorted(torch.cat(first).tolist()) == list(range(10))
    assert torch.cat(first).tolist() != torch.cat(second).tolist()
    again = list(batches(10, 4, generator(), "cpu"))
    assert torch.cat(again).tolist() == torch.cat(first).tolist()


def test_early_stopping_waits_for_its_patience_and_keeps_the_best():
    module = nn.Linear(1, 1)
    stopping = EarlyStopping(module, patience=2)
    answers = []
    for value, loss in enumerate([3.0, 1.0, 2.0, 0.5, np.nan, 0.6]):
        with torch.no_grad():
            module.weight.fill_(value)
        answers.append(stopping.update(loss))
    assert answers == [False, False, False, False, False, True]
    assert (stopping.best_loss, stopping.best_epoch, stopping.epochs) == (0.5, 4, 6)
    stopping.restore_best()
    assert module.weight.item() == 3


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2, "the number of threads is put back"
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_parts_run_side_by_side_on_one_thread_each_within_a_single_thread_too():
    meeting = threading.Barrier(2, timeout=30)  # broken unless two parts are at work at a time

    def run(part):
        meeting.wait()
        return part, torch.get_num_threads()

    parts = [3, 1, 2, 0]
    expected = [(part, 1) for part in parts]
    assert in_parallel(run, parts, torch.device("cpu")) == expected
    with single_thread():
        assert in_parallel(run, parts, torch.device("cpu")) == expected
    with pytest.raises(ZeroDivisionError):
        in_parallel(lambda part: 1 / part, parts, torch.device("cpu"))


def test_one_thread_runs_parts_in_turn():
    with single_thread():
        inside = in_parallel(lambda part: threading.get_ident(), [1], torch.device("cpu"))
    assert inside == [threading.get_ident()]
