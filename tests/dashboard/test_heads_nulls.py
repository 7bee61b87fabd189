"""The Heads page while nulls are computed: the scores are there, nulls fill in, and the wait ends and goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import stores
import waits

import qkstore
from dashboard import job
from dashboard.heads import nulls
from qkstore.analysis import heads
from qkstore.analysis.heads import HeadScore

FOUND, ENDED = heads.kept, job.Job.ended


def bare(score: HeadScore) -> HeadScore:
    """A score whose null is yet to come."""
    return replace(score, p_value=None, delta_null=None, deals=None, pending=True)


@dataclass
class Slow:
    """In place of `heads.kept`: all scores at once, nulls of the first heads, and the others when they may come."""

    go: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    there: threading.Event = field(default_factory=threading.Event)  # the first nulls
    seen: threading.Event = field(default_factory=threading.Event)  # by the page, which has gone on with them
    begun: int = 0

    def __call__(self, store, run, contrast, progress: Callable, arrived: Callable, pool) -> list[HeadScore]:
        self.begun += 1
        scores = FOUND(store, run, contrast)
        arrived([*scores[:3], *map(bare, scores[3:])])
        self.there.set()
        self.seen.wait(60)
        try:
            while not self.go.wait(0.01):
                progress(3, len(scores))
        except job.Left:
            self.left.set()
            raise
        return scores


@pytest.fixture
def own(tmp_path) -> Path:
    return stores.write(tmp_path / "store")


@pytest.fixture
def slow(monkeypatch) -> Slow:
    made, leaves = Slow(), waits.leaves((3, 8))

    def ended(one: job.Job, within_s: float = 0.0) -> bool:
        if made.there.is_set():
            made.seen.set()
        return leaves(one, within_s)

    monkeypatch.setattr("qkstore.analysis.heads.kept", made)
    monkeypatch.setattr(job.Job, "ended", ended)
    yield made
    made.go.set()
    made.seen.set()


def progress(app) -> list[str]:
    return [bar.proto.text for bar in app.get("progress")]


def press(app, label: str):
    next(b for b in app.button if b.label == label).click()
    return app.run()


def told(app) -> str:
    return " ".join(e.proto.body for e in app.get("html"))


def test_scores_are_shown_before_their_nulls(show, own, slow):
    app = show(own, "heads", contrast="order", layer=1, head=0)
    assert not app.error
    assert progress(app) == ["Null of ‖ΔC‖ under order: 3 of 8 heads"]
    assert len(app.metric) == 4
    assert len(app.get("vega_lite_chart")) == 2
    strength = app.dataframe[0].value["strength"]
    assert strength.notna().sum() == 3
    assert app.dataframe[0].value["accuracy"].notna().all()


def test_a_cancel_keeps_the_scores_and_what_is_left_can_be_computed(show, own, slow, monkeypatch):
    app = press(show(own, "heads", contrast="order", layer=1, head=0), "Cancel")
    assert not progress(app)
    assert "3 of 8 heads have a null of ‖ΔC‖; the others were not computed." in told(app)
    assert len(app.metric) == 4
    assert slow.left.wait(job.LEAVE_S + 30), "nobody waits for it any more"
    slow.go.set()
    monkeypatch.setattr(job.Job, "ended", ENDED)
    app = press(app, "Compute the rest")
    assert not progress(app)
    assert "were not computed" not in told(app)
    assert app.dataframe[0].value["strength"].notna().all()


def test_a_page_that_only_needs_the_best_head_does_not_wait_for_nulls(show, own, slow):
    app = show(own, "subspaces", contrast="order")
    assert not app.error
    assert not progress(app)
    assert app.title[0].value == "Subspaces"
    assert slow.begun == 1


def test_the_page_is_shown_anew_as_nulls_come(show, own, slow, monkeypatch):
    monkeypatch.setattr(nulls, "ANEW_S", 0.0)
    store = qkstore.open(own)
    (order,) = store.feature(store.run("boxes"), "order")
    app = show(own, "heads", contrast="order", layer=1, head=0)
    assert progress(app) == ["Null of ‖ΔC‖ under order: 3 of 8 heads"]
    slow.go.set()
    monkeypatch.setattr(job.Job, "ended", ENDED)
    app.run()
    assert not progress(app)
    shown = app.dataframe[0].value
    strengths = {(s.layer, s.head): s.strength for s in FOUND(store, store.run("boxes"), order)}
    assert {(r.layer, r.head): r.strength for r in shown.itertuples()} == pytest.approx(strengths)
