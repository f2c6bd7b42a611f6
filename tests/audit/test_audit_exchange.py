"""Are members and controls exchangeable? The tests are exact, see what differs, and count people."""

import numpy as np
import pytest
from scipy.stats import binom, chi2_contingency

from benchmark.audit.exchange import ERROR, _described, exchangeability, shuffled_p_value
from benchmark.audit.inputs import AuditInputs
from benchmark.contracts import Records


def cohort(n=200, groups=None, **columns):
    """Members and controls of ``n`` records each; columns hold the values of both, one after the other."""
    records = Records(np.zeros((n, 1), np.float32), np.zeros(n, np.int64), None, "native")
    sides = ("members", "controls")
    real = {
        s: records if groups is None else records.replace(groups=groups[i])
        for i, s in enumerate(sides)
    }
    split = {
        side: {k: np.array(v, dtype=str)[i * n : (i + 1) * n] for k, v in columns.items()}
        for i, side in enumerate(sides)
    }
    return AuditInputs(kind="feature", classes=("all",), releases={}, real=real, columns=split)


def judged(inputs):
    return {t.column: t for t in exchangeability(inputs, np.random.default_rng(0))}


def test_what_differs_is_seen_and_what_does_not_is_not():
    rng = np.random.default_rng(1)
    n = 200
    found = judged(
        cohort(
            n,
            scanner=np.repeat(["A", "B"], n),
            year=np.concatenate([rng.integers(2010, 2016, n), rng.integers(2013, 2020, n)]),
            spread=np.concatenate([rng.normal(0, 1, n), rng.normal(0, 3, n)]),
            date=[f"20{10 + i // 40:02}-0{1 + i % 9}-11" for i in range(2 * n)],
            sex=rng.choice(["f", "m", ""], 2 * n),
            age=rng.normal(60, 10, 2 * n),
            remark=[f"remark {i}" for i in range(2 * n)],
            site=["here"] * (2 * n),
        )
    )
    assert {c for c, t in found.items() if not t.passed} == {"scanner", "year", "spread", "date"}
    assert found["remark"].note == "not tested: free text"
    assert found["site"].note == "not tested: one value"
    assert {t.level for t in found.values()} == {ERROR / 6}
    kinds = {c: found[c].kind for c in ("year", "date", "sex", "age", "remark")}
    assert kinds == {
        "year": "number",
        "date": "number",
        "sex": "category",
        "age": "number",
        "remark": "text",
    }


def test_exchangeable_people_are_refused_no_more_often_than_stated():
    rng = np.random.default_rng(2)
    values = rng.choice(["a", "b", "c"], 60, p=[0.6, 0.3, 0.1])
    _, matrix = _described(values, np.arange(60))
    p_values = []
    for _ in range(300):
        coins = np.zeros(60, bool)
        coins[rng.permutation(60)[:30]] = True
        p_values.append(shuffled_p_value(matrix, coins, rng, shuffles=199))
    for level in (0.05, 0.2, 0.5):
        n = np.sum(np.array(p_values) <= level)
        assert 0.001 < binom.sf(n - 1, 300, level) < 0.9999, level


def test_agrees_with_the_chi_square_test_where_counts_are_large():
    rng = np.random.default_rng(3)
    coins = np.repeat([True, False], 500)
    values = np.where(
        rng.random(1000) < np.where(coins, 0.34, 0.28), "a", rng.choice(["b", "c"], 1000)
    )
    _, matrix = _described(values, np.arange(1000))
    table = [[(values[c] == v).sum() for v in "abc"] for c in (coins, ~coins)]
    expected = chi2_contingency(table).pvalue
    assert shuffled_p_value(matrix, coins, rng) == pytest.approx(expected, abs=0.02)


def test_people_count_not_their_records():
    """Ten people a side with twenty records each: what looks like 200 against 200 is 10 against 10."""
    rng = np.random.default_rng(4)
    people = np.repeat(np.arange(20), 20)
    p_values = []
    for _ in range(40):
        scanner = rng.choice(["A", "B"], 20)[people]
        found = judged(cohort(200, groups=(people[:200], people[200:]), scanner=scanner))
        p_values.append(found["scanner"].p_value)
    assert binom.sf(np.sum(np.array(p_values) <= 0.05) - 1, 40, 0.05) > 0.001


def test_classes_are_tested_too():
    inputs = cohort(100)
    labels = np.repeat([0, 1], 50)
    real = {
        "members": inputs.members.replace(labels=labels),
        "controls": inputs.real["controls"].replace(labels=np.repeat([0, 1], [90, 10])),
    }
    inputs = AuditInputs(kind="feature", classes=("ill", "well"), releases={}, real=real)
    (test,) = exchangeability(inputs, np.random.default_rng(0))
    assert test.column == "class" and not test.passed
