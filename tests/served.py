"""A server on this machine, for tests: what it answers."""

from __future__ import annotations

import time
import urllib.request

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg


def looked(stream, page: str) -> list[bytes]:
    """What a dashboard sends for a page, over a WebSocket that is open."""
    ask, seen = BackMsg(), []
    ask.rerun_script.page_name = page
    stream.send(ask.SerializeToString())
    while not seen or ForwardMsg.FromString(seen[-1]).WhichOneof("type") != "script_finished":
        seen.append(stream.recv(timeout=60))
    return seen


def answer(url: str, wait_s: float = 120) -> str:
    until = time.monotonic() + wait_s
    while True:
        try:
            return urllib.request.urlopen(url, timeout=5).read().decode()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
