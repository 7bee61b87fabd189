"""Ranks: several processes, on one machine or more, that make one run; which of its batches each one captures.

They share nothing but the folder of the run, so that none waits for another; torchrun starts them, and starts
them anew where one was lost, as often as its --max-restarts says.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ingest import batches
from ingest.model.weights.placement import AUTO
from qkstore.errors import ModelError, PromptError, RunError
from qkstore.run.incoming import spool
from qkstore.run.incoming.shard import Share
from qkstore.store import Store, work

__all__ = ["Share", "batches_of", "device", "is_there", "of_environment", "prompts_of", "together"]

LOOK_S = 1.0  # between two looks at how far the other ranks are
TORCHRUN = "TORCHELASTIC_RUN_ID"  # set by torchrun for each of its processes, beside RANK, WORLD_SIZE and LOCAL_RANK


def of_environment(environment: Mapping[str, str] = os.environ) -> Share | None:
    """The share of a process that torchrun started with others; None of one that is alone."""
    if TORCHRUN not in environment or environment.get("WORLD_SIZE", "1") == "1":
        return None
    return Share(int(environment["RANK"]), int(environment["WORLD_SIZE"]))


def device(asked: str, environment: Mapping[str, str] = os.environ) -> str:
    """The device of this rank: of those of the machine the one of its own number, where 'cuda' was asked for.

    Raises ModelError for 'auto' where other ranks of this machine would take the same GPUs.
    """
    if asked == AUTO and TORCHRUN in environment and environment.get("LOCAL_WORLD_SIZE", "1") != "1":
        raise ModelError(
            f"device 'auto' is all GPUs of a machine, and torchrun started {environment['LOCAL_WORLD_SIZE']} ranks on "
            "this one: use --nproc-per-node 1, or start each rank by itself with GPUs of its own "
            "(CUDA_VISIBLE_DEVICES=0,1 … --shard 0/4)"
        )
    if asked == "cuda" and TORCHRUN in environment:
        return f"cuda:{environment['LOCAL_RANK']}"
    return asked


def together(progress: Callable[..., None], store: Path, run: str, share: Share) -> Callable[..., None]:
    """A progress that tells of all ranks in one place: the first shows what they say together, the others nothing."""
    looked = 0.0

    def told(stage: str, done: int, total: int, now: str = "") -> None:
        nonlocal looked
        if share.number or (done < total and time.monotonic() - looked < LOOK_S):
            return
        looked = time.monotonic()
        every = work.one(store / "runs", run)
        shown = (every.stage, every.done, every.total, every.now) if every.total else (stage, done, total, now)
        progress(*shown[:3], now=shown[3])

    return told


def batches_of(made: Sequence[list[int]], share: Share | None) -> list[int]:
    """The numbers of a rank's batches in the order in which it captures them: every share.of-th, all without a share.

    Batches, and not prompts, are dealt out: vectors depend in their last bits on what else is in a batch.
    Raises PromptError where a rank would have none.
    """
    order = batches.order(list(made))
    if share is None:
        return order
    if share.of > len(made):
        n = len(made)
        told, ranks = ("1 batch", "1 rank") if n == 1 else (f"{n} batches", f"{n} ranks")
        raise PromptError(f"{share.of} ranks for {told}: use at most {ranks}, or a smaller --batch-size")
    return order[share.number :: share.of]


def prompts_of(made: Sequence[list[int]], share: Share) -> np.ndarray:
    """The prompts of a rank, ascending."""
    return np.sort(np.concatenate([made[number] for number in batches_of(made, share)]))


def is_there(store: Store, run: str, plan: dict, share: Share) -> bool:
    """Whether the ranks have finished this run already. Raises RunError where it is another one."""
    path = Path(store.path) / "runs" / f"{run}.duckdb"
    if not path.exists():
        return False
    there = store.run(run)
    if there.settings == json.loads(json.dumps(plan | {"shards": share.of})):
        shutil.rmtree(spool.folder(store.path, run), ignore_errors=True)  # of a rank that began while it was published
        return True
    raise RunError(f"run {run!r} is in the store already, and was made differently; choose another --run")
