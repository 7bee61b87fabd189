"""Whose queries a page's are: a session's own, for as long as it waits for them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequests

from dashboard import asker, shell
from qkstore.sql import worker


@pytest.fixture
def session(monkeypatch):
    context = SimpleNamespace(session_id="abc", script_requests=ScriptRequests())
    monkeypatch.setattr(asker, "get_script_run_ctx", lambda suppress_warning: context)
    return context


def test_the_worker_asks_the_dashboard_who_asks():
    assert worker.asker is shell.asker is asker.asker
    assert worker.asker().name == "", "no session runs in this thread"
    assert not worker.asker().gone()


def test_a_session_waits_until_it_makes_another_choice(session):
    who = asker.asker()
    assert who.name == "abc"
    assert not who.gone()
    session.script_requests.request_rerun(RerunData())
    assert who.gone()


def test_a_session_that_is_stopped_or_closed_does_not_wait(session, monkeypatch):
    who = asker.asker()
    session.script_requests.request_stop()
    assert who.gone()
    session.script_requests = ScriptRequests()
    assert not who.gone()
    runtime = SimpleNamespace(exists=lambda: True, instance=lambda: SimpleNamespace(is_active_session=lambda _: False))
    monkeypatch.setattr(asker, "Runtime", runtime)
    assert who.gone()
