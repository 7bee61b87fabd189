"""Labels that can name components: the columns of a run's queries and keys, as codes, and why some cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from qkstore.components import Trial
from qkstore.components.naming import NONE
from qkstore.run import Run
from qkstore.run.run import Side

NEVER = (  # they say which row it is, or are numbers of a text that stands beside them
    "query_row key_row prompt_id id split counterfactual_id token_id token_before token_after".split()
)
OF_PROMPT = "variant answer".split()  # on keys too, where they tell the prompt and not the key
MOST_LABELS = 24  # a side
MOST_PAIRS = 40
MOST_NUMBERS = 40  # values of a number that are taken as they are; of more, tenths
RECURS = 0.5  # share of the queries whose value must stand in another prompt too


class Untried(NamedTuple):
    """A label that is not tried: its name, and why."""

    label: str
    why: str


@dataclass(frozen=True)
class Label:
    """A column of one side for n rows. kind: text, number, boolean or tenths; code: (n,), NONE without a value."""

    name: str
    kind: str
    values: pl.Series
    code: np.ndarray

    @classmethod
    def of(cls, values: pl.Series) -> Label:
        kind = "boolean" if values.dtype == pl.Boolean else "number" if values.dtype.is_numeric() else "text"
        if kind == "number" and values.n_unique() > MOST_NUMBERS:
            kind, values = "tenths", _tenths(values)
        return cls(values.name, kind, values, _codes(values))

    @property
    def n_values(self) -> int:
        return int(self.code.max(initial=NONE)) + 1

    def refines(self, other: Label) -> bool:
        """Whether its value tells the other's, wherever both have one."""
        both = (self.code >= 0) & (other.code >= 0)
        own, pairs = self.code[both], self.code[both] * (other.n_values + 1) + other.code[both]
        return len(np.unique(own)) == len(np.unique(pairs))


def labels(run: Run, side: Side, rows: np.ndarray, group: np.ndarray) -> tuple[list[Label], list[Untried]]:
    """The labels of rows: (n,) of q or k that can be tried, and those that cannot; group: (n,) prompts of the rows.

    The run's own labels stand first. Of labels that part the rows in the same way only the first is tried.
    """
    own = [*run.token_labels, *run.prompt_labels]
    never = {*NEVER, *([*OF_PROMPT, *run.prompt_labels] if side == "k" else [])}
    there = [c for c in run.columns[side] if c not in never]
    names = sorted(there, key=lambda c: c not in own)
    table = pl.DataFrame(pl.from_arrow(run.labels(side, names, rows))) if names else pl.DataFrame()
    found: list[Label] = []
    left: list[Untried] = []
    for name in names:
        label = Label.of(table[name])
        why = _why_not(label, group, found)
        left += [Untried(f"{side}.{name}", why)] if why else []
        found += [] if why else [label]
    return found, left


def pairs(query: list[Label], key: list[Label]) -> Iterator[tuple[Label, Label, Trial]]:
    """Labels of a query and of a key that can agree: of one kind, and half of either's rows have values of both."""
    for q in query:
        for k in key:
            if q.kind != k.kind or q.kind == "tenths" or (q.kind == "boolean" and q.name != k.name):
                continue
            code = _codes(pl.concat([_plain(q.values), _plain(k.values)]))
            q_code, k_code = code[: len(q.code)], code[len(q.code) :]
            common = np.intersect1d(q_code[q_code >= 0], k_code[k_code >= 0])
            if len(common) > 1 and all(np.isin(c, common).mean() >= RECURS for c in (q_code, k_code)):
                yield q, k, Trial("agreement", q_code, k_code)


def _why_not(label: Label, group: np.ndarray, found: list[Label]) -> str:
    there = label.code >= 0
    if not there.any():
        return "no value"
    if label.n_values < 2:
        return "constant"
    if _recurring(label.code[there], group[there]) < RECURS * len(label.code):
        return "all different, or nearly" if there.mean() >= RECURS else "hardly any value"
    for other in found:
        if (there == (other.code >= 0)).all() and label.refines(other) and other.refines(label):
            return f"the same as {other.name}"
    return f"one of more than {MOST_LABELS}" if len(found) == MOST_LABELS else ""


def _recurring(code: np.ndarray, group: np.ndarray) -> int:
    """Rows whose value stands in another prompt too."""
    cells = np.unique(np.stack([code, group]), axis=1)
    prompts = np.bincount(cells[0])
    return int((prompts[code] > 1).sum())


def _codes(values: pl.Series) -> np.ndarray:
    """(n,) the place of each value among the sorted values, NONE without one."""
    return (values.rank("dense").cast(pl.Int64) - 1).fill_null(NONE).to_numpy()


def _tenths(values: pl.Series) -> pl.Series:
    """Which tenth of the rows a number is among: 1 to 10, equal numbers in one."""
    rank, many = values.rank("min"), max(values.count(), 1)
    return ((rank - 1) * 10 // many + 1).cast(pl.Int64).alias(values.name)


def _plain(values: pl.Series) -> pl.Series:
    """Numbers of one type, so that those of two columns can be equal; texts and booleans as they are."""
    return (values.cast(pl.Float64) if values.dtype.is_numeric() else values).alias("")
