"""The shell around every page: the login, the list of pages and links, the frame that shows errors, the store."""

from __future__ import annotations

import logging
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import streamlit as st
from threadpoolctl import threadpool_limits

import qkstore
from dashboard import door, style
from dashboard import login as logins
from dashboard.asker import asker
from dashboard.share import made
from dashboard.text import line, plain
from qkstore.errors import QKStoreError
from qkstore.sql import worker
from qkstore.store import Store

GROUPS = {
    "Find": ("overview", "runs", "heads", "discover"),
    "Define": ("contrasts",),
    "Explain": ("head", "components", "subspaces", "projections", "interventions", "attributions"),
    "Known truth": ("toy",),
    "Share": ("notes", "team"),
}
STARTED = "app-has-run"
FOLDERS = re.compile(r"(?<![\w/.:<])/(?:[^\s/'\"`]+/)+")  # of an absolute path, without its last name

worker.asker = asker  # queries take turns by browser session


def pages() -> dict[str, list]:
    """{group: its st.Page objects}. Overview is the default, and so answers only at `/`."""
    return {
        group: [st.Page(f"pages/{name}.py", title=name.capitalize(), default=name == "overview") for name in names]
        for group, names in GROUPS.items()
    }


def page(name: str):
    """The st.Page of a name."""
    return next(p for members in pages().values() for p in members if p.title == name.capitalize())


def link(name: str, label: str, **choices) -> None:
    """A link to a page that carries choices of the URL along."""
    st.page_link(page(name), label=plain(label), query_params={key: str(value) for key, value in choices.items()})


def enter() -> None:
    """The first line of every page: checks the login, then makes sure that app.py has run.

    A server whose first request names a page runs that page's file without app.py; this goes back to app.py then.
    """
    login()
    if not st.session_state.pop(STARTED, False):
        st.navigation(pages(), position="hidden")
        st.rerun()
    made.begin()


def login() -> None:
    """Where people log in, end the run with a page that holds nothing of the store until one has a role."""
    if door.closed():
        logins.gate(lambda: _open(_where()), public)


def errors_in_one_line(page: Callable[[], None]) -> None:
    """Run a page. A user's mistake is shown as one line, a bug as one line with a mark that finds it in the log."""
    try:
        page()
    except QKStoreError as error:
        st.error(told(error))
    except Exception as error:
        mark = secrets.token_hex(3)
        logging.getLogger(__name__).exception("a view failed, %s", mark)
        st.error(
            f"This view failed: {plain(type(error).__name__)}. It is a fault of the dashboard; the store is untouched. "
            f"The server's log has the details under {mark}."
        )


def told(error: object) -> str:
    """An error, or a place, as Markdown for a page."""
    return plain(public(str(error)))


def public(text: str) -> str:
    """The text without folders of this machine, which are not for visitors: the store, or a file, by its name alone."""
    where = Path(_where())
    for path in sorted({str(where), str(where.absolute()), str(where.resolve())}, key=len, reverse=True):
        if os.sep in path and where.resolve().name:
            text = text.replace(path, where.resolve().name)
    return FOLDERS.sub("", text)


@contextmanager
def optional(quiet: bool = False) -> Iterator[None]:
    """A part of a page that may fail: a user's mistake in it is one line in its place, and the page goes on.

    quiet: what has nothing to show by nature says so as a note; nobody has to be alerted.
    """
    try:
        yield
    except QKStoreError as error:
        line(public(str(error))) if quiet else st.info(told(error))


def frame(page: Callable[[], None], carried: dict[str, str]) -> None:
    """Run a page beside the side bar, whose links take `carried`, the choices in the URL, along."""
    st.html(style.SHEET)
    with st.sidebar:
        st.html('<p class="qk-brand">qkstore</p>')
        for group, members in pages().items():
            st.html(f'<p class="qk-group">{group}</p>')
            for member in members:
                st.page_link(member, query_params=carried, width="stretch")
        if door.closed():
            logins.foot(store().catalog.person)
    try:
        errors_in_one_line(page)
    finally:
        tell_held()


def tell_held() -> None:
    """Say in the side bar who holds the catalogue, where the page was made of a copy of it."""
    with suppress(QKStoreError):
        if held := store().catalog.held:
            st.sidebar.warning(plain(held))


def store() -> Store:
    """The store at $QKSTORE or ./store, opened once a server, for who is logged in.

    Raises StoreError, which says how to make one; RoleError for somebody without a role.
    """
    opened = _open(_where())
    return logins.acting(opened) if door.closed() else opened


def _where() -> str:
    return os.environ.get("QKSTORE") or qkstore.store.DEFAULT


@st.cache_resource(show_spinner=False, max_entries=4)  # a server shows one; tests a few, one after another
def _open(where: str) -> Store:
    threadpool_limits(1, "blas")  # from here on: sessions share the processors, and a head's matrices are small
    threading.Thread(target=worker.ready, daemon=True).start()  # while the first page is made
    opened = qkstore.open(where)
    opened.look = worker.look
    return opened


def empty_store(store: Store, errors: Sequence = ()) -> None:
    """Say why a store without runs shows nothing, and what to do next; ends the page. errors: of files that failed."""
    for error in errors:
        st.warning(told(error))
    st.info("This store has no runs yet. Ingest the demo, or prompts of your own, then reload this page:")
    st.code(public(f"python -m ingest demo --store {store.where}"), language="bash", wrap_lines=True)
    st.stop()
