"""Releases of fleets are told from single fits where they memorise otherwise, and not where only chance differs."""

import numpy as np
import pytest

from benchmark.contracts import Records
from benchmark.fleets import Twin, equal_up_to_rounding, fleet_trouble, nearness_to_own


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
