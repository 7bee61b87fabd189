"""The pieces that pages are made of: title, figures, facts, downloads, how to reproduce a result."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterable, Sequence
from html import escape

import altair as alt
import numpy as np
import polars as pl
import streamlit as st

from dashboard import shell
from dashboard.state import View
from dashboard.text import line, plain, tokens
from qkstore import __version__
from qkstore.analysis import PromptAttribution
from qkstore.analysis.heads import Summary
from qkstore.store.source import code_key
from qkstore.text import csv as csv_text
from qkstore.text import percent, visible

MISSING = "–"


def title(name: str, question: str) -> None:
    """The page's name, and under it the question it answers."""
    st.title(name, anchor=False)
    line(question)


def figures(cards: Sequence[tuple[str, str, str]]) -> None:
    """Cards of (what, value, a note under it) in one row."""
    for place, (label, value, note) in zip(st.columns(len(cards)), cards):
        place.metric(plain(label), value, plain(note), delta_color="off", delta_arrow="off", border=True)


def panels():
    """The main panel (60 %) and the detail panel (40 %), one above the other on a narrow screen."""
    with st.container(key="panels"):
        main, detail = st.columns([3, 2], border=True)
    return main, detail


def chart(drawn: alt.Chart, what: str, **options) -> None:
    """A chart of a page; `what` names it among the charts of the page."""
    st.altair_chart(drawn, **options)


def number(value: float | None, spec: str = ".2f", sign: str = "") -> str:
    """A figure for a card; a dash where there is none."""
    return MISSING if value is None else format(value, spec) + sign


def command(act: str, view: View, name: str | None = None, head: bool = True, **options) -> str:
    """The CLI command of a page's result, for the view's contrast or another by name."""
    parts = [
        "python -m qkstore",
        act,
        "--store",
        str(view.store.where),
        "--run",
        view.run.name,
        "--contrast",
        name or view.name,
    ]
    named = ({"layer": view.layer, "head": view.head} if head else {}) | options
    parts += [text for name, value in named.items() if value is not None for text in (f"--{name}", str(value))]
    return parts[0] + " " + shlex.join(parts[1:])


def python(view: View, use: str, *lines: str, features: Iterable[str] = (), one: bool = True) -> str:
    """The Python that reproduces a page's result.

    `lines` come after what they use: the store, the run, and its contrast, contrasts or features.
    """
    named = ", ".join(f"{name!r}: store.feature(run, {name!r})" for name in features)
    contrast = (
        f"(contrast,) = store.feature(run, {view.one!r})" if one else f"contrasts = store.feature(run, {view.name!r})"
    )
    start = [
        "import qkstore",
        use,
        "",
        f"store = qkstore.open({str(view.store.where)!r})",
        f"run = store.run({view.run.name!r})",
    ]
    return "\n".join([*start, f"features = {{{named}}}" if named else contrast, *lines, ""])


def reproduce(cli: str, code: str, view: View | None = None) -> None:
    """The same result without the dashboard, and what exactly it was made of, if of a view's run and contrast.

    The store stands there by its name, for visitors of a server.
    """
    with st.expander("Reproduce"):
        if view:
            line(made_of(view))
        line("On the command line, in the folder that holds the store")
        st.code(shell.public(cli), language="bash", wrap_lines=True)
        line("In Python, there too")
        st.code(shell.public(code), language="python", wrap_lines=True)


def made_of(view: View) -> str:
    """The exact run, contrast and code of a page's result, by version and digest."""
    run = f"run {view.run.name} ({view.run.digest})"
    if not view.named:
        contrast = "no contrast"
    elif view.spans:
        contrast = f"{view.name}, the span of {len(view.contrasts)} contrasts"
    else:
        contrast = f"contrast {view.one} ({view.contrast.key})"
    return f"Made of {run}, {contrast}, qkstore {__version__} ({code_key()[:16]})"


def csv(view: View, table: pl.DataFrame, what: str) -> None:
    """A button that downloads the chart's data, named by run, contrast, head and `what`."""
    where = "" if view.layer is None else f"-L{view.layer}H{view.head}"
    name = (
        f"{view.run.name}-{view.name}{where}-{what}.csv".replace(":", "_")
        .replace("/", "_")
        .replace("*", "all")
        .replace("@", "-v")
    )
    download(table, name, f"csv-{what}")


def download(table: pl.DataFrame, name: str, key: str | None = None) -> None:
    """A button that downloads a table as CSV without formulas."""
    st.download_button("Download CSV", lambda: csv_text(table), name, "text/csv", on_click="ignore", key=key)


def height(table: pl.DataFrame, most: int = 10) -> int:
    """Pixels of a table that shows up to `most` rows and scrolls beyond."""
    return min(len(table), most) * 35 + 38


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays as the bytes of an npz file."""
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def dark() -> bool:
    """Whether the browser shows the dark theme."""
    return st.context.theme.type == "dark"


def facts(rows: Sequence[tuple[str, str, str]]) -> None:
    """Lines of (what, value, a note in grey)."""
    cells = "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td><td>{escape(c)}</td></tr>" for a, b, c in rows)
    st.html(f'<table class="qk-facts">{cells}</table>')


def labelled(row: dict, labels: Sequence[str]) -> str:
    """The labels of a prompt that have a value, in one line."""
    return "; ".join(f"{name} = {row[name]}" for name in labels if row.get(name) is not None)


def token(row: dict) -> str:
    """A token of an attribution with its position: Z at 5."""
    return f"{visible(row['text'])} at {row['pos']}"


def parts(row: dict) -> str:
    """What each feature adds to a token's logit: order +1.20, rest -0.10."""
    return ", ".join(f"{name} {value:+.2f}" for name, value in row["parts"].items())


def attended(texts: Sequence[dict], split: PromptAttribution) -> None:
    """A prompt's tokens (pos, text), shaded by the attention that the query gives them; the query is outlined."""
    at = {t["pos"]: i for i, t in enumerate(texts)}
    shades = {at[t["pos"]]: t["attention"] for t in split.tokens}
    st.html(tokens([t["text"] for t in texts], shades, {at[split.query["pos"]]: "query"}))


def ranks(of: dict[str, int]) -> str:
    """The rank of each feature's subspace: order has rank 2, lexical has rank 9."""
    return ", ".join(f"{name} has rank {rank}" for name, rank in of.items())


def measured(top: Summary) -> str:
    """What the best head is best in."""
    return (
        f"accuracy {percent(top.value)}" if top.measure == "accuracy" else f"‖ΔC‖ is {number(top.value, '.1f')} × null"
    )
