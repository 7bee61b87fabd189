"""Which saved contrasts a run is asked: those whose columns it has; of the others the reason is told."""

from __future__ import annotations

import json

import pytest
import stores

import qkstore
from qkstore import __main__ as cli
from qkstore.contrast import Contrast
from qkstore.contrast.fit import misfit
from qkstore.errors import ContrastError

FITS = [
    Contrast("a", positive="k.order_id = 1", negative="K.ORDER_ID = 2"),
    Contrast("b", positive="k.role.lower() = 'box'", negative="q.pos in (select t.pos from token as t)"),
    Contrast("c", pairs="select query_row, key_row, 1 as sign from q, k where k.order_id = 1"),
    Contrast("d", positive="k.pos = 'a'", negative="k.pos = -1"),  # it fits, and fails or has no pair
]
MISFITS = [
    (Contrast("e", positive="k.category = 'x'", negative="k.pos = 1"), "no column 'category' in k"),
    (Contrast("f", where="q.nope = 1", positive="k.pos = 1", negative="k.pos = 2"), "no column 'nope' in q"),
    (Contrast("g", pairs="select query_row, key_row, 1 as sign from q, k where k.nope = 1"), 'column named "nope"'),
    (Contrast("h", pairs="select query_row, key_row, 1 as sign from q, other"), "no table 'other'"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = stores.write(tmp_path_factory.mktemp("fit") / "store", n=80)
    stores.write_lists(path)
    made = qkstore.open(path)
    for contrast in (*FITS, *(c for c, _ in MISFITS)):
        made.catalog.save(contrast)
    return made


@pytest.mark.parametrize("contrast", FITS, ids=lambda c: c.name)
def test_one_whose_columns_the_run_has_fits(store, contrast):
    assert misfit(store.run("boxes"), contrast) is None


@pytest.mark.parametrize(("contrast", "reason"), MISFITS, ids=lambda c: getattr(c, "name", ""))
def test_of_another_the_reason_is_told(store, contrast, reason):
    run = store.run("boxes")
    assert reason in misfit(run, contrast)
    assert contrast.name not in store.features(run)
    assert reason in store.misfits(run)[contrast.name]
    with pytest.raises(ContrastError, match=f"contrast '{contrast.name}' does not fit run 'boxes': ") as error:
        store.feature(run, contrast.name)
    assert "\n" not in str(error.value)


def test_a_contrast_may_fit_one_run_and_not_the_other(store):
    assert {"a", "b", "c", "d"} <= store.features(store.run("boxes")).keys()
    assert "e" in store.features(store.run("lists"))
    assert "e" not in store.misfits(store.run("lists"))
    assert "a" in store.misfits(store.run("lists"))


def test_a_row_that_cannot_be_read_is_a_misfit_and_stops_nothing(store):
    assert misfit(store.run("boxes"), Contrast("z", positive="k.pos = ", negative="k.pos = 2"))


def test_the_command_lists_them_apart(store, capsys):
    assert cli.main(["contrasts", "--store", str(store.path), "--run", "boxes", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "e" not in [row["name"] for row in json.loads(out)]
    assert "qkstore: contrast 'e' does not fit run 'boxes': no column 'category' in k" in err.splitlines()
