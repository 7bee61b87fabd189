"""Passes that run the queries' tokens alone, behind what was computed before them: they equal the whole ones."""

from __future__ import annotations

import pytest
import torch
from test_edit import CASES, causal, projector

from ingest.model.edit import Behind, Case, Editor

torch.set_num_threads(1)


def sets(net):
    """No edit, one of a layer, two of two layers: what several passes over the same prompts are for."""
    return [{}, {(0, 1): projector(net)}, {(0, 2): projector(net, seed=1), (2, 3): projector(net, rank=5, seed=2)}]


def columns(net):
    """The lengths of the passes that a model runs, from now on."""
    run: list[int] = []
    net.register_forward_pre_hook(lambda _, args, given: run.append(given["input_ids"].shape[1]), with_kwargs=True)
    return run


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_passes_behind_a_cache_are_the_whole_ones(name):
    net = causal(name)
    cases = [*CASES, Case(CASES[0].ids, 6, 5, 2)]  # a query with tokens behind it
    editor = Editor(net)
    whole = [editor(cases, edits) for edits in sets(net)]
    run = columns(net)
    alone = list(editor.passes(cases, sets(net)))
    assert run == [max(len(c.ids) for c in cases), 1, 1, 1, 1], "all once, then one token to check and one an edit"
    for one, other in zip(alone, whole, strict=True):
        assert torch.allclose(one.logits, other.logits, atol=1e-5)
        assert all(torch.allclose(one.attention[n], other.attention[n], atol=1e-6) for n in other.attention)
    assert (whole[1].logits - whole[0].logits).abs().max() > 1e-3  # the control: an edit that is lost would be seen


@pytest.mark.parametrize(("name", "rows"), [("gemma2", "last"), ("mistral", "last"), ("llama", "all")])
def test_with_a_window_or_other_rows_every_pass_is_whole(name, rows):
    net = causal(name)
    editor, run = Editor(net, 0, rows), columns(net)
    whole = [editor(CASES, edits) for edits in sets(net)]
    run.clear()
    for one, other in zip(editor.passes(CASES, sets(net)), whole, strict=True):
        assert torch.equal(one.logits, other.logits)
    assert run == [max(len(c.ids) for c in CASES)] * 3


def test_a_model_that_goes_on_otherwise_is_run_whole(monkeypatch):
    net = causal("llama")
    editor, run = Editor(net), columns(net)
    whole = [editor(CASES, edits) for edits in sets(net)]
    run.clear()
    made = Behind.__init__

    def spoilt(self, *given):
        made(self, *given)
        self.kept = [(keys, values * 1.001) for keys, values in self.kept]

    monkeypatch.setattr(Behind, "__init__", spoilt)
    for one, other in zip(editor.passes(CASES, sets(net)), whole, strict=True):
        assert torch.equal(one.logits, other.logits)
    assert run == [12, 1, 12, 12, 12]
