"""The keys that a swap exchanges: per query the original, a positive key, and a target, another key of the prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from qkstore import contrast, intervention
from qkstore.analysis.head import Contrasts, judge_split, subspaces
from qkstore.contrast import Contrast, pairs
from qkstore.errors import ContrastError
from qkstore.intervention import swap_query
from qkstore.run import Layer, Run
from qkstore.score import capped
from qkstore.subspace import Subspace, random

TITLES = {
    "original_before": "Original before",
    "target_before": "Target before",
    "original_after": "Original after",
    "target_after": "Target after",
    "delta_p": "Target gains",
    "flip_rate": "Flip rate",
}


@dataclass(frozen=True)
class Intervention:
    """Swaps of one head: every condition moves the attention of the same n queries between the same two keys."""

    n: int
    split: str | None
    conditions: list[intervention.Condition]
    hidden: int = 0
    seed: int = 0

    def to_dict(self) -> dict:
        return {
            "n": self.n,
            "split": self.split,
            "hidden": self.hidden,
            "seed": self.seed,
            "conditions": [c.to_dict() for c in self.conditions],
        }


def intervene(
    run: Run,
    features: dict[str, Contrasts],
    layer: int,
    head: int,
    n_random: int = 10,
    most: int = 1000,
    seed: int = 0,
    ranks: dict[str, int] | None = None,
) -> Intervention:
    """Swap key coordinates (eq. 8–10) in each feature's subspace, in all together, and in random ones of each rank.

    Closed form, from the stored vectors and log-sum-exps: it equals a re-run of the model with the edit. `features` is
    {name: contrasts}; targets are drawn once from the judged split.
    """
    facts, split = run.layer(layer, head), judge_split(run)
    targets = drawn(run, tuple(c for cs in features.values() for c in cs), [facts], split, most, seed)
    spaces = subspaces(run, features, layer, head, ranks)
    found = conditions(spaces, swapper(run, targets, layer, head), run.d_head, n_random, seed)
    return Intervention(len(targets), split, found, targets.hidden, seed)


def conditions(
    spaces: dict[str, Subspace],
    swap: Callable[[np.ndarray], intervention.Swap],
    d_head: int,
    n_random: int,
    seed: int,
    side: str = "V",
) -> list[intervention.Condition]:
    """One condition for each subspace, then one of each rank that averages `n_random` random subspaces.

    The last condition, "random", is the random baseline of the widest subspace.
    """
    bases = {name: getattr(space, side) for name, space in spaces.items()}
    found = [intervention.summary(name, swap(basis), basis.shape[1], seed) for name, basis in bases.items()]
    rng, last = np.random.default_rng(seed), list(spaces)[-1]
    for name, basis in bases.items():
        rank = basis.shape[1]
        swaps = [swap(getattr(random(d_head, rank, rng), side)) for _ in range(n_random)]
        found.append(
            intervention.random_summary("random" if name == last else f"random of {name}'s rank", swaps, rank, seed)
        )
    return found


def swapper(run: Run, targets: Targets, layer: int, head: int) -> Callable[[np.ndarray], intervention.Swap]:
    """V → Swap of the targets in one head."""
    facts = run.layer(layer)
    q = run.queries(layer, head, targets.query)
    original, aimed = run.keys(layer, head, targets.original), run.keys(layer, head, targets.target)
    logsumexp = run.logsumexp(layer, head, targets.query)
    return lambda V: intervention.swap(q, original, aimed, logsumexp, V, facts.scaling, facts.softcap)


@dataclass(frozen=True)
class Targets:
    """(n,) store rows: query, original key, target key. Drawn once, so that all conditions move the same attention.

    hidden: how many more were drawn and left out, since a window hides one of their keys.
    """

    query: np.ndarray
    original: np.ndarray
    target: np.ndarray
    hidden: int = 0

    def __len__(self) -> int:
        return len(self.query)

    def visible(self, run: Run, layer: Layer) -> Targets:
        """Those whose two keys the query sees in this layer (a sliding window may hide one)."""
        seen = run.attended(layer, self.query, self.original) & run.attended(layer, self.query, self.target)
        return Targets(self.query[seen], self.original[seen], self.target[seen])


def drawn(
    run: Run,
    contrasts: tuple[Contrast, ...],
    layers: Sequence[Layer],
    split: str | None,
    most: int = 1000,
    seed: int = 0,
) -> Targets:
    """`draw`, less those of which a layer sees one key only or none. Raises ContrastError where nothing is left."""
    every = seen = draw(run, contrasts, split, most, seed)
    for layer in layers:
        seen = seen.visible(run, layer)
    if not len(seen):
        raise ContrastError(f"{_see_none(layers)} of the {len(every)} pairs of keys: {_windows(layers)}")
    return replace(seen, hidden=len(every) - len(seen))


def draw(run: Run, contrasts: tuple[Contrast, ...], split: str | None, most: int = 1000, seed: int = 0) -> Targets:
    """At most `most` queries of a split, each with one of its positive keys and one other key of its prompt.

    The target has the original's role and place in its span and is no positive key of that query. Raises ContrastError
    where no query has both.
    """
    positive = pl.concat([_positive(run, c, split) for c in contrasts]).unique(maintain_order=True)
    keys = pl.from_arrow(run.table("SELECT key_row AS target, prompt_id, role, span_last FROM k ORDER BY key_row"))
    original = positive.join(keys.rename({"target": "key"}), on="key")
    here = pl.from_arrow(run.table("SELECT query_row AS query, prompt_id FROM query_row"))
    original = original.join(here, on=["query", "prompt_id"])
    rng = np.random.default_rng(seed)
    original = _one_a_query(original.sort("query", "key"), rng)
    candidate = original.join(keys, on=["prompt_id", "role", "span_last"], nulls_equal=True)
    candidate = candidate.join(positive.rename({"key": "target"}), on=["query", "target"], how="anti")
    drawn = _one_a_query(candidate.sort("query", "target"), rng)
    if not len(drawn):
        names = ", ".join(c.name for c in contrasts)
        raise ContrastError(
            f"contrast {names!r} leaves no key to move attention to: "
            f"no query of the {split or 'whole'} split has a positive key and another one in its prompt"
        )
    if len(drawn) > most:
        drawn = drawn[np.sort(rng.permutation(len(drawn))[:most])]
    return Targets(*(drawn[name].to_numpy().astype(np.int64) for name in ("query", "key", "target")))


def _see_none(layers: Sequence[Layer]) -> str:
    numbers = ", ".join(str(layer.layer) for layer in layers)
    return f"layers {numbers} together see none" if len(layers) > 1 else f"layer {numbers} sees none"


def _windows(layers: Sequence[Layer]) -> str:
    sizes = ", ".join(str(layer.window) for layer in layers)
    return f"their windows are {sizes}" if len(layers) > 1 else f"its window is {sizes}"


def _positive(run: Run, contrast: Contrast, split: str | None) -> pl.DataFrame:
    found = pairs(run, contrast, split)
    keep = found.positive
    return pl.DataFrame({"query": found.query[keep].astype(np.int32), "key": found.key[keep].astype(np.int32)})


def _one_a_query(rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """One row at random for each query, in query order."""
    return (
        rows.with_columns(dice=rng.random(len(rows)))
        .sort("query", "dice")
        .unique("query", keep="first", maintain_order=True)
        .drop("dice")
    )


@dataclass(frozen=True)
class QueryIntervention(Intervention):
    """Swaps of queries, as qkstore.analysis.Intervention has them of keys.

    stored: mean share of a query's attention that falls on stored keys, among which attention is taken; 1 where every
    key is stored.
    """

    stored: float = 1.0

    def to_dict(self) -> dict:
        return super().to_dict() | {"stored": self.stored}


def intervene_queries(
    run: Run, features: dict[str, Contrasts], layer: int, head: int, n_random: int = 10, most: int = 1000, seed: int = 0
) -> QueryIntervention:
    """Swap query coordinates in each feature's subspace, in all together, and in random ones of each rank.

    The other query looks for what the target key is: its labels say of itself what the target's labels say of the
    target, in every feature. Queries, originals and targets are those of qkstore.analysis.intervene, as far as such a
    query exists. Raises ContrastError where none does.
    """
    facts, split = run.layer(layer, head), judge_split(run)
    contrasts = tuple(c for members in features.values() for c in members)
    targets = drawn(run, contrasts, [facts], split, most, seed)
    other, kept = _partners(
        run, targets, {contrast.labels(run, members[0]) for members in features.values()}, split, seed
    )
    targets = Targets(targets.query[kept], targets.original[kept], targets.target[kept])
    swap_in, stored = _query_swapper(run, facts, targets, other, layer, head)
    found = conditions(subspaces(run, features, layer, head), swap_in, run.d_head, n_random, seed, side="U")
    return QueryIntervention(len(targets), split, found, int((~kept).sum()), seed, stored)


def _partners(
    run: Run, targets: Targets, pairs: set[tuple[str, str]], split: str | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """A query row for each target whose labels fit it, drawn at random, and which targets (n,) bool have one."""
    q_labels, k_labels = zip(*sorted(pairs))
    every = np.arange(run.n_queries)
    queries = pl.from_arrow(run.labels("q", [*dict.fromkeys(q_labels), "split"], every)).with_columns(
        other=pl.Series(every)
    )
    queries = queries.filter(pl.col("split") == split) if split else queries
    wanted = pl.from_arrow(run.labels("k", list(dict.fromkeys(k_labels)), targets.target)).with_row_index("place")
    names = [f"label{i}" for i in range(len(q_labels))]
    queries = queries.select("other", **{name: pl.col(q).cast(pl.String) for name, q in zip(names, q_labels)})
    wanted = wanted.select("place", **{name: pl.col(k).cast(pl.String) for name, k in zip(names, k_labels)})
    found = wanted.join(queries, on=names)
    found = found.with_columns(dice=np.random.default_rng(seed).random(len(found))).sort("place", "dice")
    found = found.unique("place", keep="first", maintain_order=True)
    kept = np.zeros(len(targets), bool)
    kept[found["place"].to_numpy()] = True
    if not kept.any():
        said = ", ".join(f"{q} = {k}" for q, k in sorted(pairs))
        raise ContrastError(
            f"no query of the {split or 'whole'} split looks for any target key ({said}), "
            "so there is nothing to swap queries with"
        )
    return found["other"].to_numpy(), kept


def _query_swapper(run: Run, facts: Layer, targets: Targets, other: np.ndarray, layer: int, head: int):
    """U → Swap, and the mean share of attention on stored keys."""
    prompts = run.key_places[0]
    assert (np.diff(prompts) >= 0).all(), "key rows run through the prompts in order"
    own = run.query_places[0][targets.query]
    first, last = np.searchsorted(prompts, own), np.searchsorted(prompts, own, side="right")
    rows = first[:, None] + np.arange((last - first).max())  # (n, m)
    there = rows < last[:, None]
    rows = np.where(there, rows, first[:, None])
    seen = there & run.attended(facts, np.repeat(targets.query, rows.shape[1]), rows.ravel()).reshape(rows.shape)
    every, place = np.unique(rows, return_inverse=True)
    K = run.keys(layer, head, every)[place.reshape(rows.shape)]
    q, q_other = run.queries(layer, head, targets.query), run.queries(layer, head, other)
    logits = capped(facts.scaling * np.einsum("nd,nmd->nm", q, K, dtype=np.float64), facts.softcap)
    held = np.where(seen, np.exp(logits - run.logsumexp(layer, head, targets.query)[:, None]), 0).sum(axis=1)
    columns = targets.original - first, targets.target - first
    return lambda U: swap_query(q, q_other, K, seen, *columns, U, facts.scaling, facts.softcap), float(held.mean())


def table(conditions: Sequence[dict]) -> pl.DataFrame:
    """A row a condition: means, and the low and high ends of the interval of what the target gains."""
    rows = [
        {"name": c["name"], "rank": c["rank"], "bases": c["bases"]}
        | {name: c[name] for name in TITLES}
        | {"gain_low": c["ci"]["delta_p"][0], "gain_high": c["ci"]["delta_p"][1]}
        for c in beside(conditions)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def beside(conditions: Sequence[dict]) -> list[dict]:
    """Each feature's condition, followed by the random one of its rank."""
    features, randoms = [c for c in conditions if not c["bases"]], [c for c in conditions if c["bases"]]
    return [c for pair in zip(features, randoms, strict=True) for c in pair]


def left_out(side: str) -> str:
    """Why a swap of keys or of queries leaves queries out."""
    return {"keys": "their keys are outside the layer's window", "queries": "no other query looks for their target"}[
        side
    ]


def headline(conditions: Sequence[dict]) -> tuple[dict, dict]:
    """The swap that moves the most attention to the target, and the random condition of its rank."""
    moved = max((c for c in conditions if not c["bases"]), key=lambda c: c["delta_p"])
    return moved, min((c for c in conditions if c["bases"]), key=lambda c: abs(c["rank"] - moved["rank"]))
