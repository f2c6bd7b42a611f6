import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from benchmark.statistics import (
    accuracy,
    auc_interval,
    balanced_accuracy,
    clopper_pearson,
    macro_auroc,
)


def predictions(seed, n=300, classes=4, sharpness=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, size=n, p=np.arange(1, classes + 1) / sum(range(classes + 1)))
    logits = rng.normal(size=(n, classes)) + sharpness * np.eye(classes)[labels]
    weights = np.exp(logits)
    return weights / weights.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize("seed", range(3))
def test_values_agree_with_sklearn(seed):
    probabilities, labels = predictions(seed)
    guess = probabilities.argmax(axis=1)
    assert accuracy(probabilities, labels).value == accuracy_score(labels, guess)
    assert balanced_accuracy(probabilities, labels).value == pytest.approx(
        balanced_accuracy_score(labels, guess)
    )
    assert macro_auroc(probabilities, labels).value == pytest.approx(
        roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    )


def test_accuracy_interval_is_clopper_pearson():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]])
    estimate = accuracy(probabilities, [0, 1, 1, 0])
    assert estimate.value == 0.75
    assert (estimate.low, estimate.high) == clopper_pearson(3, 4)


def test_two_classes_reduce_to_one_auc():
    """With two complementary columns the macro AUC is the AUC, and so is its interval."""
    probabilities, labels = predictions(1, classes=2)
    two, one = macro_auroc(probabilities, labels), auc_interval(probabilities[:, 1], labels == 1)
    assert two.value == pytest.approx(one.value)
    assert (two.low, two.high) == pytest.approx((one.low, one.high), abs=1e-6)


@pytest.mark.parametrize("metric", [balanced_accuracy, macro_auroc])
def test_intervals_cover_the_population(metric):
    big = predictions(99, 60_000)
    theory = metric(*big).value
    held = []
    for seed in range(300):
        estimate = metric(*predictions(seed, 200))
        held.append(estimate.low <= theory <= estimate.high)
    assert 0.92 <= np.mean(held) <= 0.985


def test_perfect_classifier_keeps_a_width():
    labels = np.arange(60) % 3
    for metric in (accuracy, balanced_accuracy, macro_auroc):
        estimate = metric(np.eye(3)[labels], labels)
        assert estimate.value == estimate.high == 1.0 and 0.8 < estimate.low < 0.99


def test_missing_class_is_left_out_and_said():
    probabilities, labels = predictions(2)
    kept = labels != 0
    for metric in (balanced_accuracy, macro_auroc):
        estimate = metric(probabilities[kept], labels[kept])
        assert estimate.reason == "classes without test records left out: 0"
    recalls = [(probabilities[labels == c].argmax(axis=1) == c).mean() for c in (1, 2, 3)]
    assert balanced_accuracy(probabilities[kept], labels[kept]).value == pytest.approx(
        np.mean(recalls)
    )
    alone = macro_auroc(probabilities[labels == 1], labels[labels == 1])
    assert "at least 2 classes, got 1" in alone.reason
    for metric in (accuracy, balanced_accuracy, macro_auroc):
        assert not metric(np.zeros((0, 3)), np.zeros(0, int)).resolved


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.ones((3, 2)), [0, 1], r"Got \(3, 2\) and \(2,\)"),
        (np.ones((2, 2)), [0, 2], r"labels must lie in 0..1. Got 0..2"),
        (np.ones((2, 2)), [0.0, 1.0], "labels must be integers"),
        (np.full((2, 2), np.nan), [0, 1], "probabilities must be finite"),
    ],
)
def test_bad_input_is_refused(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        macro_auroc(probabilities, labels)
