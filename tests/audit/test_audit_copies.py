"""Records that are released as they are: by hand."""

import numpy as np
import pytest

from benchmark.audit.copies import copied_for_sure, of_one_person, released_as_they_are
from benchmark.contracts import Records


def features(rows, groups=None):
    groups = None if groups is None else np.asarray(groups)
    data = np.asarray(rows, np.float32).reshape(-1, 1)
    return Records(data, np.zeros(len(data), np.int64), groups, "example")


def test_equal_to_the_last_bit():
    ours, theirs = (
        features([1.0, 2.0, 3.0]),
        features([3.0, 1.0, 1.0, np.nextafter(np.float32(2), np.float32(3))]),
    )
    assert released_as_they_are(ours, theirs).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("groups", "alone"),
    [(None, [False, False, True]), ([4, 4, 4], [True] * 3), ([4, 5, 5], [False, False, True])],
)
def test_a_record_that_two_people_share_singles_nobody_out(groups, alone):
    assert of_one_person(features([1.0, 1.0, 2.0], groups)).tolist() == alone


def test_equal_pictures_of_nobody_known_are_one_picture_filed_twice():
    images = Records(np.zeros((2, 3, 3, 1), np.uint8), np.zeros(2, np.int64))
    assert of_one_person(images).all()


def test_people_are_counted_unless_a_control_is_released_too():
    units = np.array([0, 0, 1, 2, 3])
    members = np.array([True, True, True, True, False])
    pointed = np.array([True, True, True, False, False])
    alone = np.ones(5, dtype=bool)
    assert copied_for_sure(pointed, alone, units, members) == 2
    assert copied_for_sure(pointed | ~members, alone, units, members) == 0
    assert copied_for_sure(pointed, np.array([1, 0, 0, 1, 1], bool), units, members) == 1
