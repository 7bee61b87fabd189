"""Points chosen by hand: the labels that tell them apart, counted again, and a contrast that says the same in SQL."""

from __future__ import annotations

import numpy as np
import pytest
import stores

import qkstore
from qkstore import analysis
from qkstore.analysis.points import around, cloud, layer_points
from qkstore.analysis.points.context import texts
from qkstore.analysis.points.selection import Exact, contrast, rules
from qkstore.contrast import Contrast, pairs
from qkstore.errors import RunError

ORDER = Contrast(
    "order",
    "k.prompt_id = q.prompt_id and k.role = 'box' and q.role = 'answer_slot'",
    "k.order_id = q.queried_order",
    "k.order_id <> q.queried_order",
)
LABELS = "queried_order", "order_id"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return qkstore.open(stores.write(tmp_path_factory.mktemp("store"))).run("boxes")


@pytest.fixture(scope="module")
def table(run):
    return analysis.project(run, (ORDER,), 1, 0, *LABELS).table


def rows(table, side: str) -> np.ndarray:
    return table.filter(side=side)["row"].to_numpy()


def told(run, side: str, name: str, of) -> np.ndarray:
    return np.array(run.labels(side, [name], of)[name].to_pylist())


def test_a_point_is_the_row_at_its_place(run, table):
    for side, places in (("query", run.query_places), ("key", run.key_places)):
        part = table.filter(side=side)
        row = part["row"].to_numpy()
        assert np.array_equal(places[0][row], part["prompt_id"].to_numpy())
        assert np.array_equal(places[1][row], part["pos"].to_numpy())


def test_the_rule_of_a_cluster_is_its_label_and_its_counts_are_right(run, table):
    keys = rows(table, "key")
    order = told(run, "k", "order_id", keys)
    chosen = np.sort(np.concatenate([keys[order == 2], keys[order == 3][:5]]))
    best = rules(run, "k", chosen, keys)[0]
    assert (best.column, best.values) == ("order_id", (2,))
    assert (best.chosen, best.met, best.both, best.total) == (
        len(chosen),
        (order == 2).sum(),
        (order == 2).sum(),
        len(keys),
    )
    assert best.precision == 1
    assert best.recall == pytest.approx(1 - 5 / len(chosen))
    assert best.sql == "k.order_id = 2"
    assert f"{best.both:,} of the {len(chosen):,} chosen keys, and 0 of the" in best.sentence


def test_several_values_are_one_rule_and_what_tells_nothing_is_none(run, table):
    keys = rows(table, "key")
    order = told(run, "k", "order_id", keys)
    best = rules(run, "k", keys[order >= 3], keys)[0]
    assert best.sql == "k.order_id in (3, 4)"
    assert best.unlike == "k.order_id not in (3, 4)"
    assert rules(run, "k", keys, keys) == [], "where all are chosen there are no others"
    assert all(rule.column != "split" for rule in rules(run, "k", keys[::2], keys))


@pytest.mark.parametrize("side", ["key", "query", "both"])
def test_a_contrast_of_a_choice_selects_just_the_chosen_pairs(run, side):
    """On the train split: pairs of the base whose key (query) is chosen are positive, all others negative."""
    table = analysis.project(run, (ORDER,), 1, 0, *LABELS, split="build").table
    keys, queries = rows(table, "key"), rows(table, "query")
    k_chosen = keys[told(run, "k", "order_id", keys) == 2]
    q_chosen = queries[told(run, "q", "queried_order", queries) == 1]
    key = rules(run, "k", k_chosen, keys)[0] if side != "query" else None
    query = rules(run, "q", q_chosen, queries)[0] if side != "key" else None
    exact = (
        None if query is None else Exact("q", tuple(q_chosen.tolist())),
        None if key is None else Exact("k", tuple(k_chosen.tolist())),
    )
    base = pairs(run, ORDER, "train")
    for parts in ((query, key), exact):
        found = pairs(run, contrast(ORDER, *parts), "train")
        kept = np.isin(base.query, q_chosen) if side == "both" else np.ones(len(base.query), bool)
        positive = np.isin(base.query, q_chosen) if side == "query" else np.isin(base.key, k_chosen)
        expected = {(q, k, 1 if p else -1) for q, k, p, of in zip(base.query, base.key, positive, kept) if of}
        assert set(zip(found.query.tolist(), found.key.tolist(), found.sign.tolist())) == expected
        assert (found.sign == 1).any()
        assert (found.sign == -1).any()


def test_texts_are_quoted_and_those_without_a_value_are_on_the_other_side(run):
    keys = np.arange(run.n_keys)
    entity = told(run, "k", "entity", keys)
    best = next(r for r in rules(run, "k", keys[entity == entity[0]], keys) if r.column == "entity")
    assert best.sql == f"k.entity = '{entity[0]}'"
    odd = best.__class__("k", "entity", ("o'clock", "b"), True, 1, 1, 1, 2)
    assert odd.sql == "k.entity in ('o''clock', 'b')"
    assert odd.unlike == "(k.entity is null or k.entity not in ('o''clock', 'b'))"
    found = pairs(run, contrast(ORDER, None, best), "train")
    assert set(told(run, "k", "entity", found.key[found.sign == 1])) == {entity[0]}


def test_a_contrast_of_a_whole_select_keeps_to_one_prompt():
    base = Contrast("own", pairs="select query_row, key_row, 1 as sign from q, k")
    made = contrast(base, None, Exact("k", (1, 2)))
    assert made.where == "k.prompt_id = q.prompt_id"
    assert (made.positive, made.negative) == ("k.key_row in (1, 2)", "not (k.key_row in (1, 2))")


# -- all heads, and the tokens about a point -----------------------------------------------------------------------


def test_every_head_of_a_layer_is_drawn_as_it_is_alone(run):
    seen = []
    found = layer_points(run, (ORDER,), 1, *LABELS, most=80, progress=lambda i, n: seen.append((i, n)))
    assert list(found) == list(range(run.n_heads))
    assert seen == [(i + 1, run.n_heads) for i in range(run.n_heads)]
    for head, points in found.items():
        alone = cloud(run, (ORDER,), 1, head, *LABELS).draw("pca", most=80)
        assert points.table.equals(alone.table)
        assert points.shown <= 80 < points.total
    assert len({tuple(p.table["row"]) for p in found.values()}) == 1, "the same queries and keys in all of them"
    with pytest.raises(RunError, match="has no layer 7"):
        layer_points(run, (ORDER,), 7, *LABELS)


def test_the_groups_of_points_are_those_of_all_the_most_frequent_first(run):
    found = cloud(run, (ORDER,), 1, 0, *LABELS)
    counts = dict(zip(*np.unique(np.concatenate([found.query.at.group, found.key.at.group]), return_counts=True)))
    groups = found.draw("pca", most=20).groups
    assert sorted(groups) == sorted(counts)
    assert [counts[g] for g in groups] == sorted(counts.values(), reverse=True)


def test_the_tokens_about_a_point_are_its_prompts(run, table):
    prompt, pos = (table[name].to_numpy() for name in ("prompt_id", "pos"))
    found = around(run, prompt, pos, 3)
    for i in range(0, len(table), 97):
        whole = [t["text"] for t in run.tokens(int(prompt[i]))]
        assert found.near(i, 3) == (whole[max(0, pos[i] - 3) : pos[i] + 4], min(3, pos[i]))
        assert found.near(i, 0) == ([table["text"][i]], 0)
    assert len(around(run, prompt[:0], pos[:0], 3).token) == 0
    some = texts(run, (3, 5))
    assert [t["text"] for t in some[5]] == [t["text"] for t in run.tokens(5)]
