"""`python -m ingest`: a run from one command, every mistake in one line, and the demo's runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import models
import pytest
import torch
import transformers as tf
from conftest import ROOT

import qkstore
from ingest import demo
from ingest.__main__ import main
from ingest.prompts import boxes, lists
from qkstore.errors import RunError

torch.set_num_threads(1)

WORDS = models.words(boxes.build(300, "both", 0, 300), lists.build(300, 0, 300))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return models.folder(tmp_path_factory.mktemp("model"), WORDS)


def command(folder, store, *more) -> list[str]:
    return ["model", "--store", str(store), "--run", "a", "--model", str(folder), *more]


def test_the_command_makes_a_run_of_boxes(tmp_path, folder, capsys):
    of = ["--question", "both", "--n", "3", "--n-test", "2", "--seed", "5"]
    assert main(command(folder, tmp_path, "--task", "boxes", *of, "--layers", "1", "--batch-size", "4")) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "runs" / "a.duckdb")
    run = qkstore.open(tmp_path).run("a")
    assert list(run.layers) == [1]
    assert run.n_prompts == 3 * 3 + 2 * 2
    assert run.task == "boxes both"
    assert run.seed == 5


def test_the_command_makes_a_run_of_a_users_file_with_its_labels(tmp_path, folder):
    file = tmp_path / "mine.jsonl"
    spans = [{"start": 4, "end": 7, "role": "thing", "sweet": True, "grams": 250}]
    lines = [
        {"text": "The jam is in box Z .", "spans": spans, "split": split, "shelf": shelf, "id": shelf}
        for split, shelf in (("train", "top"), ("test", "low"))
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    assert main(command(folder, tmp_path, "--task", str(file), "--queries", "thing,answer_slot")) == 0
    rows = (
        qkstore.open(tmp_path)
        .run("a")
        .table("SELECT token, role, sweet, grams, shelf, split, id FROM q ORDER BY query_row")
        .to_pylist()
    )
    assert [r["token"] for r in rows] == ["jam", ".", "jam", "."]
    assert rows[0] == {
        "token": "jam",
        "role": "thing",
        "sweet": True,
        "grams": 250,
        "shelf": "top",
        "split": "train",
        "id": "top",
    }
    assert rows[3]["role"] == "answer_slot"
    assert rows[3]["sweet"] is None
    assert rows[3]["split"] == "test"


def test_a_chat_model_is_asked_in_its_template_unless_told_not_to(tmp_path, folder):
    chat = tmp_path / "chat"
    net, tokenizer = tf.AutoModel.from_pretrained(folder), tf.AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = (
        "{% for m in messages %}The {{ m.content }} .{% endfor %}{% if add_generation_prompt %} box {% endif %}"
    )
    net.save_pretrained(chat), tokenizer.save_pretrained(chat)
    for run, more in (("a", []), ("plain", ["--slot", "plain"])):
        assert (
            main([*command(chat, tmp_path, "--task", "boxes", "--n", "2", "--n-test", "1"), "--run", run, *more]) == 0
        )
    store = qkstore.open(tmp_path)
    text = store.run("a").table("SELECT text FROM prompt").column("text")[0].as_py()
    assert text.startswith("The The ")
    assert text.endswith(" . box Answer: box")
    assert store.run("a").chat_template == tokenizer.chat_template
    assert store.run("plain").chat_template is None
    tokens = store.run("a").table("SELECT token, queried_box, box FROM k WHERE role = 'box' AND is_answer").to_pylist()
    assert tokens
    assert all(t["token"] == t["queried_box"] == t["box"] for t in tokens)


MISTAKES = {  # what is wrong: (options, what the one line says)
    "a model that is nowhere": (["--model", "./nowhere", "--task", "boxes"], "there is no model folder ./nowhere"),
    "a folder without a model": (["--model", str(ROOT / "tests"), "--task", "boxes"], "holds no model"),
    "a name that is no id": (["--model", "no model", "--task", "boxes"], "neither a folder here nor a hub id"),
    "a device that is not there": (["--task", "boxes", "--device", "cuda:99"], "device 'cuda:99': this machine"),
    "a device of another kind": (["--task", "boxes", "--device", "tpu"], "no device 'tpu'"),
    "a task that is none": (["--task", "bxes"], "did you mean 'boxes'"),
    "a file that is not there": (["--task", "nowhere.jsonl"], "prompt file nowhere.jsonl cannot be read"),
    "layers that are no numbers": (["--task", "boxes", "--layers", "one"], "such as 0-3,7"),
    "layers that are not there": (["--task", "boxes", "--layers", "0-7"], "the model has layers 0-1"),
    "a role that is not there": (["--task", "boxes", "--queries", "bx"], "did you mean 'box'"),
    "no role": (["--task", "boxes", "--queries", ","], "no role is named"),
    "a dtype that is none": (["--task", "boxes", "--dtype", "int8"], "invalid choice: 'int8'"),
    "memory without a unit": (["--task", "boxes", "--limit-memory", "8"], "such as 8GB"),
    "no batch": (["--task", "boxes", "--batch-size", "0"], "1 or more"),
    "a run that may not be called so": (["--task", "boxes", "--run", "a/b"], "run name 'a/b'"),
    "a slot that is none": (["--task", "boxes", "--slot", "chat"], "invalid choice: 'chat'"),
    "a slot without a template": (["--task", "boxes", "--slot", "user"], "the tokenizer has no chat template"),
    "pieces that are none": (["--task", "boxes", "--pieces", "first"], "invalid choice: 'first'"),
    "no task": ([], "required: --task"),
}


@pytest.mark.parametrize(("options", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, folder, capsys, options, says):
    assert main([*command(folder, tmp_path), "--n", "2", "--n-test", "1", *options]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    assert says in error
    assert not list(tmp_path.glob("runs/*.duckdb"))


def test_a_broken_line_publishes_nothing(tmp_path, folder, capsys):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"text": "The jam"}\n{"text": "The jam", "spans": [{"start": 4, "end": 9, "role": "x"}]}\n')
    assert main(command(folder, tmp_path, "--task", str(file))) == 2
    assert "line 2: the span 4–9 lies outside its text of 7 characters" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_no_network_is_one_line_and_soon(tmp_path):
    """In a process of its own: the hub's address and patience are read when its library is imported."""
    there = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_TOKEN": ""}
    told = [
        sys.executable,
        "-m",
        "ingest",
        *command("meta-llama/Llama-3.1-8B-Instruct", tmp_path, "--task", "boxes", "--n", "1", "--n-test", "1"),
    ]
    done = subprocess.run(told, cwd=ROOT, env=there, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.strip() == (
        "error: model 'meta-llama/Llama-3.1-8B-Instruct' is neither a folder nor downloaded here before, "
        "and the hub cannot be reached (no network)"
    )


# -- the demo --------------------------------------------------------------------------------------------------------


def test_the_demo_ingests_what_is_missing(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(demo, "MODEL", folder)
    stages = []
    first = demo.build(tmp_path, lambda stage, done, total, now="": stages.append(stage), n=3, n_test=2)
    assert first == list(demo.RUNS) == ["demo-boxes-ent", "demo-boxes-ord", "demo-boxes-both", "demo-lists"]
    assert {"demo-lists: tokenise", "demo-lists: capture", "demo-lists: publish"} <= set(stages)
    (tmp_path / "runs" / "demo-boxes-ord.duckdb").unlink()
    assert demo.build(tmp_path, lambda *_, **__: None, n=3, n_test=2) == ["demo-boxes-ord"]
    runs = {run.name: run for run in qkstore.open(tmp_path).runs()}
    assert set(runs) == set(first)
    assert {run.model for run in runs.values()} == {"demo"}
    assert runs["demo-boxes-ord"].table("SELECT DISTINCT question FROM prompt").to_pylist() == [{"question": "ord"}]
    assert runs["demo-lists"].n_prompts == 5
    with pytest.raises(RunError, match="give --train an empty --store"):
        demo.build(tmp_path, lambda *_, **__: None, train=True)
