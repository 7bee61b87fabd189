"""The answer slot: where it stands in each of its places, which one is taken, and what a run says of that."""

from __future__ import annotations

import json
import logging

import models
import pytest
import torch

import qkstore
from ingest import batches, job, model, trial
from ingest.prompts import boxes, lists, slot, task
from ingest.prompts.corpus import Corpus
from ingest.prompts.slot import SLOTS, placed
from qkstore.errors import PromptError, RunError
from qkstore.report.report import facts
from qkstore.report.study import Study

torch.set_num_threads(1)
BOXES, STATED = (boxes.build(12, "ent", 0, n_test=3, form=form) for form in boxes.FORMS)
LISTS = lists.build(6, 0, n_test=3)
USER, REPLY = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def tokenizer():
    return models.chat_tokenizer("qwen", [p.text for p in (*BOXES, *STATED, *LISTS)])


@pytest.fixture(scope="module")
def small(tokenizer) -> model.Model:
    net = models.chat_net("qwen", len(tokenizer))
    return model.wrap(net, tokenizer, "tiny", answers=True)


def around(tokenizer, prompt, where: str) -> tuple[str, str]:
    """What the model reads up to the query's last token, from the user's last words on, and what follows it."""
    corpus = Corpus(tokenizer, [placed(prompt, where)], chat=where != "plain")
    (tokens,), ((query,),) = corpus.tokens, corpus.queries
    end = tokens.offsets[query][1]
    begin = tokens.text.index(prompt.text[:20])
    return tokens.text[begin:end].removeprefix(prompt.text[: prompt.text.rindex(". ")]), tokens.text[end:]


@pytest.mark.parametrize("where", ["plain", "user"])
@pytest.mark.parametrize("prompt", [BOXES[0], STATED[0], LISTS[0]], ids=["boxes", "statement", "lists"])
def test_plain_and_user_slots_are_the_ends_of_the_text(tokenizer, prompt, where):
    read, after = around(tokenizer, prompt, where)
    assert prompt.text.endswith(read)
    assert after == (REPLY if where == "user" else "")


@pytest.mark.parametrize(
    ("prompt", "asked", "begun"),
    [
        (BOXES[0], " in?", "Answer: box"),
        (LISTS[0], ".", "Answer:"),
        (STATED[0], ".", "The {entity} is in box"),
    ],
    ids=["boxes", "lists", "statement"],
)
def test_a_prefilled_reply_begins_in_the_models_turn(tokenizer, prompt, asked, begun):
    begun = begun.format(entity=prompt.labels.get("queried_entity"))
    read, after = around(tokenizer, prompt, "prefill")
    assert read.endswith(asked + REPLY + begun)
    assert after == ""
    user = read.removesuffix(REPLY + begun)
    assert begun not in user, "it stands there once"


@pytest.mark.parametrize("prompt", [BOXES[0], LISTS[0]], ids=["boxes", "lists"])
def test_the_reply_slot_is_the_templates_last_token(tokenizer, prompt):
    read, after = around(tokenizer, prompt, "reply")
    assert read.endswith(REPLY)
    assert "Answer" not in read
    assert after == ""
    kept = placed(prompt, "reply")
    assert [s.role for s in kept.spans] == [s.role for s in prompt.spans if s.role != "answer_slot"]
    assert [kept.text[s.start : s.end] for s in kept.spans] == [prompt.text[s.start : s.end] for s in prompt.spans][:-1]


def test_auto_is_all_that_task_and_template_have(tokenizer):
    plain = models.byte_tokenizer(["jam"])
    question, stated, listed = (
        task.of(name, 2, 2, "ent", 0, form=form).slots
        for name, form in (("boxes", "question"), ("boxes", "statement"), ("lists", "question"))
    )
    assert slot.of("auto", question, tokenizer) == slot.of("auto", listed, tokenizer) == SLOTS
    assert slot.of("auto", stated, tokenizer) == ("prefill", "user", "plain"), "nothing is asked before a statement"
    assert slot.of("auto", question, plain) == slot.of("auto", (), tokenizer) == ("plain",)
    assert slot.of("user", question, tokenizer) == ("user",)


def test_a_slot_that_is_not_there_is_one_line_with_those_that_are(tokenizer):
    plain = models.byte_tokenizer(["jam"])
    slots = task.of("boxes", 2, 2, "ent", 0, form="statement").slots
    with pytest.raises(PromptError, match="slot 'reply': this task's prompts have none .* auto, prefill, user, plain"):
        slot.of("reply", slots, tokenizer)
    with pytest.raises(PromptError, match="slot 'user': the tokenizer has no chat template; there are: auto, plain"):
        slot.of("user", slots, plain)
    with pytest.raises(PromptError, match="slot 'user': this task's prompts have none of that kind"):
        slot.of("user", (), tokenizer)
    with pytest.raises(PromptError, match="no slot 'prefil'.*prefill"):
        slot.of("prefil", slots, tokenizer)


# -- the trial -----------------------------------------------------------------------------------------------------


def right_at(small, prompts, where: str) -> float:
    """The share of prompts whose right box has the largest logit of the listed ones, each prompt alone."""
    right = 0
    for prompt in prompts:
        (tokens,) = Corpus(small.tokenizer, [placed(prompt, where)], chat=where != "plain").tokens
        texts = {s.labels["is_answer"]: [] for s in prompt.spans if s.role == "box"}
        for s in prompt.spans:
            if s.role == "box":
                texts[s.labels["is_answer"]].append(prompt.text[s.start : s.end])
        at = len(tokens) if where != "user" else next(i for i in reversed(range(len(tokens))) if tokens.span[i]) + 1
        with torch.inference_mode():
            logits = small.net(input_ids=torch.tensor([tokens.ids[:at]])).logits[0, -1]
        gap = "" if tokens.text[: tokens.offsets[at - 1][1]][-1].isspace() else " "
        ids = {r: [small.tokenizer.encode(gap + w, add_special_tokens=False)[0] for w in ws] for r, ws in texts.items()}
        right += bool(logits[ids[True]].max() > logits[ids[False]].max())
    return right / len(prompts)


def test_shares_are_those_of_each_prompt_alone_and_the_best_is_taken(small, tmp_path, caplog):
    base = [p for p in BOXES if p.split == "train" and p.variant == "base"]
    alone = {where: right_at(small, base, where) for where in SLOTS}
    assert len(set(alone.values())) > 1
    with caplog.at_level(logging.WARNING, "qkstore"):
        path = job.ingest(tmp_path, "a", small, BOXES, job.Options(slots=SLOTS), task="boxes ent")
    run = qkstore.Run(path)
    plan = json.loads(run.plan)
    assert (plan["tried"]["right"], plan["tried"]["n"]) == (pytest.approx(alone), 12)
    best = max(SLOTS, key=lambda where: alone[where])
    assert plan["slot"] == best
    assert {f"right at slot {where}": share for where, share in alone.items()}.items() <= run.measures.items()
    assert f"answer slot '{best}'" in caplog.text
    assert f"{best} {alone[best]:.0%}" in caplog.text
    text = run.table("SELECT text FROM prompt LIMIT 1").to_pylist()[0]["text"]
    assert text == Corpus(small.tokenizer, [placed(BOXES[0], best)], chat=best != "plain").tokens[0].text


def test_the_choice_is_of_train_prompts_alone(small, tmp_path):
    """The same train prompts with other test ones: the same shares."""
    seen = []
    for name, n_test in (("a", 3), ("b", 9)):
        prompts = boxes.build(12, "ent", 0, n_test=n_test)
        path = job.ingest(tmp_path, name, small, prompts, job.Options(slots=SLOTS), task="boxes ent")
        seen.append(json.loads(qkstore.Run(path).plan)["tried"])
    assert seen[0] == seen[1]


@pytest.mark.parametrize("why", ["no answers wanted", "no LM head", "one slot"])
def test_where_nothing_can_be_compared_the_first_is_taken(small, tmp_path, why):
    net = small.net if why != "no LM head" else small.net.base_model
    loaded = small if why != "no LM head" else model.wrap(net, small.tokenizer, "tiny")
    slots = ("reply",) if why == "one slot" else ("plain", "user", "prefill")
    options = job.Options(slots=slots, answers=why != "no answers wanted")
    run = qkstore.Run(job.ingest(tmp_path, "a", loaded, BOXES, options, task="boxes ent"))
    assert json.loads(run.plan)["slot"] == ("reply" if why == "one slot" else "prefill")
    assert not [name for name in run.measures if "slot" in name]


class Stop(Exception):
    pass


def stopping(stage: str, done: int, total: int, now: str = "") -> None:
    if stage == "capture" and done == 2:
        raise Stop


def test_an_ingest_that_goes_on_takes_its_slot_without_another_trial(small, tmp_path, monkeypatch):
    options, small_batches = job.Options(slots=SLOTS, batch_size=4), {"task": "boxes ent"}
    with pytest.raises(Stop):
        job.ingest(tmp_path, "a", small, BOXES, options, progress=stopping, **small_batches)
    with pytest.raises(RunError, match="begun differently"):
        job.ingest(tmp_path, "a", small, BOXES, job.Options(slots=("plain",), batch_size=4), **small_batches)
    monkeypatch.setattr(trial, "_right", lambda *_: pytest.fail("tried anew"))
    assert job.ingest(tmp_path, "a", small, BOXES, options, **small_batches).exists()


def test_the_report_says_how_often_each_slot_was_answered(small, tmp_path):
    prompts = boxes.build(40, "ent", 0, n_test=40)
    run = qkstore.Run(job.ingest(tmp_path, "a", small, prompts, job.Options(slots=SLOTS), task="boxes ent"))
    said = facts(Study(qkstore.open(tmp_path), run))["answer slot"]
    assert said.startswith(f"{run.settings['slot']}: the best on 40 train prompts, by what is answered rightly (")
    assert all(f"{where} {run.measures[f'right at slot {where}']:.0%}" in said for where in SLOTS)
    given = qkstore.Run(job.ingest(tmp_path, "b", small, prompts, task="boxes ent"))
    assert facts(Study(qkstore.open(tmp_path), given))["answer slot"] == "plain"


def test_the_middle_batch_is_first_and_none_is_left_out():
    assert batches.order([[0]] * 5) == [2, 0, 1, 3, 4]
    assert batches.order([[0]]) == [0]
