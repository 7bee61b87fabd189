"""Toy runs: heads trained on payload retrieval, stored as ordinary runs.

A run holds what its head makes of triplets and contexts.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np

import qkstore
from ingest.job import Progress, code_version, libraries, run_path
from ingest.toy.payload import Payload
from ingest.toy.recipe import Recipe, Trained, Training
from ingest.toy.sample import Sample
from qkstore.errors import ModelError
from qkstore.run.incoming import Incoming
from qkstore.store.work import Work

SAVE_EVERY = 20.0  # seconds between two states of a training that are kept


@dataclass(frozen=True)
class Sizes:
    """Of one run: n triplets of each latent, n_exact of them with payload and noise shared, n_test contexts."""

    n: int = 8192
    n_exact: int = 1024
    n_test: int = 1000

    def __post_init__(self):
        for name, value in asdict(self).items():
            if value < 1:
                raise ModelError(f"{name} {value}: a run has 1 or more of each kind of prompt")


def run_name(task: Payload, how: Recipe) -> str:
    """Such as toy-discrete-d8-2-3, toy-continuous-d16-4-12-paper."""
    return f"toy-{task.name}" + ("" if how.name == "fast" else f"-{how.name}")


def build(
    store: str | Path,
    tasks: Sequence[Payload],
    how: Recipe,
    sizes: Sizes = Sizes(),
    device: str = "cpu",
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Train the heads whose run the store lacks, all as one stack, and publish a run of each; returns their names.

    tasks: of one variant, d_head, seed and noise. Interrupted, it goes on where it stopped when called again with the
    same arguments. Raises RunError, StoreError; a run that is not whole is not seen.
    """
    progress = progress or (lambda stage, done, total, now="": None)
    names = list(names or [run_name(task, how) for task in tasks])
    missing = [i for i, name in enumerate(names) if not run_path(store, name).exists()]
    if not missing:
        return []
    qkstore.store.check_may_add(store)
    digest = hashlib.sha256(
        json.dumps([[asdict(task) for task in tasks], asdict(how), device, code_version()]).encode()
    ).hexdigest()[:10]
    place, stack = qkstore.open(store, create=True).path, f"toy-stack-{digest}"
    with Incoming(place, stack, {"names": names}) as held, Work(place, stack) as work:
        progress = work.beside(progress)
        heads = {
            trained.task: trained
            for trained in _train([tasks[i] for i in missing], how, device, held.folder / "training.pt", progress)
        }
        made = [(task, name) for task, name in zip(tasks, names) if task in heads]
        for done, (task, name) in enumerate(made):
            progress("publish", done, len(made))
            if not run_path(store, name).exists():
                _publish(store, name, heads[task], how, sizes, device)
                qkstore.open(store).publish(name)
        progress("publish", len(made), len(made))
    shutil.rmtree(held.folder, ignore_errors=True)
    return [names[i] for i in missing]


def _train(tasks: list[Payload], how: Recipe, device: str, state: Path, progress: Progress) -> list[Trained]:
    """Train, or go on with, a stack; its state is kept every few seconds."""
    training = _kept(state) or Training(tasks, how, device)
    stage, saved = f"{tasks[0].variant} d{tasks[0].d_head}: train", time.monotonic()
    while not training.finished:
        training.advance()
        progress(f"{stage} {len(training.tasks)} heads", training.step, how.steps)
        if time.monotonic() - saved > SAVE_EVERY or training.finished:
            training.save(state)
            saved = time.monotonic()
    return training.result()


def _kept(state: Path) -> Training | None:
    """The training that was put aside.

    None where none was, or where its file is damaged or of other code: the training is then repeated.
    """
    unread = (OSError, EOFError, RuntimeError, LookupError, ValueError, UnpicklingError)
    with suppress(*unread, TypeError, AttributeError, ModelError):
        return Training.resume(state)
    return None


def _publish(store: str | Path, name: str, trained: Trained, how: Recipe, sizes: Sizes, device: str) -> None:
    task = trained.task
    sample = Sample(task, trained.weights, np.random.default_rng([task.seed, 4, task.d_head, task.r1, task.r2]))
    for exact, n in ((False, sizes.n), (True, sizes.n_exact)):
        for factor in (1, 2):
            sample.triplets(factor, n, exact)
    sample.contexts(sizes.n_test)
    prompts, tokens, query_rows, key_rows = sample.frames()
    settings = (
        asdict(task)
        | asdict(sizes)
        | {"recipe": how.name, "device": device, "code": code_version(), "libraries": libraries()}
    )
    layer = {"layer": 0, "scaling": 1 / np.sqrt(task.d_head), "softcap": None, "window": None, "causal": True}
    with Incoming(qkstore.store.folder(store), name, settings) as incoming:
        q, k, logsumexp = (np.concatenate(parts)[None, None] for parts in (sample.q, sample.k, sample.logsumexp))
        incoming.put(0, query_rows["query_row"].to_numpy(), key_rows["key_row"].to_numpy(), q, k, logsumexp)
        incoming.publish(
            _manifest(name, trained),
            [layer],
            prompts,
            tokens,
            query_rows,
            key_rows,
            weights=trained.weights | task.maps(),
            measures=trained.measures,
        )


def _manifest(name: str, trained: Trained) -> dict:
    task = trained.task
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(W).tobytes() for W in trained.weights.values())).hexdigest()
    return {
        "run": name,
        "model": "toy",
        "revision": None,
        "weights_hash": digest,
        "architecture": "one attention head",
        "n_layers": 1,
        "n_heads": 1,
        "n_kv_heads": 1,
        "d_head": task.d_head,
        "dtype": "float32",
        "task": f"toy {task.variant}",
        "prompt_template": "{z1} {z2} {payload}, … {z1} {z2} ?",
        "chat_template": None,
        "bos": None,
        "positions": "labelled",
        "query_roles": ["selector"],
        "seed": task.seed,
        "code_version": code_version(),
        "libraries": libraries(),
    }
