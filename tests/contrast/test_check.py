"""The check of a contrast: it finds the leaks, the ties and the imbalance that are there, and none that are not."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from labelled import labelled
from synthetic import BOXES, synthetic, write

import qkstore
from ingest.prompts import boxes, lists
from qkstore.contrast import Contrast, builtin
from qkstore.contrast.check import check
from qkstore.errors import ContrastError

ORDER = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """256 prompts whose positive box always carries the entity 'jam', as with one fixed query entity."""
    store = tmp_path_factory.mktemp("store")
    write(store, data=synthetic(n=256))
    data = synthetic(n=256)
    place = dict(zip(data.prompts["prompt_id"], data.prompts["queried_order"]))
    fixed = [
        "jam" if role == "box" and order == place[prompt] else entity if entity != "jam" else "ink"
        for prompt, role, order, entity in data.tokens.select("prompt_id", "role", "order_id", "entity").iter_rows()
    ]
    data.tokens = data.tokens.with_columns(entity=pl.Series(fixed))
    data.prompts = data.prompts.with_columns(queried_entity=pl.lit("jam"))
    write(store, "fixed", data)
    return qkstore.open(store)


def texts(findings, kind):
    return [f.text for f in findings if f.kind == kind]


def test_the_leak_of_one_fixed_entity_is_found_with_its_remedy(run):
    (leak,) = texts(check(run.run("fixed"), ORDER), "leak")
    assert "positive side k.entity is always 'jam'" in leak
    assert "centre the queries" in leak


def test_without_the_leak_nothing_warns(run):
    assert not [f for f in check(run.run("synthetic"), ORDER) if f.warns]


def test_centring_answers_the_leak(run):
    findings = check(run.run("fixed"), ORDER.replace(centring="queries"))
    assert not texts(findings, "leak")
    assert any("queries are centred" in t for t in texts(findings, "tied"))


def test_what_else_tells_the_sides_apart_is_noted(run):
    notes = texts(check(run.run("synthetic"), ORDER), "tied")
    assert any("k.entity equals q.queried_entity in 100% of the positive" in t for t in notes)
    named = ORDER.replace(positive=ORDER.positive + " and k.entity = q.queried_entity")
    assert not any("k.entity" in t for t in texts(check(run.run("synthetic"), named), "tied"))


def test_few_queries_and_imbalance(run):
    few = ORDER.replace(where=ORDER.where + " and q.prompt_id < 20")
    assert any("few queries: 20" in t for t in texts(check(run.run("synthetic"), few), "few"))
    rare = ORDER.replace(positive="k.order_id = q.queried_order and q.prompt_id < 4")
    kinds = {f.kind for f in check(run.run("synthetic"), rare)}
    assert {"imbalance", "few"} <= kinds
    assert not texts(check(run.run("synthetic"), ORDER), "few")


def test_a_cross_prompt_contrast_is_checked(run):
    lexical = Contrast(
        name="lex",
        where="q.variant = 'base' and k.order_id = q.queried_order",
        positive="k.prompt_id = q.prompt_id",
        negative="k.prompt_id = q.counterfactual_id",
    )
    notes = texts(check(run.run("synthetic"), lexical), "tied")
    assert any(
        "k.entity equals q.queried_entity in 100% of the positive pairs and 0% of the negative" in t for t in notes
    )


def test_keys_that_are_pooled_over_prompts_are_warned_of(run):
    """The control: matched with one other prompt, as in the lexical contrast, or within prompts, queries share none."""
    pooled = ORDER.replace(where="k.order_id > 0 and q.prompt_id < 40 and k.prompt_id < 40")
    (text,) = texts(check(run.run("synthetic"), pooled), "across")
    assert text.startswith("pairs across prompts: in 98% of the pairs the key is of another prompt")
    assert "queries of 29 prompts share a key" in text, "39 others, by a place that three in four do not ask for"
    assert "not independent" in text
    assert "add k.prompt_id = q.prompt_id" in text
    for contrast in (ORDER, builtin.LEXICAL, builtin.ELSEWHERE):
        assert not texts(check(run.run("synthetic"), contrast), "across")


def test_a_whole_select_is_checked(run):
    whole = Contrast(
        name="w",
        pairs=(
            "select q.query_row, k.key_row, case when k.order_id = 1 then 1 else -1 end as sign "
            f"from q join k on k.prompt_id = q.prompt_id where k.order_id <= {BOXES}"
        ),
    )
    assert isinstance(check(run.run("synthetic"), whole), list)


def test_an_empty_side_is_an_error_with_counts(run):
    with pytest.raises(ContrastError, match="0 positive and 768 negative"):
        check(run.run("synthetic"), ORDER.replace(positive="k.order_id = 99"))


def test_warnings_come_first(run):
    findings = check(run.run("fixed"), ORDER)
    assert [f.warns for f in findings] == sorted((f.warns for f in findings), reverse=True)


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """Boxes whose test entities no train prompt has, and the same boxes where train prompts have all of them."""
    store = tmp_path_factory.mktemp("held")
    prompts = boxes.build(120, "ent", 0, n_test=120, n_pairs=4)
    write(store, "held", labelled(prompts))
    seen = [
        replace(
            p, split="test" if p.split == "train" and p.id.endswith(("0", "1")) and p.variant != "fixed" else "train"
        )
        for p in prompts
    ]
    write(store, "seen", labelled(seen))
    return qkstore.open(store)


def test_a_test_split_without_unseen_entities_is_one_line(held):
    (warning,) = [f for f in check(held.run("seen"), builtin.LEXICAL) if f.kind == "seen"]
    assert warning.warns
    assert "\n" not in warning.text
    assert warning.text.startswith("not held out: all ")
    assert "queried entities of the test split are in train pairs too" in warning.text


def test_control_a_split_that_holds_its_entities_out_is_not_warned_of(held):
    for contrast in (builtin.LEXICAL, builtin.ORDER):
        assert not [f for f in check(held.run("held"), contrast) if f.kind in ("seen", "partly")]


def test_words_that_are_partly_seen_are_noted(run):
    """The synthetic run's splits share some of their entities."""
    (note,) = [f for f in check(run.run("synthetic"), ORDER) if f.kind == "partly"]
    assert not note.warns
    assert "2 of 5 queried entities" in note.text


def test_a_run_of_one_split_holds_nothing_out(tmp_path):
    data = synthetic(n=256)
    data.prompts = data.prompts.with_columns(split=pl.lit("train"))
    write(tmp_path, data=data)
    assert not [f for f in check(qkstore.open(tmp_path).run("synthetic"), ORDER) if f.kind in ("seen", "partly")]


# -- what is not held out --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """Lists whose test words no train prompt has; and the same with its splits dealt anew, so that they share words."""
    store = tmp_path_factory.mktemp("listed")
    prompts = lists.build(80, 0, n_test=60)
    write(store, "held", labelled(prompts))
    write(store, "mixed", labelled([replace(p, split="test" if i % 2 else "train") for i, p in enumerate(prompts)]))
    return qkstore.open(store)


def test_words_of_lists_are_held_out_by_the_item(listed):
    assert not [f for f in check(listed.run("held"), builtin.CATEGORY) if f.kind in ("seen", "partly")]
    (found,) = [f for f in check(listed.run("mixed"), builtin.CATEGORY) if f.kind in ("seen", "partly")]
    assert "queried items of the test split are in train pairs too, '" in found.text
    assert "\n" not in found.text


def words(run, label: str, where: str) -> set[str]:
    return set(
        run.table(f"SELECT DISTINCT {label} AS w FROM k WHERE {label} IS NOT NULL AND {where}").column("w").to_pylist()
    )


def test_how_many_words_are_seen_is_counted_by_hand(run, listed):
    """Words on a positive key of a test pair that are also on any key of a train pair.

    The word of a negative test key is not judged.
    """
    made = run.run("synthetic")
    sql = (
        "SELECT k.entity AS w, k.split FROM k JOIN prompt USING (prompt_id) WHERE k.role = 'box' "
        "AND k.order_id = prompt.queried_order"
    )
    asked = made.table(sql).to_pylist()
    positive, train = (
        {r["w"] for r in asked if r["split"] == "test"},
        words(made, "entity", "role = 'box' AND split = 'train'"),
    )
    (found,) = [f for f in check(made, ORDER) if f.kind in ("seen", "partly")]
    both = positive & train
    assert f"{len(both)} of {len(positive)} queried entities" in found.text
    assert f"{min(both)!r} for one" in found.text
    assert both != positive
    some = ORDER.replace(
        where=ORDER.where + f" and (q.split = 'train' or k.entity in ({', '.join(repr(w) for w in both)}))"
    )
    (all_of_them,) = [f for f in check(made, some) if f.kind in ("seen", "partly")]
    assert all_of_them.kind == "seen"
    assert all_of_them.warns
    assert f"not held out: all {len(both)} queried" in all_of_them.text


def test_a_word_on_a_negative_key_alone_is_not_judged(run):
    made = run.run("synthetic")
    seen = words(made, "entity", "role = 'box' AND split = 'train'")
    asked = made.table("SELECT prompt_id, queried_entity AS w FROM prompt WHERE split = 'test' ORDER BY 1").to_pylist()
    one, other = (next(r for r in asked if (r["w"] in seen) == here) for here in (True, False))
    for row, kinds in ((one, ["seen"]), (other, [])):
        alone = ORDER.replace(where=f"{ORDER.where} and (q.split = 'train' or q.prompt_id = {row['prompt_id']})")
        assert [f.kind for f in check(made, alone) if f.kind in ("seen", "partly")] == kinds, (
            "its three other boxes have words of train as well"
        )


def test_a_train_word_on_a_negative_key_counts_as_seen(run):
    """ΔC is built on negative keys as well."""
    made = run.run("synthetic")
    alone = ORDER.replace(
        where=f"{ORDER.where} and (q.split = 'test' or k.entity <> 'jam' or k.order_id <> q.queried_order)"
    )
    texts_ = [[f.text for f in check(made, c) if f.kind in ("seen", "partly")] for c in (ORDER, alone)]
    assert texts_[0] == texts_[1]
    assert texts_[0]


def test_a_run_whose_labels_are_others_has_no_words_to_hold_out(tmp_path):
    data = synthetic(n=128)
    data.tokens = data.tokens.rename({"entity": "thing"})
    write(tmp_path, data=data)
    assert not [f for f in check(qkstore.open(tmp_path).run("synthetic"), ORDER) if f.kind in ("seen", "partly")]
