"""What the benches ask of processes: who lives, what they use, and nothing of those that have just ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from bench.processes import alive, command, cpu_s, descendants

PARENT = """
import subprocess, sys
up = "import time; print(flush=True); time.sleep(60)"
inner = subprocess.Popen([sys.executable, "-c", up], stdout=subprocess.PIPE)
inner.stdout.readline()
print(inner.pid, flush=True)
inner.wait()
"""


@pytest.fixture
def two():
    """A process and the one that it has started."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        inner = int(parent.stdout.readline())
        yield parent, inner
        for pid in (inner, parent.pid):
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue


def test_who_lives_and_who_has_started_whom(two):
    parent, inner = two
    assert list(descendants(parent.pid)) == [inner]
    assert {parent.pid, inner} <= set(descendants())
    assert command(inner)[:2] == [sys.executable, "-c"]
    assert alive(parent.pid)
    assert alive(inner)


def test_one_that_has_ended_is_nothing_before_and_after_it_was_waited_for(two):
    parent, inner = two
    os.kill(inner, 9)
    parent.wait()
    for pid in (inner, parent.pid):
        assert not alive(pid)
        assert command(pid) in ([], [""])
        assert list(descendants(pid)) == []
    assert cpu_s(parent.pid) == 0.0


def test_a_zombie_does_not_live():
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert os.path.exists(f"/proc/{process.pid}")
    assert not alive(process.pid)
    process.wait()


def test_processes_that_end_while_they_are_asked_for_make_no_error():
    """A kind of race that one run of the bench of ranks met: a process is listed, and gone when its words are read."""
    making = "import subprocess\nwhile True: subprocess.run(['true'])\n"
    process, seen, end = subprocess.Popen([sys.executable, "-c", making]), set(), time.monotonic() + 60
    while len(seen) < 30 and time.monotonic() < end:
        for pid in descendants(process.pid):
            seen.add(pid)
            command(pid), alive(pid), cpu_s(pid)
        cpu_s(process.pid)
    process.kill()
    process.wait()
    assert len(seen) >= 30, "the control: it met many that came and went"


def test_cpu_of_this_process_is_exact_and_that_of_its_children_counts():
    before, own = cpu_s(), time.process_time()
    busy = "import time\nend = time.process_time() + .3\nwhile time.process_time() < end: pass\n"
    subprocess.run([sys.executable, "-c", busy], check=True)
    spent, own = cpu_s() - before, time.process_time() - own
    assert 0.29 < spent - own < 2.0
