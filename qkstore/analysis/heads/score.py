"""Head scores: which heads carry a contrast, for every stored head from one pass over the vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field

import numpy as np

from qkstore.analysis.choice import Choice, Chooser
from qkstore.analysis.head import Head, HeadData, Rows, build_split, judge_split
from qkstore.contrast import Contrast
from qkstore.errors import StoreError
from qkstore.null import SignNull
from qkstore.run import Run
from qkstore.store import Store
from qkstore.store.catalog.rows import built
from qkstore.store.source import code_key
from qkstore.subspace import rank
from qkstore.text import p_value

Progress = Callable[[int, int], None]  # called with (heads done, heads in all)


@dataclass(frozen=True)
class HeadScore:
    """One head under one contrast: what it attends to on the judged split, and its ΔC on the built one.

    chance: the accuracy that chance gives on the judged pairs. choice: what it does on the prompts that choose heads.
    delta_centred: ‖ΔC‖ of centred queries, which delta_null and p_value are the null of; None where it is delta_norm.
    deals: how many deals of signs the null has; p_value is 1 ÷ (deals + 1) at the least.
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
    deals: int | None = None
    attention_positive_ci: tuple[float, float] | None = None
    attention_negative_ci: tuple[float, float] | None = None

    @property
    def centred(self) -> float:
        """‖ΔC‖ of centred queries."""
        return self.delta_norm if self.delta_centred is None else self.delta_centred

    @property
    def strength(self) -> float | None:
        """The same over the 95 % quantile of its null."""
        return self.centred / self.delta_null if self.delta_null else None

    def interval(self, by: str) -> tuple[float, float] | None:
        """The 95 % interval of a measure on the judged split; None of one that has none."""
        return getattr(self, f"{by}_ci", None)

    @property
    def p_told(self) -> str:
        """The p-value of ‖ΔC‖ in words; it says so where more deals of signs might make it less."""
        return "no null" if self.p_value is None or self.deals is None else p_value(self.p_value, self.deals)

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def of(cls, row: dict) -> HeadScore:
        """From to_dict, also after a way through JSON, which makes lists of tuples."""
        intervals = {name: tuple(row[name]) for name in row if name.endswith("_ci") and row[name] is not None}
        return cls(**row | intervals | {"choice": Choice(**row.get("choice", {}))})


def heads(
    run: Run, contrast: Contrast, nulls: int = 19, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> list[HeadScore]:
    """Scores of every stored head in one pass: pairs and their null are made once, keys are read once per KV head.

    `nulls` deals of signs give ‖ΔC‖ of centred queries its null (qkstore.null.SignNull); delta_null is its 95 %
    quantile. Memory is that of one head.
    """
    built, judged = build_split(run), judge_split(run)
    train, chooser = Reader(Rows.of(run, contrast, built)), Chooser(run, contrast, built)
    test = train if judged == built else Reader(Rows.of(run, contrast, judged))
    choosing = train if chooser.rows.contrast is contrast else Reader(chooser.rows)
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


class Reader:
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
        deals=None if tested is None else len(tested.null),
        attention_positive_ci=judged.attention_positive_ci,
        attention_negative_ci=judged.attention_negative_ci,
    )
