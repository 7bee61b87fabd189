"""The check of a contrast before it is saved: few queries, imbalance, leaks, tied labels, words not held out.

What it says of queries that are on one side only stands in `sides`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from qkstore.contrast import sides as one_sided
from qkstore.contrast.contrast import Contrast
from qkstore.contrast.selection import pairs
from qkstore.errors import ContrastError
from qkstore.run import Run
from qkstore.sql import guard, worker

FEW_QUERIES = 100  # with fewer, the rank is mostly noise
MOST_RATIO = 50  # of the larger side's pairs to the smaller's
TIED = 0.9  # difference, between the sides, of how often two labels are equal
MOST_TOLD = 3  # labels of one finding
WORDS = {"entity": "entities", "item": "items"}  # labels of a key whose values the test split is to hold out
NOTES = ("partly", "some", "tied")
SHARED = 2  # prompts whose queries have one key in common: from here on they are pooled, and not matched one to one
ACROSS = ("*", "DISTINCT pair.key_row", "DISTINCT pair.query_row", "DISTINCT q.prompt_id")


@dataclass(frozen=True)
class Finding:
    """One thing to know about a contrast.

    kind: few, imbalance, across, single, queries, seen or leak (warnings); partly, some or tied (notes).
    """

    kind: str
    text: str

    @property
    def warns(self) -> bool:
        """Whether it is a warning rather than a note."""
        return self.kind not in NOTES

    @property
    def short(self) -> str:
        """What was found, without what follows from it."""
        return self.text.split("; ")[0]


def check(run: Run, contrast: Contrast, split: str | None = None) -> list[Finding]:
    """Return what there is to know about a contrast on a run, warnings first.

    split: look at the pairs of this split only; None looks at all. Raises ContrastError where a side is empty.

    leak: a key label that the contrast does not name is constant on one side and varies on the other. Through the mean
    query it gives ΔC a direction that has nothing to do with the feature; with centred queries it is a note, `tied`.
    tied: a label tells the sides apart as well as the feature does, so the contrast cannot tell them apart. seen,
    partly: all, or some, words of the test split's positive keys are in train pairs too. single, some: many, or a few,
    queries have keys of one sign only. queries: a label that the contrast does not name has other values on the
    queries with positive keys than on those with negative ones. across: keys are pooled over prompts.
    """
    sides = _Sides(run, contrast, split)
    findings = _size(sides) + _across(sides) + _leaks(contrast, sides) + _one_sided(run, contrast, split) + _tied(sides)
    findings += _seen(run, contrast)
    return sorted(findings, key=lambda f: not f.warns)


def told(run: Run, contrast: Contrast, split: str | None = None) -> dict[str, Any]:
    """Return what a catalogue keeps of a check: {run, content, split, counts, findings}, findings as texts.

    content is the digest of the run that it was made on. Raises as `check` does.
    """
    findings = [f.text for f in check(run, contrast, split)]
    counts = pairs(run, contrast, split).counts._asdict()
    return {"run": run.name, "content": run.digest, "split": split, "counts": counts, "findings": findings}


class _Sides:
    """Of each side: pairs, queries, the values of every key label, and how often a key label equals a query label."""

    def __init__(self, run: Run, contrast: Contrast, split: str | None) -> None:
        labels = set(run.token_labels) | set(run.prompt_labels)
        named = _named(contrast)
        self.labels = [c for c in run.columns["k"] if c in labels and ("k", c) not in named]
        kinds = run.types["k"]
        own = [c for c in run.token_labels if ("k", c) not in named]
        self.relations = [(a, b) for a in own for b in run.prompt_labels if kinds[a] == kinds[b] != "BOOLEAN"]
        measures = ["pair.sign", "count(*)", "count(DISTINCT pair.query_row)"]
        measures += [m for c in self.labels for m in (f'count(DISTINCT k."{c}")', f'min(k."{c}")::VARCHAR')]
        measures += [f'avg((k."{a}" IS NOT DISTINCT FROM q."{b}")::INTEGER)' for a, b in self.relations]
        self.n_before = len(measures)
        measures += [f"count({what}) FILTER (WHERE k.prompt_id <> q.prompt_id)" for what in ACROSS]
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

    def both(self, index: int) -> tuple[Any, Any]:
        """(on +, on −) of measure `index`."""
        return self.by_sign[1][index], self.by_sign[-1][index]

    def label(self, i: int) -> tuple[tuple[int, int], tuple[str, str]]:
        """(number of values on +, on −), (a value on +, on −) of label i."""
        return self.both(3 + 2 * i), self.both(4 + 2 * i)

    def relation(self, i: int) -> tuple[float, float]:
        """(on +, on −) how often the labels of relation i are equal."""
        return self.both(3 + 2 * len(self.labels) + i)


def _size(sides: _Sides) -> list[Finding]:
    """Few queries, and sides of very different size."""
    (n_pos, n_neg), (q_pos, q_neg) = sides.both(1), sides.both(2)
    findings = []
    if min(q_pos, q_neg) < FEW_QUERIES:
        text = (
            f"few queries: {q_pos:,} with a positive key, {q_neg:,} with a negative one; "
            f"below {FEW_QUERIES} the rank is mostly noise"
        )
        findings.append(Finding("few", text))
    if max(n_pos, n_neg) > MOST_RATIO * min(n_pos, n_neg):
        text = (
            f"imbalance: {n_pos:,} positive against {n_neg:,} negative pairs; "
            "weigh each query the same, or narrow the larger side"
        )
        findings.append(Finding("imbalance", text))
    return findings


def _across(sides: _Sides) -> list[Finding]:
    """Keys that queries of several other prompts share."""
    pairs, shared = 0, 0.0
    for row in sides.by_sign.values():
        n, keys, queries, prompts = row[sides.n_before :]
        pairs += n
        shared = max(shared, n / keys * prompts / queries if n else 0.0)
    if shared < SHARED:
        return []
    total = sum(sides.both(1))
    return [
        Finding(
            "across",
            f"pairs across prompts: in {pairs / total:.0%} of the pairs the key is of another prompt, and queries of "
            f"{shared:,.0f} prompts share a key; such queries are not independent, so that intervals and p-values are "
            "too good: add k.prompt_id = q.prompt_id, unless pooled keys are meant",
        )
    ]


def _leaks(contrast: Contrast, sides: _Sides) -> list[Finding]:
    """Labels that are constant on one side and vary on the other."""
    constant: dict[str, list[str]] = defaultdict(list)
    for i, label in enumerate(sides.labels):
        (n_pos, n_neg), (a, b) = sides.label(i)
        if min(n_pos, n_neg) == 1 < max(n_pos, n_neg):
            side, value = ("positive", a) if n_pos == 1 else ("negative", b)
            constant[side].append(f"k.{label} is always {value!r}")
    remedy = (
        "queries are centred, which takes it out"
        if contrast.centring == "queries"
        else "centre the queries, or take the keys from other prompts"
    )
    kind = "tied" if contrast.centring == "queries" else "leak"
    return [
        Finding(kind, f"leak: on the {side} side {' and '.join(what)}, on the other it varies; {remedy}")
        for side, what in constant.items()
    ]


def _one_sided(run: Run, contrast: Contrast, split: str | None) -> list[Finding]:
    """Queries with keys of one sign only, and labels that tell the queries of the two sides apart."""
    found = one_sided.sides(run, contrast, split, {c for side, c in _named(contrast) if side == "q"})
    if not found.alone:
        return []
    text = (
        f"one sign only: {found.alone:,} of {found.total:,} queries ({found.alone / found.total:.0%}) have keys of one "
        f"sign; accuracy and the null of ‖ΔC‖ are those of the other {found.both:,}"
        if found.both
        else f"one sign only: none of the {found.total:,} queries has a positive and a negative key; "
        "there is no accuracy and no null of signs, and what else the two groups of queries differ in is in ΔC"
    )
    findings = [Finding("single" if found.alone >= one_sided.MANY * found.total else "some", text)]
    if found.differ:
        text = (
            f"other queries: {', '.join(map(str, found.differ[:MOST_TOLD]))}; ΔC cannot tell its feature from that, "
            "so give each query keys of both signs, or queries alike"
        )
        findings.append(Finding("queries", text))
    return findings


def _tied(sides: _Sides) -> list[Finding]:
    """Labels, or equal labels of query and key, that tell the sides apart."""
    findings = []
    for i, label in enumerate(sides.labels):
        (n_pos, n_neg), (a, b) = sides.label(i)
        if n_pos == n_neg == 1 and a != b:
            findings.append(Finding("tied", f"k.{label} is {a} on the positive side and {b} on the negative"))
    for i, (a, b) in enumerate(sides.relations):
        pos, neg = sides.relation(i)
        if abs(pos - neg) > TIED:
            text = (
                f"k.{a} equals q.{b} in {pos:.0%} of the positive pairs and {neg:.0%} of the negative: "
                "the contrast cannot tell its feature from that"
            )
            findings.append(Finding("tied", text))
    return findings


def _seen(run: Run, contrast: Contrast) -> list[Finding]:
    """Words of the test split's positive keys that keys of train pairs have too; none for a run without both splits."""
    if not {"train", "test"} <= set(run.splits):
        return []
    findings = []
    for label, plural in WORDS.items():
        if label not in run.token_labels:
            continue
        train, test = _words(run, contrast, label, "train"), _words(run, contrast, label, "test", "WHERE pair.sign = 1")
        if both := train & test:
            kind, how = ("seen", f"all {len(test)}") if both == test else ("partly", f"{len(both)} of {len(test)}")
            text = (
                f"not held out: {how} queried {plural} of the test split are in train pairs too, {min(both)!r} for one"
            )
            findings.append(
                Finding(kind, f"{text}; what is judged there says nothing of words that ΔC was not built on")
            )
    return findings


def _words(run: Run, contrast: Contrast, label: str, split: str, kept: str = "") -> set[str]:
    """The values of a key label over the pairs of a split."""
    sql = (
        f'SELECT DISTINCT k."{label}"::VARCHAR AS word FROM ({contrast.sql(run.columns, split)}) AS pair '
        f"JOIN k USING (key_row) {kept}"
    )
    return set(worker.query(run.path, sql, limit_s=60).column("word").to_pylist()) - {None}


def _named(contrast: Contrast) -> set[tuple[guard.Alias, str]]:
    """The columns that a contrast names: (q or k, column)."""
    texts = (contrast.where, contrast.positive, contrast.negative)
    return {column for text in texts if text for column in guard.columns_used(text)}
