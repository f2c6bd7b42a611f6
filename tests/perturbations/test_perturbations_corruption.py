"""Image corruptions: each against OpenCV, Pillow, SciPy, scikit-image or its closed form; and what holds for all."""

import io
import subprocess
import sys
import tracemalloc

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from pydantic import ValidationError
from scipy import ndimage
from skimage import color, exposure
from threadpoolctl import threadpool_limits

from benchmark.contracts import InvalidRecords, Records
from benchmark.perturbations import overlays, resolution, tone
from benchmark.perturbations.corruption import (
    COLOUR_ONLY,
    Corruption,
    corrupt,
    corrupted_blocks,
    families_of,
)
from benchmark.perturbations.severities import FAMILIES, MODALITIES, SEVERITIES
from benchmark.perturbations.sheet import main as draw_sheet_to_file
from benchmark.registry import default_registry

EVERY_TABLE = [(m, f) for m in MODALITIES for f in SEVERITIES[m]]
ONE_OF_EACH_FAMILY = [(next(m for m in MODALITIES if f in SEVERITIES[m]), f) for f in FAMILIES]


def pictures(n: int, side: int, channels: int, seed: int = 0) -> np.ndarray:
    """Smooth coloured clouds with sharp squares on them: every frequency, every level."""
    rng = np.random.default_rng(seed)
    clouds = ndimage.gaussian_filter(rng.standard_normal((n, side, side, channels)), (0, 2, 2, 0))
    clouds = 0.45 + 0.2 * clouds / clouds.std()
    squares = np.kron(rng.random((n, 4, 4, channels)), np.ones((side // 4, side // 4, 1)))
    whole = np.clip(0.6 * clouds + 0.4 * squares, 0.02, 0.98)
    return np.rint(255 * whole).astype(np.uint8)


def images_as_records(images: np.ndarray) -> Records:
    return Records(images, np.zeros(len(images), dtype=np.int64))


def assert_within_levels(actual: np.ndarray, expected: np.ndarray, levels: float = 1) -> None:
    assert actual.dtype == np.uint8
    gap = np.abs(actual.astype(float) - np.asarray(expected, dtype=float))
    assert gap.max() <= levels, f"largest gap {gap.max()}, mean {gap.mean()}"


# ---------------------------------------------------------------- noise, against its moments


def flat(level: int, channels: int = 3) -> np.ndarray:
    return np.full((40, 32, 32, channels), level, dtype=np.uint8)


def assert_moments(values: np.ndarray, mean: float, deviation: float) -> None:
    """Within five standard errors; rounding to levels adds a variance of 1/12."""
    deviation = np.sqrt(deviation**2 + 1 / 12)
    assert abs(values.mean() - mean) < 5 * deviation / np.sqrt(values.size)
    assert values.std() == pytest.approx(deviation, rel=5 / np.sqrt(2 * values.size) + 1e-3)


@pytest.mark.parametrize("sigma", [0.02, 0.08, 0.12])
def test_gaussian_noise_has_its_deviation(sigma):
    noisy = tone.gaussian_noise(flat(128), sigma, np.random.default_rng(0)).astype(float)
    assert_moments(noisy, 128, 255 * sigma)
    assert np.abs(np.corrcoef(noisy.reshape(-1, 3).T) - np.eye(3)).max() < 0.03


@pytest.mark.parametrize("level", [50, 120])
def test_speckle_noise_grows_with_the_pixel(level):
    noisy = tone.speckle_noise(flat(level), 0.15, np.random.default_rng(0)).astype(float)
    assert_moments(noisy, level, 0.15 * level)


@pytest.mark.parametrize("photons", [60, 25])
def test_shot_noise_is_a_scaled_count(photons):
    level = 100
    noisy = tone.shot_noise(flat(level, 1), photons, np.random.default_rng(0))
    counts = np.round(noisy * (photons / 255))
    assert_within_levels(noisy, np.minimum(counts * 255 / photons, 255), 0.5)
    expected = level / 255 * photons
    assert counts.mean() == pytest.approx(expected, abs=5 * np.sqrt(expected / counts.size))
    assert counts.var() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("amount", [0.01, 0.27])
def test_impulse_noise_replaces_its_share(amount):
    noisy = tone.impulse_noise(flat(100), amount, np.random.default_rng(0))
    error = 5 * np.sqrt(amount / 2 / noisy.size)
    for value in (0, 255):
        assert (noisy == value).mean() == pytest.approx(amount / 2, abs=error)
    assert set(np.unique(noisy)) == {0, 100, 255}


# ---------------------------------------------------------------- tone, against Pillow and scikit-image


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 1.6])
@pytest.mark.parametrize(
    ("function", "enhance", "levels"),
    # Pillow rounds the mean to a whole level, and rounds down.
    [(tone.brightness, ImageEnhance.Brightness, 1), (tone.contrast, ImageEnhance.Contrast, 1.4)],
)
def test_brightness_and_contrast_are_pillows(function, enhance, levels, factor, channels):
    images = pictures(3, 32, channels)
    for image, changed in zip(images, function(images, factor), strict=True):
        pillow = enhance(Image.fromarray(image.squeeze())).enhance(factor)
        assert_within_levels(changed, np.asarray(pillow).reshape(image.shape), levels)


@pytest.mark.parametrize("exponent", [0.4, 0.9, 1.1, 2.0])
def test_gamma_is_scikit_images(exponent):
    images = pictures(3, 32, 3)
    assert_within_levels(tone.gamma(images, exponent), exposure.adjust_gamma(images, exponent))


@pytest.mark.parametrize("shift", [0.05, 0.25, 0.5])
def test_saturation_is_shifted_in_hsv(shift):
    images = pictures(3, 32, 3)
    hsv = color.rgb2hsv(images)
    assert (hsv[..., 1] + shift > 1).any() or shift < 0.5
    hsv[..., 1] = np.minimum(hsv[..., 1] + shift, 1)
    assert_within_levels(tone.saturate(images, shift), 255 * color.hsv2rgb(hsv), 0.51)


def test_grey_has_no_saturation():
    grey = pictures(3, 32, 1)
    np.testing.assert_array_equal(tone.saturate(grey, 0.5), grey)
    coloured = grey.repeat(3, axis=3)
    np.testing.assert_array_equal(tone.saturate(coloured, 0.5), coloured)


# ---------------------------------------------------------------- resolution, against OpenCV, Pillow, SciPy


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [0.8, 0.6, 0.35, 0.25, 0.1])
def test_pixelation_averages_areas(factor, channels):
    images = pictures(2, 28, channels)
    small = max(1, round(28 * factor))
    for image, coarse in zip(images, resolution.pixelate(images, factor), strict=True):
        shrunk = cv2.resize(image / 255, (small, small), interpolation=cv2.INTER_AREA)
        for c in range(channels):
            plane = Image.fromarray(shrunk.reshape(small, small, -1)[..., c].astype(np.float32))
            large = np.asarray(plane.resize((28, 28), Image.Resampling.NEAREST))
            assert_within_levels(coarse[..., c], 255 * large, 0.51)


@pytest.mark.parametrize("factor", [1.1, 1.31, 2.0])
def test_zoom_is_an_affine_map_about_the_centre(factor):
    images = pictures(2, 28, 3)
    offset = 13.5 * (1 - 1 / factor)
    for image, near in zip(images, resolution.zoom(images, factor), strict=True):
        for c in range(3):
            matrix, plane = np.full(2, 1 / factor), image[..., c].astype(float)
            expected = ndimage.affine_transform(plane, matrix, offset, order=1, mode="nearest")
            assert_within_levels(near[..., c], expected, 0.51)


@pytest.mark.parametrize("quality", [50, 15, 5])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_another_coder_makes_of_it(quality, channels):
    images = pictures(4, 32, channels)
    coded = resolution.jpeg(images, quality)
    for image, ours in zip(images, coded, strict=True):
        options = [
            cv2.IMWRITE_JPEG_QUALITY,
            quality,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
        ]
        _, written = cv2.imencode(".jpg", image[..., ::-1], options)
        read = cv2.imdecode(written, cv2.IMREAD_UNCHANGED).reshape(image.shape)[..., ::-1]
        assert np.abs(ours.astype(float) - read).mean() < 0.5
    assert np.abs(coded.astype(float) - images).mean() > 1.5


def enlarged(images: np.ndarray) -> np.ndarray:
    """Pictures of 28 pixels at 224, every pixel a square of 8 × 8."""
    return images.repeat(8, axis=1).repeat(8, axis=2)


def shrunk(images: np.ndarray) -> np.ndarray:
    n, _, _, channels = images.shape
    return images.reshape(n, 28, 8, 28, 8, channels).mean(axis=(2, 4))


def at_both_sizes(function, reference) -> None:
    """At 224 pixels it is the reference; at 28 it is the reference on an enlargement, averaged again."""
    large, small = pictures(1, 224, 3), pictures(2, 28, 3)
    assert_within_levels(function(large), 255 * reference(large / 255), 0.51)
    assert_within_levels(function(small), 255 * shrunk(reference(enlarged(small) / 255)), 0.51)


@pytest.mark.parametrize("size", [3, 9, 25, 37])
def test_gaussian_blur_is_opencvs(size):
    # OpenCV's own deviation for that size; left to itself it rounds the weights of the small ones.
    sigma = 0.3 * ((size - 1) * 0.5 - 1) + 0.8

    def reference(images):
        return np.stack(
            [
                cv2.GaussianBlur(x, (size, size), sigma, borderType=cv2.BORDER_REFLECT)
                for x in images
            ]
        )

    at_both_sizes(lambda images: resolution.gaussian_blur(images, size), reference)


@pytest.mark.parametrize(
    ("radius", "alias"), [(0.5, 0.6), (2.5, 0.1), (4, 0.1), (8, 0.5), (10, 1.5)]
)
def test_defocus_is_a_softened_disc(radius, alias):
    reach = int(radius) + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (y**2 + x**2 <= radius**2).astype(float)
    size = 3 if radius <= 8 else 5
    border = cv2.BORDER_CONSTANT  # nothing lies outside the disc
    disc = cv2.GaussianBlur(disc / disc.sum(), (size, size), alias, borderType=border)

    def reference(images):
        return np.stack([cv2.filter2D(x, -1, disc, borderType=cv2.BORDER_REFLECT) for x in images])

    at_both_sizes(lambda images: resolution.defocus_blur(images, radius, alias), reference)


@pytest.mark.parametrize(("radius", "sigma"), [(3, 3), (10, 5), (20, 15)])
@pytest.mark.parametrize("angle", [0, 15, 22, 30])
def test_motion_blur_is_a_fading_trail(monkeypatch, radius, sigma, angle):
    theta = resolution.MOTION_ANGLES[angle]
    monkeypatch.setattr(resolution, "MOTION_ANGLES", resolution.MOTION_ANGLES[angle : angle + 1])
    resolution._trail_kernel.cache_clear()

    def reference(images):
        steps = np.arange(2 * radius + 1)
        weights = np.exp(-(steps**2) / (2 * sigma**2))
        padded = np.pad(images, ((0, 0), (50, 50), (50, 50), (0, 0)), mode="symmetric")
        total = np.zeros_like(images)
        for i, weight in zip(steps, weights / weights.sum(), strict=True):
            down, right = round(i * np.sin(theta)), round(i * np.cos(theta))
            total += weight * padded[:, 50 - down : 274 - down, 50 - right : 274 - right]
        return total

    def function(images):
        return resolution.motion_blur(images, radius, sigma, np.random.default_rng(0))

    at_both_sizes(function, reference)
    resolution._trail_kernel.cache_clear()


def test_directions_of_motion_differ_between_images():
    images = pictures(1, 28, 1).repeat(40, axis=0)
    blurred = resolution.motion_blur(images, 20, 15, np.random.default_rng(0))
    assert len(np.unique(blurred.reshape(40, -1), axis=0)) > 15


# ---------------------------------------------------------------- things in the picture


def test_deposits_absorb_as_the_stain_does():
    white = np.full((30, 64, 64, 3), 255, dtype=np.uint8)
    stained = overlays.stain(white, 5, np.random.default_rng(0)) / 255
    density = -np.log(stained.reshape(-1, 3).min(axis=0))
    # Beer and Lambert: full coverage has the density of haematoxylin, 1.6 × (0.65, 0.70, 0.29).
    np.testing.assert_allclose(density, 1.6 * np.array([0.65, 0.70, 0.29]), atol=0.02)
    areas = [
        (overlays.stain(white, n, np.random.default_rng(0)) < 200).any(axis=3).mean()
        for n in (1, 2, 3, 4, 5)
    ]
    # A spot has π r² (1 + (¼² + 0.15²)/2) with r uniform in 0.05 … 0.12, a little of it outside.
    assert areas[0] == pytest.approx(np.pi * (0.12**3 - 0.05**3) / 0.21 * 1.04, rel=0.25)
    assert (np.diff(areas) > 0.5 * areas[0]).all()


def test_a_deposit_keeps_its_place_at_every_size():
    coarse = overlays.stain(np.full((5, 28, 28, 1), 200, np.uint8), 3, np.random.default_rng(1))
    fine = overlays.stain(np.full((5, 224, 224, 1), 200, np.uint8), 3, np.random.default_rng(1))
    gap = np.abs(shrunk(fine) - coarse)
    assert gap.mean() < 1 and (coarse < 190).any()


@pytest.mark.parametrize("radius", [0.12, 0.32])
def test_a_bubble_is_a_bright_disc_with_a_dark_rim(radius):
    grey = np.full((20, 64, 64, 1), 100, dtype=np.uint8)
    bubbled = overlays.bubble(grey, radius, np.random.default_rng(0))[..., 0]
    y, x = 64 * (0.25 + 0.5 * np.random.default_rng(0).random((20, 2), dtype=np.float32)).T
    rows, columns = np.mgrid[:64, :64] + 0.5
    distance = np.hypot(rows - y[:, None, None], columns - x[:, None, None])
    inside, outside = distance < 64 * radius - 5, distance > 64 * radius + 5
    assert_within_levels(bubbled[inside], 255 * (100 / 255 + 0.45 * (1 - 100 / 255)), 1)
    assert_within_levels(bubbled[outside], 100, 1)
    on_rim = np.abs(distance - 64 * radius) < 0.3
    assert bubbled[on_rim].max() < 50


def test_the_black_corner_is_a_circle():
    white = np.full((20, 64, 64, 3), 255, dtype=np.uint8)
    dark = overlays.black_corner(white, 0.9, np.random.default_rng(0))
    rows, columns = np.mgrid[:64, :64] - 31.5
    distance = np.hypot(rows, columns) / 32
    assert (dark[:, distance > 0.9 + 0.05 * 1.5 + 0.05] == 0).all()
    assert (dark[:, distance < 0.9 - 0.05 * 1.5 - 0.05] == 255).all()
    mild = overlays.black_corner(white, 1.3, np.random.default_rng(0))
    assert 0 < (mild == 0).mean() < 0.03 < (dark == 0).mean() < 0.45


def test_characters_can_be_read():
    # At 44 pixels a character is 7 high: a pixel for each dot of its pattern.
    white = np.full((200, 44, 44, 1), 255, dtype=np.uint8)
    written = overlays.characters(white, 1, np.random.default_rng(0))[..., 0]
    patterns = overlays._glyphs(7)
    assert set(np.unique(patterns)) == {0, 1} and patterns.shape == (10, 7, 5)
    drawn = (np.random.default_rng(0).random((200, 10, 3))[:, 0, 0] * 10).astype(int)
    for picture, digit in zip(written, drawn, strict=True):
        match = [ndimage.correlate((picture == 0) * 2.0 - 1, 2.0 * p - 1).max() for p in patterns]
        assert np.argmax(match) == digit
        assert (picture == 0).sum() == patterns[digit].sum()
    assert set(drawn) == set(range(10))


# ---------------------------------------------------------------- all families


def natural_pictures(n: int, side: int) -> np.ndarray:
    """Pictures with the spectrum of natural ones, amplitude 1/frequency: no grid that pixelation could meet."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    frequency[0, 0] = np.inf
    planes = np.fft.ifft2(np.fft.fft2(rng.standard_normal((n, 3, side, side))) / frequency).real
    planes /= planes.std(axis=(2, 3), keepdims=True)
    levels = np.rint(255 * np.clip(0.5 + 0.17 * planes, 0.02, 0.98))
    return levels.astype(np.uint8).transpose(0, 2, 3, 1)


@pytest.mark.parametrize("side", [28, 64])
@pytest.mark.parametrize(("modality", "family"), EVERY_TABLE)
def test_a_higher_severity_is_further_from_the_clean_image(modality, family, side):
    images = natural_pictures(8, side)
    gaps = [0.0]
    for strength in SEVERITIES[modality][family]:
        corrupted = corrupt(images, family, strength, np.random.default_rng(0))
        gaps.append(np.sqrt(((corrupted.astype(float) - images) ** 2).mean()))
    assert (np.diff(gaps) > 0).all(), gaps
    assert gaps[5] > 1.1 * gaps[1]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("modality", "family"), [*ONE_OF_EACH_FAMILY, ("natural", "mixed"), ("derma", "mixed")]
)
def test_neither_block_nor_what_follows_changes_an_image(modality, family, channels):
    images = pictures(23, 28, channels)
    families = Corruption(modality=modality, family=family).families(channels)
    results = [
        np.concatenate(
            list(corrupted_blocks(some, families, modality, 3, np.random.default_rng(4), size))
        )
        for some, size in ((images, 1), (images, 28 * 28 * channels * 7), (images[:9], 1 << 20))
    ]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0][:9], results[2])
    apart = np.concatenate(
        list(corrupted_blocks(images, families, modality, 3, np.random.default_rng(5), 1 << 20))
    )
    random = any(
        f.endswith("noise") or f in ("motion_blur", "stain", "bubble", "black_corner", "characters")
        for f in families
    )
    assert (apart != results[0]).any() == random


@pytest.mark.parametrize(
    ("family", "strength"),
    [
        *(("pixelate", factor) for factor in (0.8, 0.6, 0.25)),
        *(("gaussian_blur", 5), ("zoom", 1.2), ("defocus_blur", (4, 0.1)), ("motion_blur", (5, 5))),
    ],
)
def test_the_number_of_threads_changes_no_bit(family, strength):
    images = pictures(2, 224, 3)
    results = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads):
            results.append(corrupt(images, family, strength, np.random.default_rng(0)))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("shape", [(20, 31, 3), (8, 8, 1), (1, 1, 1), (5, 3, 3)])
@pytest.mark.parametrize(("modality", "family"), ONE_OF_EACH_FAMILY)
def test_any_shape_of_image(modality, family, shape):
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    plugin = Corruption(modality=modality, family=family)
    for severity in (1, 5):
        corrupted = plugin.apply(
            images_as_records(images), severity, np.random.default_rng(0), images_as_records(images)
        )
        assert corrupted.data.shape == images.shape


def test_working_memory_does_not_grow_with_the_images():
    plugin = Corruption(modality="path", family="mixed")
    peaks = []
    for n in (1500, 6000):
        records = images_as_records(pictures(50, 28, 3).repeat(n // 50, axis=0))
        plugin.apply(records.take(np.arange(10)), 5, np.random.default_rng(0), records)
        tracemalloc.start()
        plugin.apply(records, 5, np.random.default_rng(0), records)
        peaks.append(tracemalloc.get_traced_memory()[1] - records.data.nbytes)
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1e6 < 20e6, peaks


@pytest.mark.slow
def test_the_process_does_not_grow_with_the_images_either():
    """Memory that tracemalloc does not see (Pillow, OpenCV): the peak of a whole process."""
    script = """
import resource, sys
import numpy as np
from benchmark.perturbations.corruption import corrupted_blocks
from benchmark.perturbations.severities import FAMILIES, MODALITIES, SEVERITIES

n, few = int(sys.argv[1]), np.random.default_rng(0).integers(0, 256, (50, 28, 28, 3), np.uint8)


class Served:
    def __len__(self):
        return n

    def __getitem__(self, i):
        return few[np.arange(i.start, min(i.stop, n)) % 50] if isinstance(i, slice) else few[i % 50]


for family in FAMILIES:
    modality = next(m for m in MODALITIES if family in SEVERITIES[m])
    for block in corrupted_blocks(Served(), (family,), modality, 5, np.random.default_rng(0)):
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", script, n], capture_output=True, check=True
            ).stdout
        )
        for n in ("1000", "10000")
    ]
    assert peaks[1] < peaks[0] + 4096, peaks  # kibibytes; 10,000 images of one family have 23 MiB


def test_a_mixture_gives_each_image_one_corruption_of_its_kind():
    images = pictures(1, 28, 3).repeat(800, axis=0)
    plain = ["brightness_down", "contrast_down"]  # without randomness: told by their result
    plugin = Corruption(modality="retina")
    mixed = plugin.apply(
        images_as_records(images), 4, np.random.default_rng(0), images_as_records(images)
    )
    share = 1 / len(families_of("retina"))
    for family in plain:
        strength = SEVERITIES["retina"][family][3]
        expected = corrupt(images[:1], family, strength, np.random.default_rng(0))
        found = (mixed.data == expected).all(axis=(1, 2, 3)).mean()
        assert found == pytest.approx(share, abs=5 * np.sqrt(share / 800))
    assert not (mixed.data == images).all(axis=(1, 2, 3)).any()


def test_grey_images_are_spared_what_does_not_change_them():
    assert "saturate" in families_of("natural") and "saturate" not in families_of("natural", 1)
    assert list(COLOUR_ONLY) == ["saturate"]
    assert len(families_of("natural", 1)) == len(families_of("natural")) - 1


def test_severities_of_the_paper():
    assert SEVERITIES["retina"]["jpeg"] == (30, 25, 20, 10, 5)
    assert SEVERITIES["derma"]["contrast_down"] == (0.8, 0.7, 0.6, 0.5, 0.4)
    assert SEVERITIES["derma"]["defocus_blur"] == ((4, 0.1), (5, 0.2), (6, 0.3), (7, 0.4), (8, 0.5))
    assert SEVERITIES["breast"]["pixelate"] == (0.3, 0.25, 0.2, 0.15, 0.1)
    assert SEVERITIES["organ"]["brightness_down"] == (0.8, 0.75, 0.7, 0.65, 0.6)
    assert SEVERITIES["pneumonia"]["gaussian_noise"] == (0.04, 0.05, 0.06, 0.07, 0.08)
    assert SEVERITIES["blood"]["motion_blur"] == ((3, 3), (5, 5), (10, 5), (10, 7), (10, 9))
    assert SEVERITIES["tissue"]["gaussian_blur"] == (13, 15, 17, 21, 25)
    assert SEVERITIES["natural"]["shot_noise"] == (60, 25, 12, 5, 3)
    assert [len(SEVERITIES[m]) for m in MODALITIES] == [11, 9, 15, 8, 6, 7, 13, 13, 13, 8, 17]


# ---------------------------------------------------------------- the plugin


def test_a_kind_of_pictures_after_the_slash():
    plugin = default_registry().make("perturbations", "corruption/derma", {"family": "zoom"})
    assert plugin == Corruption(modality="derma", family="zoom")
    assert plugin.parameters() == {"modality": "derma", "family": "zoom"}


def test_a_family_that_the_kind_lacks_is_refused():
    with pytest.raises(
        ValidationError, match=r"kind 'retina' have no corruption 'stain'.*pixelate"
    ):
        Corruption(modality="retina", family="stain")
    with pytest.raises(ValidationError, match="modality"):
        Corruption(modality="fundus")
    with pytest.raises(
        ValueError, match=r"'fundus' is no kind of pictures .* Allowed: path, blood"
    ):
        Corruption.from_variant("fundus")


@pytest.mark.parametrize("severity", [0, 6])
def test_wrong_severities_and_features_are_refused(severity):
    records = images_as_records(pictures(2, 28, 1))
    with pytest.raises(ValueError, match=f"severity must be in 1 … 5 .* Got {severity}"):
        Corruption().apply(records, severity, np.random.default_rng(0), records)
    features = Records(np.zeros((2, 3), np.float32), records.labels, extractor="native")
    with pytest.raises(InvalidRecords, match="corruption works on images"):
        Corruption().apply(features, 1, np.random.default_rng(0), features)


def test_all_but_the_pixels_stay():
    records = Records(pictures(6, 28, 3), np.arange(6), np.arange(6) // 2)
    before = records.digest()
    corrupted = Corruption().apply(records, 5, np.random.default_rng(0), records)
    assert records.digest() == before
    assert corrupted.replace(data=records.data) == records


def test_the_sheet_shows_a_row_for_each_family(tmp_path):
    out = tmp_path / "sheet.png"
    draw_sheet_to_file(["--out", str(out), "--modality", "retina", "--size", "28", "--tile", "28"])
    sheet = np.asarray(Image.open(io.BytesIO(out.read_bytes())))
    assert sheet.shape == (8 * 32, 190 + 6 * 32, 3)
    pictures_shown = sheet[:, 190:].reshape(8, 32, 6, 32, 3).transpose(0, 2, 1, 3, 4)
    clean = pictures_shown[:, 0].astype(float)
    assert (clean == clean[0]).all()
    gaps = np.abs(pictures_shown[:, 1:] - clean[:, None]).mean(axis=(2, 3, 4))
    assert (gaps > 0).all() and (gaps[:, 4] > gaps[:, 0]).all()
