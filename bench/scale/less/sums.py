"""Key sums alone: a query has Σ w k⁺ and Σ w k⁻ of one contrast instead of keys: a run of two keys a query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.scale.less.heads import Found, Subject, compared
from qkstore.analysis import HeadData
from qkstore.contrast.builtin import feature
from qkstore.covariance import ContrastiveCovariance, Pairs
from qkstore.intervention import Swapper
from qkstore.rank import ranks, units
from qkstore.subspace import Subspace

DEALS = 19


@dataclass(frozen=True)
class Told:
    """What key sums tell of a head beside what its keys tell.

    found: as of any way of keeping; null: the largest relative difference of ‖ΔC‖ and its null's deals. mean_accuracy:
    share of queries whose logit of the mean positive key is above that of the mean negative one, which is not the
    accuracy. mean_gain: what the mean negative key gains in a swap with the mean positive one, which is no swap of
    keys. other: ‖ΔC of this contrast − ΔC of another‖ ÷ ‖that one‖: how wrong these sums are for another question,
    `asked`. subspace_gain: what a swap of keys in their subspace does, which needs the keys of a few queries.
    """

    found: Found
    null: float
    mean_accuracy: float
    mean_gain: float
    other: float
    asked: str
    subspace_gain: float


def summed(data: HeadData) -> tuple[np.ndarray, Pairs]:
    """Two keys a query, (2n, d) float32, and their pairs, whose ΔC, null and rank are those of the pairs given.

    A side's sums are scaled by its number of sums over its weight, so that a mean over sums is the mean over pairs.
    """
    n, pairs = len(data.q), data.pairs
    k = pairs.matrix(n, len(data.k)) @ data.k.astype(np.float64)
    rows = [np.unique(pairs.query[side]) for side in (pairs.positive, pairs.negative)]
    places = [2 * rows[0], 2 * rows[1] + 1]
    for place, side in zip(places, (pairs.positive, pairs.negative), strict=True):
        k[place] *= len(place) / pairs.weight[side].sum()
    sign = np.concatenate([np.full(len(r), s) for r, s in zip(rows, (1, -1), strict=True)])
    return k.astype(np.float32), Pairs(np.concatenate(rows), np.concatenate(places), sign)


def told(subject: Subject, other: str) -> Told:
    """What is left of a head. other: a contrast that nobody thought of when the sums were made."""
    data = subject.built.read(subject.head)
    k, pairs = summed(data)
    delta = ContrastiveCovariance(k.shape[1]).update(data.q, k, pairs).delta
    x, c = units(data.q, k, pairs) if len(k) == 2 * len(data.q) else units(data.q, *_dense(k, pairs))
    found = ranks(x, c)
    whole = subject.whole
    off = compared(delta, whole.delta, whole.energy)
    gain = subject.swapped(subject.head, subspace(delta, whole.energy))
    null = subject.contrast.replace(weighting="pair").null(pairs, DEALS).test(data.q, k)
    true = data.null(DEALS)
    differ = np.abs(np.array([null.observed, *null.null]) / np.array([true.observed, *true.null]) - 1).max()
    (asked,) = feature(subject.run, other)
    elsewhere = subject.built.of(subject.run, asked, subject.built.split).read(subject.head).covariance.delta
    wrong = float(np.linalg.norm(delta - elsewhere) / np.linalg.norm(elsewhere))
    left = Found(*off, found.energy, found.statistical, None, None, None, len(x))
    return Told(left, float(differ), *means(subject), wrong, other, gain)


def means(subject: Subject) -> tuple[float, float]:
    """mean_accuracy and mean_gain of Told, on judged queries with keys of both signs."""
    data = subject.judged.read(subject.head)
    W = data.pairs.matrix(len(data.q), len(data.k))
    weight = np.asarray(W.sum(axis=1)).reshape(-1, 2)
    both = (weight > 0).all(axis=1)
    mean = (W @ data.k.astype(np.float64)).reshape(len(data.q), 2, -1)[both] / weight[both][:, :, None]
    q, facts = data.q[both], subject.head.facts
    lse = subject.head.logsumexp(data.rows.query)[both]
    positive, negative = mean.transpose(1, 0, 2)
    swap = Swapper(q, positive, negative, lse, facts.scaling, facts.softcap)(
        subspace(subject.whole.delta, subject.whole.energy)
    )
    right = np.einsum("nd,nd->n", q, positive - negative) * facts.scaling > 0
    return float(right.mean()), float(swap.delta_p.mean())


def _dense(k: np.ndarray, pairs: Pairs) -> tuple[np.ndarray, Pairs]:
    _, keys, local = pairs.localise()
    return k[keys], local


def subspace(delta: np.ndarray, rank: int) -> np.ndarray:
    """V: (d_head, rank) of ΔC."""
    return Subspace.of(delta, rank).V
