"""Two ranks under torchrun make one run while either is killed, again and again at random moments.

    python bench/kills/ranks.py STORE MODEL_FOLDER [--kills 10] [--n 120] [--seed 0]

torchrun starts the ranks, and starts them anew when one is lost. A process of its own, in one piece, makes the same run
beside it. Prints what each kill met; exit code 1 unless the two runs have the same vectors to the bit, the same labels
and answers, ΔC and head scores within 1e-9.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.processes import command, descendants
from qkstore.run.incoming import spool

if TYPE_CHECKING:
    from qkstore.analysis.heads import HeadScore

ALONE, TOGETHER = "alone", "together"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("model")
    for name, default in (("--kills", 10), ("--n", 120), ("--seed", 0)):
        parser.add_argument(name, type=int, default=default)
    o = parser.parse_args(arguments)
    sizes = ["--n", str(o.n), "--n-test", str(o.n // 2), "--batch-size", "2", "--threads", "1"]
    of = ["ingest", "model", "--store", str(o.store), "--model", o.model, "--task", "boxes", *sizes]
    subprocess.run([sys.executable, "-m", *of, "--run", ALONE], cwd=ROOT, check=True)
    killed = _killed(of, o)
    wrong = _compared(o.store)
    print(*wrong or [f"{killed} ranks killed; the run of two ranks is that of one, to the bit"], sep="\n")
    return int(bool(wrong) or killed < o.kills)


def _killed(of: list[str], o: argparse.Namespace) -> int:
    """Let torchrun make the run of two ranks while they are killed; returns how often that was."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    torchrun += ["--max-restarts", str(o.kills), "--monitor-interval", "0.1", "-m", "--"]
    with open(o.store / "torchrun.log", "wb") as said:
        agent = subprocess.Popen([*torchrun, *of, "--run", TOGETHER], cwd=ROOT, stderr=said)
    rng, killed = random.Random(o.seed), 0
    while agent.poll() is None:
        ranks = _ranks(agent.pid)
        kept = len(spool.batches(spool.folder(o.store, TOGETHER)))
        if killed == o.kills or len(ranks) < 2 or not _at_work(o.store, rng, kept):
            time.sleep(0.05)
            continue
        number = rng.randrange(2)
        try:
            os.kill(ranks[number], signal.SIGKILL)
        except ProcessLookupError:
            continue
        killed += 1
        print(
            f"kill {killed}: rank {number}, {len(spool.batches(spool.folder(o.store, TOGETHER)))} batches kept",
            flush=True,
        )
        while agent.poll() is None and ranks[number] in _ranks(agent.pid):
            time.sleep(0.05)
    if agent.returncode:
        raise SystemExit(f"torchrun ended with {agent.returncode}: see {o.store / 'torchrun.log'}")
    return killed


def _at_work(store: Path, rng: random.Random, kept: int) -> bool:
    """Wait until some batches more are kept, or the run is there; whether the ranks are still at it."""
    wanted, begun = kept + rng.randint(0, 3), time.monotonic()
    while len(spool.batches(spool.folder(store, TOGETHER))) <= wanted and time.monotonic() - begun < 30:
        if (store / "runs" / f"{TOGETHER}.duckdb").exists():
            return False
        time.sleep(0.002)
    return True


def _ranks(agent: int) -> list[int]:
    """The ranks that live, in their order."""
    return sorted(one for one in descendants(agent) if "ingest" in command(one))


def _compared(store: Path) -> list[str]:
    """What differs between the two runs."""
    import numpy as np

    import qkstore
    from qkstore.analysis.head import Head
    from qkstore.analysis.heads import heads

    there = qkstore.open(store)
    one, other = there.run(ALONE), there.run(TOGETHER)
    rows, wrong = np.arange(one.n_queries), []
    [contrast] = there.feature(one, "lexical")
    for layer in one.layers:
        for head in range(one.n_heads):
            first, second = (
                (run.queries(layer, head), run.keys(layer, head), run.logsumexp(layer, head, rows))
                for run in (one, other)
            )
            if not all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)):
                wrong.append(f"layer {layer}, head {head} has other vectors")
            delta, same = (Head(run, layer, head).read(contrast).covariance.delta for run in (one, other))
            if np.abs(delta - same).max() > 1e-9:
                wrong.append(f"layer {layer}, head {head} has another ΔC")
    for table in ("prompt", "token", "q", "k"):
        if not one.table(f"SELECT * FROM {table}").equals(other.table(f"SELECT * FROM {table}")):
            wrong.append(f"table {table} differs")
    scores = (heads(run, contrast, nulls=0) for run in (one, other))
    wrong += [f"{a.layer}:{a.head} has other scores" for a, b in zip(*scores, strict=True) if _apart(a, b)]
    return wrong


def _apart(one: HeadScore, other: HeadScore) -> bool:
    """Whether two heads' scores differ by more than 1e-9 of themselves."""
    first, second = one.to_dict(), other.to_dict()
    differ = [name for name in first if first[name] != second[name]]
    return any(abs(first[name] - second[name]) > 1e-9 * abs(first[name]) for name in differ)


if __name__ == "__main__":
    sys.exit(main())
