"""One rule of which keys a query sees, for the store's arrays and the model's tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ingest.model.layer import Layer
from qkstore import run


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 1, 3])
def test_a_rule_is_the_same_for_arrays_and_tensors(causal, window):
    stored = run.Layer(layer=2, scaling=0.5, softcap=None, window=window, causal=causal)
    layer = Layer(2, 0.5, None, window, causal, n_heads=4, n_kv_heads=2, d_head=8)
    pos = np.arange(6)
    expected = [
        [(key <= query or not causal) and (window is None or abs(query - key) < window) for key in pos] for query in pos
    ]
    for rule in (stored, layer):
        seen = rule.visible(torch.from_numpy(pos)[:, None], torch.from_numpy(pos))
        assert seen.dtype == torch.bool
        assert seen.tolist() == expected
        array = rule.visible(pos[:, None], pos)
        assert array.dtype == bool
        assert array.tolist() == expected


def test_what_the_store_holds_of_a_layer_makes_its_own_layer_of_it():
    layer = Layer(2, 0.5, 30.0, 4, True, n_heads=4, n_kv_heads=2, d_head=8)
    assert run.Layer(**layer.facts()) == run.Layer(2, 0.5, 30.0, 4, True)
