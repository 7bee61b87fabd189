"""A run on its way from one store to another: whole or not to be seen, resumed at the piece that is missing."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest
import stores
from conftest import ROOT

import qkstore
from qkstore.__main__ import main
from qkstore.errors import RunError, StoreError
from qkstore.run.incoming import space
from qkstore.store import arrival as module
from qkstore.store.arrival import ARRIVING
from qkstore.store.transfer import transfer


@pytest.fixture
def pair(tmp_path):
    """A store with run `a`, and an empty one."""
    stores.write(tmp_path / "here", "a", stores.boxes(n=64))
    return qkstore.open(tmp_path / "here"), qkstore.open(tmp_path / "there", create=True)


class Stop(Exception):
    pass


def test_a_run_arrives_as_it_was_and_is_left_alone_the_second_time(pair):
    here, there = pair
    seen = []
    path = transfer(here, "a", there, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == here.run("a").path.read_bytes()
    assert not path.stat().st_mode & 0o222, "read-only, as every published run"
    assert seen[-1] == (path.stat().st_size,) * 2
    assert there.run("a").identity == here.run("a").identity
    before = path.stat()
    assert transfer(here, "a", there) == path
    assert path.stat() == before
    assert os.listdir(path.parent / ARRIVING) == []


def test_interrupted_it_is_not_seen_and_goes_on_at_the_missing_piece(pair, monkeypatch):
    here, there = pair
    monkeypatch.setattr(module, "PIECE", 1 << 16)

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise Stop

    with pytest.raises(Stop):
        transfer(here, "a", there, stop)
    assert there.runs() == []
    (part,) = (there.path / "runs" / ARRIVING).glob("a.duckdb.*")
    kept, seen = part.stat().st_size, []
    assert kept
    path = transfer(here, "a", there, lambda done, total: seen.append(done))
    assert min(seen) > kept - (1 << 16), "what had arrived is kept"
    assert path.read_bytes() == here.run("a").path.read_bytes()


def test_a_longer_remainder_is_cut(pair):
    here, there = pair
    folder, data = there.path / "runs" / ARRIVING, here.run("a").path.read_bytes()
    folder.mkdir()
    (folder / f"a.duckdb.{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data + b"more")
    assert transfer(here, "a", there).read_bytes() == data


def test_another_run_of_that_name_is_never_replaced(pair, tmp_path):
    here, there = pair
    stores.write(there.path, "a", stores.boxes(n=16))
    before = there.run("a").path.read_bytes()
    with pytest.raises(RunError, match="another one.*`qkstore rename --store .* --run a --to NAME`"):
        transfer(here, "a", there)
    assert there.run("a").path.read_bytes() == before


def test_mistakes_are_one_line(pair, monkeypatch):
    here, there = pair
    with pytest.raises(RunError, match="no run 'b' in the store; there are: a"):
        transfer(here, "b", there)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("", (), {"free": 1000})())
    with pytest.raises(StoreError, match="run 'a' needs .* more, 1.0 kB are free there"):
        transfer(here, "a", there)
    assert space.told(1000) == "1.0 kB"


def test_what_does_not_arrive_as_it_was_sent_is_not_shown(pair, monkeypatch):
    here, there = pair
    monkeypatch.setattr(module, "digest_of", lambda path: "another")
    with pytest.raises(StoreError, match="run 'a' did not arrive as it was sent"):
        transfer(here, "a", there)
    assert there.runs() == []


KILLED = """
import sys, time, qkstore
from qkstore.store import arrival, transfer as module
arrival.PIECE = 1 << 15
here, there = (qkstore.open(p) for p in sys.argv[1:])
print("on its way", flush=True)
module.transfer(here, "a", there, lambda done, total: time.sleep(0.01))
"""


def test_killed_at_any_moment_it_is_whole_or_absent_and_leaves_no_lock(pair):
    here, there = pair
    command = [sys.executable, "-c", KILLED, str(here.path), str(there.path)]
    for moment in (0.0, 0.05, 0.1, 0.2, 0.3):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)
        assert [run.name for run in qkstore.open(there.path).runs()] in ([], ["a"])
    assert transfer(here, "a", there).read_bytes() == here.run("a").path.read_bytes()


AS_A_USER = """
import os, sys
import qkstore
from qkstore.store import arrival
from qkstore.store.transfer import transfer
here, there, moment = sys.argv[1:]
def link(part, final, replace):
    os.link(part, final)
    os.kill(os.getpid(), 9)
transfer(qkstore.open(here), "a", qkstore.open(f"{there}-before", create=True))  # so that all is imported
if os.getuid() == 0:  # root may write what is read-only
    os.setgid(65534)
    os.setuid(65534)
if moment != "none":
    arrival._publish = link if moment == "shown" else lambda *_: os.kill(os.getpid(), 9)
there = qkstore.open(there)
print(transfer(qkstore.open(here), "a", there))
print(os.listdir(there.path / "runs" / arrival.ARRIVING))
"""


@pytest.mark.parametrize("moment", ["read-only", "shown"])
def test_killed_around_the_moment_that_shows_it_a_user_goes_on(pair, moment):
    """Between being made read-only and being shown, and between being shown and the remainder being put away."""
    here, there = pair
    open_to_all(here.path.parent)

    def push(moment: str) -> subprocess.CompletedProcess:
        words = [sys.executable, "-c", AS_A_USER, str(here.path), str(there.path), moment]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert push(moment).returncode == -signal.SIGKILL
    left = [name for name in os.listdir(there.path / "runs" / ARRIVING) if not name.endswith(".lock")]
    assert len(left) == 1, "a remainder, as a kill leaves it"
    done = push("none")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(there.path / "runs" / "a.duckdb"), "[]"]
    assert there.run("a").identity == here.run("a").identity


def open_to_all(folder) -> None:
    """So that another user than that of the tests may write there."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o777 if path.is_dir() else 0o444))
    for above in list(folder.parents)[:3]:
        if above.stat().st_uid == os.getuid() and above != above.parent:
            above.chmod(above.stat().st_mode | 0o055)


def test_what_is_on_its_way_of_a_longer_name_is_left_alone(pair):
    here, there = pair
    folder = there.path / "runs" / ARRIVING
    folder.mkdir(parents=True)
    others = ["a.duckdb.b.duckdb", "a.duckdb.b.duckdb.1234", "ab.duckdb.1234", "a.duckdb.b.duckdb.lock"]
    for name in [*others, "a.duckdb", "a.duckdb.1234"]:
        (folder / name).write_bytes(b"")
    transfer(here, "a", there)
    assert sorted(os.listdir(folder)) == sorted(others)


def test_two_at_once_do_not_meet(pair):
    here, there = pair
    waits = KILLED.replace("time.sleep(0.01)", "done and not print(done, flush=True) and sys.stdin.readline()")
    command = [sys.executable, "-c", waits, str(here.path), str(there.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"on its way\n"
        assert int(process.stdout.readline()) > 0, "it has copied a piece"
        with pytest.raises(RunError, match="run 'a' is being copied there by another process"):
            transfer(here, "a", there)
        process.communicate(timeout=60)  # its input ends: it waits no more
        assert process.returncode == 0
    assert transfer(here, "a", there).exists()


def test_push_and_pull_are_commands(pair, tmp_path, capsys):
    here, there = pair
    assert main(["push", "--store", str(here.path), "--to", str(there.path), "--run", "a"]) == 0
    told = capsys.readouterr()
    assert told.out == f"{there.path / 'runs' / 'a.duckdb'}\n"
    assert "contrasts and notes stay here" in told.err
    assert "was made there" not in told.err, "the store was there"
    assert main(["push", "--store", str(here.path), "--to", str(tmp_path / "new"), "--run", "a"]) == 0
    assert f"{tmp_path / 'new'} was no store yet; a new one was made there\n" in capsys.readouterr().err
    assert main(["pull", "--store", str(tmp_path / "third"), "--from", str(there.path), "--run", "a", "a"]) == 0
    assert "stay here" not in capsys.readouterr().err, "who pulls has none to leave behind"
    assert qkstore.open(tmp_path / "third").run("a").identity == here.run("a").identity
    assert main(["push", "--store", str(here.path), "--to", str(there.path), "--run", "b"]) == 2
    assert "no run 'b'" in capsys.readouterr().err
