"""Near duplicates: copies are flagged, and fresh records at the rate that was asked for."""

from functools import cache, partial

import numpy as np
import pytest

from attacks.near_duplicate.attack import (
    NearDuplicate,
    _adjusted_level,
    _folds_of_identities,
    _unbiased_quantile,
    _whole_quantile,
)
from benchmark.conformance import checks_for
from benchmark.contracts import Access, Context, DatasetMissing, NotApplicable, Records, View
from benchmark.datasets.digits import Digits
from benchmark.datasets.phantom import Phantom
from benchmark.datasets.vision import FashionMNIST


def _records(rows, groups=None):
    rows = np.asarray(rows, np.float32)
    return Records(rows, np.zeros(len(rows), np.int64), groups)


def _run(release, candidates, auxiliary, groups=None, **parameters):
    view = View(access=Access.RECORDS, records=_records(release))
    attack = NearDuplicate(**parameters)
    return attack.run(view, _records(candidates), _records(auxiliary, groups), Context(seed=0))


def test_a_hand_computed_case():
    # Three auxiliary records and a release of two: each has two others, the nearest at distances
    # 2, 2 and 3, whose median is the threshold.
    scores = _run([[0], [100]], [[1], [2], [2.5], [100]], [[0], [2], [5]], quantile=0.5)
    np.testing.assert_allclose(scores.values, [-0.5, -1, -1.25, 0])
    np.testing.assert_array_equal(scores.decisions, [True, True, False, True])


def test_flags_every_copy_and_few_others(rounds):
    for game in rounds:
        decisions = game.attack(NearDuplicate(), game.members).decisions
        assert decisions[game.coins].mean() >= 0.99
        assert decisions[~game.coins].mean() < 0.04
        assert game.auc(NearDuplicate(), game.members) >= 0.99


def test_copies_are_flagged_where_real_records_repeat_and_the_threshold_is_zero():
    scores = _run([[1], [7]], [[1], [7], [8]], [[0], [0], [3], [3], [4], [4]])
    np.testing.assert_array_equal(scores.decisions, [True, True, False])
    np.testing.assert_array_equal(scores.values, [0, 0, -1])


def _rate_on_fresh_records(n_auxiliary, n_released, quantile, seed, dimension=4):
    rng = np.random.default_rng([n_auxiliary, n_released, seed])
    auxiliary, release, candidates = (
        rng.standard_normal((n, dimension)) for n in (n_auxiliary, n_released, 1000)
    )
    return _run(release, candidates, auxiliary, quantile=quantile).decisions.mean()


@pytest.mark.parametrize(
    ("n_auxiliary", "n_released"),
    [(3000, 300), (900, 300), (301, 300), (400, 300), (500, 900), (500, 1)],
)
def test_the_rate_on_fresh_records_is_the_quantile_whatever_the_sizes(n_auxiliary, n_released):
    rates = [_rate_on_fresh_records(n_auxiliary, n_released, 0.05, seed) for seed in range(30)]
    error = np.std(rates, ddof=1) / np.sqrt(30)
    # Extrapolating to a larger gallery is exact to first order in the level only.
    allowance = 0.005 if n_released > n_auxiliary else 0.002
    assert abs(np.mean(rates) - 0.05) < 4 * error + allowance
    assert error < 0.008


def test_other_visits_of_a_patient_do_not_lower_the_threshold():
    rates, blind_to_identities = [], []
    for seed in range(30):
        rng = np.random.default_rng([7, seed])
        visits = [np.repeat(rng.standard_normal((n, 4)), 3, axis=0) for n in (400, 100, 300)]
        visits = [v + 0.01 * rng.standard_normal(v.shape) for v in visits]
        groups = np.repeat(np.arange(400), 3)
        auxiliary, release, candidates = visits
        run = partial(_run, release, candidates, auxiliary, quantile=0.05)
        rates.append(run(groups=groups).decisions.mean())
        blind_to_identities.append(run().decisions.mean())
    error = np.std(rates, ddof=1) / np.sqrt(30)
    assert abs(np.mean(rates) - 0.05) < 4 * error + 0.002
    assert error < 0.005
    assert np.mean(blind_to_identities) < 0.02


@pytest.mark.parametrize("n_identities", [2, 7, 20, 33])
def test_folds_hold_every_record_once_and_every_identity_in_one_of_them(n_identities):
    identities = np.random.default_rng(0).permutation(np.repeat(np.arange(n_identities), 3))
    folds = _folds_of_identities(identities, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(3 * n_identities))
    assert sum(len(set(identities[fold])) for fold in folds) == n_identities
    assert len(folds) == min(n_identities, 20)


def test_the_level_is_adjusted_to_the_gallery_by_the_law_of_the_minimum():
    assert _adjusted_level(0.05, 100, 3000) == pytest.approx(1 - 0.95 ** (1 / 30))
    assert _adjusted_level(0.05, 300, 300) == pytest.approx(0.05)


def test_a_further_draw_falls_below_the_threshold_at_the_level_asked_for():
    draws = np.random.default_rng(0).random((4000, 150))
    thresholds = [_unbiased_quantile(row, 0.01) for row in draws]
    # For uniform draws the rate is the threshold itself.
    assert np.mean(thresholds) == pytest.approx(0.01, abs=4 * np.std(thresholds) / 4000**0.5)
    assert np.mean(np.quantile(draws, 0.01, axis=1)) > 0.014  # NumPy's default would not do


def test_is_at_chance_on_fresh_records(rounds, assert_at_chance):
    aucs = [game.auc(NearDuplicate(), game.fresh) for game in rounds]
    assert_at_chance(aucs, [game.coins for game in rounds])


def test_needs_auxiliary_records_of_two_identities():
    with pytest.raises(NotApplicable, match="Got 1 of 1;"):
        _run([[0]], [[0]], [[0]])
    with pytest.raises(NotApplicable, match="Got 3 of 1;"):
        _run([[0]], [[0]], [[0], [1], [2]], groups=np.full(3, 8))


# ---------------------------------------------------------------- copies among the released records


def test_copies_by_hand():
    # Of two candidates the nearest to an auxiliary record among the other two is at 2, 2 and 3: the
    # median is 2. The released records lie 1, 3 and 2 from their nearest candidate.
    scores = _run([[11], [23], [98]], [[10], [20], [100]], [[0], [2], [5]], quantile=0.5)
    unit = scores.notes["threshold_of_copies"]
    np.testing.assert_allclose(scores.copy_distances * unit, [1, 3, 2])
    copied = unit >= np.array([1, 3, 2])
    np.testing.assert_array_equal(scores.copies, np.where(copied, [0, 1, 2], -1))
    assert copied.tolist() == [True, False, True]


def test_each_copy_is_traced_to_its_original(rounds):
    for game in rounds[:4]:
        rows = np.flatnonzero(game.coins)
        scores = game.attack(NearDuplicate(), game.members)
        twins = np.flatnonzero((scores.copies >= 0) & (scores.copies != rows))
        # Some digits are drawn alike to the last bit.
        data = game.candidates.data
        np.testing.assert_array_equal(data[scores.copies[twins]], data[rows[twins]])
        assert (scores.copy_distances == 0).all()


@pytest.mark.parametrize(("n_auxiliary", "n_candidates"), [(900, 300), (301, 300), (500, 900)])
def test_fresh_records_are_called_copies_at_the_rate_asked_for(n_auxiliary, n_candidates):
    rates = []
    for seed in range(20):
        rng = np.random.default_rng([n_auxiliary, n_candidates, seed])
        sizes = (n_auxiliary, 1000, n_candidates)
        auxiliary, release, candidates = (rng.standard_normal((n, 4)) for n in sizes)
        scores = _run(release, candidates, auxiliary, quantile=0.05)
        rates.append((scores.copies >= 0).mean())
    error = np.std(rates, ddof=1) / np.sqrt(20)
    assert abs(np.mean(rates) - 0.05) < 4 * error + 0.005
    assert error < 0.008


# ---------------------------------------------------------------- measures

IMAGE_MEASURES = ("aligned", "perceptual_hash", "ssim")
MEASURES = ("euclidean", "cosine", *IMAGE_MEASURES)


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_conforms(measure, tmp_path):
    for check in checks_for(NearDuplicate(measure=measure)):
        try:
            check(tmp_path)
        except NotApplicable:
            assert measure in IMAGE_MEASURES  # the checks bring features too


@pytest.mark.parametrize("measure", IMAGE_MEASURES)
def test_measures_of_pictures_refuse_features(measure):
    with pytest.raises(NotApplicable, match=r"compares pictures and got features.*space: image"):
        _run([[0]], [[0]], [[0], [1]], measure=measure)


def test_cosine_finds_copies_of_any_length():
    rng = np.random.default_rng(0)
    auxiliary, candidates, fresh = (rng.standard_normal((200, 16)) for _ in range(3))
    release = np.concatenate([candidates[:20] * rng.uniform(0.1, 9, (20, 1)), fresh])
    scores = _run(release, candidates, auxiliary, measure="cosine")
    assert scores.decisions[:20].all()
    np.testing.assert_array_equal(scores.copies[:20], np.arange(20))
    assert scores.decisions[20:].mean() < 0.05
    assert not _run(release, candidates, auxiliary).decisions[:20].all()
    # By hand: at right angles the chord is √2, whatever the lengths.
    right = _run([[0, 3]], [[2, 0]], [[1, 0], [0, 1], [1, 0]], measure="cosine", quantile=0.5)
    assert -right.values[0] * right.notes["threshold"] == pytest.approx(np.sqrt(2))


@cache
def _digits():
    return Digits().load(Context(seed=0)).pool


@cache
def _fashion():
    try:
        pool = FashionMNIST().load(Context(seed=0)).pool
    except DatasetMissing as error:
        pytest.skip(str(error))
    return pool.take(np.arange(240))


@cache
def _phantoms():
    pool = Phantom(patients=240, visits=1, size=32).load(Context(seed=0)).pool
    return pool.replace(groups=None)


def _moved(images, down, right):
    return np.roll(images, (down, right), (1, 2))


def _dimmed(images):
    return np.rint(0.7 * images + 20).astype(np.uint8)


DISGUISES = {
    "copied": lambda x: x,
    "mirrored": lambda x: x[:, :, ::-1],
    "moved": lambda x: _moved(x, 1, -1),
    "dimmed": _dimmed,
    "all three": lambda x: _dimmed(_moved(x[:, :, ::-1], -1, 0)),
}
FOUND_BY = {
    "copied": MEASURES,
    "mirrored": IMAGE_MEASURES,
    "moved": ("aligned",),
    "dimmed": ("aligned", "perceptual_hash"),
    "all three": ("aligned",),
}


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize(
    "load", [_digits, _fashion, pytest.param(_phantoms, marks=pytest.mark.slow)]
)
def test_disguised_copies_are_found_by_the_measures_made_for_them(load, disguise):
    pool = load()
    order = np.random.default_rng(1).permutation(len(pool))
    candidates, auxiliary, fresh = (pool.take(order[i : i + 80]) for i in (0, 80, 160))
    disguised = np.ascontiguousarray(DISGUISES[disguise](candidates.data[:20]))
    release = fresh.replace(data=np.concatenate([fresh.data[:60], disguised]))
    view = View(access=Access.RECORDS, records=release)
    for measure in MEASURES:
        attack = NearDuplicate(measure=measure, quantile=0.02)
        scores = attack.run(view, candidates, auxiliary, Context(seed=0))
        if measure in FOUND_BY[disguise]:
            assert scores.decisions[:20].mean() >= 0.8, measure
            assert (scores.copies[60:] == np.arange(20)).mean() >= 0.8, measure
        elif disguise in ("mirrored", "moved", "all three"):
            assert scores.decisions[:20].mean() <= 0.4, measure
        assert scores.decisions[20:].mean() < 0.1, measure


def _image_rounds(pool, play, n):
    return [play(pool, seed, n_candidates=300, n_fresh=150) for seed in range(n)]


@pytest.mark.parametrize("measure", ["cosine", *IMAGE_MEASURES])
def test_every_measure_finds_members_and_is_at_chance_on_fresh_records(
    measure, play, assert_at_chance
):
    attack = NearDuplicate(measure=measure)
    pool = _digits().take(np.arange(700))
    games = _image_rounds(pool, play, 4)
    for game in games[:2]:
        scores = game.attack(attack, game.members)
        assert scores.decisions[game.coins].all()
        assert game.auc(attack, game.members) >= 0.98
    fresh = [game.attack(attack, game.fresh) for game in games]
    aucs = [game.auc(attack, game.fresh) for game in games]
    assert_at_chance(aucs, [game.coins for game in games])
    assert np.mean([s.decisions.mean() for s in fresh]) < 0.04
    assert np.mean([(s.copies >= 0).mean() for s in fresh]) < 0.04


def test_a_whole_threshold_flags_no_more_than_asked_for_but_always_copies():
    distances = np.array([0, 2, 2, 4, 4, 4, 6, 6, 8, 10.0])
    assert _whole_quantile(distances, 0.3) == 3  # 3 of 11 up to 3, 6 of 11 up to 4
    assert _whole_quantile(distances, 0.1) == 1
    assert _whole_quantile(distances, 0.05) == 0
    assert _whole_quantile(distances + 2, 0.05) == 1


def test_positive_controls_follow_the_measure():
    for measure in MEASURES:
        controls = NearDuplicate(measure=measure).positive_controls()
        assert [c.metric for c in controls] == ["flag_rate_members", "copy_rate_members"]
        assert controls[1].at_least == (0.8 if measure == "perceptual_hash" else 0.95)
