"""Swaps of many heads: what `intervene` says of each, by whoever does the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from qkstore.analysis.head import Contrasts
from qkstore.analysis.swaps import Side, intervene, intervene_queries
from qkstore.analysis.tasks import Place
from qkstore.errors import ContrastError, RunError
from qkstore.pool import Pool
from qkstore.run import Run

Progress = Callable[[int, int], None]  # called with (heads done, heads in all)
Features = tuple[tuple[str, Contrasts], ...]


@dataclass(frozen=True)
class Task:
    """One head; see `intervene` for the rest."""

    place: Place
    features: Features
    side: Side
    layer: int
    head: int
    n_random: int
    most: int
    seed: int


@dataclass(frozen=True)
class HeadSwap:
    """What swaps of one head do, as `Intervention.to_dict` says it; or why there is nothing to swap."""

    layer: int
    head: int
    swapped: dict | None
    why: str = ""

    def to_dict(self) -> dict:
        return {"layer": self.layer, "head": self.head, "why": self.why or None, **(self.swapped or {})}


def swap(task: Task) -> HeadSwap:
    """In a worker: the swaps of one head."""
    ask = intervene if task.side == "keys" else intervene_queries
    try:
        made = ask(task.place.run(), dict(task.features), task.layer, task.head, task.n_random, task.most, task.seed)
    except ContrastError as error:
        return HeadSwap(task.layer, task.head, None, str(error))
    return HeadSwap(task.layer, task.head, made.to_dict())


def everywhere(
    run: Run,
    features: dict[str, Contrasts],
    heads: Sequence[tuple[int, int]] | None = None,
    n_random: int = 10,
    most: int = 1000,
    seed: int = 0,
    side: Side = "keys",
    pool: Pool | None = None,
    progress: Progress | None = None,
) -> list[HeadSwap]:
    """What `intervene` gives of each of these heads, (layer, head), of all of them by default; by layer and head.

    side: whether keys or queries are swapped. pool: who does it (qkstore.pool), by default this process; the same to
    the bit. A head without anything to swap says why. Raises RunError for a head that the run does not have,
    ContrastError where no head has anything to swap, for one reason.
    """
    every = [(layer, head) for layer in run.layers for head in range(run.n_heads)]
    asked = every if heads is None else sorted(set(heads))
    for layer, head in asked:
        run.layer(layer, head)
    if not asked:
        raise RunError("no head is named: give some, as layer:head, or all")
    place, named = Place.of(run), tuple(features.items())
    tasks = [Task(place, named, side, layer, head, n_random, most, seed) for layer, head in asked]
    found = []
    for _, made in (pool or Pool()).map(swap, tasks, lambda task: task.layer):
        found.append(made)
        if progress:
            progress(len(found), len(tasks))
    if all(made.why == found[0].why != "" for made in found):
        raise ContrastError(found[0].why)  # it is not the heads'
    return sorted(found, key=lambda made: (made.layer, made.head))


def table(found: Sequence[HeadSwap]) -> pl.DataFrame:
    """A row a head and feature, the head first in which a feature moves the logit gap most beyond random subspaces."""
    rows = [_row(made, c) for made in found if made.swapped for c in made.swapped["conditions"] if c["beyond"]]
    columns = ("layer", "head", "name", "rank", "n", "target_before", "target_after", "beyond", "low", "high")
    made = pl.DataFrame(rows, schema=None if rows else dict.fromkeys(columns, pl.Float64), infer_schema_length=None)
    return made.sort("beyond", descending=True, nulls_last=True)


def _row(made: HeadSwap, c: dict) -> dict:
    beyond, low, high = c["beyond"]["gap_gain"]
    told = {name: c[name] for name in ("name", "rank", "n", "target_before", "target_after")}
    return {"layer": made.layer, "head": made.head, **told, "beyond": beyond, "low": low, "high": high}
