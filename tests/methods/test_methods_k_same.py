"""k-Same: the published grouping rule, the size of every group, and linkage counted exactly."""

from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

from benchmark.contracts import Context, KAnonymity, NotApplicable, Records
from benchmark.learning import grouping
from benchmark.learning.grouping import farthest_groups, mdav_groups, swap_groups
from methods.k_same import Eigenspace, KSame

CONTEXT = Context(seed=1)


def records(n, d=3, classes=2, identities=None, seed=0):
    rng = np.random.default_rng([seed, n])
    groups = None if identities is None else rng.integers(0, identities, n) * 7 - 3
    data = rng.standard_normal((n, d)).astype(np.float32)
    return Records(data, rng.integers(0, classes, n), groups, extractor="made-up")


def as_images(members):
    """Images of 4 × 4 pixels with the labels and identities of ``members``."""
    rng = np.random.default_rng(len(members))
    data = rng.integers(0, 256, (len(members), 4, 4, 1), dtype=np.uint8)
    return Records(data, members.labels, members.groups)


# ---------------------------------------------------------------- grouping rules


def naive_farthest(points, k):
    """The published rule, from the full distance matrix, recomputed at every step."""
    distances = cdist(points, points)
    left, groups = list(range(len(points))), []
    while len(left) >= 2 * k:
        sums = distances[np.ix_(left, left)].sum(axis=1)
        start = left[int(np.argmax(sums))]
        nearest = sorted(left, key=lambda i: (i != start, distances[start, i]))[:k]
        groups.append(set(nearest))
        left = [i for i in left if i not in nearest]
    return [*groups, set(left)]


def naive_mdav(points, k):
    left, groups = list(range(len(points))), []

    def farthest(vector):
        return left[int(np.argmax(cdist([vector], points[left])[0]))]

    def group_around(start):
        order = np.argsort(cdist(points[[start]], points[left])[0], kind="stable")
        group = [left[i] for i in order[:k]]
        groups.append(set(group))
        for i in group:
            left.remove(i)

    while len(left) >= 3 * k:
        r = farthest(points[left].mean(axis=0))
        group_around(r)
        group_around(farthest(points[r]))
    if len(left) >= 2 * k:
        group_around(farthest(points[left].mean(axis=0)))
    return [*groups, set(left)]


@pytest.mark.parametrize(
    ("fast", "naive"), [(farthest_groups, naive_farthest), (mdav_groups, naive_mdav)]
)
@pytest.mark.parametrize("spread", ["normal", "heavy-tailed", "shifted"])
def test_rule_agrees_with_a_naive_reference(fast, naive, spread):
    rng = np.random.default_rng(3)
    for n in [*range(11, 61), 300]:
        for k in range(2, 8):
            points = rng.standard_normal((n, 4))
            if spread == "heavy-tailed":
                points = points**5
            if spread == "shifted":
                points += 1000
            assert [set(g.tolist()) for g in fast(points, k)] == naive(points, k), (n, k)


@pytest.mark.parametrize("block", [1, 100, 2**22])
def test_blocks_do_not_change_the_groups(monkeypatch, block):
    points = np.random.default_rng(5).standard_normal((700, 6)) ** 3
    expected = [group.tolist() for group in farthest_groups(points, 3)]
    monkeypatch.setattr(grouping, "BLOCK", block)
    assert [group.tolist() for group in farthest_groups(points, 3)] == expected


def test_hand_computed_groups_on_a_line():
    """Sums of distances: 10 is the farthest, then among 0, 1, 2, 5 it is 5."""
    points = np.array([[0.0], [1.0], [2.0], [5.0], [9.0], [10.0]])
    groups = [sorted(group.tolist()) for group in farthest_groups(points, 2)]
    assert groups == [[4, 5], [2, 3], [0, 1]]


def loss(points, groups):
    return sum(((points[g] - points[g].mean(axis=0)) ** 2).sum() for g in groups)


def best_swap(points, groups):
    """The most that any swap of two points takes off the loss, each tried."""
    gains = [0.0]
    for a, b in combinations(range(len(groups)), 2):
        before = loss(points, [groups[a], groups[b]])
        for i, j in product(range(len(groups[a])), range(len(groups[b]))):
            swapped = [groups[a].copy(), groups[b].copy()]
            swapped[0][i], swapped[1][j] = groups[b][j], groups[a][i]
            gains.append(before - loss(points, swapped))
    return max(gains)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_same_size_k_means_ends_where_no_swap_is_worth_it(monkeypatch, k):
    """With all groups in reach; MDAV's groups of the same points are no such optimum."""
    points = np.random.default_rng(7).standard_normal((33, 3)) + 50
    monkeypatch.setattr(grouping, "NEAR", 100)
    start, groups = mdav_groups(points, k), swap_groups(points, k)
    assert sorted(map(len, groups)) == sorted(map(len, start))
    assert best_swap(points, start) > 0.01
    assert best_swap(points, groups) < 1e-6
    assert loss(points, groups) < loss(points, start)


def test_same_size_k_means_loses_less_on_digits():
    points = load_digits(return_X_y=True)[0][:400]
    lost = {
        k: loss(points, swap_groups(points, k)) / loss(points, mdav_groups(points, k))
        for k in (3, 10)
    }
    assert lost[3] < 0.98 and lost[10] < 0.9


@pytest.mark.parametrize("rule", [farthest_groups, mdav_groups, swap_groups])
def test_duplicates_are_still_partitioned(rule):
    for points in (np.zeros((23, 2)), np.repeat(np.eye(5), 5, axis=0)):
        groups = rule(points, 5)
        assert min(map(len, groups)) >= 5
        assert sorted(np.concatenate(groups).tolist()) == list(range(len(points)))


@pytest.mark.parametrize("rule", [farthest_groups, mdav_groups, swap_groups])
def test_equal_points_stay_together(rule):
    """Five copies of each of four far points are four groups of five, which lose nothing."""
    points = np.repeat(100 * np.eye(4), 5, axis=0)[np.random.default_rng(1).permutation(20)]
    assert all(len(np.unique(points[group], axis=0)) == 1 for group in rule(points, 5))


# ---------------------------------------------------------------- the release


def released_groups(release):
    """Rows of the release by what was released: identical records and labels are one group."""
    keys = [
        (row.tobytes(), label)
        for row, label in zip(release.records.data, release.records.labels, strict=True)
    ]
    return [[i for i, other in enumerate(keys) if other == key] for key in dict.fromkeys(keys)]


def exact_linkage(release, members):
    """Success of an attacker who knows each member's group and label and guesses within it.

    For each identity in each group: the share of the group's copies that stand for it.
    """
    identities = np.arange(len(members)) if members.groups is None else members.groups
    shares = []
    for group in released_groups(release):
        owners = identities[release.origin[group]]
        counts = np.unique(owners, return_counts=True)[1]
        shares += [Fraction(int(count), len(group)) for count in counts]
    return shares


VARIANTS = {
    "feature": {},
    "pixel": {},
    "mdav": {"rule": "mdav"},
    "kmeans": {"rule": "kmeans"},
    "eigen": {"representation": "eigen", "components": 2},
}


@pytest.mark.parametrize("identities", [False, True], ids=["records", "identities"])
@pytest.mark.parametrize("label_aware", [False, True], ids=["agnostic", "aware"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_group_has_k_identities_and_linkage_is_at_most_one_in_k(
    variant, label_aware, identities
):
    checked = 0
    for n in range(11, 61):
        members = records(n, identities=n // 2 if identities else None)
        if variant == "pixel":
            members = as_images(members)
        for k in range(2, 8):
            try:
                release = KSame(k=k, label_aware=label_aware, **VARIANTS[variant]).fit(
                    members, CONTEXT
                )
            except NotApplicable:
                assert identities or label_aware, "n ≥ 11 > k records are enough for a group"
                continue
            assert release.guarantee == KAnonymity(k=k)
            assert max(exact_linkage(release, members)) <= Fraction(1, k)
            assert release.notes["smallest_group"] >= k
            checked += 1
    assert checked > 200


@pytest.mark.parametrize("rule", ["farthest", "mdav"])
def test_released_records_are_the_means_of_their_groups(rule):
    members = records(47, classes=3)
    release = KSame(k=4, rule=rule, label_aware=True).fit(members, CONTEXT)
    assert len(release.records) == 47
    assert sorted(release.origin.tolist()) == list(range(47))
    for group in released_groups(release):
        rows = release.origin[group]
        assert release.records.data[group[0]] == pytest.approx(
            members.data[rows].mean(axis=0), abs=1e-6
        )
    assert release.records.labels.tolist() == members.labels[release.origin].tolist()


def test_each_identity_counts_once_in_the_mean_and_gets_equally_many_copies():
    """Identity 0 has three records (mean 3), identity 1 has one (5): mean 4, two copies each."""
    data = np.array([[2], [3], [4], [5]], dtype=np.float32)
    members = Records(data, np.zeros(4, dtype=np.int64), np.array([8, 8, 8, 1]))
    release = KSame(k=2).fit(members, CONTEXT)
    assert release.records.data.ravel().tolist() == [4, 4, 4, 4]
    assert sorted(members.groups[release.origin].tolist()) == [1, 1, 8, 8]
    assert release.records.groups is None


def test_identities_are_never_split():
    members = records(60, classes=1, identities=20)
    release = KSame(k=3).fit(members, CONTEXT)
    seen = [set(members.groups[release.origin[group]]) for group in released_groups(release)]
    assert sum(map(len, seen)) == len(set.union(*seen)) == len(np.unique(members.groups))


def test_majority_label_counts_each_identity_once():
    """Identity 9 has three records of class 1; the two others are of class 0 and outvote it."""
    members = Records(
        np.arange(5, dtype=np.float32)[:, None],
        np.array([1, 1, 1, 0, 0]),
        np.array([9, 9, 9, 4, 5]),
    )
    assert set(KSame(k=3).fit(members, CONTEXT).records.labels.tolist()) == {0}


def test_ties_between_labels_are_drawn():
    members = Records(np.zeros((2, 1), dtype=np.float32), np.array([0, 1]))
    drawn = [KSame(k=2).fit(members, Context(seed=s)).records.labels[0] for s in range(100)]
    assert 30 <= sum(drawn) <= 70


def test_own_labels_are_those_published_and_claim_nothing():
    members = records(40)
    release = KSame(k=5, labels="own").fit(members, CONTEXT)
    assert release.records.labels.tolist() == members.labels[release.origin].tolist()
    assert release.guarantee is None
    within_classes = KSame(k=5, labels="own", label_aware=True).fit(members, CONTEXT)
    assert within_classes.guarantee == KAnonymity(k=5)


def test_a_class_with_fewer_than_k_identities_is_dropped_and_counted():
    data = np.random.default_rng(0).standard_normal((16, 2)).astype(np.float32)
    labels = np.array([0] * 12 + [1] * 4)
    release = KSame(k=5, label_aware=True).fit(Records(data, labels), CONTEXT)
    assert set(release.records.labels.tolist()) == {0}
    assert release.notes["dropped_records"] == 4
    # Twelve records of the class, but of three patients only.
    groups = np.array([0, 1, 2] * 4 + [3, 4, 5, 6])
    with pytest.raises(NotApplicable, match="at least k = 5 identities in some class"):
        KSame(k=5, label_aware=True).fit(Records(data, labels, groups), CONTEXT)


def test_too_few_records_are_not_applicable():
    with pytest.raises(NotApplicable, match=r"at least k = 5 identities\. Got 4 records"):
        KSame(k=5).fit(records(4), CONTEXT)


def test_pixels_are_averaged_and_rounded():
    data = np.zeros((2, 2, 2, 3), dtype=np.uint8)
    data[1] = 201
    data[1, 0, 0, 0] = 255
    members = Records(data, np.zeros(2, dtype=np.int64))
    released = KSame(k=2).fit(members, CONTEXT).records.data
    expected = np.full((2, 2, 3), 100)  # 100.5 rounds to even
    expected[0, 0, 0] = 128
    assert released.dtype == np.uint8
    assert (released == expected).all()


@pytest.mark.parametrize("shape", [(40, 6), (40, 90)], ids=["more records", "more features"])
def test_eigenspace_is_that_of_the_singular_value_decomposition(shape):
    vectors = np.random.default_rng(4).standard_normal(shape) * np.arange(1, shape[1] + 1)
    space = Eigenspace.of(vectors, 5)
    centred = vectors - vectors.mean(axis=0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    assert space.basis @ space.basis.T == pytest.approx(np.eye(5), abs=1e-9)
    expected = centred @ directions[:5].T @ directions[:5] + vectors.mean(axis=0)
    assert space.decode(space.encode(vectors)) == pytest.approx(expected, abs=1e-7)
    assert space.explained == pytest.approx((values[:5] ** 2).sum() / (values**2).sum())


def test_components_by_default_hold_95_percent_of_the_variance():
    """Variances 94, 5 and 1: one component holds too little, two are enough."""
    line = np.array([-1.0, 0, 1, 0])
    vectors = np.array([line, np.roll(line, 1), 0.5 * np.array([1.0, -1, 1, -1])]).T
    space = Eigenspace.of(vectors * np.sqrt([94.0, 5.0, 2.0]))
    assert len(space.basis) == 2
    assert space.explained == pytest.approx(0.99)
    assert len(Eigenspace.of(np.ones((5, 3))).basis) == 0


@pytest.mark.parametrize("pixels", [False, True])
def test_eigen_with_all_components_is_raw_since_averaging_is_linear(pixels):
    members = records(50, d=64)
    if pixels:
        data = np.random.default_rng(2).integers(0, 256, (50, 8, 8, 1), dtype=np.uint8)
        members = Records(data, members.labels)
    raw = KSame(k=4).fit(members, CONTEXT)
    eigen = KSame(k=4, representation="eigen", components=64).fit(members, CONTEXT)
    assert (raw.origin == eigen.origin).all()
    assert eigen.records.data == pytest.approx(raw.records.data, abs=1 if pixels else 1e-5)
    assert eigen.notes["explained_variance"] == pytest.approx(1)


def test_eigen_averages_coefficients():
    """Points vary along the first axis only, but for 0.1 along the second, which is left out."""
    data = np.array([[0, 0.1], [1, -0.1], [10, 0.1], [11, -0.1]], dtype=np.float32)
    members = Records(data, np.zeros(4, dtype=np.int64))
    released = KSame(k=2, representation="eigen", components=1).fit(members, CONTEXT).records.data
    assert sorted(released[:, 0].tolist()) == pytest.approx([0.5, 0.5, 10.5, 10.5], abs=0.01)


def test_decoded_pixels_stay_in_range():
    data = np.zeros((40, 4, 4, 1), dtype=np.uint8)
    data.reshape(40, 16)[np.arange(40), np.arange(40) % 16] = 255
    members = Records(data, np.zeros(40, dtype=np.int64))
    release = KSame(k=2, representation="eigen", components=1).fit(members, CONTEXT).records.data
    assert release.max() < 200, "neither overflow nor wrapping around"


def test_components_without_eigen_are_refused():
    with pytest.raises(ValidationError, match="components=3 needs representation='eigen'"):
        KSame(components=3)


def test_same_seed_same_bits_other_order_for_another_and_members_untouched():
    members = records(50)
    digest = members.digest()
    first, again, other = (KSame(k=5).fit(members, Context(seed=s)) for s in (1, 1, 2))
    assert first.records == again.records and (first.origin == again.origin).all()
    assert (first.origin != other.origin).any(), "the order of the rows is drawn"
    back = [release.records.data[np.argsort(release.origin)] for release in (first, other)]
    assert (back[0] == back[1]).all(), "the groups are not"
    assert members.digest() == digest


def test_a_rule_that_forms_a_small_group_is_stopped(monkeypatch):
    def split_too_far(points, k):
        return [np.arange(k - 1), np.arange(k - 1, len(points))]

    monkeypatch.setitem(grouping.RULES, "farthest", split_too_far)
    with pytest.raises(AssertionError, match="group of 4, below k = 5"):
        KSame(k=5).fit(records(20), CONTEXT)


@pytest.mark.parametrize("k", [1, 0, 2.5, "5"])
def test_k_must_be_an_integer_of_two_or_more(k):
    with pytest.raises(ValidationError, match="k"):
        KSame(k=k)
