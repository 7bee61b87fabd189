"""What a model answers at each prompt: stored as labels, the same as the model says of each prompt alone."""

from __future__ import annotations

import models
import numpy as np
import pytest
import torch
import transformers as tf

import qkstore
from ingest import demo, job, model
from ingest.answers import Answers, Choices
from ingest.job import Options
from ingest.model.capture import Capture
from ingest.prompts import Prompt, Span, boxes, lists
from ingest.prompts.corpus import Corpus
from qkstore.errors import PromptError
from qkstore.run.task import Task, task

torch.set_num_threads(1)
PROMPTS = boxes.build(20, "ent", 3, 20)
LISTS = lists.build(10, 3, 30)


@pytest.fixture(scope="module")
def trained() -> model.Model:
    return model.load(str(demo.MODEL), answers=None)


@pytest.fixture(scope="module")
def untrained(trained) -> model.Model:
    torch.manual_seed(0)
    return model.wrap(type(trained.net)(trained.net.config), trained.tokenizer, "random weights", answers=True)


HEADS = {
    "plain": tf.LlamaForCausalLM(tf.LlamaConfig(**models.GROUPED)),
    "a cap on logits": tf.Gemma2ForCausalLM(tf.Gemma2Config(**models.GROUPED, final_logit_softcapping=0.05)),
    "a scale of logits": tf.CohereForCausalLM(tf.CohereConfig(**models.GROUPED, logit_scale=3.0)),
}


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("name", HEADS)
def test_logits_are_those_of_each_prompt_alone(name, padding):
    net = HEADS[name].double().eval()
    rows = [models.ids(n, seed=n) for n in (7, 12, 4)]
    ends = [6, 9, 2]  # of the second and third, a token before the last
    captured = Capture(net)(rows, [[0]] * 3, [[0]] * 3, padding, ends=ends)
    for row, end, logits in zip(rows, ends, captured.logits, strict=True):
        with torch.inference_mode():
            own = net(input_ids=torch.tensor([row])).logits[0]
        assert torch.allclose(logits, own[end], atol=1e-9)
        assert not torch.allclose(logits, own[end - 1], atol=1e-3), "the control: another place says something else"


def test_vectors_do_not_depend_on_whether_answers_are_read(trained):
    corpus = Corpus(trained.tokenizer, PROMPTS[:6])
    asked = [t.ids for t in corpus.tokens], corpus.queries, corpus.keys
    capture = Capture(trained.net, [0])
    plain, answering = capture(*asked), capture(*asked, ends=[t.last for t in corpus.tokens])
    assert torch.equal(plain.q, answering.q)
    assert torch.equal(plain.k, answering.k)
    assert plain.logits is None


def by_hand(asked: model.Model, prompt: Prompt, right: set[str], listed: set[str]) -> tuple:
    """Rank, probability and whether it is answered, from the model's own logits of one prompt."""
    ids = asked.tokenizer(prompt.text)["input_ids"]
    with torch.inference_mode():
        logits = asked.net(input_ids=torch.tensor([ids])).logits[0, -1].double()
    token = {w: asked.tokenizer(f"{prompt.text} {w}")["input_ids"][len(ids)] for w in right | listed}
    best = max(logits[token[w]] for w in right)
    probability = float(sum(logits.softmax(-1)[i] for i in {token[w] for w in right}))
    return int((logits > best).sum()) + 1, probability, all(best >= logits[token[w]] for w in listed)


@pytest.mark.parametrize("which", ["trained", "untrained"])
def test_labels_say_what_the_model_answers(which, tmp_path, request):
    asked = request.getfixturevalue(which)
    for name, prompts in (("boxes", PROMPTS), ("lists", LISTS)):
        run = qkstore.Run(job.ingest(tmp_path, name, asked, prompts, Options(batch_size=7), task=name))
        rows = run.table("SELECT * FROM prompt ORDER BY prompt_id").to_pylist()
        for prompt, row in zip(prompts, rows, strict=True):
            said = {True: set(), False: set()}
            for span in prompt.spans:
                if "is_answer" in span.labels:
                    said[span.labels["is_answer"]].add(prompt.text[span.start : span.end])
            rank, probability, answered = by_hand(asked, prompt, said[True], said[True] | said[False])
            assert (row["answer_rank"], row["answered"]) == (rank, answered)
            assert row["answer_probability"] == pytest.approx(probability, rel=1e-4)
            assert row["answer_chance"] == pytest.approx(len(said[True]) / len(said[True] | said[False]))
        assert "answered" in run.columns["q"], "a contrast can ask for it"


def test_a_run_says_whether_its_model_does_the_task(trained, untrained, tmp_path):
    for asked, done in ((trained, True), (untrained, False)):
        run = qkstore.Run(job.ingest(tmp_path, f"{done}", asked, PROMPTS, task="boxes"))
        found = task(run)
        assert (found.n, found.split, found.total) == (20, "test", 20)
        assert found.chance == pytest.approx(1 / 9)
        assert found.done is done
        assert ("no better than chance" in found.sentence) is not done
    assert found.share < 0.5 < task(qkstore.open(tmp_path).run("True")).share


def test_few_prompts_say_nothing():
    found = Task(19, 19, 0.1, 1.0, 1.0, 19, "test")
    assert not found.done
    assert found.short == "too few prompts to say (n = 19)"
    assert "cannot be told from 19 test prompts" in found.sentence


def test_an_ingest_that_goes_on_keeps_the_answers_of_before(trained, tmp_path):
    class Stop(Exception):
        pass

    def stopping(stage, done, total, now=""):
        if stage == "capture" and done == 2:
            raise Stop

    options = Options(batch_size=9)
    with pytest.raises(Stop):
        job.ingest(tmp_path, "a", trained, PROMPTS, options, task="boxes", progress=stopping)
    job.ingest(tmp_path, "a", trained, PROMPTS, options, task="boxes")
    job.ingest(tmp_path, "b", trained, PROMPTS, options, task="boxes")
    asked = "SELECT answer_rank, answer_probability, answered, answer_chance FROM prompt ORDER BY prompt_id"
    cut, whole = (qkstore.open(tmp_path).run(name).table(asked) for name in "ab")
    assert cut.equals(whole)
    assert cut["answered"].null_count == 0


def test_where_there_is_nothing_to_say_nothing_is_stored(trained, tmp_path):
    without = job.ingest(tmp_path, "never", trained, PROMPTS[:8], Options(answers=False), task="boxes")
    base = model.load(str(demo.MODEL))
    headless = job.ingest(tmp_path, "headless", base, PROMPTS[:8], task="boxes")
    for path in (without, headless):
        assert task(qkstore.Run(path)) is None
        assert "answered" not in qkstore.Run(path).columns["q"]
    unknown = [Prompt("The jam is in box A .", (Span(4, 7, "item"),))] * 2
    run = qkstore.Run(job.ingest(tmp_path, "unknown", trained, unknown, task="none"))
    assert run.table("SELECT answered FROM prompt")["answered"].null_count == 2
    assert task(run) is None


def test_answers_that_begin_alike_are_not_told_apart(trained):
    prompt = PROMPTS[0]
    corpus = Corpus(trained.tokenizer, [prompt])
    answers = Answers(trained.tokenizer, corpus)
    assert isinstance(answers.choices(0), Choices)
    answers._token = lambda word, text, ids: 7
    assert answers.choices(0) is None


def test_a_label_of_that_name_is_refused_in_one_line(trained, tmp_path):
    named = [Prompt(p.text, p.spans, answer=p.answer, labels={"Answered": True}) for p in PROMPTS[:2]]
    with pytest.raises(PromptError, match="prompt label 'answered' is what an ingest says") as raised:
        job.ingest(tmp_path, "a", trained, named, task="boxes")
    assert "\n" not in str(raised.value)
    job.ingest(tmp_path, "a", trained, named, Options(answers=False), task="boxes")


def test_only_a_model_that_was_saved_with_its_head_is_loaded_with_it(tmp_path, trained):
    trained.net.base_model.save_pretrained(tmp_path)
    trained.tokenizer.save_pretrained(tmp_path)
    headless = model.load(str(tmp_path), answers=None)
    assert trained.answers
    assert not headless.answers
    ids = [[5, 6, 7]], [[2]], [[0]]
    assert torch.equal(Capture(headless.net)(*ids).q, Capture(trained.net)(*ids).q)


def test_without_wrong_choices_chance_is_not_known():
    assert np.isnan(Choices(frozenset({1}), frozenset()).chance)
    assert Choices(frozenset({1, 2}), frozenset({3, 4, 5})).chance == 0.4
