"""Points that a person chose: what tells them from the others that are drawn, and a contrast that says so in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from qkstore.contrast import Contrast
from qkstore.run import Run
from qkstore.run.schema import quoted
from qkstore.text import unseen

SAME_PROMPT = "k.prompt_id = q.prompt_id"
MOST_VALUES = 12  # of one label in a rule
MOST_RULES = 3
SIDES = {"q": "queries", "k": "keys"}
ROWS = {"q": "query_row", "k": "key_row"}


@dataclass(frozen=True)
class Exact:
    """Queries or keys by their row numbers, in SQL."""

    side: Literal["q", "k"]
    rows: tuple[int, ...]

    @property
    def sql(self) -> str:
        return f"{self.side}.{ROWS[self.side]} in ({', '.join(map(str, self.rows))})"

    @property
    def unlike(self) -> str:
        """The condition that all others meet."""
        return f"not ({self.sql})"

    @property
    def sentence(self) -> str:
        return f"by row number: exactly these {len(self.rows):,} {SIDES[self.side]}"


@dataclass(frozen=True)
class Rule:
    """Values of one label that tell chosen queries or keys from the others that are drawn.

    chosen: how many were; met: how many of all `total` drawn have one of the values; both: how many chosen ones have.
    nulls: whether any drawn one has no value of this label.
    """

    side: Literal["q", "k"]
    column: str
    values: tuple
    nulls: bool
    chosen: int
    met: int
    both: int
    total: int

    @property
    def precision(self) -> float:
        """The share of those with the values that were chosen."""
        return self.both / self.met

    @property
    def recall(self) -> float:
        """The share of the chosen ones that have the values."""
        return self.both / self.chosen

    @property
    def f1(self) -> float:
        return 2 * self.both / (self.chosen + self.met)

    @property
    def sql(self) -> str:
        return f"{self._name} = {_literal(self.values[0])}" if len(self.values) == 1 else f"{self._name} in {self._in}"

    @property
    def unlike(self) -> str:
        """The condition that all others meet, those without a value too."""
        if len(self.values) == 1:
            return f"{self._name} {'is distinct from' if self.nulls else '<>'} {_literal(self.values[0])}"
        other = f"{self._name} not in {self._in}"
        return f"({self._name} is null or {other})" if self.nulls else other

    @property
    def sentence(self) -> str:
        """The rule with its counts: category is fruit: 240 of 250 chosen keys, and 3 of 6,000 others."""
        values = ", ".join(map(str, self.values))
        return (
            f"{self.column} is {values}: {self.both:,} of the {self.chosen:,} chosen {SIDES[self.side]}, "
            f"and {self.met - self.both:,} of the {self.total - self.chosen:,} others"
        )

    @property
    def _name(self) -> str:
        plain = self.column.isascii() and self.column.isidentifier()
        return f"{self.side}.{self.column if plain else quoted(self.column)}"

    @property
    def _in(self) -> str:
        return f"({', '.join(map(_literal, self.values))})"


def rules(run: Run, side: Literal["q", "k"], chosen: np.ndarray, drawn: np.ndarray) -> list[Rule]:
    """The labels that best tell chosen rows of q or k from the others drawn, by F1, at most MOST_RULES of them.

    chosen: (c,) rows, all of them among drawn: (n,). Labels of numbers with fractions are left out, and those that
    every drawn row has alike, which leave no other side; of labels that say the same, the one with the fewest values
    stands for all. None is less than half as good as the best.
    """
    names = dict.fromkeys([*run.token_labels, *run.prompt_labels, "role", "variant", "token", "pos"])
    columns = [name for name in names if name in run.columns[side]]
    told, picked = run.labels(side, columns, drawn), np.isin(drawn, chosen)
    found = [rule for name in columns if (rule := _rule(side, name, told[name], picked)) is not None]
    found.sort(key=lambda rule: (-rule.f1, len(rule.values)))  # stable: a data set's own labels come first
    best: dict[tuple[int, int], Rule] = {}
    for rule in found:
        best.setdefault((rule.met, rule.both), rule)
    return [rule for rule in best.values() if 2 * rule.f1 >= found[0].f1][:MOST_RULES]


def _rule(side: Literal["q", "k"], name: str, column: pa.ChunkedArray, picked: np.ndarray) -> Rule | None:
    """The values of one label that give the best F1 together: those of most chosen ones first."""
    if pa.types.is_floating(column.type) or pa.types.is_nested(column.type) or picked.all() or not picked.any():
        return None
    encoded = column.combine_chunks().dictionary_encode()
    number = encoded.indices.fill_null(-1).to_numpy()
    has, n = number >= 0, len(encoded.dictionary)
    met, both = np.bincount(number[has], minlength=n), np.bincount(number[has & picked], minlength=n)
    order = np.lexsort((-both, -both / np.maximum(met, 1)))[:MOST_VALUES]
    f1 = 2 * both[order].cumsum() / (picked.sum() + met[order].cumsum())
    if not len(order) or not both[order[0]]:
        return None
    kept = order[: int(f1.argmax()) + 1]
    values = sorted(encoded.dictionary.take(pa.array(kept)).to_pylist())
    total = int(met[kept].sum())
    if total == len(picked) or any(unseen(str(value)) for value in values):
        return None
    return Rule(side, name, tuple(values), not has.all(), int(picked.sum()), total, int(both[kept].sum()), len(picked))


def _literal(value: str | int | bool) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower()


def contrast(base: Contrast, query: Rule | Exact | None = None, key: Rule | Exact | None = None) -> Contrast:
    """A contrast of chosen points with the others, among the pairs of `base`.

    With keys chosen: chosen keys are positive, all others negative, for the chosen queries, or for all where none were.
    With queries alone: chosen queries are positive, all others negative.
    """
    where = base.where or SAME_PROMPT
    of = key or query
    assert of, "something was chosen"
    if key and query:
        where = f"({where})\nand {query.sql}"
    about = f"Chosen on a picture of {base.name}: {of.sentence}"
    name = f"{base.name.replace('authors/', '').replace(':', '-')}-chosen"
    return Contrast(name, where=where, positive=of.sql, negative=of.unlike, description=about[:200])
