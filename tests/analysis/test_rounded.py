"""Analyses of a run of 16-bit vectors beside those of the same vectors as floats; 8 bits are too few."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import stores
import synthetic

import qkstore
from qkstore import analysis
from qkstore.analysis import evidence, export, heads, swaps
from qkstore.analysis.pairs import nearest, strongest
from qkstore.contrast.builtin import features
from qkstore.run import Run

NEAR = 1e-3  # of a number: of 1 + its size; measured: 7e-4, of swaps
EIGHT = 127


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Run]:
    """The run of boxes three times; '8-bits' holds floats that are rounded."""
    path = tmp_path_factory.mktemp("rounded")
    for kind in ("float32", "int16"):
        stores.write(path, kind, data=stores.boxes(400, store_dtype=kind))
    coarse = stores.boxes(400)
    coarse.q, coarse.k = (synthetic.rounded(v, EIGHT).astype(np.float32) for v in (coarse.q, coarse.k))
    stores.write(path, "8-bits", data=coarse)
    return {run.name: run for run in qkstore.open(path).runs()}


def one(run: Run, name: str = "order"):
    return features(run)[name][0]


ANSWERS = {
    "covariance": lambda run: analysis.covariance(run, one(run), 1, 0).delta,
    "span": lambda run: analysis.subspaces(run, features(run), 1, 2)["lexical"].S,
    "heads": lambda run: [
        (s.accuracy, s.selectivity, s.attention_positive, s.delta_norm, s.delta_null, s.p_value, s.rank)
        for s in heads.heads(run, one(run, "order-centred"))
    ],
    "rank": lambda run: evidence.dimension(run, one(run), 1, 0).to_dict(),
    "evidence": lambda run: dataclasses.asdict(evidence.evidence(run, one(run), 1, 0)),
    "swaps": lambda run: analysis.intervene(run, features(run), 1, 0).to_dict(),
    "query swaps": lambda run: swaps.intervene_queries(run, features(run), 1, 0).to_dict(),
    "attribution": lambda run: analysis.attribute(run, features(run), 1, 2, prompt_id=3).to_dict(),
    "shares": lambda run: dataclasses.asdict(analysis.shares(run, features(run), 1, 2, one(run, "lexical"))),
    "strongest": lambda run: strongest(run, features(run)["order"], 1, 0).table.select("logit", "attention").to_numpy(),
    "moved": lambda run: strongest(run, features(run)["order"], 1, 0, by="moved").mean,
    "nearest": lambda run: (
        nearest(run, features(run)["order"], 1, 0)
        .table.sort("layer", "head")
        .select("angle", "query_angle", "key_angle")
        .to_numpy()
    ),
    "points": lambda run: np.abs(
        analysis.project(run, features(run)["order"], 1, 0, "queried_order", "order_id").table["x"].to_numpy()
    ),
    "export": lambda run: export.table(run, one(run), 1, 0)["logit"].to_numpy(),
}


# -- every answer ------------------------------------------------------------------------------------------------------


def numbers(value: object) -> Iterator[float]:
    """Every number of an answer, in order."""
    if isinstance(value, dict):
        for part in value.values():
            yield from numbers(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, np.ndarray):
        yield from map(float, value.ravel())
    elif isinstance(value, (int, float)):
        yield float(value)


def distance(a: object, b: object) -> float:
    left, right = (np.array(list(numbers(value))) for value in (a, b))
    assert left.shape == right.shape
    assert len(left) > 0
    return float(np.nanmax(np.abs(left - right) / (1 + np.abs(left))))


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_that_of_floats(runs, name):
    answer = ANSWERS[name]
    assert distance(answer(runs["float32"]), answer(runs["int16"])) <= NEAR


def test_control_8_bits_are_too_few(runs):
    far = [n for n, answer in ANSWERS.items() if distance(answer(runs["float32"]), answer(runs["8-bits"])) > NEAR]
    assert len(far) > len(ANSWERS) / 2
    assert {"covariance", "swaps", "attribution"} <= set(far)
