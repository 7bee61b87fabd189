"""The document that a browser is sent first: Streamlit's, told where the server is.

A browser that comes to /heads cannot know whether the dashboard lies at / or at /heads; Streamlit's client asks both,
and the wrong one answers 404. It asks only where `BACKEND_BASE_URL` says, if the document says it.
"""

from __future__ import annotations

from dashboard.door import Message, Send

HEAD, TITLE = b"<head>", (b"<title>Streamlit</title>", b"<title>qkstore</title>")
WHERE = b"<script>window.__streamlit = { BACKEND_BASE_URL: location.origin }</script>"
KEPT_BY = (b"etag", b"last-modified", b"content-length")  # a browser's copy is of Streamlit's own


def plainly(scope: Message) -> Message:
    """The request without compression and copies of before: the answer to it is changed on its way."""
    asked = (b"accept-encoding", b"if-none-match", b"if-modified-since", b"range")
    return {**scope, "headers": [(n, v) for n, v in scope["headers"] if n.lower() not in asked]}


def may_be(scope: Message) -> bool:
    """Whether the answer to a request may be the document: a page's path, which names no file."""
    return scope["type"] == "http" and "." not in scope["path"] and "/_stcore/" not in scope["path"]


def placed(send: Send) -> Send:
    """`send` with the document told where the server is; all other answers go as they are."""
    held: list[Message] = []

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start" and _html(message):
            held.append(message)
        elif held:
            held.append(message)
            if not message.get("more_body"):
                start, *parts = held
                body = told(b"".join(part.get("body", b"") for part in parts))
                others = [(n, v) for n, v in start["headers"] if n.lower() not in KEPT_BY]
                length = (b"content-length", str(len(body)).encode())
                await send({**start, "headers": [*others, length]})
                await send({"type": "http.response.body", "body": body})
        else:
            await send(message)

    return sent


def _html(start: Message) -> bool:
    headers = {n.lower(): v for n, v in start.get("headers", ())}
    return headers.get(b"content-type", b"").startswith(b"text/html") and b"content-encoding" not in headers


def told(document: bytes) -> bytes:
    """The document with the server's address first in its head, and the product's name."""
    return document.replace(HEAD, HEAD + WHERE, 1).replace(*TITLE)
