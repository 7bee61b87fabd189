"""bench.speed.cluster: its table on a small run, and that a difference would be seen."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import pytest
from conftest import ROOT
from synthetic import write

import qkstore
from bench.speed import cluster
from qkstore.analysis.heads import heads

ORDER = qkstore.Contrast(positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="the extra `cluster` is not installed")
def test_nodes_of_which_one_is_killed_give_the_same(tmp_path):
    command = [sys.executable, "-m", "bench.speed.cluster", str(tmp_path), "--small", "--json", str(tmp_path / "took")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    took = json.loads((tmp_path / "took").read_text())
    assert [one["gap"] for one in took[2:]] == [0, 0], "to the bit"
    assert [one["what"] for one in took][-1] == "3 nodes, one killed in the middle"
    assert "32 heads of 8 dimensions × 4 contrasts" in done.stdout


def test_control_a_difference_is_seen(tmp_path):
    write(tmp_path, "r")
    scores = heads(qkstore.open(tmp_path).run("r"), ORDER, 3)
    assert cluster.gap([scores], [scores]) == 0
    other = replace(scores[1], delta_norm=scores[1].delta_norm + 1e-6)
    assert cluster.gap([scores], [[scores[0], other, *scores[2:]]]) == pytest.approx(1e-6)
    for wrong in (
        replace(scores[1], rank=99),
        replace(scores[1], p_value=None),
        replace(scores[1], chance=float("nan")),
    ):
        assert not cluster.gap([scores], [[scores[0], wrong, *scores[2:]]]) <= cluster.LIMIT
