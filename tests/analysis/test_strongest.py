"""The strongest pairs of a head, ranked again by plain NumPy: logits, attention, the swap's moves and the errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import stores
import synthetic

import qkstore
from qkstore import analysis
from qkstore.analysis import heads
from qkstore.analysis.head import Head
from qkstore.analysis.pairs import strongest
from qkstore.analysis.pairs.block import Signs, chosen, of_prompts
from qkstore.contrast import Contrast
from qkstore.errors import ContrastError, RunError

N = 64
HERE = "k.prompt_id = q.prompt_id and k.role = 'box'"
ORDER = (Contrast("order", HERE, "k.order_id = q.queried_order", "k.order_id <> q.queried_order"),)
ACROSS = (Contrast("across", None, "k.prompt_id = q.prompt_id and k.pos < 6", "k.prompt_id = q.counterfactual_id"),)
LAYER, HEAD, KV = 1, 3, 1  # of the synthetic run: noise, so that it errs


def made(tmp_path_factory, kind: str) -> tuple[qkstore.Run, synthetic.Synthetic]:
    data = synthetic.synthetic(N)
    if kind == "window":
        data.layers = [layer | {"window": 24} for layer in data.layers]
    if kind == "softcap":
        data.layers = [layer | {"softcap": 0.7} for layer in data.layers]
    if kind == "ties":
        data.k[:] = np.repeat(data.k[:, :, ::4], 4, axis=2)  # the four keys of a prompt are one
        data.q[:] = np.round(data.q[:, :, :1])
    path = tmp_path_factory.mktemp(kind)
    stores.write(path, "run", data)
    return qkstore.open(path).run("run"), data


@pytest.fixture(scope="module", params=["plain", "window", "softcap", "ties"])
def made_run(request, tmp_path_factory):
    return made(tmp_path_factory, request.param)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return made(tmp_path_factory, "plain")


def every(run, data, only=None) -> list[dict]:
    """Each (query, key) of the test split in one prompt, or of the pairs `only`, from the arrays that were written."""
    facts, rows = data.layers[LAYER], []
    q_prompt, k_prompt = data.query_rows["prompt_id"].to_numpy(), data.key_rows["prompt_id"].to_numpy()
    q_pos, k_pos = data.query_rows["pos"].to_numpy(), data.key_rows["pos"].to_numpy()
    for query in np.flatnonzero(np.isin(q_prompt, data.prompts.filter(split="test")["prompt_id"].to_numpy())):
        for key in range(len(k_prompt)):
            if (only is None and q_prompt[query] != k_prompt[key]) or (only is not None and (query, key) not in only):
                continue
            q, k = (np.asarray(v, np.float64) for v in (data.q[LAYER, HEAD, query], data.k[LAYER, KV, key]))
            logit = facts["scaling"] * (q * k).sum()
            logit = facts["softcap"] * np.tanh(logit / facts["softcap"]) if facts["softcap"] else logit
            far = facts["window"] is not None and q_pos[query] - k_pos[key] >= facts["window"]
            seen = q_prompt[query] == k_prompt[key] and not far and k_pos[key] <= q_pos[query]
            attention = np.exp(logit - data.logsumexp[LAYER, HEAD, query]) if seen else None
            rows.append({"query": int(query), "key": key, "logit": logit, "attention": attention})
    return rows


def signed(run, contrasts) -> dict[tuple[int, int], int]:
    pairs = chosen(run, contrasts, "test")
    return {(int(q), int(k)): int(s) for q, k, s in zip(pairs.query, pairs.key, pairs.sign, strict=True)}


def ranked(rows: list[dict], by: str) -> list[tuple[int, int]]:
    there = [row for row in rows if row[by] is not None]
    return [(r["query"], r["key"]) for r in sorted(there, key=lambda r: (-round(r[by], 10), r["query"], r["key"]))]


@pytest.mark.parametrize("by", ["logit", "attention"])
@pytest.mark.parametrize("among", ["contrast", "all"])
def test_highest_logits_and_attention_are_those_of_every_pair_sorted(made_run, by, among):
    run, data = made_run
    signs = signed(run, ORDER)
    rows = every(run, data, signs if among == "contrast" else None)
    rows = rows if among == "contrast" else [row for row in rows if row["attention"] is not None]
    for row in rows:
        row["log"] = None if row["attention"] is None else np.log(row["attention"])
    wanted = ranked(rows, {"logit": "logit", "attention": "log"}[by])
    found = strongest(run, ORDER, LAYER, HEAD, by, among, most=15)
    assert list(zip(found.table["query_row"], found.table["key_row"], strict=True)) == wanted[:15]
    assert (found.n, found.found, found.split) == (len(wanted), len(wanted), "test")
    assert found.left_out == len(rows) - len(wanted)
    told = {(r["query"], r["key"]): r for r in rows}
    for row in found.table.to_dicts():
        own = told[row["query_row"], row["key_row"]]
        assert row["logit"] == pytest.approx(own["logit"], abs=1e-9)
        assert row["attention"] == pytest.approx(own["attention"])
        assert row["sign"] == signs.get((row["query_row"], row["key_row"]))


def test_tokens_and_prompts_are_those_of_the_rows(plain):
    run, data = plain
    for row in strongest(run, ORDER, LAYER, HEAD, most=20).table.to_dicts():
        places = {
            n: t.row(row[f"{n}_row"], named=True) for n, t in (("query", data.query_rows), ("key", data.key_rows))
        }
        assert row["prompt_id"] == places["query"]["prompt_id"]
        assert row["key_prompt_id"] == places["key"]["prompt_id"]
        for name, place in places.items():
            (text,) = data.tokens.filter(prompt_id=place["prompt_id"], pos=place["pos"])["text"]
            assert (row[f"{name}_text"], row[f"{name}_pos"]) == (text, place["pos"])


@pytest.mark.parametrize("among", ["contrast", "all"])
def test_errors_are_the_queries_whose_largest_logit_is_on_no_positive_key(made_run, among):
    run, data = made_run
    signs = signed(run, ORDER)
    rows = every(run, data, signs if among == "contrast" else None)
    if among == "all":
        rows = [row for row in rows if row["attention"] is not None]
    wanted, judged, alone = [], 0, 0
    for query in sorted({row["query"] for row in rows}):
        own = [row for row in rows if row["query"] == query]
        right = [r for r in own if signs.get((query, r["key"])) == 1]
        other = [r for r in own if signs.get((query, r["key"])) != 1]
        judged, alone = judged + bool(right and other), alone + (not (right and other))
        if right and other:
            a, b = (min(side, key=lambda r: (-r["logit"], r["key"])) for side in (right, other))
            if b["logit"] >= a["logit"]:
                wanted.append((-round(b["logit"] - a["logit"], 10), query, b["key"], a["key"]))
    found = strongest(run, ORDER, LAYER, HEAD, "errors", among)
    told = found.table.select("query_row", "key_row", "other_row").rows()
    assert told == [row[1:] for row in sorted(wanted)]
    assert (found.found, found.n, found.left_out) == (len(wanted), judged, alone)
    assert found.table["margin"].to_list() == pytest.approx([-row[0] for row in sorted(wanted)], abs=1e-9)
    assert found.found > 0


def test_the_share_of_errors_is_what_accuracy_leaves(plain):
    run, _ = plain
    for score in heads.heads(run, ORDER[0], nulls=0):
        found = strongest(run, ORDER, score.layer, score.head, "errors", most=1)
        assert found.found / found.n == pytest.approx(1 - score.accuracy)
        assert found.n == score.n_queries


def test_ties_come_in_the_order_of_their_rows_and_count_as_errors(tmp_path_factory):
    run, _ = made(tmp_path_factory, "ties")
    found = strongest(run, ORDER, LAYER, HEAD, "errors", most=1000)
    assert found.found == found.n == 16
    assert found.table["query_row"].to_list() == sorted(found.table["query_row"])
    assert (found.table["margin"] == 0).all()
    pairs = strongest(run, ORDER, LAYER, HEAD, "logit", most=4).table
    assert pairs["query_row"].n_unique() == 1
    assert pairs["key_row"].to_list() == sorted(pairs["key_row"])


def test_a_query_with_keys_of_one_sign_is_left_out_of_the_errors(plain):
    run, _ = plain
    even = (ORDER[0].replace(negative="k.order_id <> q.queried_order and q.prompt_id % 2 = 0"),)
    found = strongest(run, even, LAYER, HEAD, "errors")
    assert (found.n, found.left_out) == (8, 8)
    assert "8 more queries have keys of one sign alone" in found.sentence
    apart = (ORDER[0].replace(positive="q.prompt_id % 2 = 1", negative="q.prompt_id % 2 = 0"),)
    with pytest.raises(ContrastError, match="no query has keys of both signs"):
        strongest(run, apart, LAYER, HEAD, "errors")


def test_what_moved_is_the_swap_of_the_interventions_page(plain):
    run, _ = plain
    swapped = analysis.intervene(run, {"order": ORDER}, 1, 0).conditions[0]
    found = strongest(run, ORDER, 1, 0, "moved", most=1000)
    assert found.n == len(found.table) == swapped.n
    assert found.mean == pytest.approx(swapped.delta_p)
    table = found.table
    assert table["moved"].to_list() == sorted(table["moved"], reverse=True)
    assert table["attention"].mean() == pytest.approx(swapped.target_before)
    assert table["after"].mean() == pytest.approx(swapped.target_after)
    assert table["other_attention"].mean() == pytest.approx(swapped.original_before)
    assert (table["after"] - table["attention"]).to_list() == pytest.approx(table["moved"].to_list())
    assert set(table["sign"]) == {-1}
    signs = signed(run, ORDER)
    assert {signs[row] for row in zip(table["query_row"], table["other_row"], strict=True)} == {1}


def test_a_key_of_another_prompt_has_a_logit_and_no_attention(plain):
    run, _ = plain
    found = strongest(run, ACROSS, LAYER, HEAD, "logit", most=500)
    apart = found.table.filter(found.table["prompt_id"] != found.table["key_prompt_id"])
    assert len(apart) > 0
    assert apart["attention"].null_count() == len(apart)
    seen = strongest(run, ACROSS, LAYER, HEAD, "attention", most=500)
    assert (seen.n, seen.left_out) == (found.n - len(apart), len(apart))
    other = "k.prompt_id = q.counterfactual_id and k.pos"
    only = (ACROSS[0].replace(positive=f"{other} < 6", negative=f"{other} > 6"),)
    with pytest.raises(ContrastError, match="none has attention"):
        strongest(run, only, LAYER, HEAD, "attention")


@pytest.mark.parametrize("at_once", [1, 5, 7, 10**6])
def test_blocks_of_any_size_hold_the_same_pairs(made_run, at_once):
    run, data = made_run
    signs = Signs(run, chosen(run, ORDER, "test"))
    told = []
    blocks = list(of_prompts(Head(run, LAYER, HEAD), signs, "test", at_once, lambda *done: told.append(done)))
    found = {(q, k): x for b in blocks for q, k, x in zip(b.query, b.key, b.logit, strict=True)}
    wanted = {(r["query"], r["key"]): r["logit"] for r in every(run, data) if r["attention"] is not None}
    assert found.keys() == wanted.keys()
    assert list(found.values()) == pytest.approx([wanted[pair] for pair in found], abs=1e-9)
    assert sum(len(b) for b in blocks) == len(found), "each pair once"
    assert all(len(b) <= max(at_once, 4) for b in blocks)
    assert told[-1] == (16, 16)
    homes = [set(b.query.tolist()) for b in blocks]
    assert sum(map(len, homes)) == len(set().union(*homes)), "a query is in one block"


def test_a_window_that_hides_all_is_one_line(tmp_path_factory):
    data = synthetic.synthetic(N)
    data.layers = [layer | {"window": 1} for layer in data.layers]
    path = tmp_path_factory.mktemp("blind")
    stores.write(path, "run", data)
    run = qkstore.open(path).run("run")
    with pytest.raises(ContrastError, match="no query of the test split sees a stored key of its prompt in layer 1"):
        strongest(run, ORDER, LAYER, HEAD, among="all")
    with pytest.raises(ContrastError, match="none has attention"):
        strongest(run, ORDER, LAYER, HEAD, "attention")
    assert strongest(run, ORDER, LAYER, HEAD, "logit").n == 64


def test_a_span_ranks_the_pairs_of_its_members_each_once(tmp_path):
    store = qkstore.open(stores.write_lists(tmp_path / "store"))
    run = store.run("lists")
    whole, pooled = (strongest(run, store.feature(run, name), 1, 1, most=9) for name in ("category:*", "category"))
    assert whole.table.equals(pooled.table)
    assert whole.n == pooled.n
    moved = strongest(run, store.feature(run, "category:*"), 1, 1, "moved", most=3)
    span = analysis.intervene(run, {"all": store.feature(run, "category:*")}, 1, 1).conditions[0]
    assert moved.mean == pytest.approx(span.delta_p)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"by": "logits"}, ContrastError, "no ranking 'logits'.*logit"),
        ({"among": "every"}, ContrastError, "no pairs 'every'"),
        ({"by": "moved", "among": "all"}, ContrastError, "'moved' ranks no other pairs"),
        ({"most": 0}, ContrastError, "0 pairs: give 1 or more"),
        ({"split": "dev"}, RunError, "no split 'dev'"),
        ({"layer": 7}, RunError, "no layer 7"),
        ({"head": 4}, RunError, "no head 4"),
    ],
)
def test_mistakes_are_one_line(plain, options, error, said):
    run, _ = plain
    with pytest.raises(error, match=said) as told:
        strongest(run, ORDER, **{"layer": LAYER, "head": HEAD} | options)
    assert "\n" not in str(told.value)


def test_a_side_without_keys_is_one_line(plain):
    run, _ = plain
    with pytest.raises(ContrastError, match="no negative pairs"):
        strongest(run, (replace(ORDER[0], negative="k.order_id = 99"),), LAYER, HEAD)
