"""Sight: which keys a query may choose from, on a run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import synthetic

import qkstore
from qkstore.analysis.decomposition import Sight, default_where
from qkstore.analysis.head import Head
from qkstore.errors import ContrastError, GuardError
from qkstore.run import Layer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    synthetic.write(store, n=64)
    return qkstore.open(store).run("synthetic")


def every_token(n: int = 24, seed: int = 0) -> SimpleNamespace:
    """A run with a query and a key at every token; every other one, but not the first, has a role.

    Some prompts lack a token, so that there are two shapes.
    """
    data, rng = synthetic.synthetic(n, seed=seed), np.random.default_rng(seed)
    data.tokens = data.tokens.with_columns(
        role=pl.when(pl.col("pos") % 2 == 1).then(pl.lit("odd")).otherwise(None), span_last=None, span=None
    )
    rows = data.tokens.filter((pl.col("prompt_id") % 3 > 0) | (pl.col("pos") != 4)).select("prompt_id", "pos")
    data.query_rows, data.key_rows = rows.with_row_index("query_row"), rows.with_row_index("key_row")
    data.q = rng.standard_normal((2, 4, len(rows), synthetic.D)).astype(np.float32)
    data.k = rng.standard_normal((2, 2, len(rows), synthetic.D)).astype(np.float32)
    data.logsumexp = np.full((2, 4, len(rows)), 1.0)
    batches = [(0, np.arange(len(rows)), np.arange(len(rows)), data.q, data.k, data.logsumexp)]
    return SimpleNamespace(**vars(data), plan=data.plan, batches=lambda: batches)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of all positions."""
    store = tmp_path_factory.mktemp("all")
    synthetic.publish(store, "whole", every_token())
    return qkstore.open(store).run("whole")


def chosen(run, sight: Sight, layer: Layer) -> set[tuple[int, int]]:
    """The pairs (query row, key row) that a choice is made of."""
    found = set()
    for block in sight.blocks:
        seen = sight.seen(layer, block)
        for b, i, j in zip(*np.nonzero(seen), strict=True):
            found.add((int(block.query[b, i]), int(block.key[b, j])))
    return found


def expected(run, split: str, variant: str, layer: Layer) -> set[tuple[int, int]]:
    sql = (
        "SELECT q.query_row AS q, k.key_row AS k, q.pos AS at, k.pos AS from_ FROM q JOIN k USING (prompt_id) "
        f"WHERE q.split = '{split}' AND q.variant = '{variant}' AND q.pos <> k.pos "
        "AND NOT (k.pos = 0 AND k.role IS NULL)"
    )
    rows = run.table(sql).to_pylist()
    return {(r["q"], r["k"]) for r in rows if layer.visible(r["at"], r["from_"])}


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("causal", [True, False])
def test_a_query_chooses_among_what_it_sees_without_itself_and_a_nameless_first_token(whole, window, causal):
    layer = Layer(0, 1.0, None, window, causal)
    sight = Sight.of(whole, "train")
    assert chosen(whole, sight, layer) == expected(whole, "train", "base", layer)
    assert chosen(whole, sight, layer) != expected(whole, "test", "base", layer)


def test_what_is_left_out_is_counted(whole):
    layer, sight = Layer(0, 1.0, None, None, True), Sight.of(whole, "train")
    n = len(sight.queries)
    prompts = len({p for b in sight.blocks for p in b.group.tolist()})
    assert sight.left_out(layer) == (n, n - prompts)


def test_the_run_s_own_questions_are_taken_by_default(run):
    assert default_where(run) == "q.variant = 'base'"
    base, every = Sight.of(run, "train"), Sight.of(run, "train", "true")
    assert len(every.queries) == 2 * len(base.queries)


def test_what_one_head_chose_does_not_depend_on_the_order_of_blocks(whole):
    sight, head = Sight.of(whole, "train"), Head(whole, 1, 2)
    assert len(sight.blocks) > 1
    turned = Sight(whole, "train", None, sight.blocks[::-1])
    found, other = sight.read(head), turned.read(head)
    order, others = (np.lexsort(c.q.T) for c in (found, other))
    assert np.allclose(found.d[order], other.d[others])
    assert np.allclose(found.within, other.within)


@pytest.mark.parametrize(
    ("where", "error", "told"),
    [
        ("q.queried_order = 99", ContrastError, "no query of the train split of run 'synthetic' fits"),
        ("q.color = 'red'", GuardError, "color"),
        ("q.variant = ", GuardError, "syntax error at end"),
        ("k.order_id = 1", GuardError, "k"),
    ],
)
def test_a_condition_that_gives_no_query_is_one_line(run, where, error, told):
    with pytest.raises(error, match=told) as caught:
        Sight.of(run, "train", where)
    assert "\n" not in str(caught.value)


def test_keys_that_no_query_sees_are_one_line(run):
    sight = Sight.of(run, "train")
    nothing = Sight(run, "train", None, tuple(b._replace(key=b.key[:, :1]) for b in sight.blocks))
    with pytest.raises(ContrastError, match="no query with a choice: 24 have fewer than two keys"):
        nothing.read(Head(run, 1, 0))


def test_prompts_of_the_same_text_are_one_group(tmp_path):
    data = synthetic.synthetic(24)
    data.prompts = data.prompts.with_columns(
        text=pl.when(pl.col("prompt_id") % 3 == 2).then(pl.lit("")).otherwise(pl.col("prompt_id") % 3).cast(pl.String)
    )
    batches = [(0, np.arange(data.q.shape[2]), np.arange(data.k.shape[2]), data.q, data.k, data.logsumexp)]
    synthetic.publish(tmp_path, "copies", SimpleNamespace(**vars(data), plan=data.plan, batches=lambda: batches))
    copied = qkstore.open(tmp_path).run("copies")
    alike = Sight.of(copied, None, "true").alike
    assert alike.tolist() == [p if p % 3 == 2 else p % 3 for p in range(len(alike))], "of no text, each by itself"
    found = Sight.of(copied, None, "true").read(Head(copied, 1, 0))
    assert set(found.group) == {0, 1} | {p for p in range(len(alike)) if p % 3 == 2}
