"""The heads of the demo runs: numbers, what labels explain of the components, swaps; and the peers on one head each."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import qkstore
from bench.discovery.methods import Directions, Method, Subject, timed
from bench.discovery.scores import moved, share
from qkstore.analysis import components
from qkstore.analysis.decomposition import HeadComponents, swaps
from qkstore.analysis.decomposition.scored import Scored
from qkstore.analysis.decomposition.swaps import draw
from qkstore.analysis.swaps import swapper
from qkstore.contrast.builtin import feature
from qkstore.errors import ContrastError
from qkstore.run import Run
from qkstore.store import Store
from qkstore.subspace import Subspace, union

RUNS = ("demo-boxes-ord", "demo-boxes-ent", "demo-boxes-both", "demo-lists")
# Thirteen categories less one; nine places less one or two: asked for the ninth, these heads mostly look elsewhere
TRUE = {"demo-boxes-ord": (7, 8), "demo-lists": (12, 12)}
LAYER = 1
LABELS = {"boxes": ("queried_order", "queried_entity", "queried_box"), "lists": ("queried_category",)}
FEATURES = {"boxes": ("order", "lexical"), "lists": ("category:*",)}
PURE = 0.8  # share of a component's variance between values of a label, from which the label explains it


@dataclass(frozen=True)
class HeadRow:
    """One head of one run: its components, or the line that says why there are none (`refused`).

    rho: least and largest correlation on the test split. original, target: mean attention before and after the swap of
    all components, after that of all but them, and after that of random ones; low, high: 95 % of the target after.
    explained: {label: how many components it explains}.
    """

    run: str
    layer: int
    head: int
    refused: str | None = None
    number: int = 0
    low: int = 0
    high: int = 0
    clear: int = 0
    rho: tuple[float, float] = (0.0, 0.0)
    n: int = 0
    before: tuple[float, float] = (0.0, 0.0)
    all: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    rest: tuple[float, float] = (0.0, 0.0)
    random: tuple[float, float] = (0.0, 0.0)
    explained: dict[str, int] | None = None


@dataclass(frozen=True)
class DemoScore:
    """One method on one head: see bench.discovery.peers.Score. labelled: directions that one label explains, of r."""

    method: str
    run: str
    space: float
    labelled: int
    r: int
    number: int | None
    swap: float
    seconds: float


def made(folder: Path) -> Store:
    """The store, with the demo runs that it lacked."""
    from ingest.demo import build

    build(folder, lambda stage, done, total, now="": None)
    return qkstore.open(folder)


def study(store: Store, tell: Callable[[str], None] = lambda line: None, names: Sequence[str] = RUNS) -> list[HeadRow]:
    """A row of every head of both layers of the demo runs."""
    out = []
    for name in names:
        run = store.run(name)
        for layer, head in ((layer, head) for layer in range(run.n_layers) for head in range(run.n_heads)):
            out.append(row(run, layer, head))
        tell(name)
    return out


def row(run: Run, layer: int, head: int) -> HeadRow:
    try:
        of = components(run, layer, head)
    except ContrastError as error:
        return HeadRow(run.name, layer, head, refused=str(error))
    number, conditions = of.found.number, {c.name: c for c in swaps(of).conditions}
    whole, rest, random = (conditions[name] for name in ("all", "all others", f"random {len(of)}"))
    low, high = whole.ci["target_after"]
    return HeadRow(
        run.name, layer, head, None, number.value, *number.interval, number.clear,
        (float(of.rho.min()), float(of.rho.max())), whole.n, (whole.original_before, whole.target_before),
        (whole.original_after, whole.target_after, low, high), (rest.original_after, rest.target_after),
        (random.original_after, random.target_after), explained(*scored(of)),
    )  # fmt: skip


def scored(of: HeadComponents) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(n, r) scores of the judged queries that have a choice, and {label: (n,) its value for each of them}."""
    found, names = Scored.of_head(of), _kind(of.head.run, LABELS)
    told = of.head.run.labels("q", list(names), found.query)
    return found.x, {name: told[name].to_numpy(zero_copy_only=False).astype(str) for name in names}


def explained(scores: np.ndarray, told: dict[str, np.ndarray]) -> dict[str, int]:
    """{label: how many columns of scores have at least PURE of their variance between its values}."""
    return {name: int((between(scores, values) >= PURE).sum()) for name, values in told.items()}


def between(scores: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(c,) share of the variance of the columns of scores: (n, c) between the groups of values, less what chance gives.

    That is ε² (Kelley 1935), so that a label of many values has no advantage.
    """
    _, group = np.unique(values, return_inverse=True)
    size = np.bincount(group)
    sums = np.zeros((len(size), scores.shape[1]))
    np.add.at(sums, group, scores - scores.mean(axis=0))
    total = ((scores - scores.mean(axis=0)) ** 2).sum(axis=0)
    inside = (total - (sums**2 / size[:, None]).sum(axis=0)) / max(len(scores) - len(size), 1)
    return 1 - inside / np.maximum(total / (len(scores) - 1), np.finfo(float).tiny)


def _kind(run: Run, of: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    return of["lists" if "lists" in run.name else "boxes"]


# -- the peers ---------------------------------------------------------------------------------------------------


def peers(
    store: Store, methods: dict[str, Method], heads: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]],
    tell: Callable[[str], None] = lambda line: None, names: Sequence[str] = RUNS,
) -> list[DemoScore]:  # fmt: skip
    """A score of each method on the head of LAYER that has most components of each run.

    heads: {(layer, head): W_Q and W_K}. All methods swap as many dimensions as there are components. The subspace is
    that of the labelled contrasts, so that the supervised method has 1 by definition.
    """
    out = []
    for name in names:
        run = store.run(name)
        of = max((components(run, LAYER, h) for h in range(run.n_heads)), key=len)
        given, truth = subject(of, *heads[LAYER, of.head.head])
        (_, told), moves = scored(of), swapper(of.head, draw([of]))
        for method, find in methods.items():
            found = timed(find, given)
            out.append(_scored(method, found, of, truth, told, moves))
        tell(f"peers on {name}, layer {LAYER} head {of.head.head}")
    return out


def _scored(method: str, found: Directions, of: HeadComponents, truth: Subspace, told: dict, moves) -> DemoScore:
    r = len(of)
    scores = found.query_scores(of.test.q, r)
    by_label = np.max([between(scores, values) for values in told.values()], axis=0)
    space = (share(truth.U, found.a_onto[:, :r]) + share(truth.V, found.b_onto[:, :r])) / 2
    ((_, target),) = moved(moves, [found.key_projector(r)])
    return DemoScore(
        method, of.head.run.name, space, int((by_label >= PURE).sum()), r, found.number, target, found.seconds
    )


def subject(of: HeadComponents, W_Q: np.ndarray, W_K: np.ndarray) -> tuple[Subject, Subspace]:
    """What methods may read of a head of a run, and the subspace of its labelled contrasts."""
    run, head, (block,) = of.head.run, of.head, of.built.blocks
    seen = of.built.seen(head.facts, block)[:, 0]
    many = seen.sum(axis=1)
    assert (many == many[0]).all(), "every query of the demo has as many keys"
    kept = np.isin(block.group, of.train.group)  # one query a prompt; some have their attention elsewhere
    k = head.keys(np.arange(run.n_keys)).astype(np.float64)[block.key[kept][seen[kept]]]
    contrasts = [c for name in _kind(run, FEATURES) for c in feature(run, name)]
    deltas = tuple(head.read(c).covariance.delta for c in contrasts)
    truth = union([Subspace.of(C) for C in deltas])
    return Subject(of.train, of.train.q, k, head.facts.scaling, len(of), deltas, W_Q, W_K), truth


def matrices() -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
    """{(layer, head): W_Q, W_K} of the demo model, (d_head, d_model) each, with the gains of the norms folded in.

    What the norms divide by, and rotation by position, depend on the token and are left out.
    """
    from ingest import model
    from ingest.demo import MODEL

    net = model.load(str(MODEL)).net
    d, out = net.config.head_dim, {}
    inner = getattr(net, "model", net)
    for number, block in enumerate(inner.layers):
        gain = block.input_layernorm.weight
        at = block.self_attn
        many = net.config.num_attention_heads
        for head in range(many):
            shared = head * net.config.num_key_value_heads // many
            Q, K = (
                (norm.weight[:, None] * W.weight[i * d : (i + 1) * d] * gain).detach().double().numpy()
                for norm, W, i in ((at.q_norm, at.q_proj, head), (at.k_norm, at.k_proj, shared))
            )
            out[number, head] = Q, K
    return out


# -- what comes of it --------------------------------------------------------------------------------------------


def table(rows: Sequence[HeadRow]) -> list[list[str]]:
    """A row a head that has components, with a header: attention as original / target."""
    out = [
        ["run", "head", "components", "ρ, test", "explained", "before", "all", "all others", "random, same number", "n"]
    ]
    for r in rows:
        if not r.refused:
            why = ", ".join(f"{name.removeprefix('queried_')} {n}" for name, n in (r.explained or {}).items())
            whole = f"{r.all[0]:.2f} / {r.all[1]:.2f} [{r.all[2]:.2f}, {r.all[3]:.2f}]"
            pairs = [f"{a:.2f} / {b:.2f}" for a, b in (r.before, r.rest, r.random)]
            number = f"{r.number} [{r.low}, {r.high}]"
            rho = f"{r.rho[0]:.2f}–{r.rho[1]:.2f}"
            where = f"L{r.layer}H{r.head}"
            out.append([r.run, where, number, rho, why, pairs[0], whole, pairs[1], pairs[2], f"{r.n:,}"])
    return out


def refusals(rows: Sequence[HeadRow]) -> dict[str, int]:
    """{line that a head gives which has no components: how often}; the head's number is left out."""
    lines = [re.sub(r"^layer \d+ head \d+:? ", "", r.refused) for r in rows if r.refused]
    return {line: lines.count(line) for line in dict.fromkeys(lines)}


def peer_table(scores: Sequence[DemoScore]) -> list[list[str]]:
    """A row a method, with a header; four figures are those of the runs in their order."""
    out = [["method", "subspace of the labels' ΔC", "explained by one label", "number", "swap: target", "CPU s"]]
    for name in dict.fromkeys(s.method for s in scores):
        part = [s for s in scores if s.method == name]
        out.append(
            [
                name,
                " ".join(f"{s.space:.2f}" for s in part),
                " ".join(f"{s.labelled}/{s.r}" for s in part),
                " ".join("–" if s.number is None else str(s.number) for s in part),
                " ".join(f"{s.swap:.2f}" for s in part),
                f"{np.mean([s.seconds for s in part]):.2f}",
            ]
        )
    return out


def failures(rows: Sequence[HeadRow]) -> list[str]:
    """What issue and docs promise of the demo and does not hold."""
    out = [f"{r.run} L{r.layer}H{r.head} has components" for r in rows if r.layer == 0 and not r.refused]
    for r in (r for r in rows if r.layer == LAYER):
        where, true = f"{r.run} L{r.layer}H{r.head}", TRUE.get(r.run)
        if r.refused:
            out.append(f"{where}: {r.refused}")
            continue
        least, most = true or (1, r.number)
        out += [f"{where}: {r.number} components, not {least} to {most}"] * (not least <= r.number <= most)
        out += [f"{where}: a swap of all is no better than random"] * (r.all[2] <= r.random[1])
    return out
