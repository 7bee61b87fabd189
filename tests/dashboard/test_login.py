"""The login: before it nothing of the store is sent, whichever page is asked for; after it, what a role may.

Pages as Streamlit runs them, without a server: test_login_server.py has one, test_login_browser.py a real provider and
a real browser.
"""

from __future__ import annotations

import ast
import time
from types import SimpleNamespace

import pytest
import stores
import streamlit as st
from conftest import ROOT
from streamlit.testing.v1 import AppTest

from dashboard import door, shell
from dashboard import login as logins
from qkstore.errors import RoleError, StoreError
from qkstore.store.catalog import Catalog
from qkstore.store.catalog.people import People

PAGES = sorted(path.stem for path in (ROOT / "pages").glob("*.py"))
LINKS = [name.capitalize() for names in shell.GROUPS.values() for name in names]
# The run, a contrast, and the links of the side bar, but for Head: Streamlit calls its own parts Header.
OF_THE_STORE = ["boxes", "lexical", *(name for name in LINKS if name != "Head")]
ALICE = {"is_logged_in": True, "email": "Alice@Example.org", "iss": "https://login.example.org", "sub": "1"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stores.write(tmp_path_factory.mktemp("login") / "store")


@pytest.fixture
def people(store):
    """The people of the store's catalogue, none of whom has a role yet."""
    (store / "catalog.duckdb").unlink(missing_ok=True)
    yield Catalog(store / "catalog.duckdb").people
    (store / "catalog.duckdb").unlink(missing_ok=True)


@pytest.fixture
def said(monkeypatch):
    """A login is needed, and this is what Streamlit knows of the visitor: nobody yet."""
    known = {"is_logged_in": False}
    monkeypatch.setenv(door.VARIABLE, "login.toml")
    monkeypatch.setattr(st, "user", SimpleNamespace(to_dict=lambda: dict(known)))
    monkeypatch.setattr(logins, "_left", {})
    logins._person.clear()
    yield known
    logins._person.clear()


def texts(page: AppTest) -> str:
    """All that a page sent, as text."""
    return "\n".join(str(element.proto) for element in leaves(page._tree))


def leaves(node) -> list:
    """The elements of a block, also those that AppTest has no name for."""
    children = getattr(node, "children", {}).values()
    return [leaf for child in children for leaf in leaves(child)] if children else [node] if node.type else []


def alone(page: AppTest) -> str:
    """The one line of a page that holds nothing of the store."""
    assert not page.exception
    assert [title.value for title in page.title] == ["qkstore"]
    assert len(page.button) == 1
    assert not [word for word in OF_THE_STORE if word in texts(page)]
    lines = [element.proto.body for element in page.get("html") if "<style>" not in element.proto.body]
    assert len(lines) == 1
    return lines[0]


# -- before the login --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_the_login_alone(show, said, store, page):
    assert "Log in to see this store." in alone(show(store, page, run="boxes"))


@pytest.mark.parametrize("page", PAGES)
def test_and_so_is_its_file_where_app_py_has_not_run(said, store, page, monkeypatch, components):
    monkeypatch.setenv("QKSTORE", str(store))
    run = AppTest.from_file(str(ROOT / "pages" / f"{page}.py"), default_timeout=60).run()
    assert "Log in to see this store." in alone(run)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_begins_with_the_guard(page):
    assert first((ROOT / "pages" / f"{page}.py").read_text()) == "shell.enter()"


@pytest.mark.parametrize(
    "text", ["import a\na.x()\nshell.enter()", "X = open('a')\nshell.enter()", "if a:\n    shell.enter()"]
)
def test_a_page_that_does_not_is_seen(text):
    assert first(text) != "shell.enter()"


def first(text: str) -> str:
    """The first statement of a page that does something: after its docstring, imports and constants."""
    statements = ast.parse(text).body
    still = (ast.Import, ast.ImportFrom)
    does = [
        s for s in statements if not isinstance(s, still) and not isinstance(getattr(s, "value", None), ast.Constant)
    ]
    return ast.unparse(does[0])


def test_without_the_guard_the_links_are_seen_and_the_store_is_still_closed(show, said, store, monkeypatch):
    monkeypatch.setattr(logins, "gate", lambda *_: None)
    page = show(store, "heads")
    assert "Subspaces" in texts(page)
    assert page.exception
    assert not [word for word in ("boxes", "lexical") if word in texts(page)]


def test_without_both_guards_the_same_check_sees_the_store(show, said, store, monkeypatch):
    monkeypatch.setattr(logins, "gate", lambda *_: None)
    monkeypatch.setattr(logins, "acting", lambda opened: opened)
    monkeypatch.setattr(logins, "foot", lambda *_: None)
    page = show(store, "heads", run="boxes")
    assert {"boxes", "lexical", "Subspaces"} <= {word for word in OF_THE_STORE if word in texts(page)}
    with pytest.raises(AssertionError):
        alone(page)


def test_without_a_login_the_user_of_the_catalogue_acts(show, store, people, monkeypatch):
    monkeypatch.delenv(door.VARIABLE, raising=False)
    monkeypatch.setenv("USER", "ann")
    page = show(store, "heads")
    assert "boxes" in texts(page)
    assert "Log out" not in texts(page)
    monkeypatch.setenv("QKSTORE", str(store))
    assert shell.store().catalog.person.name == "ann"


# -- after it ----------------------------------------------------------------------------------------------------


def logged_in(said: dict, **more) -> None:
    said.update(ALICE | {"iat": time.time()} | more)


def test_who_has_no_role_is_told_who_gives_one(show, said, store, people):
    logged_in(said)
    line = alone(show(store, "heads"))
    assert "alice@example.org has no role in this store" in line
    assert "qkstore people --set alice@example.org viewer" in line


@pytest.mark.parametrize("given", ["alice@example.org", "@example.org"])
def test_a_role_opens_the_pages_and_the_side_bar_tells_it(show, said, store, people, given):
    people.set(given, "viewer")
    logged_in(said)
    page = show(store, "heads")
    assert "lexical" in texts(page)
    assert "alice@example.org, viewer" in texts(page)
    assert "Log out" in [button.label for button in page.sidebar.button]


def test_a_role_that_was_taken_away_ends_within_seconds(show, said, store, people, monkeypatch):
    people.set("alice@example.org", "editor")
    logged_in(said)
    assert "lexical" in texts(page := show(store, "contrasts"))
    people.set("alice@example.org", "none")
    logins._person.clear()  # as after FRESH_S
    assert "has no role" in alone(page.run())


@pytest.mark.parametrize(
    ("claims", "line"),
    [
        ({"email": None}, "gives no e-mail address"),
        ({"email": "alice"}, "gives no e-mail address"),
        ({"email": "@example.org"}, "gives no e-mail address"),
        ({"email": "mallory@evil.example@example.org"}, "gives no e-mail address"),
        ({"email": "alice @example.org"}, "gives no e-mail address"),
        ({"email_verified": False}, "has not verified the address alice@example.org"),
        ({"email_verified": "false"}, "has not verified"),
        ({"email_verified": None}, "has not verified"),
        ({"iat": time.time() - 13 * 3600}, "Log in to see this store."),
        ({"iat": None}, "Log in to see this store."),
        ({"is_logged_in": "yes"}, "Log in to see this store."),
    ],
)
def test_what_a_provider_does_not_vouch_for_opens_nothing(show, said, store, people, claims, line):
    people.set("@example.org", "admin")
    logged_in(said, **claims)
    assert line in alone(show(store, "heads"))


def test_where_streamlit_cannot_tell_nobody_gets_in(show, said, store, people):
    people.set("@example.org", "admin")
    logged_in(said)
    del said["is_logged_in"]
    assert "start it with qkstore serve --login" in alone(show(store, "heads"))


def test_where_the_catalogue_cannot_tell_nobody_gets_in(show, said, store, people, monkeypatch):
    people.set("alice@example.org", "admin")
    logged_in(said)
    monkeypatch.setattr(People, "person", lambda *_: (_ for _ in ()).throw(StoreError("catalogue lab is away")))
    assert "catalogue lab is away" in alone(show(store, "heads"))


def test_a_hostile_address_is_text(show, said, store, people):
    logged_in(said, email="<b>a</b>$(id)@example.org")
    line = alone(show(store, "heads"))
    assert "&lt;b&gt;a&lt;/b&gt;$(id)@example.org has no role" in line
    assert "--set &#x27;&lt;b&gt;" in line, "quoted for a shell"


def test_who_logs_out_is_logged_out_everywhere(show, said, store, people, monkeypatch):
    people.set("alice@example.org", "viewer")
    logged_in(said, nonce="a")
    assert "lexical" in texts(other := show(store, "heads"))
    monkeypatch.setattr(st, "logout", lambda: None)
    logins.leave()
    assert "Log in to see this store." in alone(other.run())
    logged_in(said, nonce="b")
    assert "lexical" in texts(other.run()), "a login of its own"


def test_the_store_acts_for_who_is_logged_in(said, store, people, monkeypatch):
    monkeypatch.setenv("QKSTORE", str(store))
    with pytest.raises(RoleError, match="nobody is logged in"):
        shell.store()
    logged_in(said)
    with pytest.raises(RoleError, match="has no role here"):
        shell.store()
    logins._person.clear()
    people.set("alice@example.org", "viewer")
    assert shell.store().catalog.person.name == "alice@example.org"
    with pytest.raises(RoleError, match="needs the role editor"), shell.store().catalog.write("save a contrast"):
        pass
