"""What a notebook shows of a result as the last line of a cell: a line, and no arrays."""

from __future__ import annotations

import pytest
from synthetic import synthetic, write
from test_analysis import ORDER

import qkstore
from qkstore import analysis
from qkstore.analysis import decomposition, discovery


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("short")
    write(path, "r", synthetic(256))
    return qkstore.open(path).run("r")


RESULTS = {
    "Covariance(Subspace(rank=": lambda run: analysis.covariance(run, ORDER, 1, 0),
    "Subspace(rank=": lambda run: analysis.subspace(run, (ORDER,), 1, 0),
    "HeadComponents('r', layer=1, head=0, 3 components, rho=[": lambda run: analysis.components(run, 1, 0),
    "Components(3 of d_head=": lambda run: analysis.components(run, 1, 0).found,
    "Study('r', layer=1, head=0, 3 components)": lambda run: decomposition.study(run, 1, 0),
    "Discovery(": discovery.discover,
    "Run('r', ": lambda run: run,
}


@pytest.mark.parametrize("start", RESULTS)
def test_a_result_is_shown_in_one_line(run, start):
    shown = repr(RESULTS[start](run))
    assert shown.startswith(start)
    assert len(shown) < 160
    assert "\n" not in shown
    assert "array(" not in shown
