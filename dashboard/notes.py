"""The notes beside a page: what people left on its run, its head and its contrast, and a field for one more."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from dashboard import state
from dashboard.state import View
from dashboard.text import line, lines
from qkstore.store import Store
from qkstore.store.catalog.notes import MOST_TEXT, WHOLE, Note, on_contrast, on_head
from qkstore.store.catalog.person import Person

LEFT = "notes-left"  # how many this session left: the number of its next field


def show(view: View) -> None:
    """An expander with the newest notes of the view, and a field for who may leave one."""
    subjects = _subjects(view)
    notes, total = view.store.catalog.notes.beside(subjects.values())
    person = view.store.catalog.person
    with st.expander("Notes", expanded=bool(notes), key="notes"):
        for note in notes:
            one(view.store, note, person)
        if total > len(notes):
            line(f"The newest {len(notes)} of {total:,} are shown; `qkstore notes` lists all.")
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


def one(store: Store, note: Note, person: Person, about: bool = True) -> None:
    """A note: what it is on, by whom and when, its text, and for who may the way to take it back."""
    mine = person.may("editor") and note.author == person.name
    text, act = st.columns([8, 1], vertical_alignment="center")
    with text:
        said = f"{note.author or 'somebody'}, {note.created:%Y-%m-%d %H:%M}"
        line(f"{note.about}, {said}" if about else said)
        lines(note.text)
    if (mine or person.may("admin")) and act.button("Withdraw", key=f"withdraw-{note.note_id}", type="tertiary"):
        state.changed(lambda: store.catalog.notes.withdraw(note.note_id), "The note was withdrawn.")


def _form(view: View, subjects: Mapping[str, tuple[str, str]]) -> None:
    """The field of a new note. What was refused stays in it; once it is left, the field is a new one."""
    number = st.session_state.setdefault(LEFT, 0)
    about = f"{'-'.join(subjects)}-{number}"
    with st.form(f"note-{about}", border=False):
        text = st.text_area("A note, which all who use the store see", max_chars=MOST_TEXT, key=f"note-text-{about}")
        on = st.segmented_control("On", list(subjects), default=next(iter(subjects)), key=f"note-on-{about}")
        asked = st.form_submit_button("Leave the note")
    if asked:
        title = on or next(iter(subjects))
        state.changed(lambda: leave(view.store, text, *subjects[title]), f"The note on {title} was left.")


def leave(store: Store, text: str, run: str, subject: str = WHOLE) -> None:
    """Leave a note, and have the next field be a new one."""
    store.catalog.notes.add(text, run, subject)
    st.session_state[LEFT] = st.session_state.get(LEFT, 0) + 1
