"""The dashboard behind nginx, as setup/deploy/nginx.conf has it: TLS, a content security policy, in Chromium."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import urllib.request
from contextlib import contextmanager, suppress

import pytest
import stores
from conftest import ROOT
from playwright.sync_api import expect, sync_playwright
from ports import free_port
from test_browser import settled
from test_server import serving
from until import becomes

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
NAME = "qk.example.org"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.exists(NGINX), reason="nginx is not installed (apt-get install nginx-light)"),
]
PAGES = ("", "heads", "contrasts", "subspaces", "projections", "interventions", "attributions")


@contextmanager
def nginx(folder, dashboard: int):
    """The port of nginx with the project's own configuration, for this machine's ports and a certificate made here."""
    port, plain = free_port(), free_port()
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subject = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-keyout",
        key,
        "-out",
        certificate,
    ]
    subprocess.run([*made, *subject], check=True, capture_output=True)
    text = (ROOT / "setup" / "deploy" / "nginx.conf").read_text()
    for ours, theirs in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("listen 80", f"listen 127.0.0.1:{plain}"),
        ("127.0.0.1:8501", f"127.0.0.1:{dashboard}"),
        ("/etc/ssl/qk.example.org/fullchain.pem", str(certificate)),
        ("/etc/ssl/qk.example.org/privkey.pem", str(key)),
    ):
        assert text.count(ours) == 1, ours
        text = text.replace(ours, theirs)
    temporary = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{text}\n}}"
    )
    server = subprocess.Popen([NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.PIPE)
    try:
        assert becomes(lambda: server.poll() is not None or all(map(listens, (port, plain))))
        assert server.poll() is None, server.stderr.read()
        yield port, plain
    finally:
        server.terminate()
        server.wait()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


@pytest.fixture(scope="module")
def proxied(tmp_path_factory):
    store = stores.write(tmp_path_factory.mktemp("boxes") / "store")
    with serving(store, "--allow-host", NAME) as dashboard, nginx(tmp_path_factory.mktemp("nginx"), dashboard) as ports:
        yield ports


@pytest.fixture
def browser(proxied):
    arguments = ["--no-sandbox", f"--host-resolver-rules=MAP {NAME} 127.0.0.1"]
    with sync_playwright() as play:
        made = play.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        yield made.new_context(ignore_https_errors=True)
        made.close()


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_whole_and_breaks_no_rule_of_the_policy(proxied, browser, page):
    shown, said, asked = browser.new_page(), [], []
    shown.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    shown.on("request", lambda request: asked.append(request.url))
    answer = shown.goto(f"https://{NAME}:{proxied[0]}/{page}")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["strict-transport-security"]
    assert answer.headers["x-frame-options"] == "DENY"
    expect(shown.locator("h1, h2").first).to_be_visible(timeout=60_000)
    settled(shown)
    shown.wait_for_timeout(3000)  # for what is asked late
    assert not [text for text in said if "Content Security Policy" in text], said
    assert not [url for url in asked if not re.match(rf"(https|wss)://{NAME}|data:|blob:", url)]


def test_plain_http_is_sent_to_tls(proxied):
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    request = urllib.request.Request(f"http://127.0.0.1:{proxied[1]}/heads", headers={"Host": NAME})
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.build_opener(Stay).open(request)
    assert answer.value.code == 301
    assert answer.value.headers["Location"] == f"https://{NAME}/heads"
