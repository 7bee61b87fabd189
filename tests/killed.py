"""Who is at work in tests/store/test_kills.py, and how each of them is killed: commands, a dashboard, PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import servers
from conftest import ROOT
from ports import free_port
from until import becomes
from websockets.exceptions import WebSocketException

from bench.processes import alive, descendants
from bench.team.session import Answer, Session
from dashboard.contrasts.draft import written

SHOWN = re.compile(r"Saved (\S+), version (\d+)\.")

# One command after the other, each in a process of its own, which a fork of this one gives; every other one is killed
# at a moment that is random between its start and what the last one took. `script STORE` is a person's script, which
# saves again and again. Ends when its input is closed.
LOOP = """
import json, os, random, select, sys, time, traceback
import boto3, psycopg, qkstore, qkstore.contrast, qkstore.store.archive, qkstore.store.transfer
from qkstore.__main__ import main
from qkstore.errors import StoreError
slot, here, words = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
rng, n, took = random.Random(slot), 0, 0.2
os.nice(10)  # the dashboard has to start beside it

def script(where, name):
    store, sides = qkstore.open(where), {"positive": "k.pos = 1", "negative": "k.pos = 2"}
    for i in range(10):
        try:
            saved = store.catalog.save(qkstore.Contrast(name="shared", description=f"{name}-{i}", **sides))
            print(f"saved 'shared', version {saved.version}: {name}-{i}", flush=True)
        except StoreError as error:
            print(error, flush=True)
        time.sleep(0.05)
    return 0

def run(words, kill_s):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.dup2(write, 1), os.dup2(write, 2)
            code = script(*words[1:]) if words[0] == "script" else main(words)
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(write)
    if kill_s is not None:
        time.sleep(kill_s)
        os.kill(pid, 9)
    with open(read) as file:
        said = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said

while not select.select([sys.stdin], [], [], 0.2)[0]:
    name = f"{slot}-{n}"
    if "push" in words and not os.path.exists(f"{here}/runs/{name}.duckdb"):
        os.link(f"{here}/runs/a.duckdb", f"{here}/runs/{name}.duckdb")
    kill_s, start = rng.uniform(0, took) if rng.random() < 0.5 else None, time.monotonic()
    code, said = run([name if word == "NAME" else word for word in words], kill_s)
    took = took if kill_s else time.monotonic() - start
    print(json.dumps({"name": name, "code": code, "said": said, "kill_s": kill_s}), flush=True)
    n += code == 0 or "push" not in words  # an unfinished push is taken up again
"""


# -- who is at work --------------------------------------------------------------------------------------------------


class Worker:
    """A process of LOOP and what its commands came to."""

    def __init__(self, slot: str, here: Path, *words: object):
        command = [sys.executable, "-c", LOOP, slot, str(here), json.dumps(list(map(str, words)))]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        self.done: list[dict] = []
        self._reader = threading.Thread(target=lambda: self.done.extend(map(json.loads, self.process.stdout)))
        self._reader.start()

    def end(self) -> None:
        self.process.stdin.close()
        self._reader.join()
        assert self.process.wait(60) == 0

    @property
    def killed(self) -> int:
        return sum(one["code"] == -signal.SIGKILL for one in self.done)

    def odd(self) -> list[str]:
        """What no kill explains: an exit code other than 0 and 2, a mistake told in more than one line."""
        return [
            f"{one['name']}: exit code {one['code']}: {one['said'][-500:]}"
            for one in self.done
            if one["code"] not in (0, 2, -signal.SIGKILL) or (one["code"] == 2 and one["said"].strip().count("\n"))
        ]


class Dashboard:
    """`qkstore serve`, with a person who goes from page to page and saves a contrast on one of them."""

    def __init__(self, store: Path):
        self.port, self.store = free_port(), store
        self.saved: list[tuple[str, int]] = []
        self.odd: list[str] = []
        self.pages = self.looks = 0
        self._over = threading.Event()
        self.start()
        self._person = threading.Thread(target=self._browse)
        self._person.start()

    def start(self) -> None:
        words = ["serve", "--store", str(self.store), "--port", str(self.port)]
        self.process = subprocess.Popen(command(*words), cwd=ROOT, stdout=subprocess.DEVNULL)
        self.pages = 0

    def shown(self) -> None:
        """Wait until it has shown pages since the last start, and so been asked to save."""
        wait(lambda: self.pages > 1, "the dashboard shows pages")

    def kill(self) -> None:
        """With -9; what it had started must end by itself."""
        others = list(descendants(self.process.pid))
        self.process.kill()
        self.process.wait()
        wait(lambda: not any(map(alive, others)), "what the dashboard had started ends")

    def end(self) -> None:
        self._over.set()
        self._person.join()
        self.process.kill()
        self.process.wait()

    def _browse(self) -> None:
        while not self._over.is_set():
            with suppress(OSError, WebSocketException), Session(self.port) as session:
                while not self._over.is_set():
                    for page in ("contrasts", "contrasts", "heads", ""):
                        self._note(session.ask(page, run="a", contrast="order", layer=1, head=0), session)
            time.sleep(0.1)

    def _note(self, shown: Answer, session: Session) -> None:
        self.pages += 1
        if button := shown.buttons.get("Save as a new version"):
            draft = written({"description": f"look {self.looks}"})  # without a change there is no new version
            self.looks += 1
            shown = session.ask("contrasts", press=button, run="a", contrast="order", draft=draft)
            told = SHOWN.search(" ".join(shown.told).replace("\\", ""))
            self.saved += [(told[1], int(told[2]))] if told else []
        self.odd += [error for error in shown.errors if "view failed" in error]


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "qkstore", *words]


def wait(until: Callable[[], object], what: str, seconds: float = 120) -> None:
    assert becomes(until, seconds), f"waited {seconds:.0f} s until {what}"


# -- PostgreSQL, as it is run: it syncs what it acknowledges -----------------------------------------------------------


def start(pg: servers.PostgresServer) -> None:
    settings = f"-p {pg.port} -k {pg.folder} -c listen_addresses=127.0.0.1 -c max_connections=60"
    pg._run("pg_ctl", "-D", pg.folder / "data", "-w", "-l", pg.folder / "log", "-o", settings, "start")


def kill(pg: servers.PostgresServer) -> None:
    """With -9: the postmaster and whatever it had started."""
    first = int((pg.folder / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(first, signal.SIGSTOP)  # it forks nobody while they are listed
    pids = [first, *descendants(first)]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait(lambda: not any(map(alive, pids)), "PostgreSQL is gone")
    for lock in (pg.folder / "data" / "postmaster.pid", *pg.folder.glob(".s.PGSQL.*.lock")):
        lock.unlink()  # a zombie that nobody has waited for yet would pass for the server that they name
