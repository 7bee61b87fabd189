"""The commands of runs: rename and remove, which say what they did or why not in one line."""

from __future__ import annotations

import json

import pytest
import stores

import qkstore
from qkstore.__main__ import main


@pytest.fixture
def store(tmp_path):
    return qkstore.open(stores.write(tmp_path, "a", n=16))


def call(store, capsys, *words: str) -> tuple[int, str, str]:
    code = main([words[0], "--store", str(store.path), *words[1:]])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_run_is_renamed(store, capsys):
    store.catalog.notes.add("text", "a")
    assert call(store, capsys, "rename", "--run", "a", "--to", "b") == (0, "run a is b now\n", "")
    assert [r.name for r in store.runs()] == ["b"]
    code, out, err = call(store, capsys, "heads", "--run", "a", "--contrast", "order")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no run 'a' in the store: it was renamed to b by" in err
    assert call(store, capsys, "rename", "--run", "b", "--to", "b")[0] == 2
    assert "run b\n" in call(store, capsys, "notes")[1].replace("  ", "\n").replace("\n ", "\n")


def test_a_run_is_removed_by_its_name_said_twice(store, capsys):
    store.catalog.notes.add("text", "a")
    code, out, err = call(store, capsys, "remove", "--run", "a")
    assert (code, out) == (2, "")
    assert err.startswith("qkstore: run a: ")
    assert "notes on it: 1; kept results: none; to remove it for good add --yes-i-mean a" in err
    code, out, err = call(store, capsys, "remove", "--run", "a", "--yes-i-mean", "b")
    assert (code, out, err) == (2, "", "qkstore: --yes-i-mean b is not --run a; nothing was removed\n")
    assert [r.name for r in store.runs()] == ["a"]
    code, out, err = call(store, capsys, "remove", "--run", "a", "--yes-i-mean", "a")
    assert (code, err) == (0, "")
    assert out.startswith("removed run a: ")
    assert store.runs() == []
    assert "it was removed by" in call(store, capsys, "remove", "--run", "a", "--yes-i-mean", "a")[2]


def test_notes_are_searched(store, capsys):
    store.catalog.notes.add("Finds fruits, not colours", "a", "L1 H0")
    store.catalog.notes.add("100% sure_ly", "a")
    for words, n in ((["FRUITS", "l1"], 1), (["%"], 1), (["sure_"], 1), (["sureX"], 0), ([""], 2), (["run a"], 2)):
        out = call(store, capsys, "notes", "--search", " ".join(words), "--json")[1]
        assert len(json.loads(out)) == n, words
    assert len(json.loads(call(store, capsys, "notes", "--search", "fruits", "--run", "a", "--json")[1])) == 1
    out = call(store, capsys, "notes", "--search", "sure", "--run", "a", "--layer", "1", "--head", "0", "--json")[1]
    assert json.loads(out) == []
