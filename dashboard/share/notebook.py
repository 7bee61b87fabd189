"""A page as a notebook: what it was made of, then the Python that gives its numbers, then its chart."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from qkstore.text import visible

SIGNS = re.compile(r"[^\w ,\u0080-\U0010ffff]|_")
FIGURE = """from IPython.display import SVG
from qkstore import charts
from qkstore.charts.figure import figure

chart = {draw}
SVG(figure(chart, "svg", inches=6.75))  # "pdf" and "png" too, for a paper
"""


def notebook(title: str, question: str, about: Mapping[str, str], code: str, draw: str = "") -> str:
    """The notebook as JSON of nbformat 4.5, to be run in the folder that holds the store.

    code: Python that gives the page's numbers. draw: an expression on its names, and on `charts`, that gives the chart.
    """
    facts = "\n".join(f"- {text(what)}: {text(value)}" for what, value in about.items())
    where = "Run this in the folder that holds the store."
    cells = [_cell("markdown", f"# {text(title)}\n\n{text(question)}\n\n{where}\n\n{facts}\n"), _cell("code", code)]
    if draw:
        cells.append(_cell("code", FIGURE.format(draw=draw)))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return json.dumps(
        {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
            "cells": [{"id": f"cell-{i}", **cell} for i, cell in enumerate(cells)],
        },
        indent=1,
    )


def text(told: str) -> str:
    """Text as Markdown of a notebook that shows exactly that: each sign that may mean something, by its number.

    A backslash before it would not do: notebooks look for formulas before they read Markdown.
    """
    return SIGNS.sub(lambda sign: f"&#{ord(sign.group())};", visible(told))


def _cell(kind: str, source: str) -> dict:
    more = {"outputs": [], "execution_count": None} if kind == "code" else {}
    return {"cell_type": kind, "metadata": {}, "source": source.strip(), **more}
