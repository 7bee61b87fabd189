"""The pairs of a contrast: those of a plain loop over rows, in one order whatever the SQL gives, and each once."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import synthetic, write

import qkstore
from qkstore.contrast import Contrast, pairs
from qkstore.errors import ContrastError

SELECT = "select q.query_row, k.key_row, {sign} as sign{weight} from q, k where k.role = 'box' {order}"
SIGN = "case when k.order_id = q.queried_order then 1 else -1 end"
WEIGHT = ", 1 + k.order_id / (1 + q.query_row) as weight"
ACROSS = Contrast("across", "k.role = 'box'", "k.order_id = q.queried_order", "k.order_id <> q.queried_order")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    write(path, "a", data=synthetic(16))
    return qkstore.open(path).run("a")


def by_hand(run):
    """{(query row, key row): (sign, weight)} of all boxes, row by row."""
    q = run.table("SELECT query_row, queried_order FROM q").to_pylist()
    k = run.table("SELECT key_row, order_id FROM k WHERE role = 'box'").to_pylist()
    return {
        (a["query_row"], b["key_row"]): (
            1 if b["order_id"] == a["queried_order"] else -1,
            1 + b["order_id"] / (1 + a["query_row"]),
        )
        for a in q
        for b in k
    }


@pytest.mark.parametrize("weight", ["", WEIGHT])
@pytest.mark.parametrize("order", ["", "order by k.key_row desc, q.query_row", "order by hash(q.query_row, k.key_row)"])
def test_pairs_are_those_of_a_loop_and_come_by_query_then_key(run, weight, order):
    expected = by_hand(run)
    found = pairs(run, Contrast("own", pairs=SELECT.format(sign=SIGN, weight=weight, order=order)))
    rows = list(zip(found.query.tolist(), found.key.tolist()))
    assert rows == sorted(expected)
    assert found.sign.tolist() == [expected[row][0] for row in rows]
    assert found.weight.tolist() == pytest.approx([expected[row][1] if weight else 1.0 for row in rows])
    assert found.weighted == bool(weight)


def test_conditions_give_the_same_pairs_as_a_select(run):
    found, own = pairs(run, ACROSS), pairs(run, Contrast("own", pairs=SELECT.format(sign=SIGN, weight="", order="")))
    for name in ("query", "key", "sign", "weight"):
        np.testing.assert_array_equal(getattr(found, name), getattr(own, name))
    turned = pairs(run, ACROSS.replace(positive=ACROSS.negative, negative=ACROSS.positive))
    np.testing.assert_array_equal(turned.sign, -found.sign)


def test_every_pair_on_both_sides_is_counted(run):
    expected = sum(sign > 0 for sign, _ in by_hand(run).values())
    with pytest.raises(ContrastError, match=rf": {expected:,} pairs are positive and negative"):
        pairs(run, ACROSS.replace(negative="k.order_id <= 99"))


@pytest.mark.parametrize("order", ["", "order by sign"])
def test_a_pair_that_a_select_gives_twice_is_named(run, order):
    once = SELECT.format(sign=SIGN, weight="", order="")
    twice = f"select * from ({once}) as a union all select * from ({once}) as b where query_row = 5 and key_row > 9"
    with pytest.raises(ContrastError, match=r"more than once, such as query_row 5 with key_row \d\d; use SELECT DIST"):
        pairs(run, Contrast("own", pairs=f"select * from ({twice}) as c {order}"))
    both = f"select query_row, key_row, -sign as sign from ({once}) as a where query_row = 5 and key_row > 9"
    with pytest.raises(ContrastError, match=r"\d+ pairs are positive and negative, such as query_row 5 with key_row"):
        pairs(run, Contrast("own", pairs=f"select * from ({once}) as a union all {both}"))
