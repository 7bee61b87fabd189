"""A pool gives each task's result once, in whichever engine; a mistake of the user ends it, a lost worker does not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import islice
from types import ModuleType

import pytest
from conftest import ROOT
from until import becomes

from bench import processes
from qkstore.errors import QKStoreError, RunError
from qkstore.pool import Pool, opened


def squared(task: int) -> tuple[int, int]:
    return task**2, os.getpid()


def napped(task: int) -> tuple[int, int]:
    time.sleep(0.02)
    return squared(task)


def refused(task: int) -> int:
    if task == 5:
        raise RunError("run 'x' has no layer 5")
    return task


def broken(task: int) -> int:
    return 1 // task


def ended_once(task: tuple[str, int]) -> int:
    """Task 3 ends its worker, the first time."""
    folder, number = task
    mark = os.path.join(folder, "ended")
    if number == 3 and not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def ended(task: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return task


def slow(task: tuple[str, int]) -> int:
    folder, number = task
    open(os.path.join(folder, f"{number}.{os.getpid()}"), "w").close()
    if number:
        time.sleep(600)
    return number


@pytest.fixture(params=[1, 2])
def pool(request):
    with opened(request.param) as pool:
        yield pool


def test_a_worker_does_not_run_its_callers_script_again(tmp_path, monkeypatch):
    """As that of a page, or one without a guard, which would start workers without end."""
    script = ModuleType("__main__")
    script.__file__ = str(tmp_path / "script.py")
    (tmp_path / "script.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    monkeypatch.setitem(sys.modules, "__main__", script)
    with opened(workers=2) as pool:
        assert sorted(made[0] for _, made in pool.map(squared, range(4))) == [0, 1, 4, 9]
    assert sys.modules["__main__"] is script
    assert not (tmp_path / "ran").exists()


def test_each_task_has_its_own_result_once(pool):
    made = list(pool.map(squared, range(40)))
    assert sorted((task, square) for task, (square, _) in made) == [(i, i * i) for i in range(40)]
    pids = {pid for _, (_, pid) in made}
    assert (pids == {os.getpid()}) == pool.here
    assert list(pool.map(squared, [])) == []


def test_a_mistake_of_the_user_comes_as_it_is_and_ends_the_rest(pool):
    with pytest.raises(RunError, match="run 'x' has no layer 5"):
        list(pool.map(refused, range(1000)))
    assert {task for task, _ in pool.map(refused, [1, 2])} == {1, 2}, "the pool works on"


def test_an_error_in_the_code_is_no_mistake_of_the_user(pool):
    with pytest.raises(ZeroDivisionError):
        list(pool.map(broken, [0]))


def at_home(made) -> float:
    """The share of tasks that were done where most of their place were, of two places."""
    places = [Counter(pid for task, (_, pid) in made if task % 2 == place) for place in (0, 1)]
    return sum(max(each.values()) for each in places) / len(made)


def test_tasks_of_one_place_mostly_go_to_one_worker():
    tasks = random.Random(0).sample(range(60), 60)
    with opened(2) as pool:
        list(pool.map(squared, range(4)))  # both have started
        pool._home.clear()
        placed = list(pool.map(napped, tasks, place=lambda task: task % 2))
        again = list(pool.map(napped, tasks, place=lambda task: task % 2))
        spread = list(pool.map(napped, tasks))
    assert at_home(placed) > 0.8
    assert at_home(placed + again) > 0.8, "they are where they were"
    assert at_home(spread) < 0.75, "the control"


def test_no_worker_rests_while_another_place_has_tasks_left():
    with opened(2) as pool:
        made = list(pool.map(squared, range(40), place=lambda task: "one"))
    assert len({pid for _, (_, pid) in made}) == 2


def test_tasks_are_taken_from_their_source_as_they_are_needed():
    taken = []

    def tasks():
        for i in range(10_000):
            taken.append(i)
            yield i

    with opened(2) as pool:
        results = pool.map(squared, tasks())
        list(islice(results, 3))
        assert len(taken) < 40
        results.close()


def test_a_task_whose_worker_ended_is_done_by_another(tmp_path):
    with opened(2) as pool:
        made = list(pool.map(ended_once, [(str(tmp_path), i) for i in range(12)]))
    assert sorted(result for _, result in made) == list(range(12))
    assert (tmp_path / "ended").exists(), "the control: one did end"


def test_a_task_that_ends_every_worker_is_given_up():
    with opened(2) as pool, pytest.raises(QKStoreError, match="a worker process ended, 4 times in one task"):
        list(pool.map(ended, [1]))


def alive(folder) -> list[int]:
    pids = {int(path.name.split(".")[1]) for path in folder.iterdir()}
    return [pid for pid in pids if processes.alive(pid)]


def test_what_nobody_waits_for_is_cancelled(tmp_path):
    with opened(2) as pool:
        results = pool.map(slow, [(str(tmp_path), i) for i in range(20)])
        assert next(results)[1] == 0
        assert becomes(lambda: len(list(tmp_path.iterdir())) > 2)
        assert alive(tmp_path), "the control"
        results.close()
        assert alive(tmp_path) == []
        assert [result for _, result in pool.map(refused, [7])] == [7]


SCRIPT = """
import sys
from test_pool import slow
from qkstore.pool import opened
if __name__ == "__main__":
    with opened(2) as pool:
        for _ in pool.map(slow, [(sys.argv[1], i) for i in range(20)]):
            print("begun", flush=True)
"""


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_whoever_asked(tmp_path, sign):
    folder = tmp_path / "tasks"
    folder.mkdir()
    (tmp_path / "script.py").write_text(SCRIPT)
    path = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/tests:{ROOT}/tests/pool"}
    asked = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(folder)], env=path, cwd=ROOT, stdout=subprocess.PIPE
    )
    assert asked.stdout.readline() == b"begun\n"
    assert becomes(lambda: len(list(folder.iterdir())) > 2)
    assert alive(folder)
    asked.send_signal(sign)
    asked.wait(60)
    assert becomes(lambda: alive(folder) == [])


def test_without_an_engine_tasks_are_done_here_one_after_another():
    done = []
    pool = Pool()
    results = pool.map(lambda task: done.append(task), range(5))
    next(results)
    assert done == [0]
    assert pool.here
