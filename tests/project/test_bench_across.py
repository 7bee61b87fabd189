"""The bench of all heads side by side: copies share clusters, a run without components none, and its control fails.

And of the components that a label explains, swapped by themselves.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import synthetic

import qkstore
from bench.discovery import across, demo


@pytest.fixture(scope="module")
def side_by_side(tmp_path_factory):
    """A run whose layer 0 has two heads of layer 1 in another basis, and one whose queries are all the same."""
    folder, data = tmp_path_factory.mktemp("across"), synthetic.synthetic(600)
    M = np.random.default_rng(0).standard_normal((synthetic.D, synthetic.D))
    data.q[0, :2], data.k[0, 0] = data.q[1, :2] @ M, data.k[1, 0] @ np.linalg.inv(M).T
    data.logsumexp[0, :2] = data.logsumexp[1, :2]
    synthetic.write(folder, "demo-boxes-both", data)
    flat = synthetic.synthetic(64)
    flat.q[:] = flat.q[:, :, :1]
    synthetic.write(folder, "demo-lists", flat)
    return qkstore.open(folder)


def test_heads_side_by_side_share_what_was_copied_and_a_run_without_components_shares_nothing(side_by_side):
    told = across.study(side_by_side)
    by = {row.run: row for row in told}
    assert set(by) == {"demo-boxes-both", "demo-lists"}, "runs that are not there are left out"
    both, flat = by["demo-boxes-both"], by["demo-lists"]
    assert 4 in both.shared, "two heads and their copies"
    assert both.within > both.chance
    assert (flat.number, flat.shared, flat.clusters) == ((), (), 0)
    assert sum(flat.refused.values()) == flat.heads == 8
    assert across.failures(told) == ["demo-lists: no component is shared by several heads"]
    header, first, second = across.table(told)
    assert {len(header)} == {len(first), len(second)}
    assert first[0] == "boxes-both"
    assert across.study(side_by_side)[0].number == both.number
    assert across.study(side_by_side)[0].seconds[0] < both.seconds[0], "the catalogue keeps it"


def test_random_weights_that_share_as_much_as_trained_ones_are_a_failure(side_by_side):
    one = replace(across.study(side_by_side)[0], run=across.REAL[1])
    control = replace(one, run=across.REAL[2], shared=one.shared[:1])
    assert across.failures([one, control]) == []
    assert across.failures([replace(one, shared=()), control])[0].endswith(
        "random weights share as much as trained ones"
    )


def test_sizes_of_clusters_in_a_cell():
    assert across.sizes([4, 4, 2]) == "3: 2 by 4, 1 by 2"
    assert across.sizes([]) == "0"
    assert across.sizes(range(2, 12)) == "10, at most by 11"


def test_the_components_that_a_label_explains_are_swapped_beside_as_many_random_ones(side_by_side, monkeypatch):
    monkeypatch.setitem(demo.LABELS, "boxes", ("queried_order", "queried_entity"))
    order, whole = found = demo.parts(side_by_side.run("demo-boxes-both"), 1, 0)
    assert [part.label for part in found] == ["order", "all"], "this head reads the order alone"
    assert order.moved.rank == order.in_gauge.rank == order.in_basis.rank
    assert {part.moved.n for part in found} == {order.in_basis.n}
    assert order.moved.target_after > order.in_gauge.target_after + 0.1 > order.moved.target_before + 0.1
    assert order.gap[1] > 0.02
    said = ["L1H0: the components of order do not move a part"]
    assert demo.halves(found) == []
    assert demo.halves([order, replace(whole, moved=order.moved)]) == said, "a group that moves all"
    idle = replace(order, moved=replace(order.moved, beyond={"gap_gain": (0.0, -0.1, 0.1)}))
    assert demo.halves([idle, whole]) == said, "a group that moves no more than random dimensions do"
    header, first, second = demo.parted(found)
    assert {len(header)} == {len(first), len(second)}
    assert first[:3] == ["L1H0", "order", str(order.moved.rank)]
