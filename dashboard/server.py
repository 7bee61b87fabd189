"""The dashboard's server: Streamlit's own, behind a check of the name that it is called by.

A page of another site can have its own name resolve to this machine, and would then read the store with the visitor's
browser. It cannot choose the Host header, so names that are not expected are refused. Answers may not be framed, and
what tells of the machine rather than of the store is left out of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.pages_manager import PagesManager
from streamlit.starlette import App

from dashboard import document, door
from dashboard.door import Message, Send
from qkstore.errors import QKStoreError

Receive = Callable[[], Awaitable[Message]]

SCRIPT = "app.py"  # in the folder that the server is started in
OWN = ("127.0.0.1", "localhost", "::1")
CLOSED = ("/_stcore/metrics", "/_stcore/agent")  # of the machine, and of Streamlit's own programs
SMALL = 65_536  # bytes of a message that may be one of those that are cleaned
HEADERS = [
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
]


class Guarded(App):
    """Refuses requests for other hosts than its own and `hosts`, with 403, and cleans the answers to the others.

    Where people log in, files are for them alone.
    """

    def __init__(self, script: Path, hosts: Sequence[str] = ()):
        super().__init__(script, on_script_error=_one_line)
        self.hosts = {*OWN, *(host.lower() for host in hosts)}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await super().__call__(scope, receive, send)
        elif not self.allowed(scope):
            await _refuse(scope, send, 403, b"This name is not one of the dashboard's: qkstore serve --allow-host NAME")
        elif any(closed in scope["path"] for closed in CLOSED):
            await _refuse(scope, send, 404, b"Not found")
        elif door.closed() and door.shut(scope):
            await _refuse(scope, send, 403, b"Log in first")
        else:
            send = _cleaned(scope, send)
            if document.may_be(scope):
                scope, send = document.plainly(scope), document.placed(send)
            await super().__call__(scope, _asked(receive), door.returning(scope, send) if door.closed() else send)

    def allowed(self, scope: Message) -> bool:
        """Whether the request has one Host header, and a name in it that is expected; its port does not count."""
        named = [value for name, value in scope["headers"] if name == b"host"]
        return len(named) == 1 and host(named[0].decode("latin-1")) in self.hosts


def host(text: str) -> str | None:
    """The name in a Host header, without its port; None where it is none."""
    try:
        parts = urlsplit(f"//{text}")
        parts.port  # noqa: B018 -- raises where it is no number
    except ValueError:
        return None
    return (parts.hostname or "").rstrip(".") if parts.netloc == text and "@" not in text else None


async def _refuse(scope: Message, send: Send, status: int, text: bytes) -> None:
    if scope["type"] == "websocket":  # before it is accepted: the server answers 403
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
        return
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode()), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def _asked(receive: Receive) -> Receive:
    """`receive` without what one browser may not ask for: that the server forgets what it keeps for all."""

    async def asked() -> Message:
        while _forgets(message := await receive()):
            pass
        return message

    return asked


def _forgets(message: Message) -> bool:
    if message["type"] != "websocket.receive" or len(message.get("bytes") or b"") > SMALL:
        return False
    try:
        return BackMsg.FromString(message.get("bytes") or b"").WhichOneof("type") == "clear_cache"
    except Exception:  # of protobuf: it is no message
        return False  # Streamlit closes the connection


def _cleaned(scope: Message, send: Send) -> Send:
    """`send` with the headers of every answer, and without what Streamlit tells a browser of this machine.

    Where a proxy has TLS, cookies are for TLS alone.
    """
    secure = (b"x-forwarded-proto", b"https") in scope["headers"]

    async def cleaned(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            headers = message.get("headers", ())
            marked = [(n, v + b"; Secure" if secure and n.lower() == b"set-cookie" else v) for n, v in headers]
            message["headers"] = [*marked, *HEADERS]
        elif message["type"] == "websocket.send" and len(message.get("bytes") or b"") < SMALL:
            body = _without_machine(message.get("bytes"))
            if body is None:
                return
            message["bytes"] = body
        await send(message)

    return cleaned


def _without_machine(body: bytes | None) -> bytes | None:
    """A message without the folder of the app; None for one that tells of its git repository."""
    if not body:
        return body
    message = ForwardMsg.FromString(body)
    kind = message.WhichOneof("type")
    if kind == "git_info_changed":
        return None
    if kind != "new_session":
        return body
    message.new_session.main_script_path = SCRIPT
    return message.SerializeToString()


def _one_line(error: Exception) -> bool:
    """Show a user's mistake as one line where no page does: in what a click calls before its page runs."""
    if isinstance(error, QKStoreError):
        from dashboard import shell  # with all that pages need: not before the first of them runs

        st.error(shell.told(error))
    return isinstance(error, QKStoreError)


def serve(port: int, hosts: Sequence[str]) -> None:
    """Show the store at $QKSTORE until interrupted, by the names of this machine and `hosts`.

    $QKSTORE_LOGIN names the file of the login. Without it no file of secrets is read: one that lies about does nothing.
    """
    script = Path(SCRIPT).absolute()
    sys.argv = [str(script)]  # as `streamlit run` has it: the settings beside the script count
    PagesManager.uses_pages_directory = False  # app.py runs first, whichever page is asked for first
    given = os.environ.get(door.VARIABLE)
    settings = {
        "server.port": port,
        "server.allowedHosts": [*OWN, *hosts],
        "server.trustedUserHeaders": {},  # else a header of the visitor's could say who is logged in
        "secrets.files": [given] if given else [],
    }
    Guarded(script, hosts).run(config=settings)


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2:])
