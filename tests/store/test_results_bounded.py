"""What a catalogue keeps of results is bounded, in number and in bytes: the oldest go first, contrasts never."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from qkstore.contrast import Contrast
from qkstore.store.catalog import Catalog
from qkstore.store.catalog import catalog as module


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    """One whose results are a second apart."""
    moments = (datetime(2026, 1, 1) + timedelta(seconds=i) for i in range(10_000))
    monkeypatch.setattr(module, "now", lambda: next(moments))
    return Catalog(tmp_path / "catalog.duckdb")


def keep(catalog, keys, payload="x"):
    for key in keys:
        catalog.keep_result(key, "heads", "run", "order", payload)


def kept(catalog) -> list[str]:
    return [row["key"] for row in reversed(catalog.results("heads", "run"))]


def test_the_oldest_go_where_there_are_too_many(catalog, monkeypatch):
    monkeypatch.setattr(module, "MOST_RESULTS", 4)
    keep(catalog, "dcba")
    assert kept(catalog) == ["d", "c", "b", "a"]
    keep(catalog, "e")
    assert kept(catalog) == ["b", "a", "e"], "in the order in which they were made, whatever their keys"
    keep(catalog, "d")
    assert kept(catalog) == ["b", "a", "e", "d"], "there is room again"


def test_the_oldest_go_where_they_take_too_many_bytes(catalog, monkeypatch):
    size = len(json.dumps("x" * 100))
    monkeypatch.setattr(module, "MOST_BYTES", 4 * size)
    keep(catalog, "abcd", "x" * 100)
    assert kept(catalog) == ["a", "b", "c", "d"]
    keep(catalog, "e", "x" * 202)  # as large as two
    assert kept(catalog) == ["d", "e"]
    keep(catalog, "f", "é" * 100)  # 602 bytes in JSON: more than there may be of all
    assert kept(catalog) == []


def test_one_that_is_kept_already_is_not_made_younger(catalog, monkeypatch):
    monkeypatch.setattr(module, "MOST_RESULTS", 4)
    keep(catalog, "abcd")
    keep(catalog, "a")
    keep(catalog, "e")
    assert kept(catalog) == ["c", "d", "e"]
    keep(catalog, "c", "another")
    assert catalog.result("c") == "x", "the first of a key stays, in the new table too"


def test_other_kinds_and_runs_count_too(catalog, monkeypatch):
    monkeypatch.setattr(module, "MOST_RESULTS", 4)
    catalog.keep_result("live", "live", "another", "order", 1)
    keep(catalog, "abcd")
    assert catalog.results("live", "another") == []
    assert kept(catalog) == ["b", "c", "d"]


def test_contrasts_stay_whatever_results_go(catalog, monkeypatch):
    monkeypatch.setattr(module, "MOST_RESULTS", 1)
    for _ in range(5):
        catalog.save(Contrast("mine", positive="k.pos = 1", negative="k.pos = 2"))
    keep(catalog, "abcdef")
    assert [c.version for c in catalog.versions("mine")] == [1, 2, 3, 4, 5]


def test_a_full_catalogue_does_not_grow_on_the_disk(catalog, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 1 << 20)
    sizes = []
    for number in range(30):
        keep(catalog, [f"{number}-{i}" for i in range(3)], f"{number:x}" * 100_000)
        sizes.append(catalog.database.path.stat().st_size)
    assert sum(len(json.dumps(row["payload"])) for row in catalog.results("heads", "run")) <= 1 << 20
    assert max(sizes) < 5 << 20, "a part of it is free until the next checkpoint"


def test_the_bounds_as_they_are_keep_what_a_large_experiment_makes(catalog):
    keep(catalog, map(str, range(20)), "x" * 1_000_000)
    assert len(kept(catalog)) == 20
    assert module.MOST_RESULTS >= 10_000
