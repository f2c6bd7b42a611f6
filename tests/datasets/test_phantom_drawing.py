"""Tests of the phantom drawing: stable people, recognisable visits, a learnable grade."""

import numpy as np
import pytest
from scipy import ndimage, stats
from sklearn.linear_model import LogisticRegression

from benchmark.datasets import phantom_drawing
from benchmark.datasets.phantom_drawing import draw_phantoms


@pytest.fixture(scope="module")
def cohort():
    """A thousand patients, photographed once at 32 pixels."""
    return draw_phantoms(patients=1000, visits=1, size=32, seed=11)


@pytest.fixture(scope="module")
def revisited():
    """A hundred patients, photographed twice at 64 pixels."""
    return draw_phantoms(patients=100, visits=2, size=64, seed=12)


def vessel_map(images):
    """Dark thin structures of the green channel, unit norm: (n, size, size) float64."""
    size = images.shape[1]
    green = images[..., 1].astype(np.float64)
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    inside = np.hypot(axis[:, None], axis[None, :]) < 0.9
    local = ndimage.gaussian_filter(green, (0, size / 12, size / 12))
    dark = ndimage.gaussian_filter(np.clip(1 - green / (local + 1), 0, None), (0, 0.8, 0.8))
    dark = np.where(inside, dark - dark[:, inside].mean(axis=1)[:, None, None], 0)
    return dark / np.linalg.norm(dark, axis=(1, 2), keepdims=True)


def best_shift_correlation(queries, gallery):
    """Greatest correlation over shifts of every query with every gallery map: (q, g)."""
    left, right = np.fft.rfft2(queries), np.conj(np.fft.rfft2(gallery))
    rows = [np.fft.irfft2(one * right).max(axis=(1, 2)) for one in left]
    return np.stack(rows)


class TestStreams:
    """What a picture depends on, and what it does not."""

    def test_same_seed_same_bytes(self):
        first, second = (draw_phantoms(patients=3, visits=2, size=33, seed=4) for _ in range(2))
        assert first.images.tobytes() == second.images.tobytes()
        assert first.labels.tobytes() == second.labels.tobytes()

    def test_another_seed_is_another_population(self):
        first, second = (draw_phantoms(patients=3, visits=1, size=32, seed=s) for s in (4, 5))
        difference = np.abs(first.images.astype(int) - second.images)
        assert np.all(difference.mean(axis=(1, 2, 3)) > 3)

    def test_patient_and_visit_do_not_depend_on_what_else_is_drawn(self):
        whole = draw_phantoms(patients=6, visits=3, size=32, seed=7)
        part = draw_phantoms(patients=2, visits=2, size=32, seed=7, first_patient=3)
        rows = [3 * 3, 3 * 3 + 1, 4 * 3, 4 * 3 + 1]
        np.testing.assert_array_equal(part.images, whole.images[rows])
        np.testing.assert_array_equal(part.labels, whole.labels[rows])
        np.testing.assert_array_equal(part.patients, whole.patients[rows])
        np.testing.assert_array_equal(part.visits, whole.visits[rows])

    def test_order_is_patient_by_patient(self):
        drawn = draw_phantoms(patients=2, visits=3, size=28, seed=0, first_patient=5)
        assert drawn.patients.tolist() == [5, 5, 5, 6, 6, 6]
        assert drawn.visits.tolist() == [0, 1, 2, 0, 1, 2]
        assert drawn.images.shape == (6, 28, 28, 3) and drawn.images.dtype == np.uint8
        assert {drawn.labels.dtype, drawn.patients.dtype, drawn.visits.dtype} == {np.dtype("int64")}

    def test_number_of_classes_changes_only_the_labels(self):
        two, five = (
            draw_phantoms(patients=20, visits=1, size=28, seed=1, classes=c) for c in (2, 5)
        )
        np.testing.assert_array_equal(two.images, five.images)
        assert not np.array_equal(two.labels, five.labels)

    def test_last_patient_and_large_seed(self):
        drawn = draw_phantoms(patients=1, visits=1, size=28, seed=2**70, first_patient=2**32 - 1)
        assert drawn.patients.tolist() == [2**32 - 1]

    def test_global_random_state_is_left_alone(self):
        before = np.random.get_state()  # noqa: NPY002
        draw_phantoms(patients=1, visits=1, size=28, seed=0)
        after = np.random.get_state()  # noqa: NPY002
        np.testing.assert_array_equal(after[1], before[1])
        assert after[2:] == before[2:]


class TestIdentity:
    """Visits of one patient look alike, and are never equal."""

    def test_nearest_photograph_is_the_same_patient(self, revisited):
        maps = vessel_map(revisited.images)
        similarity = best_shift_correlation(maps[0::2], maps[1::2])
        top_1 = np.mean(similarity.argmax(axis=1) == np.arange(100))
        assert top_1 > 0.8  # chance: 0.01
        same, other = np.diag(similarity), similarity[~np.eye(100, dtype=bool)]
        assert np.median(same) > np.quantile(other, 0.99)

    def test_visits_differ_everywhere(self, revisited):
        first = revisited.images[0::2].astype(int)
        second = revisited.images[1::2].astype(int)
        changed = np.any(first != second, axis=3).mean(axis=(1, 2))
        assert changed.min() > 0.5
        assert len(np.unique(revisited.images.reshape(200, -1), axis=0)) == 200

    def test_visits_differ_by_more_than_noise(self, revisited):
        smooth = ndimage.gaussian_filter(revisited.images.astype(float), (0, 2, 2, 0))
        gap = np.abs(smooth[0::2] - smooth[1::2]).mean(axis=(1, 2, 3))
        assert np.quantile(gap, 0.05) > 1.0  # noise of 2 % leaves about 0.5 after this smoothing

    def test_grade_belongs_to_the_patient(self, revisited):
        np.testing.assert_array_equal(revisited.labels[0::2], revisited.labels[1::2])

    def test_both_eyes_occur(self, revisited):
        # The disc is the brightest smooth spot of the blue channel, left or right of the middle.
        blue = ndimage.gaussian_filter(revisited.images[..., 2].astype(float), (0, 2, 2))
        column = blue.reshape(200, -1).argmax(axis=1) % 64
        assert 0.3 < np.mean(column < 32) < 0.7


class TestGrade:
    """The label can be learnt, but not read off."""

    @pytest.mark.parametrize("classes", [2, 3, 4, 5])
    def test_shares_fall_from_1_1_to_0_9_over_c(self, classes):
        rng = np.random.default_rng(0)
        severities = rng.random(20_000) + rng.normal(0, 0.05, 20_000)
        labels = phantom_drawing._grades(severities, classes)
        shares = np.bincount(labels, minlength=classes) / 20_000
        np.testing.assert_allclose(shares, np.linspace(1.1, 0.9, classes) / classes, atol=0.015)

    def test_every_grade_occurs_in_the_cohort(self, cohort):
        shares = np.bincount(cohort.labels, minlength=2) / 1000
        np.testing.assert_allclose(shares, [0.55, 0.45], atol=4 * np.sqrt(0.25 / 1000))
        five = draw_phantoms(patients=100, visits=1, size=28, seed=0, classes=5).labels
        assert np.bincount(five, minlength=5).min() >= 8

    def test_linear_probe_on_pixels_is_above_chance_and_not_perfect(self, cohort):
        pixels = cohort.images.reshape(1000, -1) / 255.0
        train = np.arange(1000) < 500
        pixels -= pixels[train].mean(axis=0)
        probe = LogisticRegression(C=0.1, max_iter=300).fit(pixels[train], cohort.labels[train])
        correct = int(np.sum(probe.predict(pixels[~train]) == cohort.labels[~train]))
        majority = np.bincount(cohort.labels[~train]).max() / 500
        assert stats.binomtest(correct, 500, majority, alternative="greater").pvalue < 0.001
        assert correct / 500 < 0.95

    def test_brightness_and_tone_alone_do_not_tell_the_grade(self, cohort):
        tone = cohort.images.mean(axis=(1, 2)) / 255.0
        train = np.arange(1000) < 500
        probe = LogisticRegression(C=100.0).fit(tone[train], cohort.labels[train])
        assert probe.score(tone[~train], cohort.labels[~train]) < 0.75


class TestSize:
    """One patient looks the same at every size."""

    @pytest.mark.parametrize("size", [28, 32, 56, 112])
    def test_large_image_downscaled_resembles_the_small_one(self, size):
        large = draw_phantoms(patients=6, visits=1, size=224, seed=9).images
        small = draw_phantoms(patients=6, visits=1, size=size, seed=9).images
        factor = 224 // size
        reduced = large.reshape(6, size, factor, size, factor, 3).mean(axis=(2, 4))
        error = small - reduced
        assert np.sqrt((error**2).mean(axis=(1, 2, 3))).max() < 8.0  # noise alone: up to 5
        smooth = np.abs(ndimage.gaussian_filter(error, (0, 1, 1, 0)))
        assert smooth.mean() < 1.6

    @pytest.mark.parametrize("size", [28, 31, 95, 96, 224])
    def test_black_corners_and_lit_middle(self, size):
        image = draw_phantoms(patients=1, visits=1, size=size, seed=3).images[0].astype(int)
        edge = size // 10
        assert image[:edge, :edge].mean() < 8 and image[-edge:, -edge:].mean() < 8
        middle = image[size // 3 : -(size // 3), size // 3 : -(size // 3)].mean(axis=(0, 1))
        assert middle[0] > middle[1] > middle[2] > 5 and middle[0] > 60


def test_profile_is_the_box_filtered_profile_of_a_line():
    """Coverage against a brute-force average of the line's indicator over the pixel."""
    distance = np.linspace(0.0, 3.0, 61)
    for half_width in (0.1, 0.5, 1.3):
        steps = np.linspace(-0.5, 0.5, 20_001)
        inside = np.abs(distance[:, None] + steps[None, :]) <= half_width
        intercept, slope, top = phantom_drawing._profile(np.float64(half_width), np.float64(0.5))
        got = np.clip(intercept - slope * distance, 0, top)
        np.testing.assert_allclose(got, inside.mean(axis=1), atol=2e-4)


GOOD = {"patients": 1, "visits": 1, "size": 32, "classes": 2, "seed": 0, "first_patient": 0}


class TestArguments:
    """Wrong arguments are refused by name, with what was got and what is allowed."""

    @pytest.mark.parametrize(
        ("name", "value", "allowed"),
        [
            ("patients", 0, "between 1 and"),
            ("visits", 0, "between 1 and"),
            ("size", 27, "between 28 and 224"),
            ("size", 225, "between 28 and 224"),
            ("classes", 1, "between 2 and 5"),
            ("classes", 6, "between 2 and 5"),
            ("seed", -1, ">= 0"),
            ("first_patient", -1, "between 0 and"),
            ("first_patient", 2**32, "between 0 and 4294967295"),
        ],
    )
    def test_out_of_range(self, name, value, allowed):
        with pytest.raises(ValueError, match=f"'{name}' parameter.*{allowed}.*Got {value} instead"):
            draw_phantoms(**{**GOOD, name: value})

    @pytest.mark.parametrize("name", sorted(GOOD))
    @pytest.mark.parametrize("value", [1.0, "2", None, True])
    def test_wrong_type(self, name, value):
        with pytest.raises(ValueError, match=f"'{name}' parameter .*integer.*Got {value!r}"):
            draw_phantoms(**{**GOOD, name: value})

    def test_numpy_integers_are_welcome(self):
        assert draw_phantoms(**{**GOOD, "size": np.int64(28)}).images.shape == (1, 28, 28, 3)
