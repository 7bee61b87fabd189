"""Exit with one line when a port of this machine cannot be had."""

import socket
import sys

given = sys.argv[1]
if not given.isdecimal() or not 1 <= int(given) <= 65535:
    sys.exit(f"PORT={given}: a port is a number from 1 to 65535")
port = int(given)
with socket.socket() as probe:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("127.0.0.1", port))
    except OSError as error:
        sys.exit(
            f"port {port} of 127.0.0.1 cannot be used ({error.strerror}); choose another: "
            f"make demo PORT={port % 65535 + 1}"
        )
