"""The phantom dataset hands over what the drawing draws, with patients as identities."""

import numpy as np
import pytest
from pydantic import ValidationError

from benchmark.contracts import Context
from benchmark.datasets.phantom import Phantom

drawing = pytest.importorskip("benchmark.datasets.phantom_drawing")


def test_load_matches_the_drawing_and_ignores_the_seed_of_the_run():
    phantom = Phantom(patients=12, visits=3, size=28, classes=2, population_seed=5)
    content = phantom.load(Context(seed=1))
    drawn = drawing.draw_phantoms(patients=12, visits=3, size=28, classes=2, seed=5)
    np.testing.assert_array_equal(content.pool.data, drawn.images)
    np.testing.assert_array_equal(content.pool.labels, drawn.labels)
    np.testing.assert_array_equal(content.pool.groups, drawn.patients)
    np.testing.assert_array_equal(np.unique(content.pool.groups, return_counts=True)[1], [3] * 12)
    assert content.pool == phantom.load(Context(seed=2)).pool
    assert content.classes == ("lesion grade 0", "lesion grade 1")
    assert content.test is None
    assert phantom.fingerprint() == ""


@pytest.mark.parametrize(
    "wrong", [{"size": 27}, {"size": 225}, {"classes": 1}, {"classes": 6}, {"patients": 0}]
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Phantom(**wrong)
