"""Distances by hand, intervals against what they claim, and the members that only this utility sees."""

from math import exp, log, pi, sqrt

import numpy as np
import pytest

from benchmark.contracts import Context, LeakboardError, Records
from benchmark.utility.comparison import cluster_mean, quantile_limits
from benchmark.utility.release_distance import ReleaseDistance, mean_pairwise

Z = 1.959964


def features(data, labels=None, groups=None):
    data = np.asarray(data, dtype=np.float32)
    data = data[:, None] if data.ndim == 1 else data
    labels = np.zeros(len(data), dtype=np.int64) if labels is None else labels
    return Records(data, labels, groups)


def figures(release, members, test, **parameters):
    answers = ReleaseDistance(**parameters).evaluate(
        release, test, {"clean": test, "noisy": test}, 2, Context(seed=1, members=members)
    )
    assert answers["noisy"].values == {}, "perturbed test records do not concern a release"
    return {
        name: value if isinstance(value, tuple) else (value, None, None, "")
        for name, value in answers["clean"].values.items()
    }


def test_by_hand_on_a_line():
    """Members 0 and 10 (mean 5, spread 5), released 1 and 8, fresh 4 and 6: 0.3, 0.8, 0.375."""
    found = figures(features([1, 8]), features([0, 10]), features([4, 6]))
    values = {name: figure[0] for name, figure in found.items()}
    assert values == pytest.approx(
        {
            "distance_to_members": (0.2 + 0.4) / 2,
            "distance_5th": 0.2,
            "distance_real": 0.8,
            "distance_ratio": 0.3 / 0.8,
            "member_perplexity": 1.0,
            "distinct": 1.0,
            "diversity": 0.7,
        },
        abs=1e-6,
    )
    _, low, high, _ = found["distance_to_members"]
    error = sqrt(2 * (0.1**2 + 0.1**2)) / 2
    assert (low, high) == pytest.approx((0.3 - Z * error, 0.3 + Z * error), abs=1e-6)


def test_member_perplexity_is_that_of_the_nearest_member():
    """Three of four released records are nearest to the first of two members."""
    found = figures(features([0, 1, 2, 9]), features([0, 10]), features([4, 6]))
    entropy = -(0.75 * log(0.75) + 0.25 * log(0.25))
    assert found["member_perplexity"][0] == pytest.approx(exp(entropy) / 2)


def test_copies_are_at_no_distance_and_as_diverse_as_the_members():
    rng = np.random.default_rng(0)
    members = features(rng.standard_normal((50, 8)), rng.integers(0, 2, 50))
    found = figures(members, members, features(rng.standard_normal((30, 8))))
    assert found["distance_to_members"][:3] == (0, 0, 0)
    assert found["distance_ratio"][:3] == (0, 0, 0)
    assert found["diversity"][0] == pytest.approx(1)
    assert found["member_perplexity"][0] == pytest.approx(1)


def test_fresh_real_records_are_at_chance_of_one():
    rng = np.random.default_rng(1)
    draw = lambda n: features(rng.standard_normal((n, 8)), rng.integers(0, 2, n))  # noqa: E731
    found = figures(draw(600), draw(600), draw(600))
    for name in ("distance_ratio", "diversity"):
        value, low, high, _ = found[name]
        assert low < 1 < high and high - low < 0.12, (name, value, low, high)


def test_the_space_is_the_members_so_that_shrinking_shows():
    rng = np.random.default_rng(2)
    members = features(rng.standard_normal((80, 3)) * [1, 10, 100], rng.integers(0, 2, 80))
    shrunk = members.replace(data=members.data * np.float32(0.5))
    found = figures(shrunk, members, members)
    assert found["diversity"][0] == pytest.approx(0.5, rel=1e-5)


def test_a_feature_that_hardly_varies_does_not_decide():
    """One member in 300 has a trace of a unit that fresh records may have in full."""
    rng = np.random.default_rng(8)
    draw = lambda n: rng.standard_normal((n, 20))  # noqa: E731
    members, fresh = draw(300), draw(300)
    members[:, 0], fresh[:, 0] = 0, 0
    members[0, 0], fresh[:3, 0] = 1e-4, 2.0
    found = figures(features(fresh), features(members), features(draw(300) * (np.arange(20) > 0)))
    assert found["distance_ratio"][0] == pytest.approx(1, abs=0.1)
    assert found["diversity"][0] == pytest.approx(1, abs=0.1)


def test_identical_records_count_as_one_observation():
    members = features([0, 10, 20, 30])
    once = figures(features([1, 12, 23, 31]), members, features([5, 15]))
    often = figures(features([1, 12, 23, 31] * 7), members, features([5, 15]))
    assert often["distance_to_members"][:3] == pytest.approx(once["distance_to_members"][:3])
    assert often["distance_5th"][:3] == once["distance_5th"][:3]
    assert often["distinct"][0] == pytest.approx(1 / 7)


def test_the_5th_percentile_shows_near_copies_that_the_mean_hides():
    rng = np.random.default_rng(3)
    members = features(rng.standard_normal((200, 20)))
    fresh = features(rng.standard_normal((200, 20)))
    near = fresh.data.copy()
    near[:14] = members.data[:14]  # 7 % are copies
    far, copied = (figures(features(x), members, fresh) for x in (fresh.data, near))
    assert copied["distance_5th"][0] < 1e-6 < 1 < far["distance_5th"][1]
    assert copied["distance_to_members"][0] > 0.9 * far["distance_to_members"][0]


def test_only_pairs_within_a_class_count_and_large_classes_are_sampled():
    """The classes lie 100 apart; within each, 0 and 1 against 0 and 2 among the members."""
    labels = np.array([0, 0, 1, 1])
    members = features([0, 2, 100, 102], labels)
    release = features([0, 1, 100, 101], labels)
    assert figures(release, members, members)["diversity"][0] == pytest.approx(0.5)
    rng = np.random.default_rng(3)
    many = features(rng.standard_normal((900, 2)))
    whole, part = (figures(many, many, many, per_class=n)["diversity"] for n in (2000, 200))
    assert part[0] == pytest.approx(whole[0], rel=0.15)
    assert part[2] - part[1] > whole[2] - whole[1]


def test_without_members_it_refuses():
    records = features([0, 1])
    with pytest.raises(LeakboardError, match="needs_members=True"):
        ReleaseDistance().evaluate(records, records, {"clean": records}, 2, Context(seed=0))


# ---------------------------------------------------------------- the intervals


def test_mean_pairwise_is_that_of_all_pairs():
    from scipy.spatial.distance import pdist

    vectors = np.random.default_rng(4).standard_normal((700, 5)) + 100
    assert mean_pairwise(vectors)[0] == pytest.approx(pdist(vectors).mean())


def test_interval_of_the_mean_pairwise_distance_holds():
    """Two standard normal numbers are 2/√π apart on average."""
    rng = np.random.default_rng(5)
    truth, hits = 2 / sqrt(pi), 0
    for _ in range(400):
        mean, error = mean_pairwise(rng.standard_normal((60, 1)))
        hits += abs(mean - truth) <= Z * error
    assert 0.91 <= hits / 400 <= 0.98


def test_interval_of_a_clustered_mean_holds_and_would_not_without_clusters():
    rng = np.random.default_rng(6)
    clusters = np.repeat(np.arange(40), 5)
    hits = {True: 0, False: 0}
    for _ in range(400):
        values = rng.standard_normal(40)[clusters]
        for known in hits:
            mean, error = cluster_mean(values, clusters if known else None)
            hits[known] += abs(mean) <= Z * error
    assert hits[True] / 400 >= 0.91
    assert hits[False] / 400 <= 0.75


def test_quantile_limits_by_hand():
    """Of 1 … 100 the 5th is the 5 %; of Bin(100, .05) the 2.5 % and 97.5 % quantiles are 1 and 10."""
    values = np.arange(100, 0, -1.0)
    assert quantile_limits(values, 0.05, "m") == (5.0, 1.0, 11.0, "m")
    assert quantile_limits(values[:3], 0.05, "m", least=0.0) == (98.0, 0.0, 99.0, "m")


@pytest.mark.parametrize("n", [40, 300])
def test_interval_of_a_quantile_holds(n):
    rng = np.random.default_rng(n)
    truth, hits = -log(1 - 0.05), 0
    for _ in range(1000):
        _, low, high, _ = quantile_limits(rng.exponential(size=n), 0.05, "", least=0.0)
        hits += low <= truth <= high
    assert 0.935 <= hits / 1000 <= 0.995  # discrete, so above 95 % rather than at it
