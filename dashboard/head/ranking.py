"""The strongest pairs of a head with their prompts, the one that is chosen among them, and where it leads."""

from __future__ import annotations

import functools
from html import escape

import polars as pl
import streamlit as st

from dashboard import results, shell, state
from dashboard.head.counted import cancelled, counted
from dashboard.state import View
from dashboard.text import Mark, tokens
from qkstore.analysis.pairs import AMONG, RANKINGS, Among, Ranking, Strongest, strongest
from qkstore.errors import QKStoreError
from qkstore.run import Run
from qkstore.text import number, percent, visible

MOST, SHOWN = 50, (8, 20, 50)  # pairs that are ranked, and how many of them are listed
TITLE = "Ranking all pairs"
LONG, WHOLE = 60, 400  # tokens of a listed prompt, of the chosen one; of more, the neighbours of the marked ones
KEYS: dict[int | None, Mark] = {1: "positive", -1: "negative", None: "key"}


def ranking(view: View) -> tuple[Ranking, Among, Strongest | None]:
    """What is ranked and how, by the address, and the pairs; None where there are none, which is told then."""
    by = state.segments("Ranked by", "rank", list(RANKINGS), "logit", shown=RANKINGS.get, label_visibility="collapsed")
    among: Among = "contrast"
    if by != "moved":  # a swap moves attention from a positive key of the contrast
        among = state.segments("Of", "among", list(AMONG), "contrast", shown=AMONG.get, label_visibility="collapsed")
    try:
        return by, among, found(view, by, among)
    except QKStoreError as error:
        st.info(shell.told(error))
        return by, among, None


def found(view: View, by: Ranking, among: Among) -> Strongest:
    """The pairs, computed once for all sessions; raises what the analysis raises."""
    at = view.run, view.contrasts, view.layer, view.head
    if among == "contrast":
        return results.strongest(*at, by)
    if cancelled(TITLE):
        raise QKStoreError("Cancelled. Choose the contrast's pairs, or these again.")
    key = ("strongest", results.identity(view.run), *(c.key for c in view.contrasts), *at[2:], by)
    rank = functools.partial(strongest, *at, by, among)
    return counted(key, lambda progress: rank(progress=progress), TITLE, "Ranked the pairs of {done} of {of} queries")


def chosen(view: View, ranked: Strongest) -> dict:
    """The pair that the address names by its place in the ranking, the first by default, in its whole prompt."""
    n = len(ranked.table)
    places = list(range(1, n + 1))
    beyond = {str(i): n for i in range(n + 1, MOST + 1)}  # another ranking had more
    rows = ranked.table.to_dicts()
    place = state.select("Pair", "pair", places, 1, shown=lambda i: f"{i}: {_told(rows[i - 1])}", also=beyond)
    st.html(_excerpts(view.run, ranked.table.slice(place - 1, 1), WHOLE)[0])
    pair = rows[place - 1]
    shell.link("attributions", f"Attribution of prompt {pair['prompt_id']}", **carried(view), prompt=pair["prompt_id"])
    return pair


def _told(row: dict) -> str:
    """A pair in a few words: its tokens and its prompt."""
    return f"{visible(row['query_text'])} → {visible(row['key_text'])}, prompt {row['prompt_id']}"


def listed(view: View, ranked: Strongest) -> None:
    """The first pairs, each with its figures, its prompt and a link to the prompt's attribution."""
    shown = state.segments(
        "Show", "shown", list(SHOWN), SHOWN[0], shown=lambda n: f"First {n}", label_visibility="collapsed"
    )
    texts = _excerpts(view.run, ranked.table.head(shown), LONG)
    for place, (row, text) in enumerate(zip(ranked.table.head(shown).to_dicts(), texts, strict=True), start=1):
        with st.container(key=f"pair-{place}"):
            told, prompt, link = st.columns([1.8, 5, 1.1], vertical_alignment="center")
            with told:
                st.html(_figures(place, row))
            with prompt:
                st.html(text)
            with link:
                shell.link("attributions", f"Prompt {row['prompt_id']}", **carried(view), prompt=row["prompt_id"])


def carried(view: View) -> dict:
    return {"run": view.run.name, "contrast": view.name, "layer": view.layer, "head": view.head}


def _figures(place: int, row: dict) -> str:
    """The place of a pair and its figures, the one that it is ranked by first."""
    sign = {1: "positive", -1: "negative", None: "not of the contrast"}[row["sign"]]
    if "moved" in row:
        told = [f"moved {percent(row['moved'], 1)}", f"target {_share(row['attention'])} → {_share(row['after'])}"]
    elif "margin" in row:
        told = [
            f"attends {visible(row['key_text'])}, not {visible(row['other_text'])}",
            f"its logit is {number(row['margin'], 2)} higher",
            f"attention {_share(row['attention'])}, on the positive key {_share(row['other_attention'])}",
        ]
    else:
        told = [f"logit {number(row['logit'], 2)}", f"attention {_share(row['attention'])}, {sign}"]
    first, *rest = (escape(text, quote=True) for text in told)
    return f'<p class="qk-sentence">{place}. {first}</p>' + "".join(f'<p class="qk-note">{text}</p>' for text in rest)


def _share(attention: float | None) -> str:
    return "none" if attention is None else percent(attention, 1)


@st.cache_data(
    show_spinner=False, max_entries=64, hash_funcs={Run: results.identity, pl.DataFrame: pl.DataFrame.to_dicts}
)
def _excerpts(run: Run, rows: pl.DataFrame, most: int) -> list[str]:
    """The prompt of each pair as HTML, cut to what is around its tokens; two where the key is in another prompt."""
    told: dict[int, tuple[dict[int, int], list[str]]] = {}
    out = []
    for row in rows.to_dicts():
        marks: dict[int, dict[int, Mark]] = {row["key_prompt_id"]: {}, row["prompt_id"]: {}}
        if "other_pos" in row:
            marks.setdefault(row["other_prompt_id"], {})[row["other_pos"]] = "positive"
        marks[row["key_prompt_id"]][row["key_pos"]] = KEYS[row["sign"]]
        marks[row["prompt_id"]][row["query_pos"]] = "query"
        for prompt in marks:
            if prompt not in told:
                found = run.tokens(prompt)
                told[prompt] = {t["pos"]: i for i, t in enumerate(found)}, [t["text"] for t in found]
        own = [row["prompt_id"], *(p for p in marks if p != row["prompt_id"])]
        out.append(
            "".join(
                (f'<p class="qk-note">prompt {p}</p>' if len(own) > 1 else "")
                + tokens(told[p][1], marks={told[p][0][pos]: mark for pos, mark in marks[p].items()}, most=most)
                for p in own
            )
        )
    return out
