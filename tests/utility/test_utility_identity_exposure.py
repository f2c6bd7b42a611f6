"""Copies of members are recognised, fresh people as often as other fresh people."""

import numpy as np
import pytest

from benchmark.contracts import Context, LeakboardError, NotApplicable
from benchmark.datasets.phantom import Phantom
from benchmark.statistics import clopper_pearson
from benchmark.utility.identity_exposure import IdentityExposure, recognised


@pytest.fixture(scope="module")
def people():
    return Phantom(patients=120, visits=2, size=28).load(Context(seed=0)).pool


def figures(release, members, test, **options):
    context = Context(seed=1, members=members)
    answers = IdentityExposure(width=8, epochs=80, **options).evaluate(
        release.replace(groups=None), members, {"clean": test, "other": test}, 2, context
    )
    assert answers["other"].values == {}
    return answers["clean"].values


def test_members_are_recognised_and_fresh_people_are_not(people):
    members, fresh, test = (
        people.take((people.groups >= low) & (people.groups < low + 40)) for low in (0, 40, 80)
    )
    copies, others = (figures(release, members, test) for release in (members, fresh))
    value, low, high, _ = copies["recognised"]
    assert value >= 0.9 and low <= value <= high
    assert others["recognised"][2] > others["recognised"][0], "also where none is recognised"
    assert copies["identity_probability"][0] > 0.9
    # Fresh people differ from the test's by chance: 5 % ± 4 standard errors of 80 correlated records.
    assert others["recognised"][0] < 0.05 + 4 * np.sqrt(2 * 0.05 * 0.95 / 80)
    assert others["identity_probability"][0] == pytest.approx(
        others["identity_probability_real"][0], abs=0.1
    )
    # The network does not depend on the release.
    assert copies["identity_probability_real"] == others["identity_probability_real"]


def test_the_interval_of_the_recognised_pays_for_the_threshold():
    """Fresh pictures are recognised at 0.05: 95 % intervals say so, those with the threshold as given do not."""
    rng = np.random.default_rng(0)
    covered = np.zeros(2)
    n = 1000
    for _ in range(n):
        released, fresh = rng.random(300), rng.random(100)
        figure = recognised(released, fresh)
        given = clopper_pearson(round(figure.value * 300), 300, 0.95)
        for i, (low, high) in enumerate(((figure.low, figure.high), given)):
            covered[i] += low <= 0.05 <= high
    assert covered[0] / n > 0.95 - 3 * np.sqrt(0.05 * 0.95 / n)
    assert covered[1] / n < 0.8


def test_the_recognised_by_hand():
    fresh = np.arange(20.0)  # the 95 % quantile lies below 19
    assert recognised(np.array([18.0, 18.5, 19.0, 30.0]), fresh).value == 0.75
    assert not recognised(np.array([1.0]), fresh[:19]).resolved


def test_without_members_or_with_one_identity_the_reason_is_given(people):
    one = people.take(people.groups == 0)
    with pytest.raises(LeakboardError, match="members"):
        figures(people, None, one)
    with pytest.raises(NotApplicable, match="identities"):
        figures(people, one, one)
