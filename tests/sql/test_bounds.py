"""Bounds before the parser, and the worker's limit behind them: no text can hold up this process or fill its memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hostile import nested, terms

from qkstore.errors import GuardError
from qkstore.sql import bounds, guard, worker

COLUMNS = {"q": ["pos", "role"], "k": ["pos", "role"]}
GROWING = [nested(17), nested(20), nested(40), f"exists (select 1 from q as t group by cube ({terms(15)}))"]


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("text", GROWING, ids=lambda text: text[:20])
@pytest.mark.parametrize("read", [guard.condition, lambda text: guard.predicate(text, COLUMNS), guard.columns_used])
def test_a_text_that_grows_is_refused_before_it_is_parsed(read, text, monkeypatch):
    monkeypatch.setattr(worker, "read", lambda *_: pytest.fail("it reached the parser"))
    start = time.process_time()
    with pytest.raises(GuardError, match="CASEs|groupings"):
        read(f"1 = {text}" if text.startswith("case") else text)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("n", [13, 17])
def test_what_the_bounds_overlooked_the_worker_stops_and_this_process_feels_nothing(n, monkeypatch):
    """The control: without bounds the parser takes gigabytes and most of a minute, in a process of its own."""
    monkeypatch.setattr(bounds, "MOST_WORDS", 10**9)
    monkeypatch.setattr(worker, "READ_S", 3.0)
    guard.condition(f"1 = {n}")  # a process is there
    before, start = resident(), time.monotonic()
    with pytest.raises(GuardError, match="stopped after 3 s: the text takes too long|memory|needs more|grows to"):
        guard.condition(f"1 = {nested(n)}")
    assert time.monotonic() - start < 3 + 20, "of most of a minute"
    assert resident() - before < 30 << 20
    assert guard.condition("q.pos = 1")["type"] == "COMPARE_EQUAL"


PLAIN = [
    "case k.role when 'a' then 1 when 'b' then 2 else 3 end = 1",
    "case when k.pos > 1 then case when q.pos > 1 then 1 else 2 end else 3 end = 1",
    nested(3) + " = 1",
    "1 = " + " + ".join(["case k.role when 'a' then 1 else 2 end"] * 40),
    "k.role = 'case case case when when'",
    '"case" = 1'.replace('"case"', "k.pos"),
]


@pytest.mark.parametrize("text", PLAIN, ids=lambda text: text[:30])
def test_ordinary_cases_are_read(text):
    assert guard.predicate(text, COLUMNS).startswith("(")


def test_ordinary_groupings_are_read():
    for group in ("rollup (pos, role)", "cube (pos, role)", "grouping sets ((pos), (role), ())", "pos, role", "all"):
        assert guard.select(f"select pos, role, count(*) from q group by {group}", COLUMNS)


def test_a_text_is_read_once(monkeypatch):
    text, asked, real = "k.pos = 4242", [], worker.read
    monkeypatch.setattr(worker, "read", lambda *given: (asked.append(given), real(*given))[1])
    assert guard.predicate(text, COLUMNS) == guard.predicate(text, COLUMNS)
    assert len(asked) == 1
    assert guard.predicate(text, COLUMNS | {"q": ["pos"]})
    assert len(asked) == 2, "other columns are another question"
