"""Every method on the same heads with the same scores: toy heads, in two bases, and the heads of the demo that bind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.discovery.dictionary import dictionary
from bench.discovery.distance import lines, neighbours
from bench.discovery.heads import TEST, TRAIN, Contexts, ToyHead
from bench.discovery.methods import METHODS, Directions, Method, Subject, timed
from bench.discovery.scores import coordinates, moved, share, swapper
from bench.discovery.toys import Fault, shuffled
from ingest.toy.sample import Sample
from qkstore.covariance import ContrastiveCovariance, Pairs

ALL: dict[str, Method] = METHODS | {
    "Neighbor Distance Minimization": neighbours,
    "the same, lines, no merges": lines,
    "bilinear sparse dictionary": dictionary,
}
CELLS = {
    8: [(2, 2), (3, 4), (3, 5), (4, 6)],
    16: [(4, 4), (5, 8), (8, 8), (10, 10)],
}  # of r1, r2: the heads that all methods are run on
TRIPLETS = 8192  # of each latent, for the supervised method
CONDITION = 100.0  # of the change of basis


@dataclass(frozen=True)
class Score:
    """One method on one head, as trained or in another basis of it; judged on other contexts.

    space: part of the latents' directions, of queries and of keys, in as many of the method's directions; swap: mean
    attention on the target after both keys exchange them; None where the head has no room to spare, so that any
    directions are all. clean: share of the coordinates with a score at |correlation| 0.98, None where there are more
    coordinates than dimensions; matched: their mean matched |correlation|. right: whether the number is
    min(r1 + r2, d_head).
    """

    method: str
    head: str
    basis: str
    space: float | None
    clean: float | None
    matched: float
    number: int | None
    right: bool
    swap: float | None
    seconds: float


def subject(head: ToyHead, fault: Fault = "none", n: int = TRAIN) -> tuple[Subject, Contexts]:
    """What methods may read of a toy head, and the contexts that they are judged on."""
    train, test = head.contexts(n, 0), head.contexts(TEST, 1)
    found = shuffled(train.found) if fault == "shuffled" else train.found
    k = train.k.reshape(-1, head.task.d_head)
    weights = (head.W_Q.astype(np.float64), head.W_K.astype(np.float64))
    return Subject(found, train.q, k, head.scaling, head.room, contrasts(head), *weights), test


def contrasts(head: ToyHead, n: int = TRIPLETS) -> tuple[np.ndarray, np.ndarray]:
    """ΔC of z1 and of z2, of n triplets each: what the paper's method is told."""
    deltas = []
    for factor in (1, 2):
        sample = Sample(head.task, {"W_Q": head.W_Q, "W_K": head.W_K}, np.random.default_rng([6, factor]))
        sample.triplets(1 if factor == 1 else 2, n)
        query = np.repeat(np.arange(n), 2)
        pairs = Pairs(query, np.arange(2 * n), np.tile([1, -1], n))
        deltas.append(ContrastiveCovariance(head.task.d_head).update(sample.q[0], sample.k[0], pairs).delta)
    return deltas[0], deltas[1]


def scored(method: str, found: Directions, head: ToyHead, test: Contexts, M: np.ndarray | None = None) -> Score:
    """Judge what a method found of a head; M: the basis that it was found in, q → Mᵀ q, k → M⁻¹ k."""
    Q, K = head.spaces()
    q, k = test.q, test.k
    if M is not None:
        other = np.linalg.inv(M)
        Q, K, q, k = M.T @ Q, other @ K, q @ M, k @ other.T
    r, roomy = head.room, head.beyond < 0
    at = coordinates(found.query_scores(q, r), test.z)
    space = (share(Q, found.a_onto[:, :r]) + share(K, found.b_onto[:, :r])) / 2
    ((_, target),) = moved(swapper(q, k, test.logsumexp, head.scaling), [found.key_projector(r)])
    return Score(
        method, f"d{head.task.d_head} ({head.task.r1}, {head.task.r2})", "trained" if M is None else "other",
        space if roomy else None, at.clean / head.r if head.beyond <= 0 else None, float(at.matched.mean()),
        found.number, found.number == r, target if roomy else None, found.seconds,
    )  # fmt: skip


def study(
    heads: Sequence[ToyHead], methods: dict[str, Method] = ALL, fault: Fault = "none", n: int = TRAIN,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Score]:  # fmt: skip
    """A score of each method on each head, in both bases."""
    out = []
    for head in heads:
        given, test = subject(head, fault, n)
        M = basis(head.task.d_head, CONDITION)
        other = given.based(M)
        for name, method in methods.items():
            out.append(scored(name, timed(method, given), head, test))
            out.append(scored(name, timed(method, other), head, test, M))
        tell(f"peers on d{head.task.d_head} ({head.task.r1}, {head.task.r2})")
    return out


def basis(d: int, condition: float, seed: int = 0) -> np.ndarray:
    """(d, d) a change of basis whose singular values run from 1 to `condition`."""
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(2))
    return (U * np.geomspace(1, condition, d)) @ V.T


def chosen(heads: Sequence[ToyHead], cells: dict[int, list[tuple[int, int]]]) -> list[ToyHead]:
    """The discrete heads of some cells."""
    named = {(h.task.d_head, h.task.r1, h.task.r2): h for h in heads if h.task.variant == "discrete"}
    return [named[d, r1, r2] for d, pairs in cells.items() for r1, r2 in pairs]


def table(scores: Sequence[Score]) -> list[list[str]]:
    """A row a method, with a header; where two figures stand, as trained and in another basis."""
    out = [["method", "subspace", "coordinates at 0.98", "mean matched", "number right", "swap: target", "CPU s"]]
    for name in dict.fromkeys(s.method for s in scores):
        rows = [[s for s in scores if (s.method, s.basis) == (name, at)] for at in ("trained", "other")]
        said = all(s.number is not None for part in rows for s in part)
        right = " / ".join(f"{sum(s.right for s in part)} of {len(part)}" if said else "–" for part in rows)
        cells = [_both(rows, at) for at in ("space", "clean", "matched")]
        seconds = f"{np.mean([s.seconds for part in rows for s in part]):.2f}"
        out.append([name, *cells, right, _both(rows, "swap"), seconds])
    return out


def _both(rows: Sequence[Sequence[Score]], name: str) -> str:
    """The mean of a score over heads that have it, as trained / in another basis."""
    means = [[v for s in part if (v := getattr(s, name)) is not None] for part in rows]
    return " / ".join(f"{np.mean(values):.2f}" if values else "–" for values in means)
