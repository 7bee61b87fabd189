"""Names: which label explains each component of a head, of the query, of the key it chose, or in their agreement."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from qkstore.analysis.decomposition.labels import MOST_PAIRS, Label, Untried, labels, pairs
from qkstore.analysis.decomposition.scored import Scored
from qkstore.components import Trial, explained, some
from qkstore.components.naming import DEALS, Kind
from qkstore.text import number, visible

EXPLAINS = 0.3  # of a component's variance: a label that explains less does not name it
LEVEL = 0.05
AS_WELL = 0.5  # a second label that explains so much of what the first does makes a mixed component
COARSER = 0.9  # of what the best label explains: one of fewer values that explains as much is the better name
AGREES = 0.5  # of what the best label of one side explains: an agreement that explains as much is the better name
SHOWN = 3  # values at each end
UNNAMED = "unnamed"


@dataclass(frozen=True)
class Best:
    """A label beside what it explains: share of a component's variance, corrected for chance, and corrected p."""

    label: str
    side: Kind
    explained: float
    p: float


@dataclass(frozen=True)
class Name:
    """What a component is called, and why.

    name: in words, UNNAMED where no label explains EXPLAINS of it beyond chance. mixed: whether a second label explains
    at least AS_WELL of what the first does. best: the label that names it, or the one that comes nearest; None without
    a label to try. second: the label that explains most beside it, on one side (the query's, of an agreement). query,
    key, agreement: the best of each. high, low: values of `best` with the highest and lowest mean scores, ends first.
    labels: all that were tried, most explained first.
    """

    component: int
    name: str
    named: bool
    mixed: bool
    best: Best | None
    second: Best | None
    query: Best | None
    key: Best | None
    agreement: Best | None
    high: list[str]
    low: list[str]
    labels: list[Best]

    def to_dict(self) -> dict:
        """The fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class Names:
    """Names of all components of a head, in their order.

    tried: labels, of q, of k, and q = k pairs; left: those that were not, and why. n: queries of the judged split that
    they are read from. deals: times that labels were dealt anew.
    """

    names: list[Name]
    tried: list[str]
    left: list[Untried]
    n: int
    deals: int


def names(scored: Scored, deals: int = DEALS, seed: int = 0) -> Names:
    """Name the components of a head by the labels of the queries that judge them and of the keys that these chose."""
    scored = scored.rows(some(scored.group, seed=seed))
    run = scored.of.head.run
    query, left = labels(run, "q", scored.query, scored.group)
    key, left_keys = labels(run, "k", scored.key, scored.group)
    agreeing = list(pairs(query, key))
    over = [Untried(_told("agreement", q, k), f"one of more than {MOST_PAIRS}") for q, k, _ in agreeing[MOST_PAIRS:]]
    sides: list[tuple[Kind, Label, Label, Trial]] = [
        *[("query", label, label, Trial("query", label.code, label.code)) for label in query],
        *[("key", label, label, Trial("key", label.code, label.code)) for label in key],
        *[("agreement", q, k, trial) for q, k, trial in agreeing[:MOST_PAIRS]],
    ]
    found = explained(scored.x, scored.y, [trial for *_, trial in sides], scored.group, deals, seed)
    told = [
        _name(j, [(kind, q, k) for kind, q, k, _ in sides], found.share[:, j], found.p_value[:, j], scored)
        for j in range(scored.x.shape[1])
    ]
    return Names(told, [_told(*side[:3]) for side in sides], [*left, *left_keys, *over], len(scored), deals)


def _name(j: int, sides: list[tuple[Kind, Label, Label]], share: np.ndarray, p: np.ndarray, scored: Scored) -> Name:
    def best(at: int | None) -> Best | None:
        return None if at is None else Best(_told(*sides[at]), sides[at][0], float(share[at]), float(p[at]))

    leading = {kind: _leading(kind, sides, share) for kind in ("query", "key", "agreement")}
    each = {kind: best(at) for kind, at in leading.items()}
    tried = [found for at in np.argsort(-share, kind="stable").tolist() if (found := best(at))]
    first = _first(leading, share, p)
    if first is None:
        return Name(j, UNNAMED, False, False, None, None, **each, high=[], low=[], labels=tried)
    alone = _of_a_side(first, sides)
    second = _second(alone, sides, share)
    named = bool(share[first] >= EXPLAINS and p[first] <= LEVEL)
    mixed = named and second is not None and bool(share[second] >= AS_WELL * share[alone] and p[second] <= LEVEL)
    kind, q, k = sides[first]
    high, low = _ends(k, scored.y[:, j]) if kind == "key" else _ends(q, scored.x[:, j])
    word = _word(*sides[first])
    if q.kind == "text" and q.n_values > 2 * SHOWN and _is_token(q.name):
        word = f"{word}: {_quoted(high)} against {_quoted(low)}"
    if mixed:
        word = "mixed: " + " and ".join(f"{_stem(at, sides)} {number(share[at], 2)}" for at in (alone, second))
    return Name(
        j, word if named else UNNAMED, named, mixed, best(first), best(second), **each, high=high, low=low, labels=tried
    )


def _leading(kind: Kind, sides: list[tuple[Kind, Label, Label]], share: np.ndarray) -> int | None:
    """The trial of a kind that explains most, or one of fewer values that explains about as much of the same."""
    there = [i for i, side in enumerate(sides) if side[0] == kind]
    if not there:
        return None
    top = max(there, key=lambda i: share[i])
    coarse = [
        i
        for i in there
        if share[i] >= COARSER * share[top] > 0
        and sides[i][1].n_values < sides[top][1].n_values
        and _nested(sides[top], sides[i])
    ]
    return min(coarse, key=lambda i: sides[i][1].n_values) if coarse else top


def _first(leading: dict[str, int | None], share: np.ndarray, p: np.ndarray) -> int | None:
    """The agreement where it explains about as much as either side, which it says more than; else the better side."""
    there = [at for kind in ("query", "key") if (at := leading[kind]) is not None]
    side, both = max(there, key=lambda i: share[i], default=None), leading["agreement"]
    clear = both is not None and share[both] >= EXPLAINS and p[both] <= LEVEL
    return both if clear and (side is None or share[both] >= AGREES * share[side]) else side


def _of_a_side(first: int, sides: list[tuple[Kind, Label, Label]]) -> int:
    """The trial of the query's label alone, of an agreement: labels are set beside each other on one side."""
    kind, q, _ = sides[first]
    return first if kind != "agreement" else next(i for i, s in enumerate(sides) if s[0] == "query" and s[1] is q)


def _second(first: int, sides: list[tuple[Kind, Label, Label]], share: np.ndarray) -> int | None:
    """The trial of the same kind that explains most beside the first, and is no finer or coarser way of saying it."""
    own = sides[first]
    like = [i for i, side in enumerate(sides) if side[0] == own[0] and i != first]
    there = [i for i in like if not _nested(own, sides[i]) and not _nested(sides[i], own)]
    return max(there, key=lambda i: share[i], default=None)


def _nested(fine: tuple[Kind, Label, Label], coarse: tuple[Kind, Label, Label]) -> bool:
    return fine[1].refines(coarse[1]) and fine[2].refines(coarse[2])


def _ends(label: Label, score: np.ndarray) -> tuple[list[str], list[str]]:
    """The values whose rows score highest and lowest on average, of those that stand twice."""
    there = label.code >= 0
    many = np.bincount(label.code[there], minlength=label.n_values)
    mean = np.bincount(label.code[there], score[there], label.n_values) / np.maximum(many, 1)
    at = np.flatnonzero(many > 1)
    order = at[np.argsort(mean[at], kind="stable")]
    shown = min(SHOWN, len(order) // 2)
    first = np.unique(label.code, return_index=True)
    row = dict(zip(first[0].tolist(), first[1].tolist(), strict=True))
    value = [str(label.values[row[i]]) for i in order.tolist()]
    return value[::-1][:shown], value[:shown]


def _told(kind: Kind, q: Label, k: Label) -> str:
    """A trial as it is listed: q.queried_order = k.order_id."""
    return {"query": f"q.{q.name}", "key": f"k.{k.name}", "agreement": f"q.{q.name} = k.{k.name}"}[kind]


def _word(kind: Kind, q: Label, k: Label) -> str:
    """A trial as a name: order (queried_order = order_id)."""
    if kind != "agreement":
        return f"{q.name} of the {'query' if kind == 'query' else 'key'}"
    return f"{_common(q, k)} ({q.name} = {k.name})"


def _stem(at: int, sides: list[tuple[Kind, Label, Label]]) -> str:
    """A label of one side in a word: what it has in common with a label of the other that it can agree with."""
    kind, q, k = sides[at]
    own = 1 if kind == "query" else 2
    agreeing = [s for s in sides if s[0] == "agreement" and s[own] is sides[at][own]]
    return _common(*agreeing[0][1:]) if len(agreeing) == 1 else (q if kind == "query" else k).name


def _common(q: Label, k: Label) -> str:
    return "_".join(w for w in q.name.split("_") if w in k.name.split("_")) or k.name


def _is_token(name: str) -> bool:
    return name.split("_")[0] in ("token", "text")


def _quoted(values: list[str]) -> str:
    return ", ".join(f"‘{visible(v)}’" for v in values)  # noqa: RUF001
