"""The key of the code: it moves with any source file, wherever it lies, and no kept result is served after."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT
from synthetic import write

import qkstore
from dashboard import results
from qkstore.analysis import live
from qkstore.analysis.live import Live
from qkstore.store.source import code_key

SCORE = """
import sys, qkstore
from qkstore.analysis.heads import kept
from qkstore.contrast import Contrast
from qkstore.store.source import code_key
order = Contrast("order", "k.prompt_id = q.prompt_id", "k.order_id = q.queried_order", "k.order_id <> q.queried_order")
store = qkstore.open(sys.argv[1])
kept(store, store.run("synthetic"), order, nulls=0)
print(code_key(), code_key("qkstore", "ingest"), len(store.catalog.results("heads", "synthetic")), qkstore.__file__)
"""


@pytest.fixture
def copied(tmp_path):
    """A folder with copies of the packages, one source file of each two folders deep, and a store."""
    for package in ("qkstore", "ingest"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "demo_model"))
        deep = tmp_path / package / "part" / "deeper"
        deep.mkdir(parents=True)
        (deep / "formula.py").write_text("HALF = 0.5\n")
    write(tmp_path / "store", n=32)
    return tmp_path


def scored(where: Path, store: Path) -> tuple[str, str, int]:
    """Score the heads by the packages that lie in a folder: the keys of their code, and how many results are kept."""
    env = os.environ | {"PYTHONPATH": str(where)}
    done = subprocess.run(
        [sys.executable, "-c", SCORE, str(store)], capture_output=True, text=True, env=env, cwd=where, check=True
    )
    key, both, n, file = done.stdout.split()
    assert Path(file).is_relative_to(where)
    return key, both, int(n)


def test_a_change_of_one_nested_file_moves_the_key_and_no_result_kept_before_is_served(copied):
    store, formula = copied / "store", copied / "qkstore" / "part" / "deeper" / "formula.py"
    key, both, n = scored(copied, store)
    assert n == 1
    assert scored(copied, store) == (key, both, 1), "the control: the same code keeps it"
    formula.write_text("HALF = 0.51\n")
    moved, both_moved, kept = scored(copied, store)
    assert moved != key
    assert both_moved != both
    assert kept == 2
    formula.write_text("HALF = 0.5\n")
    assert scored(copied, store) == (key, both, 2), "and what was computed by it is found again"


def test_a_change_of_ingest_moves_the_key_of_what_both_compute(copied):
    before = scored(copied, copied / "store")
    (copied / "ingest" / "part" / "deeper" / "formula.py").rename(copied / "ingest" / "formula.py")
    key, both, _ = scored(copied, copied / "store")
    assert key == before[0]
    assert both != before[1]


def test_the_key_does_not_say_where_the_package_lies(tmp_path):
    for package in ("qkstore", "ingest"):
        shutil.copytree(ROOT / package, tmp_path / "site" / package, ignore=shutil.ignore_patterns("demo_model"))
    write(tmp_path / "store", n=32)
    assert scored(tmp_path / "site", tmp_path / "store")[:2] == (code_key(), code_key("qkstore", "ingest"))
    assert code_key("qkstore", "no_such_package") == code_key() != code_key("ingest")


def test_a_page_computes_anew_what_other_code_computed(tmp_path, monkeypatch):
    write(tmp_path, n=32)
    run, calls = qkstore.open(tmp_path).run("synthetic"), []
    kept = results._kept(lambda run: calls.append(run) or len(calls))
    assert [kept(run), kept(run)] == [1, 1]
    monkeypatch.setattr(results, "code_key", lambda: "other")
    assert kept(run) == 2


def test_a_live_result_of_other_code_says_so(monkeypatch):
    noise = {"attention": 1e-7, "difference": None}
    found = Live("r", [], "", {}, ["1:0"], "last", "float32", "cpu", None, 9, 0, 10, noise=noise)
    own = replace(found, code=code_key(*live.CODE))
    assert live.OTHER_CODE in live.statement(found, "1:0")
    assert live.OTHER_CODE not in live.statement(own, "1:0")
    assert found.key != own.key
