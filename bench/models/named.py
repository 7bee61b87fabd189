"""Heads with the most components: how many have a name, how many are clear of chance, and what the others look like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qkstore.analysis import components
from qkstore.analysis.decomposition import (
    HeadCount,
    Prompts,
    Scored,
    Study,
    kept_counts,
    kept_study,
    prompts,
    table,
)
from qkstore.analysis.decomposition.prompts import TAIL, Common, Extreme
from qkstore.run import Run
from qkstore.store import Store
from qkstore.text import estimate, head_name, number, visible

TEN = 10
SHOWN = 5  # prompts at each end
FEW = 4  # queries: a value that fewer have is not told
LOOKED = (("q", "queried_entity"), ("k", "entity"), ("k", "order_id"))  # labels that are counted there
At = tuple[int, int]
Tell = Callable[[str], None]


def most(counts: Sequence[HeadCount], n: int = TEN) -> list[At]:
    """The heads with the most components, most first; of the same number those that carry more of the logit gap."""
    ranked = table([row for row in counts if row.number])
    return list(zip(ranked["layer"].to_list()[:n], ranked["head"].to_list()[:n], strict=True))


def studies(store: Store, run: Run, heads: Sequence[At], tell: Tell) -> dict[At, Study]:
    """The study of each head: what `qkstore components` prints, and keeps."""
    made = {}
    for at in heads:
        made[at] = kept_study(store, run, *at)
        tell(f"{run.name} {made[at].headline}; {clear(made[at])} clear")
    return made


def clear(study: Study) -> int:
    """How many components hold on unseen prompts and move the head (decomposition/claim.py)."""
    return sum(claim.clear for claim in study.claims.values())


def matched(study: Study) -> int:
    """Of how many of these a label tells what is matched."""
    return sum(claim.clear and claim.matches for claim in study.claims.values())


HEAD = [
    "head", "components", "named", "by what", "unnamed", "clear", "clear, with a match",
    "strongest of these: ρ, logit gap beyond random", "attention before, original / target",
    "after the swap of all", "as many random", "logit gap beyond random",
]  # fmt: skip


def row(study: Study) -> list[str]:
    """The cells of one head."""
    low, high = study.number["interval"]
    labels = Counter(row["label"] for row in study.rows if row["named"])
    by_what = ", ".join(f"{label} {many}" for label, many in labels.most_common())
    numbers = [len(study.rows) - len(study.unnamed), len(study.unnamed), clear(study), matched(study)]
    told = list(map(str, numbers))
    name = [head_name(study.layer, study.head), f"{len(study.rows)} [{low}, {high}]"]
    return [*name, told[0], by_what or "–", *told[1:], _strongest(study), *_swapped(study)]


def _strongest(study: Study) -> str:
    """Of the clear components with a match the one whose swap moves the logit gap most."""
    of = [row for row in study.rows if (c := study.claims[row["component"]]).clear and c.matches]
    if not of:
        return "–"
    best = max(of, key=lambda row: row["gap"])
    rho, gap = estimate(best["rho"], best["rho_ci"], 2), estimate(best["gap"], best["gap_ci"], 2)
    return f"{best['component']}, {best['agreement']['label']}: {rho}, {gap}"


def _swapped(study: Study) -> list[str]:
    moved = study.condition("all")
    if moved is None:
        return ["–"] * 4
    chance = study.condition(f"random {moved['rank']}")
    assert chance, "each size of a group has its random baseline"
    gap, *interval = moved["beyond"]["gap_gain"]
    pairs = [(moved, "before"), (moved, "after"), (chance, "after")]
    told = [" / ".join(number(c[f"{key}_{when}"]) for key in ("original", "target")) for c, when in pairs]
    return [f"{told[0]} (n = {moved['n']:,})", *told[1:], estimate(gap, interval, 2)]


# -- components without a name -----------------------------------------------------------------------------------------

ENDS = ["head", "component", "ρ, test", "logit gap beyond random", "nearest label", "high end", "low end"]


def ends(run: Run, found: dict[At, Study], tell: Tell, most: int = SHOWN) -> list[list[str]]:
    """A row of each component that no label explains; `tell` gets the prompts at both of its ends, in context."""
    made = []
    for at, study in found.items():
        if not study.unnamed:
            continue
        scored = Scored.of_head(components(run, *at))
        for each in study.unnamed:
            shown = prompts(scored, each["component"], most)
            show(study, shown, tell)
            made.append(_ends(study, each, scored))
    return made


def _ends(study: Study, each: dict, scored: Scored) -> list[str]:
    gap = "–" if each["gap"] is None else estimate(each["gap"], each["gap_ci"], 2)
    near = f"{each['label']} {number(each['explained'], 2)}, p = {each['p']:.3g}" if each["label"] else "–"
    claim = "clear" if study.claims[each["component"]].clear else "not clear"
    order = np.argsort(scored.x[:, each["component"]], kind="stable")
    tail = max(1, int(np.ceil(TAIL * len(order))))
    sides = [_frequent(scored, rows) for rows in (order[::-1][:tail], order[:tail])]
    name = head_name(study.layer, study.head)
    return [name, str(each["component"]), estimate(each["rho"], each["rho_ci"], 2), f"{gap}, {claim}", near, *sides]


def _frequent(scored: Scored, rows: np.ndarray, shown: int = 3) -> str:
    """Of LOOKED the values that queries at one end, and the keys that they chose, have most beyond their share."""
    run, told = scored.of.head.run, []
    for side, name in LOOKED:
        if name in run.columns[side]:
            every = run.labels(side, [name], scored.query if side == "q" else scored.key)[name].to_pylist()
            share, here = Counter(every), Counter(every[i] for i in rows.tolist())
            beyond = {v: many / len(rows) - share[v] / len(every) for v, many in here.items() if many >= FEW}
            far = [v for v in sorted(beyond, key=lambda v: beyond[v], reverse=True) if beyond[v] > 0][:shown]
            values = ", ".join(f"{v} in {here[v]} ({number(share[v] / len(every), 2)})" for v in far)
            told.append(f"{side}.{name} {values or 'none'}")
    return f"of {len(rows)}: " + "; ".join(told)


def _tokens(common: Sequence[Common], shown: int = 4) -> str:
    """The tokens most frequent among the keys at one end: of how many there, and everywhere."""
    of = common[0].of if common else 0
    each = [f"‘{visible(c.text)}’ {c.n} ({number(c.everywhere, 2)})" for c in common[:shown]]  # noqa: RUF001
    return f"of {of}: " + ", ".join(each).replace("|", "\\|")


def show(study: Study, shown: Prompts, tell: Tell) -> None:
    """The prompts at both ends of a component: each key in context, and the labels of both tokens."""
    tell(f"{head_name(study.layer, study.head)} component {shown.component}, of {shown.n:,} queries")
    for end, extremes in (("high", shown.high), ("low", shown.low)):
        for one in extremes:
            tell(f"  {end} {one.score:+.2f} → {one.key_score:+.2f}, attention {one.attention:.2f}: {_context(one)}")
        tell(f"  {end}, tokens of the keys: {_tokens(shown.tokens[f'{end}_keys'], 8)}")


def _context(one: Extreme) -> str:
    key = f"{one.key.before}[{one.key.text}]{one.key.after}".replace("\n", "↵")
    labels = ", ".join(f"{name} {value}" for name, value in {**one.labels, **one.key_labels}.items())
    return f"prompt {one.prompt_id} …{key}… ({labels})"


# -- beside random weights ---------------------------------------------------------------------------------------------

CONTROL = [
    "weights", "heads", "with a choice", "with components", "components", "named", "clear",
    "clear, by what", "clear, with a match",
    "least attention moved by a clear one", "most", "the head that moves most", "its target before",
    "after the swap of all", "as many random", "logit gap beyond random",
]  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """The heads of some layers of a run: how many, and the studies of those with components."""

    counts: list[HeadCount]
    found: list[Study]

    @classmethod
    def of(cls, store: Store, run: Run, layers: Sequence[int], tell: Tell) -> Weights:
        counts = [row for row in kept_counts(store, run) if row.layer in layers]
        heads = [(row.layer, row.head) for row in counts if row.number]
        return cls(counts, list(studies(store, run, heads, tell).values()))

    @property
    def rows(self) -> list[dict]:
        """Of all components."""
        return [row for study in self.found for row in study.rows]

    @property
    def clear(self) -> list[dict]:
        """Of those that are clear."""
        return [row for study in self.found for row in study.rows if study.claims[row["component"]].clear]

    @property
    def matched(self) -> int:
        """How many clear ones there are of which a label tells what is matched."""
        claims = [claim for study in self.found for claim in study.claims.values()]
        return sum(claim.clear and claim.matches for claim in claims)

    @property
    def told(self) -> list[str]:
        """The cells of a row."""
        moved = [abs(row["moved"]) for row in self.clear]
        numbers = [
            len(self.counts), sum(not c.why for c in self.counts), len(self.found), len(self.rows),
            sum(row["named"] for row in self.rows), len(self.clear), self.matched,
        ]  # fmt: skip
        ends = [number(end, 4) for end in (min(moved), max(moved))] if moved else ["–", "–"]
        by_what = Counter(row["label"] for row in self.clear)
        said = ", ".join(f"{label} {many}" for label, many in by_what.most_common()) or "–"
        *cells, matched = map(str, numbers)
        return [*cells, said, matched, *ends, *_best(self.found)]


def _best(found: Sequence[Study]) -> list[str]:
    """The head whose swap of all components moves the logit gap most beyond random dimensions."""
    moved = {s: c for s in range(len(found)) if (c := found[s].condition("all"))}
    if not moved:
        return ["–"] * 5
    at = max(moved, key=lambda s: moved[s]["beyond"]["gap_gain"][0])
    everything, chance = moved[at], found[at].condition(f"random {moved[at]['rank']}")
    assert chance, "each size of a group has its random baseline"
    gap, *interval = everything["beyond"]["gap_gain"]
    name = f"{head_name(found[at].layer, found[at].head)}, {everything['rank']} (n = {everything['n']:,})"
    targets = [number(c) for c in (everything["target_before"], everything["target_after"], chance["target_after"])]
    return [name, *targets, estimate(gap, interval, 2)]
