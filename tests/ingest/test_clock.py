"""An ingest may end on another day than it began: what a template writes of the date is that of the first start."""

from __future__ import annotations

import json
import platform
import socket
from datetime import datetime

import models
import numpy as np
import pytest

import qkstore
from ingest import job
from ingest.job import Options
from ingest.model import wrap
from ingest.prompts import Prompt, Span, clock
from qkstore.errors import RunError

TEXTS = [f"The jam is in box {c}. Where is the jam? Answer:" for c in "ABCDEFGH"]
TEMPLATES = {
    "the day": "{{ strftime_now('%d %b %Y') }}",
    "the minute": "{{ strftime_now('%H:%M') }}",
    "the day, in a macro": "{% macro head() %}{{ strftime_now('%Y-%m-%d') }}{% endmacro %}{{ head() }}",
}


class Stop(Exception):
    pass


def stopping(stage, done, total, now=""):
    if stage == "capture" and done == 2:
        raise Stop


@pytest.fixture
def model(request):
    made = models.chat_tokenizer("qwen", [*TEXTS, "0123456789 -: Jan Nov"])
    made.chat_template = TEMPLATES[request.param] + models.TEMPLATES["qwen"]
    return wrap(models.chat_net("qwen", len(made)), made, "tiny")


def at(monkeypatch, day: datetime) -> None:
    class Day(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(*day.timetuple()[:6])

    monkeypatch.setattr(clock, "datetime", Day)


def ingest(store, model, **more):
    prompts = [Prompt(text, (Span(4, 7, "item"),)) for text in TEXTS]
    return job.ingest(store, "a", model, prompts, Options(batch_size=2, slots=("prefill",)), task="jam", **more)


def vectors(path):
    run = qkstore.Run(path)
    return np.stack([run.queries(layer, head) for layer in run.layers for head in range(run.n_heads)]), run


@pytest.mark.parametrize("model", TEMPLATES, indirect=True)
def test_an_ingest_that_goes_on_another_day_ends_in_the_same_vectors(model, tmp_path, monkeypatch):
    at(monkeypatch, datetime(2026, 11, 26, 23, 59))
    whole, run = vectors(ingest(tmp_path / "whole", model))
    assert json.loads(run.plan)["clock"] == "2026-11-26T23:59:00"
    with pytest.raises(Stop):
        ingest(tmp_path / "cut", model, progress=stopping)
    at(monkeypatch, datetime(2026, 11, 28, 0, 7))
    resumed, later = vectors(ingest(tmp_path / "cut", model))
    assert np.array_equal(whole, resumed)
    assert later.plan == run.plan
    other, fresh = vectors(ingest(tmp_path / "fresh", model))
    assert fresh.plan != run.plan
    assert not np.allclose(whole, other), "the control: another day is another prompt"


@pytest.mark.parametrize("model", ["the day"], indirect=True)
def test_an_ingest_that_goes_on_under_another_machine_name_and_path_ends_in_the_same_vectors(
    model, tmp_path, monkeypatch
):
    at(monkeypatch, datetime(2026, 11, 26, 9))
    whole, _ = vectors(ingest(tmp_path / "whole", model))
    with pytest.raises(Stop):
        ingest(tmp_path / "cut", model, progress=stopping)
    (tmp_path / "cut").rename(tmp_path / "copied elsewhere")
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    monkeypatch.setattr(platform, "node", lambda: "elsewhere")
    monkeypatch.setenv("HOSTNAME", "elsewhere")
    resumed, _ = vectors(ingest(tmp_path / "copied elsewhere", model))
    assert np.array_equal(whole, resumed)


@pytest.mark.parametrize("model", ["the day"], indirect=True)
def test_a_template_without_a_date_leaves_none_in_the_plan(model, tmp_path):
    model.tokenizer.chat_template = models.TEMPLATES["qwen"]
    assert "clock" not in json.loads(vectors(ingest(tmp_path, model))[1].plan)


@pytest.mark.parametrize("model", ["the day"], indirect=True)
def test_what_was_begun_differently_is_still_refused(model, tmp_path):
    with pytest.raises(Stop):
        ingest(tmp_path, model, progress=stopping)
    with pytest.raises(RunError, match="begun differently .*slot prefill → plain"):
        prompts = [Prompt(text, (Span(4, 7, "item"),)) for text in TEXTS]
        job.ingest(tmp_path, "a", model, prompts, Options(batch_size=2), task="jam")
