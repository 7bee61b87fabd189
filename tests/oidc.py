"""A real OpenID provider on this machine, for tests of the login: it says who somebody is, as its form is answered."""

from __future__ import annotations

import json
import os
import secrets
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from werkzeug.serving import WSGIRequestHandler, make_server


class _Quiet(WSGIRequestHandler):
    def log_request(self, *_) -> None:
        """A line a request would hide what a test says."""


class Provider:
    """A provider with these people; `person` adds one. It may be stopped, and started again at the same address."""

    def __init__(self) -> None:
        self.port, self._server = 0, None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        import oidc_provider_mock

        os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # the provider's own check of https, on loopback
        application = oidc_provider_mock.app(require_nonce=True)
        self._server = make_server("127.0.0.1", self.port, application, threaded=True, request_handler=_Quiet)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def person(self, sub: str, **claims) -> None:
        """What the provider says of `sub` from now on."""
        body = json.dumps(claims).encode()
        request = urllib.request.Request(
            f"{self.url}/users/{sub}", body, {"Content-Type": "application/json"}, method="PUT"
        )
        urllib.request.urlopen(request, timeout=10).close()


@contextmanager
def provider() -> Iterator[Provider]:
    made = Provider()
    try:
        yield made
    finally:
        made.stop()


def login_file(folder: Path, at: str, provider: str, **more: str) -> Path:
    """The file of a login for a dashboard at an address; more: fields instead of the usual ones, '' for none."""
    fields = {
        "redirect_uri": f"{at}/oauth2callback",
        "cookie_secret": secrets.token_urlsafe(48),
        "client_id": "qkstore",
        "client_secret": "of-the-tests-alone",
        "server_metadata_url": f"{provider}/.well-known/openid-configuration",
    } | more
    file = folder / "login.toml"
    file.write_text("[auth]\n" + "".join(f'{name} = "{value}"\n' for name, value in fields.items() if value))
    file.chmod(0o600)
    return file
