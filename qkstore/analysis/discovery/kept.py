"""Discoveries that a catalogue keeps: computed once for all who use a store, and gone on with where they were left."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from functools import partial

from qkstore.analysis.discovery.found import LEVEL, Discovery, verified
from qkstore.analysis.discovery.label import MOST, contrast, tried
from qkstore.analysis.discovery.prepared import prepared
from qkstore.analysis.discovery.sweep import Asked, Sweep, Test
from qkstore.analysis.discovery.types import resting
from qkstore.analysis.head import build_split, judge_split
from qkstore.analysis.tasks import Parts, Place
from qkstore.contrast import Contrast
from qkstore.contrast.check import told
from qkstore.errors import ContrastError, StoreError, near
from qkstore.pool import Pool
from qkstore.run import Run
from qkstore.store import Store
from qkstore.store.catalog.rows import built
from qkstore.store.source import code_key

Progress = Callable[[str, int, int], None]  # called with ('heads' or 'swaps', how many are done, of how many)


def discover(
    run: Run,
    labels: Collection[str] = (),
    most: int = MOST,
    seed: int = 0,
    progress: Progress | None = None,
    pool: Pool | None = None,
) -> Discovery:
    """Every head of a run under every pair of labels that can match: which heads match on what.

    labels: only pairs of these columns. most: label pairs at most. progress: see Progress; what it raises ends the
    work. pool: who tests heads (qkstore.pool), by default this process, which swaps in any case. Where no pair can
    match, nothing is tried, and `tried.refused` says why.
    """
    asked = Asked(Place.of(run), tuple(labels), most, seed)
    return _discover(run, asked, progress, {}, lambda layer, tests: None, pool)


def _discover(
    run: Run,
    asked: Asked,
    progress: Progress | None,
    known: dict[int, list[Test]],
    finished: Callable[[int, list[Test]], object],
    pool: Pool | None,
) -> Discovery:
    seed = asked.seed
    sides, kept = prepared(run, tried(run, asked.labels, asked.most), seed)
    if not sides:
        return Discovery(kept, (), 0, len(run.layers) * run.n_heads, 0, 0, build_split(run), judge_split(run))
    heads, swaps = (partial(progress, stage) if progress else None for stage in ("heads", "swaps"))
    sweep = Sweep(run, sides, seed, asked, pool)
    found = verified(run, kept, sweep, sweep.table(known, heads, finished), seed, swaps)
    return replace(found, resting=resting(run, seed))


def kept(
    store: Store,
    run: Run,
    labels: Collection[str] = (),
    most: int = MOST,
    seed: int = 0,
    progress: Progress | None = None,
    pool: Pool | None = None,
) -> Discovery:
    """What `discover` gives, computed once for all who use the store: its catalogue keeps it, layer by layer."""
    asked = key(run, labels, most, seed)
    if found := built(Discovery.of, store.catalog.result(asked)):
        return found
    known = {
        layer: tests for part in store.catalog.parts(asked) for layer, tests in (built(_tests, part) or {}).items()
    }

    def write(layers: list[tuple[int, list[Test]]]) -> None:
        payload = [test.to_list() for _, tests in layers for test in tests]
        _keep(store, run, asked, payload, "-".join(str(layer) for layer, _ in layers))

    with Parts(write) as parts:
        finished = lambda layer, tests: parts.add((layer, tests))  # noqa: E731
        found = _discover(run, Asked(Place.of(run), tuple(labels), most, seed), progress, known, finished, pool)
    with suppress(StoreError):  # a store that one may only read still answers
        _keep(store, run, asked, found.to_dict())
    return found


def save(store: Store, run: Run, discovery: Discovery, name: str, level: float = LEVEL) -> Contrast:
    """Save the contrast of that name among what was found, and return it with its version.

    Nothing is written where the newest version of the name says the same. Raises ContrastError for a name that is not
    among them, RoleError for viewers.
    """
    names = {discovery.match(f).name: f for f in discovery.found(level)}
    if name not in names:
        raise ContrastError(f"nothing of the name {name!r} was found on run {run.name!r}; {near(name, names)}")
    one = discovery.contrast(names[name])
    there = [c for c in store.catalog.contrasts() if c.name == name]
    if there and there[0].key == one.key:
        return there[0]
    return store.catalog.save(one, told(run, one, build_split(run)))


def named(store: Store, run: Run, name: str) -> tuple[Contrast, ...]:
    """The contrasts of a name: saved, built in, or one that discovery makes of a run and nobody has saved.

    Raises ContrastError for any other.
    """
    try:
        return store.feature(run, name)
    except ContrastError:
        if found := contrast(run, name):
            return (found,)
        raise


def key(run: Run, labels: Collection[str] = (), most: int = MOST, seed: int = 0) -> str:
    """What a discovery is kept under: a hash of all that decides it."""
    asked = ("discovery", run.identity, sorted(labels), most, seed, code_key())
    return hashlib.sha256(repr(asked).encode()).hexdigest()


def _keep(store: Store, run: Run, asked: str, payload: object, part: str = "") -> None:
    store.catalog.keep_result(
        asked, "discovery", run.name, "", payload, content=run.digest, code=code_key()[:16], part=part
    )


def _tests(rows: list[list]) -> dict[int, list[Test]]:
    found: dict[int, list[Test]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(Test(*row))
    return found
