"""The server of a dashboard with a login: what it sends to who is not logged in, and where a login returns to."""

from __future__ import annotations

import urllib.request

import oidc
import pytest
import stores
from served import looked
from streamlit.proto.BackMsg_pb2 import BackMsg
from test_login import LINKS, OF_THE_STORE, PAGES
from test_server import STREAM, asked, serving
from websockets.sync.client import connect

from dashboard import door
from dashboard.server import _forgets, _one_line
from qkstore.errors import RoleError


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stores.write(tmp_path_factory.mktemp("login") / "store")


@pytest.fixture(scope="module")
def login_file(tmp_path_factory):
    return oidc.login_file(tmp_path_factory.mktemp("file"), "http://127.0.0.1:8501", "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def port(store, login_file):
    with serving(store, "--login", str(login_file)) as number:
        yield number


def sent(port: int, *pages: str) -> bytes:
    """All that a server sends to who opens these pages."""
    with connect(f"ws://127.0.0.1:{port}{STREAM}", subprotocols=["streamlit"], max_size=None) as stream:
        return b"".join(body for page in pages for body in looked(stream, page))


def test_the_stream_of_a_cold_server_holds_nothing_of_the_store(port):
    body = sent(port, "heads", *PAGES, "")
    assert b"Log in to see this store." in body
    assert not [word for word in OF_THE_STORE if word.encode() in body]


def test_without_a_login_the_same_stream_holds_it(store):
    with serving(store) as number:
        body = sent(number, "heads")
    assert not [word for word in ("boxes", "lexical", *LINKS) if word.encode() not in body]


@pytest.mark.parametrize("path", ["/media/x.csv", "/%6dedia/x.csv", "/_stcore/upload_file/a/b"])
@pytest.mark.parametrize(
    "cookie", ["", "Cookie: _streamlit_user=2|1:0|10:1|15:_streamlit_user|4:e30=|0", "Cookie: ;;="]
)
def test_files_are_for_who_is_logged_in(port, path, cookie):
    assert asked(port, path, f"Host: localhost:{port}", *filter(None, [cookie]))[0] == 403


@pytest.mark.parametrize(
    "path", ["/", "/heads?run=boxes", "/_stcore/health", "/_stcore/host-config", "/oauth2callback"]
)
def test_what_is_answered_to_all_holds_nothing_of_the_store(port, path):
    body = urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20).read()
    assert not [word for word in ("boxes", "lexical", "Subspaces") if word.encode() in body]


def test_one_browser_cannot_have_the_server_forget_what_it_keeps_for_all():
    ask = BackMsg()
    ask.clear_cache = True
    assert _forgets({"type": "websocket.receive", "bytes": ask.SerializeToString()})
    ask.rerun_script.page_name = "heads"
    assert not _forgets({"type": "websocket.receive", "bytes": ask.SerializeToString()})
    assert not _forgets({"type": "websocket.receive", "bytes": b"\xff\xff"})
    assert not _forgets({"type": "websocket.connect"})


def test_a_mistake_in_what_a_click_calls_is_one_line(monkeypatch):
    said = []
    monkeypatch.setattr("streamlit.error", said.append)
    assert _one_line(RoleError("ann has no role here"))
    assert not _one_line(ValueError("a bug"))
    assert said == ["ann has no role here"]


def test_a_cookie_that_was_signed_by_another_opens_no_file(port, login_file):
    """Control: this server's own signature does; the file is then not there."""
    import tomllib

    from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

    def status(secret: str) -> int:
        value = create_signed_value(secret, "_streamlit_user", "{}").decode()
        return asked(port, "/media/x.csv", f"Host: localhost:{port}", f"Cookie: _streamlit_user={value}")[0]

    secret = tomllib.loads(login_file.read_text())["auth"]["cookie_secret"]
    assert status("x" * 48) == 403
    assert status(secret) == 404


# -- the way back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/", "/heads", "/heads?run=boxes&contrast=authors%2Forder", "/?run=a"])
def test_a_page_is_returned_to(address):
    assert door.ADDRESS.fullmatch(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "heads",
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/a\r\nX: y",
        "/a?b\nc",
        "/a/b",
        "/a?b c",
    ],
)
def test_what_is_no_page_is_not(address):
    assert not door.ADDRESS.fullmatch(address)


@pytest.mark.parametrize(
    ("referer", "kept"),
    [
        ("https://qk.example.org/heads?run=a#x", "%2Fheads%3Frun%3Da"),
        ("https://qk.example.org/", "%2F"),
        ("https://evil.example/heads", None),
        ("https://qk.example.org@evil.example/heads", None),
        ("https://qk.example.org//evil.example", None),
        ("https://[", None),
        ("", None),
    ],
)
def test_only_an_own_page_is_kept_for_the_way_back(referer, kept):
    scope = {"headers": [(b"host", b"qk.example.org"), (b"referer", referer.encode())]}
    message = {"headers": []}
    door._keep(scope, message)
    (cookie,) = [value.decode() for _, value in message["headers"]] or [None]
    assert cookie == (kept and f"qkstore_asked={kept}; Max-Age=900; Path=/oauth2callback; HttpOnly; SameSite=Lax")


@pytest.mark.parametrize(
    "kept", ["%2F%2Fevil.example", "https%3A%2F%2Fevil.example", "%2Fa%0D%0AX%3A%20y", "%2F%5Cevil"]
)
def test_a_cookie_that_somebody_else_set_leads_nowhere_else(kept):
    def led(cookie: str) -> bytes:
        message = {"headers": [(b"location", b"/")]}
        door._return({"headers": [(b"cookie", f"a=b; qkstore_asked={cookie}".encode())]}, message)
        return dict(message["headers"])[b"location"]

    assert led(kept) == b"/"
    assert led("%2Fheads%3Frun%3Da") == b"/heads?run=a"
