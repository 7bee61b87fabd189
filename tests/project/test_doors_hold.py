"""The doors together: who waits while hostile things are asked, how many inputs there are, and leaks that are found."""

from __future__ import annotations

import concurrent.futures
import importlib.util
import os
import re
import threading
import time
from contextlib import suppress
from pathlib import Path

import doors
import duckdb
import hostile
import pytest
from asked import MOST_BYTES, place, start_s  # noqa: F401 -- a fixture
from conftest import ROOT
from until import becomes

from qkstore.errors import QKStoreError
from qkstore.sql import worker
from qkstore.sql.turns import Asker


def test_others_wait_no_longer_while_somebody_asks_hostile_things(place, monkeypatch, capsys):
    who, end = threading.local(), threading.Event()
    monkeypatch.setattr(worker, "asker", lambda: Asker(getattr(who, "name", "other"), end.is_set))

    def greedy(number: int) -> None:
        who.name = "greedy"
        while not end.is_set():
            with suppress(QKStoreError):
                worker.query(place.path, doors.DEARER[number % len(doors.DEARER)], limit_s=3, memory="200MB")

    def waited() -> float:
        start = time.monotonic()
        assert worker.query(place.path, "SELECT 1 AS x").to_pydict() == {"x": [1]}
        return time.monotonic() - start

    alone = max(waited() for _ in range(5))
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        asked, beside = [pool.submit(greedy, i) for i in range(6)], []
        # the first of them has the process that waited; another begins to wait
        assert becomes(lambda: worker._queries.idle and worker._queries.turns.running["greedy"] > 1)
        before = start_s()
        for _ in range(8):
            time.sleep(0.4)
            beside.append(waited())
        busy = max(before, start_s())
        end.set()
        assert [a.result() for a in asked] == [None] * 6
    with capsys.disabled():
        told = (
            f"{alone:.2f} s alone, at most {max(beside):.2f} s beside hostile ones, {sorted(beside)[4]:.2f} s as a rule"
        )
        print(f"\nSELECT 1: {told}; a plain process then took {busy:.2f} s, load {os.getloadavg()[0]:.1f}")
    assert sorted(beside)[-2] < alone + 2 + busy, "one of them may have met a moment of the machine's own"


def sizes(file: str, names: str) -> int:
    """How many inputs the lists of a file of tests have."""
    spec = importlib.util.spec_from_file_location(f"counted_{Path(file).stem}", ROOT / "tests" / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return sum(len(getattr(module, name)) for name in names.split())


def test_at_least_300_inputs_are_tried_and_half_of_them_are_new(capsys):
    old = {door: sum(map(sizes, lists, lists.values())) for door, lists in doors.OLDER.items()}
    new = {door: sizes("doors.py", names) for door, names in doors.NEW.items()}
    with capsys.disabled():
        print("\n" + "\n".join(f"{door:14} {old.get(door, 0):4} older {n:4} new" for door, n in new.items()))
        print(f"{'in all':14} {sum(old.values()):4} older {sum(new.values()):4} new")
    assert sum(new.values()) + sum(old.values()) >= 300
    assert sum(new.values()) >= 150
    assert min(new.values()) > 10
    assert old.keys() <= new.keys()


def test_each_list_is_tried_somewhere_and_no_new_one_repeats_an_older():
    here = Path(__file__).with_name("test_doors.py").read_text()
    for lists in doors.NEW.values():
        assert [name for name in lists.split() if f"doors.{name}" not in here] == []
    for lists in doors.OLDER.values():
        for file, names in lists.items():
            test = "sql/test_guard.py" if file == "hostile.py" else file
            used = [
                line
                for line in (ROOT / "tests" / test).read_text().splitlines()
                if "parametrize" in line or " in " in line
            ]
            assert [name for name in names.split() if not re.search(rf"\b{name}\b", "\n".join(used))] == [], test
    older = {*hostile.HOSTILE, *hostile.COSTLY, *hostile.DEAR, *hostile.HOSTILE_PREDICATES}
    assert not older & {*doors.SQL, *doors.DEARER, *doors.PREDICATES, *doors.BOUNDED, *doors.PAIRS}


def fails(text: str) -> None:
    raise QKStoreError(text)


LEAKS = {  # what no door may do
    "a table that is not for users": lambda p: (
        duckdb.connect(str(p.path), read_only=True).execute("FROM secret").fetchall()
    ),
    "a file": lambda p: p.spoilt.canary.read_text(),
    "a file by SQL": lambda p: duckdb.execute(f"SELECT content FROM read_text('{p.spoilt.canary}')").fetchall(),
    "two lines": lambda p: fails("one\ntwo"),
    "a page": lambda p: fails("x" * 1000),
    "a folder of the machine": lambda p: fails(f"no {p.path}"),
    "the folder of the code": lambda p: fails(f"no {ROOT}/qkstore"),
    "a traceback": lambda p: "Traceback (most recent call last)",
    "a file that is written": lambda p: duckdb.execute(f"COPY (SELECT 1) TO '{p.spoilt.out}'"),
    "memory": lambda p: kept.append(bytearray(b"x" * 2 * MOST_BYTES)),
}
kept: list[bytearray] = []


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS.keys())
def test_control_what_tells_or_takes_too_much_is_found(place, leak):
    with pytest.raises(AssertionError):
        place.tried(lambda: leak(place))
    place.spoilt.out.unlink(missing_ok=True)
    kept.clear()


def test_control_what_takes_too_long_is_found(place):
    with pytest.raises(AssertionError, match="seconds"):
        place.tried(lambda: time.sleep(0.1), limit_s=-100)
