"""The expander at the foot of a page: all that leaves it. Nothing in it is made before it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import streamlit as st

from dashboard import shell
from dashboard.share import files, source
from dashboard.share.link import link
from dashboard.share.made import Made, now
from dashboard.share.notebook import notebook
from dashboard.state import View
from dashboard.text import line
from qkstore.charts.figure import FORMATS
from qkstore.charts.paper import WIDTHS
from qkstore.text import visible


@dataclass(frozen=True)
class Page:
    """What a page gives away. cli, code: what gives its result without the dashboard. draw: its chart, in Python."""

    made: Made
    cli: str
    code: str
    draw: str
    view: View | None
    query: str
    address: str

    def about(self) -> dict[str, str]:
        return source.about(self.view, self.made.choices, self.address)

    def named(self, what: str, ending: str) -> str:
        return files.name(self.view, what, ending)


def show(cli: str, code: str, view: View | None = None, draw: str = "") -> None:
    """The expander, in which a choice runs nothing of the page but itself."""
    made = now()
    query = source.query(view, made.choices)
    _foot(Page(made, shell.public(cli), shell.public(code), draw, view, query, source.address(query)))


@st.fragment
def _foot(page: Page) -> None:
    shell.login()  # a choice in here does not pass app.py
    with st.expander("Share", key="share"):
        if page.view:
            line(source.made_of(page.view))
        line("Link to exactly what this page shows")
        link(page.query)
        _figures(page)
        _data(page)
        line("On the command line, in the folder that holds the store")
        st.code(page.cli, language="bash", wrap_lines=True)
        line("In Python, there too")
        st.code(page.code, language="python", wrap_lines=True)
        _offer("Notebook", lambda: _notebook(page), page.named(page.made.title, "ipynb"), "application/x-ipynb+json")


def _figures(page: Page) -> None:
    """A chart of the page in a width, as SVG, PNG or PDF."""
    if page.made.figures:
        line("Figures for a paper: on white, text of 7 to 8 points")
        with _row():
            what = st.selectbox("Figure", list(page.made.figures), key="share-figure", format_func=visible, width=240)
            inches = st.selectbox("Width", WIDTHS, key="share-width", format_func=lambda w: f"{w} inches", width=140)
            for form, mime in FORMATS.items():
                title = f"{page.made.title}: {what}"
                make = partial(_figure, page, what, form, inches, title)
                _offer(form.upper(), make, page.named(what, form), mime)


def _figure(page: Page, what: str, form, inches: float, title: str) -> bytes:
    return files.drawn(page.made.figures[what], form, inches, title, page.about())


def _data(page: Page) -> None:
    """A table of the page as CSV or Parquet, arrays as npz."""
    tables, arrays = page.made.tables, page.made.arrays
    if not tables and not arrays:
        return
    line(
        "Data, with what it was made of inside: lines that begin with # in CSV, which pandas leaves out by comment='#' "
        "and polars by comment_prefix='#'; the key-value metadata in Parquet"
    )
    with _row():
        what = st.selectbox("Table", [*tables, *arrays], key="share-table", format_func=visible, width=240)
        if what in tables:
            csv, parquet = (lambda: files.csv_bytes(tables[what], page.about())), partial(_parquet, page, what)
            _offer("CSV", csv, page.named(what, "csv"), "text/csv")
            _offer("Parquet", parquet, page.named(what, "parquet"), "application/vnd.apache.parquet")
        else:
            _offer("NPZ", lambda: files.npz(arrays[what]()), page.named(what, "npz"), "application/octet-stream")


def _parquet(page: Page, what: str) -> bytes:
    return files.parquet(page.made.tables[what], page.about())


def _notebook(page: Page) -> str:
    return notebook(page.made.title, page.made.question, page.about(), page.code, page.draw)


def _row():
    return st.container(horizontal=True, vertical_alignment="bottom")


def _offer(label: str, make: Callable[[], bytes | str], name: str, mime: str) -> None:
    """A button that makes a file once it is pressed."""
    st.download_button(label, make, name, mime, on_click="ignore", key=f"share-{label.lower()}")
