"""The dashboard's port and names: `python -m qkstore.cli.port 8501` exits with one line when it cannot be had."""

from __future__ import annotations

import argparse
import re
import socket
import sys

from qkstore.errors import QKStoreError

HOST = "127.0.0.1"
NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.IGNORECASE)


def port(text: str) -> int:
    """A number from 1 to 65535."""
    if not text.isdecimal() or len(text) > 5 or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text[:60]!r}: a port is a number from 1 to 65535")
    return int(text)


def host(text: str) -> str:
    """The name of a host, without a port."""
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text[:60]!r}: a host is a name such as store.example.org, without a port")
    return text.lower()


def check(number: int, again: str) -> None:
    """Raise QKStoreError when this machine's port cannot be listened on.

    again: the command to repeat, with {} for another port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, number))
        except OSError as error:
            raise QKStoreError(
                f"port {number} of {HOST} cannot be used ({error.strerror}); choose another: "
                f"{again.format(number % 65535 + 1)}"
            ) from None


if __name__ == "__main__":
    try:
        check(port(sys.argv[1]), "make demo PORT={}")
    except argparse.ArgumentTypeError as error:
        sys.exit(f"PORT={error}")
    except QKStoreError as error:
        sys.exit(str(error))
