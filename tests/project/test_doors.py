"""Every door by which somebody may come, and hostile inputs at each: refused or bounded, in a line that tells nothing.

The new inputs (doors.py) are tried here, each at its real door and all under one check; older ones where they stand.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path

import doors
import duckdb
import models
import pytest
import stores
from asked import LIMIT_S, MOST_LINE, Place, place, short  # noqa: F401 -- a fixture

import qkstore
from ingest.model import load
from ingest.prompts import read_jsonl
from qkstore.contrast import Contrast, pairs
from qkstore.contrast import name as contrast_name
from qkstore.run.schema import check_run_name
from qkstore.sql import guard, worker
from qkstore.store import archive

SIDES = {"positive": "k.pos = 1", "negative": "k.pos = 2"}


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


def condition(place: Place, text: str) -> list:
    sql = f"SELECT q.query_row FROM q, k WHERE {guard.predicate(place.named(text), place.columns)}"
    return worker.query(place.path, sql, limit_s=LIMIT_S, max_rows=100, memory="200MB").to_pylist()


@pytest.mark.parametrize("text", doors.PREDICATES, ids=short)
def test_conditions(place, text):
    assert place.tried(lambda: condition(place, text), place.named("CANARY")).startswith("refused")


@pytest.mark.parametrize("text", doors.BOUNDED, ids=short)
def test_conditions_that_run_and_tell_nothing(place, text):
    place.tried(lambda: condition(place, text), limit_s=worker.READ_S)


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


# -- files -------------------------------------------------------------------------------------------------------


def read(place: Place) -> list[str]:
    """What the overview says of run 'bad', and all errors of reading it; the good run is there."""
    error = place.spoilt.scanned()
    return [error] if error else ["opened", *place.spoilt.read()]


@pytest.mark.parametrize("sql", doors.RUN_FILES.values(), ids=doors.RUN_FILES.keys())
def test_run_files(place, sql):
    place.spoilt.spoil(place.named(sql))
    place.tried(lambda: read(place), place.named("CANARY") if sql.startswith(("INSERT", "COMMENT", "UPDATE")) else "")
    place.spoilt.bad.unlink()


def laid(at: Path, what: bytes, place: Place) -> Path:
    """A file of these bytes, a link (->), a pipe (|) or a folder (/)."""
    if what.startswith(b"-> "):
        at.symlink_to(place.named(what[3:].decode()))
    elif what == b"|":
        os.mkfifo(at)
    elif what == b"/":
        at.mkdir()
    else:
        at.write_bytes(bytes(1 << 20) if what == b"zeros" else what)
    return at


@pytest.mark.parametrize("what", doors.BYTES.values(), ids=doors.BYTES.keys())
def test_files_that_are_no_runs(place, what):
    bad, log = place.spoilt.bad, place.spoilt.bad.with_name("bad.duckdb.wal")
    if what.startswith(b"wal "):
        place.spoilt.put(bad)
    made = laid(log, what[4:], place) if what.startswith(b"wal ") else laid(bad, what, place)
    said = place.tried(lambda: read(place))
    assert what.startswith(b"wal ") or "opened" not in said
    made.rmdir() if what == b"/" else made.unlink()
    bad.unlink(missing_ok=True)


@pytest.mark.parametrize("sql", doors.CATALOGUES.values(), ids=doors.CATALOGUES.keys())
def test_catalogues(place, tmp_path, sql):
    there = place.folder / "other"
    (there / "runs").mkdir(parents=True)
    place.spoilt.put(there / "runs" / "good.duckdb")
    qkstore.open(there).catalog.save(Contrast("mine", **SIDES))
    with duckdb.connect(str(there / "catalog.duckdb")) as con:
        con.execute(place.named(sql))
    store = qkstore.open(there)

    def ask() -> list:
        run = store.run("good")
        return [pairs(run, contrast, limit_s=LIMIT_S) for contrast in store.feature(run, "mine")]

    assert place.tried(ask, place.named("CANARY")).startswith("refused")
    shutil.rmtree(there)


@pytest.mark.parametrize(("name", "size", "kind"), doors.MEMBERS, ids=short)
def test_archives(place, tmp_path, name, size, kind):
    head = tarfile.TarInfo(name)
    head.size, head.type, head.linkname = size, kind, str(place.spoilt.canary)
    new, body = place.folder / "new", bytes(min(size, 1 << 20) + 1024)
    (tmp_path / "b.tar").write_bytes(head.tobuf(tarfile.GNU_FORMAT) + body + bytes(-len(body) % 512))
    assert place.tried(lambda: archive.restore(new, tmp_path / "b.tar"), str(place.folder)).startswith("refused")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "b.tar"]


@pytest.mark.parametrize("text", doors.LINES.values(), ids=doors.LINES.keys())
def test_prompt_files(place, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("prompts.jsonl").write_text(place.named(text))
    assert place.tried(lambda: read_jsonl("prompts.jsonl"), place.named("CANARY")).startswith("refused")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return models.folder(tmp_path_factory.mktemp("whole") / "m", [f"w{i}" for i in range(30)])


@pytest.mark.parametrize("facts", doors.CONFIGS.values(), ids=doors.CONFIGS.keys())
def test_model_folders(place, whole, tmp_path, monkeypatch, facts):
    shutil.copytree(whole, tmp_path / "m")
    there = json.loads((whole / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(place.named(json.dumps(there | facts)))
    (tmp_path / "m" / "own.py").write_text(f"open({str(place.spoilt.out)!r}, 'w').close()\nclass Own: pass\n")
    monkeypatch.chdir(tmp_path)
    place.tried(lambda: load("m").name, place.named("CANARY"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]


@pytest.mark.parametrize(("name", "body"), doors.MODEL_FILES.values(), ids=doors.MODEL_FILES.keys())
def test_files_of_model_folders(place, whole, tmp_path, monkeypatch, name, body):
    made = shutil.copytree(whole, tmp_path / "m")
    if "model" in name:
        (made / "model.safetensors").unlink()
    (made / name).write_bytes(
        body.replace(b"OUT", bytes(place.spoilt.out)).replace(b"CANARY", bytes(place.spoilt.canary))
    )
    (made / "own.py").write_text(f"open({str(place.spoilt.out)!r}, 'w').close()\nclass Own: pass\n")
    monkeypatch.chdir(tmp_path)
    said = place.tried(lambda: load("m").name, place.named("CANARY"))
    assert said.startswith("refused") == (name not in ("tokenizer_config.json", "chat_template.jinja"))
