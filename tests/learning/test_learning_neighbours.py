"""Nearest neighbours against scikit-learn, and where the usual expansion loses its digits."""

import threading

import numpy as np
import psutil
import pytest
from sklearn.neighbors import NearestNeighbors

from benchmark.learning.neighbours import (
    _block_sizes,
    _rounding,
    _Search,
    _smallest,
    nearest,
)


def _reference(queries, gallery, k):
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(gallery.astype(np.float64))
    return search.kneighbors(queries.astype(np.float64))


@pytest.mark.parametrize("dimension", [1, 7, 300])
@pytest.mark.parametrize("k", [1, 5, 83])
@pytest.mark.parametrize("block_bytes", [1, 20_000, 1 << 27])
def test_agrees_with_scikit_learn_at_any_block_size(dimension, k, block_bytes):
    rng = np.random.default_rng(dimension)
    queries = rng.standard_normal((41, dimension)).astype(np.float32)
    gallery = rng.standard_normal((83, dimension)).astype(np.float32)
    distances, indices = nearest(queries, gallery, k, block_bytes=block_bytes)
    expected_distances, expected_indices = _reference(queries, gallery, k)
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-9)
    assert distances.dtype == np.float64
    assert indices.dtype == np.int64


@pytest.mark.parametrize("block_bytes", [1, 3_000, 1 << 27])
def test_exclude_self_skips_the_record_but_not_its_copies(block_bytes):
    records = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32)
    records[17] = records[40]
    distances, indices = nearest(records, records, 3, exclude_self=True, block_bytes=block_bytes)
    reference = NearestNeighbors(n_neighbors=3, algorithm="brute").fit(records.astype(np.float64))
    expected_distances, expected_indices = reference.kneighbors()
    # Which of the two equal records a third one meets first is not promised.
    merged = [np.where(rows == 40, 17, rows) for rows in (indices, expected_indices)]
    np.testing.assert_array_equal(*merged)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-9, atol=1e-12)
    assert (indices[17, 0], indices[40, 0]) == (40, 17)
    assert distances[17, 0] == distances[40, 0] == 0


def test_a_copy_is_at_distance_exactly_zero_far_from_the_origin():
    rng = np.random.default_rng(1)
    gallery = (1e4 + rng.standard_normal((500, 1280))).astype(np.float32)
    copies = rng.permutation(500)[:100]
    distances, indices = nearest(gallery[copies], gallery)
    np.testing.assert_array_equal(distances[:, 0], 0)
    np.testing.assert_array_equal(indices[:, 0], copies)


def test_near_copies_keep_their_order_where_the_expansion_in_single_precision_cannot():
    # ‖a‖² is about 1e11 and the gaps are below 1e-1: nothing of them is left in float32.
    base = np.full(1024, 1e4, dtype=np.float32)
    gallery = np.repeat(base[None], 6, axis=0)
    for row, gap in enumerate([0.05, 0.01, 0.04, 0.02, 0.06, 0.03]):
        gallery[row, row] = np.float32(1e4 + gap)
    distances, indices = nearest(base[None], gallery, 6)
    exact = np.abs(np.diagonal(gallery).astype(np.float64) - 1e4)
    np.testing.assert_array_equal(indices[0], np.argsort(exact))
    np.testing.assert_allclose(distances[0], np.sort(exact), rtol=1e-12)


def test_many_copies_in_the_gallery_all_count_as_neighbours():
    gallery = np.concatenate([np.zeros((50, 3)), np.ones((50, 3))]).astype(np.float32)
    distances, indices = nearest(np.zeros((1, 3), np.float32), gallery, 50)
    assert sorted(indices[0]) == list(range(50))
    np.testing.assert_array_equal(distances, 0)


def test_no_queries_give_no_answers():
    distances, indices = nearest(np.empty((0, 3), np.float32), np.ones((4, 3), np.float32), 2)
    assert distances.shape == indices.shape == (0, 2)


@pytest.mark.parametrize("width", [2, 64, 1280, 150_528])
def test_a_block_stays_within_the_memory_given(width):
    budget = 128 << 20
    n_queries, n_gallery = _block_sizes(width, 5, budget)
    products = 4 * n_queries * n_gallery
    assert 12 * width * (n_queries + n_gallery) + products <= budget
    assert n_queries == 4096 or 2 * (12 * width * (n_queries + 1) + products) > budget / 2


@pytest.mark.parametrize("n_list", [1, 5, 40])
@pytest.mark.parametrize("n_columns", [7, 50, 320, 333, 4096])
def test_the_smallest_by_groups_are_the_smallest(n_list, n_columns):
    torch = pytest.importorskip("torch")
    values = torch.randn(30, n_columns, generator=torch.Generator().manual_seed(n_columns))
    n = min(n_list, n_columns)
    found, columns = _smallest(values, n)
    expected = values.sort(dim=1)
    assert torch.equal(found, expected.values[:, :n])
    assert torch.equal(columns, expected.indices[:, :n])


def _certain(queries, gallery, k=1):
    n_list = min(k + 4, len(gallery))
    return _Search(gallery, n_list, "cpu", 1 << 27)(queries, None, k)[2]


def test_ordinary_records_are_certain_in_single_precision_and_near_copies_are_not():
    rng = np.random.default_rng(4)
    records = rng.standard_normal((2000, 256)).astype(np.float32)
    assert _certain(records[:200], records[200:]).mean() > 0.95
    crowd = (records[:1] + 1e-5 * records).astype(np.float32)
    far = np.concatenate([crowd, -50 * records[:5]])
    assert not _certain(crowd[:200], far).any()


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e18, 1e30])
@pytest.mark.parametrize("offset", [0.0, 3.0, 1e4])
@pytest.mark.parametrize("spread", [1.0, 1e-4])
def test_is_exact_for_crowds_at_any_scale_and_place(scale, offset, spread):
    # Crowds far apart: what tells the records of one crowd apart is below float32's rounding of
    # the expanded distance, so single precision alone would return wrong neighbours.
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((3, 64))
    rows = centres[np.arange(400) % 3] + spread * rng.standard_normal((400, 64))
    records = ((rows + offset) * scale).astype(np.float32)
    queries, gallery = records[:80], records[80:]
    _, indices = nearest(queries, gallery, 2)
    gaps = queries[:, None].astype(np.float64) - gallery[None]
    exact = np.linalg.norm(gaps / scale, axis=2)
    np.testing.assert_allclose(
        np.take_along_axis(exact, indices, 1), np.sort(exact, axis=1)[:, :2], rtol=1e-12
    )


def test_the_bound_on_rounding_holds_and_is_not_idle():
    rng = np.random.default_rng(6)
    gallery = rng.standard_normal((500, 300)).astype(np.float32)
    queries = rng.standard_normal((50, 300)).astype(np.float32)
    search = _Search(gallery, 500, "cpu", 1 << 27)
    moved = search.frame.apply(queries, np.float64)
    reference = search.frame.apply(gallery, np.float64)
    last, _, longest = search._short_list(moved, None, np.float32)
    exact = (np.square(reference).sum(1) - 2 * moved @ reference.T).max(axis=1)
    bound = _rounding(np.linalg.norm(moved, axis=1), longest, 300)
    assert (np.abs(last - exact) <= bound).all()
    assert np.abs(last - exact).max() > 1e-4 * bound.max()


@pytest.mark.parametrize(
    ("queries", "gallery", "k", "exclude_self", "message"),
    [
        ((3, 2), (4, 3), 1, False, r"same d. Got \(3, 2\) and \(4, 3\)"),
        ((3,), (4, 3), 1, False, r"Got \(3,\)"),
        ((3, 2), (4, 2), 0, False, "at most 4.*Got 0"),
        ((3, 2), (4, 2), 5, False, "at most 4.*Got 5"),
        ((4, 2), (4, 2), 4, True, "at most 3.*Got 4"),
        ((3, 2), (4, 2), 1, True, "Got 3 queries and 4 gallery"),
    ],
)
def test_what_does_not_fit_is_refused(queries, gallery, k, exclude_self, message):
    with pytest.raises(ValueError, match=message):
        nearest(np.zeros(queries), np.zeros(gallery), k, exclude_self=exclude_self)


@pytest.mark.gpu
def test_the_device_changes_nothing():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    rng = np.random.default_rng(2)
    queries = rng.standard_normal((200, 64)).astype(np.float32)
    gallery = rng.standard_normal((300, 64)).astype(np.float32)
    on_cpu, on_gpu = nearest(queries, gallery, 3), nearest(queries, gallery, 3, device="cuda")
    np.testing.assert_array_equal(on_cpu[0], on_gpu[0])
    np.testing.assert_array_equal(on_cpu[1], on_gpu[1])


@pytest.mark.slow
def test_a_gallery_of_100_000_is_searched_within_the_memory_given():
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((100_000, 768), dtype=np.float32)
    queries = rng.standard_normal((3000, 768), dtype=np.float32)  # more than a block holds
    originals = [3, 99_999, 50_000]
    queries[[0, 1500, 2999]] = gallery[originals]
    nearest(queries[:100], gallery[:5000])  # what libraries keep for themselves
    process, done = psutil.Process(), threading.Event()
    before = process.memory_info().rss
    peak = [before]

    def watch():
        while not done.wait(0.005):
            peak.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        distances, rows = nearest(queries, gallery)
    finally:
        done.set()
        watcher.join()
    assert rows[[0, 1500, 2999], 0].tolist() == originals
    assert distances[[0, 1500, 2999], 0].tolist() == [0, 0, 0]
    assert max(peak) - before < 200 << 20  # 128 MiB were given; the gallery alone has 293
