"""Releases of fleets are told from single fits where they memorise otherwise, and not where only chance differs."""

import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from benchmark.contracts import Records
from benchmark.fleets import (
    LEAST_GAP,
    TRAITS,
    Twin,
    equal_up_to_rounding,
    fleet_trouble,
    nearness_to_own,
    traits,
    unlike_shadows,
)


def features(data, labels=None):
    data = np.asarray(data, dtype=np.float32)
    labels = np.zeros(len(data), dtype=np.int64) if labels is None else np.asarray(labels)
    return Records(data, labels, None, "t")


def test_rounding_is_a_thousandth_of_a_deviation_or_one_grey_level():
    members = features([[-2.0], [2.0]])
    release = features([[1.0], [3.0]])
    for gap, equal in ((0.0019, True), (0.0021, False)):
        assert equal_up_to_rounding(release, features([[1.0 + gap], [3.0]]), members) is equal
    assert not equal_up_to_rounding(release, features([[1.0], [3.0]], [0, 1]), members)
    assert not equal_up_to_rounding(release, features([[1.0]]), members)
    image = Records(np.full((1, 2, 2, 1), 7, np.uint8), np.zeros(1, np.int64))
    for level, equal in ((6, True), (8, True), (9, False)):
        other = image.replace(data=np.full((1, 2, 2, 1), level, np.uint8))
        assert equal_up_to_rounding(image, other, image) is equal


def test_nearness_is_the_share_of_pairs_in_the_right_order():
    # Distances: members 0 and 2, others 1 and 3: three of four pairs are in the right order.
    assert nearness_to_own(features([[0.0]]), features([[0], [2]]), features([[1], [3]])) == 0.75


def twins(rng, alone, fleet, n=8, size=40):
    """Sets of their own populations, and what two noises or other deeds make of their members."""
    made = []
    for _ in range(n):
        centre = rng.normal(size=6)
        members, siblings, strangers = (
            features(shift + rng.normal(size=(size, 6))) for shift in (centre, centre, 0)
        )
        made.append(
            Twin(
                alone=alone(rng, members),
                fleet=fleet(rng, members),
                members=members,
                siblings=siblings,
                strangers=strangers,
            )
        )
    return made


def noisy(scale):
    return lambda rng, m: features(m.data + scale * rng.normal(size=m.data.shape))


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_fleets_that_differ_by_chance_alone_pass(scale):
    """Three tests at 0.001: two or more of 20 fail less than once in five hundred times."""
    rng = np.random.default_rng(0)
    made = (twins(rng, noisy(scale), noisy(scale)) for _ in range(20))
    assert sum(bool(fleet_trouble(t)) for t in made) <= 1


@pytest.mark.parametrize(("scale", "word"), [(0.1, "more"), (1.5, "less")])
def test_fleets_that_memorise_otherwise_are_told(scale, word):
    found = fleet_trouble(twins(np.random.default_rng(1), noisy(0.5), noisy(scale)))
    assert f"{word} like their own members" in found


def test_equal_areas_elsewhere_in_space_are_told():
    """Nothing is nearest to anybody in particular far away, for a single fit that is at chance itself."""

    def away(shift):
        return lambda rng, m: features(shift + 3 * rng.normal(size=m.data.shape))

    found = fleet_trouble(twins(np.random.default_rng(2), away(0), away(30)))
    assert found


# ---------------------------------------------------------------- in a run


def shadowed(rng, fit, fleet, n_shadows=16, m=120):
    """Candidates; releases that a fleet made of complementary halves, and two single fits; who was in which."""
    candidates = features(rng.normal(size=(m, 5)))
    halves = [rng.permutation(m) < m // 2 for _ in range(n_shadows // 2)]
    included = np.array([mask for half in halves for mask in (half, ~half)])
    alone = np.array([rng.random(m) < 0.5, included[3]])
    makers = [fleet] * n_shadows + [fit] * len(alone)
    included = np.concatenate([included, alone])
    releases = [make(rng, candidates.take(own)) for make, own in zip(makers, included, strict=True)]
    return releases, candidates, included


def test_traits_are_those_of_a_plain_computation():
    releases, candidates, included = shadowed(np.random.default_rng(0), noisy(0.5), noisy(0.5), 8)
    found = traits(releases, candidates, included, 8)
    distances = np.array([cdist(candidates.data, r.data).min(axis=1) for r in releases])
    sides = [(d[own].mean() + d[~own].mean()) for d, own in zip(distances, included, strict=True)]
    assert found["distance"] == pytest.approx(np.array(sides) / np.mean(sides[:8]))
    for r, own in enumerate(included):
        assert found["nearness"][r] == pytest.approx(roc_auc_score(own, -distances[r]))
        # Its own pair teaches a shadow nothing, nor what was fitted again; of another fit the last pair is left out.
        pair = {r, r ^ 1} if r < 8 else {8: {6, 7}, 9: {2, 3}}[r]
        teachers = [i for i in range(8) if i not in pair]
        score = np.empty(len(candidates))
        for c in range(len(candidates)):
            with_it = np.mean([distances[i, c] for i in teachers if included[i, c]])
            without = np.mean([distances[i, c] for i in teachers if not included[i, c]])
            score[c] = (with_it - without) * (distances[r, c] - (with_it + without) / 2)
        assert found["lesson"][r] == pytest.approx(roc_auc_score(own, score))


def test_one_seed_and_one_fit_are_students_test():
    rng = np.random.default_rng(1)
    values = rng.normal(size=17)
    gap, p = unlike_shadows([values], [16])
    reference = scipy.stats.ttest_ind(values[:16], values[16:])
    assert p == pytest.approx(reference.pvalue)
    assert gap == pytest.approx(abs(values[16] - values[:16].mean()))


def test_equal_traits_are_no_difference_and_others_are_sure():
    assert unlike_shadows([np.ones(18)], [16]) == (0.0, 1.0)
    assert unlike_shadows([np.array([1.0] * 16 + [0.5, 0.5])], [16]) == (0.5, 0.0)


@pytest.mark.parametrize("seeds", [1, 3])
def test_p_values_are_uniform_where_nothing_differs(seeds):
    rng = np.random.default_rng(2)
    p = [unlike_shadows(list(rng.normal(size=(seeds, 18))), [16] * seeds)[1] for _ in range(2000)]
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.001


def test_differences_of_either_sign_add_up():
    rng = np.random.default_rng(3)
    values = [np.append(rng.normal(size=16), [4.0 * s, 4.0 * s]) for s in (1, -1, 1)]
    assert unlike_shadows(values, [16] * 3)[1] < 1e-6


@pytest.mark.parametrize(
    ("fleet", "told_by"),
    [
        (noisy(2.0), {"nearness", "distance"}),
        (noisy(0.02), {"distance"}),
        (lambda rng, m: features(m.data + 9), {"nearness", "distance"}),
        (lambda rng, m: features(m.data[: len(m) // 2]), {"nearness"}),
    ],
)
def test_untrue_shadows_are_told(fleet, told_by):
    found = traits(*shadowed(np.random.default_rng(4), noisy(0.3), fleet), 16)
    assert {name for name, values in found.items() if is_told(values, 1e-4)} >= told_by


@pytest.mark.parametrize("make", [noisy(0.3), noisy(3.0), lambda rng, m: features(m.data)])
def test_true_shadows_are_not(make):
    """Three tests of 40 runs at 0.001."""
    rng = np.random.default_rng(5)
    found = [traits(*shadowed(rng, make, make), 16) for _ in range(40)]
    assert sum(any(is_told(run[name], 1e-3) for name in TRAITS) for run in found) <= 1


def is_told(values, level):
    gap, p = unlike_shadows([values], [16])
    return gap > LEAST_GAP and p < level
