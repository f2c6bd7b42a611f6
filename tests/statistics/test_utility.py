import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from benchmark.statistics import (
    accuracy,
    auc_interval,
    balanced_accuracy,
    clopper_pearson,
    cluster_effect,
    design_effect,
    expected_calibration_error,
    macro_auroc,
    mean_balanced_error,
    paired_difference,
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


def test_calibration_error_by_hand():
    # Confidences 0.75, 0.75 (one right) and 0.95 (right), in different bins of ten:
    # 2/3 · |1/2 − 0.75| + 1/3 · |1 − 0.95|.
    probabilities = [[0.75, 0.25], [0.25, 0.75], [0.05, 0.95]]
    error = expected_calibration_error(probabilities, [0, 0, 1], bins=10)
    assert error.value == pytest.approx(2 / 3 * 0.25 + 1 / 3 * 0.05)
    assert np.isnan([error.low, error.high]).all() and "no interval" in error.method
    # Bins are open below: in two of them 0.5 (right) and 0.75 (wrong) are apart.
    edge = expected_calibration_error([[0.5, 0.5], [0.75, 0.25]], [0, 1], bins=2)
    assert edge.value == pytest.approx((0.5 + 0.75) / 2)
    # In one bin, over- and underconfidence cancel: |2/3 − 2.45/3|.
    assert expected_calibration_error(probabilities, [0, 0, 1], bins=1).value == pytest.approx(0.15)


def test_calibration_error_is_torchmetrics():
    from torchmetrics.functional.classification import multiclass_calibration_error

    rng = np.random.default_rng(5)
    probabilities = rng.dirichlet(np.full(4, 0.4), size=700)
    labels = rng.integers(0, 4, 700)
    for bins in (1, 7, 15):
        theirs = multiclass_calibration_error(
            torch.from_numpy(probabilities), torch.from_numpy(labels), 4, n_bins=bins
        )
        ours = expected_calibration_error(probabilities, labels, bins).value
        assert ours == pytest.approx(float(theirs), abs=1e-6)


def test_calibrated_and_overconfident_predictions():
    rng = np.random.default_rng(6)
    probabilities = rng.dirichlet(np.ones(3), size=100_000)
    labels = (rng.random((100_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    assert expected_calibration_error(probabilities, np.minimum(labels, 2)).value < 0.01
    certain = np.eye(3)[probabilities.argmax(axis=1)]
    wrong = 1 - accuracy(certain, np.minimum(labels, 2)).value
    assert expected_calibration_error(certain, np.minimum(labels, 2)).value == pytest.approx(wrong)


def test_calibration_error_needs_probabilities():
    with pytest.raises(ValueError, match=r"sum to 1. Got a least entry of -1 and sums in 2..2"):
        expected_calibration_error([[3.0, -1.0]], [0])
    assert not expected_calibration_error(np.zeros((0, 3)), np.zeros(0, int)).resolved


# ---------------------------------------------------------------- errors under perturbation


def test_one_condition_is_one_minus_the_balanced_accuracy():
    probabilities, labels = predictions(4)
    error, right = mean_balanced_error([probabilities], labels), balanced_accuracy(*predictions(4))
    assert error.value == pytest.approx(1 - right.value)
    assert (error.low, error.high) == pytest.approx((1 - right.high, 1 - right.low))


def test_severities_are_averaged_within_corruptions_first():
    """By hand: 6 records of class 0 and 2 of class 1, three severities of noise and one of blur."""
    labels = np.array([0] * 6 + [1] * 2)
    wrong = {"noise": [(0, 0), (2, 0), (4, 2)], "blur": [(3, 1)]}
    conditions, names = [], []
    for name, severities in wrong.items():
        for of_0, of_1 in severities:
            guess = labels.copy()
            guess[:of_0], guess[6 : 6 + of_1] = 1, 0
            conditions.append(np.eye(2)[guess])
            names.append(name)
    noise = np.mean([0, (2 / 6 + 0) / 2, (4 / 6 + 1) / 2])
    blur = (3 / 6 + 1 / 2) / 2
    figure = mean_balanced_error(conditions, labels, names)
    assert figure.value == pytest.approx((noise + blur) / 2)
    assert figure.value != pytest.approx((3 * noise + blur) / 4)


def test_copies_of_a_condition_add_no_certainty_and_independent_ones_do():
    probabilities, labels = predictions(5)
    one, copies = (mean_balanced_error([probabilities] * n, labels) for n in (1, 8))
    assert (copies.low, copies.high) == pytest.approx((one.low, one.high))
    fresh = np.random.default_rng(0)
    independent = [
        np.eye(4)[np.where(fresh.random(300) < 0.3, (labels + 1) % 4, labels)] for _ in range(8)
    ]
    alone, many = (
        mean_balanced_error(independent[:1], labels),
        mean_balanced_error(independent, labels),
    )
    assert many.high - many.low < 0.5 * (alone.high - alone.low)


def test_the_interval_of_the_mean_error_covers_the_population():
    """Records differ in how often they are misclassified, so that conditions are correlated within a record."""

    def draw(seed, n):
        rng = np.random.default_rng(seed)
        labels = rng.choice(3, size=n, p=[0.6, 0.3, 0.1])
        hard = rng.beta(0.6, 2.0, size=n)
        guesses = [np.where(rng.random(n) < hard, (labels + 1) % 3, labels) for _ in range(5)]
        return [np.eye(3)[g] for g in guesses], labels

    theory = 0.6 / 2.6
    held = []
    for seed in range(300):
        figure = mean_balanced_error(*draw(seed, 200))
        held.append(figure.low <= theory <= figure.high)
    assert 0.92 <= np.mean(held) <= 0.985


def test_a_classifier_that_is_never_wrong_keeps_a_width():
    labels = np.repeat([0, 1], 20)
    figure = mean_balanced_error([np.eye(2)[labels]] * 3, labels)
    assert (figure.value, figure.low) == (0.0, 0.0) and 0.05 < figure.high < 0.2


def test_what_cannot_be_averaged_is_refused():
    labels = np.array([0, 1])
    with pytest.raises(ValueError, match="one name for each"):
        mean_balanced_error([np.eye(2)], labels, ["a", "b"])
    with pytest.raises(ValueError, match="at least one array"):
        mean_balanced_error([], labels)
    assert not mean_balanced_error([np.empty((0, 2))], np.empty(0, dtype=int)).resolved


def visits(seed, patients=80, each=3, classes=3):
    """Records of patients: a patient's class, and how hard a patient is, are the same at every visit."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), each)
    labels = rng.integers(0, classes, patients)[groups]
    hard = rng.normal(size=(patients, classes))[groups]
    logits = hard + 0.5 * rng.normal(size=hard.shape) + 1.5 * np.eye(classes)[labels]
    weights = np.exp(logits)
    return weights / weights.sum(axis=1, keepdims=True), labels, groups


def error(probabilities, labels, confidence=0.95, groups=None):
    return mean_balanced_error([probabilities], labels, None, confidence, groups)


@pytest.mark.parametrize("metric", [accuracy, balanced_accuracy, macro_auroc, error])
def test_intervals_cover_where_records_come_in_identities(metric):
    """With identities 95 % intervals hold; with visits taken for independent records they hold far less often."""
    theory = metric(*visits(99, 30_000)[:2]).value
    held = np.zeros(2)
    n = 400
    for seed in range(n):
        probabilities, labels, groups = visits(seed)
        for i, known in enumerate((groups, None)):
            estimate = metric(probabilities, labels, groups=known)
            held[i] += estimate.low <= theory <= estimate.high
    assert held[0] / n > 0.95 - 3 * np.sqrt(0.05 * 0.95 / n)
    assert held[1] / n < 0.9


def test_cluster_effect_by_hand():
    """Sums 2, −1 and −1 against four ones: 3/2 · (4 + 1 + 1) / 4."""
    influence = np.array([1.0, 1.0, -1.0, -1.0])
    assert cluster_effect(influence, [7, 7, 3, 5]) == pytest.approx(2.25)
    assert cluster_effect(influence, [1, 2, 3, 4]) == cluster_effect(influence, None) == 1
    # Visits that make up for each other are not rewarded.
    assert cluster_effect(influence, [0, 1, 0, 1]) == 1
    # All right: nothing is seen of how alike they are.
    assert cluster_effect(np.zeros(4), [0, 0, 1, 2]) == design_effect([2, 1, 1])
    with pytest.raises(ValueError, match="one identity for each of 4"):
        cluster_effect(influence, [0, 1])


@pytest.mark.parametrize("metric", [accuracy, balanced_accuracy, macro_auroc, error])
def test_identities_of_one_record_change_nothing(metric):
    probabilities, labels = predictions(3)
    assert metric(probabilities, labels, groups=np.arange(len(labels))) == metric(
        probabilities, labels
    )


def test_every_record_twice_adds_no_certainty():
    probabilities, labels = predictions(5)
    groups = np.arange(len(labels))
    once = macro_auroc(probabilities, labels)
    twice = macro_auroc(*(np.concatenate([x, x]) for x in (probabilities, labels)))
    known = macro_auroc(
        *(np.concatenate([x, x]) for x in (probabilities, labels)),
        groups=np.concatenate([groups, groups]),
    )
    assert twice.high - twice.low < 0.75 * (once.high - once.low)
    assert (known.value, known.low, known.high) == pytest.approx(
        (once.value, once.low, once.high), abs=2e-3
    )


# ---------------------------------------------------------------- paired differences


def three_classes(n, rng):
    """Labels and two classifiers' probabilities, whose errors have much in common."""
    labels = rng.integers(0, 3, n)
    common = np.eye(3)[labels] * 1.2 + rng.normal(0, 1, (n, 3))
    sides = [np.exp(common + rng.normal(0, noise, (n, 3))) for noise in (0.4, 0.9)]
    left, right = (side / side.sum(axis=1, keepdims=True) for side in sides)
    return labels, left, right


METRICS = {
    "macro_auroc": macro_auroc,
    "balanced_accuracy": balanced_accuracy,
    "accuracy": accuracy,
}


@pytest.mark.parametrize("metric", METRICS)
def test_a_paired_difference_is_that_of_the_figures(metric):
    labels, left, right = three_classes(200, np.random.default_rng(0))
    found = paired_difference(metric, left, right, labels)
    expected = METRICS[metric](left, labels).value - METRICS[metric](right, labels).value
    assert found.value == pytest.approx(expected, abs=1e-12)
    other = paired_difference(metric, right, left, labels)
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low))


def test_accuracies_differ_as_the_discordant_pairs_say():
    """Of 100 records the left alone is right on 12, the right alone on 4: ± 1.96 √((16 − 64/100)/99) / 10."""
    right = np.full((100, 2), [0.1, 0.9])
    left = right.copy()
    left[:12] = right[12:16] = [0.9, 0.1]
    labels = np.repeat([0, 1], [12, 88])
    found = paired_difference("accuracy", left, right, labels)
    assert found.value == pytest.approx(0.16)
    mean, square = 0.16, 0.16
    half = 1.959964 * np.sqrt((square - mean**2) * 100 / 99 / 100)
    assert found.high - found.value == pytest.approx(half, rel=1e-6)


def test_equal_classifiers_may_still_differ_unseen():
    """The rule of three: where none of 100 records tells them apart, 3 % of others still could."""
    labels, left, _ = three_classes(100, np.random.default_rng(1))
    found = paired_difference("accuracy", left, left, labels)
    assert (found.low, found.value, found.high) == pytest.approx((-0.02996, 0, 0.02996), abs=1e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_paired_intervals_hold_what_they_promise_and_are_narrower(metric):
    rng = np.random.default_rng(2)
    truth = paired_difference(metric, *_sides(three_classes(100_000, rng))).value
    hits, widths = [], []
    for _ in range(400):
        found = paired_difference(metric, *_sides(three_classes(150, rng)))
        hits.append(found.low <= truth <= found.high)
        widths.append(found.high - found.low)
    assert binomtest(sum(hits), len(hits), 0.95).pvalue > 0.001
    labels, left, right = three_classes(150, rng)
    alone = [METRICS[metric](side, labels) for side in (left, right)]
    assert np.mean(widths) < 0.95 * np.hypot(*[a.high - a.low for a in alone])


def _sides(drawn):
    labels, left, right = drawn
    return left, right, labels


def test_records_of_one_identity_widen_a_paired_difference():
    labels, left, right = three_classes(60, np.random.default_rng(3))
    thrice = (np.repeat(a, 3, axis=0) for a in (left, right, labels))
    one = paired_difference("accuracy", left, right, labels)
    many = paired_difference("accuracy", *thrice, groups=np.repeat(np.arange(60), 3))
    assert many.high - many.value == pytest.approx(one.high - one.value, rel=0.03)
