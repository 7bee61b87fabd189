"""Models, layers and masks that cannot be read are refused in one line that says why."""

from __future__ import annotations

import models
import pytest
import torch
from test_capture import BATCH, EVERY

from ingest.model.capture import Capture, ranges
from qkstore.errors import ModelError

torch.set_num_threads(1)


@pytest.mark.parametrize("name", ["bloom", "gptj"])
def test_a_model_that_does_not_route_is_refused(name):
    with pytest.raises(ModelError, match="does not route.*Llama"):
        Capture(models.net(name))


def test_a_bias_of_positions_is_refused():
    with pytest.raises(ModelError, match="T5Attention.*bias of positions"):
        Capture(models.net("t5").get_encoder())


def test_a_learned_bias_that_no_option_announces_is_refused(monkeypatch):
    """The probe compares outputs, so a kernel that does anything to its logits is found out."""
    from transformers.models.gpt2 import modeling_gpt2

    net = models.net("gpt2")
    net.set_attn_implementation("eager")
    plain = modeling_gpt2.eager_attention_forward
    monkeypatch.setattr(
        modeling_gpt2, "eager_attention_forward", lambda m, q, k, v, mask, **o: plain(m, q, k + 0.1, v, mask, **o)
    )
    Capture(net)  # a shift of all keys of a query's row leaves softmax as it was
    ramp = torch.arange(6.0, dtype=torch.float64)[None, None, :, None]
    monkeypatch.setattr(
        modeling_gpt2, "eager_attention_forward", lambda m, q, k, v, mask, **o: plain(m, q, k + ramp, v, mask, **o)
    )
    with pytest.raises(ModelError, match="adds to its logits"):
        Capture(net)


def test_chunked_attention_is_refused_where_the_rule_does_not_describe_it():
    capture = Capture(models.net("llama4"), [0])
    short = [ids[:4] for ids in BATCH]
    capture(short, [[3]] * 3, [[0]] * 3)  # within one chunk of 4 it is plain causal attention
    with pytest.raises(ModelError, match="layer 0 masks keys by a rule other than"):
        capture(BATCH, [[8], [5], [11]], [[0]] * 3)


def test_a_window_that_the_layer_did_not_name_is_refused():
    net = models.net("mistral")
    for layer in net.layers:
        layer.self_attn.forward = without_window(layer.self_attn.forward)
    capture = Capture(net)
    with pytest.raises(ModelError, match="rule other than key position ≤ query position"):
        capture(BATCH, EVERY, EVERY)


def without_window(forward):
    """A layer that masks by a window but does not say so to its kernel."""
    from ingest.model.probe import Probe

    attend = Probe.attend

    def wrapped(*args, **kwargs):
        def silent(self, m, q, k, v, mask, options):
            return attend(self, m, q, k, v, mask, options | {"sliding_window": None})

        Probe.attend = silent
        try:
            return forward(*args, **kwargs)
        finally:
            Probe.attend = attend

    return wrapped


def test_left_padding_needs_position_ids():
    capture = Capture(models.net("bart").get_encoder())
    capture(BATCH, EVERY, EVERY)
    with pytest.raises(ModelError, match="takes no position ids"):
        capture(BATCH, EVERY, EVERY, "left")


def test_layers_that_are_not_there_are_named():
    with pytest.raises(ModelError, match="no layer 3; the model has layers 0-2"):
        Capture(models.net("llama"), [1, 3])


def test_layers_of_unlike_shape_are_refused_with_the_remedy():
    net = models.net("gemma4")
    with pytest.raises(ModelError, match=r"choose --layers 0-1.*head_dim 8.*--layers 2 .*head_dim 16"):
        Capture(net)
    assert [layer.d_head for layer in Capture(net, [0, 1]).layers] == [8, 8]


def test_other_kernels_are_refused():
    net = models.net("llama")
    net.config._attn_implementation_internal = "flex_attention"
    with pytest.raises(ModelError, match="flex_attention.*'sdpa' or 'eager'"):
        Capture(net)


def test_ranges():
    assert ranges([5, 0, 1, 2]) == "0-2,5"
