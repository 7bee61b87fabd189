"""One head's data: q, k and pairs of a contrast, read once; a head that is not there is refused."""

from __future__ import annotations

import numpy as np
import pytest
from stores import write

import qkstore
from qkstore.analysis import Head, Rows
from qkstore.contrast import builtin, pairs
from qkstore.errors import RunError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return qkstore.open(write(tmp_path_factory.mktemp("head"))).run("boxes")


def test_vectors_and_pairs_are_those_of_the_store(run):
    data = Head(run, 1, 2).read(builtin.ORDER)
    stored = pairs(run, builtin.ORDER, "train")
    assert np.array_equal(data.q[data.pairs.query], run.queries(1, 2, stored.query))
    assert np.array_equal(data.k[data.pairs.key], run.keys(1, 2, stored.key))
    assert not np.array_equal(data.k[data.pairs.key], run.keys(0, 2, stored.key)), "another layer has other keys"
    assert data.counts == stored.counts
    assert data.split == "train"


def test_logits_and_attention_are_those_of_the_pairs(run):
    head = Head(run, 1, 2)
    data = head.read(builtin.ORDER, "judge")
    stored, logits = data.rows.stored, data.logits()
    q, k = (x.astype(np.float64) for x in (run.queries(1, 2, stored.query), run.keys(1, 2, stored.key)))
    assert np.allclose(logits, head.facts.scaling * np.sum(q * k, axis=1), atol=1e-9)
    assert np.allclose(data.attention(logits), np.exp(logits - run.logsumexp(1, 2, stored.query)))


def test_parts_of_the_pairs_add_up_to_the_whole(run):
    data = Head(run, 1, 1).read(builtin.ORDER)
    odd = data.pairs.query % 2 == 1
    both = data.fit(data.pairs.where(odd)).merge(data.fit(data.pairs.where(~odd)))
    assert np.allclose(both.delta, data.covariance.delta, atol=1e-12)
    assert not np.allclose(data.fit(data.pairs.where(odd)).delta, data.covariance.delta, atol=1e-3)


def test_keys_of_a_group_may_be_handed_on(run):
    """Heads of one KV head share their keys: what is handed in is not read again."""
    rows = Rows.of(run, builtin.ORDER, "train")
    first = rows.read(Head(run, 1, 0))
    assert run.kv_head(0) == run.kv_head(1)
    assert np.array_equal(rows.read(Head(run, 1, 1), first.k).k, rows.read(Head(run, 1, 1)).k)


@pytest.mark.parametrize(
    ("layer", "head", "said"), [(9, 0, "no layer 9"), (1, 99, "no head 99"), (1, -1, "no head -1")]
)
def test_a_head_that_is_not_there_is_refused(run, layer, head, said):
    with pytest.raises(RunError, match=said):
        Head(run, layer, head)


def test_a_word_that_names_no_split_is_refused(run):
    with pytest.raises(RunError, match="no split 'biuld': did you mean 'build'"):
        Head(run, 1, 0).read(builtin.ORDER, "biuld")
