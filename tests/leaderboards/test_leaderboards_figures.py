"""Numbers as text."""

import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboards import figures


def test_examples_in_docstrings():
    assert doctest.testmod(figures).failed == 0


@given(st.floats(1e-4, 9e5))
def test_three_significant_digits_lose_less_than_half_a_percent(value):
    assert float(figures.number(value).replace(",", "")) == pytest.approx(value, rel=0.00501)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.00"),
        (0.9996, "1.00"),
        (0.0, "0"),
        (-0.0123, "−0.0123"),
        (1e-9, "1.00e−09"),
        (math.inf, "∞"),
    ],
)
def test_numbers(value, text):
    assert figures.number(value) == text
