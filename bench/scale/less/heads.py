"""The heads on which it is measured what keeping less changes, with all that is compared of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from qkstore.analysis import Head, HeadData
from qkstore.analysis.decomposition.sight import Block, Sight
from qkstore.analysis.head import Rows, build_split, judge_split
from qkstore.analysis.swaps import swapper
from qkstore.analysis.targets import Targets, visible_targets
from qkstore.components import AttentionContrast, number
from qkstore.contrast import Contrast
from qkstore.contrast.builtin import feature
from qkstore.covariance import Pairs
from qkstore.errors import ContrastError
from qkstore.rank import ranks, units
from qkstore.run import Run
from qkstore.run.vectors import LEAST, STEPS
from qkstore.store import Store
from qkstore.subspace import Subspace

EIGHT_BITS = 127  # scales in the largest value of a vector, as STEPS are of 16 bits
REPAIRS = 19


class Case(NamedTuple):
    """A head that does something, and the contrast that tells what."""

    run: str
    layer: int
    head: int
    contrast: str


CASES = (
    Case("smollm2-docs", 16, 0, "previous-token"),
    Case("smollm2-docs", 17, 5, "induction"),
    Case("smollm2-docs", 8, 0, "same-token"),
    Case("demo-boxes-both", 1, 0, "order"),
)


@dataclass(frozen=True)
class RoundedHead(Head):
    """A head whose vectors are rounded as they are read: to whole numbers of `steps` at most, with a scale each."""

    steps: int = STEPS

    def queries(self, rows: np.ndarray) -> np.ndarray:
        return self._rounded(super().queries(rows))

    def keys(self, rows: np.ndarray) -> np.ndarray:
        return self._rounded(super().keys(rows))

    def _rounded(self, v: np.ndarray) -> np.ndarray:
        scale = np.maximum(np.abs(v).max(axis=1, keepdims=True) / np.float32(self.steps), LEAST)
        return np.rint(v / scale) * scale


class Subject:
    """A case with what all ways of keeping share: its pairs, its queries and keys, and the swap's targets.

    Nothing of it depends on what is kept: results are compared on the same queries.
    """

    def __init__(self, store: Store, case: Case):
        self.case, self.run = case, store.run(case.run)
        (self.contrast,) = feature(self.run, case.contrast)
        self.head = Head(self.run, case.layer, case.head)
        self.built, self.judged = (
            Rows.of(self.run, self.contrast, s) for s in (build_split(self.run), judge_split(self.run))
        )
        self.sight = Sight.of(self.run, build_split(self.run))

    @property
    def name(self) -> str:
        return f"L{self.case.layer}H{self.case.head} of {self.case.run}, {self.case.contrast}"

    @cached_property
    def targets(self) -> Targets:
        facts = [self.head.facts]
        return visible_targets(self.run, (self.contrast,), facts, judge_split(self.run), 1000, 0)

    @cached_property
    def whole(self) -> Fitted:
        return Fitted.of(self.built.read(self.head))

    def all(self) -> Found:
        return self.found(self.head)

    def found(self, head: Head) -> Found:
        """Results where every vector is kept, as `head` reads them."""
        train, test = self.built.read(head), self.judged.read(head)
        return self._found(Fitted.of(train), accuracy(test), self.gain(train, head), self.components(self.sight, head))

    def sampled(self, blocks: Sequence[Block], kept: np.ndarray) -> Found:
        """Results of the queries among kept: (n_queries,) bool; blocks: those of them that choices are read of."""
        if not blocks:
            raise ContrastError("no prompt is kept")
        train, test = (of_queries(rows.read(self.head), kept) for rows in (self.built, self.judged))
        many = self.components(replace(self.sight, blocks=tuple(blocks)), self.head)
        return self._found(Fitted.of(train), accuracy(test), self.gain(train, self.head), many)

    def _found(self, fitted: Fitted, right: float | None, gain: float, components: int | None) -> Found:
        return Found(
            *against(fitted, self.whole), fitted.energy, fitted.statistical, right, gain, components, len(fitted.x)
        )

    def gain(self, data: HeadData, head: Head) -> float:
        """Attention that a target gains, by a swap in the subspace of some pairs, of the rank that all pairs give."""
        return self.swapped(head, Subspace.of(data.covariance.delta, self.whole.energy).V)

    def swapped(self, head: Head, V: np.ndarray) -> float:
        return float(swapper(head, self.targets)(V).delta_p.mean())

    def components(self, sight: Sight, head: Head) -> int:
        found = sight.read(head)
        return number(AttentionContrast(self.run.d_head, REPAIRS).update(found), halvings=0).value

    def random_gain(self, seeds: int = 10) -> float:
        """The same swap in random subspaces of that rank, on average."""
        rng, r = np.random.default_rng(0), self.whole.energy
        bases = [np.linalg.qr(rng.standard_normal((self.run.d_head, r)))[0] for _ in range(seeds)]
        return float(np.mean([self.swapped(self.head, V) for V in bases]))


@dataclass(frozen=True)
class Fitted:
    """ΔC of some pairs, its rank by energy and by test, and the queries and key contrasts that it is a mean of."""

    delta: np.ndarray
    energy: int
    statistical: int
    x: np.ndarray
    c: np.ndarray

    @classmethod
    def of(cls, data: HeadData) -> Fitted:
        contrast = data.rows.contrast
        seen, keys, local = data.pairs.localise()
        x, c = units(data.q[seen], data.k[keys], local, contrast.centring == "queries", contrast.weighting == "sum")
        return cls.of_units(x, c)

    @classmethod
    def of_units(cls, x: np.ndarray, c: np.ndarray) -> Fitted:
        """x, c: as `units` gives them."""
        found = ranks(x, c)
        return cls(x.T @ c / len(x), found.energy, found.statistical, x, c)


@dataclass(frozen=True)
class Found:
    """Results of one way to keep less. off: ‖ΔC − all's‖ ÷ ‖all's‖; query_overlap, key_overlap: mean cos² of the angles
    between the subspaces of the rank that all give, on either side; ranks by energy and by test; accuracy on judged
    queries; gain: attention that targets gain by the swap; components: their number; n: queries of ΔC. None: there are
    no vectors to compute it of.
    """

    off: float
    query_overlap: float
    key_overlap: float
    energy: int
    statistical: int
    accuracy: float | None
    gain: float | None
    components: int | None
    n: int = 0


def against(fitted: Fitted, whole: Fitted) -> tuple[float, float, float]:
    return compared(fitted.delta, whole.delta, whole.energy)


def compared(delta: np.ndarray, whole: np.ndarray, rank: int) -> tuple[float, float, float]:
    """(off, query_overlap, key_overlap) of Found."""
    a, b = Subspace.of(delta, rank), Subspace.of(whole, rank)
    overlaps = (float(np.sum((x.T @ y) ** 2)) / rank for x, y in ((a.U, b.U), (a.V, b.V)))
    return float(np.linalg.norm(delta - whole) / np.linalg.norm(whole)), *overlaps


def accuracy(data: HeadData) -> float | None:
    """Share of queries with keys of both signs whose largest logit is on a positive one; None where none has both."""
    each = data.by_query()
    return float(each.right[each.both].mean()) if each.both.any() else None


def of_queries(data: HeadData, kept: np.ndarray) -> HeadData:
    """The pairs of queries that are kept: (n_queries,) bool of the run's rows."""
    rows = data.rows
    part = rows.stored.where(kept[rows.stored.query])
    return Rows.these(rows.run, rows.contrast, rows.split, balanced(part, rows.contrast)).read(data.head)


def balanced(part: Pairs, contrast: Contrast) -> Pairs:
    return part.balanced() if contrast.weighting == "query" else part


def some_queries(blocks: Sequence[Block], n: int, rng: np.random.Generator) -> list[Block]:
    """At most n queries of each prompt, at random."""
    out = []
    for block in blocks:
        order = rng.random(block.query.shape).argsort(axis=1)[:, :n]
        out.append(block._replace(query=np.sort(np.take_along_axis(block.query, order, axis=1), axis=1)))
    return out


def some_prompts(blocks: Sequence[Block], kept: np.ndarray) -> list[Block]:
    """The prompts that are kept: (n_prompts,) bool, with all their queries."""
    some = [Block(*(part[kept[block.group]] for part in block)) for block in blocks]
    return [block for block in some if len(block.group)]


def kept_queries(run: Run, blocks: Sequence[Block]) -> np.ndarray:
    """(n_queries,) bool."""
    out = np.zeros(run.n_queries, bool)
    for block in blocks:
        out[block.query.ravel()] = True
    return out
