"""What two contrasts, on one run or on two, have in common: the queries that judge both, and how these tie them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from qkstore.analysis.head import Rows, judge_split
from qkstore.analysis.heads.group import Reader
from qkstore.analysis.heads.measure import WITH_INTERVAL
from qkstore.analysis.heads.sweep import Progress
from qkstore.contrast import Contrast
from qkstore.errors import RunError, StoreError
from qkstore.run import Run
from qkstore.score import Queries
from qkstore.store import Store
from qkstore.store.catalog.rows import built
from qkstore.store.source import code_key

Asked = tuple[Run, Contrast]
At = tuple[int, int]  # layer and head


@dataclass(frozen=True)
class Pairing:
    """What two contrasts have in common on the prompts that judge them.

    n: queries that both judge, of `of` that either judges. correlations: {(layer, head): {measure: correlation of its
    two values, over samples of queries}}; nothing where n is 0.
    """

    n: int
    of: int
    correlations: Mapping[At, Mapping[str, float]]

    def to_dict(self) -> dict:
        return {"n": self.n, "of": self.of, "heads": [[*at, dict(found)] for at, found in self.correlations.items()]}

    @classmethod
    def from_dict(cls, row: dict) -> Pairing:
        """From to_dict, also after a way through JSON."""
        return cls(row["n"], row["of"], {(layer, head): found for layer, head, found in row["heads"]})


def unmatched(run: Run, other: Run) -> str:
    """Why the heads of two runs cannot be set against each other one by one; nothing where they can."""
    if list(run.layers) == list(other.layers) and run.n_heads == other.n_heads:
        return ""
    first, second = (f"{r.name} has {len(r.layers)} layers of {r.n_heads} heads" for r in (run, other))
    return f"{first}, {second}: a head of one is none of the other, and there is no difference head by head"


def paired(first: Asked, second: Asked, progress: Progress | None = None) -> Pairing:
    """How far the same queries judge both, from one pass over the vectors of the judged prompts.

    Queries are the same that are the same row of one run, or in two runs stand in prompts of the same text. Raises
    RunError where the runs have different heads, ContrastError on an empty side.
    """
    run, other = first[0], second[0]
    if reason := unmatched(run, other):
        raise RunError(reason)
    rows = [Rows.of(run, contrast, judge_split(run)) for run, contrast in (first, second)]
    names = _names(rows)
    _, *common = np.intersect1d(*names, assume_unique=True, return_indices=True)
    of, found = len(np.union1d(*names)), {}
    if not len(common[0]):
        return Pairing(0, of, {})
    readers = [Reader(r) for r in rows]
    for layer in run.layers:
        for head, each in enumerate(zip(*(reader.by_query(layer) for reader in readers), strict=True)):
            pulls = [_pulls(e) for e in each]
            found[layer, head] = {m: _correlation(pulls[0][m], pulls[1][m], common) for m in WITH_INTERVAL}
            if progress:
                progress(len(found), len(run.layers) * run.n_heads)
    return Pairing(len(common[0]), of, found)


def _names(rows: Sequence[Rows]) -> list[np.ndarray]:
    """A number for each query of two selections of rows, the same one where it is the same query."""
    if rows[0].run.identity == rows[1].run.identity:
        return [r.query for r in rows]
    numbers: dict[tuple[str, int], int] = {}
    out = []
    for r in rows:
        texts = dict(zip(*r.run.table("SELECT prompt_id, text FROM prompt").to_pydict().values(), strict=True))
        seen: Counter[str] = Counter()
        names = []
        for prompt in r.run.query_places[0][r.query].tolist():
            text = texts[prompt]
            names.append(numbers.setdefault((text, seen[text]), len(numbers)))
            seen[text] += 1
        out.append(np.array(names, dtype=np.int64))
    return out


def _pulls(each: Queries) -> dict[str, np.ndarray]:
    """How far each query pulls a measure: (n,), whose squares add up to its variance (the delta method)."""
    right = _pull(np.where(each.both, each.right, np.nan))
    on, off = (_pull(side) for side in each.sums.T)
    means = [np.nanmean(side) if not np.isnan(side).all() else np.nan for side in each.sums.T]
    ratio = on / means[1] - means[0] * off / means[1] ** 2 if means[1] > 0 else np.zeros(len(on))
    return {"accuracy": right, "selectivity": ratio, "attention_positive": on, "attention_negative": off}


def _pull(values: np.ndarray) -> np.ndarray:
    """Of a mean: how far each value is from it, over their number; 0 of a NaN, which has no part in it."""
    there = ~np.isnan(values)
    if not there.any():
        return np.zeros(len(values))
    return np.where(there, values - values[there].mean(), 0.0) / there.sum()


def _correlation(first: np.ndarray, second: np.ndarray, common: Sequence[np.ndarray]) -> float:
    """Of two measures, over samples of queries; only the queries of both tie them."""
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float(np.clip(first[common[0]] @ second[common[1]] / size, -1, 1)) if size else 0.0


def kept_pairing(store: Store, first: Asked, second: Asked, progress: Progress | None = None) -> Pairing:
    """What `paired` gives, computed once for all who use the store: its catalogue keeps it."""
    asked = [(run.identity, contrast.key) for run, contrast in (first, second)]
    key = hashlib.sha256(repr(("pairing", asked, code_key())).encode()).hexdigest()
    if found := built(Pairing.from_dict, store.catalog.result(key)):
        return found
    found = paired(first, second, progress)
    run, contrast = first
    with suppress(StoreError):  # a store that one may only read still answers
        made = {"content": run.digest, "version": contrast.version, "code": code_key()[:16]}
        store.catalog.keep_result(key, "pairing", run.name, contrast.name, found.to_dict(), **made)
    return found
