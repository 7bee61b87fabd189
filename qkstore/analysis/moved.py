"""Swaps prompt by prompt: what each of them moves, and the attention of one query before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl

from qkstore.analysis.head import Contrasts, Head, judge_split
from qkstore.analysis.swaps import Aim, Side, aim, swapped_in
from qkstore.analysis.targets import own_keys
from qkstore.errors import ContrastError, near
from qkstore.intervention import LEAST_BASES, Swap
from qkstore.run import Run
from qkstore.score import capped
from qkstore.text import visible

Sort = Literal["most", "least", "wrong"]
SORTS: dict[Sort, str] = {"most": "Most moved", "least": "Least moved", "wrong": "Wrong way"}


@dataclass(frozen=True)
class Moved:
    """Swaps of n queries one by one: the same ones, and in the same random subspaces, as `swaps.intervene` averages.

    table: a row a condition and query: condition, rank, prompt_id, query_row, query_pos, original_row, original_pos,
    original (its token's text), the same of the target, other_row (of a swap of queries, the query that coordinates
    come from), attention original_before … target_after, delta_p (what the target gains), random_delta_p (its mean over
    random subspaces of that rank), logits gap_before, gap_after, gap_gain, and flipped (null where the target had more
    attention before). at_random: {condition: (bases, n) what the target gains in each random subspace}. bases:
    {condition: (d_head, r)} of key space for a swap of keys, of query space for one of queries.
    """

    layer: int
    head: int
    side: Side
    split: str | None
    n: int
    hidden: int
    table: pl.DataFrame
    at_random: dict[str, np.ndarray]
    bases: dict[str, np.ndarray]

    def of(self, condition: str, by: Sort | None = None) -> pl.DataFrame:
        """The rows of one condition; by: most or least moved first, or only those that lose attention, worst first.

        Raises ContrastError for a condition or an order that there is none of.
        """
        if condition not in self.bases:
            raise ContrastError(f"no swap {condition!r}: {near(condition, self.bases)}")
        if by is not None and by not in get_args(Sort):
            raise ContrastError(f"no order {by!r}: {near(str(by), get_args(Sort))}")
        rows = self.table.filter(pl.col("condition") == condition)
        if by == "wrong":
            return rows.filter(pl.col("delta_p") < 0).sort("delta_p", "query_row")
        if by == "least":
            return rows.sort(pl.col("delta_p").abs(), "query_row")
        return rows.sort("delta_p", "query_row", descending=[True, False]) if by else rows


def moved(
    run: Run,
    features: dict[str, Contrasts],
    layer: int,
    head: int,
    side: Side = "keys",
    n_random: int = 10,
    most: int = 1000,
    seed: int = 0,
) -> Moved:
    """Swap each feature's coordinates, and those of all together, query by query.

    features, most, seed and errors: as for `swaps.intervene` (keys) and `swaps.intervene_queries` (queries).
    """
    if n_random < LEAST_BASES:
        raise ContrastError(f"a random baseline needs {LEAST_BASES} or more random subspaces, not {n_random}")
    at = Head(run, layer, head)
    aimed = aim(at, features, side, most, seed)
    places = _places(run, aimed)
    tables, at_random, bases = [], {}, {}
    for name, B, swap, drawn in swapped_in(
        at.subspaces(features), aimed.swap_in, run.d_head, n_random, seed, aimed.basis
    ):
        at_random[name], bases[name] = np.stack([r.delta_p for r in drawn]), B
        told = places.with_columns(condition=pl.lit(name), rank=pl.lit(B.shape[1]), **_columns(swap))
        tables.append(told.with_columns(random_delta_p=pl.Series(at_random[name].mean(axis=0))))
    table = pl.concat(tables).select("condition", "rank", pl.exclude("condition", "rank"))
    return Moved(layer, head, side, judge_split(run), len(places), aimed.hidden, table, at_random, bases)


def _places(run: Run, aimed: Aim) -> pl.DataFrame:
    """A row a query: where it and its two keys stand, and the keys' texts."""
    rows, (prompts, positions) = aimed.targets, run.query_places
    columns = {"prompt_id": prompts[rows.query], "query_row": rows.query, "query_pos": positions[rows.query]}
    for name, keys in (("original", rows.original), ("target", rows.target)):
        texts = run.labels("k", ["token"], keys)["token"].to_pylist()
        told = {f"{name}_row": keys, f"{name}_pos": run.key_places[1][keys], name: [visible(t or "") for t in texts]}
        columns |= told
    other = pl.Series(aimed.other) if aimed.other is not None else pl.lit(None, pl.Int64)
    return pl.DataFrame(columns).with_columns(other_row=other)


def _columns(swap: Swap) -> dict[str, pl.Series]:
    """What is told of each query's swap."""
    names = ("original_before", "target_before", "original_after", "target_after", "delta_p")
    gaps = ("gap_before", "gap_after", "gap_gain")
    flipped = [bool(f) if could else None for f, could in zip(swap.flipped, swap.could_flip, strict=True)]
    columns = {name: pl.Series(getattr(swap, name)) for name in (*names, *gaps)}
    return columns | {"flipped": pl.Series(flipped, dtype=pl.Boolean)}


@dataclass(frozen=True)
class PromptSwap:
    """The attention of one query before and after its swap.

    tokens: a dict for each stored key that the query sees: pos, text, role, before, after, and key ("original",
    "target" or ""). Attention is among all keys for a swap of keys, among these for one of queries.
    """

    prompt_id: int
    query: dict
    tokens: list[dict]
    row: dict


def prompt(run: Run, of: Moved, condition: str, query_row: int) -> PromptSwap:
    """The swap of one of the queries of `of`. Raises ContrastError for a query that is none of them."""
    rows = of.of(condition).filter(pl.col("query_row") == query_row).to_dicts()
    if not rows:
        raise ContrastError(f"query row {query_row} is none of the {of.n:,} that were swapped")
    (row,), at = rows, Head(run, of.layer, of.head)
    keys, _, there = own_keys(run, np.array([query_row]))
    keys = keys[there]
    keys = keys[at.attended(np.full(len(keys), query_row), keys)]
    before, after = (_keys_swapped if of.side == "keys" else _query_swapped)(at, row, keys, of.bases[condition])
    texts = {t["pos"]: t for t in run.tokens(row["prompt_id"])}
    named = {row["original_row"]: "original", row["target_row"]: "target"}
    tokens = [
        {"pos": int(pos), "text": texts[pos]["text"], "role": texts[pos]["role"], "key": named.get(int(key), "")}
        | {"before": float(b), "after": float(a)}
        for key, pos, b, a in zip(keys, run.key_places[1][keys], before, after, strict=True)
    ]
    pos = row["query_pos"]
    return PromptSwap(row["prompt_id"], {"pos": pos, "text": texts[pos]["text"], "row": query_row}, tokens, row)


def _keys_swapped(at: Head, row: dict, keys: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(m,) attention on the query's keys before and after: two logits change, and what all are divided by."""
    query = np.array([row["query_row"]])
    q, k = at.queries(query)[0].astype(np.float64), at.keys(keys).astype(np.float64)
    two = [int(np.flatnonzero(keys == row[name])[0]) for name in ("original_row", "target_row")]
    edited = k.copy()
    edited[two] += (k[two[::-1]] - k[two]) @ V @ V.T
    logit, then = (capped(at.facts.scaling * (x @ q), at.facts.softcap) for x in (k, edited))
    before, weight = (np.exp(x - at.logsumexp(query)) for x in (logit, then))
    total = max(1 - before[two].sum(), 0) + weight[two].sum()  # of all keys, in units of the old sum
    return before, weight / total


def _query_swapped(at: Head, row: dict, keys: np.ndarray, U: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(m,) attention among the query's stored keys, as it is and with another query's coordinates."""
    q, other = at.queries(np.array([row["query_row"], row["other_row"]])).astype(np.float64)
    k = at.keys(keys).astype(np.float64)
    logits = (capped(at.facts.scaling * (k @ x), at.facts.softcap) for x in (q, q + (other - q) @ U @ U.T))
    weights = [np.exp(x - x.max()) for x in logits]
    return weights[0] / weights[0].sum(), weights[1] / weights[1].sum()
