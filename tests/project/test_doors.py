"""Every door by which somebody may come, and hostile inputs at each: refused or bounded, in one line that tells nothing.

The new inputs (doors.py) are tried here, each at its real door and all under one check; older ones where they stand.
"""

from __future__ import annotations

import concurrent.futures
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import doors
import duckdb
import models
import pytest
import spoilt
import stores
import synthetic
from conftest import ROOT
from queries import SCHEMA, columns_of

import qkstore
from ingest.model import load
from ingest.prompts import read_jsonl
from qkstore.contrast import Contrast
from qkstore.contrast import name as contrast_name
from qkstore.contrast.contrast import pairs
from qkstore.errors import QKStoreError
from qkstore.run.schema import check_run_name
from qkstore.sql import guard, worker
from qkstore.sql.turns import Asker
from qkstore.store import archive
from qkstore.text import visible

LIMIT_S, LATE_S = 1.0, 1.0  # of a query, and after it
MOST_BYTES = 30 << 20  # by which one input may make this process grow
MOST_LINE = 700  # characters
HIDDEN = 424_242_424_242  # in a table that is not for users
CANARIES = (spoilt.SECRET, str(HIDDEN), "root:x:", "Traceback")
MACHINE = {str(ROOT), sys.prefix, sys.base_prefix, str(Path.home())} - {"/"}
SIDES = {"positive": "k.pos = 1", "negative": "k.pos = 2"}


class Place:
    """A folder with a store, a database with a table that is not for users, and a file that nothing may read."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.spoilt = spoilt.place(folder)
        self.path = folder / "small.duckdb"
        with duckdb.connect(str(self.path)) as con:
            con.execute(SCHEMA.replace("VALUES (42)", f"VALUES ({HIDDEN})").replace("x INTEGER", "x BIGINT"))
        self.columns = columns_of(self.path)
        self.run = self.spoilt.store.run("good")

    def named(self, text: str) -> str:
        return text.replace("CANARY", str(self.spoilt.canary)).replace("OUT", str(self.spoilt.out))

    def files(self) -> dict[str, tuple[int, int]]:
        """{file: its size and time}, of all that is there."""
        return {str(p): (s.st_size, s.st_mtime_ns) for p in self.folder.rglob("*") if (s := p.lstat())}

    def tried(self, ask: Callable[[], object], given: str = "", limit_s: float = LIMIT_S) -> str:
        """What is said, by an answer or by an error of one line; fails where it, a file or the memory tells of more."""
        files, held, start = self.files(), resident(), time.monotonic()
        try:
            said, refused = str(ask()), False
        except QKStoreError as error:
            said, refused = str(error), True
        took = time.monotonic() - start
        assert not refused or ("\n" not in said and said.isprintable() and 0 < len(said) < MOST_LINE), said[:MOST_LINE]
        for secret in (*CANARIES, *MACHINE, str(self.folder)):
            assert secret not in said.replace(given or "\0", ""), said[:MOST_LINE]
        assert self.files() == files
        assert resident() - held < MOST_BYTES
        assert took < limit_s + LATE_S or took < limit_s + LATE_S + start_s(), "seconds"
        return f"refused: {said}" if refused else said


def resident() -> int:
    """The bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def start_s() -> float:
    """Seconds that a plain process takes to start and end now: how busy the machine is."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", "import duckdb, pyarrow"], check=True)
    return time.monotonic() - start


def short(value: object) -> str:
    return ascii(value)[:60]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("doors"))


# -- texts -------------------------------------------------------------------------------------------------------


def select(place: Place, sql: str) -> list:
    rebuilt = guard.select(place.named(sql), place.columns)
    return worker.query(place.path, rebuilt, limit_s=LIMIT_S, max_rows=100, memory="200MB").to_pylist()


@pytest.mark.parametrize("sql", doors.SQL, ids=short)
def test_sql_that_is_typed(place, sql):
    assert place.tried(lambda: select(place, sql), place.named("CANARY")).startswith("refused")


@pytest.mark.parametrize("sql", doors.DEARER, ids=short)
def test_dear_sql_that_is_typed(place, sql):
    rebuilt = guard.select(sql, place.columns)
    said = place.tried(lambda: worker.query(place.path, rebuilt, limit_s=LIMIT_S, memory="200MB"))
    assert said.startswith("refused"), said[:100]


@pytest.mark.parametrize("text", doors.PREDICATES, ids=short)
def test_conditions(place, text):
    def ask() -> list:
        sql = f"SELECT q.query_row FROM q, k WHERE {guard.predicate(place.named(text), place.columns)}"
        return worker.query(place.path, sql, limit_s=LIMIT_S, max_rows=100, memory="200MB").to_pylist()

    assert place.tried(ask, place.named("CANARY")).startswith("refused")


@pytest.mark.parametrize("sql", doors.PAIRS, ids=short)
def test_pairs_of_a_contrast(place, sql):
    contrast = Contrast("own", pairs=place.named(sql))
    assert place.tried(lambda: pairs(place.run, contrast, limit_s=LIMIT_S), place.named("CANARY")).startswith("refused")


@pytest.mark.parametrize("name", doors.NAMES, ids=short)
def test_names_of_contrasts(place, name):
    contrast = Contrast(name=name, **SIDES)
    assert place.tried(lambda: contrast_name.check(contrast, ["mine"])).startswith("refused")


@pytest.mark.parametrize("name", doors.RUNS, ids=short)
def test_names_of_runs(place, name):
    assert place.tried(lambda: place.spoilt.store.run(name), name).startswith("refused")
    if name != "good.wal":  # which may be one's name
        assert place.tried(lambda: check_run_name(name), name).startswith("refused")


# -- addresses ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    return stores.write(tmp_path_factory.mktemp("boxes") / "store", n=200)


@pytest.mark.parametrize(("page", "address"), doors.URLS, ids=short)
def test_addresses_of_pages(place, boxes, show, page, address):
    app = show(boxes, page, **address)
    lines = [element.value for element in (*app.error, *app.warning, *app.info)]
    assert not app.exception
    assert not [line for line in lines if "\n" in line or len(line) > MOST_LINE]
    assert not [line for line in lines if "fault of the dashboard" in line]
    told = "\n".join([*lines, *(e.proto.body for e in app.get("html")), *(e.value for e in app.markdown)])
    assert place.tried(lambda: told.replace("&gt;", ">"))
    assert str(boxes.parent) not in told
    assert "<script>alert" not in told.replace(r"\<", "")
