"""Variants: the authors' definitions beside the text's, where it is known which one finds the feature."""

from __future__ import annotations

import numpy as np
import pytest
from labelled import labelled
from synthetic import synthetic, write

import qkstore
from ingest.prompts import lists
from qkstore.analysis.variations import variants
from qkstore.contrast import Contrast
from qkstore.errors import ContrastError

TEXT = "k.prompt_id = q.prompt_id and k.order_id = q.queried_order"
ORDER = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)
LEXICAL = Contrast(
    name="lexical",
    where="q.variant = 'base' and k.order_id = q.queried_order",
    positive="k.prompt_id = q.prompt_id",
    negative="k.prompt_id = q.counterfactual_id",
)
MATCHED = LEXICAL.replace(
    name="authors/lexical", where=TEXT, positive="q.variant = 'base'", negative="q.variant = 'counterfactual'"
)
NAMED = {
    "order": (ORDER,),
    "lexical": (LEXICAL,),
    "authors/order": (ORDER.replace(weighting="query"),),
    "authors/lexical": (MATCHED,),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    write(path, n=1024)
    return qkstore.open(path).run("synthetic")


def test_both_definitions_swap_the_same_keys(run):
    found = {(v.name, v.whose): v for v in variants(run, NAMED, 1, 2, most=100)}
    text, scripts = found["lexical", "text"], found["lexical", "scripts"]
    assert text.overlap == pytest.approx(1)
    assert scripts.overlap < 0.99
    assert text.swap.target_after != pytest.approx(scripts.swap.target_after, abs=1e-3)
    # the same swaps
    assert text.swap.n == scripts.swap.n
    assert text.swap.target_before == scripts.swap.target_before
    assert found["order", "scripts"].overlap == pytest.approx(
        1, abs=1e-6
    )  # as many negatives everywhere: the same matrix


def test_added_projectors_count_twice_what_they_share(run):
    found = {(v.name, v.whose): v for v in variants(run, NAMED, 1, 2, most=100)}
    span, added = found["order+lexical", "text"], found["order+lexical", "scripts"]
    assert span.overlap == pytest.approx(1)
    assert added.swap.rank >= span.swap.rank
    assert added.swap.target_after != pytest.approx(span.swap.target_after, abs=1e-3)


def test_sums_follow_what_all_keys_share(tmp_path):
    """Five fruits among 25 items, and a mean that all keys share.

    The direction of the sums is that mean, the direction of the means is the category.
    """
    data = labelled(lists.build(60, 0, n_test=60))
    rng = np.random.default_rng(0)
    kinds = data.tokens.join(data.key_rows, on=["prompt_id", "pos"], how="semi")["category"].to_numpy()
    fruit, shared, query = np.linalg.qr(rng.normal(size=(8, 3)))[0].T
    data.k[0, 0] = 0.3 * rng.normal(size=data.k[0, 0].shape) + 4 * shared + 3 * np.outer(kinds == "fruit", fruit)
    data.q[0, 0] = 0.1 * rng.normal(size=data.q[0, 0].shape) + query
    write(tmp_path, data=data)
    store = qkstore.open(tmp_path)
    run = store.run("synthetic")
    named = {n: c for n, c in store.features(run).items() if n.endswith(":fruit")}
    text, scripts = variants(run, named, 0, 0)
    assert (text.name, text.whose, scripts.whose) == ("category:fruit", "text", "scripts")
    assert text.swap.rank == 1
    assert scripts.overlap < 0.5


def test_a_run_without_both_definitions_is_told(run):
    with pytest.raises(ContrastError, match="no contrast that the authors' scripts define otherwise"):
        variants(run, {"order": (ORDER,)}, 1, 0)


def test_a_layer_that_sees_no_pair_of_keys_is_told(tmp_path):
    data = synthetic(n=64)
    for layer in data.layers:
        layer["window"] = 1
    write(tmp_path, data=data)
    with pytest.raises(ContrastError, match="layer 1 sees none of the 16 pairs of keys: its window is 1"):
        variants(qkstore.open(tmp_path).run("synthetic"), NAMED, 1, 0)
