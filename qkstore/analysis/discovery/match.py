"""A match: a relation between a label of queries and a label of keys, and the contrasts that it makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qkstore.contrast import Contrast
from qkstore.contrast.builtin import FOUND
from qkstore.contrast.known import KNOWN
from qkstore.run.schema import quoted

Relation = Literal["equal", "below", "above", "before", "after", "two-before"]
AUTHOR = "qkstore discover"
WORDS: dict[Relation, str] = {
    "equal": "k.{key} = q.{query}",
    "below": "k.{key} < q.{query}",
    "above": "k.{key} > q.{query}",
    "before": "k.{key} = q.{query} - 1",
    "after": "k.{key} = q.{query} + 1",
    "two-before": "k.{key} = q.{query} - 2",
}
OTHERWISE: dict[Relation, str] = {
    "equal": "k.{key} <> q.{query}",
    "below": "k.{key} >= q.{query}",
    "above": "k.{key} <= q.{query}",
    "before": "k.{key} <> q.{query} - 1",
    "after": "k.{key} <> q.{query} + 1",
    "two-before": "k.{key} <> q.{query} - 2",
}
USUAL = "answer_slot"  # the role of queries that goes without saying
OF_TYPES = {contrast.name for contrast in KNOWN}  # head types that need no labels
OWN = "k.prompt_id = q.prompt_id"


@dataclass(frozen=True)
class Match:
    """Keys whose label `key` stands in a relation to the query's label `query`, against the other keys of a prompt.

    q_where, k_where: which queries and keys, each condition with its alias; asked, role: their roles. between:
    conditions on both, such as that the key comes first. apart: for labels that come together in each prompt, so that
    its own keys cannot tell which of them a head goes by: ΔC is built on keys of the next prompt, where they come
    together by chance alone. also: other matches that no pairs tell from this one. known: the built-in contrast that
    says the same of positive keys. beyond: keys that a known head type selects are left out, as `between` says.
    """

    query: str
    key: str
    relation: Relation = "equal"
    q_where: tuple[str, ...] = ()
    k_where: tuple[str, ...] = ()
    between: tuple[str, ...] = ()
    role: str = ""
    asked: str = ""
    apart: bool = False
    also: tuple[str, ...] = ()
    known: str = ""
    beyond: bool = False

    @property
    def words(self) -> str:
        """k.order_id = q.queried_order."""
        return WORDS[self.relation].format(key=self.key, query=self.query)

    @property
    def told(self) -> str:
        """The same, with the role of the keys where one is chosen, its known name, and what comes to the same pairs."""
        role = f" ({self.role} keys)" if self.role else ""
        known = f"{self.known}: " if self.known else ""
        also = f", the same pairs as {', '.join(self.also)}" if self.also else ""
        beyond = " beyond known types" if self.beyond else ""
        return f"{known}{self.words}{role}{beyond}{also}"

    @property
    def type(self) -> str:
        """The name of the known head type that it is; empty for all else."""
        return self.known if self.known in OF_TYPES else ""

    @property
    def name(self) -> str:
        """What it is saved as: found-order_id-queried_order-box-apart, of its labels, their relation, and the roles."""
        relation = "" if self.relation == "equal" else self.relation
        asked = "" if self.asked == USUAL else self.asked
        parts = (self.key, relation, self.query, self.role, asked)
        return FOUND + "-".join([*filter(None, parts), *["apart"] * self.apart, *["beyond"] * self.beyond])

    @property
    def positive(self) -> str:
        return self._sql(WORDS)

    @property
    def negative(self) -> str:
        return self._sql(OTHERWISE)

    def _sql(self, words: dict[Relation, str]) -> str:
        return words[self.relation].format(key=_name(self.key), query=_name(self.query))

    def contrast(self, judged: str | None = None) -> Contrast:
        """The contrast that is saved: of each query's own prompt, or with `apart` of the next one where ΔC is built.

        Queries are centred, as in the test, and each counts the same. judged: the split whose pairs are of the query's
        own prompt in any case, for swaps.
        """
        described = f"Found by discovery: keys with {self.told}."
        kind = {"weighting": "query", "centring": "queries", "description": described, "author": AUTHOR}
        if not self.apart:
            where = " and ".join([OWN, *self.q_where, *self.k_where, *self.between])
            return Contrast(self.name, where, self.positive, self.negative, **kind)
        assert judged, "a run without a test split has no prompts apart"
        parts = [self._elsewhere(f"split <> '{judged}'"), self._own(f"q.split = '{judged}'")]
        return Contrast(self.name, pairs="\nUNION ALL\n".join(parts), **kind)

    def judged(self, split: str | None) -> Contrast:
        """The contrast whose pairs judge: as the one that ΔC is built on, with `apart` of the split's next prompts."""
        if not self.apart:
            return self.contrast()
        return Contrast(f"{self.name}-judged", pairs=self._elsewhere(f"split = '{split}'"), weighting="query")

    @property
    def _sign(self) -> str:
        return f"CASE WHEN {self.positive} THEN 1 ELSE -1 END AS sign"

    def _own(self, of: str) -> str:
        where = " AND ".join([of, OWN, *self.q_where, *self.k_where, *self.between, *self._there])
        return f"SELECT q.query_row, k.key_row, {self._sign}\nFROM q, k WHERE {where}"

    @property
    def _there(self) -> tuple[str, str]:
        """That both labels have a value: a pair without one has no sign."""
        return f"q.{_name(self.query)} IS NOT NULL", f"k.{_name(self.key)} IS NOT NULL"

    def _elsewhere(self, of: str) -> str:
        """Each query with the keys of the next prompt, where one of them has what it looks for."""
        asked, there = self._there
        place = "dense_rank() OVER (ORDER BY prompt_id) AS place"
        q = f"SELECT *, {place} FROM q WHERE {' AND '.join([of, *map(_bare, (*self.q_where, asked))])}"
        k = f"SELECT *, {place} FROM k WHERE {' AND '.join([of, *map(_bare, (*self.k_where, there))])}"
        held = f"SELECT DISTINCT place, {_name(self.key)} AS held FROM ({k}) AS own"
        found = WORDS[self.relation].replace("k.{key}", "h.held").format(query=_name(self.query))
        once = self.relation not in ("below", "above")
        return (
            f"SELECT q.query_row, k.key_row, {self._sign}\n"
            f"FROM ({q}) AS q\n"
            f"JOIN ({k}) AS k ON k.place = q.place + 1 AND k.prompt_id <> q.prompt_id"
            + (f"\nJOIN ({held}) AS h ON h.place = q.place + 1 AND {found}" if once else "")
        )

    def to_dict(self) -> dict:
        return vars(self) | {"name": self.name, "told": self.told}

    @classmethod
    def of(cls, row: dict) -> Match:
        """From to_dict, also after a way through JSON, which makes lists of tuples."""
        fields = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
        return cls(**{name: fields[name] for name in cls.__dataclass_fields__})


def _name(column: str) -> str:
    """A column's name as SQL reads it, without quotes where it needs none."""
    return column if column.isidentifier() and column.isascii() and column == column.lower() else quoted(column)


def _bare(condition: str) -> str:
    """A condition on one side without its alias."""
    return condition.replace("q.", "", 1) if condition.startswith("q.") else condition.replace("k.", "", 1)
