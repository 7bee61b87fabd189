"""Head scores: which heads carry a contrast, for every stored head from one pass over the vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import polars as pl

from qkstore import score
from qkstore.analysis.head import build_split, judge_split
from qkstore.contrast import Contrast, pairs
from qkstore.covariance import PermutationNull, p_value
from qkstore.run import Run
from qkstore.subspace import rank

# {column of `table`: (title, what it is)}; larger is better, but for rank, which is only a size.
MEASURES = {
    "accuracy": ("Accuracy", "P(the largest logit among the contrast's keys is on a positive one)"),
    "selectivity": ("Selectivity", "attention on positive keys over attention on negative ones"),
    "strength": ("‖ΔC‖ ÷ null", "‖ΔC‖ over the 95 % quantile of its permutation null; above 1 is more than chance"),
    "rank": ("Rank", "number of singular values that hold 99 % of ‖ΔC‖²"),
}
GOOD = 0.5

MOST_FILTER_HEADS = 3  # filter heads, section 5.1
LEAST_ACCURACY = 0.3  # accuracy of a binding head, section 5.2
FILTER, BINDING = "filter", "binding"


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


@dataclass(frozen=True)
class Summary:
    """n_good heads of n have an accuracy above a half; `measure` is what `best` is best in."""

    n: int
    n_good: int
    best: HeadScore
    measure: str
    value: float | None


def scored_by(named: dict[str, tuple[Contrast, ...]], name: str) -> Contrast:
    """The one contrast that the head scores of a name come from.

    It is the name's own, or the pooled one of a span such as `category:*`.
    """
    members = named[name]
    pooled = named.get(name.split(":")[0], members)
    return members[0] if len(members) == 1 else pooled[0]


def table(scores: Sequence[HeadScore], by: str = "accuracy") -> pl.DataFrame:
    """One row for each head, best first by a column of MEASURES; heads without that measure come last.

    `selected`: see qkstore.selection.
    """
    kinds = selected(scores)
    rows = pl.DataFrame(
        [_row(s) | {"selected": kinds.get((s.layer, s.head), "")} for s in scores], infer_schema_length=None
    )
    return rows.sort([by, "strength", "delta_norm"], descending=True, nulls_last=True)


def best(scores: Sequence[HeadScore]) -> HeadScore:
    """The head of the highest accuracy; where no head has one, of the largest ‖ΔC‖ against its null."""
    top = table(scores).row(0, named=True)
    return next(s for s in scores if (s.layer, s.head) == (top["layer"], top["head"]))


def summary(scores: Sequence[HeadScore]) -> Summary:
    """What the top row of the Heads page says."""
    top = best(scores)
    measure = "accuracy" if top.accuracy is not None else "strength"
    good = sum(1 for s in scores if (s.accuracy or 0) > GOOD)
    return Summary(len(scores), good, top, measure, _row(top)[measure])


def _row(s: HeadScore) -> dict:
    low, high = s.accuracy_ci or (None, None)
    least, most = s.selectivity_ci or (None, None)
    return {
        "layer": s.layer,
        "head": s.head,
        "accuracy": s.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "selectivity": s.selectivity,
        "selectivity_low": least,
        "selectivity_high": most,
        "attention_positive": s.attention_positive,
        "attention_negative": s.attention_negative,
        "delta_norm": s.delta_norm,
        "delta_null": s.delta_null,
        "strength": s.delta_norm / s.delta_null if s.delta_null else None,
        "p_value": s.p_value,
        "rank": s.rank,
        "n_queries": s.n_queries,
    }


def filter_heads(scores: Sequence[HeadScore], most: int = MOST_FILTER_HEADS) -> list[HeadScore]:
    """The `most` heads of the largest selectivity, best first.

    Selectivity is attention on positive keys (the queried items) over attention on negative ones.
    """
    there = [s for s in scores if s.built_selectivity is not None]
    return sorted(there, key=lambda s: -s.built_selectivity)[:most]


def binding_heads(scores: Sequence[HeadScore], least: float = LEAST_ACCURACY) -> list[HeadScore]:
    """The heads with an accuracy of `least` or more, best first.

    Accuracy: the share of queries whose largest logit is on the positive key (the right box).
    """
    found = [s for s in scores if s.built_accuracy is not None and s.built_accuracy >= least]
    return sorted(found, key=lambda s: -s.built_accuracy)


def selected(scores: Sequence[HeadScore]) -> dict[tuple[int, int], str]:
    """{(layer, head): 'filter', 'binding' or 'filter, binding'} of the heads that either rule takes."""
    kinds: dict[tuple[int, int], list[str]] = {}
    for kind, heads in ((FILTER, filter_heads(scores)), (BINDING, binding_heads(scores))):
        for s in heads:
            kinds.setdefault((s.layer, s.head), []).append(kind)
    return {at: ", ".join(names) for at, names in kinds.items()}


def statement(scores: Sequence[HeadScore]) -> str:
    """What the selected heads of a table are, and which prompts chose and judged them."""
    rules = (
        f"Filter heads are the top {MOST_FILTER_HEADS} by selectivity, binding heads have an accuracy of {LEAST_ACCURACY:.0%} or more"
    ).replace("%", " %")
    built, judged = scores[0].built_on or "whole", scores[0].judged_on or "whole"
    if built == judged:
        return (
            f"{rules}. They are chosen and judged on the same {built} prompts, "
            "so that their figures and intervals are too good."
        )
    return (
        f"{rules}, both on the {built} split; "
        f"figures and 95 % intervals are of the {judged} split, which had no part in the choice."
    )


def sentence(score: HeadScore) -> str:
    """What the choice of one head rested on."""
    ratio = "no ratio" if score.built_selectivity is None else f"selectivity {score.built_selectivity:.2f}"
    share = "no accuracy" if score.built_accuracy is None else f"accuracy {score.built_accuracy:.0%}".replace("%", " %")
    return f"by {ratio}, {share} on the {score.built_on or 'whole'} split"
