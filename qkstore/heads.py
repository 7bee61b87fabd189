"""Head scores: which heads carry a contrast, for every stored head from one pass over the vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from qkstore import score
from qkstore.analysis import build_split, judge_split
from qkstore.contrast import Contrast, pairs
from qkstore.covariance import PermutationNull, p_value
from qkstore.run import Run
from qkstore.subspace import rank


@dataclass(frozen=True)
class HeadScore:
    """One head under one contrast: what it attends to on the judged split, and its ΔC on the built one.

    built_accuracy, built_selectivity: the same on the built split, so that heads can be chosen without the judged
    split.
    """

    layer: int
    head: int
    accuracy: float | None
    accuracy_ci: tuple[float, float] | None
    selectivity: float | None
    attention_positive: float | None
    attention_negative: float | None
    delta_norm: float
    delta_null: float | None
    p_value: float | None
    rank: int
    n_queries: int
    built_on: str | None
    judged_on: str | None
    selectivity_ci: tuple[float, float] | None = None
    built_accuracy: float | None = None
    built_selectivity: float | None = None

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def of(cls, row: dict) -> HeadScore:
        """From to_dict, also after a way through JSON, which makes lists of tuples."""
        intervals = {name: tuple(row[name]) for name in ("accuracy_ci", "selectivity_ci") if row.get(name) is not None}
        return cls(**row | intervals)


def heads(
    run: Run, contrast: Contrast, nulls: int = 19, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> list[HeadScore]:
    """Scores of every stored head in one pass: pairs and their null are made once, keys are read once per KV head.

    `nulls` sign permutations give ‖ΔC‖ its null; delta_null is its 95 % quantile. Memory is that of one head.
    """
    built, judged = build_split(run), judge_split(run)
    train = _Rows(run, contrast, built)
    test = train if judged == built else _Rows(run, contrast, judged)
    null = contrast.null(train.local, nulls, seed) if nulls else None
    scores, total = [], len(run.layers) * run.n_heads
    for layer in run.layers:
        for head in range(run.n_heads):
            scores.append(_head_score(contrast, layer, head, train, test, null))
            if progress:
                progress(len(scores), total)
    return scores


class _Rows:
    """The rows of a contrast on one split, and where they lie."""

    def __init__(self, run: Run, contrast: Contrast, split: str | None):
        self.run, self.split = run, split
        self.pairs = pairs(run, contrast, split)
        self.query_rows, self.key_rows, self.local = self.pairs.localise()
        self._group, self._keys = None, None

    def queries(self, layer: int, head: int) -> np.ndarray:
        return self.run.queries(layer, head, self.query_rows)

    def keys(self, layer: int, head: int) -> np.ndarray:
        """The keys that a head reads; those read last are held for the heads that share them."""
        if (group := (layer, self.run.kv_head(head))) != self._group:
            self._group, self._keys = group, self.run.keys(layer, head, self.key_rows)
        return self._keys

    def score(self, layer: int, head: int, q: np.ndarray, k: np.ndarray, resample: bool) -> score.Score:
        """What a head, of these queries and keys, attends to."""
        facts = self.run.layer(layer)
        logit = score.pair_logits(q, k, self.local, facts.scaling, facts.softcap)
        seen = self.run.attended(facts, self.pairs.query, self.pairs.key)
        attention = np.where(seen, np.exp(logit - self.run.logsumexp(layer, head, self.pairs.query)), np.nan)
        return score.score(logit, attention, self.local, resample)


def _head_score(
    contrast: Contrast, layer: int, head: int, train: _Rows, test: _Rows, null: PermutationNull | None
) -> HeadScore:
    q, k = train.queries(layer, head), train.keys(layer, head)
    delta = contrast.fitter(train.run.d_head).update(q, k, train.local).delta
    norm = float(np.linalg.norm(delta))
    norms = null.norms(q, k) if null else None
    built = train.score(layer, head, q, k, resample=test is train)
    found = (
        built
        if test is train
        else test.score(layer, head, test.queries(layer, head), test.keys(layer, head), resample=True)
    )
    return HeadScore(
        layer,
        head,
        found.accuracy,
        found.accuracy_ci,
        found.selectivity,
        found.attention_positive,
        found.attention_negative,
        norm,
        None if null is None else float(np.quantile(norms, 0.95)),
        None if null is None else p_value(norm, norms),
        rank(np.linalg.svd(delta, compute_uv=False)),
        found.n,
        train.split,
        test.split,
        found.selectivity_ci,
        built.accuracy,
        built.selectivity,
    )
