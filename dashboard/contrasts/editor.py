"""The editor of contrasts: fields that start from an existing one, a preview of pairs in their prompts, and saving."""

from __future__ import annotations

from typing import Literal

import polars as pl
import streamlit as st

from dashboard import panel, results, shell, state
from dashboard.contrasts import draft as drafts
from dashboard.contrasts.draft import PARTS
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
SHAPES: dict[Shape, str] = {"predicates": "Three predicates", "select": "One SELECT"}
TITLES = {
    "where": "Where (both sides)",
    "positive": "Positive",
    "negative": "Negative",
    "pairs": "SELECT query_row, key_row, sign [, weight]",
}
HEIGHTS = {"where": 100, "positive": 68, "negative": 68, "pairs": 230}
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
    """The fields, as they stand in the draft, and their buttons. Returns the contrast that they make.

    None where they make none, and for a run that nothing fits as long as nothing was written.
    """
    given, base = base, base or BLANK
    changed = drafts.changes(base)
    texts = drafts.texts(base) | changed
    usual: Shape = "select" if texts["pairs"] and not _parts(changed) else "predicates"
    shape = state.segments("Write", "shape", list(SHAPES), usual, shown=SHAPES.get)
    if shape == "select":
        texts["pairs"] = texts["pairs"] or drafts.select(texts)
    fields = {name: _area(base, name, texts) for name in (PARTS if shape == "predicates" else ("pairs",))}
    fields |= _choices(base, texts)
    dirty = bool(changed) or (shape == "select") != bool(base.pairs)
    saving = _buttons(base, dirty)
    columns(view.run)
    try:
        draft = Contrast(**fields)
        if saving:
            _save(view, base, draft)
        return draft if dirty or saving else given
    except QKStoreError as error:
        st.error(shell.told(error))
        return None


def _parts(changed: dict[str, str]) -> bool:
    return any(name in changed for name in PARTS)


def _area(base: Contrast, name: str, texts: dict[str, str]) -> str:
    """A field of SQL, which shows the draft's text whatever the widget last held."""
    return st.text_area(TITLES[name], height=HEIGHTS[name], **_kept(base, name, texts))


def _kept(base: Contrast, name: str, texts: dict[str, str]) -> dict:
    key = f"draft-{drafts.about(base)}-{name}"
    st.session_state[key] = texts[name]
    return {"key": key, "on_change": drafts.edit, "args": (base, name, key)}


def _choices(base: Contrast, texts: dict[str, str]) -> dict[str, str]:
    """Weighting, centring, name and description."""
    left, right = st.columns(2)
    chosen = {
        name: place.selectbox(name.capitalize(), list(options), help=_help(options), **_kept(base, name, texts))
        for name, place, options in (("weighting", left, WEIGHTINGS), ("centring", right, CENTRINGS))
    }
    name = left.text_input("Name", max_chars=MOST_NAME, **_kept(base, "name", texts))
    about = right.text_input("Description", max_chars=MOST_DESCRIPTION, **_kept(base, "description", texts))
    return chosen | {"name": name.strip(), "description": about}


def _buttons(base: Contrast, dirty: bool) -> bool:
    """Preview, save, and discard where there is something to discard; returns whether it is to be saved."""
    buttons = st.container(horizontal=True, vertical_alignment="center")
    buttons.button("Preview", type="primary")  # a field that was left is previewed without it
    saving = buttons.button("Save as a new version")
    if dirty:
        buttons.button("Discard the draft", on_click=drafts.forget, args=(base,), type="tertiary")
        with buttons:
            line("Not saved")
    return saving


def _help(choices: dict[str, str]) -> str:
    return "  \n".join(f"**{name}**: {what}" for name, what in choices.items())


def _save(view: View, base: Contrast, draft: Contrast) -> None:
    """Save a contrast. One that fails on this run (an empty side, bad SQL) raises before anything is written."""
    checked = check.told(view.run, draft, build_split(view.run))
    newest = next(iter(reversed(view.store.catalog.versions(draft.name))), None)
    if newest and (newest.key, newest.description) == (draft.key, draft.description):
        st.info(plain(f"Nothing was saved: it is what {full_name(newest)} says already."))
        return
    forked = base if base is not BLANK and base.name != draft.name else None
    saved = view.store.catalog.save(draft, checked, forked)
    drafts.forget(base)
    state.put(contrast=full_name(saved))
    st.session_state["saved"] = f"Saved {saved.name}, version {saved.version}."
    st.rerun()


def preview(view: View, base: Contrast | None, draft: Contrast | None, split: str | None) -> None:
    """Counts, sentence, findings and example pairs of the draft; of the last good one while the draft is broken."""
    st.subheader("Preview", anchor=False)
    if said := st.session_state.pop("saved", None):
        st.success(plain(said))
    about, (of, good) = drafts.about(base or BLANK), st.session_state.get(GOOD, (None, None))
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
