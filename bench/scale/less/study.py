"""What keeping less changes: fewer queries, fewer bits, key sums alone; beside it what is no better than chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.scale.less import sums
from bench.scale.less.heads import (
    CASES,
    EIGHT_BITS,
    Case,
    Fitted,
    Found,
    RoundedHead,
    Subject,
    compared,
    kept_queries,
    some_prompts,
    some_queries,
)
from qkstore.analysis.decomposition.sight import Sight
from qkstore.errors import ContrastError
from qkstore.run.vectors import STEPS
from qkstore.store import Store
from qkstore.text import number

SEEDS = 12
QUERIES = (16, 8, 4, 1)  # a prompt, of a run of all positions
SHARES = (2, 8, 32)  # one prompt in so many
OTHER = {"order": "lexical"}  # the contrast that nobody thought of, for key sums
NAMES = tuple(Found.__dataclass_fields__)


@dataclass(frozen=True)
class Row:
    """One way of keeping less on one head. found: of each draw; lost: draws that had too few queries. share: of queries
    that are kept. note: what else there is to say.
    """

    head: str
    stored: str
    found: tuple[Found, ...]
    share: float = 1.0
    lost: int = 0
    note: str = ""

    def middle(self, name: str) -> tuple[float, float, float] | None:
        """Median, least and largest of the draws; None where it cannot be computed."""
        values = [v for f in self.found if (v := getattr(f, name)) is not None]
        return (float(np.median(values)), min(values), max(values)) if values else None


def study(stores: Mapping[str, Store], seeds: int = SEEDS, cases: Sequence[Case] = CASES) -> list[Row]:
    """A row of each way to keep less, on each head whose run is in a store. stores: {run: where it is}."""
    return [row for case in cases if case.run in stores for row in rows(Subject(stores[case.run], case), seeds)]


def rows(s: Subject, seeds: int) -> list[Row]:
    own = Sight.of(s.run, None).blocks
    a_prompt = max(block.query.shape[1] for block in own)
    out = [Row(s.name, "all", (s.all(),), note=f"random subspaces of that rank: {number(s.random_gain(), 3)}")]
    if a_prompt > 1:
        for n in (n for n in QUERIES if n < a_prompt):
            out.append(drawn(s, f"{n} of {a_prompt} queries a prompt", seeds, lambda rng, n=n: queries(s, n, rng)))
        share = a_prompt // 4
        out.append(drawn(s, f"1 prompt in {share}, all its queries", seeds, lambda rng: prompts(s, share, rng)))
    else:
        for share in SHARES:
            out.append(drawn(s, f"1 prompt in {share}", seeds, lambda rng, share=share: prompts(s, share, rng)))
    out.append(dealt(s, seeds))
    for title, steps in (("int16", STEPS), ("8 bits, the control", EIGHT_BITS)):
        out.append(Row(s.name, title, (s.found(RoundedHead(s.run, s.case.layer, s.case.head, steps)),)))
    return [*out, of_sums(s)]


def drawn(s: Subject, stored: str, seeds: int, draw: Callable[[np.random.Generator], Found]) -> Row:
    """The results of some draws; one whose queries are too few for a result is counted as lost."""
    found: list[Found] = []
    shares: list[float] = []
    for seed in range(seeds):
        try:
            result, share = draw(np.random.default_rng(seed))
        except ContrastError:
            continue
        found.append(result)
        shares.append(share)
    return Row(s.name, stored, tuple(found), float(np.mean(shares)) if shares else 0.0, seeds - len(found))


def queries(s: Subject, n: int, rng: np.random.Generator) -> tuple[Found, float]:
    """n queries of each prompt of either split."""
    return _of(s, some_queries(Sight.of(s.run, None).blocks, n, rng))


def prompts(s: Subject, share: int, rng: np.random.Generator) -> tuple[Found, float]:
    """One prompt in `share`, with all its queries; of prompts of every variant."""
    kept = rng.random(s.run.n_prompts) < 1 / share
    rows = kept[s.run.query_places[0]]
    return s.sampled(some_prompts(s.sight.blocks, kept), rows), float(rows.mean())


def _of(s: Subject, blocks: list) -> tuple[Found, float]:
    kept = kept_queries(s.run, blocks)
    built = np.isin(s.run.query_places[0], np.unique(np.concatenate([b.group for b in s.sight.blocks])))
    there = [block._replace(**_some(block, built)) for block in blocks]
    return s.sampled([b for b in there if len(b.group)], kept), float(kept.mean())


def _some(block, built: np.ndarray) -> dict:
    at = built[block.query[:, 0]]
    return {"query": block.query[at], "key": block.key[at], "group": block.group[at]}


def dealt(s: Subject, seeds: int) -> Row:
    """The control: each query with the key contrast of another one, so that no query says what its keys are."""
    whole, out = s.whole, []
    for seed in range(seeds):
        turn = np.random.default_rng(seed).permutation(len(whole.x))
        delta = whole.x[turn].T @ whole.c / len(whole.x)
        anew = Fitted.of_units(whole.x[turn], whole.c)
        gain = s.swapped(s.head, sums.subspace(delta, whole.energy))
        off = compared(delta, whole.delta, whole.energy)
        out.append(Found(*off, anew.energy, anew.statistical, None, gain, None, len(whole.x)))
    return Row(s.name, "queries dealt anew, the control", tuple(out))


def of_sums(s: Subject) -> Row:
    told = sums.told(s, OTHER.get(s.case.contrast, "first-token"))
    note = (
        f"‖ΔC‖ and its null off by {told.null:.0e}; of mean keys: accuracy {number(told.mean_accuracy, 2)}, gain "
        f"{number(told.mean_gain, 3)}; taken for {told.asked}: ‖difference‖ ÷ ‖ΔC‖ "
        f"{number(told.other, 1)}; a swap of real keys in their subspace gains {number(told.subspace_gain, 3)}"
    )
    return Row(s.name, "key sums alone", (told.found,), note=note)


def table(found: Sequence[Row]) -> list[list[str]]:
    header = [
        "head", "what is kept", "queries", "‖ΔC − all's‖ ÷ ‖all's‖", "query subspace", "key subspace", "99 % rank",
        "statistical rank", "accuracy", "swap gains", "components", "queries of ΔC", "beside",
    ]  # fmt: skip
    digits = {"off": 2, "query_overlap": 2, "key_overlap": 2, "accuracy": 2, "gain": 3}
    return [header, *(_row(row, digits) for row in found)]


def _row(row: Row, digits: Mapping[str, int]) -> list[str]:
    note = row.note + (f"{row.lost} of {row.lost + len(row.found)} draws have too few queries" if row.lost else "")
    cells = [cell(row.middle(name), digits.get(name, 0)) for name in NAMES]
    return [row.head, row.stored, f"{row.share:.0%}", *cells, note]


def cell(middle: tuple[float, float, float] | None, digits: int) -> str:
    """The median, and the least and largest of the draws where they differ; – of what cannot be computed."""
    if middle is None:
        return "–"
    value, low, high = (f"{v:.0e}" if digits and 0 < abs(v) < 10**-digits / 2 else f"{v:.{digits}f}" for v in middle)
    return value if low == high else f"{value} [{low}, {high}]"


def sampling(found: Sequence[Row], queries: float) -> list[list[str]]:
    """How far a sample's ΔC is off, as a multiple of √(1/n − 1/all), and with so many queries. See the page."""
    header = ["head", "what is kept", "queries of ΔC, of how many", "off ÷ √(1/n − 1/all)", f"off with {queries:,.0f}"]
    out = [header]
    for row in (r for r in found if "prompt" in r.stored and r.found):
        (whole,) = (r.found[0].n for r in found if r.head == row.head and r.stored == "all")
        each = [f.off / np.sqrt(1 / f.n - 1 / whole) for f in row.found if f.n < whole]
        if each:
            spread = float(np.median(each)), min(each), max(each)
            n = f"{row.middle('n')[0]:,.0f} of {whole:,}"
            out.append([row.head, row.stored, n, cell(spread, 1), f"{spread[0] / np.sqrt(queries):.4f}"])
    return out


def failures(found: Sequence[Row]) -> list[str]:
    """What the page says and does not hold: of int16, of the controls, and of key sums."""
    out = []
    for row in found:
        at = {name: row.middle(name) for name in NAMES}
        if row.stored == "int16" and at["off"][0] > 0.005:
            out.append(f"{row.head}: int16 moves ΔC by {at['off'][0]:.2g}")
        if row.stored == "key sums alone" and not (at["off"][0] < 1e-6 and at["accuracy"] is None):
            out.append(f"{row.head}: ΔC of key sums is off by {at['off'][0]:.2g}")
        if row.stored.startswith("8 bits"):
            (sixteen,) = (r.middle("off")[0] for r in found if r.head == row.head and r.stored == "int16")
            out += [f"{row.head}: 8 bits are as good as 16"] * (at["off"][0] < 10 * sixteen)
        if row.stored.startswith("queries dealt"):
            (whole,) = (r.middle("gain")[0] for r in found if r.head == row.head and r.stored == "all")
            out += [f"{row.head}: queries dealt anew swap as well"] * (at["gain"][0] > 0.9 * whole)
    return out
