"""What is found: tests of all heads and matches, those that pass, their swaps, and one ranked list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import polars as pl

from qkstore.analysis.discovery.label import Tried
from qkstore.analysis.discovery.match import Match
from qkstore.analysis.discovery.swapped import Swapped, swaps
from qkstore.analysis.discovery.sweep import Sweep, Test
from qkstore.analysis.head import build_split, judge_split
from qkstore.contrast import Contrast
from qkstore.errors import ContrastError
from qkstore.null import false_discovery
from qkstore.run import Run
from qkstore.text import number, percent, split_name

LEVEL = 0.05  # of false discoveries
HIGHEST = 0.2  # at which first tests pass: what is asked for may be no higher
MUCH = 0.05  # of the attention; with many queries, less than anybody cares for is clear of 0
AS_THEY_ARE = ("n", "n_heads", "n_delta", "left", "built_on", "judged_on", "resting")  # in JSON
MOST_SWAPS = 4000  # heads and matches that are swapped, the smallest p-values and largest gaps first


@dataclass(frozen=True)
class Found:
    """One head under one match that passed the first three tests.

    p_swap: that the swap moves the logit gap, or attention, no more than swaps in random subspaces of its rank do; 1
    where there is nothing to swap, as `missing` then says. p: the largest of the four; q: its q-value over every head
    and match that were tried. gap_beyond, beyond: by how much the swap moves the gap in logits, and attention, more
    than random ones, with 95 % intervals. accuracy: the share of judged queries whose largest logit is on a positive
    key, beside chance.
    """

    layer: int
    head: int
    match: int
    norm: float
    p_delta: float
    gap: float
    p_gap: float
    p_aligned: float
    p_swap: float
    p: float
    q: float
    accuracy: float | None
    accuracy_ci: tuple[float, float] | None
    chance: float | None
    n: int
    rank: int | None = None
    gap_beyond: tuple[float, float, float] | None = None
    beyond: tuple[float, float, float] | None = None
    missing: str = ""

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def of(cls, row: dict) -> Found:
        """From to_dict, also after a way through JSON, which makes lists of tuples."""
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()})


@dataclass(frozen=True)
class Discovery:
    """What was tried and what was found. passed: heads and matches that passed the first three tests, best first.

    n: heads times matches, over which q-values are taken. n_delta: of these, how many have a ΔC beyond its null at
    LEVEL by q-value, whatever the head does with it. left: how many passed and were not swapped, the limit being
    reached. resting: (layer, head, share of attention on the first token) of all heads, where every token has a key.
    """

    tried: Tried
    passed: tuple[Found, ...]
    n: int
    n_heads: int
    n_delta: int
    left: int
    built_on: str | None
    judged_on: str | None
    resting: tuple[tuple[int, int, float], ...] = ()

    def __repr__(self) -> str:
        found = f"{len(self.found()):,} found at {percent(LEVEL)} FDR"
        return f"Discovery({found}, of {len(self.tried.matches):,} matches in {self.n_heads:,} heads)"

    def found(self, level: float = LEVEL, best: bool = False) -> list[Found]:
        """Those with a q-value of at most `level`: known types first, and of each part those whose swap moves most.

        best: of each head only the first, as a head that reads the token before also prefers what goes with it.
        Raises ContrastError for a level above HIGHEST: heads that might be found at it were not swapped.
        """
        possible(level)
        found = sorted((f for f in self.passed if f.q <= level), key=_promise)
        first: dict[tuple[int, int], Found] = {}
        for one in found:
            first.setdefault((one.layer, one.head), one)
        kept = list(first.values()) if best else found
        return sorted(kept, key=lambda f: not self.match(f).type)

    def match(self, found: Found) -> Match:
        return self.tried.matches[found.match]

    def contrast(self, found: Found) -> Contrast:
        """The contrast of what was found, to be saved."""
        return self.match(found).contrast(self.judged_on)

    def to_dict(self) -> dict:
        return {
            "matches": [m.to_dict() for m in self.tried.matches],
            "refused": [list(r) for r in self.tried.refused],
            "passed": [f.to_dict() for f in self.passed],
        } | {name: getattr(self, name) for name in AS_THEY_ARE}

    @classmethod
    def of(cls, row: dict) -> Discovery:
        """From to_dict, also after a way through JSON."""
        tried = Tried(tuple(map(Match.of, row["matches"])), tuple((what, why) for what, why in row["refused"]))
        rest = {name: row[name] for name in AS_THEY_ARE} | {"resting": tuple(map(tuple, row["resting"]))}
        return cls(tried, tuple(map(Found.of, row["passed"])), **rest)


def _promise(found: Found) -> tuple[float, float]:
    return -(found.beyond or (0.0,))[0], found.p


def verified(
    run: Run,
    tried: Tried,
    sweep: Sweep,
    tests: Sequence[Test],
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Discovery:
    """The discovery that the tests of all heads make: those that pass are swapped, and all q-values taken at the end.

    A head is one that has the feature where four things hold: ΔC of centred queries is beyond its null on the built
    split, the judged queries' logits prefer what matches, by more than random weights would, and on judged prompts the
    swap moves the gap and attention more than random subspaces do. The p-value of all is the largest one; who fails
    one of the first three needs no swap.
    """
    p, gap = (np.array([getattr(t, name) for t in tests]) for name in ("p", "gap"))
    passing = np.flatnonzero(false_discovery(p) <= HIGHEST)
    swapped = passing[np.lexsort((-gap[passing], p[passing]))][:MOST_SWAPS]
    made = swaps(run, sweep, [tests[i] for i in swapped], seed, progress)
    final = np.ones(len(p))
    final[swapped] = [max(p[i], one.p) for i, one in zip(swapped, made, strict=True)]
    q = false_discovery(final)
    passed = [
        Found(**asdict(tests[i]), **_told(one), p=float(final[i]), q=float(q[i]))
        for i, one in zip(swapped.tolist(), made, strict=True)
    ]
    return Discovery(
        tried,
        tuple(sorted(passed, key=_promise)),
        len(tests),
        len(run.layers) * run.n_heads,
        int((false_discovery(np.array([t.p_delta for t in tests])) <= LEVEL).sum()),
        len(passing) - len(swapped),
        build_split(run),
        judge_split(run),
    )


def _told(swap: Swapped) -> dict:
    """A swap's fields as Found has them."""
    return {("p_swap" if name == "p" else name): value for name, value in asdict(swap).items()}


def possible(level: float) -> float:
    """A rate of false discoveries, if it is one that can be asked for. Raises ContrastError."""
    if not 0 < level <= HIGHEST:
        raise ContrastError(f"a rate of false discoveries is above 0 and {HIGHEST} at most, not {level:g}")
    return level


def table(discovery: Discovery, level: float = LEVEL, best: bool = False) -> pl.DataFrame:
    """A row for each of what is found, those whose swap moves most first; best: of each head only the first."""
    rows = [
        {
            "type": discovery.match(f).type,
            "feature": discovery.match(f).told,
            "layer": f.layer,
            "head": f.head,
            "p": f.p,
            "q": f.q,
            "accuracy": f.accuracy,
            "accuracy_low": (f.accuracy_ci or (None, None))[0],
            "accuracy_high": (f.accuracy_ci or (None, None))[1],
            "chance": f.chance,
            "gap": f.gap,
            "swap": (f.beyond or (None,))[0],
            "swap_low": (f.beyond or (None, None))[1],
            "swap_high": (f.beyond or (None, None, None))[2],
            "rank": f.rank,
            "n": f.n,
            "name": discovery.match(f).name,
        }
        for f in discovery.found(level, best)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def statement(discovery: Discovery, level: float = LEVEL) -> str:
    """What was tried, by which rule, and what the rule allows."""
    d, found = discovery, discovery.found(level)
    whose, many = split_name(d.judged_on), sum((f.beyond or (0.0,))[0] >= MUCH for f in found)
    told = [
        f"{d.tried.pairs} × {d.n_heads:,} heads = {d.n:,} tests, {len(d.tried.refused):,} labels or pairs left out.",
        f"Found: {len(found):,} of them, {many:,} of which move {percent(MUCH)} of the attention or more, at a rate of "
        f"false discoveries of {number(level, 2)} (Benjamini–Hochberg over all tests; it allows p-values that depend "
        "on each other positively).",
        f"Each has a ΔC beyond its null on the {split_name(d.built_on)} split, logits that prefer what matches on the "
        f"{whose} split, where queries that look for one value count as one, by more than random weights would, and a "
        "swap that moves more than random subspaces of its rank; p is the largest of the four.",
        f"{d.n_delta:,} tests have a ΔC beyond its null, which alone says that queries and keys both carry the labels, "
        "as they do in random weights too.",
    ]
    if any(m.beyond for m in d.tried.matches):
        told.append("What is beyond known types is tried on keys that none of these types selects.")
    if d.left:
        told.append(f"{d.left:,} more passed the first two and were not swapped: the first {MOST_SWAPS:,} are.")
    if d.built_on == d.judged_on:
        told.append("There is no test split: all is built and judged on the same prompts.")
    return " ".join(told)
