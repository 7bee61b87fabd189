"""The worker as a process: it ends with its parent, is not shared by a fork, and loads only what it needs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from test_worker import RUNAWAY, make, one
from until import becomes

from bench.processes import alive
from qkstore.sql import worker


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("processes") / "run.duckdb"
    make(file)
    return file


PARENT = """
import sys, threading, time
sys.path.insert(0, sys.argv[1])
from qkstore.sql import worker
worker.query(sys.argv[2], "SELECT 1")
if sys.argv[3] == "busy":
    threading.Thread(target=worker.query, args=(sys.argv[2], sys.argv[4], 60), daemon=True).start()
    time.sleep(0.5)
print(*(w.process.pid for w in worker._queries.workers), flush=True)
if sys.argv[3] != "ends":
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("state", ["idle", "busy", "ends"])
def test_no_worker_outlives_its_parent(state, path):
    command = [sys.executable, "-c", PARENT, str(ROOT), str(path), state, RUNAWAY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert pids
        if state != "ends":
            assert all(map(alive, pids))  # the control: they do run until the parent is killed
            parent.kill()
        assert parent.stderr.read() == ""
    assert becomes(lambda: not any(map(alive, pids)))


FORKED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from qkstore.sql import worker
value = lambda: worker.query(sys.argv[2], f"SELECT {os.getpid()}").column(0)[0].as_py()
value()
pid = os.fork()
right = all(value() == os.getpid() for _ in range(200))  # at once in both processes
if pid == 0:
    os._exit(not right)
print(right, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_forked_process_does_not_share_its_parent_s_workers(path):
    ran = subprocess.run([sys.executable, "-c", FORKED, str(ROOT), str(path)], capture_output=True, text=True)
    assert ran.stdout.split() == ["True", "0"]


def test_ctrl_c_reaches_the_parent_and_not_the_worker(path):
    one(path, "SELECT 1")
    idle = worker._queries.idle[-1]
    os.kill(idle.process.pid, signal.SIGINT)
    time.sleep(0.2)
    assert idle.alive()
    assert one(path, "SELECT 2") == 2


def test_an_interrupted_caller_does_not_leave_half_an_answer_behind(path, monkeypatch):
    def interrupted(self, who):
        raise KeyboardInterrupt

    one(path, "SELECT 1")
    with monkeypatch.context() as patch:
        patch.setattr(worker._Worker, "_frame", interrupted)
        with pytest.raises(KeyboardInterrupt):
            worker.query(path, "SELECT 111")
    assert one(path, "SELECT 222") == 222


def test_the_child_loads_only_what_it_needs():
    code = "import sys, qkstore.sql.child; print(*{m.split('.')[0] for m in sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = ran.stdout.split()
    assert {"duckdb", "pyarrow"} <= set(loaded)  # the control: the list is that of the module
    assert not {"torch", "transformers", "streamlit", "altair", "polars", "pandas", "scipy"} & set(loaded)
