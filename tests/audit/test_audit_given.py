"""The game on given records: who is a candidate, who is set aside, and that nothing tells members from controls."""

import numpy as np
import pytest
from cohorts import pictures

from benchmark.audit.given import ASIDE, deal
from benchmark.audit.inputs import FEWEST_PEOPLE, AuditInputs
from benchmark.audit.seal import AuditError
from benchmark.contracts import Records


def records(images, groups=None):
    return Records(images[..., None], np.zeros(len(images), np.int64), groups)


def given(real, **more):
    return AuditInputs(
        kind="image", classes=("all",), releases={}, real=real, digests={"x": "1"}, **more
    )


def sides(n=90, **more):
    return {"members": records(pictures(n, 0)), "controls": records(pictures(n, 1)), **more}


def test_without_a_population_a_third_of_the_controls_is_set_aside():
    cohort = deal(given(sides()))
    assert cohort.coins.sum() == 90 and (~cohort.coins).sum() == 90 - round(ASIDE * 90)
    aside = np.concatenate([cohort.auxiliary, cohort.holdout, cohort.validation])
    assert (cohort.origin[aside] == "controls").all() and len(aside) == round(ASIDE * 90)
    assert not np.intersect1d(aside, cohort.candidates).size
    assert len(np.unique(aside)) == len(aside)
    np.testing.assert_array_equal(np.sort(cohort.test), np.sort(cohort.candidates[~cohort.coins]))


def test_with_a_population_all_controls_are_candidates():
    cohort = deal(given(sides(population=records(pictures(60, 2)), test=records(pictures(20, 3)))))
    assert (~cohort.coins).sum() == 90
    assert set(cohort.origin[cohort.auxiliary]) == {"population"}
    assert set(cohort.origin[cohort.test]) == {"test"} and len(cohort.test) == 20


def test_records_and_coins_are_those_that_were_given():
    inputs = given(sides())
    cohort = deal(inputs)
    for side, role in ((True, "members"), (False, "controls")):
        rows = cohort.candidates[cohort.coins == side]
        np.testing.assert_array_equal(
            cohort.pool.data[rows], inputs.real[role].data[cohort.rows[rows]]
        )


def test_the_order_says_nothing_and_is_the_same_again():
    cohort, again = deal(given(sides())), deal(given(sides()))
    np.testing.assert_array_equal(cohort.candidates, again.candidates)
    place = np.arange(len(cohort.coins))
    difference = place[cohort.coins].mean() - place[~cohort.coins].mean()
    spread = len(place) * np.sqrt(1 / 12 * (1 / 90 + 1 / 60))
    assert abs(difference) < 4 * spread


def test_people_stay_together_and_share_a_unit():
    groups = np.arange(90) // 3
    cohort = deal(
        given(
            {
                "members": records(pictures(90, 0), groups),
                "controls": records(pictures(90, 1), groups + 30),
            }
        )
    )
    owners = cohort.pool.groups[cohort.candidates]
    for unit in np.unique(cohort.units):
        assert len(np.unique(owners[cohort.units == unit])) == 1
        assert (cohort.units == unit).sum() == 3
    aside = [cohort.auxiliary, cohort.holdout, cohort.validation, cohort.candidates]
    people = [set(cohort.pool.groups[rows]) for rows in aside]
    assert len(set.union(*people)) == sum(map(len, people)) == 60


def test_nearly_equal_records_on_both_sides_are_left_out():
    images = pictures(90, 1)
    images[:2] = pictures(90, 0)[:2]
    images[0, 0, 0] ^= 1
    images[1, 0, 0] ^= 1
    cohort = deal(given({"members": records(pictures(90, 0)), "controls": records(images)}))
    assert cohort.coins.sum() == 88
    assert any(note.startswith("2 units hold both a member and a control") for note in cohort.notes)


def test_members_whose_coin_was_not_tossed_are_no_candidates():
    at_stake = np.arange(90) < 40
    cohort = deal(given(sides(), at_stake=at_stake))
    chosen = cohort.candidates[cohort.coins]
    assert set(cohort.rows[chosen]) == set(range(40))


def test_a_gate_is_told_half_of_the_coins():
    cohort = deal(given(sides()))
    told = np.isfinite(cohort.known_coins)
    assert told.sum() == len(np.unique(cohort.units)) // 2
    np.testing.assert_array_equal(cohort.known_coins[told], cohort.coins[told])


def test_without_controls_there_is_no_game():
    with pytest.raises(AuditError, match="Give --controls"):
        deal(given({"members": records(pictures(90, 0))}))


def test_the_fewest_people_that_are_read_can_be_dealt():
    cohort = deal(given(sides(n=FEWEST_PEOPLE)))
    sizes = [len(getattr(cohort, name)) for name in ("auxiliary", "holdout", "validation")]
    assert sizes == [6, 2, 2]
