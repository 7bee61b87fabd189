"""All heads of a run: how many components each one has, or why it has none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np

from qkstore.analysis.decomposition.across.counted import HeadCount
from qkstore.analysis.decomposition.found import REPAIRS, of_head, sights
from qkstore.analysis.decomposition.names import names
from qkstore.analysis.decomposition.scored import Scored
from qkstore.analysis.decomposition.sight import default_where
from qkstore.analysis.head import Head
from qkstore.analysis.heads.group import groups
from qkstore.errors import ContrastError, StoreError
from qkstore.run import Run
from qkstore.store import Store
from qkstore.store.catalog.rows import built
from qkstore.store.source import code_key

KIND = "components of all heads"
DEALS = 19  # of labels, for a name's p: the fewest that can tell 5 %, as a study of one head deals more
Table = Mapping[int, Sequence[HeadCount]]  # by layer
Progress = Callable[[int, int], None]  # called with (heads done, heads in all)


def counts(
    run: Run,
    where: str | None = None,
    repairs: int = REPAIRS,
    seed: int = 0,
    progress: Progress | None = None,
    named: bool = True,
) -> list[HeadCount]:
    """How many components each head of a run has: `components` of all heads, in one pass over the vectors.

    A head that has nothing to choose has a row which says why. Vectors are read once a KV head, so memory is that of
    its keys and of one head's choices. progress: called with (heads done, heads in all). named: whether labels are
    tried too, which takes about as long again. Raises GuardError for SQL that is not allowed, ContrastError where no
    query fits.
    """
    return [row for layer in Sweep(run, where, repairs, seed, named).layers({}, progress) for row in layer]


class Sweep:
    """The components of all heads of a run on the same queries."""

    def __init__(self, run: Run, where: str | None, repairs: int, seed: int, named: bool = True):
        self.run, self.where, self.repairs, self.seed, self.named = run, where, repairs, seed, named
        self.built, self.judged = sights(run, where)

    def layers(self, known: Table, progress: Progress | None = None) -> Iterator[list[HeadCount]]:
        """The heads of one layer after another; known: layers that were done before, which are not done again."""
        from threadpoolctl import threadpool_limits

        done, of = self.run.n_heads * len(known), self.run.n_heads * len(self.run.layers)
        for layer in self.run.layers:
            rows = list(known.get(layer, []))
            if not rows:
                with threadpool_limits(1, "blas"):  # several threads for matrices as small mostly wait for each other
                    for row in self._layer(layer):
                        rows.append(row)
                        done += 1
                        if progress:
                            progress(done, of)
            yield rows

    def _layer(self, layer: int) -> Iterator[HeadCount]:
        for heads in groups(self.run):
            k = self.run.keys(layer, heads[0], np.arange(self.run.n_keys))
            yield from (self._head(Head(self.run, layer, head), k) for head in heads)

    def _head(self, head: Head, k: np.ndarray) -> HeadCount:
        try:
            found = of_head(head, self.built, self.judged, self.where, None, self.repairs, self.seed, k)
        except ContrastError as error:
            return HeadCount(head.layer, head.head, why=str(error))
        told = names(Scored.of_head(found, k), DEALS, self.seed).names if len(found) and self.named else []
        return HeadCount.of(found, told)


def kept_counts(
    store: Store,
    run: Run,
    where: str | None = None,
    repairs: int = REPAIRS,
    seed: int = 0,
    progress: Progress | None = None,
    named: bool = True,
) -> list[HeadCount]:
    """The same as `counts`, computed once for all who use a store: its catalogue keeps it, and layers as they are done.

    Work that was interrupted or killed is gone on with by whoever asks next. Who asks for no names gets them where they
    are kept.
    """
    if found := known_counts(store, run, where, repairs, seed, named):
        return found
    asked = key(run, where, repairs, seed, named)
    parts = (built(_rows, part) for part in store.catalog.parts(asked))
    known = {rows[0].layer: rows for rows in filter(None, parts) if len(rows) == run.n_heads}
    every, may = [], True
    for rows in Sweep(run, where, repairs, seed, named).layers(known, progress):
        every += rows
        may = may and (rows[0].layer in known or _keep(store, run, asked, rows, str(rows[0].layer)))
    if may:
        _keep(store, run, asked, every)
    return every


def known_counts(
    store: Store, run: Run, where: str | None = None, repairs: int = REPAIRS, seed: int = 0, named: bool = True
) -> list[HeadCount] | None:
    """What a catalogue keeps of `counts`; None where it was not computed to its end."""
    keys = [key(run, where, repairs, seed, True), *([] if named else [key(run, where, repairs, seed, False)])]
    return next(filter(None, (built(_rows, store.catalog.result(asked)) for asked in keys)), None)


def key(run: Run, where: str | None = None, repairs: int = REPAIRS, seed: int = 0, named: bool = True) -> str:
    """What the counts are kept under: a hash of all that decides them."""
    decided = (KIND, run.identity, where or default_where(run), repairs, seed, named, code_key())
    return hashlib.sha256(repr(decided).encode()).hexdigest()


def _keep(store: Store, run: Run, asked: str, rows: Sequence[HeadCount], part: str = "") -> bool:
    """Keep rows, the whole or a part; whether that worked. A store that one may only read is not asked again."""
    made = {"content": run.digest, "code": code_key()[:16], "part": part}
    with suppress(StoreError):
        store.catalog.keep_result(asked, KIND, run.name, "", [row.to_dict() for row in rows], **made)
        return True
    return False


def _rows(rows: Sequence[dict]) -> list[HeadCount]:
    return [HeadCount.from_dict(row) for row in rows]
