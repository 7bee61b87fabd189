"""Tables as CSV: what others wrote is never a formula, and numbers stay numbers."""

from __future__ import annotations

import ast
import io

import polars as pl
import pytest
from conftest import ROOT

from qkstore.text import cell, csv

FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "=cmd|' /C calc'!A0",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    "\uff20x",
    "-",
    "+",
]
HARMLESS = ["-1", "+1.5", "-1e-9", "-.5", "+2.", "a=1", " =1", "order", "", "·x", "1-1", "−1", "'=1", "#x"]


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_would_compute_is_text(text):
    assert cell(text) == f"'{text}"
    back = pl.read_csv(io.StringIO(csv(pl.DataFrame({"text": [text], "x": [-1.5]}))), infer_schema=False)
    assert back.rows() == [(f"'{text}", "-1.5")]


@pytest.mark.parametrize("text", HARMLESS)
def test_the_rest_stays_as_it_is(text):
    assert cell(text) == text


def test_names_of_columns_and_other_kinds_of_text_too():
    table = pl.DataFrame(
        {"=name": ["=a", None, "b"], "kind": ["@x", "y", None], "n": [-1, 2, None], "ok": [True, False, None]}
    )
    table = table.with_columns(pl.col("kind").cast(pl.Categorical))
    assert csv(table) == "'=name,kind,n,ok\n'=a,'@x,-1,true\n,y,2,false\nb,,,\n"
    assert csv(table.select("n")) == table.select("n").write_csv(), "the control: numbers alone"


def test_nothing_else_writes_csv():
    """Every table leaves by `csv`, and no table of a page by the browser's own button."""
    calls = {
        path.relative_to(ROOT).as_posix()
        for folder in ("qkstore", "dashboard", "pages", "ingest")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("write_csv", "to_csv", "writerow", "writerows")
    }
    assert calls == {"qkstore/text.py"}
    assert "\ndisableDataExport = true" in (ROOT / ".streamlit" / "config.toml").read_text()
