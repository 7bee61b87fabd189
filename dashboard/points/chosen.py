"""The points that a person chose: how many of each label, their prompts, and a contrast that tells them apart."""

from __future__ import annotations

from html import escape

import numpy as np
import polars as pl
import streamlit as st

from dashboard import panel, results, shell
from dashboard.contrasts import draft
from dashboard.share import made
from dashboard.state import DRAFT, View
from dashboard.text import line, plain, tokens
from qkstore.analysis import build_split
from qkstore.analysis.points.selection import SIDES, Exact, Rule, contrast
from qkstore.text import split_name, visible

PAGE = 10  # prompts at a time
MOST_LABELS = 12
AROUND = 24  # tokens shown of a prompt
NAMES = {"q": "query", "k": "key"}


def show(view: View, drawn: pl.DataFrame, at: np.ndarray | None, split: str | None) -> None:
    """What was chosen of the points drawn, at positions `at`; how to choose where nothing was."""
    made.now().tables.pop("chosen", None)
    if at is None or not len(at):
        line(
            "Nothing is chosen. Draw a rectangle or a lasso about points, or press labels below the picture, "
            "to read their prompts and to make a contrast of them."
        )
        return
    points = drawn[at]
    main, detail = panel.panels()
    with main:
        _prompts(view, points)
    with detail:
        _counts(points)
        _contrast(view, drawn, points, split)
    panel.csv(view, points, "chosen")


def _counts(points: pl.DataFrame) -> None:
    """How many there are of each label and side."""
    st.subheader("Chosen points", anchor=False)
    table = points.group_by("group", "side").len().sort("len", "group", descending=[True, False])
    shown = [
        (visible(str(group)), f"{n:,}", "queries" if side == "query" else "keys")
        for group, side, n in table.head(MOST_LABELS).iter_rows()
    ]
    panel.facts(shown)
    if len(table) > MOST_LABELS:
        line(f"and {len(table) - MOST_LABELS:,} labels more")


def _prompts(view: View, points: pl.DataFrame) -> None:
    """The points in their prompts, a page of them at a time."""
    st.subheader("Their prompts", anchor=False)
    pages = -(-len(points) // PAGE)
    number = 1
    if pages > 1:
        label = f"Page of {pages:,} ({len(points):,} points)"
        number = st.number_input(label, 1, pages, key=f"chosen-page-{pages}", width=230)
    rows = points[(number - 1) * PAGE : number * PAGE]
    texts = results.prompt_texts(view.run, tuple(sorted(set(rows["prompt_id"]))))
    for row in rows.iter_rows(named=True):
        side, of = row["side"], texts[row["prompt_id"]]
        own = next(i for i, token in enumerate(of) if token["pos"] == row["pos"])
        mark = "▲" if side == "query" else "●"
        said = f"{mark} {side}, {visible(str(row['group']))}, prompt {row['prompt_id']}"
        shape = "query" if side == "query" else "positive"
        shown = tokens([token["text"] for token in of], marks={own: shape}, most=AROUND)
        st.html(f'<p class="qk-note">{escape(said)}</p>{shown}')


def _contrast(view: View, drawn: pl.DataFrame, points: pl.DataFrame, split: str | None) -> None:
    """What to call the chosen points in SQL, the contrast that this makes, and a link that opens it as a draft."""
    st.subheader("A contrast from the choice", anchor=False)
    named = {side: _name(view, side, drawn, points, split) for side in SIDES}
    query, key = named["q"], named["k"]
    if query is None and key is None:
        line("No label tells the chosen points from the others, and there are too many to name each.")
        return
    found = contrast(view.contrast, query, key)
    st.code(f"positive  {found.positive[:400]}\nnegative  {found.negative[:400]}", language="sql", wrap_lines=True)
    if query and key:
        line(f"Only for queries with {query.sql[:200]}.")
    fields = ("where", "positive", "negative", "name", "description")
    changed = {name: getattr(found, name) for name in fields} | {"pairs": ""}
    written = draft.written(changed)
    if len(written) > draft.LONGEST:
        line("This is too long for an address; choose fewer points, or tell them by a label.")
        return
    shell.link("contrasts", "Open as a draft on Contrasts", run=view.run.name, contrast=view.name, **{DRAFT: written})


def _name(view: View, side: str, drawn: pl.DataFrame, points: pl.DataFrame, split: str | None) -> Rule | Exact | None:
    """How the chosen points of one side are told from the others; None where none, or all, were chosen."""
    of, chosen = (table.filter(pl.col("side") == NAMES[side])["row"].to_numpy() for table in (drawn, points))
    if not len(chosen) or len(chosen) == len(of):
        return None
    found: list[Rule | Exact] = [*results.told_apart(view.run, side, chosen, of)]
    exact = Exact(side, tuple(chosen.tolist()))
    if len(exact.sql) < draft.LONGEST and split == build_split(view.run):
        found.append(exact)
    if not found:
        return None
    label = f"Tell the chosen {SIDES[side]} from the others by"
    at = st.radio(
        label, range(len(found)), format_func=lambda i: plain(found[i].sentence), key=f"rule-{side}-{len(found)}"
    )
    if len(exact.sql) < draft.LONGEST and split != build_split(view.run):
        line(
            f"Row numbers name prompts of the {split_name(split)} split alone, and a contrast is built on the "
            f"{split_name(build_split(view.run))} split: show that one to name points by their rows."
        )
    return found[at]
