"""The reckoning of large runs: its formulas say the bytes of runs that are written here, and its controls fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from reckoned import ASSUMED, SHOWN, C, seventy

import qkstore
from bench.scale import asking, computing, derived, limits, serving, storing
from bench.scale.constants import values
from bench.scale.foretold import plan, sizes
from bench.scale.model import LLAMA_8B, LLAMA_70B, Kept, choices
from bench.speed.synthetic import Shape
from qkstore.contrast.selection import MOST_PAIRS
from qkstore.run import Run
from qkstore.run.schema import STORE_DTYPES

# -- bytes -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("scale")
    qkstore.open(path, create=True)
    return path


@pytest.fixture(scope="module")
def measured(folder):
    """Constants of small runs of two widths and both dtypes, and of the labels of another one."""
    shapes = [
        Shape(2000, keys=3, heads=16, kv_heads=2, d_head=d, store_dtype=t) for t in STORE_DTYPES for d in (16, 96)
    ]
    written = [storing.Written.of(folder, shape, 0) for shape in shapes]
    labelled, _, _ = storing.publish(folder, "labelled", Shape(40_000, heads=1, kv_heads=1, d_head=1), 0)
    sizes = storing.per_vector([(w.payload, w.vector) for w in written])
    return values([*sizes, storing.log_sum_exp(written[:1]), *storing.of_labels(Run(labelled))])


@pytest.mark.parametrize("dtype", STORE_DTYPES)
def test_the_formula_says_the_bytes_of_a_run_that_is_published(folder, measured, dtype):
    """Of another shape than the constants are of: more keys, another width, two layers."""
    shape = Shape(1500, keys=7, layers=2, heads=12, kv_heads=4, d_head=48, store_dtype=dtype)
    path, _, _ = storing.publish(folder, f"told-{dtype}", shape, 1)
    run = Run(path)
    told = plan(run).size(measured)
    assert told == pytest.approx(path.stat().st_size, rel=0.05)
    (one,) = sizes({run.name: qkstore.open(folder)}, measured)
    assert abs(one.off) < 0.05
    other = replace(plan(run), kept=replace(plan(run).kept, dtype=next(t for t in STORE_DTYPES if t != dtype)))
    assert abs(other.size(measured) / path.stat().st_size - 1) > 0.3, "the control: the other dtype is another size"


def test_vectors_are_counted_by_hand():
    whole = seventy()
    assert whole.query_vectors == 80 * 64 * 100_000 * 512
    assert whole.key_vectors == 80 * 8 * 100_000 * 512
    assert sum(whole.bytes(C).values()) == whole.size(C)
    assert whole.size(C) > 4 * 128 * (whole.query_vectors + whole.key_vectors)
    summed = seventy(Kept("", 16, 0, sums=4))
    assert summed.key_vectors == 80 * 8 * 100_000 * 16 * 2 * 4
    fitted = seventy(choices(512, 16, 4)[-1])
    assert fitted.query_vectors == fitted.key_vectors == 0
    assert fitted.size(C) == seventy(choices(512, 16, 4)[-1], prompts=10).size(C), "sums do not grow with prompts"


def test_a_state_of_sums_is_as_large_as_the_fitters():
    from qkstore.covariance import ContrastiveCovariance

    fitter = ContrastiveCovariance(128)
    arrays = [v for v in vars(fitter).values() if isinstance(v, np.ndarray)]
    one = replace(seventy(Kept("", 0, 0, sums=1, fitted=True)))
    state = one.size(C) / (16 * 80 * 64)
    assert state == sum(a.nbytes for a in arrays) + 8, "and the number of queries"


# -- hours and money -------------------------------------------------------------------------------------------------


def test_passes_are_two_operations_a_parameter_and_token():
    hours = derived.passes_h(LLAMA_70B, 51.2e6, ASSUMED)
    assert hours * 3600 * 8 * 989e12 * 0.4 == pytest.approx(2 * 70.6e9 * 51.2e6)
    assert derived.passes_h(LLAMA_70B, 51.2e6, ASSUMED | {"gpus": 16}) == pytest.approx(hours / 2)


def test_costs_follow_their_assumptions_and_nothing_else():
    case = derived.derive(seventy(), C, ASSUMED)
    twice = derived.derive(seventy(), C, ASSUMED | {"price_tb_month": 2 * ASSUMED["price_tb_month"]})
    assert twice.cost - case.cost == pytest.approx(case.tb * ASSUMED["price_tb_month"])
    assert twice.tb == case.tb
    assert case.write_core_h == pytest.approx(case.tb * 1000 * (0.4 + 9.5) / 3600)
    ten = derived.derive(seventy(prompts=1_000_000), C, ASSUMED)
    assert ten.sweep_core_h > 9 * case.sweep_core_h


def test_every_choice_of_every_model_is_a_row():
    rows = derived.table(derived.cases(C, ASSUMED))
    assert len(rows) == 1 + 2 * len(choices(512, 16, 4))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert {row[0] for row in rows[1:]} == {LLAMA_70B.name, LLAMA_8B.name}


# -- limits ----------------------------------------------------------------------------------------------------------


def test_the_first_limit_comes_first_and_is_met_where_it_says():
    found = limits.limits(seventy(), C, ASSUMED)
    assert [one.prompts for one in found] == sorted(one.prompts for one in found)
    assert "every token before it" in found[0].what
    a_prompt = 512 * 511 / 2
    assert found[0].prompts == pytest.approx(MOST_PAIRS / a_prompt)
    by = {one.what: one.prompts for one in found}
    assert by["row numbers"] == pytest.approx((2**31 - 1) / 512)
    assert by["heads"] == limits.NEVER
    more = {one.what: one.prompts for one in limits.limits(seventy(), C, ASSUMED | {"memory_gb": 2000})}
    held, one = "a sweep of a contrast of every query: a KV group", "rows of one head, read from the first to the last"
    assert more[held] == pytest.approx(2 * by[held])
    assert by[one] == pytest.approx(9 * by[held]), "eight heads' queries and their keys, beside one head's"
    assert {what for what in by if more[what] != by[what]} == {held, one, "targets of a swap: tables in memory"}


def test_a_limit_that_is_met_is_marked():
    assert limits.told(99, 100).endswith("✗")
    assert not limits.told(101, 100).endswith("✗")
    assert limits.told(limits.NEVER, 100) == "never"


# -- what is measured ------------------------------------------------------------------------------------------------


def test_label_tables_are_a_run_and_contrasts_count_by_hand(tmp_path):
    path = tmp_path / "labels.duckdb"
    asking.write(path, 8 * asking.TOKENS)
    run = Run(path)
    assert (run.n_prompts, run.n_queries, run.n_keys) == (8, 8 * 512, 8 * 512)
    found = {what: qkstore.contrast.pairs(run, contrast).counts for what, contrast in asking.ASKED.items()}
    one, eight = found.values()
    assert one == (8, 72, 8, 64)
    assert eight == (64, 640, 64, 576)


def test_a_question_that_was_stopped_is_told_and_is_a_limit():
    gave_up = replace(SHOWN[-1], rows=16 << 20, pairs=0, stopped="stopped after 60 s")
    assert "stopped after 60 s" in asking.table([*SHOWN, gave_up])[-1]
    *others, last = asking.constants([*SHOWN, gave_up])
    assert others == asking.constants(SHOWN)
    by = {one.what: one.prompts for one in limits.limits(seventy(), C | {last.name: last.value}, ASSUMED)}
    assert by["a draw of a swap's targets"] == (16 << 20) / 512
    (before,) = (one for one in limits.limits(seventy(), C, ASSUMED) if one.what == "a draw of a swap's targets")
    assert before.prompts == limits.NEVER


def test_a_power_is_the_slope_of_logarithms():
    assert asking.growth([1, 2, 4], [3, 6, 12]) == pytest.approx(1)
    assert asking.growth([1, 2, 4], [1, 4, 16]) == pytest.approx(2)


def test_seconds_are_solved_for_what_made_them():
    true = (0.01, 2e-10, 1e-9)
    features = [(1, n * d * d, n * k * d) for n, k, d in computing.GRID]
    rows = [(f, [float(np.dot(f, true))] * 2) for f in features]
    for constant, value in zip(computing.solved(computing.SWEEP, rows, "made up"), true, strict=True):
        assert constant.value == pytest.approx(value, rel=1e-6)
        assert constant.low == pytest.approx(constant.high)


def test_a_page_without_a_figure_is_told():
    text = (ROOT / serving.PAGE).read_text()
    assert {c.name for c in serving.cited(text)} == set(serving.CITED)
    with pytest.raises(ValueError, match="no figure of 'a page'"):
        serving.cited(text.replace("a page view", "a look"))
