"""Queries with keys of one sign only, and labels that tell the queries of the two sides apart: found where planted."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from synthetic import synthetic, write

import qkstore
from qkstore.contrast import Contrast
from qkstore.contrast.check import check
from qkstore.contrast.sides import DIFFER, difference, sides

N = 400
EVEN = "q.prompt_id % 4 < 2"  # half of the queries have positive keys, half have negative ones
APART = Contrast(
    name="apart",
    where="k.prompt_id = q.prompt_id",
    positive=f"k.order_id = q.queried_order and {EVEN}",
    negative=f"k.order_id = q.queried_order and not ({EVEN})",
)
BOTH = APART.replace(name="both", positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Prompts whose topic, and whose length, differ between the two groups; `coin` and `size` do not."""
    store, rng, data = tmp_path_factory.mktemp("sides"), np.random.default_rng(0), synthetic(n=N)
    even = data.prompts["prompt_id"].to_numpy() % 4 < 2
    data.prompts = data.prompts.with_columns(
        topic=pl.Series(np.where(rng.random(N) < np.where(even, 0.8, 0.3), "sea", "sky")),
        length=pl.Series(rng.normal(size=N) + 2 * even),
        coin=pl.Series(np.where(rng.random(N) < 0.5, "heads", "tails")),
        size=pl.Series(rng.normal(size=N)),
    )
    write(store, "planted", data)
    return qkstore.open(store).run("planted")


def found(run, contrast, *kinds):
    return [f for f in check(run, contrast) if f.kind in kinds]


def test_a_label_that_differs_between_the_queries_of_the_two_sides_is_found(run):
    (finding,) = found(run, APART, "queries")
    assert finding.warns
    assert "q.topic is 'sea' for " in finding.text or "q.topic is 'sky' for " in finding.text
    assert "q.length" in finding.text
    assert "q.coin" not in finding.text
    assert "q.size" not in finding.text
    assert "\n" not in finding.text


def test_the_shares_it_tells_are_those_counted_by_hand(run):
    rows = pl.from_arrow(run.table("SELECT prompt_id, topic FROM prompt JOIN query_row USING (prompt_id)"))
    even = rows.with_columns(even=pl.col("prompt_id") % 4 < 2)
    share = dict(even.group_by("even").agg((pl.col("topic") == "sea").mean()).iter_rows())
    told = next(d for d in sides(run, APART, None, set()).differ if d.label == "topic")
    sea = (told.positive, told.negative) if told.value == "'sea'" else (1 - told.positive, 1 - told.negative)
    assert sea == pytest.approx((share[True], share[False]))
    assert told.distance == pytest.approx(abs(share[True] - share[False]))
    assert 0 < told.chance < told.distance / 3


def test_control_queries_that_are_on_both_sides_differ_in_nothing(run):
    assert not found(run, BOTH, "queries", "single", "some")
    assert sides(run, BOTH, None, set()).differ == ()


def test_a_label_that_the_contrast_names_is_its_feature(run):
    named = APART.replace(where=APART.where + " and q.topic is not null and q.length is not null")
    assert not found(run, named, "queries")
    assert found(run, named, "single")


def test_all_queries_of_one_sign_are_a_warning_with_what_follows(run):
    (finding,) = found(run, APART, "single")
    assert finding.warns
    assert finding.text.startswith(f"one sign only: none of the {N} queries has a positive and a negative key")
    assert "no accuracy and no null" in finding.text


@pytest.mark.parametrize(("least", "kind"), [(0.5, "single"), (0.02, "some")])
def test_queries_of_one_sign_are_counted(run, least, kind):
    """Some queries lose their positive key, the others have keys of both signs."""
    alone = int(least * N)
    asked = BOTH.replace(positive=f"k.order_id = q.queried_order and q.prompt_id >= {alone}")
    (finding,) = found(run, asked, "single", "some")
    assert finding.kind == kind
    assert finding.warns == (kind == "single")
    assert f"{alone} of {N} queries ({least:.0%}) have keys of one sign" in finding.text
    assert f"the other {N - alone}" in finding.text


def test_the_short_form_leaves_out_what_follows(run):
    (finding,) = found(run, APART, "single")
    assert finding.short == f"one sign only: none of the {N} queries has a positive and a negative key"


# -- how often chance is taken for a difference ----------------------------------------------------------------------


def rows(rng, n: int, values: int, shift: float = 0.0) -> list[dict]:
    """n queries a side of a label of so many values; `shift` of the positive side's are of the first value instead."""
    pos, neg = (np.bincount(rng.integers(values, size=n), minlength=values) for _ in range(2))
    moved = int(shift * n)
    pos = pos - rng.multivariate_hypergeometric(pos, moved)
    pos[0] += moved
    return [{"value": i, "two": 0, "pos": int(a), "neg": int(b)} for i, (a, b) in enumerate(zip(pos, neg)) if a + b]


@pytest.mark.parametrize("values", [2, 9, 60])
@pytest.mark.parametrize("n", [60, 100, 1000])
def test_control_chance_is_not_taken_for_adifference(n, values):
    alarms = [
        difference("x", rows(np.random.default_rng([i, n]), n, values), np.random.default_rng(i)) for i in range(60)
    ]
    assert sum(a is not None for a in alarms) <= 1


@pytest.mark.parametrize("values", [2, 9, 60])
def test_two_fifths_of_the_queries_moved_to_one_value_is_found(values):
    told = [
        difference("x", rows(np.random.default_rng(i), 300, values, 0.4), np.random.default_rng(i)) for i in range(20)
    ]
    assert sum(t is not None for t in told) >= 18
    assert all(t.distance - t.chance >= DIFFER for t in told if t)
