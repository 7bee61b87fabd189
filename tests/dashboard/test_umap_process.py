"""UMAP at work: one process for all who ask, ended when nobody waits, and PCA where it fails."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
import stores
from until import becomes

import qkstore
from dashboard.points import umap
from dashboard.points.process import AT_ONCE, Job, Jobs
from qkstore.analysis.points import Cloud, Places, Side
from qkstore.projection import umap as umap_of

SOON_S = 20
SLEEPS = "import sys, time; print('Finding Nearest Neighbors', flush=True); time.sleep(60)"
COUNTS = """
import sys, time
for done in range(0, 500):
    print(f"Epochs completed:  30%| x {done}/500 [00:01]", end="\\r", file=sys.stderr, flush=True)
    time.sleep(0.2)
"""
FAILS = "import sys, pathlib; (pathlib.Path(sys.argv[1]) / 'error').write_text('no memory'); sys.exit(1)"
DIES = "raise SystemExit(9)"
WRITES = """
import sys, pathlib, numpy as np
folder = pathlib.Path(sys.argv[1])
asked = np.load(folder / 'asked.npz')
np.savez(folder / 'found.npz', query=asked['q'][:, :3] + 1, key=asked['k'][:, :3] + 1)
"""


def sample(n: int = 40):
    rng = np.random.default_rng(0)
    names = np.array(["a", "b"] * (n // 2))
    at = Places(np.arange(n), names, np.arange(n), np.zeros(n, int), names)
    sides = [Side(rng.normal(size=(n, 6)), rng.normal(size=(n, 5)).astype(np.float32), at) for _ in range(2)]
    return Cloud(*sides, 5, "test").sample("umap", most=2 * n)


def job(code: str, patience: float = 30) -> Job:
    return Job(sample(), (sys.executable, "-c", code), patience)


def test_the_process_gives_what_the_library_gives():
    pytest.importorskip("umap")
    asked, made = sample(), Job(sample(), patience=300)
    made.wait("me")
    made.start()
    assert made.ended.wait(180), made.said
    assert made.failed == ""
    found = umap_of(asked.q, asked.k)
    expected = asked.place(found).table.select("x", "y", "z").to_numpy()
    assert np.allclose(made.points.table.select("x", "y", "z").to_numpy(), expected, atol=1e-4)
    assert made.points.explained is None


def test_two_sessions_that_ask_for_the_same_have_one_process():
    jobs, made = Jobs(), []

    def make() -> Job:
        made.append(job(WRITES))
        return made[-1]

    threads = [threading.Thread(target=jobs.ask, args=("key", who, make)) for who in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert made[0].ended.wait(SOON_S)
    points = jobs.ask("key", "late", make).points
    assert len(made) == 1
    assert points.table.height == 80
    assert np.allclose(points.table.filter(side="key")["x"].to_numpy(), made[0].points.table["x"][40:])
    assert made[0].sample is None, "the vectors are let go"


def test_one_who_cancels_leaves_it_to_the_others_and_the_last_ends_it():
    made = job(SLEEPS)
    made.wait("one")
    made.wait("other")
    made.start()
    assert becomes(lambda: "neighbours" in made.said)
    made.leave("one")
    assert not made.ended.wait(1)
    made.leave("other")
    assert made.ended.wait(SOON_S)
    assert made.abandoned
    assert made.points is None


def test_who_does_not_ask_again_waits_no_more_and_the_next_starts_anew():
    jobs = Jobs()
    first = jobs.ask("key", "me", lambda: job(SLEEPS, patience=0.5))
    assert first.ended.wait(SOON_S)
    assert first.abandoned
    again = jobs.ask("key", "me", lambda: job(WRITES))
    assert again is not first
    assert again.ended.wait(SOON_S)
    assert again.points


def test_it_counts_epochs():
    made = job(COUNTS)
    made.wait("me")
    made.start()
    assert becomes(lambda: made.share > 0)
    assert made.said.startswith("UMAP: epoch ")
    assert made.said.endswith(" of 500")
    made.leave("me")
    assert made.ended.wait(SOON_S)


@pytest.mark.parametrize(("code", "says"), [(FAILS, "no memory"), (DIES, "its process ended early")])
def test_a_failure_is_told_and_may_be_tried_again(code, says):
    jobs = Jobs()
    first = jobs.ask("key", "me", lambda: job(code))
    assert first.ended.wait(SOON_S)
    assert (first.failed, first.points) == (says, None)
    assert jobs.ask("key", "me", lambda: job(WRITES)) is first, "not again and again by itself"
    jobs.forget("key")
    again = jobs.ask("key", "me", lambda: job(WRITES))
    assert again.ended.wait(SOON_S)
    assert again.points


def test_a_program_that_is_not_there_is_a_failure_too():
    made = Job(sample(), ("/nowhere/python",))
    made.wait("me")
    made.start()
    assert made.ended.wait(SOON_S)
    assert made.failed


def test_no_more_run_at_once_than_there_is_room_for_and_the_oldest_results_go():
    jobs = Jobs(most=3)
    first = [jobs.ask(("slow", i), "me", lambda: job(SLEEPS)) for i in range(AT_ONCE)]
    assert becomes(lambda: all("neighbours" in j.said for j in first))
    waits = jobs.ask("late", "me", lambda: job(WRITES))
    assert not waits.ended.wait(1)
    for j in first:
        j.leave("me")
    assert waits.ended.wait(SOON_S)
    for i in range(5):
        assert jobs.ask(i, "me", lambda: job(WRITES)).ended.wait(SOON_S)
    jobs.ask("last", "me", lambda: job(WRITES))
    assert sum(jobs.get(key) is not None for key in [*range(5), "late", "last"]) <= 4


# -- the page ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stores.write(tmp_path_factory.mktemp("boxes") / "store", n=240)


@pytest.fixture
def commands(monkeypatch):
    """What the page's jobs run, and a registry of their own."""
    jobs = Jobs()
    monkeypatch.setattr(umap, "_jobs", lambda: jobs)

    def use(code: str) -> Jobs:
        monkeypatch.setattr(umap, "Job", lambda sample: Job(sample, (sys.executable, "-c", code)))
        return jobs

    return use


def said(app) -> str:
    return " ".join(e.proto.body for e in app.get("html"))


def test_pca_stands_there_until_umap_is_ready(show, store, commands):
    jobs = commands(WRITES)
    app = show(store, "projections", method="umap")
    assert "together by PCA" in said(app)
    assert not app.exception
    (made,) = jobs._jobs.values()
    assert made.ended.wait(SOON_S)
    app.run()
    assert "together by UMAP" in said(app)
    assert app.metric[3].value == "–"


def test_a_cancel_leaves_pca_and_a_way_to_begin_again(show, store, commands):
    jobs = commands(SLEEPS)
    app = show(store, "projections", method="umap")
    next(b for b in app.button if b.label == "Cancel").click().run()
    (made,) = jobs._jobs.values()
    assert made.ended.wait(SOON_S)
    app.run()
    assert "UMAP was cancelled" in said(app)
    assert "together by PCA" in said(app)
    commands(WRITES)
    next(b for b in app.button if b.label == "Compute UMAP").click().run()
    (made,) = jobs._jobs.values()
    assert made.ended.wait(SOON_S)
    assert "together by UMAP" in said(app.run())


def test_a_failure_leaves_pca_with_one_line(show, store, commands):
    jobs = commands(FAILS)
    app = show(store, "projections", method="umap")
    (made,) = jobs._jobs.values()
    assert made.ended.wait(SOON_S)
    app.run()
    assert "UMAP failed: no memory. PCA is shown." in said(app)
    assert not app.error
    assert not app.exception


def test_the_page_does_not_import_umap(show, store, commands):
    commands(SLEEPS)
    before = "umap" in sys.modules
    show(store, "projections", method="umap")
    assert ("umap" in sys.modules) == before
    assert qkstore.open(store).run("boxes").n_prompts == 240
