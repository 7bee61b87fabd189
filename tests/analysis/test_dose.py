"""Dose and response: nothing at 0, the whole swap at 1, and one coordinate at a time in between."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from synthetic import write

import qkstore
from qkstore import analysis
from qkstore.analysis import variations
from qkstore.contrast import Contrast
from qkstore.errors import ContrastError

ORDER = (
    Contrast(
        name="order",
        where="k.prompt_id = q.prompt_id",
        positive="k.order_id = q.queried_order",
        negative="k.order_id <> q.queried_order",
    ),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    write(path, n=1024)
    return qkstore.open(path).run("synthetic")


@pytest.fixture(scope="module")
def found(run):
    return variations.response(run, ORDER, 1, 0, doses=(0.0, 0.5, 1.0, 1.5))


def at(found, coordinate, amount):
    return found.table.filter((pl.col("coordinate") == coordinate) & (pl.col("dose") == amount)).row(0, named=True)


def test_dose_0_is_no_swap_and_dose_1_is_the_swap(run, found):
    whole = analysis.intervene(run, {"order": ORDER}, 1, 0).conditions[0]
    assert at(found, "all", 0.0)["target"] == pytest.approx(whole.target_before, abs=1e-12)
    assert at(found, "all", 1.0)["target"] == pytest.approx(whole.target_after, abs=1e-12)
    assert at(found, "all", 1.0)["original"] == pytest.approx(whole.original_after, abs=1e-12)
    assert at(found, "all", 0.5)["target"] != pytest.approx(whole.target_after, abs=0.01)
    assert found.n == whole.n
    assert found.rank == whole.rank


def test_attention_rises_with_the_dose_and_random_directions_do_less(found):
    targets = [at(found, "all", d)["target"] for d in (0.0, 0.5, 1.0, 1.5)]
    assert np.all(np.diff(targets) > 0)
    assert targets[2] > 0.5
    assert at(found, "random", 1.0)["target"] < 0.7 * targets[2]
    assert at(found, "random", 0.0)["target"] == pytest.approx(targets[0])


def test_every_coordinate_by_itself_moves_less_than_all(run, found):
    singles = [at(found, str(i + 1), 1.0)["target"] for i in range(found.rank)]
    assert len(singles) == found.rank >= 2
    assert max(singles) < at(found, "all", 1.0)["target"]
    assert not found.table.filter(coordinate=str(found.rank + 1)).height
    one = variations.response(run, ORDER, 1, 0, doses=(1.0,), coordinates=1)
    assert set(one.table["coordinate"]) == {"all", "1", "random"}


def test_intervals_hold_the_mean_and_shrink_with_more_queries(run, found):
    wide = variations.response(run, ORDER, 1, 0, doses=(1.0,), most=16)
    width = {n: at(f, "all", 1.0)["high"] - at(f, "all", 1.0)["low"] for n, f in (("few", wide), ("many", found))}
    assert 0 < width["many"] < width["few"]
    assert (found.table["low"] <= found.table["target"]).all()
    assert (found.table["target"] <= found.table["high"]).all()


def test_the_interval_of_random_subspaces_is_of_their_mean_over_few_bases(run, found):
    """Ten bases: the interval is Student's t with nine degrees of freedom, 2.262 standard errors.

    The normal's 1.960 would hold only 92 %.
    """
    random = next(c for c in analysis.intervene(run, {"order": ORDER}, 1, 0).conditions if c.bases)
    row = at(found, "random", 1.0)
    assert row["target"] == pytest.approx(random.target_after, abs=1e-12)
    assert (row["high"] - row["low"]) / 2 == pytest.approx(
        2.262157 * random.spread["target_after"] / np.sqrt(10), rel=1e-6
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"doses": (-0.5, 1.0)}, "dose -0.5: a dose is 0"),
        ({"doses": (1.0, float("nan"))}, "dose nan: a dose is 0"),
        ({"doses": (float("inf"),)}, "dose inf: a dose is 0"),
        ({"n_random": 9}, "needs 10 or more random subspaces, not 9"),
    ],
)
def test_what_is_no_dose_is_named(run, options, said):
    with pytest.raises(ContrastError, match=said):
        variations.response(run, ORDER, 1, 0, **options)
