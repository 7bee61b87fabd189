"""What the server does for a login: files are for people alone, and a login returns to the address that was asked for.

Streamlit returns to the first page after a login. The address that the visitor asked for is kept meanwhile in a cookie
of the browser, and only a page of the dashboard is ever returned to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote, unquote

from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME
from streamlit.web.server.starlette.starlette_websocket import _get_signed_cookie_with_chunks

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

VARIABLE = "QKSTORE_LOGIN"  # set by `qkstore serve --login`: the file that Streamlit reads as its secrets
FILES = ("/media/", "/_stcore/upload_file/")  # what pages offer for download, and what a browser may send
LOGIN, CALLBACK = "/auth/login", "/oauth2callback"
ASKED = "qkstore_asked"  # the cookie
KEPT_S = 900  # for a person to log in at the provider
ADDRESS = re.compile(r"/[a-z]{0,40}(\?[!-~]{0,2000})?")  # of a page; never of another server, as //name would be
CAME = re.compile(r"https?://(?P<host>[^/?#]+)(?P<asked>/[^#]*)(#.*)?")  # the page of a Referer header
AWAY = b"The login provider cannot be reached now. Go back and try again later; the server's log says why."


def closed() -> bool:
    """Whether people have to log in."""
    return bool(os.environ.get(VARIABLE))


def shut(scope: Message) -> bool:
    """Whether the request is for a file, of somebody who has no cookie of a login that this server signed."""
    if not any(files in scope["path"] for files in FILES):
        return False
    return _get_signed_cookie_with_chunks(_cookies(scope), USER_COOKIE_NAME) is None


def returning(scope: Message, send: Send) -> Send:
    """`send`, which keeps the address that was asked for before a login and returns to it after."""
    if scope["type"] != "http" or scope["path"] not in (LOGIN, CALLBACK):
        return send
    away = False

    async def changed(message: Message) -> None:
        nonlocal away
        if message["type"] == "http.response.start":
            away = scope["path"] == LOGIN and message["status"] >= 400
            (_tell_away if away else _keep if scope["path"] == LOGIN else _return)(scope, message)
        elif away:
            message = {"type": "http.response.body", "body": AWAY}
        await send(message)

    return changed


def _tell_away(scope: Message, message: Message) -> None:
    """An answer of one line instead of the words that Streamlit has."""
    message["status"] = 503
    message["headers"] = [(b"content-type", b"text/plain"), (b"content-length", str(len(AWAY)).encode())]


def _keep(scope: Message, message: Message) -> None:
    """Have the browser remember the page that it comes from."""
    came = CAME.fullmatch(_header(scope, b"referer"))
    if came and came["host"] == _header(scope, b"host") and ADDRESS.fullmatch(came["asked"]):
        _cookie(message, quote(came["asked"], safe=""), KEPT_S)


def _return(scope: Message, message: Message) -> None:
    """Where the answer leads to the first page, lead to the one that was asked for."""
    asked = unquote(_cookies(scope).get(ASKED, ""))
    if dict(message["headers"]).get(b"location") == b"/" and ADDRESS.fullmatch(asked):
        message["headers"] = [(n, asked.encode() if n == b"location" else v) for n, v in message["headers"]]
        _cookie(message, "", 0)


def _cookie(message: Message, value: str, lasts: int) -> None:
    """Set the cookie, for the way back alone and out of reach of scripts."""
    text = f"{ASKED}={value}; Max-Age={lasts}; Path={CALLBACK}; HttpOnly; SameSite=Lax"
    message["headers"] = [*message["headers"], (b"set-cookie", text.encode())]


def _header(scope: Message, name: bytes) -> str:
    """A header of the request; empty where it has none."""
    return next((value.decode("latin-1") for given, value in scope["headers"] if given == name), "")


def _cookies(scope: Message) -> dict[str, str]:
    """{name: value} of the request's cookies."""
    pairs = (part.partition("=") for part in _header(scope, b"cookie").split(";"))
    return {name.strip(): value.strip().strip('"') for name, _, value in pairs}
