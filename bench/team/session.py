"""A browser without a screen: what a dashboard answers over its WebSocket, how long it takes, and what it weighs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

ROOT = Path(__file__).resolve().parents[2]
PAGE_S = 120


@dataclass
class Answer:
    """What one page took and showed: seconds until it was finished, its errors, its good news, its buttons' ids.

    size: bytes that were sent to the browser for it.
    """

    seconds: float = 0.0
    size: int = 0
    errors: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    buttons: dict[str, str] = field(default_factory=dict)

    def note(self, message: ForwardMsg) -> None:
        element = message.delta.new_element
        kind = element.WhichOneof("type")
        if kind == "exception":
            self.errors.append(element.exception.message)
        elif kind == "alert" and element.alert.format == element.alert.ERROR:
            self.errors.append(element.alert.body)
        elif kind == "alert" and element.alert.format == element.alert.SUCCESS:
            self.told.append(element.alert.body)
        elif kind == "button":
            self.buttons[element.button.label] = element.button.id


class Session:
    """One browser's connection to a dashboard; OSError or WebSocketException where the server is gone."""

    def __init__(self, port: int):
        host = f"127.0.0.1:{port}"
        url, origin = f"ws://{host}/_stcore/stream", f"http://{host}"
        opened = connect(url, origin=origin, subprotocols=["streamlit"], max_size=None, open_timeout=PAGE_S)
        self._open = ExitStack()
        self._stream = self._open.enter_context(opened)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def ask(self, page: str, press: str = "", **choices: object) -> Answer:
        """Open a page by its name and the choices of its address, or press the button of this id on it."""
        asked = BackMsg()
        asked.rerun_script.page_name = page
        asked.rerun_script.query_string = urlencode(choices)
        if press:
            asked.rerun_script.widget_states.widgets.add(id=press, trigger_value=True)
        start, answer = time.perf_counter(), Answer()
        self._stream.send(asked.SerializeToString())
        while True:
            body = self._stream.recv(timeout=PAGE_S)
            answer.size += len(body)
            message = ForwardMsg.FromString(body)
            if message.WhichOneof("type") == "delta":
                answer.note(message)
            elif message.WhichOneof("type") == "script_finished":
                if message.script_finished == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
                    answer.errors.append("the page does not compile")
                if message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                    answer.seconds = time.perf_counter() - start
                    return answer


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "qkstore", *map(str, words)]


@contextmanager
def served(store: Path, limits: Sequence[str] = ()) -> Iterator[tuple[int, int]]:
    """(port, process) of `qkstore serve`, once it answers; ended with the block. limits: a command that sets them."""
    from ports import free_port  # both of the tests
    from served import answer

    port = free_port()
    line = [*limits, *command("serve", "--store", store, "--port", port)]
    server = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        answer(f"http://127.0.0.1:{port}/_stcore/health")
        yield port, server.pid
    finally:
        server.kill()
        server.wait()
