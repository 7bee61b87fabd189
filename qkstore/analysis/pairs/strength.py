"""The strongest pairs of a head: highest logits, highest attention, most moved by the swap, and its errors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl

from qkstore.analysis.head import Contrasts, Head, Split, split_of
from qkstore.analysis.pairs.block import Block, Progress, Signs, chosen, of_pairs, of_prompts
from qkstore.analysis.swaps import swapper
from qkstore.analysis.targets import visible_targets
from qkstore.covariance import Pairs
from qkstore.errors import ContrastError, near
from qkstore.run import Run
from qkstore.text import number, percent, split_name

Ranking = Literal["logit", "attention", "moved", "errors"]
Among = Literal["contrast", "all"]
RANKINGS: dict[Ranking, str] = {
    "logit": "Highest logit",
    "attention": "Highest attention",
    "moved": "Most moved",
    "errors": "Errors",
}
AMONG: dict[Among, str] = {"contrast": "The contrast's pairs", "all": "All stored pairs"}
DIGITS = 10  # values that are equal to so many decimals are a tie


@dataclass(frozen=True)
class Strongest:
    """The first pairs of a head in one ranking.

    table: a row a pair, the first of the ranking first: query_row, key_row, prompt_id, query_pos, query_text,
    key_prompt_id, key_pos, key_text, sign (+1, −1; null where the contrast does not select the pair), logit, attention
    (null where there is none: another prompt, or hidden by a window). Of `moved` also after (attention after the swap)
    and moved, of `errors` margin; both have the other key of that query as other_row, other_prompt_id, other_pos,
    other_text, other_logit and other_attention: the original of the swap, or the positive key of the largest logit.

    n: how many pairs were ranked, or for `moved` and `errors` how many queries. found: of how many the table has the
    first. left_out: pairs without attention, queries with keys of one sign, or queries whose keys a window hides. mean:
    of `moved`, the mean over the n queries.
    """

    by: Ranking
    among: Among
    table: pl.DataFrame
    n: int
    found: int
    left_out: int
    split: str | None
    mean: float | None = None

    def to_dict(self) -> dict:
        """What `qkstore strongest --json` prints."""
        told = {name: getattr(self, name) for name in ("by", "among", "n", "found", "left_out", "split", "mean")}
        return told | {"pairs": self.table.to_dicts()}

    @property
    def sentence(self) -> str:
        """What was ranked, how many there were, and what was left out."""
        split, shown = split_name(self.split), len(self.table)
        if self.by == "errors":
            keys = "the contrast's keys" if self.among == "contrast" else "all stored keys that it sees"
            return (
                f"{self.found:,} of {self.n:,} queries ({percent(self.found / self.n)}) of the {split} split have "
                f"their largest logit among {keys} on one that is not positive, ties included"
                + self._left("queries have keys of one sign alone")
            )
        if self.by == "moved":
            return (
                f"{shown:,} of {self.n:,} queries of the {split} split, by what the swap moves to their target key; "
                f"the mean is {number(self.mean)} of attention" + self._left("queries have a key outside the window")
            )
        pairs = (
            "pairs of the contrast" if self.among == "contrast" else "stored pairs of a query and a key that it sees"
        )
        return f"{shown:,} of {self.n:,} {pairs} on the {split} split, by {self.by}" + self._left(
            "pairs have no attention: their key is in another prompt, or outside the window"
        )

    def _left(self, why: str) -> str:
        return f"; {self.left_out:,} more {why}" if self.left_out else ""


def strongest(
    run: Run,
    contrasts: Contrasts,
    layer: int,
    head: int,
    by: Ranking = "logit",
    among: Among = "contrast",
    split: Split = "judge",
    most: int = 50,
    queries: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Strongest:
    """The `most` first pairs of one head in a ranking, with their tokens.

    contrasts: one, or the members of a span. by: `logit`, as the softmax sees it; `attention`, exp(logit − log-sum-exp
    of the query's row); `moved`, what the attention on the target gains in the closed-form swap of `intervene` (eq.
    8–10), over the same `queries` and seed; `errors`, queries of which no positive key has the largest logit, by the
    logit of that key less the largest on a positive one (the complement of `accuracy` in `heads`). among: the
    contrast's own pairs, or every stored key that a query sees. Of equal values the lower query row comes first, then
    the lower key row. progress: of `all`, called with (queries done, queries in all).

    Raises ContrastError for an empty side, for a ranking that is not there and where nothing can be ranked, RunError
    for a layer or head that is not there.
    """
    _check(by, among, most)
    at, of = Head(run, layer, head), split_of(run, split)
    if by == "moved":
        return _moved(at, contrasts, of, most, queries, seed)
    found = chosen(run, contrasts, of)
    blocks: Iterable[Block] = (
        [of_pairs(at, found)] if among == "contrast" else of_prompts(at, Signs(run, found), of, progress=progress)
    )
    return _errors(at, blocks, among, of, most) if by == "errors" else _highest(at, blocks, by, among, of, most)


def _check(by: str, among: str, most: int) -> None:
    if by not in RANKINGS:
        raise ContrastError(f"no ranking {by!r}: {near(str(by), RANKINGS)}")
    if among not in get_args(Among):
        raise ContrastError(f"no pairs {among!r}: {near(str(among), AMONG)}")
    if by == "moved" and among == "all":
        raise ContrastError("a swap moves attention from a positive key of the contrast: 'moved' ranks no other pairs")
    if most < 1:
        raise ContrastError(f"{most} pairs: give 1 or more")


# -- rankings --------------------------------------------------------------------------------------------------------


def _highest(head: Head, blocks: Iterable[Block], by: str, among: Among, split: str | None, most: int) -> Strongest:
    best, n, left = None, 0, 0
    for block in blocks:
        there = block if by == "logit" else block.where(~np.isnan(block.log_attention))
        n, left = n + len(there), left + len(block) - len(there)
        both = there if best is None else Block.joined([best, there])
        best = both.where(first(both.logit if by == "logit" else both.log_attention, both.query, both.key, most))
    if best is None or not n:
        raise ContrastError(
            "no key of these pairs is in its query's own prompt and within the window: none has attention"
        )
    return Strongest(by, among, _table(head.run, best), n, n, left, split)


def first(value: np.ndarray, query: np.ndarray, key: np.ndarray, most: int) -> np.ndarray:
    """Positions of the `most` largest of value: (p,), the largest first; ties by query row, then by key row."""
    low = -np.round(value, DIGITS)
    near = np.arange(len(low))
    if len(low) > most:
        near = np.flatnonzero(low <= np.partition(low, most - 1)[most - 1])
    return near[np.lexsort((key[near], query[near], low[near]))[:most]]


def _errors(head: Head, blocks: Iterable[Block], among: Among, split: str | None, most: int) -> Strongest:
    found, n, left = [], 0, 0
    for wrong, right, judged, alone in map(_judged, blocks):
        found.append((wrong, right))
        n, left = n + judged, left + alone
    if not n:
        raise ContrastError("no query has keys of both signs, so there is nothing to be right or wrong about")
    wrong, right = (Block.joined([pair[i] for pair in found]) for i in (0, 1))
    margin = wrong.logit - right.logit
    kept = first(margin, wrong.query, wrong.key, most)
    table = _table(head.run, wrong.where(kept)).with_columns(margin=pl.Series(margin[kept], dtype=pl.Float64))
    return Strongest("errors", among, _beside(head.run, table, right.where(kept)), n, len(margin), left, split)


def _judged(block: Block) -> tuple[Block, Block, int, int]:
    """Of each query that errs, the pair of its largest logit and that on a positive key; and the queries with both.

    The last number is of queries that have positive keys alone, or none.
    """
    starts = np.flatnonzero(np.diff(block.query, prepend=-1))
    right, other = (_largest(block.logit, side, starts) for side in (block.sign > 0, block.sign <= 0))
    both = (right >= 0) & (other >= 0)
    wrong = both & (block.logit[other] >= block.logit[right])
    return block.where(other[wrong]), block.where(right[wrong]), int(both.sum()), int((~both).sum())


def _largest(logit: np.ndarray, side: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(n,) position of the largest logit among a query's pairs where side: (p,), the first of several; −1 for none."""
    of = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(logit))))
    values = np.where(side, logit, -np.inf)
    hits = np.flatnonzero(side & (values == np.maximum.reduceat(values, starts)[of]))
    out = np.full(len(starts), -1)
    out[of[hits][::-1]] = hits[::-1]  # the first of several is written last
    return out


def _moved(head: Head, contrasts: Contrasts, split: str | None, most: int, queries: int, seed: int) -> Strongest:
    run = head.run
    targets = visible_targets(run, contrasts, [head.facts], split, queries, seed)
    swap = swapper(head, targets)(head.subspace(contrasts).V)
    kept = first(swap.delta_p, targets.query, targets.target, most)
    drawn, signs = targets.where(kept), Signs(run, chosen(run, contrasts, split))
    aimed, original = (_in_order(head, signs, drawn.query, key) for key in (drawn.target, drawn.original))
    table = _table(run, aimed).with_columns(after=swap.target_after[kept], moved=swap.delta_p[kept])
    mean = float(swap.delta_p.mean())
    n = len(targets)
    return Strongest("moved", "contrast", _beside(run, table, original), n, n, targets.hidden, split, mean)


def _in_order(head: Head, signs: Signs, query: np.ndarray, key: np.ndarray) -> Block:
    """Pairs of different queries in the order given."""
    block = of_pairs(head, Pairs(query, key, np.ones(len(query), np.int8)))
    block = block.where(np.searchsorted(block.query, query))
    return Block(query, key, signs.of(query, key), block.logit, block.log_attention)


# -- tables ----------------------------------------------------------------------------------------------------------


def _table(run: Run, block: Block) -> pl.DataFrame:
    (q_prompt, q_pos), (k_prompt, k_pos) = run.query_places, run.key_places
    places = {"prompt_id": q_prompt[block.query], "query_pos": q_pos[block.query]}
    keyed = {"key_prompt_id": k_prompt[block.key], "key_pos": k_pos[block.key]}
    told = {
        "query_text": texts(run, places["prompt_id"], places["query_pos"]),
        "key_text": texts(run, keyed["key_prompt_id"], keyed["key_pos"]),
    }
    sign = pl.Series([int(s) or None for s in block.sign], dtype=pl.Int8)
    rows = {"query_row": block.query, "key_row": block.key, **places, **keyed, **told, "sign": sign}
    table = pl.DataFrame(rows | {"logit": block.logit, "attention": np.exp(block.log_attention)})
    order = [
        *("query_row", "key_row", "prompt_id", "query_pos", "query_text"),
        *("key_prompt_id", "key_pos", "key_text", "sign", "logit", "attention"),
    ]
    return table.select(order).with_columns(pl.col("attention").fill_nan(None))


def _beside(run: Run, table: pl.DataFrame, other: Block) -> pl.DataFrame:
    """The table with the other key of each row's query."""
    told = _table(run, other)
    names = {"key_row": "row", "key_prompt_id": "prompt_id", "key_pos": "pos", "key_text": "text"}
    names |= {"logit": "logit", "attention": "attention"}
    return table.hstack([told[name].alias(f"other_{short}") for name, short in names.items()])


def texts(run: Run, prompt: np.ndarray, pos: np.ndarray) -> pl.Series:
    """The texts of tokens by their prompt and place."""
    asked = "(SELECT unnest(?::BIGINT[]) AS prompt_id, unnest(?::BIGINT[]) AS pos)"
    found = run.table(
        f"SELECT t.prompt_id, t.pos, t.text FROM token AS t SEMI JOIN {asked} AS a USING (prompt_id, pos)",
        [prompt.tolist(), pos.tolist()],
    ).to_pylist()
    text = {(row["prompt_id"], row["pos"]): row["text"] for row in found}
    told = [text.get(place, "") for place in zip(prompt.tolist(), pos.tolist(), strict=True)]
    return pl.Series(told, dtype=pl.String)
