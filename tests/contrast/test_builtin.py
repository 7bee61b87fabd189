"""The built-in contrasts give exactly the pairs that a loop over the prompts' tokens gives."""

from __future__ import annotations

import polars as pl
import pytest
from labelled import labelled
from synthetic import synthetic, write

import qkstore
from ingest.prompts import boxes, lists
from qkstore.contrast import builtin, pairs
from qkstore.errors import ContrastError


def written(path):
    """A store of boxes of each question, of lists, and of runs whose labels are odd."""
    for question in ("ent", "ord", "both"):
        write(path, question, labelled(boxes.build(12, question, 0, n_test=6, n_pairs=4, reflexive=True)))
    write(path, "without", labelled(boxes.build(12, "ent", 0, n_test=6, n_pairs=4)))
    write(path, "lists", labelled(lists.build(60, 0, n_test=20), cut=lambda w: [w[:2], w[2:]] if len(w) > 4 else [w]))
    quoted = labelled(lists.build(30, 0, n_test=10))
    odd = pl.col("category").replace({"fruits": "it's", "fruit": "it's"})
    quoted.tokens = quoted.tokens.with_columns(odd)
    quoted.prompts = quoted.prompts.with_columns(
        queried_category=pl.col("queried_category").replace({"fruits": "it's", "fruit": "it's"})
    )
    write(path, "quoted", quoted)
    numbered = labelled(lists.build(30, 0, n_test=10))
    codes = {name: i for i, name in enumerate(sorted(numbered.prompts["queried_category"].unique()))}
    numbered.tokens = numbered.tokens.with_columns(
        pl.col("category").replace_strict(codes, default=99, return_dtype=pl.Int64)
    )
    numbered.prompts = numbered.prompts.with_columns(
        pl.col("queried_category").replace_strict(codes, return_dtype=pl.Int64)
    )
    write(path, "numbered", numbered)
    bare = synthetic(16)
    bare.tokens = bare.tokens.drop("order_id")
    write(path, "bare", bare)
    return qkstore.open(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return written(tmp_path_factory.mktemp("store"))


def sides(run) -> tuple[list[dict], list[dict]]:
    """Stored queries and keys as dicts of their token's and prompt's columns, by a loop: no code of the library."""
    con = run.cursor()
    tokens = {(t["prompt_id"], t["pos"]): t for t in con.execute("SELECT * FROM token").pl().to_dicts()}
    prompts = {p["prompt_id"]: p for p in con.execute("SELECT * FROM prompt").pl().to_dicts()}
    out = []
    for table in ("query_row", "key_row"):
        rows = con.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
        out.append([prompts[p] | tokens[p, pos] | {"row": row} for row, p, pos in rows])
    return tuple(out)


def by_loop(run, rule) -> set[tuple[int, int, int]]:
    queries, keys = sides(run)
    return {(q["row"], k["row"], sign) for q in queries for k in keys if (sign := rule(q, k))}


def found(run, contrast, split=None) -> set[tuple[int, int, int]]:
    p = pairs(run, contrast, split)
    triples = list(zip(p.query.tolist(), p.key.tolist(), p.sign.tolist()))
    assert len(set(triples)) == len(triples), "a pair came twice"
    return set(triples)


def order(q, k):
    used = q["variant"] == "fixed" or (q["split"] == "test" and q["variant"] == "base")
    if used and q["role"] == "answer_slot" and k["role"] == "box" and k["prompt_id"] == q["prompt_id"]:
        return 1 if k["order_id"] == q["queried_order"] else -1
    return None


def lexical(q, k):
    if (
        q["role"] == "answer_slot"
        and q["variant"] == "base"
        and k["role"] == "box"
        and k["order_id"] == q["queried_order"]
    ):
        return 1 if k["prompt_id"] == q["prompt_id"] else -1 if k["prompt_id"] == q["counterfactual_id"] else None
    return None


def authors_lexical(q, k):
    if (
        q["role"] == "answer_slot"
        and k["role"] == "box"
        and k["prompt_id"] == q["prompt_id"]
        and k["order_id"] == q["queried_order"]
    ):
        return {"base": 1, "counterfactual": -1}.get(q["variant"])
    return None


def reflexive(q, k):
    if (
        q["role"] == "answer_slot"
        and q["variant"] == "base"
        and k["role"] == "box"
        and k["order_id"] == q["queried_order"]
    ):
        if k["prompt_id"] == q["prompt_id"]:
            return 1
        return -1 if k["variant"] == "reflexive" and k["id"] == q["id"].replace("base", "reflexive") else None
    return None


def category(q, k):
    if q["role"] == "answer_slot" and k["role"] == "item" and k["span_last"] and k["prompt_id"] == q["prompt_id"]:
        return 1 if k["category"] == q["queried_category"] else -1
    return None


RULES = {
    "order": order,
    "order-centred": order,
    "authors/order": order,
    "lexical": lexical,
    "lexical-centred": lexical,
    "authors/lexical": authors_lexical,
    "reflexive": reflexive,
}


@pytest.mark.parametrize("question", ["ent", "ord", "both"])
@pytest.mark.parametrize("name", RULES)
def test_boxes_contrasts_are_the_pairs_of_a_loop(store, question, name):
    run = store.run(question)
    (contrast,) = store.feature(run, name)
    expected = by_loop(run, RULES[name])
    assert expected
    assert found(run, contrast) == expected
    another = lexical if RULES[name] is not lexical else order
    assert found(run, contrast) != by_loop(run, another)


def test_order_is_of_fixed_prompts_in_train_and_base_prompts_in_test(store):
    run = store.run("ent")
    for split, variant in (("train", "fixed"), ("test", "base")):
        used = {q for q, _, _ in found(run, builtin.ORDER, split)}
        assert used == {q["row"] for q in sides(run)[0] if q["split"] == split and q["variant"] == variant}


def test_lexical_has_one_query_for_both_keys_and_the_authors_two(store):
    run = store.run("both")
    one = {(q, s) for q, _, s in found(run, builtin.LEXICAL)}
    assert {q for q, s in one if s == 1} == {q for q, s in one if s == -1}
    (authors,) = store.feature(run, "authors/lexical")
    two = {(q, s) for q, _, s in found(run, authors)}
    assert not {q for q, s in two if s == 1} & {q for q, s in two if s == -1}
    # a matched pair: the keys of the positive sides are the same, and so are those of the negative ones
    assert {(k, s) for _, k, s in found(run, authors)} == {(k, s) for _, k, s in found(run, builtin.LEXICAL)}


def test_reflexive_keys_share_all_but_their_box(store):
    """The control: the negative keys of lexical share the box, and differ in the entity."""
    run = store.run("ent")
    keys = sides(run)[1]

    def differing(contrast):
        pair = {q: {s: keys[k] for p, k, s in found(run, contrast) if p == q} for q, _, _ in found(run, contrast)}
        return [{n for n in ("box", "entity", "order_id") if both[1][n] != both[-1][n]} for both in pair.values()]

    assert set(map(frozenset, differing(builtin.REFLEXIVE))) == {frozenset({"box"})}
    assert set(map(frozenset, differing(builtin.LEXICAL))) == {frozenset({"entity"})}


def test_reflexive_needs_its_prompts_and_no_other_contrast_sees_them(store):
    assert "reflexive" in store.features(store.run("both"))
    assert "reflexive" not in store.features(store.run("without"))
    assert builtin.taken("reflexive")
    assert builtin.taken("lexical")
    assert not builtin.taken("reflexive of mine")
    ids = {
        p: i
        for i, p in enumerate(
            store.run("ent").table("SELECT id FROM prompt ORDER BY prompt_id").column("id").to_pylist()
        )
    }
    other = {k["row"] for k in sides(store.run("ent"))[1] if k["variant"] == "reflexive"}
    assert other
    assert len(ids) == 66
    for name in ("order", "lexical", "authors/lexical"):
        (contrast,) = store.feature(store.run("ent"), name)
        assert not other & {k for _, k, _ in found(store.run("ent"), contrast)}
        assert found(store.run("ent"), contrast)
        assert found(store.run("without"), contrast)


@pytest.mark.parametrize("name", ["order", "lexical", "reflexive"])
def test_an_answer_slot_of_two_tokens_is_one_query(name, tmp_path):
    prompts = boxes.build(12, "ent", 0, n_test=6, n_pairs=4, reflexive=True)
    write(tmp_path, "whole", labelled(prompts))
    write(tmp_path, "cut", labelled(prompts, cut=lambda word: ["b", "ox"] if word == "box" else [word]))
    whole, cut = (qkstore.open(tmp_path).run(r) for r in ("whole", "cut"))
    (contrast,) = builtin.feature(whole, name)
    assert cut.n_queries == 2 * whole.n_queries
    assert pairs(cut, contrast).counts == pairs(whole, contrast).counts
    queries = sides(cut)[0]
    assert all(queries[q]["span_last"] for q, _, _ in found(cut, contrast))


def test_weighting_and_centring_are_what_sets_the_variants_apart(store):
    run = store.run("ent")
    kinds = {name: (c.weighting, c.centring) for name, (c, *_) in store.features(run).items()}
    assert kinds["order"] == kinds["lexical"] == kinds["authors/lexical"] == ("pair", "none")
    assert kinds["order-centred"] == kinds["lexical-centred"] == ("pair", "queries")
    assert kinds["authors/order"] == ("query", "none")
    assert {
        c.weighting
        for (c, *_) in (v for n, v in store.features(store.run("lists")).items() if n.startswith("authors/"))
    } == {"sum"}


def test_a_run_without_the_labels_has_no_built_in(store):
    assert store.features(store.run("bare")) == {}
    with pytest.raises(ContrastError, match=r"no contrast 'order' for run 'bare'; there are none"):
        store.feature(store.run("bare"), "order")
    assert "category" not in store.features(store.run("ent"))
    assert "order" not in store.features(store.run("lists"))


@pytest.mark.parametrize(
    ("run", "asked", "near"),
    [
        ("ent", "ordr", "'order'"),
        ("ent", "Lexical", "'lexical'"),
        ("lists", "categry", "'category'"),
        ("ent", "author/order", "'authors/order'"),
    ],
)
def test_an_unknown_name_has_near_ones(store, run, asked, near):
    with pytest.raises(ContrastError, match=f"did you mean {near}") as error:
        store.feature(store.run(run), asked)
    assert "\n" not in str(error.value)


def test_every_built_in_reads_back_and_is_hashed_apart(store):
    for name in ("ent", "lists"):
        contrasts = builtin.contrasts(store.run(name))
        assert all(
            c.sentence().startswith(("Queries", "Pairs")) and c.description and c.author == "qkstore" for c in contrasts
        )
        assert len({c.key for c in contrasts}) == len({c.name for c in contrasts}) == len(contrasts)


@pytest.mark.parametrize("question", ["ent", "ord", "both"])
def test_order_elsewhere_takes_one_other_prompt_without_the_queried_entity(store, question):
    run = store.run(question)
    queries, keys = ({row["row"]: row for row in side} for side in sides(run))
    entities = {}
    for key in keys.values():
        entities.setdefault(key["prompt_id"], set()).add(key["entity"])
    triples, other = found(run, builtin.ELSEWHERE, "train"), {}
    for q, k, sign in triples:
        query, key = queries[q], keys[k]
        other.setdefault(q, set()).add(key["prompt_id"])
        assert query["variant"] == "fixed"
        assert key["variant"] == "base"
        assert key["split"] == "train"
        assert key["role"] == "box"
        assert query["queried_entity"] not in entities[key["prompt_id"]]  # nothing there for the query to find
        assert sign == (1 if key["order_id"] == query["queried_order"] else -1)
    assert all(len(prompts) == 1 for prompts in other.values())
    assert len(set().union(*other.values())) == len(other)
    assert all(sum(t[0] == q for t in triples) == 4 for q in other)  # every box of that prompt
    leaking = found(run, builtin.ORDER, "train")
    assert any(queries[q]["queried_entity"] in entities[keys[k]["prompt_id"]] for q, k, _ in leaking)
    assert found(run, builtin.ELSEWHERE, "test") == found(run, builtin.ORDER, "test")  # judged on the same pairs
