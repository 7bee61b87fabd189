"""A contrast: a rule in SQL over queries `q` and keys `k` that selects positive and negative pairs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from qkstore.contrast.sentence import count_text, sentence
from qkstore.covariance import ContrastiveCovariance, Pairs
from qkstore.errors import ContrastError, near
from qkstore.null import SignNull
from qkstore.run import Run
from qkstore.sql import guard, worker

Weighting = Literal["pair", "query", "sum"]
Centring = Literal["none", "queries"]
WEIGHTINGS: dict[Weighting, str] = {
    "pair": "each pair counts the same: C± is the mean over the side's pairs (the paper's expectation)",
    "query": "each query counts the same: C± is the mean over queries of the mean over their keys",
    "sum": "each query's keys are summed, not averaged, as in the authors' category scripts",
}
CENTRINGS: dict[Centring, str] = {
    "none": "queries as they are (eq. 5, 6)",
    "queries": "the mean query is subtracted first, which removes what every query shares",
}
ALWAYS = ("role", "split", "variant")  # labels that every run has
MOST_PAIRS = 20_000_000


@dataclass(frozen=True)
class Contrast:
    """Which pairs of a query and a key are positive and which are negative, in SQL.

    where, positive, negative: conditions over the columns of `q` and `k`. A pair satisfies `where` (by default, every
    pair does) and one of the other two. Query and key may come from different prompts.
    pairs: instead of the three, one SELECT of query_row, key_row, sign (+1 or −1) and, if wanted, weight.
    weighting, centring: see WEIGHTINGS and CENTRINGS. name, description, author, version do not change any number.
    Raises ContrastError for an unknown weighting or centring, for a missing side, and for conditions beside `pairs`.
    """

    name: str = "inline"
    where: str | None = None
    positive: str | None = None
    negative: str | None = None
    pairs: str | None = None
    weighting: Weighting = "pair"
    centring: Centring = "none"
    description: str = ""
    author: str = ""
    version: int | None = None

    def __post_init__(self) -> None:
        if self.weighting not in WEIGHTINGS:
            raise ContrastError(f"weighting {self.weighting!r}: {near(self.weighting, WEIGHTINGS)}")
        if self.centring not in CENTRINGS:
            raise ContrastError(f"centring {self.centring!r}: {near(self.centring, CENTRINGS)}")
        if self.pairs and (self.where or self.positive or self.negative):
            raise ContrastError(f"contrast {self.name!r} has predicates and a whole SELECT; give one or the other")
        if not self.pairs:
            for side in ("positive", "negative"):
                if not (getattr(self, side) or "").strip():
                    raise ContrastError(f"contrast {self.name!r} has no {side} predicate, such as k.label = q.label")

    def replace(self, **changes: Any) -> Contrast:
        """Return the contrast with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return dataclasses.asdict(self)

    @property
    def key(self) -> str:
        """A hash of the fields that decide numbers. Contrasts with equal keys give equal results."""
        parts = [self.where, self.positive, self.negative, self.pairs, self.weighting, self.centring]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def fitter(self, d_head: int) -> ContrastiveCovariance:
        """Return an empty ContrastiveCovariance with this contrast's centring and weighting."""
        return ContrastiveCovariance(d_head, centred=self.centring == "queries", summed=self.weighting == "sum")

    def null(self, pairs: Pairs, n: int, seed: int = 0) -> SignNull:
        """Return the null of ΔC over n deals of signs to the queries of pairs, with this contrast's weighting.

        Queries are centred in it whatever the contrast's centring, so both centrings have one p-value.
        """
        return SignNull(pairs, n, seed, summed=self.weighting == "sum")

    def sentence(self, counts: tuple[int, int, int, int] | None = None) -> str:
        """Return the contrast as an English sentence, with (n_q, n_k, n_+, n_-) at its end where `counts` is given."""
        if self.pairs:
            text = "Pairs, signs and weights as selected by SQL of its own."
            return text if counts is None else f"{text} {count_text(counts)}"
        return sentence(*self._conditions(), counts)

    def sql(self, columns: dict[str, list[str]], split: str | None = None) -> str:
        """Return the guarded SELECT of query_row, key_row, sign and weight over a run.

        columns: {table: its columns} of the run, as `Run.columns` gives them. split: keep the queries of this split
        only. weight is NULL throughout for a SELECT without weights. Raises GuardError for SQL that is not allowed and
        for columns that are not there.
        """
        if self.pairs:
            inner = guard.select(self.pairs, columns, stable=True)
            kept = f" WHERE query_row IN (SELECT query_row FROM q WHERE {_split(split)})" if split else ""
            # The second SELECT has no row: it gives a column of NULLs to a contrast without weights.
            weighted = (
                f"SELECT * FROM ({inner}) AS inner_pair UNION ALL BY NAME SELECT NULL::DOUBLE AS weight WHERE false"
            )
            # Named anew: a column that was written QUERY_ROW or Sign would keep its capitals.
            named = (
                "pair.query_row AS query_row, pair.key_row AS key_row, pair.sign AS sign, pair.weight::DOUBLE AS weight"
            )
            return f"SELECT {named} FROM ({weighted}) AS pair{kept}"
        where, positive, negative = (guard.predicate(text, columns) for text in self._conditions())
        kept = f" AND {_split(split)}" if split else ""
        return " UNION ALL ".join(
            (
                f"SELECT q.query_row, k.key_row, {sign} AS sign, 1.0::DOUBLE AS weight FROM q, k "
                f"WHERE ({where}) AND ({side}){kept}"
            )
            for sign, side in ((1, positive), (-1, negative))
        )

    def _conditions(self) -> tuple[str, str, str]:
        """where, positive and negative of a contrast without a SELECT of its own."""
        assert self.positive, "a contrast without `pairs` has both sides"
        assert self.negative, "a contrast without `pairs` has both sides"
        return self.where or "true", self.positive, self.negative


# -- pairs --------------------------------------------------------------------------------------------------------


def pairs(run: Run, contrast: Contrast, split: str | None = None, limit_s: float = 60.0) -> Pairs:
    """Return the contrast's pairs on a run, weighted as the contrast says; row numbers are the run's.

    split: take the queries of this split only; None takes all. limit_s: seconds that the SQL may take.
    Raises ContrastError where a side is empty (with both counts), where a pair is on both sides, where there are more
    than MOST_PAIRS, and where a contrast's own SELECT gives a pair twice or values that are no rows, signs or weights.
    Raises GuardError for SQL that is not allowed, that fails, or that reaches its limit.
    """
    table = worker.query(run.path, contrast.sql(run.columns, split), limit_s=limit_s, max_rows=MOST_PAIRS)
    if worker.truncated(table):
        raise ContrastError(
            f"contrast {contrast.name!r} has more than {MOST_PAIRS:,} pairs on run {run.name!r}; "
            "narrow it, for example to k.prompt_id = q.prompt_id"
        )
    query, key, sign = (_column(contrast, table, name) for name in ("query_row", "key_row", "sign"))
    unweighted = table["weight"].null_count == len(table)
    weight = np.ones(len(table)) if unweighted else _column(contrast, table, "weight")
    if contrast.pairs:
        _check_rows(run, contrast, query, key, sign, weight)
    _check_sides(run, contrast, sign, split)
    _check_overlap(run, contrast, query, key, sign)
    plain = Pairs(query.astype(np.int64), key.astype(np.int64), sign.astype(np.int8), weight.astype(np.float64))
    return plain.balanced() if contrast.weighting == "query" else plain


def _check_sides(run: Run, contrast: Contrast, sign: np.ndarray, split: str | None) -> None:
    """Raise ContrastError, with what the labels can be, unless both sides have pairs."""
    n_pos, n_neg = int((sign == 1).sum()), int((sign == -1).sum())
    if n_pos and n_neg:
        return
    side = "positive and no negative" if n_pos == n_neg == 0 else "positive" if not n_pos else "negative"
    where = f"{split} prompts of run {run.name!r}" if split else f"run {run.name!r}"
    raise ContrastError(
        f"contrast {contrast.name!r} has no {side} pairs on the {where}: "
        f"{n_pos:,} positive, {n_neg:,} negative{_hint(run, contrast)}"
    )


def _hint(run: Run, contrast: Contrast) -> str:
    """The values of the labels that the contrast names; an empty side mostly comes of a value that no row has."""
    if contrast.pairs:
        return ""
    texts = (contrast.where, contrast.positive, contrast.negative)
    used = {column for text in texts if text for column in guard.columns_used(text)}
    told: list[str] = []
    for alias, column in sorted(used):
        values = (
            run.values(column, alias, most=9)
            if column in ("role", "split", "variant", *run.token_labels, *run.prompt_labels)
            else []
        )
        if values and len(told) < 4:
            told.append(f"{alias}.{column} is {', '.join(map(str, values[:8]))}{', …' if len(values) > 8 else ''}")
    return f" ({'; '.join(told)})" if told else ""


def _check_rows(
    run: Run, contrast: Contrast, query: np.ndarray, key: np.ndarray, sign: np.ndarray, weight: np.ndarray
) -> None:
    """Raise ContrastError for what a SELECT of one's own may get wrong and conditions cannot."""
    for what, rows, total in (("query_row", query, run.n_queries), ("key_row", key, run.n_keys)):
        wrong = rows[(rows < 0) | (rows >= total)]
        if len(wrong):
            raise ContrastError(
                f"contrast {contrast.name!r} selects {what} {wrong[0]}; run {run.name!r} has 0 to {total - 1}"
            )
    if not np.isin(sign, (-1, 1)).all():
        raise ContrastError(
            f"contrast {contrast.name!r} selects sign {sign[~np.isin(sign, (-1, 1))][0]}; a sign is 1 or -1"
        )
    if not (np.isfinite(weight) & (weight > 0)).all():
        raise ContrastError(f"contrast {contrast.name!r} selects a weight that is not a positive number")
    code = np.sort((query.astype(np.int64) * run.n_keys + key) * 2 + (sign == 1))
    twice = code[1:][code[1:] == code[:-1]] // 2
    if len(twice):  # its attention would be summed twice
        raise ContrastError(
            f"contrast {contrast.name!r} selects pairs more than once, such as query_row {twice[0] // run.n_keys} "
            f"with key_row {twice[0] % run.n_keys}; use SELECT DISTINCT"
        )


def _check_overlap(run: Run, contrast: Contrast, query: np.ndarray, key: np.ndarray, sign: np.ndarray) -> None:
    """Raise ContrastError where a pair is both positive and negative."""
    code = query.astype(np.int64) * run.n_keys + key
    few, many = sorted((code[sign == 1], code[sign == -1]), key=len)
    few = np.sort(few)  # a search in the smaller side is several times faster than a sort of both
    both = many[few[np.searchsorted(few, many).clip(max=len(few) - 1)] == many]
    if len(both):
        raise ContrastError(
            f"contrast {contrast.name!r}: {len(both):,} pairs are positive and negative, "
            f"such as query_row {both[0] // run.n_keys} with key_row {both[0] % run.n_keys}; "
            "let the two predicates exclude each other"
        )


def _column(contrast: Contrast, table: pa.Table, name: str) -> np.ndarray:
    """A column of whole numbers, or of any numbers for the weight; raises ContrastError for anything else."""
    column = table[name]
    if column.null_count:
        raise ContrastError(f"contrast {contrast.name!r} selects a NULL {name}")
    whole, real = pa.types.is_integer(column.type), pa.types.is_floating(column.type)
    values = column.to_numpy() if whole or real else None  # NumPy has not every value of other types
    if values is None or (real and name != "weight" and (values != np.floor(values)).any()):
        raise ContrastError(
            f"contrast {contrast.name!r} selects {name} of type {column.type}; whole numbers are needed"
        )
    return values


def _split(split: str) -> str:
    """The condition that a query is of a split."""
    return "q.split = '" + split.replace("'", "''") + "'"


# -- labels -------------------------------------------------------------------------------------------------------


def label_choices(run: Run) -> tuple[list[str], list[str]]:
    """Return the label columns that queries, and those that keys, can be coloured by; the likeliest come first."""
    prompt, token = list(run.prompt_labels), list(run.token_labels)
    return [*prompt, *ALWAYS, *token], [*token, *ALWAYS, *prompt]


def labels(run: Run, contrast: Contrast) -> tuple[str, str]:
    """Return the query's label and the key's label that hold the contrast's feature.

    They are taken from a positive condition such as `k.order_id = q.queried_order`; else they are the first key label x
    with a query label queried_x; else the first choices of `label_choices`.
    """
    q_choices, k_choices = label_choices(run)
    used = guard.columns_used(contrast.positive) if contrast.positive else set()
    q = [c for side, c in used if side == "q" and c in (*run.prompt_labels, *run.token_labels)]
    k = [c for side, c in used if side == "k" and c in run.token_labels]
    if len(q) == len(k) == 1:
        return q[0], k[0]
    for label in run.token_labels:
        if f"queried_{label}" in run.prompt_labels:
            return f"queried_{label}", label
    return q_choices[0], k_choices[0]
