"""The head types that are known, as a discovery finds them: heads, the strongest of them, and where heads rest."""

from __future__ import annotations

import numpy as np
import polars as pl

from qkstore.analysis.discovery.found import LEVEL, MUCH, Discovery, Found
from qkstore.analysis.head import judge_split
from qkstore.contrast.known import FIRST, lacking
from qkstore.run import Run
from qkstore.score import logits
from qkstore.text import head_name, percent

TOP = 5  # heads that are named of a type
RESTS = 0.5  # of the attention: a head that gives the first token so much rests there
QUERIES = 1000  # whose attention tells


def types(discovery: Discovery, level: float = LEVEL) -> pl.DataFrame:
    """A row for each known head type: heads found, how many of them move MUCH of the attention or more, the strongest.

    In the row of the first token stand the heads that rest on it, and how many do with half of their attention.
    """
    rows = []
    found = discovery.found(level)
    for match in (m for m in discovery.tried.matches if m.type):
        own = [f for f in found if discovery.match(f).type == match.type]
        much = sum(_moved(f) >= MUCH for f in own)
        best = ", ".join(f"{head_name(f.layer, f.head)} {percent(_moved(f))}" for f in own[:TOP])
        rows.append({"type": match.type, "heads": len(own), "strong": much, "strongest": best or "none"})
    if discovery.resting:  # of the first token, which every query sees alike, no match tells
        rests = sorted(discovery.resting, key=lambda r: -r[2])
        best = ", ".join(f"{head_name(layer, head)} {percent(share)}" for layer, head, share in rests[:TOP])
        strong = sum(share >= RESTS for *_, share in rests)
        rows.append({"type": FIRST.name, "heads": None, "strong": strong, "strongest": f"{best} of its attention"})
    schema = {"type": pl.String, "heads": pl.Int64, "strong": pl.Int64, "strongest": pl.String}
    return pl.DataFrame(rows, schema=schema)


def _moved(found: Found) -> float:
    return (found.beyond or (0.0,))[0]


def resting(run: Run, seed: int = 0) -> tuple[tuple[int, int, float], ...]:
    """(layer, head, the mean share of a judged query's attention on its prompt's first token), of all heads.

    Empty for runs without a key at every token.
    """
    if lacking(run, FIRST):
        return ()
    split = judge_split(run)
    at = "AND q.split = ?" if split else ""
    sql = f"SELECT query_row, key_row FROM q JOIN k USING (prompt_id) WHERE k.pos = 0 AND q.pos > 1 {at} ORDER BY 1"
    rows = run.table(sql, [split] if split else [])
    query, key = (rows[name].to_numpy() for name in ("query_row", "key_row"))
    drawn = np.sort(np.random.default_rng(seed).permutation(len(query))[:QUERIES])
    return tuple(
        (layer, head, _share(run, layer, head, query[drawn], key[drawn]))
        for layer in run.layers
        for head in range(run.n_heads)
    )


def _share(run: Run, layer: int, head: int, query: np.ndarray, key: np.ndarray) -> float:
    """The mean attention of each query on its key; a key that a window hides has none."""
    if not len(query):
        return 0.0
    facts, (rows, at) = run.layers[layer], np.unique(key, return_inverse=True)
    logit = logits(run.queries(layer, head, query), run.keys(layer, head, rows)[at], facts.scaling, facts.softcap)
    return float(np.mean(np.exp(logit - run.logsumexp(layer, head, query)) * run.attended(facts, query, key)))
