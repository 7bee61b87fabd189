"""The dashboard: `streamlit run app.py` shows the store at $QKSTORE, or ./store."""

from __future__ import annotations

import streamlit as st

from dashboard import shell, state

st.set_page_config(page_title="qkstore", layout="wide", initial_sidebar_state=220)
shell.login()
st.session_state[shell.STARTED] = True
page = st.navigation(shell.pages(), position="hidden")
st.set_page_config(page_title=f"{page.title} · qkstore")
shell.frame(page.run, state.carried())
