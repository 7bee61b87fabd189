"""A field for words that a list is to hold, kept in the address."""

from __future__ import annotations

import streamlit as st

from dashboard import state

MOST = 200  # characters
FIND = "find"


def field(label: str, placeholder: str, **also: None) -> str:
    """What is looked for; '' for all. also: choices of the address that a new search drops."""
    asked = st.query_params.get(FIND, "")[:MOST]
    st.session_state[f"url-{FIND}"] = asked
    st.text_input(
        label,
        key=f"url-{FIND}",
        max_chars=MOST,
        placeholder=placeholder,
        on_change=lambda: state.put(**{FIND: st.session_state[f"url-{FIND}"].strip() or None}, **also),
    )
    return asked
