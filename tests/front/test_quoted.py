"""Numbers as quoted: their interval beside them, a real minus, none before a zero."""

from __future__ import annotations

import pytest

from qkstore.report.study import head, ranked
from qkstore.text import estimate, number, size, sized, spread


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [
        (0.93149, 3, "0.931"),
        (-0.5, 1, "−0.5"),
        (-0.0004, 3, "0.000"),
        (12345.6, 0, "12,346"),
        (None, 3, "–"),
        (1.0, 2, "1.00"),
    ],
)
def test_a_number(value, digits, said):
    assert number(value, digits) == said


def test_an_estimate_keeps_its_interval_on_one_line():
    assert estimate(0.5, (0.25, -0.75)) == "0.500 [0.250,\u00a0−0.750]"
    assert estimate(0.5, None) == "0.500"
    assert estimate(5.0, (4.6, 5.4), 0) == "5 [5,\u00a05]"
    assert sized(56.21, (55.0, 1234.5)) == "56.2 [55,\u00a01,234]"


def test_sizes_and_spreads():
    assert [size(v) for v in (0.0123456, 56.21, -3.14159, 98765.4)] == ["0.0123", "56.2", "−3.14", "98,765"]
    assert spread([0.5, 0.25]) == "0.250–0.500"
    assert spread([0.5, 0.5]) == "0.500"
    assert head(20, 7) == "L20\u00a0H7"
    assert ranked(None, "statistical") == "–"
