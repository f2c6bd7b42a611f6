"""Audits of which the truth is known; ``truths.py`` makes them, docs/audit-truths.md has the table."""

import numpy as np
import pytest
from truths import SHARE, SIZES, TRUTHS, audited, filtered_noise, pictures, row, verdict_on

from benchmark.learning.neighbours import nearest
from benchmark.learning.repeats import duplicates


def test_releases_hold_the_fault_that_they_are_named_for():
    rng = np.random.default_rng(0)
    members = pictures(rng, 200)
    made = {name: make(rng, members) for name, (make, _) in TRUTHS.items()}
    copied = np.isin(*np.split(duplicates(np.concatenate([made["3 % exact copies"], members])), 2))
    assert copied.sum() == SHARE * 200
    means = made["averages of five"]
    assert len(means) == 40
    assert np.abs(means.mean(axis=0) - members.mean(axis=0, dtype=float)).max() <= 0.5
    noisy = filtered_noise(rng, members)
    flat = members.reshape(200, -1).astype(float)
    others = nearest(pictures(rng, 200).reshape(200, -1), flat)[0]
    assert nearest(noisy.reshape(200, -1), flat)[0].min() > np.quantile(others, 0.01)


def test_what_is_asked_is_met_missed_or_open():
    assert verdict_on(38, 40, ">= 0.95") == "met" and verdict_on(2, 40, "<= 0.05") == "met"
    assert verdict_on(36, 40, ">= 0.95") == "open" and verdict_on(3, 40, "<= 0.05") == "open"
    assert verdict_on(30, 40, ">= 0.95") == "not met" and verdict_on(9, 40, "<= 0.05") == "not met"
    answers = [{"answer": "leak", "found": ["a: auc", "b: flags"]}] * 2 + [
        {"answer": "no leak found", "found": []}
    ]
    line = row("averages of five", "300", answers)
    assert line.startswith("| averages of five | 300 | 2 | 3 | 0.094 to 0.992 | >= 0.95 | open |")


@pytest.mark.slow
def test_three_audits_of_the_smallest_size_answer_rightly():
    size = SIZES[0]
    for seed in (100, 101, 102):
        answers = {r.label: str(r.answer) for r in audited(seed, size.n, size.truths).releases}
        assert answers == {name: TRUTHS[name][1] for name in size.truths}
