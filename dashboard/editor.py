"""The editor of contrasts: fields that start from an existing one, a preview of pairs in their prompts, and saving."""

from __future__ import annotations

from typing import Literal

import polars as pl
import streamlit as st

from dashboard import panel, results, shell, state
from dashboard.state import View
from dashboard.text import line, plain, tokens
from qkstore.analysis import build_split
from qkstore.contrast import CENTRINGS, WEIGHTINGS, Contrast, check
from qkstore.contrast.name import MOST_DESCRIPTION, MOST_NAME
from qkstore.contrast.sentence import count_text
from qkstore.errors import QKStoreError
from qkstore.run import Run
from qkstore.store.catalog import full_name
from qkstore.text import split_name, visible

Shape = Literal["predicates", "select"]
PARTS = ("where", "positive", "negative")
SHAPES: dict[Shape, str] = {"predicates": "Three predicates", "select": "One SELECT"}
STARTER = "select q.query_row, k.key_row, 1 as sign\nfrom q join k using (prompt_id)\nwhere q.role = 'answer_slot'"
BLANK = Contrast(
    name="contrast", where="k.prompt_id = q.prompt_id", positive="k.role = 'item'", negative="k.role <> 'item'"
)
GOOD = "good-preview"  # (what it started from, the last draft whose preview worked)


def summary(view: View, base: Contrast, split: str | None) -> None:
    """Four figures and how the contrast reads; dashes where it has no pairs, which the preview explains."""
    try:
        counts = results.counts(view.run, base, split)
    except QKStoreError:
        counts = None
    where = f"{split or 'all'} prompts"
    titles = (
        ("Queries", where),
        ("Keys", where),
        ("Positive pairs", "share the feature"),
        ("Negative pairs", "do not"),
    )
    panel.figures([(title, panel.number(n, ","), note) for (title, note), n in zip(titles, counts or 4 * [None])])
    with st.container(border=True):
        st.subheader(f"{plain(base.name)} ({f'version {base.version}' if base.version else 'built in'})", anchor=False)
        line(base.sentence(), "sentence")
        line(f"{count_text(counts) if counts else ''} {base.description}")


def form(view: View, base: Contrast | None) -> Contrast | None:
    """The fields and their two buttons. Returns the contrast to preview: what was submitted, or the base itself."""
    base = base or BLANK
    about = _about(view, base)
    shape = state.segments("Write", "shape", list(SHAPES), "select" if base.pairs else "predicates", shown=SHAPES.get)
    with st.form(f"edit-{about}-{shape}", border=False):
        fields = _predicates(base, about) if shape == "predicates" else _select(base, about)
        left, right = st.columns(2)
        for name, place, choices in (("weighting", left, WEIGHTINGS), ("centring", right, CENTRINGS)):
            at = list(choices).index(getattr(base, name))
            fields[name] = place.selectbox(
                name.capitalize(), list(choices), at, key=f"{about}-{name}", help=_help(choices)
            )
        fields["name"] = left.text_input(
            "Name",
            base.name if base.version else f"my-{base.name.replace('authors/', '')}",
            max_chars=MOST_NAME,
            key=f"{about}-n",
        ).strip()
        fields["description"] = right.text_input(
            "Description", base.description, max_chars=MOST_DESCRIPTION, key=f"{about}-d"
        )
        buttons = st.container(horizontal=True)
        asked, saving = (
            buttons.form_submit_button("Preview", type="primary"),
            buttons.form_submit_button("Save as a new version"),
        )
    columns(view.run)
    if not (asked or saving):
        last = st.session_state.get(GOOD)
        return last[1] if last and last[0] == about else base if view.named else None
    try:
        draft = Contrast(**fields)
        if saving:
            _save(view, base, draft)
        return draft
    except QKStoreError as error:
        st.error(shell.told(error))
        return None


def _about(view: View, base: Contrast) -> str:
    """The start of the fields' keys: with another run, contrast or version they start from its text."""
    return f"{view.run.name}-{base.name}-{base.version}"


def _predicates(base: Contrast, about: str) -> dict:
    titles = {"where": "Where (both sides)", "positive": "Positive", "negative": "Negative"}
    return {
        part: _area(titles[part], getattr(base, part) or "", f"{about}-{part}", 100 if part == "where" else 68)
        for part in PARTS
    }


def _select(base: Contrast, about: str) -> dict:
    return {"pairs": _area("SELECT query_row, key_row, sign [, weight]", base.pairs or STARTER, f"{about}-pairs", 190)}


def _area(title: str, text: str, key: str, height: int) -> str:
    return st.text_area(title, text, key=key, height=height)


def _help(choices: dict[str, str]) -> str:
    return "  \n".join(f"**{name}**: {what}" for name, what in choices.items())


def _save(view: View, base: Contrast, draft: Contrast) -> None:
    """Save a contrast. One that fails on this run (an empty side, bad SQL) raises before anything is written."""
    checked = check.told(view.run, draft, build_split(view.run))
    forked = base if base is not BLANK and base.name != draft.name else None
    saved = view.store.catalog.save(draft.replace(author=shell.user()), checked, forked)
    state.put(contrast=full_name(saved))
    st.session_state["saved"] = f"Saved {saved.name}, version {saved.version}."
    st.rerun()


def preview(view: View, base: Contrast | None, draft: Contrast | None, split: str | None) -> None:
    """Counts, sentence, findings and example pairs of the draft; of the last good one while the draft is broken."""
    st.subheader("Preview", anchor=False)
    if said := st.session_state.pop("saved", None):
        st.success(plain(said))
    about, (of, good) = _about(view, base or BLANK), st.session_state.get(GOOD, (None, None))
    if draft is not None:
        try:
            _pairs(view.run, draft, split, sentence=draft != base)
            st.session_state[GOOD] = (about, draft)
            return
        except QKStoreError as error:
            st.error(shell.told(error))
    if of == about:
        line("The last preview that worked:")
        _pairs(view.run, good, split)


def _pairs(run: Run, draft: Contrast, split: str | None, sentence: bool = True) -> None:
    counts = results.counts(run, draft, split)
    if sentence:
        line(draft.sentence(counts), "sentence")
    for finding in results.findings(run, draft, split):
        (st.warning if finding.warns else st.info)(plain(finding.text))
    line(
        f"Pairs drawn at random from the {split_name(split)} split (seed 0): query red, positive key blue, "
        "negative key orange and dashed"
    )
    for example in results.examples(run, draft, split, 2):
        side = "positive" if example.sign > 0 else "negative"
        line(
            f"{side}: query {example.query.token!r} with key {example.key.token!r}"
            + ("" if example.same_prompt else ", from two prompts")
        )
        query, key = {example.query.index: "query"}, {example.key.index: side}
        if example.same_prompt:
            st.html(tokens(example.query.texts, marks=query | key))
        else:
            st.html(tokens(example.query.texts, marks=query) + tokens(example.key.texts, marks=key))


def columns(run: Run) -> None:
    """Which columns a predicate can use, with example values."""
    with st.expander("Columns", expanded=True):
        rows = [
            {
                "column": f"{side}.{name}",
                "examples": ", ".join(visible(str(value)) for value in run.values(name, side, 6)),
            }
            for side in ("q", "k")
            for name in run.columns[side]
        ]
        titles = {"column": "Column", "examples": st.column_config.TextColumn("Examples", width="large")}
        st.dataframe(pl.DataFrame(rows), hide_index=True, height=260, column_config=titles)


def listing(view: View) -> pl.DataFrame:
    """A row a contrast: name, version, author, how it reads."""
    rows = [
        {
            "name": c[0].name if len(c) == 1 else name,
            "version": str(c[0].version or "built in"),
            "author": visible(c[0].author),
            "sentence": c[0].sentence() if len(c) == 1 else f"The span of {len(c)} contrasts.",
            "weighting": c[0].weighting,
            "centring": c[0].centring,
        }
        for name, c in view.named.items()
    ]
    return pl.DataFrame(
        rows, schema=dict.fromkeys(("name", "version", "author", "sentence", "weighting", "centring"), pl.String)
    )


def sql(contrast: Contrast) -> str:
    """A contrast as it was written."""
    return contrast.pairs or "\n".join(
        f"{part:<9}{getattr(contrast, part)}" for part in PARTS if getattr(contrast, part)
    )
