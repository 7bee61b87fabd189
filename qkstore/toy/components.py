"""Components of toy heads, found without their labels, beside the latents: how many, and which coordinate each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from qkstore.analysis import components
from qkstore.analysis.claim import Claim
from qkstore.components import STRONG
from qkstore.errors import ContrastError
from qkstore.interval import wilson
from qkstore.text import estimate, number, spread
from qkstore.toy.toy import FACTORS, HEAD, LAYER, Toy

CLEAN = 0.98  # |correlation| from which a component is a coordinate
OPEN = "decomposing without supervision is left open"
TURNS = 10  # random rotations of the components: what a basis that was not looked for gives


class Examined(Protocol):
    """A toy head whose components are at hand."""

    components: Components | None


@dataclass(frozen=True)
class Components:
    """The components of one toy head.

    number, interval: how many; true: min(r1 + r2, d_head). held: the weakest held-out correlation of the first `true`,
    and the next one. chance: what queries paired anew give. matched: (r1 + r2,) |correlation| of each latent coordinate
    with the component that is matched to it, on contexts that they were not fitted on, 0 where none is left for it;
    turned: the same of the components in a random basis. Both are empty of Gaussian latents, which have no coordinates
    of their own. n_built, n_judged: contexts.
    """

    toy: Toy
    number: int
    interval: tuple[int, int]
    true: int
    held: tuple[float, float]
    chance: float
    matched: np.ndarray
    turned: np.ndarray
    n_built: int
    n_judged: int


def found(toy: Toy, seed: int = 0) -> Components | None:
    """Decompose one toy head by its contexts: found on half of them, judged on the others; None of too few of them."""
    try:
        of = components(toy.run, LAYER, HEAD, seed=seed)
    except ContrastError:
        return None
    count, true = of.found.number, min(toy.r1 + toy.r2, toy.d_head)
    held = np.append(count.held, 0.0)
    matched = turned = np.zeros(0)
    if toy.discrete:
        rows = np.sort(of.judged.queries)
        scores, z = of.found.query_scores(of.head.queries(rows)), _signs(toy, rows)
        rng, r = np.random.default_rng(seed), len(of)
        bases = [np.linalg.qr(rng.standard_normal((r, r)))[0] for _ in range(TURNS)] if r else []
        matched = match(scores, z)
        turned = np.mean([match(scores @ R, z) for R in bases], axis=0) if r else matched
    return Components(
        toy, count.value, count.interval, true, (float(held[true - 1]), float(held[true])), count.chance,
        matched, turned, len(of.train), len(of.test),
    )  # fmt: skip


def match(scores: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(c,) |correlation| of each coordinate, z: (n, c), with its own column of scores: (n, r), matched for the most."""
    from scipy.optimize import linear_sum_assignment

    both = np.corrcoef(z.T, scores.T)[: z.shape[1], z.shape[1] :] if scores.shape[1] else np.zeros((z.shape[1], 0))
    matched = np.zeros(z.shape[1])
    at, to = linear_sum_assignment(-np.abs(both))
    matched[at] = np.abs(both)[at, to]
    return matched


def _signs(toy: Toy, rows: np.ndarray) -> np.ndarray:
    """(n, r1 + r2) latents of queries, ±1."""
    told = toy.run.labels("q", list(FACTORS), rows)
    both = ["".join(signs) for signs in zip(*(told[name].to_pylist() for name in FACTORS), strict=True)]
    return np.where(np.array([list(signs) for signs in both]) == "+", 1.0, -1.0)


def of_family(name: str, heads: Sequence[Examined]) -> list[Claim]:
    """How many components, and which coordinates they are, with room for both latents and without.

    Heads of too few contexts have no part; n says how many have.
    """
    return claims(name, [h.components for h in heads if h.components])


def claims(name: str, heads: Sequence[Components]) -> list[Claim]:
    """The same of components that are at hand."""
    rows = []
    for title, part in (
        ("r1 + r2 ≤ d_head", [h for h in heads if h.toy.room >= 0]),
        ("r1 + r2 > d_head", [h for h in heads if h.toy.room < 0]),
    ):
        if part:
            rows.append(Claim(f"Components without labels, {title}", name, OPEN, _count(part), _n(part)))
        if part and part[0].toy.discrete:
            rows.append(Claim(f"Coordinates without labels, {title}", name, OPEN, *_coordinates(part)))
    return rows


def _coordinates(heads: Sequence[Components]) -> tuple[str, str]:
    matched, turned = (np.concatenate([getattr(h, what) for h in heads]) for what in ("matched", "turned"))
    clean, n = int((matched >= CLEAN).sum()), len(matched)
    measured = (
        f"|correlation| {spread(matched.tolist(), 2)} with a component each; {clean} of {n} at {CLEAN} or more, "
        f"share {estimate(clean / n, wilson(clean, n), 2)}; in a random basis {spread(turned.tolist(), 2)}"
    )
    return measured, f"{n} coordinates"


def _count(heads: Sequence[Components]) -> str:
    right, n = sum(h.number == h.true for h in heads), len(heads)
    misses = [f"{h.number} for {h.true} at ({h.toy.r1}, {h.toy.r2})" for h in heads if h.number != h.true]
    weakest, following = min(h.held[0] for h in heads), max(h.held[1] for h in heads)
    return (
        f"min(r1 + r2, d_head) in {right} of {n}, share {estimate(right / n, wilson(right, n), 2)}"
        f"{'; not: ' + ', '.join(misses) if misses else ''}; held-out correlations of these {number(weakest, 2)} at "
        f"the least, of the next one {number(following, 2)} at the most (a component counts above {STRONG}; "
        f"chance gives {number(max(h.chance for h in heads), 2)})"
    )


def _n(heads: Sequence[Components]) -> str:
    built, judged = ([getattr(h, what) for h in heads] for what in ("n_built", "n_judged"))
    many = "1 head" if len(heads) == 1 else f"{len(heads)} heads"
    return f"{many}, {spread(built, 0)} contexts found on, {spread(judged, 0)} judged on"
