"""All heads of a run on a Ray cluster of local nodes, one of which is killed in the middle: the same, and how fast.

    python -m bench.speed.cluster FOLDER [--small] [--json FILE] [--write]

A run of 1,024 heads in eight shards is swept under four contrasts: by one process, by NODES nodes of one processor
each, in processes of their own, and by these once more, while one of them is killed. Every score has to be within LIMIT
of the one process's, and within ROUNDING of that of the same vectors in one file. FOLDER: where the run is made.
--write: the table of docs/cluster.md anew.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import qkstore
from bench.processes import cpu_s
from bench.speed.synthetic import ORDER, ROOT, Made, Shape, made
from qkstore.analysis.heads import HeadScore, heads
from qkstore.contrast import Contrast
from qkstore.pool import Pool, opened
from qkstore.run import Run
from qkstore.run.incoming.reshard import reshard

NODES, SHARDS, LIMIT = 3, 8, 1e-9
KEYS = 6
FULL = Shape(prompts=2048, keys=KEYS, d_head=32, layers=32, heads=32, kv_heads=8, raw=0)
SMALL = Shape(prompts=120, keys=KEYS, d_head=8, layers=4, heads=8, kv_heads=2, test=0.25, raw=0)
WHOLE, ROUNDING = "one process, the run as one file", 1e-6  # where sums in 32 bits are of other queries
BEGIN, END = "<!-- cluster: begin -->", "<!-- cluster: end -->"


def sharded(there: Made) -> Run:
    """The run in SHARDS shards, which are made once a folder."""
    store = qkstore.open(there.folder)
    if "sharded" not in store.names():
        reshard(store.run("bench"), SHARDS, "sharded")
    return qkstore.open(there.folder).run("sharded")


def shifted(by: int) -> Contrast:
    """Positive is the key so many places behind the one that is asked for."""
    asked = f"(q.queried_order + {by - 1}) % {KEYS} + 1"
    return ORDER.replace(name=f"order + {by}", positive=f"k.order_id = {asked}", negative=f"k.order_id <> {asked}")


CONTRASTS = tuple(shifted(by) for by in range(4))


@dataclass(frozen=True)
class Took:
    """One way: seconds on the clock, and of CPU; the largest difference from the one process's scores."""

    what: str
    seconds: float
    cpu: float | None
    gap: float | None = None

    @property
    def limit(self) -> float:
        """How large the difference may be."""
        return ROUNDING if self.what == WHOLE else LIMIT

    def row(self, one: Took) -> str:
        """A line of the table. one: the one process's, of which NODES nodes would take so much less."""
        cpu, gap = (f"{self.cpu:.0f}" if self.cpu else "–"), ("–" if self.gap is None else f"{self.gap:.1g}")
        known = self.what.startswith(str(NODES))
        share = f"{100 * one.seconds / self.seconds / NODES:.0f} %" if known else "–"
        more = f"{100 * one.cpu / self.cpu:.0f} %" if known and self.cpu and one.cpu else "–"
        return f"| {self.what} | {self.seconds:.0f} | {cpu} | {share} | {more} | {gap} |"


def swept(run: Run, pool: Pool, told: Callable[[int], None] = lambda layers: None) -> list[list[HeadScore]]:
    """The scores of each contrast. told: called with how many layers of how many passes are done."""
    done, out = 0, []

    def arrived(_: list[HeadScore]) -> None:
        nonlocal done
        done += 1
        told(done)

    for contrast in CONTRASTS:
        out.append(heads(run, contrast, arrived=arrived, pool=pool))
    return out


def gap(found: list[list[HeadScore]], other: list[list[HeadScore]]) -> float:
    """The largest difference of any figure of any score, of one above 1 as a share of it.

    Infinite where what is no figure differs, or is missing.
    """
    pairs = [(a, b) for these, those in zip(found, other, strict=True) for a, b in zip(these, those, strict=True)]
    return max(_gap(asdict(a), asdict(b)) for a, b in pairs)


def _gap(a: object, b: object) -> float:
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return max(_gap(a[name], b[name]) for name in a)
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        return max(map(_gap, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) / max(abs(b), 1) if a == a and b == b else float("inf")
    return 0.0 if a == b else float("inf")


def measured(run: Run, whole: Run) -> list[Took]:
    """All ways, on a cluster that is started and ended here. whole: the same run as one file."""
    from ray.cluster_utils import Cluster

    with opened() as pool:
        alone, seconds, spent = _timed(lambda: swept(run, pool))
        unsharded, *took = _timed(lambda: swept(whole, pool))
    out = [Took("one process", seconds, spent), Took(WHOLE, *took, gap(unsharded, alone))]
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}  # a worker begins anywhere
    options = {"num_cpus": 1, "object_store_memory": 100 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=options | {"include_dashboard": False})
    try:
        for _ in range(NODES - 1):
            cluster.add_node(**options)
        with opened(ray=cluster.address) as pool:
            list(pool.map(_opened, range(2 * NODES)))  # workers have started, as they have where people share a cluster
            found, seconds, spent = _timed(lambda: swept(run, pool))
            out.append(Took(f"{NODES} nodes", seconds, spent, gap(found, alone)))
            half = len(CONTRASTS) * len(run.layers)  # of two passes

            def kill(layers: int) -> None:
                if layers == half:
                    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

            found, seconds, _ = _timed(lambda: swept(run, pool, kill))
            assert len(cluster.worker_nodes) == NODES - 2, "a node was killed"
            out.append(Took(f"{NODES} nodes, one killed in the middle", seconds, None, gap(found, alone)))
    finally:
        cluster.shutdown()
    return out


def _opened(task: int) -> int:
    """In a worker: what is imported once."""
    import qkstore.analysis.heads.task

    return len(qkstore.analysis.heads.task.__name__) + task


def _timed(work: Callable[[], list]) -> tuple[list, float, float]:
    begun, before = time.perf_counter(), cpu_s()
    found = work()
    return found, time.perf_counter() - begun, cpu_s() - before


def table(run: Run, took: list[Took]) -> str:
    """The Markdown between the markers."""
    said = (
        f"{len(run.layers) * run.n_heads:,} heads of {run.d_head} dimensions × {len(CONTRASTS)} contrasts, "
        f"{run.n_queries:,} queries with {KEYS} keys each in {run.n_shards} shards, {NODES} nodes of one processor "
        f"on a machine of {os.cpu_count()} processors (load {os.getloadavg()[2]:.0f} in the last quarter of an hour)."
    )
    head = "| | s | s of CPU | efficiency, clock | efficiency, CPU | largest difference |"
    rows = [each.row(took[0]) for each in took]
    return "\n".join([said, "", head, "|---|---|---|---|---|---|", *rows])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--small", action="store_true", help="a run of 32 heads")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true", help="put the table into docs/cluster.md")
    o = parser.parse_args(arguments)
    there = made(o.folder, SMALL if o.small else FULL)
    run = sharded(there)
    took = measured(run, there.run())
    if o.json:
        o.json.write_text(json.dumps([asdict(each) for each in took], indent=1))
    print(told := table(run, took))
    if o.write:
        page = ROOT / "docs" / "cluster.md"
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{told}\n{END}{rest.partition(END)[2]}")
    return int(any(each.gap is not None and not each.gap <= each.limit for each in took))


if __name__ == "__main__":
    sys.exit(main())
