"""What the server does for a login: files are for people alone, and a login returns to the address that was asked for.

Streamlit returns to the first page after a login. The address that the visitor asked for is kept meanwhile in a cookie
of the browser, and only a page of the dashboard is ever returned to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from starlette.requests import HTTPConnection
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
AWAY = b"The login provider cannot be reached now. Go back and try again later; the server's log says why."


def closed() -> bool:
    """Whether people have to log in."""
    return bool(os.environ.get(VARIABLE))


def shut(scope: Message) -> bool:
    """Whether the request is for a file, of somebody who has no cookie of a login that this server signed."""
    if not any(files in scope["path"] for files in FILES):
        return False
    return _get_signed_cookie_with_chunks(HTTPConnection(scope).cookies, USER_COOKIE_NAME) is None


def returning(scope: Message, send: Send) -> Send:
    """`send`, which keeps the address that was asked for before a login and returns to it after."""
    if scope["type"] != "http" or scope["path"] not in (LOGIN, CALLBACK):
        return send
    away = False

    async def changed(message: Message) -> None:
        nonlocal away
        if message["type"] == "http.response.start":
            away = scope["path"] == LOGIN and message["status"] >= 400
            (_keep if scope["path"] == LOGIN else _return)(HTTPConnection(scope), message, away)
        elif away:
            message = {"type": "http.response.body", "body": AWAY}
        await send(message)

    return changed


def _keep(request: HTTPConnection, message: Message, away: bool) -> None:
    """Have the browser remember the page that it comes from; where the provider is away, say so in one line."""
    if away:
        message["status"] = 503
        message["headers"] = [(b"content-type", b"text/plain"), (b"content-length", str(len(AWAY)).encode())]
        return
    came = urlsplit(request.headers.get("referer", ""))
    asked = f"{came.path}?{came.query}" if came.query else came.path
    if came.netloc == request.headers.get("host") and ADDRESS.fullmatch(asked):
        _cookie(message, quote(asked, safe=""), KEPT_S)


def _return(request: HTTPConnection, message: Message, away: bool) -> None:
    """Where the answer leads to the first page, lead to the one that was asked for."""
    asked = unquote(request.cookies.get(ASKED, ""))
    headers = dict(message["headers"])
    if headers.get(b"location") == b"/" and ADDRESS.fullmatch(asked):
        message["headers"] = [(n, asked.encode() if n == b"location" else v) for n, v in message["headers"]]
        _cookie(message, "", 0)


def _cookie(message: Message, value: str, lasts: int) -> None:
    """Set the cookie, for the way back alone and out of reach of scripts."""
    text = f"{ASKED}={value}; Max-Age={lasts}; Path={CALLBACK}; HttpOnly; SameSite=Lax"
    message["headers"] = [*message["headers"], (b"set-cookie", text.encode())]
