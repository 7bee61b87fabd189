"""Which keys a swap exchanges, where prompts have several roles, words of several tokens and windows."""

from __future__ import annotations

import numpy as np
import pytest
from labelled import labelled
from synthetic import write

import qkstore
from ingest.prompts import boxes, lists
from qkstore.analysis import targets
from qkstore.contrast import Contrast, builtin, pairs
from qkstore.run import Layer

ACROSS = Contrast(
    name="across",
    where="k.role = 'box' and k.order_id = q.queried_order",
    positive="k.prompt_id = q.counterfactual_id or k.prompt_id = q.prompt_id",
    negative="k.prompt_id > q.prompt_id + 1 and k.prompt_id <> q.counterfactual_id",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    write(path, "boxes", labelled(boxes.build(30, "ent", 0, n_test=10, n_pairs=4)))
    write(path, "lists", labelled(lists.build(60, 0, n_test=20), cut=lambda w: [w[:2], w[2:]] if len(w) > 4 else [w]))
    unlabelled = labelled(boxes.build(30, "ent", 0, n_test=10, n_pairs=4))
    unlabelled.tokens = unlabelled.tokens.with_columns(role=None, span_last=None)
    write(path, "unlabelled", unlabelled)
    return qkstore.open(path)


def keys(run, rows):
    return run.labels("k", ["role", "span_last", "prompt_id", "pos"], rows).to_pylist()


@pytest.mark.parametrize(
    ("name", "contrast"), [("boxes", builtin.ORDER), ("boxes", builtin.LEXICAL), ("lists", builtin.CATEGORY)]
)
def test_the_target_has_the_originals_role_and_place_in_its_span(store, name, contrast):
    run = store.run(name)
    every = keys(run, np.arange(run.n_keys))
    assert len({(k["role"], k["span_last"]) for k in every}) > 1, "there are keys of another kind to go wrong with"
    drawn = targets.draw(run, (contrast,), None)
    for a, b in zip(keys(run, drawn.original), keys(run, drawn.target)):
        assert (a["role"], a["span_last"], a["prompt_id"]) == (b["role"], b["span_last"], b["prompt_id"])
        assert a["pos"] != b["pos"]


def test_a_positive_key_of_another_prompt_is_no_original(store):
    run = store.run("boxes")
    found = pairs(run, ACROSS)
    across = run.key_places[0][found.key] != run.query_places[0][found.query]
    assert (across & found.positive).any()
    drawn = targets.draw(run, (ACROSS,), None)
    assert np.array_equal(run.key_places[0][drawn.original], run.query_places[0][drawn.query])


def test_a_key_may_be_one_querys_original_and_anothers_target(store):
    """Not positive *for that query* is what a target is; other queries' positives are as good as any."""
    run = store.run("unlabelled")
    pair = "case when k.order_id = q.queried_order then 1 else -1 end"
    shared = Contrast(
        name="shared",
        pairs=(
            f"select q.query_row, k.key_row, {pair} as sign from q join k using (prompt_id) "
            "where k.order_id is not null and k.box is not null"
        ),
    )
    drawn = targets.draw(run, (shared,), None)
    assert len(drawn) == run.n_queries
    assert all(k["role"] is None for k in keys(run, drawn.target))


def test_two_queries_of_one_prompt_have_their_own_targets(store, tmp_path):
    data = labelled(lists.build(40, 0, n_test=0))
    items = data.key_rows.group_by("prompt_id", maintain_order=True).agg("pos")
    last = {p: pos[-1] for p, pos in items.iter_rows()}
    rows = [(p, pos) for p, pos in data.query_rows.select("prompt_id", "pos").iter_rows()]
    both = [place for p, pos in rows for place in ((p, last[p]), (p, pos))]
    data.query_rows = type(data.query_rows)(
        {"query_row": range(len(both)), "prompt_id": [p for p, _ in both], "pos": [pos for _, pos in both]},
        schema=data.query_rows.schema,
    )
    data.q, data.logsumexp = np.repeat(data.q, 2, axis=2), np.repeat(data.logsumexp, 2, axis=2)
    data.batches = lambda: [(0, np.arange(len(both)), np.arange(len(data.key_rows)), data.q, data.k, data.logsumexp)]
    write(tmp_path, "r", data)
    run = qkstore.open(tmp_path).run("r")
    # of a prompt's two queries one is asked for its category's items, the other for all the others:
    # between them every key is positive
    own = "(k.category = q.queried_category) = (q.role = 'answer_slot')"
    split = Contrast(name="split", where="k.prompt_id = q.prompt_id", positive=own, negative=f"not ({own})")
    drawn = targets.draw(run, (split,), None)
    assert len(drawn) == 2 * 40


def test_fewer_queries_than_there_are_are_drawn_from_all_of_them(store):
    run = store.run("boxes")
    whole, few = targets.draw(run, (builtin.ORDER,), None), targets.draw(run, (builtin.ORDER,), None, most=10)
    assert len(few) == 10
    assert np.array_equal(few.query, np.sort(few.query))
    assert few.query.max() > whole.query[15]
    place = {q: (o, t) for q, o, t in zip(whole.query, whole.original, whole.target)}
    assert all(place[q] == (o, t) for q, o, t in zip(few.query, few.original, few.target)), (
        "a smaller draw is a part of the larger"
    )


def test_a_window_may_hide_the_target_alone(store):
    run = store.run("boxes")
    drawn, window = targets.draw(run, (builtin.ORDER,), None), Layer(0, 1.0, None, 22, True)
    near = {side: run.attended(window, drawn.query, getattr(drawn, side)) for side in ("original", "target")}
    assert (near["original"] & ~near["target"]).any()
    assert (~near["original"] & near["target"]).any()
    assert len(drawn.visible(run, window)) == (near["original"] & near["target"]).sum() > 0
