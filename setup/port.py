"""Exit with one line when a port of this machine is taken."""

import socket
import sys

port = int(sys.argv[1])
with socket.socket() as probe:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("127.0.0.1", port))
    except OSError as error:
        sys.exit(f"port {port} of 127.0.0.1 cannot be used ({error.strerror}); choose another: make demo PORT={port + 1}")
