"""Head scores: which heads carry a contrast, for every stored head from one pass over the vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field

import numpy as np
import polars as pl

from qkstore.analysis.choice import LEAST_ACCURACY, LEAST_ATTENTION, LEAST_QUERIES, LEVEL, Choice, Chooser
from qkstore.analysis.head import Head, HeadData, Rows, build_split, judge_split
from qkstore.contrast import Contrast
from qkstore.errors import StoreError
from qkstore.null import SignNull
from qkstore.run import Run
from qkstore.store import Store
from qkstore.store.catalog.rows import built
from qkstore.store.source import code_key
from qkstore.subspace import rank
from qkstore.text import percent, split_name

# {column of `table`: (title, what it is)}; larger is better, but for rank, which is only a size.
MEASURES = {
    "accuracy": ("Accuracy", "P(the largest logit among the contrast's keys is on a positive one)"),
    "selectivity": ("Selectivity", "attention on positive keys over attention on negative ones"),
    "strength": ("‖ΔC‖ ÷ null", "‖ΔC‖ (centred) over the 95 % quantile of its null; above 1 is more than chance"),
    "rank": ("Rank", "number of singular values that hold 99 % of ‖ΔC‖²"),
}
MOST_FILTER_HEADS = 3  # filter heads, section 5.1
FILTER, BINDING = "filter", "binding"
Progress = Callable[[int, int], None]  # called with (heads done, heads in all)


@dataclass(frozen=True)
class HeadScore:
    """One head under one contrast: what it attends to on the judged split, and its ΔC on the built one.

    chance: the accuracy that chance gives on the judged pairs. choice: what it does on the prompts that choose heads.
    delta_centred: ‖ΔC‖ of centred queries, which delta_null and p_value are the null of; None where it is delta_norm.
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
    chance: float | None = None
    choice: Choice = field(default_factory=Choice)
    delta_centred: float | None = None

    @property
    def centred(self) -> float:
        """‖ΔC‖ of centred queries."""
        return self.delta_norm if self.delta_centred is None else self.delta_centred

    @property
    def strength(self) -> float | None:
        """The same over the 95 % quantile of its null."""
        return self.centred / self.delta_null if self.delta_null else None

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def of(cls, row: dict) -> HeadScore:
        """From to_dict, also after a way through JSON, which makes lists of tuples."""
        intervals = {name: tuple(row[name]) for name in ("accuracy_ci", "selectivity_ci") if row.get(name) is not None}
        return cls(**row | intervals | {"choice": Choice(**row.get("choice", {}))})


def heads(
    run: Run, contrast: Contrast, nulls: int = 19, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> list[HeadScore]:
    """Scores of every stored head in one pass: pairs and their null are made once, keys are read once per KV head.

    `nulls` deals of signs give ‖ΔC‖ of centred queries its null (qkstore.null.SignNull); delta_null is its 95 %
    quantile. Memory is that of one head.
    """
    built, judged = build_split(run), judge_split(run)
    train, chooser = _Reader(Rows.of(run, contrast, built)), Chooser(run, contrast, built)
    test = train if judged == built else _Reader(Rows.of(run, contrast, judged))
    choosing = train if chooser.rows.contrast is contrast else _Reader(chooser.rows)
    null = contrast.null(train.rows.local, nulls, seed) if nulls else None
    scores, total = [], len(run.layers) * run.n_heads
    for layer in run.layers:
        for number in range(run.n_heads):
            head = Head(run, layer, number)
            data = train.read(head)
            choice = chooser.choice(data if choosing is train else choosing.read(head))
            scores.append(_head_score(data, data if test is train else test.read(head), null, choice))
            if progress:
                progress(len(scores), total)
    return scores


def kept(
    store: Store, run: Run, contrast: Contrast, nulls: int = 19, seed: int = 0, progress: Progress | None = None
) -> list[HeadScore]:
    """The scores that `heads` gives, computed once for all who use the store: its catalogue keeps them.

    They are computed anew for other vectors, other pairs, other nulls, another seed and another version of the code.
    """
    asked = key(run, contrast, nulls, seed)
    if found := built(lambda rows: [HeadScore.of(row) for row in rows], store.catalog.result(asked)):
        return found
    scores = heads(run, contrast, nulls, seed, progress)
    with suppress(StoreError):  # a store that one may only read still answers
        keep(store, run, contrast, scores, asked)
    return scores


def keep(store: Store, run: Run, contrast: Contrast, scores: Sequence[HeadScore], asked: str) -> None:
    """Keep scores under their key. Raises RoleError for viewers, StoreError where the catalogue cannot be written."""
    made = {"content": run.digest, "version": contrast.version, "code": code_key()[:16]}
    store.catalog.keep_result(asked, "heads", run.name, contrast.name, [s.to_dict() for s in scores], **made)


def key(run: Run, contrast: Contrast, nulls: int = 19, seed: int = 0) -> str:
    """What the scores are kept under: a hash of all that decides them."""
    return hashlib.sha256(repr((run.identity, contrast.key, nulls, seed, code_key())).encode()).hexdigest()


class _Reader:
    """Reads one head after another; the keys read last are held for the heads that share them."""

    def __init__(self, rows: Rows):
        self.rows = rows
        self._group, self._keys = None, None

    def read(self, head: Head) -> HeadData:
        if (group := (head.layer, head.run.kv_head(head.head))) != self._group:
            self._group, self._keys = group, head.keys(self.rows.key)
        return self.rows.read(head, self._keys)


def _head_score(data: HeadData, test: HeadData, null: SignNull | None, choice: Choice) -> HeadScore:
    tested = null.test(data.q, data.k) if null else None
    judged = test.score(resample=True)
    return HeadScore(
        layer=data.head.layer,
        head=data.head.head,
        accuracy=judged.accuracy,
        accuracy_ci=judged.accuracy_ci,
        selectivity=judged.selectivity,
        attention_positive=judged.attention_positive,
        attention_negative=judged.attention_negative,
        delta_norm=data.norm,
        delta_null=None if tested is None else tested.high,
        p_value=None if tested is None else tested.p_value,
        rank=rank(np.linalg.svd(data.covariance.delta, compute_uv=False)),
        n_queries=judged.n,
        built_on=data.split,
        judged_on=test.split,
        selectivity_ci=judged.selectivity_ci,
        chance=judged.chance,
        choice=choice,
        delta_centred=None if tested is None else tested.observed,
    )


@dataclass(frozen=True)
class Summary:
    """n_selected heads of n are selected; `best` is the default head, told by `measure` on the judged split."""

    n: int
    n_selected: int
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

    `selected`: the rule that selects the head (see `selected`), or nothing.
    """
    kinds = selected(scores)
    rows = pl.DataFrame(
        [_row(s) | {"selected": kinds.get((s.layer, s.head), "")} for s in scores], infer_schema_length=None
    )
    return rows.sort([by, "strength", "delta_norm"], descending=True, nulls_last=True)


def by_evidence(scores: Sequence[HeadScore]) -> list[HeadScore]:
    """Those that are selected first, then the others by accuracy on the prompts that choose, then by ‖ΔC‖."""
    chosen = list(dict.fromkeys([*binding_heads(scores), *filter_heads(scores)]))
    return [*chosen, *sorted((s for s in scores if s not in chosen), key=_promise, reverse=True)]


def best(scores: Sequence[HeadScore]) -> HeadScore:
    """The default head: the first by evidence. The judged split has no part in it."""
    return by_evidence(scores)[0]


def _promise(s: HeadScore) -> tuple[float, float]:
    """Accuracy, which comes first, and where no head has one the size of ‖ΔC‖ against its null."""
    return -1.0 if s.choice.accuracy is None else s.choice.accuracy, s.strength or 0.0


def summary(scores: Sequence[HeadScore]) -> Summary:
    """What the top row of the Heads page says."""
    top = best(scores)
    measure = "accuracy" if top.accuracy is not None else "strength"
    return Summary(len(scores), len(selected(scores)), top, measure, _row(top)[measure])


def _row(s: HeadScore) -> dict:
    low, high = s.accuracy_ci or (None, None)
    least, most = s.selectivity_ci or (None, None)
    return {
        "layer": s.layer,
        "head": s.head,
        "accuracy": s.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "chance": s.chance,
        "selectivity": s.selectivity,
        "selectivity_low": least,
        "selectivity_high": most,
        "attention_positive": s.attention_positive,
        "attention_negative": s.attention_negative,
        "delta_norm": s.delta_norm,
        "delta_null": s.delta_null,
        "strength": s.strength,
        "p_value": s.p_value,
        "rank": s.rank,
        "n_queries": s.n_queries,
    }


def filter_heads(scores: Sequence[HeadScore], most: int = MOST_FILTER_HEADS) -> list[HeadScore]:
    """The `most` heads of the largest selectivity among those where it is clear of chance, best first.

    Selectivity is attention on positive keys (the queried items) over attention on negative ones.
    """
    there = [s for s in scores if s.choice.filters(len(scores))]
    return sorted(there, key=lambda s: -(s.choice.selectivity or 0.0))[:most]


def binding_heads(scores: Sequence[HeadScore], least: float = LEAST_ACCURACY) -> list[HeadScore]:
    """The heads with an accuracy of `least` or more that is clear of chance, best first.

    Accuracy: the share of queries whose largest logit is on the positive key (the right box).
    """
    there = [s for s in scores if s.choice.binds(len(scores), least)]
    return sorted(there, key=lambda s: -(s.choice.accuracy or 0.0))


def selected(scores: Sequence[HeadScore]) -> dict[tuple[int, int], str]:
    """{(layer, head): 'filter', 'binding' or 'filter, binding'} of the heads that either rule takes."""
    kinds: dict[tuple[int, int], list[str]] = {}
    for kind, heads in ((FILTER, filter_heads(scores)), (BINDING, binding_heads(scores))):
        for s in heads:
            kinds.setdefault((s.layer, s.head), []).append(kind)
    return {at: ", ".join(names) for at, names in kinds.items()}


def statement(scores: Sequence[HeadScore]) -> str:
    """What the selected heads of a table are, and which prompts chose and judged them."""
    chance = scores[0].choice.chance
    rules = (
        f"Filter heads are the top {MOST_FILTER_HEADS} by selectivity, binding heads have an accuracy of "
        f"{percent(LEAST_ACCURACY)} or more{'' if chance is None else f' (chance {percent(chance)})'}; either must be "
        f"clear of chance (p ≤ {LEVEL} over all {len(scores)} heads together, each word counted once), with "
        f"{percent(LEAST_ATTENTION)} of the attention on these keys and {LEAST_QUERIES} queries or more"
    )
    built, judged = split_name(scores[0].built_on), split_name(scores[0].judged_on)
    if built == judged:
        return (
            f"{rules}. They are chosen and judged on the same {built} prompts, "
            "so that their figures and intervals are too good."
        )
    return (
        f"{rules}, all on the {built} split; figures and 95 % intervals are of the {judged} split, "
        "which had no part in the choice, nor in that of the head shown where none is selected."
    )
