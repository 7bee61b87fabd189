"""Edits of models with sinks, other kernels or no head; every mistake in one line."""

from __future__ import annotations

import models
import numpy as np
import pytest
import torch
from test_edit import CASES, causal, projector

from ingest.model import edit
from ingest.model.capture import Capture
from ingest.model.edit import Case, Editor
from qkstore.errors import ModelError, PromptError

torch.set_num_threads(1)


def test_sinks_take_their_share():
    net = causal("gpt_oss", torch.float32)
    net.set_experts_implementation("eager")
    editor, P = Editor(net, 1), projector(net)
    before, after = editor(CASES), editor(CASES, {(1, 2): P})
    layer = editor.layers[1]
    read = Capture(net, [1])(
        [c.ids for c in CASES], [[c.query] for c in CASES], [[c.original, c.target] for c in CASES]
    )
    from qkstore import intervention

    q, k = read.q[0, 2].numpy(), read.k[0, 1].reshape(3, 2, -1).numpy()
    swapper = intervention.Swapper(q, k[:, 0], k[:, 1], read.logsumexp[0, 2].numpy(), layer.scaling)
    (closed,) = swapper.through([P])
    assert np.allclose(before.attention[1][:, 2].numpy().T, [closed.original_before, closed.target_before], atol=1e-6)
    assert np.allclose(after.attention[1][:, 2].numpy().T, [closed.original_after, closed.target_after], atol=1e-6)
    assert np.abs(closed.delta_p).max() > 1e-4


def test_an_equal_pass_by_the_eager_kernel_is_equal_up_to_rounding_and_the_model_is_left_as_it_was(monkeypatch):
    net, kernel_of, asked = causal("llama", torch.float32), edit.kernel_of, []
    monkeypatch.setattr(edit, "kernel_of", lambda name, module: asked.append(name) or kernel_of(name, module))
    editor = Editor(net)
    own = editor(CASES)
    assert set(asked) == {"sdpa"}
    asked.clear()
    eager = editor(CASES, kernel="eager")
    assert set(asked) == {"eager"}
    assert (own.logits - eager.logits).abs().max() < 1e-3
    assert net.config._attn_implementation == "sdpa"
    assert len(eager.first(2).logits) == 2


def test_a_model_without_an_lm_head_has_attention_and_no_logits():
    found = Editor(models.net("llama"))(CASES)
    assert found.logits is None
    assert set(found.attention) == {0, 1, 2}
    assert set(Editor(models.net("llama"), 1)(CASES).attention) == {1, 2}


MISTAKES = {
    "a layer that is not there": (
        lambda net: Editor(net)(CASES, {(7, 0): projector(net)}),
        "there is no layer 7; .*0, 1, 2",
    ),
    "a first layer that is not there": (lambda net: Editor(net, 7), "there is no layer 7; the model has layers 0-2"),
    "a head that is not there": (
        lambda net: Editor(net)(CASES, {(1, 4): projector(net)}),
        "layer 1 has no head 4; its heads are 0 to 3",
    ),
    "a projector of another size": (
        lambda net: Editor(net)(CASES, {(1, 1): np.eye(8)}),
        "a projector of 8 × 8, its keys have 16",
    ),
    "rows that are none": (lambda net: Editor(net, rows="lst"), "did you mean 'last'"),
}


@pytest.mark.parametrize(("act", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line(act, says):
    with pytest.raises(ModelError, match=says):
        act(causal("llama", torch.float32))


def test_a_prompt_whose_two_keys_are_one_is_refused():
    with pytest.raises(PromptError, match="both at position 3; a swap takes two keys"):
        Case([1, 2, 3, 4, 5], 4, 3, 3)
    with pytest.raises(PromptError, match="no position 9 in a prompt of 5 tokens"):
        Case([1, 2, 3, 4, 5], 4, 3, 9)
