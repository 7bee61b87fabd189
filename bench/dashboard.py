"""What the dashboard's pages cost a server, and how long people wait for them.

    python bench/dashboard.py [--store store] [--looks 12] [--bursts 8] [--runs 300]

Of `qkstore serve` over its WebSocket, warm: (1) each page by one person, who goes to and fro between two heads: server
CPU and wall; (2) ten people who all ask for a page at the same moment, again and again; (3) the bytes of 30,000 points;
(4) a page of a store with --runs runs beside the same page of one with 4. The first two on --store, else on a
synthetic one. Prints a table each; exit code 1 above a limit: 250 ms of CPU at the median of all pages, 400 ms on any
page, 2.5 s at the 95th percentile of ten people, 1 MB for the points, 1.25 times for many runs, or where a page shows
an error.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench.processes import cpu_s
from bench.team.session import Answer, Session, served

SESSIONS, FEW = 10, 4
PAGES = ["" if p.stem == "overview" else p.stem for p in sorted((ROOT / "pages").glob("*.py")) if p.stem != "toy"]
SHOWN = dict(n=600, n_layers=2, n_heads=4)
POINTS = dict(n=80_000, n_layers=1, n_heads=1, n_kv_heads=1)  # 30,000 queries and keys of lexical, test split
MOST_MEDIAN_MS, MOST_PAGE_MS, MOST_BURST_S, MOST_BYTES, MOST_RATIO = 250, 400, 2.5, 1_000_000, 1.25


def heads_of(run: str) -> list[dict[str, object]]:
    """Two heads of a run, as an address has them."""
    return [{"run": run, "contrast": contrast, "layer": 1, "head": h} for h, contrast in ((1, "order"), (2, "lexical"))]


# -- one person ------------------------------------------------------------------------------------------------------


def alone(port: int, pid: int, run: str, looks: int, pages: Sequence[str] = PAGES) -> dict[str, tuple]:
    """{page: (ms of server CPU, ms of wall, its answers)} of warm looks, to and fro between two heads."""
    seen = {}
    with Session(port) as session:
        for page in pages:
            for head in 2 * heads_of(run):
                session.ask(page, **head)
            cpu, answers = [], []
            for look in range(looks):
                before = cpu_s(pid)
                answers.append(session.ask(page, **heads_of(run)[look % 2]))
                cpu.append(1000 * (cpu_s(pid) - before))
            seen[page] = np.array(cpu), np.array([1000 * a.seconds for a in answers]), answers
    return seen


def of_pages(seen: dict[str, tuple]) -> Iterator[str]:
    yield "| page | CPU, ms | 95 % | wall, ms | kB sent |"
    yield "|---|---|---|---|---|"
    for page, (cpu, wall, answers) in seen.items():
        size = np.median([a.size for a in answers]) / 1000
        high = np.quantile(cpu, 0.95)
        yield f"| {page or 'overview'} | {np.median(cpu):.0f} | {high:.0f} | {np.median(wall):.0f} | {size:.0f} |"


# -- ten people ------------------------------------------------------------------------------------------------------


def burst(port: int, run: str, bursts: int) -> list[Answer]:
    """What ten people saw who click at the same moment, each on another page, when all have what they asked for."""
    sessions, together = [Session(port) for _ in range(SESSIONS)], threading.Barrier(SESSIONS)

    def person(number: int) -> list[Answer]:
        seen = []
        for turn in range(bursts + 1):
            together.wait(timeout=120)
            page = PAGES[(number + turn) % len(PAGES)]
            seen.append(sessions[number].ask(page, **heads_of(run)[(number + turn) % 2]))
        return seen[1:]  # the first starts sessions

    with ThreadPoolExecutor(SESSIONS) as pool:
        answers = [answer for seen in pool.map(person, range(SESSIONS)) for answer in seen]
    for session in sessions:
        session.__exit__()
    return answers


# -- stores ----------------------------------------------------------------------------------------------------------


@contextmanager
def shown(o: argparse.Namespace, folder: Path) -> Iterator[tuple[Path, str]]:
    """(store, run) to look at."""
    import stores

    if o.store:
        yield Path(o.store), o.run
    else:
        stores.synthetic.publish(folder / "shown", "boxes", stores.boxes(**SHOWN))
        yield folder / "shown", "boxes"


def points(folder: Path) -> Answer:
    """The page of all points of a run with 30,000."""
    import stores

    stores.synthetic.publish(folder, "many", stores.boxes(**POINTS))
    asked = {"run": "many", "contrast": "lexical", "layer": 0, "head": 0, "plot": "3d"}
    with served(folder) as (port, _), Session(port) as session:
        session.ask("projections", **asked)
        return session.ask("projections", **asked)


def many(folder: Path, n: int, looks: int) -> float:
    """The median ms of CPU of the Heads page of one run, in a store of n runs."""
    import stores

    stores.synthetic.publish(folder, "boxes", stores.boxes(**SHOWN))
    stores.synthetic.publish(folder, "other-0", stores.boxes(n=24))
    for number in range(1, n - 1):
        os.link(folder / "runs" / "other-0.duckdb", folder / "runs" / f"other-{number}.duckdb")
    with served(folder) as (port, pid):
        cpu, _, answers = alone(port, pid, "boxes", looks, ["heads"])["heads"]
    assert not any(a.errors for a in answers), answers
    return float(np.median(cpu))


# -- all of it -------------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", help="a store to look at (default: a synthetic one)")
    parser.add_argument("--run", default="demo-boxes-both", help="of --store (default %(default)s)")
    parser.add_argument("--looks", type=int, default=12, help="at each page (default %(default)s)")
    parser.add_argument("--bursts", type=int, default=8, help="of ten people (default %(default)s)")
    parser.add_argument("--runs", type=int, default=300, help="in the large store (default %(default)s)")
    o = parser.parse_args(arguments)
    failed = []
    with tempfile.TemporaryDirectory() as name, shown(o, Path(name)) as (store, run):
        folder = Path(name)
        with served(store) as (port, pid):
            seen = alone(port, pid, run, o.looks)
            answers = burst(port, run, o.bursts)
        sent = points(folder / "points")
        few, lots = (many(folder / f"runs-{n}", n, o.looks) for n in (FEW, o.runs))
    print(*of_pages(seen), "", sep="\n")
    medians = {page or "overview": float(np.median(cpu)) for page, (cpu, _, _) in seen.items()}
    median, p95 = np.median(list(medians.values())), np.quantile([a.seconds for a in answers], 0.95)
    print(f"median page {median:.0f} ms of server CPU; {len(os.sched_getaffinity(0))} CPU cores")
    print(f"{SESSIONS} people at once, {len(answers)} pages: p95 {p95:.2f} s")
    print(f"30,000 points: {sent.size / 1000:.0f} kB")
    print(f"{o.runs} runs beside {FEW}: {lots:.0f} ms beside {few:.0f} ms, {lots / few:.2f} times")
    failed += [f"median page: {median:.0f} ms of CPU"] if median > MOST_MEDIAN_MS else []
    failed += [f"{page}: {ms:.0f} ms of CPU" for page, ms in medians.items() if ms > MOST_PAGE_MS]
    failed += [f"ten people wait {p95:.2f} s"] if p95 > MOST_BURST_S else []
    failed += [f"30,000 points are {sent.size:,} bytes"] if sent.size > MOST_BYTES else []
    failed += [f"{o.runs} runs cost {lots / few:.2f} times"] if lots > MOST_RATIO * few else []
    told = {e for a in [*answers, sent, *(a for _, _, found in seen.values() for a in found)] for e in a.errors}
    print(*[*failed, *sorted(told)] or ["within all limits, no error was shown"], sep="\n")
    return int(bool(failed or told))


if __name__ == "__main__":
    sys.exit(main())
