"""A window that hides a contrast's keys: whoever draws targets there says so in one line, and the report goes on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import stores

import qkstore
from qkstore import analysis
from qkstore.analysis import swaps, targets, variations
from qkstore.analysis.variations import variants
from qkstore.errors import ContrastError
from qkstore.report.leak import leak
from qkstore.report.report import report
from qkstore.report.study import Study
from qkstore.run import Layer

HIDDEN = "layer 1 sees none of the 75 pairs of keys: its window is 1"
ABSENT = "section is absent: "


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Runs with every key in sight, and with none."""
    path = tmp_path_factory.mktemp("store")
    for kind in ("boxes", "lists"):
        for name, window in ((kind, None), (f"{kind}-blind", 1)):
            data = getattr(stores, kind)()
            data.layers = [layer | {"window": window} for layer in data.layers]
            stores.write(path, name, data)
    return qkstore.open(path)


CALLS = {
    "intervene": lambda run, named: analysis.intervene(run, {"order": named["order"]}, 1, 0),
    "query swap": lambda run, named: swaps.intervene_queries(run, {"order": named["order"]}, 1, 0),
    "dose": lambda run, named: variations.response(run, named["order"], 1, 0, doses=(0.0, 1.0)),
    "variants": lambda run, named: variants(run, {n: named[n] for n in ("order", "authors/order")}, 1, 0),
}


@pytest.mark.parametrize("name", CALLS)
def test_each_swap_says_in_one_line_that_the_keys_are_out_of_sight(store, name):
    run = store.run("boxes-blind")
    with pytest.raises(ContrastError, match=HIDDEN) as said:
        CALLS[name](run, store.features(run))
    assert "\n" not in str(said.value)
    whole = store.run("boxes")
    assert CALLS[name](whole, store.features(whole)), "the control: with the keys in sight there is a result"


def test_targets_that_are_hidden_are_counted_and_all_layers_must_see_the_rest(store):
    run = store.run("boxes")
    order, far = store.feature(run, "order"), Layer(0, 1.0, None, None, True)
    near, blind = replace(far, layer=1, window=20), replace(far, layer=2, window=1)
    every, seen = (targets.visible_targets(run, order, layers, "test") for layers in ([far], [far, near]))
    assert every.hidden == 0 < seen.hidden
    assert len(seen) + seen.hidden == len(every)
    assert np.isin(seen.query, every.query).all()
    with pytest.raises(
        ContrastError, match="layers 0, 2 together see none of the 75 pairs .* windows are unlimited, 1"
    ):
        targets.visible_targets(run, order, [far, blind], "test")


def absent(store, run: str) -> list[str]:
    """Why sections of the report on one run are left out."""
    parts = [part for c in report(store, [run]).chapters for s in c.sections for part in s.parts]
    return [part.split(ABSENT)[1] for part in parts if isinstance(part, str) and ABSENT in part]


@pytest.mark.slow
def test_the_report_goes_on_without_the_sections_that_need_the_keys(store):
    assert absent(store, "boxes-blind").count(f"{HIDDEN}.") == 4, "leak, swaps, query side, doses"
    assert any(why.startswith("no head has a selectivity under contrast") for why in absent(store, "lists-blind"))
    study = Study(store, store.run("boxes"))
    assert len(leak(study).claims) == 3, "the control: with the keys in sight the section is whole"
