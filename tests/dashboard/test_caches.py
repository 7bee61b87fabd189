"""Everything that the dashboard and the library keep in memory has a bound, and the oldest go beyond it."""

from __future__ import annotations

import ast
from types import SimpleNamespace

from conftest import ROOT

from dashboard import results
from dashboard.results import remember

SOURCES = [p for folder in ("qkstore", "dashboard", "pages") for p in sorted((ROOT / folder).rglob("*.py"))]
STREAMLIT, PLAIN = {"cache_data", "cache_resource"}, {"cache", "lru_cache"}


def name(node: ast.expr) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def unbounded(source: str) -> list[int]:
    """The lines of caches without a bound: of arguments without max_entries, or lru_cache without a size."""
    tree = ast.parse(source)
    calls = {id(n.func): n for n in ast.walk(tree) if isinstance(n, ast.Call)}
    alone = {
        id(d)
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef) and not (f.args.args or f.args.vararg or f.args.kwonlyargs or f.args.kwarg)
        for d in f.decorator_list
        if name(d) == "cache"
    }
    decorators = {id(getattr(d, "func", d)) for f in ast.walk(tree) for d in getattr(f, "decorator_list", ())}
    lines = []
    for node in ast.walk(tree):
        kept = name(node) in STREAMLIT or (name(node) in PLAIN and id(node) in decorators)
        if not kept or id(node) in alone:
            continue
        call = calls.get(id(node))
        options = {k.arg: k.value for k in call.keywords} if call else {}
        size = options.get("max_entries" if name(node) in STREAMLIT else "maxsize")
        size = size or (call.args[0] if call and call.args and name(node) in PLAIN else None)
        if size is None or (isinstance(size, ast.Constant) and size.value is None):
            lines.append(node.lineno)
    return lines


def test_no_cache_is_without_a_bound():
    assert {str(p.relative_to(ROOT)): lines for p in SOURCES if (lines := unbounded(p.read_text()))} == {}


def test_one_without_a_bound_is_seen():
    assert unbounded("@st.cache_data\ndef f(x): pass") == [1]
    assert unbounded("@st.cache_resource(show_spinner=False)\ndef f(x): pass") == [1]
    assert unbounded("@cache\ndef f(x): pass") == [1]
    assert unbounded("@functools.lru_cache(maxsize=None)\ndef f(x): pass") == [1]
    assert unbounded("@cache\ndef f(): pass") == []
    assert unbounded("@st.cache_data(max_entries=3)\ndef f(x): pass") == []
    assert unbounded("@lru_cache(8)\ndef f(x): pass") == []


def test_the_oldest_go_beyond_the_bound():
    kept = {}
    for number in range(5):
        assert remember(kept, 3, (number,), str(number)) == str(number)
    assert kept == {(2,): "2", (3,): "3", (4,): "4"}
    remember(kept, 3, (2,), "again")
    assert len(kept) == 3


def test_ranks_of_more_heads_than_are_kept_are_all_given(monkeypatch):
    kept, asked = {}, []
    toys = [SimpleNamespace(run=SimpleNamespace(name=str(i))) for i in range(6)]
    monkeypatch.setattr(results, "_ranks", lambda: kept)
    monkeypatch.setattr(results, "MOST_RANKS", 4)
    monkeypatch.setattr(results, "identity", lambda run: (run.name,))
    monkeypatch.setattr(results.toy, "recovered", lambda run: asked.append(run.name) or f"of {run.name}")
    everything = [f"of {i}" for i in range(6)]
    assert results.recovered(toys) == everything
    assert len(kept) == 4
    assert results.recovered(toys) == everything
    assert asked == [str(i) for i in (0, 1, 2, 3, 4, 5, 0, 1)], "those that went are made again, the others not"
