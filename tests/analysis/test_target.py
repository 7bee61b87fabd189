"""Targets: one positive key and one other key of the same prompt a query, the same for every condition."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import BOXES, write

import qkstore
from qkstore.analysis import targets
from qkstore.contrast import Contrast, pairs
from qkstore.errors import ContrastError
from qkstore.run import Layer

ORDER = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)
CROSS = Contrast(
    name="cross",
    where="k.order_id = q.queried_order",
    positive="k.prompt_id = q.prompt_id",
    negative="k.prompt_id = q.counterfactual_id",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    write(store)
    return qkstore.open(store).run("synthetic")


@pytest.mark.parametrize("contrast", [ORDER, CROSS])
@pytest.mark.parametrize("split", ["train", "test", None])
def test_original_is_positive_and_target_another_key_of_the_prompt(run, contrast, split):
    drawn = targets.draw(run, (contrast,), split)
    found = pairs(run, contrast, split)
    positive = set(zip(found.query[found.positive], found.key[found.positive]))
    assert len(drawn) == len({q for q, _ in positive})
    assert len(set(drawn.query)) == len(drawn)
    assert all(pair in positive for pair in zip(drawn.query, drawn.original))
    assert not any(pair in positive for pair in zip(drawn.query, drawn.target))
    assert np.array_equal(drawn.query, drawn.original // BOXES)
    assert np.array_equal(drawn.query, drawn.target // BOXES)


def test_one_seed_draws_the_same_and_another_does_not(run):
    a, b, c = (targets.draw(run, (ORDER,), None, seed=s) for s in (0, 0, 1))
    assert np.array_equal(a.target, b.target)
    assert not np.array_equal(a.target, c.target)


def test_two_contrasts_of_one_feature_share_their_targets(run):
    both = targets.draw(run, (ORDER, CROSS), "test")
    assert np.array_equal(both.target, targets.draw(run, (ORDER,), "test").target)


def test_most_is_kept(run):
    assert len(targets.draw(run, (ORDER,), None, most=10)) == 10


def test_targets_are_spread_over_the_other_keys(run):
    drawn = targets.draw(run, (ORDER,), None)
    places = np.bincount(drawn.target % BOXES, minlength=BOXES)
    assert (places > len(drawn) / BOXES / 3).all()


def test_a_window_hides_targets(run):
    drawn = targets.draw(run, (ORDER,), None)
    assert len(drawn.visible(run, Layer(0, 1.0, None, None, True))) == len(drawn)
    near = drawn.visible(run, Layer(0, 1.0, None, 20, True))
    assert 0 < len(near) < len(drawn)


def test_no_other_key_is_one_line(run):
    every = Contrast(
        name="every", where="k.prompt_id = q.prompt_id", positive="k.role = 'box'", negative="k.role = 'entity'"
    )
    with pytest.raises(ContrastError, match="no negative pairs"):
        pairs(run, every, None)
    alone = Contrast(name="alone", positive="k.prompt_id = q.prompt_id", negative="k.prompt_id = q.counterfactual_id")
    with pytest.raises(ContrastError, match="leaves no key to move attention to"):
        targets.draw(run, (alone,), None)
