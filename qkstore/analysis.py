"""From a run and a contrast to its covariance, subspace, head scores, projection, swaps and attribution.

Everything is built on the train split and judged on the test split, where a run has them; each result says which
prompts it comes from, and how many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import polars as pl

from qkstore import attribution, intervention, projection, target
from qkstore.contrast import Contrast, pairs
from qkstore.covariance import ContrastiveCovariance, Counts
from qkstore.errors import ContrastError, RunError
from qkstore.run import Run
from qkstore.score import capped
from qkstore.subspace import Subspace, random, union

Contrasts = tuple[Contrast, ...]


def build_split(run: Run) -> str | None:
    """The split that subspaces are built on: train, or every prompt of a run without one."""
    return "train" if "train" in run.splits else None


def judge_split(run: Run) -> str | None:
    """The split that results are judged on: test, or else the one they were built on."""
    return "test" if "test" in run.splits else build_split(run)


@dataclass(frozen=True)
class Covariance:
    """ΔC of one head with its subspace (99 % rank unless one was asked for) and the pairs it comes from."""

    covariance: ContrastiveCovariance
    subspace: Subspace
    counts: Counts
    split: str | None

    @property
    def delta(self) -> np.ndarray:
        return self.covariance.delta

    def arrays(self) -> dict[str, np.ndarray]:
        """What `python -m qkstore covariance --out` writes."""
        c, s = self.covariance, self.subspace
        return dict(
            C_pos=c.C_pos, C_neg=c.C_neg, delta=c.delta, U=s.U, S=s.S, V=s.V, n_pos=c.n_pos, n_neg=c.n_neg, rank=s.rank
        )


def covariance(
    run: Run, contrast: Contrast, layer: int, head: int, rank: int | None = None, split: str | None = "build"
) -> Covariance:
    """C+, C− and ΔC (eq. 5, 6) of one head with the SVD of ΔC (eq. 7). Raises ContrastError on an empty side."""
    run.layer(layer, head)
    split = build_split(run) if split == "build" else split
    found = pairs(run, contrast, split)
    fitter = fit(run, contrast, layer, head, *found.localise())
    return Covariance(fitter, Subspace.of(fitter.delta, rank), found.counts, split)


def fit(run: Run, contrast: Contrast, layer: int, head: int, query_rows, key_rows, local) -> ContrastiveCovariance:
    """The covariance of one head from pairs that are localised already."""
    q, k = run.queries(layer, head, query_rows), run.keys(layer, head, key_rows)
    return contrast.fitter(run.d_head).update(q, k, local)


def subspace(run: Run, contrasts: Contrasts, layer: int, head: int, rank: int | None = None) -> Subspace:
    """The subspace of a contrast, or the span of several; built on the train split."""
    parts = [covariance(run, c, layer, head, rank).subspace for c in contrasts]
    return parts[0] if len(parts) == 1 else union(parts)


def subspaces(
    run: Run, features: dict[str, Contrasts], layer: int, head: int, ranks: dict[str, int] | None = None
) -> dict[str, Subspace]:
    """The subspace of each feature, and where there are several the span of all, under their names joined by +."""
    spaces = {
        name: subspace(run, contrasts, layer, head, (ranks or {}).get(name)) for name, contrasts in features.items()
    }
    return spaces | ({"+".join(spaces): union(list(spaces.values()))} if len(spaces) > 1 else {})


# -- interventions -----------------------------------------------------------------------------------------------


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
    drawn = target.draw(run, tuple(c for cs in features.values() for c in cs), split, most, seed)
    targets = drawn.visible(run, facts)
    if not len(targets):
        raise ContrastError(f"layer {layer} sees none of the {len(drawn)} pairs of keys: its window is {facts.window}")
    spaces = subspaces(run, features, layer, head, ranks)
    found = conditions(spaces, swapper(run, targets, layer, head), run.d_head, n_random, seed)
    return Intervention(len(targets), split, found, len(drawn) - len(targets), seed)


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


def swapper(run: Run, targets: target.Targets, layer: int, head: int) -> Callable[[np.ndarray], intervention.Swap]:
    """V → Swap of the targets in one head."""
    facts = run.layer(layer)
    q = run.queries(layer, head, targets.query)
    original, aimed = run.keys(layer, head, targets.original), run.keys(layer, head, targets.target)
    logsumexp = run.logsumexp(layer, head, targets.query)
    return lambda V: intervention.swap(q, original, aimed, logsumexp, V, facts.scaling, facts.softcap)


# -- attributions ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PromptAttribution:
    """The logits of one query over its prompt's stored keys, split by feature (eq. 13–15); parts sum to the logit."""

    prompt_id: int
    query: dict
    tokens: list[dict]
    order: list[str]
    ranks: dict[str, int]
    softcap: float | None

    def to_dict(self) -> dict:
        return asdict(self)


def attribute(
    run: Run,
    features: dict[str, Contrasts],
    layer: int,
    head: int,
    prompt_id: int,
    query_row: int | None = None,
    order: list[str] | None = None,
) -> PromptAttribution:
    """Split one prompt's logits into a part for each feature's query subspace, and the rest.

    `order`: the order in which features are projected out, by default from the smallest rank to the largest. With a
    soft-cap these are the logits before the cap, as only they are linear in q. Raises RunError for a prompt without a
    stored query or keys.
    """
    facts = run.layer(layer, head)
    row, keys = _prompt_rows(run, prompt_id, query_row)
    keys = keys[run.attended(facts, np.full(len(keys), row), keys)]
    if not len(keys):
        raise RunError(f"prompt {prompt_id} of run {run.name!r} has no stored key that its query sees in layer {layer}")
    spaces = {name: subspace(run, contrasts, layer, head) for name, contrasts in features.items()}
    q = run.queries(layer, head, np.array([row]))[0]
    split = attribution.attribute(q, run.keys(layer, head, keys), spaces, facts.scaling, order)
    weight = np.exp(capped(split.logit, facts.softcap) - run.logsumexp(layer, head, np.array([row])))
    text = {t["pos"]: t for t in run.tokens(prompt_id)}
    tokens = [
        {
            "pos": int(pos),
            "text": text[pos]["text"],
            "role": text[pos]["role"],
            "logit": float(split.logit[i]),
            "attention": float(weight[i]),
            "parts": {name: float(part[i]) for name, part in split.parts.items()},
        }
        for i, pos in enumerate(run.key_places[1][keys])
    ]
    pos = int(run.query_places[1][row])
    ranks = {
        name: spaces[name].U.shape[1] for name in split.parts if name in spaces
    }  # of query space, where q is split
    return PromptAttribution(
        prompt_id, {"pos": pos, "text": text[pos]["text"], "row": int(row)}, tokens, list(ranks), ranks, facts.softcap
    )


def _prompt_rows(run: Run, prompt_id: int, query_row: int | None) -> tuple[int, np.ndarray]:
    """The query row (the prompt's last by default) and the key rows of a prompt."""
    run.prompt(prompt_id)
    queries = np.flatnonzero(run.query_places[0] == prompt_id)
    if query_row is None and not len(queries):
        raise RunError(f"prompt {prompt_id} of run {run.name!r} has no stored query")
    if query_row is not None and query_row not in queries:
        raise RunError(
            f"query row {query_row} is not of prompt {prompt_id}; its rows are {', '.join(map(str, queries))}"
        )
    return (queries[-1] if query_row is None else query_row), np.flatnonzero(run.key_places[0] == prompt_id)


@dataclass(frozen=True)
class PromptShares:
    """How much of the logit gap between positive and negative keys each feature explains, over many prompts."""

    shares: attribution.Shares
    counts: Counts
    split: str | None


def shares(
    run: Run,
    features: dict[str, Contrasts],
    layer: int,
    head: int,
    over: Contrast,
    seed: int = 0,
    order: list[str] | None = None,
) -> PromptShares:
    """Share of the logit gap of `over`'s pairs that each feature explains, beside random subspaces of the same ranks.

    The pairs are of the judged split, the subspaces are built on the other one.
    """
    facts, split = run.layer(layer, head), judge_split(run)
    spaces = {name: subspace(run, contrasts, layer, head) for name, contrasts in features.items()}
    found = pairs(run, over, split)
    means = over.replace(
        centring="none", weighting="query" if over.weighting == "query" else "pair"
    )  # a gap is one of means
    delta = fit(run, means, layer, head, *found.localise()).delta
    return PromptShares(attribution.shares(delta, spaces, facts.scaling, seed=seed, order=order), found.counts, split)


# -- projections -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Points:
    """Queries and keys in a subspace, as coordinates with their labels; `shown` of `total` when sampled."""

    table: pl.DataFrame
    explained: list[float] | None
    shown: int
    total: int
    split: str | None
    rank: int


def project(
    run: Run,
    contrasts: Contrasts,
    layer: int,
    head: int,
    q_label: str,
    k_label: str,
    method: str = "pca",
    split: str | None = "judge",
    rank: int | None = None,
    most: int = 4000,
    n_neighbors: int = 15,
    seed: int = 0,
) -> Points:
    """Queries on U and keys on V, then PCA or UMAP of both together; method `raw` is PCA without projecting (Fig. 17).

    The columns of the table: side (query, key), x, y, z, group (the value of q_label or k_label), prompt_id, text.
    """
    split = judge_split(run) if split == "judge" else split
    space = subspace(run, contrasts, layer, head, rank)
    found = [pairs(run, c, split) for c in contrasts]
    rows = {
        "q": np.unique(np.concatenate([p.query for p in found])),
        "k": np.unique(np.concatenate([p.key for p in found])),
    }
    labels = {
        side: run.labels(side, [name, "prompt_id", "token"], rows[side])
        for side, name in (("q", q_label), ("k", k_label))
    }
    groups = {
        side: np.array([str(v) for v in labels[side][name].to_pylist()])
        for side, name in (("q", q_label), ("k", k_label))
    }
    total = sum(map(len, rows.values()))
    kept = {side: projection.sample(groups[side], max(1, most * len(rows[side]) // total), seed) for side in rows}
    q, k = run.queries(layer, head, rows["q"][kept["q"]]), run.keys(layer, head, rows["k"][kept["k"]])
    coordinates = (q, k) if method == "raw" else projection.project(q, k, space)
    if method == "umap":
        points = projection.umap(*coordinates, n_neighbors=n_neighbors, seed=seed)
    else:
        points = projection.pca(*coordinates)
    table = pl.concat(
        [
            _side("query", points.query, labels["q"], groups["q"], kept["q"]),
            _side("key", points.key, labels["k"], groups["k"], kept["k"]),
        ]
    )
    return Points(
        table, None if points.explained is None else points.explained.tolist(), len(table), total, split, space.rank
    )


def _side(side: str, xyz: np.ndarray, labels, groups: np.ndarray, kept: np.ndarray) -> pl.DataFrame:
    xyz = np.pad(xyz, ((0, 0), (0, 3 - xyz.shape[1])))
    chosen = labels.take(kept)
    return pl.DataFrame(
        {
            "side": [side] * len(kept),
            "x": xyz[:, 0],
            "y": xyz[:, 1],
            "z": xyz[:, 2],
            "group": groups[kept],
            "prompt_id": chosen["prompt_id"].to_numpy(),
            "text": chosen["token"].to_pylist(),
        }
    )
