"""The programme of runs for one model.

Names, options and stages are handed on as they were asked for; no model is run.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import stores

from ingest import demo, job, model, paper
from qkstore.errors import ModelError, PromptError, RunError


@pytest.fixture
def asked(monkeypatch):
    """What each ingest was asked for; the model has a chat template unless `template` is taken away."""
    seen = []
    loaded = SimpleNamespace(
        weights_hash="0" * 64, tokenizer=SimpleNamespace(chat_template="{{ messages }}", unk_token_id=None), name="m"
    )

    def ingest(store, run, net, prompts, options, progress, **more):
        progress("capture", 1, 2)
        seen.append(SimpleNamespace(run=run, net=net, prompts=prompts, options=options, **more))

    monkeypatch.setattr(job, "ingest", ingest)
    monkeypatch.setattr(paper.demo, "load", lambda *where: (seen.append(where), loaded)[1])
    return SimpleNamespace(seen=seen, loaded=loaded)


PROGRAMME = [paper.Part("p-lists", "lists", "", 60, 50), paper.Part("p-boxes-ord", "boxes", "ord", 60, 50)]


def test_every_missing_run_is_ingested_once_with_its_prompts_and_task(asked, tmp_path):
    stages = []
    made = paper.build(tmp_path, "x/y", PROGRAMME, progress=lambda *what, now="": stages.append(what))
    assert made == ["p-lists", "p-boxes-ord"]
    assert asked.seen[0] == ("x/y", "float32", "cpu")
    assert stages == [(f"{run}: capture", 1, 2) for run in made]
    listed, boxed = asked.seen[1:]
    assert (listed.run, boxed.run) == ("p-lists", "p-boxes-ord")
    assert listed.net is boxed.net is asked.loaded
    assert listed.seed == boxed.seed == 0
    assert len(listed.prompts) == 110
    assert len(boxed.prompts) == 4 * 60 + 3 * 50
    assert {p.split for p in listed.prompts} == {"train", "test"}
    assert listed.task != boxed.task
    assert "ord" in boxed.task
    assert boxed.template
    assert listed.template != boxed.template


@pytest.mark.parametrize(
    ("asked_for", "template", "slots"),
    [
        ("auto", "{{ messages }}", ("prefill", "user", "reply", "plain")),
        ("reply", "{{ messages }}", ("reply",)),
        ("plain", "{{ messages }}", ("plain",)),
        ("auto", None, ("plain",)),
        ("plain", None, ("plain",)),
    ],
)
def test_the_slots_are_those_of_a_chat_template_where_there_is_one(asked, tmp_path, asked_for, template, slots):
    asked.loaded.tokenizer.chat_template = template
    paper.build(tmp_path, "x/y", PROGRAMME[:1], asked=asked_for)
    assert asked.seen[1].options.slots == slots


def test_other_options_are_handed_on_as_they_are(asked, tmp_path):
    options = job.Options(batch_size=7, layers=(1,), memory="3GB")
    paper.build(tmp_path, "x/y", PROGRAMME[:1], options, dtype="bfloat16", device="cpu")
    assert asked.seen[0] == ("x/y", "bfloat16", "cpu")
    assert replace(asked.seen[1].options, slots=options.slots) == options


def test_a_run_of_other_weights_stops_before_anything_is_ingested(asked, tmp_path):
    """The lists are there, made by another model: the boxes are not put beside them under one name."""
    made = PROGRAMME[0].prompts()
    data = stores.boxes(n=16)
    data.manifest |= {"task": made.name, "weights_hash": "1" * 64}
    stores.write(tmp_path, "p-lists", data)
    few = [replace(PROGRAMME[0], n=8, n_test=8), PROGRAMME[1]]
    with pytest.raises(
        RunError, match="run 'p-lists' is in the store already, and its weights' hash is 111111111111, not 000000000000"
    ):
        paper.build(tmp_path, "x/y", few)
    assert not [s for s in asked.seen if isinstance(s, SimpleNamespace)]


@pytest.mark.parametrize(
    ("dtype", "device", "said"), [("float32", "cuda:99", "device 'cuda:99'"), ("float32", "tpu", "device 'tpu'")]
)
def test_a_device_is_checked_before_a_model_is_loaded(asked, tmp_path, dtype, device, said):
    with pytest.raises(ModelError, match=said):
        paper.build(tmp_path, "x/y", PROGRAMME, dtype=dtype, device=device)
    assert asked.seen == []


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("demo", "demo-paper"),
        ("meta-llama/Llama-3.1-8B", "llama-3.1-8b"),
        ("/x/Größe 7B/", "gr-e-7b"),
        ("日本", "paper"),
        ("a__b..", "a__b"),
        ("-._", "paper"),
    ],
)
def test_a_models_name_is_made_a_runs_name(where, name):
    assert paper.name_of(where) == name
    assert paper.parts(where)[0].run == f"{name}-lists"


def test_the_demo_has_all_kinds_of_question_unless_some_are_named():
    assert [p.question for p in paper.parts("demo")[1:]] == ["ent", "ord", "both"]
    assert [p.question for p in paper.parts("x/demo")[1:]] == ["ent"]
    assert [p.question for p in paper.parts("demo", questions=["both"])[1:]] == ["both"]
    with pytest.raises(PromptError, match="^no question; there are: both, ent, ord"):
        paper.parts("demo", questions=[])


def test_the_demo_model_is_called_demo_and_others_as_they_are(monkeypatch):
    monkeypatch.setattr(
        model, "load", lambda where, dtype, device, answers: model.Model(None, None, "its own", "0" * 64)
    )
    assert demo.load("demo").name == "demo"
    assert demo.load("x/y").name == "its own"
