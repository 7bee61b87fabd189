"""Work that several wait for: done once, counted for all, ended when all have left."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from until import becomes

from dashboard.job import Jobs, Left
from qkstore.errors import RunError

SOON_S = 60  # on a busy machine too


class Work:
    """Counts, a step every 20 ms, until it may end; says how often it was begun and how it ended."""

    def __init__(self):
        self.begun, self.how = 0, []
        self.go, self.over = threading.Event(), threading.Event()

    def __call__(self, progress) -> str:
        self.begun += 1
        try:
            for i in range(5_000):
                progress(i, 5_000)
                if self.go.wait(0.02):
                    break
        except Left:
            self.how.append("left")
            raise
        else:
            self.how.append("done")
            return "value"
        finally:
            self.over.set()


def test_it_is_done_once_for_all_who_wait():
    jobs, work = Jobs(0.05), Work()
    all_told = threading.Barrier(5, work.go.set)

    def wait(_: int) -> tuple[str, set]:
        seen = set()
        with jobs.waiting("key", work) as job:
            becomes(lambda: seen.add(job.at) or len(seen) > 5)
            all_told.wait(2 * SOON_S)
            assert job.ended(SOON_S)
        return job.result(), seen

    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(wait, range(5)))
    assert [value for value, _ in found] == 5 * ["value"]
    assert all(len(seen) > 5 for _, seen in found), "all are told how far it is"
    assert (work.begun, work.how, len(jobs)) == (1, ["done"], 0)


def test_it_goes_on_for_who_still_waits_and_ends_when_all_have_left():
    jobs, work = Jobs(0.05), Work()
    with jobs.waiting("key", work) as job:
        with jobs.waiting("key", work) as same:
            assert same is job
            assert becomes(lambda: job.at)
        assert not job.ended(0.2)
        before = job.at
        assert becomes(lambda: job.at > before), "one of two has left"
    assert work.over.wait(SOON_S)
    assert becomes(lambda: not len(jobs))
    assert (work.begun, work.how) == (1, ["left"])
    work.go.set()
    with jobs.waiting("key", work) as again:
        assert again is not job
        assert again.ended(SOON_S)
    assert again.result() == "value"


def test_two_names_are_two_pieces_of_work():
    jobs, one, two = Jobs(0.05), Work(), Work()
    with jobs.waiting("one", one) as a, jobs.waiting("two", two) as b:
        assert a is not b
        for work, job in ((one, a), (two, b)):
            work.go.set()
            assert job.ended(SOON_S)
    assert (one.begun, two.begun) == (1, 1)


def test_what_it_raises_reaches_all_who_wait():
    jobs, error = Jobs(0.05), RunError("run 'x' is damaged")

    def work(progress):
        time.sleep(0.1)
        raise error

    with jobs.waiting("key", work) as job, jobs.waiting("key", work) as same:
        assert job.ended(SOON_S)
    for each in (job, same):
        with pytest.raises(RunError, match="damaged"):
            each.result()


def test_a_session_that_leaves_by_an_error_of_its_own_leaves():
    jobs, work = Jobs(0.05), Work()
    with pytest.raises(KeyboardInterrupt), jobs.waiting("key", work):
        raise KeyboardInterrupt
    assert work.over.wait(SOON_S)
    assert work.how == ["left"]


def test_it_waits_a_while_for_who_comes_back():
    jobs, work = Jobs(leave_s=60), Work()
    with jobs.waiting("key", work) as job:
        assert becomes(lambda: job.at)
    assert not work.over.wait(0.2), "a page that is shown anew is about to wait again"
    with jobs.waiting("key", work) as same:
        assert same is job
        work.go.set()
        assert same.ended(SOON_S)
    assert (work.begun, work.how, len(jobs)) == (1, ["done"], 0)


def test_what_ends_while_nobody_waits_is_forgotten():
    jobs, work = Jobs(leave_s=60), Work()
    with jobs.waiting("key", work):
        pass
    work.go.set()
    assert work.over.wait(SOON_S)
    assert becomes(lambda: not len(jobs))
    assert work.how == ["done"]


def test_nobody_joins_what_has_been_left():
    jobs = Jobs(leave_s=0)
    at, go = threading.Event(), threading.Event()

    def work(progress):
        try:
            while True:
                progress(0, 1)
        except Left:
            at.set()
            go.wait(3 * SOON_S)  # it has been left, and has not ended yet
            raise

    with jobs.waiting("key", work) as left:
        pass
    assert at.wait(SOON_S)
    with jobs.waiting("key", lambda progress: "anew") as job:
        assert job is not left
        assert job.ended(SOON_S)
        assert job.result() == "anew"
    go.set()
    assert left.ended(SOON_S)
    assert len(jobs) == 0
