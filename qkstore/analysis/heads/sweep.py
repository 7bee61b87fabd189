"""Two passes over all heads of a run: what each of them does under a contrast, and then the null of its ΔC.

A layer is done in tasks, of some of its heads on one shard of the queries, which a pool gives to whoever is free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from qkstore.analysis.choice import Choice
from qkstore.analysis.heads.group import Sums, blocks
from qkstore.analysis.heads.score import HeadScore
from qkstore.analysis.heads.task import Asked, Dealt, Task, Work, dealt, joined, merged, scored, totals
from qkstore.analysis.tasks import Place, by_layer
from qkstore.contrast import Contrast
from qkstore.null import Tested
from qkstore.pool import Pool
from qkstore.run import Run
from qkstore.run.reader import AT_ONCE
from qkstore.score import Score, scores
from qkstore.subspace import rank

Progress = Callable[[int, int], None]  # called with (heads done, heads in all)
Arrived = Callable[[list[HeadScore]], None]  # called with the table so far
Table = dict[int, list[HeadScore]]  # by layer
Parts = dict[Task, Any]  # what each task of a layer made

AWAY = 32 << 20  # bytes of vectors that a task of a worker reads, where more than one group is that small


def heads(
    run: Run,
    contrast: Contrast,
    nulls: int = 19,
    seed: int = 0,
    progress: Progress | None = None,
    arrived: Arrived | None = None,
    pool: Pool | None = None,
    shards: int | None = None,
) -> list[HeadScore]:
    """Scores of every stored head: in a first pass over the vectors all but their nulls, in a second one these.

    `nulls` deals of signs give ‖ΔC‖ of centred queries its null (qkstore.null.SignNull); delta_null is its 95 %
    quantile. progress: called with (heads done, heads in all), in each pass from the start. arrived: called after each
    layer of each pass with the table so far: it grows in the first; in the second it is whole, and ever fewer heads are
    `pending`. Memory is that of the vectors of one KV head on one shard and of its query
    heads, or of as many as have AT_ONCE bytes, and HELD more.

    pool: who does it (qkstore.pool), by default this process; the scores are the same to the bit. shards: take the
    prompts as if they lay in so many, by default in as many as they do; the scores are those of one, to rounding.
    """
    return flat(
        Sweep(run, contrast, nulls, seed, pool, shards).table(
            {}, progress, lambda _, table: arrived and arrived(flat(table))
        )
    )


def flat(table: Mapping[int, list[HeadScore]]) -> list[HeadScore]:
    """The scores by layer, and by head within one."""
    return [score for layer in sorted(table) for score in table[layer]]


class Sweep:
    """All heads of a run under one contrast, with `nulls` deals of signs by `seed`."""

    def __init__(
        self,
        run: Run,
        contrast: Contrast,
        nulls: int,
        seed: int,
        pool: Pool | None = None,
        shards: int | None = None,
    ):
        self.run, self.nulls, self.pool = run, nulls, pool or Pool()
        self.shards = shards or run.n_shards
        self.work = Work(run, contrast, nulls, seed, self.shards)
        self.asked = Asked(Place.of(run), contrast, nulls, seed, self.shards)

    def table(self, known: Table, progress: Progress | None, finished: Callable[[int, Table], object]) -> Table:
        """Every head's score, by layer.

        known: layers that were scored before, with or without their nulls; what is there is not computed again.
        finished: called after each layer of each pass with its number and the table so far.
        """
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"):  # several threads for matrices as small mostly wait for each other
            return self._table(known, progress, finished)

    def _table(self, known: Table, progress: Progress | None, finished: Callable[[int, Table], object]) -> Table:
        table, here = dict(known), self.pool.here
        passes = [(self.work.scored if here else scored, self._scores, lambda layer: layer not in table)]
        if self.nulls:
            due = lambda layer: any(s.pending for s in table[layer])  # noqa: E731
            passes.append((self.work.dealt if here else dealt, self._nulls, due))
        for work, made, due in passes:
            left = [layer for layer in self.run.layers if due(layer)]
            for layer, parts in self._parts(work, left, progress):
                table[layer] = made(layer, parts, table.get(layer, []))
                finished(layer, table)
        return table

    def _parts(self, work: Callable, left: list[int], progress: Progress | None) -> Iterator[tuple[int, Parts]]:
        """Each layer that is left with what its tasks made, as they are all finished."""
        n, of = self.run.n_heads * (len(self.run.layers) - len(left)), self.run.n_heads * len(self.run.layers)
        chunks, done = self._chunks, 0
        tasks = (Task(self.asked, *at) for at in product(left, chunks, range(self.shards)))

        def told(task: Task) -> None:
            nonlocal done
            done += len(task.heads)
            if progress:
                progress(n + done // self.shards, of)

        return by_layer(self.pool, work, tasks, len(chunks) * self.shards, self._place, told)

    def _place(self, task: Task) -> int:
        """What a worker had before: the shard, or where there is one, the layer, whose vectors it may hold."""
        return task.shard if self.shards > 1 else task.layer

    @cached_property
    def _chunks(self) -> list[range]:
        """The heads of a task: of one group, or of as many as are read together."""
        rows = [reader.rows for reader in {self.work.train, self.work.test, self.work.choosing}]
        queries, keys = (sum(len(getattr(r, side)) for r in rows) // self.shards for side in ("query", "key"))
        return blocks(self.run, queries, keys, AT_ONCE if self.pool.here else AWAY)

    def _by_chunk(self, layer: int, parts: Parts) -> Iterator[tuple[range, list]]:
        """The heads of each chunk with what was made of them, shard by shard."""
        for heads in self._chunks:
            yield heads, [parts[Task(self.asked, layer, heads, shard)] for shard in range(self.shards)]

    def _scores(self, layer: int, parts: Parts, _: list[HeadScore]) -> list[HeadScore]:
        """A layer after the first pass. The resamples of selectivity's interval are one for the layer."""
        made, judged = [], []
        for heads, made_of in self._by_chunk(layer, parts):
            each, chosen, sums = zip(*made_of, strict=True)
            judged += joined(each)
            made += zip(heads, self.work.chooser.choices(joined(chosen)), *self._covariance(merged(sums)), strict=True)
        return [self._score(layer, *one, score) for one, score in zip(made, scores(judged), strict=True)]

    def _covariance(self, sums: list[Sums]) -> tuple[list[float], list[int], list[float]]:
        """‖ΔC‖ of each head of some groups, its rank, and ‖ΔC‖ of centred queries."""
        centred = np.concatenate([each.centred for each in sums])
        own = self.asked.contrast.centring == "queries"
        delta = centred if own else np.concatenate([each.delta for each in sums])
        return _norms(delta), [rank(S) for S in np.linalg.svd(delta, compute_uv=False)], _norms(centred)

    def _score(
        self, layer: int, head: int, choice: Choice, norm: float, size: int, centred: float, judged: Score
    ) -> HeadScore:
        return HeadScore(
            layer=layer,
            head=head,
            accuracy=judged.accuracy,
            accuracy_ci=judged.accuracy_ci,
            selectivity=judged.selectivity,
            attention_positive=judged.attention_positive,
            attention_negative=judged.attention_negative,
            delta_norm=norm,
            delta_null=None,
            p_value=None,
            rank=size,
            n_queries=judged.n,
            built_on=self.work.train.rows.split,
            judged_on=self.work.test.rows.split,
            selectivity_ci=judged.selectivity_ci,
            chance=judged.chance,
            choice=choice,
            delta_centred=centred if self.nulls else None,
            attention_positive_ci=judged.attention_positive_ci,
            attention_negative_ci=judged.attention_negative_ci,
            pending=self.nulls > 0,
        )

    def _nulls(self, layer: int, parts: Parts, known: list[HeadScore]) -> list[HeadScore]:
        """A layer after the second pass: the same scores with their nulls."""
        made = []
        for heads, made_of in self._by_chunk(layer, parts):
            norms = [self._norms(each) for each in zip(*filter(None, made_of), strict=True)]
            for head, null in zip(heads, np.concatenate(norms, axis=1).T, strict=True):
                tested = Tested(known[head].centred, tuple(null.tolist()))
                made.append(
                    replace(
                        known[head],
                        delta_null=tested.high,
                        p_value=tested.p_value,
                        deals=len(tested.null),
                        pending=False,
                    )
                )
        return made

    def _norms(self, parts: Sequence[Dealt]) -> np.ndarray:
        """(deals, heads) norms of a group, from what its shards made."""
        [first, *_] = parts
        return self.work.null.sized(totals(parts)) if first.norms is None else first.norms


def _norms(matrices: np.ndarray) -> list[float]:
    return np.linalg.norm(matrices, axis=(1, 2)).tolist()
