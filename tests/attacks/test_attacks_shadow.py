"""Shadow attacks find copies and averages that attacks on one release miss, and nothing where nothing leaks."""

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score

from attacks import shadow
from attacks.nearest_distance import NearestDistance
from attacks.shadow import RMIA, Calibrated, Downstream, LiRA, class_correlation
from benchmark.contracts import Access, Context, NotApplicable, Records, Shadows, View

SHADOWS = 16


def noisy(scale):
    """Release the members with noise."""

    def release(members, rng):
        noise = rng.normal(0, scale, members.data.shape).astype(np.float32)
        return members.replace(data=members.data + noise)

    return release


def averages(k):
    """Release means of ``k`` random members of a class, in disjoint groups."""

    def release(members, rng):
        data, labels = [], []
        for label in np.unique(members.labels):
            rows = rng.permutation(np.flatnonzero(members.labels == label))
            for part in np.array_split(rows, max(1, len(rows) // k)):
                data.append(members.data[part].mean(axis=0))
                labels.append(label)
        return Records(np.stack(data), np.array(labels, dtype=np.int64), None, members.extractor)

    return release


def shadowed_view(round_, release, seed=0):
    """What the harness would hand over: the release and shadows of random halves, in pairs."""
    m = len(round_.candidates)
    rng = np.random.default_rng([round_.seed, seed])
    masks = []
    for _ in range(SHADOWS // 2):
        half = rng.permutation(m) < m // 2
        masks += [half, ~half]
    included = np.array(masks)
    return View(
        access=Access.RECORDS,
        records=release(round_.members, rng),
        shadows=Shadows(
            releases=tuple(release(round_.candidates.take(row), rng) for row in included),
            included=included,
            included_auxiliary=np.zeros((SHADOWS, len(round_.auxiliary)), dtype=bool),
        ),
    )


def auc(attack, round_, view):
    answer = attack.run(view, round_.candidates, round_.auxiliary, Context(seed=round_.seed))
    return roc_auc_score(round_.coins, answer.values)


ON_RELEASES = [
    LiRA(),
    LiRA(neighbours=3),
    LiRA(mode="offline"),
    LiRA(score="local_neighbourhood"),
    LiRA(score="log_density"),
    LiRA(score="monte_carlo"),
    LiRA(score="residual_correlation"),
    LiRA(score="stacked"),
    LiRA(score="stacked", mode="offline"),
    RMIA(),
    RMIA(mode="offline"),
    RMIA(score="log_density"),
    Calibrated(),
    Calibrated(score="local_neighbourhood"),
]


def label(attack):
    return attack.info.name + "".join(f"-{v}" for v in attack.parameters().values())


@pytest.fixture(scope="module")
def copied(rounds):
    return [(r, shadowed_view(r, noisy(0.0))) for r in rounds[:2]]


@pytest.mark.parametrize("attack", ON_RELEASES, ids=label)
def test_reaches_the_positive_control(attack, copied):
    (control,) = attack.positive_controls()
    assert np.mean([auc(attack, r, view) for r, view in copied]) >= control.at_least == 0.99


@pytest.fixture(scope="module")
def averaged(rounds):
    return [(r, shadowed_view(r, averages(10))) for r in rounds[:3]]


@pytest.mark.parametrize("attack", [LiRA(), LiRA(score="stacked"), RMIA(), Calibrated()], ids=label)
def test_averages_leak_to_shadows_far_more_than_to_the_distance(attack, averaged):
    alone = [auc(NearestDistance(), r, view) for r, view in averaged]
    assert np.mean([auc(attack, r, view) for r, view in averaged]) > np.mean(alone) + 0.06


def test_stacking_is_at_least_as_good_as_its_parts(averaged):
    parts = [LiRA(score=s) for s in ("nearest_distance", "local_neighbourhood", "log_density")]
    best = max(np.mean([auc(a, r, view) for r, view in averaged]) for a in parts)
    assert np.mean([auc(LiRA(score="stacked"), r, view) for r, view in averaged]) > best - 0.01


@pytest.mark.parametrize("attack", ON_RELEASES, ids=label)
def test_at_chance_on_fresh_records(attack, rounds, assert_at_chance):
    """The release and the shadows are other people's records, whatever the coins are."""
    aucs = []
    played = rounds[: 4 if "stacked" in label(attack) else 8]
    for r in played:
        rng = np.random.default_rng(r.seed)
        fresh = r.fresh.replace(groups=None)

        def half(members, rng=rng, fresh=fresh):
            return fresh.take(rng.permutation(len(fresh))[: len(fresh) // 2])

        aucs.append(auc(attack, r, shadowed_view(r, lambda members, rng, half=half: half(members))))
    assert_at_chance(aucs, [r.coins for r in played])


# ---------------------------------------------------------------- downstream


STATISTICS = ("lira", "rmia", "calibrated", "loss")


@pytest.fixture(scope="module", autouse=True)
def heads_trained_once():
    """Statistics that look at the same heads share them here, as training is all of the cost."""
    train, known = shadow._head_probabilities, {}

    def remembered(releases, queries, validation, reach, context):
        key = (reach, queries.digest(), *(r.digest() for r in releases))
        if key not in known:
            known[key] = train(releases, queries, validation, reach, context)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shadow, "_head_probabilities", remembered)
        yield


@pytest.fixture(scope="module")
def few(digits, play):
    """Two rounds with few candidates, on which a classifier overfits."""
    games = [play(digits, seed, n_candidates=160, n_fresh=300) for seed in range(2)]
    return [(r, shadowed_view(r, noisy(0.0))) for r in games]


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_classifier_that_overfits_tells_its_members(statistic, few):
    attack = Downstream(statistic=statistic)
    (control,) = attack.positive_controls()
    found = np.mean([auc(attack, r, view) for r, view in few])
    assert found > max(control.at_least, 0.58 if statistic == "loss" else 0.75)


@pytest.mark.slow
@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_classifier_of_fresh_records_tells_nothing(statistic, digits, play, assert_at_chance):
    games = [play(digits, seed, n_candidates=300, n_fresh=120) for seed in range(8)]

    def fresh(r):
        return lambda members, rng: r.fresh.take(rng.permutation(len(r.fresh))[:80])

    aucs = [auc(Downstream(statistic=statistic), r, shadowed_view(r, fresh(r))) for r in games]
    assert_at_chance(aucs, [r.coins for r in games])


def test_reach_keeps_a_feature_that_is_all_but_constant_from_deciding_alone(few):
    """The first pixel is 0 in all released records but one, where it is 0.001, and 0 or 1 among the others."""

    def flickering(records, values):
        data = records.data.copy()
        data[:, 0] = values
        return records.replace(data=data)

    found = {}
    for reach in (None, 3.0):
        aucs = []
        for r, _ in few:
            rng = np.random.default_rng(r.seed)
            release = flickering(r.members, 0.001 * (np.arange(len(r.members)) == 0))
            candidates = flickering(r.candidates, rng.integers(2, size=len(r.candidates)))
            auxiliary = flickering(r.auxiliary, rng.integers(2, size=len(r.auxiliary)))
            view = View(access=Access.RECORDS, records=release)
            attack = Downstream(statistic="loss", reach=reach)
            scores = attack.run(view, candidates, auxiliary, Context(seed=r.seed)).values
            aucs.append(roc_auc_score(r.coins, scores))
        found[reach] = np.mean(aucs)
    assert found[3.0] > found[None] + 0.05


def test_one_class_has_no_classifier(rounds):
    r = rounds[0]
    one = r.candidates.replace(labels=np.zeros(len(r.candidates), dtype=np.int64))
    view = View(access=Access.RECORDS, records=one)
    auxiliary = r.auxiliary.replace(labels=np.zeros(len(r.auxiliary), dtype=np.int64))
    with pytest.raises(NotApplicable, match="one class"):
        Downstream(statistic="loss").run(view, one, auxiliary, Context(seed=0))


# ---------------------------------------------------------------- parameters


def test_the_number_of_shadows_fits_the_statistic():
    assert Downstream().shadows == 16
    assert Downstream(statistic="loss").shadows == 0
    for wrong in ({"statistic": "loss", "shadows": 16}, {"shadows": 0}, {"shadows": 5}):
        with pytest.raises(ValidationError, match="shadows"):
            Downstream(**wrong)
    with pytest.raises(ValidationError, match="shadows"):
        LiRA(shadows=2)


@pytest.mark.parametrize("attack", [LiRA(), RMIA(), Calibrated(), Downstream()], ids=label)
def test_says_what_it_lacks(attack, rounds):
    r = rounds[0]
    with pytest.raises(NotApplicable, match="Got none"):
        attack.run(
            View(access=Access.RECORDS, records=r.members),
            r.candidates,
            r.auxiliary,
            Context(seed=0),
        )


def test_class_correlation_by_hand():
    features = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], dtype=np.float32)
    candidates = Records(features, np.array([0, 0, 1]))
    release = Records(np.array([[2.0, 2.0], [4.0, 0.0]], dtype=np.float32), np.array([0, 0]))
    auxiliary = Records(np.array([[1.0, 1.0], [5.0, 5.0]], dtype=np.float32), np.array([0, 1]))
    # Class 0: μ = (1, 1), r = (3, 1): shift (2, 0). Class 1: μ = (5, 5), r of all: shift (−2, −4).
    np.testing.assert_allclose(class_correlation(release, candidates, auxiliary), [0, -2, 24])


def test_the_residual_score_of_shadows_is_that_of_the_attack(digits, play):
    """Cosines do not depend on the scale of whitened residuals, in which the two differ."""
    from attacks.residual_correlation import ResidualCorrelation
    from benchmark.learning.residuals import residual_cosine

    game = play(digits, 0, 200, 100)
    expected = game.attack(ResidualCorrelation(), game.members).values
    found = residual_cosine(game.candidates, game.auxiliary)(game.members)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: LiRA(score="stacked", shadows=4),
        lambda: RMIA(mode="offline", shadows=4),
        lambda: Downstream(statistic="rmia", mode="offline", shadows=4),
    ],
)
def test_where_shadows_play_the_target_six_are_needed(wrong):
    with pytest.raises(ValueError, match="needs 6 shadows or more"):
        wrong()
