"""The notes beside a page: what people left on its run, its head and its contrast, and a field for one more."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from dashboard import state
from dashboard.state import View
from dashboard.text import line, lines
from qkstore.store.catalog.notes import MOST_TEXT, WHOLE, Note, on_contrast, on_head


def show(view: View) -> None:
    """An expander with the notes of the view, newest first; its title counts them."""
    subjects = _subjects(view)
    notes = [n for run, subject in subjects.values() for n in view.store.catalog.notes.on(run, subject)]
    person = view.store.catalog.person
    with st.expander(f"Notes: {len(notes)}" if notes else "Notes"):
        for note in sorted(notes, key=lambda n: n.created, reverse=True):
            _note(view, note, mine=note.author == person.name or person.may("admin"))
        if person.may("editor"):
            _form(view, subjects)
        elif not notes:
            line("There are none.")


def _subjects(view: View) -> dict[str, tuple[str, str]]:
    """{title: (run, subject)} of what can be noted on here."""
    subjects = {}
    if view.layer is not None:
        subjects[f"head L{view.layer} H{view.head}"] = (view.run.name, on_head(view.layer, view.head))
    if view.named and not view.spans:
        subjects[f"contrast {view.contrast.name}"] = ("", on_contrast(view.contrast.name))
    return subjects | {f"run {view.run.name}": (view.run.name, WHOLE)}


def _note(view: View, note: Note, mine: bool) -> None:
    text, act = st.columns([8, 1], vertical_alignment="center")
    with text:
        line(f"{note.about}, {note.author or 'somebody'}, {note.created:%Y-%m-%d %H:%M}")
        lines(note.text)
    if mine and act.button("Withdraw", key=f"withdraw-{note.note_id}", type="tertiary"):
        state.changed(lambda: view.store.catalog.notes.withdraw(note.note_id))


def _form(view: View, subjects: Mapping[str, tuple[str, str]]) -> None:
    about = "-".join(subjects)
    with st.form(f"note-{about}", clear_on_submit=True, border=False):
        text = st.text_area("A note, which all who use the store see", max_chars=MOST_TEXT, key=f"note-text-{about}")
        on = st.segmented_control("On", list(subjects), default=next(iter(subjects)), key=f"note-on-{about}")
        asked = st.form_submit_button("Leave the note")
    if asked:
        run, subject = subjects[on or next(iter(subjects))]
        state.changed(lambda: view.store.catalog.notes.add(text, run, subject))
