"""A network from scratch: real digits, soft labels, perturbed conditions, what does not apply."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from benchmark.contracts import Context, NotApplicable, Records
from benchmark.utility.cnn import CNN

QUICK = {"width": 4, "epochs": 2, "crop": 1}


def digits():
    loaded = load_digits()
    images = (loaded.images * (255 / 16)).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(images))
    records = Records(images[order], loaded.target[order].astype(np.int64))
    return records.take(np.arange(600)), records.take(np.arange(600, len(records)))


def evaluate(release, test, seed=0, n_classes=10, **parameters):
    conditions = test if isinstance(test, dict) else {"clean": test}
    validation = conditions["clean"].take(np.arange(40))
    return CNN(**parameters).evaluate(
        release, validation, conditions, n_classes, Context(seed=seed)
    )


def accuracy(answer, records):
    return (answer.probabilities.argmax(axis=1) == records.labels).mean()


def test_real_digits_are_learned_and_noise_is_not():
    """And under a perturbation (here pictures upside down) the same network is judged."""
    release, test = digits()
    flipped = test.replace(data=test.data[:, ::-1].copy())
    answers = evaluate(release, {"clean": test, "turned": flipped}, width=8, epochs=12, crop=0)
    assert accuracy(answers["clean"], test) > 0.93
    assert accuracy(answers["turned"], test) < 0.6
    shuffled = release.replace(labels=np.random.default_rng(1).permutation(release.labels))
    chance = evaluate(shuffled, test, width=8, epochs=6, crop=0)["clean"]
    assert accuracy(chance, test) < 0.25


def test_soft_labels_are_what_is_trained_on():
    """Hard labels shuffled, soft labels right: each option learns its own, the latter well."""
    release, test = digits()
    soft = np.eye(10, dtype=np.float32)[release.labels]
    shuffled = np.random.default_rng(1).permutation(release.labels)
    both = release.replace(labels=shuffled, soft_labels=soft)
    own = {"width": 8, "epochs": 7, "crop": 0}
    right = evaluate(both, test, labels="soft", **own)["clean"]
    wrong = evaluate(both, test, labels="hard", **own)["clean"]
    assert accuracy(right, test) > 0.9
    assert accuracy(wrong, test) < 0.25
    same = evaluate(release, test, labels="hard", **own)["clean"]
    assert np.array_equal(same.probabilities, right.probabilities)


def test_a_class_that_the_soft_labels_do_not_know_gets_little():
    release, test = digits()
    known = release.take(release.labels < 3)
    soft = np.eye(3, dtype=np.float32)[known.labels]
    known = known.replace(soft_labels=soft)
    answer = evaluate(known, test, labels="soft", width=8, epochs=15, crop=0)["clean"]
    assert answer.probabilities.shape == (len(test), 10)
    assert answer.probabilities[:, 3:].sum(axis=1).mean() < 0.1


def test_what_does_not_apply_is_said():
    release, test = digits()
    with pytest.raises(NotApplicable, match=r"no soft labels; cnn\(labels=hard\)"):
        evaluate(release, test, labels="soft", **QUICK)
    with pytest.raises(NotApplicable, match="at least two images"):
        evaluate(release.take(np.arange(1)), test, **QUICK)
    large = Records(np.zeros((4, 65, 65, 1), np.uint8), np.zeros(4, np.int64))
    with pytest.raises(NotApplicable, match="65 × 65"):
        evaluate(large, test, **QUICK)
    soft = np.full((len(release), 12), 1 / 12, np.float32)
    with pytest.raises(NotApplicable, match="12 classes; there are 10"):
        evaluate(release.replace(soft_labels=soft), test, labels="soft", **QUICK)


def test_validation_records_are_used_only_with_patience():
    release, test = digits()
    some, other = test.take(np.arange(40)), test.take(np.arange(40, 90))

    def answer(validation, **more):
        utility = CNN(**{**QUICK, "epochs": 6}, **more)
        found = utility.evaluate(release, validation, {"clean": test}, 10, Context(seed=0))
        return found["clean"].probabilities

    assert np.array_equal(answer(some), answer(other))
    misleading = some.replace(labels=(some.labels + 1) % 10)
    stopped = answer(misleading, patience=1)
    assert not np.array_equal(stopped, answer(some, patience=6)), "the best epoch is another"
    assert (stopped.argmax(axis=1) == test.labels).mean() < 0.3, "who learns loses there"
