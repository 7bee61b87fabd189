"""kill -9 during an ingest, again and again at random moments, then one that is left to finish.

    python bench/kills/crash.py STORE MODEL_FOLDER [--kills 10] [--n 150] [--seed 0]

Each attempt is a process of its own that ingests one run into STORE; it is killed at some moment before its first
batch, or once it has kept a few more. After every kill the store must open and show no half run. At the end the run
must hold the vectors of an ingest that nobody interrupted. Prints what each kill left; exit code 1 when any of it
fails.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("model")
    for name, default in (("--kills", 10), ("--n", 150), ("--seed", 0)):
        parser.add_argument(name, type=int, default=default)
    o = parser.parse_args(arguments)
    import numpy as np
    import torch

    import qkstore
    from ingest import job
    from ingest.model import model
    from ingest.prompts import boxes
    from qkstore.run.incoming import spool

    torch.set_num_threads(1)  # a forked process has no other threads to wait for
    small, prompts = model.load(o.model), boxes.build(o.n, "ent", 0, o.n // 3)
    options = job.Options(batch_size=8)

    def attempt(store: Path) -> int:
        child = os.fork()
        if child == 0:
            job.ingest(store, "r", small, prompts, options, task="boxes ent", seed=0)
            os._exit(0)
        return child

    def kept(store: Path) -> int:
        return len(spool.batches(spool.folder(store, "r")))

    start, child = time.monotonic(), attempt(o.store / "whole")
    while not kept(o.store / "whole") and time.monotonic() - start < 60:
        time.sleep(0.005)
    begun_s = time.monotonic() - start  # what a start takes before its first batch
    assert os.waitpid(child, 0)[1] == 0, "the uninterrupted ingest failed"
    rng, failed, killed, store = random.Random(o.seed), [], 0, o.store / "killed"
    qkstore.open(store, create=True)
    for i in range(o.kills):
        done, start = kept(store), time.monotonic()
        child = attempt(store)
        # Half of the kills fall on a start, half on batches; few are done each time, so that some are left.
        more, pause = (rng.randint(1, 3), 60.0) if i % 2 else (1, rng.uniform(0.02, begun_s))
        while kept(store) < done + more and time.monotonic() - start < pause:
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        runs, errors = qkstore.open(store).scan()
        spooled = kept(store)
        print(
            f"kill {i + 1} after {time.monotonic() - start:.2f} s: "
            f"{spooled} batches kept, {spooled - done} of them new, {len(runs)} runs visible"
        )
        if errors or spooled < done or runs:
            failed.append(
                f"kill {i + 1}: {[r.name for r in runs]} visible, {[str(e) for e in errors]}, "
                f"{done} → {spooled} batches"
            )
            break
    else:
        assert os.waitpid(attempt(store), 0)[1] == 0, "the resumed ingest failed"
    one, other = (qkstore.open(o.store / name).run("r") for name in ("whole", "killed"))
    for layer in one.layers:
        for head in range(one.n_heads):
            rows = np.arange(one.n_queries)
            for name, a, b in (
                ("q", one.queries(layer, head), other.queries(layer, head)),
                ("k", one.keys(layer, head), other.keys(layer, head)),
                ("logsumexp", one.logsumexp(layer, head, rows), other.logsumexp(layer, head, rows)),
            ):
                if not np.array_equal(a, b):
                    failed.append(f"{name} of layer {layer}, head {head} differs after {killed} kills")
    print(
        *failed or [f"{killed} ingests killed; every vector of the resumed run equals the uninterrupted one's"],
        sep="\n",
    )
    return int(bool(failed) or killed < o.kills)


if __name__ == "__main__":
    sys.exit(main())
