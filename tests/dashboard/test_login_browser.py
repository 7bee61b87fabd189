"""The login with a real OpenID provider, in a real browser, over a directory and over a team's store."""

from __future__ import annotations

import re
import shutil
import time
from contextlib import contextmanager

import oidc
import pytest
import servers
import stores
from conftest import CHROMIUM
from ports import free_port
from test_browser import settled
from test_login import OF_THE_STORE
from test_proxy import NAME, NGINX, nginx
from test_server import serving

from dashboard.login import FRESH_S
from qkstore.errors import StoreError
from qkstore.store.catalog import Catalog
from qkstore.store.catalog.postgres import Postgres

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
playwright.expect.set_options(timeout=60_000)  # a busy machine may take that long
pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}; name one in $CHROMIUM"),
    pytest.mark.slow,
]
DEEP = "heads?run=boxes&contrast=order"
INSERT = """
    INSERT INTO contrast (name, version, positive, negative, weighting, centring, description, author, created)
    VALUES ('past', 1, 'true', 'false', 'pair', 'none', '', 'nobody', current_timestamp)
"""


class Visitor:
    """A browser of its own that keeps what it was sent over WebSockets."""

    def __init__(self, engine, at: str, provider: oidc.Provider, **options):
        self.at, self.provider, self.frames = at, provider, []
        self.context = engine.new_context(viewport={"width": 1280, "height": 900}, **options)
        self.page = self.tab()

    def tab(self):
        page = self.context.new_page()
        page.set_default_timeout(60_000)
        page.on("websocket", lambda socket: socket.on("framereceived", lambda body: self.frames.append(body)))
        return page

    def open(self, path: str = "") -> Visitor:
        self.page.goto(f"{self.at}/{path}")
        return self

    def log_in(self, sub: str) -> Visitor:
        """From the login page through the provider's form, and back."""
        settled(self.page)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(f"{self.provider.url}/**")
        self.page.fill("input[name=sub]", sub)
        self.page.get_by_role("button", name="Authorize").click()
        self.page.wait_for_url(f"{self.at}/**")
        return self

    def sees(self, text: str) -> None:
        playwright.expect(self.page.locator("body")).to_contain_text(text)

    def go(self, page: str) -> None:
        settled(self.page)
        self.page.locator("[data-testid=stSidebar]").get_by_role("link", name=page).click()

    def sees_only(self, text: str) -> None:
        """This line, one button, and no word of the store anywhere on the page."""
        self.sees(text)
        playwright.expect(self.page.locator("[data-testid=stSidebar]")).to_be_hidden()
        playwright.expect(self.page.locator("button:visible")).to_have_count(1)
        shown = self.page.locator("[data-testid=stApp]").inner_html()
        assert not [word for word in OF_THE_STORE if word in shown]

    def save(self, name: str) -> None:
        """The contrast of the Contrasts page, under a new name."""
        self.open("contrasts?run=boxes&contrast=lexical")
        field = self.page.get_by_role("textbox", name="Name")
        field.wait_for()
        settled(self.page)  # what is typed into a field that is drawn anew is lost
        field.fill(name)
        field.press("Tab")
        settled(self.page)
        self.page.get_by_role("button", name=re.compile("^Save")).click(delay=150)


@pytest.fixture(scope="module")
def engine():
    arguments = ["--no-sandbox", f"--host-resolver-rules=MAP {NAME} 127.0.0.1"]
    with playwright.sync_playwright() as play:
        made = play.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield made
        made.close()


@pytest.fixture(scope="module")
def provider():
    with oidc.provider() as made:
        yield made


@contextmanager
def served(store, provider, folder, at: str | None = None):
    """The address of a dashboard with a login; `at`: the one that browsers see, through a proxy on the port given."""
    with pytest.MonkeyPatch.context() as patch:
        port = free_port()
        patch.setattr("test_server.free_port", lambda: port)
        file = oidc.login_file(folder, at or f"http://127.0.0.1:{port}", provider.url)
        with serving(store, "--login", str(file)):
            yield at or f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stores.write(tmp_path_factory.mktemp("store") / "store")


@pytest.fixture(scope="module")
def catalog(store):
    return Catalog(store / "catalog.duckdb")


@pytest.fixture(scope="module")
def at(store, catalog, provider, tmp_path_factory):
    for who, role in (("vera", "viewer"), ("ed", "editor"), ("una", "admin"), ("tom", "viewer"), ("leo", "viewer")):
        catalog.people.set(f"{who}@example.org", role)
    provider.person("una@example.org", email="una@example.org", email_verified=False)
    with served(store, provider, tmp_path_factory.mktemp("file")) as address:
        yield address


@pytest.fixture
def visitor(engine, at, provider):
    made = Visitor(engine, at, provider)
    yield made
    made.context.close()


def test_a_cold_deep_link_is_the_login_and_returns_to_the_page_after_it(visitor, at):
    """The first request of a fresh server: nothing before this opens it."""
    visitor.open(DEEP).sees_only("Log in to see this store.")
    visitor.page.wait_for_timeout(1000)
    assert len(visitor.frames) > 3
    sent = b"".join(body if isinstance(body, bytes) else body.encode() for body in visitor.frames)
    assert not [word for word in OF_THE_STORE if word.encode() in sent]
    visitor.log_in("vera@example.org").sees("Layer 1, head")
    settled(visitor.page)
    assert visitor.page.url == f"{at}/{DEEP}"
    sent = b"".join(body if isinstance(body, bytes) else body.encode() for body in visitor.frames)
    assert not [word for word in OF_THE_STORE if word.encode() not in sent], "a check that sees nothing is none"


def test_a_viewer_sees_the_pages_and_saves_nothing(visitor, catalog):
    visitor.open().log_in("vera@example.org").sees("vera@example.org, viewer")
    for page in ("Subspaces", "Heads"):
        visitor.go(page)
        playwright.expect(visitor.page.locator(".stMain h1")).to_have_text(page)
        playwright.expect(visitor.page.locator("[data-testid=stMetricValue]")).to_have_count(4)
    settled(visitor.page)
    visitor.page.locator("summary", has_text="Share").click()
    visitor.page.get_by_role("button", name="CSV", exact=True).wait_for()
    settled(visitor.page)
    with visitor.page.expect_download() as download:
        visitor.page.get_by_role("button", name="CSV", exact=True).click(delay=150)
    assert '\n"layer","head"' in download.value.path().read_text()
    visitor.save("veras")
    visitor.sees("has the role viewer, and may not save a contrast: that needs the role editor")
    assert "veras" not in [contrast.name for contrast in catalog.contrasts()]


def test_an_editor_saves_and_is_the_author(visitor, catalog):
    visitor.open().log_in("ed@example.org").sees("ed@example.org, editor")
    visitor.save("eds")
    visitor.sees("Saved eds, version 1.")
    assert [version.author for version in catalog.versions("eds")] == ["ed@example.org"]


def test_who_has_no_role_or_no_verified_address_sees_nothing(visitor):
    visitor.open(DEEP).log_in("noah@example.org")
    visitor.sees_only("noah@example.org has no role in this store; an administrator gives one")
    visitor.context.clear_cookies()
    visitor.open().log_in("una@example.org").sees_only("has not verified the address una@example.org")


def test_a_role_that_is_taken_away_ends_with_the_next_click(visitor, catalog):
    visitor.open(DEEP).log_in("tom@example.org").sees("tom@example.org, viewer")
    visitor.sees("Layer 1, head")
    catalog.people.set("tom@example.org", "none")
    time.sleep(FRESH_S)
    visitor.go("Subspaces")
    visitor.sees_only("tom@example.org has no role in this store")


def test_who_logs_out_is_out_in_every_tab_and_with_every_copy_of_the_cookie(visitor):
    visitor.open(DEEP).log_in("leo@example.org").sees("leo@example.org, viewer")
    cookies, first = visitor.context.cookies(), visitor.page
    visitor.page = visitor.tab()
    visitor.open(DEEP).sees("leo@example.org, viewer")
    settled(visitor.page)
    visitor.page.get_by_role("button", name="Log out").click()
    visitor.page.wait_for_url(f"{visitor.provider.url}/oauth2/end_session**")
    assert "_streamlit_user" not in [cookie["name"] for cookie in visitor.context.cookies()]
    visitor.page = first
    visitor.page.bring_to_front()
    visitor.go("Subspaces")
    visitor.sees_only("Log in to see this store.")
    visitor.context.add_cookies(cookies)
    visitor.open(DEEP).sees_only("Log in to see this store.")


def test_a_cookie_that_was_altered_or_made_up_opens_nothing(visitor):
    visitor.open().log_in("ed@example.org").sees("ed@example.org, editor")
    (cookie,) = [c for c in visitor.context.cookies() if c["name"] == "_streamlit_user"]
    assert cookie["httpOnly"]
    value = cookie["value"]
    for altered in (value[:40] + ("A" if value[40] != "A" else "B") + value[41:], "e30=", value[:-4] + "AAAA"):
        visitor.context.add_cookies([cookie | {"value": altered}])
        visitor.open(DEEP).sees_only("Log in to see this store.")
    visitor.context.add_cookies([cookie])
    visitor.open().sees("ed@example.org, editor")


def test_a_provider_that_is_away_is_one_line(engine, store, tmp_path, provider):
    own = oidc.Provider()
    with served(store, own, tmp_path) as at:
        visitor = Visitor(engine, at, own)
        visitor.open(DEEP).sees_only("Log in to see this store.")
        settled(visitor.page)
        own.stop()
        visitor.page.get_by_role("button", name="Log in").click()
        visitor.sees("The login provider cannot be reached now. Go back and try again later")
        assert "Traceback" not in visitor.page.content()
        own.start()
        visitor.open(DEEP).log_in("vera@example.org").sees("vera@example.org, viewer")
        visitor.context.close()


@servers.needs_postgres
def test_a_team_s_database_refuses_what_a_role_may_not(engine, store, provider, tmp_path, pg, database):
    """The dashboard is the user ada of PostgreSQL, an admin; people act with the rights of their own role."""
    people = Catalog(database).people
    people.set("vera@example.org", "viewer")
    people.set("ed@example.org", "editor")
    file, url = tmp_path / "team.toml", pg.url("ada", database.name)
    file.write_text(f'catalogue = "{url}"\nruns = "{store}"\n')
    with served(file, provider, tmp_path) as at:
        for who, says in (
            ("vera", "may not save a contrast: that needs the role editor"),
            ("ed", "Saved teams, version 1."),
        ):
            visitor = Visitor(engine, at, provider)
            visitor.open(DEEP).sees_only("Log in to see this store.")
            visitor.log_in(f"{who}@example.org").save("teams")
            visitor.sees(says)
        assert [version.author for version in Catalog(database).versions("teams")] == ["ed@example.org"]
        past = Postgres(url)
        with pytest.raises(StoreError, match="may read it and not do this"), past.transaction(role="viewer") as execute:
            execute(INSERT)
        with past.transaction(role="editor") as execute:
            execute(INSERT)
        past.close()
        database.close()
        pg.stop()
        try:
            time.sleep(FRESH_S)
            visitor.open(DEEP).sees_only("cannot be reached")
        finally:
            pg.start()
        visitor.open(DEEP).sees("ed@example.org, editor")
        visitor.context.close()


@pytest.mark.skipif(not shutil.which(NGINX), reason="nginx is not installed (apt-get install nginx-light)")
def test_behind_tls_the_login_passes_the_policy_and_its_cookies_are_for_tls_alone(engine, store, provider, tmp_path):
    dashboard = free_port()
    with nginx(tmp_path, dashboard) as (port, _), pytest.MonkeyPatch.context() as patch:
        at = f"https://{NAME}:{port}"
        patch.setattr("test_server.free_port", lambda: dashboard)
        with serving(store, "--login", str(oidc.login_file(tmp_path, at, provider.url))):
            visitor, said = Visitor(engine, at, provider, ignore_https_errors=True), []
            visitor.page.on("console", lambda message: said.append(message.text))
            visitor.open(DEEP).sees_only("Log in to see this store.")
            visitor.log_in("vera@example.org").sees("vera@example.org, viewer")
            settled(visitor.page)
            assert visitor.page.url == f"{at}/{DEEP}"
            assert {cookie["secure"] for cookie in visitor.context.cookies() if "streamlit" in cookie["name"]} == {True}
            assert not [text for text in said if "Content Security Policy" in text]
            visitor.context.close()
