"""The built-in contrasts of categories: their pairs, their span, and categories of any name."""

from __future__ import annotations

import pytest
from test_builtin import by_loop, category, found, sides, written

from qkstore.contrast import Contrast, builtin


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return written(tmp_path_factory.mktemp("store"))


@pytest.mark.parametrize("name", ["lists", "quoted"])
def test_category_contrasts_are_the_pairs_of_a_loop(store, name):
    run = store.run(name)
    assert found(run, builtin.CATEGORY) == by_loop(run, category)
    queried = run.values("queried_category", "q")
    assert len(queried) > 5
    for value in queried:
        expected = by_loop(run, lambda q, k: category(q, k) if q["queried_category"] == value else None)  # noqa: B023
        for known in (f"category:{value}", f"authors/category:{value}"):
            (contrast,) = store.feature(run, known)
            assert contrast.name == known
            assert expected
            assert found(run, contrast) == expected


def test_only_the_last_token_of_an_item_is_a_key(store):
    _, keys = sides(store.run("lists"))
    used = {k for _, k, _ in found(store.run("lists"), builtin.CATEGORY)}
    assert used < {k["row"] for k in keys if k["role"] == "item"}  # some items fall into two tokens
    assert all(keys[k]["span_last"] for k in used)


def test_a_quote_in_a_category_is_a_letter(store):
    run = store.run("quoted")
    (contrast,) = store.feature(run, "category:it's")
    assert all(sides(run)[0][q]["queried_category"] == "it's" for q, _, _ in found(run, contrast))


def test_categories_may_be_numbers(store):
    run = store.run("numbered")
    (contrast,) = store.feature(run, "category:2")
    assert found(run, contrast) == by_loop(run, lambda q, k: category(q, k) if q["queried_category"] == 2 else None)


def test_the_span_is_of_every_category_and_nothing_else(store):
    run = store.run("lists")
    members = store.feature(run, "category:*")
    assert {c.name for c in members} == {f"category:{c}" for c in run.values("queried_category", "q")}
    assert "category:*" not in store.features(store.run("ent"))


def test_a_saved_contrast_hides_a_built_in_of_its_name_in_the_span_too(store):
    run, mine = (
        store.run("lists"),
        Contrast(name="category:fruit", positive="k.category = 'fruit'", negative="k.category <> 'fruit'"),
    )
    name = next(n for n in builtin.features(run) if n.startswith("category:") and n != "category:*")
    mine = mine.replace(name=name)
    shown = builtin.features(run, [mine, mine.replace(name="category:of mine")])
    assert shown[name] == (mine,)
    assert mine in shown["category:*"]
    assert len(shown["category:*"]) == len(builtin.features(run)["category:*"]), (
        "a contrast that only begins so is none of the categories"
    )
    assert builtin.features(run)[name] != (mine,)
    assert builtin.features(run, [mine.replace(name="category:*")])["category:*"] == (mine.replace(name="category:*"),)
