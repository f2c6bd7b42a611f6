"""Rows are barred by their counts and by what their releases have in common."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.judge.provenance import NOT_JUDGED, VOID, Origin, Twin, unmoved, unseen_copies
from benchmark.plan import Cell
from benchmark.resolve import ResolvedPlugin


def origin(counts=(), digests=("a", "b"), prints=((), ())):
    method = ResolvedPlugin(kind="methods", name="m", label="m")
    cells = [
        Cell(kind="provenance", dataset="d", features="f", seed=s, method=method)
        for s in range(len(digests))
    ]
    made = [np.array(p, dtype=np.uint64) for p in prints]
    return Origin(cells=cells, space="feature", counts=counts, digests=digests, prints=made)


def seed(copies, fresh, pairs=1000, fresh_pairs=1000):
    names = ("copies", "fresh_copies", "pairs", "fresh_pairs", "exact", "n_distinct")
    return dict(zip(names, (copies, fresh, pairs, fresh_pairs, 0, 100), strict=True))


def test_copies_beyond_those_of_fresh_records_void_a_row():
    # Ten against none of as many pairs: 2^-10, seeds pooled.
    bar = unseen_copies(origin([seed(6, 0), seed(4, 0)]), 0.001)
    assert bar.status == VOID
    assert "10 of 200 distinct released features are near-copies" in bar.reason
    assert unseen_copies(origin([seed(6, 0), seed(4, 0)]), 0.0009) is None


@pytest.mark.parametrize("counts", [(0, 0), (13, 13), (20, 13), (0, 40)])
def test_as_many_as_chance_gives_do_not(counts):
    assert unseen_copies(origin([seed(*counts)]), 1e-3) is None


def test_a_larger_release_may_hold_more():
    assert unseen_copies(origin([seed(40, 2, pairs=20_000)]), 1e-3) is None
    assert unseen_copies(origin([seed(40, 2, pairs=1000)]), 1e-3) is not None


def test_equal_releases_are_not_judged():
    bar = unmoved(origin(digests=("a", "b", "a"), prints=((), (), ())))
    assert bar.status == NOT_JUDGED
    assert "seeds 0 and 2 are equal" in bar.reason


@pytest.mark.parametrize(("shared", "barred"), [(4, False), (5, True)])
def test_neither_are_those_with_half_of_their_made_up_records_in_common(shared, barred):
    bar = unmoved(origin(prints=(range(10), range(10 - shared, 30))))
    assert (bar is not None) == barred


def test_real_records_in_common_are_members_in_common():
    assert unmoved(origin()) is None


def single(made, prints, digest="other", overlap=0.5, seed=0):
    one = origin(digests=("a",), prints=(made,))
    prints = np.array(prints, dtype=np.uint64)
    return replace(one, twin=Twin(seed=seed, digest=digest, prints=prints, overlap=overlap))


def test_one_seed_is_compared_with_its_decoy():
    bar = unmoved(single((), (), digest="a"))
    assert bar.status == NOT_JUDGED
    assert "for the members of seed 0 and of other coins of its candidates are equal" in bar.reason
    assert unmoved(single((), ())) is None
    assert unmoved(single((), (), digest="a", seed=1)) is None


@pytest.mark.parametrize(("shared", "barred"), [(10, False), (14, False), (15, True), (20, True)])
def test_a_decoy_may_share_what_its_members_share(shared, barred):
    # Half of the members in common explain 10 of 20 records; 5 more, half of the rest, are too many.
    bar = unmoved(single(range(20), range(20 - shared, 60)))
    assert (bar is not None) == barred
