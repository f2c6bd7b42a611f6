"""The linear probe learns what the release teaches, and nothing from shuffled labels."""

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmark.contracts import Context, Records
from benchmark.utility.linear_probe import LinearProbe


@pytest.fixture(scope="module")
def sets():
    """Digits as 600 released records, 300 for validation and 897 to test on."""
    data, labels = load_digits(return_X_y=True)
    images = (data * 15).astype(np.uint8).reshape(-1, 8, 8, 1)
    pool = Records(images, labels.astype(np.int64))
    order = np.random.default_rng(0).permutation(len(pool))
    return tuple(pool.take(part) for part in np.split(order, [600, 900]))


def _accuracy(predictions, records):
    return (predictions.probabilities.argmax(axis=1) == records.labels).mean()


def _evaluate(release, validation, test, seed=0, **parameters):
    return LinearProbe(**parameters).evaluate(release, validation, test, 10, Context(seed=seed))


def test_learns_digits_from_real_records(sets):
    release, validation, test = sets
    predictions = _evaluate(release, validation, {"clean": test})["clean"]
    assert _accuracy(predictions, test) >= 0.93


def test_comes_near_a_cross_validated_logistic_regression(sets):
    release, validation, test = sets
    for n in (60, 200, 600):
        part = release.take(np.arange(n))
        reference = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        reference.fit(part.flat(), part.labels)
        ours = _accuracy(_evaluate(part, validation, {"clean": test})["clean"], test)
        assert ours >= reference.score(test.flat(), test.labels) - 0.03


def test_the_default_keeps_the_rate_with_the_lower_validation_loss(sets):
    release, validation, test = sets
    answers = [
        _evaluate(release, validation, {"clean": test, "validation": validation}, lr=lr)
        for lr in (1e-3, 1e-2, None)
    ]
    losses = [log_loss(validation.labels, a["validation"].probabilities) for a in answers]
    assert losses[2] == min(losses[:2]) < max(losses[:2])


def test_reach_limits_what_one_pixel_can_do(sets):
    """A pixel that all but a few released digits leave dark, lit in every test image."""
    release, validation, test = sets
    dark = release.data.copy()
    dark[:, 0, 0] = 0
    dark[0, 0, 0] = 1
    lit = test.data.copy()
    lit[:, 0, 0] = 255
    tests = {"clean": test, "lit": test.replace(data=lit)}
    free, limited = (
        _evaluate(release.replace(data=dark), validation, tests, reach=reach)
        for reach in (None, 3.0)
    )
    assert _accuracy(limited["lit"], test) >= 0.9 > 0.5 > _accuracy(free["lit"], test)


def test_shuffled_labels_teach_nothing(sets):
    release, validation, test = sets
    accuracies = []
    for seed in range(10):
        shuffled = np.random.default_rng(seed).permutation(release.labels)
        release_ = release.replace(labels=shuffled)
        answer = _evaluate(release_, validation, {"clean": test}, seed)["clean"]
        accuracies.append(_accuracy(answer, test))
    error = np.std(accuracies, ddof=1) / np.sqrt(10)
    assert abs(np.mean(accuracies) - 0.1) < 4 * error
    assert error < 0.02


def test_answers_every_condition_with_one_head(sets):
    release, validation, test = sets
    half = test.take(np.arange(100))
    noisy = half.replace(data=255 - half.data)
    answers = _evaluate(release, validation, {"clean": test, "half": half, "inverted/3": noisy})
    assert set(answers) == {"clean", "half", "inverted/3"}
    np.testing.assert_allclose(
        answers["half"].probabilities, answers["clean"].probabilities[:100], rtol=1e-9
    )
    assert _accuracy(answers["inverted/3"], noisy) < _accuracy(answers["half"], half)


def test_features_and_their_images_give_the_same_answer(sets):
    release, validation, test = (
        Records(part.flat(), part.labels, extractor="pixels") for part in sets
    )
    by_features = _evaluate(release, validation, {"clean": test})["clean"]
    by_images = _evaluate(*sets[:2], {"clean": sets[2]})["clean"]
    np.testing.assert_array_equal(by_features.probabilities, by_images.probabilities)


@pytest.mark.parametrize("index", [[0], [0, 0], [3, 7]])
def test_a_release_of_one_or_two_records_gives_probabilities(sets, index):
    release, validation, test = sets
    release = release.take(np.array(index))
    answer = _evaluate(release, validation, {"clean": test})["clean"].probabilities
    assert answer.shape == (len(test), 10)
    assert np.isfinite(answer).all()
    assert (answer >= 0).all()
    np.testing.assert_allclose(answer.sum(axis=1), 1)
    missing = np.setdiff1d(np.arange(10), release.labels)
    assert answer[:, missing].max() < answer[:, release.labels].max()


def test_a_release_of_one_class_predicts_that_class(sets):
    release, validation, test = sets
    release = release.take(release.labels == 4)
    answer = _evaluate(release, validation, {"clean": test})["clean"]
    assert (answer.probabilities.argmax(axis=1) == 4).all()


def test_the_same_seed_gives_the_same_probabilities(sets):
    release, validation, test = sets
    first, again, other = (
        _evaluate(release, validation, {"clean": test}, seed, epochs=3)["clean"].probabilities
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_more_records_teach_more(sets):
    release, validation, test = sets
    few = release.take(np.arange(30))
    accuracies = [
        _accuracy(_evaluate(part, validation, {"clean": test})["clean"], test)
        for part in (few, release)
    ]
    assert accuracies[1] - accuracies[0] > 4 * binom.std(len(test), 0.9, loc=0) / len(test)
