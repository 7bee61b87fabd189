"""Work behind: in order, one at a time, its errors raised where the caller is."""

from __future__ import annotations

import threading

import pytest

from qkstore.run.incoming.behind import Behind


def test_work_is_done_behind_its_caller_and_in_order():
    gate, done = threading.Event(), []

    def work(number):
        gate.wait()
        done.append((number, threading.current_thread() is threading.main_thread()))

    with Behind(work) as behind:
        behind(0)
        assert done == []  # it waits for the gate, its caller went on
        gate.set()
        for number in (1, 2):
            behind(number)
        behind.wait()
        assert done == [(0, False), (1, False), (2, False)]


def test_an_error_is_raised_by_the_next_call_once_and_nothing_more_is_begun():
    done = []

    def work(number):
        if number == 1:
            raise OSError("full")
        done.append(number)

    with Behind(work) as behind:
        behind(0)
        behind(1)
        with pytest.raises(OSError, match="full"):
            behind(2)
        behind.wait()
    assert done == [0]


def test_leaving_it_by_an_error_ends_what_is_at_work_first():
    gate, done = threading.Event(), []

    def work():
        gate.wait()
        done.append(1)

    with pytest.raises(KeyboardInterrupt), Behind(work) as behind:
        behind()
        gate.set()
        raise KeyboardInterrupt
    assert done == [1]
