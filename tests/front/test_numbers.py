"""Numbers as they are shown: their interval beside them, a real minus, none before a zero; names beside them."""

from __future__ import annotations

import pytest

from qkstore.text import (
    estimate,
    head_name,
    markdown_table,
    number,
    p_value,
    percent,
    signed,
    size,
    sized,
    split_name,
    spread,
)


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


@pytest.mark.parametrize(
    ("p", "deals", "said"),
    [
        (1 / 20, 19, "p = 0.05, the least that 19 deals can give"),
        (1 / 1000, 999, "p = 0.001, the least that 999 deals can give"),
        (2 / 20, 19, "p = 0.1"),
        (0.05, 99, "p = 0.05"),
        (1.0, 19, "p = 1"),
        (2 / 10_000, 9999, "p = 0.0002"),
    ],
)
def test_a_p_that_is_only_the_floor_of_its_deals_says_so(p, deals, said):
    assert p_value(p, deals).replace("\u00a0", " ") == said


def test_sizes_and_spreads():
    assert [size(v) for v in (0.0123456, 56.21, -3.14159, 98765.4)] == ["0.0123", "56.2", "−3.14", "98,765"]
    assert spread([0.5, 0.25]) == "0.250–0.500"
    assert spread([0.5, 0.5]) == "0.500"


@pytest.mark.parametrize(
    ("share", "digits", "said"),
    [
        (0.931, 0, "93 %"),
        (0.931, 1, "93.1 %"),
        (1.0, 0, "100 %"),
        (-0.02, 0, "−2 %"),
        (-0.001, 0, "0 %"),
        (None, 0, "–"),
    ],
)
def test_a_share_in_percent(share, digits, said):
    assert percent(share, digits) == said


def test_a_difference_has_its_sign():
    assert [signed(v) for v in (0.0123, -0.0123, 0.0)] == ["+0.012", "−0.012", "+0.000"]


def test_names_of_heads_and_splits():
    assert head_name(20, 7) == "L20\u00a0H7"
    assert [split_name(s) for s in ("train", "test", None)] == ["train", "test", "whole"]


def test_a_markdown_table_is_a_line_a_row_under_its_rule():
    rows = iter([["1", "2"], ["3", "4"]])
    assert markdown_table(["a", "b"], rows, "---") == "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |"
    assert markdown_table(["a"], [], " --- ") == "| a |\n| --- |"
