"""Turns: nobody waits for another person's slow queries, none is begun for who is gone, and a wait has an end."""

from __future__ import annotations

import concurrent.futures
import threading
import time

import duckdb
import pytest
from until import becomes

from qkstore.errors import GuardError
from qkstore.sql import guard, worker
from qkstore.sql.turns import Asker, Turns

SLOW = "SELECT count(*) FROM t a, t b, t c WHERE a.i + b.i + c.i = 7"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("turns") / "run.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE TABLE t AS SELECT i FROM range(27000) r(i)")
    return file


@pytest.fixture(autouse=True)
def server(monkeypatch):
    """As in a dashboard: a process of each kind waits."""
    for pool in (worker._queries, worker._readings):
        monkeypatch.setattr(pool, "spare", True)
        pool.warm()


def asking(monkeypatch) -> threading.local:
    """Lets each thread say who it is: set `name`, and `gone` if it leaves."""
    who = threading.local()
    monkeypatch.setattr(
        worker, "asker", lambda: Asker(getattr(who, "name", ""), getattr(who, "gone", threading.Event()).is_set)
    )
    return who


def test_one_user_s_slow_queries_do_not_make_another_wait(path, monkeypatch):
    who, left = asking(monkeypatch), threading.Event()

    def slow(_) -> str:
        who.name, who.gone = "greedy", left
        with pytest.raises(GuardError) as said:
            worker.query(path, SLOW, limit_s=60)
        return str(said.value)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(slow, i) for i in range(8)]
        assert becomes(lambda: worker._queries.turns.running["greedy"] > 1)
        who.name = "other"
        assert worker.query(path, "SELECT 1 AS x").to_pydict() == {"x": [1]}
        assert guard.select("select i from t", {"t": ["i"]}) == "SELECT i FROM t"
        assert not any(a.done() for a in asked), "the slow ones are still at work"
        left.set()
    told = {a.result() for a in asked}
    assert told == {"the query was stopped: nobody waits for it", "the query was not begun: nobody waits for it"}


def test_of_those_who_wait_the_one_with_fewest_at_work_is_next():
    turns, order = Turns(most=2, alone=2, each=2, wait_s=10), []

    def work(name: str, until: threading.Event) -> None:
        with turns.turn(Asker(name)):
            order.append(name)
            until.wait(10)

    first, rest = threading.Event(), threading.Event()
    threads = [threading.Thread(target=work, args=("a", event)) for event in (first, rest)]
    for thread in threads:
        thread.start()
    while len(order) < 2:
        time.sleep(0.01)
    for name in ("a", "a", "b"):  # b comes last, and has nothing at work
        threads.append(threading.Thread(target=work, args=(name, rest)))
        threads[-1].start()
        while len(turns.waiting) < len(threads) - 2:
            time.sleep(0.01)
    first.set()
    while len(order) < 3:
        time.sleep(0.01)
    rest.set()
    for thread in threads:
        thread.join()
    assert order == ["a", "a", "b", "a", "a"]
    assert not turns.running
    assert not turns.waiting


def test_alone_one_has_more_than_beside_others():
    turns = Turns(most=5, alone=3, each=1, wait_s=0.3)
    with turns.turn(Asker("a")), turns.turn(Asker("a")), turns.turn(Asker("a")):
        with pytest.raises(GuardError, match="waited 0 s for a turn: 3 queries of yours and 0 of others are at work"):
            turns.turn(Asker("a")).__enter__()
        with turns.turn(Asker("b")), pytest.raises(GuardError, match="1 queries of yours and 3 of others"):
            turns.turn(Asker("b")).__enter__()


def test_who_is_gone_gets_no_turn_and_holds_up_nobody():
    turns = Turns(most=1, alone=1, each=1, wait_s=30)
    with turns.turn(Asker("a")):
        start = time.monotonic()
        with pytest.raises(GuardError, match="was not begun: nobody waits for it"):
            turns.turn(Asker("b", lambda: True)).__enter__()
        assert time.monotonic() - start < 15, "a turn is waited for 30 s"
        assert not turns.waiting


def test_a_query_that_nobody_waits_for_is_killed(path, monkeypatch):
    who, left = asking(monkeypatch), threading.Event()

    def ask() -> float:
        who.name, who.gone, start = "a", left, time.monotonic()
        with pytest.raises(GuardError, match="was stopped: nobody waits for it"):
            worker.query(path, SLOW, limit_s=60)
        return time.monotonic() - start

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        time.sleep(0.5)
        left.set()
        assert asked.result() < 30, "its own limit is 60"
    assert worker.query(path, "SELECT 2 AS x").to_pydict() == {"x": [2]}


def test_a_process_is_ready_before_the_next_query(path):
    with pytest.raises(GuardError, match="stopped after"):
        worker.query(path, SLOW, limit_s=0.2)
    assert becomes(lambda: worker._queries.idle)
    waiting = {one.process.pid for one in worker._queries.idle}
    assert worker.query(path, "SELECT 3 AS x").to_pydict() == {"x": [3]}
    assert waiting & {one.process.pid for one in worker._queries.idle}, "it is the one that has answered"


def test_the_last_process_that_waits_is_for_who_has_none_at_work():
    pool = worker._queries

    def waiting() -> worker._Worker:
        end = time.monotonic() + 20
        while not pool.idle and time.monotonic() < end:
            time.sleep(0.02)
        while len(pool.idle) > 1:
            pool._drop(pool.idle.pop())
        return pool.idle[0]

    with pool.take(Asker("a")):
        last = waiting()
        with pool.take(Asker("a")) as second:
            assert second is not last
            with pool.take(Asker("b")) as other:
                assert other is last
