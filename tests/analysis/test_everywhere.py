"""Swaps of many heads: what `intervene` gives of each, whoever does the work."""

from __future__ import annotations

import pytest
import synthetic

import qkstore
from qkstore import Contrast
from qkstore.analysis import intervene
from qkstore.analysis.heads.everywhere import everywhere, table
from qkstore.analysis.swaps import intervene_queries
from qkstore.cli.heads.swaps import at_heads
from qkstore.errors import ContrastError, RunError
from qkstore.pool import opened

WITHIN = "k.prompt_id = q.prompt_id and k.role = 'box'"
ORDER = Contrast("o", where=WITHIN, positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")
ASKED = {"order": (ORDER,)}


@pytest.fixture
def run(tmp_path):
    synthetic.write(tmp_path, "r", data=synthetic.synthetic(96))
    return qkstore.open(tmp_path).run("r")


@pytest.mark.parametrize(("side", "alone"), [("keys", intervene), ("queries", intervene_queries)])
def test_each_head_is_what_it_is_alone(run, side, alone):
    found = everywhere(run, ASKED, n_random=10, most=20, side=side)
    assert [(made.layer, made.head) for made in found] == [(layer, head) for layer in (0, 1) for head in range(4)]
    for made in found:
        assert repr(made.swapped) == repr(alone(run, ASKED, made.layer, made.head, 10, 20).to_dict())
    assert found[4].swapped != found[5].swapped  # the control: heads differ


def test_any_pool_gives_the_same(run):
    asked = [(1, 0), (0, 2), (1, 0)]
    here = everywhere(run, ASKED, asked, 10, 20)
    with opened(workers=2) as pool:
        assert repr(everywhere(run, ASKED, asked, 10, 20, pool=pool)) == repr(here)
    assert [(made.layer, made.head) for made in here] == [(0, 2), (1, 0)]


def test_the_heads_that_move_most_stand_first(run):
    told = table(everywhere(run, ASKED, n_random=10))
    assert set(told.head(2).select("layer", "head").iter_rows()) == {(1, 0), (1, 1)}
    assert told["low"][0] > 0


def test_a_head_without_anything_to_swap_says_why(tmp_path):
    data = synthetic.synthetic(96)
    data.k[0, 0] = 1.0  # of heads 0 and 1 of layer 0 all keys are the same
    synthetic.write(tmp_path, "r", data=data)
    found = everywhere(qkstore.open(tmp_path).run("r"), ASKED, [(0, 0), (0, 2)])
    assert [made.swapped is None for made in found] == [True, False]
    assert "positive and negative keys are the same" in found[0].to_dict()["why"]
    assert set(table(found)["head"]) == {2}


@pytest.mark.parametrize(("none", "bases", "says"), [(True, 10, "no positive"), (False, 4, "needs 10 or more")])
def test_what_no_head_can_answer_is_one_line(run, none, bases, says):
    empty = ORDER.replace(where=f"{WITHIN} and k.order_id < 0")
    with pytest.raises(ContrastError, match=says):
        everywhere(run, {"order": (empty if none else ORDER,)}, n_random=bases)


@pytest.mark.parametrize(
    ("heads", "says"), [([(7, 0)], "no layer 7"), ([(0, 9)], "no head 9"), ([], "no head is named")]
)
def test_a_head_that_is_not_there_is_one_line(run, heads, says):
    with pytest.raises(RunError, match=says):
        everywhere(run, ASKED, heads)


def test_heads_are_written_as_layer_and_head():
    assert at_heads("1:0, 0:3") == [(1, 0), (0, 3)]
    assert at_heads("all") == []
