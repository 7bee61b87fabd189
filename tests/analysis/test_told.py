"""What attribution says of a key: its word, of which it may be a piece, the label asked about, and its sign."""

from __future__ import annotations

import pytest
from labelled import labelled
from synthetic import write

import qkstore
from ingest.prompts import lists
from qkstore.analysis import attribute


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("told")
    write(path, "lists", labelled(lists.build(30, 0, n_test=10), cut=lambda w: [w[:2], w[2:]] if len(w) > 4 else [w]))
    return qkstore.open(path)


def test_pieces_of_a_word_are_told_by_the_word_its_label_and_its_sign(store):
    run = store.run("lists")
    (category,) = store.feature(run, "category")
    prompt = run.prompt(3)
    tokens = attribute(run, {"category": (category,)}, 0, 0, 3).tokens
    items = [t for t in tokens if t["role"] == "item"]
    assert {t["sign"] for t in items} == {"+", "−"}
    listed = prompt["text"].removeprefix("List: ").partition(".")[0].split(", ")
    assert list(dict.fromkeys(t["word"] for t in items)) == listed
    assert any(t["word"] != t["text"].strip() for t in items), "some words are more than one token"
    for t in items:
        assert t["text"].strip() in t["word"]
        assert t["sign"] == ("+" if t["label"] == prompt["queried_category"] else "−")


def test_the_command_shows_them(store, capsys):
    from qkstore.__main__ import main

    asked = ["attribute", "--store", str(store.path), "--run", "lists", "--layer", "0", "--head", "0"]
    assert main([*asked, "--contrast", "category", "--prompt", "3"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()[1:]
    assert head.split()[:6] == ["pos", "word", "role", "label", "sign", "attention"]
    assert any("+" in row for row in rows)
