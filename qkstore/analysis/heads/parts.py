"""Head scores that a catalogue keeps: computed once for all who use a store, and gone on with where they were left."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress

from qkstore.analysis.heads.score import HeadScore
from qkstore.analysis.heads.sweep import Arrived, Progress, Sweep, Table, flat
from qkstore.analysis.heads.task import Work
from qkstore.analysis.tasks import Parts
from qkstore.contrast import Contrast
from qkstore.errors import StoreError
from qkstore.pool import Pool
from qkstore.run import Run
from qkstore.store import Store
from qkstore.store.catalog.rows import built
from qkstore.store.source import code_key


def kept(
    store: Store,
    run: Run,
    contrast: Contrast,
    nulls: int = 19,
    seed: int = 0,
    progress: Progress | None = None,
    arrived: Arrived | None = None,
    pool: Pool | None = None,
) -> list[HeadScore]:
    """The scores that `heads` gives, computed once for all who use the store: its catalogue keeps them.

    They are computed anew for other vectors, other pairs, other nulls, another seed and another version of the code.
    Layers are kept as they are finished: work that was interrupted or killed is gone on with by whoever asks next.
    progress, arrived, pool: as in `heads`; none is called where the scores are kept.
    """
    asked = key(run, contrast, nulls, seed)
    if found := built(_scores, store.catalog.result(asked)):
        return found
    known = _known(store, run, asked)
    if known and arrived:
        arrived(flat(known))

    def write(layers: list[list[HeadScore]]) -> None:
        newest = {scores[0].layer: scores for scores in layers}
        named = "-".join(f"{layer}{'s' if scores[0].pending else 'n'}" for layer, scores in newest.items())
        keep(store, run, contrast, flat(newest), asked, named)

    with Parts(write) as parts:

        def finished(layer: int, table: Table) -> None:
            parts.add(table[layer])
            if arrived:
                arrived(flat(table))

        scores = flat(Sweep(run, contrast, nulls, seed, pool).table(known, progress, finished))
    with suppress(StoreError):  # a store that one may only read still answers
        keep(store, run, contrast, scores, asked)
    return scores


def check(store: Store, run: Run, contrast: Contrast, nulls: int = 19, seed: int = 0) -> None:
    """Raise what `kept` would raise before it computes anything: an error of the contrast, of its SQL or its pairs."""
    if store.catalog.result(key(run, contrast, nulls, seed)) is None:
        Work(run, contrast, nulls, seed, run.n_shards)


def keep(store: Store, run: Run, contrast: Contrast, scores: Sequence[HeadScore], asked: str, part: str = "") -> None:
    """Keep scores under their key, or some layers of them as a part of that name.

    Raises RoleError for viewers, StoreError where the catalogue cannot be written.
    """
    made = {"content": run.digest, "version": contrast.version, "code": code_key()[:16], "part": part}
    store.catalog.keep_result(asked, "heads", run.name, contrast.name, [s.to_dict() for s in scores], **made)


def key(run: Run, contrast: Contrast, nulls: int = 19, seed: int = 0) -> str:
    """What the scores are kept under: a hash of all that decides them."""
    return hashlib.sha256(repr((run.identity, contrast.key, nulls, seed, code_key())).encode()).hexdigest()


def _known(store: Store, run: Run, asked: str) -> Table:
    """The layers that are kept of scores which are not all computed yet: the newest, with nulls where there are."""
    table: Table = {}
    for scores in filter(None, (built(_scores, part) for part in store.catalog.parts(asked))):
        for layer in {s.layer for s in scores} & set(run.layers):
            of_layer = [s for s in scores if s.layer == layer]
            whole = [s.head for s in of_layer] == list(range(run.n_heads))
            if whole and (layer not in table or table[layer][0].pending):
                table[layer] = of_layer
    return table


def _scores(rows: list[dict]) -> list[HeadScore]:
    return [HeadScore.of(row) for row in rows]
