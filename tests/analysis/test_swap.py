"""A swap in closed form, from the store, equals a re-run of the demo model with that edit; no other head changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AttentionInterface, AutoModelForCausalLM

import qkstore
from ingest import demo, job, model
from ingest.prompts import boxes
from qkstore import intervention
from qkstore.analysis import subspace, targets
from qkstore.contrast.builtin import LEXICAL

LAYER = 1


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    store = tmp_path_factory.mktemp("store")
    small = model.load(str(demo.MODEL))
    job.ingest(
        store, "small", small, boxes.build(60, "ent", 3, 40), job.Options(batch_size=32), task="boxes ent", seed=3
    )
    return qkstore.open(store).run("small")


@pytest.fixture(scope="module")
def net():
    return AutoModelForCausalLM.from_pretrained(demo.MODEL, attn_implementation="eager").eval()


class Rerun:
    """Attention written out, with the keys of one query head at two positions replaced.

    Weights and outputs are kept.
    """

    def __init__(self, net):
        self.net, self.edit, self.seen = net, None, {}
        AttentionInterface.register("rerun", self.attend)

    def attend(self, module, query, key, value, mask, scaling, **_):
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        if self.edit and module.layer_idx == LAYER:
            head, positions, keys = self.edit
            key = key.clone()
            key[0, head, positions] = keys
        T = query.shape[2]
        logits = (query @ key.transpose(2, 3) * scaling).masked_fill(~torch.ones(T, T).tril().bool(), -torch.inf)
        weights = logits.softmax(-1)
        out = weights @ value
        self.seen[module.layer_idx] = (weights, out)
        return out.transpose(1, 2).contiguous(), weights

    def __call__(self, ids, edit=None):
        self.edit = edit
        self.net.set_attn_implementation("rerun")
        with torch.no_grad():
            self.net(input_ids=torch.tensor([ids]), use_cache=False)
        return dict(self.seen)


@pytest.mark.parametrize("head", [0, 3])
def test_closed_form_equals_a_rerun_and_other_heads_stay(run, net, head):
    drawn = targets.draw(run, (LEXICAL,), "test", most=20)
    V = subspace(run, (LEXICAL,), LAYER, head).V
    q, original, aimed = (
        run.queries(LAYER, head, drawn.query),
        run.keys(LAYER, head, drawn.original),
        run.keys(LAYER, head, drawn.target),
    )
    logsumexp, scaling = run.logsumexp(LAYER, head, drawn.query), run.layer(LAYER).scaling
    swap = intervention.swap(q, original, aimed, logsumexp, V, scaling)
    no_swap = intervention.swap(q, original, aimed, logsumexp, V[:, :0], scaling)
    rerun, moved = Rerun(net), 0.0
    for i in range(len(drawn)):
        ids = [t["token_id"] for t in run.tokens(int(run.query_places[0][drawn.query[i]]))]
        at = [int(run.key_places[1][row]) for row in (drawn.original[i], drawn.target[i])]
        row = int(run.query_places[1][drawn.query[i]])
        k, k2 = original[i].astype(float), aimed[i].astype(float)
        step = V @ (V.T @ (k2 - k))
        before = rerun(ids)
        after = rerun(ids, (head, at, torch.tensor(np.stack([k + step, k2 - step]), dtype=torch.float32)))
        weights = after[LAYER][0][0, head, row, at].numpy()
        assert np.allclose(weights, [swap.original_after[i], swap.target_after[i]], atol=1e-5)
        assert np.allclose(
            before[LAYER][0][0, head, row, at].numpy(), [swap.original_before[i], swap.target_before[i]], atol=1e-5
        )
        others = [h for h in range(run.n_heads) if h != head]
        for part in (0, 1):
            assert torch.equal(before[LAYER][part][0, others], after[LAYER][part][0, others])  # to the bit
            assert torch.equal(before[0][part], after[0][part])
        moved = max(moved, abs(weights[1] - swap.target_before[i]))
    assert moved > 0.1  # the control: the edit does something, and a closed form that left it out would fail
    assert not np.allclose(no_swap.target_after, swap.target_after, atol=1e-2)
