"""Analyses of a run of 16-bit vectors beside those of the same vectors as floats; 8 bits are too few."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import stores

import qkstore
from qkstore import analysis
from qkstore.analysis import Head, evidence, export, heads, swaps
from qkstore.analysis.pairs import nearest, strongest
from qkstore.analysis.targets import visible_targets
from qkstore.contrast.builtin import features
from qkstore.intervention import Swap
from qkstore.run import Run
from qkstore.run.vectors import logit_error

NEAR = 1e-3  # of a number: of 1 + its size; measured: 7e-4, of swaps
EIGHT = 127


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Run]:
    """The run of boxes three times; '8 bits' holds floats that are rounded."""
    path = tmp_path_factory.mktemp("rounded")
    for kind in ("float32", "int16"):
        stores.write(path, kind, data=stores.boxes(400, store_dtype=kind))
    coarse = stores.boxes(400)
    coarse.q, coarse.k = (coarsely(v) for v in (coarse.q, coarse.k))
    stores.write(path, "8 bits".replace(" ", "-"), data=coarse)
    return {run.name: run for run in qkstore.open(path).runs()}


def coarsely(v: np.ndarray) -> np.ndarray:
    scale = np.abs(v).max(axis=-1, keepdims=True) / EIGHT
    return (np.rint(v / scale) * scale).astype(np.float32)


def one(run: Run, name: str = "order"):
    return features(run)[name][0]


def known(of: analysis.Intervention) -> list[dict]:
    """Its conditions without the share of swaps that are not known to 1 %, which is what differs."""
    return [{k: v for k, v in c.to_dict().items() if k != "unsure"} for c in of.conditions]


ANSWERS = {
    "covariance": lambda run: analysis.covariance(run, one(run), 1, 0).delta,
    "span": lambda run: analysis.subspaces(run, features(run), 1, 2)["lexical"].S,
    "heads": lambda run: [
        (s.accuracy, s.selectivity, s.attention_positive, s.delta_norm, s.delta_null, s.p_value, s.rank)
        for s in heads.heads(run, one(run, "order-centred"))
    ],
    "rank": lambda run: evidence.dimension(run, one(run), 1, 0).to_dict(),
    "evidence": lambda run: dataclasses.asdict(evidence.evidence(run, one(run), 1, 0)),
    "swaps": lambda run: known(analysis.intervene(run, features(run), 1, 0)),
    "query swaps": lambda run: known(swaps.intervene_queries(run, features(run), 1, 0)),
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


# -- swaps, whose rest is what two keys leave of a row -----------------------------------------------------------------


def swapped(run: Run) -> tuple[Swap, np.ndarray]:
    """Each swap in the order subspace of floats, and by how much a logit of it may be off."""
    at, members = Head(run, 1, 0), features(run)["order"]
    targets = visible_targets(run, members, [at.facts], "test", 1000, 0)
    V = analysis.subspace(qkstore.Run(run.path.with_name("float32.duckdb")), members, 1, 0).V
    q, keys = at.queries(targets.query), [at.keys(rows) for rows in (targets.original, targets.target)]
    return swaps.swapper(at, targets)(V), np.maximum(*(logit_error(q, k, at.facts.scaling) for k in keys))


def beyond(exact: Swap, rounded: Swap, doubt: np.ndarray, off: np.ndarray) -> int:
    """Swaps that are further from the exact ones than their doubt and the logits' own error say."""
    ratio = np.log(rounded.target_after / exact.target_after)
    return int((np.abs(ratio) > doubt + 2 * off).sum())


def test_a_swap_is_no_further_off_than_its_doubt(runs):
    (exact, _), (rounded, off) = (swapped(runs[kind]) for kind in ("float32", "int16"))
    assert beyond(exact, rounded, rounded.doubt, off) == 0
    assert beyond(exact, rounded, exact.doubt, off) > 0, "the doubt of floats is too little"
    assert np.abs(rounded.target_before - exact.target_before).max() < 2 * off.max()


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
