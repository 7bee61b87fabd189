"""Who is at the browser: the address that a login provider vouches for, with the role that the catalogue gives it.

Without a login, whoever reaches the dashboard acts as the user of its catalogue. With one, nothing of the store is sent
before somebody is known who has a role. A login ends when its person logs out, in every tab, and after hours.
"""

from __future__ import annotations

import hashlib
import shlex
import threading
import time
from collections.abc import Callable
from html import escape
from typing import NoReturn

import streamlit as st

from dashboard import style
from dashboard.text import line
from qkstore.errors import QKStoreError, RoleError
from qkstore.store import Store
from qkstore.store.catalog.people import People
from qkstore.store.catalog.person import Person
from qkstore.text import visible

FRESH_S = 5  # a role that was taken away ends within this time
LASTS_S = 12 * 3600  # from what the provider said until it is asked again; the browser's cookie lasts 30 days
MOST_PEOPLE = 1000  # whose roles are remembered for FRESH_S
BARE = "<style>[data-testid=stSidebar], [data-testid=stExpandSidebarButton] { display: none; }</style>"
_left: dict[str, float] = {}  # logins that were ended by their person, and when
_left_guard = threading.Lock()


def gate(opened: Callable[[], Store], public: Callable[[str], str]) -> None:
    """Go on where somebody is logged in who has a role; else draw one line with one button, and end the run.

    public: an error's text as visitors may read it. Where the catalogue cannot tell the role, nobody has one.
    """
    try:
        email = _address()
        who = person(opened()) if email else None
    except QKStoreError as error:
        _alone(public(str(error)), "Log out", leave)
    if who is None:
        _alone("Log in to see this store.", "Log in", st.login)
    if who.role is None:
        gives = f"qkstore people --set {shlex.quote(who.name)} viewer"
        _alone(f"{who.name} has no role in this store; an administrator gives one: {gives}", "Log out", leave)


def person(opened: Store) -> Person:
    """Who acts in this session, with the role of at most FRESH_S seconds ago. Raises RoleError where nobody does."""
    email = _address()
    if email is None:
        raise RoleError("nobody is logged in here any more; reload this page")
    return _person(str(opened.where), email, opened.catalog.people)


def acting(opened: Store) -> Store:
    """The store for who is logged in. Raises RoleError for somebody without a role."""
    who = person(opened)
    who.must("viewer", "see this store")
    return opened.acting(who)


def foot(who: Person) -> None:
    """The foot of the side bar: who is logged in, and the way out."""
    st.html('<p class="qk-group">Logged in</p>')
    who_is = escape(visible(f"{who.name}, {who.role}"), quote=True)
    st.html(f'<p class="qk-note" style="overflow-wrap: anywhere">{who_is}</p>')
    st.button("Log out", on_click=leave)


def leave() -> None:
    """End the login in every tab and wherever its cookie was copied to, and in this browser."""
    now = time.time()
    with _left_guard:
        for mark in [mark for mark, when in _left.items() if now - when > LASTS_S]:
            del _left[mark]  # it is over by its age
        _left[_mark(st.user.to_dict())] = now
    st.logout()


def _address() -> str | None:
    """The address that the provider vouches for; None before the login and when it is over.

    Raises RoleError where there is none, or where the provider says that it was not verified.
    """
    said = st.user.to_dict()
    if "is_logged_in" not in said:
        raise RoleError("this server's login is not set up: start it with qkstore serve --login")
    if said["is_logged_in"] is not True or _mark(said) in _left or not _fresh(said.get("iat")):
        return None
    email = str(said.get("email") or "").strip().lower()
    if email.count("@") != 1 or email.startswith("@") or any(c.isspace() for c in email):
        raise RoleError("the login provider gives no e-mail address; it is asked for with the scope email")
    if str(said.get("email_verified", True)).lower() != "true":
        raise RoleError(f"the login provider has not verified the address {email}")
    return email


def _fresh(issued: object) -> bool:
    return isinstance(issued, (int, float)) and time.time() - issued < LASTS_S


def _mark(said: dict) -> str:
    """One login: who, at which provider, when; a nonce makes it one of its kind."""
    return hashlib.sha256(repr([said.get(name) for name in ("iss", "sub", "iat", "nonce")]).encode()).hexdigest()


@st.cache_data(ttl=FRESH_S, max_entries=MOST_PEOPLE, show_spinner=False)
def _person(where: str, email: str, _people: People) -> Person:
    return _people.person(email)


def _alone(said: str, label: str, act: Callable[[], None]) -> NoReturn:
    """A page of one line and one button, without a side bar."""
    st.html(style.SHEET + BARE)
    st.title("qkstore", anchor=False)
    line(said, "sentence")
    st.button(label, on_click=act)
    st.stop()
    raise AssertionError("st.stop ends the run")
