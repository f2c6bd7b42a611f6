"""The gate finds a broken split and is at chance on a fair one."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from attacks.blind import Blind
from benchmark.contracts import Access, Context, Records, View

CLASSIFIERS = ("both", "linear", "boosting")


def _auc(attack, candidates, coins, seed):
    """AUC on the candidates whose coins are hidden, a random half."""
    revealed = np.random.default_rng([seed, 1]).random(len(coins)) < 0.5
    known = np.where(revealed, coins.astype(float), np.nan)
    view = View(access=Access.NONE, known_coins=known)
    scores = attack.run(view, candidates, candidates.take(slice(0)), Context(seed=seed))
    return roc_auc_score(coins[~revealed], scores.values[~revealed])


def _shifted(kind, seed, n=600, dimension=40):
    """Candidates of which the members differ from the non-members in a known way."""
    rng = np.random.default_rng([seed, 2])
    coins = rng.random(n) < 0.5
    data, labels = rng.standard_normal((n, dimension)), rng.integers(0, 3, n)
    if kind == "mean":
        data[coins] += 0.3
    elif kind == "one feature":
        data[coins, 7] += 2.5
    elif kind == "variance":
        data[coins] *= 1.4
    elif kind == "classes":
        labels[coins] = rng.integers(0, 2, coins.sum())
    return Records(data.astype(np.float32), labels.astype(np.int64)), coins


@pytest.mark.parametrize(
    ("classifier", "kind"),
    [
        *(("both", kind) for kind in ("mean", "one feature", "variance", "classes")),
        *(("linear", kind) for kind in ("mean", "one feature", "classes")),
        *(("boosting", kind) for kind in ("mean", "variance")),
    ],
)
def test_finds_members_that_differ_by_themselves(classifier, kind):
    aucs = [_auc(Blind(classifier=classifier), *_shifted(kind, seed), seed) for seed in range(4)]
    assert np.mean(aucs) > (0.6 if kind == "classes" else 0.75)


def test_finds_a_split_by_time_of_capture_in_images(digits):
    images = (digits.data.reshape(-1, 8, 8, 1) * 200).astype(np.uint8)[:800]
    coins = np.random.default_rng(0).random(800) < 0.5
    images[coins] += 8  # a little brighter
    assert _auc(Blind(), Records(images, digits.labels[:800]), coins, seed=0) > 0.95


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_is_at_chance_on_fair_coins(digits, assert_at_chance, classifier):
    aucs, hidden_coins = [], []
    for seed in range(30):
        rng = np.random.default_rng([seed, 3])
        candidates = digits.take(rng.permutation(len(digits))[:400])
        coins = rng.random(400) < 0.5
        aucs.append(_auc(Blind(classifier=classifier), candidates, coins, seed))
        revealed = np.random.default_rng([seed, 1]).random(400) < 0.5
        hidden_coins.append(coins[~revealed])
    assert_at_chance(aucs, hidden_coins)


def test_its_scores_do_not_depend_on_hidden_coins_or_on_a_release(digits):
    candidates = digits.take(slice(0, 200))
    known = np.where(np.arange(200) < 100, np.arange(200) % 2, np.nan)
    empty = candidates.take(slice(0))
    bare = View(access=Access.NONE, known_coins=known)
    full = View(access=Access.RECORDS, known_coins=known, records=candidates)
    first, second = (Blind().run(view, candidates, empty, Context(seed=0)) for view in (bare, full))
    np.testing.assert_array_equal(first.values, second.values)


@pytest.mark.parametrize("known", [[np.nan] * 6, [1.0, 1.0, 1.0, np.nan, np.nan, np.nan]])
def test_without_both_kinds_revealed_nothing_is_learnt(digits, known):
    candidates = digits.take(slice(0, 6))
    view = View(access=Access.NONE, known_coins=np.array(known))
    scores = Blind().run(view, candidates, candidates, Context(seed=0))
    np.testing.assert_array_equal(scores.values, np.zeros(6))


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_equal_records_and_a_handful_of_candidates_are_survived(classifier):
    candidates = Records(np.ones((5, 3), np.float32), np.zeros(5, np.int64))
    view = View(access=Access.NONE, known_coins=np.array([1.0, 0.0, 1.0, np.nan, np.nan]))
    scores = Blind(classifier=classifier).run(view, candidates, candidates, Context(seed=0))
    assert np.ptp(scores.values[3:]) == 0


def test_declares_no_positive_control_and_needs_no_access():
    assert Blind.info.positive_controls == ()
    assert Blind.info.needs is Access.NONE
