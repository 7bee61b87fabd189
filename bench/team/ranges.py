"""How much of a shard on S3 is read for a head, in bytes and requests, counted at the server.

    python bench/team/ranges.py [--prompts 8192] [--httpfs FILE] [--write]

A run of random vectors in two shards lies on an S3-compatible server of this machine. A store reads of it what a
question needs. --httpfs: DuckDB's extension of that name, as a file (`duckdb-extension-httpfs` in the package index has
it), by which DuckDB attaches the same shard itself, for comparison. Prints the table; --write puts it into
docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import servers
import sharded
import synthetic

import qkstore
from bench.page import write
from qkstore.store import Store
from qkstore.store.bucket import Bucket
from qkstore.store.transfer import transfer

D_HEAD, OF = 64, 2
SHAPE = dict(n_layers=2, n_heads=8, n_kv_heads=8)


class Counted:
    """Answers of a server: how many, and the bytes in them."""

    def __init__(self, server: servers.S3Server):
        self.requests = self.bytes = 0
        self._app = server._server._server.app
        server._server._server.app = self

    def __call__(self, environ: dict, start: Callable) -> object:
        def begun(status: str, headers: list, *more: object) -> object:
            if environ["REQUEST_METHOD"] == "GET":
                self.bytes += int({name.lower(): value for name, value in headers}.get("content-length", 0))
            self.requests += 1
            return start(status, headers, *more)

        return self._app(environ, begun)

    def of(self, act: Callable[[], object]) -> tuple[int, int]:
        """(requests, bytes) of an act."""
        self.requests = self.bytes = 0
        act()
        return self.requests, self.bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=8192)
    parser.add_argument("--httpfs", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    os.environ.update(servers.KEYS)
    synthetic.D = D_HEAD
    rows = [("what is read of one shard", "its vectors, MB", "read, MB", "times", "requests")]
    server = servers.S3Server()
    try:
        counted = Counted(server)
        for dtype in ("float32", "int16"):
            with tempfile.TemporaryDirectory() as folder:
                rows += measured(Path(folder), server, counted, dtype, options.prompts, options.httpfs)
    finally:
        server.stop()
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines[1:1] = ["|---" * len(rows[0]) + "|"]
    print("\n".join(lines))
    if options.write:
        write(ROOT / "docs" / "performance.md", "ranges", lines)


def measured(
    folder: Path, server: servers.S3Server, counted: Counted, dtype: str, n: int, httpfs: Path | None
) -> list[tuple[str, ...]]:
    sharded.publish(folder / "here", "a", synthetic.synthetic(n, store_dtype=dtype, **SHAPE), OF, size=64)
    (folder / "there" / "runs").mkdir(parents=True)
    bucket = Bucket(f"s3://lab/{dtype}", folder / "there", server.endpoint)
    store = Store(folder / "there", bucket=bucket)
    transfer(qkstore.open(folder / "here"), "a", store)
    run = store.run("a")
    sides = (("key", run.n_keys), ("query", run.n_queries))
    keys, queries = (np.flatnonzero(run.shard_of(side, np.arange(rows)) == 1) for side, rows in sides)
    size = run.shards.shards[1].bytes
    a_vector = 2 * D_HEAD + 4 if dtype == "int16" else 4 * D_HEAD
    acts = {
        "nothing yet: it is attached and looked at": (0, lambda: run.shards.file(1)),
        "the keys of a head": (len(keys), lambda: run.keys(1, 3, keys)),
        "the keys of another": (len(keys), lambda: run.keys(0, 5, keys)),
        "the queries of a head": (len(queries), lambda: run.queries(1, 3, queries)),
        "a hundredth of the keys of a head": (len(keys) // 100, lambda: run.keys(0, 7, keys[: len(keys) // 100])),
        "the keys of the first again": (len(keys), lambda: run.keys(1, 3, keys)),
    }
    found = [
        line(f"{dtype}, {size / 1e6:,.0f} MB: {what}", rows * a_vector, *counted.of(act))
        for what, (rows, act) in acts.items()
    ]
    if httpfs:
        url = f"s3://lab/{dtype}/a.shards/0001.duckdb"
        sql = "SELECT * EXCLUDE (layer, kv_head) FROM s.key_vector WHERE layer = 1 AND kv_head = 3"
        with attached(url, server, httpfs) as con:
            read = counted.of(lambda: con.execute(sql).to_arrow_table())
        found.append(line(f"{dtype}, by httpfs: the keys of a head", len(keys) * a_vector, *read))
    return found


def attached(url: str, server: servers.S3Server, httpfs: Path) -> duckdb.DuckDBPyConnection:
    """A connection that reads the shard itself, by one thread, as qkstore's do."""
    con = duckdb.connect(config={"threads": "1", "autoload_known_extensions": "false"})
    con.execute(f"LOAD '{httpfs}'")
    con.execute(
        "CREATE SECRET (TYPE s3, KEY_ID ?, SECRET ?, REGION ?, ENDPOINT ?, URL_STYLE 'path', USE_SSL false)",
        [*servers.KEYS.values(), server.endpoint.removeprefix("http://")],
    )
    con.execute(f"ATTACH '{url}' AS s (READ_ONLY, TYPE duckdb)")
    return con


def line(what: str, wanted: int, requests: int, read: int) -> tuple[str, ...]:
    times = f"{read / wanted:.2f}" if wanted else ""
    return what, f"{wanted / 1e6:.2f}", f"{read / 1e6:.2f}", times, str(requests)


if __name__ == "__main__":
    main()
