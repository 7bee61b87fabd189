"""Ports of this machine that nobody uses, for servers that tests start."""

from __future__ import annotations

import itertools
import os
import socket

FIRST, EACH = 20_000, 2_000  # below those that the system gives out by itself, which nobody can then get in between
_numbers = itertools.count(os.getpid())  # another process of the same worker begins elsewhere


def free_port() -> int:
    """A port of this worker's own range, another one at each call; nobody listens on it."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw4")[2:]) % 5
    for number in _numbers:
        port = FIRST + EACH * worker + number % EACH
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was closed a moment ago is free
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("the numbers do not end")
