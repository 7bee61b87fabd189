"""A field of SQL: CodeMirror with the run's columns and values to complete, or a plain text area where one wants that.

sql/field.js is what a page gets; it asks for sql/bundle.js once, and is a plain text area itself until that has come.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import streamlit as st
from streamlit import runtime

from dashboard import panel, results, shell
from dashboard.contrasts import draft as drafts
from dashboard.contrasts.fault import Fault
from qkstore.contrast import Contrast
from qkstore.contrast.condition import literal
from qkstore.run import Run
from qkstore.text import visible

FOLDER = Path(__file__).parent / "sql"
CSS, JS = ((FOLDER / name).read_text(encoding="utf-8") for name in ("field.css", "field.js"))
BUNDLE = (FOLDER / "bundle.js").read_bytes()
PLAIN = "plain-sql"  # in the address
MOST, LONGEST = 30, 200  # values of a column that are offered, characters of one
KEYS = "Ctrl+Enter previews, Ctrl+Space completes, Tab leaves the field"
_draw = st.components.v2.component("sql_field", css=CSS, js=JS)


def field(run: Run, base: Contrast, name: str, title: str, text: str, height: int, fault: Fault | None) -> None:
    """A field of the draft, with what is wrong in it marked there and told below."""
    if st.query_params.get(PLAIN):
        key = f"draft-{drafts.about(base)}-{name}"
        st.session_state[key] = text
        st.text_area(title, height=height, key=key, on_change=drafts.edit, args=(base, name, key))
    else:
        key = f"sql-{drafts.about(base)}-{name}"
        _draw(
            data=_told(run, title, text, height, fault), key=key, on_text_change=partial(drafts.edit, base, name, key)
        )
    if fault:
        st.error(shell.told(fault.message))


def _told(run: Run, title: str, text: str, height: int, fault: Fault | None) -> dict:
    """What the browser is sent of one field."""
    mark = fault and {"from": fault.start, "to": fault.end, "message": visible(shell.public(fault.message))}
    return {
        "label": title,
        "about": KEYS,
        "text": text,
        "height": height,
        "fault": mark,
        "words": words(run),
        "dark": panel.dark(),
        "url": _url(),
    }


def words(run: Run) -> dict:
    """What there is to complete: columns [side, name, type, [[literal, as shown], …]] and the other tables."""
    columns = [
        [side, name, run.types[side][name].lower(), _offered(values) if len(values) <= MOST else []]
        for (side, name), values in results.values(run).items()
    ]
    return {"columns": columns, "tables": ["q", "k", *sorted(set(run.columns) - {"q", "k"})]}


def _offered(values: list) -> list[list[str]]:
    literals = [made for value in values if (made := literal(value)) and len(made) <= LONGEST]
    return [[made, visible(made)] for made in literals]


def _url() -> str | None:
    """Where this server has the bundle; None where it serves none."""
    if not runtime.exists():
        return None
    return runtime.get_instance().media_file_mgr.add(BUNDLE, "text/javascript", "sql-editor")
