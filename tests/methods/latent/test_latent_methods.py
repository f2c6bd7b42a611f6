"""Methods of a latent space, on a linear generator whose projections and averages are known in closed form."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.spatial.distance import cdist
from torch import nn

from benchmark.contracts import (
    Context,
    KAnonymity,
    LeakboardError,
    NotApplicable,
    Records,
    Release,
    Saved,
)
from benchmark.learning.identity import fit_namer, log_probabilities, number_identities
from methods.k_same import KSame
from methods.latent import (
    KSALSA,
    LatentKSame,
    LatentLinear,
    LatentProjections,
    LatentWalk,
)
from methods.latent.bench import real_distances
from methods.latent.latent_linear import pairs_of, spread_over

L, SIDE = 5, 8


class Painter(nn.Module):
    """Pictures 128 + w·A of 8 × 8 pixels, with orthogonal rows of A; w = z + the class's mean."""

    latent, w_dim, n_classes = L, L, 2

    def __init__(self):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        basis = torch.linalg.qr(torch.randn(SIDE * SIDE, L, generator=rng)).Q.T
        self.matrix = nn.Parameter(80 * basis)
        self.means = nn.Parameter(torch.tensor([[-1.0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0]]))

    def map(self, z, labels):
        return z + self.means[labels]

    def synthesise(self, w):
        return 128 + w @ self.matrix

    def forward(self, z, labels):
        return self.synthesise(self.map(z, labels))


PAINTER = Painter()


def members(n=40, visits=1, seed=0):
    """Pictures of the painter; the visits of a patient differ a little."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    w = PAINTER.map(0.6 * torch.randn(n, L, generator=rng), labels)
    w = w.repeat_interleave(visits, 0) + 0.05 * torch.randn(n * visits, L, generator=rng)
    with torch.no_grad():
        pixels = PAINTER.synthesise(w).numpy()
    images = np.rint(pixels).clip(0, 255).astype(np.uint8).reshape(-1, SIDE, SIDE, 1)
    groups = np.repeat(np.arange(n) * 3 + 1, visits) if visits > 1 else None
    return Records(images, labels.repeat_interleave(visits).numpy(), groups)


def fit(method, real, seed=1, generator=PAINTER):
    """As the harness does it: the base is fitted, stored and restored before."""
    gan = Context(seed=seed, base=Release(records=real, weights=generator))
    name, parameters = method.base()
    if name == "gan":
        return method.fit(real, gan)
    projections = LatentProjections(**parameters)
    found = projections.fit(real, gan)
    saved = Saved(records=found.records, state=found.state, guarantee=None)
    return method.fit(real, Context(seed=seed, base=projections.restore(saved, gan)))


def code_of(images):
    """The codes of pictures, by least squares."""
    pixels = images.reshape(len(images), -1).astype(float) - 128
    return pixels @ PAINTER.matrix.detach().numpy().astype(float).T / 80**2


# ---------------------------------------------------------------- projections


@pytest.mark.parametrize("visits", [1, 3])
def test_projections_into_a_linear_generator_are_least_squares(visits):
    real = members(visits=visits)
    release = fit(LatentProjections(steps=300, projections=2), real)
    codes = release.state["codes"]
    assert codes.shape == (2, len(real), L) and len(release.records) == len(real)
    for own in codes:
        np.testing.assert_allclose(own, code_of(real.data), atol=0.01)
    assert np.array_equal(release.origin, np.arange(len(real)))
    assert np.array_equal(release.records.labels, real.labels)
    apart = np.abs(release.records.data.astype(int) - real.data)
    assert apart.max() <= 8 and release.notes["projections_nearest_own"] == 1.0
    rms = np.sqrt((apart.reshape(len(real), -1) ** 2).mean(axis=1))
    np.testing.assert_allclose(release.state["errors"][0], rms, atol=1.0)


def test_walks_use_the_projections_that_they_are_given():
    real = members()
    release = fit(LatentLinear(ends="through", points=3, projection_steps=2), real)
    assert release.notes["projection_rmse"] > 5  # two steps do not suffice


# ---------------------------------------------------------------- averages


@pytest.mark.parametrize("visits", [1, 3])
def test_k_same_on_codes_of_a_linear_generator_is_k_same_on_pixels(visits):
    real = members(visits=visits)
    ours = fit(LatentKSame(k=4, projection_steps=150), real)
    pixels = KSame(k=4, label_aware=True, rule="mdav").fit(real, Context(seed=1))
    a, b = (r.records.take(np.argsort(r.origin, kind="stable")) for r in (ours, pixels))
    assert np.array_equal(np.sort(ours.origin), np.sort(pixels.origin))
    assert np.array_equal(a.labels, b.labels)
    # Groups are the same, so what is released for a member differs by rounding and the projection's rest alone.
    assert np.abs(a.data.astype(int) - b.data).max() <= 4
    assert ours.guarantee == KAnonymity(k=4)
    assert ours.notes["projections_nearest_own"] == 1.0


@pytest.mark.parametrize("method", [LatentKSame, KSALSA])
def test_a_record_is_shared_by_k_identities_of_one_class_with_equal_copies(method):
    real = members(n=30, visits=2)
    extra = {"epochs": 1, "alignment_steps": 2} if method is KSALSA else {}
    release = fit(method(k=4, projection_steps=30, **extra), real)
    pictures, which = np.unique(
        release.records.data.reshape(len(release.records), -1), axis=0, return_inverse=True
    )
    for number in range(len(pictures)):
        rows = np.flatnonzero(which.ravel() == number)
        identities, copies = np.unique(real.groups[release.origin[rows]], return_counts=True)
        assert len(identities) >= 4 and len(set(copies)) == 1
        assert len(set(real.labels[release.origin[rows]])) == 1
        assert set(release.records.labels[rows]) == set(real.labels[release.origin[rows]])


def test_too_few_identities_of_every_class_are_refused():
    with pytest.raises(NotApplicable, match="k = 9"):
        fit(LatentKSame(k=9, projection_steps=2), members(n=12, visits=3))


def test_salsa_lowers_its_loss_and_without_steps_is_k_same():
    real = members()
    options = {"k": 4, "projection_steps": 60}
    plain = fit(LatentKSame(**options), real)
    none = fit(KSALSA(**options, epochs=1, alignment_steps=0), real)
    assert plain.records == none.records
    moved = fit(KSALSA(**options, epochs=3, alignment_steps=20), real)
    assert moved.notes["alignment_loss"] < moved.notes["alignment_start"]
    assert moved.records != plain.records


# ---------------------------------------------------------------- paths


def test_linear_paths_are_evenly_spaced_between_codes_of_one_class():
    release = fit(LatentLinear(ends="raw", points=6), members())
    codes = code_of(release.records.data).reshape(-1, 6, L)
    labels = release.records.labels.reshape(-1, 6)
    assert (labels == labels[:, :1]).all() and set(labels[:, 0]) == {0, 1}
    # 20 members a class: three paths of six points are nearest to that.
    assert len(codes) == release.notes["paths"] == 6
    ends = codes[:, 0], codes[:, -1]
    between = np.linspace(*ends, 6, axis=1)
    pictures = 128 + between @ PAINTER.matrix.detach().numpy()
    inside = ((pictures > 0) & (pictures < 255)).all(axis=(1, 2))  # no pixel was cut off
    assert inside.sum() >= 2
    np.testing.assert_allclose(codes[inside], between[inside], atol=0.02)


def test_ends_between_centroids_are_those_of_k_same():
    real = members()
    centroids = fit(LatentKSame(k=4, projection_steps=60), real)
    pictures = {p.tobytes() for p in centroids.records.data}
    for method in (LatentLinear(k=4, points=5, projection_steps=60),
                   LatentWalk(k=4, points=5, projection_steps=60, steps=3, epochs=1)):  # fmt: skip
        paths = fit(method, real).records.data.reshape(-1, 5, SIDE, SIDE, 1)
        for path in paths:
            assert path[0].tobytes() in pictures and path[-1].tobytes() in pictures
            assert path[2].tobytes() not in pictures


def test_a_walk_without_weights_is_the_straight_line():
    real = members()
    options = {"points": 5, "ends": "raw"}
    line = fit(LatentLinear(**options), real)
    still = fit(LatentWalk(**options, identity_weight=0.0, class_weight=0.0, steps=30), real)
    assert np.abs(line.records.data.astype(int) - still.records.data).max() <= 1
    assert still.guarantee is None and line.origin is None


def test_through_a_members_projection_the_line_meets_it_and_the_walk_does_not():
    real = members(n=24)
    options = {"ends": "through", "points": 9, "projection_steps": 100, "release_size": 2.0}
    line = fit(LatentLinear(**options), real)
    away = fit(
        LatentWalk(**options, identity_weight=3.0, class_weight=0.0, epochs=40, steps=120), real
    )
    for release in (line, away):
        middle = release.records.data.reshape(-1, 9, SIDE * SIDE)[:, 4].astype(float)
        near = cdist(middle, real.data.reshape(len(real), -1)).min(axis=1)
        assert (near < 12).all() == (release is line)
    # In units of the real-to-real distance, over whole paths; and what the classifier is sure of.
    assert line.notes["nearest_approach"] < 0.05 < 0.2 < away.notes["nearest_approach"]
    assert away.notes["identity_probability"] < away.notes["identity_probability_linear"] - 0.05
    # A network that the walk has not seen, of another width and other weights, agrees.
    judge = fit_namer(
        real.data,
        number_identities(real),
        24,
        width=12,
        weights_rng=torch.Generator().manual_seed(8),
        training_rng=torch.Generator().manual_seed(9),
    )
    surest = [
        np.exp(log_probabilities(judge, r.records.data).max(axis=1)).reshape(-1, 9)[:, 1:-1].max(1)
        for r in (line, away)
    ]
    assert surest[1].mean() < surest[0].mean() - 0.05


def test_the_gate_drops_what_is_nearer_than_the_quantile_and_says_how_much():
    real = members(n=24)
    options = {"ends": "through", "points": 9, "projection_steps": 100}
    everything, gated = (fit(LatentLinear(**options, gate=g), real) for g in (None, 0.5))
    scale = np.float32(255)
    real_flat = real.flat()
    apart = cdist(real_flat, real_flat)
    np.fill_diagonal(apart, np.inf)
    least = np.quantile(apart.min(axis=1), 0.5)
    distances = cdist(everything.records.data.reshape(-1, SIDE * SIDE) / scale, real_flat).min(1)
    kept = distances >= least
    assert gated.records == everything.records.take(kept)
    assert gated.notes["rejected"] == pytest.approx(1 - kept.mean()) and 0 < kept.mean() < 1


def test_a_gate_that_drops_everything_says_so():
    real = members(n=4)
    copies = Painter()
    with torch.no_grad():
        copies.matrix.zero_()  # every picture is grey
    grey = real.replace(data=np.full_like(real.data, 128))
    mixed = Records(
        np.concatenate([grey.data[:2], real.data]), np.concatenate([[0, 1], real.labels])
    )
    with pytest.raises(LeakboardError, match=r"drops all .* gate=1\.0"):
        fit(LatentLinear(ends="raw", points=3, gate=1.0), mixed, generator=copies)


@pytest.mark.parametrize(
    "method",
    [
        LatentProjections(steps=5),
        LatentKSame(k=3, projection_steps=5),
        KSALSA(k=3, projection_steps=5, alignment_steps=3, epochs=1),
        LatentLinear(k=3, projection_steps=5, ends="k_salsa", epochs=1),
        LatentWalk(k=3, projection_steps=5, projections=2, steps=3, epochs=1),
    ],
    ids=lambda m: m.info.name,
)
def test_same_seed_same_release_and_members_stay(method):
    real = members(n=14, visits=2)
    before, weights = real.digest(), PAINTER.matrix.detach().clone()
    first, again, other = fit(method, real), fit(method, real), fit(method, real, seed=2)
    assert first.records == again.records and first.notes == again.notes
    assert first.records != other.records
    assert real.digest() == before and torch.equal(PAINTER.matrix, weights)
    assert PAINTER.matrix.requires_grad


# ---------------------------------------------------------------- helpers, parameters


def test_pairs_are_of_one_class_and_none_comes_twice_before_all_have_come():
    classes = np.array([0, 0, 0, 1, 2, 2])
    a, b = pairs_of(classes, np.array([3, 4, 2, 5]), np.random.default_rng(0))
    assert np.array_equal(classes[a], classes[b])
    assert {frozenset(p) for p in zip(a[:3], b[:3], strict=True)} == {
        frozenset(p) for p in ((0, 1), (0, 2), (1, 2))
    }
    # One point has one path, to itself; two points have one pair, as often as asked for.
    assert (a[3], b[3]) == (3, 3)
    assert [set(p) for p in zip(a[4:], b[4:], strict=True)] == [{4, 5}, {4, 5}]


def test_rows_are_spread_evenly():
    rows = spread_over(np.array([1, 0, 1, 1]), np.array([2, 5]), np.random.default_rng(0))
    assert (rows[:2] == 1).all() and set(rows[2:5]) == {0, 2, 3} and set(rows[5:]) <= {0, 2, 3}


def test_real_distances_are_to_other_identities():
    real = members(n=6, visits=3)
    apart = cdist(real.flat(), real.flat())
    apart[real.groups[:, None] == real.groups] = np.inf
    np.testing.assert_allclose(real_distances(real), apart.min(axis=1))


@pytest.mark.parametrize("method", [LatentKSame, KSALSA, LatentLinear, LatentWalk])
def test_all_work_from_the_same_projections_of_the_same_gan(method):
    expected = {"gan": {"steps": 7}, "steps": 9, "projections": 1}
    assert method(gan={"steps": 7}, projection_steps=9).base() == ("latent_projections", expected)
    assert LatentProjections(**expected).base() == ("gan", {"steps": 7})


def test_where_no_code_of_a_member_is_needed_the_gan_is_the_base():
    gan = {"steps": 7}
    assert LatentLinear(gan=gan, ends="raw").base() == ("gan", gan)
    assert LatentWalk(gan=gan, ends="raw", identity_weight=0).base() == ("gan", gan)
    assert LatentWalk(gan=gan, ends="raw", projections=3).base()[1]["projections"] == 3


def test_without_a_fitted_generator_the_error_says_what_is_missing():
    with pytest.raises(LeakboardError, match=r"context\.base"):
        LatentProjections().fit(members(), Context(seed=0))
    gan = Context(seed=0, base=Release(records=members(), weights=PAINTER))
    with pytest.raises(LeakboardError, match="latent_projections"):
        LatentKSame().fit(members(), gan)


def test_bad_parameters_are_refused():
    with pytest.raises(ValidationError, match="ends"):
        LatentWalk(ends="members")
    with pytest.raises(ValidationError, match="identity_wight"):
        LatentWalk(identity_wight=1.0)
