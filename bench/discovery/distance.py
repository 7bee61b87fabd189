"""Neighbor Distance Minimization (Huang and Hahn 2025), written anew and small from the paper's definition.

An orthogonal R turns vectors x, and coordinates are cut into subspaces; R is trained so that in each subspace the
nearest neighbours among a few vectors are near: then subspaces are as independent as they get. Pairs of subspaces whose
mutual information (Kraskov's estimator, one neighbour) per dimension stays above a limit are merged.

As in the paper: R orthogonal, Euclidean distance, neighbours within small groups, subspaces of two dimensions to begin
with, a new start within the worst subspace and one that tells much of it, merges of the best pairs above 0.04 nats a
dimension. Smaller: 1,500 steps before the first merge where the authors do tens of thousands, at a larger rate. It
looks at one side at a time, so that it is run on queries and on keys apart, and gives no order to its subspaces: here
they stand by the variance in them. Subspaces are what it promises, not coordinates; `lines` begins with one dimension
each and merges none, which is as much as it can do for coordinates.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import torch

from bench.discovery.methods import Directions, Subject

UNIT, LIMIT, MOST_MERGES = 2, 0.04, 8
STEPS, STARTS, RATE = 300, 5, 5e-3  # steps of each start, and after each merge
BATCH, GROUP, READ = 512, 4, 800


def neighbours(s: Subject, unit: int = UNIT, merges: int = MOST_MERGES, seed: int = 0) -> Directions:
    """Subspaces of queries and of keys, by the variance that each holds; the number is that of the queries' ones."""
    (U, parts), (V, _) = (partition(x, unit, merges, seed) for x in (s.q, s.k))
    return Directions.orthonormal(U, V, len(parts))


def lines(s: Subject) -> Directions:
    """The same with subspaces of one dimension, and no merge, so that the number says nothing."""
    return replace(neighbours(s, unit=1, merges=0), number=None)


def partition(
    x: np.ndarray, unit: int = UNIT, merges: int = MOST_MERGES, seed: int = 0
) -> tuple[np.ndarray, list[int]]:
    """(d, d) orthonormal columns, subspace by subspace, and the subspaces' dimensions, of vectors x: (n, d)."""
    x = torch.tensor(x - x.mean(axis=0), dtype=torch.float32)
    x = x / x.std()
    d, generator = x.shape[1], torch.Generator().manual_seed(seed)
    parts = [unit] * (d // unit) + [1] * (d % unit)
    R = _begun(x, parts, generator)
    for _ in range(merges):
        joined = _merged(x[:READ] @ R, parts)
        if joined is None:
            break
        order, parts = joined
        R = trained(x, R[:, order], parts, generator)
    held = [float((x @ block).var(dim=0).sum()) for block in R.split(parts, dim=1)]
    by = sorted(range(len(parts)), key=lambda i: -held[i])
    blocks = R.split(parts, dim=1)
    return torch.cat([blocks[i] for i in by], dim=1).double().numpy(), [parts[i] for i in by]


def _begun(x: torch.Tensor, parts: list[int], generator: torch.Generator) -> torch.Tensor:
    """The best R of several starts; each turns two subspaces of the last one at random, which may be stuck."""
    d = x.shape[1]
    R, best, least = torch.linalg.qr(torch.randn(d, d, generator=generator))[0], torch.eye(d), float("inf")
    for _ in range(STARTS):
        R = trained(x, R, parts, generator)
        each = distances(x[: len(x) // GROUP * GROUP] @ R, parts)
        if float(each.mean()) < least:
            best, least = R, float(each.mean())
        blocks, worst = list(R.split(parts, dim=1)), int(each.argmax())
        told = [-1.0 if i == worst else m for i, m in enumerate(_told(x[:READ] @ R, parts, worst))]
        other = int(np.argmax(told))
        size = parts[worst] + parts[other]
        turn = torch.linalg.qr(torch.randn(size, size, generator=generator))[0]
        turned = (torch.cat([blocks[worst], blocks[other]], dim=1) @ turn).split([parts[worst], parts[other]], dim=1)
        blocks[worst], blocks[other] = turned
        R = torch.cat(blocks, dim=1)
    return best


def trained(x: torch.Tensor, R: torch.Tensor, parts: list[int], generator: torch.Generator) -> torch.Tensor:
    """R after some steps of Adam on its skew-symmetric logarithm, beside where it began."""
    A = torch.zeros_like(R, requires_grad=True)
    optimiser = torch.optim.Adam([A], lr=RATE)
    for _ in range(STEPS):
        turned = R @ torch.linalg.matrix_exp(A - A.T)
        rows = torch.randint(0, len(x), (BATCH,), generator=generator)
        loss = distances(x[rows] @ turned, parts).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return torch.linalg.qr(R @ torch.linalg.matrix_exp(A - A.T))[0]


def distances(h: torch.Tensor, parts: list[int]) -> torch.Tensor:
    """(subspaces,) mean distance to the nearest of a group."""
    each = []
    for block in h.split(parts, dim=1):
        grouped = block.reshape(-1, GROUP, block.shape[1])
        with torch.no_grad():
            apart = torch.cdist(grouped, grouped) + torch.eye(GROUP) * 1e9
            nearest = apart.argmin(dim=-1, keepdim=True).expand_as(grouped)
        each.append(torch.linalg.vector_norm(grouped - grouped.gather(1, nearest), dim=-1).mean())
    return torch.stack(each)


def _apart(h: torch.Tensor, parts: list[int]) -> list[torch.Tensor]:
    """(n, n) distances within each subspace, over the spread in it."""
    spread = [(b, torch.sqrt(b.var(dim=0).sum())) for b in h.split(parts, dim=1)]
    return [torch.cdist(b, b) / s + torch.eye(len(h)) * 1e9 for b, s in spread]


def _told(h: torch.Tensor, parts: list[int], of: int) -> list[float]:
    """What each subspace tells of one of them, in nats."""
    apart = _apart(h, parts)
    return [information(apart[of], other) for other in apart]


def _merged(h: torch.Tensor, parts: list[int]) -> tuple[list[int], list[int]] | None:
    """The columns' new order and parts once the pairs that tell most of each other are one; None where none does."""
    apart = _apart(h, parts)
    told = {(i, j): information(apart[i], apart[j]) / (parts[i] + parts[j])
            for i, j in combinations(range(len(parts)), 2)}  # fmt: skip
    pairs: list[tuple[int, int]] = []
    for pair, value in sorted(told.items(), key=lambda item: -item[1]):
        if value > LIMIT and not set(pair) & {i for p in pairs for i in p}:
            pairs.append(pair)
    pairs = pairs[: max(1, len(parts) // 8)]
    if not pairs:
        return None
    alone = [(i,) for i in range(len(parts)) if i not in {i for p in pairs for i in p}]
    starts, clusters = np.cumsum([0, *parts]), [*pairs, *alone]
    order = [c for cluster in clusters for i in cluster for c in range(starts[i], starts[i + 1])]
    return order, [sum(parts[i] for i in cluster) for cluster in clusters]


def information(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mutual information in nats of two variables, of their (n, n) distances: Kraskov and others 2004, k = 1."""
    nearest = torch.maximum(one, other).min(dim=1, keepdim=True).values
    n_one, n_other = ((d < nearest).sum(dim=1) + 1 for d in (one, other))
    psi = torch.special.digamma
    n = torch.tensor(float(len(one)))
    return float(psi(torch.ones(())) + psi(n) - (psi(n_one.float()) + psi(n_other.float())).mean())
