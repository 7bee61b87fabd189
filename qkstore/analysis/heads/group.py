"""The query heads that read one KV head, together: what depends on keys alone is computed once for all of them.

Where heads have few rows, those of several groups are read at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from qkstore.analysis.head import Rows
from qkstore.run import Run
from qkstore.run.reader import AT_ONCE
from qkstore.score import Ordered, Queries

BLOCK = 1024  # queries that are centred at a time


class Reader:
    """Reads what the heads of a run have of a contrast's pairs, the heads that share keys together."""

    def __init__(self, rows: Rows):
        self.rows = rows
        self._seen: tuple[int, np.ndarray] | None = None

    def part(self, kept: np.ndarray) -> Reader:
        """A reader of some of the queries, kept: (n,) bool; its pairs have the coefficients that they have in all."""
        mine, rows = kept[self.rows.local.query], self.rows
        part = Reader(Rows.these(rows.run, rows.contrast, rows.split, rows.stored.where(mine)))
        part.coefficient, part.repeated = self.coefficient[mine], self.repeated
        return part

    @cached_property
    def ordered(self) -> Ordered:
        """The pairs in the order in which they are read."""
        return Ordered(self.rows.local)

    @cached_property
    def keys(self) -> np.ndarray:
        """(n,) numbers of the ordered queries' keys (Ordered.keys)."""
        return self.ordered.keys(self.rows.stored.key)

    @cached_property
    def repeated(self) -> bool:
        """Whether several queries have the same keys: those of one vector are then one query."""
        return len(np.unique(self.keys)) < len(self.keys)

    def by_query(self, layer: int) -> Iterator[Queries]:
        """What each head of a layer attends to, of these pairs, query by query."""
        for heads in blocks(self.rows.run, len(self.rows.query), len(self.rows.key)):
            for group in Block(self, layer, heads).groups:
                yield from group.by_query

    def seen(self, layer: int) -> np.ndarray:
        """(p,) bool: whether a query attends to the key, of the ordered pairs."""
        if self._seen is None or self._seen[0] != layer:
            stored, order = self.rows.stored, self.ordered.order
            facts = self.rows.run.layers[layer]
            self._seen = layer, self.rows.run.attended(facts, stored.query[order], stored.key[order])
        return self._seen[1]

    @cached_property
    def coefficient(self) -> np.ndarray:
        """(p,) of each pair, times the number of queries: ΔC = mean q cᵀ (Pairs.key_contrast)."""
        return len(self.rows.query) * self.rows.local.coefficient(self.rows.contrast.weighting == "sum")


def groups(run: Run) -> Iterator[range]:
    """The query heads that share a KV head."""
    size = run.n_heads // run.n_kv_heads
    return (range(first, first + size) for first in range(0, run.n_heads, size))


def blocks(run: Run, queries: int, keys: int, most: int = AT_ONCE) -> list[range]:
    """The heads that are read together: of as many groups as have `most` bytes of so many rows, or of one."""
    each = list(groups(run))
    values = (len(each[0]) * queries + keys) * run.d_head
    many = max(1, most // max(4 * values, 1))
    return [range(part[0].start, part[-1].stop) for part in (each[i : i + many] for i in range(0, len(each), many))]


class Block:
    """Neighbouring heads of one layer, with their vectors of the reader's pairs, which are read when asked for."""

    def __init__(self, reader: Reader, layer: int, heads: range):
        self.reader, self.layer, self.heads = reader, layer, heads

    @cached_property
    def q(self) -> np.ndarray:
        """(heads, n, d_head) float32."""
        return self._run.reader.queries(self.layer, self.heads, self.reader.rows.query)

    @cached_property
    def k(self) -> np.ndarray:
        """(KV heads, m, d_head) float32."""
        return self._run.reader.keys(self.layer, self.heads, self.reader.rows.key)

    @cached_property
    def logsumexp(self) -> np.ndarray:
        """(heads, n) float64."""
        return self._run.reader.logsumexp(self.layer, self.heads, self.reader.rows.query)

    @property
    def groups(self) -> list[Group]:
        """Those of its heads that share keys, KV head by KV head."""
        first, last = self.heads[0], self.heads[-1]
        some = (range(max(g[0], first), min(g[-1], last) + 1) for g in groups(self._run))
        return [Group(self, heads) for heads in some if heads]

    @property
    def _run(self) -> Run:
        return self.reader.rows.run


class Group:
    """The heads of a block that share keys."""

    def __init__(self, block: Block, heads: range):
        self.block, self.reader, self.heads = block, block.reader, heads
        self._own = slice(heads.start - block.heads.start, heads.stop - block.heads.start)

    @cached_property
    def q(self) -> np.ndarray:
        """(heads, n, d_head) float32."""
        return self.block.q[self._own]

    @cached_property
    def k(self) -> np.ndarray:
        """(m, d_head) float32."""
        kv_head = self.reader.rows.run.kv_head
        return self.block.k[kv_head(self.heads[0]) - kv_head(self.block.heads[0])]

    @cached_property
    def by_query(self) -> list[Queries]:
        """What each head attends to, of these pairs, query by query."""
        ordered, rows = self.reader.ordered, self.reader.rows
        facts = rows.run.layers[self.block.layer]
        logit = ordered.logits(self.q, self.k, facts.scaling, facts.softcap)
        attention = np.exp(logit - self.block.logsumexp[self._own][:, rows.local.query[ordered.order]])
        seen = self.reader.seen(self.block.layer)
        if not seen.all():
            attention[:, ~seen] = np.nan
        return ordered.by_query(
            logit, attention, ordered.alike(self.q, self.reader.keys) if self.reader.repeated else None
        )

    @cached_property
    def units(self) -> Units:
        """The queries and key contrasts that ΔC of these heads, and its null, are means over."""
        return Units.of(self.q, self.reader.ordered.key_contrast(self.k, self.reader.coefficient, self.q.shape[1]))


@dataclass(frozen=True)
class Units:
    """Centred queries of heads side by side, x: (n, heads · d) float32, and their centred key contrasts c: (n, d).

    sums: of the same in 64 bits, so that they are equal however queries are dealt out to shards.
    """

    x: np.ndarray
    c: np.ndarray
    sums: Sums

    @classmethod
    def of(cls, q: np.ndarray, c: np.ndarray) -> Units:
        """q: (heads, n, d), c: (n, d)."""
        heads, n, d = q.shape
        x, means, c_mean = np.empty((n, heads * d), np.float32), q.mean(axis=1, dtype=np.float64), c.mean(axis=0)
        product = np.zeros((heads * d, d))
        for i in range(0, n, BLOCK):
            part = slice(i, i + BLOCK)
            centred = (q[:, part] - means[:, None]).transpose(1, 0, 2).reshape(-1, heads * d)
            product += centred.T @ (c[part] - c_mean)
            x[part] = centred
        return cls(x, (c - c_mean).astype(np.float32), Sums(n, means, c_mean, product.reshape(heads, d, d)))

    @property
    def centred(self) -> np.ndarray:
        """(heads, d, d) float64 ΔC of centred queries."""
        return self.sums.centred

    @property
    def size(self) -> int:
        """Bytes."""
        return self.x.nbytes + self.c.nbytes


@dataclass(frozen=True)
class Sums:
    """Of n queries of heads that share keys, what merges with that of other queries of the same heads.

    q_mean: (heads, d) and c_mean: (d,) float64. product: (heads, d, d) float64, Σ (q − q̄)(c − c̄)ᵀ.
    """

    n: int
    q_mean: np.ndarray
    c_mean: np.ndarray
    product: np.ndarray

    def merge(self, other: Sums) -> Sums:
        """The sums of both together: products about two means are made one about the mean of both."""
        n = self.n + other.n
        q, c = other.q_mean - self.q_mean, other.c_mean - self.c_mean
        apart = self.n * other.n / n * q[:, :, None] * c
        share = other.n / n
        return Sums(n, self.q_mean + share * q, self.c_mean + share * c, self.product + other.product + apart)

    @property
    def centred(self) -> np.ndarray:
        """(heads, d, d) float64 ΔC of centred queries."""
        return self.product / self.n

    @property
    def delta(self) -> np.ndarray:
        """(heads, d, d) float64 ΔC of queries as they are: the mean query's part, which may be most of it, is exact."""
        return self.centred + self.q_mean[:, :, None] * self.c_mean
