"""The pieces that pages are made of: title, figures, charts, facts, and what leaves the page at its foot."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

import altair as alt
import numpy as np
import polars as pl
import streamlit as st

from dashboard.share import foot, made
from dashboard.state import View
from dashboard.text import line, plain
from qkstore.contrast.builtin import FOUND
from qkstore.text import percent as percent  # pages show shares with it
from qkstore.text import visible

MISSING = "–"


def title(name: str, question: str) -> None:
    """The page's name, and under it the question it answers."""
    made.now().title, made.now().question = name, question
    st.title(name, anchor=False)
    line(question)


def figures(cards: Sequence[tuple[str, str, str]]) -> None:
    """Cards of (what, value, a note under it) in one row."""
    for place, (label, value, note) in zip(st.columns(len(cards)), cards):
        place.metric(plain(label), value, plain(note), delta_color="off", delta_arrow="off", border=True)


def panels(of: str = ""):
    """The main panel (60 %) and the detail panel (40 %), one above the other on a narrow screen.

    of: what they are about, where a page has several.
    """
    with st.container(key=f"panels-{of}" if of else "panels"):
        main, detail = st.columns([3, 2], border=True)
    return main, detail


def chart(draw: made.Draw | alt.TopLevelMixin, what: str, **options) -> Any:
    """A chart of a page, drawn by draw(dark=…); `what` names it among the charts of the page.

    It is drawn in the colours of the screen here, and in light ones for who takes it away as a figure. A chart that is
    the same in both may be given as it is.
    """
    draws = draw if callable(draw) else lambda dark: draw
    made.now().figures[what] = draws
    return st.altair_chart(draws(dark=dark()), **options)


def figure(draw: made.Draw, what: str) -> None:
    """A figure of what a component of a page draws by itself: for who takes it away, and not drawn here."""
    made.now().figures[what] = draw


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
    features = list(features)
    named = ", ".join(f"{name!r}: {_feature(name)}" for name in features)
    contrast = f"(contrast,) = {_feature(view.one)}" if one else f"contrasts = {_feature(view.name)}"
    start = [
        "import qkstore",
        *(["from qkstore.analysis import discovery"] if any(map(_unsaved, features or [view.one])) else []),
        use,
        "",
        f"store = qkstore.open({str(view.store.where)!r})",
        f"run = store.run({view.run.name!r})",
    ]
    return "\n".join([*start, f"features = {{{named}}}" if named else contrast, *lines, ""])


def _unsaved(name: str) -> bool:
    """Whether a name is of what discovery found and nobody has saved, which has no version."""
    return name.startswith(FOUND) and "@" not in name


def _feature(name: str) -> str:
    """The Python that gives the contrasts of a name."""
    return f"{'discovery.named(store, ' if _unsaved(name) else 'store.feature('}run, {name!r})"


def reproduce(cli: str, code: str, view: View | None = None, draw: str = "") -> None:
    """The foot of a page: its link, all it made as files, and the same result by a command, Python or a notebook.

    draw: an expression on the names of `code`, and on `charts`, that gives the page's chart in the notebook.
    The store stands there by its name, for visitors of a server.
    """
    foot.show(cli, code, view, draw)


def csv(view: View, table: pl.DataFrame, what: str) -> None:
    """A table that the page's foot offers, named by `what` among those of the page."""
    made.now().tables[what] = table


def download(table: pl.DataFrame, name: str, key: str | None = None) -> None:
    """A table of a page that is of no run, by the name of its file."""
    made.now().tables[name.removesuffix(".csv")] = table


def arrays(make: Callable[[], dict[str, np.ndarray]], what: str) -> None:
    """Arrays that the page's foot offers as npz."""
    made.now().arrays[what] = make


def height(table: pl.DataFrame, most: int = 10) -> int:
    """Pixels of a table that shows up to `most` rows and scrolls beyond."""
    return min(len(table), most) * 35 + 38


def dark() -> bool:
    """Whether the browser shows the dark theme."""
    return st.context.theme.type == "dark"


def facts(rows: Sequence[tuple[str, str, str]]) -> None:
    """Lines of (what, value, a note in grey)."""
    cells = "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td><td>{escape(c)}</td></tr>" for a, b, c in rows)
    st.html(f'<table class="qk-facts">{cells}</table>')


def labelled(row: dict, labels: Sequence[str]) -> str:
    """The labels of a prompt that have a value, in one line."""
    given = {name: row[name] for name in labels if row.get(name) is not None}
    return "; ".join(f"{name} = {v:.3g}" if isinstance(v, float) else f"{name} = {v}" for name, v in given.items())


def token(row: dict) -> str:
    """A token of an attribution with its position: Z at 5."""
    return f"{visible(row['text'])} at {row['pos']}"


def parts(row: dict) -> str:
    """What each feature adds to a token's logit: order +1.20, rest -0.10."""
    return ", ".join(f"{name} {value:+.2f}" for name, value in row["parts"].items())


def ranks(of: dict[str, int]) -> str:
    """The rank of each feature's subspace: order has rank 2, lexical has rank 9."""
    return ", ".join(f"{name} has rank {rank}" for name, rank in of.items())
