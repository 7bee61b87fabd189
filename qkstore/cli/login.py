"""The file of a login: which provider says who somebody is. It is read before the dashboard starts.

[auth]
redirect_uri = "https://qk.example.org/oauth2callback"
cookie_secret = "…"                                       # 32 characters or more, known to nobody
client_id = "qkstore"
client_secret = "…"
server_metadata_url = "https://login.example.org/.well-known/openid-configuration"
"""

from __future__ import annotations

import os
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from qkstore.errors import QKStoreError, near

VARIABLE = "QKSTORE_LOGIN"  # where the dashboard finds the file; without it there is no login
NEEDED = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")
MORE = ("client_kwargs",)  # of Authlib's client, such as { prompt = "login" }
CALLBACK = "/oauth2callback"
LEAST_SECRET = 32  # characters
OWN = ("127.0.0.1", "localhost", "::1")  # reached without TLS, which nobody else can listen to
SECRET = 'python -c "import secrets; print(secrets.token_urlsafe(48))"'


@dataclass(frozen=True)
class Login:
    """What the file says of this server: `host`, the name that browsers ask for, and `origin`, its address."""

    file: Path
    host: str
    origin: str

    @classmethod
    def read(cls, file: str | Path) -> Login:
        """Raises QKStoreError, which names the field, for a file that is none or that others may read."""
        file = Path(file).expanduser()
        given = _fields(file)
        back = _address(file, "redirect_uri", given["redirect_uri"])
        if back.path != CALLBACK or back.query or back.fragment:
            raise _wrong(file, f"redirect_uri {given['redirect_uri']!r} is not the server's address with {CALLBACK}")
        _address(file, "server_metadata_url", given["server_metadata_url"])
        if len(given["cookie_secret"]) < LEAST_SECRET:
            raise _wrong(file, f"cookie_secret has less than {LEAST_SECRET} characters; make one: {SECRET}")
        return cls(file.resolve(), back.hostname or "", f"{back.scheme}://{back.netloc}")


def _fields(file: Path) -> dict:
    """The fields of [auth]."""
    try:
        told = tomllib.loads(_text(file))
    except tomllib.TOMLDecodeError as error:
        raise _wrong(file, f"it is not TOML: {error}") from None
    given = told.get("auth")
    if not isinstance(given, dict):
        raise _wrong(file, f"there is no [auth]; its fields are {', '.join(NEEDED)}")
    for name in (*(name for name in told if name != "auth"), *given):
        if name not in (*NEEDED, *MORE):
            raise _wrong(file, f"there is a field {name!r}; in [auth], {near(name, (*NEEDED, *MORE))}")
    for name in NEEDED:
        if not isinstance(given.get(name), str) or not given[name].strip():
            raise _wrong(file, f'[auth] has no {name}: write {name} = "…"')
    return given


def _text(file: Path) -> str:
    """The text of a file that its owner alone may read."""
    try:
        with file.open(encoding="utf-8") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise _wrong(file, f"it holds secrets, and others than its owner may read it: chmod 600 {file.name}")
            return opened.read()
    except OSError as error:
        raise _wrong(file, f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _wrong(file, "it is not text in UTF-8") from None


def _address(file: Path, name: str, url: str) -> SplitResult:
    """A URL with TLS, or of this machine."""
    try:
        parts = urlsplit(url)
        known = bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        known = False
    if not known or not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in OWN)):
        raise _wrong(file, f"{name} {url!r} is no address with https://, nor one of this machine with http://")
    return parts


def _wrong(file: Path, why: str) -> QKStoreError:
    return QKStoreError(f"login file {file.name}: {why}")
