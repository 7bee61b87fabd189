"""An overview of a store: a row a run, and what there is of everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

import polars as pl

from qkstore.contrast import Contrast
from qkstore.contrast.builtin import features
from qkstore.errors import QKStoreError
from qkstore.run import Run
from qkstore.run.task import task
from qkstore.store.store import Store
from qkstore.text import visible

T = TypeVar("T")
MOST_TOKENS = 3  # that are shown of a run's queries

# of toy runs, as manifests have them; a user's own task may begin with the same word
TOY_TASKS = ("toy discrete", "toy continuous")


@dataclass(frozen=True)
class Overview:
    """What a store holds; totals are over all runs.

    runs: one row for each readable run. starts: the runs to begin with, without toy runs (n_toys of them). damaged: one
    error for each file that is no run.
    """

    runs: pl.DataFrame
    starts: list[str]
    n_toys: int
    damaged: list[QKStoreError]
    models: list[str]
    n_prompts: int
    n_heads: int
    n_vectors: int
    n_saved: int


def overview(store: Store) -> Overview:
    """What the runs say of themselves, and how many contrasts are saved in the catalogue."""
    saved, runs, rows, damaged = store.catalog.contrasts(), list[Run](), list[tuple](), list[QKStoreError]()
    for found in store.each():
        if not isinstance(found, Run):
            damaged.append(found)
            continue
        runs.append(found)
        try:
            rows.append(_row(found, saved))
        except QKStoreError as error:  # it opens, and its labels cannot be read
            damaged.append(error)
    others = [run.name for run in runs if run.task not in TOY_TASKS]
    schema = {
        "run": pl.String,
        "model": pl.String,
        "task": pl.String,
        "prompts": pl.Int64,
        "answers": pl.String,
        "query": pl.String,
        "layers": pl.Int64,
        "heads": pl.Int64,
        "d_head": pl.Int64,
        "splits": pl.String,
        "contrasts": pl.String,
        "created": pl.Datetime,
    }
    return Overview(
        pl.DataFrame(rows, schema=schema, orient="row"),
        others,
        len(runs) - len(others),
        damaged,
        sorted({r.model for r in runs}),
        sum(r.n_prompts for r in runs),
        sum(len(r.layers) * r.n_heads for r in runs),
        sum(len(r.layers) * (r.n_heads * r.n_queries + r.n_kv_heads * r.n_keys) for r in runs),
        len(saved),
    )


def _row(run: Run, saved: list[Contrast]) -> tuple:
    return (
        run.name,
        run.model,
        run.task,
        run.n_prompts,
        answers(run),
        query_tokens(run),
        len(run.layers),
        run.n_heads,
        run.d_head,
        ", ".join(run.splits),
        ", ".join(features(run, saved)),
        run.created,
    )


def once(make: Callable[[Run], T]) -> Callable[[Run], T]:
    """`make`, whose result for a run is kept as long as the run is open: its file never changes."""
    known: WeakKeyDictionary[Run, T] = WeakKeyDictionary()

    @wraps(make)
    def made(run: Run) -> T:
        if run not in known:
            known[run] = make(run)
        return known[run]

    return made


@once
def answers(run: Run) -> str:
    """How the model does on the run's own task, such as 'answers 25 %, chance 11 %'; '' where the run does not say."""
    found = task(run)
    return found.short if found else ""


@once
def query_tokens(run: Run) -> str:
    """The texts of the tokens whose queries were stored.

    The prompts of a template have one, such as ↵↵ at the end of a chat's header.
    """
    texts = run.values("token", "q", MOST_TOKENS + 1)
    return ", ".join(map(visible, texts[:MOST_TOKENS])) + (", …" if len(texts) > MOST_TOKENS else "")
