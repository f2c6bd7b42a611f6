"""The linear head against scikit-learn, and by hand."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from benchmark.learning.linear_head import LinearHead, fit_linear_head, fit_linear_heads


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian_classes(n, separation, seed, d=10, classes=3):
    """Classes around fixed orthogonal means, ``separation`` from the origin."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    means = separation * np.eye(classes, d)
    data = means[labels] + rng.standard_normal((n, d))
    # Units and offsets differ, which z-scoring undoes.
    return (data * np.logspace(-2, 2, d) + 5).astype(np.float32), labels


def accuracy(probabilities, labels):
    return (probabilities.argmax(axis=1) == labels).mean()


@pytest.mark.parametrize("separation", [1.5, 8.0], ids=["overlapping", "separable"])
@pytest.mark.parametrize(("n", "lr"), [(400, 1e-2), (2000, 1e-3)])
def test_accuracy_is_that_of_logistic_regression(separation, n, lr):
    """With the published step of 1e-3, 400 records in 10 dimensions are too few steps to converge."""
    features, labels = gaussian_classes(n, separation, seed=1)
    validation = gaussian_classes(500, separation, seed=2)
    x_test, y_test = gaussian_classes(20_000, separation, seed=3)
    head = fit_linear_head(features, labels, 3, validation=validation, generator=generator(), lr=lr)
    centre, scale = features.mean(axis=0), features.std(axis=0)
    reference = LogisticRegression(max_iter=2000).fit((features - centre) / scale, labels)
    ours = accuracy(head.probabilities(x_test), y_test)
    theirs = accuracy(reference.predict_proba((x_test - centre) / scale), y_test)
    assert ours == pytest.approx(theirs, abs=0.015)


def test_long_training_reaches_the_optimum_of_unregularised_logistic_regression():
    features, labels = gaussian_classes(300, 1.0, seed=1, d=4)
    head = fit_linear_head(
        features,
        labels,
        3,
        validation=(features, labels),
        generator=generator(),
        lr=0.05,
        batch_size=300,
        epochs=800,
        patience=800,
    )
    z = (features - features.mean(axis=0)) / features.std(axis=0)
    reference = LogisticRegression(C=np.inf, max_iter=5000, tol=1e-10).fit(z, labels)
    expected = reference.predict_proba(z)
    assert head.validation_loss == pytest.approx(log_loss(labels, expected), rel=1e-4)
    assert head.probabilities(features) == pytest.approx(expected, abs=2e-3)


def test_one_step_of_gradient_by_hand():
    """Adam's first step moves every weight by lr against the sign of its gradient.

    Two records, z = −1 of class 0 and z = +1 of class 1: the gradient of the loss wrt. the weight of
    class 0 is the mean of (p₀ − [y = 0])·z, which is positive whatever the weights, and that of
    class 1 is its opposite.
    """
    features, labels = np.array([[2.0], [4.0]], dtype=np.float32), np.array([0, 1])
    start, stepped = (
        fit_linear_head(
            features,
            labels,
            2,
            validation=(features, labels),
            generator=generator(),
            lr=lr,
            epochs=1,
        )
        for lr in (1e-12, 0.01)
    )
    assert start.centre.tolist() == [3] and start.scale.tolist() == [1]
    moved = (stepped.weight - start.weight).ravel()
    assert moved == pytest.approx([-0.01, 0.01], rel=1e-3)


def test_validation_loss_is_the_cross_entropy_of_the_kept_weights():
    features, labels = gaussian_classes(300, 1.5, seed=1)
    x_val, y_val = gaussian_classes(200, 1.5, seed=2)
    head = fit_linear_head(features, labels, 3, validation=(x_val, y_val), generator=generator())
    assert head.validation_loss == pytest.approx(
        log_loss(y_val, head.probabilities(x_val)), rel=1e-5
    )


def test_early_stopping_looks_at_the_validation_records():
    """Validation labels that contradict the training ones: the loss only rises."""
    features, labels = gaussian_classes(400, 8.0, seed=1, classes=2)
    head = fit_linear_head(
        features, labels, 2, validation=(features, 1 - labels), generator=generator(), patience=3
    )
    assert (head.best_epoch, head.epochs) == (1, 4)


def test_a_missing_class_gets_probability_zero_and_rows_sum_to_one():
    features, labels = gaussian_classes(400, 8.0, seed=1)
    keep = labels != 1
    validation = gaussian_classes(100, 8.0, seed=2)
    head = fit_linear_head(
        features[keep], labels[keep], 5, validation=validation, generator=generator()
    )
    probabilities = head.probabilities(validation[0])
    assert probabilities.shape == (100, 5) and probabilities.dtype == np.float64
    assert (probabilities[:, [1, 3, 4]] == 0).all()
    assert probabilities.sum(axis=1) == pytest.approx(1)
    known = validation[1] != 1
    assert accuracy(probabilities[known], validation[1][known]) > 0.98


def test_a_validation_set_without_known_classes_falls_back_on_the_training_loss():
    features, labels = gaussian_classes(400, 8.0, seed=1, classes=2)
    strangers = (features[:10], np.full(10, 2))
    head = fit_linear_head(features, labels, 3, validation=strangers, generator=generator())
    assert accuracy(head.probabilities(features), labels) > 0.98


def test_one_class_alone_is_certain():
    features, _ = gaussian_classes(50, 1.0, seed=1)
    labels = np.full(50, 2)
    head = fit_linear_head(
        features, labels, 3, validation=(features, labels), generator=generator()
    )
    assert (head.probabilities(features) == [0, 0, 1]).all()


def test_constant_features_are_ignored():
    features, labels = gaussian_classes(400, 8.0, seed=1, classes=2)
    features[:, -1] = 0.1
    head = fit_linear_head(
        features, labels, 2, validation=(features, labels), generator=generator()
    )
    moved = features.copy()
    moved[:, -1] = 1e6
    assert (head.probabilities(moved) == head.probabilities(features)).all()
    assert accuracy(head.probabilities(moved), labels) > 0.98


def test_far_features_give_finite_probabilities():
    head = LinearHead(
        weight=np.array([[1.0], [-1.0]]),
        bias=np.zeros(2),
        centre=np.zeros(1),
        scale=np.ones(1),
        classes=np.array([0, 1]),
        n_classes=2,
        epochs=1,
        best_epoch=1,
        validation_loss=0.0,
    )
    far = head.probabilities(np.array([[1e30], [-1e30], [0.5]], dtype=np.float32))
    assert far[:2].tolist() == [[1, 0], [0, 1]]
    assert far[2, 0] == pytest.approx(1 / (1 + np.exp(-1)))


def test_within_reach_by_hand():
    """z = (x − 1) / 2 cut to ±3; the logit of the first class against the second is 2 z."""
    head = LinearHead(
        weight=np.array([[1.0], [-1.0]]),
        bias=np.zeros(2),
        centre=np.ones(1),
        scale=np.full(1, 2.0),
        classes=np.array([0, 1]),
        n_classes=2,
        epochs=1,
        best_epoch=1,
        validation_loss=0.0,
        reach=3.0,
    )
    found = head.probabilities(np.array([[1e30], [-1e30], [7.0], [2.0]], dtype=np.float32))[:, 0]
    logits = np.array([6.0, -6.0, 6.0, 1.0])
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), rtol=1e-12)


def test_a_reach_that_nothing_exceeds_changes_no_bit():
    features, labels = gaussian_classes(300, 1.5, seed=1)
    free, limited, tight = (
        fit_linear_head(
            features, labels, 3, validation=(features, labels), generator=generator(), reach=reach
        ).probabilities(features)
        for reach in (None, 100.0, 0.5)
    )
    assert (free == limited).all()
    assert (free != tight).any()


def test_within_reach_a_feature_that_is_all_but_constant_does_not_decide_alone():
    """Its deviation in training is a hundred-thousandth of the others'; on new records it moves as they do."""
    features, labels = gaussian_classes(400, 8.0, seed=1, classes=2)
    features[:, -1] *= 1e-5
    moved = features.copy()
    moved[:, -1] += np.random.default_rng(0).standard_normal(len(moved))
    free, limited = (
        fit_linear_head(
            features, labels, 2, validation=(features, labels), generator=generator(), reach=reach
        )
        for reach in (None, 3.0)
    )
    assert accuracy(limited.probabilities(moved), labels) > 0.9
    assert accuracy(free.probabilities(moved), labels) < 0.7


def test_same_seed_same_bits_and_the_global_random_state_is_untouched():
    features, labels = gaussian_classes(300, 1.5, seed=1)
    state = torch.get_rng_state()
    first, again, other = (
        fit_linear_head(
            features, labels, 3, validation=(features, labels), generator=generator(s)
        ).probabilities(features)
        for s in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first != other).any()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_no_bit(threads):
    features, labels = gaussian_classes(300, 1.5, seed=1, d=64)
    before, answers = torch.get_num_threads(), []
    try:
        for number in (1, threads):
            torch.set_num_threads(number)
            with threadpool_limits(number):
                head = fit_linear_head(
                    features,
                    labels,
                    3,
                    validation=(features, labels),
                    generator=generator(),
                    epochs=10,
                )
                answers.append(head.probabilities(features))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(before)
    assert (answers[0] == answers[1]).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_fleet_of_heads_is_the_same_as_one_by_one(threads):
    """Of different sizes, and one of them without a class."""
    sets = [gaussian_classes(n, 1.5, seed=n) for n in (300, 250, 300, 90)]
    x, y = sets[1]
    sets[1] = (x[y != 2], y[y != 2])
    validation = gaussian_classes(150, 1.5, seed=7)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        heads = fit_linear_heads(
            sets, 3, validation=validation, generators=[generator(s) for s in range(4)]
        )
    finally:
        torch.set_num_threads(before)
    alone = [
        fit_linear_head(*one, 3, validation=validation, generator=generator(s))
        for s, one in enumerate(sets)
    ]
    for ours, theirs in zip(heads, alone, strict=True):
        assert (ours.epochs, ours.best_epoch) == (theirs.epochs, theirs.best_epoch)
        assert ours.validation_loss == pytest.approx(theirs.validation_loss, rel=1e-5)
        got, expected = (h.probabilities(validation[0]) for h in (ours, theirs))
        assert got == pytest.approx(expected, abs=1e-5)
