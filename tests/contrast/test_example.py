"""Examples of pairs: the next ones, those of a label, those that come first by a number."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import synthetic, write

import qkstore
from qkstore import analysis
from qkstore.contrast import builtin, pairs
from qkstore.contrast.example import examples
from qkstore.errors import RunError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    write(folder, "a", data=synthetic(48))
    return qkstore.open(folder).run("a")


def rows(found, sign: int = 1) -> list[tuple[int, int]]:
    return [(e.query.row, e.key.row) for e in found if e.sign == sign]


def test_the_next_ones_are_others_until_all_were_shown_and_the_first_come_again(run):
    total = pairs(run, builtin.RIGHT_BOX, "train").counts.n_pos
    pages = [examples(run, builtin.RIGHT_BOX, "train", 2, skip=skip) for skip in range(0, total, 2)]
    seen = [pair for page in pages for pair in rows(page)]
    assert len(seen) == len(set(seen)) == total
    assert {e.of for page in pages for e in page if e.sign == 1} == {total}
    assert [e.number for e in pages[1] if e.sign == 1] == [3, 4]
    assert rows(examples(run, builtin.RIGHT_BOX, "train", 2, skip=total)) == seen[:2]
    assert examples(run, builtin.RIGHT_BOX, "train", 2) == pages[0]


@pytest.mark.parametrize(("side", "column"), [("k", "order_id"), ("q", "queried_order")])
def test_those_of_a_label_have_it_and_are_all_that_have(run, side, column):
    value = run.values(column, side)[0]
    found = examples(run, builtin.RIGHT_BOX, "train", 1000, only=(side, column, value))
    assert found
    row = [e.key.row if side == "k" else e.query.row for e in found]
    assert set(run.labels(side, [column], np.array(row))[column].to_pylist()) == {value}
    whole = pairs(run, builtin.RIGHT_BOX, "train")
    labels = run.labels(side, [column], whole.key if side == "k" else whole.query)[column].to_pylist()
    assert len(found) == sum(label == value for label in labels)
    assert examples(run, builtin.RIGHT_BOX, "train", only=(side, column, "no such")) == []
    with pytest.raises(RunError, match="has no label 'nope'"):
        examples(run, builtin.RIGHT_BOX, "train", only=(side, "nope", 1))


@pytest.mark.parametrize("lowest", [False, True])
def test_the_highest_or_lowest_come_first_with_their_value(run, lowest):
    data = analysis.Rows.of(run, builtin.RIGHT_BOX, "train").read(analysis.Head(run, 0, 1))
    logits = data.logits()
    found = examples(run, builtin.RIGHT_BOX, "train", 5, values=logits, lowest=lowest)
    stored = data.rows.stored
    for sign in (1, -1):
        mine = np.sort(logits[stored.sign == sign])
        best = mine[:5] if lowest else mine[::-1][:5]
        np.testing.assert_array_equal([e.value for e in found if e.sign == sign], best)
    pair = found[0]
    at = np.flatnonzero((stored.query == pair.query.row) & (stored.key == pair.key.row))
    assert logits[at] == pytest.approx(pair.value)


def test_pairs_without_an_attention_are_left_out(run):
    data = analysis.Rows.of(run, builtin.LEXICAL, "train").read(analysis.Head(run, 0, 0))
    attention = data.attention(data.logits())
    assert np.isnan(attention).any()
    found = examples(run, builtin.LEXICAL, "train", 1000, values=attention)
    assert len(found) == np.isfinite(attention).sum()
    assert all(e.same_prompt for e in found)
