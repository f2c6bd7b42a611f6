"""Gradient matching: what is shared against plain autograd, labels and closed forms by hand, known answers."""

import copy
import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from attacks.gradient_matching.matching import (
    Recovered,
    Victim,
    _CosineSearch,
    _Products,
    _Targets,
    assign,
    closed_form,
    infer_labels,
    label_accuracy,
    match_cosine,
    match_squared,
    total_variation,
)
from benchmark.learning.networks import ConvNet, LeNet, to_unit, uniform_
from benchmark.learning.training import build

CLASSES = 10


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def one_hot(labels):
    return F.one_hot(labels, CLASSES).float()


@pytest.fixture(scope="module")
def digits():
    """Images (N, 1, 8, 8) in [0, 1], and labels."""
    data, labels = load_digits(return_X_y=True)
    return torch.tensor(data / 16, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(labels)


def lenet(seed=1, activation="sigmoid", width=6):
    network = build(
        lambda: LeNet((8, 8, 1), CLASSES, width=width, activation=activation),
        generator(seed),
        "cpu",
    )
    return uniform_(network, generator(seed + 100))


def convnet(width=8, batch_norm=False, seed=2):
    return build(
        lambda: ConvNet((8, 8, 1), CLASSES, width=width, batch_norm=batch_norm),
        generator(seed),
        "cpu",
    )


def batches_of(digits, count, size):
    x, y = digits
    return (
        x[: count * size].unflatten(0, (count, size)),
        y[: count * size].unflatten(0, (count, size)),
    )


def gradient_by_autograd(network, x, y):
    loss = F.cross_entropy(network(x), y)
    names = [name for name, _ in network.named_parameters()]
    return dict(zip(names, torch.autograd.grad(loss, list(network.parameters())), strict=True))


# ---------------------------------------------------------------- what is shared


@pytest.mark.parametrize("size", [1, 3])
def test_fedsgd_shares_the_gradient_of_each_batch(digits, size):
    network = convnet()
    x, y = batches_of(digits, 4, size)
    shared = Victim.make(network).share(x, one_hot(y))
    for t in range(4):
        for name, expected in gradient_by_autograd(network, x[t], y[t]).items():
            torch.testing.assert_close(shared[name][t], expected, rtol=1e-4, atol=1e-6)


def test_fedavg_shares_the_update_of_local_sgd_over_the_rate(digits):
    network, lr, steps = lenet(), 0.3, 4
    x, y = batches_of(digits, 2, 3)
    shared = Victim.make(network, local_steps=steps, local_lr=lr).share(x, one_hot(y))
    for t in range(2):
        local = copy.deepcopy(network)
        optimiser = torch.optim.SGD(local.parameters(), lr=lr)
        for _ in range(steps):
            optimiser.zero_grad()
            F.cross_entropy(local(x[t]), y[t]).backward()
            optimiser.step()
        after = dict(local.named_parameters())
        for name, before in network.named_parameters():
            update = (before - after[name]) / lr
            torch.testing.assert_close(shared[name][t], update, rtol=1e-3, atol=1e-5)


def test_models_of_their_own_give_each_participant_its_own_gradient(digits):
    networks = [lenet(seed) for seed in range(3)]
    x, y = batches_of(digits, 3, 2)
    parts = [dict(n.named_parameters()) for n in networks]
    stacked = {name: torch.stack([p[name].detach() for p in parts]) for name in parts[0]}
    victim = Victim(Victim.make(networks[0]).network, stacked, stacked=True)
    assert victim.size == Victim.make(networks[0]).size
    assert victim.n_classes == CLASSES
    shared = victim.share(x, one_hot(y))
    for t in range(3):
        for name, expected in gradient_by_autograd(networks[t], x[t], y[t]).items():
            torch.testing.assert_close(shared[name][t], expected, rtol=1e-4, atol=1e-6)
    some = victim.take(torch.tensor([2, 0])).share(x[[2, 0]], one_hot(y[[2, 0]]))
    for name in shared:
        torch.testing.assert_close(some[name], shared[name][[2, 0]], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", ["eval", "batch"])
def test_the_mode_of_batch_normalisation_is_as_said(digits, mode):
    network = convnet(batch_norm=True)
    with torch.no_grad():  # running statistics that differ from those of any batch
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.fill_(0.2)
                layer.running_var.fill_(0.7)
    x, y = batches_of(digits, 2, 4)
    before = copy.deepcopy(network.state_dict())
    shared = Victim.make(network, batch_norm=mode).share(x, one_hot(y))
    reference = copy.deepcopy(network).train(mode == "batch")
    expected = gradient_by_autograd(reference, x[0], y[0])
    for name in expected:
        torch.testing.assert_close(shared[name][0], expected[name], rtol=1e-3, atol=1e-5)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


# ---------------------------------------------------------------- labels


def head_of_two_classes():
    """A linear victim of two features and three classes."""
    return Victim.make(nn.Linear(2, 3))


def test_labels_by_hand():
    victim = head_of_two_classes()
    shared = {
        "weight": torch.tensor([[[0.3, 0.1], [-0.2, 0.4], [0.0, 0.1]]]),
        "bias": torch.tensor([[0.3, -0.7, 0.4]]),
    }
    assert infer_labels(victim, shared, 1, "sign").tolist() == [[1]]
    # Four records, p̄ = (1/2, 1/4, 1/4): 4·(0.5 − 0.3), 4·(0.25 + 0.7), 4·(0.25 − 0.4) = 0.8, 3.8, −0.6.
    prior = torch.tensor([0.5, 0.25, 0.25])
    assert infer_labels(victim, shared, 4, "counts", prior).tolist() == [[0, 1, 1, 1]]
    # The lowest entries of the rows: 0.1, −0.2, 0.0.
    assert infer_labels(victim, shared, 2, "minima").tolist() == [[1, 2]]
    assert infer_labels(victim, shared, 1).tolist() == [[1]]
    with pytest.raises(ValueError, match=r"batches of one record\. Got 4"):
        infer_labels(victim, shared, 4, "sign")
    with pytest.raises(ValueError, match=r"3 here\. Got 4"):
        infer_labels(victim, shared, 4, "minima")


def test_without_a_bias_the_rows_of_the_weight_tell_the_label():
    victim = Victim.make(nn.Linear(4, CLASSES, bias=False))
    x, y = torch.rand(20, 1, 4, generator=generator()), torch.arange(20)[:, None] % CLASSES
    assert torch.equal(infer_labels(victim, victim.share(x, one_hot(y)), 1), y)


@pytest.mark.parametrize("local_steps", [1, 3])
def test_single_labels_are_always_found(digits, local_steps):
    for network in (lenet(), convnet()):
        victim = Victim.make(network, local_steps=local_steps)
        x, y = batches_of(digits, 40, 1)
        found = infer_labels(victim, victim.share(x, one_hot(y)), 1)
        assert torch.equal(found, y)


def test_labels_of_batches_of_an_untrained_model(digits):
    victim = Victim.make(convnet())
    x, y = batches_of(digits, 12, 8)
    shared = victim.share(x, one_hot(y))
    prior = torch.softmax(victim.network(digits[0][1000:1200]), dim=1).mean(0)
    assert label_accuracy(infer_labels(victim, shared, 8, "counts", prior), y, CLASSES) >= 0.98
    different = torch.stack([torch.randperm(10, generator=generator(i))[:5] for i in range(12)])
    shared = victim.share(x[:, :5], one_hot(different))
    assert label_accuracy(infer_labels(victim, shared, 5, "minima"), different, CLASSES) >= 0.95


def test_the_accuracy_of_labels_counts_them_in_any_order():
    true, found = torch.tensor([[1, 1, 2], [0, 4, 5]]), torch.tensor([[2, 1, 3], [5, 4, 0]])
    assert label_accuracy(found, true, 6) == pytest.approx(5 / 6)


# ---------------------------------------------------------------- closed form


@pytest.mark.parametrize("local_steps", [1, 5])
def test_inputs_of_a_linear_model_come_back_exactly(local_steps):
    victim = Victim.make(nn.Linear(30, CLASSES), local_steps=local_steps)
    x = torch.randn(50, 1, 30, generator=generator())
    y = torch.randint(0, CLASSES, (50, 1), generator=generator(1))
    shared = victim.share(x, one_hot(y))
    found = closed_form(victim, shared, 1, infer_labels(victim, shared, 1))
    torch.testing.assert_close(found.x, x, rtol=1e-3, atol=1e-4)
    assert torch.equal(found.labels, y)
    assert found.losses.max() < 1e-8


def test_a_row_of_a_batch_is_the_mixture_that_theory_says():
    network = nn.Linear(4, 3)
    victim = Victim.make(network)
    x, y = torch.randn(1, 2, 4, generator=generator()), torch.tensor([[0, 2]])
    shared = victim.share(x, F.one_hot(y, 3).float())
    found = closed_form(victim, shared, 2, y)
    surplus = torch.softmax(network(x[0]), 1) - F.one_hot(y[0], 3)  # (2, 3)
    for i, c in enumerate((0, 2)):
        weights = surplus[:, c] / surplus[:, c].sum()
        torch.testing.assert_close(found.x[0, i], weights @ x[0], rtol=1e-3, atol=1e-4)


def test_the_closed_form_is_refused_where_there_is_none():
    victim = Victim.make(lenet())
    with pytest.raises(ValueError, match="one linear layer"):
        closed_form(victim, {}, 1, torch.zeros(1, 1))


# ---------------------------------------------------------------- objectives


def test_distances_by_hand():
    victim = head_of_two_classes()
    wanted = {
        "weight": torch.tensor([[[1.0, 0], [0, 0], [0, 2]]]),
        "bias": torch.tensor([[0.0, 2, 0]]),
    }
    targets = _Targets(victim, wanted)
    assert targets.squares.tolist() == [9]
    x, y = torch.randn(1, 1, 2, generator=generator()), torch.eye(3)[None, :1]
    made = victim.share(x, y)
    a = torch.cat([made[n].flatten() for n in ("weight", "bias")])
    b = torch.cat([wanted[n].flatten() for n in ("weight", "bias")])
    expected = (a - b).square().sum() / 9
    torch.testing.assert_close(targets.squared(x, y)[0], expected)
    cosine = F.cosine_similarity(a, b, dim=0)
    torch.testing.assert_close(targets.cosine(x, y)[0], 1 - cosine)


def test_derivative_of_products_is_that_of_autograd():
    a = [torch.randn(3, *shape, generator=generator(i)) for i, shape in enumerate([(2, 4), (5,)])]
    b = [
        torch.randn(3, *shape, generator=generator(i)) for i, shape in enumerate([(2, 4), (5,)], 7)
    ]
    a = [u.requires_grad_() for u in a]
    product, square = _Products.apply(tuple(b), *a)
    expected = sum((u * v).flatten(1).sum(1) for u, v in zip(a, b, strict=True))
    lengths = sum(u.square().flatten(1).sum(1) for u in a)
    torch.testing.assert_close(product, expected)
    torch.testing.assert_close(square, lengths)
    weights = torch.tensor([1.0, -2.0, 0.5])
    found = torch.autograd.grad((weights * product + square.sqrt()).sum(), a)
    wanted = torch.autograd.grad((weights * expected + lengths.sqrt()).sum(), a)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_total_variation_by_hand():
    image = torch.tensor([[0.0, 1.0, 1.0], [0.0, 3.0, 1.0]])
    # Down: 0, 2, 0, mean 2/3. Along: 1, 0, 3, 2, mean 6/4.
    assert float(total_variation(image[None])[0]) == pytest.approx(2 / 3 + 6 / 4)


def test_adam_takes_the_sign_of_the_gradient_and_keeps_to_the_range(digits):
    victim = Victim.make(convnet())
    x, y = batches_of(digits, 2, 1)
    targets = _Targets(victim, victim.share(x, one_hot(y)))
    start = torch.rand(2, 64, generator=generator(3)) * 0.1
    search = _CosineSearch(targets, (1, 8, 8), y, 0.0, (0.0, 1.0))
    v = start.clone().requires_grad_()
    total, _ = search._losses(v, one_hot(y))
    (gradient,) = torch.autograd.grad(total.sum(), v)
    after, _, _ = search.run(start, 3, 0.1)
    # Rates of three iterations: 0.1 up to 3/8 (one iteration), then 0.01 up to 5/8 (none), then 0.001.
    first = (start - 0.1 * gradient.sign()).clamp(0, 1)
    assert (after - first).abs().max() <= 0.0201
    assert after.min() >= 0 and after.max() <= 1


# ---------------------------------------------------------------- recovery


def errors(found: Recovered, x):
    return (found.x - x).square().flatten(2).mean(2).flatten()


def test_idlg_recovers_digits_and_dlg_their_labels_too(digits):
    victim = Victim.make(lenet())
    x, y = batches_of(digits, 8, 1)
    shared = victim.share(x, one_hot(y))
    labels = infer_labels(victim, shared, 1)
    for given in (labels, None):
        found = match_squared(
            victim, shared, (1, 8, 8), 1, labels=given, iterations=300, generator=generator(4)
        )
        assert torch.equal(found.labels, y)
        assert (errors(found, x) < 1e-3).float().mean() >= 0.8
        assert not found.diverged.any()


def test_idlg_fails_on_relu_and_says_so(digits):
    victim = Victim.make(lenet(activation="relu"))
    x, y = batches_of(digits, 4, 1)
    shared = victim.share(x, one_hot(y))
    found = match_squared(
        victim, shared, (1, 8, 8), 1, labels=y, iterations=60, restarts=2, generator=generator(4)
    )
    assert (errors(found, x) < 1e-3).float().mean() <= 0.25
    assert found.losses.median() > 1e-3  # where it succeeds, 1e-7
    assert (found.restarts[found.losses > 1e-7] == 2).all()


def test_backtracking_keeps_from_diverging(digits):
    victim = Victim.make(lenet(activation="relu"))
    x, y = batches_of(digits, 4, 1)
    shared = victim.share(x, one_hot(y))
    options = {"labels": y, "iterations": 25, "restarts": 1, "generator": generator(4)}
    found = match_squared(victim, shared, (1, 8, 8), 1, line_search="backtracking", **options)
    assert found.divergence_rate == 0
    assert found.losses.max() < 100


def test_the_number_of_threads_changes_no_bit(digits):
    victim = Victim.make(convnet())
    x, y = batches_of(digits, 40, 1)
    shared = victim.share(x, one_hot(y))
    assert _Targets(victim, shared).at_once(1) < 400  # more than one part, of 10 starts each
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            options = {"iterations": 3, "restarts": 10, "generator": generator(5)}
            found.append(match_cosine(victim, shared, (1, 8, 8), y, **options).x)
        finally:
            torch.set_num_threads(before)
    assert torch.equal(*found)


def test_updates_of_several_local_steps_are_inverted(digits):
    victim = Victim.make(lenet(), local_steps=3, local_lr=0.1)
    x, y = batches_of(digits, 4, 1)
    shared = victim.share(x, one_hot(y))
    found = match_squared(
        victim,
        shared,
        (1, 8, 8),
        1,
        labels=infer_labels(victim, shared, 1),
        iterations=300,
        generator=generator(5),
    )
    assert (errors(found, x) < 1e-3).float().mean() >= 0.75


def test_batches_of_two_are_told_apart(digits):
    victim = Victim.make(lenet(width=12))
    x, _ = batches_of(digits, 4, 2)
    y = torch.tensor([[0, 1], [2, 7], [3, 4], [5, 9]])  # two labels of a class could change places
    found = match_squared(
        victim,
        victim.share(x, one_hot(y)),
        (1, 8, 8),
        2,
        labels=y,
        iterations=400,
        generator=generator(6),
    )
    places = assign(found.x.numpy(), x.numpy())
    sorted_x = torch.stack([x[t][places[t]] for t in range(4)])
    assert (errors(found, sorted_x) < 1e-3).float().mean() >= 0.5


def test_cosine_matching_recovers_digits_from_an_untrained_convnet(digits):
    victim = Victim.make(convnet(width=16))
    x, y = batches_of(digits, 4, 1)
    shared = victim.share(x, one_hot(y))
    options = {"tv": 1e-6, "iterations": 250, "generator": generator(7)}
    found = match_cosine(victim, shared, (1, 8, 8), y, **options)
    psnr = -10 * errors(found, x).log10()
    assert psnr.median() >= 20
    blank = -10 * (x - x.mean()).square().flatten(1).mean(1).log10()
    assert (psnr > blank.flatten() + 5).float().mean() >= 0.8
    assert found.losses.median() < 0.01


def test_of_several_restarts_the_best_counts(digits):
    victim = Victim.make(convnet())
    x, y = batches_of(digits, 8, 1)
    shared = victim.share(x, one_hot(y))
    options = {"tv": 0.0, "iterations": 20}
    one = match_cosine(victim, shared, (1, 8, 8), y, generator=generator(8), **options)
    three = match_cosine(
        victim, shared, (1, 8, 8), y, restarts=3, generator=generator(8), **options
    )
    assert three.restarts.tolist() == [3] * 8
    assert (three.losses <= one.losses + 1e-3).all()  # the first start is the same
    assert (three.losses < one.losses - 1e-5).any()


def test_targets_together_and_alone_come_to_the_same(digits):
    victim = Victim.make(convnet())
    x, y = batches_of(digits, 4, 1)
    shared = victim.share(x, one_hot(y))
    options = {"tv": 1e-4, "iterations": 25}
    start = torch.rand(4, 64, generator=generator(9))
    targets = _Targets(victim, shared)
    search = _CosineSearch(targets, (1, 8, 8), y, 1e-4, (0.0, 1.0))
    together, _, _ = search.run(start, 25, 0.1)
    for t in range(4):
        one = torch.tensor([t])
        alone = _CosineSearch(targets.take(one), (1, 8, 8), y[one], 1e-4, (0.0, 1.0))
        x_t, _, _ = alone.run(start[t : t + 1], 25, 0.1)
        # Signs of gradients near zero may differ by rounding: all pixels but a few are the same.
        assert ((x_t[0] - together[t]).abs() < 0.02).float().mean() > 0.9
    again = [
        match_cosine(victim, shared, (1, 8, 8), y, generator=generator(9), **options).x
        for _ in range(2)
    ]
    assert torch.equal(*again)


def test_nothing_touches_the_global_random_state(digits):
    before = torch.get_rng_state()
    victim = Victim.make(lenet())
    x, y = batches_of(digits, 2, 1)
    shared = victim.share(x, one_hot(y))
    match_squared(victim, shared, (1, 8, 8), 1, iterations=3, restarts=1, generator=generator())
    match_cosine(victim, shared, (1, 8, 8), y, iterations=3, generator=generator())
    assert torch.equal(before, torch.get_rng_state())


# ---------------------------------------------------------------- which is which


def test_the_assignment_is_the_best_of_all_permutations():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(6, 4, 3))
    made = true[:, [2, 0, 3, 1]] + rng.normal(0, 0.8, size=true.shape)
    places = assign(made, true)
    for t in range(6):
        cost = {
            p: np.square(made[t] - true[t][list(p)]).sum() for p in itertools.permutations(range(4))
        }
        assert tuple(places[t]) == min(cost, key=cost.get)
    made[0, 1] = np.nan  # a reconstruction that diverged takes what is left
    assert sorted(assign(made, true)[0]) == [0, 1, 2, 3]


# ---------------------------------------------------------------- known answers on 28 × 28 images


@pytest.fixture(scope="module")
def fashion():
    """Images ``(N, H, W, C) uint8`` and labels; drawn fundus images where Fashion-MNIST is missing."""
    from benchmark.contracts import Context, DatasetMissing
    from benchmark.datasets.phantom import Phantom
    from benchmark.datasets.vision import FashionMNIST

    try:
        pool = FashionMNIST().load(Context(seed=0)).pool
    except DatasetMissing:
        pool = Phantom(patients=1500, visits=2, size=28).load(Context(seed=0)).pool
    rows = np.random.default_rng(0).permutation(len(pool))[:4000]
    return pool.data[rows], pool.labels[rows]


def make(factory, fashion, seed=0):
    shape = fashion[0].shape[1:]
    return build(lambda: factory(shape, CLASSES), generator(seed), "cpu")


def attacked(fashion, count):
    x, y = to_unit(fashion[0][:count]), torch.as_tensor(fashion[1][:count])
    return x[:, None], y[:, None]


@pytest.mark.slow
def test_known_answer_idlg_on_lenet_with_sigmoids(fashion):
    """At least 80 % of 28 × 28 images below 1e-3, labels all right."""
    victim = Victim.make(uniform_(make(LeNet, fashion), generator(1)))
    x, y = attacked(fashion, 32)
    shared = victim.share(x, one_hot(y))
    labels = infer_labels(victim, shared, 1)
    found = match_squared(
        victim,
        shared,
        tuple(x.shape[2:]),
        1,
        labels=labels,
        iterations=600,
        generator=generator(2),
    )
    share = (errors(found, x) < 1e-3).float().mean()
    print(f"iDLG: {share:.0%} recovered, median error {errors(found, x).median():.1e}")
    assert torch.equal(labels, y)
    assert share >= 0.8


@pytest.mark.slow
def test_known_answer_dlg_fails_on_relu(fashion):
    """The same with ReLU: hardly any."""
    network = make(lambda *a: LeNet(*a, activation="relu"), fashion)
    victim = Victim.make(uniform_(network, generator(1)))
    x, y = attacked(fashion, 8)
    found = match_squared(
        victim,
        victim.share(x, one_hot(y)),
        tuple(x.shape[2:]),
        1,
        iterations=300,
        restarts=2,
        generator=generator(2),
    )
    assert (errors(found, x) < 1e-3).float().mean() <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("trained", "decibels"), [(False, 35), (True, 20)])
def test_known_answer_cosine_and_total_variation_on_a_convnet(fashion, trained, decibels):
    """Batch of one: at least 35 dB untrained, 20 dB trained, on average."""
    from benchmark.learning.image_classifier import Recipe, fit_classifier

    network = make(ConvNet, fashion)
    if trained:
        recipe = Recipe(epochs=5, optimiser="adam", lr=1e-3, schedule="constant")
        fit_classifier(network, *(a[1000:] for a in fashion), recipe=recipe, generator=generator(3))
    victim = Victim.make(network)
    x, y = attacked(fashion, 8)
    shared = victim.share(x, one_hot(y))
    found = match_cosine(
        victim,
        shared,
        tuple(x.shape[2:]),
        infer_labels(victim, shared, 1),
        tv=1e-2 if trained else 1e-5,
        restarts=2 if trained else 1,
        iterations=600 if trained else 800,
        generator=generator(4),
    )
    psnr = -10 * errors(found, x).clamp(min=1e-9).log10()
    print(
        f"trained={trained}: {psnr.mean():.1f} dB on average, {psnr.min():.1f} … {psnr.max():.1f}"
    )
    assert float(psnr.mean()) >= decibels
