"""Search among pictures: copies are found up to the stated changes, and distances are those of the definition."""

import numpy as np
import pytest
from scipy.ndimage import zoom
from sklearn.datasets import load_digits

from attacks.near_duplicate import image_search
from attacks.near_duplicate.image_search import (
    hash_distances,
    nearest_aligned,
    nearest_aligned_both_ways,
    nearest_hash,
    nearest_ssim,
    perceptual_hash,
)
from benchmark.learning.image_quality import ssim


def pictures(n, side=12, channels=1, seed=0):
    """Random pictures with shapes of all sizes, down to two pixels."""
    rng = np.random.default_rng([seed, side, channels])
    found = np.zeros((n, side, side, channels))
    for parts in (3, side // 2):
        coarse = rng.integers(20, 120, (n, parts, parts, channels))
        found += [zoom(c, (side / parts, side / parts, 1), order=1) for c in coarse]
    return found.astype(np.uint8)


def moved(images, down, right):
    """Moved, with noise where nothing is left."""
    out = np.random.default_rng(5).integers(0, 256, images.shape).astype(np.uint8)
    h, w = images.shape[1:3]
    out[:, max(down, 0) : h + min(down, 0), max(right, 0) : w + min(right, 0)] = images[
        :, max(-down, 0) : h + min(-down, 0), max(-right, 0) : w + min(-right, 0)
    ]
    return out


FLIPS = {
    "as it is": lambda x: x,
    "left-right": lambda x: x[:, :, ::-1],
    "upside down": lambda x: x[:, ::-1],
    "both": lambda x: x[:, ::-1, ::-1],
}


# ---------------------------------------------------------------- aligned


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("flip", FLIPS)
def test_a_flipped_and_moved_copy_is_at_distance_zero_whatever_fills_its_edges(flip, channels):
    originals = pictures(9, 20, channels)
    for down, right in ((0, 0), (2, -2), (-1, 2)):
        copies = moved(FLIPS[flip](originals), down, right)
        distances, rows = nearest_aligned(originals, copies)
        np.testing.assert_array_equal(rows, np.arange(9))
        np.testing.assert_array_equal(distances, 0)
        distances, rows = nearest_aligned(copies, originals, altered="queries")
        np.testing.assert_array_equal(rows, np.arange(9))
        np.testing.assert_array_equal(distances, 0)


def test_a_copy_moved_further_than_the_shift_is_not_found():
    originals = pictures(9, 24)
    assert nearest_aligned(originals, moved(originals, 3, 0), shift=2)[0].min() > 0.05
    assert nearest_aligned(originals, moved(originals, 3, 0), shift=3)[0].max() == 0


def test_brightness_and_contrast_in_range_change_nothing():
    originals = pictures(9, 16) // 2
    brighter = 2 * originals + 1  # exact in whole grey levels
    np.testing.assert_allclose(nearest_aligned(originals, brighter)[0], 0, atol=1e-14)
    darker = np.rint(0.6 * originals + 11).astype(np.uint8)
    assert nearest_aligned(originals, darker)[0].max() < 0.08
    assert (
        nearest_aligned(originals, 255 - originals)[0].min() > 0.3
    )  # a negative is another picture


def test_a_crop_enlarged_by_another_interpolation_is_near():
    cv2 = pytest.importorskip("cv2")
    originals = pictures(9, 24)
    cut = originals[:, 2:-2, 2:-2, 0]
    copies = np.stack([cv2.resize(c, (24, 24), interpolation=cv2.INTER_CUBIC) for c in cut])
    distances, rows = nearest_aligned(originals, copies[..., None])
    np.testing.assert_array_equal(rows, np.arange(9))
    assert distances.max() < 0.15
    apart, _ = nearest_aligned(originals, copies[..., None], shift=0)
    assert (distances < apart / 4).all()


def brute_force(a, b, reach):
    """The definition, for one pair and flips and shifts alone (no zoom)."""
    best = np.inf
    h, w = a.shape[:2]
    for flip in FLIPS.values():
        one = flip(a[None].astype(float))[0, reach : h - reach, reach : w - reach].ravel()
        one = one - one.mean()
        for top in range(2 * reach + 1):
            for left in range(2 * reach + 1):
                other = b[top : top + h - 2 * reach, left : left + w - 2 * reach].astype(float)
                other = other.ravel() - other.mean()
                r = one @ other / np.sqrt(one @ one * (other @ other))
                best = min(best, np.sqrt(max(2 - 2 * r, 0)))
    return best


def test_distances_are_the_least_over_the_group_and_blocks_change_nothing():
    rng = np.random.default_rng(1)
    a, b = (rng.integers(0, 256, (n, 16, 18, 1)).astype(np.uint8) for n in (7, 40))
    distances, rows = nearest_aligned(a, b, shift=1)
    for i in range(7):
        # On noise, enlarging loses more than it can gain: the zooms never win.
        apart = [brute_force(a[i], b[j], 1) for j in range(40)]
        assert distances[i] <= min(apart) + 1e-9
        assert distances[i] == pytest.approx(min(apart), abs=0.05)
        assert distances[i] <= brute_force(a[i], b[rows[i]], 1) + 1e-9
    again = nearest_aligned(a, b, shift=1, block_bytes=1)  # blocks of 16
    np.testing.assert_array_equal(again[1], rows)
    np.testing.assert_allclose(again[0], distances)


def test_blank_pictures_are_like_each_other_alone():
    blank = np.full((1, 16, 16, 1), 40, np.uint8)
    others = pictures(3, 16)
    gallery = np.concatenate([others, blank + 90])
    distances, rows = nearest_aligned(np.concatenate([blank, others]), gallery)
    np.testing.assert_array_equal(rows, [3, 0, 1, 2])
    np.testing.assert_array_equal(distances, 0)
    assert nearest_aligned(blank, others)[0][0] == pytest.approx(np.sqrt(2))
    # Fewer than a grey level of deviation is rounding: one pixel of 256 that is off by one.
    grainy = blank.copy()
    grainy[0, 3, 5] += 1
    distances, rows = nearest_aligned(grainy, np.concatenate([others, blank]))
    assert (float(distances[0]), int(rows[0])) == (0.0, len(others))


def test_large_pictures_are_reduced_and_their_copies_found():
    originals = pictures(5, 150)
    distances, rows = nearest_aligned(originals, moved(originals[:, :, ::-1], 3, -3))
    np.testing.assert_array_equal(rows, np.arange(5))
    assert distances.max() < 0.05


@pytest.mark.parametrize("side", [28, 64])
def test_a_short_list_from_coarse_windows_misses_no_copy(side, monkeypatch):
    """Pictures that are noise have nothing in common with their neighbours at a pixel's distance."""
    noise = np.random.default_rng(6).integers(0, 256, (60, side, side, 1), dtype=np.uint8)
    originals = np.concatenate([pictures(20, side), noise[:20]])
    copies = np.concatenate([moved(originals[:, :, ::-1], 1, -2), noise[20:]])
    distances, rows = nearest_aligned(originals, copies)
    np.testing.assert_array_equal(rows, np.arange(40))
    np.testing.assert_array_equal(distances, 0)
    found, others = nearest_aligned(originals[:30], copies[40:]), copies[40:]
    monkeypatch.setattr(image_search, "_COARSE_SIDE", side)  # the search is then exact
    exact = nearest_aligned(originals[:30], others)
    assert (found[0] >= exact[0] - 1e-9).all() and (found[0] / exact[0]).max() < 1.1


@pytest.mark.parametrize("side", [12, 30])
def test_both_ways_at_once_are_the_two_searches(side):
    a, b = pictures(25, side), pictures(18, side, seed=1)
    b[3] = moved(a[7:8, ::-1], 1, 0)[0]
    of_a, of_b = nearest_aligned_both_ways(a, b, block_bytes=1)
    for found, expected in (
        (of_a, nearest_aligned(a, b)),
        (of_b, nearest_aligned(b, a, altered="queries")),
    ):
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_allclose(found[0], expected[0], atol=1e-12)
    assert of_a[0][7] == 0 and of_a[1][7] == 3 and of_b[1][3] == 7


def test_images_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="images of one shape"):
        nearest_aligned(pictures(2, 8), pictures(2, 12))
    with pytest.raises(ValueError, match="uint8"):
        nearest_ssim(pictures(2, 8).astype(float), pictures(2, 8))


# ---------------------------------------------------------------- perceptual hash


def test_a_hash_by_hand():
    # A horizontal cosine of the second frequency has one coefficient above all others, at (0, 2),
    # beside the mean at (0, 0); rounding to grey levels makes up the rest.
    wave = 128 + 100 * np.cos(np.pi * (np.arange(32) + 0.5) * 2 / 32)
    picture = np.rint(np.tile(wave, (32, 1))).astype(np.uint8)[None, :, :, None]
    bits = perceptual_hash(picture)[0, 0].reshape(8, 8)
    assert bits[0, 0] and bits[0, 2]
    # Rows of one grey level have no vertical frequency: those coefficients are 0 up to the median.
    upright = perceptual_hash(255 - picture)[0, 0].reshape(8, 8)
    assert not upright[0, 2]


# The hashes of the first four digits, 8 × 8 pixels, by ``imagehash.phash`` of ImageHash 4.3.2.
BY_IMAGEHASH = ("878ccc386d636573", "98613a3ce1c73e3c", "9a1ab24939b3668f", "9bc9c7364c0c3c9b")


def digits(n):
    ink = load_digits().images[:n]
    return np.rint(ink * (255 / 16)).astype(np.uint8)[..., None]


def test_hashes_are_those_of_the_package_imagehash():
    ours = [np.packbits(bits).tobytes().hex() for bits in perceptual_hash(digits(4))[:, 0]]
    assert ours == list(BY_IMAGEHASH)


@pytest.mark.parametrize("channels", [1, 3])
def test_hashes_agree_with_imagehash_where_it_is_installed(channels):
    imagehash = pytest.importorskip("imagehash")
    from PIL import Image

    images = np.concatenate([pictures(20, side, channels, seed=side)[:, :8, :8] for side in (8, 9)])
    images = np.concatenate([images, images[:, ::-1]])
    for image, bits in zip(images, perceptual_hash(images)[:, 0], strict=True):
        picture = Image.fromarray(image[..., 0] if channels == 1 else image)
        np.testing.assert_array_equal(imagehash.phash(picture).hash.ravel(), bits)


def test_hashes_of_flips_are_the_hashes_of_flipped_pictures():
    images = pictures(30, 32)
    bits = perceptual_hash(images)
    for f, flip in enumerate(FLIPS.values()):
        same = perceptual_hash(np.ascontiguousarray(flip(images)))[:, 0] == bits[:, f]
        # Rounding may turn the bit at the median.
        assert same.mean() > 0.99
        assert same.sum(axis=1).min() >= 62


def test_hash_distances_count_differing_bits_of_the_best_flip():
    rng = np.random.default_rng(0)
    a, b = (rng.random((n, 4, 64)) < 0.5 for n in (6, 50))
    expected = (a[:, :, None] != b[:, 0]).sum(axis=3).min(axis=1)
    np.testing.assert_array_equal(hash_distances(a, b), expected)
    distances, rows = nearest_hash(a, b)
    np.testing.assert_array_equal(distances, expected.min(axis=1))
    np.testing.assert_array_equal(rows, expected.argmin(axis=1))


def test_a_brightened_and_mirrored_copy_keeps_its_hash():
    originals = pictures(20, 32)
    copies = np.rint(0.8 * originals[:, :, ::-1] + 20).astype(np.uint8)
    distances, rows = nearest_hash(perceptual_hash(originals), perceptual_hash(copies))
    np.testing.assert_array_equal(rows, np.arange(20))
    assert (
        distances.max()
        <= 6
        < nearest_hash(*map(perceptual_hash, (originals, pictures(20, 32, seed=9))))[0].min()
    )


# ---------------------------------------------------------------- structural similarity


def test_the_nearest_by_ssim_is_that_of_all_where_there_are_few():
    a, b = pictures(5, 16, seed=1), pictures(8, 16, seed=2)
    distances, rows = nearest_ssim(a, b)
    for i in range(5):
        found = [
            max(
                float(ssim(np.ascontiguousarray(f(a[i : i + 1])), b[j : j + 1])[0])
                for f in FLIPS.values()
            )
            for j in range(8)
        ]
        assert rows[i] == int(np.argmax(found))
        assert distances[i] == pytest.approx(1 - max(found), abs=1e-12)


def test_noisy_and_flipped_copies_are_found_by_ssim_among_many():
    rng = np.random.default_rng(3)
    originals, others = pictures(10, 16, seed=3), pictures(100, 16, seed=4)
    noisy = np.clip(originals[:, ::-1] + rng.normal(0, 4, originals.shape), 0, 255).astype(np.uint8)
    distances, rows = nearest_ssim(originals, np.concatenate([others, noisy]))
    np.testing.assert_array_equal(rows, 100 + np.arange(10))
    assert distances.max() < 0.1 < nearest_ssim(originals, others)[0].min()
    assert nearest_ssim(originals, originals)[0].max() == 0
