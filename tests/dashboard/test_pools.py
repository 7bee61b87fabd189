"""Native thread pools: none calls back into Python, so no session waits for another that waits for it."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
from contextlib import nullcontext, suppress
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from conftest import ROOT

from qkstore import projection
from qkstore.text import column

PACKAGES = ("qkstore", "ingest", "dashboard", "pages")
# what hands a Python function to the threads of polars, DuckDB, Arrow, SciPy or numba
CALLBACKS = {
    "map_elements",
    "map_batches",
    "map_rows",
    "map_groups",
    "rolling_map",
    "create_function",
    "register_scalar_function",
    "register_vector_function",
    "LowLevelCallable",
    "cfunc",
}
# One session draws while another's st.dataframe turns its rows to pandas. A watchdog, which needs no interpreter, ends
# the process where neither has come further for 8 seconds.
TWO_SESSIONS = """
import faulthandler, os, threading, time
import polars as pl
from qkstore import charts
from qkstore.text import visible
from streamlit.dataframe_util import convert_anything_to_pandas_df

N = 3000
POINTS = pl.DataFrame({{
    "side": ["key"] * N, "x": [0.0, 1, 2] * (N // 3), "y": [0.0, 1, 2] * (N // 3), "z": [1.0] * N,
    "group": ["a", " b", "c\\n"] * (N // 3), "prompt_id": range(N), "text": [" jam"] * N,
}})

def planted():
    POINTS.with_columns(pl.col("group", "text").map_elements(visible, return_dtype=pl.String))

def repeat(call):
    until = time.monotonic() + {seconds}
    while time.monotonic() < until:
        call()
        faulthandler.dump_traceback_later(8, exit=True)

threads = [threading.Thread(target=repeat, args=(call,), daemon=True) for call in (
    lambda: {drawing}, lambda: convert_anything_to_pandas_df(POINTS))]
convert_anything_to_pandas_df(POINTS)  # what it imports comes before the watch
faulthandler.dump_traceback_later(8, exit=True)
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("both ended", flush=True)
os._exit(0)
"""


def two_sessions(drawing: str, seconds: float) -> subprocess.CompletedProcess:
    code = TWO_SESSIONS.format(drawing=drawing, seconds=seconds)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.slow
def test_two_sessions_do_not_wait_for_each_other():
    done = two_sessions("charts.grouped(POINTS)", seconds=3)
    assert done.stdout == "both ended\n", done.stderr


@pytest.mark.slow
def test_with_python_in_the_pool_they_would():
    done = two_sessions("planted()", seconds=60)
    assert done.returncode != 0
    assert "Timeout" in done.stderr
    assert not done.stdout


def test_text_is_made_visible_a_column_at_a_time_nulls_kept():
    shown = column(pl.Series("text", [" jam", None, "a\n"]))
    assert (shown.name, shown.dtype, shown.to_list()) == ("text", pl.String, ["·jam", None, "a↵"])
    assert column(pl.Series("text", [None, None])).dtype == pl.String


def most_at_once(monkeypatch) -> int:
    """How many UMAPs of two sessions are being fitted at the same time, at most."""
    both, together, running, most = threading.Barrier(2), threading.Barrier(2), [], []

    class Slow:
        def __init__(self, **options):
            both.wait()  # neither begins before the other could

        def fit_transform(self, points):
            running.append(1)
            with suppress(threading.BrokenBarrierError):
                together.wait(2)  # for the other one, who does not come where one waits for one's turn
            most.append(len(running))
            running.pop()
            return points

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Slow))
    points = np.ones((10, 3))
    threads = [threading.Thread(target=projection.umap, args=(points, points)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(most)


def test_two_sessions_do_not_use_numbas_threads_at_once(monkeypatch):
    assert most_at_once(monkeypatch) == 1
    monkeypatch.setattr(projection, "_one_at_a_time", nullcontext())
    assert most_at_once(monkeypatch) == 2, "the control"


def callbacks(source: str) -> set[str]:
    """The calls of a file that hand a Python function to a native pool."""
    names = {n.attr if isinstance(n, ast.Attribute) else n.id for n in ast.walk(ast.parse(source)) if named(n)}
    return names & CALLBACKS


def named(node: ast.AST) -> bool:
    return isinstance(node, (ast.Attribute, ast.Name))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_python_function_is_handed_to_a_pool(package):
    assert {p.name: callbacks(p.read_text()) for p in (ROOT / package).rglob("*.py") if callbacks(p.read_text())} == {}


def test_one_that_is_would_be_noticed():
    assert callbacks("rows.with_columns(pl.col('x').map_elements(visible))") == {"map_elements"}
    assert callbacks("con.create_function('f', f)")
    assert not callbacks("names = map(visible, names)")
