"""Contrasts of the head types that are known: they need no labels, only the tokens' own columns and every token's key.

A query sees itself and what stands before it, so keys are those before it, in an encoder too. The first token, where a
head rests that has found nothing, is no key of the others; a query has at least two keys. Each query counts the same:
late ones have more keys, and would else be most of the negative side.
"""

from __future__ import annotations

from qkstore.contrast.contrast import Contrast
from qkstore.run import Run
from qkstore.run.sides import MADE, MADE_SINCE
from qkstore.sql import guard

AUTHOR = "qkstore"
EARLIER = "k.prompt_id = q.prompt_id and k.pos > 0 and k.pos < q.pos and q.pos > 2"

PREVIOUS = Contrast(
    name="previous-token",
    where=EARLIER,
    positive="k.pos = q.pos - 1",
    negative="k.pos < q.pos - 1",
    weighting="query",
    description="Previous token: the token before the query against the tokens before that.",
    author=AUTHOR,
)
SAME = Contrast(
    name="same-token",
    where=f"{EARLIER} and q.occurred_before",
    positive="k.token_id = q.token_id",
    negative="k.token_id <> q.token_id",
    weighting="query",
    description="Same token: earlier occurrences of the query's token against the other tokens before it.",
    author=AUTHOR,
)
INDUCTION = Contrast(
    name="induction",
    where=f"{EARLIER} and q.occurred_before",
    positive="k.token_before = q.token_id",
    negative="k.token_before <> q.token_id",
    weighting="query",
    description=(
        "Induction: the token after an earlier occurrence of the query's token against the other tokens before the "
        "query."
    ),
    author=AUTHOR,
)
FIRST = Contrast(
    name="first-token",
    where="k.prompt_id = q.prompt_id and k.pos < q.pos and q.pos > 1",
    positive="k.pos = 0",
    negative="k.pos > 0",
    weighting="query",
    description="First token, a sink of attention: the prompt's first token against the others before the query.",
    author=AUTHOR,
)
KNOWN = (PREVIOUS, SAME, INDUCTION, FIRST)
BY_NAME = {contrast.name: contrast for contrast in KNOWN}


def contrasts(run: Run) -> list[Contrast]:
    """Return those that can be asked of a run."""
    return [contrast for contrast in KNOWN if not lacking(run, contrast)]


def lacking(run: Run, contrast: Contrast) -> str | None:
    """Return what a run lacks for one of KNOWN, and what to do; None where it lacks nothing."""
    if run.n_keys < run.n_tokens:
        return (
            f"it needs a key at every token, and of {run.n_tokens:,} tokens {run.n_keys:,} have one: "
            "ingest the run with --positions all"
        )
    texts = [text for text in (contrast.where, contrast.positive, contrast.negative) if text]
    used = {column for text in texts for _, column in guard.columns_used(text)}
    for column in (name for name in MADE if name in used and name not in run.manifest.made):
        return older(run, column) or f"a label of its data set is called {column}, and stands in that column's place"
    return None


def older(run: Run, text: str) -> str | None:
    """Return that a run was made before it had a column that a text of SQL names, and what to do; None for others."""
    named = [column for column in MADE if column in text.lower()] if run.schema_version < MADE_SINCE else []
    return f"it was made before runs had the column {named[0]}: ingest it anew" if named else None
