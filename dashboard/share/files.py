"""The files that a page offers: their names, and what stands in them. Nothing is made before a button is pressed."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

import numpy as np
import polars as pl

from dashboard.share.made import Draw
from dashboard.state import View
from qkstore.charts.figure import Format, figure
from qkstore.text import csv, visible

NOT_A_NAME = re.compile(r"[^\w.+-]+")
MOST_NAME = 120  # signs of a file's name without its ending


def name(view: View | None, what: str, ending: str) -> str:
    """A file's name by run, contrast, head and what it holds, of letters, digits and . _ + - alone."""
    parts = [what]
    if view:
        contrast = view.name.replace("*", "all").replace("@", "-v")
        head = "" if view.layer is None else f"L{view.layer}H{view.head}"
        parts = [view.run.name, contrast, head, what]
    told = "-".join(part for part in parts if part)
    return f"{NOT_A_NAME.sub('_', visible(told)).strip('._')[:MOST_NAME] or 'qkstore'}.{ending}"


def drawn(draw: Draw, form: Format, inches: float, title: str, about: Mapping[str, str]) -> bytes:
    """A chart of the page as a figure, in light colours whatever the screen shows."""
    return figure(draw(dark=False), form, inches, title, about)


def csv_bytes(table: pl.DataFrame, about: Mapping[str, str]) -> bytes:
    return csv(table, about).encode("utf-8", "backslashreplace")


def parquet(table: pl.DataFrame, about: Mapping[str, str]) -> bytes:
    """The table as Parquet, with `about` as its key-value metadata."""
    out = io.BytesIO()
    table.write_parquet(out, metadata=dict(about))
    return out.getvalue()


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays as the bytes of an npz file."""
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()
