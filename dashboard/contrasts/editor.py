"""The editor of contrasts: rows or SQL that start from an existing one, and saving."""

from __future__ import annotations

from typing import Literal

import polars as pl
import streamlit as st

from dashboard import panel, results, shell, state
from dashboard.contrasts import builder
from dashboard.contrasts import draft as drafts
from dashboard.contrasts.draft import PARTS
from dashboard.contrasts.fault import fault
from dashboard.contrasts.field import PLAIN, field
from dashboard.state import View
from dashboard.text import line, plain
from qkstore.analysis import build_split
from qkstore.contrast import CENTRINGS, WEIGHTINGS, Contrast, check
from qkstore.contrast.contrast import CONDITIONS
from qkstore.contrast.name import MOST_DESCRIPTION, MOST_NAME
from qkstore.contrast.sentence import count_text
from qkstore.errors import QKStoreError
from qkstore.run import Run
from qkstore.store.catalog import full_name
from qkstore.text import visible

Shape = Literal["build", "predicates", "select"]
SHAPES: dict[Shape, str] = {"build": "Without SQL", "predicates": "Three predicates", "select": "One SELECT"}
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
    texts = drafts.described(base, changed, {c.description for of in view.named.values() for c in of if not c.version})
    shape = _shape(texts, changed)
    if shape == "select":
        texts["pairs"] = texts["pairs"] or drafts.select(texts)
    fields = {name: texts[name] for name in (("pairs",) if shape == "select" else PARTS)}
    faults = {name: found for name, text in fields.items() if (found := fault(view.run, name, text))}
    if shape == "build":
        builder.build(view.run, base, texts)
        for name, found in faults.items():
            st.error(plain(f"{builder.TITLES[name][0]}: {shell.public(found.message)}"))
    else:
        for name, text in fields.items():
            field(view.run, base, name, TITLES[name], text, HEIGHTS[name], faults.get(name))
    fields |= _choices(base, texts)
    dirty = bool(changed) or (shape == "select") != bool(base.pairs)
    saving = _buttons(base, dirty)
    columns(view.run)
    if faults:
        return None
    try:
        draft = Contrast(**fields)
        draft = draft.replace(space=base.changed(**dict.fromkeys(CONDITIONS) | fields).space)
        if base.own and not draft.own:
            line("With other conditions it has no subspace of its own: that of ΔC of these pairs is used.")
        if saving:
            _save(view, base, draft)
        return draft if dirty or saving else given
    except QKStoreError as error:
        st.error(shell.told(error))
        return None


def _shape(texts: dict[str, str], changed: dict[str, str]) -> Shape:
    """How the contrast is written: by rows, by predicates, or as a SELECT; and whether in plain fields."""
    usual: Shape = "select" if texts["pairs"] and not any(name in changed for name in PARTS) else "predicates"
    shapes, look = st.columns([3, 1], vertical_alignment="bottom")
    with shapes:
        shape = state.segments("Write", "shape", list(SHAPES), usual, shown=SHAPES.get)
    if shape != "build":
        st.session_state[PLAIN] = bool(st.query_params.get(PLAIN))
        told = "Text areas without colours, marks and completion"
        look.checkbox("Plain fields", key=PLAIN, help=told, on_change=_look)
    return shape


def _look() -> None:
    state.put(**{PLAIN: 1 if st.session_state[PLAIN] else None})


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


def columns(run: Run) -> None:
    """Which columns a predicate can use, with example values."""
    with st.expander("Columns", expanded=True):
        rows = [
            {
                "column": f"{side}.{name}",
                "examples": ", ".join(visible(str(value)) for value in values[:6]),
            }
            for (side, name), values in results.values(run).items()
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
