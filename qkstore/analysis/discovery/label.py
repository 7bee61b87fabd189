"""Which label columns of queries and keys can match: types checked, values that overlap, a reason for each refusal."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from qkstore.analysis.discovery.match import Match, Relation
from qkstore.analysis.head import build_split, judge_split
from qkstore.contrast import Contrast, builtin
from qkstore.errors import ContrastError, near
from qkstore.run import Run
from qkstore.run.run import Side
from qkstore.run.schema import quoted
from qkstore.run.shape import ANSWERS

MOST = 40  # label pairs that are tried
MOST_NAMED = 1000  # of which one may be asked for by its name
PLACES = {"prompt_id", "span", "span_last", "role", "id", "split", "variant", "counterfactual_id", "answer"}
ROWS = {"query_row", "key_row"}
TWINS = {"token": "token_id", "text_before": "token_before", "text_after": "token_after"}  # the same in other words
OF_TEXT = ("token_id", "token_before", "token_after", "pos", "occurred_before", "word_start", "punctuation")
TYPES = (Match("pos", "pos", "before"), Match("token_id", "token_id"), Match("token_id", "token_before"))  # known
COPIES = ("counterfactual", "reflexive")  # variants of prompts that are base prompts but for a word
WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
ALL_DIFFERENT = 20  # rows from which labels that never repeat are names of rows


@dataclass(frozen=True)
class Label:
    """A label column of one side in rows of one role. n: rows that have it; values: how many distinct ones.

    varies: prompts in which it has two values or more.
    """

    side: Side
    name: str
    kind: str
    role: str | None
    n: int
    values: int
    varies: int

    @property
    def of_text(self) -> bool:
        """Whether every run has it of its tokens, rather than of somebody's labels."""
        return self.name in OF_TEXT

    @property
    def title(self) -> str:
        return f"{self.side}.{self.name}" + (f" of {self.role}" if self.role else "")


@dataclass(frozen=True)
class Tried:
    """The matches that are tried on a run, and (what, why) of each label or match that is left out."""

    matches: tuple[Match, ...]
    refused: tuple[tuple[str, str], ...]

    @property
    def told(self) -> str:
        verb = "is" if len(self.matches) == 1 else "are"
        return f"{self.pairs} {verb} tried, {len(self.refused):,} labels or pairs are left out"

    @property
    def pairs(self) -> str:
        """How many: 1 label pair, 13 label pairs."""
        return "1 label pair" if len(self.matches) == 1 else f"{len(self.matches):,} label pairs"


def tried(run: Run, labels: Collection[str] = (), most: int = MOST) -> Tried:
    """The matches of every pair of labels that can match, the likeliest first, `most` at most.

    labels: only pairs of these columns. Raises ContrastError for a column that the run does not have.
    """
    for name in labels:
        if name not in {*run.columns["q"], *run.columns["k"]} - PLACES - ROWS:
            known = sorted({*run.columns["q"], *run.columns["k"]} - PLACES - ROWS)
            raise ContrastError(f"run {run.name!r} has no label {name!r}; {near(name, known)}")
    refused: list[tuple[str, str]] = []
    variant = _variant(run)
    sides = [_usable(run, side, variant, labels, refused) for side in ("q", "k")]
    known = {c.positive: c.name for c in reversed(builtin.contrasts(run)) if c.positive}
    found = [m for q in sides[0] for k in sides[1] for m in _matches(run, q, k, variant, refused)]
    found = [_beyond(replace(m, known=known.get(m.words, "")), known) for m in found]
    found.sort(key=lambda m: (not m.known, m.relation != "equal", m.query != f"queried_{m.key}", m.key in OF_TEXT))
    refused += [(m.told, f"{most:,} pairs are tried at most, the likeliest first") for m in found[most:]]
    return Tried(tuple(found[:most]), tuple(refused))


def _beyond(match: Match, known: Collection[str]) -> Match:
    """A match of a text's own columns without the keys that known head types select, so that it says what is new.

    known: what the contrasts that can be asked of the run say of positive keys.
    """
    types = [m.negative for m in TYPES if m.words in known]
    if match.type or match.query not in OF_TEXT or not types:
        return match
    if (match.query, match.key) == ("token_before", "token_after"):
        types.append("k.pos < q.pos - 2")  # what follows the token before that is the token before, whatever it says
    return replace(match, between=(*match.between, *types), beyond=True)


def _variant(run: Run) -> str | None:
    """The variant of prompts that are looked at, where there are several: that of most judged prompts, no copies.

    None, for all of them, where no variant is built on and judged, as of toy runs.
    """
    names = run.values("variant", "q")
    if len(names) < 2:
        return None
    split = judge_split(run)
    at = "WHERE split = ?" if split else ""
    counted = run.table(f"SELECT variant, count(*) AS n FROM q {at} GROUP BY ALL", [split] if split else [])
    rows = [row for row in counted.to_pylist() if row["variant"] not in COPIES]
    if built := build_split(run):
        there = run.table("SELECT DISTINCT variant FROM q WHERE split = ?", [built])["variant"].to_pylist()
        rows = [row for row in rows if row["variant"] in there]
    return max(rows, key=lambda row: (row["n"], row["variant"]))["variant"] if rows else None


def _usable(
    run: Run, side: Side, variant: str | None, only: Collection[str], refused: list[tuple[str, str]]
) -> list[Label]:
    """The labels of one side that may match, by role."""
    found = []
    for name, kind in run.types[side].items():
        if name in PLACES | ROWS or (only and name not in only):
            continue
        if why := _never(run, side, name, kind):
            refused.append((f"{side}.{name}", why))
            continue
        parts = _counted(run, side, name, kind, variant)
        if not parts:
            refused.append((f"{side}.{name}", f"no {'query' if side == 'q' else 'key'} has it"))
        for label in parts:
            if why := _unfit(label):
                refused.append((label.title, why))
            else:
                found.append(label)
    return found


def _never(run: Run, side: Side, name: str, kind: str) -> str:
    """Why a column is no label to match, whatever its values are."""
    if name in ANSWERS:
        return "it is what the model answers"
    if TWINS.get(name) in run.columns[side]:
        return f"it says what {TWINS[name]} says"
    if kind not in (*WHOLE, "VARCHAR", "BOOLEAN"):
        return f"its type is {kind}: text, whole numbers and true and false can match"
    return ""


def _unfit(label: Label) -> str:
    """Why a label's values tell nothing."""
    if label.values < 2:
        return "it has one value"
    if label.values == label.n >= ALL_DIFFERENT:
        return f"its {label.n:,} values are all different"
    if label.side == "k" and not label.varies:
        return "all keys of a prompt have the same value"
    return ""


def _counted(run: Run, side: Side, name: str, kind: str, variant: str | None) -> list[Label]:
    """A column by role of its rows; of a text's own columns all rows together."""
    column, role = quoted(name), "NULL" if name in OF_TEXT else "role"
    of = f"{column} IS NOT NULL" + (" AND span_last IS NOT FALSE" if role == "role" else "")
    of, given = (f"{of} AND variant = ?", [variant]) if variant else (of, [])
    sql = (
        f"SELECT role, sum(n) AS n, any_value(total) AS total, sum((different > 1)::INT) AS varies FROM ("
        f"SELECT {role} AS role, count(*) AS n, count(DISTINCT {column}) AS different FROM {side} "
        f"WHERE {of} GROUP BY {role}, prompt_id) JOIN (SELECT {role} AS of, count(DISTINCT {column}) AS total "
        f"FROM {side} WHERE {of} GROUP BY {role}) ON role IS NOT DISTINCT FROM of GROUP BY role ORDER BY role"
    )
    return [
        Label(side, name, kind, row["role"], int(row["n"]), int(row["total"]), int(row["varies"]))
        for row in run.table(sql, given * 2).to_pylist()
    ]


def _matches(run: Run, q: Label, k: Label, variant: str | None, refused: list[tuple[str, str]]) -> Iterator[Match]:
    """The relations that a query's label and a key's can have, those without pairs on both sides left to the sweep."""
    relations = _relations(q, k)
    if not relations:
        return
    conditions = _conditions(run, q, k, variant)
    if "equal" in relations and not _shared(run, q, k):
        refused.append((f"k.{k.name} = q.{q.name}", "they have no value in common"))
        return
    for relation in relations:
        yield Match(q.name, k.name, relation, *conditions, role=k.role or "", asked=q.role or "")


def _relations(q: Label, k: Label) -> tuple[Relation, ...]:
    """Text matches text, a whole number a whole number, a place only a place, true and false only themselves."""
    if q.of_text != k.of_text:
        return ()
    if "pos" in (q.name, k.name):
        return ("before", "after", "two-before") if q.name == k.name else ()
    if "BOOLEAN" in (q.kind, k.kind):
        return ("equal",) if q.name == k.name else ()
    if "VARCHAR" in (q.kind, k.kind) or q.of_text:
        return ("equal",) if (q.kind == "VARCHAR") == (k.kind == "VARCHAR") else ()
    return ("equal", "below", "above", "before", "after")


def _conditions(
    run: Run, q: Label, k: Label, variant: str | None
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Which queries, which keys, and what must hold between them."""
    of_variant = [f"variant = {_text(variant)}"] if variant else []
    sides = []
    for label in (q, k):
        of_role = [f"role = {_text(label.role)}", "span_last"] if label.role else []
        sides.append(tuple(f"{label.side}.{condition}" for condition in (*of_variant, *of_role)))
    causal = all(layer.causal for layer in run.layers.values())
    between = ("k.pos > 0", "k.pos < q.pos" if causal else "k.pos <> q.pos") if q.of_text else ()
    if q.name == "token_id" and k.name in ("token_id", "token_before") and "occurred_before" in run.columns["q"]:
        between += ("q.occurred_before",)  # no other query has such a key
    return sides[0], sides[1], between  # the first token is left out, as many heads rest there; so is the query's own


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _shared(run: Run, q: Label, k: Label) -> int:
    """How many values both have."""
    sides = []
    given: list[str] = []
    for label in (q, k):
        sides.append(
            f"SELECT DISTINCT {quoted(label.name)} FROM {label.side}" + (" WHERE role = ?" if label.role else "")
        )
        given += [label.role] if label.role else []
    found = run.table(f"SELECT count(*) AS n FROM ({sides[0]} INTERSECT {sides[1]}) AS shared", given)
    return int(found["n"][0].as_py())


def contrast(run: Run, name: str) -> Contrast | None:
    """The contrast that a match of this name makes on a run, saved or not; None of a name that no match has."""
    if not name.startswith(builtin.FOUND):
        return None
    own, built, judged = tried(run, most=MOST_NAMED).matches, build_split(run), judge_split(run)
    matches = [*own, *(replace(m, apart=True) for m in own if judged != built)]
    return next((m.contrast(judged) for m in matches if m.name == name), None)
