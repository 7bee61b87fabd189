"""Naming: how much of a component's scores a label explains, and whether chance could explain as much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from qkstore.null import family_p

Kind = Literal["query", "key", "agreement"]
DEALS = 99
MOST = 5_000  # queries that names are read from: more tell a share no better, and deals of labels take long
NONE = -1  # the code of a row without a value


@dataclass(frozen=True)
class Trial:
    """A label that is tried as the name of components.

    kind: whether it is of the query, of the key that the query chose, or of both. query, key: (n,) whole numbers, the
    code of each row's value, or NONE; the other side's are not looked at where the label is of one. Codes of both are
    of one list of values, so that equal ones agree.
    """

    kind: Kind
    query: np.ndarray
    key: np.ndarray


@dataclass(frozen=True)
class Explained:
    """What each of t trials explains of each of r components.

    share: (t, r), see `alike`. p_value: (t, r), how often labels dealt anew explain any component by any trial as well
    as this one does, each in units of its own null. deals: how often they were dealt.
    """

    share: np.ndarray
    p_value: np.ndarray
    deals: int


def explained(
    x: np.ndarray, y: np.ndarray, trials: Sequence[Trial], group: np.ndarray, deals: int = DEALS, seed: int = 0
) -> Explained:
    """Return what labels explain of the scores x of n queries and y of the keys that they chose, (n, r) each.

    group: (n,) the prompts of the queries. A deal gives the labels of a prompt to another one, all labels together, so
    that what they have in common among themselves, and the queries of a prompt, stays in the null.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)

    def read(turn: np.ndarray | slice = slice(None)) -> np.ndarray:
        found = [_share(x, y, trial, group, turn) for trial in trials]
        return np.array(found).reshape(len(trials), x.shape[1])

    share, rng = read(), np.random.default_rng(seed)
    null = np.stack([read(dealt(group, rng)) for _ in range(deals)], axis=2) if deals else np.empty((*share.shape, 0))
    p = family_p(share.ravel(), null.reshape(-1, deals)) if share.size else np.ones(0)
    return Explained(share, p.reshape(share.shape), deals)


def alike(x: np.ndarray, x_code: np.ndarray, y: np.ndarray, y_code: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return (r,) how far scores x and y, (n, r) each, follow their label's values: an intraclass correlation.

    It is the correlation of x in one prompt with y in another one whose label has the same value, beyond that of any
    two prompts; at most 1. With x = y it is the share of variance between values, corrected for chance (an adjusted
    η²: 0 on average where the label says nothing, 1 where it says all). Pairs of one prompt have no part in it, so that
    what queries of a prompt share is not taken for the label's work. With x of queries and y of keys it is at most the
    geometric mean of the two shares, and reaches it where the same value moves both alike.

    x_code, y_code: (n,) codes ≥ 0, or NONE: such rows have no part, nor have values that one prompt alone has. group:
    (n,) prompts of the rows, whole numbers.
    """
    pairs = _Pairs(x_code, y_code, group)
    if not pairs.all_told:
        one = np.where(pairs.told[x_code], x_code, NONE)
        x_code, y_code = one, one if x_code is y_code else np.where(pairs.told[y_code], y_code, NONE)
        pairs = _Pairs(x_code, y_code, group)
    x_in, y_in = x_code >= 0, y_code >= 0
    if x_in.sum() < 2 or y_in.sum() < 2:
        return np.zeros(x.shape[1])
    x, y = (_centred(x, x_in), _centred(y, y_in)) if x is not y or x_code is not y_code else 2 * (_centred(x, x_in),)
    of_value = (pairs.n / x_in.sum()) @ pairs.products(x, y)
    of_any = _Pairs(np.where(x_in, 0, NONE), np.where(y_in, 0, NONE), group).products(x, y)[0]
    size = np.sqrt((x**2).sum(axis=0) / (x_in.sum() - 1) * (y**2).sum(axis=0) / (y_in.sum() - 1))
    share = np.divide(of_value - of_any, size, out=np.zeros_like(size), where=size > 0)
    return np.minimum(share, 1.0)  # where keys have a value more rarely than queries, the sizes are of others


def dealt(group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) the row whose labels each row gets: prompts in a new order, the rows of each together and in their order."""
    order = np.argsort(group, kind="stable")
    place = rng.permutation(int(group.max(initial=-1)) + 1)
    turn = np.empty(len(group), np.int64)
    turn[order] = np.argsort(place[group], kind="stable")
    return turn


def some(group: np.ndarray, most: int = MOST, seed: int = 0) -> np.ndarray:
    """Rows of whole prompts, ascending, at most `most`: all where they are few; of one prompt at least."""
    if len(group) <= most:
        return np.arange(len(group))
    prompts, at, many = np.unique(group, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(prompts))
    kept = np.zeros(len(prompts), bool)
    kept[order[: max(1, int((np.cumsum(many[order]) <= most).sum()))]] = True
    return np.flatnonzero(kept[at])


def _share(x: np.ndarray, y: np.ndarray, trial: Trial, group: np.ndarray, turn: np.ndarray | slice) -> np.ndarray:
    if trial.kind == "agreement":
        return alike(x, trial.query[turn], y, trial.key, group)
    score, code = (x, trial.query[turn]) if trial.kind == "query" else (y, trial.key[turn])
    return alike(score, code, score, code, group)


class _Pairs:
    """Pairs of a row x and a row y of one value and of different prompts, counted for each value.

    n: (values,) rows x; told: (values + 1,) bool, whether there is any pair; the last is of no value.
    """

    def __init__(self, x_code: np.ndarray, y_code: np.ndarray, group: np.ndarray):
        self.values = int(max(x_code.max(initial=NONE), y_code.max(initial=NONE))) + 1
        self.one = x_code is y_code  # of one side
        self.at = [np.flatnonzero(c >= 0) for c in ((x_code,) if self.one else (x_code, y_code))]
        self.code = [c[at] for c, at in zip((x_code, y_code), self.at, strict=False)]
        self.both: np.ndarray | None  # rows of one value on both sides
        self.n, m = (np.bincount(c, minlength=self.values).astype(float) for c in (self.code[0], self.code[-1]))
        if np.bincount(group, minlength=1).max() <= 1:  # a prompt has one row, so that no cell need be counted
            self.both: np.ndarray | None = (
                self.at[0] if self.one else np.flatnonzero((x_code >= 0) & (x_code == y_code))
            )
            inside = np.bincount(x_code[self.both], minlength=self.values)
            self.value_of = x_code[self.both]
        else:
            self.both, inside = None, self._cells(group)
        self.pairs = self.n * m - inside
        self.told = np.append(self.pairs > 0, False)

    def _cells(self, group: np.ndarray) -> np.ndarray:
        """(values,) pairs of one prompt; of each row the value of its prompt that it is in becomes its cell."""
        wide = int(group.max(initial=0)) + 1
        of = [c * wide + group[at] for c, at in zip(self.code, self.at, strict=True)]
        there, each = np.unique(np.concatenate(of), return_inverse=True)
        self.cell = np.split(each, [len(of[0])])[: len(of)]
        self.value_of = there // wide  # (cells,) of a value in a prompt
        counts = [np.bincount(c, minlength=len(there)).astype(float) for c in self.cell]
        return np.bincount(self.value_of, counts[0] * counts[-1], self.values)

    @property
    def all_told(self) -> bool:
        """Whether each value that a row has is one of some pair."""
        return all(self.told[code].all() for code in self.code)

    def products(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(values, r) the mean product over the pairs of each value; 0 where there are none."""
        sides = [(x, 0)] if self.one and x is y else [(x, 0), (y, -1)]
        rows = [scores[self.at[i]] for scores, i in sides]
        whole = [_sums(part, self.code[i], self.values) for part, (_, i) in zip(rows, sides, strict=True)]
        if self.both is not None:
            inside = _sums(x[self.both] * y[self.both], self.value_of, self.values)
        else:
            many = len(self.value_of)
            cells = [_sums(part, self.cell[i], many) for part, (_, i) in zip(rows, sides, strict=True)]
            inside = _sums(cells[0] * cells[-1], self.value_of, self.values)
        out = np.zeros_like(inside)
        return np.divide(whole[0] * whole[-1] - inside, self.pairs[:, None], out=out, where=self.pairs[:, None] > 0)


def _sums(rows: np.ndarray, code: np.ndarray, values: int) -> np.ndarray:
    """(values, r) sums of rows: (n, r) of each code."""
    from scipy.sparse import csc_array

    return csc_array((np.ones(len(rows)), code, np.arange(len(rows) + 1)), shape=(values, len(rows))) @ rows


def _centred(rows: np.ndarray, there: np.ndarray) -> np.ndarray:
    return np.where(there[:, None], rows - rows[there].mean(axis=0), 0.0)
