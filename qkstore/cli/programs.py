"""The commands that start another program in the place of this one: the ingest, and the dashboard."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from qkstore.cli import port
from qkstore.cli.arguments import Add, store
from qkstore.cli.login import VARIABLE, Login
from qkstore.cli.terminal import need
from qkstore.pool import VARIABLE as RAY
from qkstore.pool import opened

ROOT = Path(__file__).parent.parent.parent  # holds the packages qkstore, ingest and dashboard
INGEST = {"ingest": (), "demo": ("demo",)}  # a command: the first words of the ingest's own command line
APP = "app.py"


def demo(add: Add) -> None:
    _only_named(add("demo", _never, "make the demo runs, of the small model that comes along (python -m ingest demo)"))


def ingest(add: Add) -> None:
    told = "put a model's queries and keys into a store (python -m ingest; `qkstore ingest --help` lists its commands)"
    _only_named(add("ingest", _never, told))


def handed_over(arguments: list[str]) -> None:
    """Become `python -m ingest` when the first argument is one of its commands; else do nothing.

    The ingest has torch and options of its own, and this package imports neither: what follows is passed on unread.
    """
    if arguments and arguments[0] in INGEST:
        become("ingest", [*INGEST[arguments[0]], *arguments[1:]])


def completed_over() -> None:
    """The same when a shell asks how `qkstore ingest …` or `qkstore demo …` goes on."""
    words = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", "0"))].split(" ")
    if "_ARGCOMPLETE" in os.environ and len(words) > 2 and words[1] in INGEST:
        # argcomplete begins at this word of the line, counted from 1: at `ingest`, or one before `demo`
        become("ingest", [], _ARGCOMPLETE="2" if words[1] == "ingest" else "1")


def serve(add: Add) -> None:
    sub = add("serve", _serve, f"show a store in the dashboard, on http://{port.HOST}:PORT")
    sub.add_argument("--port", type=port.port, default=8501, help="default %(default)s")
    told = "a further name that browsers may ask for, where a proxy on this machine serves others; may be repeated"
    sub.add_argument("--allow-host", type=port.host, action="append", default=[], metavar="NAME", help=told)
    told = f"give sweeps over all heads to the Ray cluster at this address, or `auto` (default ${RAY}, or no cluster)"
    ray = sub.add_argument("--ray", default=os.environ.get(RAY), metavar="ADDRESS", help=told)
    told = f"people log in with the OpenID provider that this file names (default ${VARIABLE}, or no login)"
    login = sub.add_argument("--login", default=os.environ.get(VARIABLE), metavar="FILE", help=told)
    sub.may_be_empty += [ray, login]  # whatever the environment says


def _serve(options) -> None:
    need(("streamlit",), "pip install qkstore, or in a clone `make demo`")
    opened(ray=options.ray or None)  # which says where Ray is not installed
    shown, login = store(options).where.resolve(), _login(options)
    port.check(options.port, "qkstore serve --port {}")
    at = login.origin if login else f"http://{port.HOST}:{options.port}"
    print(f"qkstore is at {at}  (Ctrl+C ends it)", flush=True)
    os.chdir(dashboard())  # its address and look stand in .streamlit/config.toml there
    hosts = [*options.allow_host, *([login.host] if login else [])]
    given = {"QKSTORE": str(shown), VARIABLE: str(login.file) if login else "", RAY: options.ray or ""}
    become("dashboard.server", [str(options.port), *hosts], **given)


def _login(options) -> Login | None:
    """The login that people need; None where whoever reaches the dashboard may use it."""
    if not options.login:
        return None
    need(("authlib", "httpx"), "pip install 'qkstore[team]'")
    return Login.read(options.login)


def dashboard() -> Path:
    """The folder of app.py, pages/ and .streamlit/: inside the installed package, or the top of a clone."""
    installed = ROOT / "dashboard" / "site"
    return installed if (installed / APP).is_file() else ROOT


def become(module: str, arguments: list[str], **environment: str) -> NoReturn:
    """Replace this process by `python -m module arguments`, with the packages beside this one importable."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-P", "-m", module, *arguments]
    os.execve(sys.executable, command, os.environ | {"PYTHONPATH": paths} | environment)


def _only_named(sub) -> None:
    sub.add_argument("arguments", nargs="*", metavar="…")


def _never(options) -> NoReturn:
    raise AssertionError("handed over before its arguments are read")
