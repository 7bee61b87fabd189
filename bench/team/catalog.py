"""A team's store against one person's: operations of the catalogue, and reads of one head.

    python bench/team/catalog.py [--rounds 60] [--reads 8] [--write]

The catalogue is a DuckDB file, and a database of Debian's PostgreSQL on this machine, which syncs what it commits.
Both hold 50 contrasts and 50 results; each round does every operation once on either, in an order drawn anew. Then the
queries and keys of one head are read from a folder and from a bucket of moto's S3 server, a process of its own on this
machine: first by a store that was just opened, with the file out of the system's cache or not fetched yet, then again.
Floors are the same numbers in .npy files, and a plain download of the object. --write puts the tables into
docs/performance.md.
"""

from __future__ import annotations

import argparse
import base64
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench.page import write

HELD = 50  # contrasts and results that are there before
RUN = dict(n=2048, n_layers=8, n_heads=16, n_kv_heads=8)  # 48 MB or so
LAYER, HEAD = 5, 3
RESULT = {"heads": [{"layer": i // 32, "head": i % 32, "accuracy": i / 1024, "rank": i % 8} for i in range(1024)]}
DELTA = np.random.default_rng(0).standard_normal((2, 128, 128))  # C+ and C− of one head
SIDES = {"positive": "k.order_id = q.queried_order", "negative": "k.order_id <> q.queried_order"}

Seconds = dict[str, list[float]]


def timed(work: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


# -- the catalogue ---------------------------------------------------------------------------------------------------


def operations(catalog, number: int) -> dict[str, Callable[[], object]]:
    """{what: what does it}, of the `number`th round, on a catalogue that is filled."""
    import qkstore

    def contrast(i: int):
        return qkstore.Contrast(name=f"contrast {i}", description=f"round {number}", **SIDES)

    return {
        "save a contrast": lambda: catalog.save(contrast(number % HELD)),
        "list the contrasts": catalog.contrasts,
        "read one": lambda: catalog.contrast(f"contrast {number % HELD}"),
        "keep a result": lambda: catalog.keep_result(f"key {number}", "heads", "run", "contrast", RESULT),
        "read a result": lambda: catalog.result(f"key {number % HELD - HELD}"),
        "read a ΔC of d = 128, if it were kept": lambda: np.frombuffer(base64.b64decode(catalog.result("delta"))),
    }


def filled(catalog) -> None:
    for number in range(-HELD, 0):
        done = operations(catalog, number)
        for what in ("save a contrast", "keep a result"):
            done[what]()
    catalog.keep_result("delta", "delta", "run", "contrast", base64.b64encode(DELTA.tobytes()).decode())


def catalogues(embedded, postgres, rounds: int, rng: random.Random) -> dict[str, Seconds]:
    """{operation: {where: seconds}}; both give the same."""
    seen: dict[str, Seconds] = defaultdict(lambda: defaultdict(list))
    kept = {"embedded": embedded, "PostgreSQL": postgres}
    for catalog in kept.values():
        filled(catalog)
    for number in range(rounds):
        for what in operations(embedded, number):
            found = {}
            for where in rng.sample(sorted(kept), 2):
                took, found[where] = timed(operations(kept[where], number)[what])
                seen[what][where].append(took)
            assert np.all(unsigned(found["embedded"]) == unsigned(found["PostgreSQL"])), what
    return seen


def unsigned(found):
    """What was read or saved, without its author: PostgreSQL knows who that is."""
    if isinstance(found, list):
        return list(map(unsigned, found))
    return found.replace(author="") if hasattr(found, "author") else found


# -- one head --------------------------------------------------------------------------------------------------------


def out_of_cache(path: Path) -> None:
    """Have the system forget what it holds of a file."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def reads(folder: Path, endpoint: str, rounds: int) -> Seconds:
    """{what: seconds}; the vectors are those of the floor each time, bit for bit."""
    import qkstore

    run = folder / "shared" / "runs" / "shown.duckdb"
    opened = qkstore.open(folder / "shared").run("shown")
    floor = {"q": opened.queries(LAYER, HEAD), "k": opened.keys(LAYER, HEAD)}
    files = {name: folder / f"{name}.npy" for name in floor}
    for name, vectors in floor.items():
        np.save(files[name], vectors)
    opened.close()
    seen: Seconds = defaultdict(list)

    def note(what: str, read: Callable[[], dict[str, np.ndarray]]) -> None:
        took, found = timed(read)
        assert all(np.array_equal(found[name], floor[name]) for name in floor), what
        seen[what].append(took)

    def head(store) -> Callable[[], dict[str, np.ndarray]]:
        def read() -> dict[str, np.ndarray]:
            run = store.run("shown")
            return {"q": run.queries(LAYER, HEAD), "k": run.keys(LAYER, HEAD)}

        return read

    for number in range(rounds):
        for path in (run, *files.values()):
            out_of_cache(path)
        team = folder / f"team-{number}.toml"  # its cache is empty
        team.write_text(
            f'catalogue = "postgresql://nobody@127.0.0.1:1/none"\nruns = "s3://lab/store"\n'
            f'endpoint = "{endpoint}"\ncache = "cache-{number}"\n'
        )
        stores = {"a folder": qkstore.open(folder / "shared"), "a bucket": qkstore.open(team)}
        for time_ in ("first", "again"):
            note(f".npy files, {time_}", lambda: {name: np.load(path) for name, path in files.items()})
            for where, store in stores.items():
                note(f"{where}, {time_}", head(store))
        seen["a plain download of the object"].append(timed(lambda: download(endpoint, folder / "plain"))[0])
        for store in stores.values():
            store.run("shown").close()
    return seen


def download(endpoint: str, to: Path) -> None:
    client(endpoint).download_file("lab", "store/shown.duckdb", str(to))


def client(endpoint: str):
    import boto3

    return boto3.client("s3", endpoint_url=endpoint)


@contextmanager
def bucket(folder: Path) -> Iterator[str]:
    """The address of an S3 server with the run in its bucket; ended with the block."""
    import servers
    from ports import free_port
    from served import answer

    os.environ |= servers.KEYS
    endpoint = f"http://127.0.0.1:{(port := free_port())}"
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        answer(f"{endpoint}/moto-api/data.json")
        client(endpoint).create_bucket(Bucket="lab")
        team = folder / "sender.toml"
        team.write_text(
            f'catalogue = "postgresql://nobody@127.0.0.1:1/none"\nruns = "s3://lab/store"\n'
            f'endpoint = "{endpoint}"\ncache = "sender"\n'
        )
        words = ["push", "--store", folder / "shared", "--to", team, "--run", "shown"]
        subprocess.run([sys.executable, "-m", "qkstore", *map(str, words)], cwd=ROOT, check=True, capture_output=True)
        yield endpoint
    finally:
        server.kill()
        server.wait()


# -- the tables ------------------------------------------------------------------------------------------------------


def told(seconds: list[float]) -> str:
    """Median, and in brackets the 95th percentile, in ms."""
    return f"{1000 * np.median(seconds):.1f} ({1000 * np.quantile(seconds, 0.95):.1f})"


def tables(kept: dict[str, Seconds], read: Seconds, size: int) -> list[str]:
    n = len(next(iter(kept.values()))["embedded"])
    lines = [f"| operation, n = {n} | a file, ms | PostgreSQL, ms | ratio |", "|---|---|---|---|"]
    for what, by in kept.items():
        ratio = np.median(by["PostgreSQL"]) / np.median(by["embedded"])
        lines.append(f"| {what} | {told(by['embedded'])} | {told(by['PostgreSQL'])} | {ratio:.2f} |")
    n = len(read["a folder, first"])
    lines += ["", f"| one head of a run of {size / 1e6:.0f} MB, n = {n} | ms | ÷ floor |", "|---|---|---|"]
    for what, seconds in read.items():
        name = "a plain download of the object" if what == "a bucket, first" else f".npy files, {what.split(', ')[-1]}"
        ratio = "" if name not in read or what == name else f"{np.median(seconds) / np.median(read[name]):.1f}"
        lines.append(f"| {what} | {told(seconds)} | {ratio} |")
    return [*lines, "", "Medians, and in brackets 95th percentiles."]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60, help="of the catalogue (default %(default)s)")
    parser.add_argument("--reads", type=int, default=8, help="of a head (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    o = parser.parse_args(arguments)
    import killed
    import servers
    import stores

    import qkstore

    with tempfile.TemporaryDirectory() as name, servers.postgres() as database:
        folder, os.environ["PGPASSWORD"] = Path(name), database.environment["PGPASSWORD"]
        database.stop()
        killed.start(database)  # one that syncs
        team = folder / "team.toml"
        team.write_text(f'catalogue = "{database.url()}"\nruns = "shared"\n')
        stores.synthetic.publish(folder / "shared", "shown", stores.boxes(**RUN))
        subprocess.run(killed.command("init", "--store", str(team)), cwd=ROOT, check=True, capture_output=True)
        both = (qkstore.open(where).catalog for where in (folder / "shared", team))
        kept = catalogues(*both, o.rounds, random.Random(o.seed))
        with bucket(folder) as endpoint:
            read = reads(folder, endpoint, o.reads)
        size = (folder / "shared" / "runs" / "shown.duckdb").stat().st_size
    lines = tables(kept, read, size)
    print(*lines, sep="\n")
    if o.write:
        write(ROOT / "docs" / "performance.md", "catalogue", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
