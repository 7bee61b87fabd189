"""Chat models of the shape of Llama 3.1 and Qwen3.

A chat is rendered once and has one BOS, and its query is the last token of what was rendered.
"""

from __future__ import annotations

import models
import numpy as np
import pytest
import torch
import transformers as tf

import qkstore
from ingest import job, model
from ingest.prompts import Prompt, Span, boxes, lists
from ingest.prompts.corpus import Corpus
from ingest.prompts.spans import tokenise
from qkstore.__main__ import main
from qkstore.errors import PromptError
from qkstore.store.overview import overview, query_tokens

torch.set_num_threads(1)
BOXES = boxes.build(6, "ent", 0, n_test=3, reflexive=True)
LISTS = lists.build(6, 0, n_test=3)
TEXT = [p.text for p in (*BOXES, *LISTS)]
ASKED = "cat, apple, dog. Find the fruits."
CHAT = Prompt(
    ASKED,
    (Span(0, 3, "item"), Span(5, 10, "item"), Span(12, 15, "item")),
    messages=({"role": "user", "content": ASKED},),
)


@pytest.fixture(scope="module", params=models.MARKS)
def family(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def tokenizer(family):
    return models.chat_tokenizer(family, TEXT)


@pytest.fixture(scope="module")
def small(family, tokenizer) -> model.Model:
    return model.wrap(models.chat_net(family, len(tokenizer)), tokenizer, family)


@pytest.mark.parametrize("prompt", [CHAT, BOXES[0], LISTS[0]], ids=["messages", "boxes", "lists"])
def test_a_chat_is_rendered_once_with_one_bos_or_none(family, tokenizer, prompt):
    tokens = tokenise(tokenizer, prompt, "p", chat=True)
    marks = [tokenizer.convert_tokens_to_ids(m) for m in models.MARKS[family]]
    bos = marks[0] if family == "llama" else None
    assert tokens.ids.count(bos) == (1 if family == "llama" else 0)
    assert (tokens.ids[0] == bos) == (family == "llama")
    assert tokens.bos == ("template" if family == "llama" else "none")
    headers = [models.MARKS["llama"][2]] if family == "llama" else ["<|im_start|>"]
    assert [tokens.text.count(h) for h in headers] == [2], "one header of the user's, one of the reply's"
    assert tokens.ids.count(tokenizer.convert_tokens_to_ids(headers[0])) == 2, (
        "special tokens are single tokens, not their characters"
    )
    assert tokenizer.decode(tokens.ids) == tokens.text


def test_control_rendering_to_text_and_tokenising_as_usual_gives_two_bos(family, tokenizer):
    text = tokenise(tokenizer, CHAT, "p").text
    twice = tokenizer(text)["input_ids"].count(tokenizer.convert_tokens_to_ids(models.MARKS[family][0]))
    assert twice == (2 if family == "llama" else 0)
    if family == "llama":
        with pytest.raises(PromptError, match="two '<|begin_of_text|>' tokens".replace("|", r"\|")):
            tokenise(tokenizer, Prompt(text), "p")


def test_plain_text_has_the_tokenizers_own_bos(family, tokenizer):
    tokens = tokenise(tokenizer, BOXES[0], "p")
    assert tokens.bos == ("tokenizer" if family == "llama" else "none")
    assert "<|" not in tokens.text


def test_spans_hit_their_words_inside_the_template(tokenizer):
    for prompt in (BOXES[0], LISTS[0], CHAT):
        tokens = tokenise(tokenizer, prompt, "p", chat=True)
        for s, span in enumerate(prompt.spans):
            found = "".join(tokens.words[i] for i, owner in enumerate(tokens.span) if owner == s)
            assert found.strip() == prompt.text[span.start : span.end]
            assert sum(tokens.span_last[i] for i, owner in enumerate(tokens.span) if owner == s) == 1


QUERY = {"llama": "\n\n", "qwen": "\n"}


def test_the_query_is_the_last_token_of_the_generation_prompt(family, tokenizer):
    corpus = Corpus(tokenizer, [CHAT])
    (tokens,) = corpus.tokens
    assert corpus.queries == [[len(tokens) - 1]]
    assert tokens.text == tokenizer.apply_chat_template(list(CHAT.messages), tokenize=False, add_generation_prompt=True)
    assert QUERY[family].endswith(tokens.words[-1])
    assert tokens.words[-1].strip("\n") == ""
    row = corpus.token_frame()[-1]
    assert row["role"].item() == "answer_slot"
    assert row["text"].item() == tokens.words[-1]
    built_in = Corpus(tokenizer, [BOXES[0], LISTS[0]], chat=True)
    assert [built_in.tokens[i].words[q[-1]].strip()[-1] for i, q in enumerate(built_in.queries)] == ["x", ":"], (
        "of built-in prompts, the reply's beginning"
    )
    assert [q[-1] for q in built_in.queries] == [len(t) - 1 for t in built_in.tokens]


def test_the_query_tokens_text_is_recorded_and_shown(family, small, tmp_path, show, capsys):
    job.ingest(tmp_path, "chat", small, [CHAT, CHAT], task="mine.jsonl")
    job.ingest(tmp_path, "boxes", small, BOXES, job.Options(slots=("prefill",)), task="boxes ent")
    store = qkstore.open(tmp_path)
    text = store.run("chat").table("SELECT DISTINCT token FROM q").column("token").to_pylist()
    assert len(text) == 1
    assert text[0].strip("\n") == ""
    assert store.run("chat").bos == ("template" if family == "llama" else "none")
    assert query_tokens(store.run("chat")) == "↵" * len(text[0]), "a line break that nobody sees is spelled out"
    assert query_tokens(store.run("boxes")).endswith("x")
    assert dict(overview(store).runs.select("run", "query").rows())["chat"] == "↵" * len(text[0])
    assert main(["runs", "--store", str(tmp_path)]) == 0
    assert "↵" in capsys.readouterr().out
    app = show(tmp_path, "overview")
    assert not app.exception
    assert "↵" * len(text[0]) in set(app.dataframe[0].value["query"])


def test_a_run_of_every_position_names_only_a_few_query_tokens(small, tmp_path):
    job.ingest(tmp_path, "all", small, [CHAT], job.Options(positions="all"), task="mine")
    assert query_tokens(qkstore.open(tmp_path).run("all")).count(",") <= 4
    assert query_tokens(qkstore.open(tmp_path).run("all")).endswith("…")


def test_stored_attention_of_a_rendered_chat_is_the_models_own(small, tmp_path):
    """Positions, BOS and RoPE are as the model has them.

    Softmax over stored vectors equals eager attention on apply_chat_template's ids.
    """
    job.ingest(tmp_path, "all", small, [CHAT], job.Options(positions="all"), task="mine")
    run = qkstore.open(tmp_path).run("all")
    ids = small.tokenizer.apply_chat_template(
        list(CHAT.messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    small.net.set_attn_implementation("eager")
    with torch.no_grad():
        wanted = small.net(ids, output_attentions=True).attentions
    small.net.set_attn_implementation("sdpa")
    rows = np.arange(ids.shape[1])
    assert run.n_queries == len(rows)
    for layer, facts in run.layers.items():
        for head in range(run.n_heads):
            logit = (
                facts.scaling * run.queries(layer, head) @ run.keys(layer, head).T
                - run.logsumexp(layer, head, rows)[:, None]
            )
            found = np.where(facts.visible(rows[:, None], rows), np.exp(logit), 0)
            assert np.allclose(found, wanted[layer][0, head].numpy(), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", [{}, dict(sharded=True, jinja=True)], ids=["one-file", "shards"])
def test_a_downloaded_folder_loads_whole(family, layout, dtype, tmp_path):
    where = models.download(tmp_path / "m", family, TEXT, **layout)
    assert len(list(where.glob("*.safetensors"))) == (1 if not layout else len(list(where.glob("model-*"))))
    assert (where / "chat_template.jinja").exists() == bool(layout)
    loaded = model.load(str(where), dtype)
    assert loaded.dtype == dtype
    assert loaded.architecture == {"llama": "LlamaForCausalLM", "qwen": "Qwen3ForCausalLM"}[family]
    assert loaded.tokenizer.chat_template == models.TEMPLATES[family]
    rope = loaded.net.config.rope_parameters
    assert (rope["rope_type"], rope["rope_theta"]) == (("llama3", 5e5) if family == "llama" else ("default", 1e6))
    plain = tf.AutoModel.from_pretrained(where, dtype=torch.bfloat16)
    assert all(
        torch.equal(a.float(), b.float()) for a, b in zip(loaded.net.parameters(), plain.parameters(), strict=True)
    )
