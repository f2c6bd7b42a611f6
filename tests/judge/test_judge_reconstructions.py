"""Reconstructions: fidelity to what was released, nearness to members beside non-members, by hand."""

import tracemalloc

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from benchmark.contracts import Reconstructions, Records
from benchmark.game import InvalidAnswer, check_answer
from benchmark.judge.figures import Trial, control_figure, trial_figures
from benchmark.judge.reconstructions import (
    Reconstructed,
    nearest_on_each_side,
    reconstruction_figures,
)
from benchmark.nodes import _answer_arrays
from benchmark.similarity import candidate_nearness, fidelity


def features(rows):
    rows = np.asarray(rows, dtype=np.float32)
    return Records(rows, np.zeros(len(rows), dtype=np.int64), None, "t")


def images(data):
    data = np.asarray(data, dtype=np.uint8)
    return Records(data, np.zeros(len(data), dtype=np.int64))


REAL = features([[0, 0], [4, 0], [0, 2], [4, 2]])  # variances 4 and 1: the unit is 2.5


def test_fidelity_of_features_by_hand():
    made, released = features([[1, 0], [0, 3], [5, 5]]), features([[0, 0], [1, 1], [0, 2]])
    found = fidelity(made, np.array([1, 2, -1]), released, REAL)
    # (1, 0) against (1, 1): error 0.5; (0, 3) against (0, 2): error 0.5; the third aims at nothing.
    assert found["mse"][:2] == pytest.approx([0.5 / 2.5, 0.5 / 2.5])
    assert found["cosine"][:2] == pytest.approx([1 / np.sqrt(2), 1])
    assert np.isnan(found["mse"][2]) and np.isnan(found["cosine"][2])


def test_fidelity_of_images_by_hand_and_by_scikit_image():
    rng = np.random.default_rng(0)
    released = images(rng.integers(0, 200, (2, 16, 16, 1)))
    made = released.replace(data=released.data + np.uint8([[[[0]]], [[[51]]]]))
    found = fidelity(made, np.array([0, 1]), released, released)
    assert found["mse"] == pytest.approx([0, 0.04])  # (51/255)²
    assert found["psnr"][1] == pytest.approx(10 * np.log10(1 / 0.04))
    assert found["psnr"][0] > 58  # a copy
    expected = structural_similarity(
        made.data[1, :, :, 0],
        released.data[1, :, :, 0],
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
    )
    assert found["ssim"][0] == pytest.approx(1)
    assert found["ssim"][1] == pytest.approx(expected, abs=0.02)


def test_the_nearest_member_and_non_member_by_hand():
    candidates = features([[0, 0], [1, 0], [3, 0], [9, 0]])
    coins = np.array([False, True, True, False])
    nearness = candidate_nearness(features([[2.5, 0], [-1, 0]]), candidates, REAL)
    assert nearness["rows"].tolist() == [[2, 1, 0, 3], [0, 1, 2, 3]]
    member, other = nearest_on_each_side(nearness, coins)["mse"]
    # Squared distances over two dimensions and the unit of 2.5.
    assert member == pytest.approx([0.25 / 5, 4 / 5])
    assert other == pytest.approx([6.25 / 5, 1 / 5])


def test_reconstructions_whose_neighbours_are_all_on_one_side_are_left_out():
    candidates = features(np.arange(60)[:, None] * [1, 0])
    coins = np.arange(60) >= 30
    nearness = candidate_nearness(features([[0, 0], [29.25, 0]]), candidates, REAL)
    assert nearness["rows"].shape == (2, 24)
    member, other = nearest_on_each_side(nearness, coins)["mse"]
    assert member == pytest.approx([0.5625 / 5])
    assert other == pytest.approx([0.0625 / 5])


def test_figures_by_hand():
    made = Reconstructed(
        fidelity={
            "mse": np.array([1e-4, 2e-4, 0.5, np.nan]),
            "psnr": np.array([40.0, 38.0, 3.0, np.nan]),
        },
        sides={"mse": (np.array([1.0, 2.0, 9.0]), np.array([3.0, 4.0, 5.0]))},
    )
    figures = reconstruction_figures(made, 0.95)
    assert figures["recovered_share"].value == pytest.approx(2 / 3)
    assert figures["recovered_share"].low < 0.2 < 0.9 < figures["recovered_share"].high
    assert figures["fidelity_mse"].value == 2e-4
    assert figures["fidelity_psnr"].value == 27
    assert "mean over 3 reconstructions" in figures["fidelity_psnr"].method
    # Student's t with two degrees of freedom: 4.3027 standard errors.
    error = np.std([40, 38, 3], ddof=1) / np.sqrt(3)
    assert figures["fidelity_psnr"].high == pytest.approx(27 + 4.30265 * error, rel=1e-5)
    assert (figures["mse_to_member"].value, figures["mse_to_nonmember"].value) == (2, 4)


def test_no_targets_no_fidelity_and_none_that_aims_says_so():
    assert not reconstruction_figures(Reconstructed(), 0.95)
    nothing = Reconstructed(fidelity={"mse": np.array([np.nan]), "ssim": np.array([np.nan])})
    figures = reconstruction_figures(nothing, 0.95)
    assert all(not figure.resolved and figure.reason for figure in figures.values())


def test_members_are_nearer_where_they_are_reconstructed_and_not_otherwise():
    rng = np.random.default_rng(1)
    pool = features(rng.normal(size=(800, 4)))
    candidates, fresh, coins = (
        pool.take(np.arange(400)),
        pool.take(np.arange(400, 800)),
        rng.random(400) < 0.5,
    )
    for release, leaks in ((candidates.take(coins), True), (fresh, False)):
        nearness = candidate_nearness(release, candidates, pool)
        member, other = nearest_on_each_side(nearness, coins)["mse"]
        if leaks:
            assert member.max() == 0 < other.min()
        else:
            gap = np.log(member) - np.log(other)
            # 400 reconstructions share 400 candidates: about a hundred independent ones at least.
            assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(100)


def test_the_node_stores_what_the_figures_need_and_a_control_can_ask_for_it():
    candidates = features([[0, 0], [1, 0], [3, 0], [9, 0]])
    answer = Reconstructions(records=features([[1, 0], [8, 0]]), targets=np.array([0, 1]))
    released = features([[1, 0], [3, 0]])
    arrays = _answer_arrays(answer, candidates, REAL, released)
    assert set(arrays) == {"scores", "reconstructions", "nearness", "fidelity"}
    assert arrays["reconstructions"]["targets"].tolist() == [0, 1]
    coins = np.array([False, True, True, False])
    made = Reconstructed(
        fidelity=arrays["fidelity"], sides=nearest_on_each_side(arrays["nearness"], coins)
    )
    trial = Trial(coins=coins, scores=arrays["scores"]["values"], reconstructed=made)
    assert trial_figures(trial, 0.95)["recovered_share"].value == 0.5
    share = control_figure(trial, "recovered_share", 0.95)
    assert share is not None and share.value == 0.5
    without = _answer_arrays(Reconstructions(records=answer.records), candidates, REAL, released)
    assert set(without) == {"scores", "reconstructions", "nearness"}


@pytest.mark.parametrize(
    "targets",
    [np.array([0, 1, 0]), np.array([0, 5]), np.array([-2, 0]), np.array([0.0, 1.0]), [0, 1]],
    ids=str,
)
def test_targets_that_are_no_rows_of_the_release_are_refused(targets):
    answer = Reconstructions(records=features([[0, 0], [1, 1]]), targets=targets)
    with pytest.raises(InvalidAnswer, match="rows of the release in 0 … 4"):
        check_answer(answer, 4, 5)


def test_memory_does_not_grow_with_the_number_of_pairs(monkeypatch):
    """A few pairs at a time give the figures of all at once."""
    rng = np.random.default_rng(0)
    made, private = (images(rng.integers(0, 256, (n, 32, 32, 3))) for n in (60, 100))
    whole = candidate_nearness(made, private, private)
    monkeypatch.setattr("benchmark.similarity._AT_ONCE", 1 << 16)
    tracemalloc.start()
    parts = candidate_nearness(made, private, private)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert whole.keys() == parts.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(parts[name], values)
    pairs = whole["rows"].size * made.data[0].size * 8
    assert peak < pairs / 2
