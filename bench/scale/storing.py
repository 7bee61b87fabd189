"""Bytes of a run file by what they are of, CPU seconds of writing it, and of reading a head."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np

import qkstore
from bench.scale.constants import Constant, cpu
from bench.speed import synthetic
from bench.speed.synthetic import Shape
from qkstore.run import Run
from qkstore.run.incoming import Incoming
from qkstore.run.schema import STORE_DTYPES, vector_bytes

BLOCK = 262_144  # bytes of a DuckDB block
PART = 500  # prompts a batch
VECTORS = ("query_vector", "key_vector")
WIDE = dict(prompts=1500, keys=9, layers=2, heads=32, kv_heads=8, d_head=128)
MANY = dict(prompts=20_000, keys=2, layers=2, heads=16, kv_heads=1, d_head=16)  # rows, so that blocks are full
READ = Shape(30_000, keys=1, layers=1, heads=2, kv_heads=1)
TURNS, READS = 3, 7


def publish(folder: Path, name: str, shape: Shape, seed: int) -> tuple[Path, float, float]:
    """Write a run of random vectors by the project's path: (file, CPU s of spooling, CPU s of publishing)."""
    s, rng = shape, np.random.default_rng(seed)
    spooled = 0.0
    with Incoming(folder, name, {}) as incoming:
        for number, start in enumerate(range(0, s.prompts, PART)):
            rows = np.arange(start, min(start + PART, s.prompts))
            keys = (rows[:, None] * s.keys + np.arange(s.keys)).ravel()
            q = rng.standard_normal((s.layers, s.heads, len(rows), s.d_head), np.float32)
            k = rng.standard_normal((s.layers, s.kv_heads, len(keys), s.d_head), np.float32)
            lse = rng.standard_normal(q.shape[:3])
            begun = time.process_time()
            incoming.put(number, rows, keys, q, k, lse)
            spooled += time.process_time() - begun
        facts = dict(n_layers=s.layers, n_heads=s.heads, n_kv_heads=s.kv_heads, d_head=s.d_head)
        facts |= dict(model="bench", architecture="none", dtype="float32", task="bench", store_dtype=s.store_dtype)
        layers = [dict(layer=i, scaling=0.1, softcap=None, window=None, causal=True) for i in range(s.layers)]
        tables = synthetic.tables(s, rng.integers(0, s.keys, s.prompts))
        begun = time.process_time()
        path = incoming.publish(facts, layers, *tables)
        return path, spooled, time.process_time() - begun


def table_bytes(cursor: duckdb.DuckDBPyConnection, table: str) -> float:
    """The blocks of a run file that hold a table."""
    sql = f"SELECT count(DISTINCT block_id) FROM pragma_storage_info('{table}') WHERE persistent"
    return BLOCK * float(cursor.execute(sql).fetchall()[0][0])


@dataclass(frozen=True)
class Written:
    """A run that was written and looked at: what of its file vectors and log-sum-exps take, and CPU seconds.

    payload, vector: bytes of a vector, and what it takes of the file. stat: of a log-sum-exp. gb: the file.
    """

    shape: Shape
    payload: int
    vector: float
    stat: float
    spool_s: float
    publish_s: float
    gb: float

    @classmethod
    def of(cls, folder: Path, shape: Shape, turn: int) -> Written:
        """The file is removed again."""
        path, spooled, published = publish(folder, f"{shape.store_dtype}-{shape.d_head}-{turn}", shape, turn)
        queries = shape.layers * shape.prompts * shape.heads
        keys = shape.layers * shape.prompts * shape.keys * shape.kv_heads
        run = Run(path)
        vector = sum(table_bytes(run.cursor(), table) for table in VECTORS) / (queries + keys)
        stat, size = table_bytes(run.cursor(), "row_stat") / queries, path.stat().st_size
        run.close()
        path.unlink()
        payload = vector_bytes(shape.d_head, shape.store_dtype)
        return cls(shape, payload, vector, stat, spooled, published, size / 1e9)


def measure(folder: Path, labelled: Run) -> list[Constant]:
    """What the derivations need of files; labelled: a run of real prompts, for what labels take."""
    rows = [Written.of(folder, Shape(**MANY, store_dtype=dtype), 0) for dtype in STORE_DTYPES]
    wide = [Written.of(folder, Shape(**WIDE, store_dtype=d), turn) for d in STORE_DTYPES for turn in range(TURNS)]
    return [
        *per_vector([(w.payload, w.vector) for w in (*rows, *wide)]),
        log_sum_exp(rows),
        *of_labels(labelled),
        *(c for dtype in STORE_DTYPES for c in speeds(dtype, [w for w in wide if w.shape.store_dtype == dtype])),
        *reading(folder),
    ]


def log_sum_exp(rows: list[Written]) -> Constant:
    shape = rows[0].shape
    many = f"{shape.layers * shape.heads * shape.prompts:,} rows"
    return Constant.median("a log-sum-exp", [w.stat for w in rows], "bytes", many)


def per_vector(points: list[tuple[float, float]]) -> list[Constant]:
    """Bytes of a vector in the file over its payload: a share (blocks that are not full) and what rows take beside."""
    payload, taken = np.array(points).T
    beside, share = np.linalg.lstsq(np.stack([np.ones_like(payload), payload], axis=1), taken, rcond=None)[0]
    off = np.abs(taken - beside - share * payload).max()
    what = f"float32 and int16, d {MANY['d_head']} and {WIDE['d_head']}; the line is off by {off:.2f} bytes at most"
    return [
        Constant("of a payload", float(share), float(share), float(share), len(points), "times", what),
        Constant("beside a vector", float(beside), float(beside), float(beside), len(points), "bytes", what),
    ]


def of_labels(run: Run) -> list[Constant]:
    """Bytes of labels, of a run of real prompts."""
    sizes = {t: table_bytes(run.cursor(), t) for t in ("token", "k", "key_row", "prompt")}
    rows = {
        "a token": (sizes["token"], run.n_tokens, "rows of `token`"),
        "a row of q or k": (sizes["k"] + sizes["key_row"], run.n_keys, "rows of `k` and `key_row`"),
        "a prompt": (sizes["prompt"], run.n_prompts, "rows of `prompt`"),
    }
    return [
        Constant.median(name, [size / n], "bytes", f"{n:,} {what} of {run.name}")
        for name, (size, n, what) in rows.items()
    ]


def speeds(dtype: str, written: list[Written]) -> list[Constant]:
    told = f"files of {1000 * written[0].gb:,.0f} MB, {dtype}, d {WIDE['d_head']}, by one process"
    return [
        Constant.median(f"spool {dtype}", [w.spool_s / w.gb for w in written], "CPU s a GB", told),
        Constant.median(f"publish {dtype}", [w.publish_s / w.gb for w in written], "CPU s a GB", told),
    ]


def reading(folder: Path) -> list[Constant]:
    """A head's queries from a warm file of each dtype, in MB of float32 that come out of it."""
    out = []
    for dtype in STORE_DTYPES:
        shape = replace(READ, store_dtype=dtype)
        path, _, _ = publish(folder, f"read-{dtype}", shape, 0)
        run = qkstore.open(folder).run(path.stem)
        mb = 4e-6 * shape.d_head * shape.prompts
        taken = [mb / s for s in cpu(lambda run=run: run.queries(0, 1), READS)]
        what = f"{shape.prompts:,} queries of d {shape.d_head}, warm, each value looked at"
        out.append(Constant.median(f"read {dtype}", taken, "MB a CPU s", what))
        run.close()
        path.unlink()
    return out
