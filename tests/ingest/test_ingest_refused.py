"""What an ingest refuses, and the models that it reads without their head."""

from __future__ import annotations

import models
import pytest
import torch
import transformers as tf
from test_ingest import BOXES, folder, small  # noqa: F401 -- fixtures

import qkstore
from ingest import job, model
from ingest.model.capture import Capture
from ingest.prompts import Prompt
from ingest.prompts.corpus import Corpus
from qkstore.errors import ModelError, PromptError

torch.set_num_threads(1)


def test_nan_in_vectors_is_refused_and_nothing_published(tmp_path, folder):
    broken = model.load(str(folder))
    with torch.no_grad():
        broken.net.embed_tokens.weight[broken.tokenizer.convert_tokens_to_ids("box")] = float("nan")
    with pytest.raises(ModelError, match="run 'a', batch 0: .*NaN or Inf.*layer 0") as raised:
        job.ingest(tmp_path, "a", broken, BOXES[:2], task="boxes")
    assert "\n" not in str(raised.value)
    assert qkstore.open(tmp_path).runs() == []


def test_weights_that_are_nan_are_found_before_anything_is_begun(tmp_path, folder):
    broken = model.load(str(folder))
    with torch.no_grad():
        broken.net.layers[1].self_attn.k_proj.weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match="layer 1 gives NaN or Inf"):
        job.ingest(tmp_path, "a", broken, BOXES[:2], task="boxes")
    assert not tmp_path.joinpath("runs").exists()


def test_a_prompt_longer_than_the_model_is_refused(tmp_path, small):
    with pytest.raises(PromptError, match="prompt 0 has 300 tokens, .* takes at most 256"):
        job.ingest(tmp_path, "a", small, [Prompt("jam " * 300)], task="long")


def test_a_tokenizer_of_another_model_is_refused(tmp_path, small):
    other = model.wrap(models.net("llama", torch.float32), small.tokenizer, "llama")
    with pytest.raises(ModelError, match="do not belong together"):
        job.ingest(
            tmp_path,
            "a",
            other,
            [Prompt(small.tokenizer.convert_ids_to_tokens(len(small.tokenizer) - 1))],
            task="boxes",
        )


def test_an_unknown_role_is_named_with_those_there_are(small):
    with pytest.raises(PromptError, match="no token has the role 'bx'; did you mean 'box'.*answer_slot, box, entity"):
        Corpus(small.tokenizer, BOXES, query_roles=("answer_slot", "bx"))


def test_weights_that_a_folder_lacks_are_not_made_up(tmp_path, small):
    net = tf.Qwen3ForCausalLM(small.net.config)
    state = {k: v for k, v in net.state_dict().items() if "layers.1.self_attn.q_proj" not in k}
    net.save_pretrained(tmp_path, state_dict=state)
    small.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="1 weights are not in its files, layers.1.self_attn.q_proj.weight"):
        model.load(str(tmp_path))


def test_a_model_with_a_head_is_read_without_it(small):
    whole = tf.Qwen3ForCausalLM(small.net.config)
    assert type(model.wrap(whole, small.tokenizer, "memory").net) is tf.Qwen3Model


def test_an_encoder_decoder_gives_its_encoder(small):
    bart = model.wrap(models.net("bart", torch.float32), small.tokenizer, "bart")
    assert type(bart.net).__name__ == "BartEncoder"
    assert [layer.causal for layer in Capture(bart.net).layers] == [
        False,
        False,
    ]
