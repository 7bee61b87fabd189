"""The queries of a run and the keys that each may choose from: the same for every head of a layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import polars as pl

from qkstore.analysis.head import Head, build_split, judge_split
from qkstore.components import Choices, choices
from qkstore.errors import ContrastError, GuardError
from qkstore.run import Layer, Run
from qkstore.sql import guard, worker
from qkstore.text import split_name

AT_ONCE = 1 << 20  # logits of a block of prompts that are held at a time
WHOLE = ("base", "context")  # variants whose prompts are whole questions, not made to differ from another in one thing


class Block(NamedTuple):
    """Prompts with as many queries and as many keys each: query (b, i) and key (b, j) rows, group (b,) prompt_ids."""

    query: np.ndarray
    key: np.ndarray
    group: np.ndarray


class Piece(NamedTuple):
    """A block with the vectors of one head: q (b, i, d_head), k (b, j, d_head), seen (b, i, j), logsumexp (b, i)."""

    block: Block
    q: np.ndarray
    k: np.ndarray
    seen: np.ndarray
    logsumexp: np.ndarray


class LeftOut(NamedTuple):
    """Pairs of a query and a key it sees that no choice is made of: its own token, and an unlabelled first token."""

    own: int
    first: int


class Copies(NamedTuple):
    """Prompts that have the text of one that components were found on: n `of` so many."""

    n: int
    of: int

    def told(self, split: str | None) -> str:
        """In a sentence, what became of them; '' where there are none. split: the one that they stand in."""
        if not self.n:
            return ""
        same = f"prompts of the {split_name(split)} split have the text of a prompt that components were found on"
        if self.n == self.of:
            return f"All {self.of:,} {same}: nothing is held out, so correlations, names and swaps are no test"
        return f"{self.n:,} of {self.of:,} {same}, and were left out: they would be no test"


NO_COPIES = Copies(0, 0)


def untested(run: Run) -> str:
    """What is to be said of a run without a test split, in a sentence; '' of one that has one."""
    if build_split(run) != judge_split(run):
        return ""
    return "There is no test split: components are found and judged on the same prompts, which is no test of them"


@dataclass(frozen=True)
class Sight:
    """The queries of one split that fit a condition, with all stored keys of their prompts, in blocks of one shape.

    A query chooses among the keys that its layer lets it see, without the key of its own token and without that of the
    prompt's first token where nobody gave it a role: such keys take attention that goes nowhere (sinks). copies: what
    `apart` left out.
    """

    run: Run
    split: str | None
    where: str | None
    blocks: tuple[Block, ...]
    copies: Copies = NO_COPIES

    @classmethod
    def of(cls, run: Run, split: str | None, where: str | None = None) -> Sight:
        """where: an SQL condition on q; by default, of prompts of variant base or context where the run has these.

        Raises GuardError for SQL that is not allowed, ContrastError where no query is left.
        """
        rows = _queries(run, split, where or default_where(run))
        if not len(rows):
            raise ContrastError(
                f"no query of the {split_name(split)} split of run {run.name!r} fits {where or default_where(run)!r}"
            )
        return cls(run, split, where, tuple(_blocks(run, rows)))

    def apart(self, other: Sight) -> Sight:
        """Those of prompts whose text no prompt of `other` has, so that what is found there is judged on what is new.

        Where all have, they stay: `copies` says it.
        """
        seen = np.concatenate([other.alike[block.group] for block in other.blocks])
        new = [~np.isin(other.alike[block.group], seen) for block in self.blocks]
        copies = Copies(sum(int((~at).sum()) for at in new), sum(map(len, new)))
        blocks = (Block(*(rows[at] for rows in block)) for block, at in zip(self.blocks, new, strict=True) if at.any())
        return replace(self, blocks=tuple(blocks) or self.blocks, copies=copies)

    @cached_property
    def queries(self) -> np.ndarray:
        """(n,) rows of the queries, in the order of the blocks."""
        return np.concatenate([b.query.ravel() for b in self.blocks])

    def seen(self, layer: Layer, block: Block) -> np.ndarray:
        """(b, i, j) bool: the keys that a query may choose from."""
        visible, own, first = self._parts(layer, block)
        return visible & ~own & ~first

    def left_out(self, layer: Layer) -> LeftOut:
        """How many pairs are left out, of those that the layer's queries see."""
        counts = [0, 0]
        for block in self.blocks:
            visible, own, first = self._parts(layer, block)
            counts = [counts[0] + int((visible & own).sum()), counts[1] + int((visible & first & ~own).sum())]
        return LeftOut(*counts)

    def _parts(self, layer: Layer, block: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        query, key = self.run.query_places[1][block.query], self.run.key_places[1][block.key]
        own = query[:, :, None] == key[:, None, :]
        first = (key == 0) & self.unlabelled[block.key]
        return layer.visible(query[:, :, None], key[:, None, :]), own, np.broadcast_to(first[:, None], own.shape)

    @cached_property
    def kinds(self) -> np.ndarray:
        """(m,) a number for each key of the run, the same for keys of one role and place in their span."""
        told = pl.from_arrow(self.run.labels("k", ["role", "span_last"], np.arange(self.run.n_keys)))
        return told.select(pl.struct(pl.all()).rank("dense")).to_series().to_numpy()

    @cached_property
    def unlabelled(self) -> np.ndarray:
        """(m,) bool: the keys of the run whose token has no role."""
        roles = self.run.labels("k", ["role"], np.arange(self.run.n_keys))["role"]
        return roles.is_null().to_numpy(zero_copy_only=False)

    @cached_property
    def alike(self) -> np.ndarray:
        """(n_prompts,) of each prompt_id the first one with the same text, so that no copy is held out from another."""
        same = "CASE WHEN coalesce(text, '') = '' THEN prompt_id ELSE min(prompt_id) OVER (PARTITION BY text) END"
        told = self.run.table(f"SELECT prompt_id, {same} AS first FROM prompt")
        prompts, first = (told[name].to_numpy() for name in ("prompt_id", "first"))
        alike = np.empty(prompts.max() + 1, np.int64)
        alike[prompts] = first
        return alike

    def pieces(self, head: Head, k: np.ndarray | None = None) -> Iterator[Piece]:
        """The vectors of one head, a few prompts of one shape at a time.

        k: its keys, all rows, where they were read for another head of the same KV head.
        """
        k = head.keys(np.arange(self.run.n_keys)) if k is None else k
        order = np.argsort(self.queries)
        read, lse = head.queries(self.queries[order]), head.logsumexp(self.queries[order])
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        facts, start = head.facts, 0
        for block in self.blocks:
            at = place[start : start + block.query.size].reshape(block.query.shape)
            start += block.query.size
            for part in _steps(block):
                some = Block(block.query[part], block.key[part], block.group[part])
                yield Piece(some, read[at[part]], k[some.key], self.seen(facts, some), lse[at[part]])

    def read(self, head: Head, k: np.ndarray | None = None) -> Choices:
        """What one head chose; k: as in `pieces`. Raises ContrastError where no query has a choice."""
        facts = head.facts
        found = Choices.joined(
            [
                choices(p.q, p.k, p.seen, self.alike[p.block.group], facts.scaling, facts.softcap, p.logsumexp)
                for p in self.pieces(head, k)
            ]
        )
        if not len(found):
            raise ContrastError(
                f"layer {head.layer} head {head.head} has no query with a choice: {found.few:,} have fewer than two "
                f"keys to choose from, {found.elsewhere:,} have 95 % of their attention elsewhere"
            )
        return found


def default_where(run: Run) -> str:
    """Of the queries of a run those whose prompts are whole questions: of a variant in WHOLE, or all."""
    there = run.values("variant", "q")
    named = [f"q.variant = '{variant}'" for variant in WHOLE if variant in there]
    return named[0] if named else "true"


def count(run: Run, split: str | None, where: str) -> int:
    """How many queries of a split fit a condition."""
    return len(_queries(run, split, where))


def _queries(run: Run, split: str | None, where: str) -> np.ndarray:
    """(n,) rows, ascending."""
    try:
        condition = guard.predicate(where, {"q": run.columns["q"]})
    except GuardError as error:
        raise GuardError(f"where: {error}") from None
    mine = f" AND q.split = '{split.replace(chr(39), 2 * chr(39))}'" if split else ""
    table = worker.query(run.path, f"SELECT q.query_row FROM q WHERE ({condition}){mine}", max_rows=run.n_queries)
    return np.sort(table["query_row"].to_numpy())


def _blocks(run: Run, rows: np.ndarray) -> Iterator[Block]:
    """Prompts of one shape together, each with its queries among rows: (n,), ascending, and all its keys."""
    prompts = run.key_places[0]
    assert (np.diff(prompts) >= 0).all(), "key rows run through the prompts in order"
    own, first, many = np.unique(run.query_places[0][rows], return_index=True, return_counts=True)
    low, high = np.searchsorted(prompts, own), np.searchsorted(prompts, own, side="right")
    shape = np.stack([many, high - low], axis=1)
    for i, j in np.unique(shape, axis=0).tolist():
        at = np.flatnonzero((shape == (i, j)).all(axis=1))
        yield Block(rows[first[at][:, None] + np.arange(i)], low[at][:, None] + np.arange(j), own[at])


def _steps(block: Block) -> Iterator[slice]:
    (b, i), j = block.query.shape, block.key.shape[1]
    step = max(1, AT_ONCE // max(1, i * j))
    return (slice(start, start + step) for start in range(0, b, step))
