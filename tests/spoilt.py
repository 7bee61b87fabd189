"""A store with a good run and one that SQL has spoilt: what is read of it is right, or an error of one line."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import synthetic

import qkstore
from qkstore.errors import QKStoreError, RunError, StoreError
from qkstore.run import task
from qkstore.store import Store
from qkstore.store.overview import overview

SECRET = "the text of a file that is nobody's business"


@dataclass
class Place:
    """The store; `canary` is a file that nothing may read, `out` one that nothing may write."""

    store: Store
    canary: Path
    out: Path

    @property
    def bad(self) -> Path:
        return self.store.path / "runs" / "bad.duckdb"

    def spoil(self, sql: str, more: Sequence[str] = ()) -> None:
        """Put a copy of the good run as run 'bad', changed by these statements, and by those of `more` that succeed."""
        work = self.out.with_name("bad.duckdb")
        self.put(work)
        with duckdb.connect(str(work), config={"threads": "1"}) as con:
            con.execute(sql.replace("CANARY", str(self.canary)).replace("OUT", str(self.out)))
            for statement in more:
                with contextlib.suppress(duckdb.Error):
                    con.execute(statement)
        work.replace(self.bad)

    def put(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        shutil.copyfile(self.store.path / "runs" / "good.duckdb", path)

    def scanned(self) -> str:
        """The one error of the overview, '' where there is none; the good run is listed in it."""
        shown = overview(self.store)
        said = [plain(error) for error in shown.damaged]
        assert "good" in shown.runs["run"].to_list()
        assert SECRET not in str(shown.runs.to_dicts()) + str(said)
        assert not self.out.exists()
        assert len(said) < 2
        return "".join(said)

    def read(self) -> list[str]:
        """The errors of reading all there is of run 'bad'."""
        found, errors = [], []
        for ask in questions(self.store.run("bad")):
            try:
                found.append(ask())
            except (StoreError, RunError) as error:
                errors.append(plain(error))
        assert SECRET not in str(found) + str(errors)
        assert not self.out.exists()
        return errors


def place(folder: Path) -> Place:
    """A new one in a folder."""
    synthetic.write(folder / "store", "good", data=synthetic.synthetic(8))
    (folder / "canary.txt").write_text(SECRET)
    return there(folder)


def there(folder: Path) -> Place:
    """The one that is in a folder already."""
    return Place(qkstore.open(folder / "store"), folder / "canary.txt", folder / "out.csv")


def plain(error: QKStoreError) -> str:
    """The text of an error that is one short line."""
    text = str(error)
    assert isinstance(error, (StoreError, RunError))
    assert "\n" not in text
    assert text.isprintable()
    assert 0 < len(text) < 500
    return text


def questions(run):
    """What a page may ask of a run."""
    yield lambda: str(run.columns)
    for name in ("layers", "splits", "settings", "weights", "measures", "query_places", "key_places"):
        yield lambda name=name: getattr(run, name)
    for side, n in (("q", run.n_queries), ("k", run.n_keys)):
        for column in run.columns[side]:
            yield lambda side=side, column=column: run.values(column, side)
        yield lambda side=side, n=n: run.labels(side, run.columns[side], np.arange(n)).to_pylist()
    for prompt in range(min(run.n_prompts, 8)):
        yield lambda prompt=prompt: (run.prompt(prompt), run.tokens(prompt))
    yield lambda: run.prompt_id("p3")
    yield lambda: task.task(run)
    yield run.changed
    for layer in list(run.layers):
        for head in range(min(run.n_heads, 4)):
            yield lambda layer=layer, head=head: finite(run.queries(layer, head))
            yield lambda layer=layer, head=head: finite(run.keys(layer, head))
            yield lambda layer=layer, head=head: finite(run.logsumexp(layer, head, np.arange(run.n_queries)))


def finite(values: np.ndarray) -> int:
    assert np.isfinite(values).all()
    return len(values)
