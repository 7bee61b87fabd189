"""All notes of the store, newest first: found by words, each with a link to what it is on."""

from __future__ import annotations

import shlex

import streamlit as st

from dashboard import notes, panel, shell, state
from dashboard.runs import find
from dashboard.text import line
from qkstore.store.catalog.notes import KINDS, MOST_TEXT, Note
from qkstore.text import head_name, visible

shell.enter()
MOST, ALL, AT = 20, "all", "at"

panel.title("Notes", "What people wrote on runs, heads and contrasts.")
store = shell.store()
catalog, person, there = store.catalog, store.catalog.person, store.names()
if not there:
    shell.empty_store(store)


def link(note: Note) -> None:
    """To the page of what a note is on; only words where that is gone."""
    if note.contrast:
        shell.link("contrasts", f"contrast {note.contrast}", contrast=note.contrast)
    elif note.run not in there:
        line(f"{note.about}, which is not in the store")
    elif note.head:
        layer, head = note.head
        shell.link("heads", f"run {note.run}, head {head_name(layer, head)}", run=note.run, layer=layer, head=head)
    else:
        shell.link("runs", f"run {note.run}", run=note.run)


counts = catalog.notes.counts()
panel.figures(
    [
        ("Notes", f"{sum(counts.values()):,}", "that stand"),
        ("On runs", f"{counts['run']:,}", "on a whole run"),
        ("On heads", f"{counts['head']:,}", "on one head of a run"),
        ("On contrasts", f"{counts['contrast']:,}", "of no run alone"),
    ]
)

left, right = st.columns([3, 2], vertical_alignment="bottom")
with left:
    text = find.field("Find", "words of a note, of what it is on, or of its author", **{AT: None})
with right:
    kind = state.segments("On", "kind", [ALL, *KINDS], ALL, changed=lambda: state.put(**{AT: None}))
asked = st.query_params.get(AT, "0")
after = min(int(asked), 10**6) if asked.isdecimal() and len(asked) < 8 else 0
found, total = catalog.notes.search(text, None if kind == ALL else kind, most=MOST, after=after)
if not found and after:
    after = 0
    found, total = catalog.notes.search(text, None if kind == ALL else kind, most=MOST)

last = after + len(found)
line(f"{after + 1:,} to {last:,} of {total:,} notes, newest first." if found else "There are none.")
for note in found:
    with st.container(border=True):
        link(note)
        notes.one(store, note, person, about=False)
with st.container(horizontal=True):
    if after:
        st.button("Newer", on_click=state.put, kwargs={AT: max(after - MOST, 0) or None})
    if last < total:
        st.button("Older", on_click=state.put, kwargs={AT: last})

if person.may("editor"):
    number = st.session_state.setdefault(notes.LEFT, 0)
    with st.form(f"note-on-a-run-{number}", border=True):
        of, title = st.query_params.get("run"), "Write a note on a run"
        at = there.index(of) if of in there else 0
        run = st.selectbox(title, there, at, key=f"note-run-{number}-{at}", format_func=visible)
        words = st.text_area("The note, which all who use the store see", max_chars=MOST_TEXT, key=f"note-new-{number}")
        asked_to = st.form_submit_button("Leave the note")
    if asked_to:
        state.changed(lambda: notes.leave(store, words, run), f"The note on run {run} was left.")
panel.reproduce(
    shlex.join(["python", "-m", "qkstore", "notes", "--store", str(store.where), "--search", text]),
    (
        f"import qkstore\n\nnotes, total = qkstore.open({str(store.where)!r}).catalog.notes.search({text!r})\n"
        "print(total, *notes, sep='\\n')\n"
    ),
)
