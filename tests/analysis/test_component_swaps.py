"""Swaps of components: attention after them is what a softmax over the edited keys gives, in every basis."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic

import qkstore
from qkstore.analysis.decomposition import components, swaps
from qkstore.analysis.decomposition.swaps import ALL, REST, draw
from qkstore.errors import ContrastError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    synthetic.write(store, n=600)
    return qkstore.open(store).run("synthetic")


@pytest.fixture(scope="module")
def order(run):
    """A head that reads the order of four boxes: three components."""
    return components(run, 1, 0)


def by_name(found) -> dict:
    return {c.name: c for c in found.conditions}


def test_the_order_of_four_boxes_is_three_components(order):
    assert order.found.number.value == 3
    assert (order.rho > 0.6).all()
    assert (order.rho_ci[:, 0] > 0.4).all()


def test_it_is_the_softmax_over_edited_keys(run, order):
    P = order.found.key_projector([0, 2])
    targets = draw([order], 1000, 0)
    condition = by_name(swaps(order, {"two": [0, 2]}))["two"]
    after = []
    for query, original, target in zip(targets.query, targets.original, targets.target, strict=True):
        rows = np.arange(query * synthetic.BOXES, (query + 1) * synthetic.BOXES)
        q, k = run.queries(1, 0, np.array([query]))[0].astype(float), run.keys(1, 0, rows).astype(float)
        here, there = original - rows[0], target - rows[0]
        rest = np.exp(run.logsumexp(1, 0, np.array([query]))[0]) - np.exp(synthetic.SCALING * k @ q).sum()
        edited = k.copy()
        edited[here], edited[there] = k[here] + P @ (k[there] - k[here]), k[there] + P @ (k[here] - k[there])
        weight = np.exp(synthetic.SCALING * edited @ q)
        after.append(weight[[here, there]] / (weight.sum() + rest))
    assert (condition.original_after, condition.target_after) == pytest.approx(tuple(np.mean(after, axis=0)), abs=1e-9)
    assert condition.n == len(targets)


def test_all_move_the_choice_the_complement_does_not_and_random_ones_less(order):
    found = by_name(swaps(order))
    assert list(found) == ["0", "1", "2", ALL, REST, "random 1", "random 3", "random 5"]
    moved = found[ALL]
    assert moved.target_after > moved.original_after
    assert moved.beyond["gap_gain"][1] > 0
    assert found[REST].beyond["gap_gain"][2] < 0, "random dimensions, as many as are left, move more"
    assert found["random 3"].target_after < moved.target_after
    total = sum(found[str(j)].gap_gain for j in range(3))
    assert total == pytest.approx(moved.gap_gain), "projectors of the components add up, so do the logits they move"
    assert moved.gap_gain + found[REST].gap_gain == pytest.approx(-2 * moved.gap_before)


def test_original_is_the_key_of_most_attention_and_target_another_of_its_role(run, order):
    targets = draw([order], 1000, 0)
    logits = run.queries(1, 0) @ run.keys(1, 0).T
    for query, original, target in zip(targets.query, targets.original, targets.target, strict=True):
        rows = np.arange(query * synthetic.BOXES, (query + 1) * synthetic.BOXES)
        assert original == rows[logits[query, rows].argmax()]
        assert target in rows
        assert target != original
    again, other = draw([order], 1000, 0), draw([order], 1000, 1)
    assert np.array_equal(again.target, targets.target)
    assert not np.array_equal(other.target, targets.target)


def test_a_head_without_components_says_so(run):
    none = components(run, 1, 0, n=0)
    with pytest.raises(ContrastError, match="layer 1 head 0 has no component above chance"):
        swaps(none)


def test_a_component_that_is_not_there_is_named(order):
    with pytest.raises(ContrastError, match="no component 7; this head has 0 to 2"):
        swaps(order, {"two": [0, 7]})
