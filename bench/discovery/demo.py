"""The heads of the demo runs: numbers, what labels explain of the components, and swaps."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import qkstore
from qkstore.analysis import components, swapper
from qkstore.analysis.decomposition import HeadComponents, swaps
from qkstore.analysis.decomposition.scored import Scored
from qkstore.analysis.decomposition.swaps import draw
from qkstore.errors import ContrastError
from qkstore.intervention import LEAST_BASES, Condition, random_summary
from qkstore.run import Run
from qkstore.store import Store
from qkstore.subspace import random
from qkstore.text import estimate

RUNS = ("demo-boxes-ord", "demo-boxes-ent", "demo-boxes-both", "demo-lists")
# Thirteen categories less one; nine places less one or two: asked for the ninth, these heads mostly look elsewhere
TRUE = {"demo-boxes-ord": (7, 8), "demo-lists": (12, 12)}
LAYER = 1
LABELS = {"boxes": ("queried_order", "queried_entity", "queried_box"), "lists": ("queried_category",)}
MIXED = "demo-boxes-both"  # the run whose heads match on two labels
FEATURES = {"boxes": ("order", "lexical"), "lists": ("category:*",)}
PURE = 0.8  # share of a component's variance between values of a label, from which the label explains it


@dataclass(frozen=True)
class HeadRow:
    """One head of one run: its components, or the line that says why there are none (`refused`).

    rho: least and largest correlation on the test split. original, target: mean attention before and after the swap of
    all components, after that of all but them, and after that of random ones; low, high: 95 % of the target after.
    explained: {label: how many components it explains}. overlap: largest |correlation| of two components' scores over
    the keys of a query. next: held-out correlation of the first direction that is no component. left: judged queries
    that are left out, and the value of the first label that most of them have.
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
    overlap: float = 0.0
    next: float = 0.0
    left: str = "0"


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
        overlap(of), float(np.append(number.held, 0.0)[len(of)]), left(of),
    )  # fmt: skip


@dataclass(frozen=True)
class Part:
    """Components of one head that one label explains, or `all`, swapped together on n judged queries.

    moved: the group's swap; in_gauge, in_basis: of as many random dimensions, drawn in the gauge's coordinates and in
    the head's own basis.
    """

    head: str
    label: str
    moved: Condition
    in_gauge: Condition
    in_basis: Condition

    @property
    def gap(self) -> tuple[float, ...]:
        """By how many logits the gap moves beyond the random dimensions of the gauge, with its 95 % interval."""
        assert self.moved.beyond, "a group's swap is set beside random ones"
        return self.moved.beyond["gap_gain"]


def parts(run: Run, layer: int, head: int, seed: int = 0) -> list[Part]:
    """The components of a head by the label that explains them, and all of them, each beside random dimensions."""
    of = components(run, layer, head)
    scores, told = scored(of)
    each = {name.removeprefix("queried_"): between(scores, values) >= PURE for name, values in told.items()}
    groups = {name: np.flatnonzero(at).tolist() for name, at in each.items() if at.any()}
    targets, rng = draw([of], seed=seed), np.random.default_rng(seed)
    conditions = {c.name: c for c in swaps(of, groups, seed=seed, targets=targets).conditions}
    moved, out = swapper(of.head, targets), []
    for name in (*groups, "all"):
        rank = conditions[name].rank
        drawn = moved.each([random(run.d_head, rank, rng).V for _ in range(LEAST_BASES)])
        in_basis = random_summary("head's basis", drawn, rank, seed)
        out.append(Part(f"L{layer}H{head}", name, conditions[name], conditions[f"random {rank}"], in_basis))
    return out


def left(of: HeadComponents) -> str:
    """How many judged queries have no choice, and the value of the first label that most of them have."""
    rows, name = np.setdiff1d(of.judged.queries, Scored.of_head(of).query), kind(of.head.run, LABELS)[0]
    if not len(rows):
        return "0"
    values = of.head.run.labels("q", [name], rows)[name].to_numpy(zero_copy_only=False).astype(str)
    value, many = (x.tolist() for x in np.unique(values, return_counts=True))
    most = int(np.argmax(many))
    return f"{len(rows)}: {many[most]} of {name.removeprefix('queried_')} {value[most]}"


def overlap(of: HeadComponents) -> float:
    """The largest |correlation| of two components' scores over the keys that a query chooses from; 0 of one alone."""
    S = of.found.b.T @ (of.train.within / len(of.train)) @ of.found.b
    spread = np.sqrt(np.diag(S))
    return float(np.abs(S / np.outer(spread, spread) - np.eye(len(S))).max())


def scored(of: HeadComponents) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(n, r) scores of the judged queries that have a choice, and {label: (n,) its value for each of them}."""
    found, names = Scored.of_head(of), kind(of.head.run, LABELS)
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


def kind(run: Run, of: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    return of["lists" if "lists" in run.name else "boxes"]


# -- what comes of it --------------------------------------------------------------------------------------------


def table(rows: Sequence[HeadRow]) -> list[list[str]]:
    """A row a head that has components, with a header: attention as original / target."""
    out = [
        "run",
        "head",
        "components",
        "next",
        "ρ, test",
        "explained",
        "overlap",
        "before",
        "all",
        "all others",
        "random",
    ]
    told = [[*out, "left out"]]
    for r in rows:
        if r.refused:
            continue
        why = ", ".join(f"{name.removeprefix('queried_')} {n}" for name, n in (r.explained or {}).items())
        number, rho = f"{r.number} [{r.low}, {r.high}]", f"{r.rho[0]:.2f}–{r.rho[1]:.2f}"
        before, rest, random = (f"{a:.2f} / {b:.2f}" for a, b in (r.before, r.rest, r.random))
        whole = f"{r.all[0]:.2f} / {r.all[1]:.2f} [{r.all[2]:.2f}, {r.all[3]:.2f}]"
        run = r.run.removeprefix("demo-").removeprefix("boxes-")
        where, seen = f"L{r.layer}H{r.head}", [f"{r.next:.2f}", rho, why, f"{r.overlap:.2f}"]
        told.append([run, where, number, *seen, before, whole, rest, random, r.left])
    return told


def parted(rows: Sequence[Part]) -> list[list[str]]:
    """A row a group, with a header: attention as original / target."""
    told = [["head", "explained by", "components", "before", "swapped", "random, gauge", "random, head's basis"]]
    told[0].append("logit gap beyond random, gauge")
    for r in rows:
        low, high = r.moved.ci["target_after"]
        before = f"{r.moved.original_before:.2f} / {r.moved.target_before:.2f}"
        after = [f"{c.original_after:.2f} / {c.target_after:.2f}" for c in (r.moved, r.in_gauge, r.in_basis)]
        after[0] += f" [{low:.2f}, {high:.2f}]"
        told.append([r.head, r.label, str(r.moved.rank), before, *after, estimate(r.gap[0], r.gap[1:], 2)])
    return told


def refusals(rows: Sequence[HeadRow]) -> dict[str, int]:
    """{line that a head gives which has no components: how often}; the head's number is left out."""
    lines = [re.sub(r"^layer \d+ head \d+:? ", "", r.refused) for r in rows if r.refused]
    return {line: lines.count(line) for line in dict.fromkeys(lines)}


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


def halves(rows: Sequence[Part]) -> list[str]:
    """What docs promise of groups and does not hold: those of one label move the gap, and not as far as all do."""
    out, whole = [], {r.head: r.moved for r in rows if r.label == "all"}
    for r in (r for r in rows if r.label != "all"):
        part = r.moved.ci["target_after"][1] < whole[r.head].ci["target_after"][0]
        out += [f"{r.head}: the components of {r.label} do not move a part"] * (not (r.gap[1] > 0 and part))
    return out
