"""Known head types in a discovery: each found at its planted head and nowhere else, first, and not twice."""

from __future__ import annotations

import numpy as np
import pytest
import stores
import synthetic
from planted import PLANTED, planted

import qkstore
from qkstore.analysis import discovery
from qkstore.contrast import pairs


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("types")
    synthetic.write(path, "planted", data=planted(80))
    return qkstore.open(stores.write(path, n=600))


@pytest.fixture(scope="module")
def run(store):
    return store.run("planted")


@pytest.fixture(scope="module")
def found(run):
    return discovery.discover(run)


def test_each_type_is_found_at_its_head_and_nothing_else_is(found):
    there = {(found.match(f).type, f.layer, f.head) for f in found.found()}
    assert there == {(name, 0, head) for name, head in PLANTED.items()}


def test_other_matches_leave_out_the_keys_of_known_types(run, found):
    (match,) = (m for m in found.tried.matches if m.words == "k.token_after = q.token_id")
    assert match.beyond
    assert match.name.endswith("-beyond")
    assert "beyond known types" in match.told
    of = pairs(run, match.contrast("test"), "test")
    q_pos, k_pos = run.query_places[1][of.query], run.key_places[1][of.key]
    assert (k_pos < q_pos - 1).all()
    whole = pairs(run, match.contrast("test").replace(where="k.prompt_id = q.prompt_id and k.pos < q.pos"), "test")
    assert (run.key_places[1][whole.key] == run.query_places[1][whole.query] - 1).any()  # the control


def test_the_table_of_types_has_the_strongest_heads(found):
    rows = {row["type"]: row for row in discovery.types(found).to_dicts()}
    assert list(rows)[-1] == "first-token"
    for name, head in PLANTED.items():
        assert rows[name]["heads"] == 1
        assert f"H{head} " in rows[name]["strongest"]


def test_where_heads_rest_is_their_attention_on_the_first_token(run, found):
    for layer, head, share in found.resting:
        q, k = run.queries(layer, head), run.keys(layer, head)
        (q_prompt, q_pos), (k_prompt, k_pos) = run.query_places, run.key_places
        split = run.labels("q", ["split"], np.arange(len(q)))["split"].to_pylist()
        rows = np.flatnonzero((q_pos > 1) & (np.array(split) == "test"))
        own = []
        for row in rows:
            seen = np.flatnonzero((k_prompt == q_prompt[row]) & (k_pos <= q_pos[row]))
            logit = (k[seen] @ q[row] * run.layers[layer].scaling).astype(np.float64)
            a = np.exp(logit - logit.max())
            own.append(a[k_pos[seen] == 0].item() / a.sum())
        assert share == pytest.approx(np.mean(own), rel=1e-4)


def test_a_run_of_labels_has_no_types(store):
    assert len(discovery.types(discovery.discover(store.run("boxes")))) == 0


def test_it_comes_back_from_json_as_it_was(found):
    import json

    again = discovery.Discovery.of(json.loads(json.dumps(found.to_dict())))
    assert again == found


def test_a_contrast_beyond_known_types_is_made_of_its_name_alone(run, found):
    (match,) = (m for m in found.tried.matches if m.words == "k.token_after = q.token_id")
    assert discovery.contrast(run, match.name) == match.contrast("test")
