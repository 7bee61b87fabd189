"""Head scores are kept in the store, and read where they were kept."""

from __future__ import annotations

from synthetic import write
from test_analysis import ORDER

import qkstore
from qkstore.analysis.heads import heads, kept


def test_head_scores_are_computed_once_a_store_and_kept(tmp_path, monkeypatch):
    write(tmp_path, n=128)
    store = qkstore.open(tmp_path)
    run, calls = store.run("synthetic"), []
    first = kept(store, run, ORDER, progress=lambda i, n: calls.append(i))
    again = kept(qkstore.open(tmp_path), run, ORDER, progress=lambda i, n: calls.append(i))
    assert first == again == heads(run, ORDER)
    assert calls == list(range(1, 9))
    assert (
        kept(store, run, ORDER.replace(name="other name", version=3)) == first
    )  # what does not change the numbers is no key
    centred = kept(store, run, ORDER.replace(centring="queries"), progress=lambda i, n: calls.append(i))
    assert centred != first
    assert len(calls) == 16


def test_a_store_that_may_only_be_read_still_scores(tmp_path, monkeypatch):
    write(tmp_path, n=64)
    store = qkstore.open(tmp_path)

    def refuse(*args, **more):
        from qkstore.errors import StoreError

        raise StoreError("read-only")

    monkeypatch.setattr(store.catalog, "keep_result", refuse)
    assert len(kept(store, store.run("synthetic"), ORDER, nulls=0)) == 8
