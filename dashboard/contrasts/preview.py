"""What a draft selects: counts, how it reads, what its check finds, and its pairs in their prompts."""

from __future__ import annotations

import streamlit as st

from dashboard import results, shell, state
from dashboard.contrasts import draft as drafts
from dashboard.state import View
from dashboard.text import line, plain, tokens
from qkstore.contrast import Contrast, label_choices
from qkstore.contrast.example import Example
from qkstore.errors import QKStoreError
from qkstore.run import Run
from qkstore.text import split_name, visible

GOOD = "good-preview"  # (what it started from, the last draft whose preview worked)
EACH = 2  # pairs of a side at a time
LONGEST = 60  # tokens of a prompt that are shown
ANY = "any"
ORDERS = {
    "random": "at random",
    "logit": "highest logit",
    "-logit": "lowest logit",
    "attention": "highest attention",
    "-attention": "lowest attention",
}


def preview(view: View, base: Contrast, draft: Contrast | None, split: str | None) -> None:
    """Counts, sentence, findings and example pairs of the draft; of the last good one while the draft is broken."""
    st.subheader("Preview", anchor=False)
    if said := st.session_state.pop("saved", None):
        st.success(plain(said))
    about, (of, good) = drafts.about(base), st.session_state.get(GOOD, (None, None))
    if draft is not None:
        try:
            _pairs(view.run, draft, split, sentence=draft != base)
            st.session_state[GOOD] = (about, draft)
            return
        except QKStoreError as error:
            st.error(shell.told(error))
    if of == about:
        line("The last preview that worked:")
        _pairs(view.run, good, split)


def _pairs(run: Run, draft: Contrast, split: str | None, sentence: bool = True) -> None:
    counts = results.counts(run, draft, split)
    if sentence:
        line(draft.sentence(counts), "sentence")
    for finding in results.findings(run, draft, split):
        (st.warning if finding.warns else st.info)(plain(finding.text))
    head = _head(run)
    by, only = _choices(run, head)
    skip = _skip()
    found = results.examples(run, draft, split, EACH, skip=skip, only=only, by=by and (*head, by))
    line(f"From the {split_name(split)} split: query red, positive key blue, negative key orange and dashed")
    if not found:
        st.info("No pair is of that label: choose another.")
        return
    for example in found:
        _example(example)
    st.button("Next", on_click=state.put, kwargs={"skip": skip + EACH}, disabled=max(e.of for e in found) <= EACH)


def _example(example: Example) -> None:
    side = "positive" if example.sign > 0 else "negative"
    value = "" if example.value is None else f", {example.value:.3g}"
    line(
        f"{side} {example.number:,} of {example.of:,}: query {example.query.token!r} with key {example.key.token!r}"
        + ("" if example.same_prompt else ", from two prompts")
        + value
    )
    query, key = {example.query.index: "query"}, {example.key.index: side}
    if example.same_prompt:
        st.html(tokens(example.query.texts, marks=query | key, most=LONGEST))
    else:
        each = LONGEST // 2
        st.html(tokens(example.query.texts, marks=query, most=each) + tokens(example.key.texts, marks=key, most=each))


def _head(run: Run) -> tuple[int, int] | None:
    """The head that the address names, if the run has it."""
    asked = [st.query_params.get(name, "") for name in ("layer", "head")]
    layers, heads = {str(layer): layer for layer in run.layers}, {str(head): head for head in range(run.n_heads)}
    return (layers[asked[0]], heads[asked[1]]) if asked[0] in layers and asked[1] in heads else None


def _choices(run: Run, head: tuple[int, int] | None) -> tuple[str | None, tuple | None]:
    """Which pairs come first, where a head is chosen, and of which label; each choice starts from the first pair."""
    queries, keys = label_choices(run)
    labels = [ANY, *(f"k.{name}" for name in keys), *(f"q.{name}" for name in queries)]
    first, second, third = st.columns(3, vertical_alignment="bottom")
    again = lambda: state.put(skip=None)  # noqa: E731
    by = "random"
    if head:
        with first:
            title = f"First, of L{head[0]} H{head[1]}"
            by = state.select(title, "by", list(ORDERS), "random", shown=ORDERS.__getitem__, changed=again)
    else:
        first.caption("Choose a head on Heads to see its highest logits first.")
    with second:
        fresh = lambda: state.put(skip=None, value=None)  # noqa: E731
        label = state.select("Only pairs of", "label", labels, ANY, shown=_label, changed=fresh)
    if label == ANY:
        return (None if by == "random" else by), None
    values = results.values(run)[label[0], label[2:]]
    if not values:
        return (None if by == "random" else by), None
    with third:
        value = state.select("Value", "value", values, values[0], changed=again)
    return (None if by == "random" else by), (label[0], label[2:], value)


def _label(name: str) -> str:
    return "any label" if name == ANY else visible(f"{'key' if name[0] == 'k' else 'query'} {name[2:]}")


def _skip() -> int:
    """How many pairs of each side come before those shown."""
    asked = st.query_params.get("skip", "0")
    return int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else 0
