"""Two passes over all heads of a run: what each of them does under a contrast, and then the null of its ΔC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from qkstore.analysis.choice import Choice, Chooser
from qkstore.analysis.head import Rows, build_split, judge_split
from qkstore.analysis.heads.group import Group, Reader, Units, groups
from qkstore.analysis.heads.score import HeadScore
from qkstore.contrast import Contrast
from qkstore.null import Tested
from qkstore.run import Run
from qkstore.score import Score, scores
from qkstore.subspace import rank

Progress = Callable[[int, int], None]  # called with (heads done, heads in all)
Arrived = Callable[[list[HeadScore]], None]  # called with the table so far
Count = Callable[[int], None]  # called with how many heads are done more
Table = dict[int, list[HeadScore]]  # by layer

HELD = 64 << 20  # bytes of vectors that the second pass has from the first one


def heads(
    run: Run,
    contrast: Contrast,
    nulls: int = 19,
    seed: int = 0,
    progress: Progress | None = None,
    arrived: Arrived | None = None,
) -> list[HeadScore]:
    """Scores of every stored head: in a first pass over the vectors all but their nulls, in a second one these.

    `nulls` deals of signs give ‖ΔC‖ of centred queries its null (qkstore.null.SignNull); delta_null is its 95 %
    quantile. progress: called with (heads done, heads in all), in each pass from the start. arrived: called after each
    layer of each pass with the table so far: it grows in the first; in the second it is whole, and ever fewer heads are
    `pending`. Memory is that of the vectors of one KV head, its query heads' and HELD more.
    """
    return flat(
        Sweep(run, contrast, nulls, seed).table({}, progress, lambda _, table: arrived and arrived(flat(table)))
    )


def flat(table: Mapping[int, list[HeadScore]]) -> list[HeadScore]:
    """The scores by layer, and by head within one."""
    return [score for layer in sorted(table) for score in table[layer]]


class Sweep:
    """All heads of a run under one contrast, with `nulls` deals of signs by `seed`."""

    def __init__(self, run: Run, contrast: Contrast, nulls: int, seed: int):
        built, judged = build_split(run), judge_split(run)
        self.run, self.nulls = run, nulls
        self.train, self.chooser = Reader(Rows.of(run, contrast, built)), Chooser(run, contrast, built)
        self.test = self.train if judged == built else Reader(Rows.of(run, contrast, judged))
        self.choosing = self.train if self.chooser.rows.contrast is contrast else Reader(self.chooser.rows)
        self.null = contrast.null(self.train.rows.local, nulls, seed)
        self._held: dict[tuple[int, int], Units] = {}

    def table(self, known: Table, progress: Progress | None, finished: Callable[[int, Table], object]) -> Table:
        """Every head's score, by layer.

        known: layers that were scored before, with or without their nulls; what is there is not computed again.
        finished: called after each layer of each pass with its number and the table so far.
        """
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"):  # several threads for matrices as small mostly wait for each other
            return self._table(known, progress, finished)

    def _table(self, known: Table, progress: Progress | None, finished: Callable[[int, Table], object]) -> Table:
        table, n = dict(known), self.run.n_heads
        passes = [(self._scores, lambda layer: layer not in table)]
        passes += [(self._nulls, lambda layer: any(s.pending for s in table[layer]))] if self.nulls else []
        for computed, due in passes:
            left = [layer for layer in self.run.layers if due(layer)]
            count = _counter(progress, n * (len(self.run.layers) - len(left)), n * len(self.run.layers))
            for layer in left:
                table[layer] = computed(layer, table.get(layer, []), count)
                finished(layer, table)
        return table

    def _scores(self, layer: int, _: list[HeadScore], count: Count) -> list[HeadScore]:
        """A layer in the first pass. The resamples of selectivity's interval are one for the layer."""
        made, judged = [], []
        for heads in groups(self.run):
            read = {reader: Group(reader, layer, heads) for reader in (self.train, self.test, self.choosing)}
            judged += read[self.test].by_query
            choices = self.chooser.choices(read[self.choosing].by_query)
            made += zip(heads, choices, *self._covariance(read[self.train]), strict=True)
            count(len(heads))
        return [self._score(layer, *one, score) for one, score in zip(made, scores(judged), strict=True)]

    def _covariance(self, group: Group) -> tuple[list[float], list[int], list[float]]:
        """‖ΔC‖ of each head of a group, its rank, and ‖ΔC‖ of centred queries."""
        units = group.units
        if self.nulls and sum(held.size for held in self._held.values()) + units.size <= HELD:
            self._held[group.layer, group.heads[0]] = units
        centred = units.centred
        delta = centred if self.train.rows.contrast.centring == "queries" else units.delta
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
            built_on=self.train.rows.split,
            judged_on=self.test.rows.split,
            selectivity_ci=judged.selectivity_ci,
            chance=judged.chance,
            choice=choice,
            delta_centred=centred if self.nulls else None,
            attention_positive_ci=judged.attention_positive_ci,
            attention_negative_ci=judged.attention_negative_ci,
            pending=self.nulls > 0,
        )

    def _nulls(self, layer: int, scored: list[HeadScore], count: Count) -> list[HeadScore]:
        """A layer in the second pass: the same scores with their nulls."""
        made = []
        for heads in groups(self.run):
            units = self._held.pop((layer, heads[0]), None) or Group(self.train, layer, heads).units
            for head, norms in zip(heads, self.null.norms(units.x, units.c).T, strict=True):
                tested = Tested(scored[head].centred, tuple(norms.tolist()))
                made.append(
                    replace(
                        scored[head],
                        delta_null=tested.high,
                        p_value=tested.p_value,
                        deals=len(tested.null),
                        pending=False,
                    )
                )
            count(len(heads))
        return made


def _norms(matrices: np.ndarray) -> list[float]:
    return np.linalg.norm(matrices, axis=(1, 2)).tolist()


def _counter(progress: Progress | None, done: int, of: int) -> Count:
    def count(more: int) -> None:
        nonlocal done
        done += more
        if progress:
            progress(done, of)

    return count
