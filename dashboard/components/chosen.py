"""One component: what it is called and why, and the prompts at both of its ends."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from dashboard import panel, results, shell, state
from dashboard.components import rows
from dashboard.components.found import Found
from dashboard.state import View
from dashboard.text import line, tokens
from qkstore.analysis.decomposition.prompts import Common, Extreme, prompts
from qkstore.text import estimate, number, p_value, percent, visible

SHOWN = 3  # prompts of an end
LONGEST = 40  # tokens of a prompt
SIDES = {"agreement": "in which both sides agree", "query": "of the query alone", "key": "of the key alone"}
BEYOND = "beyond random dimensions"
ENDS = {"high": "Highest scores", "low": "Lowest scores"}


def facts(found: Found, row: dict) -> None:
    """What is known of it, in a few lines."""
    deals, said = found.study.deals, found.study.claims[row["component"]]
    told = [
        ("Claim", said.short, said.why or "the lower ends of its correlation and of its swap are above the rule's"),
        ("Correlation", number(row["rho"], 2), f"{estimate(row['rho'], row['rho_ci'], 2)} on the judged split"),
        ("Share", percent(row["share"], 1), "of the logit gap of the choice, without the part of the mean query"),
    ]
    if row["label"]:
        how = "names it" if row["named"] else "comes nearest, and does not name it"
        how += "" if said.clear or not row["named"] else ", as labels name components of random weights, too"
        by = f"{row['label']}, {SIDES[row['side']]}, {how}; {p_value(row['p'], deals)}"
        told.append(("Explained", percent(row["explained"]), visible(by)))
    if row["moved"] is not None:
        told.append(
            ("Swap moves", percent(row["moved"], 1), f"{rows.points(row['moved_ci'])} % of attention, {BEYOND}")
        )
        told.append(
            ("and", f"{row['gap']:+.2f}", f"{estimate(row['gap'], row['gap_ci'], 2)} of the logit gap, {BEYOND}")
        )
    for end in ("high", "low"):
        if row[end]:
            told.append((f"{end.capitalize()} end", ", ".join(map(visible, row[end])), "values of that label"))
    panel.facts(told)


def ends(view: View, found: Found, component: int) -> None:
    """The prompts at both ends, with the query and the key that it chose, and the tokens frequent there."""
    told = prompts(found.scored, component, SHOWN)
    line(
        f"The query in red, the key that it attends to most in green and dotted; {told.n:,} queries of the "
        f"{told.split or 'whole'} split, one of a prompt."
    )
    for end, title in ENDS.items():
        st.subheader(title, anchor=False)
        extremes: Sequence[Extreme] = getattr(told, end)
        for one in extremes:
            _prompt(view, one)
        for side, whose in ((end, "Queries here"), (f"{end}_keys", "Keys they chose")):
            line(f"{whose}: {_common(told.tokens[side])}")


def _prompt(view: View, one: Extreme) -> None:
    """One of them, with its labels, and a link to its attribution where there is a contrast."""
    labels = panel.labelled(one.labels, list(one.labels))
    said = f"score {number(one.score, 2)}, key {number(one.key_score, 2)}, attention {percent(one.attention)}"
    positions, texts = results.texts(view.run, one.prompt_id)
    at = {pos: i for i, pos in enumerate(positions)}
    shown = tokens(texts, marks={at[one.key.pos]: "key", at[one.query.pos]: "query"}, most=LONGEST)
    note = escape(visible(f"Prompt {one.prompt_id}: {said}" + (f"; {labels}" if labels else "")), quote=True)
    st.html(f'<p class="qk-note">{note}</p>{shown}')
    if view.named:
        shell.link(
            "attributions",
            f"Attribution of prompt {one.prompt_id}",
            **state.carried() | {"run": view.run.name, "layer": view.layer, "head": view.head, "prompt": one.prompt_id},
        )


def _common(found: Sequence[Common]) -> str:
    return ", ".join(f"{visible(c.text)} {percent(c.n / c.of)} (all {percent(c.everywhere)})" for c in found[:4])
