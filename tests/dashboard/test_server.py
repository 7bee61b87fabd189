"""The dashboard as a server: which names it answers to, what its answers say, and what they leave out.

Over real HTTP and WebSockets, from a server of this machine that the tests start and end.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest
import stores
from conftest import ROOT
from ports import free_port
from served import answer, looked
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

from dashboard import document, shell
from dashboard.server import _without_machine, host

UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}==\r\n"
STREAM = "/_stcore/stream"


@contextmanager
def serving(store, *arguments):
    """The port of `qkstore serve` on a store; ended with the block."""
    port = free_port()
    command = [sys.executable, "-m", "qkstore", "serve", "--store", str(store), "--port", str(port), *arguments]
    server = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    try:
        assert answer(f"http://127.0.0.1:{port}/_stcore/health") == "ok"
        yield port
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stores.write(tmp_path_factory.mktemp("boxes") / "store")


@pytest.fixture(scope="module")
def port(store):
    with serving(store, "--allow-host", "Store.example.org") as number:
        yield number


def asked(port: int, path: str, *headers: str) -> tuple[int, dict[str, str]]:
    """The status and the headers of what the server answers to a request with these headers."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall("\r\n".join([f"GET {path} HTTP/1.1", *headers, "", ""]).encode())
        head = b""
        while b"\r\n\r\n" not in head and (more := line.recv(4096)):
            head += more
    first, *rest = head.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return int(first.split()[1]), {n.lower(): v.strip() for n, _, v in (h.partition(":") for h in rest)}


def status(port: int, path: str, name: str, origin: str | None = None) -> int:
    headers = [f"Host: {name}", *([f"Origin: {origin}"] if origin else [])]
    return asked(port, path, *headers, *(UPGRADE.format("x" * 22).split("\r\n")[:-1] if path == STREAM else ()))[0]


OWN = ["127.0.0.1:{}", "localhost:{}", "LOCALHOST", "[::1]:{}", "store.example.org", "STORE.example.org:443"]
FOREIGN = [
    "evil.example.com", "127.0.0.1.evil.com:{}", "evil-localhost", "localhost@evil.com", "evil.com#127.0.0.1", "",
    "sub.store.example.org", "127.0.0.1:x", "127.0.0.2", "0.0.0.0:{}", "localhost, evil.com", "/localhost",
]  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/heads", "/_stcore/health", STREAM])
def test_only_its_own_names_are_answered(port, path):
    good = 101 if path == STREAM else 200
    assert {name: status(port, path, name.format(port)) for name in OWN} == dict.fromkeys(OWN, good)
    assert {name: status(port, path, name.format(port)) for name in FOREIGN} == dict.fromkeys(FOREIGN, 403)


def test_a_request_has_one_host(port):
    assert asked(port, "/", "Host: localhost", "Host: localhost")[0] in (400, 403)
    assert asked(port, "/", "X-Forwarded-Host: localhost")[0] in (400, 403)
    assert asked(port, "/", "Host: evil.com", "X-Forwarded-Host: localhost")[0] == 403


def test_a_page_of_another_site_gets_no_stream(port):
    assert status(port, STREAM, f"127.0.0.1:{port}", f"http://127.0.0.1:{port}") == 101
    assert status(port, STREAM, f"127.0.0.1:{port}", "http://evil.example.com") == 403
    assert status(port, STREAM, f"127.0.0.1:{port}", "null") == 403


def test_without_the_option_there_are_no_other_names(store):
    with serving(store) as port:
        assert status(port, "/", "store.example.org") == status(port, STREAM, "store.example.org") == 403
        assert status(port, STREAM, f"localhost:{port}") == 101


@pytest.mark.parametrize("path", ["/", "/heads", "/_stcore/health", "/static/none.js", "/media/none.csv", "/%2e%2e/x"])
def test_no_answer_may_be_framed_or_taken_for_another_type(port, path):
    _, headers = asked(port, path, f"Host: localhost:{port}")
    assert headers["x-frame-options"] == "DENY"
    assert headers["content-security-policy"] == "frame-ancestors 'none'"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/heads?run=x", "/none/at/all"])
def test_the_document_says_where_the_server_is(port, path):
    """Else a browser asks /heads/_stcore/health too, which is not there."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=20) as reply:
        body = reply.read()
        assert int(reply.headers["content-length"]) == len(body)
        assert reply.headers["etag"] is None
    assert body.count(document.WHERE) == body.count(b"<title>qkstore</title>") == 1
    assert body.index(document.WHERE) < body.index(b"<script type=")


def test_other_answers_go_as_they_are(port):
    """A file keeps what a browser knows its copy by, and a refusal is not taken for the document."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as reply:
        script = re.search(rb'src="\./(static/js/index\.[^"]+)"', reply.read())[1].decode()
    status, headers = asked(port, f"/{script}", f"Host: localhost:{port}")
    assert (status, "javascript" in headers["content-type"], bool(headers["last-modified"])) == (200, True, True)
    assert asked(port, "/", "Host: evil.com")[0] == 403


def test_what_is_refused_may_not_be_framed_either(port):
    assert asked(port, "/", "Host: evil.com")[1]["x-frame-options"] == "DENY"


@pytest.mark.parametrize("path", ["metrics", "metrics/", "metrics?families=x", "agent/openapi.json"])
def test_what_tells_of_the_machine_is_closed(port, path):
    assert asked(port, f"/_stcore/{path}", f"Host: localhost:{port}")[0] == 404


def test_the_stream_names_no_folder_of_the_server(port, store):
    """Whatever the pages send: the app's folder, the store's, the interpreter's."""
    seen = []
    with connect(f"ws://127.0.0.1:{port}{STREAM}", subprotocols=["streamlit"], max_size=None) as stream:
        for page in ("", "heads", "contrasts"):
            seen += looked(stream, page)
        for name in ("load_git_info", "clear_cache"):
            ask = BackMsg()
            setattr(ask, name, True)
            stream.send(ask.SerializeToString())
        seen += looked(stream, "")
    kinds = {ForwardMsg.FromString(body).WhichOneof("type") for body in seen}
    assert {"new_session", "delta", "script_finished"} <= kinds
    assert "git_info_changed" not in kinds
    for folder in (ROOT, store, store.parent, sys.prefix):
        assert not [body for body in seen if str(folder).encode() in body], folder


def test_a_message_without_a_word_of_the_machine_stays_as_it_is():
    message = ForwardMsg()
    message.script_finished = ForwardMsg.FINISHED_SUCCESSFULLY
    assert _without_machine(message.SerializeToString()) == message.SerializeToString()
    message.new_session.main_script_path = "/srv/app.py"
    message.new_session.name = "kept"
    cleaned = ForwardMsg.FromString(_without_machine(message.SerializeToString()))
    assert (cleaned.new_session.main_script_path, cleaned.new_session.name) == ("app.py", "kept")
    message.git_info_changed.repository = "secret"
    assert _without_machine(message.SerializeToString()) is None
    assert _without_machine(b"") == b""


@pytest.mark.parametrize(
    ("text", "name"),
    [("LocalHost:1", "localhost"), ("a.b.", "a.b"), ("[::1]", "::1"), ("a:b", None), ("a/b", None), ("a@b", None)],
)
def test_the_name_of_a_host(text, name):
    assert host(text) == name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no store at '/srv/my data/store': make one", "no store at 'store': make one"),
        ("python -m qkstore runs --store '/srv/my data/store'", "python -m qkstore runs --store 'store'"),
        ("run /srv/my data/store/runs/a.duckdb is damaged", "run store/runs/a.duckdb is damaged"),
        (
            'IO Error: Cannot open file "/home/ann/x/y.duckdb": No such file',
            'IO Error: Cannot open file "y.duckdb": No such file',
        ),
        ("/opt/lib/python3/site.py line 3", "site.py line 3"),
        ("a share of 1/2 and/or 3 / 4", "a share of 1/2 and/or 3 / 4"),
        ("see https://duckdb.org/docs/stable/connect", "see https://duckdb.org/docs/stable/connect"),
        ("authors/order of run a/b/c", "authors/order of run a/b/c"),
    ],
)
def test_what_visitors_are_told_names_no_folder(monkeypatch, text, shown):
    monkeypatch.setenv("QKSTORE", "/srv/my data/store")
    assert shell.public(text) == shown


@pytest.mark.parametrize("where", ["/", "store", ".", ""])
def test_a_store_without_a_folder_in_its_name_changes_no_text(monkeypatch, where):
    monkeypatch.setenv("QKSTORE", where)
    assert shell.public("store runs. 1/2 of it.") == "store runs. 1/2 of it."


def test_the_settings_of_a_plain_streamlit_run_close_the_stream_and_hide_errors_too():
    import tomllib

    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert settings["client"]["showErrorDetails"] == "none"
    assert settings["server"]["allowedHosts"] == ["127.0.0.1", "localhost", "::1"]
    assert settings["server"]["address"] == "127.0.0.1"
    assert json.dumps(settings["server"]["enableCORS"]) == "true"
