"""Work that several wait for: done once, counted for all, ended when all have left."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dashboard.job import Jobs, Left
from qkstore.errors import RunError


class Work:
    """Counts to 50, a step every 20 ms, and says how often it was begun and how it ended."""

    def __init__(self):
        self.begun, self.how, self.over = 0, [], threading.Event()

    def __call__(self, progress) -> str:
        self.begun += 1
        try:
            for i in range(50):
                progress(i, 50)
                time.sleep(0.02)
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

    def wait(_: int) -> tuple[str, set]:
        seen = set()
        with jobs.waiting("key", work) as job:
            while not job.ended(0.05):
                seen.add(job.at)
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
            job.ended(0.1)
        before = job.at
        assert not job.ended(0.2)
        assert job.at > before, "one of two has left"
    assert work.over.wait(2)
    assert (work.begun, work.how, len(jobs)) == (1, ["left"], 0)
    with jobs.waiting("key", work) as again:
        assert again is not job
        assert again.ended(5)
    assert again.result() == "value"


def test_two_names_are_two_pieces_of_work():
    jobs, one, two = Jobs(0.05), Work(), Work()
    with jobs.waiting("one", one) as a, jobs.waiting("two", two) as b:
        assert a is not b
        assert a.ended(5)
        assert b.ended(5)
    assert (one.begun, two.begun) == (1, 1)


def test_what_it_raises_reaches_all_who_wait():
    jobs, error = Jobs(0.05), RunError("run 'x' is damaged")

    def work(progress):
        time.sleep(0.1)
        raise error

    with jobs.waiting("key", work) as job, jobs.waiting("key", work) as same:
        assert job.ended(5)
    for each in (job, same):
        with pytest.raises(RunError, match="damaged"):
            each.result()


def test_a_session_that_leaves_by_an_error_of_its_own_leaves():
    jobs, work = Jobs(0.05), Work()
    with pytest.raises(KeyboardInterrupt), jobs.waiting("key", work):
        raise KeyboardInterrupt
    assert work.over.wait(2)
    assert work.how == ["left"]


def test_it_waits_a_while_for_who_comes_back():
    jobs, work = Jobs(leave_s=60), Work()
    with jobs.waiting("key", work) as job:
        job.ended(0.1)
    assert not work.over.wait(0.2), "a page that is shown anew is about to wait again"
    with jobs.waiting("key", work) as same:
        assert same is job
        assert same.ended(5)
    assert (work.begun, work.how, len(jobs)) == (1, ["done"], 0)


def test_what_ends_while_nobody_waits_is_forgotten():
    jobs, work = Jobs(leave_s=60), Work()
    with jobs.waiting("key", work):
        pass
    assert work.over.wait(5)
    assert (work.how, len(jobs)) == (["done"], 0)


def test_nobody_joins_what_has_been_left():
    jobs = Jobs(leave_s=0)
    at, go = threading.Event(), threading.Event()

    def work(progress):
        try:
            while True:
                progress(0, 1)
        except Left:
            at.set()
            go.wait(5)  # it has been left, and has not ended yet
            raise

    with jobs.waiting("key", work) as left:
        pass
    assert at.wait(5)
    with jobs.waiting("key", lambda progress: "anew") as job:
        assert job is not left
        assert job.ended(5)
        assert job.result() == "anew"
    go.set()
    assert left.ended(5)
    assert len(jobs) == 0
