"""Where the check of a contrast speaks and where it keeps still: its limits, both sides, and every way to be tied."""

from __future__ import annotations

import polars as pl
import pytest
from synthetic import synthetic, write

import qkstore
from qkstore.contrast import Contrast
from qkstore.contrast import check as module
from qkstore.contrast.check import check

ORDER = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)
FIRST = ORDER.replace(positive="k.order_id = 1", negative="k.order_id > 1")


def labelled(n=160):
    """Labels of the boxes by their place: constant on the first, constant on the others, on all, or free."""
    data, first = synthetic(n), pl.col("order_id") == 1
    box = pl.col("role") == "box"
    letter = pl.col("box").str.to_lowercase()
    data.tokens = data.tokens.with_columns(
        on_first=pl.when(box).then(pl.when(first).then(pl.lit("x")).otherwise(letter)),
        on_others=pl.when(box).then(pl.when(first).then(letter).otherwise(pl.lit("y"))),
        on_all=pl.when(box).then(pl.lit("z")),
        apart=pl.when(box).then(pl.when(first).then(pl.lit("one")).otherwise(pl.lit("rest"))),
        flag=pl.when(box).then(first),
        place=pl.when(box).then(pl.when(first).then(pl.lit("no")).otherwise(pl.lit("yes"))),
    )
    data.prompts = data.prompts.with_columns(wanted=pl.lit("yes"), is_asked=pl.lit(True))
    return data


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    write(path, data=labelled())
    return qkstore.open(path).run("synthetic")


def texts(findings, kind):
    return " | ".join(f.text for f in findings if f.kind == kind)


def test_a_label_that_is_constant_on_one_side_only_is_a_leak_of_that_side(run):
    leaks = texts(check(run, FIRST), "leak")
    assert "on the positive side k.on_first is always 'x'" in leaks
    assert "on the negative side k.on_others is always 'y'" in leaks
    assert not any(name in leaks for name in ("on_all", "apart", "k.box", "order_id"))
    turned = texts(check(run, FIRST.replace(positive=FIRST.negative, negative=FIRST.positive)), "leak")
    assert "on the negative side k.on_first is always 'x'" in turned
    assert "on the positive side k.on_others is always 'y'" in turned


def test_a_label_that_the_contrast_names_is_no_leak(run):
    named = FIRST.replace(positive="k.order_id = 1 and k.on_first = 'x'")
    leaks = texts(check(run, named), "leak")
    assert "on_first" not in leaks
    assert "on_others" in leaks


def test_a_label_that_tells_the_sides_apart_is_tied_and_one_that_is_the_same_is_not(run):
    tied = texts(check(run, FIRST), "tied")
    assert "k.apart is one on the positive side and rest on the negative" in tied
    assert "on_all" not in tied
    assert "on_all" not in texts(check(run, FIRST), "leak")


@pytest.mark.parametrize(
    ("positive", "pos", "neg"), [("k.order_id > 1", "100%", "0%"), ("k.order_id = 1", "0%", "100%")]
)
def test_a_relation_that_holds_on_either_side_alone_is_tied(run, positive, pos, neg):
    tied = texts(check(run, FIRST.replace(positive=positive, negative=f"not ({positive})")), "tied")
    assert f"k.place equals q.wanted in {pos} of the positive pairs and {neg} of the negative" in tied
    assert "is_asked" not in tied, "true and true is no relation"


@pytest.mark.parametrize(("queries", "few"), [(99, True), (100, False), (101, False)])
def test_few_begins_below_its_limit_on_either_side(run, queries, few):
    assert module.FEW_QUERIES == 100
    for side in ("positive", "negative"):
        narrow = ORDER.replace(**{side: f"{getattr(ORDER, side)} and q.prompt_id < {queries}"})
        assert bool(texts(check(run, narrow), "few")) == few, side
        told = texts(check(run, narrow), "few")
        assert not few or f"{queries} with a {side}" in told or (f"{queries} with" in told and side == "positive")


@pytest.mark.parametrize("turned", [False, True])
def test_imbalance_is_seen_on_either_side(run, turned):
    for queries, seen in ((9, True), (10, False)):  # 480 pairs against 9 are more than 50 a piece, against 10 are not
        rare, many = f"k.order_id = q.queried_order and q.prompt_id < {queries}", "k.order_id <> q.queried_order"
        sides = dict(positive=many, negative=rare) if turned else dict(positive=rare, negative=many)
        assert bool(texts(check(run, ORDER.replace(**sides)), "imbalance")) == seen


def test_a_split_is_checked_alone(run):
    assert "40 with a positive" in texts(check(run, ORDER, "test"), "few")
    assert "few" not in {f.kind for f in check(run, ORDER, "train")}
    assert "few" not in {f.kind for f in check(run, ORDER)}
