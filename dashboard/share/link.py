"""The page's own address in a field, and a button that copies it."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

CSS, JS = ((Path(__file__).parent / f"link.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
_draw = st.components.v2.component("link", css=CSS, js=JS)


def link(query: str) -> None:
    """The address of the page as the browser has it, with this query in place of its own."""
    _draw(data={"query": query}, key="share-link")
