"""The check of a contrast before it is saved: too few pairs, imbalance, and labels that differ between the sides."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from qkstore.contrast.contrast import Contrast
from qkstore.errors import ContrastError
from qkstore.run import Run
from qkstore.sql import guard, worker

FEW_QUERIES = 100
NOTES = ("partly", "tied")
WORDS = {"entity": "entities", "item": "items"}  # labels of a key whose values the test split is to hold out
MOST_RATIO = 50


@dataclass(frozen=True)
class Finding:
    """One thing to know about a contrast. kind: few, imbalance, seen, leak (a warning), or partly, tied (a note)."""

    kind: str
    text: str

    @property
    def warns(self) -> bool:
        return self.kind not in NOTES


def check(run: Run, contrast: Contrast, split: str | None = None) -> list[Finding]:
    """Findings on a contrast over a run's split; warnings first. Raises ContrastError when a side is empty.

    A leak is a key label that is constant on one side and varies on the other though the contrast does not name it:
    with one mean query it gives ΔC a direction that has nothing to do with the feature. Tied labels tell the sides
    apart too: the contrast cannot separate its feature from them. A word is seen if it is on a positive key of the test
    split and ΔC is built on it too.
    """
    sides = _Sides(run, contrast, split)
    findings = _size(sides) + _leaks(contrast, sides) + _tied(sides) + _seen(run, contrast)
    return sorted(findings, key=lambda f: not f.warns)


class _Sides:
    """Per side: pairs, queries, the number of values of every key label, and how often it equals a query label."""

    def __init__(self, run: Run, contrast: Contrast, split: str | None):
        labels = set(run.token_labels) | set(run.prompt_labels)
        named = _named(contrast)
        self.labels = [c for c in run.columns["k"] if c in labels and ("k", c) not in named]
        kinds = dict(
            run.cursor()
            .execute("SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'k'")
            .fetchall()
        )
        own = [c for c in run.token_labels if ("k", c) not in named]
        self.relations = [(a, b) for a in own for b in run.prompt_labels if kinds[a] == kinds[b] != "BOOLEAN"]
        measures = ["pair.sign", "count(*)", "count(DISTINCT pair.query_row)"]
        measures += [m for c in self.labels for m in (f'count(DISTINCT k."{c}")', f'min(k."{c}")::VARCHAR')]
        measures += [f'avg((k."{a}" IS NOT DISTINCT FROM q."{b}")::INTEGER)' for a, b in self.relations]
        numbered = ", ".join(f"{m} AS m{i}" for i, m in enumerate(measures))
        sql = (
            f"SELECT {numbered} FROM ({contrast.sql(run.columns, split)}) AS pair "
            "JOIN q ON q.query_row = pair.query_row JOIN k ON k.key_row = pair.key_row GROUP BY pair.sign"
        )
        rows = [tuple(r.values()) for r in worker.query(run.path, sql, limit_s=60).to_pylist()]
        self.by_sign = {row[0]: row for row in rows}
        if set(self.by_sign) != {1, -1}:
            n_pos, n_neg = (self.by_sign.get(s, (0, 0))[1] for s in (1, -1))
            raise ContrastError(
                f"contrast {contrast.name!r} has {n_pos:,} positive and {n_neg:,} negative pairs; both sides are needed"
            )

    def both(self, index: int) -> tuple:
        return self.by_sign[1][index], self.by_sign[-1][index]

    def label(self, i: int) -> tuple[tuple[int, int], tuple[str, str]]:
        """(number of values on +, on −), (a value on +, on −) of label i."""
        return self.both(3 + 2 * i), self.both(4 + 2 * i)

    def relation(self, i: int) -> tuple[float, float]:
        return self.both(3 + 2 * len(self.labels) + i)


def _size(sides: _Sides) -> list[Finding]:
    (n_pos, n_neg), (q_pos, q_neg) = sides.both(1), sides.both(2)
    found = []
    if min(q_pos, q_neg) < FEW_QUERIES:
        found.append(
            Finding(
                "few",
                (
                    f"few queries: {q_pos:,} with a positive key, {q_neg:,} with a negative one; "
                    f"below {FEW_QUERIES} the rank is mostly noise"
                ),
            )
        )
    if max(n_pos, n_neg) > MOST_RATIO * min(n_pos, n_neg):
        found.append(
            Finding(
                "imbalance",
                (
                    f"imbalance: {n_pos:,} positive against {n_neg:,} negative pairs; "
                    "weigh each query the same, or narrow the larger side"
                ),
            )
        )
    return found


def _leaks(contrast: Contrast, sides: _Sides) -> list[Finding]:
    found: dict[str, list[str]] = defaultdict(list)
    for i, label in enumerate(sides.labels):
        (n_pos, n_neg), (a, b) = sides.label(i)
        if min(n_pos, n_neg) == 1 < max(n_pos, n_neg):
            side, value = ("positive", a) if n_pos == 1 else ("negative", b)
            found[side].append(f"k.{label} is always {value!r}")
    remedy = (
        "queries are centred, which takes it out"
        if contrast.centring == "queries"
        else "centre the queries, or take the keys from other prompts"
    )
    kind = "tied" if contrast.centring == "queries" else "leak"
    return [
        Finding(kind, f"leak: on the {side} side {' and '.join(what)}, on the other it varies; {remedy}")
        for side, what in found.items()
    ]


def _tied(sides: _Sides) -> list[Finding]:
    found = []
    for i, label in enumerate(sides.labels):
        (n_pos, n_neg), (a, b) = sides.label(i)
        if n_pos == n_neg == 1 and a != b:
            found.append(Finding("tied", f"k.{label} is {a} on the positive side and {b} on the negative"))
    for i, (a, b) in enumerate(sides.relations):
        pos, neg = sides.relation(i)
        if abs(pos - neg) > 0.9:
            found.append(
                Finding(
                    "tied",
                    (
                        f"k.{a} equals q.{b} in {pos:.0%} of the positive pairs and {neg:.0%} of the negative: "
                        "the contrast cannot tell its feature from that"
                    ),
                )
            )
    return found


def _seen(run: Run, contrast: Contrast) -> list[Finding]:
    """Words of the test split's positive keys that keys of the train split's pairs have too.

    Only for runs that have both splits.
    """
    if not {"train", "test"} <= set(run.splits):
        return []
    found = []
    for label, plural in WORDS.items():
        if label not in run.token_labels:
            continue
        train, test = _words(run, contrast, label, "train"), _words(run, contrast, label, "test", "WHERE pair.sign = 1")
        if both := train & test:
            kind, how = ("seen", f"all {len(test)}") if both == test else ("partly", f"{len(both)} of {len(test)}")
            text = (
                f"not held out: {how} queried {plural} of the test split are in train pairs too, {min(both)!r} for one"
            )
            found.append(Finding(kind, f"{text}; what is judged there says nothing of words that ΔC was not built on"))
    return found


def _words(run: Run, contrast: Contrast, label: str, split: str, kept: str = "") -> set[str]:
    sql = (
        f'SELECT DISTINCT k."{label}"::VARCHAR AS word FROM ({contrast.sql(run.columns, split)}) AS pair '
        f"JOIN k USING (key_row) {kept}"
    )
    return set(worker.query(run.path, sql, limit_s=60).column("word").to_pylist()) - {None}


def _named(contrast: Contrast) -> set[tuple[str, str]]:
    texts = (contrast.where, contrast.positive, contrast.negative)
    return set().union(*(guard.columns_used(t) for t in texts if t))
