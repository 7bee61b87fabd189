"""An inventory of the runs of a store: how large each is, what it lacks, its labels, and what is kept of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

import duckdb

from qkstore.errors import StoreError
from qkstore.files import inside
from qkstore.run import Run, file, shard
from qkstore.run.incoming.space import told
from qkstore.run.schema import PROMPT, TOKEN, quoted, vector_tables
from qkstore.run.task import task
from qkstore.store.moves import left
from qkstore.store.overview import TOY_TASKS
from qkstore.store.store import Store

BLOCK = 262_144  # bytes of a block of DuckDB, the unit of a file
MOST_VALUES = 8  # of a label, that are shown


@dataclass(frozen=True)
class Entry:
    """A run as a list shows it.

    layers: how many are stored, of the model's n_layers. n_heads: of a layer. gaps: what it lacks, a few words each.
    """

    name: str
    model: str
    task: str
    n_prompts: int
    layers: int
    n_layers: int
    n_heads: int
    n_queries: int
    n_keys: int
    n_bytes: int
    created: datetime
    gaps: tuple[str, ...]

    def has(self, text: str) -> bool:
        """Whether every word of a text is in what the list shows of it, in capitals or not."""
        shown = " ".join((self.name, self.model, self.task, *self.gaps)).lower()
        return all(word in shown for word in text.lower().split())


@dataclass(frozen=True)
class Label:
    """A label of the tokens or the prompts of a run: how many values it has, and the most frequent with their rows."""

    name: str
    of: str
    kind: str
    n_values: int
    values: tuple[tuple[object, int], ...]


def entry(run: Run) -> Entry:
    """What the list of runs shows of one. Raises StoreError where its file is damaged or gone."""
    try:
        n_bytes = run.path.stat().st_size + (run.shards.bytes if run.shards else 0)
    except OSError as error:
        raise StoreError(f"run file {run.path.name} cannot be read: {error.strerror}") from None
    return Entry(
        run.name,
        run.model,
        run.task,
        run.n_prompts,
        len(run.layers),
        run.n_layers,
        run.n_heads,
        run.n_queries,
        run.n_keys,
        n_bytes,
        run.created,
        tuple(gaps(run)),
    )


def gaps(run: Run) -> list[str]:
    """What a run lacks that others of its kind may have: a few words for each."""
    found, toy = [], run.task in TOY_TASKS
    if missing := set(range(run.n_layers)) - run.layers.keys():
        found.append(f"layers {_ranges(missing)} of {run.n_layers} not stored")
    if "test" not in run.splits:
        found.append("no test prompts")
    if not toy and task(run) is None:
        found.append("answers of the model not stored")
    sql = """
        SELECT count(*) FILTER (prompt_id NOT IN (SELECT prompt_id FROM query_row)) AS unasked,
            count(*) FILTER (variant = 'counterfactual') AS swapped FROM prompt
    """
    [row] = run.table(sql).to_pylist()
    if row["unasked"]:
        found.append(f"{row['unasked']:,} prompts without a stored query")
    if "queried_order" in run.prompt_labels and not row["swapped"]:
        found.append("no counterfactual prompts")
    if not run.content:
        found.append("no digest of its content")
    if run.manifest.rounding:
        found.append(run.manifest.rounding)
    return found


def _ranges(numbers: Iterable[int]) -> str:
    """0-3, 7"""
    parts = []
    for _, group in groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}")
    return ", ".join(parts)


def sizes(run: Run) -> list[tuple[str, int, int]]:
    """(table, rows, about how many bytes of the file) of a run's tables, the largest first.

    A block that holds parts of several tables is shared out between them. What is left of the file is of no table:
    blocks that were used while it was written.
    """
    found = _sizes(run.cursor(), run.types)  # those in shards too, which are empty in its own file
    vectors = vector_tables(run.d_head, run.store_dtype)
    for number in range(run.n_shards if run.shards else 0):
        for table, own in file.read(run.shards.file(number), lambda cursor: _sizes(cursor, vectors)).items():
            found[table] = found[table][0] + own[0], found[table][1] + own[1]
    return sorted(((table, *sums) for table, sums in found.items()), key=lambda row: (-row[2], row[0]))


def _sizes(cursor: duckdb.DuckDBPyConnection, tables: Iterable[str]) -> dict[str, tuple[int, int]]:
    """{table: (rows, bytes)} of one file."""
    parts: dict[str, list[int]] = {}
    for table in tables:
        sql = "SELECT block_id, additional_block_ids FROM pragma_storage_info(?) WHERE persistent"
        parts[table] = [b for block, more in cursor.execute(sql, [table]).fetchall() for b in (block, *(more or ()))]
    shared = Counter(block for blocks in parts.values() for block in blocks)
    counts = {table: cursor.execute(f"SELECT count(*) FROM {quoted(table)}").fetchall()[0][0] for table in parts}
    return {t: (counts[t], round(sum(BLOCK / shared[b] for b in blocks))) for t, blocks in parts.items()}


def labels(run: Run) -> list[Label]:
    """Every label of a run, of prompts first, with its split, its variant and the roles of its tokens."""
    asked = [("prompt", name) for name in ("split", "variant", *run.prompt_labels)]
    asked += [("token", name) for name in ("role", *run.token_labels)]
    return [_label(run, table, name) for table, name in asked]


def _label(run: Run, table: str, name: str) -> Label:
    column = quoted(name)
    sql = f"""
        SELECT {column} AS value, count(*) AS n, count(*) OVER () AS n_values FROM {table}
        WHERE {column} IS NOT NULL GROUP BY {column} ORDER BY n DESC, {column} LIMIT {MOST_VALUES:d}
    """
    rows = run.table(sql).to_pylist()
    kind = run.types[table].get(name, (PROMPT | TOKEN).get(name, ""))
    total = rows[0]["n_values"] if rows else 0
    return Label(name, f"{table}s", kind, total, tuple((row["value"], row["n"]) for row in rows))


def lost(store: Store, name: str) -> str:
    """What removing a run loses, in words; raises RunError where there is nothing of it."""
    kept = store.catalog.runs.kept(name)
    if name not in store.names() and not kept and not left(store, name):
        raise store.missing(name)
    try:
        size = told(_bytes(store.path / "runs" / f"{name}.duckdb"))
    except FileNotFoundError:  # it, or since it was listed one of its shards
        size = "not on this machine"
    results = ", ".join(f"{n:,} {kind}" for kind, n in kept.results.items()) or "none"
    return f"run {name}: {size}; notes on it: {kept.notes:,}; kept results: {results}"


def _bytes(path: Path) -> int:
    """What a run file and its shards take of the disk, readable or not."""
    shards = shard.folder(path)
    return path.stat().st_size + sum(one.stat().st_blocks * 512 for one in inside(shards, "*.duckdb"))
