"""A group of a head's components as a contrast: their subspace, and pairs of a query and a key that show them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qkstore.analysis.decomposition.found import HeadComponents
from qkstore.analysis.decomposition.sight import default_where
from qkstore.analysis.decomposition.swaps import draw
from qkstore.contrast import Contrast
from qkstore.contrast.space import Space
from qkstore.errors import ContrastError
from qkstore.run import Layer

DRAWN = 300  # queries of a split whose choices stand in a contrast, in a text of at most 20,000 characters
SAME = "k.prompt_id = q.prompt_id"
AGREES = re.compile(r"q\.(\w+) = k\.(\w+)")  # a label of a query and one of a key, as a name tells them


def contrast(
    of: HeadComponents, group: Sequence[int], name: str, agreement: str | None = None, seed: int = 0
) -> Contrast:
    """Return a group of components as a contrast that carries their subspace (qkstore.contrast.space.Space).

    group: their numbers. agreement: such as "q.queried_order = k.order_id", where that names all of them; the keys of a
    query's own prompt that agree are then positive, those that do not negative. Without it, the pairs are listed: of
    DRAWN queries a split, drawn by the seed, the key that gets most attention is positive, and the others of its role
    that the query could choose are negative. Raises ContrastError for an empty group, a component that is not there,
    and where no query has two keys of one role.
    """
    at = sorted(set(group))
    if not at:
        raise ContrastError("a group has no component; choose one or more")
    of.found.key_projector(at)  # refuses a component that is not there
    head = of.head
    space = Space.spanned(head.run.digest, head.layer, head.head, of.found.a_onto[:, at], of.found.b_onto[:, at])
    made = _named(of, agreement, seed) if agreement else _listed(of, seed)
    return made.replace(name=name, space=space.text, description=_told(of, at, agreement))


def common(rows: Sequence[dict]) -> str | None:
    """The agreement that names every component of a group, from the rows of a study; None where there is none."""
    labels = {
        row["label"] if row["named"] and row["side"] == "agreement" and not row["mixed"] else None for row in rows
    }
    return labels.pop() if len(labels) == 1 else None


def _told(of: HeadComponents, group: Sequence[int], agreement: str | None) -> str:
    which = f"Component {group[0]}" if len(group) == 1 else f"Components {', '.join(map(str, group))}"
    pairs = (
        f"pairs: {agreement}" if agreement else "pairs: the keys that this head chose, so that its accuracy is no news"
    )
    return f"{which} of layer {of.head.layer} head {of.head.head}, found without labels; {pairs}."


def _named(of: HeadComponents, agreement: str, seed: int) -> Contrast:
    found = AGREES.fullmatch(agreement)
    if not found:
        raise ContrastError(f"{agreement!r} is no agreement of two labels, such as q.queried_order = k.order_id")
    q, k = found.groups()
    (chosen, *_), kind = _chosen(of, seed)
    asked = of.where or default_where(of.head.run)
    parts = [SAME, *([] if asked == "true" else [f"({asked})"]), *_alike(kind)]
    if kind["role"] is None:
        parts += _seen(of.head.facts, kind)
    assert len(chosen), "a kind of key that is chosen is one that a query chose"
    return Contrast(where=" and ".join(parts), positive=f"k.{k} = q.{q}", negative=f"k.{k} <> q.{q}")


def _listed(of: HeadComponents, seed: int) -> Contrast:
    splits, kind = _chosen(of, seed)
    rows = np.concatenate(splits)
    pairs = ", ".join(f"({q}, {k})" for q, k in rows.tolist())
    queries = ", ".join(map(str, rows[:, 0].tolist()))
    parts = [SAME, f"q.query_row in ({queries})", *_alike(kind), *_seen(of.head.facts, kind)]
    return Contrast(
        where=" and ".join(parts),
        positive=f"(q.query_row, k.key_row) in ({pairs})",
        negative=f"(q.query_row, k.key_row) not in ({pairs})",
    )


def _chosen(of: HeadComponents, seed: int) -> tuple[list[np.ndarray], dict]:
    """(n, 2) query and key rows of each split, the key that gets most attention; and the role of these keys.

    All keys are of one role and place in their span: the one that is chosen most often.
    """
    sights = [of.built] if of.judged is of.built else [of.built, of.judged]
    drawn = [draw([replace(of, judged=sight)], 4 * DRAWN, seed) for sight in sights]
    kinds = [of.built.kinds[targets.original] for targets in drawn]
    values, counts = np.unique(np.concatenate(kinds), return_counts=True)
    most = values[counts.argmax()]
    rng, splits = np.random.default_rng(seed), []
    for targets, kind in zip(drawn, kinds, strict=True):
        there = np.flatnonzero(kind == most)
        at = np.sort(rng.permutation(there)[:DRAWN])
        splits.append(np.stack([targets.query[at], targets.original[at]], axis=1))
    key = next(rows[:1, 1] for rows in splits if len(rows))
    return splits, of.head.run.labels("k", ["role", "span_last"], key).to_pylist()[0]


def _alike(kind: dict) -> list[str]:
    """The conditions that a key is of that role and place in its span."""
    role, last = kind["role"], kind["span_last"]
    quoted = None if role is None else "'" + role.replace("'", "''") + "'"
    place = {True: "k.span_last", False: "not k.span_last", None: "k.span_last is null"}[last]
    return ["k.role is null" if quoted is None else f"k.role = {quoted}", *([] if quoted is None else [place])]


def _seen(facts: Layer, kind: dict) -> list[str]:
    """The conditions that a query may choose a key: it sees it, and it is neither its own token nor the first one."""
    before = "k.pos < q.pos" if facts.causal else "k.pos <> q.pos"
    away = "q.pos - k.pos" if facts.causal else "abs(q.pos - k.pos)"
    window = [] if facts.window is None else [f"{away} < {facts.window}"]
    return [before, *window, *(["k.pos > 0"] if kind["role"] is None else [])]
