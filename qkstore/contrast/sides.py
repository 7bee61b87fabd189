"""The queries of a contrast's two sides: how many have keys of one sign only, and which labels tell them apart."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from qkstore.contrast.contrast import ALWAYS, Contrast
from qkstore.run import Run
from qkstore.sql import worker

MANY = 0.05  # of the queries: from here on, if they differ by their spread, the null of signs is no longer uniform
DIFFER = 0.1  # distance between the values on the two sides, beyond what dealing the queries anew gives
CLEAR = 4  # standard deviations over deals
DEALS = 100
MOST_VALUES = 3000  # of a label that is looked at
REAL = ("DOUBLE", "FLOAT")


@dataclass(frozen=True)
class Difference:
    """A label whose values differ between the queries of the two sides.

    value: where they differ most, which positive and negative of the queries with keys of that sign have. distance:
    the share of queries that would have to be others (total variation). chance: what it is on average where the
    queries are dealt anew.
    """

    label: str
    value: str
    positive: float
    negative: float
    distance: float
    chance: float

    def __str__(self) -> str:
        return (
            f"q.{self.label} is {self.value} for {self.positive:.0%} of those with a positive key "
            f"and for {self.negative:.0%} of those with a negative one"
        )


@dataclass(frozen=True)
class Sides:
    """How many queries have keys of both signs, and how many of one; labels that differ, the clearest first."""

    both: int
    alone: int
    differ: tuple[Difference, ...]

    @property
    def total(self) -> int:
        return self.both + self.alone


def sides(run: Run, contrast: Contrast, split: str | None, named: set[str], seed: int = 0) -> Sides:
    """Return the queries of a contrast's two sides, each counted once a side. named: labels that it names.

    Labels are looked at where a query has one sign only; otherwise both sides have the same queries.
    """
    pair = contrast.sql(run.columns, split)
    signs = "bool_or(sign > 0) AS plus, bool_or(sign < 0) AS minus"
    queries = f"SELECT query_row, {signs} FROM ({pair}) AS pair GROUP BY query_row"
    sql = f"SELECT plus AND minus AS two, count(*) AS n FROM ({queries}) AS side GROUP BY ALL"
    n = {row["two"]: row["n"] for row in worker.query(run.path, sql, limit_s=60).to_pylist()}
    both, alone = n.get(True, 0), n.get(False, 0)
    labels = _labels(run, named) if alone else []
    return Sides(both, alone, _differences(run, queries, labels, seed) if labels else ())


def _labels(run: Run, named: set[str]) -> list[str]:
    """Labels of queries that the contrast does not name."""
    of_queries = {*run.prompt_labels, *run.token_labels, *ALWAYS} - named
    return [c for c in run.columns["q"] if c in of_queries]


def _differences(run: Run, queries: str, labels: list[str], seed: int) -> tuple[Difference, ...]:
    named = ", ".join(f'q."{c}" AS label{i}' for i, c in enumerate(labels))
    told = " UNION ALL ".join(_counted(i, run.types["q"][c] in REAL) for i, c in enumerate(labels))
    sql = (
        f"WITH side AS MATERIALIZED (SELECT s.plus, s.minus, {named} FROM ({queries}) AS s "
        f"JOIN q ON q.query_row = s.query_row) {told}"
    )
    rows = defaultdict(list)
    for row in worker.query(run.path, sql, limit_s=60).to_pylist():
        rows[labels[row["label"]]].append(row)
    rng = np.random.default_rng(seed)
    found = [d for c in labels if c in rows and (d := difference(c, rows[c], rng))]
    return tuple(sorted(found, key=lambda d: d.chance - d.distance))


def _counted(i: int, real: bool) -> str:
    """SELECT of label i, a value, and how many queries with keys of both signs, of + alone and of − alone have it.

    Of a real number a value is a tenth of the queries.
    """
    part = f"floor(10 * percent_rank() OVER (ORDER BY label{i}))" if real else f"label{i}"
    value = "min(value)::VARCHAR || ' to ' || max(value)::VARCHAR" if real else "any_value(value)::VARCHAR"
    return (
        f"(SELECT {i} AS label, {value} AS value, count(*) FILTER (plus AND minus) AS two, "
        "count(*) FILTER (NOT minus) AS pos, count(*) FILTER (NOT plus) AS neg "
        f"FROM (SELECT {part} AS part, label{i} AS value, plus, minus FROM side) AS told "
        f"GROUP BY part QUALIFY count(*) OVER () <= {MOST_VALUES})"
    )


def difference(label: str, rows: list[dict], rng: np.random.Generator) -> Difference | None:
    """Of one label, with a row a value; None where dealing the queries anew may give as much."""
    rows = sorted(rows, key=lambda r: str(r["value"]))
    two, pos, neg = (np.array([r[name] for r in rows], np.int64) for name in ("two", "pos", "neg"))
    shares = _shares(two, pos, neg)
    distance = _distance(shares)
    if distance < DIFFER:
        return None
    deals = np.array([_distance(_shares(*_dealt(two, pos, neg, rng))) for _ in range(DEALS)])
    if distance - deals.mean() < max(DIFFER, CLEAR * deals.std()):
        return None
    most = int(np.abs(shares[0] - shares[1]).argmax())
    value = "empty" if rows[most]["value"] is None else repr(rows[most]["value"])
    return Difference(label, value, float(shares[0][most]), float(shares[1][most]), distance, float(deals.mean()))


def _shares(two: np.ndarray, pos: np.ndarray, neg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(values,) twice: the share of the queries with keys of a sign that have each value."""
    return (two + pos) / (two + pos).sum(), (two + neg) / (two + neg).sum()


def _distance(shares: tuple[np.ndarray, np.ndarray]) -> float:
    return float(np.abs(shares[0] - shares[1]).sum()) / 2


def _dealt(two: np.ndarray, pos: np.ndarray, neg: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """The same numbers of queries of each kind, with the queries dealt among the kinds."""
    left, out = two + pos + neg, []
    for kind in (pos, neg):
        drawn = rng.multivariate_hypergeometric(left, int(kind.sum()), method="marginals")
        left = left - drawn
        out.append(drawn)
    return [left, *out]
