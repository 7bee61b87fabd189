"""Head scores that a catalogue keeps: computed once for all who use a store, and gone on with where they were left."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from contextlib import suppress

from qkstore.analysis.heads.score import HeadScore
from qkstore.analysis.heads.sweep import Arrived, Progress, Sweep, Table, flat
from qkstore.contrast import Contrast
from qkstore.errors import StoreError
from qkstore.pool import Pool
from qkstore.run import Run
from qkstore.store import Store
from qkstore.store.catalog.rows import built
from qkstore.store.source import code_key

EVERY_S = 4.0  # between two writings of what is finished: one takes 40 ms


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
    with Parts(store, run, contrast, asked) as parts:
        known = parts.read()
        if known and arrived:
            arrived(flat(known))

        def finished(layer: int, table: Table) -> None:
            parts.add(layer, table[layer])
            if arrived:
                arrived(flat(table))

        scores = flat(Sweep(run, contrast, nulls, seed, pool).table(known, progress, finished))
    with suppress(StoreError):  # a store that one may only read still answers
        keep(store, run, contrast, scores, asked)
    return scores


def keep(store: Store, run: Run, contrast: Contrast, scores: Sequence[HeadScore], asked: str, part: str = "") -> None:
    """Keep scores under their key, or some layers of them as a part of that name.

    Raises RoleError for viewers, StoreError where the catalogue cannot be written.
    """
    made = {"content": run.digest, "version": contrast.version, "code": code_key()[:16], "part": part}
    store.catalog.keep_result(asked, "heads", run.name, contrast.name, [s.to_dict() for s in scores], **made)


def key(run: Run, contrast: Contrast, nulls: int = 19, seed: int = 0) -> str:
    """What the scores are kept under: a hash of all that decides them."""
    return hashlib.sha256(repr((run.identity, contrast.key, nulls, seed, code_key())).encode()).hexdigest()


class Parts:
    """The layers of scores that are not all computed yet, which the catalogue keeps until they are.

    Where its block is left by an exception (of somebody who waits no longer, Ctrl-C), what is finished is written.
    """

    def __init__(self, store: Store, run: Run, contrast: Contrast, asked: str):
        self.store, self.run, self.contrast, self.asked = store, run, contrast, asked
        self._left: Table = {}
        self._written, self._may = time.monotonic(), True

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self.write()

    def read(self) -> Table:
        """Those that are kept: of a layer the newest, with its nulls where these were computed."""
        table: Table = {}
        for scores in filter(None, (built(_scores, part) for part in self.store.catalog.parts(self.asked))):
            for layer in {s.layer for s in scores} & set(self.run.layers):
                of_layer = [s for s in scores if s.layer == layer]
                whole = [s.head for s in of_layer] == list(range(self.run.n_heads))
                if whole and (layer not in table or table[layer][0].pending):
                    table[layer] = of_layer
        return table

    def add(self, layer: int, scores: list[HeadScore]) -> None:
        """A layer is finished; it is written, with others, EVERY_S after the last ones."""
        self._left[layer] = scores
        if time.monotonic() - self._written >= EVERY_S:
            self.write()

    def write(self) -> None:
        """Write what is left to be written. A catalogue that cannot be written is not asked again."""
        if not self._left or not self._may:
            return
        named = "-".join(f"{layer}{'s' if scores[0].pending else 'n'}" for layer, scores in self._left.items())
        try:
            keep(self.store, self.run, self.contrast, flat(self._left), self.asked, named)
        except StoreError:
            self._may = False
        self._left, self._written = {}, time.monotonic()


def _scores(rows: list[dict]) -> list[HeadScore]:
    return [HeadScore.of(row) for row in rows]
