"""The bench of 16-bit vectors: its other roundings, and that it sees what misses a bound."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import stores
import torch
from conftest import ROOT

import qkstore

spec = importlib.util.spec_from_file_location("bench_compact", ROOT / "bench/models/compact.py")
compact = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = compact
spec.loader.exec_module(compact)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[qkstore.Run]:
    path = tmp_path_factory.mktemp("compact")
    for kind in compact.KINDS:
        stores.write(path, kind, data=stores.boxes(240, store_dtype=kind))
    return [qkstore.open(path).run(kind) for kind in compact.KINDS]


def test_bf16_rounds_as_torch_does():
    v = (np.random.default_rng(0).normal(size=(100, 64)) * 10.0 ** np.arange(-32, 32)).astype(np.float32)
    v[0, :4] = [0.0, -0.0, 1.00390625, 1.01171875]  # ties, to even
    assert np.array_equal(compact.bf16(v), torch.from_numpy(v).bfloat16().float().numpy())


def test_16_bits_keep_the_bounds_of_what_is_compared_and_8_do_not(runs):
    one, other = runs
    near = compact.total(compact.differences(one, other, every=3))
    assert set(near) == set(compact.SAID)
    assert near["share"] < 1
    assert not compact.missed(
        {name: near[name] for name in ("delta", "accuracy", "selectivity", "rank", "statistical")}
    )
    coarse = compact.Rounded(one.path, compact.eight)
    far = compact.total(compact.differences(one, coarse, every=3))
    assert {"logit", "attention", "delta", "selectivity"} <= set(compact.missed(far))


def test_the_table_has_a_line_a_difference_and_says_of_how_many(runs):
    lines = compact.table([compact.row(*runs, every=8)])
    assert len(lines) == 2 + len(compact.SAID) + 2
    assert lines[-1] == "float32: 1 heads, 240 queries, 960 keys, d 8."
