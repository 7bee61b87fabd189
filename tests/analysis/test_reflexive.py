"""Reflexive binding, planted: a head whose query carries the answer's box, and one whose query carries the entity."""

from __future__ import annotations

import numpy as np
import pytest
from labelled import labelled
from synthetic import SCALING, D, write

import qkstore
from ingest.prompts import boxes
from ingest.prompts.words import BOXES, ENTITIES
from qkstore import analysis
from qkstore.analysis.heads import heads
from qkstore.contrast import builtin

PAIRS = 4
SIGNS = 3  # dimensions of a code


def planted(carried: str, seed: int = 0):
    """Boxes prompts with one head: q carries a code of the queried box (or entity) and each box key that of its own."""
    data = labelled(boxes.build(300, "ent", 0, n_test=150, n_pairs=PAIRS, reflexive=True))
    rng, words = np.random.default_rng(seed), BOXES if carried == "box" else ENTITIES
    basis = np.linalg.qr(rng.normal(size=(D, D)))[0][:SIGNS]
    signs = np.array([[1 if i >> bit & 1 else -1 for bit in range(SIGNS)] for i in range(2**SIGNS)])
    code = {word: 3 * signs[i % 2**SIGNS] @ basis for i, word in enumerate(words)}
    queries = data.query_rows.join(data.prompts, on="prompt_id", maintain_order="left")
    keys = data.key_rows.join(data.tokens, on=["prompt_id", "pos"], maintain_order="left")
    data.q[0, 0] = rng.normal(size=(len(queries), D)) / 2 + np.array([code[w] for w in queries[f"queried_{carried}"]])
    spoken = [code[w] if role == "box" else np.zeros(D) for w, role in keys.select(carried, "role").iter_rows()]
    data.k[0, 0] = rng.normal(size=(len(keys), D)) / 2 + np.array(spoken)
    logits = SCALING * np.einsum("nd,nd->n", data.q[0, 0].astype(float)[keys["prompt_id"]], data.k[0, 0].astype(float))
    total = np.bincount(keys["prompt_id"].to_numpy(), np.exp(logits), len(data.prompts))
    data.logsumexp[0, 0] = np.log(total[queries["prompt_id"]])
    return data


@pytest.fixture(scope="module", params=["box", "entity"])
def run(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param)
    write(path, request.param, planted(request.param))
    return qkstore.open(path).run(request.param)


def moved(run, name: str) -> tuple[float, float]:
    """Attention on the target after the swap in a contrast's subspace, and in random ones.

    The subspace is cut at the code's dimensions.
    """
    swap, random = analysis.intervene(run, {name: builtin.feature(run, name)}, 0, 0, ranks={name: SIGNS}).conditions
    return swap.target_after, random.target_after


def test_the_swap_of_what_the_query_carries_moves_attention_and_the_other_does_not(run):
    right, wrong = ("reflexive", "lexical") if run.name == "box" else ("lexical", "reflexive")
    (found, random), (other, random_of_other) = moved(run, right), moved(run, wrong)
    assert found > 0.5 > random + 0.1
    assert other < random_of_other + 0.15
    assert found > other + 0.2


def test_the_head_that_carries_the_box_is_significant_for_reflexive_alone(run):
    """The null deals signs among a query's keys: it is passed where the two keys differ in what the query reads."""
    p = {name: heads(run, builtin.feature(run, name)[0])[0].p_value for name in ("reflexive", "lexical")}
    right, wrong = ("reflexive", "lexical") if run.name == "box" else ("lexical", "reflexive")
    assert p[right] == 1 / 20
    assert p[wrong] > 1 / 20
