"""A contrast without SQL: rows of a column, a relation and values, for both sides, positive and negative pairs.

The rows are read from the predicates of the draft, and a change of one writes the predicates anew: there is one truth,
and whoever knows SQL goes on in it, and comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import streamlit as st

from dashboard import results, shell, state
from dashboard.contrasts import draft as drafts
from dashboard.text import line
from qkstore.contrast import Contrast
from qkstore.contrast.condition import RELATIONS, SAME_PROMPT, Condition, Row, column, is_column, literal, read, sql
from qkstore.errors import GuardError
from qkstore.run import Run
from qkstore.text import visible

TITLES = {
    "where": ("Where", "for all pairs"),
    "positive": ("Positive pairs", "those that share the feature"),
    "negative": ("Negative pairs", "those that do not"),
}
OWNERS = {"q": "query", "k": "key"}
Change = Callable[[list[Row]], list[Row]]


def build(run: Run, base: Contrast, texts: Mapping[str, str]) -> None:
    """The three parts as rows, and the SQL that they make."""
    for part, (title, what) in TITLES.items():
        with st.container(border=True, key=f"build-{part}"):
            st.markdown(f"**{title}**, {what}")
            _part(run, base, part, texts[part])
    with st.expander("The SQL it makes", expanded=True):
        shown = "\n".join(f"{part:<9}{visible(texts[part])}" for part in TITLES if texts[part])
        st.code(shown or "nothing yet", language="sql", wrap_lines=True)
        st.button("Go on in SQL", on_click=state.put, kwargs={"shape": "predicates"}, type="tertiary")


def _part(run: Run, base: Contrast, part: str, text: str) -> None:
    try:
        rows = read(text)
    except GuardError as error:
        st.error(shell.told(error))
        line("The rows of this part come back once its SQL is mended; see Three predicates.")
        return
    key = f"{drafts.about(base)}-{part}"
    if part == "where":
        _same_prompt(base, rows, key)
    for i, row in enumerate(rows):
        if part != "where" or row != SAME_PROMPT:
            _row(run, base, part, f"{key}-{i}", i, row)
    first = _first(run)
    st.button(
        "Add a condition",
        key=f"{key}-add",
        on_click=_change,
        args=(base, part, lambda now: [*now, first]),
        type="tertiary",
    )


def _same_prompt(base: Contrast, rows: list[Row], key: str) -> None:
    """The tick that most contrasts want."""
    key = f"{key}-same"
    st.session_state[key] = SAME_PROMPT in rows

    def change(now: list[Row]) -> list[Row]:
        others = [row for row in now if row != SAME_PROMPT]
        return [SAME_PROMPT, *others] if st.session_state[key] else others

    st.checkbox("Query and key are in the same prompt", key=key, on_change=_change, args=(base, "where", change))


def _row(run: Run, base: Contrast, part: str, key: str, i: int, row: Row) -> None:
    """One condition, and a way to take it out."""
    widths = [8, 0.6] if isinstance(row, str) else [3, 2, 3, 0.6]
    with st.container(key=f"condition-{key}"):
        *places, away = st.columns(widths, vertical_alignment="center")
    told = f"of condition {i + 1} of {TITLES[part][0]}"
    out = (base, part, lambda now: now[:i] + now[i + 1 :])
    away.button("✕", key=f"{key}-out", help=f"Take it out: {told[3:]}", type="tertiary", on_click=_change, args=out)
    if isinstance(row, str):
        places[0].code(visible(row), language="sql", wrap_lines=True)
        return

    def put(what: str, make: Callable[[], Condition]) -> dict:
        args = (base, part, lambda now: [make() if j == i else old for j, old in enumerate(now)])
        return {"label": f"{what} {told}", "label_visibility": "collapsed", "on_change": _change, "args": args}

    names, default = list(results.values(run)), _default(run, row)
    known = names if (row.side, row.column) in names else [*names, (row.side, row.column)]
    at, by = f"{key}-column", f"{key}-relation"
    st.session_state[at], st.session_state[by] = (row.side, row.column), row.relation
    moved = put("Column", lambda: _moved(run, row, *st.session_state[at]))
    places[0].selectbox(options=known, key=at, format_func=_owned, **moved)
    related = put("Relation", lambda: row.related(st.session_state[by], default))
    places[1].selectbox(options=list(RELATIONS), key=by, format_func=RELATIONS.get, **related)
    with places[2]:
        _operands(run, row, f"{key}-operand", put)


def _operands(run: Run, row: Condition, key: str, put: Callable[[str, Callable[[], Condition]], dict]) -> None:
    """What the column is compared with: values of the run, or a column of the other side."""
    if not row.operands:
        return
    values = _values(run, row)
    if row.relation in ("in", "not in"):
        st.session_state[key] = list(row.operands)
        options = [*values, *(o for o in row.operands if o not in values)]
        some = put("Values", lambda: replace(row, operands=tuple(st.session_state[key]) or row.operands))
        st.multiselect(options=options, key=key, format_func=_shown, **some)
        return
    st.session_state[key] = row.operands[0]
    options = list(dict.fromkeys([*values, *_columns(run, row), row.operands[0]]))
    one = put("Value", lambda: replace(row, operands=(st.session_state[key],)))
    st.selectbox(options=options, key=key, format_func=_shown, **one)


def _change(base: Contrast, part: str, change: Change) -> None:
    """Change the rows of one part of the draft. A callback."""
    texts = drafts.texts(base) | drafts.changes(base)
    drafts.write(base, {part: sql(change(read(texts[part])))})


def _moved(run: Run, row: Condition, side, name: str) -> Condition:
    """The row on another column, with a value of that."""
    moved = replace(row, side=side, column=name)
    if not row.operands:
        return moved
    return replace(moved, operands=(_default(run, moved),))


def _first(run: Run) -> Condition:
    """The row that a part starts with: a label of the keys, and the query's one that asks for it where there is one."""
    name = next(iter(run.token_labels), "role")
    row = Condition("k", name, "=", ("",))
    return replace(row, operands=(_default(run, row),))


def _default(run: Run, row: Condition) -> str:
    """What a column is compared with at first: the query's queried_x for the key's x, or its first value."""
    asked = [column("q", f"queried_{name}") for name in (row.column, row.column.removesuffix("_id"))]
    there = [name for name in asked if row.side == "k" and name in _columns(run, row)]
    fitting = [] if row.relation in ("in", "not in") else there
    return next(iter([*fitting, *_values(run, row)]), "''")


def _values(run: Run, row: Condition) -> list[str]:
    """The values that the run has of a row's column, as SQL."""
    return [made for value in results.values(run).get((row.side, row.column), ()) if (made := literal(value))]


def _columns(run: Run, row: Condition) -> list[str]:
    """The columns of the other side that have the type of a row's column, as SQL."""
    other, kind = ("k" if row.side == "q" else "q"), run.types[row.side].get(row.column)
    return [column(other, name) for name, its in run.types[other].items() if its == kind]


def _owned(of: tuple[str, str]) -> str:
    side, name = of
    return visible(f"{OWNERS[side]} {name}")


def _shown(operand: str) -> str:
    """An operand as a person reads it: a value as it is written, or whose column it is."""
    if is_column(operand):
        return visible(f"the {OWNERS[operand[0]]}'s {operand[2:]}")
    text = operand[1:-1].replace("''", "'") if operand.startswith("'") else operand
    return visible(text) if text.strip() else "(empty text)"
