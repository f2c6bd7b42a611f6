"""Shadows void what learns from them where they are told from single fits and none of them comes out the same."""

import numpy as np
import pytest

from benchmark.judge.fleets import Fleet, judge_fleet
from benchmark.plan import Cell
from benchmark.resolve import ResolvedPlugin

SAME = np.linspace(0.5, 0.6, 18)


def fleet(equal=(False,), trouble="", **traits):
    method = ResolvedPlugin(kind="methods", name="m", label="m(a=1)")
    cells = [
        Cell(kind="fleet", dataset="d", features="f", seed=s, method=method)
        for s in range(len(equal))
    ]
    found = {"nearness": SAME, "lesson": SAME, "distance": SAME + 0.5, **traits}
    return Fleet(
        cells=cells,
        equal=equal,
        traits=[found] * len(equal),
        n_shadows=[16] * len(equal),
        trouble=trouble,
    )


APART = np.append(np.linspace(0.5, 0.6, 16), [0.95, 0.97])


def test_traits_that_are_the_same_pass():
    verdict = judge_fleet(fleet(), 1e-4, 30)
    assert verdict.passed and verdict.kind == "fleet" and verdict.looks == 30


@pytest.mark.parametrize("name", ["nearness", "lesson", "distance"])
def test_one_that_differs_does_not(name):
    verdict = judge_fleet(fleet(**{name: APART}), 1e-4, 30)
    assert not verdict.passed
    assert verdict.metric == f"fleet_{name}" and verdict.measured == pytest.approx(0.96)
    assert verdict.reason.startswith("its shadows are unlike single fits of m(a=1)")
    assert "required 0.55" in verdict.reason


def test_shadows_that_come_out_the_same_are_what_fit_makes():
    # A release that is an exception, as that of a generator which has collapsed, is then one by chance.
    assert judge_fleet(fleet((True, True), nearness=APART), 1e-4, 30).passed
    assert not judge_fleet(fleet((True, False), nearness=APART), 1e-4, 30).passed


def test_differences_too_small_to_live_on_pass():
    tiny = np.append(np.linspace(0.5, 0.5001, 16), [0.515, 0.515])
    assert judge_fleet(fleet(nearness=tiny), 1e-4, 30).passed


def test_what_was_not_compared_is_not_believed():
    verdict = judge_fleet(fleet(trouble="seed 0: timeout: too long"), 1e-4, 30)
    assert not verdict.passed and "seed 0: timeout" in verdict.reason
