"""Tables as CSV: what others wrote is never a formula, and numbers stay numbers."""

from __future__ import annotations

import ast
import io
import re

import pandas
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


# -- with what it was made of before the table ---------------------------------------------------------------------

TOLD = {"run": "boxes", "where": "k.pos > 1\nand k.word = 'a, b'", "empty": ""}
HASHES = pl.DataFrame({"#name": ["#a", "b\n#c", "d#e", 'q"#', None], "x": [1.5, 2.0, None, -3.0, 4.0]})


def test_pandas_and_polars_leave_out_what_it_was_made_of():
    text = csv(HASHES, TOLD)
    lines = text.splitlines()
    assert lines[:4] == ["# run: boxes", "# where: k.pos > 1", "# and k.word = 'a, b'", "# empty: "]
    assert pl.read_csv(io.StringIO(text), comment_prefix="#").equals(HASHES)
    of_pandas = pandas.read_csv(io.StringIO(text), comment="#")
    assert pl.from_pandas(of_pandas).equals(HASHES)


def test_without_quotes_a_hash_of_the_table_would_be_taken_for_one():
    """The control: the same lines before the table as it is written without them."""
    text = "# run: boxes\n" + csv(HASHES)
    assert not pl.read_csv(io.StringIO(text), comment_prefix="#", truncate_ragged_lines=True).equals(HASHES)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_no_line_of_a_hostile_name_leaves_the_comment(end):
    text = csv(pl.DataFrame({"x": [1]}), {"run": f"a{end}1,2{end}#", f"b{end}c": "d"})
    assert pl.read_csv(io.StringIO(text), comment_prefix="#").to_dict(as_series=False) == {"x": [1]}
    assert [line[0] for line in text.split("\n")[:-3]] == ["#"] * len(text.split("\n")[:-3])


@pytest.mark.parametrize("told", ["a,=1+1", 'a,"=1+1"', "a;@SUM(A1)", "a\t=1", "=1+1", "a,\uff1d1", "a,\n=1"])
def test_a_spreadsheet_finds_no_formula_in_a_comment(told):
    lines = [line for line in csv(pl.DataFrame({"x": [1]}), {"where": told}).splitlines() if line.startswith("#")]
    cells = [part.strip("\"'") for line in lines for part in re.split("[,;\t]", line)]
    assert len(cells) >= 1
    assert not [part for part in cells if part.startswith(tuple("=+-@\uff1d"))]
