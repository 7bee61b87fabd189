"""Swaps of many heads: what `intervene` says of each, by whoever does the work, and kept for all who use a store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import polars as pl

from qkstore.analysis.head import Contrasts
from qkstore.analysis.swaps import Side, intervene, intervene_queries
from qkstore.analysis.tasks import Parts, Place
from qkstore.errors import ContrastError, RunError, StoreError
from qkstore.intervention import Condition
from qkstore.pool import Pool
from qkstore.run import Run
from qkstore.store import Store
from qkstore.store.catalog.rows import built
from qkstore.store.source import code_key

KIND = "swaps of heads"
At = tuple[int, int]  # layer, query head
Progress = Callable[[int, int], None]  # called with (heads done, heads in all)
Features = tuple[tuple[str, Contrasts], ...]


@dataclass(frozen=True)
class Asked:
    """What is swapped in every head; see `intervene`."""

    place: Place
    features: Features
    side: Side
    n_random: int
    most: int
    seed: int


@dataclass(frozen=True)
class Task:
    """One head."""

    asked: Asked
    layer: int
    head: int


@dataclass(frozen=True)
class HeadSwap:
    """What swaps of one head do, as `Intervention.to_dict` says it; or why there is nothing to swap."""

    layer: int
    head: int
    swapped: dict | None
    why: str = ""

    def to_dict(self) -> dict:
        return {"layer": self.layer, "head": self.head, "why": self.why or None, **(self.swapped or {})}

    @classmethod
    def of(cls, row: dict) -> HeadSwap:
        """What `to_dict` gave, also by way of JSON. Raises what other rows raise: KeyError, TypeError."""
        at, why = (row["layer"], row["head"]), row["why"]
        if why:
            return cls(*at, None, why)
        swapped = {name: value for name, value in row.items() if name not in ("layer", "head", "why")}
        return cls(*at, swapped | {"conditions": [_condition(c) for c in swapped["conditions"]]})


def _condition(row: dict) -> dict:
    """Its intervals as tuples, which JSON has not."""
    pairs = {name: {key: tuple(ends) for key, ends in row[name].items()} for name in ("ci", "beyond") if row[name]}
    return Condition(**row | pairs).to_dict()


def swap(task: Task) -> HeadSwap:
    """In a worker: the swaps of one head."""
    asked = task.asked
    ask = intervene if asked.side == "keys" else intervene_queries
    try:
        run, features = asked.place.run(), dict(asked.features)
        made = ask(run, features, task.layer, task.head, asked.n_random, asked.most, asked.seed)
    except ContrastError as error:
        return HeadSwap(task.layer, task.head, None, str(error))
    return HeadSwap(task.layer, task.head, made.to_dict())


def everywhere(
    run: Run,
    features: dict[str, Contrasts],
    heads: Sequence[At] | None = None,
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
    asked = Asked(Place.of(run), tuple(features.items()), side, n_random, most, seed)
    return _told(_swept(asked, _heads(run, heads), [], lambda made: None, pool, progress))


def kept(
    store: Store,
    run: Run,
    features: dict[str, Contrasts],
    heads: Sequence[At] | None = None,
    n_random: int = 10,
    most: int = 1000,
    seed: int = 0,
    side: Side = "keys",
    pool: Pool | None = None,
    progress: Progress | None = None,
) -> list[HeadSwap]:
    """What `everywhere` gives, computed once for all who use the store: its catalogue keeps it, head by head.

    Work that was interrupted or killed is gone on with by whoever asks the same next; some heads are also found where
    all are kept. pool, progress: neither is called where they are. Raises what `everywhere` does.
    """
    at = _heads(run, heads)
    asked = Asked(Place.of(run), tuple(features.items()), side, n_random, most, seed)
    for name in (key(run, asked), key(run, asked, at)):
        found = {(made.layer, made.head): made for made in built(_rows, store.catalog.result(name)) or []}
        if set(at) <= set(found):
            return _told([found[one] for one in at])
    known = [made for part in store.catalog.parts(name) for made in built(_rows, part) or []]
    with Parts[HeadSwap](lambda made: _keep(store, run, asked, name, made, _part(made))) as parts:
        whole = _swept(asked, at, known, parts.add, pool, progress)
    told = _told(whole)
    with suppress(StoreError):  # a store that one may only read still answers
        _keep(store, run, asked, name, whole)
    return told


def key(run: Run, asked: Asked, heads: Sequence[At] | None = None) -> str:
    """What swaps of these heads, or of all, are kept under: a hash of all that decides them."""
    named = tuple((name, tuple((c.name, c.key) for c in members)) for name, members in asked.features)
    at = None if heads is None or list(heads) == _every(run) else tuple(heads)
    decided = (KIND, run.identity, named, asked.side, asked.n_random, asked.most, asked.seed, at, code_key())
    return hashlib.sha256(repr(decided).encode()).hexdigest()


def _every(run: Run) -> list[At]:
    return [(layer, head) for layer in sorted(run.layers) for head in range(run.n_heads)]


def _heads(run: Run, heads: Sequence[At] | None) -> list[At]:
    """The heads that are asked for, each once, by layer and head. Raises RunError for one that is not there."""
    at = _every(run) if heads is None else sorted(set(heads))
    for layer, head in at:
        run.layer(layer, head)
    if not at:
        raise RunError("no head is named: give some, as layer:head, or all")
    return at


def _swept(
    asked: Asked,
    at: Sequence[At],
    known: Iterable[HeadSwap],
    finished: Callable[[HeadSwap], object],
    pool: Pool | None,
    progress: Progress | None,
) -> list[HeadSwap]:
    """The swaps of these heads, of which some are known; finished: called with each of the others."""
    there = {(made.layer, made.head): made for made in known}
    found = {one: there[one] for one in at if one in there}
    tasks = [Task(asked, *one) for one in at if one not in found]
    for task, made in (pool or Pool()).map(swap, tasks, lambda task: task.layer):
        found[task.layer, task.head] = made
        finished(made)
        if progress:
            progress(len(found), len(at))
    return [found[one] for one in at]


def _told(found: list[HeadSwap]) -> list[HeadSwap]:
    """The same. Raises ContrastError where no head has anything to swap, for one reason: it is not the heads'."""
    if all(made.why == found[0].why != "" for made in found):
        raise ContrastError(found[0].why)
    return found


def _keep(store: Store, run: Run, asked: Asked, name: str, found: Sequence[HeadSwap], part: str = "") -> None:
    made = {"content": run.digest, "code": code_key()[:16], "part": part}
    contrasts = ", ".join(called for called, _ in asked.features)
    store.catalog.keep_result(name, KIND, run.name, contrasts, [swapped.to_dict() for swapped in found], **made)


def _part(found: Sequence[HeadSwap]) -> str:
    """A name for some heads, short however many they are."""
    return hashlib.sha256(repr([(made.layer, made.head) for made in found]).encode()).hexdigest()[:16]


def _rows(rows: Sequence[dict]) -> list[HeadSwap]:
    return [HeadSwap.of(row) for row in rows]


def table(found: Sequence[HeadSwap]) -> pl.DataFrame:
    """A row a head and feature, the head first in which a feature moves the logit gap most beyond random subspaces."""
    rows = [_row(made, c) for made in found if made.swapped for c in made.swapped["conditions"] if c["beyond"]]
    columns = ("layer", "head", "name", "rank", "n", "target_before", "target_after", "beyond", "low", "high")
    made = pl.DataFrame(rows, schema=None if rows else dict.fromkeys(columns, pl.Float64), infer_schema_length=None)
    return made.sort("beyond", descending=True, nulls_last=True)


def ordered(found: Sequence[HeadSwap]) -> list[HeadSwap]:
    """The heads as `table` has them, and at the end, by layer and head, those without anything to swap."""
    place = {at: i for i, at in reversed(list(enumerate(table(found).select("layer", "head").iter_rows())))}
    return sorted(found, key=lambda made: place.get((made.layer, made.head), len(place) + len(found)))


def _row(made: HeadSwap, c: dict) -> dict:
    beyond, low, high = c["beyond"]["gap_gain"]
    told = {name: c[name] for name in ("name", "rank", "n", "target_before", "target_after")}
    return {"layer": made.layer, "head": made.head, **told, "beyond": beyond, "low": low, "high": high}
