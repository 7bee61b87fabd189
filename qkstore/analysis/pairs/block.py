"""Pairs with their logits and attention, block by block: of a contrast, or all that a head sees in its prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from qkstore.analysis.head import Contrasts, Head
from qkstore.contrast import pairs
from qkstore.covariance import Pairs
from qkstore.errors import ContrastError, RunError
from qkstore.run import Run
from qkstore.score import pair_logits
from qkstore.text import split_name

AT_ONCE = 131_072  # pairs of a block; keys of 128 numbers then take 64 MB at most
Progress = Callable[[int, int], None]  # called with (queries done, queries in all)


@dataclass(frozen=True)
class Block:
    """(p,) pairs as store rows; all pairs of a query are in one block.

    sign: +1, −1, or 0 of a pair that the contrast does not select. logit: with the model's scaling and soft-cap.
    log_attention: its logarithm; NaN where the query does not attend to the key, which
    is of another prompt, or hidden by a window.
    """

    query: np.ndarray
    key: np.ndarray
    sign: np.ndarray
    logit: np.ndarray
    log_attention: np.ndarray

    def __len__(self) -> int:
        return len(self.query)

    @classmethod
    def joined(cls, blocks: Sequence[Block]) -> Block:
        """The pairs of several blocks, one block after another."""
        return cls(*(np.concatenate([getattr(block, field.name) for block in blocks]) for field in fields(cls)))

    def where(self, kept: np.ndarray) -> Block:
        """Those at positions, or where a mask (p,) is true."""
        return Block(*(getattr(self, field.name)[kept] for field in fields(self)))

    def sorted(self) -> Block:
        """By query, then by key."""
        return self.where(np.lexsort((self.key, self.query)))


class Signs:
    """Which pairs a contrast selects, to be looked up: rows → +1, −1, or 0 for a pair that it does not select."""

    def __init__(self, run: Run, chosen: Pairs):
        code = self._code(run, chosen.query, chosen.key)
        order = np.argsort(code, kind="stable")
        self._run, self._codes, self._signs = run, code[order], chosen.sign[order]

    def of(self, query: np.ndarray, key: np.ndarray) -> np.ndarray:
        """(p,) int8."""
        code = self._code(self._run, query, key)
        place = np.searchsorted(self._codes, code).clip(max=len(self._codes) - 1)
        return np.where(self._codes[place] == code, self._signs[place], 0).astype(np.int8)

    @staticmethod
    def _code(run: Run, query: np.ndarray, key: np.ndarray) -> np.ndarray:
        return query.astype(np.int64) * run.n_keys + key


def chosen(run: Run, contrasts: Contrasts, split: str | None) -> Pairs:
    """The pairs of a contrast, or those of several, each once. Raises ContrastError on an empty side."""
    parts = [pairs(run, c, split) for c in contrasts]
    if len(parts) == 1:
        return parts[0]
    query, key, sign = (np.concatenate([getattr(p, name) for p in parts]) for name in ("query", "key", "sign"))
    _, first = np.unique(query.astype(np.int64) * run.n_keys + key, return_index=True)
    return Pairs(query[first], key[first], sign[first])


def of_pairs(head: Head, found: Pairs) -> Block:
    """Pairs of store rows in one block, sorted; the vectors of their rows are read once."""
    query_rows, key_rows, local = found.localise()
    q, k = head.queries(query_rows), head.keys(key_rows)
    logit = pair_logits(q, k, local, head.facts.scaling, head.facts.softcap)
    seen = head.attended(found.query, found.key)
    log_attention = np.where(seen, logit - head.logsumexp(found.query), np.nan)
    return Block(found.query, found.key, found.sign, logit, log_attention).sorted()


def of_prompts(
    head: Head, signs: Signs, split: str | None, at_once: int = AT_ONCE, progress: Progress | None = None
) -> Iterator[Block]:
    """Every stored query of a split with each stored key that it sees, about `at_once` pairs a block.

    Memory is that of one block, or of one query's keys where they are more. Raises ContrastError where no query of the
    split sees a stored key.
    """
    queries, first, counts = _seen_from(head.run, split)
    logsumexp, keys, found = head.logsumexp(queries), _Keys(head), 0
    for start, end in _cuts(counts, at_once):
        part = slice(start, end)
        local = np.repeat(np.arange(end - start), counts[part])
        place = np.arange(len(local)) - np.repeat(np.cumsum(counts[part]) - counts[part], counts[part])
        query, key = queries[part][local], keys.order[first[part][local] + place]
        seen = head.attended(query, key)
        query, key, local = query[seen], key[seen], local[seen]
        if len(query):
            found += len(query)
            k, at = keys.read(key)
            unsigned = Pairs(local, at, np.ones(len(local), np.int8))
            logit = pair_logits(head.queries(queries[part]), k, unsigned, head.facts.scaling, head.facts.softcap)
            block = Block(query, key, signs.of(query, key), logit, logit - logsumexp[part][local])
            yield block.sorted()
        if progress:
            progress(end, len(queries))
    if not found:
        raise ContrastError(
            f"no query of the {split_name(split)} split sees a stored key of its prompt in layer {head.layer}"
        )


def _seen_from(run: Run, split: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n,) query rows of a split, and of each the first of its prompt's keys, in their order, and how many they are."""
    prompts = run.query_places[0]
    queries = np.argsort(prompts, kind="stable")
    if split:
        rows = run.table("SELECT prompt_id FROM prompt WHERE split = ?", [split])
        queries = queries[np.isin(prompts[queries], rows["prompt_id"].to_numpy())]
    if not len(queries):
        raise RunError(f"run {run.name!r} has no query in the {split_name(split)} split")
    keyed = np.sort(run.key_places[0])
    first = np.searchsorted(keyed, prompts[queries])
    return queries, first, np.searchsorted(keyed, prompts[queries], side="right") - first


def _cuts(counts: np.ndarray, at_once: int) -> Iterator[tuple[int, int]]:
    """(start, end) of stretches of queries with at most `at_once` keys together, one query at least."""
    upto, start = np.cumsum(counts), 0
    while start < len(counts):
        before = upto[start - 1] if start else 0
        end = max(int(np.searchsorted(upto, before + at_once, side="right")), start + 1)
        yield start, end
        start = end


class _Keys:
    """The keys of a head, read a stretch at a time; the one read last is held, as many queries share a prompt."""

    def __init__(self, head: Head):
        self.order = np.argsort(head.run.key_places[0], kind="stable")  # by prompt
        self._head, self._held = head, (np.empty(0, np.int64), np.empty((0, 0), np.float32))

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (m, d_head) among which are those of rows: (p,), and their positions (p,) in them."""
        distinct = np.unique(rows)
        held, k = self._held
        place = np.searchsorted(held, distinct).clip(max=max(len(held) - 1, 0))
        if not len(held) or not np.array_equal(held[place], distinct):
            held, k = self._held = distinct, self._head.keys(distinct)
        return k, np.searchsorted(held, rows)
